//! From a frame to its socket, and what follows for a connection.

use super::{BUFFER, CONTROL, Cx, Flow, Host, Inner, MAX_LOOPBACK, Socket, TIME_WAIT_NS};
use crate::{
    connection::State,
    link::{Frame, Link},
    queues::{Chunk, Pool},
    seq::Seq,
    shared::{Message, Protocol},
    time::NEVER_NS,
    wire::{self, FlowKey, Packet, Parsed, Segment, Tcp, TcpOut, flags},
};
use alloc::vec::Vec;
use core::cmp::Reverse;
use ebb_net::Error;

/// The port that a DHCP client hears on.
const DHCP_CLIENT: u16 = 68;

impl<L: Link> Host<L> {
    /// Takes a frame from the device, from another core, or from this machine itself.
    #[inline]
    pub fn input(&self, frame: Frame, now_ns: u64) {
        self.enter(now_ns, |inner, cx| {
            inner.stats.frames_in += 1;
            inner.input_frame(cx, frame, true);
        });
    }

    /// Frames for the slow path.
    pub fn take_slow(&self) -> Vec<Frame> {
        core::mem::take(&mut self.inner.borrow_mut().slow)
    }
}

impl Inner {
    #[inline]
    pub(super) fn input_frame<L: Link>(&mut self, cx: &Cx<'_, L>, frame: Frame, may_steer: bool) {
        match Parsed::of(frame.first.bytes(), frame.len()) {
            Ok(Parsed::Segment(mut segment)) => {
                segment.packet.card = frame.card;
                if !is_honest(&frame, &segment.packet) {
                    return self.malformed(frame);
                }
                self.input_tcp(cx, frame, &segment, may_steer);
            }
            Ok(Parsed::Datagram(mut packet)) => {
                packet.card = frame.card;
                if !is_honest(&frame, &packet) {
                    return self.malformed(frame);
                }
                if packet.key.local_port == DHCP_CLIENT {
                    return self.slow(cx, frame);
                }
                self.input_udp(cx, frame, packet, may_steer);
            }
            Ok(Parsed::Other) => self.slow(cx, frame),
            Err(()) => self.malformed(frame),
        }
    }

    pub(super) fn malformed(&mut self, frame: Frame) {
        self.stats.malformed += 1;
        self.recycle(frame);
    }

    fn slow<L: Link>(&mut self, cx: &Cx<'_, L>, frame: Frame) {
        if cx.core != CONTROL {
            self.stats.steered += 1;
            if !cx.shared.tell(CONTROL, Message::Frame(frame)) {
                self.stats.dropped += 1;
            }
        } else if self.slow.len() < MAX_LOOPBACK {
            self.slow.push(frame);
        } else {
            self.stats.dropped += 1;
            self.recycle(frame);
        }
    }

    /// Hands a frame that belongs to nobody here to the core that it belongs to. Gives it back if that is this one, or
    /// none.
    pub(super) fn steer<L: Link>(
        &mut self,
        cx: &Cx<'_, L>,
        frame: Frame,
        protocol: Protocol,
        key: &FlowKey,
    ) -> Option<Frame> {
        let owner = cx.shared.owner(key);
        let Some(to) = owner.or_else(|| cx.shared.core_for(protocol, key)) else {
            return Some(frame);
        };
        if to == cx.core {
            return Some(frame);
        }
        self.stats.steered += 1;
        if !cx.shared.tell(to, Message::Frame(frame)) {
            self.stats.dropped += 1;
        }
        None
    }

