//! APIs: how clients make, see and delete them (`core/routemgmt` of apache/openwhisk), and what has to hold of their owners.

use crate::common::{API_HOST, Bed, GUEST, Got, OTHER, basic, js};
use ebb_openwhisk::entity::{Entity, kept};
use ebb_openwhisk::limits::NamespaceLimits;
use ebb_openwhisk::runtimes::Runtimes;
use serde_json::{Value, json};

const NULL: Value = Value::Null;

impl Bed {
    /// A request to one of the actions for APIs, as clients make them.
    pub fn apis(&self, key: &str, method: &str, action: &str, query: &str, body: &Value) -> Got {
        let auth = basic(key);
        let body = match body {
            Value::Null => String::new(),
            body => body.to_string(),
        };
        self.raw(
            method,
            &format!("/api/v1/web/whisk.system/apimgmt/{action}.http?{query}"),
            &[
                ("Authorization", &auth),
                ("Content-Type", "application/json"),
            ],
            body.as_bytes(),
        )
    }

    pub fn create_api(&self, query: &str, apidoc: Value) -> Got {
        let body = json!({ "apidoc": apidoc });
        self.apis(GUEST, "POST", "createApi", query, &body)
    }

    /// Adds an operation that has to be one.
    pub fn route(&self, query: &str, base: &str, path: &str, verb: &str, action: &str) -> Value {
        let got = self.create_api(query, endpoint(base, path, verb, action));
        assert_eq!(got.status, 200, "{base} {path} {verb}: {}", got.text());
        got.body
    }

    pub fn list_apis(&self, query: &str) -> Vec<Value> {
        let got = self.apis(GUEST, "GET", "getApi", query, &NULL);
        assert_eq!(got.status, 200, "{query}: {}", got.text());
        got.body["apis"].as_array().unwrap().clone()
    }
}

/// What the npm package sends to add an operation.
pub fn endpoint(base: &str, path: &str, verb: &str, action: &str) -> Value {
    let place = match action.contains('/') {
        true => action.to_owned(),
        false => format!("default/{action}"),
    };
    json!({
        "namespace": "_", "gatewayBasePath": base, "gatewayPath": path, "gatewayMethod": verb, "id": format!("API:_:{base}"),
        "action": {
            "name": action, "namespace": "_", "backendMethod": "GET", "authkey": GUEST,
            "backendUrl": format!("https://my.host:443/api/v1/web/_/{place}.http"),
        },
    })
}

/// A whole document with one operation, which the configuration sends to an action.
pub fn swagger(base: &str) -> Value {
    json!({
        "swagger": "2.0", "info": {"title": "mine", "version": "7"}, "basePath": base,
        "paths": {"/p": {"get": {"operationId": "getP", "responses": {}}}},
        "x-ibm-configuration": {"assembly": {"execute": [{"operation-switch": {"case": [
            {"operations": ["getP"], "execute": [{"invoke": {"target-url": "https://h/api/v1/web/guest/default/a.json", "verb": "keep"}}]}
        ]}}]}},
    })
}

pub fn of(base: &str, document: Value) -> Value {
    json!({"namespace": "_", "swagger": document, "x": base})
}

