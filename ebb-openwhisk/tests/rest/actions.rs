//! Actions: documents, limits, lists (contract 3.4).

use crate::common::{Bed, GUEST, basic, js, refused};
use serde_json::{Value, json};

const NULL: Value = Value::Null;

#[test]
fn an_action_is_created_read_updated_and_deleted() {
    let bed = Bed::new();
    let mut document = js("function main(p) { return p }");
    document["name"] = json!("ignored");
    document["namespace"] = json!("ignored");
    let created = bed.put("/_/actions/greet", document);
    let expected = json!({
        "namespace": "guest", "name": "greet", "version": "0.0.1", "publish": false, "parameters": [],
        "exec": {"kind": "nodejs:20", "code": "function main(p) { return p }", "binary": false},
        "limits": {"timeout": 60000, "memory": 256, "logs": 10, "concurrency": 1},
        "annotations": [{"key": "provide-api-key", "value": false}, {"key": "exec", "value": "nodejs:20"}],
        "updated": bed.now.get(),
    });
    assert_eq!(created, expected);
    assert_eq!(bed.get("/guest/actions/greet").body, expected);
    let without_code = bed.get("/_/actions/greet?code=false").body;
    assert_eq!(
        without_code["exec"],
        json!({"kind": "nodejs:20", "binary": false})
    );

    let updated = bed.put(
        "/_/actions/greet?overwrite=true",
        json!({"parameters": [{"key": "a", "value": {"b": [1]}}], "publish": true, "delAnnotations": ["provide-api-key"],
               "annotations": [{"key": "web-export", "value": true}]}),
    );
    assert_eq!(updated["version"], "0.0.2");
    assert_eq!(updated["publish"], true);
    assert_eq!(updated["exec"], expected["exec"]);
    assert_eq!(
        updated["parameters"],
        json!([{"key": "a", "value": {"b": [1]}}])
    );
    assert_eq!(
        updated["annotations"],
        json!([{"key": "exec", "value": "nodejs:20"}, {"key": "web-export", "value": true}])
    );
    let given = bed.put(
        "/_/actions/greet?overwrite=true",
        json!({"version": "2.1.0", "parameters": []}),
    );
    assert_eq!(
        (&given["version"], &given["parameters"]),
        (&json!("2.1.0"), &json!([]))
    );

    let deleted = bed.ask("DELETE", "/_/actions/greet", NULL);
    assert_eq!((deleted.status, &deleted.body), (200, &given));
    assert_eq!(bed.ask("DELETE", "/_/actions/greet", NULL).status, 404);
    assert_eq!(bed.get("/_/actions/greet").status, 404);
}

#[test]
fn empty_code_is_accepted_and_binary_is_computed() {
    let bed = Bed::new();
    assert_eq!(bed.put("/_/actions/empty", js(""))["exec"]["binary"], false);
    let mut zip = js("UEsDBA==");
    zip["exec"]["binary"] = json!(false);
    assert_eq!(bed.put("/_/actions/zip", zip)["exec"]["binary"], true);
    let mut text = js("text()");
    text["exec"]["binary"] = json!(true);
    assert_eq!(bed.put("/_/actions/text", text)["exec"]["binary"], false);
    let mut upper = js("");
    upper["exec"]["kind"] = json!("NodeJS:20");
    assert_eq!(
        bed.put("/_/actions/upper", upper)["exec"]["kind"],
        "nodejs:20"
    );
}

#[test]
fn limits_are_checked_against_their_ranges() {
    let bed = Bed::new();
    for (limits, text) in [
        (
            json!({"timeout": 50}),
            "duration 50 milliseconds below allowed threshold of 100 milliseconds",
        ),
        (
            json!({"timeout": 300_001}),
            "duration 300001 milliseconds exceeds allowed threshold of 300000 milliseconds",
        ),
        (
            json!({"memory": 64}),
            "memory size 64 MB below allowed threshold of 128 MB",
        ),
        (
            json!({"memory": 1024}),
            "memory size 1024 MB exceeds allowed threshold of 512 MB",
        ),
        (
            json!({"logs": 20}),
            "log size 20 MB exceeds allowed threshold of 10 MB",
        ),
        (
            json!({"concurrency": 2}),
            "concurrency 2 exceeds allowed threshold of 1",
        ),
        (
            json!({"timeout": 1.5}),
            "The request content was malformed:\nrequirement failed: time limit must be whole number",
        ),
        (
            json!({"memory": "256"}),
            "The request content was malformed:\nmemory limit malformed",
        ),
        (
            json!(7),
            "The request content was malformed:\nlimits must be an object",
        ),
    ] {
        let mut document = js("");
        document["limits"] = limits.clone();
        let got = bed.ask("PUT", "/_/actions/a", document);
        assert_eq!((got.status, got.error()), (400, text), "{limits}");
    }
    let mut document = js("");
    document["limits"] = json!({"timeout": 100, "memory": 512, "logs": 0});
    let got = bed.put("/_/actions/a", document);
    assert_eq!(
        got["limits"],
        json!({"timeout": 100, "memory": 512, "logs": 0, "concurrency": 1})
    );
    let got = bed.put(
        "/_/actions/a?overwrite=true",
        json!({"limits": {"memory": 128}}),
    );
    assert_eq!(
        got["limits"],
        json!({"timeout": 100, "memory": 128, "logs": 0, "concurrency": 1})
    );
    // Whole numbers, however a language writes them.
    let headers = [
        ("Authorization", &*basic(GUEST)),
        ("Content-Type", "application/json"),
    ];
    let body = br#"{"limits": {"timeout": 5e2, "memory": 256.0}}"#;
    let path = "/api/v1/namespaces/_/actions/a?overwrite=true";
    let got = bed.raw("PUT", path, &headers, body);
    assert_eq!(
        got.body["limits"],
        json!({"timeout": 500, "memory": 256, "logs": 0, "concurrency": 1})
    );
}

