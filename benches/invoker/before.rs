//! This build beside an older one, in turns: what the whole machine executes for a hot call, a cold and a warm start, until the
//! client has the answer and until it is idle again, and what an idle instance takes. One vCPU, because the count is of one.
//!
//! The older one is a checkout with its runner and `target/release/examples/invoker`.

use std::{
    net::SocketAddr,
    path::Path,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use benches::{
    functions::{ARGUMENTS, Client, IMAGE},
    goal,
    load::Figures,
    median, quick,
    sides::{Build, Counting, Side, counted},
};

use crate::{COUNTED, MEMORY, SOURCE, call, names};

/// The names of what counts, this build's first.
const COUNTING: [&str; 2] = ["now", "before"];
/// After so long a machine has done what follows from a call, but for what it does when an instance has been idle for long.
const SETTLED: Duration = Duration::from_millis(400);

/// What is counted, by the number that an order has.
const WHAT: [&str; 3] = ["hot call", "cold start", "warm start"];
const HOT: usize = 0;
const COLD: usize = 1;

/// `count` calls: the medians of instructions until the answer has come, of all that it took, and of the blocks that QEMU translated until the answer,
/// in the places of a rate and two times.
pub fn counted_calls(address: SocketAddr, side: usize, what: usize, count: usize) -> Figures {
    let (mut own, mut other) = (Client::new(address), Client::new(address));
    let instructions = || counted(COUNTING[side]).0 as f64;
    let blocks = || counted(COUNTING[side]).1 as f64;
    static KNOWN: AtomicBool = AtomicBool::new(false);
    if what == HOT && !KNOWN.swap(true, Ordering::Relaxed) {
        own.register("hot", SOURCE);
    }
    let (mut answered, mut all, mut translated) = (Vec::new(), Vec::new(), Vec::new());
    for name in names(count) {
        let name = if what == HOT { "hot" } else { &name };
        if what != HOT {
            own.register(name, SOURCE);
        }
        let busy = (what > COLD).then(|| {
            call(&mut own, name);
            thread::sleep(SETTLED);
            thread::scope(|scope| {
                let waits = scope.spawn(|| other.ask("POST", name, "{\"wait\":900}"));
                // It is busy, and does nothing, when the next call comes.
                thread::sleep(SETTLED);
                let (begun, known) = (instructions(), blocks());
                call(&mut own, name);
                answered.push(instructions() - begun);
                translated.push(blocks() - known);
                waits.join().expect("the call that waits");
                begun
            })
        });
        let begun = busy.unwrap_or_else(|| {
            let (begun, known) = (instructions(), blocks());
            call(&mut own, name);
            answered.push(instructions() - begun);
            translated.push(blocks() - known);
            begun
        });
        if what != HOT {
            thread::sleep(SETTLED);
        }
        all.push(instructions() - begun);
        if what != HOT {
            own.ask("DELETE", name, "");
            thread::sleep(SETTLED);
        }
    }
    Figures {
        per_second: median(&answered),
        p50_us: median(&all),
        p99_us: median(&translated),
    }
}

fn kib_each(side: &mut Side) -> f64 {
    let figures = side.order(&format!("{MEMORY} 0"));
    figures.p50_us / figures.per_second.max(1.0) / 1024.0
}

/// Measures both; `checkout` is the older one's.
pub fn run(image: &Path, checkout: &Path) {
    let (Some(now), Some(before)) = (Counting::new(COUNTING[0]), Counting::new(COUNTING[1])) else {
        return;
    };
    let builds = [Build::this(image), Build::of(checkout, "invoker")];
    let mut sides = [(&builds[0], now), (&builds[1], before)]
        .map(|(build, counting)| Side::build(build, 1, IMAGE, &ARGUMENTS, Some(&counting)));
    let (rounds, count) = if quick() { (3, 8) } else { (7, 16) };
    println!(
        "\n1 vCPU, {rounds} rounds of {count}, in turns: instructions until the answer, all that it takes, blocks translated"
    );
    let mut rows = Vec::new();
    for (what, name) in WHAT.iter().enumerate() {
        let mut figures: [Vec<Figures>; 2] = Default::default();
        let count = if what == HOT { count * 25 } else { count };
        for round in 0..=rounds {
            for (index, side) in sides.iter_mut().enumerate() {
                let taken = side.order(&format!("{COUNTED} {index} {what} {count}"));
                // The first round is for what is compiled and translated.
                if round > 0 {
                    figures[index].push(taken);
                }
            }
        }
        let of = |index: usize, f: fn(&Figures) -> f64| {
            median(&figures[index].iter().map(f).collect::<Vec<_>>())
        };
        let each: [fn(&Figures) -> f64; 3] = [|f| f.per_second, |f| f.p50_us, |f| f.p99_us];
        for (what, f) in ["answered", "all", "blocks"].into_iter().zip(each) {
            rows.push((format!("{name}, {what}"), of(0, f), of(1, f)));
        }
    }
    let kib = [0, 1].map(|side| kib_each(&mut sides[side]));
    rows.push(("the hot one, idle since, KiB".into(), kib[0], kib[1]));
    for (name, now, before) in &rows {
        println!(
            "{name:<34} now {now:>11.0}   before {before:>11.0}   {:.3}",
            now / before
        );
    }
    for (name, row, bound) in [
        ("hot_call_instructions", 0, 0.6),
        ("cold_start_instructions", 3, 0.5),
        ("warm_start_instructions", 6, 0.5),
    ] {
        goal(name, rows[row].1 / rows[row].2, bound);
    }
}
