//! Calls: what is sent to instances, what becomes of their answers (contract 2.1 to 2.3, 3.5).

use crate::common::{API_HOST, Bed, GUEST, OTHER, answer, js, refused, without};
use ebb_openwhisk::activation::Answer;
use serde_json::{Value, json};

const NULL: Value = Value::Null;

#[test]
fn a_blocking_call_answers_the_record_and_keeps_it() {
    let bed = Bed::new();
    bed.put_action("greet");
    *bed.logs.borrow_mut() = vec!["2025-10-09T08:53:20.123456789Z stdout: hello".into()];
    let received = bed.now.get() + 1;
    let got = bed.ask(
        "POST",
        "/_/actions/greet?blocking=true",
        json!({"hi": "ada"}),
    );
    assert_eq!(got.status, 200);
    let id = got.header("x-openwhisk-activation-id").to_owned();
    assert_eq!(id.len(), 32);
    let mut expected = json!({
        "activationId": id, "name": "greet", "namespace": "guest", "subject": "guest", "version": "0.0.1", "publish": false,
        "start": received + 5, "end": received + 17, "duration": 12, "logs": [],
        "annotations": [
            {"key": "path", "value": "guest/greet"}, {"key": "kind", "value": "nodejs:20"},
            {"key": "limits", "value": {"timeout": 60000, "memory": 256, "logs": 10, "concurrency": 1}},
            {"key": "timeout", "value": false}, {"key": "waitTime", "value": 5}, {"key": "initTime", "value": 3}],
        "response": {"status": "success", "success": true, "result": {"hi": "ada"}, "size": 12},
    });
    assert_eq!(got.body, expected);
    expected["logs"] = json!(["2025-10-09T08:53:20.123456789Z stdout: hello"]);
    assert_eq!(bed.get(&format!("/_/activations/{id}")).body, expected);
    assert_eq!(
        bed.get(&format!("/_/activations/{id}/logs")).body,
        json!({"logs": expected["logs"]})
    );
    assert_eq!(
        bed.get(&format!("/_/activations/{id}/result")).body,
        expected["response"]
    );
    assert_eq!(bed.get(&format!("/_/activations/{id}/else")).status, 404);
    assert_eq!(
        bed.by(OTHER, "GET", &format!("/_/activations/{id}"), NULL)
            .status,
        404
    );
}

#[test]
fn other_calls_answer_the_id_or_the_result() {
    let bed = Bed::new();
    bed.put_action("greet");
    let got = bed.ask("POST", "/_/actions/greet?result=true", json!({"a": 1}));
    assert_eq!(got.status, 202);
    assert_eq!(
        got.body,
        json!({"activationId": got.header("x-openwhisk-activation-id")})
    );
    let got = bed.ask(
        "POST",
        "/_/actions/greet?blocking=true&result=true",
        json!({"a": 1}),
    );
    assert_eq!((got.status, got.body), (200, json!({"a": 1})));
    bed.act(|_| answer(200, "[1,2]"));
    let got = bed.ask("POST", "/_/actions/greet?blocking=true", NULL);
    assert_eq!((got.status, got.body), (200, json!([1, 2])));
}

