//! Segments out: what may be sent now, and with which numbers.

use super::{Ack, Connection, NEVER, RTO_MAX, State, WINDOW_SCALE, Wire, syn_window};
use crate::{
    seq::Seq,
    wire::{TcpOut, flags},
};

impl Connection {
    /// True when [`output`](Self::output) has something to do now.
    pub fn wants_output(&self) -> bool {
        self.ack == Ack::Now || self.force || self.has_data()
    }

    pub(super) fn has_data(&self) -> bool {
        match self.state {
            State::SynSent | State::SynReceived => self.nxt == self.iss,
            State::Closed | State::TimeWait => false,
            _ => self
                .nxt
                .lt(self.data_end() + u32::from(self.fin && !self.fin_acked)),
        }
    }

    #[inline]
    pub(super) fn data_start(&self) -> Seq {
        if self.una == self.iss {
            self.iss + 1
        } else {
            self.una
        }
    }

    #[inline]
    pub(super) fn data_end(&self) -> Seq {
        self.data_start() + self.send.len() as u32
    }

    /// Sends what may be sent. False when the device had no room: to be called again then.
    pub fn output(&mut self, now: u64, wire: &mut impl Wire) -> bool {
        if !self.resolved {
            return true;
        }
        let done = match self.state {
            State::Closed => return true,
            State::SynSent | State::SynReceived => {
                self.nxt != self.iss || self.output_syn(now, wire)
            }
            _ => self.output_data(now, wire),
        };
        if done && self.ack == Ack::Now && self.is_connected() {
            // The highest number, also when older ones are being sent again: a lower one the peer would drop.
            let header = self.header(self.max, flags::ACK);
            if !wire.send(&self.path, header, None, 0) {
                return false;
            }
            self.acknowledge_sent();
        }
        done
    }

    pub(super) fn output_syn(&mut self, now: u64, wire: &mut impl Wire) -> bool {
        let simultaneous = self.state == State::SynReceived;
        let header = TcpOut {
            source: self.key.local_port,
            target: self.key.remote_port,
            seq: self.iss.0,
            ack: if simultaneous { self.rcv_nxt.0 } else { 0 },
            flags: flags::SYN | if simultaneous { flags::ACK } else { 0 },
            window: syn_window(self.receive_limit),
            mss: Some(self.mss as u16),
            window_scale: (!simultaneous || self.scale > 0).then_some(WINDOW_SCALE),
            sack_permitted: !simultaneous || self.sack,
            ..TcpOut::default()
        };
        if !wire.send(&self.path, header, None, 0) {
            return false;
        }
        self.nxt = self.iss + 1;
        if self.max == self.iss {
            self.timed = Some((self.nxt, now));
        }
        self.max = self.max.max(self.nxt);
        self.retransmit_at = now + (self.rto << self.backoff.min(6)).min(RTO_MAX);
        true
    }

    /// Bytes that are thought to be in the network.
    pub(super) fn pipe(&self) -> u32 {
        let flight = self.nxt - self.una;
        if !self.recovering || self.sacked.is_empty() {
            return flight;
        }
        let mut away = 0;
        let mut from = self.una.max(self.resent);
        for &(start, end) in &self.sacked {
            away += end - start;
            // The hole before it is lost, unless it has been sent again.
            if from.lt(start) {
                away += start - from;
            }
            from = from.max(end);
        }
        flight.saturating_sub(away)
    }

    /// The next hole to be sent again in a recovery.
    pub(super) fn hole(&self) -> Option<(Seq, u32)> {
        if !self.recovering {
            return None;
        }
        if self.sacked.is_empty() {
            return self.force.then(|| {
                let end = self.data_end() + u32::from(self.fin && !self.fin_acked);
                (self.una, (end.min(self.max) - self.una).min(self.mss))
            });
        }
        let mut from = self.una.max(self.resent);
        for &(start, end) in &self.sacked {
            if from.lt(start) {
                return Some((from, (start - from).min(self.mss)));
            }
            from = from.max(end);
        }
        None
    }

