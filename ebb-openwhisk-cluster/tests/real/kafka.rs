//! The bus and the feed, on librdkafka's mock of a cluster.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use ebb::time::Instant;
use ebb::{spawn, time};
use ebb_hosted::Config;
use ebb_openwhisk::json::Json;
use ebb_openwhisk_cluster::counts::Counts;
use ebb_openwhisk_cluster::kafka::{Brokers, Kafka, KafkaFeed};
use ebb_openwhisk_cluster::seam::{Bus, Feed, SendError};
use rdkafka::mocking::MockCluster;
use rdkafka::producer::DefaultProducerContext;
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};

const MOMENT: Duration = Duration::from_millis(500);
const PATIENCE: Duration = Duration::from_secs(60);

/// librdkafka's mock.
pub type Cluster = MockCluster<'static, DefaultProducerContext>;

/// Runs a test with a cluster of one broker that has an invoker's topics.
pub fn on_a_cluster(test: impl AsyncFnOnce(&Cluster, &Brokers) + Send + 'static) {
    ebb_hosted::run(
        &Config {
            cores: 1,
            pin: false,
        },
        async move || {
            let cluster = MockCluster::new(1).expect("a mock of a cluster");
            for topic in ["invoker0", "completed0", "completed7", "health", "events"] {
                cluster.create_topic(topic, 1, 1).expect("a topic");
            }
            let mut brokers = Brokers::at(&cluster.bootstrap_servers());
            brokers
                .consumer
                .insert("fetch.wait.max.ms".into(), "50".into());
            brokers
                .common
                .insert("reconnect.backoff.max.ms".into(), "500".into());
            // The mock keeps a member that joins anew under its old name, too, until that one's session ends, and until then the group waits.
            for (name, value) in [
                ("session.timeout.ms", "6000"),
                ("heartbeat.interval.ms", "1000"),
            ] {
                brokers.consumer.insert(name.into(), value.into());
            }
            test(&cluster, &brokers).await;
        },
    );
}

fn feed(brokers: &Brokers, most: usize) -> Rc<KafkaFeed> {
    let counts = Arc::new(Counts::default());
    let feed = KafkaFeed::subscribe(brokers, "invoker0", most, &counts);
    Rc::new(feed.expect("it subscribes"))
}

fn json(number: usize) -> Json {
    Json::number(i64::try_from(number).expect("small"))
}

async fn send_all(brokers: &Brokers, numbers: std::ops::Range<usize>) {
    let kafka = Kafka::new(brokers).expect("a producer");
    for number in numbers {
        kafka
            .send("invoker0", &json(number))
            .await
            .expect("it is sent");
    }
}

async fn next(feed: &KafkaFeed) -> Option<usize> {
    let message = time::timeout(PATIENCE, feed.next()).await;
    let message = message.expect("it comes in time")?;
    std::str::from_utf8(&message).ok()?.parse().ok()
}

#[test]
fn messages_come_once_in_their_order_and_no_more_than_there_is_room_for() {
    on_a_cluster(async |_, brokers| {
        send_all(brokers, 0..10).await;
        let feed = feed(brokers, 3);
        for number in 0..3 {
            assert_eq!(next(&feed).await, Some(number));
        }
        let more = time::timeout(Duration::from_millis(700), feed.next()).await;
        assert!(more.is_err(), "a fourth came though three are out");
        for number in 3..10 {
            feed.processed();
            assert_eq!(next(&feed).await, Some(number));
        }
    });
}

#[test]
fn what_was_handed_over_does_not_come_again_and_what_was_not_does() {
    on_a_cluster(async |_, brokers| {
        send_all(brokers, 0..6).await;
        let first = feed(brokers, 4);
        for number in 0..4 {
            assert_eq!(next(&first).await, Some(number));
        }
        first.close();
        assert_eq!(next(&first).await, None);
        drop(first);
        // As after a crash: the four were not finished, and are not run a second time; the other two are still there.
        let second = feed(brokers, 4);
        assert_eq!(next(&second).await, Some(4));
        assert_eq!(next(&second).await, Some(5));
    });
}

