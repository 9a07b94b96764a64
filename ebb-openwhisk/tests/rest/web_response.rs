//! What the results of web actions become, who may read the answers, and what of a request is text.

use crate::common::{Bed, GUEST, Got, answer, basic, js};
use serde_json::{Value, json};

fn web(bed: &Bed, annotations: Value) {
    let mut action = js("x");
    let mut all = vec![json!({"key": "web-export", "value": true})];
    all.extend(annotations.as_array().cloned().unwrap_or_default());
    action["annotations"] = json!(all);
    bed.put("/_/actions/w?overwrite=true", action);
}

fn plain() -> Bed {
    let bed = Bed::new();
    web(&bed, json!([]));
    bed
}

impl Bed {
    fn web(&self, method: &str, target: &str, headers: &[(&str, &str)], body: &[u8]) -> Got {
        self.raw(
            method,
            &format!("/api/v1/web/guest/default/w{target}"),
            headers,
            body,
        )
    }

    fn result(&self, extension: &str, status: u16, result: Value) -> Got {
        self.act(move |_| answer(status, &result.to_string()));
        self.web("GET", extension, &[], b"")
    }
}

fn typed(media: &str, body: Value) -> Value {
    json!({"headers": {"Content-Type": media}, "body": body})
}

#[test]
fn base64_is_decoded_by_the_type_that_the_action_names() {
    let bed = plain();
    for (media, body, sent, text) in [
        (
            "application/json",
            "eyJvayI6MX0=",
            "application/json",
            "{\"ok\":1}",
        ),
        (
            "application/problem+json",
            "eyJvayI6MX0=",
            "application/problem+json",
            "{\"ok\":1}",
        ),
        (
            "application/cloudevents+json; charset=utf-8",
            "eyJvayI6MX0=",
            "application/cloudevents+json",
            "{\"ok\":1}",
        ),
        (
            "application/json",
            "{\"ok\":2}",
            "application/json",
            "{\"ok\":2}",
        ),
        (
            "text/plain",
            "eyJvayI6MX0=",
            "text/plain; charset=utf-8",
            "eyJvayI6MX0=",
        ),
        (
            "text/csv; header=present; charset=latin1",
            "YQ==",
            "text/csv; header=present; charset=utf-8",
            "YQ==",
        ),
        ("image/svg+xml", "PHN2Zy8+", "image/svg+xml", "<svg/>"),
        ("IMAGE/PNG", "aGk", "image/png", "hi"),
        (
            "application/x-unknown",
            "aGk=",
            "application/x-unknown",
            "hi",
        ),
        (
            "application/x-unknown; charset=utf-8",
            "aGk=",
            "application/x-unknown; charset=utf-8",
            "aGk=",
        ),
        (
            "application/xml",
            "<a/>",
            "application/xml; charset=utf-8",
            "<a/>",
        ),
    ] {
        let got = bed.result(".http", 200, typed(media, json!(body)));
        assert_eq!(
            (got.status, got.header("content-type"), got.text().as_str()),
            (200, sent, text),
            "{media} {body}"
        );
    }
    for (media, body, error) in [
        (
            "image/svg+xml",
            json!("<svg/>"),
            "Response type in header did not match generated content type.",
        ),
        (
            "application/x-unknown",
            json!("no base64"),
            "Response type in header did not match generated content type.",
        ),
        (
            "text/html",
            json!({"a": 1}),
            "Response type in header did not match generated content type.",
        ),
        (
            "html",
            json!("x"),
            "Response did not specify a known content-type.",
        ),
    ] {
        let got = bed.result("", 200, typed(media, body.clone()));
        assert_eq!((got.status, got.error()), (400, error), "{media} {body}");
    }
}

#[test]
fn a_body_that_is_no_text_is_json() {
    let bed = plain();
    for body in [json!({"a": 1}), json!([1]), json!(7), json!(false)] {
        let got = bed.result("", 200, json!({"body": body}));
        assert_eq!(
            (got.status, got.header("content-type"), &got.body),
            (200, "application/json", &body)
        );
    }
    let got = bed.result("", 200, typed("application/vnd.api+json", json!({"a": 1})));
    assert_eq!(got.header("content-type"), "application/vnd.api+json");
}

