//! Starting the nodes of a cluster from a program.
//!
//! [`Nodes::start`] is for a program that runs as a Linux process: its machines are images (or processes), and end with it, whatever ends
//! it. How machines are started is behind the component [`Launcher`]; a program names what provides it:
//! `#[ebb::main(hosted = ebb_launch)]`. What was started joins with [`join_by_options`](crate::join_by_options).

use alloc::{
    boxed::Box,
    collections::{BTreeMap, VecDeque},
    format,
    rc::Rc,
    string::String,
    vec::Vec,
};
use core::{
    cell::{Cell, RefCell},
    future::poll_fn,
    net::{IpAddr, Ipv4Addr},
    task::{Context, Poll},
    time::Duration,
};

use ebb_runtime::{
    EbbRef, JoinHandle, component,
    platform::Console,
    provides, spawn,
    sync::Notify,
    time::{Instant, sleep, timeout},
};

use crate::{
    channel::Key,
    connection::Limits,
    node::{Config, NodeId, State, forget, introduce, join, watch},
};

/// What a launched machine says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Said {
    /// A line, of the machine or of what runs it.
    Line(String),
    /// It has ended; nothing comes after it. How, in words for people.
    Ended(String),
}

/// A machine that was launched. Dropped, it ends at once.
pub trait Launched {
    /// What it says next.
    fn poll_said(&self, cx: &mut Context<'_>) -> Poll<Said>;
    /// Asks it to end.
    fn ask_to_end(&self);
    /// Ends it.
    fn kill(&self);
    /// The number of its process, while there is one.
    fn process(&self) -> Option<u32>;
}

/// A machine to launch.
#[derive(Clone, Debug)]
pub struct Launch {
    /// The image, or a program for Linux.
    pub program: String,
    /// Its arguments.
    pub arguments: Vec<String>,
    /// Settings as the runner has them: `EBB_CORES`, `EBB_MEMORY` and so on.
    pub settings: Vec<(String, String)>,
    /// The port at which it listens, of the machine and of this one.
    pub port: u16,
    /// What is typed on its console first. Unlike arguments and settings, nobody else sees it.
    pub typed: String,
}

/// Starts machines. They end with this program, however that ends.
#[component(replaceable)]
pub trait Launcher {
    /// Whether machines can be started at all: an image starts none.
    fn is_there(&self) -> bool;
    /// A port of this machine that nobody listens at, for what is launched next.
    ///
    /// # Errors
    /// There is none.
    fn free_port(&self) -> Result<u16, String>;
    /// Launches a machine.
    ///
    /// # Errors
    /// It cannot be started: why, and what to do.
    fn launch(&self, launch: Launch) -> Result<Box<dyn Launched>, String>;
}

/// Where nothing provides the component.
struct Nobody;

const NOBODY: &str = "this program starts no machines: it has to run as a Linux process, and to name what starts them, as \
     `#[ebb::main(hosted = ebb_launch)]`";

#[provides(Launcher, default, instance = &Nobody)]
impl Launcher for Nobody {
    fn is_there(&self) -> bool {
        false
    }

    fn free_port(&self) -> Result<u16, String> {
        Err(NOBODY.into())
    }

    fn launch(&self, _: Launch) -> Result<Box<dyn Launched>, String> {
        Err(NOBODY.into())
    }
}

/// Lines that explain why a machine has ended.
const LAST_LINES: usize = 12;
/// How often it is said that a machine has not joined yet.
const STILL: Duration = Duration::from_secs(10);
/// How long a machine may take to end when it is asked to.
const GRACE: Duration = Duration::from_secs(90);

/// Machines to start.
#[derive(Clone, Debug)]
pub struct Start {
    program: String,
    arguments: Vec<String>,
    settings: Vec<(String, String)>,
    limits: Limits,
    patience: Duration,
    what: String,
}

impl Start {
    /// Machines that run an image, or a program for Linux, which joins with
    /// [`join_by_options`](crate::join_by_options).
    #[must_use]
    pub fn new(program: &str) -> Self {
        Self {
            program: program.into(),
            arguments: Vec::new(),
            settings: Vec::new(),
            limits: Limits::default(),
            patience: Duration::from_secs(300),
            what: "machine".into(),
        }
    }

    /// With one more argument.
    #[must_use]
    pub fn argument(mut self, argument: &str) -> Self {
        self.arguments.push(argument.into());
        self
    }

    /// With a setting as the runner has it: `EBB_CORES`, `EBB_MEMORY` and so on.
    #[must_use]
    pub fn setting(mut self, name: &str, value: &str) -> Self {
        self.settings.push((name.into(), value.into()));
        self
    }