    pub(super) fn output_data(&mut self, now: u64, wire: &mut impl Wire) -> bool {
        if self.state == State::TimeWait {
            return true;
        }
        self.limited = false;
        // Lost segments first.
        while let Some((seq, len)) = self.hole() {
            if !self.force && self.pipe() + self.mss > self.cwnd {
                self.limited = true;
                break;
            }
            if !self.send_range(now, seq, len, wire) {
                return false;
            }
            self.resent = seq + len;
            self.force = false;
        }
        self.force = false;
        loop {
            let data_end = self.data_end();
            let fin_left = self.fin && !self.fin_acked && self.nxt.le(data_end);
            let left = if self.nxt.lt(data_end) {
                data_end - self.nxt
            } else {
                0
            };
            if left == 0 && !fin_left {
                break;
            }
            let edge = self.una + self.window;
            let window = if self.nxt.lt(edge) {
                edge - self.nxt
            } else {
                0
            };
            let room = self.cwnd.saturating_sub(self.pipe());
            let mut len = left.min(window).min(room);
            len = len.min(wire.longest(self.mss as usize) as u32);
            let idle = self.nxt == self.una;
            if len < left {
                if room < left && room < window {
                    self.limited = true;
                }
                // Part of what there is: whole segments, or what is worth it.
                if len >= self.mss {
                    len -= len % self.mss;
                } else if !(idle && len > 0) && (len == 0 || len < self.max_window / 2) {
                    break;
                }
            } else if left == 0 {
                // Only the FIN.
                if window == 0 && self.max == self.nxt {
                    break;
                }
            } else if left < self.mss && !self.nodelay && !idle && !self.fin {
                break;
            }
            if left > 0 && len == 0 {
                break;
            }
            let fin = fin_left && len == left && (window > len || self.max.gt(self.nxt));
            let total = len + u32::from(fin);
            if total == 0 {
                break;
            }
            if !self.send_range(now, self.nxt, total, wire) {
                return false;
            }
            self.nxt += total;
            self.max = self.max.max(self.nxt);
        }
        // Nothing in flight that would bring a window: ask for one.
        let waiting = self
            .nxt
            .lt(self.data_end() + u32::from(self.fin && !self.fin_acked));
        if waiting && self.retransmit_at == NEVER && self.persist_at == NEVER {
            self.persist_at = now + (self.rto << self.backoff.min(6)).min(RTO_MAX);
        } else if !waiting {
            self.persist_at = NEVER;
        }
        true
    }

    /// Sends numbers `seq..seq + len`, of which the last may be the FIN's.
    pub(super) fn send_range(
        &mut self,
        now: u64,
        seq: Seq,
        len: u32,
        wire: &mut impl Wire,
    ) -> bool {
        let data_end = self.data_end();
        let end = seq + len;
        let fin = end.gt(data_end);
        let data = if fin { len - 1 } else { len };
        let mut header = self.header(seq, flags::ACK);
        if fin {
            header.flags |= flags::FIN;
        }
        if end.ge(data_end) {
            header.flags |= flags::PSH;
        }
        let offset = seq - self.data_start();
        let payload = (data > 0).then_some((&mut self.send, offset as usize, data as usize));
        if !wire.send(&self.path, header, payload, self.mss as usize) {
            return false;
        }
        self.acknowledge_sent();
        if end.gt(self.max) {
            if self.timed.is_none() {
                self.timed = Some((end, now));
            }
        } else if self.timed.is_some_and(|(until, _)| seq.lt(until)) {
            // Karn: what was sent twice measures nothing.
            self.timed = None;
        }
        if self.una == self.max {
            self.progress = now;
        }
        if self.retransmit_at == NEVER {
            self.retransmit_at = now + (self.rto << self.backoff.min(8)).min(RTO_MAX);
        }
        true
    }

    pub(super) fn header(&mut self, seq: Seq, flags: u8) -> TcpOut {
        let edge = self.rcv_nxt + self.receive_room();
        let least = self.mss.min(self.receive_limit as u32 / 2);
        if edge.gt(self.rcv_edge) && edge - self.rcv_edge >= least {
            self.rcv_edge = edge;
        }
        let window = if self.rcv_nxt.lt(self.rcv_edge) {
            (self.rcv_edge - self.rcv_nxt).div_ceil(1 << self.scale)
        } else {
            0
        };
        let window = window.min(65_535);
        let reach = self.rcv_nxt + (window << self.scale);
        self.rcv_edge = if self.scale == 0 {
            self.rcv_edge.min(reach)
        } else {
            reach
        };
        let (sack, sack_count) = if self.sack && self.receive.has_early() {
            self.receive.islands()
        } else {
            ([(0, 0); 3], 0)
        };
        TcpOut {
            source: self.key.local_port,
            target: self.key.remote_port,
            seq: seq.0,
            ack: self.rcv_nxt.0,
            flags,
            window: window as u16,
            sack,
            sack_count,
            ..TcpOut::default()
        }
    }

    #[inline]
    pub(super) fn acknowledge_sent(&mut self) {
        self.ack = Ack::None;
        self.ack_at = NEVER;
        self.acked = self.rcv_nxt;
    }
}
