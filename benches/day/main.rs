//! What does a real day's load meet? Thousands of functions, few of them popular, in less memory than their processes need: the
//! example `invoker` in an image beside one process for each instance in a Linux guest, on the same virtual hardware.
//!
//! `EBB_LINUX_GUEST=PROGRAM cargo bench --bench day [-- --quick] [--functions N] [--minutes M] [--calls N] [--seed N] [--cores N]
//! [--memory MIB] [--disk MIB] [--keep N] [--plot FILE]`, as root. [`trace`] says what the day is made from. Each side runs the same day, one
//! after the other. Before it every function has run once in the image, as the day before would have left it: the snapshots of those that
//! memory has no room for are on its disk (sparse files in target/; `--disk 0` for none). The guest begins with the most popular functions'
//! processes, as many as it keeps (`--keep`, else by its memory).
//!
//! The added latency of a call is the time from when it was due to its answer, less what the function itself waits for. A side that cannot
//! follow is cut off when the day has been over for [`GRACE`]: calls without an answer, and those that it never came to, count as long as
//! they had waited by then, and are told apart from those that were answered.

mod trace;

use std::{
    net::SocketAddr,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
    },
    thread,
    time::{Duration, Instant},
};

use benches::{
    functions::{ARGUMENTS, Client, IMAGE, LINUX, try_metrics, until_ready},
    goal,
    load::Figures,
    machine::node,
    plot::{Line, Panel, svg},
    quick,
    sides::{Build, Side, agent, linux_guest, value_of},
};
use test_support::{cargo, scratch};

use trace::{Call, Function, Shape, day};

// What an order begins with.
/// The functions, the seconds, the calls, the seed: makes the day, and its functions known.
const PREPARE: f64 = 0.0;
/// How many functions: calls those that are most popular once.
const FILL: f64 = 1.0;
/// The day. Answers a second, median and 99 of 100 of the added latency.
const REPLAY: f64 = 2.0;
/// 999 of 1,000 of the added latency, the worst, and calls without a good answer.
const TAIL: f64 = 3.0;
/// Calls that met a hot, a warm, and no instance.
const STARTS: f64 = 4.0;
/// The number of a sample: its second, instances and bytes in use; a second below zero after the last one.
const SAMPLE: f64 = 5.0;

/// Connections that wait for answers at the same time at most; a call for which there is none waits, which counts.
const CLIENTS: usize = 256;
/// How long after the end of the day a call may still begin.
const GRACE: Duration = Duration::from_secs(30);
/// How far apart functions are called before the day: what is new is kept on the disk as fast as the disk takes it, and no day is faster.
const FILL_APART: Duration = Duration::from_millis(80);
/// MiB of a process that waits in the guest, with what a function holds; measured once by its free memory.
const PROCESS_MIB: usize = 20;

/// What the agent keeps from order to order.
#[derive(Default)]
struct Agent {
    functions: Vec<Function>,
    calls: Vec<Call>,
    seconds: f64,
    /// Seconds, in order; of calls without an answer those that they waited.
    added: Vec<f64>,
    unanswered: usize,
    starts: [f64; 3],
    samples: Vec<[f64; 3]>,
}

fn name(function: usize) -> String {
    format!("day{function}")
}

/// What a side tells of itself.
#[derive(Clone, Copy, Default)]
struct Told {
    /// Calls by how their instances were obtained, since the start: hot, warm, cold.
    starts: [f64; 3],
    instances: f64,
    used_bytes: f64,
}

/// `None` of a side that is too busy to say.
fn told(address: SocketAddr) -> Option<Told> {
    let value = try_metrics(address).ok()?;
    Some(if address.port() == IMAGE {
        Told {
            starts: ["hot", "warm", "cold"].map(|start| {
                value(&format!(
                    "ebb_activation_seconds_count{{start=\"{start}\"}}"
                ))
            }),
            instances: value("ebb_instances"),
            used_bytes: value("ebb_instances_bytes") + value("ebb_snapshots_bytes"),
        }
    } else {
        Told {
            starts: [value("starts_hot"), 0.0, value("starts_cold")],
            instances: value("instances"),
            used_bytes: value("used_bytes"),
        }
    })
}