#[test]
fn each_answer_of_an_instance_becomes_its_response() {
    let bed = Bed::new();
    bed.put_action("a");
    let developer = "action developer error";
    let invalid = "The action did not produce a valid JSON or JSON Array response: ";
    let big = format!("{{\"x\":\"{}\"}}", "y".repeat(1 << 20));
    let init = |body: &str| Answer::InitFailed {
        status: 502,
        body: body.as_bytes().to_vec(),
    };
    let rows: Vec<(Answer, u16, &str, u8, Value)> = vec![
        (answer(200, "{\"a\":1}"), 200, "success", 0, json!({"a": 1})),
        (
            answer(200, "{\"error\":\"e\",\"b\":1}"),
            502,
            "application error",
            1,
            json!({"error": "e"}),
        ),
        (
            answer(200, "{\"error\":null}"),
            502,
            "application error",
            1,
            json!({"error": null}),
        ),
        (
            answer(200, "null"),
            502,
            developer,
            2,
            json!({"error": format!("{invalid}null")}),
        ),
        (
            answer(200, "7"),
            502,
            developer,
            2,
            json!({"error": format!("{invalid}7")}),
        ),
        (
            answer(200, ""),
            502,
            developer,
            2,
            json!({"error": "The action did not produce a valid JSON or JSON Array response."}),
        ),
        (
            answer(200, "{oops"),
            502,
            developer,
            2,
            json!({"error": format!("{invalid}{{oops")}),
        ),
        (
            answer(
                502,
                "{\"error\":\"The action did not return a dictionary.\"}",
            ),
            502,
            developer,
            2,
            json!({"error": "The action did not return a dictionary."}),
        ),
        (
            answer(500, "[1]"),
            502,
            developer,
            2,
            json!({"error": format!("{invalid}[1]")}),
        ),
        (
            init("{\"error\":\"Initialization has failed due to: x\"}"),
            502,
            developer,
            2,
            json!({"error": "Initialization has failed due to: x"}),
        ),
        (
            init("junk"),
            502,
            developer,
            2,
            json!({"error": "The action failed during initialization: junk"}),
        ),
        (
            init(""),
            502,
            developer,
            2,
            json!({"error": "The action failed during initialization."}),
        ),
        (
            Answer::RunLost,
            502,
            developer,
            2,
            json!({"error": "The action did not produce a valid response and exited unexpectedly."}),
        ),
        (
            Answer::InitLost,
            502,
            developer,
            2,
            json!({"error": "The action did not initialize and exited unexpectedly."}),
        ),
        (
            Answer::RunTimeout,
            502,
            developer,
            2,
            json!({"error": "The action exceeded its time limits of 60000 milliseconds."}),
        ),
        (
            Answer::InitTimeout,
            502,
            developer,
            2,
            json!({"error": "The action exceeded its time limits of 60000 milliseconds during initialization."}),
        ),
        (
            Answer::OutOfMemory,
            502,
            developer,
            2,
            json!({"error": "The action exhausted its memory and was aborted."}),
        ),
        (
            Answer::Fault("no room".into()),
            500,
            "whisk internal error",
            3,
            json!({"error": "no room"}),
        ),
    ];
    for (answer, http, status, code, result) in rows {
        let size = match &answer {
            Answer::Run { body, .. } | Answer::InitFailed { body, .. } => json!(body.len()),
            _ => NULL,
        };
        let timed_out = answer.timed_out();
        let shown = format!("{answer:?}");
        bed.act(move |_| answer.clone());
        let got = bed.ask("POST", "/_/actions/a?blocking=true", NULL);
        assert_eq!(got.status, http, "{shown}");
        let response = &got.body["response"];
        assert_eq!(response["status"], status, "{shown}");
        assert_eq!(response["success"], code == 0, "{shown}");
        assert_eq!(response["result"], result, "{shown}");
        assert_eq!(response["size"], size, "{shown}");
        assert!(response.get("statusCode").is_none());
        let id = got.header("x-openwhisk-activation-id");
        let listed = bed.get("/_/activations?limit=1").body[0].clone();
        assert_eq!(
            (&listed["activationId"], &listed["statusCode"]),
            (&json!(id), &json!(code)),
            "{shown}"
        );
        let timeout = got.body["annotations"]
            .as_array()
            .unwrap()
            .iter()
            .find(|a| a["key"] == "timeout")
            .unwrap();
        assert_eq!(timeout["value"], timed_out, "{shown}");
    }
    for (too_long, status) in [
        (answer(200, &big), "application error"),
        (init(&big), developer),
    ] {
        bed.act(move |_| too_long.clone());
        let got = bed.ask("POST", "/_/actions/a?blocking=true", NULL);
        let response = &got.body["response"];
        assert_eq!((got.status, &response["status"]), (502, &json!(status)));
        assert_eq!(response["size"], 1_048_584);
        assert!(response["result"]["error"].as_str().unwrap().starts_with(
            "The action produced a response that exceeded the allowed length: 1048584 > 1048576 bytes. The truncated response was: {\"x\":\"yyy"
        ));
    }
}

