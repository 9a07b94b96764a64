//! A controller: it sends activations and hears what became of them, with as many under way as it is told.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::Message;
use rdkafka::producer::{BaseRecord, DefaultProducerContext, ThreadedProducer};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use serde_json::{Value, json};

/// How long it waits for an answer before something is wrong.
const PATIENCE: Duration = Duration::from_secs(120);

/// What is asked for.
#[derive(Clone)]
pub struct Action {
    /// In the namespace `guest`.
    pub name: String,
    /// The revision that the database has.
    pub revision: String,
}

/// Seconds from a message to its result, with the number of the action.
pub type Times = Vec<(usize, f64)>;

/// A controller.
pub struct Controller {
    producer: ThreadedProducer<DefaultProducerContext>,
    completed: BaseConsumer,
    next: u64,
    /// The user's limits in the messages that are sent.
    pub limits: Value,
}

fn config(broker: SocketAddr) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", broker.to_string());
    config
}

/// Makes topics, each with one partition.
pub fn make_topics(broker: SocketAddr, names: &[&str]) {
    let admin: AdminClient<DefaultClientContext> = config(broker).create().expect("a client");
    let topics: Vec<NewTopic<'_>> = names
        .iter()
        .map(|name| NewTopic::new(name, 1, TopicReplication::Fixed(1)))
        .collect();
    let made = admin.create_topics(&topics, &AdminOptions::new());
    let runtime = tokio::runtime::Builder::new_current_thread().build();
    let made = runtime.expect("a runtime").block_on(made);
    made.expect("the broker answers");
}

impl Controller {
    /// The one with this number; its fetches wait so long.
    pub fn new(broker: SocketAddr, number: u32, wait_ms: u64) -> Self {
        let producer = config(broker).set("linger.ms", "0").create();
        let completed: BaseConsumer = config(broker)
            .set("group.id", format!("controller{number}"))
            .set("fetch.wait.max.ms", wait_ms.to_string())
            .create()
            .expect("a consumer");
        let mut partitions = TopicPartitionList::new();
        let topic = format!("completed{number}");
        let added = partitions.add_partition_offset(&topic, 0, Offset::Beginning);
        added
            .and_then(|()| completed.assign(&partitions))
            .expect("a topic with one partition");
        Self {
            producer: producer.expect("a producer"),
            completed,
            next: 0,
            limits: json!({}),
        }
    }

    fn send(&mut self, topic: &str, controller: u32, action: &Action) -> String {
        let id = format!("{:032x}", self.next);
        self.next += 1;
        let message = json!({
            "transid": ["0123456789abcdef0123456789abcdef", 1500],
            "action": {"path": "guest", "name": action.name, "version": "0.0.1"},
            "revision": action.revision,
            "user": {
                "subject": "guest", "namespace": {"name": "guest", "uuid": "23bc46b1"},
                "authkey": {"api_key": "23bc46b1:key"}, "rights": ["READ", "ACTIVATE"], "limits": self.limits,
            },
            "activationId": id,
            "rootControllerIndex": {"asString": controller.to_string(), "instanceType": "controller"},
            "blocking": true, "content": {"name": "you"}, "initArgs": [], "lockedArgs": {},
        });
        let message = message.to_string();
        let sent = self
            .producer
            .send(BaseRecord::<(), str>::to(topic).payload(&message));
        sent.expect("there is room in the producer");
        id
    }

    /// What it hears next.
    fn hear(&self) -> Value {
        let began = Instant::now();
        loop {
            match self.completed.poll(Duration::from_millis(100)) {
                Some(Ok(message)) => {
                    let payload = message.payload().expect("it is not empty");
                    return serde_json::from_slice(payload).expect("JSON");
                }
                Some(Err(error)) => panic!("the broker: {error}"),
                None => assert!(began.elapsed() < PATIENCE, "no answer"),
            }
        }
    }

    /// Sends messages to `topic`, always `outstanding` at once, for so long or until `count` have been sent: of `actions` in turns, and of each as
    /// many at once as of the others where there are no more than that. Whether each result is right is up to `check`.
    pub fn press(
        &mut self,
        topic: &str,
        controller: u32,
        actions: &[Action],
        outstanding: usize,
        (seconds, count): (f64, usize),
        check: impl Fn(&Value),
    ) -> (Times, f64) {
        let began = Instant::now();
        let end = began + Duration::from_secs_f64(seconds);
        let mut under_way: HashMap<String, (usize, Instant)> = HashMap::new();
        let (mut times, mut sent) = (Times::new(), 0);
        while sent < outstanding.min(count) {
            let of = sent % actions.len();
            let begun = Instant::now();
            under_way.insert(self.send(topic, controller, &actions[of]), (of, begun));
            sent += 1;
        }
        let mut finished = None;
        while !under_way.is_empty() {
            let told = self.hear();
            let response = &told["response"];
            let id = told["activationId"].as_str();
            let id = id
                .or_else(|| response["activationId"].as_str())
                .unwrap_or_default();
            let Some(&(of, begun)) = under_way.get(id) else {
                panic!("an answer to nothing: {told}");
            };
            if response.is_object() {
                check(&response["response"]);
                times.push((of, begun.elapsed().as_secs_f64()));
            }
            // The slot is free.
            if told.get("instance").is_some() {
                under_way.remove(id);
                let now = Instant::now();
                if now >= end || sent >= count {
                    finished.get_or_insert(now);
                    continue;
                }
                let of = match actions.len() > outstanding {
                    true => sent % actions.len(),
                    false => of,
                };
                under_way.insert(self.send(topic, controller, &actions[of]), (of, now));
                sent += 1;
            }
        }
        let elapsed = (finished.unwrap_or(end) - began).as_secs_f64();
        (times, elapsed)
    }
}
