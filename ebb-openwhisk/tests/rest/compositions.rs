//! Conductors: actions whose result says which action is called next.

use crate::common::{Bed, OTHER, answer, js};
use ebb_openwhisk::activation::Answer;
use ebb_openwhisk::call::Call;
use serde_json::{Value, json};

const NULL: Value = Value::Null;

fn conductor(bed: &Bed, name: &str) {
    let mut action = js("x");
    action["annotations"] = json!([{"key": "conductor", "value": true}]);
    bed.put(&format!("/_/actions/{name}"), action);
}

fn name(call: &Call) -> String {
    call.action.common.name.name.clone()
}

fn arguments(call: &Call) -> Value {
    serde_json::from_str(call.arguments.as_str()).unwrap()
}

fn ok(value: Value) -> Answer {
    answer(200, &value.to_string())
}

fn annotation(record: &Value, key: &str) -> Value {
    record["annotations"]
        .as_array()
        .unwrap()
        .iter()
        .find(|a| a["key"] == key)
        .map_or(NULL, |a| a["value"].clone())
}

#[test]
fn a_conductor_is_called_before_and_after_each_action_that_it_names() {
    let bed = Bed::new();
    let mut big = js("x");
    big["limits"] = json!({"memory": 512});
    bed.put("/_/actions/triple", big);
    bed.put_action("increment");
    conductor(&bed, "composition");
    bed.act(|call| {
        let p = arguments(call);
        let n = p["value"].as_i64().unwrap();
        ok(match (name(call).as_str(), p["$step"].as_i64()) {
            ("triple", _) => json!({"value": n * 3}),
            ("increment", _) => json!({"value": n + 1}),
            (_, None) => {
                json!({"action": "triple", "params": {"value": n}, "state": {"$step": 1}})
            }
            (_, Some(1)) => {
                json!({"action": "/_/increment", "params": {"value": n}, "state": {"$step": 2}})
            }
            _ => json!({"params": {"value": n}}),
        })
    });
    let got = bed.ask(
        "POST",
        "/_/actions/composition?blocking=true",
        json!({"value": 3}),
    );
    let record = got.body;
    assert_eq!(
        (got.status, &record["response"]),
        (
            200,
            &json!({"status": "success", "success": true, "result": {"value": 10}})
        )
    );
    assert_eq!(record["duration"], 5 * 12);
    for (key, value) in [
        ("topmost", json!(true)),
        ("conductor", json!(true)),
        ("kind", json!("sequence")),
        ("path", json!("guest/composition")),
        ("causedBy", NULL),
        ("initTime", NULL),
    ] {
        assert_eq!(annotation(&record, key), value, "{key}");
    }
    assert_eq!(annotation(&record, "limits")["memory"], 512);
    assert!(annotation(&record, "waitTime").is_number());
    let ids = record["logs"].as_array().unwrap().clone();
    let derived: Vec<Value> = ids
        .iter()
        .map(|id| {
            bed.get(&format!("/_/activations/{}", id.as_str().unwrap()))
                .body
        })
        .collect();
    let names: Vec<_> = derived
        .iter()
        .map(|r| r["name"].as_str().unwrap())
        .collect();
    assert_eq!(
        names,
        [
            "composition",
            "triple",
            "composition",
            "increment",
            "composition"
        ]
    );
    for call in &derived {
        assert_eq!(call["cause"], record["activationId"]);
        assert_eq!(annotation(call, "causedBy"), "sequence");
        assert_eq!(annotation(call, "conductor"), NULL);
    }
    let stored = bed.get(&format!(
        "/_/activations/{}",
        record["activationId"].as_str().unwrap()
    ));
    assert_eq!(stored.body, record);
}

#[test]
fn what_a_conductor_names_is_boxed_where_it_is_no_object() {
    let bed = Bed::new();
    bed.put_action("echo");
    conductor(&bed, "c");
    bed.act(|call| {
        let p = arguments(call);
        ok(match (name(call).as_str(), p.get("state")) {
            ("echo", _) => p,
            (_, None) => json!({"action": "echo", "params": 7, "state": "s"}),
            _ => json!({"params": [p["state"], p["value"]]}),
        })
    });
    let got = bed.ask("POST", "/_/actions/c?blocking=true&result=true", NULL);
    assert_eq!((got.status, got.body), (200, json!({"value": ["s", 7]})));
}

