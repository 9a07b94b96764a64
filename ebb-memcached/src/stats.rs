//! What each core counts. A core writes only its own counters, with plain loads and stores; `stats` adds them up.

use core::sync::atomic::{AtomicU64, Ordering};

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident),* $(,)?) => {
        /// One core's counters.
        #[derive(Debug, Default)]
        pub struct Counters { $($(#[$doc])* pub $name: Counter,)* }

        /// The sums over all cores.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct Totals { $($(#[$doc])* pub $name: u64,)* }

        impl Totals {
            /// Adds a core's counters.
            pub fn add(&mut self, counters: &Counters) { $(self.$name += counters.$name.get();)* }
        }

        impl Counters {
            /// Sets all but the count of open connections to zero. Other cores' updates meanwhile may survive.
            pub fn reset(&self) {
                let opened = self.connections_opened.get();
                let open = opened.saturating_sub(self.connections_closed.get());
                $(self.$name.0.store(0, Ordering::Relaxed);)*
                self.connections_opened.0.store(open, Ordering::Relaxed);
            }
        }
    };
}

counters! {
    /// Keys asked for.
    get,
    /// Keys asked for and found.
    get_hits,
    /// Values to be stored, whatever became of them.
    set,
    /// Times that everything was flushed.
    flush,
    /// Expiry times changed.
    touch,
    /// Of those, keys found.
    touch_hits,
    /// Deletions that found their key.
    delete_hits,
    /// Deletions that did not.
    delete_misses,
    /// Increments that found their key.
    incr_hits,
    /// Increments that did not.
    incr_misses,
    /// Decrements that found their key.
    decr_hits,
    /// Decrements that did not.
    decr_misses,
    /// Conditional stores that took place.
    cas_hits,
    /// Conditional stores of unknown keys.
    cas_misses,
    /// Conditional stores of keys changed meanwhile.
    cas_badval,
    /// Items stored.
    items,
    /// Items evicted for want of memory.
    evictions,
    /// Items found expired and removed.
    expired,
    /// Bytes received.
    bytes_read,
    /// Bytes sent.
    bytes_written,
    /// Connections accepted.
    connections_opened,
    /// Connections ended.
    connections_closed,
}

/// A counter that one core writes and all may read.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds. Only for the core that the counter belongs to.
    #[inline]
    pub fn add(&self, count: u64) {
        let value = self.0.load(Ordering::Relaxed).wrapping_add(count);
        self.0.store(value, Ordering::Relaxed);
    }

    /// The count.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}
