//! Segments out: what may be sent now, and with which numbers.

use super::{Ack, Connection, SegmentSink, State, WINDOW_SCALE, syn_window};
use crate::{
    seq::Seq,
    time::NEVER_NS,
    wire::{TcpOut, flags},
};

impl Connection {
    /// True when [`output`](Self::output) has something to do now.
    pub fn wants_output(&self) -> bool {
        self.receive.ack == Ack::Now || self.congestion.force || self.has_data()
    }

    fn has_data(&self) -> bool {
        match self.state {
            State::SynSent | State::SynReceived => self.send.nxt == self.send.iss,
            State::Closed | State::TimeWait => false,
            _ => self.send.nxt.lt(self.send.end()),
        }
    }

    /// Sends what may be sent. False when the device had no room: to be called again then.
    pub fn output(&mut self, now_ns: u64, sink: &mut impl SegmentSink) -> bool {
        if !self.resolved {
            return true;
        }
        let done = match self.state {
            State::Closed => return true,
            State::SynSent | State::SynReceived => {
                self.send.nxt != self.send.iss || self.output_syn(now_ns, sink)
            }
            _ => self.output_data(now_ns, sink),
        };
        if done && self.receive.ack == Ack::Now && self.is_connected() {
            // The highest number, also when older ones are being sent again: a lower one the peer would drop.
            let header = self.header(self.send.max, flags::ACK);
            if !sink.send(&self.path, header, None, 0) {
                return false;
            }
            self.receive.acknowledged();
        }
        done
    }

    fn output_syn(&mut self, now_ns: u64, sink: &mut impl SegmentSink) -> bool {
        let simultaneous = self.state == State::SynReceived;
        let header = TcpOut {
            source: self.local_port,
            target: self.remote_port,
            seq: self.send.iss.0,
            ack: if simultaneous { self.receive.nxt.0 } else { 0 },
            flags: flags::SYN | if simultaneous { flags::ACK } else { 0 },
            window: syn_window(self.receive.limit),
            mss: Some(self.congestion.mss as u16),
            window_scale: (!simultaneous || self.receive.scale > 0).then_some(WINDOW_SCALE),
            sack_permitted: !simultaneous || self.congestion.sack,
            ..TcpOut::default()
        };
        if !sink.send(&self.path, header, None, 0) {
            return false;
        }
        self.send.nxt = self.send.iss + 1;
        if self.send.max == self.send.iss {
            self.timers.round_trip.begin(self.send.nxt, now_ns);
        } else {
            self.send.resent.1 += 1;
        }
        self.send.max = self.send.max.max(self.send.nxt);
        self.timers.retransmit_at_ns = now_ns + self.timers.backed_off_ns(6);
        true
    }

    fn output_data(&mut self, now_ns: u64, sink: &mut impl SegmentSink) -> bool {
        if self.state == State::TimeWait {
            return true;
        }
        self.congestion.limited = false;
        // Lost segments first.
        while let Some((seq, len)) = self.congestion.hole(&self.send) {
            if !self.congestion.force
                && self.congestion.pipe(&self.send) + self.congestion.mss > self.congestion.cwnd
            {
                self.congestion.limited = true;
                break;
            }
            if !self.send_range(now_ns, seq, len, sink) {
                return false;
            }
            self.congestion.resent = seq + len;
            self.congestion.force = false;
        }
        self.congestion.force = false;
        let longest = sink.longest(&self.path, self.congestion.mss as usize) as u32;
        while let Some(len) = self.next_length(longest) {
            if !self.send_range(now_ns, self.send.nxt, len, sink) {
                return false;
            }
            self.send.nxt += len;
            self.send.max = self.send.max.max(self.send.nxt);
        }
        // Nothing in flight that would bring a window: ask for one.
        let waiting = self.send.nxt.lt(self.send.end());
        if waiting
            && self.timers.retransmit_at_ns == NEVER_NS
            && self.timers.persist_at_ns == NEVER_NS
        {
            self.timers.persist_at_ns = now_ns + self.timers.backed_off_ns(6);
        } else if !waiting {
            self.timers.persist_at_ns = NEVER_NS;
        }
        true
    }

    /// How many numbers the next new segment has, of which the last may be the FIN's. `None` when nothing may be sent.
    fn next_length(&mut self, longest: u32) -> Option<u32> {
        let send = &self.send;
        let mss = self.congestion.mss;
        let data_end = send.data_end();
        let fin_left = send.fin && !send.fin_acked && send.nxt.le(data_end);
        let left = if send.nxt.lt(data_end) {
            data_end - send.nxt
        } else {
            0
        };
        if left == 0 && !fin_left {
            return None;
        }
        let window = send.usable_window();
        let room = self
            .congestion
            .cwnd
            .saturating_sub(self.congestion.pipe(send));
        let mut len = left.min(window).min(room).min(longest);
        let idle = send.nxt == send.una;
        if len < left {
            if room < left && room < window {
                self.congestion.limited = true;
            }
            // Part of what there is: whole segments, or what is worth it.
            if len >= mss {
                len -= len % mss;
            } else if !(idle && len > 0) && (len == 0 || len < send.max_window / 2) {
                return None;
            }
        } else if left == 0 {
            // Only the FIN.
            if window == 0 && send.max == send.nxt {
                return None;
            }
        } else if left < mss && !send.nodelay && !idle && !send.fin {
            // Nagle.
            return None;
        }
        if left > 0 && len == 0 {
            return None;
        }
        let fin = fin_left && len == left && (window > len || send.max.gt(send.nxt));
        let total = len + u32::from(fin);
        (total > 0).then_some(total)
    }

    /// Sends numbers `seq..seq + len`, of which the last may be the FIN's.
    fn send_range(&mut self, now_ns: u64, seq: Seq, len: u32, sink: &mut impl SegmentSink) -> bool {
        let data_end = self.send.data_end();
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
        let offset = seq - self.send.data_start();
        let payload = (data > 0).then_some((&mut self.send.queue, offset as usize, data as usize));
        if !sink.send(&self.path, header, payload, self.congestion.mss as usize) {
            return false;
        }
        self.receive.acknowledged();
        if end.gt(self.send.max) {
            self.timers.round_trip.begin(end, now_ns);
        } else {
            self.timers.round_trip.sent_again(seq);
        }
        if seq.lt(self.send.max.min(end)) {
            self.sent_again(self.send.max.min(end) - seq, fin);
        }
        if self.send.una == self.send.max {
            self.timers.progress_ns = now_ns;
        }
        if self.timers.retransmit_at_ns == NEVER_NS {
            self.timers.retransmit_at_ns = now_ns + self.timers.backed_off_ns(8);
        }
        true
    }

    /// Counts numbers that were sent before, of which the last may be the FIN's.
    #[cold]
    fn sent_again(&mut self, numbers: u32, fin: bool) {
        let (bytes, segments) = &mut self.send.resent;
        *bytes += u64::from(numbers - u32::from(fin));
        *segments += numbers.div_ceil(self.congestion.mss.max(1));
    }

    pub(super) fn header(&mut self, seq: Seq, flags: u8) -> TcpOut {
        let window = self.receive.advertise(self.congestion.mss);
        let (sack, sack_count) = if self.congestion.sack && self.receive.queue.has_early() {
            self.receive.queue.islands()
        } else {
            ([(0, 0); 3], 0)
        };
        TcpOut {
            source: self.local_port,
            target: self.remote_port,
            seq: seq.0,
            ack: self.receive.nxt.0,
            flags,
            window,
            sack,
            sack_count,
            ..TcpOut::default()
        }
    }
}
