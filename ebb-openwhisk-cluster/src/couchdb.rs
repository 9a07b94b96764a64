//! CouchDB, over HTTP/1.1: the real database.
//!
//! Requests are those of `common/scala/.../core/database/CouchDbRestClient.scala`. Connections are kept alive and used again.
//! What must hold: a request that may have reached the database is made again only if that does no harm. All of these may: records have
//! ids of their own, so storing one twice is a conflict with itself.

use std::cell::RefCell;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ebb::net::dns;
use ebb::net::http::{Client, ClientResponse, Error, Limits};
use ebb::sync::Semaphore;
use ebb_openwhisk::json::{Json, Members, Object};

use crate::seam::{Store, StoreError};

/// Where the database is, and what its parts are called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CouchDbOptions {
    /// The host's name or address.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// Who asks.
    pub username: String,
    /// The password.
    pub password: String,
    /// The database of actions.
    pub entities: String,
    /// That of records.
    pub activations: String,
    /// That of subjects.
    pub subjects: String,
}

/// Connections at once.
const CONNECTIONS: usize = 32;
/// The largest answer: code of 48 MB as JSON.
const ANSWER: usize = 100 << 20;
/// How long the database has to answer.
const PATIENCE: Duration = Duration::from_secs(30);

struct Connections {
    options: CouchDbOptions,
    /// None where nobody has to say who asks.
    authorization: Option<String>,
    patience: Duration,
    idle: RefCell<Vec<Client>>,
    places: Semaphore,
}

/// The database. Clones share its connections.
#[derive(Clone)]
pub struct CouchDb(Rc<Connections>);

impl CouchDb {
    /// It is connected to when something is asked.
    pub fn new(options: CouchDbOptions) -> Self {
        Self::with_patience(options, PATIENCE)
    }

    /// As [`new`](Self::new); the database has so long to answer.
    pub fn with_patience(options: CouchDbOptions, patience: Duration) -> Self {
        let authorization = (!options.username.is_empty()).then(|| {
            let pair = format!("{}:{}", options.username, options.password);
            format!("Basic {}", STANDARD.encode(pair))
        });
        Self(Rc::new(Connections {
            authorization,
            options,
            patience,
            idle: RefCell::default(),
            places: Semaphore::new(CONNECTIONS),
        }))
    }

    async fn connect(&self) -> Result<Client, String> {
        let options = &self.0.options;
        let named = |why: &dyn std::fmt::Display| {
            format!(
                "CouchDB at {}:{} cannot be reached: {why}",
                options.host, options.port
            )
        };
        let addresses = dns::resolve(&options.host).await.map_err(|e| named(&e))?;
        let host = format!("{}:{}", options.host, options.port);
        let limits = Limits {
            body: ANSWER,
            body_time: self.0.patience,
            head_time: self.0.patience.min(Duration::from_secs(10)),
            ..Limits::default()
        };
        let mut last = String::from("it has no address");
        for ip in addresses {
            match Client::connect(SocketAddr::new(ip, options.port), &host, limits).await {
                Ok(client) => return Ok(client),
                Err(error) => last = format!("{error}"),
            }
        }
        Err(named(&last))
    }

    /// One request; `revision` goes into `If-Match`.
    async fn request(
        &self,
        method: &str,
        target: &str,
        revision: Option<&str>,
        body: Option<&Json>,
    ) -> Result<ClientResponse, StoreError> {
        let _place = self.0.places.acquire(1).await;
        let tag = revision.map(|revision| format!("\"{revision}\""));
        let mut headers = vec![("accept", "application/json")];
        if let Some(authorization) = &self.0.authorization {
            headers.push(("authorization", authorization));
        }
        if let Some(tag) = &tag {
            headers.push(("if-match", tag));
        }
        if body.is_some() {
            headers.push(("content-type", "application/json"));
        }
        let body = body.map_or(&b""[..], |body| body.as_str().as_bytes());
        loop {
            let kept = self.0.idle.borrow_mut().pop();
            let was_kept = kept.is_some();
            let mut client = match kept {
                Some(client) => client,
                None => self.connect().await.map_err(StoreError::Failed)?,
            };
            match client.request(method, target, &headers, body).await {
                Ok(response) => {
                    if client.is_reusable() {
                        self.0.idle.borrow_mut().push(client);
                    }
                    return checked(response, method, target);
                }
                // The database may have closed a connection that nobody used for a while.
                Err(Error::Net(_) | Error::Truncated) if was_kept => {}
                Err(error) => {
                    let text = format!("CouchDB did not answer to {method} {target}: {error}");
                    return Err(StoreError::Failed(text));
                }
            }
        }
    }

    async fn json(
        &self,
        method: &str,
        target: &str,
        revision: Option<&str>,
        body: Option<&Json>,
    ) -> Result<Json, StoreError> {
        let response = self.request(method, target, revision, body).await?;
        Json::parse_bytes(&response.body).map_err(|why| {
            StoreError::Failed(format!(
                "CouchDB's answer to {method} {target} is no JSON: {why}"
            ))
        })
    }
}

