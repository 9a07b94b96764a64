//! What can be seen of the platform: Prometheus' metrics, and the live page with its figures.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt::Write;

use ebb::EbbRef;
use ebb::net::http::Response;
use ebb_openwhisk::call::Start;
use ebb_openwhisk::json::{Json, Members};
use ebb_openwhisk::metrics::{Histogram, Metrics, head, single};

use crate::back_end::Figures;
use crate::books::Books;
use crate::here::Here;
use crate::invoker::Invoker;

static PAGE: &[u8] = include_bytes!("page.html");

/// The live page.
pub(crate) fn page() -> Response {
    Response::html(PAGE)
}

/// What there is to be seen.
struct Seen {
    /// What the front end's cores have counted.
    fronts: Vec<Metrics>,
    /// The sum of everything that was counted.
    counted: Metrics,
    /// Each machine that makes calls.
    machines: Vec<Figures>,
    /// Their sum.
    all: Figures,
}

async fn see() -> Option<Seen> {
    let back_end = EbbRef::<Books>::get().back_end();
    let machines = back_end.unwrap_or(&Here).figures().await;
    let mut all = Figures::default();
    let mut counted = Metrics::default();
    for machine in &machines {
        all.add(machine);
        machine.cores.iter().for_each(|core| counted.add(core));
    }
    let fronts = match back_end {
        None => machines.first()?.cores.clone(),
        Some(_) => {
            let invokers = EbbRef::<Invoker>::new();
            let fronts = invokers.gather(|invoker| invoker.metrics()).await.ok()?;
            fronts.iter().for_each(|core| counted.add(core));
            fronts
        }
    };
    (!fronts.is_empty()).then_some(Seen {
        fronts,
        counted,
        machines,
        all,
    })
}

/// Prometheus' text format, as an answer.
pub(crate) async fn metrics() -> Response {
    match metrics_text().await {
        Some(text) => Response::text(text).with("cache-control", "no-store"),
        None => Response::error(503, "the platform is ending"),
    }
}