/// The document that `addEndpointToSwaggerApi` would make.
#[test]
fn an_api_is_made_with_its_first_operation_and_grows_with_others() {
    let bed = Bed::new();
    let made = bed.route("responsetype=http", "/club", "/books", "POST", "pkg/add");
    let operation = |id: &str, url: &str, package: &str, action: &str| {
        json!({
            "operationId": id, "responses": {"default": {"description": "Default response"}},
            "x-openwhisk": {"url": url, "namespace": "guest", "package": package, "action": action},
        })
    };
    let case = |id: &str, url: &str| json!({"operations": [id], "execute": [{"invoke": {"target-url": url, "verb": "keep"}}]});
    let add = "https://my.host:443/api/v1/web/guest/pkg/add.http";
    let mut expected = json!({
        "swagger": "2.0", "info": {"title": "/club", "version": "1.0.0"}, "basePath": "/club",
        "paths": {"/books": {"post": operation("postBooks", add, "pkg", "add")}},
        "x-ibm-configuration": {
            "assembly": {"execute": [{"operation-switch": {"case": [case("postBooks", &format!("{add}$(request.path)"))]}}]},
            "cors": {"enabled": true},
        },
    });
    assert_eq!(
        made,
        json!({
            "namespace": "Not Used", "gwApiActivated": true, "tenantId": "Not Used",
            "gwApiUrl": format!("{API_HOST}/api/guest/club"), "apidoc": expected,
        })
    );
    // What is not said is JSON, and the name of an API that there is stays.
    let mut second = endpoint("/club/", "/books", "get", "list");
    second["apiName"] = json!("Book Club");
    let grown = bed.create_api("", second);
    let list = "https://my.host:443/api/v1/web/guest/default/list.json";
    expected["paths"]["/books"]["get"] = operation("getBooks", list, "", "list");
    let cases =
        &mut expected["x-ibm-configuration"]["assembly"]["execute"][0]["operation-switch"]["case"];
    cases.as_array_mut().unwrap().push(case("getBooks", list));
    assert_eq!(grown.body["apidoc"], expected);
    // An operation that is there is replaced.
    let replaced = bed.route("responsetype=text", "/club", "/books", "GET", "list");
    let text = list.replace(".json", ".text");
    expected["paths"]["/books"]["get"]["x-openwhisk"]["url"] = json!(text);
    let cases =
        &mut expected["x-ibm-configuration"]["assembly"]["execute"][0]["operation-switch"]["case"];
    cases[1] = case("getBooks", &text);
    assert_eq!(replaced["apidoc"], expected);
    let listed = bed.list_apis("");
    assert_eq!(
        listed,
        [json!({"id": "Not Used", "key": "Not Used", "value": replaced})]
    );
}

/// Source: `commands/api.go` of apache/openwhisk-cli, `whisk/api.go` of apache/openwhisk-client-go.
#[test]
fn what_wsk_sends_makes_an_api_with_parameters_and_a_secret() {
    let bed = Bed::new();
    let mut apidoc = endpoint("/club", "/books/{isbn}", "GET", "get");
    let parameter = json!({"name": "isbn", "in": "path", "required": true, "type": "string", "description": "Default description for 'isbn'"});
    apidoc["pathParameters"] = json!([parameter]);
    apidoc["apiName"] = json!("Book Club");
    apidoc["action"]["secureKey"] = json!("s3");
    let uuid = GUEST.split_once(':').unwrap().0;
    let query = format!("accesstoken=DUMMY+TOKEN&responsetype=http&spaceguid={uuid}");
    let got = bed.create_api(&query, apidoc.clone());
    assert_eq!(got.status, 200, "{}", got.text());
    let document = &got.body["apidoc"];
    assert_eq!(document["info"]["title"], "Book Club");
    assert_eq!(
        document["paths"]["/books/{isbn}"]["get"]["parameters"],
        json!([parameter])
    );
    let case =
        &document["x-ibm-configuration"]["assembly"]["execute"][0]["operation-switch"]["case"][0];
    assert_eq!(case["operations"], json!(["getBooksIsbn"]));
    assert_eq!(
        case["execute"][1],
        json!({"set-variable": {"actions": [{"set": "message.headers.X-Require-Whisk-Auth", "value": "s3"}]}})
    );
    // The npm package describes no parameters.
    apidoc.as_object_mut().unwrap().remove("pathParameters");
    let again = bed.create_api(&query, apidoc.clone());
    assert_eq!(&again.body["apidoc"], document);
    // `wsk api create "Book Club" /more GET get`.
    apidoc["gatewayBasePath"] = json!("Book Club");
    apidoc["gatewayPath"] = json!("/more");
    let more = bed.create_api(&query, apidoc).body;
    assert_eq!(more["apidoc"]["basePath"], "/club");
    assert_eq!(more["apidoc"]["paths"].as_object().unwrap().len(), 2);
    let query = format!("accesstoken=DUMMY+TOKEN&limit=30&skip=0&spaceguid={uuid}");
    assert_eq!(bed.list_apis(&query).len(), 1);
}

