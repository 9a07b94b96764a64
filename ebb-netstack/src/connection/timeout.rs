//! What time brings: retransmission, probes, keep-alive.

use super::{Ack, Connection};
use crate::{
    seq::Seq,
    time::NEVER_NS,
    wire::{TcpOut, flags},
};
use ebb_net::Error;

const SYN_RETRIES: u8 = 6;
const RETRIES: u8 = 12;

impl Connection {
    /// When [`timer`](Self::timer) is to be called.
    #[inline]
    pub fn deadline_ns(&self) -> u64 {
        self.timers.next_ns().min(self.receive.ack_at_ns)
    }

    /// Something may be due. Returns a segment without data that is to be sent now, besides what
    /// [`output`](Self::output) sends.
    pub fn timer(&mut self, now_ns: u64) -> Option<TcpOut> {
        let mut probe = None;
        if self.timers.linger_at_ns <= now_ns {
            self.fail(Some(Error::TimedOut));
            return None;
        }
        if self.receive.ack_at_ns <= now_ns {
            self.receive.ack_at_ns = NEVER_NS;
            self.receive.ack = Ack::Now;
        }
        if self.timers.retransmit_at_ns <= now_ns {
            self.retransmit(now_ns);
        }
        if self.timers.persist_at_ns <= now_ns {
            self.timers.backoff = self.timers.backoff.saturating_add(1);
            self.timers.persist_at_ns = now_ns + self.timers.backed_off_ns(8);
            if self.timers.is_overdue(now_ns) {
                self.fail(Some(Error::TimedOut));
                return None;
            }
            probe = Some(self.probe());
        }
        if self.timers.keepalive_at_ns <= now_ns {
            let due_ns = self
                .timers
                .heard_ns
                .saturating_add(self.timers.keepalive_ns);
            if due_ns > now_ns && self.timers.probes == 0 {
                self.timers.keepalive_at_ns = due_ns;
            } else if self.timers.probes >= self.timers.keepalive_probes {
                self.fail(Some(Error::TimedOut));
                return None;
            } else if self.is_connected() {
                self.timers.probes += 1;
                self.timers.keepalive_at_ns =
                    now_ns.saturating_add(self.timers.keepalive_interval_ns);
                probe = Some(self.probe());
            } else {
                self.timers.keepalive_at_ns = now_ns.saturating_add(self.timers.keepalive_ns);
            }
        }
        probe
    }

    /// A segment just before the window, which the peer answers with its state.
    fn probe(&mut self) -> TcpOut {
        let before = Seq(self.send.una.0.wrapping_sub(1));
        self.header(before, flags::ACK)
    }

    /// RFC 6298, 5.4 to 5.7.
    fn retransmit(&mut self, now_ns: u64) {
        self.timers.retransmit_at_ns = NEVER_NS;
        if self.send.una == self.send.max {
            return;
        }
        self.timers.retries += 1;
        let most = if self.is_connected() {
            RETRIES
        } else {
            SYN_RETRIES
        };
        if self.timers.retries > most || self.timers.is_overdue(now_ns) {
            self.fail(Some(Error::TimedOut));
            return;
        }
        self.timers.backoff = self.timers.backoff.saturating_add(1);
        if self.is_connected() {
            let first = self.timers.retries == 1;
            self.congestion.timed_out(&self.send, first);
        }
        self.send.nxt = self.send.una;
        self.congestion.restart(&self.send);
        self.timers.round_trip.abandon();
    }
}
