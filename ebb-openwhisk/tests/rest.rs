//! The REST contract, section by section: general rules, actions, calls, activations.
#![allow(missing_docs)]

mod common;

use common::{Bed, GUEST, OTHER, answer, basic, js, without};
use ebb_openwhisk::activation::Answer;
use ebb_openwhisk::limits::NamespaceLimits;
use serde_json::{Value, json};

const NULL: Value = Value::Null;

#[test]
fn requests_without_the_right_key_are_refused_with_a_challenge() {
    let bed = Bed::new();
    let wrong = basic("nobody:nothing");
    let cut = basic(&GUEST[..GUEST.len() - 1]);
    for auth in [
        None,
        Some("Bearer x"),
        Some("Basic"),
        Some("Basic !!!"),
        Some(&wrong),
        Some(&cut),
    ] {
        let headers: Vec<_> = auth.map(|a| ("authorization", a)).into_iter().collect();
        let got = bed.raw("GET", "/api/v1/namespaces/_/actions", &headers, b"");
        assert_eq!(got.status, 401, "{auth:?}");
        assert_eq!(
            got.header("www-authenticate"),
            "Basic realm=\"OpenWhisk secure realm\""
        );
        assert!(got.body["error"].is_string() && got.body["code"].is_string());
    }
}

#[test]
fn another_namespace_is_forbidden() {
    let bed = Bed::new();
    bed.put_action("mine");
    for (method, path, name) in [
        ("GET", "/guest/actions", "guest"),
        ("GET", "/guest/actions/mine", "guest/mine"),
        ("POST", "/guest/actions/mine", "guest/mine"),
        ("DELETE", "/guest/actions/mine", "guest/mine"),
        ("GET", "/guest/triggers", "guest"),
        ("GET", "/guest/rules/r", "guest/r"),
        ("GET", "/guest/activations", "guest"),
        ("GET", "/guest/packages/p", "guest/p"),
        ("GET", "/guest/limits", "guest"),
    ] {
        let got = bed.by(OTHER, method, path, NULL);
        assert_eq!(got.status, 403, "{method} {path}");
        assert_eq!(
            got.error(),
            format!("The supplied authentication is not authorized to access '{name}'.")
        );
    }
}

#[test]
fn every_answer_carries_the_transaction_and_cors() {
    let bed = Bed::new();
    let auth = basic(GUEST);
    let got = bed.raw(
        "GET",
        "/api/v1/namespaces/_/actions/none",
        &[("Authorization", &auth), ("X-Request-ID", "my-id")],
        b"",
    );
    assert_eq!((got.status, got.header("x-request-id")), (404, "my-id"));
    assert_eq!(got.body["code"], "my-id");
    assert_eq!(got.header("access-control-allow-origin"), "*");
    assert_eq!(
        got.header("access-control-allow-methods"),
        "GET, DELETE, POST, PUT, HEAD"
    );
    let generated = bed.get("/_/actions");
    assert_eq!(generated.header("x-request-id").len(), 32);
    let injected = bed.raw("GET", "/ping", &[("X-Request-ID", "a b")], b"");
    assert_eq!(injected.header("x-request-id").len(), 32);
    let options = bed.raw("OPTIONS", "/api/v1/namespaces/_/actions", &[], b"");
    assert_eq!(
        (
            options.status,
            options.header("access-control-allow-origin")
        ),
        (200, "*")
    );
}