#[test]
fn a_list_has_what_it_is_asked_for() {
    let bed = Bed::new();
    bed.route("", "/a", "/p", "get", "x");
    bed.route("", "/a", "/q", "post", "x");
    bed.route("", "/b", "/p", "get", "x");
    let mut named = endpoint("/", "/r", "get", "x");
    named["apiName"] = json!("Root One");
    assert_eq!(bed.create_api("", named).status, 200);
    for (query, expected) in [
        ("", &["/", "/a", "/b"][..]),
        ("basepath=/a", &["/a"]),
        ("basepath=%2Fa%2F", &["/a"]),
        ("basepath=/", &["/"]),
        ("basepath=Root+One", &["/"]),
        ("basepath=/b", &["/b"]),
        ("basepath=%2Fc", &[]),
        ("basepath=b", &[]),
        ("basepath=/..", &[]),
        ("relpath=/p", &["/a", "/b"]),
        ("relpath=/p&operation=GET", &["/a", "/b"]),
        ("relpath=/p&operation=post", &[]),
        ("basepath=/a&relpath=/q&operation=Post", &["/a"]),
        ("basepath=/a&relpath=/r", &[]),
        ("limit=2", &["/", "/a"]),
        ("limit=2&skip=2", &["/b"]),
        ("limit=30&skip=0", &["/", "/a", "/b"]),
        ("outputFormat=Swagger&docs=true", &["/", "/a", "/b"]),
    ] {
        let all = bed.list_apis(query);
        let bases: Vec<_> = all
            .iter()
            .map(|api| &api["value"]["apidoc"]["basePath"])
            .collect();
        assert_eq!(bases, expected, "{query}");
    }
}

#[test]
fn an_api_goes_as_a_whole_by_path_and_by_operation() {
    let bed = Bed::new();
    let paths = |query: &str| -> Vec<String> {
        let all = bed.list_apis(query);
        let Some(api) = all.first() else {
            return Vec::new();
        };
        let document = &api["value"]["apidoc"];
        let switch = &document["x-ibm-configuration"]["assembly"]["execute"][0]["operation-switch"];
        let of = |(path, item): (&String, &Value)| -> Vec<String> {
            let verbs = item.as_object().unwrap().keys();
            verbs.map(|verb| format!("{verb} {path}")).collect()
        };
        let mut all: Vec<String> = document["paths"]
            .as_object()
            .unwrap()
            .iter()
            .flat_map(of)
            .collect();
        all.sort();
        assert_eq!(switch["case"].as_array().unwrap().len(), all.len());
        all
    };
    for (path, verb) in [
        ("/p", "get"),
        ("/p", "post"),
        ("/q", "get"),
        ("/r/{x}", "get"),
        ("/r/{x}", "put"),
    ] {
        bed.route("responsetype=http", "/a", path, verb, "x");
    }
    let delete = |query: &str| bed.apis(GUEST, "DELETE", "deleteApi", query, &NULL);
    for (query, left) in [
        (
            "basepath=/a&relpath=/p&operation=POST&force=true",
            &["get /p", "get /q", "get /r/{x}", "put /r/{x}"][..],
        ),
        ("basepath=/a&relpath=/r/{x}", &["get /p", "get /q"]),
        ("basepath=/a&relpath=/q&operation=get", &["get /p"]),
        ("basepath=/a&relpath=/p&operation=get", &[]),
    ] {
        let got = delete(query);
        assert_eq!(
            (got.status, got.body),
            (200, json!({})),
            "{query}: {:?}",
            got.response
        );
        assert_eq!(paths("basepath=/a"), left, "{query}");
    }
    bed.route("", "/a", "/p", "get", "x");
    bed.route("", "/b", "/p", "get", "x");
    assert_eq!(delete("basepath=/a").status, 200);
    assert_eq!(paths("basepath=/a"), [""; 0]);
    assert_eq!(bed.list_apis("").len(), 1);
    for (query, text) in [
        ("", "basepath is required."),
        (
            "basepath=/b&operation=get",
            "When specifying an operation, the path is required.",
        ),
        (
            "basepath=/a",
            "API deletion failure: API '/a' does not exist.",
        ),
        (
            "basepath=none",
            "API deletion failure: API 'none' does not exist.",
        ),
        (
            "basepath=/b&relpath=/q",
            "API deletion failure: path '/q' does not exist in the API",
        ),
        (
            "basepath=/b&relpath=/p&operation=POST",
            "API deletion failure: path '/p' with operation 'post' does not exist in the API",
        ),
        (
            "basepath=/b&relpath=/q&operation=GET",
            "API deletion failure: path '/q' with operation 'get' does not exist in the API",
        ),
    ] {
        let got = delete(query);
        assert_eq!((got.status, got.error()), (502, text), "{query}");
    }
    assert_eq!(bed.list_apis("").len(), 1);
}

