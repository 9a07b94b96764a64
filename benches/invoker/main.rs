//! How fast are functions? The example `invoker` in an image beside one Linux process for each function in a Linux guest,
//! on the same virtual hardware, under the same load over a tap interface.
//!
//! - hot: one function, called again and again over kept-alive connections, each with one call outstanding.
//! - cold: the first call of a new function, which is known to the platform but has never run: by 1, 2, 16 and 64 clients.
//! - warm (image only): a call for which the only instance is busy, so that a copy of the function's snapshot takes it.
//!   It stands beside Linux's process start.
//!
//! `EBB_LINUX_GUEST=PROGRAM cargo bench --bench invoker [-- --quick] [--cores N] [--memory MIB]`, as root. Without `--cores`
//! both 1 and 2 vCPUs.
//!
//! `... -- --functions N [--cores N] [--memory MIB] [--plot FILE]`: the image alone with N functions, each of which has an idle
//! instance and a snapshot; the plot is an SVG.
//!
//! `... -- --rest [--apart MS]`: the image alone, and what the next call costs of an instance at rest.
//!
//! `... -- --machines`: a front door before machines of one vCPU: hot calls beside those of an image that is called directly, and cold starts of two
//! machines beside those of one.
//!
//! `... -- --languages [--cores N]`: functions in Python and programs instead of JavaScript, beside Linux's processes.
//! `... -- --kinds`: the image alone, what other kinds that are loaded cost functions in JavaScript.
//! `... -- --capture`: the image alone, what it takes to capture an instance after its first call.
//! `... -- --before DIR`: instructions beside an older build, a checkout with its runner and `target/release/examples/invoker`.

mod before;
mod capture;
mod kinds;
mod languages;
mod machines;
mod many;
mod rest;

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    thread,
    time::{Duration, Instant},
};

use benches::{
    functions::{ARGUMENTS, Client, Greeting, IMAGE, LINUX, metrics, until_ready},
    goal, goal_at_least,
    load::{Figures, Generator, Load},
    median, quick,
    sides::{Side, agent, linux_guest, value_of},
    turns::{ratio, turns},
};
use languages::Language;
use test_support::cargo;

const SOURCE: &str = "function main(a) { return a.wait ? new Promise((done) => setTimeout(() => done({greeting: 'late'}), a.wait)) : {greeting: 'hello ' + a.name}; }";

// What an order begins with.
const HOT: f64 = 0.0;
const COLD: f64 = 1.0;
const WARM: f64 = 2.0;
/// As `COLD`, of functions that stay.
const FILL: f64 = 3.0;
/// What the metrics say of memory: 0 for instances, 1 for snapshots.
const MEMORY: f64 = 4.0;
/// One call of each of some functions, which stay.
const TURN: f64 = 5.0;
/// New functions in a language, and calls of one.
const LANGUAGE_COLD: f64 = 6.0;
const LANGUAGE_HOT: f64 = 7.0;
/// Calls whose instructions are counted: of which side, of what kind, how many.
const COUNTED: f64 = 8.0;
/// Calls whose instructions are counted one by one: of which side, how many.
const EACH: f64 = 10.0;
/// One call of each of so many functions that stay, evenly out of all.
const AGAIN: f64 = 11.0;
/// A new function whose instructions are counted: of which side.
const NEW: f64 = 9.0;

/// Seconds that a call takes.
fn call(client: &mut Client, name: &str) -> f64 {
    let begun = Instant::now();
    let answer = client.ask("POST", name, &format!("{{\"name\":\"{name}\"}}"));
    let taken = begun.elapsed().as_secs_f64();
    let right = format!("{{\"greeting\":\"hello {name}\"}}");
    // Python's encoder writes blanks.
    let is_right = answer.replace("\": ", "\":").contains(&right);
    assert!(is_right, "{name}: {answer}");
    taken
}

fn figures(mut seconds: Vec<f64>, elapsed: f64) -> Figures {
    seconds.sort_by(f64::total_cmp);
    let at = |part: usize| seconds[(seconds.len() - 1) * part / 100] * 1e6;
    Figures {
        per_second: seconds.len() as f64 / elapsed,
        p50_us: at(50),
        p99_us: at(99),
    }
}

/// Names that were not used before.
fn names(count: usize) -> Vec<String> {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    let first = NEXT.fetch_add(count, Ordering::Relaxed);
    (first..first + count).map(|n| format!("f{n}")).collect()
}

