//! What a core counts: written by it without locked instructions, read by all.

use core::sync::atomic::{AtomicU64, Ordering};

/// The counters of one core.
#[derive(Default)]
pub(crate) struct Counters {
    pub events: Counter,
    pub parks: Counter,
    pub hogs: Counter,
    pub timers: Counter,
    pub arrivals: Counter,
    pub panics: Counter,
    pub tasks: Counter,
}

/// A number that one core writes.
#[derive(Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    /// Adds without a locked instruction: the owning core is the only writer.
    #[inline]
    pub fn add(&self, n: u64) {
        self.0.store(self.get() + n, Ordering::Relaxed);
    }

    #[inline]
    pub fn set(&self, n: u64) {
        self.0.store(n, Ordering::Relaxed);
    }

    #[inline]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}