#[test]
fn an_empty_body_is_no_content_and_has_no_type() {
    let bed = plain();
    for (result, status) in [
        (json!({}), 204),
        (json!({"body": ""}), 204),
        (json!({"body": null}), 204),
        (json!({"body": "", "statusCode": 200}), 200),
        (json!({"body": "", "statusCode": 404}), 404),
        (
            json!({"statusCode": 302, "headers": {"location": "/x"}}),
            302,
        ),
        (typed("application/json", json!("")), 204),
        (typed("text/plain", json!(null)), 204),
        (json!({"body": "x", "statusCode": 204}), 204),
        (json!({"body": {"a": 1}, "statusCode": 304}), 304),
    ] {
        let got = bed.result("", 200, result.clone());
        assert_eq!(
            (
                got.status,
                got.text().as_str(),
                got.response.header("content-type")
            ),
            (status, "", None),
            "{result}"
        );
    }
}

#[test]
fn an_error_is_projected_as_a_result_is() {
    let bed = plain();
    let error = |value: Value| json!({"error": value});
    for (extension, value, status, text) in [
        ("", json!({"statusCode": 418, "body": "tea"}), 418, "tea"),
        (".http", json!({"statusCode": 401}), 401, ""),
        (".json", json!({"code": 7}), 200, "{\"code\":7}"),
        (".json", json!([7]), 200, "[7]"),
        (".text", json!("words"), 200, "words"),
        (".text", json!(7), 200, "7"),
        (".text", json!({"text": "t"}), 200, "t"),
        (".html", json!("<b>"), 200, "<b>"),
        (".html", json!({"body": "<b>"}), 200, "<b>"),
        (".svg", json!("<svg/>"), 200, "<svg/>"),
    ] {
        let got = bed.result(extension, 200, error(value.clone()));
        assert_eq!(
            (got.status, got.text().as_str()),
            (status, text),
            "{extension} {value}"
        );
    }
    for (extension, value, media) in [
        ("", json!("words"), "message/http"),
        (".http", json!(null), "message/http"),
        (".json", json!("words"), "application/json"),
        (".html", json!({"a": 1}), "text/html"),
        (".svg", json!(7), "image/svg+xml"),
    ] {
        let got = bed.result(extension, 200, error(value.clone()));
        assert_eq!(
            (got.status, got.error()),
            (400, format!("Response is not valid '{media}'.").as_str()),
            "{extension} {value}"
        );
    }
    let got = bed.result(".text", 200, error(json!({"a": 1})));
    assert_eq!(
        (got.status, got.error()),
        (404, "Response does not include requested property.")
    );
    for extension in ["", ".json", ".text"] {
        let got = bed.result(extension, 502, json!({"error": "thrown"}));
        assert_eq!(
            (got.status, got.error()),
            (400, "There was an error processing your request."),
            "{extension}"
        );
    }
}

#[test]
fn a_result_that_does_not_have_the_form_of_the_extension_is_refused() {
    let bed = plain();
    for (extension, result, status, error) in [
        ("", json!([1]), 400, "Response is not valid 'message/http'."),
        (
            "",
            json!({"headers": "x"}),
            400,
            "Response is not valid 'message/http'.",
        ),
        (
            "",
            json!({"headers": {"x": {}}}),
            400,
            "Response is not valid 'message/http'.",
        ),
        (
            "",
            json!({"headers": {"x": null}}),
            400,
            "Response is not valid 'message/http'.",
        ),
        (
            "",
            json!({"statusCode": "x"}),
            400,
            "Response is not valid 'message/http'.",
        ),
        (
            "",
            json!({"statusCode": 200.5}),
            400,
            "Response is not valid 'message/http'.",
        ),
        (
            "",
            json!({"statusCode": 201.5}),
            400,
            "Response is not valid 'message/http'.",
        ),
        (
            "",
            json!({"statusCode": 299}),
            400,
            "Response is not valid 'message/http'.",
        ),
        (
            "",
            json!({"statusCode": 1000}),
            400,
            "Response is not valid 'message/http'.",
        ),
        (
            "",
            json!({"statusCode": null}),
            400,
            "Response is not valid 'message/http'.",
        ),
        (
            "",
            json!({"statusCode": 100}),
            400,
            "Response is not valid 'message/http'.",
        ),
        (
            ".html",
            json!({}),
            400,
            "Response is not valid 'text/html'.",
        ),
        (
            ".html",
            json!([1]),
            400,
            "Response is not valid 'text/html'.",
        ),
        (
            ".svg",
            json!({"svg": 1}),
            400,
            "Response is not valid 'image/svg+xml'.",
        ),
        (
            ".text",
            json!({}),
            404,
            "Response does not include requested property.",
        ),
    ] {
        let got = bed.result(extension, 200, result.clone());
        assert_eq!(
            (got.status, got.error()),
            (status, error),
            "{extension} {result}"
        );
    }
    let got = bed.result(".text", 200, json!([1, {"a": 2}]));
    assert_eq!((got.status, &got.body), (200, &json!([1, {"a": 2}])));
    let got = bed.result(
        "",
        200,
        json!({"headers": {"x-list": ["a", ["b", 1]], "x-bool": true}, "body": "b"}),
    );
    let all: Vec<_> = got
        .response
        .headers
        .iter()
        .filter(|(name, _)| name == "x-list")
        .map(|(_, value)| value.as_ref())
        .collect();
    assert_eq!((all, got.header("x-bool")), (vec!["a", "b", "1"], "true"));
}

