//! Web actions: `/api/v1/web/NS/PKG/ACTION[.ext][/more/path]`, reached without credentials. What comes back is made by
//! [`project`](crate::project).

use super::Controller;
use super::actions::check_final;
use crate::call::Caller;
use crate::entity::Resolved;
use crate::failure::{Failure, Result};
use crate::http::{Cors, Request, Response};
use crate::json::{Json, Kind, Object};
use crate::limits;
use crate::media::Media;
use crate::name::{self, FullName};
use crate::namespaces::{Subject, same};
use crate::plan::{Body, Plan, Shape, Stamp, Step};
use crate::project::Extension;
use crate::query::{Query, decode};
use alloc::{format, string::String, sync::Arc, vec::Vec};
use base64::{Engine, engine::general_purpose::STANDARD as BASE64};

const CORS_METHODS: &str = "OPTIONS, GET, DELETE, POST, PUT, HEAD, PATCH";
pub(super) const METHODS: [&str; 7] = ["GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"];

/// What answers say about pages of other origins, unless the action says it: those may send what they ask for.
pub(super) fn cors(request: &Request<'_>) -> Cors {
    Cors {
        headers: request
            .header("access-control-request-headers")
            .map(String::from),
        ..Cors::new(CORS_METHODS)
    }
}

/// The action that a path names, which is on the web.
pub(super) struct Target {
    namespace: String,
    resolved: Resolved,
    extension: Extension,
    /// Whether the action answers OPTIONS and says which origins may read its answers.
    custom_options: bool,
}

impl Controller {
    /// Finds the action; from then on the stamp is that of its answers.
    pub(super) fn web_target(
        &self,
        request: &Request<'_>,
        path: &[&str],
        stamp: &mut Stamp,
    ) -> Result<Target> {
        let [namespace, package, last, ..] = path else {
            return Err(Failure::no_path());
        };
        if !METHODS.contains(&request.method) {
            return Err(Failure::method(&METHODS.join(", ")));
        }
        let (action, extension) = Extension::split(last);
        let name = match *package {
            "default" => FullName::new(namespace, action),
            package => FullName::packaged(namespace, package, action),
        };
        for part in [*namespace, *package, action] {
            name::check(part).map_err(|_| Failure::no_entity())?;
        }
        let resolved = self.store.resolve(&name);
        let resolved = resolved.map_err(|_| Failure::no_entity())?;
        let annotations = &resolved.action.common.annotations;
        if !annotations.is_true("web-export") {
            return Err(Failure::no_entity());
        }
        let custom_options = annotations.is_true("web-custom-options");
        if custom_options {
            stamp.cors = None;
        }
        Ok(Target {
            namespace: (*namespace).into(),
            resolved,
            extension,
            custom_options,
        })
    }

    pub(super) fn web(
        &mut self,
        request: &Request<'_>,
        path: &[&str],
        stamp: &mut Stamp,
        now_ms: u64,
    ) -> Result<Step> {
        // Behind `api`, `v1`, `web`, the namespace, the package and the action.
        let more = encoded(behind(request.path, 6));
        self.call_web_action(request, path, &more, stamp, now_ms)
    }

    /// Calls the action that a path names, which is told `more` as what follows its name.
    pub(super) fn call_web_action(
        &mut self,
        request: &Request<'_>,
        path: &[&str],
        more: &str,
        stamp: &mut Stamp,
        now_ms: u64,
    ) -> Result<Step> {
        let target = self.web_target(request, path, stamp)?;
        if request.method == "OPTIONS" && !target.custom_options {
            return Ok(Step::Respond(Response::empty(200)));
        }
        let subject = self.admitted(request, &target)?;
        let Target {
            namespace,
            resolved,
            extension,
            ..
        } = target;
        // It runs in its owner's name.
        let owner = self.namespaces.get(&namespace);
        let caller = Caller {
            // Its key is not known, but for a hash, so it is lent one.
            key: owner.map(|owner| owner.lent().clone()),
            namespace: Arc::from(namespace),
            transaction: stamp.transaction.clone(),
        };
        if request.body.len() > limits::PAYLOAD {
            return Err(Failure::too_large(
                "Request",
                request.body.len(),
                limits::PAYLOAD,
            ));
        }
        let mut body = if resolved.action.common.annotations.is_true("raw-http") {
            raw_arguments(request)
        } else {
            let body = arguments(request)?;
            check_final(&resolved, &body)?;
            body
        };
        body.set("__ow_path", Json::text(more));
        body.set(
            "__ow_method",
            Json::text(&request.method.to_ascii_lowercase()),
        );
        body.set("__ow_headers", headers(request).to_json());
        if let Some(subject) = subject {
            body.set("__ow_user", Json::text(&subject.namespace));
        }
        let mut plan = self.plan(&caller, resolved, Body::Object(body), None, now_ms);
        if let Plan::Action(call) = &mut plan {
            call.in_parts = true;
        }
        let wait = Some(limits::BLOCKING);
        let shape = Shape::Web(extension);
        self.begin(plan, &caller.namespace, wait, shape, stamp, now_ms)
    }

