//! A front door before machines of one vCPU.
//!
//! What does a hot call through it take, beside one of an image that is called directly? Both are behind QEMU's user network, in turns.
//!
//! How many cold starts do two machines serve, beside one? A host with fewer processors than machines, clients and front door together want cannot
//! say by time. Instructions do: with processors enough, machines are done when the one with the most work is, so the instructions of one
//! machine that has all the work, by those of the busiest of two, are how many times the work two do in the same time. What a start leaves to do
//! for later, when its instance is at rest, is counted with it: how much of that falls into the time of the starts is the host's doing.

use std::{
    path::Path,
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use benches::{
    functions::{ARGUMENTS, IMAGE},
    goal, goal_at_least,
    load::Figures,
    median, quick,
    sides::{Counting, Side},
};
use test_support::{RUNNER, WORKSPACE};

use crate::{FILL, HOT};

/// Does something in a network namespace of its own, where every port is free. Programs that are started there stay in it.
fn alone<T: Send + 'static>(start: impl FnOnce() -> T + Send + 'static) -> T {
    let started = thread::spawn(move || {
        // SAFETY: concerns this thread alone, and the programs that it starts.
        let entered = unsafe { libc::unshare(libc::CLONE_NEWNET) };
        assert_eq!(entered, 0, "the bench needs root");
        let up = Command::new("ip")
            .args(["link", "set", "lo", "up"])
            .status();
        assert!(up.is_ok_and(|s| s.success()), "the bench needs iproute2");
        start()
    });
    started.join().expect("it starts")
}

/// A program that ends by itself when this one has been killed.
fn bounded(program: &Path) -> Command {
    let mut command = Command::new("timeout");
    command
        .args(["--kill-after=10", "1500"])
        .arg(program)
        .current_dir(WORKSPACE)
        .env("EBB_CORES", "1")
        .env("EBB_MEMORY", "2048M")
        .env("EBB_DISK", "none")
        .env("EBB_TIMEOUT", "1500")
        .stderr(Stdio::null());
    command
}

/// A front door with so many machines.
fn front_door(program: &Path, image: &Path, machines: usize, counting: Option<&Counting>) -> Side {
    let mut command = bounded(program);
    let image = image.to_str().expect("a path in UTF-8");
    let machines = machines.to_string();
    command
        .args(ARGUMENTS)
        .args(["--ephemeral", "--machines", &machines, "--image", image]);
    if let Some(counting) = counting {
        counting.counts(&mut command);
    }
    alone(move || Side::process(command, IMAGE))
}

/// An image by itself behind the same kind of network.
fn direct(image: &Path) -> Side {
    let mut command = bounded(Path::new(RUNNER));
    command
        .arg(image)
        .args(ARGUMENTS)
        .env("EBB_FORWARD", format!("{IMAGE}:{IMAGE}"));
    alone(move || Side::process(command, IMAGE))
}

/// Medians of the rounds, of the middle and of 99 in 100.
fn medians(rounds: &[Figures]) -> (f64, f64) {
    let of = |value: fn(&Figures) -> f64| median(&rounds.iter().map(value).collect::<Vec<_>>());
    (of(|f| f.p50_us), of(|f| f.p99_us))
}

fn hot(front_door_program: &Path, image: &Path) {
    let (rounds, seconds) = if quick() { (3, 2.0) } else { (9, 4.0) };
    let mut front = front_door(front_door_program, image, 2, None);
    let mut direct = direct(image);
    // The first call waits for the start; the others until V8 has compiled what is hot, and QEMU has translated it.
    for side in [&mut front, &mut direct] {
        side.order(&format!("{HOT} 1 0.1"));
        side.order(&format!("{HOT} 2 {}", 2.0 * seconds));
    }
    let order = format!("{HOT} 1 {seconds}");
    let (mut through, mut without) = (Vec::new(), Vec::new());
    for round in 0..rounds {
        if round % 2 == 0 {
            through.push(front.order(&order));
        }
        without.push(direct.order(&order));
        if round % 2 == 1 {
            through.push(front.order(&order));
        }
    }
    let (front, direct) = (medians(&through), medians(&without));
    println!(
        "hot, 1 client, {rounds} rounds of {seconds} s in turns: through the front door p50 {:.0} us, p99 {:.0} us; direct {:.0}, {:.0} us",
        front.0, front.1, direct.0, direct.1
    );
    let ratios = through
        .iter()
        .zip(&without)
        .map(|(a, b)| a.p50_us / b.p50_us);
    goal(
        "front_door_hot_latency",
        median(&ratios.collect::<Vec<_>>()),
        1.4,
    );
}

