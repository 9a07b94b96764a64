//! The next call of functions whose instances are at rest, beside calls of the same functions without a rest: instructions of all
//! that runs in the machine until the answer has come, blocks that QEMU translates for them, and the time.

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
    sides::{Counting, Side, counted},
};

use crate::{MEMORY, SOURCE, TURN, call};

/// The name of what counts.
const COUNTING: &str = "rest";
/// How many functions are called in turns.
const FUNCTIONS: usize = 16;
/// How long an instance is idle when it rests, and when it rests for long; a little more than what the invoker waits.
const SHORT: Duration = Duration::from_secs(3);
const LONG: Duration = Duration::from_secs(13);

/// A call of each of `count` functions, with a pause after each: the least instructions, the median of microseconds, and the mean of the
/// blocks translated, in the places of a rate and two times. The least, because the machine goes on with idle work until this program has
/// seen the answer, which takes long on a busy host.
pub fn turn(address: SocketAddr, count: usize, pause: Duration) -> Figures {
    static KNOWN: AtomicBool = AtomicBool::new(false);
    let mut client = Client::new(address);
    let names: Vec<_> = (0..count).map(|n| format!("turn{n}")).collect();
    if !KNOWN.swap(true, Ordering::Relaxed) {
        names.iter().for_each(|name| client.register(name, SOURCE));
    }
    let (mut instructions, mut micros, mut translated) = (Vec::new(), Vec::new(), 0.0);
    for name in &names {
        let before = counted(COUNTING);
        micros.push(call(&mut client, name) * 1e6);
        let after = counted(COUNTING);
        instructions.push((after.0 - before.0) as f64);
        translated += (after.1 - before.1) as f64;
        thread::sleep(pause);
    }
    Figures {
        per_second: instructions.into_iter().fold(f64::INFINITY, f64::min),
        p50_us: median(&micros),
        p99_us: translated / count as f64,
    }
}

/// A turn's figures for each call.
#[derive(Clone, Copy)]
struct Turn {
    instructions: f64,
    micros: f64,
    translated: f64,
}

struct Machine {
    side: Side,
    apart_ms: u64,
}

impl Machine {
    fn turn(&mut self) -> Turn {
        let order = format!("{TURN} {FUNCTIONS} {}", self.apart_ms);
        let figures = self.side.order(&order);
        Turn {
            instructions: figures.per_second,
            micros: figures.p50_us,
            translated: figures.p99_us,
        }
    }

    fn kib_each(&mut self) -> f64 {
        let figures = self.side.order(&format!("{MEMORY} 0"));
        figures.p50_us / figures.per_second.max(1.0) / 1024.0
    }
}

/// Measures on an image with one vCPU; with `apart_ms` between calls, for which idle work has time.
pub fn run(image: &Path, apart_ms: u64) {
    let Some(counting) = Counting::new(COUNTING) else {
        return;
    };
    let side = Side::image(image, 1, IMAGE, &ARGUMENTS, Some(&counting));
    let mut machine = Machine { side, apart_ms };
    for _ in 0..6 {
        machine.turn();
    }
    let rounds = if quick() { 2 } else { 4 };
    let mut turns: [Vec<Turn>; 3] = Default::default();
    let mut kib = [0.0; 2];
    for _ in 0..rounds {
        for (rest, pause) in [SHORT, LONG].into_iter().enumerate() {
            // The second one after a rest finds all awake.
            machine.turn();
            turns[0].push(machine.turn());
            thread::sleep(pause);
            kib[rest] = machine.kib_each();
            turns[rest + 1].push(machine.turn());
        }
    }
    let all =
        |turns: &[Turn], f: fn(&Turn) -> f64| median(&turns.iter().map(f).collect::<Vec<_>>());
    println!("\n{FUNCTIONS} functions in turns, {apart_ms} ms apart, 1 vCPU, {rounds} rounds");
    for (name, turns) in ["no rest", "0.5 s", "10 s"].into_iter().zip(&turns) {
        println!(
            "{name:<8} {:>9.0} instructions, {:>5.1} blocks translated, {:>6.0} us",
            all(turns, |t| t.instructions),
            all(turns, |t| t.translated),
            all(turns, |t| t.micros),
        );
    }
    println!(
        "an instance at rest has {:.0} KiB, and {:.0} KiB after long",
        kib[0], kib[1]
    );
    for (name, rested) in [("short", &turns[1]), ("long", &turns[2])] {
        let to_hot = |f: fn(&Turn) -> f64| all(rested, f) / all(&turns[0], f);
        goal(
            &format!("next_call_instructions_{name}"),
            to_hot(|t| t.instructions),
            1.2,
        );
        goal(&format!("next_call_time_{name}"), to_hot(|t| t.micros), 1.2);
    }
    goal("idle_instance_mib", kib[1] / 1024.0, 0.4);
}
