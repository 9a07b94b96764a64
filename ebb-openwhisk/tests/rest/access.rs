//! Who may ask, what all answers carry, how many calls are allowed (contract 3.1 to 3.3).

use crate::common::{Bed, GUEST, OTHER, basic, js, refused};
use ebb_openwhisk::api::Config;
use ebb_openwhisk::limits::NamespaceLimits;
use serde_json::{Value, json};

const NULL: Value = Value::Null;

#[test]
fn requests_without_the_right_key_are_refused_with_a_challenge() {
    let bed = Bed::new();
    let wrong = basic("nobody:nothing");
    let cut = basic(&GUEST[..GUEST.len() - 1]);
    let none = "The resource requires authentication, which was not supplied with the request";
    let invalid = "The supplied authentication is invalid";
    for (auth, why) in [
        (None, none),
        (Some("Bearer x"), none),
        (Some("Basic"), none),
        (Some("Basic !!!"), none),
        (Some(&*wrong), invalid),
        (Some(&*cut), invalid),
    ] {
        let headers: Vec<_> = auth.map(|a| ("authorization", a)).into_iter().collect();
        let got = bed.raw("GET", "/api/v1/namespaces/_/actions", &headers, b"");
        assert_eq!(got.status, 401, "{auth:?}");
        assert_eq!(
            got.header("www-authenticate"),
            "Basic realm=\"OpenWhisk secure realm\""
        );
        assert_eq!(got.error(), why, "{auth:?}");
        assert!(got.body["code"].is_string());
    }
}

