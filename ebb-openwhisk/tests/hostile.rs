//! Whatever comes in, the answer is a response of the protocol.
#![allow(missing_docs)]

mod common;

use common::{Bed, GUEST, answer, basic, js};
use ebb_openwhisk::entity::kept::{self, Kept};
use ebb_openwhisk::json::Json;
use ebb_openwhisk::logs::{Collector, Stream};
use ebb_openwhisk::name::FullName;
use ebb_openwhisk::query::{Query, decode};
use ebb_openwhisk::runtimes::Runtimes;
use proptest::prelude::*;
use serde_json::{Value, json};

/// Text made of what the protocol looks at.
fn near_text() -> impl Strategy<Value = String> {
    let pieces = prop::sample::select(vec![
        "/",
        "_",
        "api",
        "v1",
        "web",
        "namespaces",
        "guest",
        "actions",
        "packages",
        "triggers",
        "rules",
        "activations",
        "limits",
        "a",
        "pkg",
        "default",
        ".json",
        ".http",
        "%",
        "%2F",
        "%00",
        "%zz",
        "?",
        "&",
        "=",
        "limit",
        "skip",
        "count",
        "true",
        "-1",
        "9999999999999999999999",
        "é",
        "\u{0}",
        " ",
        "..",
        "s",
        "w",
        "t",
        "r",
        "b",
        "p",
        "{x}",
    ]);
    prop::collection::vec(pieces, 0..12).prop_map(|pieces| pieces.concat())
}

fn near_json() -> impl Strategy<Value = Vec<u8>> {
    let leaf = prop_oneof![
        Just(json!(null)),
        Just(json!(true)),
        any::<i64>().prop_map(|n| json!(n)),
        ".{0,12}".prop_map(|s| json!(s)),
        prop::sample::select(vec![
            "nodejs:default",
            "sequence",
            "/_/a",
            "/guest/s",
            "active",
            "1.2.3",
            "UEsDBA=="
        ])
        .prop_map(|s| json!(s)),
    ];
    let key = prop::sample::select(vec![
        "exec",
        "kind",
        "code",
        "main",
        "components",
        "parameters",
        "annotations",
        "key",
        "value",
        "init",
        "limits",
        "timeout",
        "memory",
        "version",
        "publish",
        "binding",
        "namespace",
        "name",
        "trigger",
        "action",
        "status",
        "delAnnotations",
        "statusCode",
        "headers",
        "body",
        "error",
        "apidoc",
        "swagger",
        "basePath",
        "paths",
        "info",
        "title",
        "gatewayBasePath",
        "gatewayPath",
        "gatewayMethod",
    ]);
    let document = leaf.prop_recursive(4, 24, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::hash_map(key.clone(), inner, 0..6)
                .prop_map(|m| Value::Object(m.into_iter().map(|(k, v)| (k.into(), v)).collect())),
        ]
    });
    prop_oneof![
        document.clone().prop_map(|v| v.to_string().into_bytes()),
        (document, any::<prop::sample::Index>(), any::<u8>()).prop_map(|(v, at, byte)| {
            let mut bytes = v.to_string().into_bytes();
            let at = at.index(bytes.len());
            bytes[at] = byte;
            bytes
        }),
        prop::collection::vec(any::<u8>(), 0..40),
    ]
}

