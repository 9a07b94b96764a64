//! What kcat sees and says on the topics between invoker and scheduler.

use std::time::{Duration, Instant};

use ebb::time;
use ebb_hosted::Config;
use rdkafka::mocking::MockCluster;
use serde_json::Value;
use test_support::couch::Couch;

use crate::etcd::{EtcdServer, until};
use crate::kcat::{consume, produce};
use crate::messages::{action, completions, id, message};
use crate::running::Running;
use crate::scheduler::Scheduler;

/// What a topic has, when it has so many.
async fn read(brokers: &str, topic: &str, count: usize) -> Vec<Value> {
    let began = Instant::now();
    loop {
        let seen = consume(brokers, topic);
        if seen.len() >= count {
            return seen;
        }
        assert!(began.elapsed() < Duration::from_secs(30), "{seen:?}");
        time::sleep(Duration::from_millis(100)).await;
    }
}

#[test]
fn kcat_asks_for_containers_and_reads_what_became_of_them() {
    test_support::needs!("node", "etcd", "kcat");
    let one_core = Config {
        cores: 1,
        pin: false,
    };
    ebb_hosted::run(&one_core, async || {
        let mock = MockCluster::new(1).expect("a mock of a cluster");
        for topic in ["invoker0", "completed0", "creationAck0"] {
            mock.create_topic(topic, 1, 1).expect("a topic");
        }
        let brokers = mock.bootstrap_servers();
        let (etcd, couch, scheduler) = (EtcdServer::start(), Couch::start(), Scheduler::start());
        let revision = couch.put_action(&action("seen", &"const main = x => x".into()));
        scheduler.add(message(0, "seen", &revision, false));
        let options = ["--scheduler", &etcd.address.to_string()];
        let running = Running::with(&brokers, &couch.url(), &options);
        until("the invoker is up", 60, || {
            let told = etcd.below("whisk/invokers/0");
            told.first()
                .is_some_and(|(_, value)| value.contains("\"up\""))
        })
        .await;
        let good = scheduler.creation(1, "seen", &revision);
        let bad = scheduler.creation(2, "missing", "1-a");
        produce(&brokers, "invoker0", &format!("{good}\n{bad}"));
        let mut answers = read(&brokers, "creationAck0", 2).await;
        answers.sort_by_key(|answer| answer["creationId"].to_string());
        assert_eq!(answers[0]["creationId"], id(1));
        assert_eq!(answers[0].get("error"), None, "{}", answers[0]);
        assert_eq!(answers[0]["rootInvokerIndex"]["instance"], 0);
        assert_eq!(answers[1]["creationId"], id(2));
        assert_eq!(answers[1]["error"], "DBFetchError");
        let told = read(&brokers, "completed0", 1).await;
        assert_eq!(completions(&told), [(id(0), 1)].into());
        running.signal("-TERM");
        assert_eq!(running.ended(), Some(0));
    });
}