#[test]
fn a_commit_that_fails_hands_nothing_over_and_loses_nothing() {
    on_a_cluster(async |cluster, brokers| {
        let refused = RDKafkaRespErr::RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED;
        cluster.request_errors(RDKafkaApiKey::OffsetCommit, &[refused, refused]);
        send_all(brokers, 0..5).await;
        let feed = feed(brokers, 10);
        for number in 0..5 {
            assert_eq!(next(&feed).await, Some(number));
        }
        let more = time::timeout(Duration::from_millis(700), feed.next()).await;
        assert!(more.is_err(), "a message came twice");
    });
}

/// Refuses two commits for that reason while three messages come.
fn refuses_commits(refused: RDKafkaRespErr) {
    on_a_cluster(async move |cluster, brokers| {
        send_all(brokers, 0..3).await;
        let feed = feed(brokers, 10);
        for number in 0..3 {
            assert_eq!(next(&feed).await, Some(number), "before {refused:?}");
        }
        cluster.request_errors(RDKafkaApiKey::OffsetCommit, &[refused, refused]);
        send_all(brokers, 3..6).await;
        for number in 3..6 {
            assert_eq!(next(&feed).await, Some(number), "after {refused:?}");
        }
        let more = time::timeout(MOMENT, feed.next()).await;
        assert!(more.is_err(), "a message came twice after {refused:?}");
    });
}

#[test]
fn a_commit_that_fails_for_any_reason_is_made_again() {
    std::thread::scope(|all| {
        for refused in [
            RDKafkaRespErr::RD_KAFKA_RESP_ERR_COORDINATOR_NOT_AVAILABLE,
            RDKafkaRespErr::RD_KAFKA_RESP_ERR_NOT_COORDINATOR,
            RDKafkaRespErr::RD_KAFKA_RESP_ERR_REQUEST_TIMED_OUT,
            RDKafkaRespErr::RD_KAFKA_RESP_ERR_REBALANCE_IN_PROGRESS,
            RDKafkaRespErr::RD_KAFKA_RESP_ERR_ILLEGAL_GENERATION,
            RDKafkaRespErr::RD_KAFKA_RESP_ERR_UNKNOWN_MEMBER_ID,
        ] {
            all.spawn(move || refuses_commits(refused));
        }
    });
}

/// Sends messages one after the other beside a feed that is read, on a cluster whose answers take so long that messages are read while a
/// commit is on its way, of which the first is refused so.
async fn reads_on_while_it_commits(
    cluster: &Cluster,
    brokers: &Brokers,
    refused: RDKafkaRespErr,
) -> Rc<KafkaFeed> {
    const COUNT: usize = 12;
    send_all(brokers, 0..1).await;
    let feed = feed(brokers, COUNT);
    assert_eq!(next(&feed).await, Some(0));
    feed.processed();
    let answers_take = Duration::from_millis(150);
    cluster
        .broker_round_trip_time(1, answers_take)
        .expect("there is such a broker");
    cluster.request_errors(RDKafkaApiKey::OffsetCommit, &[refused]);
    let kafka = Kafka::new(brokers).expect("a producer");
    for number in 1..=COUNT {
        let kafka = kafka.clone();
        drop(spawn(async move {
            // Not all in one fetch.
            time::sleep(Duration::from_millis(40 * number as u64)).await;
            kafka.send("invoker0", &json(number)).await
        }));
    }
    for number in 1..=COUNT {
        assert_eq!(next(&feed).await, Some(number), "after {refused:?}");
    }
    let more = time::timeout(2 * MOMENT, feed.next()).await;
    assert!(more.is_err(), "a message came twice after {refused:?}");
    feed
}

#[test]
fn behind_a_commit_that_fails_messages_that_were_read_meanwhile_come_once_and_in_order() {
    on_a_cluster(async |cluster, brokers| {
        let refused = RDKafkaRespErr::RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED;
        reads_on_while_it_commits(cluster, brokers, refused).await;
    });
}

