//! The REST contract: packages, sequences, triggers and rules, web actions, what clients expect.
#![allow(missing_docs)]

mod common;

use common::{Bed, GUEST, OTHER, answer, basic, js};
use serde_json::{Value, json};

const NULL: Value = Value::Null;

#[test]
fn a_package_shows_its_actions_and_feeds() {
    let bed = Bed::new();
    let created = bed.put(
        "/_/packages/tools",
        json!({"annotations": [], "parameters": [{"key": "k", "value": 1}]}),
    );
    let expected = json!({"namespace": "guest", "name": "tools", "version": "0.0.1", "publish": false, "annotations": [],
        "parameters": [{"key": "k", "value": 1}], "binding": {}, "updated": bed.now.get()});
    assert_eq!(created, expected);
    bed.put_action("tools/a");
    let mut feed = js("x");
    feed["annotations"] = json!([{"key": "feed", "value": true}]);
    bed.put("/_/actions/tools/f", feed);
    let got = bed.get("/_/packages/tools").body;
    assert_eq!(
        (&got["actions"][0]["name"], &got["feeds"][0]["name"]),
        (&json!("a"), &json!("f"))
    );
    assert_eq!(bed.get("/_/packages").body[0]["binding"], false);
    let got = bed.ask("DELETE", "/_/packages/tools", NULL);
    assert_eq!(got.status, 409);
    assert!(
        got.error()
            .starts_with("Package not empty (contains 2 entities)."),
        "{}",
        got.error()
    );
    assert_eq!(
        bed.ask("DELETE", "/_/packages/tools?force=true", NULL)
            .status,
        200
    );
    assert_eq!(bed.get("/_/actions/tools/a").status, 404);
}

#[test]
fn a_binding_stands_for_its_package() {
    let bed = Bed::new();
    bed.put("/_/packages/p", json!({}));
    bed.put_action("p/a");
    let bound = bed.put(
        "/_/packages/b",
        json!({"binding": {"namespace": "_", "name": "p"}}),
    );
    assert_eq!(bound["binding"], json!({"namespace": "guest", "name": "p"}));
    assert!(
        bound["annotations"]
            .as_array()
            .unwrap()
            .iter()
            .any(|a| a["key"] == "binding")
    );
    assert_eq!(bed.get("/_/packages/b").body["actions"][0]["name"], "a");
    for (method, body) in [("PUT", js("")), ("DELETE", NULL)] {
        let got = bed.ask(method, "/_/actions/b/x", body);
        assert_eq!(
            (got.status, got.error()),
            (400, "Operation not permitted on package binding.")
        );
    }
    let got = bed.ask(
        "PUT",
        "/_/packages/c",
        json!({"binding": {"namespace": "_", "name": "b"}}),
    );
    assert_eq!(
        (got.status, got.error()),
        (400, "Cannot bind to another package binding.")
    );
    assert_eq!(bed.ask("DELETE", "/_/packages/b", NULL).status, 200);
}

#[test]
fn a_published_package_can_be_read_and_called_by_others() {
    let bed = Bed::new();
    bed.put("/_/packages/open", json!({"publish": true}));
    bed.put("/_/packages/closed", json!({}));
    for name in ["open/a", "closed/a"] {
        bed.put_action(name);
    }
    let names = |got: Value| -> Vec<String> {
        got.as_array()
            .unwrap()
            .iter()
            .map(|p| p["name"].as_str().unwrap().into())
            .collect()
    };
    assert_eq!(
        names(bed.by(OTHER, "GET", "/guest/packages", NULL).body),
        ["open"]
    );
    assert_eq!(
        bed.by(OTHER, "GET", "/guest/packages/open", NULL).status,
        200
    );
    assert_eq!(
        bed.by(OTHER, "GET", "/guest/packages/closed", NULL).status,
        403
    );
    let got = bed.by(
        OTHER,
        "POST",
        "/guest/actions/open/a?blocking=true",
        json!({"x": 1}),
    );
    assert_eq!((got.status, &got.body["namespace"]), (200, &json!("other")));
    assert_eq!(
        bed.by(OTHER, "POST", "/guest/actions/closed/a", NULL)
            .status,
        403
    );
    assert_eq!(
        bed.by(OTHER, "PUT", "/guest/actions/open/b", js("")).status,
        403
    );
    let bound = bed.by(
        OTHER,
        "PUT",
        "/_/packages/mine",
        json!({"binding": {"namespace": "guest", "name": "open"}}),
    );
    assert_eq!(bound.status, 200);
    assert_eq!(
        bed.by(OTHER, "POST", "/_/actions/mine/a?blocking=true", NULL)
            .status,
        200
    );
    bed.put("/_/packages/open?overwrite=true", json!({"publish": false}));
    assert_eq!(
        bed.by(OTHER, "POST", "/_/actions/mine/a?blocking=true", NULL)
            .status,
        403
    );
}