#[test]
fn documents_that_are_no_actions_are_refused() {
    let bed = Bed::new();
    bed.put_action("a");
    bed.put("/_/packages/pkg", json!({}));
    bed.put("/_/triggers/t", json!({}));
    let big = "x".repeat(1 << 20);
    let long = "n".repeat(257);
    refused! { bed;
        PUT "/_/actions/new", json!({}) => 400 "exec undefined";
        PUT "/_/actions/new", json!([]) => 400 "The request content was malformed:";
        PUT "/_/actions/new", json!({"exec": 7}) => 400 "The request content was malformed:";
        PUT "/_/actions/new", json!({"exec": {"code": ""}})
            => 400 "The request content was malformed:\n'kind' must be a string defined in 'exec'";
        PUT "/_/actions/new", json!({"exec": {"code": "", "kind": 7}})
            => 400 "The request content was malformed:\n'kind' must be a string defined in 'exec'";
        PUT "/_/actions/new", json!({"exec": {"code": "", "kind": "nodejs:20", "main": 7}})
            => 400 "The request content was malformed:\nif defined, 'main' be a string in 'exec' for 'nodejs:20' actions";
        PUT "/_/actions/new", json!({"limits": {"logs": "1"}}) => 400 "The request content was malformed:\nlog limit malformed";
        PUT "/_/actions/new", json!({"limits": {"logs": -1}})
            => 400 "The request content was malformed:\nrequirement failed: a negative size of an object is not allowed.";
        PUT "/_/actions/new", json!({"exec": {"kind": "nodejs:20"}})
            => 400 "The request content was malformed:\n'code' must be a string or attachment object defined in 'exec' for 'nodejs:20' actions";
        PUT "/_/actions/new", json!({"exec": {"kind": "cobol:85", "code": ""}})
            => 400 "The request content was malformed:\nThe specified runtime 'cobol:85' is not supported by this platform. Valid values are: 'nodejs:20', 'nodejs:18', 'nodejs:16', 'nodejs:14', 'python:3.11', 'python:3.12', 'python:3.10', 'python:3.9', 'native:default', 'go:1.x', 'rust:1.x'.";
        PUT "/_/actions/a", js("") => 409 "resource already exists";
        PUT "/_/actions/a?overwrite=maybe", js("") => 400 "The query parameter 'overwrite' was malformed:";
        PUT "/_/actions/pkg", js("") => 409 "Resource by this name exists but is not in this collection.";
        PUT "/_/actions/no/b", js("") => 404 "The requested resource does not exist.";
        PUT "/_/actions/%C3%A9", js("") => 400 "The name of the entity contains illegal characters.";
        PUT "/_/actions/-a", js("") => 400 "The name of the entity contains illegal characters.";
        PUT "/_/actions/a%20", js("") => 400 "The name of the entity contains illegal characters.";
        PUT "/_/actions/a$b", js("") => 400 "The name of the entity contains illegal characters.";
        PUT format!("/_/actions/{long}"), js("") => 400 "Name segement longer than allowed: 257 > 256.";
        PUT "/_/actions/new", json!({"exec": {"kind": "nodejs:20", "code": ""}, "parameters": {}})
            => 400 "The request content was malformed:";
        PUT "/_/actions/new", json!({"exec": {"kind": "nodejs:20", "code": ""}, "parameters": [{"key": "k", "value": big}]})
            => 413 "parameters larger than allowed: 1048579 > 1048576 bytes.";
        PUT "/_/actions/new", json!({"exec": {"kind": "nodejs:20", "code": ""}, "annotations": [{"key": "k", "value": big}]})
            => 413 "annotations larger than allowed: ";
        PUT "/_/actions/new", js(&"x".repeat((48 << 20) + 1)) => 413 "exec larger than allowed: 50331649 > 50331648 bytes.";
    }
    for (version, shown) in [
        ("2", Some("2.0.0")),
        ("2.1", Some("2.1.0")),
        ("2.1.0.7", Some("2.1.0")),
        ("2..", Some("2.0.0")),
        ("0.0.2147483647", Some("0.0.2147483647")),
        ("0.0.4294967296", None),
        ("0.0.0", None),
        ("0", None),
        ("", None),
        ("1.x", None),
        ("-1.0.0", None),
        ("1..2", None),
        ("v1.0.0", None),
    ] {
        let mut document = js("");
        document["version"] = json!(version);
        let got = bed.ask("PUT", "/_/actions/versioned?overwrite=true", document);
        match shown {
            Some(shown) => assert_eq!((got.status, &got.body["version"]), (200, &json!(shown))),
            None => {
                let error = "The request content was malformed:\nsemantic version malformed";
                assert_eq!((got.status, got.error()), (400, error), "{version}");
            }
        }
    }
    // In actions, packages and triggers, as parameters and as annotations.
    for (list, is_one) in [
        (json!([{"key": "k", "value": null}]), true),
        (json!([{"key": "k", "value": 1, "init": true}]), true),
        (json!([{"key": "k", "value": 1, "other": "x"}]), true),
        (json!([{"key": "k"}]), false),
        (json!([{"key": "k", "init": true}]), false),
        (json!([{"value": 1}]), false),
        (json!([{"key": 7, "value": 1}]), false),
        (json!([{"key": "k", "value": 1, "init": "true"}]), false),
        (json!([{"key": "k", "value": 1, "init": null}]), false),
        (json!([7]), false),
    ] {
        for collection in ["actions", "packages", "triggers"] {
            for member in ["parameters", "annotations"] {
                let mut document = if collection == "actions" {
                    js("")
                } else {
                    json!({})
                };
                document[member] = list.clone();
                let path = format!("/_/{collection}/x-{collection}?overwrite=true");
                let got = bed.ask("PUT", &path, document);
                let shown = format!("{collection} {member} {list}");
                assert_eq!(got.status, if is_one { 200 } else { 400 }, "{shown}");
                let malformed = "The request content was malformed:";
                assert!(is_one || got.error().starts_with(malformed), "{shown}");
            }
        }
    }
    let auth = basic(GUEST);
    let xml = bed.raw(
        "PUT",
        "/api/v1/namespaces/_/actions/x",
        &[("Authorization", &auth), ("Content-Type", "text/xml")],
        b"<a/>",
    );
    assert_eq!(xml.status, 415);
    for body in [&b"{"[..], b"\xff\xfe", b"nul", b"{\"a\":1}x"] {
        let headers = [
            ("Authorization", auth.as_str()),
            ("Content-Type", "application/json"),
        ];
        let got = bed.raw("PUT", "/api/v1/namespaces/_/actions/x", &headers, body);
        assert_eq!(got.status, 400);
        assert!(
            got.error()
                .starts_with("The request content was malformed:"),
            "{}",
            got.error()
        );
    }
}

