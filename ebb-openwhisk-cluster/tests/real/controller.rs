//! The controller, played: it sends activations, and hears what becomes of them.

use std::fmt::Display;
use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ebb::time;
use ebb_openwhisk::json::Json;
use ebb_openwhisk_cluster::counts::Counts;
use ebb_openwhisk_cluster::kafka::{Brokers, Kafka, KafkaFeed, ensure_topic};
use ebb_openwhisk_cluster::seam::{Bus, Feed};
use serde_json::Value;

use crate::messages::{completions, message};

/// The controller, and what it has been told.
pub struct Controller {
    pub kafka: Kafka,
    pub brokers: Brokers,
    completed: KafkaFeed,
    health: KafkaFeed,
}

impl Controller {
    pub async fn new(broker: &impl Display) -> Self {
        let mut brokers = Brokers::at(&broker.to_string());
        brokers
            .consumer
            .insert("fetch.wait.max.ms".into(), "50".into());
        for topic in ["invoker0", "completed0", "health"] {
            ensure_topic(&brokers, topic).await.expect("a topic");
        }
        let counts = Arc::new(Counts::default());
        let feed = |topic| KafkaFeed::subscribe(&brokers, topic, 100_000, &counts).expect("a feed");
        Self {
            kafka: Kafka::new(&brokers).expect("a producer"),
            completed: feed("completed0"),
            health: feed("health"),
            brokers,
        }
    }

    pub async fn send(&self, message: &Value) {
        let json = Json::parse(&message.to_string()).expect("JSON");
        self.kafka
            .send("invoker0", &json)
            .await
            .expect("the broker takes it");
    }

    pub async fn ping(&self) -> Value {
        let ping = time::timeout(Duration::from_secs(40), self.health.next()).await;
        let ping = ping.expect("in time").expect("a ping");
        serde_json::from_slice(&ping).expect("JSON")
    }

    /// Sends activations of an action, one for each number.
    pub async fn send_all(&self, numbers: Range<usize>, action: &str, revision: &str) {
        for number in numbers {
            self.send(&message(number, action, revision, number % 2 == 0))
                .await;
        }
    }

    /// Reads on until so many slots have been freed since the last call, and looks a moment longer.
    pub async fn hear(&self, completed: usize) -> Vec<Value> {
        heard(&self.completed, completed).await
    }
}

/// What a controller's topic has, until so many slots have been freed, and a moment longer.
pub async fn heard(feed: &KafkaFeed, completed: usize) -> Vec<Value> {
    let began = Instant::now();
    let mut told = Vec::new();
    loop {
        let freed: usize = completions(&told).values().sum();
        let patience = if freed < completed { 60 } else { 1 };
        match time::timeout(Duration::from_secs(patience), feed.next()).await {
            Ok(Some(message)) => told.push(serde_json::from_slice(&message).expect("JSON")),
            _ if freed < completed => {
                panic!("{freed} of {completed} after {:?}", began.elapsed())
            }
            _ => break,
        }
    }
    told
}