impl Agent {
    fn prepare(&mut self, address: SocketAddr, shape: Shape) {
        (self.functions, self.calls) = day(shape);
        self.seconds = shape.seconds;
        until_ready(address);
        let mut client = Client::new(address);
        for (number, function) in self.functions.iter().enumerate() {
            // Filled, or there would be no memory behind it.
            let source = format!(
                "const held = Buffer.alloc({}, 1); function main({{ wait }}) {{ return wait ? new Promise((done) => setTimeout(done, \
                 wait, {{ held: held.length }})) : {{ held: held.length }}; }}",
                function.memory
            );
            client.register(&name(number), &source);
        }
    }

    fn fill(&self, address: SocketAddr, count: usize) {
        let mut order: Vec<usize> = (0..self.functions.len()).collect();
        order.sort_by(|&a, &b| {
            let an_hour = |n: usize| self.functions[n].an_hour;
            an_hour(b).total_cmp(&an_hour(a))
        });
        let next = AtomicUsize::new(0);
        let begun = Instant::now();
        let call = || {
            let mut client = Client::new(address);
            loop {
                let number = next.fetch_add(1, Relaxed);
                let Some(&function) = order[..count].get(number) else {
                    return Ok(());
                };
                let due = begun + FILL_APART * number as u32;
                thread::sleep(due.saturating_duration_since(Instant::now()));
                client.try_ask("POST", &name(function), "{}")?;
            }
        };
        let done: Result<(), String> = thread::scope(|scope| {
            let clients = [(); 2].map(|()| scope.spawn(call));
            let mut ends = clients
                .into_iter()
                .map(|client| client.join().expect("a client"));
            ends.try_for_each(|end| end)
        });
        done.unwrap_or_else(|reason| panic!("{reason}"));
    }

    fn replay(&mut self, address: SocketAddr) -> Figures {
        let before = told(address).unwrap_or_default();
        let mut last = before;
        let (next, over) = (AtomicUsize::new(0), AtomicBool::new(false));
        let outcomes: Mutex<Vec<Outcome>> = Mutex::default();
        let samples: Mutex<Vec<[f64; 3]>> = Mutex::default();
        let begun = Instant::now();
        let cut_off = begun + Duration::from_secs_f64(self.seconds) + GRACE;
        thread::scope(|scope| {
            let sampler = scope.spawn(|| {
                while !over.load(Relaxed) {
                    if let Some(now) = told(address) {
                        let at_s = begun.elapsed().as_secs_f64();
                        let sample = [at_s, now.instances, now.used_bytes];
                        samples.lock().expect("no panic").push(sample);
                        last = now;
                    }
                    thread::sleep(Duration::from_secs_f64(self.seconds / 60.0));
                }
            });
            let clients: Vec<_> = (0..CLIENTS)
                .map(|_| {
                    scope.spawn(|| {
                        while let Some(call) = self.calls.get(next.fetch_add(1, Relaxed)) {
                            let outcome = one(address, begun, call, cut_off);
                            outcomes.lock().expect("no panic").push(outcome);
                        }
                    })
                })
                .collect();
            for client in clients {
                client.join().expect("a client");
            }
            over.store(true, Relaxed);
            sampler.join().expect("the sampler");
        });
        let elapsed = begun.elapsed().as_secs_f64();
        let outcomes = outcomes.into_inner().expect("no panic");
        if let Some(reason) = outcomes.iter().find_map(|outcome| outcome.wrong.as_ref()) {
            eprintln!("a call without a good answer: {reason}");
        }
        let is_answered = |outcome: &&Outcome| outcome.wrong.is_none();
        let answered = outcomes.iter().filter(is_answered).count();
        self.unanswered = outcomes.len() - answered;
        self.added = outcomes.iter().map(|outcome| outcome.added_s).collect();
        self.added.sort_by(f64::total_cmp);
        // A side that does not even say this any more has the starts that it last told of.
        let after = told(address).unwrap_or(last);
        self.starts = [0, 1, 2].map(|n| after.starts[n] - before.starts[n]);
        self.samples = samples.into_inner().expect("no panic");
        Figures {
            per_second: answered as f64 / elapsed,
            p50_us: self.added(500),
            p99_us: self.added(990),
        }
    }

    /// Microseconds within which so many of 1,000 calls were.
    fn added(&self, per_mille: usize) -> f64 {
        let last = self.added.len().saturating_sub(1);
        self.added
            .get(last * per_mille / 1000)
            .copied()
            .unwrap_or(0.0)
            * 1e6
    }

