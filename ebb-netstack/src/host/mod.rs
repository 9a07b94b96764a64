//! One core's stack: from a frame to its socket in one lookup, and from a socket to the device.
//!
//! What must hold:
//! - the state is borrowed for one operation and never while the application's code runs (wakers only queue tasks);
//! - a socket with nothing to do costs memory only: output goes by a list of those that have some, timers by a heap of
//!   those that have one (an entry may be early; it is then put back);
//! - whatever arrives, every table and queue has a bound.
//!
//! | file | |
//! |---|---|
//! | `input.rs` | a frame finds its socket |
//! | `connected.rs` | connections by their addresses and ports |
//! | `accept.rs` | handshakes, and segments that belong to nobody |
//! | `output.rs` | what sockets have to send, what is due |
//! | `send.rs` | a segment for the device |
//! | `datagrams.rs` | UDP |
//! | `icmp.rs` | what was not delivered: answers given and taken |
//! | `neighbours.rs` | routes and hardware addresses |

mod accept;
mod connected;
mod datagrams;
mod icmp;
mod input;
mod neighbours;
mod output;
mod send;

use alloc::{
    boxed::Box,
    collections::{BinaryHeap, VecDeque},
    sync::Arc,
    vec::Vec,
};
use core::{cell::RefCell, cmp::Reverse, sync::atomic::Ordering};

use bytes::Bytes;
use hashbrown::HashMap;

use ebb_net::SocketWakers;

pub(crate) use self::datagrams::{Datagrams, Member};
use self::{accept::RateLimit, connected::Connected, send::Outgoing};
use crate::{
    connection::Connection,
    handshake::{HalfOpen, Handshakes},
    link::{Frame, Link},
    queues::{Chunk, Pool},
    seq::Seq,
    shared::{Protocol, Routes, Secret, Shared},
    time::{MILLISECOND_NS, NEVER_NS, SECOND_NS},
    wire::{FlowKey, Ip},
};

/// The core of the slow path.
pub const CONTROL: usize = 0;

/// Bounds of one core.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Connections, open or closing.
    pub connections: usize,
    /// Half-open ones; above it the handshakes go without state.
    pub half_open: usize,
    /// Ended ones that wait for late segments.
    pub time_wait: usize,
    /// Memory of received data that nobody has taken, in bytes.
    pub received: usize,
    /// Data that is to be sent or acknowledged, in bytes; above it each connection may have a little.
    pub sent: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 200_000,
            half_open: 1024,
            time_wait: 16_384,
            received: 64 << 20,
            sent: 64 << 20,
        }
    }
}

impl Limits {
    /// For a machine with so many bytes of memory and so many cores: a sixteenth each for received data, for data to be sent
    /// and for the connections themselves.
    pub fn of(memory: u64, cores: usize) -> Self {
        let part = usize::try_from(memory / cores.max(1) as u64).unwrap_or(usize::MAX);
        let most = Self::default();
        Self {
            // A connection without data takes about 550 bytes.
            connections: most.connections.min(part / 16 / 1024),
            received: most.received.min(part / 16),
            sent: most.sent.min(part / 16),
            ..most
        }
    }
}

/// How long the numbers of an ended connection are remembered.
const TIME_WAIT_NS: u64 = 60 * SECOND_NS;
/// How long the next hop's hardware address may take.
const RESOLVE_LIMIT_NS: u64 = 5 * SECOND_NS;
/// How often those that wait for one look again.
const RESOLVE_AGAIN_NS: u64 = 100 * MILLISECOND_NS;
/// Packets that wait for hardware addresses, and frames of this machine to itself.
const MAX_WAITING: usize = 64;
const MAX_LOOPBACK: usize = 1024;
/// Resets sent in a second to those who have no connection, and as many answers to datagrams for nobody.
const RESETS_PER_SECOND: u32 = 200;
/// The most that one datagram socket holds.
const MAX_DATAGRAMS: usize = 512;
const MAX_DATAGRAM_BYTES: usize = 512 << 10;
/// The longest UDP payload over IPv4 and IPv6.
const MAX_UDP: usize = 65_507;
/// The MTU of the way from this machine to itself.
const LOOPBACK_MTU: usize = 65_535;
/// Device buffers kept for reuse, and their size.
const POOLED: usize = 1024;
pub const BUFFER: usize = 2048;

pub(crate) struct Listener {
    pub address: Ip,
    /// The unspecified address means IPv6 alone.
    pub only_v6: bool,
    pub port: u16,
    pub backlog: usize,
    /// Established connections that wait to be accepted.
    pub ready: VecDeque<u32>,
    pub wakers: SocketWakers,
}