fn sequence(components: &[&str]) -> Value {
    json!({"exec": {"kind": "sequence", "components": components}})
}

#[test]
fn a_sequence_passes_results_on() {
    let bed = Bed::new();
    bed.put("/_/packages/p", json!({}));
    for name in ["a", "p/b"] {
        bed.put_action(name);
    }
    let document = bed.put("/_/actions/s", sequence(&["/_/a", "/guest/p/b"]));
    assert_eq!(
        document["exec"],
        json!({"kind": "sequence", "components": ["/guest/a", "/guest/p/b"]})
    );
    assert_eq!(
        document["parameters"],
        json!([{"key": "_actions", "value": ["/guest/a", "/guest/p/b"]}])
    );
    bed.act(|call| {
        let n = serde_json::from_str::<Value>(call.arguments.as_str()).unwrap()["n"]
            .as_i64()
            .unwrap();
        answer(200, &json!({"n": n + 1}).to_string())
    });
    let got = bed.ask("POST", "/_/actions/s?blocking=true", json!({"n": 1}));
    assert_eq!(got.status, 200);
    let record = bed
        .get(&format!(
            "/_/activations/{}",
            got.header("x-openwhisk-activation-id")
        ))
        .body;
    assert_eq!(record["response"]["result"], json!({"n": 3}));
    assert_eq!(
        (&record["name"], &record["duration"]),
        (&json!("s"), &json!(24))
    );
    let annotation = |record: &Value, key: &str| {
        record["annotations"]
            .as_array()
            .unwrap()
            .iter()
            .find(|a| a["key"] == key)
            .map(|a| a["value"].clone())
    };
    assert_eq!(annotation(&record, "topmost"), Some(json!(true)));
    assert_eq!(annotation(&record, "kind"), Some(json!("sequence")));
    assert_eq!(annotation(&record, "path"), Some(json!("guest/s")));
    assert!(annotation(&record, "waitTime").is_some() && annotation(&record, "limits").is_some());
    assert_eq!(annotation(&record, "initTime"), None);
    let components = record["logs"].as_array().unwrap();
    assert_eq!(components.len(), 2);
    for (component, name) in components.iter().zip(["a", "b"]) {
        let component = bed
            .get(&format!("/_/activations/{}", component.as_str().unwrap()))
            .body;
        assert_eq!(
            (&component["name"], &component["cause"]),
            (&json!(name), &record["activationId"])
        );
        assert_eq!(annotation(&component, "causedBy"), Some(json!("sequence")));
    }
}

#[test]
fn an_error_ends_a_sequence_and_is_its_result() {
    let bed = Bed::new();
    bed.put_action("a");
    bed.put_action("b");
    bed.put("/_/actions/inner", sequence(&["/_/a", "/_/b"]));
    bed.put("/_/actions/outer", sequence(&["/_/inner", "/_/b"]));
    bed.act(|_| answer(200, "{\"error\":{\"code\":7}}"));
    let got = bed.ask("POST", "/_/actions/outer?blocking=true", NULL);
    assert_eq!(
        (got.status, &got.body["response"]["result"]),
        (502, &json!({"error": {"code": 7}}))
    );
    assert_eq!(bed.sent.borrow().len(), 1);
    bed.act(common::echo);
    bed.ask("DELETE", "/_/actions/b", NULL);
    let got = bed.ask("POST", "/_/actions/outer?blocking=true", NULL);
    assert_eq!(got.body["response"]["status"], "application error");
    bed.put_action("b");
    let cycle = bed.ask(
        "PUT",
        "/_/actions/inner?overwrite=true",
        sequence(&["/_/a", "/_/outer"]),
    );
    assert_eq!(
        (cycle.status, cycle.error()),
        (400, "Sequence may not refer to itself.")
    );
}

