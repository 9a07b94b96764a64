//! The invoker in classic mode, with a bus, a database and an engine in memory. The test plays the controller, with messages as the
//! reference's serialisers write them, and reads what it is told with another JSON parser.

mod doubles;
mod slots;

use std::collections::BTreeMap;
use std::future::Future;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use ebb::{JoinHandle, spawn, time};
use ebb_hosted::Config;
use ebb_openwhisk::runtimes::Runtimes;
use ebb_openwhisk_cluster::counts::Counts;
use ebb_openwhisk_cluster::invoker::{Invoker, Settings, StoreLevel};
use ebb_openwhisk_cluster::message::instance::InvokerId;
use ebb_openwhisk_cluster::seam::StoreError;
use serde_json::{Value, json};

use doubles::{Database, Echo, Sent, Topic};

fn on_a_machine<F: Future<Output = ()>>(f: impl FnOnce() -> F + Send + 'static) {
    ebb_hosted::run(
        &Config {
            cores: 1,
            pin: false,
        },
        async move || f().await,
    );
}

/// An invoker and all that it meets.
struct World {
    sent: Sent,
    database: Database,
    echo: Echo,
    topic: Rc<Topic>,
    invoker: Rc<Invoker<Sent, Database, Echo>>,
    serving: JoinHandle<()>,
}

const SLOTS: usize = 4;

impl World {
    fn new() -> Self {
        Self::with(Settings::usual(InvokerId::new(0, 1 << 30)))
    }

    fn with(settings: Settings) -> Self {
        let (sent, database, echo) = (Sent::default(), Database::default(), Echo::default());
        let topic = Topic::new(SLOTS);
        let invoker = Invoker::new(
            settings,
            sent.clone(),
            database.clone(),
            echo.clone(),
            Runtimes::default(),
            Arc::new(Counts::default()),
        );
        database.set_action("guest/hello", Ok(&action("1-a", 10)));
        let serving = {
            let (invoker, topic) = (Rc::clone(&invoker), Rc::clone(&topic));
            spawn(async move { invoker.serve(topic).await })
        };
        drop(spawn(Rc::clone(&invoker).send_events()));
        Self {
            sent,
            database,
            echo,
            topic,
            invoker,
            serving,
        }
    }

    /// Sends messages, and waits until all of them have ended and been stored. What is told on `completed0` comes back.
    async fn after(self, messages: &[Value]) -> (Self, Vec<Value>) {
        for message in messages {
            self.topic.push(message.to_string());
        }
        let mut world = self;
        world.finish().await;
        let told = world.sent.to("completed0");
        (world, told)
    }

    async fn finish(&mut self) {
        self.topic.close();
        let ended = time::timeout(Duration::from_secs(20), &mut self.serving).await;
        ended.expect("it ends in time").expect("it does not panic");
        assert!(
            self.invoker
                .records()
                .drained(Duration::from_secs(20))
                .await
        );
    }
}

/// The document of an action.
fn action(revision: &str, logs: u32) -> String {
    json!({
        "_id": "guest/hello", "_rev": revision, "namespace": "guest", "name": "hello", "version": "0.0.7",
        "publish": false, "updated": 1, "entityType": "action", "parameters": [],
        "annotations": [{"key": "provide-api-key", "value": false}],
        "exec": {"kind": "nodejs:20", "code": "function main(x) { return x }", "binary": false},
        "limits": {"timeout": 60000, "memory": 256, "logs": logs, "concurrency": 1},
    })
    .to_string()
}

fn id(number: usize) -> String {
    format!("{number:032x}")
}

/// A message, as `ActivationMessage.serdes` writes it.
fn message(number: usize, changes: Value) -> Value {
    let mut message = json!({
        "transid": ["0123456789abcdef0123456789abcdef", 1500],
        "action": {"path": "guest", "name": "hello", "version": "0.0.7"},
        "revision": "1-a",
        "user": {
            "subject": "guest", "namespace": {"name": "guest", "uuid": "23bc46b1"},
            "authkey": {"api_key": "23bc46b1:key"}, "rights": ["READ", "ACTIVATE"], "limits": {},
        },
        "activationId": id(number),
        "rootControllerIndex": {"asString": "0", "instanceType": "controller"},
        "blocking": true, "content": {"n": number}, "initArgs": [], "lockedArgs": {},
    });
    for (name, value) in changes.as_object().expect("an object") {
        message[name] = value.clone();
    }
    message
}

