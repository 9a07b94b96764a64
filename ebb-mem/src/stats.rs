//! Counters: written by one core with plain loads and stores, readable from
//! any.

use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// What one core's part of the heap has done. Blocks are counted as they move
/// between spans and the core's lists, so a running core's figures lag by at
/// most a list; after [`crate::trim`] on that core they are exact. A block
/// counts for the core that allocated it, a large block's release for the
/// core that released it: sums over all cores are exact either way.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub struct CoreStats {
    /// Small and medium blocks in use.
    pub blocks: i64,
    /// Bytes of these blocks, rounded up to their size classes.
    pub bytes: i64,
    /// Spans in use.
    pub spans: i64,
    /// Chunks of 2 MiB taken from the frame allocator.
    pub chunks: i64,
    /// Large blocks allocated less large blocks freed on this core.
    pub large_blocks: i64,
    /// Bytes of large blocks, allocated less freed on this core.
    pub large_bytes: i64,
    /// Blocks of other cores that this core freed and sent home.
    pub remote_sent: u64,
    /// Blocks of this core that others sent.
    pub remote_received: u64,
    /// How often a class's list ran empty.
    pub refills: u64,
    /// Allocations that failed.
    pub failures: u64,
}

impl core::ops::AddAssign for CoreStats {
    fn add_assign(&mut self, other: CoreStats) {
        self.blocks += other.blocks;
        self.bytes += other.bytes;
        self.spans += other.spans;
        self.chunks += other.chunks;
        self.large_blocks += other.large_blocks;
        self.large_bytes += other.large_bytes;
        self.remote_sent += other.remote_sent;
        self.remote_received += other.remote_received;
        self.refills += other.refills;
        self.failures += other.failures;
    }
}

/// The counters themselves; signed ones wrap.
pub(crate) struct Counters {
    pub blocks: AtomicU64,
    pub bytes: AtomicU64,
    pub spans: AtomicU64,
    pub chunks: AtomicU64,
    pub large_blocks: AtomicU64,
    pub large_bytes: AtomicU64,
    pub remote_sent: AtomicU64,
    pub remote_received: AtomicU64,
    pub refills: AtomicU64,
    pub failures: AtomicU64,
}

impl Counters {
    pub const fn new() -> Self {
        Counters {
            blocks: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            spans: AtomicU64::new(0),
            chunks: AtomicU64::new(0),
            large_blocks: AtomicU64::new(0),
            large_bytes: AtomicU64::new(0),
            remote_sent: AtomicU64::new(0),
            remote_received: AtomicU64::new(0),
            refills: AtomicU64::new(0),
            failures: AtomicU64::new(0),
        }
    }

    /// Adds to one of these counters. Only the owning core writes, so this
    /// needs no read-modify-write instruction.
    #[inline]
    pub fn add(&self, counter: &AtomicU64, by: u64) {
        counter.store(counter.load(Relaxed).wrapping_add(by), Relaxed);
    }

    #[inline]
    pub fn sub(&self, counter: &AtomicU64, by: u64) {
        self.add(counter, by.wrapping_neg());
    }

    pub fn read(&self) -> CoreStats {
        CoreStats {
            blocks: self.blocks.load(Relaxed) as i64,
            bytes: self.bytes.load(Relaxed) as i64,
            spans: self.spans.load(Relaxed) as i64,
            chunks: self.chunks.load(Relaxed) as i64,
            large_blocks: self.large_blocks.load(Relaxed) as i64,
            large_bytes: self.large_bytes.load(Relaxed) as i64,
            remote_sent: self.remote_sent.load(Relaxed),
            remote_received: self.remote_received.load(Relaxed),
            refills: self.refills.load(Relaxed),
            failures: self.failures.load(Relaxed),
        }
    }
}
