//! The documents of APIs: which are taken, and how the others are refused (`createApi.js` and `apigw-utils.js` of apache/openwhisk,
//! `validation.lua` and `swagger.lua` of apache/openwhisk-apigateway).

use crate::common::{API_HOST, Bed, GUEST, basic};
use crate::routes::{endpoint, of, swagger};
use serde_json::{Value, json};

const NULL: Value = Value::Null;

/// Source: `validateArgs` of the three actions, `WskApiGwTests.scala`.
#[test]
fn what_is_missing_is_said_in_openwhisks_words() {
    let bed = Bed::new();
    let whole = endpoint("/b", "/p", "get", "x");
    let without = |pointer: &str| {
        let mut apidoc = whole.clone();
        let (parent, name) = pointer.rsplit_once('/').unwrap();
        let parent = apidoc.pointer_mut(parent).unwrap();
        parent.as_object_mut().unwrap().remove(name);
        apidoc
    };
    for (apidoc, text) in [
        (NULL, "apidoc is required."),
        (json!(""), "apidoc is required."),
        (
            json!("{1:[}}}"),
            "apidoc field cannot be parsed. Ensure it is valid JSON.",
        ),
        (
            json!(7),
            "apidoc field is of type number and should be a JSON object or a JSON string.",
        ),
        (json!({}), "apidoc is missing the namespace field"),
        (json!("5"), "apidoc is missing the namespace field"),
        (json!([]), "apidoc is missing the namespace field"),
        (
            without("/gatewayBasePath"),
            "apidoc is missing the gatewayBasePath field",
        ),
        (
            without("/gatewayPath"),
            "apidoc is missing the gatewayPath field",
        ),
        (
            without("/gatewayMethod"),
            "apidoc is missing the gatewayMethod field",
        ),
        (without("/action"), "apidoc is missing the action field."),
        (
            without("/action/backendMethod"),
            "action is missing the backendMethod field.",
        ),
        (
            without("/action/backendUrl"),
            "action is missing the backendUrl field.",
        ),
        (
            without("/action/namespace"),
            "action is missing the namespace field.",
        ),
        (without("/action/name"), "action is missing the name field."),
        (
            without("/action/authkey"),
            "action is missing the authkey field.",
        ),
        (
            json!({"namespace": "_", "gatewayBasePath": "/b", "swagger": {"a": 1}}),
            "swagger and gatewayBasePath are mutually exclusive and cannot be specified together.",
        ),
        (
            of("", json!("{")),
            "swagger field cannot be parsed. Ensure it is valid JSON.",
        ),
        (
            of("", json!(true)),
            "swagger field is boolean and should be an object or a JSON string.",
        ),
        (of("", json!({})), "swagger is missing the basePath field."),
        (
            of("", json!({"basePath": "/b"})),
            "swagger is missing the paths field.",
        ),
        (
            of("", json!({"basePath": "/b", "paths": {"/p": {}}})),
            "swagger is missing the info field.",
        ),
        (
            endpoint("/b/{x}", "/p", "get", "x"),
            "API creation failure: The base path (/b/{x}) cannot have parameters. Only the relative path supports path parameters.",
        ),
        (
            endpoint("/b", "/p/{x}", "get", "x"),
            "API creation failure: The action must use a response type of '.http' in order to receive the path parameters.",
        ),
        (
            endpoint("/b", "/p", "fetch", "x"),
            r#"API creation failure: Unable to configure the API Gateway (status code 400): {"status":400,"message":"Error: Resource verb 'fetch' not supported."}"#,
        ),
        (
            endpoint("/b", "p", "get", "x"),
            r#"API creation failure: Unable to configure the API Gateway (status code 400): {"status":400,"message":"Error: Resource path must begin with '/'."}"#,
        ),
    ] {
        let got = bed.create_api("", apidoc.clone());
        assert_eq!((got.status, got.error()), (502, text), "{apidoc}");
    }
    let got = bed.apis(GUEST, "GET", "getApi", "outputFormat=yaml", &NULL);
    let text = "Invalid outputFormat value. Valid values are: apigw, swagger";
    assert_eq!((got.status, got.error()), (502, text));
    assert_eq!(bed.list_apis("").len(), 0);
}