/// What a controller makes of a message on its topic: whether it has a result, and frees the slot.
fn kind(told: &Value) -> &'static str {
    match (told.get("response"), told.get("instance")) {
        (Some(_), Some(_)) => "combined",
        (Some(_), None) => "result",
        (None, Some(_)) => "completion",
        (None, None) => "nothing that a controller knows",
    }
}

fn kinds(told: &[Value]) -> Vec<&'static str> {
    told.iter().map(kind).collect()
}

/// How often the slot of each activation was freed.
fn completions(told: &[Value]) -> BTreeMap<String, usize> {
    let mut freed = BTreeMap::new();
    for told in told.iter().filter(|told| told.get("instance").is_some()) {
        let response = &told["response"];
        let id = told["activationId"]
            .as_str()
            .or_else(|| response.as_str())
            .or_else(|| response["activationId"].as_str());
        *freed.entry(id.expect("an id").to_owned()).or_insert(0) += 1;
    }
    freed
}

#[test]
fn a_blocking_activation_is_told_its_result_and_then_that_its_slot_is_free() {
    on_a_machine(async || {
        let (world, told) = World::new().after(&[message(1, json!({}))]).await;
        assert_eq!(kinds(&told), ["result", "completion"]);
        let record = &told[0]["response"];
        assert_eq!(
            record["response"],
            json!({"statusCode": 0, "result": {"n": 1}})
        );
        assert_eq!(record["logs"], json!([]));
        assert_eq!(told[1]["activationId"], id(1));
        assert_eq!(told[1]["isSystemError"], false);
        assert_eq!(told[1]["instance"]["instance"], 0);
        assert_eq!(
            told[1]["transid"],
            json!(["0123456789abcdef0123456789abcdef", 1500])
        );
        let stored = &world.database.records()[&format!("guest/{}", id(1))];
        assert_eq!(stored["logs"], json!(["a line of its log"]));
        assert_eq!(stored["entityType"], "activation");
        assert_eq!(
            (&stored["start"], &stored["end"], &stored["duration"]),
            (&json!(2000), &json!(2010), &json!(10))
        );
        let annotation = |key: &str| {
            let all = stored["annotations"].as_array().expect("a list");
            all.iter()
                .find(|a| a["key"] == key)
                .map(|a| a["value"].clone())
        };
        assert_eq!(annotation("path"), Some(json!("guest/hello")));
        assert_eq!(annotation("kind"), Some(json!("nodejs:20")));
        assert_eq!(annotation("timeout"), Some(json!(false)));
        assert_eq!(annotation("waitTime"), Some(json!(500)));
        assert_eq!(annotation("initTime"), Some(json!(4)));
        assert_eq!(
            annotation("limits"),
            Some(json!({"timeout": 60000, "memory": 256, "logs": 10, "concurrency": 1}))
        );
        assert_eq!(annotation("causedBy"), None);
    });
}

#[test]
fn whoever_does_not_wait_is_told_once_and_not_the_result() {
    on_a_machine(async || {
        let (world, told) = World::new()
            .after(&[message(1, json!({"blocking": false}))])
            .await;
        assert_eq!(kinds(&told), ["completion"]);
        assert_eq!(world.database.records().len(), 1);
    });
}

#[test]
fn without_logs_one_message_says_both() {
    on_a_machine(async || {
        let world = World::new();
        world
            .database
            .set_action("guest/hello", Ok(&action("1-a", 0)));
        let messages = [
            message(1, json!({})),
            message(2, json!({"blocking": false})),
        ];
        let (_, mut told) = world.after(&messages).await;
        told.sort_by_key(kind);
        assert_eq!(kinds(&told), ["combined", "completion"]);
    });
}

#[test]
fn a_part_of_a_sequence_names_its_cause_and_a_binding_is_noted() {
    on_a_machine(async || {
        let changes = json!({
            "cause": id(9),
            "action": {"path": "guest", "name": "hello", "version": "0.0.7", "binding": "guest/bound"},
        });
        let (world, _) = World::new().after(&[message(1, changes)]).await;
        let stored = &world.database.records()[&format!("guest/{}", id(1))];
        assert_eq!(stored["cause"], id(9));
        let annotations = stored["annotations"].as_array().expect("a list");
        assert!(annotations.contains(&json!({"key": "causedBy", "value": "sequence"})));
        assert!(annotations.contains(&json!({"key": "binding", "value": "guest/bound"})));
        assert_eq!(&*world.echo.calls()[0].key().caller, "guest guest/bound");
    });
}

