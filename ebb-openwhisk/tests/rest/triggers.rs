//! Triggers and rules (contract 3.9).

use crate::common::{Bed, refused};
use serde_json::{Value, json};

const NULL: Value = Value::Null;

#[test]
fn a_trigger_calls_the_actions_of_its_active_rules() {
    let bed = Bed::new();
    bed.put_action("a");
    let trigger = bed.put(
        "/_/triggers/t",
        json!({"annotations": [], "parameters": [{"key": "p", "value": 1}]}),
    );
    assert_eq!(
        (&trigger["limits"], trigger.get("rules")),
        (&json!({}), None)
    );
    assert_eq!(bed.ask("POST", "/_/triggers/t", json!({})).status, 204);
    let rule = bed.put("/_/rules/r", json!({"trigger": "/_//t/", "action": "_/a"}));
    assert_eq!(rule["status"], "active");
    assert_eq!(
        (&rule["trigger"], &rule["action"]),
        (
            &json!({"path": "guest", "name": "t"}),
            &json!({"path": "guest", "name": "a"})
        )
    );
    assert_eq!(
        bed.get("/_/triggers/t").body["rules"],
        json!({"guest/r": {"action": {"path": "guest", "name": "a"}, "status": "active"}})
    );
    let got = bed.ask("POST", "/_/triggers/t", json!({"q": 2}));
    assert_eq!(got.status, 202);
    let mut value = bed.last_run()["value"].clone();
    assert!(
        value["__ow_headers"].is_object() && value["__ow_headers"].get("authorization").is_none()
    );
    value.as_object_mut().unwrap().remove("__ow_headers");
    assert_eq!(value, json!({"p": 1, "q": 2}));
    let record = bed
        .get(&format!(
            "/_/activations/{}",
            got.body["activationId"].as_str().unwrap()
        ))
        .body;
    assert_eq!(record["response"]["result"], json!({"q": 2}));
    assert!(record.get("end").is_none() && record.get("duration").is_none());
    let line: Value = serde_json::from_str(record["logs"][0].as_str().unwrap()).unwrap();
    assert_eq!(
        (
            &line["rule"],
            &line["action"],
            &line["success"],
            &line["statusCode"]
        ),
        (
            &json!("guest/r"),
            &json!("guest/a"),
            &json!(true),
            &json!(0)
        )
    );
    assert_eq!(
        bed.get(&format!(
            "/_/activations/{}",
            line["activationId"].as_str().unwrap()
        ))
        .body["name"],
        "a"
    );

    bed.ask("DELETE", "/_/actions/a", NULL);
    let got = bed.ask("POST", "/_/triggers/t", NULL);
    let record = bed
        .get(&format!(
            "/_/activations/{}",
            got.body["activationId"].as_str().unwrap()
        ))
        .body;
    let line: Value = serde_json::from_str(record["logs"][0].as_str().unwrap()).unwrap();
    assert_eq!(
        (&line["success"], line["error"].is_string()),
        (&json!(false), true)
    );
}

