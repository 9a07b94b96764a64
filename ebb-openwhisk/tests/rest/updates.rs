//! What a PUT with `overwrite=true` replaces and what it keeps: differently for each kind of entity.

use crate::common::{Bed, js};
use ebb_openwhisk::entity::Entity;
use ebb_openwhisk::name::FullName;
use serde_json::{Value, json};

fn pair(key: &str, value: Value) -> Value {
    json!({"key": key, "value": value})
}

#[test]
fn annotations_are_merged_for_actions_and_replaced_for_all_else() {
    let bed = Bed::new();
    bed.put_action("target");
    bed.put("/_/triggers/trigger", json!({}));
    let entities = [
        ("/_/triggers/t", json!({})),
        ("/_/packages/p", json!({})),
        (
            "/_/rules/r",
            json!({"trigger": "/_/trigger", "action": "/_/target"}),
        ),
    ];
    for (path, mut document) in entities {
        document["annotations"] = json!([pair("a", json!(1)), pair("b", json!(2))]);
        bed.put(path, document);
        let overwrite = format!("{path}?overwrite=true");
        let kept = bed.put(&overwrite, json!({"delAnnotations": ["a"]}));
        assert_eq!(
            kept["annotations"],
            json!([pair("a", json!(1)), pair("b", json!(2))]),
            "{path}"
        );
        let replaced = bed.put(&overwrite, json!({"annotations": [pair("c", json!(3))]}));
        assert_eq!(
            replaced["annotations"],
            json!([pair("c", json!(3))]),
            "{path}"
        );
        assert_eq!(replaced["version"], "0.0.3", "{path}");
        assert_eq!(bed.get(path).body["annotations"], replaced["annotations"]);
    }

    let mut action = js("x");
    action["annotations"] = json!([pair("a", json!(1)), pair("b", json!(2))]);
    action["delAnnotations"] = json!(["a"]);
    bed.put("/_/actions/x", action);
    let updated = bed.put(
        "/_/actions/x?overwrite=true",
        json!({"delAnnotations": ["a", "none"], "annotations": [pair("b", json!(3)), pair("c", json!(4))]}),
    );
    assert_eq!(
        updated["annotations"],
        json!([
            pair("b", json!(3)),
            pair("provide-api-key", json!(false)),
            pair("exec", json!("nodejs:20")),
            pair("c", json!(4)),
        ])
    );
}

#[test]
fn what_an_update_does_not_name_stays() {
    let bed = Bed::new();
    bed.put_action("a");
    bed.put("/_/triggers/trigger", json!({}));
    let common = json!({"publish": true, "parameters": [pair("p", json!(1))], "annotations": [pair("n", json!(1))]});
    for path in ["/_/triggers/t", "/_/packages/p", "/_/actions/x"] {
        let mut document = common.clone();
        document["exec"] = js("x")["exec"].clone();
        document["limits"] = json!({"timeout": 500, "memory": 128});
        let before = bed.put(path, document);
        let mut after = bed.put(&format!("{path}?overwrite=true"), json!({}));
        assert_eq!(after["version"], "0.0.2", "{path}");
        after["version"] = before["version"].clone();
        after["updated"] = before["updated"].clone();
        assert_eq!(after, before, "{path}");
        let changed = bed.put(
            &format!("{path}?overwrite=true"),
            json!({"parameters": [pair("q", json!(2))], "publish": false, "version": "1.0.0"}),
        );
        assert_eq!(
            (
                &changed["parameters"],
                &changed["publish"],
                &changed["version"]
            ),
            (
                &json!([pair("q", json!(2))]),
                &json!(false),
                &json!("1.0.0")
            ),
            "{path}"
        );
    }
    let limits = bed.put(
        "/_/actions/x?overwrite=true",
        json!({"limits": {"memory": 512}}),
    );
    assert_eq!(
        limits["limits"],
        json!({"timeout": 500, "memory": 512, "logs": 10, "concurrency": 1})
    );
    // What runs is replaced as one.
    let mut main = js("y");
    main["exec"]["main"] = json!("other");
    bed.put("/_/actions/x?overwrite=true", main);
    let plain = bed.put("/_/actions/x?overwrite=true", js("z"));
    assert_eq!(plain["exec"].get("main"), None);
}

