//! The whole program: a broker, a database, functions in Node. The test plays the controller.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use ebb::time;
use ebb_hosted::Config;
use ebb_openwhisk::json::Json;
use ebb_openwhisk_cluster::counts::Counts;
use ebb_openwhisk_cluster::kafka::{Brokers, Kafka, KafkaFeed, ensure_topic};
use ebb_openwhisk_cluster::seam::{Bus, Feed};
use serde_json::{Value, json};

use crate::broker::Broker;
use crate::couch::Couch;
use crate::messages::{action, completions, id, message, once_each};

/// The program. `cargo test` has built it, unless only this test was asked for.
fn built() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let target = Path::new(env!("CARGO_TARGET_TMPDIR"))
        .parent()
        .expect("target");
    let program = target.join("debug/examples/whisk-invoker");
    let changed = |path: &Path| path.metadata().and_then(|m| m.modified()).ok();
    let newest = std::fs::read_dir(here.join("src")).expect("src").flatten();
    let newest: Option<SystemTime> = newest.filter_map(|file| changed(&file.path())).max();
    if changed(&program) < newest {
        let built = Command::new(env!("CARGO"))
            .args([
                "build",
                "--quiet",
                "-p",
                "ebb-openwhisk-cluster",
                "--example",
                "whisk-invoker",
            ])
            .current_dir(here)
            .status();
        assert!(built.expect("cargo runs this test").success());
    }
    program
}

/// An invoker that runs.
struct Running {
    child: Child,
    port: u16,
}

impl Running {
    fn start(broker: &Broker, couch: &Couch) -> Self {
        let mut child = Command::new(built())
            .args(["--id", "0", "--kafka", &broker.address.to_string()])
            .args(["--couchdb", &couch.url(), "--memory", "1G", "--port", "0"])
            .env("CONFIG_whisk_kafka_consumer_fetchMaxWaitMs", "50")
            // A killed one is missed that soon.
            .env("CONFIG_whisk_kafka_consumer_sessionTimeoutMs", "6000")
            .env("CONFIG_whisk_kafka_consumer_heartbeatIntervalMs", "1000")
            .env("EBB_CORES", "1")
            .stdout(Stdio::piped())
            .spawn()
            .expect("the invoker starts");
        let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        let port = loop {
            let line = lines.next().expect("a banner").expect("text");
            if let Some((_, rest)) = line.split_once("http://localhost:") {
                break rest.trim_end_matches("/metrics").parse().expect("a port");
            }
        };
        // Read on, or the invoker would wait for a full pipe.
        std::thread::spawn(move || {
            lines.for_each(|line| println!("| {}", line.unwrap_or_default()))
        });
        Self { child, port }
    }

    fn http(&self, request: &str) -> String {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).expect("it listens");
        let head = format!(
            "{request} HTTP/1.1\r\nhost: x\r\nconnection: close\r\nauthorization: Basic aW52b2tlci51c2VyOmludm9rZXIucGFzcw==\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).expect("sent");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("an answer");
        answer
    }

    fn signal(&self, signal: &str) {
        let told = Command::new("kill")
            .args([signal, &self.child.id().to_string()])
            .status();
        assert!(told.expect("kill runs").success());
    }

