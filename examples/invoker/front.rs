//! HTTP: the API, the metrics, the live page.

use alloc::borrow::Cow;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;
use ebb::net::http::{Error, Request, Response};
use ebb::{EbbRef, time};
use ebb_openwhisk::budget::Budget;
use ebb_openwhisk::code;
use ebb_openwhisk::failure::Failure;
use ebb_openwhisk::http as api;
use ebb_openwhisk::instance::Deploy;
use ebb_openwhisk::json::{Json, Members};
use ebb_openwhisk::limits::PAYLOAD;
use ebb_openwhisk::metrics::{Metrics, single};
use ebb_openwhisk::plan::{Reply, Step};

use crate::engine::{self, Invoker};
use crate::platform::{Platform, now};

static PAGE: &[u8] = include_bytes!("page.html");

/// Answers one request.
pub async fn answer(request: &mut Request<'_>) -> Response {
    EbbRef::<Invoker>::get().count(|m| m.requests += 1);
    let wants_page = request
        .header("accept")
        .is_some_and(|accept| accept.contains("text/html"));
    match (request.method(), request.path()) {
        ("GET" | "HEAD", "/") if wants_page => Response::html(PAGE),
        ("GET" | "HEAD", "/metrics") => metrics().await,
        ("GET" | "HEAD", "/live") => live().await,
        _ => call(request).await,
    }
}

/// The largest document in bytes: the code of an action in JSON, which may escape every character of it.
pub const DOCUMENT: usize = 100 << 20;
/// The largest document besides its code: parameters and annotations.
const REST: usize = 4 << 20;
/// Bytes of all large bodies that are being received.
static RECEIVING: Budget = Budget::new(160 << 20);
/// Smaller bodies do not count.
const SMALL: usize = 64 << 10;

/// A refusal before the API has seen the request.
fn refusal(status: u16, why: &str) -> Response {
    let id = EbbRef::<Platform>::get().controller(|c| c.new_id());
    let response = api::Response::failure(&Failure::new(status, why), &id);
    convert(response.with("X-Request-ID", id))
}

