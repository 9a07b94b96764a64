//! A simulation: nodes that start, fail and start again, time that goes on from one thing that happens to the next.

use std::{
    cell::RefCell,
    future::Future,
    net::Ipv4Addr,
    pin::{Pin, pin},
    rc::Rc,
    task::{Context, Poll, Waker},
    time::Duration,
};

use ebb_distributed::{
    Key,
    sim::{Chance, Faults},
};
use ebb_runtime::{JoinError, Next, PANIC_STATUS, RemoteHandle, Stepped, Termination};

use crate::{
    network::Network,
    platform::keep,
    seeds,
    state::{self, MS, State, Step},
    world::{self, CORES, World, as_core, token, with},
};

type Program = Rc<dyn Fn(usize) -> Pin<Box<dyn Future<Output = i32>>>>;

/// What a node's events of one step take, in virtual time: at least this, and up to so much more.
const STEP_NS: u64 = 5_000;
const STEP_MORE_NS: u64 = 20_000;
/// The longest that chance keeps a node down, a partition up, a machine from running.
const LONGEST_MS: u64 = 4_000;

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// How a node goes down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Crash {
    /// Its process is killed. The kernel beneath tells peers that their connections are no more, and refuses new ones.
    Process,
    /// The machine stops. Peers hear nothing more, until it runs again and does not know their connections.
    Machine,
}

/// Some nodes that run a program, in the virtual time of this thread. One at a time for each thread; dropped, it ends.
pub struct Simulation {
    /// The cores of each node that is up.
    machines: Vec<Option<Vec<Stepped>>>,
    program: Program,
}

impl Simulation {
    /// So many nodes, which all start at once. On each runs `program`, given the node's number: what `#[ebb::main]` has in a process or an
    /// image, also when the node starts again. A status other than 0, or a panic anywhere, fails the simulation.
    ///
    /// All chance comes from `seed`, so that the same seed, nodes, faults, program and calls give the same run.
    ///
    /// # Panics
    /// When there is a simulation on this thread.
    pub fn new<F, T>(seed: u64, nodes: usize, faults: Faults, program: F) -> Self
    where
        F: AsyncFn(usize) -> T + 'static,
        T: Termination + 'static,
    {
        let program = Rc::new(program);
        let run = move |node| -> Pin<Box<dyn Future<Output = i32>>> {
            let program = Rc::clone(&program);
            Box::pin(async move { program(node).await.report() })
        };
        let mut state = State::new(seed, nodes, faults);
        state.is_shown = seeds::is_one();
        let mut key = [0; 32];
        for part in key.chunks_mut(8) {
            part.copy_from_slice(&state.chance.number().to_le_bytes());
        }
        let key = keep(&Key::new(key).to_hex());
        let peers = |n| format!("{n}@{}:7000", state::address(n));
        let peers = keep(&(0..nodes).map(peers).collect::<Vec<_>>().join(","));
        for (number, node) in state.nodes.iter_mut().enumerate() {
            let options = [
                ("node", keep(&number.to_string())),
                ("cluster-key", key),
                ("listen", "7000"),
                ("peers", peers),
            ];
            node.options.extend(options);
        }
        for node in 0..nodes {
            state.at(0, Step::Restart(node));
        }
        state.at(0, Step::Fault);
        world::enter(World {
            state,
            network: Network::default(),
        });
        Self {
            machines: (0..nodes).map(|_| None).collect(),
            program: Rc::new(run),
        }
    }

    // --- What the nodes are given --------------------------------------------------------------

    /// Gives each node so many cores instead of one. Before time goes on for the first time.
    ///
    /// # Panics
    /// When a node has started, and for numbers other than 1 to 64.
    pub fn cores(&mut self, cores: usize) -> &mut Self {
        assert!((1..=CORES).contains(&cores), "a node has 1 to 64 cores");
        let nodes = 0..self.machines.len();
        assert!(
            nodes.clone().all(|node| !self.is_up(node)),
            "nodes have started"
        );
        with(|world| nodes.for_each(|node| world.state.set_cores(node, cores)));
        self
    }

