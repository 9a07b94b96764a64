//! Web actions (contract 3.10).

use crate::common::{Bed, GUEST, OTHER, answer, basic, js};
use serde_json::{Value, json};

const NULL: Value = Value::Null;

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
            "text/plain; charset=utf-8",
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
            "{\n  \"a\": 1\n}",
        ),
        (
            ".text",
            json!([1, {"a": [true, null]}]),
            200,
            "text/plain; charset=utf-8",
            "[1, {\n  \"a\": [true, null]\n}]",
        ),
        (
            ".text",
            json!({"text": 1.5}),
            200,
            "text/plain; charset=utf-8",
            "1.5",
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
            "image/svg+xml",
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
        .map(|(_, v)| v.as_ref())
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

/// Source: `ctx.unmatchedPath.toString` in `requestMethodParamsAndPath` (`WebActions.scala`).
#[test]
fn the_rest_of_the_path_is_given_percent_encoded_and_with_each_of_its_slashes() {
    let bed = Bed::new();
    web(&bed, "w", NULL);
    for (path, rest) in [
        ("", ""),
        ("/", "/"),
        ("//", "//"),
        ("/a//b/", "/a//b/"),
        ("//a", "//a"),
        ("/a%2Fb/%20c", "/a%2Fb/%20c"),
        ("/%c3%a9/%41~:@;x=(1)", "/%C3%A9/A~:@;x=(1)"),
        ("/a+b%2Bc", "/a+b+c"),
        ("/é", "/%C3%A9"),
        ("/..", "/.."),
    ] {
        let path = format!("/api/v1/web/guest/default/w.json{path}");
        let got = bed.raw("GET", &path, &[], b"");
        assert_eq!(got.body["__ow_path"], rest, "{path}");
    }
}