#[test]
fn a_result_that_the_bus_finds_too_large_goes_as_its_id() {
    on_a_machine(async || {
        let world = World::new();
        world.sent.too_large_beyond(600);
        let content = json!({"text": "x".repeat(1000)});
        let (world, told) = world
            .after(&[message(1, json!({"content": content}))])
            .await;
        assert_eq!(kinds(&told), ["result", "completion"]);
        assert_eq!(told[0]["response"], id(1));
        // The controller reads the record from the database then.
        assert_eq!(world.database.records().len(), 1);
        assert_eq!(world.invoker.counts().shrunk.get(), 1);
    });
}

#[test]
fn errors_of_the_platform_are_told_apart_from_those_of_actions() {
    on_a_machine(async || {
        let world = World::new();
        let mut messages = Vec::new();
        for (number, (name, is_system_error, status)) in [
            ("hello", false, 0),
            ("fails", false, 1),
            ("throws", false, 2),
            ("lost", true, 3),
        ]
        .into_iter()
        .enumerate()
        {
            let document = action("1-a", 10).replace("\"hello\"", &format!("{name:?}"));
            world
                .database
                .set_action(&format!("guest/{name}"), Ok(&document));
            messages.push((is_system_error, status, number));
            let action = json!({"path": "guest", "name": name});
            world
                .topic
                .push(message(number, json!({"action": action})).to_string());
        }
        let (_, told) = world.after(&[]).await;
        for (is_system_error, status, number) in messages {
            let of_this = |kind_: &str| {
                let mut found = told.iter().filter(|t| kind(t) == kind_);
                found
                    .find(|t| {
                        t["activationId"] == id(number)
                            || t["response"]["activationId"] == id(number)
                    })
                    .cloned()
            };
            let completion = of_this("completion").expect("a completion");
            assert_eq!(completion["isSystemError"], is_system_error, "{number}");
            let result = of_this("result").expect("a result");
            assert_eq!(
                result["response"]["response"]["statusCode"], status,
                "{number}"
            );
        }
    });
}