#[test]
fn arrays_pass_through_a_sequence() {
    let bed = Bed::new();
    bed.put_action("a");
    bed.put("/_/actions/s", sequence(&["/_/a", "/_/a"]));
    bed.act(|_| answer(200, "[1]"));
    let got = bed.ask("POST", "/_/actions/s?blocking=true", NULL);
    assert_eq!((got.status, got.body), (200, json!([1])));
    assert_eq!(bed.last_run()["value"], json!([1]));
}

#[test]
fn a_trigger_calls_the_actions_of_its_active_rules() {
    let bed = Bed::new();
    bed.put_action("a");
    let trigger = bed.put(
        "/_/triggers/t",
        json!({"annotations": [], "parameters": [{"key": "p", "value": 1}]}),
    );
    assert_eq!(
        (&trigger["limits"], trigger.get("rules")),
        (&json!({}), None)
    );
    assert_eq!(bed.ask("POST", "/_/triggers/t", json!({})).status, 204);
    let rule = bed.put("/_/rules/r", json!({"trigger": "/_/t", "action": "/_/a"}));
    assert_eq!(rule["status"], "active");
    assert_eq!(
        (&rule["trigger"], &rule["action"]),
        (
            &json!({"path": "guest", "name": "t"}),
            &json!({"path": "guest", "name": "a"})
        )
    );
    assert_eq!(
        bed.get("/_/triggers/t").body["rules"],
        json!({"guest/r": {"action": {"path": "guest", "name": "a"}, "status": "active"}})
    );
    let got = bed.ask("POST", "/_/triggers/t", json!({"q": 2}));
    assert_eq!(got.status, 202);
    let mut value = bed.last_run()["value"].clone();
    assert!(
        value["__ow_headers"].is_object() && value["__ow_headers"].get("authorization").is_none()
    );
    value.as_object_mut().unwrap().remove("__ow_headers");
    assert_eq!(value, json!({"p": 1, "q": 2}));
    let record = bed
        .get(&format!(
            "/_/activations/{}",
            got.body["activationId"].as_str().unwrap()
        ))
        .body;
    assert_eq!(record["response"]["result"], json!({"p": 1, "q": 2}));
    assert!(record.get("end").is_none() && record.get("duration").is_none());
    let line: Value = serde_json::from_str(record["logs"][0].as_str().unwrap()).unwrap();
    assert_eq!(
        (
            &line["rule"],
            &line["action"],
            &line["success"],
            &line["statusCode"]
        ),
        (
            &json!("guest/r"),
            &json!("guest/a"),
            &json!(true),
            &json!(0)
        )
    );
    assert_eq!(
        bed.get(&format!(
            "/_/activations/{}",
            line["activationId"].as_str().unwrap()
        ))
        .body["name"],
        "a"
    );

    bed.ask("DELETE", "/_/actions/a", NULL);
    let got = bed.ask("POST", "/_/triggers/t", NULL);
    let record = bed
        .get(&format!(
            "/_/activations/{}",
            got.body["activationId"].as_str().unwrap()
        ))
        .body;
    let line: Value = serde_json::from_str(record["logs"][0].as_str().unwrap()).unwrap();
    assert_eq!(
        (&line["success"], line["error"].is_string()),
        (&json!(false), true)
    );
}

