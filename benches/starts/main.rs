//! How soon does an invoker that was started again answer, and what does it cost that it keeps everything?
//!
//! - start: from the runner's and from QEMU's start to the first answer of a function that was deployed before: with a base that
//!   was baked, with one that is made at the start, and with what a former start has left on the disks.
//! - stored: the same with nothing else stored and with 10,000 functions beside it.
//! - first calls: of functions whose snapshots are on the disk after a restart, beside warm and cold starts before it; of functions
//!   that load at once and of such that compute when they are loaded.
//! - puts: actions that 8 clients deploy over HTTP, each answered when it is durable, beside redis with `appendfsync always`: process
//!   beside process, guest beside guest, and the image beside a process.
//! - calls: blocking calls of a hot function whose records are kept, beside `--ephemeral`.
//! - memory: what so many entities take after a restart, beside the bytes that they are.
//!
//! `cargo bench --bench starts [-- --quick] [--only start|stored|calls|first|puts|memory] [--rounds N] [--entities N]`. A machine has 2
//! vCPUs and 2 GiB. `--before DIR` lets an older build take turns in `start`: a checkout with its runner and `target/release/examples/invoker`.

mod first;
mod kept;
mod machine;
mod puts;

use std::path::PathBuf;

use benches::{goal, median, quick, sides::value_of};
use test_support::{cargo, tools};

use machine::{Disks, HELLO, Started};

/// What follows an option, as a number.
fn number(option: &str) -> Option<usize> {
    value_of(option).map(|n| n.parse().expect("a number after the option"))
}

fn rounds() -> usize {
    number("--rounds").unwrap_or(if quick() { 3 } else { 7 })
}

/// Times of one side, in seconds.
#[derive(Default)]
struct Times {
    runner: Vec<f64>,
    qemu: Vec<f64>,
    listens: Vec<f64>,
}

impl Times {
    /// Takes a machine's.
    fn take(&mut self, started: Started) {
        let times = started.first_answer();
        self.runner.push(times.runner);
        self.qemu.push(times.qemu);
        self.listens.push(times.listens);
        started.machine.kill();
    }

    fn print(&self, name: &str) {
        let range = |values: &[f64]| {
            let least = values.iter().copied().fold(f64::INFINITY, f64::min);
            let most = values.iter().copied().fold(0.0, f64::max);
            format!("{:.3} s ({least:.3} to {most:.3})", median(values))
        };
        println!(
            "  {name:<28} answers {} after QEMU's start, {} after the runner's; listens {:.3} s after the runner's",
            range(&self.qemu),
            range(&self.runner),
            median(&self.listens)
        );
    }
}

/// From nothing to a function's answer.
fn start() {
    println!(
        "start to the first answer, {} rounds, taking turns",
        rounds()
    );
    let image = cargo::example("invoker");
    let baked = machine::bake(&image);
    let disks = Disks::new("start");
    disks.boot(&image, &[]).deploy_hello();
    let before = value_of("--before").map(PathBuf::from);
    let [mut ahead, mut anew, mut again, mut older] = [(); 4].map(|()| Times::default());
    // What a former start leaves: its base, and the function's snapshot.
    let left = Disks::new("left");
    left.boot(&image, &[]).leave_snapshots();
    for _ in 0..rounds() {
        ahead.take(disks.boot_with(&image, &format!("{},readonly", baked.display())));
        anew.take(disks.boot_fresh(&image));
        again.take(left.boot(&image, &[]));
        if let Some(before) = &before {
            // It may not know what was deployed before.
            let started = machine::boot_before(before);
            started.deploy();
            older.take(started);
        }
    }
    ahead.print("base baked");
    anew.print("base made at the start");
    again.print("started before");
    if before.is_some() {
        older.print("the older build");
        let older = median(&older.qemu);
        goal("start_beside_older_build", median(&again.qemu) / older, 0.1);
    }
    goal("start_baked_seconds", median(&ahead.qemu), 0.6);
    println!(
        "  baked takes {:.3} of the time of one that is made",
        median(&ahead.qemu) / median(&anew.qemu)
    );
}

/// The same with many functions stored.
fn stored() {
    let count = number("--entities").unwrap_or(if quick() { 2_000 } else { 10_000 });
    println!(
        "start with {count} stored functions, {} rounds, taking turns",
        rounds()
    );
    let image = cargo::example("invoker");
    let [none, many] = ["none", "many"].map(Disks::new);
    none.boot(&image, &[]).leave_snapshots();
    let started = many.boot(&image, &[]);
    puts::fill(&started.machine, count, 1);
    started.leave_snapshots();
    let [mut with_none, mut with_many] = [(); 2].map(|()| Times::default());
    for _ in 0..rounds() {
        with_none.take(none.boot(&image, &[]));
        with_many.take(many.boot(&image, &[]));
    }
    with_none.print("one function");
    with_many.print("and those");
    let listens = median(&with_many.listens) / median(&with_none.listens);
    println!("  listens after {listens:.3} of the time");
    goal(
        "start_with_stored",
        median(&with_many.qemu) / median(&with_none.qemu),
        1.1,
    );
}

fn main() {
    if tools::lacks(&["qemu-system-x86_64", "node", "redis-server"]) {
        return;
    }
    let only = value_of("--only");
    let image = cargo::example("invoker");
    for (name, run) in [
        ("start", start as fn()),
        ("stored", stored),
        ("first", first::run),
        ("puts", puts::puts),
        ("calls", kept::calls),
        ("memory", kept::memory),
    ] {
        if only.as_deref().is_none_or(|only| only == name) {
            run();
        }
    }
    // A line of its own says what the figures are of.
    println!("image {}, function {HELLO}", image.display());
}
