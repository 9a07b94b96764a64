//! This node: joining a cluster, where the others are, links to them from each core.
//!
//! Each core makes its own connections, so a call crosses no core on the way out, and the other machine's stack puts the
//! connection on the core that its packets come to.

use alloc::{collections::BTreeMap, rc::Rc, vec::Vec};
use core::{
    cell::{Cell, RefCell},
    net::SocketAddr,
};

use ebb_net::{
    Error,
    tcp::{self, Server, TcpStream},
};
use ebb_runtime::{EbbRef, ebb, platform::Entropy, spawn, sync::Notify, time::Instant};
use spin::{Mutex, MutexGuard};

use crate::{
    channel::{Channel, Key},
    connection::{Connection, Limits, Request},
    failure::{Failure, NotSent},
    link::{Call, Link},
};

/// A node's number, which its cluster gives to one node only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(pub u64);

/// How a node takes part.
#[derive(Clone, Debug)]
pub struct Config {
    /// Which node this is.
    pub node: NodeId,
    /// The key of its cluster.
    pub key: Key,
    /// Where it is called from others; port 0 for a free one.
    pub listen: SocketAddr,
    /// What each connection may cost.
    pub limits: Limits,
}

impl Config {
    /// With default limits.
    #[must_use]
    pub fn new(node: NodeId, key: Key, listen: impl Into<SocketAddr>) -> Self {
        Self {
            node,
            key,
            listen: listen.into(),
            limits: Limits::default(),
        }
    }
}

/// Strangers of a core that have not yet proved that they have the key.
const STRANGERS: usize = 64;
/// After a connection could not be made, calls fail at once for about so long, and each time twice as long.
const PAUSE_NS: u64 = 20_000_000;
const LONGEST_PAUSE_NS: u64 = 1_000_000_000;

struct Joined {
    config: Config,
    incarnation: u64,
    addresses: BTreeMap<NodeId, SocketAddr>,
}

/// For all cores. Read when a connection is made.
#[ebb(shared)]
#[derive(Default)]
struct Cluster {
    joined: Mutex<Option<Joined>>,
}

impl Cluster {
    fn joined() -> MutexGuard<'static, Option<Joined>> {
        EbbRef::<Self>::get().joined.lock()
    }
}

/// What a core knows of another node.
#[derive(Default)]
struct Peer {
    /// The link that calls go over.
    link: Option<Rc<Link>>,
    failed: u32,
    not_before_ns: u64,
    /// What watchers see: its incarnation while there is a connection, and how often that changed.
    up: Option<u64>,
    changes: u64,
    changed: Rc<Notify>,
}

/// The peers of a core.
#[ebb(per_core)]
#[derive(Default)]
struct Peers {
    peers: RefCell<BTreeMap<NodeId, Peer>>,
    strangers: Cell<usize>,
    /// Links that others made.
    accepted: RefCell<Vec<Rc<Link>>>,
}

/// Joins a cluster: from now on this node can call, and is called at the address of the returned server.
///
/// # Errors
/// When it cannot listen there.
pub async fn join(config: Config) -> Result<Server, Error> {
    let mut incarnation = [0; 8];
    EbbRef::<dyn Entropy>::get().fill(&mut incarnation);
    let listen = config.listen;
    let mut joined = Cluster::joined();
    let addresses = joined.take().map(|j| j.addresses).unwrap_or_default();
    *joined = Some(Joined {
        config,
        incarnation: u64::from_le_bytes(incarnation),
        addresses,
    });
    drop(joined);
    tcp::listen_on_all_cores(listen, accept).await
}

/// Which node this is; `None` before [`join`].
#[must_use]
pub fn this_node() -> Option<NodeId> {
    Cluster::joined().as_ref().map(|joined| joined.config.node)
}

/// Says where a node is. Connections that there are stay.
pub fn introduce(node: NodeId, address: SocketAddr) {
    if let Some(joined) = &mut *Cluster::joined() {
        joined.addresses.insert(node, address);
    }
}

/// Forgets where a node is.
pub fn forget(node: NodeId) {
    if let Some(joined) = &mut *Cluster::joined() {
        joined.addresses.remove(&node);
    }
}

/// The nodes that this one knows, itself included.
#[must_use]
pub fn nodes() -> Vec<NodeId> {
    let joined = Cluster::joined();
    let Some(joined) = &*joined else {
        return Vec::new();
    };
    let mut nodes: Vec<NodeId> = joined.addresses.keys().copied().collect();
    nodes.push(joined.config.node);
    nodes.sort_unstable();
    nodes.dedup();
    nodes
}

fn connection() -> Option<(Connection, Key)> {
    let joined = Cluster::joined();
    let Joined {
        config,
        incarnation,
        ..
    } = joined.as_ref()?;
    let now_ns = Instant::now().as_nanos();
    Some((
        Connection::new(config.limits, config.node.0, *incarnation, now_ns),
        config.key,
    ))
}

