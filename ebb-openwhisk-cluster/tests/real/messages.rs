//! What a controller sends, and what it makes of what it is told.

use std::collections::BTreeMap;

use serde_json::{Value, json};

/// An id.
pub fn id(number: usize) -> String {
    format!("{number:032x}")
}

/// A message, as `ActivationMessage.serdes` writes it.
pub fn message(number: usize, action: &str, revision: &str, blocking: bool) -> Value {
    json!({
        "transid": ["0123456789abcdef0123456789abcdef", 1500],
        "action": {"path": "guest", "name": action, "version": "0.0.1"},
        "revision": if revision.is_empty() { Value::Null } else { revision.into() },
        "user": {
            "subject": "guest", "namespace": {"name": "guest", "uuid": "23bc46b1"},
            "authkey": {"api_key": "23bc46b1:key"}, "rights": ["READ", "ACTIVATE"], "limits": {},
        },
        "activationId": id(number),
        "rootControllerIndex": {"asString": "0", "instanceType": "controller"},
        "blocking": blocking, "content": {"n": number}, "initArgs": [], "lockedArgs": {},
    })
}

/// The document of an action.
pub fn action(name: &str, code: &Value) -> Value {
    json!({
        "_id": format!("guest/{name}"), "namespace": "guest", "name": name, "version": "0.0.1",
        "publish": false, "updated": 1, "entityType": "action", "parameters": [], "annotations": [],
        "exec": {"kind": "nodejs:20", "code": code, "binary": false},
        "limits": {"timeout": 60000, "memory": 256, "logs": 10, "concurrency": 1},
    })
}

/// How often the slot of each activation was freed.
pub fn completions(told: &[Value]) -> BTreeMap<String, usize> {
    let mut freed = BTreeMap::new();
    for told in told.iter().filter(|told| told.get("instance").is_some()) {
        let response = &told["response"];
        let id = told["activationId"]
            .as_str()
            .or_else(|| response.as_str())
            .or_else(|| response["activationId"].as_str());
        *freed.entry(id.expect("an id").to_owned()).or_insert(0) += 1;
    }
    freed
}

/// Once for each of so many.
pub fn once_each(count: usize) -> BTreeMap<String, usize> {
    (0..count).map(|number| (id(number), 1)).collect()
}