fn bed() -> Bed {
    let bed = Bed::new();
    bed.put_action("a");
    bed.put("/_/packages/pkg", json!({}));
    bed.put_action("pkg/a");
    bed.put(
        "/_/actions/s",
        json!({"exec": {"kind": "sequence", "components": ["/_/a"]}}),
    );
    bed.put("/_/triggers/t", json!({}));
    bed.put("/_/rules/r", json!({"trigger": "/_/t", "action": "/_/a"}));
    let mut web = js("x");
    web["annotations"] = json!([{"key": "web-export", "value": true}]);
    bed.put("/_/actions/w", web);
    let url = "http://h/api/v1/web/guest/default/w.http";
    let cases = json!([{"operations": ["a", "b"], "execute": [
        {"invoke": {"target-url": format!("{url}$(request.path)"), "verb": "keep"}},
        {"set-variable": {"actions": [{"set": "message.headers.X-A", "value": "b"}]}},
    ]}]);
    let swagger = json!({
        "basePath": "/b", "info": {"title": "b"}, "x-ibm-configuration": {
            "cors": {"enabled": true}, "assembly": {"execute": [{"operation-switch": {"case": cases}}]},
        },
        "paths": {
            "/p": {"get": {"operationId": "a"}, "post": {"x-openwhisk": {"url": url}}},
            "/{x}": {"put": {"operationId": "b", "parameters": [{"name": "x"}]}},
        },
    });
    let body = json!({"apidoc": {"namespace": "_", "swagger": swagger}}).to_string();
    let auth = basic(GUEST);
    let headers = [
        ("Authorization", &*auth),
        ("Content-Type", "application/json"),
    ];
    let made = bed.raw("POST", CREATE, &headers, body.as_bytes());
    assert_eq!(made.status, 200, "{}", made.text());
    bed
}

const CREATE: &str = "/api/v1/web/whisk.system/apimgmt/createApi";

/// What is kept of one of each sort of entity, alarms of each feed among them.
fn all_kept() -> Vec<(Value, Option<String>)> {
    let bed = bed();
    bed.put(
        "/_/packages/b",
        json!({"binding": {"namespace": "guest", "name": "pkg"}}),
    );
    let mut all: Vec<_> = bed
        .controller
        .borrow()
        .store()
        .present("guest")
        .map(|entity| {
            let Kept { document, code } = kept::write(entity);
            let document: Value = serde_json::from_str(document.as_str()).unwrap();
            (document, code.map(|code| code.as_str().to_owned()))
        })
        .collect();
    let trigger = all.iter().find(|(document, _)| document["is"] == "trigger");
    let trigger = trigger.expect("a trigger").0.clone();
    for config in [
        json!({"cron": "*/5 * * * * *", "timezone": "Europe/Berlin"}),
        json!({"cron": "0 0 29 2 *", "strict": true, "startDate": "2030-01-01T00:00:00Z"}),
        json!({"minutes": 3, "stopDate": "2099-12-31T00:00:00Z"}),
        json!({"date": "2099-12-31", "deleteAfterFire": "rules"}),
    ] {
        let mut with = trigger.clone();
        with["alarm"] = json!({"config": config, "payload": {}, "from": 1_700_000_000_000_u64, "fired": 1, "changed": 5});
        all.push((with, None));
    }
    all
}

/// All places of a value, as JSON pointers.
fn places(value: &Value, at: &str, into: &mut Vec<String>) {
    into.push(at.to_owned());
    match value {
        Value::Object(members) => {
            for (name, value) in members {
                let name = name.replace('~', "~0").replace('/', "~1");
                places(value, &format!("{at}/{name}"), into);
            }
        }
        Value::Array(values) => {
            for (number, value) in values.iter().enumerate() {
                places(value, &format!("{at}/{number}"), into);
            }
        }
        _ => {}
    }
}

