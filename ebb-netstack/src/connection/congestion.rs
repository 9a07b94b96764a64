//! How much may be in the network: slow start, congestion avoidance, fast retransmit and recovery (RFC 5681, NewReno of RFC
//! 6582), with the peer's selective acknowledgements where it sends them (RFC 2018, 6675).

use alloc::vec::Vec;

use super::send::SendSide;
use crate::seq::Seq;

/// Ranges of the peer's SACK that are remembered.
const MAX_SACKED: usize = 64;
/// The congestion window never grows beyond this many bytes.
const MAX_CWND: u32 = 16 << 20;
/// The slow start threshold before the first loss.
pub(super) const NO_THRESHOLD: u32 = u32::MAX / 2;

pub struct Congestion {
    /// Bytes of a full segment.
    pub mss: u32,
    pub(super) cwnd: u32,
    pub(super) ssthresh: u32,
    /// The congestion window kept data back when something was last sent: only then it may grow.
    pub(super) limited: bool,
    dupacks: u8,
    pub(super) recovering: bool,
    /// The highest number sent when the recovery began.
    recover: Seq,
    /// Both sides know selective acknowledgements.
    pub(super) sack: bool,
    sacked: Vec<(Seq, Seq)>,
    /// Everything below has been sent again in this recovery.
    pub(super) resent: Seq,
    /// The first segment of a recovery leaves whatever the window says.
    pub(super) force: bool,
}

impl Congestion {
    pub(super) fn new(mss: u16, iss: Seq) -> Self {
        Self {
            mss: mss.into(),
            cwnd: 0,
            ssthresh: NO_THRESHOLD,
            limited: false,
            dupacks: 0,
            recovering: false,
            recover: iss,
            sack: false,
            sacked: Vec::new(),
            resent: iss,
            force: false,
        }
    }

    /// The peer takes segments of `mss` bytes. The initial window is RFC 6928's.
    pub(super) fn begin(&mut self, mss: u16, sack: bool, una: Seq) {
        self.mss = self.mss.min(mss.into());
        self.sack = sack;
        self.recover = una;
        self.cwnd = (10 * self.mss).min(14_600.max(2 * self.mss));
    }

    /// `count` more bytes are acknowledged, up to `ack`.
    #[inline]
    pub(super) fn acknowledged(&mut self, count: u32, ack: Seq) {
        self.resent = self.resent.max(ack);
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
            return;
        }
        self.dupacks = 0;
        if self.limited {
            if self.cwnd < self.ssthresh {
                self.cwnd += count.min(self.cwnd);
            } else {
                let step = u64::from(self.mss) * u64::from(count.min(self.cwnd));
                self.cwnd += (step / u64::from(self.cwnd)).max(1) as u32;
            }
            self.cwnd = self.cwnd.min(MAX_CWND);
        }
    }

    /// Remembers what the peer has beyond `floor`. True when some of it is new.
    pub(super) fn note_sack(&mut self, blocks: &[(u32, u32)], floor: Seq, max: Seq) -> bool {
        let mut new = false;
        for &(from, to) in blocks {
            let (mut from, mut to) = (Seq(from).max(floor), Seq(to));
            if !from.lt(to) || to.gt(max) {
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

    /// The peer has said again what it misses. True when that begins a recovery.
    pub(super) fn duplicate(&mut self, send: &SendSide) -> bool {
        self.dupacks = self.dupacks.saturating_add(1);
        if self.recovering {
            if !self.sack {
                self.cwnd += self.mss;
            }
            return false;
        }
        let sacked: u32 = self.sacked.iter().map(|(f, t)| *t - *f).sum();
        let lost = self.dupacks >= 3 || sacked > 2 * self.mss;
        if !lost || !send.una.ge(self.recover) {
            return false;
        }
        self.ssthresh = (send.flight() / 2).max(2 * self.mss);
        self.cwnd = self.ssthresh + if self.sack { 0 } else { 3 * self.mss };
        self.recovering = true;
        self.recover = send.max;
        self.resent = send.una;
        self.force = true;
        true
    }

    /// The retransmission timer has gone off; `first`: not for something that it had gone off for already.
    pub(super) fn timed_out(&mut self, send: &SendSide, first: bool) {
        if first {
            self.ssthresh = (send.flight() / 2).max(2 * self.mss);
        }
        self.cwnd = self.mss;
    }

    /// Forgets the recovery and what the peer has said it has: everything is sent again.
    pub(super) fn restart(&mut self, send: &SendSide) {
        self.recovering = false;
        self.recover = send.max;
        self.dupacks = 0;
        self.sacked.clear();
        self.resent = send.una;
    }

    /// Bytes that are thought to be in the network.
    #[inline]
    pub(super) fn pipe(&self, send: &SendSide) -> u32 {
        let flight = send.nxt - send.una;
        if !self.recovering || self.sacked.is_empty() {
            return flight;
        }
        let mut away = 0;
        let mut from = send.una.max(self.resent);
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

    /// The next hole to be sent again in a recovery: its first number and its length.
    #[inline]
    pub(super) fn hole(&self, send: &SendSide) -> Option<(Seq, u32)> {
        if !self.recovering {
            return None;
        }
        if self.sacked.is_empty() {
            return self.force.then(|| {
                (
                    send.una,
                    (send.end().min(send.max) - send.una).min(self.mss),
                )
            });
        }
        let mut from = send.una.max(self.resent);
        for &(start, end) in &self.sacked {
            if from.lt(start) {
                return Some((from, (start - from).min(self.mss)));
            }
            from = from.max(end);
        }
        None
    }
}