#[test]
fn a_commit_that_librdkafka_makes_again_takes_no_later_one_back() {
    on_a_cluster(async |cluster, brokers| {
        let refused = RDKafkaRespErr::RD_KAFKA_RESP_ERR_COORDINATOR_LOAD_IN_PROGRESS;
        let first = reads_on_while_it_commits(cluster, brokers, refused).await;
        drop(first);
        let second = feed(brokers, 100);
        send_all(brokers, 100..101).await;
        // All before had been handed over.
        assert_eq!(next(&second).await, Some(100));
    });
}

#[test]
fn what_is_being_committed_when_a_feed_is_closed_comes_out() {
    on_a_cluster(async |cluster, brokers| {
        let first = feed(brokers, 4);
        send_all(brokers, 0..1).await;
        assert_eq!(next(&first).await, Some(0));
        let answers_take = Duration::from_millis(300);
        cluster
            .broker_round_trip_time(1, answers_take)
            .expect("there is such a broker");
        send_all(brokers, 1..10).await;
        let mut came = 1;
        // It is closed while a commit is on its way, or none is.
        if let Ok(Some(_)) = time::timeout(Duration::from_millis(100), first.next()).await {
            came += 1;
        }
        first.close();
        while let Some(number) = next(&first).await {
            assert_eq!(number, came);
            came += 1;
        }
        assert!(came <= 4, "{came} came");
        drop(first);
        let second = feed(brokers, 100);
        for number in came..10 {
            assert_eq!(next(&second).await, Some(number));
        }
    });
}

#[test]
fn a_message_that_is_too_large_is_told_so_whoever_notices() {
    on_a_cluster(async |cluster, brokers| {
        let kafka = Kafka::new(brokers).expect("a producer");
        let large = Json::text(&"x".repeat(brokers.message_bytes));
        assert_eq!(
            kafka.send("completed0", &large).await,
            Err(SendError::TooLarge)
        );
        let refused = RDKafkaRespErr::RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE;
        cluster.request_errors(RDKafkaApiKey::Produce, &[refused]);
        assert_eq!(
            kafka.send("completed0", &json(1)).await,
            Err(SendError::TooLarge)
        );
        assert_eq!(kafka.send("completed0", &json(2)).await, Ok(()));
    });
}

#[test]
fn what_is_sent_while_the_broker_is_away_arrives_when_it_is_back() {
    on_a_cluster(async |cluster, brokers| {
        let kafka = Kafka::new(brokers).expect("a producer");
        kafka.send("invoker0", &json(0)).await.expect("it is sent");
        let feed = feed(brokers, 10);
        assert_eq!(next(&feed).await, Some(0));
        cluster.broker_down(1).expect("it is away");
        let sending = {
            let kafka = kafka.clone();
            spawn(async move { kafka.send("invoker0", &json(1)).await })
        };
        time::sleep(Duration::from_secs(2)).await;
        assert!(!sending.is_finished());
        cluster.broker_up(1).expect("it is back");
        let sent = time::timeout(PATIENCE, sending).await;
        assert_eq!(sent.expect("in time").expect("no panic"), Ok(()));
        assert_eq!(next(&feed).await, Some(1));
    });
}

#[test]
fn of_two_invokers_with_one_number_each_message_goes_to_one() {
    on_a_cluster(async |_, brokers| {
        let first = feed(brokers, 100);
        send_all(brokers, 0..5).await;
        for number in 0..5 {
            assert_eq!(next(&first).await, Some(number));
        }
        let second = feed(brokers, 100);
        // The group is being shared out anew meanwhile.
        send_all(brokers, 5..25).await;
        let began = Instant::now();
        let mut seen = Vec::new();
        let mut quiet = false;
        while seen.len() < 20 || !quiet {
            quiet = true;
            for feed in [&first, &second] {
                while let Ok(Some(message)) = time::timeout(MOMENT, feed.next()).await {
                    let text = String::from_utf8(message).expect("text");
                    seen.push(text.parse::<usize>().expect("a number"));
                    quiet = false;
                }
            }
            assert!(began.elapsed() < PATIENCE, "only {seen:?} came");
        }
        seen.sort_unstable();
        assert_eq!(seen, (5..25).collect::<Vec<_>>());
    });
}
