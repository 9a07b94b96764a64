//! The functions' snapshots in the books.
//!
//! What must hold: a snapshot's bytes are counted in `used`, `idle_bytes` and `snapshot_bytes` for as long as it is in
//! `snapshots`, and so long it has its place in `by_worth`.

use super::{Evicted, Idle, Kept, Pool, worth};
use crate::call::InstanceKey;

impl<T, S: Clone> Pool<T, S> {
    /// Whether there is a snapshot of that function.
    pub fn has_snapshot(&self, key: &InstanceKey) -> bool {
        self.snapshots.contains_key(key)
    }

    /// The snapshot of a function. That does not count as a use of it.
    pub fn snapshot(&self, key: &InstanceKey) -> Option<&S> {
        self.snapshots.get(key).map(|kept| &kept.snapshot)
    }

    /// Keeps a snapshot of a function. It takes `bytes`; without it an instance takes `cost_us` to start. What has
    /// to go for it comes back, which may be the snapshot itself.
    pub fn keep_snapshot(
        &mut self,
        key: &InstanceKey,
        snapshot: S,
        bytes: u64,
        cost_us: u64,
    ) -> Evicted<S> {
        let former = self.drop_snapshot(key);
        let worth = self.age.saturating_add(worth(1, cost_us, bytes));
        self.by_worth.insert((worth, Idle::Snapshot(key.clone())));
        self.used += bytes;
        self.idle_bytes += bytes;
        self.snapshot_bytes += bytes;
        let kept = Kept {
            snapshot,
            bytes,
            uses: 1,
            cost_us,
            worth,
        };
        self.snapshots.insert(key.clone(), kept);
        let mut evicted = self.make_room(0);
        evicted.snapshots.extend(former);
        evicted
    }

    /// The snapshot of a function, which is about to be used.
    pub(super) fn use_snapshot(&mut self, key: &InstanceKey) -> Option<S> {
        let kept = self.snapshots.get_mut(key)?;
        let idle = Idle::Snapshot(key.clone());
        self.by_worth.remove(&(kept.worth, idle.clone()));
        kept.uses += 1;
        kept.worth = self
            .age
            .saturating_add(worth(kept.uses, kept.cost_us, kept.bytes));
        self.by_worth.insert((kept.worth, idle));
        Some(kept.snapshot.clone())
    }

    pub(super) fn drop_snapshot(&mut self, key: &InstanceKey) -> Option<S> {
        let kept = self.snapshots.remove(key)?;
        self.by_worth
            .remove(&(kept.worth, Idle::Snapshot(key.clone())));
        self.used -= kept.bytes;
        self.idle_bytes -= kept.bytes;
        self.snapshot_bytes -= kept.bytes;
        Some(kept.snapshot)
    }
}