/// `count` functions, each called once, by `clients` at the same time.
fn cold(address: SocketAddr, clients: usize, count: usize, stay: bool) -> Figures {
    let names = names(count);
    let mut own = Client::new(address);
    names.iter().for_each(|name| own.register(name, SOURCE));
    let mut all: Vec<Client> = (0..clients).map(|_| Client::new(address)).collect();
    let next = AtomicUsize::new(0);
    let begun = Instant::now();
    let seconds: Vec<f64> = thread::scope(|scope| {
        let running: Vec<_> = all
            .iter_mut()
            .map(|client| {
                scope.spawn(|| {
                    let mut seconds = Vec::new();
                    while let Some(name) = names.get(next.fetch_add(1, Ordering::Relaxed)) {
                        seconds.push(call(client, name));
                    }
                    seconds
                })
            })
            .collect();
        running
            .into_iter()
            .flat_map(|thread| thread.join().expect("a client"))
            .collect()
    });
    let elapsed = begun.elapsed().as_secs_f64();
    // The next order finds the machine as this one did.
    if stay {
        many::stay(names);
    } else {
        names.iter().for_each(|name| {
            own.ask("DELETE", name, "");
        });
    }
    figures(seconds, elapsed)
}

/// `count` functions whose only instance is busy when they are called.
fn warm(address: SocketAddr, count: usize) -> Figures {
    let (mut own, mut other) = (Client::new(address), Client::new(address));
    let seconds: Vec<f64> = names(count)
        .iter()
        .map(|name| {
            own.register(name, SOURCE);
            call(&mut own, name);
            // The snapshot is taken after the answer.
            thread::sleep(Duration::from_millis(100));
            let taken = thread::scope(|scope| {
                scope.spawn(|| other.ask("POST", name, "{\"wait\":200}"));
                thread::sleep(Duration::from_millis(60));
                call(&mut own, name)
            });
            own.ask("DELETE", name, "");
            taken
        })
        .collect();
    let sum = seconds.iter().sum();
    figures(seconds, sum)
}

/// How many instances or snapshots there are, their bytes together, and the machine's free bytes or how many snapshots and
/// instances were evicted, in the places of a rate and two times.
fn memory(address: SocketAddr, snapshots: bool) -> Figures {
    let value = metrics(address);
    if snapshots {
        Figures {
            per_second: value("ebb_snapshots"),
            p50_us: value("ebb_snapshots_bytes"),
            p99_us: value("ebb_evictions_total") + value("ebb_snapshot_evictions_total"),
        }
    } else {
        Figures {
            per_second: value("ebb_instances"),
            p50_us: value("ebb_instances_bytes"),
            p99_us: value("ebb_memory_free_bytes"),
        }
    }
}

/// The same call for ever.
fn hot_call(port: u16) -> Greeting {
    Greeting {
        port,
        function: "hot",
        right: "{\"greeting\":\"hello you\"}",
    }
}

fn hot(address: SocketAddr, connections: usize, seconds: f64) -> Figures {
    // Once: a new version of it would start anew.
    static KNOWN: AtomicBool = AtomicBool::new(false);
    if !KNOWN.swap(true, Ordering::Relaxed) {
        Client::new(address).register("hot", SOURCE);
    }
    let load = Load {
        depth: 1,
        rate: 0.0,
        seconds,
    };
    Generator::new(address, connections).run(load, None, &mut hot_call(address.port()))
}

