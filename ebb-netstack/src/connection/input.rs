//! Segments in: acknowledgements, congestion, data, the end (RFC 9293, 3.10.7).

use super::{
    ACK_DELAY, Ack, Agreed, CHALLENGE_INTERVAL, Connection, DEFAULT_MSS, LINGER, MAX_SACKED,
    MILLISECOND, MIN_MSS, NEVER, RTO_MAX, RTO_MIN, State,
};
use crate::{
    queues::{Chunk, Pool},
    seq::Seq,
    wire::{Tcp, flags},
};
use alloc::vec::Vec;
use ebb_net::{Direction, Error};

impl Connection {
    /// Takes a segment. `payload` is the segment's data in order; what is used of it is taken out. Returns whether the segment
    /// is to be answered with a reset.
    pub fn input(
        &mut self,
        now: u64,
        tcp: &Tcp,
        payload: &mut Vec<Chunk>,
        pool: &mut Pool,
    ) -> bool {
        let seq = Seq(tcp.seq);
        let ack = Seq(tcp.ack);
        let has = |flag: u8| tcp.flags & flag != 0;
        let len: usize = payload.iter().map(Chunk::len).sum();
        let len = len as u32;
        self.heard = now;
        self.probes = 0;

        if self.state == State::SynSent {
            return self.input_syn_sent(now, tcp);
        }

        // Does it lie in the window?
        let end = seq + len + u32::from(has(flags::FIN)) + u32::from(has(flags::SYN));
        if seq.gt(self.rcv_edge) || end.lt(self.rcv_nxt) || end != seq && end.le(self.rcv_nxt) {
            if !has(flags::RST) {
                if len > 0 || has(flags::FIN) {
                    self.ack = Ack::Now;
                } else {
                    self.challenge(now);
                }
            }
            return false;
        }
        if has(flags::RST) {
            if seq == self.rcv_nxt {
                let error = match self.state {
                    State::SynReceived => Some(Error::ConnectionRefused),
                    // The peer had taken everything and has forgotten.
                    State::Closing | State::LastAck | State::TimeWait => None,
                    _ => Some(Error::ConnectionReset),
                };
                self.fail(error);
            } else {
                self.challenge(now);
            }
            return false;
        }
        if has(flags::SYN) {
            self.challenge(now);
            return false;
        }
        if !has(flags::ACK) {
            return false;
        }
        if self.state == State::SynReceived {
            if ack != self.iss + 1 {
                return true;
            }
            self.state = if self.fin {
                State::FinWait1
            } else {
                State::Established
            };
            self.wl1 = seq;
            self.wl2 = ack;
            self.window = u32::from(tcp.window) << self.peer_scale;
            self.max_window = self.window;
            self.wakers.wake(Direction::Write);
        }
        if ack.gt(self.max) || (ack + self.max_window.max(65_535)).lt(self.una) {
            self.challenge(now);
            return false;
        }
        self.input_ack(now, tcp, seq, ack, len);
        if self.state == State::Closed {
            return false;
        }

        if len > 0 {
            if !matches!(
                self.state,
                State::Established | State::FinWait1 | State::FinWait2
            ) {
                // After the peer's FIN there is nothing more.
                return false;
            }
            if !self.owned && end.gt(self.rcv_nxt) {
                // Nobody will ever take it.
                return true;
            }
            self.input_data(now, seq, len, payload, pool);
        }
        if has(flags::FIN) {
            self.peer_fin = Some(seq + len);
            self.ack = Ack::Now;
        }
        if self.peer_fin == Some(self.rcv_nxt) && !self.peer_closed {
            self.input_fin(now);
        }
        false
    }

