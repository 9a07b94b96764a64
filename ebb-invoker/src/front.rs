//! HTTP: requests of the API, and the paths of the metrics and the live page.

use alloc::borrow::Cow;
use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::time::Duration;

use ebb::net::http::{Error, Limits, Request, Response};
use ebb::{EbbRef, JoinHandle, time};
use ebb_openwhisk::activation::Activation;
use ebb_openwhisk::budget::Budget;
use ebb_openwhisk::code;
use ebb_openwhisk::failure::Failure;
use ebb_openwhisk::http as api;
use ebb_openwhisk::limits::PAYLOAD;
use ebb_openwhisk::plan::{Reply, Step};

use crate::books::{Books, epoch_ms};
use crate::invoker::Invoker;
use crate::{dispatch, evict, observe};

/// What a server that answers with [`answer`] allows its clients.
pub fn limits() -> Limits {
    Limits {
        body: DOCUMENT,
        body_time: Duration::from_secs(60),
        refusal: refuse,
        ..Limits::default()
    }
}

/// Answers one request.
pub async fn answer(request: &mut Request<'_>) -> Response {
    EbbRef::<Invoker>::get().count(|m| m.requests += 1);
    let wants_page = request
        .header("accept")
        .is_some_and(|accept| accept.contains("text/html"));
    match (request.method(), request.path()) {
        ("GET" | "HEAD", "/") if wants_page => observe::page(),
        ("GET" | "HEAD", "/metrics") => observe::metrics().await,
        ("GET" | "HEAD", "/live") => observe::live().await,
        _ => call(request).await,
    }
}

/// The largest document in bytes: the code of an action in JSON, which may escape every character of it.
const DOCUMENT: usize = 100 << 20;
/// The largest document besides its code: parameters and annotations.
const REST: usize = 4 << 20;
/// Bytes of all large bodies that are being received.
static RECEIVING: Budget = Budget::new(160 << 20);
/// Smaller bodies do not count.
const SMALL: usize = 64 << 10;

/// A refusal before the API has seen the request.
fn refusal(status: u16, why: &str) -> Response {
    let id = EbbRef::<Books>::get().controller(|c| c.new_id());
    let response = api::Response::failure(&Failure::new(status, why), &id);
    convert(response.with("X-Request-ID", id))
}

/// A request that could not be read.
fn refuse(error: Error) -> Response {
    EbbRef::<Invoker>::get().count(|m| m.requests += 1);
    refusal(error.status().unwrap_or(400), &format!("{error}"))
}

/// A request to OpenWhisk's API.
async fn call(request: &mut Request<'_>) -> Response {
    let is_document = request.method() == "PUT";
    let most = if is_document { DOCUMENT } else { PAYLOAD };
    let announced = request
        .header("content-length")
        .and_then(|n| n.parse::<u64>().ok());
    if let Some(length) = announced.filter(|&n| n > most as u64) {
        let text = format!("Request larger than allowed: {length} > {most} bytes.");
        return refusal(413, &text);
    }
    // Large bodies are admitted only while their sum fits; one of unknown length counts as the maximum.
    let expected = match announced {
        Some(length) => usize::try_from(length).unwrap_or(usize::MAX),
        None if request.header("transfer-encoding").is_some() => most,
        None => 0,
    };
    let counted = if expected > SMALL { expected } else { 0 };
    let Some(receiving) = RECEIVING.take(counted) else {
        return refusal(
            503,
            "The platform is receiving too much at once; try again.",
        );
    };
    let mut body = match request.bytes_up_to(most).await {
        Ok(body) => body,
        Err(Error::BodyTooLarge) => {
            return refusal(
                413,
                &format!("Request larger than allowed: > {most} bytes."),
            );
        }
        Err(error) => return refuse(error),
    };
    let lifted = match is_document {
        true => code::lift(&mut body).await,
        false => Ok(None),
    };
    let code = match lifted {
        Ok(code) => code,
        Err(why) => {
            let text = format!("The request content was malformed:\n{why}");
            return refusal(400, &text);
        }
    };
    if body.len() > REST {
        let text = format!(
            "Request larger than allowed: {} > {REST} bytes.",
            body.len()
        );
        return refusal(413, &text);
    }
    let headers: Vec<(&str, Cow<'_, str>)> = request
        .head()
        .headers()
        .map(|(name, value)| (name, String::from_utf8_lossy(value)))
        .collect();
    let headers: Vec<(&str, &str)> = headers
        .iter()
        .map(|(name, value)| (*name, value.as_ref()))
        .collect();
    let asked = api::Request {
        method: request.method(),
        path: request.path(),
        query: request.query(),
        headers: &headers,
        body: &body,
        code: code.as_ref(),
    };
    drop(receiving);
    let books = EbbRef::<Books>::get();
    let step = books.controller(|c| c.handle(&asked, epoch_ms()));
    let response = match step {
        Step::Respond(response) => response,
        Step::Document(document) => {
            if request.method() != "GET" {
                evict::forget_stale();
            }
            document.respond()
        }
        Step::Invoke(plan, reply) => match dispatch::start(plan, &reply) {
            Ok(running) => wait(running, &reply).await,
            Err(failure) => reply.refuse(&failure),
        },
    };
    if response.status == 429 {
        EbbRef::<Invoker>::get().count(|m| m.throttled += 1);
    }
    convert(response)
}

/// Waits as long as the caller wants to; the call goes on in any case.
async fn wait(running: JoinHandle<Arc<Activation>>, reply: &Reply) -> api::Response {
    let Some(limit_ms) = reply.wait else {
        return reply.accepted();
    };
    match time::timeout(Duration::from_millis(limit_ms), running).await {
        Ok(Ok(record)) => reply.respond(&record),
        _ => reply.accepted(),
    }
}

fn convert(response: api::Response) -> Response {
    let mut converted = Response::new(response.status);
    for (name, value) in response.headers {
        converted = converted.with(name, value);
    }
    converted.body(response.body)
}