/// What a member may have become.
fn other_value() -> impl Strategy<Value = Value> {
    prop_oneof![
        any::<u64>().prop_map(|n| json!(n)),
        any::<i32>().prop_map(|n| json!(n)),
        prop::sample::select(vec![
            json!(null),
            json!(true),
            json!([]),
            json!({}),
            json!(u64::MAX),
            json!(u64::MAX - 1),
            json!(i64::MAX),
            json!(-1),
            json!(1.5),
            json!(0),
            json!(""),
            json!("/"),
            json!("/a/b/c/d"),
            json!("/guest/a"),
            json!("9.9.9"),
            json!("4294967296.0.0"),
            json!("* * * * * *"),
            json!("59 59 23 31 12 7"),
            json!("* * 30 2 *"),
            json!("UTC"),
            json!("9999-12-31T23:59:59Z"),
            json!("nodejs:14"),
            json!("rule"),
            json!("trigger"),
            json!("package"),
            json!("action"),
            json!("api"),
            json!("/b"),
            json!("keep"),
            json!("message.headers."),
        ]),
        ".{0,8}".prop_map(|text| json!(text)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_was_kept_is_an_entity_or_refused(
        which in any::<prop::sample::Index>(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), prop::option::of(other_value())), 0..4),
        spoilt in prop::option::of((any::<prop::sample::Index>(), any::<u8>())), no_code in any::<bool>(),
    ) {
        thread_local!(static ALL: Vec<(Value, Option<String>)> = all_kept());
        let (mut document, code) = ALL.with(|all| which.get(all).clone());
        for (place, value) in &changes {
            let mut all = Vec::new();
            places(&document, "", &mut all);
            let place = place.get(&all);
            match value {
                Some(value) => *document.pointer_mut(place).unwrap() = value.clone(),
                None => if let Some((parent, name)) = place.rsplit_once('/')
                    && let Some(members) = document.pointer_mut(parent).and_then(Value::as_object_mut)
                {
                    members.remove(&name.replace("~1", "/").replace("~0", "~"));
                },
            }
        }
        let mut bytes = document.to_string().into_bytes();
        if let Some((at, byte)) = spoilt {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        let Ok(document) = Json::parse_bytes(&bytes) else { return Ok(()) };
        let code = code.filter(|_| !no_code).map(|code| Json::parse(&code).unwrap());
        let runtimes = Runtimes::default();
        let Ok(entity) = kept::read(&Kept { document, code }, &runtimes) else { return Ok(()) };
        // Whatever it is, it is kept as what it is.
        let again = kept::write(&entity);
        let read = kept::read(&again, &runtimes);
        prop_assert!(read.is_ok(), "{:?}: {}", read.err(), again.document.as_str());
        prop_assert_eq!(kept::write(&read.unwrap()), again);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_request_is_answered(
        method in prop::sample::select(vec!["GET", "PUT", "POST", "DELETE", "OPTIONS", "HEAD", "PATCH", "X"]),
        target in near_text(), prefix in prop::sample::select(vec!["", "/api/v1/namespaces/_/actions/", "/api/v1/namespaces/_/", "/api/v1/web/guest/default/w", "/api/guest/b/", CREATE]),
        media in prop::sample::select(vec!["application/json", "text/plain", "application/x-www-form-urlencoded", ";", ""]),
        body in near_json(), results in near_json(),
    ) {
        let bed = bed();
        bed.act(move |_| answer(200, &String::from_utf8_lossy(&results)));
        let auth = basic(GUEST);
        for headers in [&[("Authorization", auth.as_str()), ("Content-Type", media)][..], &[("Authorization", &body_text(&body))]] {
            let got = bed.raw(method, &format!("{prefix}{target}"), headers, &body);
            prop_assert!((200..600).contains(&got.status));
            if got.status >= 400 && method != "HEAD" && !target.contains('w') && !prefix.contains("web") {
                prop_assert!(got.body.is_object() || got.body.is_array(), "{}", got.text());
            }
            for (name, value) in &got.response.headers {
                prop_assert!(!name.contains(['\r', '\n']) && !value.contains(['\r', '\n']), "{name}: {value}");
            }
        }
        prop_assert_eq!(bed.controller.borrow().running(), 0);
        prop_assert_eq!(bed.get("/_/actions?limit=1").status, 200);
    }

    #[test]
    fn json_is_accepted_exactly_if_serde_does(bytes in near_json()) {
        let ours = Json::parse_bytes(&bytes);
        let text = std::str::from_utf8(&bytes).ok();
        let theirs = text.and_then(|t| serde_json::from_str::<Value>(t).ok());
        // serde stops at numbers beyond its range and at half surrogate pairs, which JavaScript takes.
        if let (Err(error), Ok(ours)) = (text.map_or(Ok(Value::Null), serde_json::from_str::<Value>), &ours) {
            let error = error.to_string();
            prop_assert!(error.contains("out of range") || error.contains("hex escape"), "{}: {}", ours, error);
        }
        if let Some(value) = &theirs {
            let ours = ours.as_ref().unwrap();
            prop_assert_eq!(&serde_json::from_str::<Value>(ours.as_str()).unwrap(), value);
            prop_assert_eq!(&serde_json::from_str::<Value>(&ours.compact()).unwrap(), value);
            if let Some(object) = ours.to_object() {
                prop_assert_eq!(&serde_json::from_str::<Value>(object.to_json().as_str()).unwrap(), value);
            }
        }
    }

    #[test]
    fn quoting_is_undone_by_parsing(text in any::<String>()) {
        prop_assert_eq!(Json::text(&text).to_text(), Some(text.clone()));
        prop_assert_eq!(serde_json::from_str::<String>(Json::text(&text).as_str()).unwrap(), text);
    }

    #[test]
    fn decoding_never_fails(text in any::<String>()) {
        decode(&text, true);
        Query::parse(&text);
        let _ = FullName::parse(&text, "guest");
    }

    #[test]
    fn logs_take_any_bytes_in_any_pieces(pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 0..20)) {
        let all: Vec<u8> = pieces.concat();
        let mut logs = Collector::new(1);
        for piece in &pieces {
            logs.push(Stream::Out, 0, piece);
        }
        let lines = logs.finish(0, false);
        let mut expected: Vec<_> = all.split(|&b| b == b'\n').collect();
        if expected.last().is_some_and(|last| last.is_empty()) {
            expected.pop();
        }
        prop_assert_eq!(lines.len(), expected.len());
    }
}

fn body_text(body: &[u8]) -> String {
    String::from_utf8_lossy(body).into_owned()
}

#[test]
fn deep_nesting_is_no_danger() {
    let bed = bed();
    let deep = format!("{}{}", "[".repeat(200_000), "]".repeat(200_000));
    let headers = [
        ("Authorization", &*basic(GUEST)),
        ("Content-Type", "application/json"),
    ];
    let body = format!("{{\"a\":{deep}}}");
    let got = bed.raw(
        "POST",
        "/api/v1/namespaces/_/actions/a?blocking=true",
        &headers,
        body.as_bytes(),
    );
    assert!([200, 400].contains(&got.status), "{}", got.status);
}

/// As many names as a body may have, each a member of its own.
#[test]
fn a_great_many_members_take_no_longer_each_than_a_few() {
    let bed = Bed::new();
    let names = |count: usize| (0..count).map(|n| format!("{n:x}"));
    let parameters = |count: usize| -> Value {
        let all = names(count).map(|name| json!({"key": name, "value": 0}));
        all.collect()
    };
    let mut action = js("x");
    action["annotations"] = json!([{"key": "web-export", "value": true}]);
    action["parameters"] = parameters(35_000);
    let begin = std::time::Instant::now();
    bed.put("/_/packages/p", json!({"parameters": parameters(35_000)}));
    bed.put("/_/actions/p/a", action);
    let last = format!("{:x}", 89_999);
    let object: Value = names(90_000)
        .map(|name| (name, json!(1)))
        .collect::<serde_json::Map<_, _>>()
        .into();
    let got = bed.ask("POST", "/_/actions/p/a?blocking=true", object);
    assert_eq!(
        (got.status, &got.body["response"]["result"][&last]),
        (200, &json!(1))
    );
    let form = names(90_000).collect::<Vec<_>>().join("&");
    let media = [("Content-Type", "application/x-www-form-urlencoded")];
    let got = bed.raw(
        "POST",
        "/api/v1/web/guest/p/a.json",
        &media,
        form.as_bytes(),
    );
    assert_eq!((got.status, &got.body[&last]), (200, &json!("")));
    // Hundreds of seconds where each is compared with all others.
    assert!(begin.elapsed().as_secs() < 60, "{:?}", begin.elapsed());
}
