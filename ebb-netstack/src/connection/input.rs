//! Segments in: acknowledgements, data, the end (RFC 9293, 3.10.7).

use super::{Ack, Agreed, Connection, DEFAULT_MSS, LINGER_NS, MIN_MSS, State};
use crate::{
    queues::{Chunk, Pool},
    seq::Seq,
    time::NEVER_NS,
    wire::{Tcp, flags},
};
use alloc::vec::Vec;
use ebb_net::{Direction, Error};

impl Connection {
    /// Takes a segment. `payload` is the segment's data in order; what is used of it is taken out. Returns whether the segment
    /// is to be answered with a reset.
    pub fn input(
        &mut self,
        now_ns: u64,
        tcp: &Tcp,
        payload: &mut Vec<Chunk>,
        pool: &mut Pool,
    ) -> bool {
        let seq = Seq(tcp.seq);
        let ack = Seq(tcp.ack);
        let len = payload.iter().map(Chunk::len).sum::<usize>() as u32;
        self.timers.heard_ns = now_ns;
        self.timers.probes = 0;

        if self.state == State::SynSent {
            return self.input_syn_sent(now_ns, tcp);
        }

        let end = seq + len + u32::from(tcp.has(flags::FIN)) + u32::from(tcp.has(flags::SYN));
        if !self.receive.is_acceptable(seq, end) {
            if !tcp.has(flags::RST) {
                if len > 0 || tcp.has(flags::FIN) {
                    self.receive.ack = Ack::Now;
                } else {
                    self.receive.challenge(now_ns);
                }
            }
            return false;
        }
        if tcp.has(flags::RST) {
            self.input_reset(now_ns, seq);
            return false;
        }
        if tcp.has(flags::SYN) {
            self.receive.challenge(now_ns);
            return false;
        }
        if !tcp.has(flags::ACK) {
            return false;
        }
        if self.state == State::SynReceived {
            if ack != self.send.iss + 1 {
                return true;
            }
            self.state = if self.send.fin {
                State::FinWait1
            } else {
                State::Established
            };
            let window = u32::from(tcp.window) << self.send.peer_scale;
            self.send.max_window = 0;
            self.send.set_window(seq, ack, window);
            self.wakers.wake(Direction::Write);
        }
        if ack.gt(self.send.max) || (ack + self.send.max_window.max(65_535)).lt(self.send.una) {
            self.receive.challenge(now_ns);
            return false;
        }
        self.input_ack(now_ns, tcp, (seq, ack, len), pool);
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
            if !self.owned && end.gt(self.receive.nxt) {
                // Nobody will ever take it.
                return true;
            }
            let mss = self.congestion.mss;
            if self.receive.take(now_ns, (seq, len), mss, payload, pool) {
                self.wakers.wake(Direction::Read);
            }
        }
        if tcp.has(flags::FIN) {
            self.receive.peer_fin = Some(seq + len);
            self.receive.ack = Ack::Now;
        }
        if self.receive.peer_fin == Some(self.receive.nxt) && !self.receive.peer_closed {
            self.input_fin(now_ns);
        }
        false
    }

    /// The answer to this side's SYN (RFC 9293, 3.10.7.3).
    fn input_syn_sent(&mut self, now_ns: u64, tcp: &Tcp) -> bool {
        let ack = Seq(tcp.ack);
        let has_ack = tcp.has(flags::ACK);
        if has_ack && (ack.le(self.send.iss) || ack.gt(self.send.max)) {
            return !tcp.has(flags::RST);
        }
        if tcp.has(flags::RST) {
            if has_ack {
                self.fail(Some(Error::ConnectionRefused));
            }
            return false;
        }
        if !tcp.has(flags::SYN) {
            return false;
        }
        self.agree(&Agreed {
            iss: self.send.iss,
            irs: Seq(tcp.seq),
            mss: tcp.options.mss.unwrap_or(DEFAULT_MSS).max(MIN_MSS),
            peer_scale: tcp.options.window_scale,
            sack: tcp.options.sack_permitted,
        });
        self.send.set_window(Seq(tcp.seq), ack, tcp.window.into());
        self.timers.retries = 0;
        self.timers.backoff = 0;
        if has_ack {
            self.send.una = ack;
            self.timers.round_trip.acknowledged(ack, now_ns);
            self.timers.retransmit_at_ns = NEVER_NS;
            self.state = State::Established;
            self.receive.ack = Ack::Now;
            self.wakers.wake(Direction::Write);
        } else {
            // Both sides open at once.
            self.state = State::SynReceived;
            self.send.nxt = self.send.iss;
            self.timers.round_trip.abandon();
        }
        false
    }

    /// A RST in the window: only one with exactly the next number counts (RFC 5961, 3.2).
    fn input_reset(&mut self, now_ns: u64, seq: Seq) {
        if seq != self.receive.nxt {
            return self.receive.challenge(now_ns);
        }
        let error = match self.state {
            State::SynReceived => Some(Error::ConnectionRefused),
            // The peer had taken everything and has forgotten.
            State::Closing | State::LastAck | State::TimeWait => None,
            _ => Some(Error::ConnectionReset),
        };
        self.fail(error);
    }

    #[inline]
    fn input_ack(
        &mut self,
        now_ns: u64,
        tcp: &Tcp,
        (seq, ack, len): (Seq, Seq, u32),
        pool: &mut Pool,
    ) {
        let blocks = &tcp.options.sack[..usize::from(tcp.options.sack_count)];
        let floor = self.send.una.max(ack);
        let new_sack = self.congestion.sack
            && !blocks.is_empty()
            && self.congestion.note_sack(blocks, floor, self.send.max);
        let window = u32::from(tcp.window) << self.send.peer_scale;
        let same_window = window == self.send.window;
        self.send.update_window(seq, ack, window);
        if window > 0 {
            self.timers.persist_at_ns = NEVER_NS;
        }
        if ack.gt(self.send.una) {
            self.acknowledged(now_ns, ack, pool);
        } else if ack == self.send.una && self.send.max != self.send.una {
            let duplicate = len == 0 && same_window && !tcp.has(flags::FIN);
            let counts = if self.congestion.sack {
                new_sack
            } else {
                duplicate
            };
            if counts && self.congestion.duplicate(&self.send) {
                self.timers.round_trip.abandon();
            }
        }
    }

    /// The peer has everything below `ack`.
    #[inline]
    fn acknowledged(&mut self, now_ns: u64, ack: Seq, pool: &mut Pool) {
        let count = self.send.acknowledge(ack, pool);
        self.timers.progressed(ack, now_ns);
        self.congestion.acknowledged(count, ack);
        self.timers.retransmit_at_ns = if self.send.una == self.send.max {
            NEVER_NS
        } else {
            now_ns + self.timers.round_trip.rto_ns()
        };
        if !self.owned {
            self.timers.linger_at_ns = now_ns + LINGER_NS;
        }
        if self.send.has_room_again() {
            self.wakers.wake(Direction::Write);
        }
        if self.send.fin_acked {
            match self.state {
                State::FinWait1 => self.state = State::FinWait2,
                State::Closing => self.state = State::TimeWait,
                State::LastAck => self.fail(None),
                _ => {}
            }
            // Whoever waits for the end to arrive (`SO_LINGER`).
            self.wakers.wake(Direction::Write);
        }
    }

    fn input_fin(&mut self, now_ns: u64) {
        self.receive.nxt += 1;
        self.receive.peer_closed = true;
        self.receive.ack = Ack::Now;
        self.wakers.wake(Direction::Read);
        match self.state {
            State::Established => self.state = State::CloseWait,
            State::FinWait1 => self.state = State::Closing,
            State::FinWait2 => self.state = State::TimeWait,
            _ => {}
        }
        if !self.owned {
            self.timers.linger_at_ns = now_ns + LINGER_NS;
        }
    }
}