#[test]
fn errors_have_the_status_and_text_of_the_protocol() {
    let bed = Bed::new();
    bed.put_action("a");
    bed.put("/_/packages/pkg", json!({}));
    bed.put("/_/triggers/t", json!({}));
    let big = "x".repeat(1 << 20);
    let long = "n".repeat(257);
    let rows: Vec<(&str, String, Value, u16, &str)> = vec![
        (
            "GET",
            "/_/actions/none".into(),
            NULL,
            404,
            "The requested resource does not exist.",
        ),
        (
            "GET",
            "/_/actions/pkg/none".into(),
            NULL,
            404,
            "The requested resource does not exist.",
        ),
        (
            "GET",
            "/_/actions/nopkg/none".into(),
            NULL,
            404,
            "The requested resource does not exist.",
        ),
        (
            "POST",
            "/_/actions/none".into(),
            NULL,
            404,
            "The requested resource does not exist.",
        ),
        (
            "GET",
            "/_".into(),
            NULL,
            404,
            "The requested resource could not be found.",
        ),
        (
            "GET",
            "/_/nothing".into(),
            NULL,
            404,
            "The requested resource could not be found.",
        ),
        (
            "GET",
            "/_/actions/a/b/c".into(),
            NULL,
            404,
            "The requested resource could not be found.",
        ),
        (
            "POST",
            "/_/actions".into(),
            NULL,
            405,
            "HTTP method not allowed",
        ),
        (
            "DELETE",
            "/_/actions".into(),
            NULL,
            405,
            "HTTP method not allowed",
        ),
        (
            "PATCH",
            "/_/actions/a".into(),
            NULL,
            405,
            "HTTP method not allowed",
        ),
        (
            "PUT",
            "/_/actions/new".into(),
            json!({}),
            400,
            "exec undefined",
        ),
        (
            "PUT",
            "/_/actions/new".into(),
            json!([]),
            400,
            "The request content was malformed:",
        ),
        (
            "PUT",
            "/_/actions/new".into(),
            json!({"exec": 7}),
            400,
            "The request content was malformed:",
        ),
        (
            "PUT",
            "/_/actions/new".into(),
            json!({"exec": {"code": ""}}),
            400,
            "The request content was malformed:",
        ),
        (
            "PUT",
            "/_/actions/new".into(),
            json!({"exec": {"kind": "nodejs:20"}}),
            400,
            "The request content was malformed:",
        ),
        (
            "PUT",
            "/_/actions/new".into(),
            json!({"exec": {"kind": "cobol:85", "code": ""}}),
            400,
            "The specified runtime 'cobol:85' is not supported by this platform. Valid values are: 'nodejs:20'.",
        ),
        (
            "PUT",
            "/_/actions/a".into(),
            js(""),
            409,
            "resource already exists",
        ),
        (
            "PUT",
            "/_/actions/a?overwrite=maybe".into(),
            js(""),
            400,
            "The query parameter 'overwrite' was malformed:",
        ),
        (
            "PUT",
            "/_/actions/pkg".into(),
            js(""),
            409,
            "Resource by this name exists but is not in this collection.",
        ),
        (
            "GET",
            "/_/actions/t".into(),
            NULL,
            409,
            "Resource by this name exists but is not in this collection.",
        ),
        (
            "GET",
            "/_/triggers/a".into(),
            NULL,
            409,
            "Resource by this name exists but is not in this collection.",
        ),
        (
            "PUT",
            "/_/rules/a".into(),
            json!({"trigger": "/_/t", "action": "/_/a"}),
            409,
            "Resource by this name exists",
        ),
        (
            "PUT",
            "/_/actions/no/b".into(),
            js(""),
            404,
            "The requested resource does not exist.",
        ),
        (
            "PUT",
            "/_/actions/%C3%A9".into(),
            js(""),
            400,
            "The name of the entity contains illegal characters.",
        ),
        (
            "PUT",
            "/_/actions/-a".into(),
            js(""),
            400,
            "The name of the entity contains illegal characters.",
        ),
        (
            "PUT",
            "/_/actions/a%20".into(),
            js(""),
            400,
            "The name of the entity contains illegal characters.",
        ),
        (
            "PUT",
            "/_/actions/a$b".into(),
            js(""),
            400,
            "The name of the entity contains illegal characters.",
        ),
        (
            "PUT",
            format!("/_/actions/{long}"),
            js(""),
            400,
            "Name segement longer than allowed: 257 > 256.",
        ),
        (
            "PUT",
            "/_/actions/new".into(),
            json!({"exec": {"kind": "nodejs:20", "code": ""}, "parameters": {}}),
            400,
            "The request content was malformed:",
        ),
        (
            "PUT",
            "/_/actions/new".into(),
            json!({"exec": {"kind": "nodejs:20", "code": ""}, "parameters": [{"key": "k", "value": big}]}),
            413,
            "parameters larger than allowed: 1048600 > 1048576 bytes.",
        ),
        (
            "PUT",
            "/_/actions/new".into(),
            json!({"exec": {"kind": "nodejs:20", "code": ""}, "annotations": [{"key": "k", "value": big}]}),
            413,
            "annotations larger than allowed: ",
        ),
        (
            "PUT",
            "/_/actions/new".into(),
            js(&"x".repeat((48 << 20) + 1)),
            413,
            "exec larger than allowed: 50331649 > 50331648 bytes.",
        ),
        (
            "PUT",
            "/_/actions/new".into(),
            json!({"exec": {"kind": "nodejs:20", "code": ""}, "version": "1"}),
            400,
            "The request content was malformed:",
        ),
        (
            "POST",
            "/_/actions/a".into(),
            json!({"big": big}),
            413,
            "Request larger than allowed: 1048586 > 1048576 bytes.",
        ),
        (
            "POST",
            "/_/actions/a".into(),
            json!([1]),
            400,
            "The request content was malformed:",
        ),
        (
            "POST",
            "/_/actions/a".into(),
            json!("text"),
            400,
            "The request content was malformed:",
        ),
        (
            "POST",
            "/_/actions/a?timeout=0".into(),
            NULL,
            400,
            "The query parameter 'timeout' was malformed:\nTimeout must be number of milliseconds up to 60000.",
        ),
        (
            "POST",
            "/_/actions/a?timeout=60001".into(),
            NULL,
            400,
            "The query parameter 'timeout' was malformed:",
        ),
        (
            "POST",
            "/_/actions/a?blocking=7".into(),
            NULL,
            400,
            "The query parameter 'blocking' was malformed:",
        ),
        (
            "GET",
            "/_/actions?limit=201".into(),
            NULL,
            400,
            "The query parameter 'limit' was malformed:\nThe value '201' is not in the range of 0 to 200 for actions.",
        ),
        (
            "GET",
            "/_/actions?limit=x".into(),
            NULL,
            400,
            "The query parameter 'limit' was malformed:\nThe value 'x' is not an integer for actions.",
        ),
        (
            "GET",
            "/_/rules?skip=-1".into(),
            NULL,
            400,
            "The query parameter 'skip' was malformed:\nThe value '-1' is not greater than or equal to 0 for rules.",
        ),
        (
            "GET",
            "/_/activations?since=x".into(),
            NULL,
            400,
            "The query parameter 'since' was malformed:",
        ),
        (
            "GET",
            "/_/activations?upto=x".into(),
            NULL,
            400,
            "The query parameter 'upto' was malformed:",
        ),
        (
            "GET",
            "/_/activations?name=a/b/c".into(),
            NULL,
            400,
            "The query parameter 'name' was malformed:",
        ),
        (
            "GET",
            "/_/activations?count=true&docs=true".into(),
            NULL,
            400,
            "The parameter 'docs' is not permitted with 'count'.",
        ),
        (
            "GET",
            "/_/activations/abc".into(),
            NULL,
            400,
            "Activation id length is 3 but must be 32.",
        ),
        (
            "GET",
            "/_/activations/zzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzz".into(),
            NULL,
            400,
            "The activation id is not valid.",
        ),
        (
            "GET",
            "/_/activations/00000000000000000000000000000000".into(),
            NULL,
            404,
            "The requested resource does not exist.",
        ),
        (
            "DELETE",
            "/_/activations/00000000000000000000000000000000".into(),
            NULL,
            405,
            "HTTP method not allowed",
        ),
        (
            "PUT",
            "/_/packages/default".into(),
            json!({}),
            400,
            "Package name 'default' is reserved.",
        ),
        (
            "PUT",
            "/_/packages/b".into(),
            json!({"binding": {"namespace": "_", "name": "gone"}}),
            400,
            "Binding references a package that does not exist.",
        ),
        (
            "PUT",
            "/_/packages/pkg?overwrite=true".into(),
            json!({"binding": {"namespace": "_", "name": "pkg"}}),
            409,
            "Resource by this name exists",
        ),
        (
            "PUT",
            "/_/rules/r".into(),
            json!({"trigger": "/_/none", "action": "/_/a"}),
            400,
            "trigger /guest/none does not exist",
        ),
        (
            "PUT",
            "/_/rules/r".into(),
            json!({"trigger": "/_/t", "action": "/_/none"}),
            400,
            "action /guest/none does not exist",
        ),
        (
            "PUT",
            "/_/rules/r".into(),
            json!({"trigger": "/_/t"}),
            400,
            "rule requires a valid trigger and a valid action",
        ),
        (
            "PUT",
            "/_/actions/s".into(),
            json!({"exec": {"kind": "sequence", "components": []}}),
            400,
            "No component specified for the sequence.",
        ),
        (
            "PUT",
            "/_/actions/s".into(),
            json!({"exec": {"kind": "sequence", "components": ["/_/none"]}}),
            400,
            "Sequence component does not exist.",
        ),
        (
            "PUT",
            "/_/actions/s".into(),
            json!({"exec": {"kind": "sequence", "components": ["/_/s"]}}),
            400,
            "Sequence may not refer to itself.",
        ),
        (
            "PUT",
            "/_/actions/s".into(),
            json!({"exec": {"kind": "sequence", "components": vec!["/_/a"; 51]}}),
            400,
            "Too many actions in the sequence.",
        ),
    ];
    for (method, path, body, status, text) in rows {
        let got = bed.ask(method, &path, body);
        let shown: String = path.chars().take(80).collect();
        assert_eq!(got.status, status, "{method} {shown}: {}", got.text());
        assert!(
            got.error().starts_with(text),
            "{method} {shown}: {}",
            got.error()
        );
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
            "The request content was malformed:\nthe limit 'timeout' must be an integer",
        ),
        (
            json!({"memory": "256"}),
            "The request content was malformed:\nthe limit 'memory' must be an integer",
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
}

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
fn information_needs_no_credentials() {
    let bed = Bed::new();
    let get = |path: &str| bed.raw("GET", path, &[], b"");
    assert_eq!(get("/ping").text(), "pong");
    for path in ["/api/v1", "/api/v1/"] {
        let got = get(path);
        assert_eq!(
            (got.status, &got.body["api_version_path"]),
            (200, &json!("v1"))
        );
        assert!(got.body["swagger_paths"]["api-docs"].is_string());
    }
    let docs = get("/api/v1/api-docs").body;
    assert_eq!(docs["swagger"], "2.0");
    assert!(docs["paths"].as_object().unwrap().len() > 10);
    let about = get("/").body;
    assert_eq!(about["runtimes"]["nodejs"][0]["kind"], "nodejs:20");
    assert_eq!(about["limits"]["max_action_memory"], 512 << 20);
    assert_eq!(get("/docs").status, 302);
    assert_eq!(get("/nowhere").status, 404);
    assert_eq!(bed.raw("POST", "/ping", &[], b"").status, 405);
    assert_eq!(bed.get("").body, json!(["guest"]));
    let limits = bed.get("/_/limits").body;
    assert_eq!(
        (&limits["minActionTimeout"], &limits["maxActionMemory"]),
        (&json!(100), &json!(512))
    );
    assert!(limits["invocationsPerMinute"].is_number());
    let head = bed.raw("HEAD", "/ping", &[], b"");
    assert_eq!((head.status, head.text().as_str()), (200, ""));
}

#[test]
fn a_blocking_call_answers_the_record_and_keeps_it() {
    let bed = Bed::new();
    bed.put_action("greet");
    *bed.logs.borrow_mut() = vec!["2025-10-09T08:53:20.123456789Z stdout: hello".into()];
    let received = bed.now.get() + 1;
    let got = bed.ask(
        "POST",
        "/_/actions/greet?blocking=true",
        json!({"hi": "ada"}),
    );
    assert_eq!(got.status, 200);
    let id = got.header("x-openwhisk-activation-id").to_owned();
    assert_eq!(id.len(), 32);
    let mut expected = json!({
        "activationId": id, "name": "greet", "namespace": "guest", "subject": "guest", "version": "0.0.1", "publish": false,
        "start": received + 5, "end": received + 17, "duration": 12, "logs": [],
        "annotations": [
            {"key": "path", "value": "guest/greet"}, {"key": "kind", "value": "nodejs:20"},
            {"key": "limits", "value": {"timeout": 60000, "memory": 256, "logs": 10, "concurrency": 1}},
            {"key": "timeout", "value": false}, {"key": "waitTime", "value": 5}, {"key": "initTime", "value": 3}],
        "response": {"status": "success", "success": true, "result": {"hi": "ada"}, "size": 12},
    });
    assert_eq!(got.body, expected);
    expected["logs"] = json!(["2025-10-09T08:53:20.123456789Z stdout: hello"]);
    assert_eq!(bed.get(&format!("/_/activations/{id}")).body, expected);
    assert_eq!(
        bed.get(&format!("/_/activations/{id}/logs")).body,
        json!({"logs": expected["logs"]})
    );
    assert_eq!(
        bed.get(&format!("/_/activations/{id}/result")).body,
        expected["response"]
    );
    assert_eq!(bed.get(&format!("/_/activations/{id}/else")).status, 404);
    assert_eq!(
        bed.by(OTHER, "GET", &format!("/_/activations/{id}"), NULL)
            .status,
        404
    );
}

#[test]
fn other_calls_answer_the_id_or_the_result() {
    let bed = Bed::new();
    bed.put_action("greet");
    let got = bed.ask("POST", "/_/actions/greet?result=true", json!({"a": 1}));
    assert_eq!(got.status, 202);
    assert_eq!(
        got.body,
        json!({"activationId": got.header("x-openwhisk-activation-id")})
    );
    let got = bed.ask(
        "POST",
        "/_/actions/greet?blocking=true&result=true",
        json!({"a": 1}),
    );
    assert_eq!((got.status, got.body), (200, json!({"a": 1})));
    bed.act(|_| answer(200, "[1,2]"));
    let got = bed.ask("POST", "/_/actions/greet?blocking=true", NULL);
    assert_eq!((got.status, got.body), (200, json!([1, 2])));
}

#[test]
fn each_answer_of_an_instance_becomes_its_response() {
    let bed = Bed::new();
    bed.put_action("a");
    let developer = "action developer error";
    let invalid = "The action did not produce a valid JSON or JSON Array response: ";
    let big = format!("{{\"x\":\"{}\"}}", "y".repeat(1 << 20));
    let init = |body: &str| Answer::InitFailed {
        status: 502,
        body: body.as_bytes().to_vec(),
    };
    let rows: Vec<(Answer, u16, &str, u8, Value)> = vec![
        (answer(200, "{\"a\":1}"), 200, "success", 0, json!({"a": 1})),
        (
            answer(200, "{\"error\":\"e\",\"b\":1}"),
            502,
            "application error",
            1,
            json!({"error": "e"}),
        ),
        (
            answer(200, "{\"error\":null}"),
            502,
            "application error",
            1,
            json!({"error": null}),
        ),
        (
            answer(200, "null"),
            502,
            developer,
            2,
            json!({"error": format!("{invalid}null")}),
        ),
        (
            answer(200, "7"),
            502,
            developer,
            2,
            json!({"error": format!("{invalid}7")}),
        ),
        (
            answer(200, ""),
            502,
            developer,
            2,
            json!({"error": invalid}),
        ),
        (
            answer(200, "{oops"),
            502,
            developer,
            2,
            json!({"error": format!("{invalid}{{oops")}),
        ),
        (
            answer(
                502,
                "{\"error\":\"The action did not return a dictionary.\"}",
            ),
            502,
            developer,
            2,
            json!({"error": "The action did not return a dictionary."}),
        ),
        (
            answer(500, "[1]"),
            502,
            developer,
            2,
            json!({"error": format!("{invalid}[1]")}),
        ),
        (
            init("{\"error\":\"Initialization has failed due to: x\"}"),
            502,
            developer,
            2,
            json!({"error": "Initialization has failed due to: x"}),
        ),
        (
            init("junk"),
            502,
            developer,
            2,
            json!({"error": "The action failed during initialization: junk"}),
        ),
        (
            Answer::RunLost,
            502,
            developer,
            2,
            json!({"error": "The action did not produce a valid response and exited unexpectedly."}),
        ),
        (
            Answer::InitLost,
            502,
            developer,
            2,
            json!({"error": "The action did not initialize and exited unexpectedly."}),
        ),
        (
            Answer::RunTimeout,
            502,
            developer,
            2,
            json!({"error": "The action exceeded its time limits of 60000 milliseconds."}),
        ),
        (
            Answer::InitTimeout,
            502,
            developer,
            2,
            json!({"error": "The action exceeded its time limits of 60000 milliseconds during initialization."}),
        ),
        (
            Answer::OutOfMemory,
            502,
            developer,
            2,
            json!({"error": "The action exhausted its memory and was aborted."}),
        ),
        (
            Answer::Fault("no room".into()),
            500,
            "whisk internal error",
            3,
            json!({"error": "no room"}),
        ),
    ];
    for (answer, http, status, code, result) in rows {
        let timed_out = answer.timed_out();
        let shown = format!("{answer:?}");
        bed.act(move |_| answer.clone());
        let got = bed.ask("POST", "/_/actions/a?blocking=true", NULL);
        assert_eq!(got.status, http, "{shown}");
        let response = &got.body["response"];
        assert_eq!(response["status"], status, "{shown}");
        assert_eq!(response["success"], code == 0, "{shown}");
        assert_eq!(response["result"], result, "{shown}");
        assert!(response.get("statusCode").is_none());
        let id = got.header("x-openwhisk-activation-id");
        let listed = bed.get("/_/activations?limit=1").body[0].clone();
        assert_eq!(
            (&listed["activationId"], &listed["statusCode"]),
            (&json!(id), &json!(code)),
            "{shown}"
        );
        let timeout = got.body["annotations"]
            .as_array()
            .unwrap()
            .iter()
            .find(|a| a["key"] == "timeout")
            .unwrap();
        assert_eq!(timeout["value"], timed_out, "{shown}");
    }
    bed.act(move |_| answer(200, &big));
    let got = bed.ask("POST", "/_/actions/a?blocking=true", NULL);
    assert_eq!(
        (got.status, &got.body["response"]["status"]),
        (502, &json!("application error"))
    );
    assert!(got.body["response"]["result"]["error"].as_str().unwrap().starts_with(
        "The action produced a response that exceeded the allowed length: 1048584 > 1048576 bytes. The truncated response was: {\"x\":\"yyy"
    ));
}

#[test]
fn parameters_merge_from_package_to_call() {
    let bed = Bed::new();
    let kv = |pairs: &[(&str, &str)]| -> Value {
        pairs
            .iter()
            .map(|(k, v)| json!({"key": k, "value": v}))
            .collect()
    };
    bed.put("/_/packages/p", json!({"parameters": kv(&[("a", "package"), ("b", "package"), ("c", "package"), ("d", "package")])}));
    bed.put("/_/packages/bound", json!({"binding": {"namespace": "_", "name": "p"}, "parameters": kv(&[("b", "binding"), ("c", "binding"), ("d", "binding")])}));
    let mut action = js("x");
    action["parameters"] = kv(&[("c", "action"), ("d", "action")]);
    bed.put("/_/actions/p/a", action);
    let got = bed.ask(
        "POST",
        "/_/actions/bound/a?blocking=true&result=true",
        json!({"d": "call"}),
    );
    assert_eq!(
        got.body,
        json!({"a": "package", "b": "binding", "c": "action", "d": "call"})
    );
    let record = got.record.unwrap();
    assert_eq!(
        record.annotations.get("binding").unwrap().as_str(),
        "\"guest/bound\""
    );
    assert_eq!(
        record.annotations.get("path").unwrap().as_str(),
        "\"guest/p/a\""
    );
    let document = bed.get("/_/actions/bound/a").body;
    assert_eq!(document["parameters"].as_array().unwrap().len(), 4);
    assert_eq!(bed.last_run()["action_name"], "/guest/p/a");
}

#[test]
fn init_parameters_go_to_the_environment_only() {
    let bed = Bed::new();
    let mut action = js("x");
    action["exec"]["main"] = json!("handler");
    action["parameters"] = json!([
        {"key": "S", "value": "text", "init": true}, {"key": "N", "value": null, "init": true},
        {"key": "B", "value": false, "init": true}, {"key": "F", "value": 1.5, "init": true},
        {"key": "O", "value": {"a": [1, "x y"]}, "init": true}, {"key": "plain", "value": 1}]);
    bed.put("/_/actions/a", action);
    let got = bed.ask(
        "POST",
        "/_/actions/a?blocking=true&result=true",
        json!({"S": "sent", "q": 2}),
    );
    assert_eq!(got.body, json!({"plain": 1, "q": 2}));
    let init = bed.last_init()["value"].clone();
    assert_eq!(
        (&init["name"], &init["main"], &init["code"], &init["binary"]),
        (&json!("a"), &json!("handler"), &json!("x"), &json!(false))
    );
    let env = without(
        init["env"].clone(),
        &["__OW_ACTIVATION_ID", "__OW_TRANSACTION_ID", "__OW_DEADLINE"],
    );
    assert_eq!(
        env,
        json!({"S": "text", "N": "", "B": "false", "F": "1.5", "O": "{\"a\":[1,\"x y\"]}",
        "__OW_NAMESPACE": "guest", "__OW_ACTION_NAME": "/guest/a", "__OW_ACTION_VERSION": "0.0.1"})
    );
}

#[test]
fn a_run_is_told_who_what_and_until_when() {
    let bed = Bed::new();
    bed.put_action("a");
    let got = bed.ask("POST", "/_/actions/a", json!({"x": 1}));
    let run = bed.last_run();
    assert_eq!(run["value"], json!({"x": 1}));
    assert_eq!(run["namespace"], "guest");
    assert_eq!(
        (&run["action_name"], &run["action_version"]),
        (&json!("/guest/a"), &json!("0.0.1"))
    );
    assert_eq!(
        run["activation_id"],
        got.header("x-openwhisk-activation-id")
    );
    assert_eq!(run["transaction_id"], got.header("x-request-id"));
    assert_eq!(run["deadline"], (bed.now.get() + 60_000).to_string());
    assert!(run.get("api_key").is_none(), "not granted unless asked for");
    let mut keyed = js("x");
    keyed["annotations"] = json!([{"key": "provide-api-key", "value": true}]);
    bed.put("/_/actions/keyed", keyed);
    bed.ask("POST", "/_/actions/keyed", NULL);
    assert_eq!(bed.last_run()["api_key"], GUEST);
    assert_eq!(bed.last_init()["value"]["env"]["__OW_API_KEY"], GUEST);
}

#[test]
fn final_parameters_cannot_be_overridden() {
    let bed = Bed::new();
    let mut action = js("x");
    action["annotations"] = json!([{"key": "final", "value": true}]);
    action["parameters"] = json!([{"key": "set", "value": 1}, {"key": "open", "value": null}]);
    bed.put("/_/actions/a", action);
    let got = bed.ask("POST", "/_/actions/a", json!({"set": 2}));
    assert_eq!(
        (got.status, got.error()),
        (
            400,
            "Request defines parameters that are not allowed (e.g., reserved properties)."
        )
    );
    assert_eq!(
        bed.ask("POST", "/_/actions/a", json!({"open": 2})).status,
        202
    );
}

#[test]
fn an_update_gets_instances_of_its_own() {
    let bed = Bed::new();
    bed.put_action("a");
    let keys = std::rc::Rc::new(std::cell::RefCell::new(Vec::new()));
    let seen = keys.clone();
    bed.act(move |call| {
        seen.borrow_mut().push(call.key());
        answer(200, "{}")
    });
    bed.ask("POST", "/_/actions/a", NULL);
    bed.ask("POST", "/_/actions/a", NULL);
    bed.put("/_/actions/a?overwrite=true", json!({"version": "0.0.1"}));
    bed.ask("POST", "/_/actions/a", NULL);
    bed.ask("DELETE", "/_/actions/a", NULL);
    bed.put_action("a");
    bed.ask("POST", "/_/actions/a", NULL);
    bed.by(OTHER, "POST", "/whisk.system/actions/utils/echo", NULL);
    bed.ask("POST", "/whisk.system/actions/utils/echo", NULL);
    let keys = keys.borrow();
    assert_eq!(keys[0], keys[1]);
    for (at, key) in keys.iter().enumerate().skip(2) {
        assert!(keys[1..at].iter().all(|k| k != key), "{keys:?}");
    }
}

#[test]
fn activations_are_filtered_by_name_and_time() {
    let bed = Bed::new();
    bed.put("/_/packages/p", json!({}));
    for name in ["a", "b", "p/a"] {
        bed.put_action(name);
    }
    let mut starts = Vec::new();
    for name in ["a", "b", "p/a", "a"] {
        bed.now.set(bed.now.get() + 1000);
        let got = bed.ask("POST", &format!("/_/actions/{name}?blocking=true"), NULL);
        starts.push(got.body["start"].as_u64().unwrap());
    }
    let listed = |query: &str| -> Vec<u64> {
        let body = bed.get(&format!("/_/activations?{query}")).body;
        body.as_array()
            .unwrap()
            .iter()
            .map(|r| r["start"].as_u64().unwrap())
            .collect()
    };
    assert_eq!(listed(""), [starts[3], starts[2], starts[1], starts[0]]);
    assert_eq!(listed("name=b"), [starts[1]]);
    assert_eq!(listed("name=p%2Fa"), [starts[2]]);
    assert_eq!(
        listed(&format!("since={}&upto={}", starts[1], starts[2])),
        [starts[2], starts[1]]
    );
    assert_eq!(listed("limit=1&skip=1"), [starts[2]]);
    assert_eq!(
        bed.get("/_/activations?count=true").body,
        json!({"activations": 4})
    );
    let element = bed.get("/_/activations?limit=1").body[0].clone();
    assert!(element.get("response").is_none() && element.get("logs").is_none());
    let full = bed.get("/_/activations?limit=1&docs=true").body[0].clone();
    assert!(full["response"].is_object() && full["logs"].is_array());
}

#[test]
fn too_many_calls_are_refused() {
    let bed = Bed::with(NamespaceLimits {
        calls_per_minute: 2,
        concurrent_calls: 10,
        fires_per_minute: 1,
    });
    bed.put_action("a");
    bed.put("/_/triggers/t", json!({}));
    bed.put("/_/rules/r", json!({"trigger": "/_/t", "action": "/_/a"}));
    assert_eq!(bed.ask("POST", "/_/actions/a", NULL).status, 202);
    assert_eq!(bed.ask("POST", "/_/triggers/t", NULL).status, 202);
    let got = bed.ask("POST", "/_/actions/a", NULL);
    assert_eq!(
        (got.status, got.error()),
        (
            429,
            "Too many requests in the last minute (count: 3, allowed: 2)."
        )
    );
    assert_eq!(bed.ask("POST", "/_/triggers/t", NULL).status, 429);
    bed.now.set(bed.now.get() + 61_000);
    assert_eq!(bed.ask("POST", "/_/actions/a", NULL).status, 202);
    assert_eq!(bed.controller.borrow().running(), 0);
}

#[test]
fn records_are_forgotten_oldest_first_and_memory_stays_bounded() {
    let bed = Bed::new();
    bed.put_action("a");
    let big = json!({"x": "y".repeat(500_000)});
    let first = bed.ask("POST", "/_/actions/a", big.clone());
    for _ in 0..40 {
        bed.ask("POST", "/_/actions/a", big.clone());
    }
    assert!(bed.controller.borrow().activations().bytes() <= 10 << 20);
    let id = first.header("x-openwhisk-activation-id");
    assert_eq!(bed.get(&format!("/_/activations/{id}")).status, 404);
    let last = bed.get("/_/activations?limit=1").body[0]["activationId"].clone();
    assert_eq!(
        bed.get(&format!("/_/activations/{}", last.as_str().unwrap()))
            .status,
        200
    );
}

#[test]
fn a_full_store_refuses_and_recovers() {
    let bed = Bed::new();
    let code = "x()".repeat(14 << 20);
    let mut stored = 0;
    let refused = loop {
        let got = bed.ask("PUT", &format!("/_/actions/a{stored}"), js(&code));
        if got.status != 200 {
            break got;
        }
        stored += 1;
    };
    assert_eq!((refused.status, stored), (503, 2));
    assert_eq!(bed.ask("DELETE", "/_/actions/a0", NULL).status, 200);
    assert_eq!(bed.ask("PUT", "/_/actions/a9", js(&code)).status, 200);
}