/// Source: `validateArgs`: a wrong key is none to a web action.
#[test]
fn without_the_right_key_nothing_is_told_made_or_taken_away() {
    let bed = Bed::new();
    bed.route("", "/a", "/p", "get", "x");
    let body = json!({"apidoc": endpoint("/a", "/q", "get", "x")}).to_string();
    let wrong = basic("nobody:nothing");
    for headers in [
        &[("Content-Type", "application/json")][..],
        &[
            ("Content-Type", "application/json"),
            ("Authorization", wrong.as_str()),
        ],
    ] {
        for (method, action, text) in [
            ("POST", "createApi", "A valid auth key is required."),
            ("GET", "getApi", "Invalid authentication."),
            ("DELETE", "deleteApi", "Invalid authentication."),
        ] {
            // Nor with what OpenWhisk's actions would take in the place of a key.
            let target = format!(
                "/api/v1/web/whisk.system/apimgmt/{action}.http?basepath=/a&namespace=guest&accesstoken=x"
            );
            let got = bed.raw(method, &target, headers, body.as_bytes());
            assert_eq!((got.status, got.error()), (502, text), "{action}");
            let early = bed.early(method, &target, headers);
            assert_eq!(early.map(|r| r.status), Some(502), "{action}");
        }
    }
    let refused = bed.apis(GUEST, "GET", "getApi", "__ow_user=other", &NULL);
    assert_eq!(refused.status, 400, "{}", refused.text());
    assert_eq!(bed.list_apis("relpath=/p").len(), 1);
    assert_eq!(bed.list_apis("relpath=/q").len(), 0);
    let options = bed.raw(
        "OPTIONS",
        "/api/v1/web/whisk.system/apimgmt/getApi.http",
        &[],
        b"",
    );
    assert_eq!(options.status, 200);
    for path in ["none.http", "createApi2", ""] {
        let path = format!("/api/v1/web/whisk.system/apimgmt/{path}");
        assert_eq!(bed.raw("GET", &path, &[], b"").status, 404, "{path}");
    }
}

#[test]
fn each_namespace_has_apis_of_its_own() {
    let bed = Bed::new();
    bed.route("", "/a", "/p", "get", "x");
    assert_eq!(
        bed.apis(OTHER, "GET", "getApi", "", &NULL).body,
        json!({"apis": []})
    );
    let (guests, others) = (
        GUEST.split_once(':').unwrap().0,
        OTHER.split_once(':').unwrap().0,
    );
    for (method, action, body) in [
        ("GET", "getApi", NULL),
        ("DELETE", "deleteApi", NULL),
        (
            "POST",
            "createApi",
            json!({"apidoc": endpoint("/a", "/q", "get", "x")}),
        ),
    ] {
        let query = format!("basepath=/a&spaceguid={guests}&accesstoken={guests}");
        let got = bed.apis(OTHER, method, action, &query, &body);
        assert_eq!(got.status, 403, "{action}: {}", got.text());
        assert_eq!(
            got.error(),
            format!("The supplied authentication is not authorized to access '{guests}'.")
        );
    }
    // A space that the gateway of another platform knew says nothing.
    let query = format!("basepath=/a&spaceguid={others}");
    let body = json!({"apidoc": endpoint("/a", "/q", "get", "x")});
    for query in ["spaceguid=a-space", &query] {
        let made = bed.apis(OTHER, "POST", "createApi", query, &body);
        assert_eq!(made.body["gwApiUrl"], format!("{API_HOST}/api/other/a"));
    }
    assert_eq!(bed.list_apis("relpath=/q").len(), 0);
    let gone = bed.apis(OTHER, "DELETE", "deleteApi", "basepath=/a", &NULL);
    assert_eq!(gone.status, 200);
    assert_eq!(bed.list_apis("").len(), 1);
}

