//! What a core answers by itself: it is what the controller would have answered, and nothing that was changed.

use crate::common::{ADMIN, Bed, GUEST, OTHER, basic, block_on, js};
use ebb_openwhisk::http::Request;
use ebb_openwhisk::limits::NamespaceLimits;
use ebb_openwhisk::{Step, perform};
use serde_json::{Value, json};

const CALL: &str = "/_/actions/hello?blocking=true&result=true";

/// Shows `f` a call of an action.
fn request<R>(key: &str, target: &str, body: &str, f: impl FnOnce(&Request<'_>) -> R) -> R {
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let path = format!("/api/v1/namespaces{path}");
    let auth = basic(key);
    f(&Request {
        method: "POST",
        path: &path,
        query,
        headers: &[
            ("Authorization", &auth),
            ("Content-Type", "application/json"),
            ("X-Request-ID", "request"),
        ],
        body: body.as_bytes(),
        code: None,
    })
}

/// What the desk whose turn it is answers by itself.
fn alone(bed: &Bed, key: &str, target: &str, body: &str) -> Option<Step> {
    let now_ms = bed.now.get();
    request(key, target, body, |asked| {
        bed.desk(|desk| desk.handle(asked, now_ms))
    })
}

/// The code that such a call would run.
fn code(bed: &Bed, key: &str) -> Option<String> {
    let step = alone(bed, key, CALL, "{}")?;
    let Step::Invoke(ebb_openwhisk::Plan::Action(call), reply) = step else {
        panic!("{step:?}");
    };
    bed.end(&reply.admission);
    Some(call.code().unwrap().code.as_str().into())
}

/// Whether the desk whose turn it is has such a call's body received.
fn admits(bed: &Bed, key: &str) -> bool {
    request(key, CALL, "", |asked| {
        bed.desk(|desk| desk.admit(asked).is_some())
    })
}

/// Has the desks of both cores remember the call.
fn warm(bed: &Bed, key: &str) {
    for _ in 0..2 {
        assert_eq!(bed.by(key, "POST", CALL, json!({})).status, 200);
    }
}

#[test]
fn a_desk_plans_a_call_as_the_controller_does() {
    let bed = Bed::new();
    bed.put(
        "/_/packages/pack",
        json!({"parameters": [{"key": "p", "value": 1}], "publish": true}),
    );
    bed.put("/_/packages/bound", json!({"binding": {"namespace": "guest", "name": "pack"}, "parameters": [{"key": "q", "value": 2}]}));
    let mut action = js("function main(p) { return p }");
    action["parameters"] =
        json!([{"key": "r", "value": 3}, {"key": "env", "value": "x", "init": true}]);
    bed.put("/_/actions/pack/hello", action);
    bed.put_action("hello");
    for target in [
        CALL,
        "/_/actions/bound/hello?blocking=true",
        "/guest/actions/pack/hello",
    ] {
        for body in ["", "{}", r#"{"a":[1,2],"q":"own"}"#] {
            for _ in 0..2 {
                let parsed = serde_json::from_str(body).unwrap_or(Value::Null);
                bed.by(GUEST, "POST", target, parsed);
            }
            let by_desk = alone(&bed, GUEST, target, body).expect("it is known");
            let by_all = request(GUEST, target, body, |asked| {
                bed.with_desk(|controller, _| controller.handle(asked, bed.now.get()))
            });
            let (Step::Invoke(own, own_reply), Step::Invoke(all, all_reply)) = (by_desk, by_all)
            else {
                panic!("{target} is a call");
            };
            // They differ in the ids that they draw.
            let (own_id, all_id) = (own.activation().to_owned(), all.activation().to_owned());
            assert_ne!(own_id, all_id);
            let same = |text: String, id: &str| text.replace(id, "ID");
            assert_eq!(
                same(format!("{own:?}"), &own_id),
                same(format!("{all:?}"), &all_id)
            );
            assert_eq!(
                same(format!("{own_reply:?}"), &own_id),
                same(format!("{all_reply:?}"), &all_id)
            );
            bed.end(&own_reply.admission);
            bed.end(&all_reply.admission);
        }
    }
}

#[test]
fn a_change_is_seen_by_the_next_call_on_every_core() {
    let bed = Bed::new();
    let changes: [(&str, &str, Value); 4] = [
        ("PUT", "/_/actions/hello?overwrite=true", js("two")),
        ("DELETE", "/_/actions/hello", Value::Null),
        ("PUT", "/_/packages/any", json!({})),
        ("PUT", "/_/actions/other", js("other")),
    ];
    for (method, path, body) in changes {
        bed.put("/_/actions/hello?overwrite=true", js("one"));
        warm(&bed, GUEST);
        assert_eq!(code(&bed, GUEST).as_deref(), Some("\"one\""));
        assert_eq!(bed.ask(method, path, body).status, 200);
        for _ in 0..2 {
            bed.turn.set(bed.turn.get() + 1);
            assert_eq!(code(&bed, GUEST), None, "{method} {path}");
        }
        let expected = if method == "DELETE" { 404 } else { 200 };
        assert_eq!(bed.ask("POST", CALL, json!({})).status, expected);
    }
}

#[test]
fn a_key_opens_what_is_its_own_and_nothing_when_it_was_rotated() {
    let bed = Bed::new();
    bed.put("/_/actions/hello", js("guest's"));
    let others = bed.by(OTHER, "PUT", "/_/actions/hello", js("other's"));
    assert_eq!(others.status, 200);
    warm(&bed, GUEST);
    warm(&bed, OTHER);
    assert_eq!(code(&bed, GUEST).as_deref(), Some("\"guest's\""));
    assert_eq!(code(&bed, OTHER).as_deref(), Some("\"other's\""));
    assert!(admits(&bed, GUEST) && !admits(&bed, &format!("{GUEST}0")));
    assert_eq!(code(&bed, &format!("{GUEST}0")), None);
    assert_eq!(code(&bed, &GUEST[..GUEST.len() - 1]), None);
    let admin = basic(ADMIN);
    let rotated = bed.raw(
        "POST",
        "/admin/namespaces/guest/key",
        &[("Authorization", &admin)],
        b"",
    );
    assert_eq!(rotated.status, 200, "{}", rotated.text());
    assert!(code(&bed, GUEST).is_none() && !admits(&bed, GUEST));
    assert_eq!(bed.ask("POST", CALL, json!({})).status, 401);
}

#[test]
fn limits_hold_over_all_cores_and_are_used_up() {
    let bed = Bed::with(NamespaceLimits {
        concurrent_calls: 9,
        ..NamespaceLimits::default()
    });
    bed.put_action("hello");
    warm(&bed, GUEST);
    let mut running = Vec::new();
    let mut by_desks = 0;
    loop {
        bed.turn.set(bed.turn.get() + 1);
        let step = request(GUEST, CALL, "{}", |asked| {
            let now_ms = bed.now.get();
            let step = bed.desk(|desk| desk.handle(asked, now_ms));
            by_desks += usize::from(step.is_some());
            step.unwrap_or_else(|| bed.handle(asked))
        });
        match step {
            Step::Invoke(_, reply) => running.push(reply.admission),
            Step::Respond(response) => {
                let text = String::from_utf8_lossy(&response.body).into_owned();
                assert!(
                    response.status == 429 && text.contains("(count: 9, allowed: 9)"),
                    "{text}"
                );
                break;
            }
            step => panic!("{step:?}"),
        }
    }
    assert!(running.len() == 9 && by_desks > 0);
    // Each ends on the other core, and makes room for one on any.
    for ended in running.drain(..) {
        bed.turn.set(bed.turn.get() + 1);
        bed.end(&ended);
    }
    bed.with_desk(|controller, _| assert_eq!(controller.running(), 0));
    assert_eq!(bed.ask("POST", CALL, json!({})).status, 200);
}

#[test]
fn records_of_several_cores_are_in_the_order_in_which_they_came() {
    let bed = Bed::new();
    bed.put_action("hello");
    warm(&bed, GUEST);
    let mut ids = Vec::new();
    for _ in 0..200 {
        bed.turn.set(bed.turn.get() + 1);
        let step = request(GUEST, CALL, "{}", |asked| bed.handle(asked));
        let Step::Invoke(plan, reply) = step else {
            panic!("{step:?}");
        };
        ids.push(plan.activation().to_owned());
        block_on(perform(&bed, plan));
        bed.end(&reply.admission);
    }
    let listed = bed.get("/_/activations?limit=200").body;
    let listed: Vec<&str> = listed
        .as_array()
        .unwrap()
        .iter()
        .map(|a| a["activationId"].as_str().unwrap())
        .collect();
    // All began at the same time, so the one that came last is the first.
    ids.reverse();
    assert_eq!(listed, ids[..listed.len()]);
    assert!(listed.len() >= 30);
}
