//! The feed. The consumer is polled by a thread of its own, because polling and committing block.
//!
//! What must hold:
//! - A message is handed over when its offset has been committed, and never without: after a crash nothing runs a second time, and what
//!   was handed over and not acknowledged is lost, as in the reference (`MessageConsumer.scala`, "at most once"). Messages
//!   whose commit failed are read again.
//! - No more is taken from the topic than there is room for.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use ebb::sync::queue;
use rdkafka::client::ClientContext;
use rdkafka::config::{FromClientConfigAndContext, RDKafkaLogLevel};
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer, ConsumerContext};
use rdkafka::error::KafkaError;
use rdkafka::message::Message as _;
use rdkafka::statistics::Statistics;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use super::{Brokers, tell};
use crate::counts::Counts;
use crate::seam::Feed;

/// What the thread that polls and the core that runs share.
struct Room {
    state: Mutex<RoomState>,
    changed: Condvar,
}

struct RoomState {
    /// Messages that may be taken.
    free: usize,
    is_closed: bool,
}

impl Room {
    fn state(&self) -> MutexGuard<'_, RoomState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for room; how much there is, or `None` when the feed is closed.
    fn wait(&self) -> Option<usize> {
        let state = self.state();
        let wait = self
            .changed
            .wait_while(state, |state| state.free == 0 && !state.is_closed);
        let state = wait.unwrap_or_else(PoisonError::into_inner);
        (!state.is_closed).then_some(state.free)
    }
}

/// The consumer's figures.
struct Lag(Arc<Counts>);

impl ClientContext for Lag {
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
            self.0.lag.store(lag, Ordering::Relaxed);
        }
    }
}

impl ConsumerContext for Lag {}

/// The feed: one topic with one partition, as a consumer group of the topic's name.
pub struct KafkaFeed {
    room: Arc<Room>,
    messages: std::cell::RefCell<queue::Receiver<Vec<u8>>>,
    thread: Option<JoinHandle<()>>,
}

/// How long one poll waits.
const POLL: Duration = Duration::from_millis(100);
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
        let context = Lag(Arc::clone(counts));
        let consumer: BaseConsumer<Lag> =
            BaseConsumer::from_config_and_context(&config, context).map_err(wrong)?;
        consumer.subscribe(&[topic]).map_err(wrong)?;
        let (sender, messages) = queue::queue(most);
        let room = Arc::new(Room {
            state: Mutex::new(RoomState {
                free: most,
                is_closed: false,
            }),
            changed: Condvar::new(),
        });
        let shared = Arc::clone(&room);
        let thread = std::thread::Builder::new()
            .name("whisk feed".into())
            .spawn(move || take(&consumer, &shared, &sender))
            .map_err(|error| format!("a thread for the consumer of {topic}: {error}"))?;
        Ok(Self {
            room,
            messages: messages.into(),
            thread: Some(thread),
        })
    }

    /// Takes nothing more from the topic. What was taken comes out, and then nothing.
    pub fn close(&self) {
        self.room.state().is_closed = true;
        self.room.changed.notify_all();
    }
}

impl Drop for KafkaFeed {
    fn drop(&mut self) {
        self.close();
        if let Some(thread) = self.thread.take() {
            // It leaves the group, so that the next one need not wait for this one's session to end.
            let _ = thread.join();
        }
    }
}

impl Feed for KafkaFeed {
    #[expect(
        clippy::await_holding_refcell_ref,
        reason = "one task takes the messages"
    )]
    async fn next(&self) -> Option<Vec<u8>> {
        self.messages.borrow_mut().recv().await
    }

    fn processed(&self) {
        let mut state = self.room.state();
        state.free += 1;
        // The thread waits for room when there is none, and to tell it takes a system call.
        if state.free == 1 {
            self.room.changed.notify_all();
        }
    }
}

/// Takes messages as long as there is room, until the feed is closed.
fn take(consumer: &BaseConsumer<Lag>, room: &Room, sender: &queue::Sender<Vec<u8>>) {
    while let Some(free) = room.wait() {
        let batch = peek(consumer, free);
        let (Some(first), Some(last)) = (batch.first(), batch.last()) else {
            continue;
        };
        let (topic, partition) = (&first.topic, first.partition);
        let mut offsets = TopicPartitionList::new();
        let next = Offset::Offset(last.offset + 1);
        let added = offsets.add_partition_offset(topic, partition, next);
        let committed = added.and_then(|()| consumer.commit(&offsets, CommitMode::Sync));
        if let Err(error) = committed {
            eprintln!(
                "whisk-invoker: {} messages of {topic} are read again, because their offsets cannot be committed: {error}",
                batch.len()
            );
            let from = Offset::Offset(first.offset);
            if let Err(error) = consumer.seek(topic, partition, from, SEEK) {
                // Whoever joins the group begins at the last commit.
                eprintln!(
                    "whisk-invoker: the group of {topic} is joined anew, because it cannot be read again: {error}"
                );
                consumer.unsubscribe();
                if let Err(error) = consumer.subscribe(&[topic]) {
                    eprintln!("whisk-invoker: {topic} cannot be subscribed to: {error}");
                }
            }
            std::thread::sleep(AFTER_FAILURE);
            continue;
        }
        room.state().free -= batch.len();
        for taken in batch {
            // There is a place for as many as there was room for.
            let _ = sender.push(taken.payload);
        }
    }
}

struct Taken {
    topic: String,
    partition: i32,
    offset: i64,
    payload: Vec<u8>,
}

/// The messages of one partition that are there, at most so many; waits a bit for the first one.
fn peek(consumer: &BaseConsumer<Lag>, most: usize) -> Vec<Taken> {
    let mut batch: Vec<Taken> = Vec::new();
    let mut wait = POLL;
    while batch.len() < most {
        match consumer.poll(wait) {
            None => break,
            Some(Err(error)) => {
                // librdkafka goes on by itself; what lasts is told by its own log.
                if batch.is_empty() {
                    eprintln!("whisk-invoker: Kafka: {error}");
                    std::thread::sleep(POLL);
                }
                break;
            }
            Some(Ok(message)) => {
                let taken = Taken {
                    topic: message.topic().to_owned(),
                    partition: message.partition(),
                    offset: message.offset(),
                    payload: message.payload().unwrap_or_default().to_vec(),
                };
                let is_other = batch
                    .first()
                    .is_some_and(|first| first.partition != taken.partition);
                if is_other {
                    // One partition at a time is committed; this one comes again.
                    let from = Offset::Offset(taken.offset);
                    let _ = consumer.seek(&taken.topic, taken.partition, from, POLL);
                    break;
                }
                batch.push(taken);
            }
        }
        wait = Duration::ZERO;
    }
    batch
}
