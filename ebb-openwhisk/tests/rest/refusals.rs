//! Which of several refusals a request hears, and what they name: what is wrong with the document, then what its sender may not use, then
//! what is there already, then what is not there.

use crate::common::{Bed, GUEST, OTHER, basic, js, refused};
use serde_json::{Value, json};

const NULL: Value = Value::Null;
const EXISTS: &str = "resource already exists";
const GONE: &str = "The requested resource does not exist.";

fn no_access(name: &str) -> String {
    format!("The supplied authentication is not authorized to access '{name}'.")
}

fn sequence(component: &str) -> Value {
    json!({"exec": {"kind": "sequence", "components": [component]}})
}

/// `guest` has a rule, a sequence and a binding; `other` a package of its own and one for all.
fn bed() -> Bed {
    let bed = Bed::new();
    bed.put_action("a");
    bed.put("/_/packages/p", json!({}));
    bed.put(
        "/_/packages/bound",
        json!({"binding": {"namespace": "_", "name": "p"}}),
    );
    bed.put("/_/triggers/t", json!({}));
    bed.put("/_/rules/r", json!({"trigger": "/_/t", "action": "/_/a"}));
    for (name, publish) in [("closed", false), ("open", true)] {
        let package = json!({"publish": publish});
        bed.by(OTHER, "PUT", &format!("/_/packages/{name}"), package);
        bed.by(OTHER, "PUT", &format!("/_/actions/{name}/a"), js("x"));
    }
    bed
}

#[test]
fn a_document_that_is_none_is_told_before_what_is_there() {
    let bed = bed();
    for path in ["actions/a", "packages/p", "triggers/t", "rules/r"] {
        let path = format!("/_/{path}");
        refused! { bed;
            PUT path, json!({}) => 409 EXISTS;
            PUT path, json!({"publish": 1}) => 400 "The request content was malformed:";
            PUT path, json!({"annotations": 1}) => 400 "The request content was malformed:";
        }
    }
    for path in ["actions/x", "packages/x", "triggers/x", "rules/x"] {
        let path = format!("/_/{path}?overwrite=perhaps");
        refused! { bed;
            PUT path, json!({}) => 400 "The query parameter 'overwrite' was malformed:";
        }
    }
}

#[test]
fn what_its_sender_may_not_use_is_told_before_what_is_there() {
    let bed = bed();
    let bind =
        |namespace: &str, name: &str| json!({"binding": {"namespace": namespace, "name": name}});
    let rule = |trigger: &str, action: &str| json!({"trigger": trigger, "action": action});
    refused! { bed;
        PUT "/_/actions/a", sequence("/other/closed/a") => 403 &no_access("other/closed");
        PUT "/_/actions/a", sequence("/other/a") => 403 &no_access("other/a");
        PUT "/_/actions/a", sequence("/_/none/a") => 404 GONE;
        PUT "/_/actions/a", sequence("/_/a/a") => 409 "Resource by this name exists";
        PUT "/_/actions/a", sequence("/_/p/none") => 409 EXISTS;
        PUT "/_/actions/s", sequence("/_/p/none") => 400 "Sequence component does not exist.";
        PUT "/_/rules/r", rule("/other/t", "/_/a") => 403 &no_access("other/t");
        PUT "/_/rules/r", rule("/_/t", "/other/closed/a") => 403 &no_access("other/closed");
        PUT "/_/rules/r", rule("/_/t", "/_/none/a") => 404 GONE;
        PUT "/_/rules/r", rule("/_/none", "/_/p/none") => 409 EXISTS;
        PUT "/_/rules/n", rule("/_/t", "/_/p/none") => 400 "action /guest/p/none does not exist";
        PUT "/_/packages/p", bind("other", "closed") => 403 &no_access("other/closed");
        PUT "/_/packages/p", bind("_", "none") => 400 "Binding references a package that does not exist.";
        PUT "/_/packages/p", bind("other", "open") => 409 EXISTS;
        PUT "/_/packages/p?overwrite=true", bind("_", "none") => 400 "Binding references a package";
        PUT "/_/packages/p?overwrite=true", bind("other", "open") => 409 "Resource is a package";
        PUT "/_/packages/bound?overwrite=true", bind("_", "bound") => 400 "Cannot bind to another";
        PUT "/_/packages/n", bind("_", "bound") => 400 "Cannot bind to another package binding.";
    }
}

#[test]
fn a_refusal_names_the_package_that_is_closed_or_gone() {
    let bed = bed();
    refused! { bed;
        GET "/other/actions/closed/a" => 403 &no_access("other/closed");
        POST "/other/actions/closed/a" => 403 &no_access("other/closed");
        GET "/other/packages/closed" => 403 &no_access("other/closed");
        GET "/other/packages/none" => 403 &no_access("other/none");
        GET "/_/packages/none" => 404 "The requested resource 'guest/none' does not exist.";
        DELETE "/_/packages/none" => 404 GONE;
        GET "/_/actions/none/a" => 404 GONE;
        GET "/_/actions/none/" => 404 GONE;
        POST "/_/packages/p" => 403 &no_access("guest/p");
    }
    bed.put(
        "/_/packages/mine",
        json!({"binding": {"namespace": "other", "name": "open"}}),
    );
    bed.put("/_/actions/s", sequence("/_/mine/a"));
    bed.put("/_/actions/own", sequence("/_/a"));
    bed.by(
        OTHER,
        "PUT",
        "/_/packages/open?overwrite=true",
        json!({"publish": false}),
    );
    // What the binding stands for is its owner's to know.
    refused! { bed;
        GET "/_/packages/mine" => 403 &no_access("guest/mine");
        GET "/_/actions/mine/a" => 403 &no_access("guest/mine");
        POST "/_/actions/s" => 403 &no_access("guest/mine");
    }
    // It can be changed all the same, as long as it goes on standing for that.
    bed.put(
        "/_/packages/mine?overwrite=true",
        json!({"annotations": []}),
    );
    bed.ask("DELETE", "/_/packages/mine", NULL);
    refused! { bed; POST "/_/actions/s" => 404 GONE; }
    let got = bed.ask("POST", "/_/actions/own?blocking=true", NULL);
    assert_eq!(got.status, 200);
}

#[test]
fn a_document_that_is_not_sent_is_missed() {
    let bed = bed();
    let auth = basic(GUEST);
    let ask = |method: &str, path: &str, media: Option<&str>, body: &str| {
        let mut headers = vec![("Authorization", auth.as_str())];
        headers.extend(media.map(|media| ("Content-Type", media)));
        let path = format!("/api/v1/namespaces/_/{path}");
        bed.raw(method, &path, &headers, body.as_bytes())
    };
    for (method, path) in [
        ("PUT", "actions/x"),
        ("PUT", "packages/x"),
        ("PUT", "triggers/x"),
        ("PUT", "rules/x"),
        ("POST", "rules/x"),
    ] {
        for media in [None, Some("application/json")] {
            let got = ask(method, path, media, "");
            let heard = (got.status, got.error());
            assert_eq!(
                heard,
                (400, "Request entity expected but not supplied"),
                "{path}"
            );
        }
        for (media, body) in [(Some("text/plain"), ""), (None, "{}")] {
            assert_eq!(ask(method, path, media, body).status, 415, "{path}");
        }
    }
}