    /// Gives a node an option, beside `node`, `cluster-key`, `listen` (7000) and `peers` (all nodes), by which
    /// [`join_by_options`](ebb_distributed::join_by_options) joins. Nodes start when time goes on for the first time.
    pub fn option(&mut self, node: usize, name: &str, value: &str) -> &mut Self {
        let (name, value) = (keep(name), keep(value));
        with(|world| world.state.nodes[node].options.insert(name, value));
        self
    }

    /// Gives a node arguments.
    pub fn arguments(&mut self, node: usize, arguments: &[&str]) -> &mut Self {
        let arguments: Vec<&'static str> = arguments.iter().map(|text| keep(text)).collect();
        with(|world| world.state.nodes[node].arguments = arguments.leak());
        self
    }

    /// Chance does not crash this node. Its connections break and its clock drifts all the same.
    pub fn spare(&mut self, node: usize) -> &mut Self {
        with(|world| world.state.nodes[node].is_spared = true);
        self
    }

    /// A panic ends its task, and the node if that is its main one, as in a process; the simulation goes on.
    pub fn survive_panics(&mut self) -> &mut Self {
        with(|world| world.state.survives_panics = true);
        self
    }

    // --- Time ----------------------------------------------------------------------------------

    /// Virtual time since the start.
    #[must_use]
    pub fn now(&self) -> Duration {
        crate::now()
    }

    /// Lets so much virtual time pass.
    ///
    /// # Panics
    /// When the simulation fails.
    pub fn run_for(&mut self, duration: Duration) {
        let until_ns = with(|world| world.state.now_ns).saturating_add(nanos(duration));
        while self.step(until_ns) {}
        with(|world| world.state.now_ns = until_ns);
    }

    /// Runs `f` as a task of a node, on its first core.
    ///
    /// # Panics
    /// When the node is down.
    pub fn spawn_on<F, Fut>(&mut self, node: usize, f: F) -> RemoteHandle<Fut::Output>
    where
        F: FnOnce() -> Fut + 'static,
        Fut: Future + 'static,
    {
        // Nodes that have not started yet do.
        let now_ns = with(|world| world.state.now_ns);
        while self.machines[node].is_none() && self.step(now_ns) {}
        match &self.machines[node] {
            Some(cores) => cores[0].spawn(f),
            None => panic!("node {node} is down"),
        }
    }

    /// Lets time pass until a task has ended.
    ///
    /// # Errors
    /// Its node went down, or the task panicked.
    ///
    /// # Panics
    /// When the simulation fails.
    pub fn wait<T>(&mut self, task: RemoteHandle<T>) -> Result<T, JoinError> {
        let mut task = pin!(task);
        loop {
            let mut cx = Context::from_waker(Waker::noop());
            if let Poll::Ready(result) = task.as_mut().poll(&mut cx) {
                return result;
            }
            assert!(self.step(u64::MAX), "nothing is left that could happen");
        }
    }

    /// Runs `f` as a task of a node, and lets time pass until it has ended: `sim.on(2, async || ..)`.
    ///
    /// # Errors
    /// As [`wait`](Self::wait).
    ///
    /// # Panics
    /// When the node is down, or the simulation fails.
    pub fn on<F, Fut>(&mut self, node: usize, f: F) -> Result<Fut::Output, JoinError>
    where
        F: FnOnce() -> Fut + 'static,
        Fut: Future + 'static,
    {
        let task = self.spawn_on(node, f);
        self.wait(task)
    }

    /// Does what comes next, if that is no later than this.
    fn step(&mut self, until_ns: u64) -> bool {
        let Some(step) = with(|world| world.state.next(until_ns)) else {
            return false;
        };
        match step {
            Step::Run(node, core) => self.run(node, core),
            Step::Deliver(link, side, parcel) => with(|world| {
                world.network.deliver(&mut world.state, link, side, parcel);
            }),
            Step::NoAnswer(link) => with(|world| world.network.no_answer(&mut world.state, link)),
            Step::Restart(node) => self.restart(node),
            Step::Heal(a, b) => self.heal(a, b),
            Step::Fault => self.fault(),
        }
        if let Some(failure) = with(|world| world.state.failure.take()) {
            self.fail(&failure);
        }
        true
    }

    #[cold]
    fn fail(&self, failure: &str) -> ! {
        let (at, lines) = with(|world| (world.state.now_ns, world.state.last_lines()));
        panic!(
            "{failure}, at {:?} of virtual time; what was said last:{lines}",
            Duration::from_nanos(at)
        )
    }

