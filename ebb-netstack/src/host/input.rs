//! From a frame to its socket, and what follows for a connection.

use super::{BUFFER, CONTROL, Flow, Host, Inner, MAX_LOOPBACK, Socket, TIME_WAIT, send::sender};
use crate::{
    connection::{FlowKey, NEVER, State, Wire as _},
    frame::{Frame, Port},
    queues::{Chunk, Pool},
    seq::Seq,
    shared::{Message, Protocol, Routes},
    wire::{self, Packet, Path, Tcp, TcpOut, Transport, flags},
};
use alloc::vec::Vec;
use core::cmp::Reverse;
use ebb_net::Error;

impl<P: Port> Host<P> {
    /// Takes a frame from the device, from another core, or from this machine itself.
    #[inline]
    pub fn input(&self, frame: Frame, now: u64) {
        let inner = &mut *self.inner.borrow_mut();
        inner.stats.frames_in += 1;
        self.input_frame(inner, frame, now, true);
    }

    pub(super) fn input_frame(&self, inner: &mut Inner, frame: Frame, now: u64, may_steer: bool) {
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

    pub(super) fn slow(&self, inner: &mut Inner, frame: Frame) {
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
    pub(super) fn steer(
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

    pub(super) fn is_checked(frame: &Frame, packet: &Packet, is_tcp: bool) -> bool {
        if frame.checked {
            return true;
        }
        let more: Vec<&[u8]> = frame.more.iter().map(Chunk::bytes).collect();
        wire::checksum_holds(packet, frame.first.bytes(), &more, is_tcp)
    }

    #[inline]
    pub(super) fn input_tcp(
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
    pub(super) fn input_connection(
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
        let without_end;
        let mut tcp = tcp;
        if full {
            if !payload.is_empty() {
                // The end must come again, with what was before it.
                without_end = Tcp {
                    flags: tcp.flags & !flags::FIN,
                    ..tcp.clone()
                };
                tcp = &without_end;
            }
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
    pub(super) fn reset_connection(&self, inner: &mut Inner, id: u32, tcp: &Tcp) {
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
        let sending = connection.unacknowledged();
        inner.sending = inner.sending + sending - connection.counted;
        connection.counted = sending;
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

    pub(super) fn enter_time_wait(
        &self,
        inner: &mut Inner,
        key: FlowKey,
        ours: Seq,
        peers: Seq,
        now: u64,
    ) {
        inner.flows.insert(key, Flow::TimeWait(ours, peers));
        inner.time_wait.push_back((now + TIME_WAIT, key));
        if inner.time_wait.len() > self.limits.time_wait {
            self.expire_time_wait(inner, NEVER);
        }
    }

    /// Forgets the oldest entry if it is due.
    pub(super) fn expire_time_wait(&self, inner: &mut Inner, now: u64) -> bool {
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
}

/// Whether a packet is for this machine, and from it only if this machine has sent it (RFC 1122, 3.2.1.3).
pub(super) fn is_plausible(routes: &Routes, key: &FlowKey, local: bool) -> bool {
    let outside = !key.local.is_loopback() && !routes.is_local(key.remote);
    routes.is_local(key.local) && (local || outside)
}

/// Back to where a packet came from.
pub(super) fn answer_path(packet: &Packet) -> Path {
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
pub(super) fn split(frame: Frame, packet: &Packet, payload: &mut Vec<Chunk>, pool: &mut Pool) {
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
