//! What can be seen of the platform: Prometheus' metrics, and the live page with its figures.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use ebb::EbbRef;
use ebb::net::http::Response;
use ebb_openwhisk::call::Start;
use ebb_openwhisk::json::{Json, Members};
use ebb_openwhisk::metrics::{Metrics, single};

use crate::books::Books;
use crate::instance::InstanceMaker;
use crate::invoker::Invoker;

static PAGE: &[u8] = include_bytes!("page.html");

/// The live page.
pub(crate) fn page() -> Response {
    Response::html(PAGE)
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
pub(crate) async fn metrics() -> Response {
    let Some((cores, sum)) = counts().await else {
        return Response::error(503, "the platform is ending");
    };
    let mut text = String::new();
    sum.render(&mut text, &cores);
    let books = EbbRef::<Books>::get();
    let (waiting, functions) = books.pool(|p| p.waiting());
    let (instances, idle) = books.pool(|p| p.instances());
    let (used, evictions) = books.pool(|p| (p.used(), p.evictions()));
    let (snapshots, snapshot_bytes) = books.pool(|p| p.snapshots());
    let snapshot_evictions = books.pool(|p| p.snapshot_evictions());
    let (entities, records) = books.controller(|c| (c.store().bytes(), c.activations().bytes()));
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
            books.budget_bytes(),
        ),
        (
            "ebb_memory_free_bytes",
            "gauge",
            "Memory of the machine that is free; 0 where that is not known.",
            EbbRef::<dyn InstanceMaker>::get().free_bytes(),
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
            "ebb_base_ready",
            "gauge",
            "1 when what new instances are copies of has been warmed.",
            EbbRef::<dyn InstanceMaker>::get().is_warm().into(),
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
            books.running().into(),
        ),
    ] {
        single(&mut text, name, kind, help, value);
    }
    Response::text(text).with("cache-control", "no-store")
}

/// What the live page shows, as JSON.
pub(crate) async fn live() -> Response {
    let Some((cores, sum)) = counts().await else {
        return Response::error(503, "the platform is ending");
    };
    let books = EbbRef::<Books>::get();
    let (running, waiting, instances, used) =
        books.pool(|p| (p.running().to_vec(), p.waiting().0, p.instances(), p.used()));
    let (snapshots, snapshot_bytes) = books.pool(|p| p.snapshots());
    let evictions = books.pool(|p| p.evictions() + p.snapshot_evictions());
    let each = cores.iter().enumerate().map(|(at, core)| {
        Members::new()
            .number("running", running.get(at).copied().unwrap_or(0) as u64)
            .number("requests", core.requests)
            .number("activations", core.outcomes.iter().sum::<u64>())
            .finish()
    });
    let starts = Start::ALL.map(|start| {
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
        .number("budget", books.budget_bytes())
        .number("evictions", evictions)
        .number("throttled", sum.throttled)
        .number("ahead", sum.ahead)
        .number("blanks", sum.blanks)
        .finish();
    Response::json(String::from(json.as_str())).with("cache-control", "no-store")
}