#[test]
fn the_components_of_a_sequence_are_nothing_that_code_is_given() {
    let bed = Bed::new();
    bed.put_action("a");
    let sequence = json!({"exec": {"kind": "sequence", "components": ["/_/a"]}});
    let components = json!([pair("_actions", json!(["/guest/a"]))]);
    let mut with_parameters = sequence.clone();
    with_parameters["parameters"] = json!([pair("p", json!(1))]);
    let put = bed.put("/_/actions/s", with_parameters);
    assert_eq!(put["parameters"], components);
    let kept = bed.put(
        "/_/actions/s?overwrite=true",
        json!({"parameters": [pair("p", json!(1))]}),
    );
    assert_eq!(kept["parameters"], components);
    let code = bed.put("/_/actions/s?overwrite=true", js("x"));
    assert_eq!(code["parameters"], json!([]));
    bed.put("/_/actions/s?overwrite=true", sequence);
    let mut given = js("x");
    given["parameters"] = json!([pair("p", json!(1))]);
    let code = bed.put("/_/actions/s?overwrite=true", given);
    assert_eq!(code["parameters"], json!([pair("p", json!(1))]));
}

#[test]
fn a_binding_stays_one_and_its_annotation_is_the_platforms() {
    let bed = Bed::new();
    bed.put("/_/packages/p", json!({}));
    bed.put("/_/packages/q", json!({}));
    let to = |name: &str| json!({"namespace": "guest", "name": name});
    bed.put(
        "/_/packages/b",
        json!({"binding": {"namespace": "_", "name": "p"}}),
    );
    for update in [
        json!({}),
        json!({"binding": {}}),
        json!({"annotations": []}),
    ] {
        let kept = bed.put("/_/packages/b?overwrite=true", update.clone());
        assert_eq!(kept["binding"], json!({"name": "p", "namespace": "guest"}));
        assert_eq!(
            kept["annotations"],
            json!([pair("binding", to("p"))]),
            "{update}"
        );
    }
    let moved = bed.put(
        "/_/packages/b?overwrite=true",
        json!({"binding": to("q"), "annotations": [pair("binding", json!("mine"))]}),
    );
    assert_eq!(moved["annotations"], json!([pair("binding", to("q"))]));
    let plain = bed.put(
        "/_/packages/p?overwrite=true",
        json!({"annotations": [pair("binding", json!("mine")), pair("a", json!(1))]}),
    );
    assert_eq!(plain["annotations"], json!([pair("a", json!(1))]));
}

#[test]
fn the_name_of_a_feed_is_checked_when_its_trigger_is_made() {
    let bed = Bed::new();
    for feed in ["alarm", "pkg/alarm", "/whisk.system/alarms/alarm"] {
        let path = format!("/_/triggers/{}", feed.rsplit('/').next().unwrap());
        let document = json!({"annotations": [pair("feed", json!(feed))]});
        bed.put(&format!("{path}?overwrite=true"), document);
    }
    for feed in [json!(""), json!("/"), json!("a b /$"), json!(7), json!({})] {
        bed.refuses(
            "PUT",
            "/_/triggers/new",
            json!({"annotations": [pair("feed", feed)]}),
            400,
            "Feed name is not valid",
        );
    }
}

