//! Sequences (contract 3.8).

use crate::common::{Bed, answer, refused};
use serde_json::{Value, json};

const NULL: Value = Value::Null;

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
    bed.act(crate::common::echo);
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

fn annotation(record: &Value, key: &str) -> Value {
    record["annotations"]
        .as_array()
        .unwrap()
        .iter()
        .find(|a| a["key"] == key)
        .map_or(NULL, |a| a["value"].clone())
}

#[test]
fn the_answer_of_a_sequence_names_its_calls_and_the_largest_memory() {
    let bed = Bed::new();
    for (name, memory) in [("a", 128), ("b", 512)] {
        let mut action = crate::common::js("x");
        action["limits"] = json!({"memory": memory});
        bed.put(&format!("/_/actions/{name}"), action);
    }
    bed.put("/_/actions/inner", sequence(&["/_/a"]));
    bed.put("/_/actions/outer", sequence(&["/_/inner", "/_/b"]));
    let got = bed.ask("POST", "/_/actions/outer?blocking=true", json!({"n": 1}));
    assert_eq!(got.status, 200);
    let record = got.body;
    assert_eq!(record["logs"].as_array().unwrap().len(), 2);
    assert_eq!(
        (
            annotation(&record, "topmost"),
            annotation(&record, "causedBy")
        ),
        (json!(true), NULL)
    );
    assert_eq!(annotation(&record, "limits")["memory"], 512);
    assert_eq!(record["response"].get("size"), None);
    let stored = bed.get(&format!(
        "/_/activations/{}",
        record["activationId"].as_str().unwrap()
    ));
    assert_eq!(stored.body, record);
    let inner = bed
        .get(&format!(
            "/_/activations/{}",
            record["logs"][0].as_str().unwrap()
        ))
        .body;
    assert_eq!(
        (
            annotation(&inner, "topmost"),
            annotation(&inner, "causedBy")
        ),
        (json!(false), json!("sequence"))
    );
    assert_eq!(
        (
            &inner["cause"],
            annotation(&inner, "limits")["memory"].clone()
        ),
        (&record["activationId"], json!(128))
    );
}

#[test]
fn a_sequence_that_grew_too_long_ends_with_an_error() {
    let bed = Bed::new();
    bed.put_action("a");
    bed.put("/_/actions/inner", sequence(&["/_/a"]));
    bed.put("/_/actions/outer", sequence(&["/_/inner", "/_/inner"]));
    bed.put("/_/actions/inner?overwrite=true", sequence(&["/_/a"; 30]));
    let got = bed.ask("POST", "/_/actions/outer?blocking=true", json!({}));
    assert_eq!(
        (got.status, &got.body["response"]),
        (
            502,
            &json!({"status": "application error", "success": false,
                    "result": {"error": "Too many actions in the sequence."}})
        )
    );
    assert_eq!(bed.sent.borrow().len(), 50);
}

#[test]
fn a_sequence_whose_component_is_gone_says_so() {
    let bed = Bed::new();
    bed.put_action("a");
    bed.put("/_/actions/s", sequence(&["/_/a", "/_/a"]));
    bed.ask("DELETE", "/_/actions/a", NULL);
    let got = bed.ask("POST", "/_/actions/s?blocking=true&result=true", NULL);
    assert_eq!(
        (got.status, got.body),
        (502, json!({"error": "Sequence component does not exist."}))
    );
}

#[test]
fn a_sequence_does_not_reach_what_another_namespace_took_back() {
    use crate::common::OTHER;
    let bed = Bed::new();
    bed.put("/_/packages/p", json!({"publish": true}));
    bed.put_action("p/a");
    let put = bed.by(OTHER, "PUT", "/_/actions/s", sequence(&["/guest/p/a"]));
    assert_eq!(put.status, 200);
    let call = || bed.by(OTHER, "POST", "/_/actions/s?blocking=true", NULL);
    assert_eq!(call().status, 200);
    bed.put("/_/packages/p?overwrite=true", json!({"publish": false}));
    let got = call();
    assert_eq!(
        (got.status, got.error()),
        (
            403,
            "The supplied authentication is not authorized to access 'guest/p'."
        )
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
fn documents_that_are_no_sequences_are_refused() {
    let bed = Bed::new();
    bed.put_action("a");
    bed.put("/_/packages/pkg", json!({}));
    bed.put("/_/triggers/t", json!({}));
    refused! { bed;
        PUT "/_/actions/s", json!({"exec": {"kind": "sequence", "components": []}})
            => 400 "No component specified for the sequence.";
        PUT "/_/actions/s", json!({"exec": {"kind": "sequence"}})
            => 400 "The request content was malformed:\n'components' must be defined for sequence kind";
        PUT "/_/actions/s", json!({"exec": {"kind": "sequence", "components": "/_/a"}})
            => 400 "The request content was malformed:\n'components' must be an array";
        PUT "/_/actions/s", json!({"exec": {"kind": "sequence", "components": [7]}})
            => 400 "The request content was malformed:\nfully qualified name malformed";
        PUT "/_/actions/s", json!({"exec": {"kind": "sequence", "components": ["a"]}})
            => 400 "The request content was malformed:\nrequirement failed: The fully qualified name of the entity must contain";
        PUT "/_/actions/s", json!({"exec": {"kind": "sequence", "components": ["/_/none"]}})
            => 400 "Sequence component does not exist.";
        PUT "/_/actions/s", json!({"exec": {"kind": "sequence", "components": ["/_/s"]}})
            => 400 "Sequence may not refer to itself.";
        PUT "/_/actions/s", json!({"exec": {"kind": "sequence", "components": vec!["/_/a"; 51]}})
            => 400 "Too many actions in the sequence.";
    }
}