    fn obey(&mut self, address: SocketAddr, order: &[f64]) -> Figures {
        let [a, b, c] = match *order {
            [PREPARE, functions, seconds, calls, seed] => {
                let shape = Shape {
                    functions: functions as usize,
                    seconds,
                    calls: calls as usize,
                    seed: seed as u64,
                };
                self.prepare(address, shape);
                [self.calls.len() as f64, 0.0, 0.0]
            }
            [FILL, count] => {
                self.fill(address, count as usize);
                [0.0; 3]
            }
            [REPLAY] => return self.replay(address),
            [TAIL] => [self.added(999), self.added(1000), self.unanswered as f64],
            [STARTS] => self.starts,
            [SAMPLE, number] => {
                let sample = self.samples.get(number as usize);
                sample.copied().unwrap_or([-1.0, 0.0, 0.0])
            }
            _ => unreachable!("an order that this program does not give"),
        };
        Figures {
            per_second: a,
            p50_us: b,
            p99_us: c,
        }
    }
}

/// What became of a call.
struct Outcome {
    /// From when it was due, less what it ran.
    added_s: f64,
    /// Why it has no good answer.
    wrong: Option<String>,
}

/// Makes a call when it is due, unless that is past `cut_off` by the time that a client is free for it.
fn one(address: SocketAddr, begun: Instant, call: &Call, cut_off: Instant) -> Outcome {
    thread_local!(static CLIENT: std::cell::RefCell<Option<Client>> = const { std::cell::RefCell::new(None) });
    let due = begun + Duration::from_secs_f64(call.at_s);
    thread::sleep(due.saturating_duration_since(Instant::now()));
    let answer = if Instant::now() > cut_off {
        Err("its turn had not come when the day had been over for long".into())
    } else {
        CLIENT.with_borrow_mut(|client| {
            let body = format!("{{\"wait\":{}}}", call.runs_ms);
            let connected = match client {
                Some(connected) => connected,
                None => client.insert(Client::try_new(address)?),
            };
            let answer = connected.try_ask("POST", &name(call.function), &body);
            if answer.is_err() {
                *client = None;
            }
            answer
        })
    };
    let own_s = f64::from(call.runs_ms) / 1000.0;
    Outcome {
        added_s: (due.elapsed().as_secs_f64() - own_s).max(0.0),
        wrong: answer.err(),
    }
}

/// What a side's day was like.
struct Day {
    usual: Figures,
    tail: Figures,
    /// Hot, warm, cold.
    starts: [f64; 3],
    samples: Vec<[f64; 3]>,
}

impl Day {
    /// Lets a side live it.
    fn of(side: &mut Side, who: &str, prepare: &str, filled: usize) -> Result<Self, String> {
        let calls = side.try_order(prepare)?.per_second;
        println!("{who}: {calls} calls; {filled} functions run once before");
        side.try_order(&format!("{FILL} {filled}"))?;
        // What they left to be done is done.
        thread::sleep(Duration::from_secs(5));
        let usual = side.try_order(&format!("{REPLAY}"))?;
        let tail = side.try_order(&format!("{TAIL}"))?;
        let starts = side.try_order(&format!("{STARTS}"))?;
        let mut samples = Vec::new();
        loop {
            let sample = side.try_order(&format!("{SAMPLE} {}", samples.len()))?;
            if sample.per_second < 0.0 {
                break;
            }
            samples.push([sample.per_second, sample.p50_us, sample.p99_us]);
        }
        let day = Self {
            usual,
            tail,
            starts: [starts.per_second, starts.p50_us, starts.p99_us],
            samples,
        };
        day.print(who);
        Ok(day)
    }

    fn cold_share(&self) -> f64 {
        self.starts[2] / self.starts.iter().sum::<f64>().max(1.0)
    }

    fn print(&self, who: &str) {
        let percent = |n: usize| 100.0 * self.starts[n] / self.starts.iter().sum::<f64>().max(1.0);
        let most = |n: usize| self.samples.iter().map(|s| s[n]).fold(0.0, f64::max);
        println!(
            "{who:<6} {:>6.1} answers/s, hot {:>5.1} %, warm {:>5.1} %, cold {:>5.2} %; added p50 {:>8.2} ms, p99 {:>9.2} ms, \
             p99.9 {:>9.2} ms, worst {:>9.1} ms; {} without a good answer; at most {:.0} instances, {:.0} MiB",
            self.usual.per_second,
            percent(0),
            percent(1),
            percent(2),
            self.usual.p50_us / 1e3,
            self.usual.p99_us / 1e3,
            self.tail.per_second / 1e3,
            self.tail.p50_us / 1e3,
            self.tail.p99_us,
            most(1),
            most(2) / 1_048_576.0
        );
    }
}

