//! Nodes in virtual time: many [`Connection`]s in one process and one thread, over links that delay, lose, stall and break, on
//! machines whose clocks drift and that crash and come back. All chance comes from one seed, so a seed repeats a run exactly.
//!
//! It is for tests of what is promised about calls. Programs with Ebbs run on the simulated machines of the crate `ebb-sim`, whose faults
//! these are.
//!
//! What runs on a node is an [`App`]: a state machine that is told what happened and uses [`Node`] to call others, to answer and
//! to be woken. The connections are those that run over sockets. An example that puts a counter on three nodes:
//!
//! ```
//! use ebb_distributed::{connection::{Event, Request}, frame::Payload, sim::{App, Faults, Happened, Node, World}};
//!
//! #[derive(Default)]
//! struct Counter { calls: u32, answers: u32 }
//!
//! impl App for Counter {
//!     fn on(&mut self, node: &mut Node<'_>, happened: Happened) {
//!         match happened {
//!             Happened::Started => {
//!                 let other = (node.number() + 1) % node.nodes();
//!                 let request = Request { ebb: 1, method: 1, flags: 0, deadline_ns: None, payload: Payload::of("up") };
//!                 node.call(other, request).expect("nothing waits yet");
//!             }
//!             Happened::Connection(link, Event::Called { id, payload, .. }) => {
//!                 self.calls += 1;
//!                 node.connection(link).expect("it has just called").answer(id, Ok(payload));
//!             }
//!             Happened::Connection(_, Event::Answered { result, .. }) => {
//!                 assert!(result.is_ok());
//!                 self.answers += 1;
//!             }
//!             _ => {}
//!         }
//!     }
//! }
//!
//! let mut world = World::new(7, 3, Faults::none(), |_, _| Counter::default());
//! world.run_for(1_000_000_000);
//! assert!(world.apps().all(|counter| counter.calls == 1 && counter.answers == 1));
//! ```

use alloc::{
    collections::{BTreeMap, BTreeSet, BinaryHeap, VecDeque},
    vec::Vec,
};
use core::cmp::Reverse;

use bytes::Bytes;

pub use crate::chance::{Chance, Faults};
use crate::{
    connection::{Closed, Connection, Event, Held, Limits, Request},
    failure::NotSent,
};

const MS: u64 = 1_000_000;

/// A link: a connection between two nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LinkId(u64);

/// What an [`App`] is told.
#[derive(Debug)]
pub enum Happened {
    /// The node runs, for the first time or again.
    Started,
    /// What [`Node::after`] asked for.
    Timer(u64),
    /// A connection of the node says so.
    Connection(LinkId, Event),
}

/// What runs on a node.
pub trait App {
    /// Something happened.
    fn on(&mut self, node: &mut Node<'_>, happened: Happened);
}

/// One of two ends of a link.
struct End {
    node: usize,
    life: u64,
    connection: Option<Connection>,
    tick_ns: u64,
}

struct Link {
    ends: [End; 2],
    /// Towards each end: what a partition holds back.
    stalled: [VecDeque<Parcel>; 2],
    /// Towards each end: nothing arrives before what was sent before it.
    arrives_ns: [u64; 2],
}

/// What travels.
enum Parcel {
    Bytes(Bytes),
    End,
}

enum Step {
    Deliver(LinkId, usize, Parcel),
    Tick(LinkId, usize),
    Timer(usize, u64, u64),
    Restart(usize),
    Heal(usize, usize),
    Fault,
}

struct Slot<A> {
    app: Option<A>,
    life: u64,
    up: bool,
    drift_ppm: i64,
    offset_ns: u64,
    to: BTreeMap<usize, LinkId>,
}

/// The part of the world that apps may touch.
struct Inner {
    now_ns: u64,
    sequence: u64,
    steps: BinaryHeap<Reverse<(u64, u64, StepBox)>>,
    links: BTreeMap<LinkId, Link>,
    next_link: u64,
    chance: Chance,
    faults: Faults,
    limits: Limits,
    partitions: BTreeSet<(usize, usize)>,
    dirty: VecDeque<(LinkId, usize)>,
    injected: u64,
}

/// A step in the heap: only time and sequence order it.
struct StepBox(Step);
impl PartialEq for StepBox {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}
impl Eq for StepBox {}
impl PartialOrd for StepBox {
    fn partial_cmp(&self, other: &Self) -> Option<core::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for StepBox {
    fn cmp(&self, _: &Self) -> core::cmp::Ordering {
        core::cmp::Ordering::Equal
    }
}

impl Inner {
    fn at(&mut self, when_ns: u64, step: Step) {
        self.sequence += 1;
        self.steps.push(Reverse((
            when_ns.max(self.now_ns),
            self.sequence,
            StepBox(step),
        )));
    }

