//! A real broker that ends, dies or hangs, and is there again with what it had.

use std::collections::BTreeMap;
use std::ops::Range;
use std::time::{Duration, Instant};

use ebb::time;
use test_support::{couch::Couch, lasting_broker::LastingBroker};

use crate::controller::Controller;
use crate::messages::{action, completions, id};
use crate::program::with_broker;
use crate::running::Running;

const SLOW: &str =
    "const main = x => new Promise(done => setTimeout(() => done({ n: x.n }), 1500))";
/// How long it takes a broker to write what it was given last.
const WRITTEN: Duration = Duration::from_secs(3);
const AWAY: Duration = Duration::from_secs(3);

fn from(numbers: Range<usize>) -> BTreeMap<String, usize> {
    numbers.map(|number| (id(number), 1)).collect()
}

/// Something befalls the broker while eight activations run and others are in the topic.
async fn befalls(
    broker: &mut LastingBroker,
    couch: &Couch,
    fault: impl AsyncFnOnce(&mut LastingBroker),
) {
    let controller = Controller::new(&broker.address).await;
    let revision = couch.put_action(&action("slow", &SLOW.into()));
    let soon = [("CONFIG_whisk_kafka_common_reconnectBackoffMaxMs", "500")];
    let running = Running::set(&broker.address, &couch.url(), &[], &soon);
    controller.ping().await;
    controller.send_all(0..4, "slow", &revision).await;
    assert_eq!(completions(&controller.hear(4).await), from(0..4));
    // Eight may run at once (1 GB); the others wait in the topic.
    controller.send_all(4..24, "slow", &revision).await;
    let began = Instant::now();
    while (running.figure("ebb_whisk_running") as usize) < 8 {
        assert!(
            began.elapsed() < Duration::from_secs(60),
            "eight do not run"
        );
        time::sleep(Duration::from_millis(20)).await;
    }
    fault(broker).await;
    let told = controller.hear(20).await;
    assert_eq!(completions(&told), from(4..24));
    // It takes and tells as before.
    controller.send_all(24..28, "slow", &revision).await;
    assert_eq!(completions(&controller.hear(4).await), from(24..28));
    running.signal("-TERM");
    assert_eq!(running.ended(), Some(0));
    assert_eq!(couch.records().len(), 28);
}

#[test]
fn a_broker_that_is_started_again_costs_no_completion() {
    with_broker(LastingBroker::start, async |broker, couch| {
        befalls(broker, couch, async |broker| {
            broker.end();
            time::sleep(AWAY).await;
            broker.begin();
        })
        .await;
    });
}

#[test]
fn a_broker_that_hangs_costs_no_completion() {
    with_broker(LastingBroker::start, async |broker, couch| {
        befalls(broker, couch, async |broker| {
            broker.signal("-STOP");
            time::sleep(AWAY).await;
            broker.signal("-CONT");
        })
        .await;
    });
}

#[test]
fn what_a_killed_broker_has_written_is_run_and_acknowledged_by_an_invoker_that_starts_later() {
    with_broker(LastingBroker::start, async |broker, couch| {
        let revision = couch.put_action(&action("slow", &SLOW.into()));
        let controller = Controller::new(&broker.address).await;
        let running = Running::start(&broker.address, &couch.url());
        controller.ping().await;
        controller.send_all(0..4, "slow", &revision).await;
        assert_eq!(completions(&controller.hear(4).await), from(0..4));
        running.signal("-TERM");
        assert_eq!(running.ended(), Some(0));
        controller.send_all(4..12, "slow", &revision).await;
        time::sleep(WRITTEN).await;
        broker.signal("-KILL");
        broker.end();
        broker.begin();
        // What was committed is not run again.
        let running = Running::start(&broker.address, &couch.url());
        let told = controller.hear(8).await;
        assert_eq!(completions(&told), from(4..12));
        running.signal("-TERM");
        assert_eq!(running.ended(), Some(0));
    });
}
