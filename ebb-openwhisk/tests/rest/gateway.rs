//! Requests to the URLs of APIs (`scripts/lua` of apache/openwhisk-apigateway): which action answers them, and what it is told.

use crate::common::{Bed, GUEST, Got, OTHER, answer, basic, js};
use crate::routes::endpoint;
use serde_json::{Value, json};

const NULL: Value = Value::Null;

/// A bed with web actions of these names, which answer their arguments.
fn bed(names: &[&str]) -> Bed {
    let bed = Bed::new();
    bed.put("/_/packages/pkg", json!({}));
    for name in names {
        web(&bed, name, json!([]));
    }
    bed
}

fn web(bed: &Bed, name: &str, annotations: Value) {
    let mut action = js("x");
    let mut all = vec![json!({"key": "web-export", "value": true})];
    all.extend(annotations.as_array().cloned().unwrap_or_default());
    action["annotations"] = json!(all);
    bed.put(&format!("/_/actions/{name}?overwrite=true"), action);
}

/// Answers a response whose body says which action was called, and with what.
fn tell(bed: &Bed) {
    bed.act(|call| {
        let told: Value = serde_json::from_str(call.arguments.as_str()).unwrap();
        let body = json!({"by": call.action.common.name.local(), "told": told});
        answer(200, &json!({ "body": body }).to_string())
    });
}

impl Bed {
    fn at(&self, method: &str, target: &str) -> Got {
        self.raw(method, &format!("/api/guest{target}"), &[], b"")
    }
}

#[test]
fn a_request_reaches_the_action_with_all_that_it_has() {
    let bed = bed(&["pkg/w"]);
    bed.route(
        "responsetype=http",
        "/club",
        "/books/{isbn}",
        "put",
        "pkg/w",
    );
    tell(&bed);
    let got = bed.raw(
        "PUT",
        "/api/guest/club/books/978%2D1?q=a%20b+c",
        &[("Content-Type", "application/json"), ("X-A", "b")],
        br#"{"z":null,"n":{"m":1}}"#,
    );
    assert_eq!(got.status, 200, "{}", got.text());
    let told = &got.body["told"];
    assert_eq!(got.body["by"], "pkg/w");
    assert_eq!(
        (&told["q"], &told["z"], &told["n"]),
        (&json!("a b c"), &NULL, &json!({"m": 1}))
    );
    assert_eq!(told["__ow_method"], "put");
    assert_eq!(told["__ow_path"], "/club/books/978-1");
    assert_eq!(told["__ow_headers"]["x-a"], "b");
    assert_eq!(told.get("__ow_user"), None);
    assert!(!got.header("x-openwhisk-activation-id").is_empty());
    let record = got.record.unwrap();
    assert_eq!((&*record.namespace, &*record.name), ("guest", "w"));
    // Whoever shows a key is named, as to any web action.
    let auth = basic(OTHER);
    let headers = [("Authorization", auth.as_str())];
    let got = bed.raw("PUT", "/api/guest/club/books/1", &headers, b"");
    assert_eq!(got.body["told"]["__ow_user"], "other");
}

