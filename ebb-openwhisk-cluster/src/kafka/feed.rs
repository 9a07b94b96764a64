//! The feed. librdkafka wakes the core's task when there are messages or when a commit has ended, and that task reads and commits; neither
//! blocks.
//!
//! What must hold:
//! - A message is handed over when its offset has been committed, and never without: after a crash nothing runs a second time, and what
//!   was handed over and not acknowledged is lost, as in the reference (`MessageConsumer.scala`, "at most once"). Messages
//!   whose commit failed are read again.
//! - Order is kept.
//! - No more is taken from the topic than there is room for.
//! - One commit at a time is on its way: librdkafka makes some that fail again later, and an earlier offset that arrives after a later one
//!   would take that back. Messages that come meanwhile are read, and committed together when it has ended.
//! - What has been read and is not being committed when the group is shared out anew is dropped: its partition may be somebody else's, and if
//!   not it comes again, from the last commit on.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use ebb::time::{self, Instant};
use rdkafka::client::ClientContext;
use rdkafka::config::{FromClientConfigAndContext, RDKafkaLogLevel};
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext, Rebalance};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::Message as _;
use rdkafka::statistics::Statistics;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use super::pace::Pace;
use super::queue::{Queue, Signal};
use super::{Brokers, tell};
use crate::counts::Counts;
use crate::seam::Feed;

/// What the consumer tells.
struct Member {
    counts: Arc<Counts>,
    /// How often partitions have come to this one or gone from it.
    shared_out: AtomicU64,
    /// Which, of those times that have not been looked at.
    moved: Mutex<Vec<i32>>,
}

impl Member {
    fn moved(&self) -> MutexGuard<'_, Vec<i32>> {
        self.moved.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ClientContext for Member {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        tell(level, &format!("{facility} {message}"));
    }

    fn error(&self, error: KafkaError, reason: &str) {
        eprintln!("whisk-invoker: Kafka: {error}: {reason}");
    }

    fn stats(&self, statistics: Statistics) {
        let partitions = statistics
            .topics
            .values()
            .flat_map(|t| t.partitions.values());
        let known = partitions.map(|p| p.consumer_lag).filter(|&lag| lag >= 0);
        if let Some(lag) = known.reduce(|a, b| a + b) {
            self.counts.lag.store(lag, Ordering::Relaxed);
        }
    }
}

impl ConsumerContext for Member {
    fn pre_rebalance(&self, _: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        if let Rebalance::Assign(partitions) | Rebalance::Revoke(partitions) = rebalance {
            let partitions = partitions.elements();
            let partitions = partitions.iter().map(|of_all| of_all.partition());
            self.moved().extend(partitions);
        }
        self.shared_out.fetch_add(1, Ordering::Relaxed);
    }
}

type Reader = BaseConsumer<Member>;

/// A consumer and its queues. The queues go first, because they hold the consumer.
struct Consuming {
    arrivals: Queue<Reader>,
    commits: Queue<Reader>,
    consumer: Arc<Reader>,
}

/// The feed: one topic with one partition, as a consumer group of the topic's name.
pub struct KafkaFeed {
    topic: String,
    /// Told when there may be something to read, to commit, or to hand over.
    signal: Arc<Signal>,
    /// Messages that may be read.
    free: Cell<usize>,
    pace: Pace,
    is_closed: Cell<bool>,
    messages: RefCell<Messages>,
    /// Until it has left the group.
    consuming: RefCell<Option<Consuming>>,
    leaving: Cell<Option<JoinHandle<()>>>,
    again: Arc<Again>,
}

/// Messages by how far they are.
#[derive(Default)]
struct Messages {
    read: VecDeque<Read>,
    /// Of one partition, in their order.
    being_committed: Vec<Read>,
    /// The partition of these has moved meanwhile.
    is_anothers: bool,
    committed: VecDeque<Vec<u8>>,
    /// When those that were read are committed.
    waits_until: Option<Instant>,
    /// `Member::shared_out` when the last was read.
    shared_out: u64,
    /// What is read while `shared_out` is this is not from the last commit on.
    passed_over: Option<u64>,
}

struct Read {
    partition: i32,
    offset: i64,
    payload: Vec<u8>,
}

/// Going back in the topic, which blocks and has a thread.
#[derive(Default)]
struct Again {
    is_under_way: AtomicBool,
    /// It could not be gone back, so the group has been joined anew.
    has_joined: AtomicBool,
}

/// How long going back in a topic may take.
const SEEK: Duration = Duration::from_secs(10);
/// How long it is waited after a failure.
const AFTER_FAILURE: Duration = Duration::from_millis(500);

