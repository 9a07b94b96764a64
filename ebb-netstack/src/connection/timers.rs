//! When something is due, and how long the peer may take: RFC 6298's round-trip time and retransmission timeout, and
//! the other deadlines of a connection.

use crate::{
    seq::Seq,
    time::{MILLISECOND_NS, NEVER_NS, SECOND_NS},
};

const RTO_INITIAL_NS: u64 = SECOND_NS;
const RTO_MIN_NS: u64 = 200 * MILLISECOND_NS;
const RTO_MAX_NS: u64 = 60 * SECOND_NS;

/// The round-trip time, smoothed.
pub struct RoundTrip {
    srtt_ns: u64,
    rttvar_ns: u64,
    rto_ns: u64,
    /// The number whose acknowledgement ends the measurement, and when it began.
    timed: Option<(Seq, u64)>,
}

impl RoundTrip {
    const fn new() -> Self {
        Self {
            srtt_ns: 0,
            rttvar_ns: 0,
            rto_ns: RTO_INITIAL_NS,
            timed: None,
        }
    }

    /// The round-trip time, smoothed, and how much it varies; 0 before the first measurement.
    pub(super) fn smoothed_ns(&self) -> (u64, u64) {
        (self.srtt_ns, self.rttvar_ns)
    }

    /// The retransmission timeout, not backed off.
    pub(super) fn rto_ns(&self) -> u64 {
        self.rto_ns
    }

    /// Something new that ends at `end` is sent; a measurement that goes on is not begun anew.
    pub(super) fn begin(&mut self, end: Seq, now_ns: u64) {
        if self.timed.is_none() {
            self.timed = Some((end, now_ns));
        }
    }

    /// Something that starts at `seq` is sent again: what was sent twice measures nothing (Karn).
    pub(super) fn sent_again(&mut self, seq: Seq) {
        if self.timed.is_some_and(|(until, _)| seq.lt(until)) {
            self.timed = None;
        }
    }

    pub(super) fn abandon(&mut self) {
        self.timed = None;
    }

    /// Everything below `ack` is acknowledged.
    #[inline]
    pub(super) fn acknowledged(&mut self, ack: Seq, now_ns: u64) {
        if let Some((until, sent_ns)) = self.timed
            && ack.ge(until)
        {
            self.timed = None;
            self.sample(now_ns.saturating_sub(sent_ns));
        }
    }

    fn sample(&mut self, rtt_ns: u64) {
        if self.srtt_ns == 0 {
            self.srtt_ns = rtt_ns.max(1);
            self.rttvar_ns = rtt_ns / 2;
        } else {
            self.rttvar_ns = (3 * self.rttvar_ns + self.srtt_ns.abs_diff(rtt_ns)) / 4;
            self.srtt_ns = (7 * self.srtt_ns + rtt_ns) / 8;
        }
        self.rto_ns =
            (self.srtt_ns + (4 * self.rttvar_ns).max(MILLISECOND_NS)).clamp(RTO_MIN_NS, RTO_MAX_NS);
    }
}

/// The deadlines of a connection, but for that of a delayed acknowledgement.
pub struct Timers {
    pub(super) round_trip: RoundTrip,
    /// Doublings of the timeout.
    pub(super) backoff: u8,
    /// Timeouts since the peer last acknowledged something new.
    pub(super) retries: u8,
    pub(super) retransmit_at_ns: u64,
    pub(super) persist_at_ns: u64,
    /// How long the connection may be silent before it is probed.
    pub(super) keepalive_ns: u64,
    pub(super) keepalive_at_ns: u64,
    /// How long after a probe the next follows.
    pub(super) keepalive_interval_ns: u64,
    /// Probes without an answer that fail the connection.
    pub(super) keepalive_probes: u8,
    /// Probes that were not answered.
    pub(super) probes: u8,
    /// When a segment last came.
    pub(super) heard_ns: u64,
    /// How long sent data may stay unacknowledged.
    pub user_timeout_ns: u64,
    /// When the peer last acknowledged something new, or there was nothing to acknowledge.
    pub(super) progress_ns: u64,
    /// When a connection without an owner is given up.
    pub(super) linger_at_ns: u64,
    /// The earliest entry of the core's timer heap for this connection.
    pub armed_ns: u64,
}

impl Timers {
    pub(super) const fn new(now_ns: u64) -> Self {
        Self {
            round_trip: RoundTrip::new(),
            backoff: 0,
            retries: 0,
            retransmit_at_ns: NEVER_NS,
            persist_at_ns: NEVER_NS,
            keepalive_ns: NEVER_NS,
            keepalive_at_ns: NEVER_NS,
            keepalive_interval_ns: NEVER_NS,
            keepalive_probes: 0,
            probes: 0,
            heard_ns: now_ns,
            user_timeout_ns: NEVER_NS,
            progress_ns: now_ns,
            linger_at_ns: NEVER_NS,
            armed_ns: NEVER_NS,
        }
    }

    /// The earliest of them.
    #[inline]
    pub(super) fn next_ns(&self) -> u64 {
        self.retransmit_at_ns
            .min(self.persist_at_ns)
            .min(self.keepalive_at_ns)
            .min(self.linger_at_ns)
    }

    /// The timeout after the doublings so far, at most `most` of them.
    pub(super) fn backed_off_ns(&self, most: u8) -> u64 {
        (self.round_trip.rto_ns << self.backoff.min(most)).min(RTO_MAX_NS)
    }

    /// All off.
    pub(super) fn stop(&mut self) {
        self.retransmit_at_ns = NEVER_NS;
        self.persist_at_ns = NEVER_NS;
        self.keepalive_at_ns = NEVER_NS;
        self.linger_at_ns = NEVER_NS;
    }

    /// Something new was acknowledged.
    #[inline]
    pub(super) fn progressed(&mut self, ack: Seq, now_ns: u64) {
        self.retries = 0;
        self.backoff = 0;
        self.progress_ns = now_ns;
        self.round_trip.acknowledged(ack, now_ns);
    }

    /// No progress for longer than the application allows.
    pub(super) fn is_overdue(&self, now_ns: u64) -> bool {
        now_ns.saturating_sub(self.progress_ns) >= self.user_timeout_ns
    }
}