#[test]
fn a_conductor_that_names_no_action_is_the_result_itself() {
    let bed = Bed::new();
    conductor(&bed, "c");
    for (result, expected) in [
        (json!({"a": 1}), json!({"a": 1})),
        (json!({"params": {"b": 2}, "x": 1}), json!({"b": 2})),
        (json!({"state": {"b": 2}}), json!({"state": {"b": 2}})),
    ] {
        bed.act(move |_| ok(result.clone()));
        let got = bed.ask("POST", "/_/actions/c?blocking=true&result=true", NULL);
        assert_eq!((got.status, got.body), (200, expected));
    }
    bed.act(|_| ok(json!({"error": {"code": 7}, "action": "x"})));
    let got = bed.ask("POST", "/_/actions/c?blocking=true", NULL);
    assert_eq!(
        (got.status, &got.body["response"]),
        (
            502,
            &json!({"status": "application error", "success": false, "result": {"error": {"code": 7}}})
        )
    );
    bed.act(|_| answer(502, "{\"error\":\"thrown\"}"));
    let got = bed.ask("POST", "/_/actions/c?blocking=true", NULL);
    assert_eq!(
        (got.status, &got.body["response"]["status"]),
        (502, &json!("action developer error"))
    );
}

#[test]
fn a_conductor_hears_of_what_cannot_be_called() {
    let bed = Bed::new();
    bed.put("/_/packages/closed", json!({}));
    bed.put_action("closed/a");
    conductor(&bed, "c");
    for (action, error) in [
        (
            json!("/_/no-such-action"),
            "Failed to resolve action with name 'guest/no-such-action' during composition.",
        ),
        (
            json!("closed/none"),
            "Failed to resolve action with name 'guest/closed/none' during composition.",
        ),
        (
            json!("pkg/none"),
            "Failed entitlement check for action with name 'guest/pkg/none' during composition.",
        ),
        (
            json!("/other/p/a"),
            "Failed entitlement check for action with name 'other/p/a' during composition.",
        ),
        (
            json!("/"),
            "Failed to parse action name from json value \"/\" during composition.",
        ),
        (
            json!("/a"),
            "Failed to parse action name from json value \"/a\" during composition.",
        ),
        (
            json!("a/b/c/d"),
            "Failed to parse action name from json value \"a/b/c/d\" during composition.",
        ),
        (
            json!(7),
            "Failed to parse action name from json value 7 during composition.",
        ),
    ] {
        let shown = action.to_string();
        bed.act(move |call| {
            let p = arguments(call);
            ok(match p.get("step") {
                None => json!({"action": action, "state": {"step": 1}}),
                Some(_) => json!({"params": {"caught": p["error"]}}),
            })
        });
        let got = bed.ask("POST", "/_/actions/c?blocking=true", NULL);
        assert_eq!(
            (got.status, &got.body["response"]["result"]),
            (200, &json!({"caught": error})),
            "{shown}"
        );
        assert_eq!(got.body["logs"].as_array().unwrap().len(), 2, "{shown}");
    }
    // What is published may be called, and its failure is a result like any other.
    bed.put("/_/packages/open", json!({"publish": true}));
    bed.put_action("open/a");
    let mut theirs = js("x");
    theirs["annotations"] = json!([{"key": "conductor", "value": 1}]);
    assert_eq!(bed.by(OTHER, "PUT", "/_/actions/c", theirs).status, 200);
    bed.act(|call| {
        let p = arguments(call);
        match (name(call).as_str(), p.get("step")) {
            ("a", _) => answer(502, "{\"error\":\"thrown\"}"),
            (_, None) => ok(json!({"action": "/guest/open/a", "state": {"step": 1}})),
            _ => ok(json!({"params": {"caught": p["error"]}})),
        }
    });
    let got = bed.by(
        OTHER,
        "POST",
        "/_/actions/c?blocking=true&result=true",
        NULL,
    );
    assert_eq!((got.status, got.body), (200, json!({"caught": "thrown"})));
}