/// Source: `findResource` (`routing.lua`), `setRoute` and `getUriPath` (`backendRouting.lua`).
#[test]
fn the_longest_path_that_there_is_serves_a_request_and_one_without_parameters_before_one_with() {
    let names = ["a", "b", "c", "d", "e", "f", "root"];
    let bed = bed(&names);
    for (base, path, action) in [
        ("/v", "/a", "a"),
        ("/v", "/a/b", "b"),
        ("/v", "/a/{x}", "c"),
        ("/v", "/{x}/c/{y}", "d"),
        ("/v/deep", "/e", "e"),
        ("/v/a", "/{z}", "e"),
        ("/", "/v/f", "f"),
        ("/slash", "/", "root"),
    ] {
        bed.route("responsetype=http", base, path, "get", action);
    }
    tell(&bed);
    for (path, by) in [
        ("/v/a", "a"),
        ("/v/a/", "a"),
        ("//v//a", "a"),
        ("/v/a/b", "b"),
        // Of two with parameters, that of the longest base path.
        ("/v/a/x", "e"),
        ("/v/a/b/c", "b"),
        ("/v/a/x/y/z", "e"),
        ("/v/a/c/y", "d"),
        ("/v/q/c/y/z", "d"),
        ("/v/deep/e", "e"),
        ("/v/f", "f"),
        ("/v/f/g", "f"),
        ("/slash", "root"),
        ("/slash/", "root"),
        ("/slash/below", "root"),
        ("/%76/%61", "a"),
    ] {
        let got = bed.at("GET", path);
        assert_eq!(got.body["by"], by, "{path}: {}", got.text());
    }
    for path in [
        "",
        "/",
        "/v",
        "/V/a",
        "/v/q",
        "/v/q/c",
        "/v/deep",
        "/v/deep/f",
        "/w",
        "/../guest/v/a",
        "/%2e%2e",
        "/\u{fc}",
        "/%00",
        "/v/%zz",
    ] {
        let got = bed.at("GET", path);
        assert_eq!(
            (got.status, got.body.clone()),
            (404, json!({"status": 404, "message": "Error: Not found."})),
            "{path}"
        );
        assert_eq!(
            got.header("content-type"),
            "application/json; charset=utf-8"
        );
        assert_eq!(got.header("access-control-allow-origin"), "");
    }
    // Whoever has no API is as good as nobody.
    for tenant in ["nobody", "other", "v2", "GUEST", "guest:key", "%67uest%00"] {
        let got = bed.raw("GET", &format!("/api/{tenant}/v/a"), &[], b"");
        let text = "The requested resource could not be found.";
        assert_eq!((got.status, got.error()), (404, text), "{tenant}");
    }
    let root = bed.route("responsetype=http", "/", "/", "get", "root");
    assert_eq!(root["gwApiUrl"], "http://127.0.0.1:3233/api/guest");
    for path in ["", "/"] {
        assert_eq!(bed.at("GET", path).body["by"], "root");
    }
    assert_eq!(bed.at("GET", "/elsewhere").status, 404);
}

#[test]
fn an_action_is_told_what_follows_its_path_and_by_http_all_of_it() {
    let bed = bed(&["w"]);
    bed.route("responsetype=json", "/b", "/json", "get", "w");
    bed.route("responsetype=http", "/b", "/http", "get", "w");
    for (path, told) in [
        ("/b/json", ""),
        ("/b/json/", "/"),
        ("/b/json/more%20of/it?x=1", "/more%20of/it"),
        ("/b/json/../up", "/../up"),
    ] {
        assert_eq!(bed.at("GET", path).body["__ow_path"], told, "{path}");
    }
    tell(&bed);
    for (path, told) in [
        ("/b/http", "/b/http"),
        ("/b/http/%c3%a9/x?y=1", "/b/http/%C3%A9/x"),
    ] {
        let got = bed.at("GET", path);
        assert_eq!(got.body["told"]["__ow_path"], told, "{path}");
    }
}

