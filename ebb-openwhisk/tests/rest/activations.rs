//! Records of calls (contract 2.5, 3.6).

use crate::common::{Bed, refused};
use serde_json::{Value, json};

const NULL: Value = Value::Null;

#[test]
fn activations_are_filtered_by_name_and_time() {
    let bed = Bed::new();
    bed.put("/_/packages/p", json!({}));
    for name in ["a", "b", "p/a"] {
        bed.put_action(name);
    }
    let mut starts = Vec::new();
    for name in ["a", "b", "p/a", "a"] {
        bed.now.set(bed.now.get() + 1000);
        let got = bed.ask("POST", &format!("/_/actions/{name}?blocking=true"), NULL);
        starts.push(got.body["start"].as_u64().unwrap());
    }
    let listed = |query: &str| -> Vec<u64> {
        let body = bed.get(&format!("/_/activations?{query}")).body;
        body.as_array()
            .unwrap()
            .iter()
            .map(|r| r["start"].as_u64().unwrap())
            .collect()
    };
    assert_eq!(listed(""), [starts[3], starts[2], starts[1], starts[0]]);
    assert_eq!(listed("name=b"), [starts[1]]);
    // One in a package is found with it only, and by its binding's name if it was called through that.
    assert_eq!(listed("name=a"), [starts[3], starts[0]]);
    assert_eq!(listed("name=p%2Fa"), [starts[2]]);
    assert_eq!(
        listed(&format!("since={}&upto={}", starts[1], starts[2])),
        [starts[2], starts[1]]
    );
    assert_eq!(listed("limit=1&skip=1"), [starts[2]]);
    assert_eq!(
        bed.get("/_/activations?count=true").body,
        json!({"activations": 4})
    );
    // Names with further slashes; times before the epoch; flags in any case, and such as say nothing.
    assert_eq!(listed("name=/p//a"), [starts[2]]);
    assert_eq!(listed("name=%20").len(), 4);
    assert_eq!(listed("since=-5").len(), 4);
    assert!(listed("upto=-5").is_empty());
    for count in [
        "count=TRUE",
        "count=1",
        "count=on&docs=false",
        "count=true&docs=",
    ] {
        let got = bed.get(&format!("/_/activations?{count}"));
        assert_eq!(got.body, json!({"activations": 4}), "{count}");
    }
    for list in ["count=0", "count=No", "count=", "count"] {
        assert_eq!(listed(list).len(), 4, "{list}");
    }
    let element = bed.get("/_/activations?limit=1").body[0].clone();
    assert!(element.get("response").is_none() && element.get("logs").is_none());
    let full = bed.get("/_/activations?limit=1&docs=true").body[0].clone();
    assert!(full["response"].is_object() && full["logs"].is_array());
}

#[test]
fn records_are_forgotten_oldest_first_and_memory_stays_bounded() {
    let bed = Bed::new();
    bed.put_action("a");
    let big = json!({"x": "y".repeat(500_000)});
    let first = bed.ask("POST", "/_/actions/a", big.clone());
    for _ in 0..40 {
        bed.ask("POST", "/_/actions/a", big.clone());
    }
    assert!(bed.controller.borrow().activations().bytes() <= 10 << 20);
    let id = first.header("x-openwhisk-activation-id");
    assert_eq!(bed.get(&format!("/_/activations/{id}")).status, 404);
    let last = bed.get("/_/activations?limit=1").body[0]["activationId"].clone();
    assert_eq!(
        bed.get(&format!("/_/activations/{}", last.as_str().unwrap()))
            .status,
        200
    );
}

#[test]
fn queries_for_records_are_checked() {
    let bed = Bed::new();
    bed.put_action("a");
    bed.put("/_/packages/pkg", json!({}));
    bed.put("/_/triggers/t", json!({}));
    refused! { bed;
        GET "/_/activations?since=x"
            => 400 "The query parameter 'since' was malformed:\nParameter is not a valid value for epoch seconds: x";
        GET "/_/activations?upto=1.5" => 400 "The query parameter 'upto' was malformed:";
        GET "/_/activations?upto=" => 400 "The query parameter 'upto' was malformed:";
        GET "/_/activations?name=a/b/c"
            => 400 "The query parameter 'name' was malformed:\nParameter may be a 'simple' name or 'package-name/simple' name: a/b/c";
        GET "/_/activations?name=$" => 400 "The query parameter 'name' was malformed:";
        GET "/_/activations?count=2" => 400 "The query parameter 'count' was malformed:\n'2' is not a valid Boolean value";
        GET "/_/activations?limit=3000000000"
            => 400 "The query parameter 'limit' was malformed:\nThe value '3000000000' is not an integer for activations.";
        GET "/_/activations?skip=" => 400 "The query parameter 'skip' was malformed:\nThe value '' is not an integer for activations.";
        GET "/_/activations?skip=-1"
            => 400 "The query parameter 'skip' was malformed:\nThe value '-1' is not greater than or equal to 0 for activations.";
        GET "/_/activations?count=true&docs=true" => 400 "The parameter 'docs' is not permitted with 'count'.";
        GET "/_/activations/abc" => 400 "Activation id length is 3 but must be 32.";
        GET "/_/activations/zzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzz" => 400 "The activation id is not valid.";
        GET "/_/activations/00000000000000000000000000000000" => 404 "The requested resource does not exist.";
        DELETE "/_/activations/00000000000000000000000000000000" => 405 "HTTP method not allowed";
    }
}

/// Source: `whisks_design_document_for_activations_db_v2.1.0.json` and `.._filters_v2.1.1.json` of apache/openwhisk.
#[test]
fn elements_of_lists_are_those_of_openwhisks_views() {
    let bed = Bed::new();
    bed.put("/_/packages/p", json!({}));
    bed.put(
        "/_/packages/q",
        json!({"binding": {"namespace": "_", "name": "p"}}),
    );
    bed.put_action("p/a");
    let components = json!({"kind": "sequence", "components": ["/_/p/a", "/_/q/a"]});
    bed.put("/_/actions/s", json!({"exec": components}));
    bed.put("/_/triggers/t", json!({}));
    bed.put("/_/rules/r", json!({"trigger": "/_/t", "action": "/_/p/a"}));
    bed.ask("POST", "/_/actions/q/a?blocking=true", NULL);
    bed.ask("POST", "/_/actions/s?blocking=true", NULL);
    bed.ask("POST", "/_/triggers/t", NULL);
    // Two components, the call through the binding, and that of the rule.
    let count = |name: &str| {
        bed.get(&format!("/_/activations?count=true&name={name}"))
            .body
    };
    for (name, expected) in [("a", 0), ("p/a", 2), ("q/a", 2), ("s", 1), ("t", 1)] {
        assert_eq!(count(name), json!({"activations": expected}), "{name}");
    }
    let list = |name: &str| bed.get(&format!("/_/activations?name={name}")).body[0].take();
    let sequence = list("s");
    let time = |member: &str| sequence[member].as_u64().unwrap();
    assert_eq!(time("duration"), time("end") - time("start"));
    assert_eq!(sequence["statusCode"], 0);
    assert!(sequence.get("subject").is_none() && sequence.get("logs").is_none());
    let trigger = list("t");
    for absent in ["end", "duration", "statusCode"] {
        assert!(trigger.get(absent).is_none(), "{absent}: {trigger}");
    }
    assert_eq!(list("q/a")["cause"], sequence["activationId"]);
}