#[test]
fn lists_are_paged_newest_first() {
    let bed = Bed::new();
    bed.put("/_/packages/pkg", json!({}));
    for n in 0..40 {
        bed.put_action(&if n == 39 {
            "pkg/packaged".into()
        } else {
            format!("a{n}")
        });
    }
    let names = |path: &str| -> Vec<String> {
        let body = bed.get(path).body;
        body.as_array()
            .unwrap()
            .iter()
            .map(|e| e["name"].as_str().unwrap().to_owned())
            .collect()
    };
    let default = names("/_/actions");
    assert_eq!(default.len(), 30);
    assert_eq!(&default[..2], ["packaged", "a38"]);
    assert_eq!(names("/_/actions?limit=0").len(), 40);
    assert_eq!(names("/_/actions?limit=2&skip=1"), ["a38", "a37"]);
    assert_eq!(
        bed.get("/_/actions?count=true").body,
        json!({"actions": 40})
    );
    assert_eq!(names("/_/actions/pkg/"), ["packaged"]);
    let element = &bed.get("/_/actions?limit=1").body[0];
    assert_eq!(element["namespace"], "guest/pkg");
    assert_eq!(element["exec"], json!({"binary": false}));
    let mut members: Vec<_> = element
        .as_object()
        .unwrap()
        .keys()
        .map(String::as_str)
        .collect();
    members.sort_unstable();
    assert_eq!(
        members,
        [
            "annotations",
            "exec",
            "limits",
            "name",
            "namespace",
            "publish",
            "updated",
            "version"
        ]
    );
    for (path, collection) in [
        ("packages", 1),
        ("triggers", 0),
        ("rules", 0),
        ("activations", 0),
    ] {
        assert_eq!(
            bed.get(&format!("/_/{path}?count=true")).body,
            json!({path: collection})
        );
    }
}

#[test]
fn pages_out_of_range_are_refused() {
    let bed = Bed::new();
    bed.put_action("a");
    bed.put("/_/packages/pkg", json!({}));
    bed.put("/_/triggers/t", json!({}));
    refused! { bed;
        GET "/_/actions?limit=201"
            => 400 "The query parameter 'limit' was malformed:\nThe value '201' is not in the range of 0 to 200 for actions.";
        GET "/_/actions?limit=x"
            => 400 "The query parameter 'limit' was malformed:\nThe value 'x' is not an integer for actions.";
        GET "/_/rules?skip=-1"
            => 400 "The query parameter 'skip' was malformed:\nThe value '-1' is not greater than or equal to 0 for rules.";
    }
}
