//! Packages, bindings, what clients expect of the system package (contract 3.7, 4).

use crate::common::{Bed, GUEST, OTHER, js, refused};
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
    bed.put("/_/actions/tools/f", feed.clone());
    // Whatever the value is.
    feed["annotations"] = json!([{"key": "feed", "value": false}]);
    bed.put("/_/actions/tools/g", feed);
    let got = bed.get("/_/packages/tools").body;
    let names = |list: &str| -> Vec<&Value> {
        let list = got[list].as_array().unwrap().iter();
        list.map(|element| &element["name"]).collect()
    };
    assert_eq!(
        (names("actions"), names("feeds").len()),
        (vec![&json!("a")], 2)
    );
    assert_eq!(bed.get("/_/packages").body[0]["binding"], false);
    let got = bed.ask("DELETE", "/_/packages/tools", NULL);
    assert_eq!(got.status, 409);
    assert!(
        got.error()
            .starts_with("Package not empty (contains 3 entities)."),
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

#[test]
fn a_binding_is_its_owners_alone_and_nothing_without_what_it_stands_for() {
    let bed = Bed::new();
    bed.put("/_/packages/open", json!({"publish": true}));
    bed.put_action("open/a");
    let binding = json!({"binding": {"namespace": "guest", "name": "open"}, "publish": true});
    bed.put("/_/packages/bound", binding.clone());
    let made = bed.by(OTHER, "PUT", "/_/packages/theirs", binding);
    assert_eq!(made.status, 200);
    // What it says of itself opens it to nobody: others bind the package.
    let listed = bed.by(OTHER, "GET", "/guest/packages", NULL).body;
    let names: Vec<_> = listed
        .as_array()
        .unwrap()
        .iter()
        .map(|p| &p["name"])
        .collect();
    assert_eq!(names, ["open"]);
    for (method, path) in [
        ("GET", "/guest/packages/bound"),
        ("GET", "/guest/actions/bound/"),
        ("GET", "/guest/actions/bound/a"),
        ("POST", "/guest/actions/bound/a"),
        ("POST", "/guest/actions/bound/none"),
    ] {
        let got = bed.by(OTHER, method, path, NULL);
        assert_eq!(got.status, 403, "{method} {path}");
        let own = bed.ask(method, path, NULL);
        let is_there = !path.ends_with("none");
        assert_eq!(own.status == 404, !is_there, "{method} {path}");
    }
    // Its owner loses it with the package: another's tells nothing of whether it is still there.
    let all = [
        ("GET", "packages", ""),
        ("GET", "actions", "/"),
        ("GET", "actions", "/a"),
        ("POST", "actions", "/a"),
    ];
    bed.put("/_/packages/open?overwrite=true", json!({"publish": false}));
    let status = |by: &str, name: &str| {
        all.map(|(method, collection, rest)| {
            let path = format!("/_/{collection}/{name}{rest}");
            bed.by(by, method, &path, NULL).status
        })
    };
    assert_eq!(status(OTHER, "theirs"), [403; 4]);
    assert_eq!(status(GUEST, "bound"), [200, 200, 200, 202]);
    bed.ask("DELETE", "/_/packages/open?force=true", NULL);
    assert_eq!(status(OTHER, "theirs"), [403; 4]);
    assert_eq!(status(GUEST, "bound"), [404; 4]);
    assert_eq!(bed.ask("DELETE", "/_/packages/bound", NULL).status, 200);
}

#[test]
fn documents_that_are_no_packages_are_refused() {
    let bed = Bed::new();
    bed.put_action("a");
    bed.put("/_/packages/pkg", json!({}));
    bed.put("/_/triggers/t", json!({}));
    refused! { bed;
        PUT "/_/packages/default", json!({}) => 400 "Package name 'default' is reserved.";
        PUT "/_/packages/default", json!([]) => 400 "Package name 'default' is reserved.";
        PUT "/_/packages/b", json!({"binding": null}) => 400 "The request content was malformed:";
        PUT "/_/packages/b", json!({"binding": {"name": "p"}}) => 400 "The request content was malformed:";
        PUT "/_/packages/b", json!({"binding": {"namespace": "_", "name": "gone"}})
            => 400 "Binding references a package that does not exist.";
        PUT "/_/packages/pkg?overwrite=true", json!({"binding": {"namespace": "_", "name": "pkg"}})
            => 409 "Resource is a package and cannot be converted into a binding.";
        PUT "/_/packages/b", json!({"binding": {"namespace": "_", "name": "t"}})
            => 409 "Cannot bind to a resource that is not a package.";
    }
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
