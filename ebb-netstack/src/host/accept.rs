//! Connections that peers begin, and segments that belong to none.

use super::{
    Flow, Host, Inner, LOOPBACK_MTU, RESETS_PER_SECOND, Socket, input::answer_path,
    input::is_plausible, send::sender,
};
use crate::{
    connection::{Connection, FlowKey, SECOND, Wire as _},
    frame::{Frame, Port},
    handshake::HalfOpen,
    seq::Seq,
    wire::{self, Packet, Path, Tcp, TcpOut, Transport, flags},
};
use alloc::boxed::Box;
use ebb_net::Direction;

impl<P: Port> Host<P> {
    /// A segment for which there is no connection.
    pub(super) fn input_listener(
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

    pub(super) fn input_syn(
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
    pub(super) fn input_half_open(
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
    pub(super) fn establish(
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
    pub(super) fn refuse(
        &self,
        inner: &mut Inner,
        packet: &Packet,
        key: &FlowKey,
        tcp: &Tcp,
        now: u64,
    ) {
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
    pub(super) fn answer(
        &self,
        inner: &mut Inner,
        packet: &Packet,
        key: &FlowKey,
        mut header: TcpOut,
    ) {
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
}