#[test]
fn rules_are_switched_changed_and_survive_their_trigger() {
    let bed = Bed::new();
    for name in ["a", "b"] {
        bed.put_action(name);
    }
    bed.put("/_/triggers/t", json!({}));
    bed.put("/_/triggers/u", json!({}));
    bed.put("/_/rules/r", json!({"trigger": "/_/t", "action": "/_/a"}));
    for status in ["inactive", " inactive ", "active"] {
        assert_eq!(
            bed.ask("POST", "/_/rules/r", json!({"status": status}))
                .status,
            200
        );
        assert_eq!(bed.get("/_/rules/r").body["status"], status.trim());
    }
    // Source: `Status.serdesRestricted` (`WhiskRule.scala`).
    for (status, text) in [
        (
            json!({"status": "half"}),
            "requirement failed: half is not a recognized rule state",
        ),
        (json!({}), "key not found: status"),
    ] {
        let got = bed.ask("POST", "/_/rules/r", status);
        let text = format!("The request content was malformed:\n{text}");
        assert_eq!((got.status, got.error()), (400, text.as_str()));
    }
    let moved = bed.put(
        "/_/rules/r?overwrite=true",
        json!({"trigger": "/_/u", "action": "/_/b"}),
    );
    assert_eq!(
        (&moved["version"], &moved["trigger"]["name"]),
        (&json!("0.0.2"), &json!("u"))
    );
    assert_eq!(bed.ask("POST", "/_/triggers/t", NULL).status, 204);
    assert_eq!(bed.ask("POST", "/_/triggers/u", NULL).status, 202);
    bed.ask("POST", "/_/rules/r", json!({"status": "inactive"}));
    assert_eq!(bed.ask("POST", "/_/triggers/u", NULL).status, 204);
    bed.ask("POST", "/_/rules/r", json!({"status": "active"}));
    bed.ask("DELETE", "/_/triggers/u", NULL);
    assert_eq!(bed.get("/_/rules/r").body["status"], "inactive");
    assert_eq!(bed.get("/_/rules").body[0]["status"], "inactive");
    let deleted = bed.ask("DELETE", "/_/rules/r", NULL);
    assert_eq!(
        (deleted.status, &deleted.body["status"]),
        (200, &json!("inactive"))
    );
}

#[test]
fn a_disabled_rule_stays_disabled_when_it_is_updated() {
    let bed = Bed::new();
    for name in ["a", "b"] {
        bed.put_action(name);
    }
    for name in ["t", "u"] {
        bed.put(&format!("/_/triggers/{name}"), json!({}));
    }
    bed.put("/_/rules/r", json!({"trigger": "/_/t", "action": "/_/a"}));
    bed.ask("POST", "/_/rules/r", json!({"status": "inactive"}));
    for update in [
        json!({"annotations": [{"key": "x", "value": 1}]}),
        json!({"action": "/_/b"}),
        json!({"trigger": "/_/u", "action": "/_/a"}),
        json!({"publish": true}),
        json!({"status": "active"}),
    ] {
        let updated = bed.put("/_/rules/r?overwrite=true", update.clone());
        assert_eq!(updated["status"], "inactive", "{update}");
        assert_eq!(bed.get("/_/rules/r").body["status"], "inactive", "{update}");
    }
    assert_eq!(bed.ask("POST", "/_/triggers/u", NULL).status, 204);
    assert_eq!(
        bed.get("/_/triggers/u").body["rules"]["guest/r"]["status"],
        "inactive"
    );
    assert_eq!(bed.get("/_/triggers/t").body.get("rules"), None);
    bed.ask("POST", "/_/rules/r", json!({"status": "active"}));
    let updated = bed.put("/_/rules/r?overwrite=true", json!({"action": "/_/b"}));
    assert_eq!(updated["status"], "active");
}

#[test]
fn a_rule_that_lost_its_trigger_comes_back_inactive() {
    let bed = Bed::new();
    bed.put_action("a");
    bed.put("/_/triggers/t", json!({}));
    bed.put("/_/rules/r", json!({"trigger": "/_/t", "action": "/_/a"}));
    bed.ask("DELETE", "/_/triggers/t", NULL);
    bed.refuses(
        "POST",
        "/_/rules/r",
        json!({"status": "active"}),
        404,
        "Only rules with existing triggers can be activated",
    );
    assert_eq!(
        bed.ask("POST", "/_/rules/r", json!({"status": "inactive"}))
            .status,
        200
    );
    bed.put("/_/triggers/t", json!({}));
    assert_eq!(bed.get("/_/rules/r").body["status"], "inactive");
    let updated = bed.put("/_/rules/r?overwrite=true", json!({"trigger": "/_/t"}));
    assert_eq!(updated["status"], "inactive");
    assert_eq!(bed.ask("POST", "/_/triggers/t", NULL).status, 204);
}

