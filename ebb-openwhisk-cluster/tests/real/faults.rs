//! The whole program when its parts fail. Kafka is librdkafka's mock of a cluster, which can be told to be slow, to be away, and to
//! refuse; the database is the one of the other tests, told likewise.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ebb::time;
use ebb_openwhisk::json::Json;
use ebb_openwhisk_cluster::counts::Counts;
use ebb_openwhisk_cluster::kafka::{Brokers, KafkaFeed};
use ebb_openwhisk_cluster::seam::{Bus, Feed};
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};
use serde_json::{Value, json};
use test_support::couch::{Couch, Fault};

use crate::controller::{Controller, heard};
use crate::kafka::{Cluster, on_a_cluster};
use crate::messages::{action, completions, id, message, once_each};
use crate::running::{self, Running};

struct World<'a> {
    cluster: &'a Cluster,
    couch: Couch,
    controller: Controller,
    running: Running,
}

fn with_world(test: impl AsyncFnOnce(World<'_>) + Send + 'static) {
    test_support::needs!("node");
    // Not while a consumer waits to be asked.
    running::built();
    on_a_cluster(async |cluster, brokers| {
        let couch = Couch::start();
        let controller = Controller::new(&brokers.hosts).await;
        let soon = [("CONFIG_whisk_kafka_common_reconnectBackoffMaxMs", "500")];
        let running = Running::set(&brokers.hosts, &couch.url(), &[], &soon);
        controller.ping().await;
        test(World {
            cluster,
            couch,
            controller,
            running,
        })
        .await;
    });
}

impl World<'_> {
    fn put(&self, name: &str, code: &str) -> String {
        self.couch.put_action(&action(name, &code.into()))
    }

    async fn until_running(&self, count: f64) {
        let began = Instant::now();
        while self.running.figure("ebb_whisk_running") < count {
            assert!(
                began.elapsed() < Duration::from_secs(60),
                "{count} do not run"
            );
            time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Ends the program, which is to have stored so many records.
    fn end(self, records: usize) {
        self.running.signal("-TERM");
        assert_eq!(self.running.ended(), Some(0));
        assert_eq!(self.couch.records().len(), records);
    }
}

const QUICK: &str = "const main = x => ({ n: x.n })";
const SLOW: &str =
    "const main = x => new Promise(done => setTimeout(() => done({ n: x.n }), 1500))";
/// Its result is too long to be on its way together with its completion, so the broker gets it by itself.
const LARGE: &str = "const main = x => new Promise(done => setTimeout(() => done({ text: 'x'.repeat(40000) }), 1500))";

fn from(numbers: std::ops::Range<usize>) -> BTreeMap<String, usize> {
    numbers.map(|number| (id(number), 1)).collect()
}

#[test]
fn a_broker_that_is_slow_goes_away_and_comes_back_costs_no_completion() {
    with_world(async |world| {
        let quick = world.put("quick", QUICK);
        let late = Duration::from_millis(200);
        world.cluster.broker_round_trip_time(1, late).expect("slow");
        world.controller.send_all(0..10, "quick", &quick).await;
        let told = world.controller.hear(10).await;
        assert_eq!(completions(&told), once_each(10));
        world
            .cluster
            .broker_round_trip_time(1, Duration::ZERO)
            .expect("not slow");

        let slow = world.put("slow", SLOW);
        // Eight run when it goes; the rest is in the topic, which nobody can read then.
        world.controller.send_all(10..30, "slow", &slow).await;
        world.until_running(8.0).await;
        world.cluster.broker_down(1).expect("away");
        time::sleep(Duration::from_secs(3)).await;
        let running = world.running.figure("ebb_whisk_running");
        assert_eq!(running as u32, 8, "they wait until they are acknowledged");
        world.cluster.broker_up(1).expect("back");
        let told = world.controller.hear(20).await;
        assert_eq!(completions(&told), from(10..30));
        world.end(30);
    });
}

#[test]
fn what_the_broker_finds_too_large_goes_as_its_id() {
    with_world(async |world| {
        let large = world.put("large", LARGE);
        // So that its acknowledgements are all that it sends.
        assert!(world.running.http("POST /disable").contains("now disabled"));
        while world.controller.ping().await["isEnabled"] == true {}
        world
            .controller
            .send(&message(0, "large", &large, true))
            .await;
        world.until_running(1.0).await;
        let refused = RDKafkaRespErr::RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE;
        world
            .cluster
            .request_errors(RDKafkaApiKey::Produce, &[refused]);
        let told = world.controller.hear(1).await;
        assert_eq!(told.len(), 2, "{told:?}");
        assert_eq!(told[0]["response"], id(0));
        assert_eq!(told[1]["activationId"], id(0));
        assert_eq!(told[1]["isSystemError"], false);
        assert_eq!(world.running.figure("ebb_whisk_shrunk_total") as u32, 1);
        // Whoever waits reads it in the database.
        let record = &world.couch.records()[&format!("guest/{}", id(0))];
        assert_eq!(
            record["response"]["result"]["text"],
            json!("x".repeat(40_000))
        );
        world.end(1);
    });
}

#[test]
fn when_a_group_is_shared_out_anew_each_message_still_goes_to_one() {
    with_world(async |world| {
        let quick = world.put("quick", QUICK);
        world.controller.send_all(0..20, "quick", &quick).await;
        let mut ended = completions(&world.controller.hear(20).await);
        // Another one with its number joins, as when it was started twice, and goes again.
        let mut brokers: Brokers = world.controller.brokers.clone();
        let settings = [
            ("session.timeout.ms", "6000"),
            ("heartbeat.interval.ms", "1000"),
        ];
        let settings = settings.map(|(name, value)| (name.to_owned(), value.to_owned()));
        brokers.consumer.extend(settings);
        let counts = Arc::new(Counts::default());
        let other = KafkaFeed::subscribe(&brokers, "invoker0", 1000, &counts).expect("a feed");
        let mut taken = Vec::new();
        for number in 20..80 {
            world
                .controller
                .send(&message(number, "quick", &quick, false))
                .await;
            if let Ok(Some(message)) = time::timeout(Duration::from_millis(100), other.next()).await
            {
                taken.push(message);
            }
        }
        other.close();
        while let Some(message) = other.next().await {
            taken.push(message);
        }
        drop(other);
        ended.extend(completions(&world.controller.hear(60 - taken.len()).await));
        for message in taken {
            let message: Value = serde_json::from_slice(&message).expect("JSON");
            let id = message["activationId"].as_str().expect("an id").to_owned();
            *ended.entry(id).or_insert(0) += 1;
        }
        assert_eq!(ended, once_each(80));
        world
            .controller
            .send(&message(80, "quick", &quick, false))
            .await;
        assert_eq!(completions(&world.controller.hear(1).await), from(80..81));
    });
}

#[test]
fn whatever_the_database_answers_each_activation_ends_in_one_completion() {
    with_world(async |world| {
        let couch = &world.couch;
        let attached = |length: usize| json!({"attachmentName": "couch:uuid", "attachmentType": "text/plain", "length": length});
        let mut revisions: BTreeMap<&str, String> = BTreeMap::new();
        for name in ["fine", "busy", "odd", "silent", "cut"] {
            revisions.insert(name, world.put(name, QUICK));
        }
        let mut empty = action("empty", &"".into());
        empty["exec"]
            .as_object_mut()
            .expect("an object")
            .remove("code");
        revisions.insert("empty", couch.put_action(&empty));
        revisions.insert("broken", couch.put_action(&action("broken", &attached(99))));
        couch.put_attachment("guest/broken", "uuid", b"short");
        revisions.insert("lost", couch.put_action(&action("lost", &attached(5))));
        revisions.insert("gone", "1-abc".into());
        couch.fail("guest%2Fbusy", Fault::Status(503));
        couch.fail("guest%2Fodd", Fault::Status(409));
        // A connection that was used before may have been closed meanwhile, so another one is tried after each of those.
        for _ in 0..20 {
            couch.fail("guest%2Fsilent", Fault::Silence(Duration::from_millis(300)));
            couch.fail("guest%2Fcut", Fault::Cut);
        }
        // Records, too: what is not taken now is stored later, and a conflict is one with itself.
        couch.fail("PUT", Fault::Status(503));
        couch.fail("PUT", Fault::Status(409));
        let (fine, application, platform) = (0, 1, 3);
        let expected = [
            ("fine", fine),
            ("gone", application),
            ("lost", application),
            ("busy", platform),
            ("odd", platform),
            ("silent", platform),
            ("cut", platform),
            ("empty", platform),
            ("broken", platform),
        ];
        for (number, (name, _)) in expected.iter().enumerate() {
            world
                .controller
                .send(&message(number, name, &revisions[name], true))
                .await;
        }
        let told = world.controller.hear(expected.len()).await;
        assert_eq!(completions(&told), once_each(expected.len()));
        for (number, (name, status)) in expected.iter().enumerate() {
            let mut of_this = told.iter().map(|t| &t["response"]);
            let record = of_this.find(|r| r["activationId"] == id(number));
            let response = &record.expect("a result")["response"];
            assert_eq!(response["statusCode"], *status, "{name}: {response}");
            let mut ends = told.iter().filter(|t| t.get("instance").is_some());
            let end = ends.find(|t| {
                t["activationId"] == id(number) || t["response"]["activationId"] == id(number)
            });
            assert_eq!(
                end.expect("an end")["isSystemError"],
                *status == platform,
                "{name}"
            );
        }
        // What was a matter of the moment is over.
        couch.mend("guest%2Fsilent");
        couch.mend("guest%2Fcut");
        for (number, name) in ["busy", "odd", "silent", "cut"].iter().enumerate() {
            world
                .controller
                .send(&message(100 + number, name, &revisions[name], true))
                .await;
        }
        for told in world.controller.hear(4).await {
            assert_ne!(told["isSystemError"], true, "{told}");
        }
        // One was said to be there already.
        world.end(expected.len() + 4 - 1);
    });
}

#[test]
fn what_cannot_be_read_takes_no_slot_and_what_is_from_the_future_runs() {
    with_world(async |world| {
        let quick = world.put("quick", QUICK);
        for _ in 0..10 {
            for bad in [
                "7",
                "\"text\"",
                "[]",
                "{}",
                "null",
                r#"{"transid":["a",1]}"#,
            ] {
                let bad = Json::parse(bad).expect("JSON");
                world
                    .controller
                    .kafka
                    .send("invoker0", &bad)
                    .await
                    .expect("sent");
            }
        }
        let mut future = message(0, "quick", &quick, true);
        future["transid"] = json!(["t", 99_999_999_999_999_u64, false, ["p", 1]]);
        future["novelty"] = json!({"a": [1]});
        future["rootControllerIndex"]["novelty"] = 1.into();
        world.controller.send(&future).await;
        let told = world.controller.hear(1).await;
        assert_eq!(told[0]["response"]["response"]["result"], json!({"n": 0}));
        assert_eq!(world.running.figure("ebb_whisk_malformed_total") as u32, 60);
        assert_eq!(world.running.figure("ebb_whisk_running") as u32, 0);
        world.end(1);
    });
}

#[test]
fn a_controller_that_never_comes_back_costs_bounded_memory_and_hears_all_when_it_does() {
    const COUNT: usize = 3000;
    with_world(async |world| {
        let quick = world.put("quick", QUICK);
        let send = async |numbers: std::ops::Range<usize>| {
            for number in numbers {
                let mut asked = message(number, "quick", &quick, true);
                asked["rootControllerIndex"]["asString"] = "7".into();
                // Nothing is run: the action has 256 MB.
                asked["user"]["limits"] = json!({"maxActionMemory": "128 MB"});
                asked["content"] = json!({"text": "x".repeat(1000)});
                world.controller.send(&asked).await;
            }
        };
        let ended = async |count: usize| {
            let began = Instant::now();
            while (world.running.figure("ebb_whisk_acknowledged_total") as usize) < count {
                assert!(began.elapsed() < Duration::from_secs(60), "not all end");
                time::sleep(Duration::from_millis(50)).await;
            }
        };
        send(0..COUNT / 10).await;
        ended(COUNT / 10).await;
        let before = world.running.resident_kib();
        send(COUNT / 10..COUNT).await;
        ended(COUNT).await;
        let more = world.running.resident_kib().saturating_sub(before);
        assert!(more < 8 << 10, "{more} KiB more");
        let counts = Arc::new(Counts::default());
        let brokers = &world.controller.brokers;
        let late = KafkaFeed::subscribe(brokers, "completed7", COUNT, &counts).expect("a feed");
        assert_eq!(completions(&heard(&late, COUNT).await), once_each(COUNT));
    });
}

#[test]
fn a_controller_whose_topic_has_no_leader_holds_no_slot_that_another_ones_needs() {
    // As many as twice the slots of a gigabyte.
    const LOST: usize = 16;
    with_world(async |world| {
        let quick = world.put("quick", QUICK);
        world
            .cluster
            .partition_leader("completed7", 0, None)
            .expect("it has no leader");
        for number in 0..LOST {
            let mut asked = message(number, "quick", &quick, true);
            asked["rootControllerIndex"]["asString"] = "7".into();
            world.controller.send(&asked).await;
        }
        world
            .controller
            .send_all(LOST..LOST + 20, "quick", &quick)
            .await;
        let told = world.controller.hear(20).await;
        assert_eq!(completions(&told), from(LOST..LOST + 20));
        // They have been run, and what became of them is still to be told.
        assert_eq!(world.running.figure("ebb_whisk_running") as usize, LOST);
        assert!(world.running.figure("ebb_whisk_acknowledgements_bytes") > 0.0);
        world
            .cluster
            .partition_leader("completed7", 0, Some(1))
            .expect("it has one again");
        let counts = Arc::new(Counts::default());
        let brokers = &world.controller.brokers;
        // Each is told of twice.
        let late = KafkaFeed::subscribe(brokers, "completed7", 2 * LOST, &counts).expect("a feed");
        let told = heard(&late, LOST).await;
        assert_eq!(completions(&told), from(0..LOST));
        assert_eq!(
            world.running.figure("ebb_whisk_acknowledgements_bytes") as usize,
            0
        );
        world.end(LOST + 20);
    });
}