#[test]
fn rules_are_switched_changed_and_survive_their_trigger() {
    let bed = Bed::new();
    for name in ["a", "b"] {
        bed.put_action(name);
    }
    bed.put("/_/triggers/t", json!({}));
    bed.put("/_/triggers/u", json!({}));
    bed.put("/_/rules/r", json!({"trigger": "/_/t", "action": "/_/a"}));
    for status in ["inactive", "inactive", "active"] {
        assert_eq!(
            bed.ask("POST", "/_/rules/r", json!({"status": status}))
                .status,
            200
        );
        assert_eq!(bed.get("/_/rules/r").body["status"], status);
    }
    assert_eq!(
        bed.ask("POST", "/_/rules/r", json!({"status": "half"}))
            .status,
        400
    );
    let moved = bed.put(
        "/_/rules/r?overwrite=true",
        json!({"trigger": "/_/u", "action": "/_/b"}),
    );
    assert_eq!(
        (&moved["version"], &moved["trigger"]["name"]),
        (&json!("0.0.2"), &json!("u"))
    );
    assert_eq!(bed.ask("POST", "/_/triggers/t", NULL).status, 204);
    assert_eq!(bed.ask("POST", "/_/triggers/u", NULL).status, 202);
    bed.ask("POST", "/_/rules/r", json!({"status": "inactive"}));
    assert_eq!(bed.ask("POST", "/_/triggers/u", NULL).status, 204);
    bed.ask("POST", "/_/rules/r", json!({"status": "active"}));
    bed.ask("DELETE", "/_/triggers/u", NULL);
    assert_eq!(bed.get("/_/rules/r").body["status"], "inactive");
    assert_eq!(bed.get("/_/rules").body[0]["status"], "inactive");
    let deleted = bed.ask("DELETE", "/_/rules/r", NULL);
    assert_eq!(
        (deleted.status, &deleted.body["status"]),
        (200, &json!("inactive"))
    );
}

fn web(bed: &Bed, name: &str, annotations: Value) {
    let mut action = js("x");
    let mut all = vec![json!({"key": "web-export", "value": true})];
    all.extend(annotations.as_array().cloned().unwrap_or_default());
    action["annotations"] = json!(all);
    bed.put(&format!("/_/actions/{name}"), action);
}

#[test]
fn a_web_action_gets_the_request_as_its_argument() {
    let bed = Bed::new();
    bed.put("/_/packages/p", json!({}));
    web(&bed, "p/w", NULL);
    let ask = |method: &str, target: &str, media: &str, body: &[u8]| {
        bed.raw(
            method,
            &format!("/api/v1/web/guest/p/w{target}"),
            &[("Content-Type", media), ("X-A", "b")],
            body,
        )
        .body
    };
    let got = ask(
        "PUT",
        ".json/more/path?q=1&r=a%20b+c",
        "application/json",
        b"{\"q\":{\"n\":2},\"z\":null}",
    );
    assert_eq!(
        (&got["q"], &got["r"], &got["z"]),
        (&json!({"n": 2}), &json!("a b c"), &NULL)
    );
    assert_eq!(
        (&got["__ow_method"], &got["__ow_path"]),
        (&json!("put"), &json!("/more/path"))
    );
    assert_eq!(
        got["__ow_headers"],
        json!({"content-type": "application/json", "x-a": "b"})
    );
    assert!(got.get("__ow_body").is_none() && got.get("__ow_user").is_none());
    let got = ask(
        "POST",
        ".json",
        "application/x-www-form-urlencoded",
        b"a=1&b=%C3%A9",
    );
    assert_eq!(
        (&got["a"], &got["b"], &got["__ow_path"]),
        (&json!("1"), &json!("é"), &json!(""))
    );
    assert_eq!(
        ask("POST", ".json", "text/plain", b"hello")["__ow_body"],
        "hello"
    );
    assert_eq!(
        ask("POST", ".json", "image/png", b"\x89PNG")["__ow_body"],
        "iVBORw=="
    );
    assert_eq!(
        ask("POST", ".json?__ow_method=x", "text/plain", b"")["error"],
        "Request defines parameters that are not allowed (e.g., reserved properties)."
    );
    let auth = basic(GUEST);
    let got = bed
        .raw(
            "GET",
            "/api/v1/web/guest/p/w.json",
            &[("Authorization", &auth)],
            b"",
        )
        .body;
    assert_eq!(got["__ow_user"], "guest");

    web(&bed, "raw", json!([{"key": "raw-http", "value": true}]));
    let got = bed
        .raw(
            "POST",
            "/api/v1/web/guest/default/raw.json?a=1&a=2",
            &[("Content-Type", "application/json")],
            b"{\"b\":1}",
        )
        .body;
    assert_eq!(
        (&got["__ow_query"], &got["__ow_body"], got.get("b")),
        (&json!("a=1&a=2"), &json!("eyJiIjoxfQ=="), None)
    );
}

