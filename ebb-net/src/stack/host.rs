//! One core's stack: from a frame to its socket in one lookup, and from a socket to the device.
//!
//! What must hold:
//! - the state is borrowed for one operation and never while the application's code runs (wakers only queue tasks);
//! - a socket with nothing to do costs memory only: output goes by a list of those that have some, timers by a heap of
//!   those that have one (an entry may be early; it is then put back);
//! - whatever arrives, every table and queue has a bound.

use alloc::{
    boxed::Box,
    collections::{BinaryHeap, VecDeque},
    sync::Arc,
    vec::Vec,
};
use core::{cell::RefCell, cmp::Reverse, sync::atomic::Ordering};

use bytes::Bytes;
use hashbrown::HashMap;

use super::{
    connection::{Connection, FlowKey, MILLISECOND, NEVER, SECOND, State, Wire},
    frame::{Capabilities, Frame, INLINE, Offload, Port},
    handshake::{HalfOpen, Handshakes},
    queues::{Chunk, Pool, SendQueue},
    seq::Seq,
    shared::{Hop, Message, Protocol, Routes, Secret, Shared},
    wire::{self, Ip, Packet, Path, Sum, Tcp, TcpOut, Transport, flags},
};
use crate::{Direction, Error, SocketWakers};

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
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 200_000,
            half_open: 1024,
            time_wait: 16_384,
            received: 64 << 20,
        }
    }
}

/// How long the numbers of an ended connection are remembered.
const TIME_WAIT: u64 = 60 * SECOND;
/// How long the next hop's hardware address may take.
const RESOLVE_LIMIT: u64 = 5 * SECOND;
/// How often those that wait for one look again.
const RESOLVE_AGAIN: u64 = 100 * MILLISECOND;
/// Packets that wait for hardware addresses, and frames of this machine to itself.
const MAX_WAITING: usize = 64;
const MAX_LOOPBACK: usize = 1024;
/// Resets sent in a second to those who have no connection.
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
    pub port: u16,
    pub backlog: usize,
    /// Established connections that wait to be accepted.
    pub ready: VecDeque<u32>,
    pub wakers: SocketWakers,
}

pub(crate) struct Datagrams {
    pub address: Ip,
    pub port: u16,
    pub queue: VecDeque<(Chunk, Ip, u16)>,
    pub bytes: usize,
    pub wakers: SocketWakers,
}

pub(crate) enum Socket {
    Free,
    Listener(Box<Listener>),
    Connection(Box<Connection>),
    Datagrams(Box<Datagrams>),
}

/// What the flow table says of a key.
pub(crate) enum Flow {
    Socket(u32),
    HalfOpen(Box<HalfOpen>),
    /// The numbers that come next: ours, the peer's.
    TimeWait(Seq, Seq),
}

/// A datagram that waits for a hardware address.
struct Waiting {
    path: Path,
    hop: Ip,
    until: u64,
    head: Vec<u8>,
}

/// Counters of one core.
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
}

pub(crate) struct Inner {
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
    resolve_at: u64,
    waiting: VecDeque<Waiting>,
    loopback: VecDeque<Frame>,
    /// For the slow path, which runs elsewhere.
    slow: Vec<Frame>,
    pub pool: Pool,
    payload: Vec<Chunk>,
    fragments: Vec<Bytes>,
    pub received: usize,
    resets: (u64, u32),
    routes: Arc<Routes>,
    version: u64,
    pub next_port: u16,
    pub stats: Stats,
}

pub struct Host<P> {
    pub(crate) shared: Arc<Shared>,
    pub(crate) core: usize,
    pub(crate) port: P,
    pub(crate) limits: Limits,
    pub(crate) inner: RefCell<Inner>,
}

/// Sends for connections: writes headers, asks the device for what it can do.
pub(crate) struct Sender<'a, P> {
    port: &'a P,
    capabilities: Capabilities,
    fragments: &'a mut Vec<Bytes>,
    loopback: &'a mut VecDeque<Frame>,
    sent: u64,
}

impl<P: Port> Wire for Sender<'_, P> {
    #[inline]
    fn longest(&self, mss: usize) -> usize {
        if self.capabilities.segmentation {
            (60_000 / mss.max(1)).max(1) * mss
        } else {
            mss
        }
    }

    #[inline]
    fn send(
        &mut self,
        path: &Path,
        header: TcpOut,
        payload: Option<(&mut SendQueue, usize, usize)>,
        mss: usize,
    ) -> bool {
        let headers = path.headers() + header.length();
        let (mut queue, offset, length) = match payload {
            Some((queue, offset, length)) => (Some(queue), offset, length),
            None => (None, 0, 0),
        };
        if path.loopback {
            return self.send_loopback(path, header, queue, offset, length);
        }
        let transport = header.length() + length;
        let inline = length <= INLINE;
        if !inline && let Some(queue) = &mut queue {
            let fragments = &mut *self.fragments;
            fragments.clear();
            queue.read(offset, length, |chunk, from, to| {
                fragments.push(chunk.slice(from..to))
            });
            if fragments.len() > self.capabilities.fragments {
                // Too many pieces for the device: one copy instead.
                let mut whole = Vec::with_capacity(length);
                fragments
                    .drain(..)
                    .for_each(|f| whole.extend_from_slice(&f));
                fragments.push(whole.into());
            }
        }
        let head = headers + if inline { length } else { 0 };
        let mut offload = Offload::default();
        if self.capabilities.checksum {
            offload.checksum = Some((path.headers() as u16, 16));
        }
        if length > mss {
            offload.segment = Some((mss as u16, headers as u16, !path.source.is_v4()));
        }
        // The device takes the fragments away before the checksum could look at them.
        let body = match offload.checksum {
            None => {
                let mut sum = Sum::new(0);
                self.fragments.iter().for_each(|f| sum.add(f));
                u64::from(!sum.finish())
            }
            Some(_) => 0,
        };
        let body = if inline { 0 } else { body };
        let mut none = Vec::new();
        let fragments = if inline {
            &mut none
        } else {
            &mut *self.fragments
        };
        let sent = self.port.transmit(head, offload, fragments, &mut |out| {
            let at = path.write(out, wire::PROTOCOL_TCP, transport);
            let end = at + header.write(&mut out[at..]);
            if inline && let Some(queue) = &mut queue {
                copy_payload(queue, offset, length, &mut out[end..]);
            }
            let pseudo =
                wire::pseudo_header(path.source, path.target, wire::PROTOCOL_TCP, transport);
            let check = if offload.checksum.is_some() {
                wire::fold(pseudo)
            } else {
                !wire::fold(wire::sum(&out[at..], pseudo + body))
            };
            out[at + 16..at + 18].copy_from_slice(&check.to_ne_bytes());
        });
        self.fragments.clear();
        self.sent += u64::from(sent);
        sent
    }
}