    #[inline]
    fn input_tcp<L: Link>(
        &mut self,
        cx: &Cx<'_, L>,
        frame: Frame,
        segment: &Segment,
        may_steer: bool,
    ) {
        if !is_checked(&frame, &segment.packet, Protocol::Tcp) {
            return self.malformed(frame);
        }
        let key = &segment.packet.key;
        if let Some(id) = self.connection_of(key) {
            return self.input_connection(cx, id, frame, segment);
        }
        match self.flows.get(key) {
            _ if key.local.is_multicast()
                || key.remote.is_multicast()
                || key.remote.is_unspecified() =>
            {
                return self.recycle(frame);
            }
            Some(Flow::HalfOpen(_)) => return self.input_half_open(cx, frame, segment),
            Some(Flow::TimeWait(ours, peers)) => {
                let (ours, peers) = (*ours, *peers);
                return self.input_time_wait(cx, frame, segment, ours, peers);
            }
            None => {}
        }
        if may_steer && cx.shared.cores > 1 {
            let here =
                segment.tcp.opens() && self.ports.contains_key(&(Protocol::Tcp, key.local_port));
            // Where the device spreads flows itself, a new one stays on the core it came to.
            if !here || !cx.link.capabilities(frame.card).spreads {
                let Some(back) = self.steer(cx, frame, Protocol::Tcp, key) else {
                    return;
                };
                return self.input_listener(cx, back, segment);
            }
        }
        self.input_listener(cx, frame, segment);
    }

    /// A segment between ports whose last connection has ended just now; `ours` and `peers` are the numbers that would
    /// have come next.
    fn input_time_wait<L: Link>(
        &mut self,
        cx: &Cx<'_, L>,
        frame: Frame,
        segment: &Segment,
        ours: Seq,
        peers: Seq,
    ) {
        let (key, tcp) = (&segment.packet.key, &segment.tcp);
        if tcp.opens() && Seq(tcp.seq).gt(peers) {
            // A new connection between the same ports (RFC 9293, 3.10.7.4).
            self.flows.remove(key);
            return self.input_listener(cx, frame, segment);
        }
        let wants_answer =
            !segment.packet.payload.is_empty() || tcp.has(flags::SYN) || tcp.has(flags::FIN);
        if wants_answer && !tcp.has(flags::RST) {
            let header = TcpOut::of(key, flags::ACK, ours.0, peers.0);
            self.send_bare(cx, &segment.packet.answer_path(), header);
        }
        self.recycle(frame);
    }

    /// A segment of a connection.
    #[inline]
    pub(super) fn input_connection<L: Link>(
        &mut self,
        cx: &Cx<'_, L>,
        id: u32,
        frame: Frame,
        segment: &Segment,
    ) {
        let Some(Socket::Connection(connection)) = self.sockets.get_mut(id as usize) else {
            return self.recycle(frame);
        };
        if connection.path.loopback != frame.local {
            return self.malformed(frame);
        }
        self.stats.bytes_in += segment.packet.payload.len() as u64;
        let mut payload = core::mem::take(&mut self.payload);
        let before = connection.receive.queue.held();
        // Under pressure only what is next in order, and little of it, is kept.
        let full = self.received > cx.limits.received && before > BUFFER;
        split(frame, &segment.packet, &mut payload, &mut self.pool);
        let without_end;
        let mut tcp = &segment.tcp;
        if full {
            if !payload.is_empty() {
                // The end must come again, with what was before it.
                without_end = Tcp {
                    flags: tcp.flags & !flags::FIN,
                    ..tcp.clone()
                };
                tcp = &without_end;
            }
            payload.drain(..).for_each(|c| self.pool.give(c.buffer));
            connection.receive.queue.forget_early(&mut self.pool);
        }
        let reset = connection.input(cx.now_ns, tcp, &mut payload, &mut self.pool);
        if connection.state == State::Closed && !connection.owned {
            connection.receive.queue.clear(&mut self.pool);
        }
        self.received = self.received + connection.receive.queue.held() - before;
        payload.drain(..).for_each(|c| self.pool.give(c.buffer));
        self.payload = payload;
        if reset {
            self.reset_connection(cx, id, tcp);
        }
        self.settle(cx, id);
    }