/// A front door whose machines count.
struct Counted {
    counting: Counting,
    side: Side,
}

impl Counted {
    fn new(program: &Path, image: &Path, machines: usize) -> Option<Self> {
        let counting = Counting::of_several(&format!("machines-{machines}"))?;
        let mut side = front_door(program, image, machines, Some(&counting));
        side.order(&format!("{HOT} 1 0.1"));
        let mut counted = Self { counting, side };
        counted.settle();
        counted.cold(16);
        Some(counted)
    }

    /// Waits until no machine makes ready what instances of other sorts are made of, or tidies those that are at rest.
    fn settle(&self) {
        let begun = Instant::now();
        loop {
            let before = self.counting.each();
            thread::sleep(Duration::from_secs(1));
            let after = self.counting.each();
            let mut busy = before.iter().zip(&after).map(|(b, a)| a - b);
            if busy.all(|instructions| instructions < AT_REST) {
                return;
            }
            assert!(begun.elapsed() < Duration::from_secs(300), "no rest");
        }
    }

    /// Instructions of each machine for `count` cold starts, and starts a second.
    fn cold(&mut self, count: usize) -> (Vec<f64>, f64) {
        let before = self.counting.each();
        let figures = self.side.order(&format!("{FILL} {CLIENTS} {count}"));
        self.settle();
        let after = self.counting.each();
        assert_eq!(before.len(), after.len(), "a machine was started anew");
        let instructions = before.iter().zip(&after).map(|(b, a)| (a - b) as f64);
        (instructions.collect(), figures.per_second)
    }
}

/// Instructions of a machine in a second in which nothing is to be done, at most.
const AT_REST: u64 = 1_000_000;
/// As many as keep two machines busy.
const CLIENTS: usize = 4;

fn cold(program: &Path, image: &Path) {
    let (rounds, count) = if quick() { (3, 48) } else { (7, 96) };
    let sides = [1, 2].map(|machines| Counted::new(program, image, machines));
    let [Some(mut one), Some(mut two)] = sides else {
        return;
    };
    let (mut work, mut rate) = (Vec::new(), Vec::new());
    for round in 0..rounds {
        let (alone, both) = match round % 2 {
            0 => {
                let alone = one.cold(count);
                (alone, two.cold(count))
            }
            _ => {
                let both = two.cold(count);
                (one.cold(count), both)
            }
        };
        let busiest = both.0.iter().copied().fold(0.0, f64::max);
        let all: f64 = both.0.iter().sum();
        work.push(alone.0[0] / busiest);
        rate.push(both.1 / alone.1);
        println!(
            "{count} cold starts by {CLIENTS} clients: 1 machine {:.2} M instructions each, {:.1} starts/s; 2 machines {:.2} M each, the busiest {:.0} % of them, {:.1} starts/s",
            alone.0[0] / count as f64 / 1e6,
            alone.1,
            all / count as f64 / 1e6,
            100.0 * busiest / all,
            both.1
        );
    }
    println!(
        "by time on this host: {:.2} times as many starts a second",
        median(&rate)
    );
    goal_at_least("two_machines_cold_starts", median(&work), 1.7);
}

/// Both. The front door is the program, the machines are the image.
pub fn run(program: &Path, image: &Path) {
    hot(program, image);
    cold(program, image);
}
