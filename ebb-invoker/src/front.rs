//! HTTP: requests of the API, and the paths of the metrics and the live page.

use alloc::format;
use core::future::{Future, poll_fn};
use core::pin::pin;
use core::task::Poll;
use core::time::Duration;

use ebb::net::http::{self, Error, Limits, Request, Response};
use ebb::{EbbRef, time};
use ebb_openwhisk::code;
use ebb_openwhisk::http as api;
use ebb_openwhisk::json::Members;
use ebb_openwhisk::limits::PAYLOAD;
use ebb_openwhisk::plan::{Reply, Step};

use crate::body::{BODY_TIME, receive};
use crate::books::Books;
use crate::convert::{convert, refusal, with_head};
use crate::dispatch::Running;
use crate::executable::unpack_ahead;
use crate::here::Here;
use crate::invoker::Invoker;
use crate::parts::{Parts, Receiving};
use crate::{dispatch, evict, observe, secret, state};

/// What a server that answers with [`answer`] allows its clients.
pub fn limits() -> Limits {
    Limits {
        body: DOCUMENT,
        body_time: BODY_TIME,
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
        (_, "/admin/machines/restart") => restart_machines(request),
        (_, "/admin/trace") => trace(request),
        (_, "/admin/certificate") => secret::exchange(request).await,
        _ => call(request).await,
    }
}

/// Replaces the back end's machines one after the other. Answered when that has begun.
fn restart_machines(request: &Request<'_>) -> Response {
    let books = EbbRef::<Books>::get();
    let is_admin = with_head(request, &[], None, |asked| {
        books.controller(|c| c.authenticate_admin(asked))
    });
    if let Err(failure) = is_admin {
        return refusal(failure.status, &failure.text);
    }
    if request.method() != "POST" {
        return refusal(405, "HTTP method not allowed, supported methods: POST");
    }
    let back_end = books.back_end().unwrap_or(&Here);
    match back_end.restart() {
        Ok(count) => {
            let json = Members::new().number("restarting", count as u64).finish();
            convert(api::Response::json(202, &json))
        }
        Err(why) => refusal(409, &why),
    }
}

/// `GET /admin/trace`: what this machine's cores did last. `POST` starts tracing, `DELETE` stops it.
fn trace(request: &Request<'_>) -> Response {
    let books = EbbRef::<Books>::get();
    let is_admin = with_head(request, &[], None, |asked| {
        books.controller(|c| c.authenticate_admin(asked))
    });
    if let Err(failure) = is_admin {
        return refusal(failure.status, &failure.text);
    }
    match request.method() {
        "GET" => return Response::json(ebb::trace::chrome()),
        "POST" => ebb::trace::start(ebb::trace::RECORDS),
        "DELETE" => ebb::trace::stop(),
        _ => {
            return refusal(
                405,
                "HTTP method not allowed, supported methods: GET, POST, DELETE",
            );
        }
    }
    let json = Members::new().bool("tracing", ebb::trace::is_on()).finish();
    convert(api::Response::json(200, &json))
}

/// The largest document in bytes: the code of an action in JSON, which may escape every character of it.
const DOCUMENT: usize = 100 << 20;
/// The largest document besides its code: parameters and annotations.
const REST: usize = 4 << 20;

/// A request whose head could not be read.
fn refuse(error: Error) -> Response {
    EbbRef::<Invoker>::get().count(|m| m.requests += 1);
    refusal(error.status().unwrap_or(400), &format!("{error}"))
}

/// Whether the body may be an entity's. What is put to actions is theirs, whatever it looks like.
fn is_document(request: &Request<'_>) -> bool {
    let path = request.path();
    let is_entitys = path.starts_with("/api/v1/namespaces/") || !path.starts_with("/api/");
    request.method() == "PUT" && is_entitys
}

