//! How the result of a web action becomes an HTTP response.
//!
//! The extension of the name that was called says what is looked for in the result. An application error is projected as a
//! result is, so that an action can answer any status.

use crate::activation::{Outcome, Status};
use crate::failure::{Failure, Result};
use crate::http::Response;
use crate::json::{Json, Kind, Object};
use crate::media::Media;
use alloc::{borrow::Cow, format, string::String, vec::Vec};
use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

/// Standard base64, with or without padding.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

/// It says itself which characters it has: UTF-8, if nothing else.
const SVG: &str = "image/svg+xml";

/// What a name may end in, and with it what of the result is the response.
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

    /// The extension of that name.
    pub fn parse(name: &str) -> Option<Self> {
        let mut all = Self::ALL.iter();
        let found = all.find(|(_, text)| *text == name);
        found.map(|(extension, _)| *extension)
    }

    /// How it is written.
    pub fn name(self) -> &'static str {
        let mut all = Self::ALL.iter();
        let found = all.find(|(extension, _)| *extension == self);
        found.map_or("", |(_, text)| text)
    }

    /// Takes the extension off a name.
    pub fn split(name: &str) -> (&str, Self) {
        if let Some((stem, last)) = name.rsplit_once('.')
            && let Some(extension) = Self::parse(last)
        {
            return (stem, extension);
        }
        (name, Self::Http)
    }
}

/// The result does not have the form that the extension asks for.
fn invalid(media: &str) -> Failure {
    Failure::bad(format!("Response is not valid '{media}'."))
}

/// The type that the result names is not that of what it gives.
fn other_type() -> Failure {
    Failure::bad("Response type in header did not match generated content type.")
}

fn no_property() -> Failure {
    Failure::new(404, "Response does not include requested property.")
}

/// The response of a web action.
///
/// # Errors
/// The function failed, or its result has another form.
pub fn respond(extension: Extension, outcome: &Outcome) -> Result<Response> {
    let result = outcome.result.clone().unwrap_or_else(Json::null);
    match outcome.status {
        Status::Success => project(extension, &result),
        Status::ApplicationError => member(&result, "error")
            .ok_or_else(no_property)
            .and_then(|error| project(extension, &error)),
        Status::DeveloperError | Status::InternalError => {
            Err(Failure::bad("There was an error processing your request."))
        }
    }
}

fn member(value: &Json, name: &str) -> Option<Json> {
    value.to_object()?.get(name).cloned()
}

fn project(extension: Extension, result: &Json) -> Result<Response> {
    // A result that is no object is what is looked for.
    let property = |name: &str| match result.kind() {
        Kind::Object => member(result, "body").or_else(|| member(result, name)),
        _ => Some(result.clone()),
    };
    match extension {
        Extension::Http => as_http(result),
        Extension::Json => match result.kind() {
            Kind::Object | Kind::Array => Ok(Response::json(200, result)),
            _ => Err(invalid("application/json")),
        },
        Extension::Html => property("html")
            .and_then(|html| html.to_text())
            .map(|html| Response::new(200, "text/html; charset=utf-8", html))
            .ok_or_else(|| invalid("text/html")),
        Extension::Svg => property("svg")
            .and_then(|svg| svg.to_text())
            .map(|svg| Response::new(200, SVG, svg))
            .ok_or_else(|| invalid("image/svg+xml")),
        Extension::Text => {
            let value = property("text").ok_or_else(no_property)?;
            let text = value.to_text().unwrap_or_else(|| value.pretty());
            Ok(Response::new(200, "text/plain; charset=utf-8", text))
        }
    }
}

type Headers = Vec<(Cow<'static, str>, Cow<'static, str>)>;

/// The head of a response whose body comes in parts: status and headers as the object says, the type as the extension does where it
/// says none.
///
/// # Errors
/// The object has another form.
pub fn begin(extension: Extension, head: &Json) -> Result<Response> {
    let refused = || invalid("message/http");
    let object = head.to_object().ok_or_else(refused)?;
    let mut headers = headers(&object).ok_or_else(refused)?;
    let status = match object.get("statusCode") {
        None => 200,
        Some(code) => status(code).ok_or_else(refused)?,
    };
    let is_type = |name: &str| name.eq_ignore_ascii_case("content-type");
    if !headers.iter().any(|(name, _)| is_type(name)) {
        let media = match extension {
            Extension::Http | Extension::Html => "text/html; charset=utf-8",
            Extension::Json => "application/x-ndjson",
            Extension::Svg => SVG,
            Extension::Text => "text/plain; charset=utf-8",
        };
        headers.push((Cow::Borrowed("Content-Type"), media.into()));
    }
    Ok(Response {
        status,
        headers,
        body: Vec::new(),
    })
}

