//! Kafka, through librdkafka: the real bus and the real feed.
//!
//! librdkafka has threads of its own; what they report wakes tasks of a core. The consumer is polled by one thread more, because
//! polling and committing block.
//!
//! What must hold:
//! - A message is handed over when its offset has been committed, and never without: after a crash nothing runs a second time, and what
//!   was handed over and not acknowledged is lost, as in the reference (`MessageConsumer.scala`, "at most once"). Messages
//!   whose commit failed are read again.
//! - No more is taken from the topic than there is room for.

use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use ebb::sync::{oneshot, queue};
use ebb::time;
use ebb_openwhisk::json::Json;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::{ClientContext, DefaultClientContext};
use rdkafka::config::{
    ClientConfig, FromClientConfig, FromClientConfigAndContext, RDKafkaLogLevel,
};
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::Message as _;
use rdkafka::producer::{
    BaseRecord, DeliveryResult, Producer as _, ProducerContext, ThreadedProducer,
};
use rdkafka::statistics::Statistics;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use crate::counts::Counts;
use crate::seam::{Both, Bus, Feed, SendError};

/// How a broker is reached, and what is said to all clients.
#[derive(Clone, Debug)]
pub struct Brokers {
    /// `HOST:PORT,..`.
    pub hosts: String,
    /// Settings of librdkafka for all clients, for the producer, for the consumer: `whisk.kafka.common`, `producer`, `consumer`.
    pub common: HashMap<String, String>,
    /// See `common`.
    pub producer: HashMap<String, String>,
    /// See `common`.
    pub consumer: HashMap<String, String>,
    /// Bytes of the largest message: the largest payload and what is around it.
    pub message_bytes: usize,
    /// Copies of a topic that is made.
    pub replication: i32,
}

impl Brokers {
    /// These, with nothing else said.
    pub fn at(hosts: &str) -> Self {
        Self {
            hosts: hosts.into(),
            common: HashMap::new(),
            producer: HashMap::new(),
            consumer: HashMap::new(),
            message_bytes: (1 << 20) + SERDES_OVERHEAD,
            replication: 1,
        }
    }

    fn config(&self, own: &[(&str, &str)], given: &HashMap<String, String>) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &self.hosts);
        config.set("client.id", "ebb-whisk-invoker");
        for (name, value) in own {
            config.set(*name, *value);
        }
        for (name, value) in self.common.iter().chain(given) {
            config.set(name, value);
        }
        config
    }
}

/// `whisk.activation.kafka.serdes-overhead`: bytes around a payload.
pub const SERDES_OVERHEAD: usize = 6068;

/// Says on standard error what librdkafka has to say to people.
fn tell(level: RDKafkaLogLevel, what: &str) {
    if level as i32 <= RDKafkaLogLevel::Warning as i32 {
        eprintln!("whisk-invoker: Kafka: {what}");
    }
}

/// What a producer's messages report to.
struct Deliveries;

impl ClientContext for Deliveries {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        tell(level, &format!("{facility} {message}"));
    }

    fn error(&self, error: KafkaError, reason: &str) {
        eprintln!("whisk-invoker: Kafka: {error}: {reason}");
    }
}

type Delivered = oneshot::Sender<Result<(), SendError>>;
type Delivery = oneshot::Receiver<Result<(), SendError>>;

impl ProducerContext for Deliveries {
    type DeliveryOpaque = Box<Delivered>;

    fn delivery(&self, result: &DeliveryResult<'_>, delivered: Box<Delivered>) {
        let result = match result {
            Ok(_) => Ok(()),
            Err((error, _)) => Err(send_error(error)),
        };
        // Nobody waits any more.
        let _ = delivered.send(result);
    }
}

fn send_error(error: &KafkaError) -> SendError {
    match error.rdkafka_error_code() {
        Some(RDKafkaErrorCode::MessageSizeTooLarge | RDKafkaErrorCode::InvalidMessageSize) => {
            SendError::TooLarge
        }
        _ => SendError::Failed(format!("{error}")),
    }
}

/// The bus.
pub struct Kafka(Arc<ThreadedProducer<Deliveries>>);

/// How long a message is tried before it is given up.
const DELIVERY_MS: &str = "300000";
/// How long a full queue is waited for before it is tried again.
const FULL: Duration = Duration::from_millis(10);
/// How long what was sent may take to leave at the end.
const FLUSH: Duration = Duration::from_secs(5);

