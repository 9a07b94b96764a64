//! Ebbs and components of your own: a counter on every core, a registry that all cores share, a
//! cache made at run time, and a system component replaced.
//!
//! `cargo run --release --example custom_ebb` boots it as a virtual machine, `cargo hosted
//! custom_ebb` runs it as a Linux process. The chapters "Write an Ebb" and "Components" of the book
//! explain the same program at leisure.

#![no_std]
#![no_main]

extern crate alloc;

use alloc::{collections::BTreeMap, format, string::String, sync::Arc};
use core::{
    cell::{Cell, RefCell},
    sync::atomic::{AtomicU64, AtomicUsize, Ordering},
};

use ebb::{
    CoreId, EbbRef, FromRoot, JoinError, cores, current_core, ebb, platform::Entropy, println,
    provides,
};

// --- 1. A per-core Ebb ---------------------------------------------------------------------
//
// Every core has its own `Hits`, which no other core ever touches: a plain `Cell`, no lock, no
// atomic. It is built by `Default` on the core that first uses it.

// ANCHOR: per_core
#[ebb(per_core)]
#[derive(Default)]
struct Hits {
    count: Cell<u64>,
}

impl Hits {
    fn hit(&self) {
        self.count.set(self.count.get() + 1);
    }
}
// ANCHOR_END: per_core

// --- 2. A shared Ebb, built from a root ------------------------------------------------------
//
// All cores use the one `Registry` at the same time, so it must be `Sync`; a `Cell` in it would be
// a compile error that names the field. It is built from a `Limits`, once, whoever comes first.

// ANCHOR: shared
struct Limits {
    members: usize,
}

#[ebb(shared, root = Limits)]
struct Registry {
    limits: Arc<Limits>,
    members: AtomicUsize,
    who: AtomicU64,
}

impl FromRoot<Limits> for Registry {
    fn from_root(limits: Arc<Limits>, _this: EbbRef<Self>) -> Self {
        Self {
            limits,
            members: AtomicUsize::new(0),
            who: AtomicU64::new(0),
        }
    }
}

impl Registry {
    /// Adds a core, unless the registry is full.
    fn join(&self, core: CoreId) -> bool {
        let room = self
            .members
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| {
                (n < self.limits.members).then_some(n + 1)
            })
            .is_ok();
        if room {
            self.who.fetch_or(1 << core.number(), Ordering::Relaxed);
        }
        room
    }
}
// ANCHOR_END: shared

// --- 3. An Ebb made at run time ----------------------------------------------------------------
//
// Any number of caches, of any types: `EbbRef::create` gives a name for one, which is `Copy` and
// means a different table on every core. Nothing in `Cache` knows about cores.

// ANCHOR: dynamic
#[ebb(per_core, dynamic)]
struct Cache<K: 'static, V: 'static> {
    entries: RefCell<BTreeMap<K, V>>,
    hits: Cell<u64>,
}

impl<K, V> Default for Cache<K, V> {
    fn default() -> Self {
        Self {
            entries: RefCell::default(),
            hits: Cell::default(),
        }
    }
}

impl<K: Ord, V: Clone> Cache<K, V> {
    fn get_or_make(&self, key: K, make: impl FnOnce(&K) -> V) -> V {
        if let Some(value) = self.entries.borrow().get(&key) {
            self.hits.set(self.hits.get() + 1);
            return value.clone();
        }
        let value = make(&key);
        self.entries.borrow_mut().insert(key, value.clone());
        value
    }
}
// ANCHOR_END: dynamic

// --- 4. A system component, replaced -----------------------------------------------------------
//
// The platform provides `Entropy` by default, from the machine. A run that is to be repeated
// exactly wants the opposite: this provider takes the default's place in this program, in all its
// crates, at link time. Calls go straight here; the platform's own is not even linked.

// ANCHOR: replace
#[ebb(shared)]
#[derive(Default)]
struct Repeatable {
    state: AtomicU64,
}

#[provides(Entropy)]
impl Entropy for Repeatable {
    /// SplitMix64 (Steele, Lea, Flood, 2014). Fit for simulations, not for keys.
    fn fill(&self, bytes: &mut [u8]) {
        const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;
        for chunk in bytes.chunks_mut(8) {
            let mut z = self
                .state
                .fetch_add(GOLDEN, Ordering::Relaxed)
                .wrapping_add(GOLDEN);
            z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            z ^= z >> 31;
            chunk.copy_from_slice(&z.to_le_bytes()[..chunk.len()]);
        }
    }
}
// ANCHOR_END: replace

#[ebb::main]
async fn main() -> Result<(), JoinError> {
    // One load and one predicted branch from here to this core's counter.
    let hits = EbbRef::<Hits>::get();
    hits.hit();
    hits.hit();
    // Other cores are reached explicitly: the closure travels, the counter stays where it is.
    // ANCHOR: cross_core
    let everywhere = EbbRef::<Hits>::new();
    everywhere.broadcast(Hits::hit).await?;
    let sum = everywhere
        .fold(0, |hits| hits.count.get(), |sum, n| sum + n)
        .await?;
    assert_eq!(sum, 2 + cores().len() as u64);
    // ANCHOR_END: cross_core
    println!("{sum} hits on {} core(s)", cores().len());

    // The root is given once, before the first use.
    let limits = Limits { members: 1 };
    assert!(EbbRef::<Registry>::set_root(limits).is_ok());
    let joined = EbbRef::<Registry>::new()
        .gather(|registry| registry.join(current_core()))
        .await?;
    let joined = joined.iter().filter(|joined| **joined).count();
    assert_eq!(joined, 1);
    println!("the registry took {joined} core(s)");

    let cache = EbbRef::<Cache<u32, String>>::create(());
    for _ in 0..3 {
        let square = cache.with(|cache| cache.get_or_make(7, |n| format!("{}", n * n)));
        assert_eq!(square, "49");
    }
    let hits = cache
        .fold(0, |cache| cache.hits.get(), |sum, n| sum + n)
        .await?;
    assert_eq!(hits, 2);
    println!("the cache was hit {hits} times");
    // Ends it on every core, each between two of its events.
    cache.destroy().await;

    let mut random = [0; 8];
    EbbRef::<dyn Entropy>::get().fill(&mut random);
    let random = u64::from_le_bytes(random);
    assert_eq!(random, 0xe220_a839_7b1d_cdaf);
    println!("as random as every time: {random:016x}");
    Ok(())
}