#[test]
fn an_action_that_cannot_be_had_is_acknowledged_and_its_record_stored() {
    on_a_machine(async || {
        let world = World::new();
        let broken = r#"{"_rev":"1-a","exec":{"kind":"nodejs:20","code":{"attachmentName":"couch:a","length":9},"binary":false}}"#;
        let strange = r#"{"_rev":"1-a","exec":{"kind":"cobol:60","code":"x"}}"#;
        world.database.set_attachment("a", Ok(b"short"));
        for (number, (name, document, status, text)) in [
            (
                "gone",
                Err(StoreError::Missing),
                1,
                "Action could not be found or may have been deleted.",
            ),
            (
                "busy",
                Err(StoreError::Failed("503".into())),
                3,
                "Action could not be fetched.",
            ),
            (
                "odd",
                Err(StoreError::Conflict),
                3,
                "Action could not be fetched.",
            ),
            ("broken", Ok(broken), 3, "Action could not be fetched."),
            (
                "strange",
                Ok(strange),
                3,
                "Action version is not compatible and cannot be invoked.",
            ),
            (
                "other",
                Ok(r#"{"_rev":"1-a"}"#),
                3,
                "Action version is not compatible and cannot be invoked.",
            ),
        ]
        .into_iter()
        .enumerate()
        {
            world
                .database
                .set_action(&format!("guest/{name}"), document);
            let action = json!({"path": "guest", "name": name, "version": "0.0.2"});
            let message = message(number, json!({"action": action, "cause": id(99)}));
            let before = world.sent.to("completed0").len();
            world.topic.push(message.to_string());
            while world.sent.to("completed0").len() == before {
                time::sleep(Duration::from_millis(1)).await;
            }
            let told = world.sent.to("completed0").pop().expect("told");
            assert_eq!(kind(&told), "combined", "{name}");
            let record = &told["response"];
            assert_eq!(
                record["response"],
                json!({"statusCode": status, "result": {"error": text}}),
                "{name}"
            );
            assert_eq!(record["duration"], 0);
            assert_eq!(record["version"], "0.0.2");
            assert_eq!(told["isSystemError"], status == 3);
            let annotations = record["annotations"].clone();
            assert_eq!(
                annotations,
                json!([
                    {"key": "path", "value": format!("guest/{name}")},
                    {"key": "kind", "value": "unknown"},
                    {"key": "causedBy", "value": "sequence"},
                ])
            );
        }
        let mut world = world;
        world.finish().await;
        assert_eq!(world.database.records().len(), 6);
        assert!(world.echo.calls().is_empty());
    });
}

#[test]
fn an_action_whose_attachment_is_gone_counts_as_deleted() {
    on_a_machine(async || {
        let world = World::new();
        let document = r#"{"_rev":"1-a","exec":{"kind":"nodejs:20","code":{"attachmentName":"couch:b"},"binary":false}}"#;
        world.database.set_action("guest/hello", Ok(document));
        let (_, told) = world.after(&[message(1, json!({}))]).await;
        assert_eq!(told[0]["response"]["response"]["statusCode"], 1);
    });
}

#[test]
fn messages_that_cannot_be_read_take_no_slot_and_stop_nothing() {
    on_a_machine(async || {
        let world = World::new();
        for bad in [
            &b"{"[..],
            b"\xff\xfe",
            b"[]",
            b"",
            b"null",
            br#"{"transid":["a",1]}"#,
        ] {
            for _ in 0..SLOTS {
                world.topic.push(bad);
            }
        }
        // From the future, with members that nobody knows yet.
        let future = message(
            1,
            json!({"transid": ["t", 99_999_999_999_999_u64, false, ["p", 1]], "novelty": {"a": 1}}),
        );
        let (world, told) = world.after(&[future]).await;
        assert_eq!(kinds(&told), ["result", "completion"]);
        assert_eq!(world.invoker.counts().malformed.get(), 24);
        let stored = &world.database.records()[&format!("guest/{}", id(1))];
        let wait = json!({"key": "waitTime", "value": 0});
        assert!(
            stored["annotations"]
                .as_array()
                .expect("a list")
                .contains(&wait)
        );
    });
}

#[test]
fn a_call_that_panics_is_acknowledged_as_an_error_of_the_platform() {
    on_a_machine(async || {
        let world = World::new();
        world.database.set_action(
            "guest/panics",
            Ok(&action("1-a", 10).replace("\"hello\"", "\"panics\"")),
        );
        let messages = [
            message(1, json!({"action": {"path": "guest", "name": "panics"}})),
            message(2, json!({})),
        ];
        let (_, told) = world.after(&messages).await;
        assert_eq!(completions(&told), BTreeMap::from([(id(1), 1), (id(2), 1)]));
        let combined = told.iter().find(|t| kind(t) == "combined").expect("one");
        assert_eq!(combined["isSystemError"], true);
    });
}

#[test]
fn no_more_is_taken_from_the_topic_than_may_run_at_once() {
    on_a_machine(async || {
        let world = World::new();
        world.echo.takes(Duration::from_millis(5));
        let messages: Vec<Value> = (0..50)
            .map(|n| message(n, json!({"blocking": n % 2 == 0})))
            .collect();
        let (world, told) = world.after(&messages).await;
        assert_eq!(world.topic.highest.get(), SLOTS);
        let expected: BTreeMap<String, usize> = (0..50).map(|n| (id(n), 1)).collect();
        assert_eq!(completions(&told), expected);
        assert_eq!(world.database.records().len(), 50);
        // However many wanted it at once, it was fetched once.
        assert_eq!(world.database.reads(), 1);
    });
}

#[test]
fn the_revision_that_a_message_names_decides_what_runs() {
    on_a_machine(async || {
        let world = World::new();
        let run = async |number, revision: Value| {
            let before = world.echo.calls().len();
            world
                .topic
                .push(message(number, json!({"revision": revision})).to_string());
            while world.echo.calls().len() == before {
                time::sleep(Duration::from_millis(1)).await;
            }
            world.echo.calls().pop().expect("a call").action.revision
        };
        let first = run(1, json!("1-a")).await;
        assert_eq!(run(2, json!("1-a")).await, first);
        assert_eq!(world.database.reads(), 1);
        // Without a revision the database is asked, and the same revision has the same instances.
        assert_eq!(run(3, Value::Null).await, first);
        assert_eq!(world.database.reads(), 2);
        world
            .database
            .set_action("guest/hello", Ok(&action("2-b", 10)));
        // Nobody has said so yet.
        assert_eq!(run(4, json!("1-a")).await, first);
        let second = run(5, json!("2-b")).await;
        assert_ne!(second, first);
        // The old one is nowhere any more: the newest runs, as in the reference.
        assert_eq!(run(6, json!("1-a")).await, second);
        assert_eq!(world.echo.gone(), [first]);
    });
}

#[test]
fn a_blocked_namespace_is_told_so_in_brief_and_leaves_no_record() {
    on_a_machine(async || {
        let world = World::new();
        world.database.block(&["guest"]);
        world.invoker.refresh_blocked_once().await;
        let (world, told) = world.after(&[message(1, json!({}))]).await;
        assert_eq!(kinds(&told), ["combined"]);
        assert_eq!(told[0]["response"], id(1));
        assert_eq!(told[0]["isSystemError"], false);
        assert!(world.database.records().is_empty());
        assert!(world.echo.calls().is_empty());
    });
}

#[test]
fn arguments_for_init_go_to_its_environment_and_keys_to_those_who_ask() {
    on_a_machine(async || {
        let world = World::new();
        let document = action("1-a", 10).replace("\"value\":false", "\"value\":true");
        world.database.set_action("guest/hello", Ok(&document));
        let changes = json!({
            "content": {"KEY": "v", "MAP": {"a": 1}, "NONE": null, "x": 1},
            "initArgs": ["KEY", "MAP", "NONE", "MISSING"],
            "traceContext": {"x-b3-traceid": "7"},
        });
        let (world, _) = world.after(&[message(1, changes)]).await;
        let call = &world.echo.calls()[0];
        assert_eq!(call.arguments.as_str(), r#"{"x":1}"#);
        let environment = [("KEY", "v"), ("MAP", "{\"a\":1}"), ("NONE", "")];
        let environment = environment.map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(call.environment, environment);
        let init: Value = serde_json::from_str(call.init_body(0).as_str()).expect("JSON");
        let env = &init["value"]["env"];
        assert_eq!(env["KEY"], "v");
        assert_eq!(env["__OW_API_KEY"], "23bc46b1:key");
        assert_eq!(env["__OW_ACTION_NAME"], "/guest/hello");
        assert_eq!(env["__OW_ACTIVATION_ID"], id(1));
        assert_eq!(
            env["__OW_TRANSACTION_ID"],
            "0123456789abcdef0123456789abcdef"
        );
        let run: Value = serde_json::from_str(call.run_body(0).as_str()).expect("JSON");
        assert_eq!(run["api_key"], "23bc46b1:key");
        assert_eq!(run["trace_context"], json!({"x-b3-traceid": "7"}));
        assert_eq!(run["deadline"], "60000");
    });
}

#[test]
fn keys_are_not_given_to_those_who_did_not_ask_and_arrays_are_arguments() {
    on_a_machine(async || {
        let (world, told) = World::new()
            .after(&[message(1, json!({"content": [1, "two"]}))])
            .await;
        let call = &world.echo.calls()[0];
        assert_eq!(call.arguments.as_str(), r#"[1,"two"]"#);
        assert!(!call.run_body(0).as_str().contains("key"));
        assert_eq!(told[0]["response"]["response"]["result"], json!([1, "two"]));
    });
}

#[test]
fn locked_arguments_without_a_key_for_them_are_refused() {
    on_a_machine(async || {
        let changes = json!({"content": {"secret": "abcd"}, "lockedArgs": {"secret": "aes-256"}});
        let (world, told) = World::new().after(&[message(1, changes)]).await;
        let response = &told[0]["response"]["response"];
        assert_eq!(response["statusCode"], 1);
        let text = response["result"]["error"].as_str().expect("a text");
        assert!(
            text.contains("'secret'") && text.contains("aes-256"),
            "{text}"
        );
        assert!(world.echo.calls().is_empty());
    });
}

#[test]
fn limits_of_a_user_that_were_lowered_since_are_kept() {
    on_a_machine(async || {
        let mut lowered = message(1, json!({}));
        lowered["user"]["limits"] = json!({"maxActionMemory": "128 MB"});
        let (_, told) = World::new().after(&[lowered]).await;
        let response = &told[0]["response"]["response"];
        assert_eq!(response["statusCode"], 1);
        let text = "memory 256 MB exceeds allowed threshold of 128 MB";
        assert_eq!(response["result"]["error"], text);
    });
}

#[test]
fn records_are_stored_where_the_user_and_the_configuration_want_them() {
    on_a_machine(async || {
        let settings = Settings {
            store_levels: (
                StoreLevel::Failures,
                StoreLevel::FailuresNotApplicationErrors,
            ),
            ..Settings::usual(InvokerId::new(0, 1 << 30))
        };
        let world = World::with(settings);
        for name in ["fails", "throws"] {
            let document = action("1-a", 10).replace("\"hello\"", &format!("{name:?}"));
            world
                .database
                .set_action(&format!("guest/{name}"), Ok(&document));
        }
        let named = |name: &str| json!({"path": "guest", "name": name});
        let mut silent = message(6, json!({"action": named("throws")}));
        silent["user"]["limits"] = json!({"storeActivations": false});
        let messages = [
            message(1, json!({})),
            message(2, json!({"action": named("fails")})),
            message(3, json!({"action": named("fails"), "blocking": false})),
            message(4, json!({"action": named("throws"), "blocking": false})),
            message(5, json!({"transid": ["t", 1, true]})),
            silent,
        ];
        let (world, told) = world.after(&messages).await;
        assert_eq!(completions(&told).len(), 6);
        let records = world.database.records();
        let stored: Vec<&str> = records.keys().map(String::as_str).collect();
        assert_eq!(stored, [2, 4, 5].map(|n| format!("guest/{}", id(n))));
    });
}

#[test]
fn records_that_the_database_does_not_take_now_are_stored_later_and_once() {
    on_a_machine(async || {
        let world = World::new();
        let failed = || StoreError::Failed("503".into());
        world
            .database
            .fail_stores([failed(), failed(), StoreError::Conflict]);
        let messages: Vec<Value> = (0..20).map(|n| message(n, json!({}))).collect();
        let (world, told) = world.after(&messages).await;
        // Nobody waited for it.
        assert_eq!(completions(&told).len(), 20);
        let counts = world.invoker.records().counts();
        assert_eq!(
            (counts.stored, counts.lost, counts.waiting_bytes),
            (20, 0, 0)
        );
        assert_eq!(counts.retries, 2);
    });
}

#[test]
fn a_record_that_the_database_will_never_take_is_counted_and_let_go() {
    on_a_machine(async || {
        let world = World::new();
        world
            .database
            .fail_stores([StoreError::Refused("413".into())]);
        let (world, _) = world.after(&[message(1, json!({}))]).await;
        assert_eq!(world.invoker.records().counts().lost, 1);
    });
}

#[test]
fn a_bus_that_is_away_loses_the_acknowledgement_and_nothing_else() {
    on_a_machine(async || {
        let world = World::new();
        world.sent.fail_next(2);
        let (world, told) = world
            .after(&[message(1, json!({})), message(2, json!({}))])
            .await;
        let counts = world.invoker.counts();
        assert_eq!(
            (counts.unacknowledged.get(), counts.acknowledged.get()),
            (2, 2)
        );
        assert_eq!(told.len(), 2);
        assert_eq!(counts.running(), 0);
        assert_eq!(world.database.records().len(), 2);
    });
}

#[test]
fn events_are_told_where_they_are_wanted_once_for_each_activation() {
    on_a_machine(async || {
        let settings = Settings {
            events: Some("events".into()),
            ..Settings::usual(InvokerId::new(0, 1 << 30))
        };
        let (world, _) = World::with(settings)
            .after(&[
                message(1, json!({})),
                message(2, json!({"blocking": false})),
            ])
            .await;
        while world.sent.to("events").len() < 2 {
            time::sleep(Duration::from_millis(1)).await;
        }
        time::sleep(Duration::from_millis(100)).await;
        let events = world.sent.to("events");
        assert_eq!(events.len(), 2);
        assert_eq!(events[0]["source"], "invoker0");
        assert_eq!(events[0]["eventType"], "Activation");
        assert_eq!(events[0]["userId"], "23bc46b1");
        assert_eq!(events[0]["body"]["memory"], 256);
    });
}

#[test]
fn pings_come_every_second_and_stop_with_one_that_says_disabled() {
    on_a_machine(async || {
        let world = World::new();
        drop(spawn(Rc::clone(&world.invoker).ping()));
        time::sleep(Duration::from_millis(2500)).await;
        let pings = world.sent.to("health");
        assert!((2..=3).contains(&pings.len()), "{}", pings.len());
        assert_eq!(pings[0]["isEnabled"], true);
        assert_eq!(pings[0]["name"]["userMemory"], "1024 MB");
        let enabled = &world.invoker.counts().enabled;
        enabled.store(false, std::sync::atomic::Ordering::Relaxed);
        time::sleep(Duration::from_millis(1500)).await;
        let after = world.sent.to("health");
        assert_eq!(after.len(), pings.len() + 1);
        assert_eq!(after.last().expect("a ping")["isEnabled"], false);
    });
}