#[test]
fn a_response_type_says_what_of_the_result_is_the_answer() {
    let bed = bed(&["w"]);
    for kind in ["json", "http", "text", "html", "svg"] {
        let query = format!("responsetype={kind}");
        bed.route(&query, "/b", &format!("/{kind}"), "get", "w");
    }
    bed.act(|_| answer(200, r#"{"statusCode":201,"body":"<b/>"}"#));
    for (kind, status, media, body) in [
        (
            "json",
            200,
            "application/json",
            r#"{"statusCode":201,"body":"<b/>"}"#,
        ),
        ("http", 201, "text/html; charset=utf-8", "<b/>"),
        ("text", 200, "text/plain; charset=utf-8", "<b/>"),
        ("html", 200, "text/html; charset=utf-8", "<b/>"),
        ("svg", 200, "image/svg+xml", "<b/>"),
    ] {
        let got = bed.at("GET", &format!("/b/{kind}"));
        assert_eq!(
            (got.status, got.header("content-type"), &*got.text()),
            (status, media, body),
            "{kind}"
        );
    }
}

/// Source: `processCall` (`routing.lua`).
#[test]
fn a_path_has_the_methods_of_its_operations_and_no_others() {
    let bed = bed(&["w"]);
    for verb in ["get", "PATCH", "Delete"] {
        bed.route("", "/b", "/p", verb, "w");
    }
    for (method, status) in [
        ("GET", 200),
        ("PATCH", 200),
        ("DELETE", 200),
        ("POST", 404),
        ("PUT", 404),
        ("HEAD", 404),
        ("TRACE", 404),
        // What the gateway answers by itself.
        ("OPTIONS", 200),
    ] {
        let got = bed.at(method, "/b/p");
        assert_eq!(got.status, status, "{method}: {}", got.text());
        if status == 404 {
            let refused = json!({"status": 404, "message": "Error: Whoops. Verb not supported."});
            assert_eq!(got.body, refused, "{method}");
            assert_eq!(got.header("access-control-allow-origin"), "*");
        }
        // Whatever the client takes.
        let accept = [("Accept", "image/png")];
        let got = bed.raw(method, "/api/guest/b/p", &accept, b"");
        let expected = if status == 404 || method == "OPTIONS" {
            status
        } else {
            406
        };
        assert_eq!(got.status, expected, "{method}");
    }
}

/// Source: `cors.lua`.
#[test]
fn pages_of_other_origins_may_call_an_api_as_its_document_says() {
    let bed = bed(&["w"]);
    bed.route("", "/b", "/p", "get", "w");
    bed.route("responsetype=http", "/b", "/h", "get", "w");
    let own = json!({"headers": {"Access-Control-Allow-Origin": "https://mine", "Access-Control-Max-Age": "5"}, "body": "x"});
    bed.act(move |_| answer(200, &own.to_string()));
    let origin = [
        ("Origin", "https://page"),
        ("Access-Control-Request-Headers", "x-a"),
    ];
    let said = |got: &Got| {
        let all = ["origin", "methods", "credentials", "headers"];
        all.map(|what| String::from(got.header(&format!("access-control-allow-{what}"))))
    };
    let methods = "GET, POST, PUT, DELETE, PATCH, HEAD, OPTIONS";
    let asked = bed.raw("OPTIONS", "/api/guest/b/p", &origin, b"");
    assert_eq!((asked.status, asked.text().as_str()), (200, ""));
    assert_eq!(said(&asked), ["https://page", methods, "true", "x-a"]);
    assert!(bed.sent.borrow().is_empty());
    let got = bed.raw("GET", "/api/guest/b/h", &origin, b"");
    assert_eq!(said(&got), ["https://page", methods, "true", "x-a"]);
    assert_eq!(got.header("access-control-max-age"), "5");
    let count = got.response.headers.iter();
    let count = count.filter(|(name, _)| name.eq_ignore_ascii_case("access-control-allow-origin"));
    assert_eq!(count.count(), 1);
    let plain = bed.at("GET", "/b/h");
    assert_eq!(said(&plain)[..3], ["*", methods, "true"]);
    let change = |cors: Value| {
        let mut document = bed.list_apis("")[0]["value"]["apidoc"].clone();
        let configuration = document["x-ibm-configuration"].as_object_mut().unwrap();
        match cors {
            Value::Null => configuration.remove("cors"),
            cors => configuration.insert("cors".into(), cors),
        };
        let got = bed.create_api("", json!({"namespace": "_", "swagger": document}));
        assert_eq!(got.status, 200, "{}", got.text());
    };
    change(json!({"enabled": false}));
    let got = bed.raw("GET", "/api/guest/b/h", &origin, b"");
    assert_eq!(
        (said(&got), got.text().as_str()),
        (["", "", "", ""].map(String::from), "x")
    );
    assert_eq!(got.header("access-control-max-age"), "");
    assert_eq!(
        bed.raw("OPTIONS", "/api/guest/b/h", &origin, b"").status,
        404
    );
    // Without a word of it, it is as any web action is.
    change(NULL);
    let got = bed.raw("GET", "/api/guest/b/h", &origin, b"");
    let as_said = [
        "https://mine",
        "OPTIONS, GET, DELETE, POST, PUT, HEAD, PATCH",
        "",
        "x-a",
    ];
    assert_eq!(said(&got), as_said);
}

#[test]
fn an_api_shows_the_secret_of_its_action_and_sets_the_headers_that_it_says() {
    let bed = bed(&[]);
    for (name, secret) in [
        ("text", json!("s3")),
        ("number", json!(42)),
        ("user", json!(true)),
    ] {
        web(
            &bed,
            name,
            json!([{"key": "require-whisk-auth", "value": secret}]),
        );
        let mut apidoc = endpoint("/with", &format!("/{name}"), "get", name);
        apidoc["action"]["secureKey"] = secret;
        assert_eq!(bed.create_api("", apidoc).status, 200);
        bed.route("", "/without", &format!("/{name}"), "get", name);
    }
    let auth = basic(OTHER);
    let wrong = [("x-require-whisk-auth", "s4")];
    let right = [("x-require-whisk-auth", "s3")];
    let user = [("authorization", auth.as_str())];
    for (path, headers, status) in [
        ("/with/text", &[][..], 200),
        ("/with/text", &wrong, 200),
        ("/with/number", &[], 200),
        ("/with/user", &[], 401),
        ("/with/user", &user, 200),
        ("/without/text", &[], 401),
        ("/without/text", &wrong, 401),
        ("/without/text", &right, 200),
        ("/without/number", &[], 401),
    ] {
        let target = format!("/api/guest{path}");
        let got = bed.raw("GET", &target, headers, b"");
        assert_eq!(got.status, status, "{path} {headers:?}: {}", got.text());
        let early = bed.early("GET", &target, headers).map(|early| early.status);
        assert_eq!(
            early,
            (status != 200).then_some(status),
            "{path} {headers:?}"
        );
    }
    // Nor is a body received for what there is not.
    for target in ["/api/guest/none", "/api/nobody/with/text"] {
        let early = bed.early("POST", target, &[]).map(|early| early.status);
        assert_eq!(early, Some(404), "{target}");
    }
    let mut document = bed.list_apis("basepath=/with")[0]["value"]["apidoc"].clone();
    let execute = &mut document["x-ibm-configuration"]["assembly"]["execute"];
    let set =
        json!({"set-variable": {"actions": [{"set": "message.headers.X-From", "value": "api"}]}});
    execute.as_array_mut().unwrap().push(set);
    let cases = &mut execute[0]["operation-switch"]["case"];
    cases[0]["execute"][0]["invoke"]["verb"] = json!("post");
    let got = bed.create_api("", json!({"namespace": "_", "swagger": document}));
    assert_eq!(got.status, 200, "{}", got.text());
    let got = bed.raw("GET", "/api/guest/with/text", &[("x-from", "me")], b"");
    assert_eq!(got.body["__ow_headers"]["x-from"], "api");
    assert_eq!(got.body["__ow_method"], "post");
}

#[test]
fn what_the_action_does_not_do_is_said_as_by_any_web_action() {
    let bed = bed(&["w"]);
    bed.put_action("private");
    for name in ["w", "private", "none", "pkg/none"] {
        bed.route("", "/b", &format!("/{name}"), "get", name);
    }
    for name in ["private", "none", "pkg/none"] {
        let got = bed.at("GET", &format!("/b/{name}"));
        assert_eq!(
            (got.status, got.error()),
            (404, "The requested resource does not exist."),
            "{name}"
        );
    }
    bed.act(|_| answer(502, r#"{"error":"x"}"#));
    let got = bed.at("GET", "/b/w");
    let text = "There was an error processing your request.";
    assert_eq!((got.status, got.error()), (400, text));
    // It is found when it is called, not when the API is made.
    bed.act(|_| answer(200, r#"{"n":1}"#));
    web(&bed, "none", json!([]));
    assert_eq!(bed.at("GET", "/b/none").body, json!({"n": 1}));
    bed.ask("DELETE", "/_/actions/w", NULL);
    assert_eq!(bed.at("GET", "/b/w").status, 404);
    let long = vec![b'x'; (1 << 20) + 1];
    bed.route("", "/b", "/none", "post", "none");
    let got = bed.raw("POST", "/api/guest/b/none", &[], &long);
    assert_eq!(got.status, 413);
}

#[test]
fn two_paths_whose_words_are_the_same_have_actions_of_their_own() {
    let bed = bed(&["one", "two"]);
    bed.route("responsetype=http", "/b", "/a/b", "get", "one");
    bed.route("responsetype=http", "/b", "/a.b", "get", "two");
    bed.route("responsetype=http", "/b", "/a/b", "get", "one");
    tell(&bed);
    assert_eq!(bed.at("GET", "/b/a/b").body["by"], "one");
    assert_eq!(bed.at("GET", "/b/a.b").body["by"], "two");
    let gone = bed.apis(
        GUEST,
        "DELETE",
        "deleteApi",
        "basepath=/b&relpath=/a/b",
        &NULL,
    );
    assert_eq!(gone.status, 200);
    assert_eq!(bed.at("GET", "/b/a/b").status, 404);
    assert_eq!(bed.at("GET", "/b/a.b").body["by"], "two");
}

#[test]
fn a_tenant_is_known_by_its_name_and_by_its_key_and_its_urls_outlast_that() {
    let bed = bed(&["w"]);
    let url = bed.route("", "/b", "/p", "get", "w")["gwApiUrl"].clone();
    let (uuid, _) = GUEST.split_once(':').unwrap();
    let get = |tenant: &str| {
        let target = format!("/api/{tenant}/b/p");
        bed.raw("GET", &target, &[], b"").status
    };
    assert_eq!((get("guest"), get(uuid), get("other")), (200, 200, 404));
    let admin = basic(crate::common::ADMIN);
    let admin = [("Authorization", admin.as_str())];
    let key = br#"{"key":"a-new:one"}"#;
    let rotated = bed.raw("POST", "/admin/namespaces/guest/key", &admin, key);
    assert_eq!(rotated.status, 200);
    assert_eq!((get("guest"), get(uuid), get("a-new")), (200, 404, 200));
    let listed = bed.apis("a-new:one", "GET", "getApi", "spaceguid=a-new", &NULL);
    assert_eq!(listed.body["apis"][0]["value"]["gwApiUrl"], url);
    // What would be a path of the API's own.
    let body = br#"{"key":"first:version"}"#;
    let made = bed.raw("PUT", "/admin/namespaces/v1", &admin, body);
    assert_eq!(made.status, 200);
    let apidoc = json!({"apidoc": endpoint("/b", "/p", "get", "w")});
    let made = bed.apis("first:version", "POST", "createApi", "", &apidoc);
    assert_eq!(made.body["gwApiUrl"], "http://127.0.0.1:3233/api/first/b");
}

#[test]
fn a_call_through_an_api_counts_as_its_actions_namespaces() {
    let bed = bed(&["w"]);
    bed.route("", "/b", "/p", "get", "w");
    let apidoc = json!({"apidoc": {
        "namespace": "_", "gatewayBasePath": "/theirs", "gatewayPath": "/p", "gatewayMethod": "get",
        "action": {
            "name": "w", "namespace": "guest", "backendMethod": "GET", "authkey": "x",
            "backendUrl": "http://h/api/v1/web/guest/default/w.http",
        },
    }});
    assert_eq!(
        bed.apis(OTHER, "POST", "createApi", "", &apidoc).status,
        200
    );
    let admin = basic(crate::common::ADMIN);
    let admin = [("Authorization", admin.as_str())];
    let limits = br#"{"invocationsPerMinute":2}"#;
    let set = bed.raw("POST", "/admin/namespaces/guest/limits", &admin, limits);
    assert_eq!(set.status, 200);
    let statuses = ["/api/guest/b/p", "/api/other/theirs/p", "/api/guest/b/p"];
    let statuses = statuses.map(|target| bed.raw("GET", target, &[], b"").status);
    assert_eq!(statuses, [200, 200, 429]);
}