    /// With limits of this node's connections other than the usual ones.
    #[must_use]
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// Each is given up when it has not joined after so long (five minutes).
    #[must_use]
    pub fn patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }
}

struct Running {
    launched: Box<dyn Launched>,
    /// It is to end, so its end is no news.
    ends: Cell<bool>,
    /// Why it has ended.
    ended: RefCell<Option<String>>,
    last_lines: RefCell<VecDeque<String>>,
    changed: Notify,
}

impl Running {
    /// How it ended, with what was said last.
    fn explained(&self) -> Option<String> {
        let ended = self.ended.borrow();
        let mut text = ended.clone()?;
        for line in &*self.last_lines.borrow() {
            text += "\n    ";
            text += line;
        }
        Some(text)
    }
}

struct Shared {
    key: Key,
    start: Start,
    next: Cell<u64>,
    running: RefCell<BTreeMap<NodeId, Rc<Running>>>,
    /// Ended by themselves, and not yet told.
    ended: RefCell<VecDeque<(NodeId, String)>>,
    news: Notify,
}

/// Nodes that this program has started. They end when it is dropped, and when the program ends.
pub struct Nodes {
    shared: Rc<Shared>,
    _server: Option<ebb_net::tcp::Server>,
}

impl Nodes {
    /// Starts `count` machines and waits until they have joined; tells on the console how that goes. Unless this node has joined a cluster
    /// ([`join_with`](Nodes::join_with) is for one that has) it becomes node 0 of a new one; they are nodes 1 and up.
    ///
    /// # Errors
    /// One of them has not come up: what it said last, and what can be done. The others are ended.
    pub async fn start(start: Start, count: usize) -> Result<Self, String> {
        let key = Key::random();
        let own = Config {
            limits: start.limits,
            ..Config::new(NodeId(0), key, (Ipv4Addr::LOCALHOST, 0))
        };
        let server = join(own)
            .await
            .map_err(|error| format!("this node cannot listen: {error}"))?;
        let mut nodes = Self::join_with(key, start, NodeId(1));
        nodes._server = Some(server);
        nodes.add_several(count).await?;
        Ok(nodes)
    }

    /// For a node that has joined a cluster with this key: none yet. Those that are added get numbers from `first` on.
    #[must_use]
    pub fn join_with(key: Key, start: Start, first: NodeId) -> Self {
        Self {
            shared: Rc::new(Shared {
                key,
                start,
                next: Cell::new(first.0),
                running: RefCell::default(),
                ended: RefCell::default(),
                news: Notify::new(),
            }),
            _server: None,
        }
    }

    /// Those that run.
    #[must_use]
    pub fn nodes(&self) -> Vec<NodeId> {
        self.shared.running.borrow().keys().copied().collect()
    }

    /// The number of a machine's process, as `kill` takes it.
    #[must_use]
    pub fn process(&self, node: NodeId) -> Option<u32> {
        self.shared.running.borrow().get(&node)?.launched.process()
    }

    /// Starts one more, and waits until it has joined.
    ///
    /// # Errors
    /// As [`Nodes::start`].
    pub async fn add(&self) -> Result<NodeId, String> {
        self.shared
            .begin()?
            .await
            .unwrap_or_else(|_| Err(String::from("this program ends")))
    }

    /// Starts several, and waits until all have joined.
    ///
    /// # Errors
    /// As [`Nodes::start`].
    pub async fn add_several(&self, count: usize) -> Result<Vec<NodeId>, String> {
        let begun = Instant::now();
        let mut starting = Vec::new();
        for _ in 0..count {
            starting.push(self.shared.begin()?);
        }
        let mut nodes = Vec::new();
        let what = &self.shared.start.what;
        for node in starting {
            nodes.push(
                node.await
                    .unwrap_or_else(|_| Err(String::from("this program ends")))?,
            );
            let took = begun.elapsed().as_millis();
            inform(&format!(
                "{} of {count} {what}s have joined after {took} ms",
                nodes.len()
            ));
        }
        Ok(nodes)
    }

    /// Asks a machine to end, and ends it when it does not. Ready when it has ended.
    pub async fn stop(&self, node: NodeId) {
        let Some(running) = self.shared.running.borrow().get(&node).cloned() else {
            return;
        };
        running.ends.set(true);
        running.launched.ask_to_end();
        let ended = async {
            while running.ended.borrow().is_none() {
                running.changed.notified().await;
            }
        };
        if timeout(GRACE, ended).await.is_err() {
            running.launched.kill();
        }
        self.shared.running.borrow_mut().remove(&node);
        forget(node);
    }

