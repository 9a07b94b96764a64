//! The books of memory: instances and snapshots share one budget, and what goes is what the books forget.
#![allow(missing_docs)]

use ebb_openwhisk::call::InstanceKey;
use ebb_openwhisk::pool::{After, Capacity, Evicted, Pool, Submitted};
use proptest::prelude::*;
use std::collections::HashMap;

const BUDGET: u64 = 1000;

/// What there is: bytes of each instance and each snapshot.
#[derive(Default)]
struct Model {
    instances: HashMap<u64, u64>,
    snapshots: HashMap<u64, u64>,
}

impl Model {
    /// What is evicted was there, and is gone now; how many bytes that gives back.
    fn take(&mut self, evicted: &Evicted<u64>) -> u64 {
        let instances = evicted.instances.iter().map(|victim| {
            let bytes = self.instances.remove(&victim.instance);
            bytes.expect("an instance that there is")
        });
        let instances: u64 = instances.sum();
        let snapshots = evicted.snapshots.iter().map(|snapshot| {
            let bytes = self.snapshots.remove(snapshot);
            bytes.expect("a snapshot that there is")
        });
        instances + snapshots.sum::<u64>()
    }

    fn bytes(&self) -> u64 {
        self.instances.values().sum::<u64>() + self.snapshots.values().sum::<u64>()
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    /// The books say what the sum of all that there is takes, and dropping one takes exactly its bytes from them.
    #[test]
    fn the_books_of_memory_are_those_of_what_there_is(
        steps in prop::collection::vec((0u8..7, 0u64..6, any::<prop::sample::Index>(), 1u64..200), 1..300),
    ) {
        let mut pool: Pool<u64, u64> = Pool::new(Capacity { cores: 2, own_time: true, per_core: 3, memory: BUDGET, queue: 0 });
        let key = |revision| InstanceKey { revision, caller: "guest".into() };
        let mut model = Model::default();
        let mut running: Vec<(u64, u64)> = Vec::new();
        let mut next_snapshot = 0;
        for (what, function, which, bytes) in steps {
            let before = pool.used();
            match what {
                0 | 1 => if let Submitted::Run(dispatch) = pool.submit(0, &key(function), 50, 0, 0) {
                    model.take(&dispatch.grant.evicted);
                    model.instances.entry(dispatch.grant.instance).or_insert(50);
                    running.push((dispatch.grant.instance, function));
                },
                2 | 3 => if !running.is_empty() {
                    let (id, _) = running.swap_remove(which.index(running.len()));
                    let keep = bytes % 5 != 0;
                    let after = After { keep, bytes, cost_us: 7 };
                    prop_assert!(pool.release(id, after, 0).is_empty());
                    if keep { model.instances.insert(id, bytes) } else { model.instances.remove(&id) };
                },
                4 => {
                    next_snapshot += 1;
                    model.snapshots.insert(next_snapshot, bytes);
                    let evicted = pool.keep_snapshot(&key(function), next_snapshot, bytes, 5);
                    model.take(&evicted);
                    prop_assert!(pool.used() <= BUDGET || pool.instances().1 == 0);
                }
                5 => {
                    let evicted = pool.relieve(bytes);
                    let given = model.take(&evicted);
                    prop_assert_eq!(pool.used() + given, before);
                    prop_assert!(given >= bytes || (pool.instances().1 == 0 && pool.snapshots().0 == 0));
                }
                _ => {
                    // Those that run are counted when they end.
                    let id = which.index(20) as u64;
                    let is_idle = model.instances.contains_key(&id) && running.iter().all(|(r, _)| *r != id);
                    pool.recount(id, bytes);
                    if is_idle { model.instances.insert(id, bytes); }
                }
            }
            prop_assert_eq!(pool.used(), model.bytes());
            prop_assert_eq!(pool.snapshots(), (model.snapshots.len(), model.snapshots.values().sum::<u64>()));
            prop_assert_eq!(pool.instances(), (model.instances.len(), model.instances.len() - running.len()));
        }
        model.take(&pool.evict_if(|_| true));
        prop_assert_eq!(pool.used(), model.bytes());
        prop_assert!(model.snapshots.is_empty());
    }
}