fn copy_payload(queue: &mut SendQueue, offset: usize, length: usize, out: &mut [u8]) {
    let mut at = 0;
    queue.read(offset, length, |chunk, from, to| {
        let part = &chunk[from..to];
        if let Some(room) = out.get_mut(at..at + part.len()) {
            room.copy_from_slice(part);
        }
        at += part.len();
    });
}

impl<P: Port> Sender<'_, P> {
    /// To this machine itself: a frame that needs no checksum.
    fn send_loopback(
        &mut self,
        path: &Path,
        header: TcpOut,
        queue: Option<&mut SendQueue>,
        offset: usize,
        length: usize,
    ) -> bool {
        if self.loopback.len() >= MAX_LOOPBACK {
            return false;
        }
        let headers = path.headers() + header.length();
        let mut frame = alloc::vec![0; headers + length].into_boxed_slice();
        let at = path.write(&mut frame, wire::PROTOCOL_TCP, header.length() + length);
        header.write(&mut frame[at..]);
        if let Some(queue) = queue {
            copy_payload(queue, offset, length, &mut frame[headers..]);
        }
        self.loopback.push_back(Frame::to_self(frame));
        true
    }
}

/// Splits `Inner` into what a connection's output needs and the rest.
macro_rules! sender {
    ($host:expr, $inner:expr) => {
        Sender {
            port: &$host.port,
            capabilities: $host.port.capabilities(),
            fragments: &mut $inner.fragments,
            loopback: &mut $inner.loopback,
            sent: 0,
        }
    };
}

impl<'a, P: Port> Sender<'a, P> {
    pub fn of(host: &'a Host<P>, inner: &'a mut Inner) -> Self {
        sender!(host, inner)
    }
}

impl<P: Port> Host<P> {
    pub fn new(shared: Arc<Shared>, core: usize, port: P, limits: Limits, seed: u64) -> Self {
        let secret = shared.secret;
        let routes = shared.routes();
        let version = shared.version.load(Ordering::Acquire);
        Self {
            core,
            port,
            limits,
            inner: RefCell::new(Inner {
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
                resolve_at: NEVER,
                waiting: VecDeque::new(),
                loopback: VecDeque::new(),
                slow: Vec::new(),
                pool: Pool::new(BUFFER, POOLED),
                payload: Vec::new(),
                fragments: Vec::new(),
                received: 0,
                resets: (0, 0),
                routes,
                version,
                next_port: 32_768 + (seed % 32_000) as u16,
                stats: Stats::default(),
            }),
            shared,
        }
    }

    pub fn stats(&self) -> Stats {
        self.inner.borrow().stats
    }

    /// A buffer for the device to receive into.
    #[inline]
    pub fn take_buffer(&self) -> Box<[u8]> {
        self.inner.borrow_mut().pool.take()
    }

    // --- Receiving ------------------------------------------------------------------------------------------

    /// Takes a frame from the device, from another core, or from this machine itself.
    #[inline]
    pub fn input(&self, frame: Frame, now: u64) {
        let inner = &mut *self.inner.borrow_mut();
        inner.stats.frames_in += 1;
        self.input_frame(inner, frame, now, true);
    }

    fn input_frame(&self, inner: &mut Inner, frame: Frame, now: u64, may_steer: bool) {
        let packet = match Packet::parse(frame.first.bytes(), frame.len()) {
            Ok(Some(packet)) => packet,
            Ok(None) => return self.slow(inner, frame),
            Err(()) => {
                inner.stats.malformed += 1;
                return inner.recycle(frame);
            }
        };
        // That address stands for this machine itself.
        if packet.source_mac == [0; 6] && !frame.local {
            inner.stats.malformed += 1;
            return inner.recycle(frame);
        }
        let (protocol, local_port, remote_port) = match &packet.transport {
            Transport::Tcp(tcp) => (Protocol::Tcp, tcp.target, tcp.source),
            // A DHCP client's port.
            Transport::Udp { target: 68, .. } | Transport::Other => return self.slow(inner, frame),
            Transport::Udp { source, target } => (Protocol::Udp, *target, *source),
        };
        let key = FlowKey {
            local: packet.target,
            remote: packet.source,
            local_port,
            remote_port,
        };
        match protocol {
            Protocol::Tcp => self.input_tcp(inner, frame, packet, key, now, may_steer),
            Protocol::Udp => self.input_udp(inner, frame, packet, key, may_steer),
        }
    }

    fn slow(&self, inner: &mut Inner, frame: Frame) {
        if self.core != CONTROL {
            inner.stats.steered += 1;
            if !self.shared.tell(CONTROL, Message::Frame(frame)) {
                inner.stats.dropped += 1;
            }
        } else if inner.slow.len() < MAX_LOOPBACK {
            inner.slow.push(frame);
        } else {
            inner.stats.dropped += 1;
            inner.recycle(frame);
        }
    }

