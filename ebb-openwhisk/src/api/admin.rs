//! `/admin`: namespaces come, change and go. OpenWhisk's `wskadmin` does this at the database; here it is an API of its own,
//! which is there where the platform was given a key for it, and opens with that key only.
//!
//! | | |
//! |---|---|
//! | `GET /admin/namespaces` | all of them |
//! | `PUT /admin/namespaces/NAME` | adds one; `{"key": "uuid:key", "limits": {...}}`, both optional. Tells the key, once |
//! | `GET /admin/namespaces/NAME` | one |
//! | `DELETE /admin/namespaces/NAME` | removes it with all that it has |
//! | `POST /admin/namespaces/NAME/limits` | the limits that change; `null` stands for the default |
//! | `POST /admin/namespaces/NAME/key` | gives it another key, `{"key": "uuid:key"}`, or one that is drawn. Tells it, once |

use super::{Controller, method, respond, shown_key};
use crate::failure::{Failure, Result};
use crate::http::Request;
use crate::json::{Json, Members, Object};
use crate::namespaces::Namespace;
use crate::plan::Step;
use alloc::string::String;

/// What there is below `/admin`.
const COLLECTION: &str = "namespaces";

impl Controller {
    /// Refuses a request without the key of `/admin`.
    ///
    /// # Errors
    /// 404 where there is no such key, else 401.
    pub fn authenticate_admin(&self, request: &Request<'_>) -> Result<()> {
        let admin = self.admin.as_ref().ok_or_else(Failure::no_path)?;
        let shown = shown_key(request);
        let is_right = shown.is_some_and(|key| admin.is_of(&key));
        is_right.then_some(()).ok_or_else(Failure::unauthenticated)
    }

    pub(super) fn manage(
        &mut self,
        request: &Request<'_>,
        path: &[&str],
        now_ms: u64,
    ) -> Result<Step> {
        self.authenticate_admin(request)?;
        match (path, method(request)) {
            ([COLLECTION], "GET") => {
                let all = self.namespaces.iter().map(|namespace| self.tell(namespace));
                Ok(respond(200, &Json::array(all)))
            }
            ([COLLECTION], _) => Err(Failure::method("GET")),
            ([COLLECTION, name], "GET") => {
                let namespace = self.namespaces.get(name).ok_or_else(Failure::no_entity)?;
                Ok(respond(200, &self.tell(namespace)))
            }
            ([COLLECTION, name], "PUT") => {
                let body = body(request)?;
                let defaults = self.namespaces.defaults();
                let limits = match body.get("limits") {
                    Some(document) => defaults.merged(document, defaults)?,
                    None => defaults.clone(),
                };
                // Its actions would be another's.
                if self.store.bytes_of(name) > 0 && self.namespaces.get(name).is_none() {
                    return Err(Failure::new(
                        409,
                        "There are entities in a namespace of this name.",
                    ));
                }
                let key = self
                    .namespaces
                    .add(name, key(&body)?.as_deref(), limits, now_ms)?;
                Ok(respond(200, &told_once(name, &key)))
            }
            ([COLLECTION, name], "DELETE") => {
                let namespace = self
                    .namespaces
                    .remove(name)
                    .ok_or_else(Failure::no_entity)?;
                let told = self.tell(&namespace);
                self.store.remove_namespace(name);
                self.activations.drop_namespace(name);
                self.throttle.forget(name);
                Ok(respond(200, &told))
            }
            ([COLLECTION, _], _) => Err(Failure::method("GET, PUT, DELETE")),
            ([COLLECTION, name, "limits"], "POST") => {
                let document = Json::parse_bytes(request.body).map_err(Failure::malformed)?;
                let namespace = self.namespaces.get(name).ok_or_else(Failure::no_entity)?;
                let defaults = self.namespaces.defaults();
                let limits = namespace.limits.merged(&document, defaults)?;
                let told = limits.to_json();
                self.namespaces.set_limits(name, limits)?;
                Ok(respond(200, &told))
            }
            ([COLLECTION, name, "key"], "POST") => {
                let key = self
                    .namespaces
                    .rotate(name, key(&body(request)?)?.as_deref())?;
                Ok(respond(200, &told_once(name, &key)))
            }
            ([COLLECTION, _, "limits" | "key"], _) => Err(Failure::method("POST")),
            _ => Err(Failure::no_path()),
        }
    }

    /// What is said of a namespace: never its key.
    fn tell(&self, namespace: &Namespace) -> Json {
        let name = namespace.name();
        Members::new()
            .text("namespace", name)
            .text("uuid", namespace.uuid())
            .raw("limits", namespace.limits.to_json().as_str())
            .number("storageBytes", self.store.bytes_of(name) as u64)
            .number("running", self.throttle.running_of(name))
            .finish()
    }
}

fn told_once(name: &str, key: &str) -> Json {
    Members::new()
        .text("namespace", name)
        .text("key", key)
        .finish()
}

/// The body, an object or nothing.
fn body(request: &Request<'_>) -> Result<Object> {
    if request.body.is_empty() {
        return Ok(Object::new());
    }
    let json = Json::parse_bytes(request.body).map_err(Failure::malformed)?;
    json.to_object()
        .ok_or_else(|| Failure::malformed("the body is no object"))
}

/// The key that a body names.
fn key(body: &Object) -> Result<Option<String>> {
    match body.get("key") {
        None => Ok(None),
        Some(key) => match key.to_text() {
            Some(key) => Ok(Some(key)),
            None => Err(Failure::malformed("'key' must be a string")),
        },
    }
}