    /// Checks what the annotation `require-whisk-auth` asks for: credentials if it is true, else a secret.
    pub(super) fn admitted(
        &mut self,
        request: &Request<'_>,
        target: &Target,
    ) -> Result<Option<Subject>> {
        let subject = self.authenticated(request);
        let annotations = &target.resolved.action.common.annotations;
        let is_secret = |secret: &str| {
            request
                .header("x-require-whisk-auth")
                .is_some_and(|given| same(given.as_bytes(), secret.as_bytes()))
        };
        let admitted = match annotations.get("require-whisk-auth") {
            // Browsers ask without what the call itself will carry.
            _ if request.method == "OPTIONS" => true,
            None => true,
            Some(required) => match required.kind() {
                Kind::Bool => required.to_bool() == Some(false) || subject.is_some(),
                Kind::Text => required.to_text().is_some_and(|secret| is_secret(&secret)),
                Kind::Number => is_secret(required.as_str()),
                // Nobody knows what was meant.
                Kind::Null | Kind::Array | Kind::Object => false,
            },
        };
        if admitted {
            Ok(subject)
        } else {
            Err(Failure::not_admitted())
        }
    }
}

/// What follows so many segments of a path.
pub(super) fn behind(path: &str, segments: usize) -> &str {
    (0..segments).fold(path, |rest, _| {
        let segment = rest.trim_start_matches('/');
        segment.find('/').map_or("", |at| &segment[at..])
    })
}

/// A path percent-encoded as far as it has to be. Source: `unmatchedPath` in `requestMethodParamsAndPath` (`WebActions.scala`), which
/// Pekko HTTP's `Uri.Path` writes.
pub(super) fn encoded(path: &str) -> String {
    let segments = path
        .split('/')
        .map(|segment| encode(&decode(segment, false)));
    segments.collect::<Vec<_>>().join("/")
}

/// Percent-encodes what cannot stand in a segment of a path. Source: RFC 3986, section 3.3.
fn encode(segment: &str) -> String {
    let mut encoded = String::with_capacity(segment.len());
    for byte in segment.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:@".contains(&byte) {
            encoded.push(byte.into());
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

/// The type of a body that does not name its own.
const UNNAMED: &str = "application/octet-stream";

/// The request's headers, with lower-case names.
fn headers(request: &Request<'_>) -> Object {
    let mut headers = Object::new();
    for (name, value) in request.headers {
        headers.set(&name.to_ascii_lowercase(), Json::text(value));
    }
    if !request.body.is_empty() && !headers.contains("content-type") {
        headers.set("content-type", Json::text(UNNAMED));
    }
    headers
}

const RESERVED: [&str; 6] = [
    "__ow_method",
    "__ow_headers",
    "__ow_path",
    "__ow_user",
    "__ow_query",
    "__ow_body",
];

/// The members of the query, and over them those of the body.
pub(super) fn arguments(request: &Request<'_>) -> Result<Object> {
    let members = |query: &Query| -> Object {
        let members = query.iter();
        members
            .map(|(name, value)| (String::from(name), Json::text(value)))
            .collect()
    };
    let mut arguments = members(&Query::parse(request.query));
    let media = request.media();
    let mut other = None;
    match &media {
        Some(media) if media.is_form() => {
            let form = Query::parse(&String::from_utf8_lossy(request.body));
            arguments.extend(members(&form));
        }
        Some(media) if media.is_json_family() => {
            if !request.body.is_empty() {
                let json = Json::parse_bytes(request.body).map_err(Failure::malformed)?;
                match json.to_object() {
                    Some(object) => arguments.extend(object),
                    None => other = Some(json),
                }
            }
        }
        None if request.body.is_empty() => {}
        media => {
            let is_text = media.as_ref().is_some_and(Media::is_text);
            other = Some(body_text(is_text, request.body));
        }
    }
    if arguments.iter().any(|(name, _)| RESERVED.contains(&name)) {
        return Err(Failure::reserved_parameters());
    }
    if let Some(other) = other {
        arguments.set("__ow_body", other);
    }
    Ok(arguments)
}

/// Query and body as they are. JSON is in base64, so that the action reads what was signed, for example.
fn raw_arguments(request: &Request<'_>) -> Object {
    let is_text = request.media().is_some_and(|media| media.is_raw_text());
    let mut arguments = Object::new();
    arguments.set("__ow_body", body_text(is_text, request.body));
    arguments.set("__ow_query", Json::text(request.query));
    arguments
}

/// A body as text, in base64 if it is not meant to be read.
fn body_text(is_text: bool, body: &[u8]) -> Json {
    if is_text {
        Json::text(&String::from_utf8_lossy(body))
    } else {
        Json::text(&BASE64.encode(body))
    }
}