/// Serves a connection that another node, or a stranger, has made.
async fn accept(stream: TcpStream) {
    let peers = EbbRef::<Peers>::get();
    let Some((connection, key)) = connection() else {
        return;
    };
    if peers.strangers.get() >= STRANGERS {
        return;
    }
    peers.strangers.set(peers.strangers.get() + 1);
    let link = Link::new(connection);
    let trusted = Rc::new(Cell::new(false));
    peers.accepted.borrow_mut().push(Rc::clone(&link));
    let settle = {
        let trusted = Rc::clone(&trusted);
        move || {
            if !trusted.replace(true) {
                peers.strangers.set(peers.strangers.get() - 1);
            }
        }
    };
    let on_open = settle.clone();
    Rc::clone(&link)
        .drive(stream, Channel::listening(&key), on_open)
        .await;
    settle();
    peers
        .accepted
        .borrow_mut()
        .retain(|other| !Rc::ptr_eq(other, &link));
}

/// The link to a node from this core; makes one where there is none.
fn link(node: NodeId) -> Result<Rc<Link>, NotSent> {
    let peers = EbbRef::<Peers>::get();
    if let Some(peer) = peers.peers.borrow().get(&node) {
        if let Some(link) = &peer.link {
            return Ok(Rc::clone(link));
        }
        if Instant::now().as_nanos() < peer.not_before_ns {
            return Err(NotSent::Unreachable);
        }
    }
    let address = Cluster::joined()
        .as_ref()
        .and_then(|j| j.addresses.get(&node).copied());
    let Some(address) = address else {
        // A node that cannot be connected to may have connected to this one.
        let accepted = peers.accepted.borrow();
        let theirs = accepted
            .iter()
            .find(|link| link.peer().is_some_and(|p| p.0 == node.0));
        return theirs.cloned().ok_or(NotSent::UnknownNode);
    };
    let (connection, key) = connection().ok_or(NotSent::UnknownNode)?;
    let link = Link::new(connection);
    peers.peers.borrow_mut().entry(node).or_default().link = Some(Rc::clone(&link));
    let dialed = Rc::clone(&link);
    spawn(async move {
        if let Ok(stream) = TcpStream::start_connect(None, address) {
            let greeted = Rc::clone(&dialed);
            let on_ready = move || ready(node, &greeted);
            Rc::clone(&dialed)
                .drive(stream, Channel::connecting(&key), on_ready)
                .await;
        }
        ended(node, &dialed);
    });
    Ok(link)
}

/// The node has greeted. One that is not the node that the address was said to be of is not called.
fn ready(node: NodeId, link: &Rc<Link>) {
    let Some((number, incarnation)) = link.peer() else {
        return;
    };
    if number != node.0 {
        link.close(crate::connection::Closed::Protocol);
        return;
    }
    let mut peers = EbbRef::<Peers>::get().peers.borrow_mut();
    let peer = peers.entry(node).or_default();
    (peer.failed, peer.up) = (0, Some(incarnation));
    peer.changes += 1;
    peer.changed.notify_all();
}

fn ended(node: NodeId, link: &Rc<Link>) {
    link.end();
    let mut peers = EbbRef::<Peers>::get().peers.borrow_mut();
    let peer = peers.entry(node).or_default();
    peer.link = None;
    let pause_ns = scattered((PAUSE_NS << peer.failed.min(10)).min(LONGEST_PAUSE_NS));
    if peer.up.take().is_none() {
        peer.failed += 1;
        peer.not_before_ns = Instant::now().as_nanos() + pause_ns;
    }
    peer.changes += 1;
    peer.changed.notify_all();
}

/// From half of a time to all of it, by chance: nodes that were turned away together would come again together.
fn scattered(most_ns: u64) -> u64 {
    let mut bytes = [0; 8];
    EbbRef::<dyn Entropy>::get().fill(&mut bytes);
    most_ns - u64::from_le_bytes(bytes) % (most_ns / 2 + 1)
}

/// Calls a method of an Ebb on another node.
pub(crate) fn call(node: NodeId, request: Request) -> Result<Call, Failure> {
    link(node).map_err(Failure::NotSent)?.call(request)
}

/// What a node looks like from this core.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// There is a connection, to this life of the node.
    Up {
        /// Drawn at the node's start.
        incarnation: u64,
    },
    /// There is none: it is dead, silent, or has never been reached.
    Down,
}

/// Tells of a node's comings and goings; see [`watch`].
pub struct Watch {
    node: NodeId,
    seen: Option<u64>,
}

/// Watches a node from this core. Keeps a connection to it.
#[must_use]
pub fn watch(node: NodeId) -> Watch {
    Watch { node, seen: None }
}

impl Watch {
    /// Waits for a change; the first time for the first that is known. A death is told no later than [`Limits::death_ns`] after
    /// the node was heard last.
    pub async fn next(&mut self) -> State {
        loop {
            let wait = {
                let peers = EbbRef::<Peers>::get();
                let _ = link(self.node);
                let mut peers = peers.peers.borrow_mut();
                let peer = peers.entry(self.node).or_default();
                if peer.changes > 0 && self.seen != Some(peer.changes) {
                    self.seen = Some(peer.changes);
                    return match peer.up {
                        Some(incarnation) => State::Up { incarnation },
                        None => State::Down,
                    };
                }
                Rc::clone(&peer.changed)
            };
            // While it is down, it is tried again from time to time.
            let pause = core::time::Duration::from_nanos(PAUSE_NS);
            let _ = ebb_runtime::time::timeout(pause, wait.notified()).await;
        }
    }
}