/// A request that could not be read.
pub fn refuse(error: Error) -> Response {
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
    // Nobody fills the memory with bodies: the large ones have to fit together, and an end of unknown length is far.
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
    let platform = EbbRef::<Platform>::get();
    let step = platform.controller(|c| c.handle(&asked, now()));
    let response = match step {
        Step::Respond(response) => response,
        Step::Document(document) => {
            if request.method() != "GET" {
                engine::forget_stale();
            }
            document.respond()
        }
        Step::Invoke(plan, reply) => match engine::start(plan, &reply) {
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
async fn wait(
    running: ebb::JoinHandle<alloc::sync::Arc<ebb_openwhisk::activation::Activation>>,
    reply: &Reply,
) -> api::Response {
    let Some(limit) = reply.wait else {
        return reply.accepted();
    };
    match time::timeout(Duration::from_millis(limit), running).await {
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

async fn counts() -> Option<(Vec<Metrics>, Metrics)> {
    let cores = EbbRef::<Invoker>::new()
        .gather(|invoker| invoker.metrics())
        .await
        .ok()?;
    let mut sum = Metrics::default();
    for core in &cores {
        sum.add(core);
    }
    Some((cores, sum))
}

/// Prometheus' text format.
async fn metrics() -> Response {
    let Some((cores, sum)) = counts().await else {
        return Response::error(503, "the platform is ending");
    };
    let mut text = String::new();
    sum.render(&mut text, &cores);
    let platform = EbbRef::<Platform>::get();
    let (waiting, functions) = platform.pool(|p| p.waiting());
    let (instances, idle) = platform.pool(|p| p.instances());
    let (used, evictions) = platform.pool(|p| (p.used(), p.evictions()));
    let (snapshots, snapshot_bytes) = platform.pool(|p| p.snapshots());
    let snapshot_evictions = platform.pool(|p| p.snapshot_evictions());
    let (entities, records) = platform.controller(|c| (c.store().bytes(), c.activations().bytes()));
    for (name, kind, help, value) in [
        (
            "ebb_queue_length",
            "gauge",
            "Calls that wait for an instance.",
            waiting as u64,
        ),
        (
            "ebb_queue_functions",
            "gauge",
            "Functions with calls that wait.",
            functions as u64,
        ),
        ("ebb_instances", "gauge", "Instances.", instances as u64),
        (
            "ebb_instances_idle",
            "gauge",
            "Instances that wait for a call.",
            idle as u64,
        ),
        (
            "ebb_instances_bytes",
            "gauge",
            "Memory of all instances.",
            used - snapshot_bytes,
        ),
        (
            "ebb_snapshots",
            "gauge",
            "Functions that have a snapshot.",
            snapshots as u64,
        ),
        (
            "ebb_snapshots_bytes",
            "gauge",
            "Memory that only snapshots of functions hold.",
            snapshot_bytes,
        ),
        (
            "ebb_memory_budget_bytes",
            "gauge",
            "Memory that instances and snapshots may use together.",
            platform.memory(),
        ),
        (
            "ebb_memory_free_bytes",
            "gauge",
            "Memory of the machine that nobody uses; 0 where that is not known.",
            EbbRef::<dyn Deploy>::get().free(),
        ),
        (
            "ebb_snapshot_evictions_total",
            "counter",
            "Snapshots that had to make room.",
            snapshot_evictions,
        ),
        (
            "ebb_evictions_total",
            "counter",
            "Idle instances that had to make room.",
            evictions,
        ),
        (
            "ebb_entities_bytes",
            "gauge",
            "Memory of actions and other entities.",
            entities as u64,
        ),
        (
            "ebb_records_bytes",
            "gauge",
            "Memory of activation records.",
            records as u64,
        ),
        (
            "ebb_calls_running",
            "gauge",
            "Calls that run or wait.",
            platform.running().into(),
        ),
    ] {
        single(&mut text, name, kind, help, value);
    }
    Response::text(text).with("cache-control", "no-store")
}

/// What the live page shows, as JSON.
async fn live() -> Response {
    let Some((cores, sum)) = counts().await else {
        return Response::error(503, "the platform is ending");
    };
    let platform = EbbRef::<Platform>::get();
    let (running, waiting, instances, used) =
        platform.pool(|p| (p.running().to_vec(), p.waiting().0, p.instances(), p.used()));
    let (snapshots, snapshot_bytes) = platform.pool(|p| p.snapshots());
    let evictions = platform.pool(|p| p.evictions() + p.snapshot_evictions());
    let each = cores.iter().enumerate().map(|(at, core)| {
        Members::new()
            .number("running", running.get(at).copied().unwrap_or(0) as u64)
            .number("requests", core.requests)
            .number("activations", core.outcomes.iter().sum::<u64>())
            .finish()
    });
    let starts = ebb_openwhisk::call::Start::ALL.map(|start| {
        let latency = &sum.latency[start as usize];
        Members::new()
            .text("name", start.name())
            .number("count", latency.count())
            .number("median", latency.quantile(50))
            .number("p99", latency.quantile(99))
            .finish()
    });
    let json = Members::new()
        .raw("cores", Json::array(each).as_str())
        .raw("starts", Json::array(starts).as_str())
        .raw(
            "outcomes",
            Json::array(sum.outcomes.map(|n| format!("{n}"))).as_str(),
        )
        .number("waiting", waiting as u64)
        .number("instances", instances.0 as u64)
        .number("idle", instances.1 as u64)
        .number("instance_bytes", used - snapshot_bytes)
        .number("snapshots", snapshots as u64)
        .number("snapshot_bytes", snapshot_bytes)
        .number("budget", platform.memory())
        .number("evictions", evictions)
        .number("throttled", sum.throttled)
        .number("ahead", sum.ahead)
        .number("blanks", sum.blanks)
        .finish();
    Response::json(String::from(json.as_str())).with("cache-control", "no-store")
}
