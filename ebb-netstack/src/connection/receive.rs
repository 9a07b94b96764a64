//! The receiving side: `RCV.*` of RFC 9293, the window that the peer knows, and when it is to be told of what has come.

use alloc::vec::Vec;

use crate::{
    queues::{Chunk, Pool, ReceiveQueue},
    seq::Seq,
    time::{MILLISECOND_NS, NEVER_NS},
};

/// The shift of the windows advertised here: windows up to 4 MiB.
pub const WINDOW_SCALE: u8 = 6;
pub const DEFAULT_LIMIT: usize = 256 << 10;
/// How long an acknowledgement may wait for company (RFC 9293, 3.8.6.3, allows 500 ms).
const ACK_DELAY_NS: u64 = 40 * MILLISECOND_NS;
/// Least time between two answers to segments that do not fit (RFC 5961, 7).
const CHALLENGE_INTERVAL_NS: u64 = 100 * MILLISECOND_NS;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ack {
    None,
    /// By the time in `ack_at_ns`.
    Delayed,
    Now,
}

pub struct ReceiveSide {
    pub(super) irs: Seq,
    pub(super) nxt: Seq,
    /// The right edge of the window that the peer knows; it never moves back.
    pub(super) edge: Seq,
    pub(super) scale: u8,
    pub queue: ReceiveQueue,
    /// Bytes that may wait in the queue.
    pub limit: usize,
    /// The number of the peer's FIN, also when what is before it is missing.
    pub(super) peer_fin: Option<Seq>,
    /// The peer's FIN has come, with all before it.
    pub peer_closed: bool,
    pub(super) ack: Ack,
    pub(super) ack_at_ns: u64,
    /// `nxt` of the last acknowledgement sent.
    acked: Seq,
    last_challenge_ns: u64,
    /// Bytes that have come in order.
    pub(super) received: u64,
}

impl ReceiveSide {
    pub(super) fn new() -> Self {
        Self {
            irs: Seq(0),
            nxt: Seq(0),
            edge: Seq(0),
            scale: 0,
            queue: ReceiveQueue::default(),
            limit: DEFAULT_LIMIT,
            peer_fin: None,
            peer_closed: false,
            ack: Ack::None,
            ack_at_ns: NEVER_NS,
            acked: Seq(0),
            last_challenge_ns: 0,
            received: 0,
        }
    }

    /// The peer's SYN had the number `irs`. `scaled`: both sides scale their windows.
    pub(super) fn begin(&mut self, irs: Seq, scaled: bool) {
        self.irs = irs;
        self.nxt = irs + 1;
        self.acked = self.nxt;
        if scaled {
            self.scale = WINDOW_SCALE;
        }
        self.edge = self.nxt + syn_window(self.limit).into();
    }

    /// What the window may be: what the queue takes, as far as the header can say it.
    pub(super) fn room(&self) -> u32 {
        let room = self.limit.saturating_sub(self.queue.len()) as u32;
        room.min(65_535 << self.scale)
    }

    /// Whether the numbers `seq..end` touch the window (RFC 9293, 3.10.7.4; an empty segment may stand at its left edge).
    #[inline]
    pub(super) fn is_acceptable(&self, seq: Seq, end: Seq) -> bool {
        !(seq.gt(self.edge) || end.lt(self.nxt) || end != seq && end.le(self.nxt))
    }

    /// Answers a segment that does not fit, unless another was answered just now (RFC 5961).
    pub(super) fn challenge(&mut self, now_ns: u64) {
        if now_ns.saturating_sub(self.last_challenge_ns) >= CHALLENGE_INTERVAL_NS
            || self.last_challenge_ns == 0
        {
            self.last_challenge_ns = now_ns.max(1);
            self.ack = Ack::Now;
        }
    }

    /// Takes `len` bytes of data that start at `seq`. True when some of them are next in order.
    #[inline]
    pub(super) fn take(
        &mut self,
        now_ns: u64,
        (seq, len): (Seq, u32),
        mss: u32,
        payload: &mut Vec<Chunk>,
        pool: &mut Pool,
    ) -> bool {
        let before = self.nxt;
        let had_early = self.queue.has_early();
        // What lies beyond the window is cut off.
        let beyond = if (seq + len).gt(self.edge) {
            seq + len - self.edge
        } else {
            0
        };
        let mut left = len - beyond;
        let mut at = seq;
        for mut chunk in payload.drain(..) {
            let part = (chunk.len() as u32).min(left);
            chunk.end = chunk.start + part;
            left -= part;
            self.nxt = self.queue.insert(at, chunk, self.nxt, pool);
            at += part;
        }
        if self.nxt == before {
            // Early, or nothing fitted: tell the peer at once where we are.
            self.ack = Ack::Now;
            return false;
        }
        self.received += u64::from(self.nxt - before);
        if had_early || beyond > 0 || self.nxt - self.acked >= 2 * mss {
            self.ack = Ack::Now;
        } else if self.ack == Ack::None {
            self.ack = Ack::Delayed;
            self.ack_at_ns = now_ns + ACK_DELAY_NS;
        }
        true
    }

    /// The application has taken bytes: tells the peer of the room, if it is worth it (RFC 9293, 3.8.6.2.2).
    pub(super) fn after_take(&mut self, mss: u32) -> bool {
        let window = self.edge - self.nxt;
        let edge = self.nxt + self.room();
        if !edge.gt(self.edge) || self.peer_closed {
            return false;
        }
        let growth = edge - self.edge;
        let worth = growth >= (self.limit / 4) as u32 || window < 2 * mss && growth >= mss;
        if worth {
            self.ack = Ack::Now;
        }
        worth
    }

    /// The window to say, as it is written into a header; the peer knows of it from now on.
    pub(super) fn advertise(&mut self, mss: u32) -> u16 {
        let edge = self.nxt + self.room();
        let least = mss.min(self.limit as u32 / 2);
        if edge.gt(self.edge) && edge - self.edge >= least {
            self.edge = edge;
        }
        let window = if self.nxt.lt(self.edge) {
            (self.edge - self.nxt).div_ceil(1 << self.scale)
        } else {
            0
        };
        let window = window.min(65_535);
        let reach = self.nxt + (window << self.scale);
        self.edge = if self.scale == 0 {
            self.edge.min(reach)
        } else {
            reach
        };
        window as u16
    }

    /// A segment that acknowledges everything has left.
    #[inline]
    pub(super) fn acknowledged(&mut self) {
        self.ack = Ack::None;
        self.ack_at_ns = NEVER_NS;
        self.acked = self.nxt;
    }
}

/// The window of a SYN, which is never scaled.
pub fn syn_window(limit: usize) -> u16 {
    limit.min(65_535) as u16
}
