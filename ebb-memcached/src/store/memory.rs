//! What the store leaves of the machine's memory.
//!
//! An allocation that fails ends a machine, and what items take is more than they count for: what lies free between blocks
//! that are still in use fits only their likes. So a store is told how much memory is to stay free. When less is, it evicts,
//! also below its limit; when only half of that is, it takes nothing in, which is what bounds the memory that a client can take
//! by values that never end, and by picking the items that survive so that each holds a page. What was evicted is freed after a
//! grace period.
//!
//! The free memory is looked at before anything longer than [`SMALL`](crate::item::SMALL) is allocated, and once in
//! [`LOOK`] writes, so that neither a hit nor most short writes have to.

use alloc::sync::Arc;
use core::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use ebb_runtime::sync::epoch::Quiescence;

use crate::{store::Store, time::Time};

/// Writes from one look at the machine's memory to the next: at most so many times [`SMALL`](crate::item::SMALL) bytes.
pub(super) const LOOK: u64 = 256;

/// Most items that go at once, and least bytes that do if they are fewer.
const RELIEF_ITEMS: usize = 1024;
const RELIEF_BYTES: usize = 1 << 20;
/// Items that one shard gives in its turn.
const TURN: usize = 16;

/// What is to stay free.
pub(super) struct Reserve {
    bytes: usize,
    /// How many bytes are free now.
    spare: fn() -> usize,
    /// What was evicted for it last is not free yet.
    freeing: Arc<AtomicBool>,
    /// The shard whose turn it is.
    turn: AtomicUsize,
}

impl Default for Reserve {
    /// Nothing, of memory that never ends.
    fn default() -> Self {
        Self {
            bytes: 0,
            spare: || usize::MAX,
            freeing: Arc::default(),
            turn: AtomicUsize::new(0),
        }
    }
}

impl<Q: Quiescence> Store<Q> {
    /// Lets `bytes` of the machine's memory stay free, and `spare` say how many are.
    #[must_use]
    pub fn keeping_free(mut self, bytes: usize, spare: fn() -> usize) -> Self {
        self.reserve.bytes = bytes;
        self.reserve.spare = spare;
        self
    }

    /// Whether `bytes` of memory may be taken. Evicts when they are of those that are to stay free: then there is more after a
    /// grace period.
    #[must_use]
    pub fn has_room(&self, bytes: usize, time: Time, core: usize) -> bool {
        let spare = (self.reserve.spare)();
        let reserve = self.reserve.bytes;
        if spare < reserve.saturating_add(bytes) {
            self.relieve(bytes, time, core);
        }
        spare >= (reserve / 2).saturating_add(bytes)
    }

    /// Has writes refused while the machine's memory is exhausted; says whether it is not. To be called now and then.
    #[cold]
    pub fn look_at_memory(&self, time: Time, core: usize) -> bool {
        let room = self.has_room(0, time, core);
        let limit = if room { self.limits.memory } else { 0 };
        if self.limit.load(Ordering::Relaxed) != limit {
            self.limit.store(limit, Ordering::Relaxed);
        }
        room
    }

    /// Evicts at least `bytes`, but a bounded number of items, once in a grace period.
    #[cold]
    fn relieve(&self, bytes: usize, time: Time, core: usize) {
        if self.reserve.freeing.swap(true, Ordering::Acquire) {
            return;
        }
        let (mut items, mut freed) = (0, 0);
        self.evict_in_turn(time, core, |size| {
            (items, freed) = (items + 1, freed + size);
            items < RELIEF_ITEMS && freed < bytes.max(RELIEF_BYTES)
        });
        let freeing = Arc::clone(&self.reserve.freeing);
        Q::retire(alloc::boxed::Box::new(move || {
            freeing.store(false, Ordering::Release);
        }));
    }

    /// Evicts from all shards in turn, but those whose lock is taken, while `goes_on` with each item's size says so. So the oldest
    /// of all go, which lie together.
    #[cold]
    pub(super) fn evict_in_turn(
        &self,
        time: Time,
        core: usize,
        mut goes_on: impl FnMut(usize) -> bool,
    ) {
        let mut without = 0;
        while without < self.shards.len() {
            let turn = self.reserve.turn.fetch_add(1, Ordering::Relaxed);
            let shard = &self.shards[turn % self.shards.len()];
            without += 1;
            let Some(mut writer) = shard.writer.try_lock() else {
                continue;
            };
            for _ in 0..TURN {
                let Some(size) = self.evict(shard, &mut writer, time, core) else {
                    break;
                };
                without = 0;
                if !goes_on(size) {
                    return;
                }
            }
        }
    }
}
