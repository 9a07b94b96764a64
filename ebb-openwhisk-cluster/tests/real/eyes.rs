//! What others' programs see of ours and ours of theirs: kcat (librdkafka, as Debian has it) and kafkajs on every topic, pouchdb-server
//! as the database.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use ebb::time;
use serde_json::{Value, json};
use test_support::{couch::Couch, npm, scratch};

use crate::controller::Controller;
use crate::kafka::on_a_cluster;
use crate::kcat::{consume, produce};
use crate::messages::{action, completions, id, message, once_each};
use crate::running::Running;

const EVENTS: [(&str, &str); 1] = [("CONFIG_whisk_userEvents_enabled", "true")];
const CODE: &str = "const main = x => { console.log('seen'); return { n: x.n } }";
/// What an invoker's topics are.
const TOPICS: [&str; 4] = ["invoker0", "completed0", "health", "events"];

/// What has to be in the topics after these messages: a blocking activation and one that is not.
fn check(sent: &[Value], seen: &BTreeMap<String, Vec<Value>>) {
    let of = |topic: &str| seen[topic].as_slice();
    assert_eq!(of("invoker0"), sent);
    let told = of("completed0");
    assert_eq!(completions(told), once_each(2));
    assert_eq!(told.len(), 3, "{told:?}");
    let mut results = told.iter().map(|t| &t["response"]);
    let result = results.find(|r| r["activationId"] == id(0));
    let result = &result.expect("a result")["response"]["result"];
    assert_eq!(result, &json!({"n": 0}));
    let ping = &of("health")[0];
    assert_eq!(ping["isEnabled"], true);
    assert_eq!(ping["name"]["instanceType"], "invoker");
    for event in of("events") {
        assert_eq!(event["source"], "invoker0");
        assert_eq!(event["eventType"], "Activation");
        assert_eq!(event["body"]["kind"], "nodejs:20");
    }
}

fn is_all_there(seen: &BTreeMap<String, Vec<Value>>) -> bool {
    let count = |topic: &str| seen.get(topic).map_or(0, Vec::len);
    count("invoker0") == 2
        && count("completed0") == 3
        && count("health") > 0
        && count("events") == 2
}

#[test]
fn kcat_sends_and_reads_what_is_in_every_topic() {
    test_support::needs!("node", "kcat");
    on_a_cluster(async |_, brokers| {
        let couch = Couch::start();
        let revision = couch.put_action(&action("seen", &CODE.into()));
        let running = Running::set(&brokers.hosts, &couch.url(), &[], &EVENTS);
        let sent = [0, 1].map(|number| message(number, "seen", &revision, number == 0));
        let input: Vec<String> = sent.iter().map(Value::to_string).collect();
        produce(&brokers.hosts, "invoker0", &input.join("\n"));
        let began = Instant::now();
        let seen = loop {
            let read = TOPICS.map(|topic| (topic.to_owned(), consume(&brokers.hosts, topic)));
            let seen = BTreeMap::from(read);
            if is_all_there(&seen) {
                break seen;
            }
            assert!(began.elapsed() < Duration::from_secs(30), "{seen:?}");
            time::sleep(Duration::from_millis(100)).await;
        };
        check(&sent, &seen);
        running.signal("-TERM");
        assert_eq!(running.ended(), Some(0));
    });
}

/// kafkajs, in a Node that ends with this.
struct KafkaJs {
    child: Child,
    lines: Receiver<Value>,
}

impl KafkaJs {
    /// `None` where the package cannot be had.
    fn start(broker: &str, topics: &[&str]) -> Option<Self> {
        let packages = npm::folder_with(npm::KAFKAJS)?;
        let mut child = Command::new("node")
            .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/real/eyes.js"))
            .arg(broker)
            .args(topics)
            .env("NODE_PATH", packages.join("node_modules"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("node starts");
        let output = BufReader::new(child.stdout.take().expect("piped"));
        let (tell, lines) = channel();
        std::thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                let _ = tell.send(serde_json::from_str(&line).expect("JSON"));
            }
        });
        Some(Self { child, lines })
    }

    fn send(&mut self, messages: &[Value]) {
        let input = self.child.stdin.as_mut().expect("piped");
        for message in messages {
            writeln!(input, "{message}").expect("it reads");
        }
    }
}

