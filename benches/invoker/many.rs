//! The image with very many functions: what a cold start takes, what a hot call takes beside them, and how much memory an
//! instance and a snapshot take, as their number grows; and at last what a call of any of them takes.

use std::{
    net::SocketAddr,
    path::Path,
    sync::{Mutex, PoisonError},
    thread,
    time::Duration,
};

use benches::{
    functions::{ARGUMENTS, Client, IMAGE, metrics},
    goal, goal_at_least,
    load::Figures,
    plot::{Line, Panel, svg},
    sides::Side,
};

use crate::{AGAIN, COLD, FILL, HOT, MEMORY, call, figures};

/// Functions that have been called and were not deleted.
static STAYED: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// Notes functions that stay.
pub fn stay(names: Vec<String>) {
    let mut stayed = STAYED.lock().unwrap_or_else(PoisonError::into_inner);
    stayed.extend(names);
}

/// A call of each of `count` of those, one after the other, evenly out of all: how many met an instance of theirs in place of a rate, and
/// the times.
pub fn again(address: SocketAddr, count: usize) -> Figures {
    let hot = || metrics(address)("ebb_activation_seconds_count{start=\"hot\"}");
    let stayed = STAYED.lock().unwrap_or_else(PoisonError::into_inner);
    let mut client = Client::new(address);
    let before = hot();
    let chosen = (0..count).map(|n| &stayed[n * stayed.len() / count]);
    let seconds: Vec<f64> = chosen.map(|name| call(&mut client, name)).collect();
    Figures {
        per_second: hot() - before,
        ..figures(seconds, 1.0)
    }
}

/// How many of the functions are called once more at the end.
const CALLED_AGAIN: usize = 1000;
/// How long they have rested then; a little more than what the invoker takes for long.
const REST: Duration = Duration::from_secs(13);

/// What is known when there are so many functions.
struct Sample {
    functions: f64,
    cold: (f64, f64),
    hot: (f64, f64),
    instance: f64,
    snapshot: f64,
    machine: f64,
}

const MIB: f64 = 1024.0 * 1024.0;

/// Fills an image with functions; `cores` vCPUs, memory as `--memory` says. Writes a plot if there is a place for it.
pub fn run(functions: usize, cores: usize, image: &Path, plot: Option<&Path>) {
    let mut side = Side::image(image, cores, IMAGE, &ARGUMENTS, None);
    // The first call waits for the platform's start.
    side.order(&format!("{HOT} 1 0.1"));
    side.order(&format!("{HOT} 4 8"));
    side.order(&format!("{COLD} 1 10"));
    let hot = format!("{HOT} 1 2");
    let many_hot = format!("{HOT} 8 3");
    let before = (side.order(&hot), side.order(&many_hot));
    // Instances, snapshots and free memory; see `memory` of the agent.
    let instances = format!("{MEMORY} 0");
    let snapshots = format!("{MEMORY} 1");
    let free = side.order(&instances).p99_us;
    println!(
        "\n{functions} functions, {cores} vCPU: cold starts by 2 clients, then hot calls of one of them by 1 client"
    );
    println!(
        "functions   cold p50, p99        hot p50, p99       instance  snapshot  of the machine"
    );
    let steps = 10;
    let mut samples = Vec::new();
    for step in 1..=steps {
        let count = functions * step / steps - functions * (step - 1) / steps;
        let cold = side.order(&format!("{FILL} 2 {count}"));
        let hot = side.order(&hot);
        let (i, s) = (side.order(&instances), side.order(&snapshots));
        let sample = Sample {
            functions: (functions * step / steps) as f64,
            cold: (cold.p50_us / 1e3, cold.p99_us / 1e3),
            hot: (hot.p50_us / 1e3, hot.p99_us / 1e3),
            instance: i.p50_us / i.per_second.max(1.0) / MIB,
            snapshot: s.p50_us / s.per_second.max(1.0) / MIB,
            machine: (free - i.p99_us) / MIB / (functions * step / steps) as f64,
        };
        println!(
            "{:>9} {:>7.1}, {:>7.1} ms {:>7.2}, {:>7.2} ms {:>7.2} MiB {:>5.2} MiB {:>5.2} MiB each, {} instances, {} snapshots, {} evicted",
            sample.functions,
            sample.cold.0,
            sample.cold.1,
            sample.hot.0,
            sample.hot.1,
            sample.instance,
            sample.snapshot,
            sample.machine,
            i.per_second,
            s.per_second,
            s.p99_us
        );
        samples.push(sample);
    }
    let after = (side.order(&hot), side.order(&many_hot));
    println!(
        "hot, 1 client: p50 {:.2} ms before, {:.2} ms after; 8 clients: {:.0} and {:.0} calls/s",
        before.0.p50_us / 1e3,
        after.0.p50_us / 1e3,
        before.1.per_second,
        after.1.per_second
    );
    thread::sleep(REST);
    let asked = functions.min(CALLED_AGAIN);
    let again = side.order(&format!("{AGAIN} {asked}"));
    println!(
        "{asked} of the functions, called once more: p50 {:.2} ms, p99 {:.2} ms; {} of them met an instance",
        again.p50_us / 1e3,
        again.p99_us / 1e3,
        again.per_second
    );
    goal("any_function_to_hot", again.p50_us / after.0.p50_us, 2.0);
    let met = again.per_second / asked as f64;
    goal_at_least("functions_with_an_instance", met, 1.0);
    if let Some(last) = samples.last() {
        goal("idle_instance_mib", last.instance, 1.5);
        goal("function_snapshot_mib", last.snapshot, 0.5);
    }
    let slower = after.0.p50_us / before.0.p50_us;
    goal("hot_beside_many_functions", slower, 1.1);
    if let Some(file) = plot {
        let line = |name, value: fn(&Sample) -> f64| Line {
            name,
            points: samples.iter().map(|s| (s.functions, value(s))).collect(),
        };
        let document = svg(&[
            Panel {
                title: "Latency at the client, ms",
                x: "functions",
                logarithmic: true,
                lines: vec![
                    line("cold start, median", |s| s.cold.0),
                    line("cold start, 99 of 100 within", |s| s.cold.1),
                    line("hot call, median", |s| s.hot.0),
                    line("hot call, 99 of 100 within", |s| s.hot.1),
                ],
            },
            Panel {
                title: "Memory, MiB each",
                x: "functions",
                logarithmic: false,
                lines: vec![
                    line("idle instance", |s| s.instance),
                    line("snapshot of a function", |s| s.snapshot),
                    line("both and all else, by the machine's free memory", |s| {
                        s.machine
                    }),
                ],
            },
        ]);
        std::fs::write(file, document).expect("a file to write the plot to");
        println!("plot: {}", file.display());
    }
}