impl Kafka {
    /// Makes a producer; it connects by itself, now or later.
    ///
    /// # Errors
    /// A setting that librdkafka does not know.
    pub fn new(brokers: &Brokers) -> Result<Self, String> {
        let bytes = brokers.message_bytes.to_string();
        let config = brokers.config(
            &[
                ("acks", "1"),
                ("request.timeout.ms", "30000"),
                ("metadata.max.age.ms", "15000"),
                ("message.timeout.ms", DELIVERY_MS),
                // A message is not held back for others to join it, but those that come while one is on its way go together, and never
                // before it.
                ("linger.ms", "0"),
                ("max.in.flight.requests.per.connection", "1"),
                // Brokers compare a whole batch with what a topic takes.
                ("batch.size", "65536"),
                ("message.max.bytes", &bytes),
                ("queue.buffering.max.kbytes", "32768"),
            ],
            &brokers.producer,
        );
        let producer = ThreadedProducer::from_config_and_context(&config, Deliveries);
        let producer = producer.map_err(|error| format!("the producer for Kafka: {error}"))?;
        Ok(Self(Arc::new(producer)))
    }

    /// Waits until what was sent has left. Blocks.
    pub fn flush(&self) {
        let _ = self.0.flush(FLUSH);
    }
}

impl Clone for Kafka {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl Kafka {
    /// Queues a message. What is queued for one topic leaves in this order.
    async fn queue(&self, topic: &str, message: &Json) -> Result<Delivery, SendError> {
        loop {
            let (delivered, delivery) = oneshot::channel();
            let record = BaseRecord::<(), str, _>::with_opaque_to(topic, Box::new(delivered));
            match self.0.send(record.payload(message.as_str())) {
                Ok(()) => return Ok(delivery),
                Err((error, _)) => match error.rdkafka_error_code() {
                    Some(RDKafkaErrorCode::QueueFull) => time::sleep(FULL).await,
                    _ => return Err(send_error(&error)),
                },
            }
        }
    }
}

/// Waits until a message that was queued has arrived.
async fn arrival(queued: Result<Delivery, SendError>) -> Result<(), SendError> {
    let gone = || SendError::Failed("the producer has ended".into());
    queued?.await.unwrap_or_else(|_| Err(gone()))
}

impl Bus for Kafka {
    async fn send(&self, topic: &str, message: &Json) -> Result<(), SendError> {
        arrival(self.queue(topic, message).await).await
    }

    async fn send_both(&self, topic: &str, [first, second]: [&Json; 2]) -> Both {
        let first = self.queue(topic, first).await;
        if let Err(SendError::TooLarge) = first {
            return (arrival(first).await, None);
        }
        let second = self.queue(topic, second).await;
        (arrival(first).await, Some(arrival(second).await))
    }
}

/// How long brokers may take to say what topics there are, or to make one.
const TOPICS: Duration = Duration::from_secs(30);

/// Makes a topic as the reference does (`KafkaMessagingProvider.scala`, `ensureTopic`), if it is not there: who may use a topic need not
/// be allowed to make some.
///
/// # Errors
/// What the brokers say.
pub async fn ensure_topic(brokers: &Brokers, name: &str) -> Result<(), String> {
    let admin: AdminClient<_> = AdminClient::from_config(&brokers.config(&[], &HashMap::new()))
        .map_err(|error| format!("the client for Kafka: {error}"))?;
    let refused = |why: String| {
        format!(
            "the topic {name} cannot be made by {}: {why}; is that a broker, and may this invoker make topics?",
            brokers.hosts
        )
    };
    let admin = Arc::new(admin);
    if is_there(&admin, name).await.map_err(&refused)? {
        return Ok(());
    }
    let bytes = brokers.message_bytes.to_string();
    let topic = NewTopic::new(name, 1, TopicReplication::Fixed(brokers.replication))
        .set("segment.bytes", "536870912")
        .set("retention.bytes", "1073741824")
        .set("retention.ms", "172800000")
        .set("max.message.bytes", &bytes);
    let options = AdminOptions::new().request_timeout(Some(TOPICS));
    let made = admin.create_topics([&topic], &options).await;
    match made.map_err(|error| refused(format!("{error}")))?.pop() {
        None | Some(Ok(_)) | Some(Err((_, RDKafkaErrorCode::TopicAlreadyExists))) => Ok(()),
        Some(Err((_, code))) => Err(refused(format!("{code}"))),
    }
}

/// Whether brokers tell of a topic when they are asked for all: naming it would make it, on some with several partitions.
async fn is_there(
    admin: &Arc<AdminClient<DefaultClientContext>>,
    name: &str,
) -> Result<bool, String> {
    let (tell, told) = oneshot::channel();
    let (admin, name) = (Arc::clone(admin), name.to_owned());
    // It blocks.
    let asks = move || {
        let topics = admin.inner().fetch_metadata(None, TOPICS);
        let _ = tell.send(topics.map(|all| all.topics().iter().any(|t| t.name() == name)));
    };
    std::thread::Builder::new()
        .name("whisk topics".into())
        .spawn(asks)
        .map_err(|error| format!("a thread: {error}"))?;
    let told = told.await.map_err(|_| String::from("its thread ended"))?;
    told.map_err(|error| format!("{error}"))
}

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