    /// Frames for the slow path.
    pub fn take_slow(&self) -> Vec<Frame> {
        core::mem::take(&mut self.inner.borrow_mut().slow)
    }

    /// Hands a frame to the core that it belongs to. Gives it back if that is this one, or none.
    fn steer(
        &self,
        inner: &mut Inner,
        frame: Frame,
        protocol: Protocol,
        key: &FlowKey,
        new: bool,
    ) -> Option<Frame> {
        let owner = self.shared.owner(key);
        let to = match owner {
            Some(owner) => owner,
            None if new => match self.shared.core_for(protocol, key) {
                Some(core) => core,
                None => return Some(frame),
            },
            None => return Some(frame),
        };
        if to == self.core {
            return Some(frame);
        }
        inner.stats.steered += 1;
        if !self.shared.tell(to, Message::Frame(frame)) {
            inner.stats.dropped += 1;
        }
        None
    }

    fn is_checked(frame: &Frame, packet: &Packet, is_tcp: bool) -> bool {
        if frame.checked {
            return true;
        }
        let more: Vec<&[u8]> = frame.more.iter().map(Chunk::bytes).collect();
        wire::checksum_holds(packet, frame.first.bytes(), &more, is_tcp)
    }

    #[inline]
    fn input_tcp(
        &self,
        inner: &mut Inner,
        frame: Frame,
        packet: Packet,
        key: FlowKey,
        now: u64,
        may_steer: bool,
    ) {
        let Transport::Tcp(tcp) = &packet.transport else {
            return;
        };
        if !Self::is_checked(&frame, &packet, true) {
            inner.stats.malformed += 1;
            return inner.recycle(frame);
        }
        if let Some(Flow::Socket(id)) = inner.flows.get(&key) {
            let id = *id;
            return self.input_connection(inner, id, frame, &packet, tcp, now);
        }
        if key.local.is_multicast() || key.remote.is_multicast() || key.remote.is_unspecified() {
            return inner.recycle(frame);
        }
        match inner.flows.get(&key) {
            Some(Flow::HalfOpen(_)) => self.input_half_open(inner, key, frame, packet, now),
            Some(Flow::TimeWait(ours, peers)) => {
                let (ours, peers) = (*ours, *peers);
                let syn = tcp.flags & (flags::SYN | flags::ACK | flags::RST) == flags::SYN;
                if syn && Seq(tcp.seq).gt(peers) {
                    // A new connection between the same ports (RFC 9293, 3.10.7.4).
                    inner.flows.remove(&key);
                    self.input_listener(inner, key, frame, packet, now);
                } else {
                    if tcp.flags & flags::RST == 0
                        && (!packet.payload.is_empty()
                            || tcp.flags & (flags::SYN | flags::FIN) != 0)
                    {
                        let header = TcpOut {
                            seq: ours.0,
                            ack: peers.0,
                            flags: flags::ACK,
                            ..TcpOut::default()
                        };
                        self.answer(inner, &packet, &key, header);
                    }
                    inner.recycle(frame);
                }
            }
            Some(Flow::Socket(_)) => {}
            None => {
                let syn = tcp.flags & (flags::SYN | flags::ACK | flags::RST) == flags::SYN;
                if may_steer && self.shared.cores > 1 {
                    let here = syn && inner.ports.contains_key(&(Protocol::Tcp, key.local_port));
                    let spread = !self.port.capabilities().spreads;
                    // Where the device spreads flows itself, a new one stays on the core it came to.
                    if !here || spread {
                        let Some(back) = self.steer(inner, frame, Protocol::Tcp, &key, true) else {
                            return;
                        };
                        return self.input_listener(inner, key, back, packet, now);
                    }
                }
                self.input_listener(inner, key, frame, packet, now);
            }
        }
    }

    /// A segment of a connection.
    #[inline]
    fn input_connection(
        &self,
        inner: &mut Inner,
        id: u32,
        frame: Frame,
        packet: &Packet,
        tcp: &Tcp,
        now: u64,
    ) {
        let Some(Socket::Connection(connection)) = inner.sockets.get_mut(id as usize) else {
            return inner.recycle(frame);
        };
        if connection.path.loopback != frame.local {
            inner.stats.malformed += 1;
            return inner.recycle(frame);
        }
        inner.stats.bytes_in += packet.payload.len() as u64;
        let mut payload = core::mem::take(&mut inner.payload);
        let before = connection.receive.held();
        // Under pressure only what is next in order, and little of it, is kept.
        let full = inner.received > self.limits.received && before > BUFFER;
        split(frame, packet, &mut payload, &mut inner.pool);
        if full {
            payload.drain(..).for_each(|c| inner.pool.give(c.buffer));
            connection.receive.forget_early(&mut inner.pool);
        }
        let reset = connection.input(now, tcp, &mut payload, &mut inner.pool);
        if connection.state == State::Closed && !connection.owned {
            connection.receive.clear(&mut inner.pool);
        }
        inner.received = inner.received + connection.receive.held() - before;
        payload.drain(..).for_each(|c| inner.pool.give(c.buffer));
        inner.payload = payload;
        if reset {
            self.reset_connection(inner, id, tcp);
        }
        self.touch(inner, id, now);
    }

    /// Answers a segment that a connection rejects, and ends the connection if nobody owns it.
    fn reset_connection(&self, inner: &mut Inner, id: u32, tcp: &Tcp) {
        let Some(Socket::Connection(connection)) = inner.sockets.get_mut(id as usize) else {
            return;
        };
        let (path, key) = (connection.path, connection.key);
        let (seq, _) = connection.reset_seq();
        let established = connection.is_connected();
        let header = TcpOut {
            source: key.local_port,
            target: key.remote_port,
            seq: if established { seq } else { tcp.ack },
            flags: flags::RST,
            ..TcpOut::default()
        };
        if established {
            let before = connection.receive.held();
            connection.fail(Some(Error::ConnectionReset));
            connection.receive.clear(&mut inner.pool);
            inner.received -= before;
        }
        sender!(self, inner).send(&path, header, None, 0);
    }