fn cors(got: &Got) -> Vec<(&str, &str)> {
    got.response
        .headers
        .iter()
        .filter(|(name, _)| name.to_ascii_lowercase().starts_with("access-control-"))
        .map(|(name, value)| (name.as_ref(), value.as_ref()))
        .collect()
}

#[test]
fn the_headers_that_a_page_asks_for_are_allowed() {
    let bed = plain();
    bed.act(|_| answer(200, "{\"body\":\"x\"}"));
    let asked = [("Access-Control-Request-Headers", "x-clacks,content-type")];
    for method in ["OPTIONS", "GET", "POST", "DELETE"] {
        let got = bed.web(method, "", &asked, b"");
        assert_eq!(
            cors(&got),
            [
                ("Access-Control-Allow-Origin", "*"),
                (
                    "Access-Control-Allow-Methods",
                    "OPTIONS, GET, DELETE, POST, PUT, HEAD, PATCH"
                ),
                ("Access-Control-Allow-Headers", "x-clacks,content-type"),
            ],
            "{method}"
        );
    }
    assert_eq!(
        cors(&bed.web("GET", "", &[], b""))[2].1,
        "Authorization, Origin, X-Requested-With, Content-Type, Accept, User-Agent"
    );
    bed.act(|_| {
        answer(
            200,
            "{\"headers\":{\"access-control-allow-origin\":\"https://a.example\"},\"body\":\"x\"}",
        )
    });
    let got = bed.web("GET", "", &asked, b"");
    assert_eq!(
        cors(&got),
        [
            ("access-control-allow-origin", "https://a.example"),
            (
                "Access-Control-Allow-Methods",
                "OPTIONS, GET, DELETE, POST, PUT, HEAD, PATCH"
            ),
            ("Access-Control-Allow-Headers", "x-clacks,content-type"),
        ]
    );
    assert_eq!(
        bed.early("GET", "/api/v1/web/guest/default/w", &asked),
        None
    );
}

#[test]
fn an_action_with_custom_options_alone_says_which_origins_may_read_it() {
    let bed = Bed::new();
    web(
        &bed,
        json!([{"key": "web-custom-options", "value": true}, {"key": "require-whisk-auth", "value": "s3"},
               {"key": "final", "value": true}]),
    );
    bed.act(|_| {
        answer(
            200,
            "{\"headers\":{\"Access-Control-Allow-Origin\":\"https://app.example\"},\"body\":\"x\"}",
        )
    });
    let own = [("Access-Control-Allow-Origin", "https://app.example")];
    let secret = ("X-Require-Whisk-Auth", "s3");
    let preflight = bed.web("OPTIONS", "", &[], b"");
    assert_eq!((preflight.status, cors(&preflight)), (200, own.to_vec()));
    let got = bed.web("GET", "", &[secret], b"");
    assert_eq!((got.status, cors(&got)), (200, own.to_vec()));
    let without = bed.web("GET", "", &[], b"");
    assert_eq!((without.status, cors(&without)), (401, vec![]));
    let early = bed
        .early("GET", "/api/v1/web/guest/default/w", &[])
        .unwrap();
    assert_eq!(early.status, 401);
    assert_eq!(early.header("access-control-allow-origin"), None);
    let refused = bed.web("GET", "?__ow_method=x", &[secret], b"");
    assert_eq!((refused.status, cors(&refused)), (400, vec![]));
    bed.act(|_| answer(502, "{\"error\":\"thrown\"}"));
    let failed = bed.web("GET", "", &[secret], b"");
    assert_eq!((failed.status, cors(&failed)), (400, vec![]));
}