impl KafkaFeed {
    /// Subscribes to a topic. At most `most` messages are out at once.
    ///
    /// # Errors
    /// A setting that librdkafka does not know.
    pub fn subscribe(
        brokers: &Brokers,
        topic: &str,
        most: usize,
        counts: &Arc<Counts>,
    ) -> Result<Self, String> {
        let config = brokers.config(
            &[
                ("group.id", topic),
                ("enable.auto.commit", "false"),
                ("auto.offset.reset", "earliest"),
                ("session.timeout.ms", "30000"),
                ("heartbeat.interval.ms", "10000"),
                ("max.poll.interval.ms", "1800000"),
                ("fetch.wait.max.ms", "500"),
                ("queued.max.messages.kbytes", "8192"),
                ("statistics.interval.ms", "1000"),
            ],
            &brokers.consumer,
        );
        let wrong = |error: KafkaError| format!("the consumer of {topic}: {error}");
        let member = Member {
            counts: Arc::clone(counts),
            shared_out: AtomicU64::new(0),
            moved: Mutex::default(),
        };
        let consumer = Reader::from_config_and_context(&config, member).map_err(wrong)?;
        let (consumer, signal) = (Arc::new(consumer), Arc::new(Signal::default()));
        let arrivals = Queue::consumer(&consumer, &signal);
        let none = || format!("the consumer of {topic} has no queue");
        let consuming = Consuming {
            arrivals: arrivals.ok_or_else(none)?,
            commits: Queue::commits(&consumer, &signal).ok_or_else(none)?,
            consumer,
        };
        consuming.consumer.subscribe(&[topic]).map_err(wrong)?;
        signal.tell();
        Ok(Self {
            topic: topic.to_owned(),
            signal,
            free: Cell::new(most),
            pace: Pace::default(),
            is_closed: Cell::new(false),
            messages: RefCell::default(),
            consuming: RefCell::new(Some(consuming)),
            leaving: Cell::new(None),
            again: Arc::default(),
        })
    }

    /// Takes nothing more from the topic. What was taken comes out, and then nothing.
    pub fn close(&self) {
        self.is_closed.set(true);
        self.signal.tell();
    }

    /// What comes next, or until when to wait for it at most.
    fn look(&self, is_told: bool) -> ControlFlow<Option<Vec<u8>>, Option<Instant>> {
        let mut messages = self.messages.borrow_mut();
        if is_told {
            self.advance(&mut messages);
        }
        let next = messages.committed.pop_front();
        match next.is_some() || self.consuming.borrow().is_none() {
            true => ControlFlow::Break(next),
            false => ControlFlow::Continue(messages.waits_until),
        }
    }

    /// Does what can be done now. Whatever can be done later tells the signal.
    fn advance(&self, messages: &mut Messages) {
        let mut consuming = self.consuming.borrow_mut();
        let Some(Consuming {
            arrivals,
            commits,
            consumer,
        }) = consuming.as_ref()
        else {
            return;
        };
        messages.waits_until = None;
        while let Some(result) = commits.committed() {
            match result {
                Ok(()) => {
                    let committed = messages.being_committed.drain(..);
                    messages
                        .committed
                        .extend(committed.map(|read| read.payload));
                }
                Err(error) => self.has_failed(messages, consumer, error),
            }
        }
        if self.is_closed.get() {
            if messages.being_committed.is_empty() {
                self.leave(consuming.take());
            }
            return;
        }
        if self.again.is_under_way.load(Ordering::Acquire) {
            return;
        }
        if self.again.has_joined.swap(false, Ordering::Relaxed) {
            messages.passed_over = Some(messages.shared_out);
        }
        self.read(messages, consumer, arrivals);
        let may_commit = messages.being_committed.is_empty() && !messages.read.is_empty();
        if may_commit && self.free.get() > 0 {
            messages.waits_until = self.pace.wait(&consumer.context().counts);
        }
        if may_commit
            && messages.waits_until.is_none()
            && let Err(error) = messages.commit(&self.topic, commits)
        {
            self.has_failed(messages, consumer, error);
        }
    }

    /// Reads what is there and has room.
    fn read(&self, messages: &mut Messages, consumer: &Reader, arrivals: &Queue<Reader>) {
        while self.free.get() > 0 {
            let polled = consumer.poll(Duration::ZERO);
            let shared_out = consumer.context().shared_out.load(Ordering::Relaxed);
            if shared_out != messages.shared_out {
                messages.shared_out = shared_out;
                let moved = std::mem::take(&mut *consumer.context().moved());
                let has_moved = |read: &Read| moved.contains(&read.partition);
                messages.is_anothers |= messages.being_committed.iter().any(has_moved);
                self.drop_read(messages, has_moved);
            }
            match polled {
                Some(Ok(_)) if messages.passed_over == Some(shared_out) => {}
                Some(Ok(message)) => {
                    self.free.set(self.free.get() - 1);
                    messages.read.push_back(Read {
                        partition: message.partition(),
                        offset: message.offset(),
                        payload: message.payload().unwrap_or_default().to_vec(),
                    });
                }
                // librdkafka goes on by itself; what lasts is told by its own log.
                Some(Err(error)) => eprintln!("whisk-invoker: Kafka: {error}"),
                // It may have been something else than a message.
                None if arrivals.is_empty() => break,
                None => {}
            }
        }
    }