fn compare(cores: usize, guest: Option<&Path>, image: &Path) {
    let (rounds, seconds, count) = if quick() { (3, 3.0, 12) } else { (7, 5.0, 40) };
    println!("\n{cores} vCPU, {rounds} rounds, taking turns");
    let mut ours = Side::image(image, cores, IMAGE, &ARGUMENTS, None);
    let app = ["--app", "node-action"];
    let mut theirs = guest.map(|guest| Side::linux(guest, cores, LINUX, &app, None));
    let mut both = |name: &str, unit: &str, rounds: usize, order: &str| {
        turns(name, unit, rounds, &mut ours, theirs.as_mut(), order)
    };
    // The first call waits for the platform's start; the others until V8 has compiled what is hot, and QEMU has translated it.
    both("(first call)", "calls/s", 1, &format!("{HOT} 1 0.1"));
    both(
        "(warming up, hot)",
        "calls/s",
        1,
        &format!("{HOT} 4 {}", 2.0 * seconds),
    );
    both("(warming up, cold)", "starts/s", 1, &format!("{COLD} 1 6"));
    let one = both(
        "hot, 1 client",
        "calls/s",
        rounds,
        &format!("{HOT} 1 {seconds}"),
    );
    let many = both(
        "hot, 8 clients",
        "calls/s",
        rounds,
        &format!("{HOT} 8 {seconds}"),
    );
    let cold = both(
        "cold, 1 client",
        "starts/s",
        rounds,
        &format!("{COLD} 1 {count}"),
    );
    let pair = both(
        "cold, 2 clients",
        "starts/s",
        rounds,
        &format!("{COLD} 2 {count}"),
    );
    for clients in [16, 64] {
        let name = format!("cold, {clients} clients");
        both(&name, "starts/s", 1, &format!("{COLD} {clients} {clients}"));
    }
    let order = format!("{WARM} {count}");
    let warm: Vec<_> = (0..rounds).map(|_| ours.order(&order)).collect();
    let warm = median(&warm.iter().map(|f| f.p50_us).collect::<Vec<_>>());
    println!("{:<34} image     p50 {warm:>7.0} us", "warm, 1 client");
    if let Some(late) = ratio(&one, |f| f.p50_us) {
        goal(&format!("hot_latency_{cores}"), late, 0.7);
    }
    if let Some(late) = ratio(&one, |f| f.p99_us) {
        goal(&format!("hot_p99_{cores}"), late, 0.7);
    }
    if let Some(more) = ratio(&many, |f| f.per_second) {
        goal_at_least(&format!("hot_throughput_{cores}"), more, 1.5);
    }
    if let Some(late) = ratio(&cold, |f| f.p50_us) {
        goal(&format!("cold_{cores}"), late, 1.0 / 20.0);
    }
    if let Some(more) = ratio(&pair, |f| f.per_second) {
        goal_at_least(&format!("creation_rate_{cores}"), more, 20.0);
    }
    let linux: Vec<f64> = cold
        .iter()
        .filter_map(|(_, f)| Some((*f)?.p50_us))
        .collect();
    if !linux.is_empty() {
        goal(&format!("warm_{cores}"), warm / median(&linux), 1.0 / 30.0);
    }
}

/// Carries out an order.
fn obey(address: SocketAddr, order: &[f64]) -> Figures {
    match *order {
        [HOT, connections, seconds] => hot(address, connections as usize, seconds),
        [COLD, clients, count] => cold(address, clients as usize, count as usize, false),
        [FILL, clients, count] => cold(address, clients as usize, count as usize, true),
        [LANGUAGE_COLD, language, count] => {
            languages::cold(address, Language::numbered(language), count as usize)
        }
        [LANGUAGE_HOT, language, count] => {
            languages::hot(address, Language::numbered(language), count as usize)
        }
        [COUNTED, side, what, count] => {
            before::counted_calls(address, side as usize, what as usize, count as usize)
        }
        [EACH, side, count] => kinds::hot_calls(address, side as usize, count as usize),
        [NEW, side] => kinds::new_function(address, side as usize),
        [TURN, count, pause_ms] => rest::turn(
            address,
            count as usize,
            Duration::from_millis(pause_ms as u64),
        ),
        [AGAIN, count] => many::again(address, count as usize),
        [MEMORY, what] => memory(address, what > 0.0),
        [_, count] => warm(address, count as usize),
        _ => unreachable!("an order that this program does not give"),
    }
}

fn main() {
    let obey = |address: SocketAddr, order: &[f64]| {
        until_ready(address);
        obey(address, order)
    };
    if agent(obey) {
        return;
    }
    let number = |option| value_of(option).map(|n| n.parse().expect("a number after the option"));
    let cores: Option<usize> = number("--cores");
    if let Some(functions) = number("--functions") {
        let plot = value_of("--plot").map(PathBuf::from);
        many::run(
            functions,
            cores.unwrap_or(2),
            &cargo::example("invoker"),
            plot.as_deref(),
        );
        return;
    }
    if std::env::args().any(|a| a == "--rest") {
        let apart_ms = number("--apart").unwrap_or(20);
        rest::run(&cargo::example("invoker"), apart_ms as u64);
        return;
    }
    if let Some(checkout) = value_of("--before") {
        before::run(&cargo::example("invoker"), Path::new(&checkout));
        return;
    }
    if std::env::args().any(|a| a == "--capture") {
        capture::run(&cargo::example("invoker"));
        return;
    }
    if std::env::args().any(|a| a == "--machines") {
        machines::run(
            &cargo::hosted_example("invoker"),
            &cargo::example("invoker"),
        );
        return;
    }
    if std::env::args().any(|a| a == "--kinds") {
        kinds::run(&cargo::example("invoker"));
        return;
    }
    let guest = linux_guest();
    let image = cargo::example("invoker");
    if std::env::args().any(|a| a == "--languages") {
        languages::compare(cores.unwrap_or(1), guest.as_deref(), &image);
        return;
    }
    for cores in cores.map_or(vec![1, 2], |n| vec![n]) {
        compare(cores, guest.as_deref(), &image);
    }
}