    /// Waits for its end.
    fn ended(mut self) -> Option<i32> {
        let began = Instant::now();
        while began.elapsed() < Duration::from_secs(30) {
            if let Some(status) = self.child.try_wait().expect("a child") {
                return status.code();
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        panic!("the invoker does not end");
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The controller, and what it has been told.
struct Controller {
    kafka: Kafka,
    completed: KafkaFeed,
    health: KafkaFeed,
    told: Vec<Value>,
}

impl Controller {
    async fn new(broker: &Broker) -> Self {
        let mut brokers = Brokers::at(&broker.address.to_string());
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
            told: Vec::new(),
        }
    }

    async fn send(&self, message: &Value) {
        let json = Json::parse(&message.to_string()).expect("JSON");
        self.kafka
            .send("invoker0", &json)
            .await
            .expect("the broker takes it");
    }

    async fn ping(&self) -> Value {
        let ping = time::timeout(Duration::from_secs(40), self.health.next()).await;
        let ping = ping.expect("in time").expect("a ping");
        serde_json::from_slice(&ping).expect("JSON")
    }

    /// Reads on until so many slots have been freed since the last call, and looks a moment longer.
    async fn hear(&mut self, completed: usize) -> Vec<Value> {
        let began = Instant::now();
        let mut told = Vec::new();
        loop {
            let freed: usize = completions(&told).values().sum();
            let patience = if freed < completed { 60 } else { 1 };
            match time::timeout(Duration::from_secs(patience), self.completed.next()).await {
                Ok(Some(message)) => told.push(serde_json::from_slice(&message).expect("JSON")),
                _ if freed < completed => {
                    panic!("{freed} of {completed} after {:?}", began.elapsed())
                }
                _ => break,
            }
        }
        self.told.extend(told.iter().cloned());
        told
    }
}

fn with_parts(test: impl AsyncFnOnce(&Broker, &Couch) + Send + 'static) {
    test_support::needs!("node", "/usr/bin/python3");
    let Some(broker) = Broker::start() else {
        return;
    };
    let couch = Couch::start();
    let health = json!({"attachmentName": "mem:ZnVuY3Rpb24gbWFpbihwYXJhbXMpIHsgcmV0dXJuIHBhcmFtczsgfQ==", "attachmentType": "text/plain"});
    let mut health = action("invokerHealthTestAction0", &health);
    health["_id"] = "whisk.system/invokerHealthTestAction0".into();
    couch.put_action(&health);
    ebb_hosted::run(
        &Config {
            cores: 1,
            pin: false,
        },
        async move || test(&broker, &couch).await,
    );
}

#[test]
fn functions_run_for_a_controller_from_the_health_check_to_the_drain() {
    with_parts(async |broker, couch| {
        let mut controller = Controller::new(broker).await;
        let running = Running::start(broker, couch);
        let ping = controller.ping().await;
        assert_eq!(ping["isEnabled"], true);
        assert_eq!(ping["name"]["userMemory"], "1024 MB");
        let mut health = message(1, "invokerHealthTestAction0", "", false);
        health["action"]["path"] = "whisk.system".into();
        controller.send(&health).await;
        let told = controller.hear(1).await;
        assert_eq!(
            (told.len(), &told[0]["isSystemError"]),
            (1, &json!(false)),
            "{told:?}"
        );

        let code = "const main = x => { console.log('n is', x.n); return { n: x.n, key: process.env.KEY, id: process.env.__OW_ACTIVATION_ID } }";
        let revision = couch.put_action(&action("logs", &code.into()));
        let mut asked = message(2, "logs", &revision, true);
        asked["content"] = json!({"n": 7, "KEY": "of init"});
        asked["initArgs"] = json!(["KEY"]);
        controller.send(&asked).await;
        let told = controller.hear(1).await;
        let result = &told[0]["response"]["response"]["result"];
        assert_eq!(result, &json!({"n": 7, "key": "of init", "id": id(2)}));
        assert_eq!(told.len(), 2);

        couch.put_attachment(
            "guest/large",
            "uuid-1",
            b"exports.main = () => ({ from: 'an attachment' })",
        );
        let attached =
            json!({"attachmentName": "couch:uuid-1", "attachmentType": "text/plain", "length": 48});
        let revision = couch.put_action(&action("large", &attached));
        controller.send(&message(3, "large", &revision, true)).await;
        let revision = couch.put_action(&action(
            "throws",
            &"const main = () => { throw new Error('no') }".into(),
        ));
        controller
            .send(&message(4, "throws", &revision, true))
            .await;
        let told = controller.hear(2).await;
        let of = |wanted: usize| {
            let mut results = told
                .iter()
                .filter(|t| t["response"]["activationId"] == id(wanted));
            results.next().expect("a result")["response"]["response"].clone()
        };
        assert_eq!(of(3)["result"], json!({"from": "an attachment"}));
        assert_ne!(of(4)["statusCode"], 0);

        let metrics = running.http("GET /metrics");
        for line in [
            "ebb_whisk_messages_total 4",
            "ebb_whisk_malformed_total 0",
            "ebb_whisk_enabled 1",
            "ebb_whisk_cached_actions 4",
        ] {
            assert!(metrics.lines().any(|l| l == line), "{line} in {metrics}");
        }
        assert!(running.http("POST /disable").contains("now disabled"));
        while controller.ping().await["isEnabled"] == true {}
        assert!(
            running
                .http("GET /isEnabled")
                .contains("{\"isEnabled\":false}")
        );
        running.signal("-TERM");
        assert_eq!(running.ended(), Some(0));
        let records = couch.records();
        assert_eq!(records.len(), 4);
        let logs = &records[&format!("guest/{}", id(2))]["logs"];
        let line = logs[0].as_str().expect("a line");
        assert!(line.ends_with("stdout: n is 7"), "{line}");
    });
}

#[test]
fn what_is_in_the_topic_survives_a_killed_invoker_and_what_ran_is_not_run_again() {
    with_parts(async |broker, couch| {
        let mut controller = Controller::new(broker).await;
        let slow =
            "const main = x => new Promise(done => setTimeout(() => done({ n: x.n }), 1500))";
        let revision = couch.put_action(&action("slow", &slow.into()));
        let running = Running::start(broker, couch);
        controller.ping().await;
        // Eight may run at once (1 GB); the others wait in the topic.
        for number in 0..20 {
            controller
                .send(&message(number, "slow", &revision, false))
                .await;
        }
        let began = Instant::now();
        while !running
            .http("GET /metrics")
            .contains("ebb_whisk_running 8\n")
        {
            assert!(
                began.elapsed() < Duration::from_secs(60),
                "eight do not run"
            );
            time::sleep(Duration::from_millis(20)).await;
        }
        running.signal("-KILL");
        drop(running);
        let again = Running::start(broker, couch);
        // The first eight were committed when they were taken: their controller frees their slots when their time is up. (`CommonLoadBalancer.scala`)
        let told = controller.hear(12).await;
        let expected: std::collections::BTreeMap<String, usize> =
            (8..20).map(|n| (id(n), 1)).collect();
        assert_eq!(completions(&told), expected);
        again.signal("-TERM");
        assert_eq!(again.ended(), Some(0));
    });
}

#[test]
fn many_activations_of_many_functions_end_in_one_completion_each() {
    with_parts(async |broker, couch| {
        let mut controller = Controller::new(broker).await;
        let running = Running::start(broker, couch);
        let mut revisions = Vec::new();
        for function in 0..5 {
            let code = format!("const main = x => ({{ n: x.n, function: {function} }})");
            revisions.push(couch.put_action(&action(&format!("f{function}"), &code.into())));
        }
        couch.fail("_bulk_docs", crate::couch::Fault::Status(503));
        couch.fail("PUT", crate::couch::Fault::Status(503));
        controller
            .kafka
            .send("invoker0", &Json::text("nothing"))
            .await
            .expect("sent");
        for number in 0..100 {
            let function = number % 5;
            let name = format!("f{function}");
            controller
                .send(&message(
                    number,
                    &name,
                    &revisions[function],
                    number % 2 == 0,
                ))
                .await;
        }
        let told = controller.hear(100).await;
        assert_eq!(completions(&told), once_each(100));
        for told in told.iter().filter(|t| t.get("instance").is_none()) {
            let record = &told["response"];
            let number = record["response"]["result"]["n"].as_u64().expect("n");
            assert_eq!(
                record["activationId"],
                id(usize::try_from(number).expect("small"))
            );
            assert_eq!(record["response"]["result"]["function"], number % 5);
        }
        running.signal("-TERM");
        assert_eq!(running.ended(), Some(0));
        assert_eq!(couch.records().len(), 100);
    });
}