    /// After anything has happened to a connection: output, timers, the end.
    #[inline]
    pub(crate) fn touch(&self, inner: &mut Inner, id: u32, now: u64) {
        let Some(Socket::Connection(connection)) = inner.sockets.get_mut(id as usize) else {
            return;
        };
        match connection.state {
            State::Closed => {
                let key = connection.key;
                let owned = connection.owned;
                if matches!(inner.flows.get(&key), Some(Flow::Socket(n)) if *n == id) {
                    inner.flows.remove(&key);
                    self.shared.release_flow(&key);
                }
                if !owned {
                    inner.remove_socket(id);
                }
                return;
            }
            // The last acknowledgement is still to be sent from here.
            State::TimeWait if !connection.wants_output() => {
                let key = connection.key;
                let (ours, peers) = connection.final_numbers();
                let owned = connection.owned;
                connection.fail(None);
                if matches!(inner.flows.get(&key), Some(Flow::Socket(n)) if *n == id) {
                    self.enter_time_wait(inner, key, ours, peers, now);
                }
                if !owned {
                    inner.remove_socket(id);
                }
                return;
            }
            _ => {}
        }
        if connection.wants_output() && !connection.dirty {
            connection.dirty = true;
            inner.dirty.push(id);
        }
        let deadline = connection.deadline();
        if deadline < connection.armed {
            connection.armed = deadline;
            inner.timers.push(Reverse((deadline, id)));
        }
    }

    fn enter_time_wait(&self, inner: &mut Inner, key: FlowKey, ours: Seq, peers: Seq, now: u64) {
        inner.flows.insert(key, Flow::TimeWait(ours, peers));
        inner.time_wait.push_back((now + TIME_WAIT, key));
        if inner.time_wait.len() > self.limits.time_wait {
            self.expire_time_wait(inner, NEVER);
        }
    }

    /// Forgets the oldest entry if it is due.
    fn expire_time_wait(&self, inner: &mut Inner, now: u64) -> bool {
        match inner.time_wait.front() {
            Some((until, _)) if *until <= now || now == NEVER => {}
            _ => return false,
        }
        if let Some((_, key)) = inner.time_wait.pop_front()
            && matches!(inner.flows.get(&key), Some(Flow::TimeWait(..)))
        {
            inner.flows.remove(&key);
            self.shared.release_flow(&key);
        }
        true
    }

    /// A segment for which there is no connection.
    fn input_listener(
        &self,
        inner: &mut Inner,
        key: FlowKey,
        frame: Frame,
        packet: Packet,
        now: u64,
    ) {
        let Transport::Tcp(tcp) = &packet.transport else {
            return;
        };
        self.refresh(inner);
        if !is_plausible(&inner.routes, &key, frame.local) || tcp.flags & flags::RST != 0 {
            return inner.recycle(frame);
        }
        let listener = inner.listener(key.local, key.local_port);
        let syn = tcp.flags & (flags::SYN | flags::ACK) == flags::SYN;
        let Some(listener) = listener else {
            self.refuse(inner, &packet, &key, tcp, now);
            return inner.recycle(frame);
        };
        if syn {
            self.input_syn(inner, key, &packet, tcp, listener, now);
            return inner.recycle(frame);
        }
        // The end of a handshake without state, perhaps.
        let agreed = inner.handshakes.check_cookie(&key, tcp, now);
        match agreed {
            Some(agreed) if tcp.flags & flags::ACK != 0 => {
                let half = HalfOpen::from_cookie(agreed, answer_path(&packet));
                self.establish(inner, key, half, frame, packet, now);
            }
            _ => {
                self.refuse(inner, &packet, &key, tcp, now);
                inner.recycle(frame);
            }
        }
    }

    fn input_syn(
        &self,
        inner: &mut Inner,
        key: FlowKey,
        packet: &Packet,
        tcp: &Tcp,
        listener: u32,
        now: u64,
    ) {
        let Some(Socket::Listener(l)) = inner.sockets.get(listener as usize) else {
            return;
        };
        if l.ready.len() >= l.backlog || inner.connections >= self.limits.connections {
            inner.stats.overflows += 1;
            return;
        }
        let path = answer_path(packet);
        let mss = self.mss(&path);
        let mut half = HalfOpen::new(&inner.handshakes, &key, path, tcp, mss, now);
        if inner.handshakes.count >= self.limits.half_open {
            half.make_cookie(&mut inner.handshakes, &key, now);
            inner.stats.cookies += 1;
            let header = half.answer(&key, mss);
            sender!(self, inner).send(&half.path, header, None, 0);
            return;
        }
        let header = half.answer(&key, mss);
        sender!(self, inner).send(&half.path, header, None, 0);
        inner.flows.insert(key, Flow::HalfOpen(Box::new(half)));
        inner.handshakes.begin(key, now);
        self.shared.claim_flow(&key, self.core);
    }

    /// A segment of a handshake that this side has answered.
    fn input_half_open(
        &self,
        inner: &mut Inner,
        key: FlowKey,
        frame: Frame,
        packet: Packet,
        now: u64,
    ) {
        let (Transport::Tcp(tcp), Some(Flow::HalfOpen(half))) =
            (&packet.transport, inner.flows.get(&key))
        else {
            return inner.recycle(frame);
        };
        let half = (**half).clone();
        let has = |flag: u8| tcp.flags & flag != 0;
        if has(flags::RST) {
            if Seq(tcp.seq) == half.agreed.irs + 1 {
                self.forget_half_open(inner, &key);
            }
            return inner.recycle(frame);
        }
        if has(flags::SYN) {
            if !has(flags::ACK) && Seq(tcp.seq) == half.agreed.irs {
                let header = half.answer(&key, self.mss(&half.path));
                sender!(self, inner).send(&half.path, header, None, 0);
            }
            return inner.recycle(frame);
        }
        if !has(flags::ACK) || Seq(tcp.ack) != half.agreed.iss + 1 {
            self.refuse(inner, &packet, &key, tcp, now);
            return inner.recycle(frame);
        }
        self.establish(inner, key, half, frame, packet, now);
    }

