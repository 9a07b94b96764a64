//! Namespaces: how they come and go, what each sees, how much each may have.

use crate::common::{ADMIN, Bed, GUEST, Got, OTHER, basic, js};
use serde_json::{Value, json};

const NULL: Value = Value::Null;

impl Bed {
    fn manage(&self, method: &str, path: &str, body: Value) -> Got {
        let body = match body {
            Value::Null => String::new(),
            body => body.to_string(),
        };
        let auth = basic(ADMIN);
        self.raw(
            method,
            &format!("/admin/namespaces{path}"),
            &[("Authorization", &auth)],
            body.as_bytes(),
        )
    }

    fn add(&self, name: &str, limits: Value) -> String {
        let got = self.manage("PUT", &format!("/{name}"), json!({"limits": limits}));
        assert_eq!(got.status, 200, "{}", got.text());
        got.body["key"].as_str().unwrap().into()
    }
}

#[test]
fn namespaces_are_managed_with_the_key_for_that_alone() {
    let bed = Bed::new();
    for auth in [
        None,
        Some(GUEST),
        Some("admin:of-al"),
        Some("admin:of-all0"),
    ] {
        let auth = auth.map(basic);
        let headers: Vec<_> = auth.iter().map(|a| ("Authorization", a.as_str())).collect();
        let got = bed.raw("GET", "/admin/namespaces", &headers, b"");
        assert_eq!(got.status, 401, "{auth:?}");
        let early = bed.early("PUT", "/admin/namespaces/x", &headers);
        assert_eq!(early.map(|r| r.status), Some(401), "{auth:?}");
    }
    assert_eq!(
        bed.by(ADMIN, "GET", "", NULL).status,
        401,
        "it opens nothing else"
    );
    let names = bed.manage("GET", "", NULL).body;
    let names: Vec<_> = names
        .as_array()
        .unwrap()
        .iter()
        .map(|n| &n["namespace"])
        .collect();
    assert_eq!(names, ["guest", "other"]);
    assert_eq!(bed.manage("GET", "/none", NULL).status, 404);
    assert_eq!(bed.manage("POST", "", NULL).status, 405);
    assert_eq!(bed.manage("GET", "/guest/key", NULL).status, 405);
    assert_eq!(bed.manage("PUT", "/guest", NULL).status, 409);
    assert_eq!(bed.manage("PUT", "/whisk.system", NULL).status, 409);
    assert_eq!(bed.manage("PUT", "/_", NULL).status, 400);
    assert_eq!(bed.manage("PUT", "/a", json!([])).status, 400);
}

#[test]
fn a_namespaces_key_is_told_once_and_opens_it_until_it_is_rotated() {
    let bed = Bed::new();
    let key = bed.add("tenant", json!({}));
    assert_eq!(bed.by(&key, "GET", "", NULL).body, json!(["tenant"]));
    let told = bed.manage("GET", "/tenant", NULL).text();
    assert!(!told.contains(key.split_once(':').unwrap().1), "{told}");
    let rotated = bed.manage("POST", "/tenant/key", NULL).body;
    let new = rotated["key"].as_str().unwrap();
    assert_eq!(bed.by(&key, "GET", "", NULL).status, 401);
    assert_eq!(bed.by(new, "GET", "", NULL).body, json!(["tenant"]));
    let given = bed.manage("POST", "/tenant/key", json!({"key": "my:own"}));
    assert_eq!((given.status, &given.body["key"]), (200, &json!("my:own")));
    assert_eq!(bed.by("my:own", "GET", "", NULL).status, 200);
}

#[test]
fn a_namespace_that_is_removed_leaves_nothing_to_one_of_its_name() {
    let bed = Bed::new();
    let key = bed.add("tenant", json!({}));
    assert_eq!(bed.by(&key, "PUT", "/_/actions/a", js("x")).status, 200);
    let called = bed.by(&key, "POST", "/_/actions/a?blocking=true", NULL);
    let record = called.record.unwrap();
    let path = format!("/_/activations/{}", record.id);
    assert_eq!(bed.by(&key, "GET", &path, NULL).status, 200);
    bed.now.set(bed.now.get() + 1000);
    assert_eq!(bed.manage("DELETE", "/tenant", NULL).status, 200);
    assert_eq!(bed.by(&key, "GET", "", NULL).status, 401);
    let again = bed.add("tenant", json!({}));
    assert_eq!(
        bed.by(&key, "GET", "", NULL).status,
        401,
        "the key was the other's"
    );
    assert_eq!(bed.by(&again, "GET", "/_/actions/a", NULL).status, 404);
    assert_eq!(bed.by(&again, "GET", &path, NULL).status, 404);
    assert_eq!(
        bed.by(&again, "GET", "/_/activations", NULL).body,
        json!([])
    );
}