#[test]
fn a_web_actions_result_becomes_the_response() {
    let bed = Bed::new();
    web(&bed, "w", NULL);
    let rows: Vec<(&str, Value, u16, &str, &str)> = vec![
        (
            "",
            json!({"body": "<p>hi</p>"}),
            200,
            "text/html; charset=utf-8",
            "<p>hi</p>",
        ),
        (
            ".http",
            json!({"statusCode": 201, "headers": {"content-type": "text/plain"}, "body": "x"}),
            201,
            "text/plain",
            "x",
        ),
        (
            ".http",
            json!({"headers": {"Content-Type": "image/png"}, "body": "iVBORw=="}),
            200,
            "image/png",
            "\u{fffd}PNG",
        ),
        (
            ".http",
            json!({"headers": {"content-type": "application/json"}, "body": "{}"}),
            200,
            "application/json",
            "{}",
        ),
        (
            ".http",
            json!({"body": {"a": 1}}),
            200,
            "application/json",
            "{\"a\":1}",
        ),
        (".http", json!({}), 204, "", ""),
        (
            ".http",
            json!({"statusCode": 302, "headers": {"location": "/x"}}),
            302,
            "",
            "",
        ),
        (
            ".http",
            json!({"statusCode": "404", "body": "no"}),
            404,
            "text/html; charset=utf-8",
            "no",
        ),
        (
            ".json",
            json!({"a": [1]}),
            200,
            "application/json",
            "{\"a\":[1]}",
        ),
        (".json", json!([1]), 200, "application/json", "[1]"),
        (
            ".text",
            json!({"text": "t"}),
            200,
            "text/plain; charset=utf-8",
            "t",
        ),
        (
            ".text",
            json!({"body": {"a": 1}}),
            200,
            "text/plain; charset=utf-8",
            "{\"a\":1}",
        ),
        (
            ".html",
            json!({"html": "<b>"}),
            200,
            "text/html; charset=utf-8",
            "<b>",
        ),
        (
            ".svg",
            json!({"svg": "<svg/>"}),
            200,
            "image/svg+xml; charset=utf-8",
            "<svg/>",
        ),
        (
            ".http",
            json!({"error": {"statusCode": 404, "body": "gone"}}),
            404,
            "text/html; charset=utf-8",
            "gone",
        ),
    ];
    for (extension, result, status, media, body) in rows {
        let shown = format!("{extension} {result}");
        bed.act(move |_| answer(200, &result.to_string()));
        let got = bed.raw(
            "GET",
            &format!("/api/v1/web/guest/default/w{extension}"),
            &[],
            b"",
        );
        assert_eq!(
            (got.status, got.header("content-type"), got.text().as_str()),
            (status, media, body),
            "{shown}"
        );
        assert_eq!(got.header("access-control-allow-origin"), "*", "{shown}");
    }
    for (result, status) in [
        (json!({"error": "plain"}), 400),
        (json!({"headers": {"bad name": "x"}, "body": ""}), 400),
        (
            json!({"headers": {"x": "a\r\nSet-Cookie: b"}, "body": ""}),
            400,
        ),
        (
            json!({"headers": {"content-type": "image/png"}, "body": "no base64!"}),
            400,
        ),
        (json!({"statusCode": 99}), 400),
        (json!({"statusCode": {}}), 400),
    ] {
        let shown = result.to_string();
        bed.act(move |_| answer(200, &result.to_string()));
        let got = bed.raw("GET", "/api/v1/web/guest/default/w", &[], b"");
        assert_eq!(got.status, status, "{shown}");
        assert!(got.body["error"].is_string(), "{shown}");
    }
    bed.act(|_| answer(502, "{\"error\":\"x\"}"));
    let got = bed.raw("GET", "/api/v1/web/guest/default/w", &[], b"");
    assert_eq!(
        (got.status, got.error()),
        (400, "There was an error processing your request.")
    );
    bed.act(|_| answer(200, "{\"headers\":{\"set-cookie\":[\"a=1\",\"b=2\"],\"x-n\":7,\"content-length\":\"5000\"},\"body\":\"\"}"));
    let got = bed.raw("GET", "/api/v1/web/guest/default/w", &[], b"");
    let cookies: Vec<_> = got
        .response
        .headers
        .iter()
        .filter(|(n, _)| n == "set-cookie")
        .map(|(_, v)| v.as_str())
        .collect();
    assert_eq!(
        (cookies, got.header("x-n"), got.header("content-length")),
        (vec!["a=1", "b=2"], "7", "")
    );
}