#[test]
fn require_whisk_auth_is_a_secret_or_asks_for_credentials() {
    let bed = Bed::new();
    let auth = basic(GUEST);
    let with = |secret: &'static str| vec![("X-Require-Whisk-Auth", secret)];
    for (required, headers, admitted) in [
        (json!("s3"), with("s3"), true),
        (json!("s3"), with("s4"), false),
        (json!("s3"), vec![("Authorization", auth.as_str())], false),
        (json!(42), with("42"), true),
        (json!(42), with("43"), false),
        (json!(true), vec![("Authorization", auth.as_str())], true),
        (json!(true), with("true"), false),
        (json!(false), vec![], true),
        (json!(null), vec![], false),
        (json!(["s3"]), with("[\"s3\"]"), false),
        (json!({}), with("{}"), false),
    ] {
        web(
            &bed,
            json!([{"key": "require-whisk-auth", "value": required.clone()}]),
        );
        let got = bed.web("GET", ".json", &headers, b"");
        assert_eq!(
            got.status,
            if admitted { 200 } else { 401 },
            "{required} {headers:?}"
        );
        let early = bed.early("GET", "/api/v1/web/guest/default/w.json", &headers);
        assert_eq!(early.is_none(), admitted, "{required} {headers:?}");
        assert_eq!(bed.web("OPTIONS", ".json", &[], b"").status, 200);
    }
}

#[test]
fn a_request_in_the_json_family_gives_its_members() {
    let bed = plain();
    for media in [
        "application/json",
        "Application/JSON; charset=UTF-8",
        "application/vnd.api+json",
        "application/cloudevents+json",
        "application/fhir+json; charset=utf-8",
        "APPLICATION/PROBLEM+JSON",
    ] {
        let got = bed.web(
            "POST",
            ".json?a=0",
            &[("Content-Type", media)],
            b"{\"a\":1}",
        );
        assert_eq!(
            (got.status, &got.body["a"], got.body.get("__ow_body")),
            (200, &json!(1), None),
            "{media}"
        );
        let got = bed.web("POST", ".json", &[("Content-Type", media)], b"[1,{}]");
        assert_eq!(got.body["__ow_body"], json!([1, {}]), "{media}");
        let got = bed.web("POST", ".json", &[("Content-Type", media)], b"{\"a\":");
        assert_eq!(got.status, 400, "{media}");
        assert!(
            got.error()
                .starts_with("The request content was malformed:")
        );
        let got = bed.web("POST", ".json?a=0", &[("Content-Type", media)], b"");
        assert_eq!(
            (&got.body["a"], got.body.get("__ow_body")),
            (&json!("0"), None),
            "{media}"
        );
    }
}

#[test]
fn a_body_is_text_or_base64_by_its_type() {
    let bed = plain();
    for (media, body, expected) in [
        ("text/plain", b"hi".as_slice(), json!("hi")),
        ("TEXT/HTML; charset=utf-8", b"<b>", json!("<b>")),
        ("text/plain", b"", json!("")),
        ("text/plain", b"\xff", json!("\u{fffd}")),
        ("application/xml", b"<a/>", json!("<a/>")),
        ("application/octet-stream", b"hi", json!("aGk=")),
        ("image/svg+xml", b"<svg/>", json!("PHN2Zy8+")),
        ("application/x-unknown", b"hi", json!("aGk=")),
        ("application/x-unknown; charset=utf-8", b"hi", json!("hi")),
        (
            "multipart/form-data; boundary=b",
            b"--b--",
            json!("LS1iLS0="),
        ),
    ] {
        let got = bed.web("POST", ".json", &[("Content-Type", media)], body);
        assert_eq!(got.body["__ow_body"], expected, "{media}");
    }
    let got = bed.web("POST", ".json", &[], b"hi");
    assert_eq!(
        (
            &got.body["__ow_body"],
            &got.body["__ow_headers"]["content-type"]
        ),
        (&json!("aGk="), &json!("application/octet-stream"))
    );
    let got = bed.web("GET", ".json", &[], b"");
    assert_eq!(
        (got.body.get("__ow_body"), &got.body["__ow_headers"]),
        (None, &json!({}))
    );
    let form = [(
        "Content-Type",
        "Application/X-WWW-Form-Urlencoded; charset=utf-8",
    )];
    let got = bed.web("POST", ".json?a=0&c=3", &form, b"a=1&a=2&b=+");
    assert_eq!(
        (&got.body["a"], &got.body["b"], &got.body["c"]),
        (&json!("2"), &json!(" "), &json!("3"))
    );
}