    pub(super) fn input_syn_sent(&mut self, now: u64, tcp: &Tcp) -> bool {
        let ack = Seq(tcp.ack);
        let has = |flag: u8| tcp.flags & flag != 0;
        if has(flags::ACK) && (ack.le(self.iss) || ack.gt(self.max)) {
            return !has(flags::RST);
        }
        if has(flags::RST) {
            if has(flags::ACK) {
                self.fail(Some(Error::ConnectionRefused));
            }
            return false;
        }
        if !has(flags::SYN) {
            return false;
        }
        let agreed = Agreed {
            iss: self.iss,
            irs: Seq(tcp.seq),
            mss: tcp.options.mss.unwrap_or(DEFAULT_MSS).max(MIN_MSS),
            peer_scale: tcp.options.window_scale,
            sack: tcp.options.sack_permitted,
        };
        self.agree(&agreed);
        self.wl1 = Seq(tcp.seq);
        self.wl2 = ack;
        self.window = tcp.window.into();
        self.max_window = self.window;
        self.retries = 0;
        self.backoff = 0;
        if has(flags::ACK) {
            self.una = ack;
            if let Some((_, sent)) = self.timed.take() {
                self.sample(now.saturating_sub(sent));
            }
            self.retransmit_at = NEVER;
            self.state = State::Established;
            self.ack = Ack::Now;
            self.wakers.wake(Direction::Write);
        } else {
            // Both sides open at once.
            self.state = State::SynReceived;
            self.nxt = self.iss;
            self.timed = None;
        }
        false
    }

    pub(super) fn challenge(&mut self, now: u64) {
        if now.saturating_sub(self.last_challenge) >= CHALLENGE_INTERVAL || self.last_challenge == 0
        {
            self.last_challenge = now.max(1);
            self.ack = Ack::Now;
        }
    }

    pub(super) fn input_ack(&mut self, now: u64, tcp: &Tcp, seq: Seq, ack: Seq, len: u32) {
        let new_sack = self.sack && tcp.options.sack_count > 0 && self.note_sack(tcp, ack);
        let window = u32::from(tcp.window) << self.peer_scale;
        let same_window = window == self.window;
        if self.wl1.lt(seq) || self.wl1 == seq && self.wl2.le(ack) {
            self.window = window;
            self.max_window = self.max_window.max(window);
            self.wl1 = seq;
            self.wl2 = ack;
        }
        if window > 0 {
            self.persist_at = NEVER;
        }
        if ack.gt(self.una) {
            self.acknowledged(now, ack);
        } else if ack == self.una && self.max != self.una {
            let duplicate = len == 0 && same_window && tcp.flags & flags::FIN == 0;
            if if self.sack { new_sack } else { duplicate } {
                self.duplicate();
            }
        }
    }

    /// The peer has everything below `ack`.
    pub(super) fn acknowledged(&mut self, now: u64, ack: Seq) {
        let mut count = ack - self.una;
        if self.una == self.iss {
            count -= 1;
        }
        let in_queue = (count as usize).min(self.send.len());
        self.send.advance(in_queue);
        if count as usize > in_queue {
            self.fin_acked = true;
        }
        self.una = ack;
        self.nxt = self.nxt.max(ack);
        self.resent = self.resent.max(ack);
        self.retries = 0;
        self.backoff = 0;
        self.progress = now;
        if let Some((until, sent)) = self.timed
            && ack.ge(until)
        {
            self.timed = None;
            self.sample(now.saturating_sub(sent));
        }
        if !self.sacked.is_empty() {
            self.sacked.retain_mut(|(from, to)| {
                *from = from.max(ack);
                from.lt(*to)
            });
        }
        if self.recovering {
            if ack.ge(self.recover) {
                self.recovering = false;
                self.dupacks = 0;
                self.cwnd = self.ssthresh.max(self.mss);
            } else if !self.sack {
                // A partial acknowledgement: the next segment is missing, too (RFC 6582).
                self.cwnd = self.cwnd.saturating_sub(count).max(self.mss) + self.mss;
                self.resent = ack;
                self.force = true;
            }
        } else {
            self.dupacks = 0;
            if self.limited {
                if self.cwnd < self.ssthresh {
                    self.cwnd += count.min(self.cwnd);
                } else {
                    let step = u64::from(self.mss) * u64::from(count.min(self.cwnd));
                    self.cwnd += (step / u64::from(self.cwnd)).max(1) as u32;
                }
                self.cwnd = self.cwnd.min(16 << 20);
            }
        }
        self.retransmit_at = if self.una == self.max {
            NEVER
        } else {
            now + self.rto
        };
        if !self.owned {
            self.linger_at = now + LINGER;
        }
        if self.send.len() <= self.send_limit / 4 * 3 {
            self.wakers.wake(Direction::Write);
        }
        if self.fin_acked {
            match self.state {
                State::FinWait1 => self.state = State::FinWait2,
                State::Closing => self.state = State::TimeWait,
                State::LastAck => {
                    self.fail(None);
                }
                _ => {}
            }
        }
    }