pub(crate) enum Socket {
    Free,
    Listener(Box<Listener>),
    Connection(Box<Connection>),
    Datagrams(Box<Datagrams>),
}

/// What the flow table says of a key that no connection has.
pub(crate) enum Flow {
    HalfOpen(Box<HalfOpen>),
    /// The numbers that come next: ours, the peer's.
    TimeWait(Seq, Seq),
}

/// A frame that waits for a hardware address.
struct Waiting {
    card: u8,
    hop: Ip,
    until_ns: u64,
    frame: Vec<u8>,
}

/// Counters of one core, and how much there is of what has a bound.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Frames received.
    pub frames_in: u64,
    /// Frames handed to the device; one that it cuts counts once.
    pub frames_out: u64,
    /// Received bytes of payload.
    pub bytes_in: u64,
    /// Frames that were broken: lengths, checksums.
    pub malformed: u64,
    /// Frames handed to other cores.
    pub steered: u64,
    /// Frames dropped for want of room.
    pub dropped: u64,
    /// Connections accepted.
    pub accepted: u64,
    /// SYNs answered without state.
    pub cookies: u64,
    /// SYNs ignored because a listener's queue was full.
    pub overflows: u64,
    /// Retransmission timeouts.
    pub timeouts: u64,
    /// Connections now, open or closing.
    pub connections: u64,
    /// Half-open ones now.
    pub half_open: u64,
    /// Ended ones that are remembered now.
    pub time_wait: u64,
    /// Free device buffers now, of `BUFFER` bytes each.
    pub free_buffers: u64,
    /// Bytes of tables and lists now: they keep the size that they once needed. What all cores share counts on core 0.
    pub tables: u64,
}

pub(crate) struct Inner {
    pub connected: Connected,
    pub flows: HashMap<FlowKey, Flow, Secret>,
    pub sockets: Vec<Socket>,
    pub free: Vec<u32>,
    pub connections: usize,
    /// Listeners and datagram sockets by port.
    pub ports: HashMap<(Protocol, u16), Vec<u32>, Secret>,
    pub handshakes: Handshakes,
    time_wait: VecDeque<(u64, FlowKey)>,
    timers: BinaryHeap<Reverse<(u64, u32)>>,
    pub dirty: Vec<u32>,
    unresolved: Vec<u32>,
    resolve_at_ns: u64,
    waiting: VecDeque<Waiting>,
    pub outgoing: Outgoing,
    /// For the slow path, which runs elsewhere.
    slow: Vec<Frame>,
    pub pool: Pool,
    payload: Vec<Chunk>,
    pub received: usize,
    /// The sum over all connections.
    pub sending: usize,
    resets: RateLimit,
    unreachable: RateLimit,
    pub routes: Arc<Routes>,
    version: u64,
    pub next_port: u16,
    pub stats: Stats,
}

/// What an operation needs beside the state that it changes.
pub(crate) struct Cx<'a, L> {
    pub shared: &'a Shared,
    pub link: &'a L,
    pub limits: &'a Limits,
    pub core: usize,
    pub now_ns: u64,
}

/// One core's stack. Its verbs are those of [`Inner`], which is borrowed for one of them at a time.
pub struct Host<L> {
    pub(crate) shared: Arc<Shared>,
    pub(crate) core: usize,
    pub(crate) link: L,
    pub(crate) limits: Limits,
    pub(crate) inner: RefCell<Inner>,
}

impl<L: Link> Host<L> {
    pub fn new(shared: Arc<Shared>, core: usize, link: L, limits: Limits, seed: u64) -> Self {
        let secret = shared.secret;
        let routes = shared.routes();
        let version = shared.version.load(Ordering::Acquire);
        Self {
            core,
            link,
            limits,
            inner: RefCell::new(Inner {
                connected: Connected::new(secret),
                flows: HashMap::with_hasher(secret),
                sockets: Vec::new(),
                free: Vec::new(),
                connections: 0,
                ports: HashMap::with_hasher(secret),
                handshakes: Handshakes::new(secret),
                time_wait: VecDeque::new(),
                timers: BinaryHeap::new(),
                dirty: Vec::new(),
                unresolved: Vec::new(),
                resolve_at_ns: NEVER_NS,
                waiting: VecDeque::new(),
                outgoing: Outgoing::default(),
                slow: Vec::new(),
                pool: Pool::new(BUFFER, POOLED),
                payload: Vec::new(),
                received: 0,
                sending: 0,
                resets: RateLimit::default(),
                unreachable: RateLimit::default(),
                routes,
                version,
                next_port: 32_768 + (seed % 32_000) as u16,
                stats: Stats::default(),
            }),
            shared,
        }
    }

