//! What the simulated machines have in common: time, what is to come, chance, and a record of what has happened.

use std::{
    cmp::{Ordering, Reverse},
    collections::{BTreeMap, BTreeSet, BinaryHeap, VecDeque},
    net::Ipv4Addr,
    task::Waker,
};

use bytes::Bytes;
use ebb_distributed::sim::{Chance, Faults};

pub const MS: u64 = 1_000_000;
/// Lines of the consoles that are kept for the message of a failure.
const KEPT: usize = 40;
/// 2023-11-14 22:13:20 UTC.
const EPOCH_NS: u64 = 1_700_000_000_000_000_000;

/// A TCP connection between two nodes, or of a node with itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct LinkId(pub u64);

/// What travels on one.
#[derive(Debug)]
pub enum Parcel {
    /// Who connects greets.
    Open,
    /// Who listens has taken it.
    Opened,
    Bytes(Bytes),
    /// So many bytes have been taken.
    Room(usize),
    /// The end of the stream.
    End,
    Reset,
}

impl Parcel {
    fn mark(&self) -> u64 {
        match self {
            Self::Open => 1,
            Self::Opened => 2,
            Self::End => 3,
            Self::Reset => 4,
            Self::Room(bytes) => 5 + ((*bytes as u64) << 3),
            Self::Bytes(bytes) => 6 + ((bytes.len() as u64) << 3),
        }
    }
}

/// What is to come.
#[derive(Debug)]
pub enum Step {
    /// A core of a node runs.
    Run(usize, usize),
    /// A parcel arrives at an end of a link.
    Deliver(LinkId, usize, Parcel),
    /// Nobody has answered who connects.
    NoAnswer(LinkId),
    Restart(usize),
    Heal(usize, usize),
    Fault,
}

impl Step {
    /// What of it is recorded.
    fn mark(&self) -> [u64; 2] {
        match self {
            Self::Run(node, core) => [1, (*node as u64) << 8 | *core as u64],
            Self::Deliver(link, side, parcel) => [2 + *side as u64, link.0 << 32 ^ parcel.mark()],
            Self::NoAnswer(link) => [4, link.0],
            Self::Restart(node) => [5, *node as u64],
            Self::Heal(a, b) => [6, (*a as u64) << 32 | *b as u64],
            Self::Fault => [7, 0],
        }
    }
}

struct Due {
    at_ns: u64,
    sequence: u64,
    step: Step,
}

impl Due {
    fn key(&self) -> (u64, u64) {
        (self.at_ns, self.sequence)
    }
}

impl PartialEq for Due {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
    }
}
impl Eq for Due {}
impl PartialOrd for Due {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Due {
    fn cmp(&self, other: &Self) -> Ordering {
        self.key().cmp(&other.key())
    }
}

/// When a core runs.
#[derive(Clone, Copy, Default)]
struct Core {
    busy_until_ns: u64,
    runs_at_ns: Option<u64>,
}

/// A node as the network and the clock know it.
pub struct Node {
    /// Which of its lives this is; 0 before the first.
    pub life: u64,
    /// Its machine runs.
    pub is_up: bool,
    /// What is beneath the program lives, and tells peers that their connections are no more.
    pub has_kernel: bool,
    /// Chance does not crash it.
    pub is_spared: bool,
    /// What its last life that ended by itself ended with.
    pub status: Option<i32>,
    pub options: BTreeMap<&'static str, &'static str>,
    pub arguments: &'static [&'static str],
    /// A line of the console that has no end yet.
    pub line: Vec<u8>,
    started_ns: u64,
    cores: Vec<Core>,
    drift_ppm: i64,
    /// How much later its wall clock is.
    late_ns: u64,
}

/// Nanoseconds of a clock that goes wrong, after so many true ones.
fn drifted(true_ns: u64, drift_ppm: i64) -> u64 {
    let wrong = i128::from(true_ns) * i128::from(1_000_000 + drift_ppm) / 1_000_000;
    u64::try_from(wrong).unwrap_or(u64::MAX)
}

/// True nanoseconds after which such a clock shows this, or a little more.
fn undrifted(shown_ns: u64, drift_ppm: i64) -> u64 {
    let right = (i128::from(shown_ns) + 1) * 1_000_000 / i128::from(1_000_000 + drift_ppm) + 1;
    u64::try_from(right).unwrap_or(u64::MAX)
}

/// The address of a node.
pub fn address(node: usize) -> Ipv4Addr {
    let node = u16::try_from(node).unwrap_or(u16::MAX);
    Ipv4Addr::new(10, 0, (node / 250) as u8, (node % 250 + 1) as u8)
}

/// See the module.
pub struct State {
    pub now_ns: u64,
    pub chance: Chance,
    pub faults: Faults,
    pub nodes: Vec<Node>,
    pub partitions: BTreeSet<(usize, usize)>,
    /// To be woken when nothing of this is in use.
    pub woken: Vec<Waker>,
    /// Why the run fails.
    pub failure: Option<String>,
    /// A panic is the end of its task alone.
    pub survives_panics: bool,
    /// Lines of the consoles are shown at once.
    pub is_shown: bool,
    /// How many faults of machines and of the network there were.
    pub injected: u64,
    pub digest: u64,
    last_lines: VecDeque<String>,
    steps: BinaryHeap<Reverse<Due>>,
    sequence: u64,
}