    fn run(&mut self, node: usize, core: usize) {
        let Some(cores) = &self.machines[node] else {
            return;
        };
        if !with(|world| world.state.runs_now(node, core)) {
            return;
        }
        let next = as_core(node, core, || cores[core].step());
        let ended = with(|world| {
            let state = &mut world.state;
            let took_ns = STEP_NS + state.chance.below(STEP_MORE_NS);
            state.busy(node, core, took_ns);
            match next {
                Next::Now => state.run(node, core, 0),
                Next::Sleep(Some(clock_ns)) => {
                    state.run(node, core, state.when_ns(node, clock_ns));
                }
                Next::Sleep(None) => {}
                Next::Ended(status) => return Some(status),
            }
            None
        });
        if let Some(status) = ended {
            self.end(node, true);
            with(|world| {
                let state = &mut world.state;
                state.nodes[node].status = Some(status);
                state.say(Some(node), &format!("it has ended with status {status}"));
                if status != 0 && !state.survives_panics {
                    let failure = format!("node {node} has ended with status {status}");
                    state.failure.get_or_insert(failure);
                }
            });
        }
    }

    // --- Nodes ---------------------------------------------------------------------------------

    /// Whether a node runs.
    #[must_use]
    pub fn is_up(&self, node: usize) -> bool {
        self.machines[node].is_some()
    }

    /// Which of its lives a node is in, or was in last; 0 before the first.
    #[must_use]
    pub fn life(&self, node: usize) -> u64 {
        with(|world| world.state.nodes[node].life)
    }

    /// What a node's program has returned, if it has: its exit status.
    #[must_use]
    pub fn status(&self, node: usize) -> Option<i32> {
        with(|world| world.state.nodes[node].status)
    }

    /// A node goes down at once, and all that it had is lost. What its tasks hold is dropped after it has been cut off.
    pub fn crash(&mut self, node: usize, how: Crash) {
        if self.is_up(node) {
            with(|world| {
                world
                    .state
                    .say(None, &format!("node {node} crashes: {how:?}"))
            });
            self.end(node, how == Crash::Process);
        }
    }

    fn end(&mut self, node: usize, is_told: bool) {
        let Some(cores) = self.machines[node].take() else {
            return;
        };
        with(|world| {
            let it = &mut world.state.nodes[node];
            (it.is_up, it.has_kernel) = (false, is_told);
            world.network.end_node(&mut world.state, node, is_told);
        });
        for (number, core) in cores.into_iter().enumerate() {
            as_core(node, number, || core.end());
        }
    }

    /// Asks a node's program to end, as Ctrl-C does: one that waits for [`shutdown`](ebb_runtime::shutdown) ends in its own time, any other at once, with
    /// status 0.
    pub fn ask_to_end(&mut self, node: usize) {
        if let Some(cores) = &self.machines[node] {
            with(|world| {
                world
                    .state
                    .say(None, &format!("node {node} is asked to end"));
            });
            cores[0].request_shutdown(0);
        }
    }

    /// A node that is down starts anew.
    pub fn restart(&mut self, node: usize) {
        if self.is_up(node) {
            return;
        }
        let program = Rc::clone(&self.program);
        let cores = with(|world| world.state.cores(node));
        let tokens: Vec<usize> = (0..cores).map(|core| token(node, core)).collect();
        let cores = Stepped::machine(&tokens);
        with(|world| world.state.begin(node));
        let main = cores[0].spawn(async move || {
            let main = ebb_runtime::spawn(async move { program(node).await });
            let status = main.await.unwrap_or(PANIC_STATUS);
            ebb_runtime::exit(u8::try_from(status).unwrap_or(u8::MAX));
        });
        drop(main);
        self.machines[node] = Some(cores);
    }

    /// A node does nothing for so long, while its clock goes on: its host has other work, or it is being moved.
    pub fn pause(&mut self, node: usize, duration: Duration) {
        with(|world| {
            let ms = duration.as_millis();
            world
                .state
                .say(None, &format!("node {node} does nothing for {ms} ms"));
            for core in 0..world.state.cores(node) {
                world.state.busy(node, core, nanos(duration));
            }
        });
    }

