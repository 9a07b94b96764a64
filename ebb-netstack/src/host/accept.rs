//! Connections that peers begin, and segments that belong to none.

use super::{Cx, Flow, Inner, RESETS_PER_SECOND, Socket};
use crate::{
    connection::{Connection, SegmentSink as _},
    handshake::HalfOpen,
    link::{Frame, Link},
    seq::Seq,
    time::SECOND_NS,
    wire::{FlowKey, Segment, TcpOut, flags},
};
use alloc::boxed::Box;
use ebb_net::Direction;

impl Inner {
    /// A segment for which there is no connection.
    pub(super) fn input_listener<L: Link>(
        &mut self,
        cx: &Cx<'_, L>,
        frame: Frame,
        segment: &Segment,
    ) {
        let (key, tcp) = (&segment.packet.key, &segment.tcp);
        self.refresh(cx);
        if !self.routes.is_plausible(key, frame.local) || tcp.has(flags::RST) {
            return self.recycle(frame);
        }
        let Some(listener) = self.listener(key.local, key.local_port) else {
            self.refuse(cx, segment);
            return self.recycle(frame);
        };
        if tcp.opens() {
            self.input_syn(cx, segment, listener);
            return self.recycle(frame);
        }
        // The end of a handshake without state, perhaps.
        match self.handshakes.check_cookie(key, tcp, cx.now_ns) {
            Some(agreed) if tcp.has(flags::ACK) => {
                let half = HalfOpen::from_cookie(agreed, segment.packet.answer_path());
                self.establish(cx, half, frame, segment);
            }
            _ => {
                self.refuse(cx, segment);
                self.recycle(frame);
            }
        }
    }

    fn input_syn<L: Link>(&mut self, cx: &Cx<'_, L>, segment: &Segment, listener: u32) {
        let key = segment.packet.key;
        let Some(Socket::Listener(l)) = self.sockets.get(listener as usize) else {
            return;
        };
        if l.ready.len() >= l.backlog || self.connections >= cx.limits.connections {
            self.stats.overflows += 1;
            return;
        }
        let path = segment.packet.answer_path();
        let mss = cx.mss(&path);
        let mut half = HalfOpen::new(&self.handshakes, &key, path, &segment.tcp, cx.now_ns);
        if self.handshakes.count >= cx.limits.half_open {
            half.make_cookie(&mut self.handshakes, &key, cx.now_ns);
            self.stats.cookies += 1;
            return self.send_bare(cx, &half.path, half.answer(&key, mss));
        }
        self.send_bare(cx, &half.path, half.answer(&key, mss));
        self.flows.insert(key, Flow::HalfOpen(Box::new(half)));
        self.handshakes.begin(key, cx.now_ns);
        cx.shared.claim_flow(&key, cx.core);
    }

    /// A segment of a handshake that this side has answered.
    pub(super) fn input_half_open<L: Link>(
        &mut self,
        cx: &Cx<'_, L>,
        frame: Frame,
        segment: &Segment,
    ) {
        let (key, tcp) = (&segment.packet.key, &segment.tcp);
        let Some(Flow::HalfOpen(half)) = self.flows.get(key) else {
            return self.recycle(frame);
        };
        let half = (**half).clone();
        if tcp.has(flags::RST) {
            if Seq(tcp.seq) == half.agreed.irs + 1 {
                self.forget_half_open(cx, key);
            }
            return self.recycle(frame);
        }
        if tcp.has(flags::SYN) {
            if !tcp.has(flags::ACK) && Seq(tcp.seq) == half.agreed.irs {
                self.send_bare(cx, &half.path, half.answer(key, cx.mss(&half.path)));
            }
            return self.recycle(frame);
        }
        if !tcp.has(flags::ACK) || Seq(tcp.ack) != half.agreed.iss + 1 {
            self.refuse(cx, segment);
            return self.recycle(frame);
        }
        self.establish(cx, half, frame, segment);
    }

    pub(super) fn forget_half_open<L: Link>(&mut self, cx: &Cx<'_, L>, key: &FlowKey) {
        if matches!(self.flows.get(key), Some(Flow::HalfOpen(_))) {
            self.flows.remove(key);
            self.handshakes.count -= 1;
            cx.shared.release_flow(key);
        }
    }

    /// A handshake is complete: makes the connection, and lets it have the segment.
    fn establish<L: Link>(
        &mut self,
        cx: &Cx<'_, L>,
        half: HalfOpen,
        frame: Frame,
        segment: &Segment,
    ) {
        let key = segment.packet.key;
        let listener = self.listener(key.local, key.local_port);
        let Some(Socket::Listener(l)) = listener.and_then(|id| self.sockets.get(id as usize))
        else {
            self.forget_half_open(cx, &key);
            self.refuse(cx, segment);
            return self.recycle(frame);
        };
        if l.ready.len() >= l.backlog || self.connections >= cx.limits.connections {
            // The peer will say it again.
            self.stats.overflows += 1;
            return self.recycle(frame);
        }
        if matches!(self.flows.get(&key), Some(Flow::HalfOpen(_))) {
            self.handshakes.count -= 1;
        } else {
            cx.shared.claim_flow(&key, cx.core);
        }
        let window = segment.tcp.window;
        let mut connection = Connection::accepted(key, half.path, &half.agreed, window, cx.now_ns);
        connection.limit_mss(cx.mss(&half.path));
        connection.listener = listener;
        let id = self.insert_socket(Socket::Connection(connection));
        self.connections += 1;
        self.stats.accepted += 1;
        self.connect_flow(&key, id);
        if let Some(Socket::Listener(l)) = listener.and_then(|id| self.sockets.get_mut(id as usize))
        {
            l.ready.push_back(id);
            l.wakers.wake(Direction::Read);
        }
        self.input_connection(cx, id, frame, segment);
    }

    /// Resets whoever sends to where nobody is; not too often.
    fn refuse<L: Link>(&mut self, cx: &Cx<'_, L>, segment: &Segment) {
        let (key, tcp) = (&segment.packet.key, &segment.tcp);
        let path = segment.packet.answer_path();
        // Loopback is no flood.
        if !self.resets.allow(cx.now_ns) && !path.loopback {
            return;
        }
        let header = if tcp.has(flags::ACK) {
            TcpOut::reset(key, tcp.ack)
        } else {
            let length = segment.packet.payload.len() as u32
                + u32::from(tcp.has(flags::SYN))
                + u32::from(tcp.has(flags::FIN));
            let ack = tcp.seq.wrapping_add(length);
            TcpOut::of(key, flags::RST | flags::ACK, 0, ack)
        };
        self.send_bare(cx, &path, header);
    }

    /// Sends a segment without data.
    pub(crate) fn send_bare<L: Link>(
        &mut self,
        cx: &Cx<'_, L>,
        path: &crate::wire::Path,
        header: TcpOut,
    ) {
        self.outgoing.through(cx.link).send(path, header, None, 0);
    }
}

/// Answers to what belongs to nobody: so many in a second.
#[derive(Default)]
pub(crate) struct RateLimit {
    second: u64,
    count: u32,
}

impl RateLimit {
    pub(super) fn allow(&mut self, now_ns: u64) -> bool {
        let second = now_ns / SECOND_NS;
        if self.second != second {
            (self.second, self.count) = (second, 0);
        }
        self.count += 1;
        self.count <= RESETS_PER_SECOND
    }
}