#[test]
fn a_tenant_sees_and_calls_its_own_and_what_is_published() {
    let bed = Bed::new();
    let (a, b) = (bed.add("a", json!({})), bed.add("b", json!({})));
    for (package, publish) in [("open", true), ("shut", false)] {
        let path = format!("/_/packages/{package}");
        assert_eq!(
            bed.by(&a, "PUT", &path, json!({"publish": publish})).status,
            200
        );
        let path = format!("/_/actions/{package}/f");
        assert_eq!(bed.by(&a, "PUT", &path, js("x")).status, 200);
    }
    for (path, status) in [
        ("/a/actions/open/f", 200),
        ("/a/actions/shut/f", 403),
        ("/a/actions", 403),
        ("/a/activations", 403),
        ("/a/limits", 403),
    ] {
        assert_eq!(bed.by(&b, "GET", path, NULL).status, status, "{path}");
    }
    let called = bed.by(&b, "POST", "/a/actions/open/f?blocking=true", NULL);
    assert_eq!(
        (called.status, called.body["namespace"].as_str()),
        (200, Some("b"))
    );
    assert_eq!(bed.by(&b, "POST", "/a/actions/shut/f", NULL).status, 403);
    let count = |key: &str| {
        bed.by(key, "GET", "/_/activations?count=true", NULL).body["activations"].clone()
    };
    assert_eq!((count(&a), count(&b)), (json!(0), json!(1)));
}

#[test]
fn each_namespace_has_limits_of_its_own() {
    let bed = Bed::new();
    let limits = json!({"invocationsPerMinute": 2, "maxActionMemory": 128, "maxActionCode": 1, "storage": 2, "memory": 200});
    let small = bed.add("small", limits);
    let put = |key: &str, name: &str, code: &str, memory: u32| {
        let mut document = js(code);
        document["limits"] = json!({"memory": memory});
        bed.by(key, "PUT", &format!("/_/actions/{name}"), document)
    };
    let large = "x".repeat(1 << 20);
    assert_eq!(
        put(&small, "a", "x", 256).status,
        400,
        "memory of an action"
    );
    assert_eq!(
        put(&small, "a", &large, 128).status,
        413,
        "code of an action"
    );
    let most = &large[..900 << 10];
    assert_eq!(put(&small, "a", most, 128).status, 200);
    assert_eq!(put(&small, "b", most, 128).status, 200);
    let refused = put(&small, "c", most, 128);
    assert!(
        refused.status == 413 && refused.error().contains("The namespace's entities"),
        "{}",
        refused.text()
    );
    assert_eq!(bed.by(&small, "DELETE", "/_/actions/b", NULL).status, 200);
    assert_eq!(
        put(&small, "c", most, 128).status,
        200,
        "deleting makes room"
    );
    assert_eq!(
        put(OTHER, "a", &large, 512).status,
        200,
        "another's are not those"
    );
    for status in [202, 202, 429] {
        assert_eq!(bed.by(&small, "POST", "/_/actions/a", NULL).status, status);
        assert_eq!(bed.by(OTHER, "POST", "/_/actions/a", NULL).status, 202);
    }
    let set = bed.manage(
        "POST",
        "/small/limits",
        json!({"invocationsPerMinute": null, "memory": 100}),
    );
    assert_eq!((set.status, &set.body["memory"]), (200, &json!(100)));
    assert_eq!(
        bed.by(&small, "GET", "/_/limits", NULL).body["maxActionMemory"],
        128
    );
    let refused = bed.by(&small, "POST", "/_/actions/a", NULL);
    assert_eq!(
        (refused.status, refused.error()),
        (
            429,
            "Too much memory in use by requests in flight (in use: 0 MB, allowed: 100 MB)."
        )
    );
    assert_eq!(
        bed.manage("POST", "/small/limits", json!({"memory": 200}))
            .status,
        200
    );
    assert_eq!(bed.by(&small, "POST", "/_/actions/a", NULL).status, 202);
    for wrong in [
        json!({"memroy": 1}),
        json!({"memory": -1}),
        json!({"weight": 0}),
        json!({"memory": "1"}),
        json!([]),
    ] {
        assert_eq!(
            bed.manage("POST", "/small/limits", wrong.clone()).status,
            400,
            "{wrong}"
        );
    }
}

