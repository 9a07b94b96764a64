//! Between HTTP and the API: requests in its form, and its answers as HTTP's.

use alloc::borrow::Cow;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use ebb::EbbRef;
use ebb::net::http::{Error, Request, Response};
use ebb_openwhisk::code::CodeText;
use ebb_openwhisk::failure::Failure;
use ebb_openwhisk::http as api;

use crate::books::Books;

/// A refusal before the API has seen the request.
pub(crate) fn refusal(status: u16, why: &str) -> Response {
    let id = EbbRef::<Books>::get().controller(|c| c.new_id());
    let response = api::Response::failure(&Failure::new(status, why), &id);
    convert(response.with("X-Request-ID", id))
}

/// A request whose body could not be read, of which at most so many bytes are taken.
pub(crate) fn unreadable(error: Error, most: usize) -> Response {
    match error {
        Error::BodyTooLarge => refusal(
            413,
            &format!("Request larger than allowed: > {most} bytes."),
        ),
        error => refusal(error.status().unwrap_or(400), &format!("{error}")),
    }
}

/// Shows `f` a request as the API takes it, with this body.
pub(crate) fn with_head<R>(
    request: &Request<'_>,
    body: &[u8],
    code: Option<&CodeText>,
    f: impl FnOnce(&api::Request<'_>) -> R,
) -> R {
    // Headers are text as a rule; what is none is repaired, which takes copies.
    let repaired: Vec<(&str, Cow<'_, str>)>;
    let headers: Vec<(&str, &str)> = match request.head().text_headers() {
        Some(headers) => headers.collect(),
        None => {
            let text = |(name, value)| (name, String::from_utf8_lossy(value));
            repaired = request.head().headers().map(text).collect();
            repaired
                .iter()
                .map(|(name, value)| (*name, value.as_ref()))
                .collect()
        }
    };
    f(&api::Request {
        method: request.method(),
        path: request.path(),
        query: request.query(),
        headers: &headers,
        body,
        code,
    })
}

/// An answer of the API.
pub(crate) fn convert(response: api::Response) -> Response {
    let mut converted = Response::new(response.status);
    for (name, value) in response.headers {
        converted = converted.with(name, value);
    }
    converted.body(response.body)
}