impl Drop for KafkaJs {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn kafkajs_sends_and_reads_what_is_in_every_topic() {
    test_support::needs!("node", "npm");
    on_a_cluster(async |_, brokers| {
        let couch = Couch::start();
        let revision = couch.put_action(&action("seen", &CODE.into()));
        let Some(mut eyes) = KafkaJs::start(&brokers.hosts, &TOPICS) else {
            return;
        };
        let running = Running::set(&brokers.hosts, &couch.url(), &[], &EVENTS);
        let sent = [0, 1].map(|number| message(number, "seen", &revision, number == 0));
        eyes.send(&sent);
        let mut seen: BTreeMap<String, Vec<Value>> = BTreeMap::new();
        let began = Instant::now();
        while !is_all_there(&seen) {
            assert!(began.elapsed() < Duration::from_secs(60), "{seen:?}");
            while let Ok(mut line) = eyes.lines.try_recv() {
                let topic = line["topic"].as_str().expect("a topic").to_owned();
                seen.entry(topic).or_default().push(line["value"].take());
            }
            time::sleep(Duration::from_millis(20)).await;
        }
        check(&sent, &seen);
        running.signal("-TERM");
        assert_eq!(running.ended(), Some(0));
    });
}

/// pouchdb-server, with everything in memory.
struct Pouch {
    child: Child,
    url: String,
}

impl Pouch {
    /// `None` where the package cannot be had.
    fn start() -> Option<Self> {
        let packages = npm::folder_with(npm::POUCHDB_SERVER)?;
        let folder = scratch(&format!("pouchdb-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a folder");
        let free = TcpListener::bind(("127.0.0.1", 0)).and_then(|l| l.local_addr());
        let port = free.expect("a port").port().to_string();
        let child = Command::new("node")
            .arg(packages.join("node_modules/pouchdb-server/bin/pouchdb-server"))
            .args(["--in-memory", "--host", "127.0.0.1", "--port", &port])
            // It writes its log and its configuration where it is.
            .current_dir(&folder)
            .stdout(Stdio::null())
            .spawn()
            .expect("node starts");
        let pouch = Self {
            child,
            url: format!("http://127.0.0.1:{port}"),
        };
        let began = Instant::now();
        while pouch.try_ask("GET", "/", None).is_none() {
            assert!(began.elapsed() < Duration::from_secs(60), "it is not up");
            std::thread::sleep(Duration::from_millis(100));
        }
        for database in ["whisks", "activations", "subjects"] {
            pouch.ask("PUT", &format!("/{database}"), None);
        }
        Some(pouch)
    }

    fn try_ask(&self, method: &str, path: &str, body: Option<&str>) -> Option<Value> {
        let mut curl = Command::new("curl");
        curl.args(["-sS", "-X", method, "-H", "accept: application/json"]);
        if let Some(body) = body {
            let kind = match body.starts_with('{') {
                true => "content-type: application/json",
                false => "content-type: text/plain",
            };
            curl.args(["-H", kind, "--data-binary", body]);
        }
        let output = curl
            .arg(format!("{}{path}", self.url))
            .stderr(Stdio::null());
        let output = output.output().expect("curl starts");
        serde_json::from_slice(&output.stdout).ok()
    }

    fn ask(&self, method: &str, path: &str, body: Option<&str>) -> Value {
        let answer = self.try_ask(method, path, body);
        answer.unwrap_or_else(|| panic!("{method} {path}: no JSON"))
    }

    /// Stores a document; its revision comes back.
    fn put(&self, path: &str, document: &Value) -> String {
        let answer = self.ask("PUT", path, Some(&document.to_string()));
        answer["rev"]
            .as_str()
            .unwrap_or_else(|| panic!("{answer}"))
            .into()
    }
}

impl Drop for Pouch {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn pouchdb_server_is_a_database_as_couchdb_is() {
    test_support::needs!("node", "npm", "curl");
    on_a_cluster(async |_, brokers| {
        let Some(pouch) = Pouch::start() else { return };
        // As OpenWhisk's own view does for namespaces of which no activation may run.
        let map = "function (doc) { if (doc.concurrentInvocations === 0) { emit(doc._id.split('/')[0], 1); } }";
        let view = json!({"views": {"blockedNamespaces": {"map": map}}, "language": "javascript"});
        pouch.put("/subjects/_design%2FnamespaceThrottlings", &view);
        pouch.put(
            "/subjects/bad%2Flimits",
            &json!({"concurrentInvocations": 0}),
        );
        // Whoever asks first makes the index: an invoker takes what there is at once.
        let view = "/subjects/_design/namespaceThrottlings/_view/blockedNamespaces";
        assert_eq!(pouch.ask("GET", view, None)["rows"][0]["key"], "bad");
        let inline = pouch.put("/whisks/guest%2Finline", &action("inline", &CODE.into()));
        let large = json!({"attachmentName": "couch:uuid-1", "attachmentType": "text/plain"});
        let large = pouch.put("/whisks/guest%2Flarge", &action("large", &large));
        let code = "exports.main = () => ({ from: 'an attachment' })";
        let attached = format!("/whisks/guest%2Flarge/uuid-1?rev={large}");
        let attached = pouch.ask("PUT", &attached, Some(code));
        let attached = attached["rev"].as_str().expect("a revision").to_owned();

        let controller = Controller::new(&brokers.hosts).await;
        let running = Running::start(&brokers.hosts, &pouch.url);
        controller.send(&message(0, "inline", &inline, true)).await;
        controller.send(&message(1, "large", &attached, true)).await;
        controller.send(&message(2, "missing", "1-a", true)).await;
        let mut blocked = message(3, "inline", &inline, true);
        blocked["user"]["namespace"]["name"] = "bad".into();
        controller.send(&blocked).await;
        // Enough at once that records go together.
        controller.send_all(4..40, "inline", &inline).await;
        let told = controller.hear(40).await;
        assert_eq!(completions(&told), once_each(40));
        let of = |number: usize| {
            let mut records = told.iter().map(|t| &t["response"]);
            let record = records.find(|r| r["activationId"] == id(number));
            record.expect("a result")["response"].clone()
        };
        assert_eq!(of(0)["result"], json!({"n": 0}));
        assert_eq!(of(1)["result"], json!({"from": "an attachment"}));
        assert_eq!(of(2)["statusCode"], 1);
        assert!(told.iter().any(|t| t["response"] == id(3)), "blocked");
        running.signal("-TERM");
        assert_eq!(running.ended(), Some(0));

        let all = pouch.ask("GET", "/activations/_all_docs", None);
        assert_eq!(all["total_rows"], 39, "a blocked one leaves no record");
        let path = format!("/activations/guest%2F{}", id(0));
        let record = pouch.ask("GET", &path, None);
        assert_eq!(record["response"]["result"], json!({"n": 0}));
        assert!(
            record["logs"][0]
                .as_str()
                .expect("a line")
                .ends_with("stdout: seen")
        );
    });
}