#[test]
fn a_pinned_version_of_node_runs_on_the_one_there_is() {
    let bed = Bed::new();
    let kind = |kind: &str| json!({"exec": {"kind": kind, "code": "x"}});
    for (given, shown) in [
        ("nodejs:default", "nodejs:20"),
        ("NodeJS:20", "nodejs:20"),
        ("nodejs:18", "nodejs:18"),
        ("nodejs:16", "nodejs:16"),
        ("nodejs:14", "nodejs:14"),
    ] {
        let put = bed.put("/_/actions/k?overwrite=true", kind(given));
        assert_eq!(put["exec"]["kind"], shown);
        let got = bed.ask("POST", "/_/actions/k?blocking=true", json!({}));
        assert_eq!(got.status, 200);
        let annotations = got.body["annotations"].as_array().unwrap().clone();
        assert!(annotations.contains(&pair("kind", json!(shown))));
    }
    for unknown in ["nodejs:99", "nodejs:22", "nodejs", "php:8"] {
        bed.refuses(
            "PUT",
            "/_/actions/k?overwrite=true",
            kind(unknown),
            400,
            &format!("The request content was malformed:\nThe specified runtime '{unknown}' is not supported by this platform."),
        );
    }
    let runtimes = bed.raw("GET", "/", &[], b"").body["runtimes"]["nodejs"].clone();
    let listed: Vec<_> = runtimes
        .as_array()
        .unwrap()
        .iter()
        .map(|r| (r["kind"].as_str().unwrap(), r["default"] == true))
        .collect();
    assert_eq!(
        listed,
        [
            ("nodejs:20", true),
            ("nodejs:18", false),
            ("nodejs:16", false),
            ("nodejs:14", false)
        ]
    );
}

#[test]
fn an_image_of_node_is_the_node_there_is() {
    let bed = Bed::new();
    for image in [
        "openwhisk/action-nodejs-v18",
        "docker.io/openwhisk/action-nodejs-v20:nightly",
        "action-nodejs-v14@sha256:00",
    ] {
        let exec = json!({"kind": "blackbox", "image": image, "code": "x", "binary": false});
        let put = bed.put("/_/actions/k?overwrite=true", json!({"exec": exec.clone()}));
        assert_eq!(put["exec"], exec);
        assert_eq!(
            bed.ask("POST", "/_/actions/k?blocking=true", json!({}))
                .status,
            200
        );
    }
    // An image brings its code along where the document has none.
    for code in [json!(null), json!(""), json!(" \n")] {
        let mut exec = json!({"kind": "blackbox", "image": "action-nodejs-v20"});
        let shown = json!({"kind": "blackbox", "image": "action-nodejs-v20", "binary": false});
        if !code.is_null() {
            exec["code"] = code;
        }
        let put = bed.put("/_/actions/k?overwrite=true", json!({ "exec": exec }));
        assert_eq!(
            (&put["exec"], &bed.get("/_/actions/k").body["exec"]),
            (&shown, &shown)
        );
    }
    for (image, text) in [
        (json!(null), "The request content was malformed:"),
        (
            json!("openwhisk/action-python-v3.7"),
            "The image 'openwhisk/action-python-v3.7' is not supported by this platform",
        ),
        (
            json!("action-nodejs-v99"),
            "The image 'action-nodejs-v99' is not supported by this platform",
        ),
    ] {
        let mut exec = json!({"kind": "blackbox", "code": "x"});
        if !image.is_null() {
            exec["image"] = image;
        }
        bed.refuses(
            "PUT",
            "/_/actions/k?overwrite=true",
            json!({"exec": exec}),
            400,
            text,
        );
    }
}

#[test]
fn what_a_change_ends_is_told_once_and_a_new_action_ends_nothing() {
    let bed = Bed::new();
    let ended = || bed.controller.borrow_mut().take_ended();
    let revision = || {
        let controller = bed.controller.borrow();
        let mut all = controller.store().iter().filter_map(|entity| match entity {
            Entity::Action(action) if action.common.name.name == "changes" => Some(action.revision),
            _ => None,
        });
        all.next().expect("it is there")
    };
    bed.put_action("changes");
    let first = revision();
    assert!(ended().is_empty(), "nothing was there before");
    bed.put("/_/actions/changes?overwrite=true", js("other"));
    let second = revision();
    assert!(ended().into_iter().eq([first]) && ended().is_empty());
    // What could not be kept is taken back.
    let name = FullName::new("guest", "changes");
    let held = bed.controller.borrow().store().held(&name).cloned();
    bed.put("/_/actions/changes?overwrite=true", js("third"));
    let third = revision();
    let back = held.expect("it is there");
    let put = bed.controller.borrow_mut().store_mut().insert(back);
    assert!(put.is_ok() && ended().into_iter().eq([third]));
    assert_eq!(
        bed.ask("DELETE", "/_/actions/changes", json!({})).status,
        200
    );
    assert!(ended().into_iter().eq([second]) && ended().is_empty());
}