#[test]
fn only_exported_actions_are_on_the_web() {
    let bed = Bed::new();
    bed.put_action("private");
    web(&bed, "public", NULL);
    let get = |path: &str| {
        bed.raw("GET", &format!("/api/v1/web/{path}"), &[], b"")
            .status
    };
    assert_eq!(get("guest/default/private.json"), 404);
    assert_eq!(get("guest/default/none.json"), 404);
    assert_eq!(get("guest/nopkg/public.json"), 404);
    assert_eq!(get("nobody/default/public.json"), 404);
    assert_eq!(get("guest/default"), 404);
    assert_eq!(get("guest/default/public.json"), 200);
    assert_eq!(
        bed.raw("TRACE", "/api/v1/web/guest/default/public", &[], b"")
            .status,
        405
    );
}

#[test]
fn a_web_action_may_ask_for_a_secret_or_credentials() {
    let bed = Bed::new();
    web(
        &bed,
        "secret",
        json!([{"key": "require-whisk-auth", "value": "s3"}]),
    );
    web(
        &bed,
        "number",
        json!([{"key": "require-whisk-auth", "value": 42}]),
    );
    web(
        &bed,
        "user",
        json!([{"key": "require-whisk-auth", "value": true}]),
    );
    let get = |name: &str, headers: &[(&str, &str)]| {
        bed.raw(
            "GET",
            &format!("/api/v1/web/guest/default/{name}.json"),
            headers,
            b"",
        )
        .status
    };
    let auth = basic(OTHER);
    assert_eq!(get("secret", &[]), 401);
    assert_eq!(get("secret", &[("X-Require-Whisk-Auth", "s4")]), 401);
    assert_eq!(get("secret", &[("X-Require-Whisk-Auth", "s3")]), 200);
    assert_eq!(get("number", &[("X-Require-Whisk-Auth", "42")]), 200);
    assert_eq!(get("user", &[]), 401);
    assert_eq!(get("user", &[("Authorization", &auth)]), 200);
}

#[test]
fn options_are_answered_unless_the_action_does_it() {
    let bed = Bed::new();
    web(&bed, "w", NULL);
    web(
        &bed,
        "own",
        json!([{"key": "web-custom-options", "value": true}]),
    );
    let got = bed.raw("OPTIONS", "/api/v1/web/guest/default/w", &[], b"");
    assert_eq!(
        (got.status, got.header("access-control-allow-methods")),
        (200, "OPTIONS, GET, DELETE, POST, PUT, HEAD, PATCH")
    );
    assert!(bed.sent.borrow().is_empty());
    let got = bed.raw("OPTIONS", "/api/v1/web/guest/default/own.json", &[], b"");
    assert_eq!(got.body["__ow_method"], "options");
}

#[test]
fn the_system_package_is_there_for_clients() {
    let bed = Bed::new();
    let got = bed.get("/whisk.system/packages/utils");
    assert_eq!((got.status, &got.body["publish"]), (200, &json!(true)));
    let got = bed.ask(
        "POST",
        "/whisk.system/actions/utils/echo?blocking=true&result=true",
        json!({"x": 1}),
    );
    assert_eq!((got.status, got.body), (200, json!({"x": 1})));
    assert_eq!(bed.get("/whisk.system/actions/utils/sort").status, 200);
    assert_eq!(
        bed.ask("PUT", "/whisk.system/actions/utils/mine", js(""))
            .status,
        403
    );
    assert_eq!(
        bed.get("/_/actions").body,
        json!([]),
        "none of it is in the caller's namespace"
    );
}