    /// Answers a segment that a connection rejects, and ends the connection if nobody owns it.
    fn reset_connection<L: Link>(&mut self, cx: &Cx<'_, L>, id: u32, tcp: &Tcp) {
        let Some(Socket::Connection(connection)) = self.sockets.get_mut(id as usize) else {
            return;
        };
        let (path, key) = (connection.path, connection.key());
        let (seq, _) = connection.reset_numbers();
        if connection.is_connected() {
            connection.fail(Some(Error::ConnectionReset));
            self.drop_received(id);
            self.send_bare(cx, &path, TcpOut::reset(&key, seq));
        } else {
            self.send_bare(cx, &path, TcpOut::reset(&key, tcp.ack));
        }
    }

    /// After anything has happened to a connection: its output, its timers, its end.
    #[inline]
    pub(crate) fn settle<L: Link>(&mut self, cx: &Cx<'_, L>, id: u32) {
        let Some(Socket::Connection(connection)) = self.sockets.get_mut(id as usize) else {
            return;
        };
        let sending = connection.unacknowledged();
        self.sending = self.sending + sending - connection.send.counted;
        connection.send.counted = sending;
        match connection.state {
            State::Closed => {
                let (key, owned) = (connection.key(), connection.owned);
                if self.connected.remove(&key, id) {
                    cx.shared.release_flow(&key);
                }
                if !owned {
                    self.remove_socket(id);
                }
                return;
            }
            // The last acknowledgement is still to be sent from here.
            State::TimeWait if !connection.wants_output() => {
                let (key, owned) = (connection.key(), connection.owned);
                let (ours, peers) = connection.final_numbers();
                connection.fail(None);
                if self.connected.remove(&key, id) {
                    self.enter_time_wait(cx, key, ours, peers);
                }
                if !owned {
                    self.remove_socket(id);
                }
                return;
            }
            _ => {}
        }
        if connection.wants_output() && !connection.dirty {
            connection.dirty = true;
            self.dirty.push(id);
        }
        let deadline_ns = connection.deadline_ns();
        if deadline_ns < connection.timers.armed_ns {
            connection.timers.armed_ns = deadline_ns;
            self.timers.push(Reverse((deadline_ns, id)));
        }
    }

    fn enter_time_wait<L: Link>(&mut self, cx: &Cx<'_, L>, key: FlowKey, ours: Seq, peers: Seq) {
        self.flows.insert(key, Flow::TimeWait(ours, peers));
        self.time_wait.push_back((cx.now_ns + TIME_WAIT_NS, key));
        if self.time_wait.len() > cx.limits.time_wait {
            self.expire_time_wait(cx, NEVER_NS);
        }
    }

    /// Forgets the oldest entry if it is due at `by_ns`.
    pub(super) fn expire_time_wait<L: Link>(&mut self, cx: &Cx<'_, L>, by_ns: u64) -> bool {
        match self.time_wait.front() {
            Some((until_ns, _)) if *until_ns <= by_ns => {}
            _ => return false,
        }
        if let Some((_, key)) = self.time_wait.pop_front()
            && matches!(self.flows.get(&key), Some(Flow::TimeWait(..)))
        {
            self.flows.remove(&key);
            cx.shared.release_flow(&key);
        }
        true
    }
}

/// That hardware address stands for this machine itself: nobody else may use it.
#[inline(always)]
fn is_honest(frame: &Frame, packet: &Packet) -> bool {
    packet.source_mac != [0; 6] || frame.local
}

/// Whether the checksum of the transport holds, or the device has seen that it does.
#[inline]
pub(super) fn is_checked(frame: &Frame, packet: &Packet, protocol: Protocol) -> bool {
    if frame.checked {
        return true;
    }
    let more: Vec<&[u8]> = frame.more.iter().map(Chunk::bytes).collect();
    wire::checksum_holds(
        packet,
        frame.first.bytes(),
        &more,
        protocol == Protocol::Tcp,
    )
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