    fn partitioned(&self, a: usize, b: usize) -> bool {
        self.partitions.contains(&(a.min(b), a.max(b)))
    }

    /// Sends something towards an end.
    fn send(&mut self, id: LinkId, towards: usize, parcel: Parcel) {
        let Some(link) = self.links.get_mut(&id) else {
            return;
        };
        let (a, b) = (link.ends[0].node, link.ends[1].node);
        if self.partitions.contains(&(a.min(b), a.max(b))) {
            link.stalled[towards].push_back(parcel);
            return;
        }
        let delay_ns = self.faults.travel_ns(&mut self.chance);
        let arrives_ns = link.arrives_ns[towards].max(self.now_ns + delay_ns);
        link.arrives_ns[towards] = arrives_ns;
        self.at(arrives_ns, Step::Deliver(id, towards, parcel));
    }
}

/// What a link's task would send next: small frames are lent, the others handed on.
fn output(connection: &mut Connection) -> Option<Bytes> {
    let mut lent = None;
    connection.lend_output(|frames| lent = Some(Bytes::copy_from_slice(frames)));
    lent.or_else(|| connection.poll_output())
}

/// A node's clock at a moment.
fn clock(now_ns: u64, offset_ns: u64, drift_ppm: i64) -> u64 {
    let drift = i128::from(now_ns) * i128::from(drift_ppm) / 1_000_000;
    offset_ns + u64::try_from(i128::from(now_ns) + drift).unwrap_or(0)
}

/// What an [`App`] can do on its node.
pub struct Node<'a> {
    inner: &'a mut Inner,
    number: usize,
    nodes: usize,
    life: u64,
    clock_ns: u64,
    to: &'a mut BTreeMap<usize, LinkId>,
}

impl Node<'_> {
    /// Which node this is, from 0.
    #[must_use]
    pub fn number(&self) -> usize {
        self.number
    }

    /// Which of its lives this is.
    #[must_use]
    pub fn life(&self) -> u64 {
        self.life
    }

    /// How many nodes there are.
    #[must_use]
    pub fn nodes(&self) -> usize {
        self.nodes
    }

    /// The node's clock, which drifts.
    #[must_use]
    pub fn now_ns(&self) -> u64 {
        self.clock_ns
    }

    /// Chance.
    pub fn chance(&mut self) -> &mut Chance {
        &mut self.inner.chance
    }

    /// [`Happened::Timer`] with `token` after a time.
    pub fn after(&mut self, delay_ns: u64, token: u64) {
        let when_ns = self.inner.now_ns + delay_ns;
        self.inner
            .at(when_ns, Step::Timer(self.number, self.life, token));
    }

    /// Calls a method on another node; connects to it first where there is no connection.
    ///
    /// # Errors
    /// [`NotSent`], as the only outcome.
    pub fn call(&mut self, to: usize, request: Request) -> Result<(LinkId, u64), NotSent> {
        let link = match self.to.get(&to) {
            Some(link) => *link,
            None => self.connect(to),
        };
        let clock_ns = self.clock_ns;
        let connection = self.connection(link).ok_or(NotSent::Unreachable)?;
        let id = connection.call(clock_ns, request)?;
        Ok((link, id))
    }

    /// A connection of this node; `None` when it has ended.
    pub fn connection(&mut self, link: LinkId) -> Option<&mut Connection> {
        let (number, life) = (self.number, self.life);
        let ends = &mut self.inner.links.get_mut(&link)?.ends;
        let side = ends
            .iter()
            .position(|e| e.node == number && e.life == life && e.connection.is_some())?;
        self.inner.dirty.push_back((link, side));
        ends[side].connection.as_mut()
    }

    fn connect(&mut self, to: usize) -> LinkId {
        let id = LinkId(self.inner.next_link);
        self.inner.next_link += 1;
        let connection = Connection::new(
            self.inner.limits,
            self.number as u64,
            self.life,
            self.clock_ns,
        );
        let near = End {
            node: self.number,
            life: self.life,
            connection: Some(connection),
            tick_ns: u64::MAX,
        };
        // The far end comes to be when the first bytes arrive.
        let far = End {
            node: to,
            life: u64::MAX,
            connection: None,
            tick_ns: u64::MAX,
        };
        let link = Link {
            ends: [near, far],
            stalled: Default::default(),
            arrives_ns: [0; 2],
        };
        self.inner.links.insert(id, link);
        self.inner.dirty.push_back((id, 0));
        self.to.insert(to, id);
        id
    }
}