#[test]
fn more_apis_than_an_answer_has_room_for_are_listed_page_by_page() {
    let bed = Bed::new();
    for n in 0..6 {
        let mut document = swagger(&format!("/b{n}"));
        document["info"]["description"] = json!("x".repeat(1_000_000));
        assert_eq!(bed.create_api("", of("", document)).status, 200);
    }
    let got = bed.apis(GUEST, "GET", "getApi", "", &NULL);
    assert_eq!(got.status, 413, "{}", got.text());
    assert!(got.error().ends_with("with limit and skip."));
    assert_eq!(bed.list_apis("limit=4&skip=2").len(), 4);
    assert_eq!(
        bed.apis(GUEST, "GET", "getApi", "limit=x", &NULL).status,
        400
    );
}

#[test]
fn the_url_of_an_api_is_at_the_host_that_was_asked() {
    let bed = Bed::new();
    bed.route("", "/a b", "/p", "get", "x");
    let auth = basic(GUEST);
    for (headers, url) in [
        (&[][..], "http://127.0.0.1:3233/api/guest/a%20b"),
        (
            &[("Host", "my.host:8080")],
            "http://my.host:8080/api/guest/a%20b",
        ),
        (
            &[("Host", "[::1]:3233")],
            "http://[::1]:3233/api/guest/a%20b",
        ),
        (
            &[("Host", "a/b@c")],
            "http://127.0.0.1:3233/api/guest/a%20b",
        ),
        (
            &[("Host", "a.b"), ("X-Forwarded-Proto", "https")],
            "https://a.b/api/guest/a%20b",
        ),
        (
            &[("Host", "a.b"), ("X-Forwarded-Proto", "javascript")],
            "http://a.b/api/guest/a%20b",
        ),
    ] {
        let mut all = vec![("Authorization", auth.as_str())];
        all.extend(headers);
        let target = "/api/v1/web/whisk.system/apimgmt/getApi.http";
        let got = bed.raw("GET", target, &all, b"");
        assert_eq!(got.body["apis"][0]["value"]["gwApiUrl"], url, "{headers:?}");
    }
}

#[test]
fn an_action_for_apis_answers_as_web_actions_do() {
    let bed = Bed::new();
    let auth = basic(GUEST);
    let get = |extension: &str| {
        let target = format!("/api/v1/web/whisk.system/apimgmt/getApi{extension}");
        bed.raw("GET", &target, &[("Authorization", &auth)], b"")
    };
    for extension in ["", ".http"] {
        let got = get(extension);
        assert_eq!((got.status, got.body.clone()), (200, json!({"apis": []})));
        assert_eq!(got.header("content-type"), "application/json");
        assert_eq!(got.header("access-control-allow-origin"), "*");
    }
    // Source: `makeResponseObject` (`apigw-utils.js`): the result is a response.
    assert_eq!(
        get(".json").body,
        json!({"statusCode": 200, "headers": {"Content-Type": "application/json"}, "body": {"apis": []}})
    );
    assert!(bed.sent.borrow().is_empty(), "no instance is needed");
}