    pub(crate) fn forget_half_open(&self, inner: &mut Inner, key: &FlowKey) {
        if matches!(inner.flows.get(key), Some(Flow::HalfOpen(_))) {
            inner.flows.remove(key);
            inner.handshakes.count -= 1;
            self.shared.release_flow(key);
        }
    }

    /// A handshake is complete: makes the connection, and lets it have the segment.
    fn establish(
        &self,
        inner: &mut Inner,
        key: FlowKey,
        half: HalfOpen,
        frame: Frame,
        packet: Packet,
        now: u64,
    ) {
        let Transport::Tcp(tcp) = &packet.transport else {
            return;
        };
        let listener = inner.listener(key.local, key.local_port);
        let Some(Socket::Listener(l)) = listener.and_then(|id| inner.sockets.get(id as usize))
        else {
            self.forget_half_open(inner, &key);
            self.refuse(inner, &packet, &key, tcp, now);
            return inner.recycle(frame);
        };
        if l.ready.len() >= l.backlog || inner.connections >= self.limits.connections {
            // The peer will say it again.
            inner.stats.overflows += 1;
            return inner.recycle(frame);
        }
        if matches!(inner.flows.get(&key), Some(Flow::HalfOpen(_))) {
            inner.handshakes.count -= 1;
        } else {
            self.shared.claim_flow(&key, self.core);
        }
        let mut connection = Connection::accepted(key, half.path, &half.agreed, tcp.window, now);
        connection.mss = connection.mss.min(self.mss(&half.path).into());
        connection.listener = listener;
        let id = inner.insert_socket(Socket::Connection(connection));
        inner.connections += 1;
        inner.stats.accepted += 1;
        inner.flows.insert(key, Flow::Socket(id));
        if let Some(Socket::Listener(l)) =
            listener.and_then(|id| inner.sockets.get_mut(id as usize))
        {
            l.ready.push_back(id);
            l.wakers.wake(Direction::Read);
        }
        self.input_connection(inner, id, frame, &packet, tcp, now);
    }

    /// Resets whoever sends to where nobody is; not too often.
    fn refuse(&self, inner: &mut Inner, packet: &Packet, key: &FlowKey, tcp: &Tcp, now: u64) {
        let second = now / SECOND;
        if inner.resets.0 != second {
            inner.resets = (second, 0);
        }
        // Loopback is no flood.
        if inner.resets.1 >= RESETS_PER_SECOND && !answer_path(packet).loopback {
            return;
        }
        inner.resets.1 += 1;
        let has = |flag: u8| tcp.flags & flag != 0;
        let header = if has(flags::ACK) {
            TcpOut {
                seq: tcp.ack,
                flags: flags::RST,
                ..TcpOut::default()
            }
        } else {
            let length = packet.payload.len() as u32
                + u32::from(has(flags::SYN))
                + u32::from(has(flags::FIN));
            TcpOut {
                ack: tcp.seq.wrapping_add(length),
                flags: flags::RST | flags::ACK,
                ..TcpOut::default()
            }
        };
        self.answer(inner, packet, key, header);
    }

    /// Sends a segment back to where a packet came from.
    fn answer(&self, inner: &mut Inner, packet: &Packet, key: &FlowKey, mut header: TcpOut) {
        header.source = key.local_port;
        header.target = key.remote_port;
        sender!(self, inner).send(&answer_path(packet), header, None, 0);
    }

    /// The largest segment that fits the link.
    pub(crate) fn mss(&self, path: &Path) -> u16 {
        let mtu = if path.loopback {
            LOOPBACK_MTU
        } else {
            self.port.capabilities().mtu
        };
        let headers = if path.source.is_v4() {
            wire::IPV4
        } else {
            wire::IPV6
        } + wire::TCP;
        mtu.saturating_sub(headers).min(65_000) as u16
    }

    // --- UDP ------------------------------------------------------------------------------------------------

    fn input_udp(
        &self,
        inner: &mut Inner,
        frame: Frame,
        packet: Packet,
        key: FlowKey,
        may_steer: bool,
    ) {
        if !Self::is_checked(&frame, &packet, false) {
            inner.stats.malformed += 1;
            return inner.recycle(frame);
        }
        self.refresh(inner);
        if !is_plausible(&inner.routes, &key, frame.local) && !key.local.is_multicast() {
            return inner.recycle(frame);
        }
        let found = inner.datagrams(key.local, key.local_port);
        let Some(id) = found else {
            if may_steer && self.shared.cores > 1 {
                if let Some(frame) = self.steer(inner, frame, Protocol::Udp, &key, true) {
                    inner.recycle(frame);
                }
                return;
            }
            return inner.recycle(frame);
        };
        let Some(Socket::Datagrams(socket)) = inner.sockets.get_mut(id as usize) else {
            return inner.recycle(frame);
        };
        let length = packet.payload.len();
        let held = frame.first.buffer.len().max(length);
        if socket.queue.len() >= MAX_DATAGRAMS || socket.bytes + held > MAX_DATAGRAM_BYTES {
            inner.stats.dropped += 1;
            return inner.recycle(frame);
        }
        inner.stats.bytes_in += length as u64;
        let chunk = if frame.more.is_empty() {
            let start = frame.first.start as usize;
            let mut chunk = frame.first;
            chunk.start = (start + packet.payload.start) as u32;
            chunk.end = (start + packet.payload.end) as u32;
            chunk
        } else {
            let whole = frame.flatten();
            let body = whole[packet.payload.clone()].to_vec().into_boxed_slice();
            inner.pool.give(frame.first.buffer);
            frame
                .more
                .into_iter()
                .for_each(|c| inner.pool.give(c.buffer));
            Chunk::new(body, 0, length)
        };
        socket.bytes += chunk.buffer.len();
        socket.queue.push_back((chunk, key.remote, key.remote_port));
        socket.wakers.wake(Direction::Read);
    }

