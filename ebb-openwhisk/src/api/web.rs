//! Web actions: `/api/v1/web/NS/PKG/ACTION[.ext][/more/path]`, reached without credentials.

use super::actions::check_final;
use super::{Controller, Subject};
use crate::activation::{Outcome, Status};
use crate::call::Caller;
use crate::failure::{Failure, Result};
use crate::http::{Request, Response};
use crate::json::{Json, Kind, Members, Object};
use crate::limits;
use crate::name::{self, FullName};
use crate::perform::Body;
use crate::plan::{Shape, Stamp, Step};
use crate::query::{Query, segments};
use alloc::{borrow::Cow, format, string::String, sync::Arc, vec::Vec};
use base64::{Engine, engine::general_purpose::STANDARD as BASE64};

pub(super) const CORS_METHODS: &str = "OPTIONS, GET, DELETE, POST, PUT, HEAD, PATCH";
const METHODS: [&str; 7] = ["GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"];

/// How the result becomes a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extension {
    /// Status, headers and body as the result says.
    Http,
    /// The result.
    Json,
    /// The member `body` or `html`.
    Html,
    /// The member `body` or `svg`.
    Svg,
    /// The member `body` or `text`.
    Text,
}

impl Extension {
    const ALL: [(Self, &'static str); 5] = [
        (Self::Http, "http"),
        (Self::Json, "json"),
        (Self::Html, "html"),
        (Self::Svg, "svg"),
        (Self::Text, "text"),
    ];

    /// Takes the extension off a name.
    fn split(name: &str) -> (&str, Self) {
        if let Some((stem, last)) = name.rsplit_once('.')
            && let Some((extension, _)) = Self::ALL.iter().find(|(_, text)| *text == last)
        {
            return (stem, *extension);
        }
        (name, Self::Http)
    }
}

impl Controller {
    pub(super) fn web(
        &mut self,
        request: &Request<'_>,
        path: &[&str],
        stamp: &Stamp,
        now: u64,
    ) -> Result<Step> {
        let [namespace, package, last, rest @ ..] = path else {
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
        let resolved = self
            .store
            .resolve(&name)
            .map_err(|_| Failure::no_entity())?;
        let annotations = &resolved.action.common.annotations;
        if !annotations.is_true("web-export") {
            return Err(Failure::no_entity());
        }
        if request.method == "OPTIONS" && !annotations.is_true("web-custom-options") {
            return Ok(Step::Respond(Response::empty(200)));
        }
        let subject = self.admitted(request, annotations.get("require-whisk-auth"))?;
        // It runs in its owner's name.
        let owner = self
            .config
            .subjects
            .iter()
            .find(|s| *s.namespace == **namespace);
        let caller = Caller {
            namespace: Arc::from(*namespace),
            key: owner.map_or_else(|| Arc::from(""), |owner| owner.key.clone()),
            transaction: stamp.transaction.clone(),
        };
        if request.body.len() > limits::PAYLOAD {
            return Err(Failure::too_large(
                "Request",
                request.body.len(),
                limits::PAYLOAD,
            ));
        }
        let raw = annotations.is_truthy("raw-http");
        let mut body = if raw {
            raw_arguments(request)
        } else {
            arguments(request)?
        };
        if !raw {
            check_final(&resolved, &body)?;
        }
        let more = match rest {
            [] => String::new(),
            rest => format!(
                "/{}{}",
                rest.join("/"),
                if segments(request.path).1 { "/" } else { "" }
            ),
        };
        let mut headers = Members::new();
        for (name, value) in request.headers {
            headers.text(&name.to_ascii_lowercase(), value);
        }
        body.set(
            "__ow_method",
            Json::text(&request.method.to_ascii_lowercase()),
        );
        body.set("__ow_headers", headers.finish());
        body.set("__ow_path", Json::text(&more));
        if let Some(subject) = subject {
            body.set("__ow_user", Json::text(&subject.namespace));
        }
        let plan = self.plan(&caller, &resolved, Body::Object(body), None, now)?;
        let namespace = caller.namespace.clone();
        let wait = Some(limits::BLOCKING);
        self.begin(plan, &namespace, wait, Shape::Web(extension), stamp, now)
    }

    /// Checks what the annotation `require-whisk-auth` asks for.
    fn admitted(&self, request: &Request<'_>, required: Option<&Json>) -> Result<Option<Subject>> {
        let subject = self.authenticated(request);
        let admitted = match required.map(|value| (value.kind(), value)) {
            None | Some((Kind::Null, _)) => true,
            Some((Kind::Bool, value)) => value.to_bool() == Some(false) || subject.is_some(),
            Some((kind, value)) => {
                let secret = if kind == Kind::Text {
                    value.to_text().unwrap_or_default()
                } else {
                    value.compact()
                };
                request
                    .header("x-require-whisk-auth")
                    .is_some_and(|given| super::same(given.as_bytes(), secret.as_bytes()))
            }
        };
        if admitted {
            Ok(subject)
        } else {
            Err(Failure::unauthenticated())
        }
    }
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
fn arguments(request: &Request<'_>) -> Result<Object> {
    let mut arguments = Object::new();
    let mut fill = |query: &Query| {
        for (name, value) in query.iter() {
            arguments.set(name, Json::text(value));
        }
    };
    fill(&Query::parse(request.query));
    let media = request.media_type();
    let mut other = None;
    if !request.body.is_empty() {
        match media.as_deref() {
            Some("application/x-www-form-urlencoded") => {
                fill(&Query::parse(&String::from_utf8_lossy(request.body)));
            }
            Some("application/json") => {
                let json = Json::parse_bytes(request.body).map_err(Failure::malformed)?;
                match json.to_object() {
                    Some(object) => arguments.extend(object),
                    None => other = Some(json),
                }
            }
            media => other = Some(body_text(media, request.body)),
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

fn raw_arguments(request: &Request<'_>) -> Object {
    let mut arguments = Object::new();
    let body = match request.media_type().as_deref() {
        Some("application/json") => Json::text(&BASE64.encode(request.body)),
        media => body_text(media, request.body),
    };
    arguments.set("__ow_body", body);
    arguments.set("__ow_query", Json::text(request.query));
    arguments
}

/// A body as text, in base64 if it is not meant to be read.
fn body_text(media: Option<&str>, body: &[u8]) -> Json {
    match core::str::from_utf8(body) {
        Ok(text) if media.is_none_or(|media| !is_binary(media)) => Json::text(text),
        _ => Json::text(&BASE64.encode(body)),
    }
}

/// Whether content of that type is bytes rather than text.
fn is_binary(media: &str) -> bool {
    let media = media
        .split(';')
        .next()
        .unwrap_or("")
        .trim()
        .to_ascii_lowercase();
    let (main, sub) = media.split_once('/').unwrap_or((&media, ""));
    match main {
        "text" | "message" => false,
        "image" => !sub.ends_with("+xml"),
        "application" => {
            let text = [
                "json",
                "xml",
                "javascript",
                "ecmascript",
                "x-www-form-urlencoded",
                "yaml",
                "graphql",
            ];
            !text
                .iter()
                .any(|t| sub == *t || sub.ends_with(&format!("+{t}")))
        }
        _ => true,
    }
}

/// The response of a web action.
pub(crate) fn respond(extension: &Extension, outcome: &Outcome, transaction: &str) -> Response {
    let result = outcome.result.clone().unwrap_or_else(Json::null);
    let answer = match outcome.status {
        Status::Success => project(*extension, &result),
        // An action may answer any status by way of an error.
        Status::ApplicationError => {
            let error = result
                .to_object()
                .and_then(|object| object.get("error").cloned());
            let error = error.unwrap_or_else(Json::null);
            match error.kind() {
                Kind::Object => as_http(&error),
                _ => Ok(Response::json(400, &result)),
            }
        }
        Status::DeveloperError => Err(Failure::bad("There was an error processing your request.")),
        Status::InternalError => Err(Failure::new(
            500,
            "There was an error processing your request.",
        )),
    };
    answer.unwrap_or_else(|failure| Response::failure(&failure, transaction))
}

fn project(extension: Extension, result: &Json) -> Result<Response> {
    let (member, media) = match extension {
        Extension::Http => return as_http(result),
        Extension::Json => return Ok(Response::json(200, result)),
        Extension::Html => ("html", "text/html; charset=utf-8"),
        Extension::Svg => ("svg", "image/svg+xml; charset=utf-8"),
        Extension::Text => ("text", "text/plain; charset=utf-8"),
    };
    let object = result.to_object().unwrap_or_default();
    let value = object
        .get("body")
        .or_else(|| object.get(member))
        .ok_or_else(|| Failure::new(404, "The requested resource does not exist."))?;
    match value.to_text() {
        Some(text) => Ok(Response::new(200, media, text)),
        None if extension == Extension::Text => Ok(Response::new(200, media, value.as_str())),
        None => Err(Failure::bad("Response is not valid.")),
    }
}

/// Status, headers and body as an object says.
fn as_http(result: &Json) -> Result<Response> {
    let invalid = || Failure::bad("Response is not valid.");
    let Some(object) = result.to_object() else {
        // An array is its own body.
        return Ok(Response::json(200, result));
    };
    let mut headers: Vec<(Cow<'static, str>, String)> = Vec::new();
    let given = object.get("headers").filter(|h| h.kind() != Kind::Null);
    if let Some(given) = given {
        for (name, value) in given.to_object().ok_or_else(invalid)?.iter() {
            let values = value
                .to_array()
                .unwrap_or_else(|| alloc::vec![value.clone()]);
            for value in values {
                let text = match value.kind() {
                    Kind::Text => value.to_text().unwrap_or_default(),
                    Kind::Bool | Kind::Number => value.compact(),
                    _ => return Err(invalid()),
                };
                if !is_header(name, &text) {
                    return Err(invalid());
                }
                headers.push((Cow::Owned(name.into()), text));
            }
        }
    }
    // The length is that of the body, and the connection is not the action's.
    const CONNECTION: [&str; 4] = [
        "content-length",
        "transfer-encoding",
        "connection",
        "upgrade",
    ];
    headers.retain(|(name, _)| !CONNECTION.iter().any(|own| name.eq_ignore_ascii_case(own)));
    let status = match object.get("statusCode").filter(|s| s.kind() != Kind::Null) {
        None => None,
        Some(status) => {
            let number = match status.kind() {
                Kind::Text => status.to_text().and_then(|text| text.parse().ok()),
                _ => status.to_integer(),
            };
            let number = number.and_then(|n| u16::try_from(n).ok());
            Some(
                number
                    .filter(|n| (200..600).contains(n))
                    .ok_or_else(invalid)?,
            )
        }
    };
    let media = headers
        .iter()
        .find(|(name, _)| name.eq_ignore_ascii_case("content-type"))
        .map(|(_, value)| value.clone());
    let body = object.get("body").filter(|b| b.kind() != Kind::Null);
    let (bytes, default) = match body.map(|body| (body, body.to_text())) {
        None => (Vec::new(), None),
        Some((_, Some(text))) => match &media {
            Some(media) if is_binary(media) => {
                (BASE64.decode(text.trim()).map_err(|_| invalid())?, None)
            }
            _ => (text.into_bytes(), Some("text/html; charset=utf-8")),
        },
        Some((json, None)) => (json.as_str().as_bytes().to_vec(), Some("application/json")),
    };
    if media.is_none()
        && let Some(default) = default
    {
        headers.push((Cow::Borrowed("Content-Type"), default.into()));
    }
    Ok(Response {
        status: status.unwrap_or(if body.is_some() { 200 } else { 204 }),
        headers,
        body: bytes,
    })
}

/// Whether this can be sent as a header without becoming something else.
fn is_header(name: &str, value: &str) -> bool {
    let token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    !name.is_empty()
        && name.bytes().all(token)
        && value
            .bytes()
            .all(|b| b == b'\t' || (b >= b' ' && b != 0x7f))
}