#[test]
fn apis_count_as_their_namespaces_and_go_with_it() {
    let bed = Bed::with(NamespaceLimits {
        storage_mb: 1,
        ..NamespaceLimits::default()
    });
    let of_size = |base: &str, bytes: usize| {
        let mut document = swagger(base);
        document["info"]["description"] = json!("x".repeat(bytes));
        bed.create_api("", of(base, document))
    };
    assert_eq!(of_size("/a", 600_000).status, 200);
    let got = of_size("/b", 600_000);
    assert_eq!(got.status, 413, "{}", got.text());
    assert!(
        got.error()
            .starts_with("The namespace's entities are larger than allowed: ")
    );
    assert_eq!(of_size("/a", 900_000).status, 200);
    assert_eq!(of_size("/a", 300_000).status, 200);
    assert_eq!(of_size("/b", 600_000).status, 200);
    let delete = |base: &str| {
        let query = format!("basepath={base}");
        bed.apis(GUEST, "DELETE", "deleteApi", &query, &NULL).status
    };
    let bytes = |bed: &Bed| bed.controller.borrow().store().bytes_of("guest");
    assert!(bytes(&bed) > 900_000);
    assert_eq!((delete("/a"), delete("/b"), bytes(&bed)), (200, 200, 0));
    assert_eq!(of_size("/a", 10).status, 200);
    let admin = basic(crate::common::ADMIN);
    let admin = [("Authorization", admin.as_str())];
    let gone = bed.raw("DELETE", "/admin/namespaces/guest", &admin, b"");
    assert_eq!((gone.status, bytes(&bed)), (200, 0));
    let key = json!({"key": GUEST}).to_string();
    let again = bed.raw("PUT", "/admin/namespaces/guest", &admin, key.as_bytes());
    assert_eq!(again.status, 200);
    assert_eq!(bed.list_apis("").len(), 0);
    assert_eq!(bed.raw("GET", "/api/guest/a/p", &[], b"").status, 404);
}

#[test]
fn nothing_else_lists_or_reaches_an_api() {
    let bed = Bed::new();
    bed.route("", "/a", "/p", "get", "x");
    for collection in ["actions", "packages", "triggers", "rules"] {
        assert_eq!(bed.get(&format!("/_/{collection}")).body, json!([]));
    }
    for path in ["/_/actions/default/_a", "/_/packages/default"] {
        for method in ["GET", "DELETE"] {
            assert_eq!(bed.ask(method, path, NULL).status, 404, "{method} {path}");
        }
    }
    for path in ["/_/actions/default/_a", "/_/packages/default"] {
        let status = bed.ask("PUT", path, js("x")).status;
        assert!([400, 404].contains(&status), "{path}: {status}");
    }
    let web = bed.raw("GET", "/api/v1/web/guest/default/_a", &[], b"");
    assert_eq!(web.status, 404);
    assert_eq!(bed.list_apis("").len(), 1);
}

#[test]
fn a_kept_api_is_the_same_api() {
    let bed = Bed::new();
    bed.route("", "/", "/p", "get", "x");
    bed.route("responsetype=http", "/a/b.c", "/q/{r}", "put", "pkg/x");
    let whole = bed.create_api("", of("/c/", swagger("/c/")));
    assert_eq!(whole.status, 200);
    let before = bed.list_apis("");
    let taken = |bed: &Bed| -> Vec<Entity> {
        let controller = bed.controller.borrow();
        controller.store().present("guest").cloned().collect()
    };
    let again = Bed::new();
    for entity in taken(&bed) {
        let written = kept::write(&entity);
        assert_eq!(written.code, None);
        let read = kept::read(&written, &Runtimes::default()).unwrap();
        assert_eq!(kept::write(&read), written);
        assert_eq!(read.size(), entity.size());
        again
            .controller
            .borrow_mut()
            .store_mut()
            .insert(read)
            .unwrap();
    }
    assert_eq!(again.list_apis(""), before);
    assert_eq!(before.len(), 3);
    // The document of another is not its.
    let all = taken(&bed);
    let (one, other) = (kept::write(&all[0]), kept::write(&all[1]));
    let mut swapped: Value = serde_json::from_str(one.document.as_str()).unwrap();
    let other: Value = serde_json::from_str(other.document.as_str()).unwrap();
    swapped["document"] = other["document"].clone();
    let swapped = kept::Kept {
        document: ebb_openwhisk::json::Json::parse(&swapped.to_string()).unwrap(),
        code: None,
    };
    let why = kept::read(&swapped, &Runtimes::default()).unwrap_err();
    assert!(
        why.starts_with("its document is that of guest/default/_"),
        "{why}"
    );
}
