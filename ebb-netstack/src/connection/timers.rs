//! What time brings: retransmission, probes, keep-alive.

use super::{Ack, Connection, KEEPALIVE_PROBES, NEVER, RETRIES, RTO_MAX, SECOND, SYN_RETRIES};
use crate::{
    seq::Seq,
    wire::{TcpOut, flags},
};
use ebb_net::Error;

impl Connection {
    /// When [`timer`](Self::timer) is to be called.
    #[inline]
    pub fn deadline(&self) -> u64 {
        self.retransmit_at
            .min(self.persist_at)
            .min(self.ack_at)
            .min(self.keepalive_at)
            .min(self.linger_at)
    }

    /// Something may be due. Returns a segment without data that is to be sent now, besides what
    /// [`output`](Self::output) sends.
    pub fn timer(&mut self, now: u64) -> Option<TcpOut> {
        let mut probe = None;
        if self.linger_at <= now {
            self.fail(Some(Error::TimedOut));
            return None;
        }
        if self.ack_at <= now {
            self.ack_at = NEVER;
            self.ack = Ack::Now;
        }
        if self.retransmit_at <= now {
            self.retransmit(now);
        }
        if self.persist_at <= now {
            self.backoff = self.backoff.saturating_add(1);
            self.persist_at = now + (self.rto << self.backoff.min(8)).min(RTO_MAX);
            if now.saturating_sub(self.progress) >= self.user_timeout {
                self.fail(Some(Error::TimedOut));
                return None;
            }
            probe = Some(self.probe());
        }
        if self.keepalive_at <= now {
            let due = self.heard.saturating_add(self.keepalive);
            let interval = (self.keepalive / 4).max(SECOND);
            if due > now && self.probes == 0 {
                self.keepalive_at = due;
            } else if self.probes >= KEEPALIVE_PROBES {
                self.fail(Some(Error::TimedOut));
                return None;
            } else if self.is_connected() {
                self.probes += 1;
                self.keepalive_at = now + interval;
                probe = Some(self.probe());
            } else {
                self.keepalive_at = now + self.keepalive;
            }
        }
        probe
    }

    /// A segment just before the window, which the peer answers with its state.
    pub(super) fn probe(&mut self) -> TcpOut {
        let before = Seq(self.una.0.wrapping_sub(1));
        self.header(before, flags::ACK)
    }

    pub(super) fn retransmit(&mut self, now: u64) {
        self.retransmit_at = NEVER;
        if self.una == self.max {
            return;
        }
        self.retries += 1;
        let most = if self.is_connected() {
            RETRIES
        } else {
            SYN_RETRIES
        };
        if self.retries > most || now.saturating_sub(self.progress) >= self.user_timeout {
            self.fail(Some(Error::TimedOut));
            return;
        }
        self.backoff = self.backoff.saturating_add(1);
        if self.is_connected() {
            if self.retries == 1 {
                let flight = self.max - self.una;
                self.ssthresh = (flight / 2).max(2 * self.mss);
            }
            self.cwnd = self.mss;
        }
        self.nxt = self.una;
        self.recovering = false;
        self.recover = self.max;
        self.dupacks = 0;
        self.sacked.clear();
        self.resent = self.una;
        self.timed = None;
    }

    /// Retransmission timeouts since the peer last acknowledged something new.
    pub fn timeouts(&self) -> u8 {
        self.retries
    }

    /// When it was begun, of one that is being opened.
    pub fn started(&self) -> u64 {
        self.progress
    }
}