    /// Sends a datagram.
    pub(crate) fn send_datagram(
        &self,
        inner: &mut Inner,
        local: (Ip, u16),
        to: (Ip, u16),
        bytes: &[u8],
        now: u64,
    ) -> Result<(), Error> {
        if bytes.len() > MAX_UDP {
            return Err(Error::MessageTooLong);
        }
        self.refresh(inner);
        let (source, hop) = self.route(inner, to.0)?;
        let source = if local.0.is_unspecified() {
            source
        } else {
            local.0
        };
        if source.is_v4() != to.0.is_v4() {
            return Err(Error::InvalidInput);
        }
        let loopback = hop == Hop::Local;
        let mac = match hop {
            Hop::Local => Some([0; 6]),
            Hop::Via(hop) => self.hardware_address(hop, now),
        };
        let path = Path {
            source_mac: self.port.capabilities().mac,
            target_mac: mac.unwrap_or_default(),
            source,
            target: to.0,
            loopback,
        };
        let ip_header = path.headers() - wire::ETHERNET;
        let mtu = if loopback {
            LOOPBACK_MTU
        } else {
            self.port.capabilities().mtu
        };
        let length = wire::UDP + bytes.len();
        let mut datagram = Vec::with_capacity(length);
        datagram.extend_from_slice(&local.1.to_be_bytes());
        datagram.extend_from_slice(&to.1.to_be_bytes());
        datagram.extend_from_slice(&(length as u16).to_be_bytes());
        datagram.extend_from_slice(&[0, 0]);
        datagram.extend_from_slice(bytes);
        let pseudo = wire::pseudo_header(source, to.0, wire::PROTOCOL_UDP, length);
        let check = match !wire::fold(wire::sum(&datagram, pseudo)) {
            0 => 0xffff,
            check => check,
        };
        datagram[6..8].copy_from_slice(&check.to_ne_bytes());
        if ip_header + length > mtu {
            // Only IPv4 is cut up here; for IPv6 the application keeps to the MTU.
            if !source.is_v4() {
                return Err(Error::MessageTooLong);
            }
            return self.send_fragments(inner, &path, hop, mac.is_some(), &datagram, mtu, now);
        }
        let mut frame = alloc::vec![0; path.headers()];
        path.write(&mut frame, wire::PROTOCOL_UDP, length);
        frame.extend_from_slice(&datagram);
        self.send_frame(inner, &path, hop, mac.is_some(), frame, now)
    }

    /// Cuts a datagram into IPv4 fragments.
    #[allow(clippy::too_many_arguments)]
    fn send_fragments(
        &self,
        inner: &mut Inner,
        path: &Path,
        hop: Hop,
        resolved: bool,
        datagram: &[u8],
        mtu: usize,
        now: u64,
    ) -> Result<(), Error> {
        let most = (mtu - wire::IPV4) & !7;
        let id = inner.handshakes.next_identification(now);
        for (n, part) in datagram.chunks(most).enumerate() {
            let offset = n * most;
            let last = offset + part.len() == datagram.len();
            let mut frame = alloc::vec![0; path.headers()];
            path.write(&mut frame, wire::PROTOCOL_UDP, part.len());
            let ip = &mut frame[wire::ETHERNET..];
            ip[4..6].copy_from_slice(&id.to_be_bytes());
            let field = (offset / 8) as u16 | if last { 0 } else { 0x2000 };
            ip[6..8].copy_from_slice(&field.to_be_bytes());
            ip[10..12].copy_from_slice(&[0, 0]);
            let check = !wire::fold(wire::sum(ip, 0));
            ip[10..12].copy_from_slice(&check.to_ne_bytes());
            frame.extend_from_slice(part);
            self.send_frame(inner, path, hop, resolved, frame, now)?;
        }
        Ok(())
    }

    fn send_frame(
        &self,
        inner: &mut Inner,
        path: &Path,
        hop: Hop,
        resolved: bool,
        frame: Vec<u8>,
        now: u64,
    ) -> Result<(), Error> {
        match hop {
            Hop::Local => {
                if inner.loopback.len() >= MAX_LOOPBACK {
                    return Err(Error::WouldBlock);
                }
                inner
                    .loopback
                    .push_back(Frame::to_self(frame.into_boxed_slice()));
            }
            Hop::Via(_) if resolved => {
                if !self.transmit(inner, frame) {
                    inner.stats.dropped += 1;
                }
            }
            Hop::Via(hop) => {
                // The newest push the oldest out.
                if inner.waiting.len() >= MAX_WAITING {
                    inner.waiting.pop_front();
                    inner.stats.dropped += 1;
                }
                inner.waiting.push_back(Waiting {
                    path: *path,
                    hop,
                    until: now + RESOLVE_LIMIT,
                    head: frame,
                });
                inner.resolve_at = inner.resolve_at.min(now + RESOLVE_AGAIN);
            }
        }
        Ok(())
    }

    /// Sends a complete frame.
    pub(crate) fn transmit(&self, inner: &mut Inner, frame: Vec<u8>) -> bool {
        let head = frame.len().min(wire::MAX_HEADERS);
        let frame = Bytes::from(frame);
        inner.fragments.clear();
        if frame.len() > head {
            inner.fragments.push(frame.slice(head..));
        }
        let sent = self
            .port
            .transmit(head, Offload::default(), &mut inner.fragments, &mut |out| {
                out.copy_from_slice(&frame[..head]);
            });
        inner.fragments.clear();
        inner.stats.frames_out += u64::from(sent);
        sent
    }

