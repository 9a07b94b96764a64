//! Kafka, through librdkafka: the real bus and the real feed (`feed`).
//!
//! librdkafka has threads of its own; what they report wakes tasks of a core, which look at it there: a thread between would have to be
//! woken, too.

mod feed;
mod pace;
mod queue;

use std::collections::HashMap;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::Duration;

use ebb::sync::oneshot;
use ebb::{spawn, time};
use ebb_openwhisk::json::Json;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::{ClientContext, DefaultClientContext};
use rdkafka::config::{
    ClientConfig, FromClientConfig, FromClientConfigAndContext, RDKafkaLogLevel,
};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{BaseProducer, BaseRecord, DeliveryResult, Producer as _, ProducerContext};

use crate::counts::Counts;
use crate::seam::{Both, Bus, SendError};

pub use feed::KafkaFeed;
use pace::Pace;
use queue::{Queue, Signal};

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
#[derive(Clone)]
pub struct Kafka(Rc<Producing>);

/// A producer and its queue. The queue goes first, because it holds the producer.
struct Producing {
    reports: Queue<BaseProducer<Deliveries>>,
    producer: Arc<BaseProducer<Deliveries>>,
    /// Told when there are reports, and at the end.
    signal: Arc<Signal>,
    pace: Pace,
    counts: Option<Arc<Counts>>,
}

impl Producing {
    /// Tells of all that has arrived.
    fn report(&self) {
        loop {
            self.producer.poll(Duration::ZERO);
            if self.reports.is_empty() {
                return;
            }
        }
    }
}

impl Drop for Producing {
    fn drop(&mut self) {
        self.signal.tell();
    }
}

/// Tells of what has arrived as long as there is a producer.
async fn report(producing: Weak<Producing>, signal: Arc<Signal>) {
    loop {
        signal.told().await;
        match producing.upgrade() {
            Some(producing) => producing.report(),
            None => return,
        }
    }
}

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
        Self::with(brokers, None)
    }

    /// The same, which heeds how many calls are under way.
    ///
    /// # Errors
    /// As above.
    pub fn of_invoker(brokers: &Brokers, counts: &Arc<Counts>) -> Result<Self, String> {
        Self::with(brokers, Some(Arc::clone(counts)))
    }

    fn with(brokers: &Brokers, counts: Option<Arc<Counts>>) -> Result<Self, String> {
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
        let producer = BaseProducer::from_config_and_context(&config, Deliveries);
        let producer = producer.map_err(|error| format!("the producer for Kafka: {error}"))?;
        let (producer, signal) = (Arc::new(producer), Arc::new(Signal::default()));
        let reports = Queue::main(&producer, &signal);
        let producing = Rc::new(Producing {
            reports: reports.ok_or("the producer for Kafka has no queue")?,
            producer,
            signal: Arc::clone(&signal),
            pace: Pace::default(),
            counts,
        });
        signal.tell();
        drop(spawn(report(Rc::downgrade(&producing), signal)));
        Ok(Self(producing))
    }

    /// Waits until what was sent has left. Blocks.
    pub fn flush(&self) {
        let _ = self.0.producer.flush(FLUSH);
    }

    /// Queues a message. What is queued for one topic leaves in this order.
    async fn queue(&self, topic: &str, message: &Json) -> Result<Delivery, SendError> {
        loop {
            let (delivered, delivery) = oneshot::channel();
            let record = BaseRecord::<(), str, _>::with_opaque_to(topic, Box::new(delivered));
            match self.0.producer.send(record.payload(message.as_str())) {
                Ok(()) => return Ok(delivery),
                Err((error, _)) => match error.rdkafka_error_code() {
                    Some(RDKafkaErrorCode::QueueFull) => time::sleep(FULL).await,
                    _ => return Err(send_error(&error)),
                },
            }
        }
    }
}

impl Kafka {
    /// Waits for others to go with it.
    async fn gather(&self) {
        let Some(counts) = &self.0.counts else { return };
        if let Some(until) = self.0.pace.wait(counts) {
            time::sleep_until(until).await;
            // The first one of those that have waited goes, and the others with it.
            let _ = self.0.pace.wait(counts);
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
        self.gather().await;
        arrival(self.queue(topic, message).await).await
    }

    async fn send_both(&self, topic: &str, [first, second]: [&Json; 2]) -> Both {
        self.gather().await;
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