#[test]
fn parameters_merge_from_package_to_call() {
    let bed = Bed::new();
    let kv = |pairs: &[(&str, &str)]| -> Value {
        pairs
            .iter()
            .map(|(k, v)| json!({"key": k, "value": v}))
            .collect()
    };
    bed.put("/_/packages/p", json!({"parameters": kv(&[("a", "package"), ("b", "package"), ("c", "package"), ("d", "package")])}));
    bed.put("/_/packages/bound", json!({"binding": {"namespace": "_", "name": "p"}, "parameters": kv(&[("b", "binding"), ("c", "binding"), ("d", "binding")])}));
    let mut action = js("x");
    action["parameters"] = kv(&[("c", "action"), ("d", "action")]);
    bed.put("/_/actions/p/a", action);
    let got = bed.ask(
        "POST",
        "/_/actions/bound/a?blocking=true&result=true",
        json!({"d": "call"}),
    );
    assert_eq!(
        got.body,
        json!({"a": "package", "b": "binding", "c": "action", "d": "call"})
    );
    let record = got.record.unwrap();
    assert_eq!(
        record.annotations.get("binding").unwrap().as_str(),
        "\"guest/bound\""
    );
    assert_eq!(
        record.annotations.get("path").unwrap().as_str(),
        "\"guest/p/a\""
    );
    let document = bed.get("/_/actions/bound/a").body;
    assert_eq!(document["parameters"].as_array().unwrap().len(), 4);
    assert_eq!(bed.last_run()["action_name"], "/guest/p/a");
}

#[test]
fn init_parameters_go_to_the_environment_only() {
    let bed = Bed::new();
    let mut action = js("x");
    action["exec"]["main"] = json!("handler");
    action["parameters"] = json!([
        {"key": "S", "value": "text", "init": true}, {"key": "N", "value": null, "init": true},
        {"key": "B", "value": false, "init": true}, {"key": "F", "value": 1.5, "init": true},
        {"key": "O", "value": {"a": [1, "x y"]}, "init": true}, {"key": "plain", "value": 1}]);
    bed.put("/_/actions/a", action);
    let got = bed.ask(
        "POST",
        "/_/actions/a?blocking=true&result=true",
        json!({"S": "sent", "q": 2}),
    );
    assert_eq!(got.body, json!({"plain": 1, "q": 2}));
    let init = bed.last_init()["value"].clone();
    assert_eq!(
        (&init["name"], &init["main"], &init["code"], &init["binary"]),
        (&json!("a"), &json!("handler"), &json!("x"), &json!(false))
    );
    let env = without(
        init["env"].clone(),
        &["__OW_ACTIVATION_ID", "__OW_TRANSACTION_ID", "__OW_DEADLINE"],
    );
    assert_eq!(
        env,
        json!({"S": "text", "N": "", "B": "false", "F": "1.5", "O": "{\"a\":[1,\"x y\"]}",
        "__OW_NAMESPACE": "guest", "__OW_ACTION_NAME": "/guest/a", "__OW_ACTION_VERSION": "0.0.1", "__OW_API_HOST": API_HOST})
    );
}

#[test]
fn a_run_is_told_who_what_and_until_when() {
    let bed = Bed::new();
    bed.put_action("a");
    let got = bed.ask("POST", "/_/actions/a", json!({"x": 1}));
    let run = bed.last_run();
    assert_eq!(run["value"], json!({"x": 1}));
    assert_eq!(run["namespace"], "guest");
    assert_eq!(
        (&run["action_name"], &run["action_version"]),
        (&json!("/guest/a"), &json!("0.0.1"))
    );
    assert_eq!(
        run["activation_id"],
        got.header("x-openwhisk-activation-id")
    );
    assert_eq!(run["transaction_id"], got.header("x-request-id"));
    assert_eq!(run["deadline"], (bed.now.get() + 60_000).to_string());
    assert!(run.get("api_key").is_none(), "not granted unless asked for");
    let mut keyed = js("x");
    keyed["annotations"] = json!([{"key": "provide-api-key", "value": true}]);
    bed.put("/_/actions/keyed", keyed);
    bed.ask("POST", "/_/actions/keyed", NULL);
    assert_eq!(bed.last_run()["api_key"], GUEST);
    assert_eq!(bed.last_init()["value"]["env"]["__OW_API_KEY"], GUEST);
}