    /// Sends a complete frame of the slow path.
    pub fn transmit_raw(&self, frame: Vec<u8>) {
        let inner = &mut *self.inner.borrow_mut();
        self.transmit(inner, frame);
    }

    /// Tells the device of what was queued.
    pub fn kick(&self) {
        self.port.kick();
    }

    // --- Routes -----------------------------------------------------------------------------------------------

    /// Takes over changed routes.
    #[inline]
    pub(crate) fn refresh(&self, inner: &mut Inner) {
        let version = self.shared.version.load(Ordering::Acquire);
        if version != inner.version {
            inner.version = version;
            inner.routes = self.shared.routes();
        }
    }

    pub(crate) fn route(&self, inner: &Inner, to: Ip) -> Result<(Ip, Hop), Error> {
        if to.is_unspecified() {
            return Err(Error::InvalidInput);
        }
        inner.routes.route(to).ok_or(Error::NetworkUnreachable)
    }

    pub(crate) fn accepts(&self, inner: &Inner, ip: Ip) -> bool {
        inner.routes.accepts(ip)
    }

    /// A neighbour's hardware address; has it asked for if it is not known.
    pub(crate) fn hardware_address(&self, hop: Ip, now: u64) -> Option<wire::Mac> {
        if hop == Ip::v4(u32::MAX) {
            return Some([0xff; 6]);
        }
        let known = self.shared.neighbour(hop, now);
        if known.is_none() && self.shared.want(hop) {
            self.shared.tell(CONTROL, Message::Changed);
        }
        known
    }

    pub(crate) fn wait_for_neighbour(&self, inner: &mut Inner, id: u32, now: u64) {
        inner.unresolved.push(id);
        inner.resolve_at = inner.resolve_at.min(now + RESOLVE_AGAIN);
    }

    /// Looks whether what waits for hardware addresses may go.
    pub fn resolve(&self, now: u64) {
        let inner = &mut *self.inner.borrow_mut();
        self.refresh(inner);
        for id in core::mem::take(&mut inner.unresolved) {
            let Some(Socket::Connection(connection)) = inner.sockets.get_mut(id as usize) else {
                continue;
            };
            if connection.resolved || connection.state == State::Closed {
                continue;
            }
            let target = connection.path.target;
            let started = connection.started();
            let hop = inner.routes.route(target);
            let found = match hop {
                Some((_, Hop::Via(hop))) => self.hardware_address(hop, now),
                _ => None,
            };
            match found {
                Some(mac) => {
                    connection.path.target_mac = mac;
                    connection.resolved = true;
                }
                None if now.saturating_sub(started) > RESOLVE_LIMIT => {
                    connection.fail(Some(Error::HostUnreachable));
                }
                None => {
                    inner.unresolved.push(id);
                    continue;
                }
            }
            self.touch(inner, id, now);
        }
        for _ in 0..inner.waiting.len() {
            let Some(mut packet) = inner.waiting.pop_front() else {
                break;
            };
            match self.hardware_address(packet.hop, now) {
                Some(mac) => {
                    packet.path.target_mac = mac;
                    packet.head[..6].copy_from_slice(&mac);
                    self.transmit(inner, packet.head);
                }
                None if packet.until <= now => inner.stats.dropped += 1,
                None => inner.waiting.push_back(packet),
            }
        }
        let left = !inner.unresolved.is_empty() || !inner.waiting.is_empty();
        inner.resolve_at = if left { now + RESOLVE_AGAIN } else { NEVER };
    }

    // --- Output and time ----------------------------------------------------------------------------------------

    /// Sends what the sockets have to send, and delivers what this machine sends to itself. Returns false when the device is
    /// full: to be called again when it has room.
    pub fn flush(&self, now: u64) -> bool {
        let mut room = true;
        // What is delivered may answer; a bound keeps two sockets from talking for ever in one event.
        for _ in 0..64 {
            room = self.flush_dirty(now);
            let inner = &mut *self.inner.borrow_mut();
            if inner.loopback.is_empty() {
                break;
            }
            for frame in core::mem::take(&mut inner.loopback) {
                self.input_frame(inner, frame, now, true);
            }
        }
        self.port.kick();
        room
    }

    fn flush_dirty(&self, now: u64) -> bool {
        let inner = &mut *self.inner.borrow_mut();
        let mut dirty = core::mem::take(&mut inner.dirty);
        let mut room = true;
        for id in dirty.drain(..) {
            let Some(Socket::Connection(connection)) = inner.sockets.get_mut(id as usize) else {
                continue;
            };
            if !connection.dirty {
                continue;
            }
            if !room {
                inner.dirty.push(id);
                continue;
            }
            let mut sender = sender!(self, inner);
            let done = connection.output(now, &mut sender);
            let sent = sender.sent;
            inner.stats.frames_out += sent;
            if done {
                connection.dirty = false;
                self.touch_quietly(inner, id, now);
            } else {
                room = false;
                inner.dirty.push(id);
            }
        }
        if inner.dirty.is_empty() {
            // Keeps the allocation.
            inner.dirty = dirty;
        }
        room
    }

    /// As [`touch`](Self::touch), right after output: what could not be sent waits for an event, not for more output.
    fn touch_quietly(&self, inner: &mut Inner, id: u32, now: u64) {
        if let Some(Socket::Connection(connection)) = inner.sockets.get_mut(id as usize) {
            connection.dirty = true;
            self.touch(inner, id, now);
            if let Some(Socket::Connection(connection)) = inner.sockets.get_mut(id as usize) {
                connection.dirty = false;
            }
        }
    }

    /// Whether [`flush`](Self::flush) has something to do.
    pub fn has_output(&self) -> bool {
        let inner = self.inner.borrow();
        !inner.dirty.is_empty() || !inner.loopback.is_empty()
    }