#[test]
fn the_calls_of_a_composition_are_limited_with_all_that_it_composes() {
    let bed = Bed::new();
    bed.put_action("a");
    conductor(&bed, "endless");
    bed.act(|call| {
        ok(match name(call).as_str() {
            "a" => json!({}),
            _ => json!({"action": "a"}),
        })
    });
    let got = bed.ask("POST", "/_/actions/endless?blocking=true", NULL);
    let too_long = json!({"status": "application error", "success": false,
        "result": {"error": "Too many actions in the composition."}});
    assert_eq!((got.status, &got.body["response"]), (502, &too_long));
    assert_eq!(got.body["logs"].as_array().unwrap().len(), 50 + 101);

    let sent = bed.sent.borrow().len();
    bed.act(|_| ok(json!({"action": "endless"})));
    let got = bed.ask("POST", "/_/actions/endless?blocking=true", NULL);
    assert_eq!((got.status, &got.body["response"]), (502, &too_long));
    assert!(bed.sent.borrow().len() - sent <= 101);
}

/// Where on the stack the caller's frames are, about.
#[inline(never)]
fn stack_address() -> usize {
    let here = 0u8;
    std::hint::black_box(&raw const here).addr()
}

#[test]
fn compositions_in_one_another_leave_a_core_most_of_its_stack() {
    let bed = Bed::new();
    conductor(&bed, "deep");
    bed.put(
        "/_/actions/wide",
        json!({"exec": {"kind": "sequence", "components": ["/_/deep"]}}),
    );
    let lowest = std::rc::Rc::new(std::cell::Cell::new(usize::MAX));
    let seen = lowest.clone();
    bed.act(move |_| {
        seen.set(seen.get().min(stack_address()));
        ok(json!({"action": "wide"}))
    });
    let got = bed.ask("POST", "/_/actions/deep?blocking=true", NULL);
    assert_eq!(got.body["response"]["status"], "application error");
    // An image has 256 KiB for each core, and takes 80 of them: frames of this program, which is not optimized, are four times as large.
    let used = stack_address() - lowest.get();
    assert!(used < (4 * 96) << 10, "{used} bytes");
}

#[test]
fn compositions_and_sequences_are_components_of_one_another() {
    let bed = Bed::new();
    bed.put_action("a");
    conductor(&bed, "c");
    bed.put(
        "/_/actions/s",
        json!({"exec": {"kind": "sequence", "components": ["/_/a", "/_/c"]},
               "annotations": [{"key": "conductor", "value": true}]}),
    );
    bed.act(|call| {
        let p = arguments(call);
        ok(match (name(call).as_str(), p.get("step")) {
            ("a", _) => json!({"n": p["n"].as_i64().unwrap() + 1}),
            (_, None) => json!({"action": "a", "params": p, "state": {"step": 1}}),
            _ => json!({"params": {"n": p["n"]}}),
        })
    });
    let got = bed.ask("POST", "/_/actions/s?blocking=true", json!({"n": 0}));
    assert_eq!(
        (got.status, &got.body["response"]["result"]),
        (200, &json!({"n": 2}))
    );
    // A sequence has no say in what comes next.
    assert_eq!(annotation(&got.body, "conductor"), NULL);
    let inner = got.body["logs"][1].as_str().unwrap();
    let inner = bed.get(&format!("/_/activations/{inner}")).body;
    assert_eq!(
        (
            &inner["name"],
            annotation(&inner, "topmost"),
            annotation(&inner, "causedBy"),
            annotation(&inner, "conductor")
        ),
        (&json!("c"), json!(false), json!("sequence"), json!(true))
    );
    assert_eq!(inner["cause"], got.body["activationId"]);
    // A rule calls it as a request does.
    bed.put("/_/triggers/t", json!({}));
    bed.put("/_/rules/r", json!({"trigger": "/_/t", "action": "/_/c"}));
    bed.ask("POST", "/_/triggers/t", json!({"n": 5}));
    let primary = bed.get("/_/activations?name=c&docs=true").body;
    let results: Vec<_> = primary
        .as_array()
        .unwrap()
        .iter()
        .filter(|r| annotation(r, "topmost") == true)
        .map(|r| r["response"]["result"].clone())
        .collect();
    assert_eq!(results, [json!({"n": 6})]);
}