#[test]
fn a_raw_action_gets_query_and_body_as_they_are() {
    let bed = Bed::new();
    let mut action = js("x");
    action["annotations"] = json!([{"key": "web-export", "value": true}, {"key": "raw-http", "value": true},
                                   {"key": "final", "value": true}]);
    action["parameters"] = json!([{"key": "p", "value": 1}]);
    bed.put("/_/actions/w", action);
    for (media, body) in [
        ("application/json", "eyJiIjoxfQ=="),
        ("application/cloudevents+json", "eyJiIjoxfQ=="),
        // Types that the HTTP library has a name for, or that name a charset, are no bytes to it.
        ("application/fhir+json; charset=utf-8", "{\"b\":1}"),
        ("application/problem+json", "{\"b\":1}"),
        ("application/json; charset=utf-8", "eyJiIjoxfQ=="),
        ("text/plain", "{\"b\":1}"),
        ("application/x-www-form-urlencoded", "{\"b\":1}"),
        ("image/png", "eyJiIjoxfQ=="),
    ] {
        let got = bed.web(
            "POST",
            ".json/x?a=1&a=%20&p=2&__ow_user=me",
            &[("Content-Type", media)],
            b"{\"b\":1}",
        );
        assert_eq!(
            (
                &got.body["__ow_body"],
                &got.body["__ow_query"],
                &got.body["__ow_path"],
                &got.body["p"]
            ),
            (
                &json!(body),
                &json!("a=1&a=%20&p=2&__ow_user=me"),
                &json!("/x"),
                &json!(1)
            ),
            "{media}"
        );
        assert!(got.body.get("b").is_none() && got.body.get("__ow_user").is_none());
    }
    let got = bed.web("GET", ".json", &[], b"");
    assert_eq!(
        (&got.body["__ow_body"], &got.body["__ow_query"]),
        (&json!(""), &json!(""))
    );
    // Nothing but true makes an action raw.
    web(&bed, json!([{"key": "raw-http", "value": "yes"}]));
    let got = bed.web("GET", ".json?a=1", &[], b"");
    assert_eq!(got.body["a"], "1");
}

#[test]
fn a_client_that_does_not_take_the_type_is_told_which_there_are() {
    let bed = plain();
    let ask = |extension: &str, accept: &str, result: Value| {
        bed.act(move |_| answer(200, &result.to_string()));
        bed.web("GET", extension, &[("Accept", accept)], b"")
    };
    let text = json!({"body": "Plain text", "html": "<p>", "a": 1});
    let png = typed("image/png", json!("aGk="));
    for (extension, accept, result, types) in [
        (
            ".http",
            "application/json",
            &text,
            "text/html; charset=UTF-8",
        ),
        (".html", "text/xml", &text, "text/html; charset=UTF-8"),
        (".json", "text/html", &text, "application/json"),
        ("", "image/jpeg, text/*", &png, "image/png"),
    ] {
        let got = ask(extension, accept, result.clone());
        assert_eq!(got.status, 406, "{extension}: {}", got.text());
        let begin = "Resource representation is only available with these types:\n";
        assert_eq!(got.error(), format!("{begin}{types}"));
        // It has run all the same.
        assert!(got.record.is_some(), "{extension}");
    }
    for (extension, accept, result) in [
        (".http", "text/html", &text),
        (".http", "application/json, */*;q=0.1", &text),
        (".json", "application/json", &text),
        ("", "image/*", &png),
    ] {
        let got = ask(extension, accept, result.clone());
        assert_eq!(got.status, 200, "{extension} {accept}: {}", got.text());
    }
    // What has no body has no type, and refusals are sent to everybody.
    assert_eq!(ask("", "application/json", json!({})).status, 204);
    assert_eq!(ask(".html", "text/xml", json!({"html": 1})).status, 400);
}