    pub fn stats(&self) -> Stats {
        let inner = self.inner.borrow();
        Stats {
            frames_out: inner.outgoing.frames,
            connections: inner.connections as u64,
            half_open: inner.handshakes.count as u64,
            time_wait: inner.time_wait.len() as u64,
            free_buffers: inner.pool.len() as u64,
            tables: inner.tables()
                + if self.core == 0 {
                    self.shared.tables()
                } else {
                    0
                },
            ..inner.stats
        }
    }

    /// Does something with the state.
    #[inline(always)]
    pub(crate) fn enter<R>(&self, now_ns: u64, f: impl FnOnce(&mut Inner, &Cx<'_, L>) -> R) -> R {
        let cx = Cx {
            shared: &self.shared,
            link: &self.link,
            limits: &self.limits,
            core: self.core,
            now_ns,
        };
        f(&mut self.inner.borrow_mut(), &cx)
    }

    /// A buffer for the device to receive into.
    #[inline]
    pub fn take_buffer(&self) -> Box<[u8]> {
        self.inner.borrow_mut().pool.take()
    }
}

impl Inner {
    /// See [`Stats::tables`].
    fn tables(&self) -> u64 {
        fn list<T>(capacity: usize) -> usize {
            capacity * size_of::<T>()
        }
        let bytes = self.flows.allocation_size()
            + self.connected.table()
            + self.ports.allocation_size()
            + self.handshakes.table()
            + self.pool.table()
            + list::<Socket>(self.sockets.capacity())
            + list::<u32>(self.free.capacity())
            + list::<(u64, FlowKey)>(self.time_wait.capacity())
            + list::<Reverse<(u64, u32)>>(self.timers.capacity())
            + list::<u32>(self.dirty.capacity())
            + list::<u32>(self.unresolved.capacity())
            + list::<Waiting>(self.waiting.capacity())
            + list::<Frame>(self.outgoing.loopback.capacity())
            + list::<Frame>(self.slow.capacity())
            + list::<Chunk>(self.payload.capacity())
            + list::<Bytes>(self.outgoing.fragments.capacity());
        bytes as u64
    }

    pub fn recycle(&mut self, frame: Frame) {
        self.pool.give(frame.first.buffer);
        for chunk in frame.more {
            self.pool.give(chunk.buffer);
        }
    }

    pub fn insert_socket(&mut self, socket: Socket) -> u32 {
        match self.free.pop() {
            Some(id) => {
                self.sockets[id as usize] = socket;
                id
            }
            None => {
                self.sockets.push(socket);
                (self.sockets.len() - 1) as u32
            }
        }
    }

    pub fn remove_socket(&mut self, id: u32) -> Socket {
        let socket = core::mem::replace(&mut self.sockets[id as usize], Socket::Free);
        if let Socket::Connection(connection) = &socket {
            self.connections -= 1;
            self.received -= connection.receive.queue.held();
            self.sending -= connection.send.counted;
        }
        self.free.push(id);
        socket
    }

    /// Lets go of what a connection has received.
    pub fn drop_received(&mut self, id: u32) {
        if let Some(Socket::Connection(connection)) = self.sockets.get_mut(id as usize) {
            self.received -= connection.receive.queue.held();
            connection.receive.queue.clear(&mut self.pool);
        }
    }

    /// The connection that has this key.
    #[inline]
    pub fn connection_of(&self, key: &FlowKey) -> Option<u32> {
        self.connected.find(key, &self.sockets)
    }

    /// Segments of `key` go to this connection from now on, whatever took them before.
    pub fn connect_flow(&mut self, key: &FlowKey, id: u32) {
        self.flows.remove(key);
        self.connected.insert(key, id, &self.sockets);
    }

    /// The listener for an address, the most particular first.
    pub fn listener(&self, address: Ip, port: u16) -> Option<u32> {
        let ids = self.ports.get(&(Protocol::Tcp, port))?;
        let first = |hears: &dyn Fn(&Listener) -> bool| {
            let mut ids = ids.iter().copied();
            ids.find(|id| match self.sockets.get(*id as usize) {
                Some(Socket::Listener(l)) => hears(l),
                _ => false,
            })
        };
        first(&|l| l.address == address)
            .or_else(|| first(&|l| covers(l.address, l.only_v6, address)))
    }
}

/// Whether a socket bound to `bound` takes what is for `address`: the unspecified IPv6 address means both families, unless
/// the socket is for one only.
pub(crate) fn covers(bound: Ip, only_v6: bool, address: Ip) -> bool {
    bound == address
        || bound == Ip::UNSPECIFIED && !(only_v6 && address.is_v4())
        || bound == Ip::v4(0) && address.is_v4()
}