    /// The next machine that has ended without being asked to, and how. It is no node any more.
    pub async fn ended(&self) -> (NodeId, String) {
        loop {
            if let Some(ended) = self.shared.ended.borrow_mut().pop_front() {
                return ended;
            }
            self.shared.news.notified().await;
        }
    }
}

impl Drop for Nodes {
    fn drop(&mut self) {
        // The tasks that listen to them hold the rest.
        self.shared.running.borrow_mut().clear();
    }
}

type Joining = JoinHandle<Result<NodeId, String>>;

impl Shared {
    /// Launches a machine; the handle is ready when it has joined.
    fn begin(self: &Rc<Self>) -> Result<Joining, String> {
        let launcher = EbbRef::<dyn Launcher>::get();
        let port = launcher.free_port()?;
        let node = NodeId(self.next.get());
        self.next.set(node.0 + 1);
        let options = format!("node={} cluster-key=console listen={port}", node.0);
        let mut settings = self.start.settings.clone();
        match settings.iter_mut().find(|(name, _)| name == "EBB_OPTIONS") {
            Some((_, given)) => *given = format!("{given} {options}"),
            None => settings.push(("EBB_OPTIONS".into(), options)),
        }
        settings.push(("EBB_FORWARD".into(), format!("{port}:{port}")));
        let launched = launcher.launch(Launch {
            program: self.start.program.clone(),
            arguments: self.start.arguments.clone(),
            settings,
            port,
            // While a UART is being set up it may lose a byte, which then is none of the key.
            typed: format!("\n\n{}\n", self.key.to_hex()),
        })?;
        let running = Rc::new(Running {
            launched,
            ends: Cell::new(false),
            ended: RefCell::default(),
            last_lines: RefCell::default(),
            changed: Notify::new(),
        });
        self.running.borrow_mut().insert(node, Rc::clone(&running));
        introduce(node, (IpAddr::V4(Ipv4Addr::LOCALHOST), port).into());
        spawn(listen(Rc::clone(self), node, Rc::clone(&running)));
        let shared = Rc::clone(self);
        Ok(spawn(async move {
            let joined = shared.joined(node, &running).await;
            if joined.is_err() {
                shared.running.borrow_mut().remove(&node);
                forget(node);
            }
            joined
        }))
    }

    /// Waits until a machine has joined.
    async fn joined(&self, node: NodeId, running: &Running) -> Result<NodeId, String> {
        let (begun, what) = (Instant::now(), &self.start.what);
        let mut told = STILL;
        let mut watch = watch(node);
        loop {
            let change = timeout(Duration::from_millis(100), watch.next()).await;
            if matches!(change, Ok(State::Up { .. })) {
                return Ok(node);
            }
            if let Some(why) = running.explained() {
                return Err(format!(
                    "{what} {} ended before it had joined: {why}",
                    node.0
                ));
            }
            let elapsed = begun.elapsed();
            if elapsed >= self.start.patience {
                running.launched.kill();
                let seconds = elapsed.as_secs();
                let lines: Vec<String> = running.last_lines.borrow().iter().cloned().collect();
                return Err(format!(
                    "{what} {} has not joined after {seconds} seconds, and was ended. It said last:\n    {}",
                    node.0,
                    lines.join("\n    ")
                ));
            }
            if elapsed >= told {
                told += STILL;
                inform(&format!(
                    "{what} {} has not joined yet, after {} s",
                    node.0,
                    elapsed.as_secs()
                ));
            }
            if change.is_ok() {
                sleep(Duration::from_millis(20)).await;
            }
        }
    }
}

/// Takes what a machine says, until it ends.
async fn listen(shared: Rc<Shared>, node: NodeId, running: Rc<Running>) {
    let what = &shared.start.what;
    loop {
        match poll_fn(|cx| running.launched.poll_said(cx)).await {
            Said::Line(line) => {
                inform(&format!("{what} {}: {line}", node.0));
                let mut lines = running.last_lines.borrow_mut();
                if lines.len() == LAST_LINES {
                    lines.pop_front();
                }
                lines.push_back(line);
            }
            Said::Ended(how) => {
                *running.ended.borrow_mut() = Some(how);
                running.changed.notify_all();
                break;
            }
        }
    }
    let was_there = shared.running.borrow_mut().remove(&node).is_some();
    if was_there && !running.ends.get() {
        forget(node);
        let why = running.explained().unwrap_or_default();
        shared.ended.borrow_mut().push_back((node, why));
        shared.news.notify_all();
    }
}

fn inform(line: &str) {
    EbbRef::<dyn Console>::get().inform(line);
}