    /// Nothing passes between two nodes until [`heal`](Self::heal).
    pub fn partition(&mut self, a: usize, b: usize) {
        with(|world| {
            world
                .state
                .say(None, &format!("nodes {a} and {b} are parted"));
            world.state.partitions.insert((a.min(b), a.max(b)));
        });
    }

    /// What was held back between two nodes is on its way.
    pub fn heal(&mut self, a: usize, b: usize) {
        with(|world| {
            if world.state.is_parted(a, b) {
                world
                    .state
                    .say(None, &format!("nodes {a} and {b} reach one another"));
                world.network.heal(&mut world.state, a, b);
            }
        });
    }

    /// No faults from now on: partitions heal, nothing is lost, and nodes that are down come back.
    pub fn calm(&mut self) {
        let partitions = with(|world| {
            world.state.faults.every_ns = 0;
            world.state.faults.lost_in_thousand = 0;
            world.state.partitions.clone()
        });
        for (a, b) in partitions {
            self.heal(a, b);
        }
        for node in 0..self.machines.len() {
            self.restart(node);
        }
    }

    /// Something goes wrong by chance.
    fn fault(&mut self) {
        let Some((a, b, what, later_ns)) = with(|world| {
            let state = &mut world.state;
            let every_ns = state.faults.every_ns;
            if every_ns == 0 || state.nodes.is_empty() {
                return None;
            }
            let chance = &mut state.chance;
            let nodes = state.nodes.len() as u64;
            let next_ns = state.now_ns + 1 + chance.below(2 * every_ns);
            let (a, b) = (chance.below(nodes) as usize, chance.below(nodes) as usize);
            let (what, later_ms) = (chance.below(10), 1 + chance.below(LONGEST_MS));
            state.at(next_ns, Step::Fault);
            Some((a, b, what, later_ms * MS))
        }) else {
            return;
        };
        let later = |step| with(|world| world.state.at(world.state.now_ns + later_ns, step));
        let done = match what {
            0 | 1 if self.is_up(a) && !with(|world| world.state.nodes[a].is_spared) => {
                let how = match what {
                    0 => Crash::Process,
                    _ => Crash::Machine,
                };
                self.crash(a, how);
                later(Step::Restart(a));
                true
            }
            2..=4 if a != b => {
                self.partition(a, b);
                later(Step::Heal(a, b));
                true
            }
            5 => {
                self.pause(a, Duration::from_nanos(later_ns));
                true
            }
            _ => with(|world| world.network.break_one(&mut world.state)),
        };
        with(|world| world.state.injected += u64::from(done));
    }

    // --- What has happened ---------------------------------------------------------------------

    /// How many faults of machines and of the network chance has made; lost segments are not counted.
    #[must_use]
    pub fn faults(&self) -> u64 {
        with(|world| world.state.injected)
    }

    /// How many TCP connections there are, half-open ones included.
    #[must_use]
    pub fn connections(&self) -> usize {
        with(|world| world.network.links())
    }

    /// Follows from all that has happened and when, and from all that was said and noted. Two runs with the same digest were the same.
    #[must_use]
    pub fn digest(&self) -> u64 {
        with(|world| world.state.digest)
    }

    /// Chance, for the test itself.
    pub fn chance<R>(&mut self, f: impl FnOnce(&mut Chance) -> R) -> R {
        let mut chance = with(|world| world.state.chance.clone());
        let result = f(&mut chance);
        with(|world| world.state.chance = chance);
        result
    }
}

std::thread_local! {
    static DIGESTS: RefCell<Vec<u64>> = const { RefCell::new(Vec::new()) };
}

/// Those of the thread's simulations that have ended since this was asked last.
pub fn take_digests() -> Vec<u64> {
    DIGESTS.take()
}

impl Drop for Simulation {
    fn drop(&mut self) {
        DIGESTS.with_borrow_mut(|digests| digests.push(self.digest()));
        for node in 0..self.machines.len() {
            self.end(node, false);
        }
        // The wakers in it are the last of the nodes' tasks.
        let world = world::leave();
        drop(world);
    }
}

/// The address of a node.
#[must_use]
pub fn address(node: usize) -> Ipv4Addr {
    state::address(node)
}