/// A request to OpenWhisk's API.
async fn call(request: &mut Request<'_>) -> Response {
    let is_document = is_document(request);
    let most = if is_document { DOCUMENT } else { PAYLOAD };
    let mut received = match receive(request, most).await {
        Ok(received) => received,
        Err(refused) => return refused,
    };
    let body = &mut received.bytes;
    let lifted = match is_document {
        true => code::lift(body).await,
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
    let books = EbbRef::<Books>::get();
    let (step, changed) = loop {
        let (step, changed) = with_head(request, body, code.as_ref(), |asked| books.handle(asked));
        match step {
            Step::Later(missed) => state::bring(missed).await,
            step => break (step, changed),
        }
    };
    drop(received);
    let step = match changed {
        Some(changed) => state::answered(changed, step).await,
        None => step,
    };
    if let (Step::Document(_), Some(code)) = (&step, &code) {
        unpack_ahead(code);
    }
    if request.method() != "GET" && request.path().starts_with("/admin/") {
        EbbRef::<Books>::get().tell_weights();
        evict::forget_stale();
    }
    let response = match step {
        Step::Respond(response) => response,
        Step::Document(document) => {
            if request.method() != "GET" {
                evict::forget_stale();
            }
            document.respond()
        }
        Step::Invoke(plan, reply) => match dispatch::start(plan, &reply) {
            Ok(running) => match wait(running, &reply).await {
                Answer::Whole(response) => response,
                Answer::Begun(response) => return response,
            },
            Err(failure) => reply.refuse(&failure),
        },
        Step::Later(_) => return refusal(503, "It is still being read; try again."),
    };
    if response.status == 429 {
        EbbRef::<Invoker>::get().count(|m| m.throttled += 1);
    }
    convert(response)
}

/// What a call is answered.
enum Answer {
    /// All of it.
    Whole(api::Response),
    /// Its beginning; the rest comes in parts.
    Begun(Response),
}

/// Waits as long as the caller wants to; the call goes on in any case.
async fn wait(running: Running, reply: &Reply) -> Answer {
    let Some(limit_ms) = reply.wait_ms else {
        return Answer::Whole(reply.accepted());
    };
    let Running { record, parts } = running;
    let mut record = pin!(record);
    let first = poll_fn(|cx| {
        // An answer that has begun goes first: its record is there as soon as all of it lies ready.
        if let Some(parts) = &parts
            && let Poll::Ready(head) = parts.poll_begun(cx)
        {
            return Poll::Ready(Err(head));
        }
        record.as_mut().poll(cx).map(Ok)
    });
    let whole = match time::timeout(Duration::from_millis(limit_ms), first).await {
        Ok(Ok(Ok(record))) => reply.respond(&record),
        Ok(Err(head)) => match (reply.begin(&head), parts) {
            (Ok(response), Some(parts)) => return Answer::Begun(in_parts(response, parts)),
            (Err(response), Some(parts)) => {
                parts.refuse();
                response
            }
            (_, None) => reply.accepted(),
        },
        _ => {
            // Nobody will take them.
            if let Some(parts) = parts {
                parts.leave();
            }
            reply.accepted()
        }
    };
    Answer::Whole(whole)
}

/// A response whose body comes in parts, moved from the instance to the connection by a task that ends with either.
fn in_parts(response: api::Response, parts: Parts) -> Response {
    let (sender, pieces) = ebb::sync::channel(1);
    ebb::spawn(async move {
        let receiving = Receiving(parts);
        while let Ok(place) = sender.reserve().await {
            let mut next = pin!(receiving.0.recv());
            // There is no second place, so this ends with the connection only.
            let mut gone = pin!(sender.reserve());
            let part = poll_fn(|cx| match next.as_mut().poll(cx) {
                Poll::Ready(part) => Poll::Ready(part),
                Poll::Pending => gone.as_mut().poll(cx).map(|_| None),
            });
            match part.await {
                Some(part) => place.send(part.map(Into::into).map_err(|_| http::Broken)),
                None => return,
            }
        }
    });
    convert(response).stream(pieces)
}