#[test]
fn a_whole_document_takes_the_place_of_what_there_was() {
    let bed = Bed::new();
    bed.route("", "/b", "/old", "get", "x");
    // `wsk` sends the text of a file.
    for document in [
        json!(swagger("/b").to_string()),
        swagger("/b"),
        swagger("/b/"),
    ] {
        let got = bed.create_api("", of("/b", document.clone()));
        assert_eq!(got.status, 200, "{}", got.text());
        assert_eq!(got.body["gwApiUrl"], format!("{API_HOST}/api/guest/b"));
        let sent = match document {
            Value::String(text) => serde_json::from_str(&text).unwrap(),
            document => document,
        };
        assert_eq!(got.body["apidoc"], sent);
    }
    assert_eq!(bed.list_apis("").len(), 1);
    assert_eq!(bed.list_apis("basepath=mine").len(), 1);
    // What is exported makes the same again.
    bed.route("responsetype=http", "/b", "/x/{y}", "put", "x");
    let exported = bed.list_apis("")[0]["value"]["apidoc"].clone();
    let gone = bed.apis(GUEST, "DELETE", "deleteApi", "basepath=/b", &NULL);
    assert_eq!(gone.status, 200);
    let got = bed.create_api("", of("/b", exported.clone()));
    assert_eq!((got.status, &got.body["apidoc"]), (200, &exported));
}

#[test]
fn a_document_that_asks_for_what_there_is_not_is_refused() {
    let bed = Bed::new();
    let with = |pointer: &str, value: Value| {
        let mut document = swagger("/b");
        let (parent, name) = pointer.rsplit_once('/').unwrap();
        document.pointer_mut(parent).unwrap()[name.replace("~1", "/")] = value;
        document
    };
    let execute = "/x-ibm-configuration/assembly/execute";
    let get = "/paths/~1p/get";
    for (document, status, text) in [
        (
            with(
                "/securityDefinitions",
                json!({"client_id": {"type": "apiKey"}}),
            ),
            400,
            "The member 'securityDefinitions' cannot be kept",
        ),
        (
            with(
                "/x-ibm-rate-limit",
                json!([{"unit": "minute", "units": 3, "rate": 100}]),
            ),
            400,
            "The member 'x-ibm-rate-limit' cannot be kept",
        ),
        (
            with("/info", json!({"version": "1"})),
            400,
            "The member 'info' must name the API",
        ),
        (
            with("/paths", json!([1])),
            502,
            "API creation failure: Unable to configure the API Gateway (status code 400): {\"status\":400,\"message\":\"Error: Empty resources object.\"}",
        ),
        (
            with("/paths/~1q", json!({"parameters": []})),
            502,
            "API creation failure: Unable to configure the API Gateway (status code 400): {\"status\":400,\"message\":\"Error: Missing or empty field 'operations'",
        ),
        (
            with("/paths/~1p~1", json!({"get": {"operationId": "getP"}})),
            400,
            "The path '/p' is there twice.",
        ),
        (
            with("/paths/~1p/GET", json!({"operationId": "getP"})),
            400,
            "The operation 'get' of the path '/p' is there twice.",
        ),
        (
            with(execute, json!([])),
            400,
            "There is no target for the operation 'get' of the path '/p'",
        ),
        (
            with(
                execute,
                json!([{"invoke": {"target-url": "https://elsewhere/api/v2/things", "verb": "keep"}}]),
            ),
            400,
            "There is no target for the operation 'get' of the path '/p'",
        ),
        (
            with(
                execute,
                json!([{"invoke": {"target-url": "https://h/api/v1/web/guest/default/a.json", "verb": "fetch"}}]),
            ),
            502,
            "API creation failure: Unable to configure the API Gateway (status code 400): {\"status\":400,\"message\":\"Error: backendMethod 'fetch' not supported.\"}",
        ),
        (
            with(
                execute,
                json!([{"set-variable": {"actions": [{"set": "message.body.x", "value": "y"}]}}]),
            ),
            400,
            "'set-variable' can set headers only",
        ),
        (
            with(
                execute,
                json!([{"set-variable": {"actions": [{"set": "message.headers.X", "value": "a\r\nB: c"}]}}]),
            ),
            400,
            "'set-variable' can set headers only",
        ),
        (
            with(
                "/paths/~1b~1{id}",
                json!({"get": {"operationId": "getP", "parameters": [{"name": "id"}]}}),
            ),
            502,
            "API creation failure: The target-url for operationId 'getP' must end in '$(request.path)' in order for actions to receive the path parameters.",
        ),
        (
            with(
                "/paths/~1b~1{id}",
                json!({"get": {"x-openwhisk": {"url": "https://h/api/v1/web/guest/default/a.http"}, "parameters": [{"name": "di"}]}}),
            ),
            502,
            "API creation failure: The parameter 'id' defined in path '/b/{id}' does not match any of the parameters defined for the path in the swagger file.",
        ),
        (
            with(
                get,
                json!({"x-openwhisk": {"url": "https://h/api/v1/web/guest/default/a?b.json"}}),
            ),
            400,
            "There is no target",
        ),
    ] {
        let got = bed.create_api("", of("/b", document.clone()));
        assert_eq!(got.status, status, "{document}: {}", got.text());
        assert!(got.error().starts_with(text), "{document}: {}", got.error());
    }
    assert_eq!(bed.list_apis("").len(), 0);
    // What says nothing asks for nothing, and an action is named where no configuration sends calls.
    let mut plain = with("/securityDefinitions", json!({}));
    plain["x-ibm-rate-limit"] = json!([]);
    plain.as_object_mut().unwrap().remove("x-ibm-configuration");
    plain["paths"]["/p"]["get"]["x-openwhisk"] =
        json!({"url": "https://h/api/v1/web/guest/default/a.json"});
    let got = bed.create_api("", of("/b", plain));
    assert_eq!(got.status, 200, "{}", got.text());
}