/// Everything that was counted, in Prometheus' text format; `None` when the platform is ending.
pub async fn metrics_text() -> Option<String> {
    let seen = see().await?;
    let mut text = String::new();
    seen.counted.render(&mut text, &seen.fronts);
    let books = EbbRef::<Books>::get();
    let all = &seen.all;
    let (entities, records) = books.controller(|c| (c.store().bytes(), c.activations().bytes()));
    for (name, kind, help, value) in [
        (
            "ebb_queue_length",
            "gauge",
            "Calls that wait for an instance.",
            all.waiting as u64,
        ),
        (
            "ebb_queue_functions",
            "gauge",
            "Functions with calls that wait.",
            all.waiting_functions as u64,
        ),
        ("ebb_instances", "gauge", "Instances.", all.instances as u64),
        (
            "ebb_instances_idle",
            "gauge",
            "Instances that wait for a call.",
            all.idle as u64,
        ),
        (
            "ebb_instances_bytes",
            "gauge",
            "Memory of all instances.",
            all.used_bytes.saturating_sub(all.snapshot_bytes),
        ),
        (
            "ebb_snapshots",
            "gauge",
            "Functions that have a snapshot.",
            all.snapshots as u64,
        ),
        (
            "ebb_snapshots_bytes",
            "gauge",
            "Memory that only snapshots of functions hold.",
            all.snapshot_bytes,
        ),
        (
            "ebb_memory_budget_bytes",
            "gauge",
            "Memory that instances and snapshots may use together.",
            all.budget_bytes,
        ),
        (
            "ebb_memory_free_bytes",
            "gauge",
            "Memory of the machine that is free; 0 where that is not known.",
            all.free_bytes,
        ),
        (
            "ebb_snapshot_evictions_total",
            "counter",
            "Snapshots that had to make room.",
            all.snapshot_evictions,
        ),
        (
            "ebb_evictions_total",
            "counter",
            "Idle instances that had to make room.",
            all.evictions,
        ),
        (
            "ebb_base_ready",
            "gauge",
            "1 when what new instances are copies of has been warmed.",
            all.is_warm.into(),
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
    each_machine(&mut text, &seen.machines);
    Some(text)
}

/// A metric, its kind, its help, and the function of a machine's figures that it is.
type Told = (
    &'static str,
    &'static str,
    &'static str,
    fn(&Figures) -> u64,
);

/// What is told of each machine, where there are several.
fn each_machine(text: &mut String, machines: &[Figures]) {
    let told: [Told; 8] = [
        (
            "ebb_machine_up",
            "gauge",
            "1 when calls are made on the machine.",
            |m| m.is_up.into(),
        ),
        (
            "ebb_machine_calls_running",
            "gauge",
            "Calls that run on the machine.",
            |m| m.running.iter().sum::<usize>() as u64,
        ),
        (
            "ebb_machine_queue_length",
            "gauge",
            "Calls that wait on the machine.",
            |m| m.waiting as u64,
        ),
        (
            "ebb_machine_instances",
            "gauge",
            "Instances of the machine.",
            |m| m.instances as u64,
        ),
        (
            "ebb_machine_snapshots",
            "gauge",
            "Functions that have a snapshot on the machine.",
            |m| m.snapshots as u64,
        ),
        (
            "ebb_machine_snapshots_fetched_total",
            "counter",
            "Snapshots, of bases and functions, that came from another machine.",
            |m| m.cores.iter().map(|core| core.snapshots_fetched).sum(),
        ),
        (
            "ebb_machine_snapshot_bytes_fetched_total",
            "counter",
            "Bytes of snapshots that came from another machine.",
            |m| m.cores.iter().map(|core| core.bytes_fetched).sum(),
        ),
        (
            "ebb_machine_snapshot_fetches_failed_total",
            "counter",
            "Snapshots of another machine that did not come, too late, or damaged.",
            |m| m.cores.iter().map(|core| core.fetches_failed).sum(),
        ),
    ];
    let named: Vec<&Figures> = machines.iter().filter(|m| !m.machine.is_empty()).collect();
    for (name, kind, help, value) in told.iter().filter(|_| !named.is_empty()) {
        head(text, name, kind, help);
        for machine in &named {
            let _ = writeln!(
                text,
                "{name}{{machine=\"{}\"}} {}",
                machine.machine,
                value(machine)
            );
        }
    }
}

/// How many calls have run on a core's instances.
fn calls(core: &Metrics) -> u64 {
    core.run.iter().map(Histogram::count).sum()
}

/// What the live page shows, as JSON.
pub(crate) async fn live() -> Response {
    let Some(seen) = see().await else {
        return Response::error(503, "the platform is ending");
    };
    let all = &seen.all;
    let has_others = seen.machines.iter().any(|m| !m.machine.is_empty());
    let each = seen.fronts.iter().enumerate().map(|(at, core)| {
        let of_one = seen.machines.first().filter(|_| !has_others);
        let running = of_one.and_then(|one| one.running.get(at).copied());
        Members::new()
            .number("running", running.unwrap_or(0) as u64)
            .number("requests", core.requests)
            .number("activations", core.outcomes.iter().sum::<u64>())
            .finish()
    });
    let machines = seen.machines.iter().filter(|_| has_others).map(|machine| {
        Members::new()
            .text("name", &machine.machine)
            .bool("up", machine.is_up)
            .number("cores", machine.cores.len() as u64)
            .number("running", machine.running.iter().sum::<usize>() as u64)
            .number("waiting", machine.waiting as u64)
            .number("instances", machine.instances as u64)
            .number("snapshots", machine.snapshots as u64)
            .number("bytes", machine.used_bytes)
            .number("calls", machine.cores.iter().map(calls).sum::<u64>())
            .finish()
    });
    let starts = Start::ALL.map(|start| {
        let latency = &seen.counted.latency[start as usize];
        Members::new()
            .text("name", start.name())
            .number("count", latency.count())
            .number("median", latency.quantile(50))
            .number("p99", latency.quantile(99))
            .finish()
    });
    let outcomes = seen.counted.outcomes.map(|n| format!("{n}"));
    let json = Members::new()
        .raw("cores", Json::array(each).as_str())
        .raw("machines", Json::array(machines).as_str())
        .raw("starts", Json::array(starts).as_str())
        .raw("outcomes", Json::array(outcomes).as_str())
        .number("waiting", all.waiting as u64)
        .number("instances", all.instances as u64)
        .number("idle", all.idle as u64)
        .number(
            "instance_bytes",
            all.used_bytes.saturating_sub(all.snapshot_bytes),
        )
        .number("snapshots", all.snapshots as u64)
        .number("snapshot_bytes", all.snapshot_bytes)
        .number("budget", all.budget_bytes)
        .number("evictions", all.evictions + all.snapshot_evictions)
        .number("throttled", seen.counted.throttled)
        .number("ahead", seen.counted.ahead)
        .number("blanks", seen.counted.blanks)
        .finish();
    Response::json(String::from(json.as_str())).with("cache-control", "no-store")
}