#[test]
fn the_record_of_a_trigger_shows_what_it_was_fired_with_and_what_each_rule_did() {
    let bed = Bed::new();
    bed.put_action("a");
    bed.put("/_/actions/gone", crate::common::js("x"));
    let mut fixed = crate::common::js("x");
    fixed["annotations"] = json!([{"key": "final", "value": true}]);
    fixed["parameters"] = json!([{"key": "q", "value": 1}]);
    bed.put("/_/actions/fixed", fixed);
    bed.put(
        "/_/triggers/t",
        json!({"parameters": [{"key": "secret", "value": "s"}]}),
    );
    for (rule, action) in [
        ("fixed", "fixed"),
        ("gone", "gone"),
        ("off", "a"),
        ("on", "a"),
    ] {
        bed.put(
            &format!("/_/rules/by-{rule}"),
            json!({"trigger": "/_/t", "action": format!("/_/{action}")}),
        );
    }
    bed.ask("POST", "/_/rules/by-off", json!({"status": "inactive"}));
    bed.ask("DELETE", "/_/actions/gone", NULL);
    let got = bed.ask("POST", "/_/triggers/t", json!({"q": 2}));
    assert_eq!(got.status, 202);
    let id = got.body["activationId"].as_str().unwrap();
    assert_eq!(got.header("x-openwhisk-activation-id"), id);
    let record = bed.get(&format!("/_/activations/{id}")).body;
    assert_eq!(
        (&record["response"], &record["annotations"]),
        (
            &json!({"status": "success", "success": true, "result": {"q": 2}}),
            &json!([])
        )
    );
    let lines: Vec<Value> = record["logs"]
        .as_array()
        .unwrap()
        .iter()
        .map(|line| serde_json::from_str(line.as_str().unwrap()).unwrap())
        .collect();
    let failed = |rule: &str, action: &str, error: &str| {
        json!({"rule": format!("guest/by-{rule}"), "action": format!("guest/{action}"),
               "statusCode": 1, "success": false, "error": error})
    };
    assert_eq!(
        lines[..3],
        [
            failed(
                "fixed",
                "fixed",
                "Request defines parameters that are not allowed (e.g., reserved properties)."
            ),
            failed("gone", "gone", "The requested resource does not exist."),
            failed(
                "off",
                "a",
                "Rule 'guest/by-off' is inactive, action 'guest/a' was not activated."
            ),
        ]
    );
    assert_eq!(
        (&lines[3]["statusCode"], &lines[3]["success"]),
        (&json!(0), &json!(true))
    );
    assert_eq!(lines[3]["activationId"].as_str().unwrap().len(), 32);
    assert_eq!(bed.last_run()["value"]["secret"], "s");
    let empty = bed.ask("POST", "/_/triggers/t", NULL);
    let id = empty.body["activationId"].as_str().unwrap();
    let record = bed.get(&format!("/_/activations/{id}")).body;
    assert_eq!(record["response"]["result"], json!({}));
}

#[test]
fn documents_that_are_no_rules_are_refused() {
    let bed = Bed::new();
    bed.put_action("a");
    bed.put("/_/packages/pkg", json!({}));
    bed.put("/_/triggers/t", json!({}));
    refused! { bed;
        GET "/_/triggers/a" => 409 "Resource by this name exists but is not in this collection.";
        PUT "/_/rules/a", json!({"trigger": "/_/t", "action": "/_/a"}) => 409 "Resource by this name exists";
        PUT "/_/rules/r", json!({"trigger": "/_/none", "action": "/_/a"}) => 400 "trigger /guest/none does not exist";
        PUT "/_/rules/r", json!({"trigger": "/_/t", "action": "/_/none"}) => 400 "action /guest/none does not exist";
        PUT "/_/rules/r", json!({"trigger": "/_/t"}) => 400 "rule requires a valid trigger and a valid action";
    }
}