    /// Drops such messages of those that were read.
    fn drop_read(&self, messages: &mut Messages, is_such: impl Fn(&Read) -> bool) {
        let before = messages.read.len();
        messages.read.retain(|read| !is_such(read));
        self.free
            .set(self.free.get() + before - messages.read.len());
    }

    /// Sees to it that messages come again whose commit has failed, and those behind them.
    fn has_failed(&self, messages: &mut Messages, consumer: &Arc<Reader>, why: RDKafkaErrorCode) {
        let failed = std::mem::take(&mut messages.being_committed);
        let Some(first) = failed.first() else { return };
        let (count, topic) = (failed.len(), &self.topic);
        eprintln!(
            "whisk-invoker: {count} messages of {topic} are read again, because their offsets cannot be committed: {why}"
        );
        self.free.set(self.free.get() + count);
        if messages.is_anothers {
            // Whoever has it now began at the last commit, and so does this one if it gets it again.
            return;
        }
        self.drop_read(messages, |read| read.partition == first.partition);
        self.go_back(consumer, first.partition, first.offset);
    }

    fn go_back(&self, consumer: &Arc<Reader>, partition: i32, offset: i64) {
        self.again.is_under_way.store(true, Ordering::Relaxed);
        let (topic, reader) = (self.topic.clone(), Arc::clone(consumer));
        let (again, signal) = (Arc::clone(&self.again), Arc::clone(&self.signal));
        let goes_back = move || {
            if let Err(error) = reader.seek(&topic, partition, Offset::Offset(offset), SEEK) {
                again.join(&reader, &topic, &error);
            }
            drop(reader);
            std::thread::sleep(AFTER_FAILURE);
            again.is_under_way.store(false, Ordering::Release);
            signal.tell();
        };
        let thread = Builder::new().name("whisk seek".into());
        if let Err(error) = thread.spawn(goes_back) {
            self.again.join(consumer, &self.topic, &error);
            self.again.is_under_way.store(false, Ordering::Relaxed);
            self.signal.tell();
        }
    }

    /// Leaves the group, so that the next one need not wait for this one's session to end. It blocks and has a thread.
    fn leave(&self, consuming: Option<Consuming>) {
        if let Some(Consuming { consumer, .. }) = consuming {
            let thread = Builder::new().name("whisk leave".into());
            self.leaving.set(thread.spawn(move || drop(consumer)).ok());
        }
    }
}

impl Again {
    /// Whoever joins the group begins at the last commit.
    fn join(&self, consumer: &Reader, topic: &str, why: &dyn std::fmt::Display) {
        eprintln!(
            "whisk-invoker: the group of {topic} is joined anew, because it cannot be read again: {why}"
        );
        consumer.unsubscribe();
        if let Err(error) = consumer.subscribe(&[topic]) {
            eprintln!("whisk-invoker: {topic} cannot be subscribed to: {error}");
        }
        self.has_joined.store(true, Ordering::Relaxed);
    }
}

impl Messages {
    /// Begins to commit what can go in one commit.
    fn commit(&mut self, topic: &str, commits: &Queue<Reader>) -> Result<(), RDKafkaErrorCode> {
        let Some(partition) = self.read.front().map(|first| first.partition) else {
            return Ok(());
        };
        let its = self
            .read
            .iter()
            .take_while(|read| read.partition == partition);
        let count = its.count();
        self.being_committed.extend(self.read.drain(..count));
        self.is_anothers = false;
        let last = self.being_committed.last().map_or(0, |last| last.offset);
        let mut offsets = TopicPartitionList::new();
        let next = Offset::Offset(last + 1);
        offsets
            .add_partition_offset(topic, partition, next)
            .map_err(|error| error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Fail))?;
        commits.commit(&offsets)
    }
}

impl Drop for KafkaFeed {
    fn drop(&mut self) {
        drop(self.consuming.take());
        if let Some(thread) = self.leaving.take() {
            let _ = thread.join();
        }
    }
}

impl Feed for KafkaFeed {
    async fn next(&self) -> Option<Vec<u8>> {
        let mut is_told = self.signal.take();
        loop {
            match self.look(is_told) {
                ControlFlow::Break(next) => return next,
                ControlFlow::Continue(None) => self.signal.told().await,
                // Either way it is time to look.
                ControlFlow::Continue(Some(until)) => {
                    let rest = until - Instant::now();
                    let _ = time::timeout(rest, self.signal.told()).await;
                }
            }
            is_told = true;
        }
    }

    fn processed(&self) {
        let free = self.free.get();
        self.free.set(free + 1);
        // Nothing is read while there is no room.
        if free == 0 {
            self.signal.tell();
        }
    }
}