/// The answer, if it is none of those that are errors.
fn checked(
    response: ClientResponse,
    method: &str,
    target: &str,
) -> Result<ClientResponse, StoreError> {
    let told = |what: &str| {
        let reason = String::from_utf8_lossy(&response.body);
        let reason: String = reason.trim().chars().take(200).collect();
        format!(
            "CouchDB {what} {method} {target} with {}: {reason}",
            response.status
        )
    };
    match response.status {
        200..300 => Ok(response),
        404 => Err(StoreError::Missing),
        409 => Err(StoreError::Conflict),
        // Credentials may be mended, and the busy may find time.
        401 | 403 | 408 | 429 | 500.. => Err(StoreError::Failed(told("answered"))),
        _ => Err(StoreError::Refused(told("refused"))),
    }
}

/// A part of a path.
fn encoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 8);
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                out.push(char::from(byte));
            }
            _ => {
                let _ = write!(out, "%{byte:02X}");
            }
        }
    }
    out
}

impl Store for CouchDb {
    async fn action(&self, id: &str, revision: Option<&str>) -> Result<Json, StoreError> {
        let target = format!("/{}/{}", encoded(&self.0.options.entities), encoded(id));
        self.json("GET", &target, revision, None).await
    }

    async fn attachment(
        &self,
        id: &str,
        revision: &str,
        name: &str,
    ) -> Result<Vec<u8>, StoreError> {
        let entities = encoded(&self.0.options.entities);
        let target = format!("/{entities}/{}/{}", encoded(id), encoded(name));
        let response = self.request("GET", &target, Some(revision), None).await?;
        Ok(response.body)
    }

    async fn put_action(&self, id: &str, document: &Json) -> Result<(), StoreError> {
        let target = format!("/{}/{}", encoded(&self.0.options.entities), encoded(id));
        self.json("PUT", &target, None, Some(document)).await?;
        Ok(())
    }

    async fn limits(&self, namespace: &str) -> Result<Object, StoreError> {
        // What the view `identities` links to (`Identity.scala`).
        let id = encoded(&format!("{namespace}/limits"));
        let target = format!("/{}/{id}", encoded(&self.0.options.subjects));
        match self.json("GET", &target, None, None).await {
            Ok(document) => Ok(document.to_object().unwrap_or_default()),
            Err(StoreError::Missing) => Ok(Object::default()),
            Err(error) => Err(error),
        }
    }

    async fn put_record(&self, id: &str, document: &Json) -> Result<(), StoreError> {
        let target = format!("/{}/{}", encoded(&self.0.options.activations), encoded(id));
        self.json("PUT", &target, None, Some(document)).await?;
        Ok(())
    }

    async fn put_records(
        &self,
        documents: &[Json],
    ) -> Result<Vec<Result<(), StoreError>>, StoreError> {
        let target = format!("/{}/_bulk_docs", encoded(&self.0.options.activations));
        let body = Members::new()
            .raw("docs", Json::array(documents).as_str())
            .finish();
        let answer = self.json("POST", &target, None, Some(&body)).await?;
        let wrong = || StoreError::Failed("CouchDB's answer to _bulk_docs is no list".into());
        let each = answer.to_array().ok_or_else(wrong)?;
        Ok(each
            .iter()
            .map(|one| {
                let error = one.to_object().and_then(|o| o.get("error")?.to_text());
                match error.as_deref() {
                    None => Ok(()),
                    Some("conflict") => Err(StoreError::Conflict),
                    Some("forbidden" | "bad_request" | "doc_validation" | "document_too_large") => {
                        Err(StoreError::Refused(format!(
                            "CouchDB refused a record: {one}"
                        )))
                    }
                    Some(_) => Err(StoreError::Failed(format!(
                        "CouchDB failed on a record: {one}"
                    ))),
                }
            })
            .collect())
    }

    async fn blocked_namespaces(&self) -> Result<Vec<String>, StoreError> {
        // `NamespaceBlacklist.scala`
        let target = format!(
            "/{}/_design/namespaceThrottlings/_view/blockedNamespaces?descending=true&reduce=false&stale=update_after",
            encoded(&self.0.options.subjects)
        );
        let answer = self.json("GET", &target, None, None).await?;
        let rows = answer.to_object().and_then(|o| o.get("rows")?.to_array());
        let rows = rows.ok_or_else(|| {
            StoreError::Failed("CouchDB's answer to blockedNamespaces has no rows".into())
        })?;
        Ok(rows
            .iter()
            .filter_map(|row| row.to_object()?.get("key")?.to_text())
            .collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_one_part_of_a_path_whatever_is_in_it() {
        assert_eq!(encoded("guest/pkg/a b+c"), "guest%2Fpkg%2Fa%20b%2Bc");
        assert_eq!(encoded("ä?#"), "%C3%A4%3F%23");
        assert_eq!(encoded("..-_~"), "..-_~");
    }

    #[test]
    fn statuses_are_told_apart_by_what_may_be_tried_again() {
        let of = |status| {
            let response = ClientResponse {
                status,
                headers: Vec::new(),
                body: b"{\"reason\":\"because\"}\n".to_vec(),
            };
            checked(response, "GET", "/x").err()
        };
        assert_eq!(of(201), None);
        assert_eq!(of(404), Some(StoreError::Missing));
        assert_eq!(of(409), Some(StoreError::Conflict));
        for status in [401, 429, 500, 503] {
            assert!(matches!(of(status), Some(StoreError::Failed(why)) if why.contains("because")));
        }
        assert!(matches!(of(413), Some(StoreError::Refused(_))));
    }
}