/// Status, headers and body as an object says.
fn as_http(result: &Json) -> Result<Response> {
    let refused = || invalid("message/http");
    let object = result.to_object().ok_or_else(refused)?;
    let mut headers = headers(&object).ok_or_else(refused)?;
    let status = match object.get("statusCode") {
        None => None,
        Some(code) => Some(status(code).ok_or_else(refused)?),
    };
    // The body decides what its type can be; the header is sent with the body or not at all.
    let is_type = |name: &str| name.eq_ignore_ascii_case("content-type");
    let declared = headers.iter().find(|(name, _)| is_type(name));
    let declared = declared.map(|(_, value)| value.as_ref().into());
    headers.retain(|(name, _)| !is_type(name));
    let (bytes, media) = match object.get("body") {
        Some(body) if !matches!(body.as_str(), "null" | "\"\"") => content(body, declared)?,
        _ => {
            return Ok(Response {
                status: status.unwrap_or(204),
                headers,
                body: Vec::new(),
            });
        }
    };
    let status = status.unwrap_or(200);
    if matches!(status, 204 | 205 | 304) {
        return Ok(Response {
            status,
            headers,
            body: Vec::new(),
        });
    }
    headers.push((Cow::Borrowed("Content-Type"), media.into()));
    Ok(Response {
        status,
        headers,
        body: bytes,
    })
}

/// The bytes of a body, and their type.
fn content(body: &Json, declared: Option<String>) -> Result<(Vec<u8>, String)> {
    let Some(text) = body.to_text() else {
        let declared = declared.unwrap_or_else(|| "application/json".into());
        return match Media::parse(&declared).filter(Media::is_json_family) {
            Some(media) => Ok((body.as_str().as_bytes().to_vec(), media.content_type())),
            None => Err(other_type()),
        };
    };
    let declared = declared.unwrap_or_else(|| "text/html".into());
    let media = Media::parse(&declared)
        .ok_or_else(|| Failure::bad("Response did not specify a known content-type."))?;
    let is_coded = !media.is_text() || (media.is_json_family() && is_base64(&text));
    let bytes = if is_coded {
        BASE64.decode(text.trim()).map_err(|_| other_type())?
    } else {
        text.into_bytes()
    };
    Ok((bytes, media.content_type()))
}

/// Whether a text is nothing but base64, padded to whole groups of four. No JSON document but a number or a word is.
fn is_base64(text: &str) -> bool {
    let text = text.trim();
    let digits = text.trim_end_matches('=');
    text.len().is_multiple_of(4)
        && !digits.is_empty()
        && text.len() - digits.len() <= 2
        && digits
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b == b'+' || b == b'/')
}

/// The statuses that there are: those of IANA's registry and some that are older than it. None that announces another.
fn status(code: &Json) -> Option<u16> {
    let number = match code.kind() {
        Kind::Text => code.to_text()?.parse().ok()?,
        Kind::Number => u16::try_from(code.to_integer()?).ok()?,
        _ => return None,
    };
    let is_known = matches!(
        number,
        200..=208 | 226 | 300..=305 | 307 | 308 | 400..=418 | 420..=426 | 428 | 429 | 431
            | 449..=451 | 500..=511 | 598 | 599
    );
    is_known.then_some(number)
}

/// The headers of a result; `None` if they have another form, or would become something else on the wire.
fn headers(result: &Object) -> Option<Headers> {
    let mut headers = Headers::new();
    let Some(given) = result.get("headers") else {
        return Some(headers);
    };
    for (name, value) in given.to_object()?.iter() {
        add_header(&mut headers, name, value, 0)?;
    }
    // The length is that of the body, and the connection is not the action's.
    const CONNECTION: [&str; 4] = [
        "content-length",
        "transfer-encoding",
        "connection",
        "upgrade",
    ];
    headers.retain(|(name, _)| !CONNECTION.iter().any(|own| name.eq_ignore_ascii_case(own)));
    Some(headers)
}

/// An array is a header for each of its elements.
fn add_header(headers: &mut Headers, name: &str, value: &Json, depth: usize) -> Option<()> {
    const DEPTH: usize = 8;
    let text = match value.kind() {
        Kind::Text => value.to_text()?,
        Kind::Bool | Kind::Number => value.compact(),
        Kind::Array if depth < DEPTH => {
            for element in value.to_array()? {
                add_header(headers, name, &element, depth + 1)?;
            }
            return Some(());
        }
        _ => return None,
    };
    is_header(name, &text).then(|| headers.push((Cow::Owned(name.into()), text.into())))
}

/// Whether this can be sent as a header without becoming something else.
pub(crate) fn is_header(name: &str, value: &str) -> bool {
    let token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    !name.is_empty()
        && name.bytes().all(token)
        && value
            .bytes()
            .all(|b| b == b'\t' || (b >= b' ' && b != 0x7f))
}