impl State {
    pub fn new(seed: u64, nodes: usize, faults: Faults) -> Self {
        let mut chance = Chance::new(seed);
        let node = |_| Node {
            life: 0,
            is_up: false,
            has_kernel: false,
            is_spared: false,
            status: None,
            options: BTreeMap::new(),
            arguments: &[],
            line: Vec::new(),
            started_ns: 0,
            cores: vec![Core::default()],
            drift_ppm: chance.below(2 * faults.drift_ppm + 1) as i64 - faults.drift_ppm as i64,
            late_ns: chance.below(1000 * MS),
        };
        let nodes = (0..nodes).map(node).collect();
        Self {
            now_ns: 0,
            chance,
            faults,
            nodes,
            partitions: BTreeSet::new(),
            woken: Vec::new(),
            failure: None,
            survives_panics: false,
            is_shown: false,
            injected: 0,
            digest: 0xcbf2_9ce4_8422_2325,
            last_lines: VecDeque::new(),
            steps: BinaryHeap::new(),
            sequence: 0,
        }
    }

    // --- What is to come -----------------------------------------------------------------------

    pub fn at(&mut self, at_ns: u64, step: Step) {
        self.sequence += 1;
        self.steps.push(Reverse(Due {
            at_ns: at_ns.max(self.now_ns),
            sequence: self.sequence,
            step,
        }));
    }

    /// Goes on to the next step, if that is no later than this.
    pub fn next(&mut self, until_ns: u64) -> Option<Step> {
        if self.steps.peek()?.0.at_ns > until_ns {
            return None;
        }
        let Reverse(due) = self.steps.pop()?;
        self.now_ns = due.at_ns;
        let [kind, what] = due.step.mark();
        self.record(&[due.at_ns, kind, what]);
        Some(due.step)
    }

    /// A core is to run, as soon as it is not busy.
    pub fn run(&mut self, node: usize, core: usize, at_ns: u64) {
        let it = &mut self.nodes[node];
        let is_up = it.is_up;
        let it = &mut it.cores[core];
        let at_ns = at_ns.max(it.busy_until_ns).max(self.now_ns);
        if !is_up || it.runs_at_ns.is_some_and(|already| already <= at_ns) {
            return;
        }
        it.runs_at_ns = Some(at_ns);
        self.at(at_ns, Step::Run(node, core));
    }

    /// Whether a core runs now; one that has become busy since does so later.
    pub fn runs_now(&mut self, node: usize, core: usize) -> bool {
        let now_ns = self.now_ns;
        let it = &mut self.nodes[node];
        let is_up = it.is_up;
        let it = &mut it.cores[core];
        if !is_up || it.runs_at_ns != Some(now_ns) {
            return false;
        }
        it.runs_at_ns = None;
        if it.busy_until_ns > now_ns {
            self.run(node, core, now_ns);
            return false;
        }
        true
    }

    /// A core is busy, or does not run, for so long.
    pub fn busy(&mut self, node: usize, core: usize, duration_ns: u64) {
        let until_ns = self.now_ns.saturating_add(duration_ns);
        let it = &mut self.nodes[node].cores[core];
        it.busy_until_ns = it.busy_until_ns.max(until_ns);
    }

    /// How many cores a node has.
    pub fn cores(&self, node: usize) -> usize {
        self.nodes[node].cores.len()
    }

    /// Gives a node that has not started so many cores.
    pub fn set_cores(&mut self, node: usize, cores: usize) {
        self.nodes[node].cores = vec![Core::default(); cores];
    }

    // --- Nodes ---------------------------------------------------------------------------------

    /// A node's next life begins.
    pub fn begin(&mut self, node: usize) {
        let now_ns = self.now_ns;
        let it = &mut self.nodes[node];
        it.life += 1;
        (it.is_up, it.has_kernel) = (true, true);
        it.started_ns = now_ns;
        it.cores.fill(Core::default());
        for core in 0..self.cores(node) {
            self.run(node, core, now_ns);
        }
    }

    pub fn clock_ns(&self, node: usize) -> u64 {
        let it = &self.nodes[node];
        drifted(self.now_ns - it.started_ns, it.drift_ppm)
    }

    pub fn wall_clock_ns(&self, node: usize) -> u64 {
        let it = &self.nodes[node];
        EPOCH_NS + it.late_ns + drifted(self.now_ns, it.drift_ppm)
    }

    /// When a node's clock shows this.
    pub fn when_ns(&self, node: usize, clock_ns: u64) -> u64 {
        let it = &self.nodes[node];
        it.started_ns
            .saturating_add(undrifted(clock_ns, it.drift_ppm))
    }

    pub fn is_parted(&self, a: usize, b: usize) -> bool {
        self.partitions.contains(&(a.min(b), a.max(b)))
    }

    // --- The record ----------------------------------------------------------------------------

    /// What has happened becomes part of the digest.
    pub fn record(&mut self, what: &[u64]) {
        for word in what {
            self.digest = (self.digest ^ word)
                .wrapping_mul(0x9e37_79b9_7f4a_7c15)
                .rotate_left(29);
        }
    }

    /// A line of a node's console, or (`None`) about the run.
    pub fn say(&mut self, node: Option<usize>, text: &str) {
        for chunk in text.as_bytes().chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.record(&[u64::from_le_bytes(word)]);
        }
        let who = node.map_or(String::new(), |node| {
            format!(" node {node}.{}:", self.nodes[node].life)
        });
        let at = self.now_ns as f64 / 1e9;
        let line = format!("[{at:.6}]{who} {text}");
        if self.is_shown {
            println!("{line}");
        }
        if self.last_lines.len() == KEPT {
            self.last_lines.pop_front();
        }
        self.last_lines.push_back(line);
    }

    /// The last lines that were said.
    pub fn last_lines(&self) -> String {
        let lines = self.last_lines.iter().map(|line| format!("\n  {line}"));
        lines.collect()
    }
}