#[test]
fn whoever_has_no_key_hears_401_before_anything_else() {
    let bed = Bed::new();
    let big = vec![b'x'; 2 << 20];
    for (method, path) in [
        ("GET", "/api/v1/namespaces"),
        ("GET", "/api/v1/namespaces/-/actions"),
        ("GET", "/api/v1/namespaces/_/nothing"),
        ("GET", "/api/v1/nowhere"),
        ("PATCH", "/api/v1/namespaces/_/actions"),
        ("POST", "/api/v1"),
        ("PUT", "/api/v1/namespaces/_/actions/a?overwrite=maybe"),
        ("POST", "/api/v1/namespaces/_/actions/a"),
    ] {
        let got = bed.raw(method, path, &[("Content-Type", "text/xml")], &big);
        assert_eq!(got.status, 401, "{method} {path}");
        let early = bed.early(method, path, &[]);
        assert_eq!(early.map(|r| r.status), Some(401), "{method} {path}");
        let auth = basic(GUEST);
        let early = bed.early(method, path, &[("Authorization", &auth)]);
        assert_eq!(early, None, "{method} {path}");
    }
    for (method, path) in [
        ("GET", "/api/v1"),
        ("GET", "/api/v1/api-docs"),
        ("OPTIONS", "/api/v1/namespaces/_/actions"),
        ("GET", "/ping"),
        ("GET", "/"),
    ] {
        assert_eq!(bed.early(method, path, &[]), None, "{method} {path}");
        assert_eq!(
            bed.raw(method, path, &[], b"").status,
            200,
            "{method} {path}"
        );
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
fn paths_and_methods_that_there_are_not_are_refused() {
    let bed = Bed::new();
    bed.put_action("a");
    bed.put("/_/packages/pkg", json!({}));
    bed.put("/_/triggers/t", json!({}));
    refused! { bed;
        GET "/_/actions/none" => 404 "The requested resource does not exist.";
        GET "/_/actions/pkg/none" => 404 "The requested resource does not exist.";
        GET "/_/actions/nopkg/none" => 404 "The requested resource does not exist.";
        POST "/_/actions/none" => 404 "The requested resource does not exist.";
        GET "/_" => 404 "The requested resource could not be found.";
        GET "/_/nothing" => 404 "The requested resource could not be found.";
        GET "/_/actions/a/b/c" => 404 "The requested resource could not be found.";
        POST "/_/actions" => 405 "HTTP method not allowed";
        DELETE "/_/actions" => 405 "HTTP method not allowed";
        PATCH "/_/actions/a" => 405 "HTTP method not allowed";
        GET "/_/actions/t" => 409 "Resource by this name exists but is not in this collection.";
        GET "/_/limits/memory" => 400 "Inner entity level routes for limits are not yet implemented.";
        PUT "/_/limits/memory", json!({}) => 405 "HTTP method not allowed, supported methods: GET";
        DELETE "/_/limits" => 405 "HTTP method not allowed, supported methods: GET";
        GET format!("/{}/actions", "n".repeat(257)) => 400 "Namespace longer than allowed: 257 > 256.";
        GET "/-n/actions/a" => 400 "The namespace contains illegal characters.";
    }
    let got = bed.ask("PATCH", "/_/actions/a", NULL);
    assert_eq!(got.header("allow"), "PUT, GET, DELETE, POST");
    assert_eq!(bed.raw("OPTIONS", "/api", &[], b"").status, 404);
}

#[test]
fn a_slash_ends_the_paths_of_collections_and_records_alone() {
    let bed = Bed::new();
    bed.put("/_/packages/pkg", json!({}));
    bed.put_action("pkg/a");
    bed.put_action("a");
    bed.put("/_/triggers/t", json!({}));
    bed.put("/_/rules/r", json!({"trigger": "/_/t", "action": "/_/a"}));
    let called = bed.ask("POST", "/_/actions/a?blocking=true", NULL).body;
    let record = format!(
        "/_/activations/{}",
        called["activationId"].as_str().unwrap()
    );
    for collection in [
        "actions",
        "packages",
        "triggers",
        "rules",
        "activations",
        "limits",
    ] {
        assert_eq!(
            bed.get(&format!("/_/{collection}/")).status,
            200,
            "{collection}"
        );
    }
    assert_eq!(bed.get("/_/actions/pkg/").body[0]["name"], "a");
    assert_eq!(bed.get(&format!("{record}/")).status, 200);
    let no_path = "The requested resource could not be found.";
    refused! { bed;
        DELETE "/_/actions/pkg/" => 404 no_path;
        PUT "/_/actions/b/", js("x") => 404 no_path;
        POST "/_/actions/a/" => 404 no_path;
        GET "/_/actions/pkg/a/" => 404 no_path;
        GET "/_/packages/pkg/" => 404 no_path;
        POST "/_/triggers/t/" => 404 no_path;
        DELETE "/_/rules/r/" => 404 no_path;
        GET format!("{record}/logs/") => 404 no_path;
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
    // Who sends the answer tells the length of its body, and leaves the body out (RFC 9110, section 9.3.2).
    let head = bed.raw("HEAD", "/ping", &[], b"");
    assert_eq!((head.status, head.text().as_str()), (200, "pong"));
}

#[test]
fn too_many_calls_are_refused() {
    let bed = Bed::with(NamespaceLimits {
        calls_per_minute: 2,
        concurrent_calls: 10,
        fires_per_minute: 1,
        ..NamespaceLimits::default()
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
fn rules_whose_calls_are_too_many_are_told_of_in_the_triggers_record() {
    let bed = Bed::with(NamespaceLimits {
        calls_per_minute: 2,
        ..NamespaceLimits::default()
    });
    bed.put_action("a");
    bed.put("/_/triggers/t", json!({}));
    for rule in ["r1", "r2", "r3"] {
        bed.put(
            &format!("/_/rules/{rule}"),
            json!({"trigger": "/_/t", "action": "/_/a"}),
        );
    }
    for called in [2, 0] {
        let fired = bed.ask("POST", "/_/triggers/t", NULL);
        assert_eq!(fired.status, 202);
        let id = fired.body["activationId"].as_str().unwrap();
        let record = bed.get(&format!("/_/activations/{id}")).body;
        let logs = record["logs"].as_array().unwrap().iter();
        let logs: Vec<Value> = logs
            .map(|line| serde_json::from_str(line.as_str().unwrap()).unwrap())
            .collect();
        let made = logs.iter().filter(|line| line["success"] == true);
        assert_eq!((made.count(), logs.len()), (called, 3));
        let refused = "Too many requests in the last minute (count: 3, allowed: 2).";
        assert_eq!(
            (&logs[2]["error"], &logs[2]["statusCode"]),
            (&json!(refused), &json!(1))
        );
        assert_eq!(bed.controller.borrow().running(), 0);
    }
}

#[test]
fn that_there_were_too_many_calls_is_told_before_that_there_are() {
    let bed = Bed::with(NamespaceLimits {
        calls_per_minute: 0,
        concurrent_calls: 0,
        fires_per_minute: 0,
        ..NamespaceLimits::default()
    });
    bed.put_action("a");
    bed.put("/_/triggers/t", json!({}));
    let refused = "Too many requests in the last minute (count: 1, allowed: 0).";
    refused! { bed;
        POST "/_/actions/a" => 429 refused;
        POST "/_/triggers/t" => 429 refused;
    }
}

#[test]
fn a_full_store_refuses_and_recovers() {
    let bed = Bed::of(Config {
        entity_bytes: 10 << 20,
        ..Bed::config(NamespaceLimits::default())
    });
    let code = "x()".repeat(3 << 19);
    let mut stored = 0;
    let refused = loop {
        let got = bed.ask("PUT", &format!("/_/actions/a{stored}"), js(&code));
        if got.status != 200 {
            break got;
        }
        stored += 1;
    };
    assert_eq!((refused.status, stored), (503, 2));
    let why = refused.error();
    assert!(
        why.starts_with("All entities take ") && why.ends_with("; delete some."),
        "{why}"
    );
    assert_eq!(bed.ask("DELETE", "/_/actions/a0", NULL).status, 200);
    assert_eq!(bed.ask("PUT", "/_/actions/a9", js(&code)).status, 200);
}

#[test]
fn a_client_that_takes_no_json_gets_none() {
    let bed = Bed::new();
    bed.put_action("a");
    let auth = basic(GUEST);
    let ask = |method: &str, path: &str, accept: &str| {
        let headers = [("Authorization", auth.as_str()), ("Accept", accept)];
        bed.raw(
            method,
            &format!("/api/v1/namespaces/_/{path}"),
            &headers,
            b"",
        )
    };
    for (method, path) in [
        ("GET", "actions"),
        ("GET", "actions/a"),
        ("POST", "actions/a"),
        ("POST", "actions/a?blocking=true"),
    ] {
        for (accept, is_taken) in [("text/html", false), ("application/json", true)] {
            let got = ask(method, path, accept);
            assert_eq!(
                got.status != 406,
                is_taken,
                "{method} {path}: {}",
                got.text()
            );
        }
    }
    assert_eq!(ask("GET", "actions/b", "text/html").status, 404);
}