#[test]
fn final_parameters_cannot_be_overridden() {
    let bed = Bed::new();
    let mut action = js("x");
    action["annotations"] = json!([{"key": "final", "value": true}]);
    action["parameters"] = json!([{"key": "set", "value": 1}, {"key": "open", "value": null}]);
    bed.put("/_/actions/a", action);
    let got = bed.ask("POST", "/_/actions/a", json!({"set": 2}));
    assert_eq!(
        (got.status, got.error()),
        (
            400,
            "Request defines parameters that are not allowed (e.g., reserved properties)."
        )
    );
    assert_eq!(
        bed.ask("POST", "/_/actions/a", json!({"open": 2})).status,
        202
    );
}

#[test]
fn an_update_gets_instances_of_its_own() {
    let bed = Bed::new();
    bed.put_action("a");
    let keys = std::rc::Rc::new(std::cell::RefCell::new(Vec::new()));
    let seen = keys.clone();
    bed.act(move |call| {
        seen.borrow_mut().push(call.key());
        answer(200, "{}")
    });
    bed.ask("POST", "/_/actions/a", NULL);
    bed.ask("POST", "/_/actions/a", NULL);
    bed.put("/_/actions/a?overwrite=true", json!({"version": "0.0.1"}));
    bed.ask("POST", "/_/actions/a", NULL);
    bed.ask("DELETE", "/_/actions/a", NULL);
    bed.put_action("a");
    bed.ask("POST", "/_/actions/a", NULL);
    bed.by(OTHER, "POST", "/whisk.system/actions/utils/echo", NULL);
    bed.ask("POST", "/whisk.system/actions/utils/echo", NULL);
    let keys = keys.borrow();
    assert_eq!(keys[0], keys[1]);
    for (at, key) in keys.iter().enumerate().skip(2) {
        assert!(keys[1..at].iter().all(|k| k != key), "{keys:?}");
    }
}

#[test]
fn calls_that_cannot_be_made_are_refused() {
    let bed = Bed::new();
    bed.put_action("a");
    bed.put("/_/packages/pkg", json!({}));
    bed.put("/_/triggers/t", json!({}));
    let big = "x".repeat(1 << 20);
    refused! { bed;
        POST "/_/actions/a", json!({"big": big}) => 413 "Request larger than allowed: 1048586 > 1048576 bytes.";
        POST "/_/actions/a", json!([1]) => 400 "The request content was malformed:";
        POST "/_/actions/a", json!("text") => 400 "The request content was malformed:";
        POST "/_/actions/a?timeout=0"
            => 400 "The query parameter 'timeout' was malformed:\nTimeout must be number of milliseconds up to 60000.";
        POST "/_/actions/a?timeout=60001" => 400 "The query parameter 'timeout' was malformed:";
        POST "/_/actions/a?blocking=7" => 400 "The query parameter 'blocking' was malformed:";
    }
}

#[test]
fn what_is_wrong_with_a_body_is_told_behind_a_missing_package_and_before_a_missing_entity() {
    let bed = Bed::new();
    bed.put_action("a");
    bed.put("/_/packages/pkg", json!({}));
    let no_body = "The request content was malformed:";
    let absent = "The requested resource does not exist.";
    refused! { bed;
        POST "/_/actions/none", json!([1]) => 400 no_body;
        POST "/_/actions/none", json!({}) => 404 absent;
        POST "/_/actions/none?timeout=0", json!([1]) => 400 "The query parameter 'timeout' was malformed:";
        POST "/_/actions/pkg/none", json!([1]) => 400 no_body;
        POST "/_/actions/none/a", json!([1]) => 404 absent;
        POST "/other/actions/a", json!([1]) => 403 "The supplied authentication is not authorized";
        POST "/other/actions/pkg/a", json!([1]) => 403 "The supplied authentication is not authorized";
        POST "/_/triggers/none", json!([1]) => 400 no_body;
        POST "/_/triggers/none", json!({}) => 404 absent;
        PUT "/_/actions/none/a", json!([1]) => 404 absent;
        PUT "/_/actions/a", json!({"exec": {"kind": "none", "code": ""}}) => 400 "The request content was malformed:\nThe specified runtime 'none' is not supported";
        PUT "/_/actions/a", json!({}) => 409 "resource already exists";
    }
    // On the web the action comes first.
    let headers = [("Content-Type", "application/json")];
    let got = bed.raw("POST", "/api/v1/web/guest/default/none", &headers, b"{");
    assert_eq!(got.status, 404);
}