/// All nodes.
pub struct World<A> {
    inner: Inner,
    slots: Vec<Slot<A>>,
    make: alloc::boxed::Box<dyn FnMut(usize, u64) -> A>,
}

impl<A: App> World<A> {
    /// So many nodes, which all start. `make` makes the app of a node's life.
    pub fn new(
        seed: u64,
        nodes: usize,
        faults: Faults,
        make: impl FnMut(usize, u64) -> A + 'static,
    ) -> Self {
        Self::with_limits(seed, nodes, faults, Limits::default(), make)
    }

    /// As [`new`](Self::new), with limits for every connection.
    pub fn with_limits(
        seed: u64,
        nodes: usize,
        faults: Faults,
        limits: Limits,
        make: impl FnMut(usize, u64) -> A + 'static,
    ) -> Self {
        let mut chance = Chance::new(seed);
        let slots = (0..nodes)
            .map(|_| Slot {
                app: None,
                life: 0,
                up: false,
                drift_ppm: chance.below(2 * faults.drift_ppm + 1) as i64 - faults.drift_ppm as i64,
                offset_ns: chance.below(1 << 40),
                to: BTreeMap::new(),
            })
            .collect();
        let inner = Inner {
            now_ns: 0,
            sequence: 0,
            steps: BinaryHeap::new(),
            links: BTreeMap::new(),
            next_link: 0,
            chance,
            faults,
            limits,
            partitions: BTreeSet::new(),
            dirty: VecDeque::new(),
            injected: 0,
        };
        let mut world = Self {
            inner,
            slots,
            make: alloc::boxed::Box::new(make),
        };
        for node in 0..nodes {
            world.inner.at(0, Step::Restart(node));
        }
        world.inner.at(0, Step::Fault);
        world
    }

    /// Virtual time since the start.
    #[must_use]
    pub fn now_ns(&self) -> u64 {
        self.inner.now_ns
    }

    /// How many faults of machines and of the network there were.
    #[must_use]
    pub fn faults(&self) -> u64 {
        self.inner.injected
    }

    /// The apps of the nodes that are up.
    pub fn apps(&self) -> impl Iterator<Item = &A> {
        self.slots.iter().filter_map(|slot| slot.app.as_ref())
    }

    /// What each connection holds now.
    pub fn held(&self) -> impl Iterator<Item = Held> {
        let ends = self.inner.links.values().flat_map(|link| &link.ends);
        ends.filter_map(|end| end.connection.as_ref())
            .map(Connection::held)
    }

    /// How many connections the node has to nodes (or lives of them) that are no more.
    #[must_use]
    pub fn connections_to_the_dead(&self) -> usize {
        self.inner
            .links
            .values()
            .filter(|link| {
                (0..2).any(|side| {
                    let far = &link.ends[1 - side];
                    link.ends[side].connection.is_some()
                        && (!self.slots[far.node].up
                            || far.life != u64::MAX && self.slots[far.node].life != far.life)
                })
            })
            .count()
    }

    /// No faults from now on: partitions heal, and nodes that are down come back.
    pub fn calm(&mut self) {
        self.inner.faults.every_ns = 0;
        self.inner.faults.lost_in_thousand = 0;
        for (a, b) in self.inner.partitions.clone() {
            self.inner.at(0, Step::Heal(a, b));
        }
        for node in 0..self.slots.len() {
            if !self.slots[node].up {
                self.inner.at(0, Step::Restart(node));
            }
        }
    }

    /// Nothing passes between the two until [`heal`](Self::heal).
    pub fn partition(&mut self, a: usize, b: usize) {
        self.inner.partitions.insert((a.min(b), a.max(b)));
    }

    /// What was held back between the two arrives.
    pub fn heal(&mut self, a: usize, b: usize) {
        self.inner.partitions.remove(&(a.min(b), a.max(b)));
        let between: Vec<LinkId> = self
            .inner
            .links
            .iter()
            .filter(|(_, link)| {
                let ends = (link.ends[0].node, link.ends[1].node);
                ends == (a, b) || ends == (b, a)
            })
            .map(|(id, _)| *id)
            .collect();
        for id in between {
            for side in 0..2 {
                let Some(link) = self.inner.links.get_mut(&id) else {
                    continue;
                };
                for parcel in core::mem::take(&mut link.stalled[side]) {
                    self.inner.send(id, side, parcel);
                }
            }
        }
    }