    /// Remembers what the peer has beyond `una`. True when some of it is new.
    pub(super) fn note_sack(&mut self, tcp: &Tcp, ack: Seq) -> bool {
        let floor = self.una.max(ack);
        let mut new = false;
        for &(from, to) in &tcp.options.sack[..usize::from(tcp.options.sack_count)] {
            let (mut from, mut to) = (Seq(from).max(floor), Seq(to));
            if !from.lt(to) || to.gt(self.max) {
                continue;
            }
            // Merge with what overlaps or touches.
            let known = self.sacked.iter().any(|(f, t)| f.le(from) && to.le(*t));
            if known {
                continue;
            }
            new = true;
            self.sacked.retain(|(f, t)| {
                let apart = t.lt(from) || to.lt(*f);
                if !apart {
                    from = from.min(*f);
                    to = to.max(*t);
                }
                apart
            });
            if self.sacked.len() < MAX_SACKED {
                let at = self.sacked.partition_point(|(f, _)| f.lt(from));
                self.sacked.insert(at, (from, to));
            }
        }
        new
    }

    pub(super) fn duplicate(&mut self) {
        self.dupacks = self.dupacks.saturating_add(1);
        if self.recovering {
            if !self.sack {
                self.cwnd += self.mss;
            }
            return;
        }
        let sacked: u32 = self.sacked.iter().map(|(f, t)| *t - *f).sum();
        if (self.dupacks >= 3 || sacked > 2 * self.mss) && self.una.ge(self.recover) {
            let flight = self.max - self.una;
            self.ssthresh = (flight / 2).max(2 * self.mss);
            self.cwnd = self.ssthresh + if self.sack { 0 } else { 3 * self.mss };
            self.recovering = true;
            self.recover = self.max;
            self.resent = self.una;
            self.force = true;
            self.timed = None;
        }
    }

    pub(super) fn sample(&mut self, rtt: u64) {
        if self.srtt == 0 {
            self.srtt = rtt.max(1);
            self.rttvar = rtt / 2;
        } else {
            self.rttvar = (3 * self.rttvar + self.srtt.abs_diff(rtt)) / 4;
            self.srtt = (7 * self.srtt + rtt) / 8;
        }
        self.rto = (self.srtt + (4 * self.rttvar).max(MILLISECOND)).clamp(RTO_MIN, RTO_MAX);
    }

    pub(super) fn input_data(
        &mut self,
        now: u64,
        seq: Seq,
        len: u32,
        payload: &mut Vec<Chunk>,
        pool: &mut Pool,
    ) {
        let before = self.rcv_nxt;
        let had_early = self.receive.has_early();
        // What lies beyond the window is cut off.
        let beyond = if (seq + len).gt(self.rcv_edge) {
            seq + len - self.rcv_edge
        } else {
            0
        };
        let mut left = len - beyond;
        let mut at = seq;
        for mut chunk in payload.drain(..) {
            let part = (chunk.len() as u32).min(left);
            chunk.end = chunk.start + part;
            left -= part;
            self.rcv_nxt = self.receive.insert(at, chunk, self.rcv_nxt, pool);
            at += part;
        }
        if self.rcv_nxt == before {
            // Early, or nothing fitted: tell the peer at once where we are.
            self.ack = Ack::Now;
            return;
        }
        self.wakers.wake(Direction::Read);
        if had_early || beyond > 0 || self.rcv_nxt - self.acked >= 2 * self.mss {
            self.ack = Ack::Now;
        } else if self.ack == Ack::None {
            self.ack = Ack::Delayed;
            self.ack_at = now + ACK_DELAY;
        }
    }

    pub(super) fn input_fin(&mut self, now: u64) {
        self.rcv_nxt += 1;
        self.peer_closed = true;
        self.ack = Ack::Now;
        self.wakers.wake(Direction::Read);
        match self.state {
            State::Established => self.state = State::CloseWait,
            State::FinWait1 => self.state = State::Closing,
            State::FinWait2 => self.state = State::TimeWait,
            _ => {}
        }
        if !self.owned {
            self.linger_at = now + LINGER;
        }
    }
}