    /// When [`timers`](Self::timers) is to be called.
    pub fn next_deadline(&self) -> Option<u64> {
        let inner = self.inner.borrow();
        let sockets = inner.timers.peek().map_or(NEVER, |Reverse((at, _))| *at);
        let time_wait = inner.time_wait.front().map_or(NEVER, |(at, _)| *at);
        let next = sockets
            .min(time_wait)
            .min(inner.handshakes.next_deadline())
            .min(inner.resolve_at);
        (next != NEVER).then_some(next)
    }

    /// Does what is due.
    pub fn timers(&self, now: u64) {
        if self.inner.borrow().resolve_at <= now {
            self.resolve(now);
        }
        let inner = &mut *self.inner.borrow_mut();
        while let Some(Reverse((at, id))) = inner.timers.peek().copied() {
            if at > now {
                break;
            }
            inner.timers.pop();
            let Some(Socket::Connection(connection)) = inner.sockets.get_mut(id as usize) else {
                continue;
            };
            if connection.armed != at {
                // Another entry stands for it, or the number has a new owner.
                continue;
            }
            connection.armed = NEVER;
            if connection.deadline() <= now {
                let was = connection.timeouts();
                let connected = connection.is_connected();
                let probe = connection.timer(now);
                if connection.timeouts() > was {
                    inner.stats.timeouts += 1;
                }
                let path = connection.path;
                let failed = connection.state == State::Closed && connected;
                let reset = failed.then(|| {
                    let (seq, _) = connection.reset_seq();
                    TcpOut {
                        source: connection.key.local_port,
                        target: connection.key.remote_port,
                        seq,
                        flags: flags::RST,
                        ..TcpOut::default()
                    }
                });
                if connection.state == State::Closed && !connection.owned {
                    let held = connection.receive.held();
                    connection.receive.clear(&mut inner.pool);
                    inner.received -= held;
                }
                if let Some(header) = probe.or(reset) {
                    sender!(self, inner).send(&path, header, None, 0);
                }
            }
            self.touch(inner, id, now);
        }
        while self.expire_time_wait(inner, now) {}
        while let Some(key) = inner.handshakes.due(now) {
            let again = match inner.flows.get_mut(&key) {
                Some(Flow::HalfOpen(half)) => half.again(),
                _ => continue,
            };
            if !again {
                self.forget_half_open(inner, &key);
                continue;
            }
            let Some(Flow::HalfOpen(half)) = inner.flows.get(&key) else {
                continue;
            };
            let half = half.clone();
            let header = half.answer(&key, self.mss(&half.path));
            sender!(self, inner).send(&half.path, header, None, 0);
            inner.handshakes.begin_again(key, now);
        }
    }

    /// Takes a message of another core.
    pub fn message(&self, message: Message, now: u64) {
        match message {
            Message::Frame(frame) => {
                let inner = &mut *self.inner.borrow_mut();
                self.input_frame(inner, frame, now, false);
            }
            Message::Changed => self.resolve(now),
        }
    }
}

/// Whether a packet is for this machine, and from it only if this machine has sent it (RFC 1122, 3.2.1.3).
fn is_plausible(routes: &Routes, key: &FlowKey, local: bool) -> bool {
    let outside = !key.local.is_loopback() && !routes.is_local(key.remote);
    routes.is_local(key.local) && (local || outside)
}

/// Back to where a packet came from.
fn answer_path(packet: &Packet) -> Path {
    Path {
        source_mac: packet.target_mac,
        target_mac: packet.source_mac,
        source: packet.target,
        target: packet.source,
        loopback: packet.source_mac == [0; 6],
    }
}

/// Makes pieces of payload of a frame.
#[inline]
fn split(frame: Frame, packet: &Packet, payload: &mut Vec<Chunk>, pool: &mut Pool) {
    let mut first = frame.first;
    let length = first.len();
    if packet.payload.is_empty() {
        pool.give(first.buffer);
        frame.more.into_iter().for_each(|c| pool.give(c.buffer));
        return;
    }
    let base = first.start;
    first.start = base + packet.payload.start.min(length) as u32;
    first.end = base + packet.payload.end.min(length) as u32;
    if first.len() > 0 {
        payload.push(first);
    } else {
        pool.give(first.buffer);
    }
    let mut left = packet.payload.end.saturating_sub(length);
    for mut chunk in frame.more {
        let part = chunk.len().min(left);
        chunk.end = chunk.start + part as u32;
        left -= part;
        if part > 0 {
            payload.push(chunk);
        } else {
            pool.give(chunk.buffer);
        }
    }
}

impl Inner {
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
            self.received -= connection.receive.held();
        }
        self.free.push(id);
        socket
    }

    /// The listener for an address, the most particular first.
    pub fn listener(&self, address: Ip, port: u16) -> Option<u32> {
        let ids = self.ports.get(&(Protocol::Tcp, port))?;
        let with = |wanted: &dyn Fn(Ip) -> bool| {
            ids.iter().copied().find(|id| {
                matches!(self.sockets.get(*id as usize), Some(Socket::Listener(l)) if wanted(l.address))
            })
        };
        with(&|a| a == address).or_else(|| with(&|a| covers(a, address)))
    }

    pub fn datagrams(&self, address: Ip, port: u16) -> Option<u32> {
        let ids = self.ports.get(&(Protocol::Udp, port))?;
        let with = |wanted: &dyn Fn(Ip) -> bool| {
            ids.iter().copied().find(|id| {
                matches!(self.sockets.get(*id as usize), Some(Socket::Datagrams(d)) if wanted(d.address))
            })
        };
        with(&|a| a == address).or_else(|| with(&|a| covers(a, address)))
    }
}

/// Whether a socket bound to `bound` takes what is for `address`: the unspecified IPv6 address means both families.
pub(crate) fn covers(bound: Ip, address: Ip) -> bool {
    bound == address || bound == Ip::UNSPECIFIED || bound == Ip::v4(0) && address.is_v4()
}