/// The files of an image's two disks: its state, and snapshots. They go when this is dropped.
struct Disks {
    state: PathBuf,
    snapshots: PathBuf,
    mib: usize,
}

impl Disks {
    /// With so much room for snapshots; none for 0.
    fn new(mib: usize) -> Self {
        let this = Self {
            state: scratch("day-state.disk"),
            snapshots: scratch("day-snapshots.disk"),
            mib,
        };
        this.remove();
        this
    }

    /// As in `EBB_DISK`.
    fn option(&self) -> String {
        let Self {
            state,
            snapshots,
            mib,
        } = self;
        if *mib == 0 {
            return "none".into();
        }
        let (state, snapshots) = (state.display(), snapshots.display());
        format!("{state},size=1G;{snapshots},size={mib}M")
    }

    /// What the snapshots take.
    fn mib(&self) -> f64 {
        let blocks = std::fs::metadata(&self.snapshots).map_or(0, |file| file.blocks());
        blocks as f64 / 2048.0
    }

    fn remove(&self) {
        let _ = std::fs::remove_file(&self.state);
        let _ = std::fs::remove_file(&self.snapshots);
    }
}

impl Drop for Disks {
    fn drop(&mut self) {
        self.remove();
    }
}

fn draw(file: &Path, ours: &Day, theirs: Option<&Day>) {
    let panel = |title, n: usize, unit: f64| {
        let line = |name, day: &Day| Line {
            name,
            points: day.samples.iter().map(|s| (s[0], s[n] / unit)).collect(),
        };
        Panel {
            title,
            x: "seconds",
            logarithmic: false,
            lines: std::iter::once(line("image", ours))
                .chain(theirs.map(|day| line("Linux", day)))
                .collect(),
        }
    };
    let document = svg(&[
        panel("Instances", 1, 1.0),
        panel("Memory in use, MiB", 2, 1_048_576.0),
    ]);
    std::fs::write(file, document).expect("a file to write the plot to");
    println!("plot: {}", file.display());
}

fn main() {
    let mut state = Agent::default();
    if agent(|address, order| state.obey(address, order)) {
        return;
    }
    let option = |name: &str, usual: usize| {
        value_of(name).map_or(usual, |n| n.parse().expect("a number after the option"))
    };
    let (functions, minutes, calls) = match quick() {
        true => (300, 1, 600),
        false => (5000, 5, 6000),
    };
    let functions = option("--functions", functions);
    let (minutes, calls) = (option("--minutes", minutes), option("--calls", calls));
    let (cores, memory) = (option("--cores", 2), option("--memory", 2048));
    let keep = option("--keep", (memory.saturating_sub(256) / PROCESS_MIB).max(1));
    println!(
        "{functions} functions, an hour in {minutes} minutes, {cores} vCPU, {memory} MiB each; Linux keeps {keep} processes"
    );
    let prepare = format!(
        "{PREPARE} {functions} {} {calls} {}",
        minutes * 60,
        option("--seed", 1)
    );
    let live = |mut side: Side, who: &str, filled: usize| {
        Day::of(&mut side, who, &prepare, filled)
            .map_err(|reason| println!("{who} failed: {reason}"))
    };
    let image = cargo::example("invoker");
    let disks = Disks::new(option("--disk", 32 << 10));
    let build = Build::this(&image).with_disks(disks.option());
    let ours = Side::build(&build, cores, IMAGE, &ARGUMENTS, None);
    let Ok(ours) = live(ours, "image", functions) else {
        drop(disks);
        std::process::exit(1);
    };
    println!("image: {:.0} MiB on its disk for snapshots", disks.mib());
    drop(disks);
    let theirs = linux_guest().and_then(|guest| {
        let node = node();
        let (node, start) = (
            node.to_str().expect("a path of text"),
            format!("node /app/functions.js {LINUX} {keep}"),
        );
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/guests/functions.js");
        let app = [
            "--app", "run", "--add", node, "--add", script, "--run", &start,
        ];
        let side = Side::linux(&guest, cores, LINUX, &app, None);
        live(side, "Linux", keep.min(functions)).ok()
    });
    if let Some(theirs) = &theirs {
        goal(
            "day_added_p99",
            ours.usual.p99_us / theirs.usual.p99_us,
            1.0 / 20.0,
        );
        goal(
            "day_cold_share",
            ours.cold_share() / theirs.cold_share(),
            0.2,
        );
    }
    if let Some(file) = value_of("--plot").map(PathBuf::from) {
        draw(&file, &ours, theirs.as_ref());
    }
}