#[test]
fn a_namespace_makes_actions_of_its_kinds_alone() {
    let bed = Bed::new();
    let key = bed.add("some", json!({"allowedKinds": ["nodejs:20", "sequence"]}));
    let put = |key: &str, exec: Value| {
        let path = "/_/actions/a?overwrite=true";
        bed.by(key, "PUT", path, json!({"exec": exec}))
    };
    let of = |kind: &str| json!({"kind": kind, "code": "x"});
    let sequence = json!({"kind": "sequence", "components": ["/_/b"]});
    for (exec, refused) in [
        (of("nodejs:20"), None),
        (of("nodejs:default"), None),
        (of("nodejs:18"), Some("nodejs:18")),
        (of("python:3"), Some("python:3.11")),
        (
            json!({"kind": "blackbox", "image": "openwhisk/action-nodejs-v20", "code": "x"}),
            Some("blackbox"),
        ),
    ] {
        let got = put(&key, exec.clone());
        let Some(kind) = refused else {
            assert_eq!(got.status, 200, "{exec}: {}", got.text());
            continue;
        };
        let why = format!(
            "The supplied authentication is not authorized to access actions of kind '{kind}'."
        );
        assert_eq!((got.status, got.error()), (403, &*why), "{exec}");
        assert_eq!(put(OTHER, exec).status, 200, "another's are not those");
    }
    bed.by(
        &key,
        "PUT",
        "/_/actions/b",
        json!({"exec": of("nodejs:20")}),
    );
    assert_eq!(put(&key, sequence.clone()).status, 200);

    let told = |got: Got| got.body["allowedKinds"].clone();
    let limit = |kinds: Value| bed.manage("POST", "/some/limits", json!({"allowedKinds": kinds}));
    let only = json!(["python:3.11"]);
    assert_eq!(told(limit(only.clone())), only);
    assert_eq!(told(bed.by(&key, "GET", "/_/limits", NULL)), only);
    assert_eq!(put(&key, sequence).status, 403);
    assert_eq!(put(&key, of("python:3")).status, 200);
    // What is there runs, and may be changed but for what it is made of. Source: `create` and `activate` (`Actions.scala`).
    assert_eq!(bed.by(&key, "POST", "/_/actions/b", NULL).status, 202);
    let update = json!({"annotations": [{"key": "k", "value": 1}]});
    let got = bed.by(&key, "PUT", "/_/actions/b?overwrite=true", update);
    assert_eq!(got.status, 200, "{}", got.text());
    // No list, and an empty one, stand for all.
    for all in [NULL, json!([])] {
        limit(only.clone());
        assert_eq!(told(limit(all)), NULL);
        assert_eq!(put(&key, of("nodejs:18")).status, 200);
    }
    for wrong in [
        json!("nodejs:20"),
        json!([1]),
        json!([""]),
        json!(["x".repeat(65)]),
        json!(vec!["x"; 65]),
    ] {
        assert_eq!(limit(wrong.clone()).status, 400, "{wrong}");
    }
}

/// A web action's caller shows no key, and the platform knows none, but for a hash.
#[test]
fn an_action_on_the_web_is_lent_a_key_if_it_asks_for_one() {
    let bed = Bed::new();
    for (name, asks) in [("with", true), ("without", false)] {
        let mut action = js("x");
        action["annotations"] = json!([{"key": "web-export", "value": true}, {"key": "provide-api-key", "value": asks}]);
        bed.put(&format!("/_/actions/{name}"), action);
    }
    let key_given = |name: &str| {
        let path = format!("/api/v1/web/guest/default/{name}.json");
        assert_eq!(bed.raw("GET", &path, &[], b"").status, 200);
        let env = &bed.last_init()["value"]["env"]["__OW_API_KEY"];
        assert_eq!(env, &bed.last_run().get("api_key").cloned().unwrap_or(NULL));
        env.as_str().map(String::from)
    };
    assert_eq!(key_given("without"), None);
    let lent = key_given("with").unwrap();
    assert_ne!(lent, GUEST);
    assert_eq!(bed.by(&lent, "GET", "", NULL).body, json!(["guest"]));
    assert_eq!(bed.manage("POST", "/guest/key", NULL).status, 200);
    assert_eq!(
        bed.by(&lent, "GET", "", NULL).status,
        401,
        "gone with the key"
    );
}

#[test]
fn a_platform_without_a_key_for_it_has_no_api_for_namespaces() {
    let bed = Bed::new();
    *bed.controller.borrow_mut() = ebb_openwhisk::Controller::new(ebb_openwhisk::Config {
        admin: None,
        ..Bed::config(Default::default())
    });
    assert_eq!(bed.manage("GET", "", NULL).status, 404);
    assert_eq!(bed.manage("PUT", "/tenant", NULL).status, 404);
}