#[test]
fn hostile_documents_and_paths_are_refused_in_good_time() {
    let bed = Bed::new();
    let begin = std::time::Instant::now();
    let nested = |depth: usize| format!("{}1{}", "[".repeat(depth), "]".repeat(depth));
    let many = |count: usize| {
        let mut document = swagger("/b");
        let operation = json!({"operationId": "getP"});
        let paths = (0..count).map(|n| (format!("/p{n}"), json!({"get": operation})));
        document["paths"] = Value::Object(paths.collect());
        document
    };
    let text = |document: Value| document.to_string();
    let deep =
        |depth: usize| text(swagger("/b")).replacen('{', &format!("{{\"x\":{},", nested(depth)), 1);
    let cases = json!([{"operations": ["getP"], "execute": []}]).to_string();
    let cases = cases[1..cases.len() - 1].to_owned() + ",";
    let many_cases = text(swagger("/b")).replacen(
        "\"case\":[",
        &format!("\"case\":[{}", cases.repeat(15_000)),
        1,
    );
    for (document, status) in [
        (deep(63), 200),
        (deep(64), 400),
        (deep(100_000), 400),
        (text(many(1_000)), 200),
        (text(many(1_001)), 400),
        (text(many(15_000)), 400),
        (many_cases, 200),
        (text(swagger("/b").to_string().repeat(2).into()), 502),
    ] {
        let shown: String = document.chars().take(80).collect();
        let body = format!("{{\"apidoc\":{{\"namespace\":\"_\",\"swagger\":{document}}}}}");
        let auth = basic(GUEST);
        let headers = [
            ("Authorization", auth.as_str()),
            ("Content-Type", "application/json"),
        ];
        let target = "/api/v1/web/whisk.system/apimgmt/createApi.http";
        let got = bed.raw("POST", target, &headers, body.as_bytes());
        assert_eq!(got.status, status, "{shown} {}", got.text());
    }
    // A body, and an API that is added to, has an end.
    let padded = |bytes: usize| {
        let mut document = swagger("/long");
        document["info"]["description"] = json!("x".repeat(bytes));
        of("/long", document)
    };
    assert_eq!(bed.create_api("", padded(1 << 20)).status, 413);
    assert_eq!(bed.create_api("", padded((1 << 20) - 450)).status, 200);
    let got = bed.create_api("", endpoint("/long", "/more", "get", "x"));
    assert_eq!(got.status, 413);
    assert!(
        got.error()
            .starts_with("The document of an API larger than allowed: ")
    );
    for (base, path) in [
        ("/..", "/p"),
        ("/a/../b", "/p"),
        ("/c", "/../p"),
        ("/c", "/./p"),
        ("/c", "//p"),
        ("/c", "/p//q"),
        ("/c", "/p?q"),
        ("/c", "/p%2Fq"),
        ("/c", "/\u{202e}p"),
        ("/ü", "/p"),
        ("/b\u{0}", "/p"),
        ("/c", "/p\\q"),
        ("/c", "/{a"),
        ("/c", "/{a}.json"),
        ("/c", &*"/p".repeat(1_000)),
        (&*"/b".repeat(1_000), "/p"),
        (&*"/b".repeat(100), "/p"),
        ("b", "/p"),
    ] {
        let got = bed.create_api("responsetype=http", endpoint(base, path, "get", "x"));
        assert_eq!(got.status, 400, "{base} {path}: {}", got.text());
    }
    let got = bed.create_api("responsetype=exe", endpoint("/c", "/p", "get", "x"));
    let text = "The response type must be one of html, http, json, text and svg.";
    assert_eq!((got.status, got.error()), (400, text));
    for name in ["", "a b ", "-a", "a?b", "ü", "a%2Fb%2Fc"] {
        let mut apidoc = endpoint("/names", "/p", "get", "x");
        apidoc["action"]["name"] = json!(format!("{name} "));
        let got = bed.create_api("", apidoc);
        assert_eq!(got.status, 400, "{name}: {}", got.text());
    }
    let mut apidoc = endpoint("/b", "/p", "get", "x");
    apidoc["gatewayPath"] = json!({"a": 1});
    let got = bed.create_api("", apidoc);
    assert_eq!(
        (got.status, got.error()),
        (400, "gatewayPath must be a string.")
    );
    assert!(begin.elapsed().as_secs() < 30, "{:?}", begin.elapsed());
}
