//! The sending side: `SND.*` of RFC 9293, the peer's window, and the bytes that the peer has not acknowledged.

use crate::{
    queues::{Pool, SendQueue},
    seq::Seq,
};

pub const DEFAULT_LIMIT: usize = 256 << 10;
/// The same where a core is short of memory.
const SHORT_LIMIT: usize = 4 << 10;

/// The first byte of `queue` has the number `una`, once the SYN is acknowledged.
pub struct SendSide {
    pub(super) iss: Seq,
    pub(super) una: Seq,
    pub(super) nxt: Seq,
    /// One more than the highest number sent; `nxt` is less after a timeout.
    pub(super) max: Seq,
    pub(super) window: u32,
    /// The segment that last changed the window: its number and its acknowledgement.
    pub(super) wl1: Seq,
    pub(super) wl2: Seq,
    pub(super) max_window: u32,
    pub(super) peer_scale: u8,
    pub queue: SendQueue,
    /// Bytes that may wait in the queue.
    pub limit: usize,
    /// Bytes of the queue that the core's sum has.
    pub counted: usize,
    /// The application was told that there is no room, and not yet that there is.
    blocked: bool,
    /// The application has ended this direction.
    pub(super) fin: bool,
    pub(super) fin_acked: bool,
    pub nodelay: bool,
    /// Bytes that the peer has acknowledged.
    pub(super) acknowledged: u64,
    /// Bytes that were sent again, and segments.
    pub(super) resent: (u64, u32),
}

impl SendSide {
    pub(super) fn new(iss: Seq) -> Self {
        Self {
            iss,
            una: iss,
            nxt: iss,
            max: iss,
            window: 0,
            wl1: Seq(0),
            wl2: Seq(0),
            max_window: 0,
            peer_scale: 0,
            queue: SendQueue::default(),
            limit: DEFAULT_LIMIT,
            counted: 0,
            blocked: false,
            fin: false,
            fin_acked: false,
            nodelay: true,
            acknowledged: 0,
            resent: (0, 0),
        }
    }

    /// The number of the first byte in the queue.
    #[inline]
    pub(super) fn data_start(&self) -> Seq {
        if self.una == self.iss {
            self.iss + 1
        } else {
            self.una
        }
    }

    /// One more than the number of the last byte in the queue.
    #[inline]
    pub(super) fn data_end(&self) -> Seq {
        self.data_start() + self.queue.len() as u32
    }

    /// One more than the last number to send: that of a FIN counts until it is acknowledged.
    #[inline]
    pub(super) fn end(&self) -> Seq {
        self.data_end() + u32::from(self.fin && !self.fin_acked)
    }

    /// Numbers sent and not acknowledged.
    #[inline]
    pub(super) fn flight(&self) -> u32 {
        self.max - self.una
    }

    /// What the peer's window still takes beyond `nxt`.
    #[inline]
    pub(super) fn usable_window(&self) -> u32 {
        let edge = self.una + self.window;
        if self.nxt.lt(edge) {
            edge - self.nxt
        } else {
            0
        }
    }

    /// Takes the window of a segment over, unless an older one came late (RFC 9293, 3.10.7.4).
    #[inline]
    pub(super) fn update_window(&mut self, seq: Seq, ack: Seq, window: u32) {
        if self.wl1.lt(seq) || self.wl1 == seq && self.wl2.le(ack) {
            self.set_window(seq, ack, window);
        }
    }

    /// Takes the window of a handshake's last segment over.
    pub(super) fn set_window(&mut self, seq: Seq, ack: Seq, window: u32) {
        self.window = window;
        self.max_window = self.max_window.max(window);
        self.wl1 = seq;
        self.wl2 = ack;
    }

    /// The peer has everything below `ack`. Gives how many numbers are new, a SYN's among them not counted.
    #[inline]
    pub(super) fn acknowledge(&mut self, ack: Seq, pool: &mut Pool) -> u32 {
        let mut count = ack - self.una;
        if self.una == self.iss {
            count -= 1;
        }
        let in_queue = (count as usize).min(self.queue.len());
        self.queue.advance(in_queue, pool);
        self.acknowledged += in_queue as u64;
        if count as usize > in_queue {
            self.fin_acked = true;
        }
        self.una = ack;
        self.nxt = self.nxt.max(ack);
        count
    }

    /// How much may be put into the queue. Once it was full, a quarter has to be free again: many small pieces would
    /// cost more than they bring. `short`: the core is short of memory, so each connection gets only a little.
    pub fn room(&self, short: bool) -> usize {
        let limit = if short {
            self.limit.min(SHORT_LIMIT)
        } else {
            self.limit
        };
        if self.blocked && self.queue.len() > limit / 4 * 3 {
            return 0;
        }
        limit.saturating_sub(self.queue.len())
    }

    /// As [`room`](Self::room), for a caller that will wait if it is 0.
    pub fn take_room(&mut self, short: bool) -> usize {
        let room = self.room(short);
        self.blocked = room == 0;
        room
    }

    /// Whether a writer that waits is to be woken.
    pub(super) fn has_room_again(&self) -> bool {
        self.queue.len() <= self.limit / 4 * 3
    }
}