    /// The node stops at once. Where its kernel lives on (`told`), its peers' connections end; else they hear nothing more.
    pub fn crash(&mut self, node: usize, told: bool) {
        let slot = &mut self.slots[node];
        if !slot.up {
            return;
        }
        (slot.up, slot.app) = (false, None);
        slot.to.clear();
        let ids: Vec<LinkId> = self.inner.links.keys().copied().collect();
        for id in ids {
            for side in 0..2 {
                let end = &mut self.inner.links.get_mut(&id).expect("it was listed").ends[side];
                if end.node == node && end.connection.take().is_some() && told {
                    self.inner.send(id, 1 - side, Parcel::End);
                }
            }
        }
        self.sweep();
    }

    /// The node starts anew and remembers nothing.
    pub fn restart(&mut self, node: usize) {
        if self.slots[node].up {
            return;
        }
        let life = self.slots[node].life + 1;
        let app = (self.make)(node, life);
        let slot = &mut self.slots[node];
        (slot.life, slot.up, slot.app) = (life, true, Some(app));
        self.tell(node, Happened::Started);
    }

    /// Runs for so much virtual time.
    pub fn run_for(&mut self, duration_ns: u64) {
        let until_ns = self.inner.now_ns + duration_ns;
        while let Some(Reverse((when_ns, ..))) = self.inner.steps.peek()
            && *when_ns <= until_ns
        {
            let Some(Reverse((when_ns, _, StepBox(step)))) = self.inner.steps.pop() else {
                break;
            };
            self.inner.now_ns = when_ns;
            self.step(step);
            self.settle();
        }
        self.inner.now_ns = until_ns;
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Deliver(id, side, parcel) => self.deliver(id, side, parcel),
            Step::Timer(node, life, token) => {
                if self.slots[node].up && self.slots[node].life == life {
                    self.tell(node, Happened::Timer(token));
                }
            }
            Step::Tick(id, side) => {
                let Some(link) = self.inner.links.get_mut(&id) else {
                    return;
                };
                let end = &mut link.ends[side];
                let slot = &self.slots[end.node];
                let Some(connection) = &mut end.connection else {
                    return;
                };
                end.tick_ns = u64::MAX;
                connection.tick(clock(self.inner.now_ns, slot.offset_ns, slot.drift_ppm));
                self.inner.dirty.push_back((id, side));
            }
            Step::Restart(node) => self.restart(node),
            Step::Heal(a, b) => self.heal(a, b),
            Step::Fault => self.fault(),
        }
    }

    fn deliver(&mut self, id: LinkId, side: usize, parcel: Parcel) {
        let Some(link) = self.inner.links.get_mut(&id) else {
            return;
        };
        let end = &mut link.ends[side];
        let slot = &self.slots[end.node];
        let now_ns = clock(self.inner.now_ns, slot.offset_ns, slot.drift_ppm);
        if side == 1 && end.life == u64::MAX {
            // The first to arrive at a listener.
            if !slot.up {
                return;
            }
            end.life = slot.life;
            end.connection = Some(Connection::new(
                self.inner.limits,
                end.node as u64,
                slot.life,
                now_ns,
            ));
        }
        let Some(connection) = &mut end.connection else {
            if slot.up && matches!(parcel, Parcel::Bytes(_)) {
                // A kernel answers what belongs to no connection of its with a reset.
                self.inner.send(id, 1 - side, Parcel::End);
            }
            return;
        };
        match parcel {
            Parcel::Bytes(bytes) => connection.receive(now_ns, &bytes),
            Parcel::End => connection.close(Closed::Transport),
        }
        self.inner.dirty.push_back((id, side));
    }

    /// Moves what connections have to say until none has anything.
    fn settle(&mut self) {
        while let Some((id, side)) = self.inner.dirty.pop_front() {
            while let Some(bytes) = self.connection(id, side).and_then(output) {
                // As a transport does: in pieces that know nothing of frames.
                let mut bytes = bytes;
                while bytes.len() > 1 && self.inner.chance.in_thousand(300) {
                    let piece = 1 + self.inner.chance.below(bytes.len() as u64 - 1) as usize;
                    let piece = bytes.split_to(piece);
                    self.inner.send(id, 1 - side, Parcel::Bytes(piece));
                }
                self.inner.send(id, 1 - side, Parcel::Bytes(bytes));
            }
            while let Some(event) = self.connection(id, side).and_then(Connection::poll_event) {
                let node = self.inner.links[&id].ends[side].node;
                if matches!(event, Event::Closed(_)) {
                    self.inner.send(id, 1 - side, Parcel::End);
                    self.slots[node].to.retain(|_, link| *link != id);
                    self.inner.links.get_mut(&id).expect("it has an end").ends[side].connection =
                        None;
                }
                self.tell(node, Happened::Connection(id, event));
            }
            self.schedule_tick(id, side);
            if self.inner.links.get(&id).is_some_and(|l| {
                l.ends
                    .iter()
                    .all(|e| e.connection.is_none() && e.life != u64::MAX)
            }) {
                self.inner.links.remove(&id);
            }
        }
    }

    fn schedule_tick(&mut self, id: LinkId, side: usize) {
        let Some(link) = self.inner.links.get_mut(&id) else {
            return;
        };
        let end = &mut link.ends[side];
        let Some(connection) = &end.connection else {
            return;
        };
        let slot = &self.slots[end.node];
        let (next_ns, clock_ns) = (
            connection.next_ns(),
            clock(self.inner.now_ns, slot.offset_ns, slot.drift_ppm),
        );
        if next_ns == u64::MAX {
            return;
        }
        // A little more than the drift, so that the clock has passed it.
        let wait_ns = next_ns.saturating_sub(clock_ns);
        let when_ns = self.inner.now_ns + wait_ns + wait_ns / 1000 + 1;
        if when_ns < end.tick_ns {
            end.tick_ns = when_ns;
            self.inner.at(when_ns, Step::Tick(id, side));
        }
    }

    fn connection(&mut self, id: LinkId, side: usize) -> Option<&mut Connection> {
        self.inner.links.get_mut(&id)?.ends[side]
            .connection
            .as_mut()
    }

    fn tell(&mut self, node: usize, happened: Happened) {
        let nodes = self.slots.len();
        let slot = &mut self.slots[node];
        let Some(app) = &mut slot.app else { return };
        let mut node = Node {
            number: node,
            nodes,
            life: slot.life,
            clock_ns: clock(self.inner.now_ns, slot.offset_ns, slot.drift_ppm),
            inner: &mut self.inner,
            to: &mut slot.to,
        };
        app.on(&mut node, happened);
    }

    /// Forgets links of which both ends are gone.
    fn sweep(&mut self) {
        self.inner
            .links
            .retain(|_, link| link.ends.iter().any(|e| e.connection.is_some()));
    }

    fn fault(&mut self) {
        if self.inner.faults.every_ns == 0 {
            return;
        }
        let every_ns = self.inner.faults.every_ns;
        let next_ns = self.inner.now_ns + self.inner.chance.below(2 * every_ns) + 1;
        self.inner.at(next_ns, Step::Fault);
        let nodes = self.slots.len() as u64;
        let chance = &mut self.inner.chance;
        let (a, b) = (chance.below(nodes) as usize, chance.below(nodes) as usize);
        let later_ns = 1 + chance.below(4000) * MS;
        self.inner.injected += 1;
        match self.inner.chance.below(10) {
            0 | 1 => {
                let told = self.inner.chance.in_thousand(500);
                self.crash(a, told);
                let when_ns = self.inner.now_ns + later_ns;
                self.inner.at(when_ns, Step::Restart(a));
            }
            2..=4 if a != b => {
                self.partition(a, b);
                let when_ns = self.inner.now_ns + later_ns;
                self.inner.at(when_ns, Step::Heal(a, b));
            }
            _ => {
                // A connection breaks, as each side learns in its own time.
                let count = self.inner.links.len() as u64;
                if count == 0 {
                    return;
                }
                let which = self.inner.chance.below(count) as usize;
                let id = *self
                    .inner
                    .links
                    .keys()
                    .nth(which)
                    .expect("there are so many");
                for side in 0..2 {
                    let (x, y) = {
                        let ends = &self.inner.links[&id].ends;
                        (ends[0].node, ends[1].node)
                    };
                    if !self.inner.partitioned(x, y) {
                        self.inner.send(id, side, Parcel::End);
                    }
                }
            }
        }
    }
}
