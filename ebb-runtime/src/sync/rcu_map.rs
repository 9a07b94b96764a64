//! A hash map that every core reads without an atomic read-modify-write, and without ever waiting for a writer.
//!
//! Buckets are chains. Each entry has two links, one for the current table and one for the next, so a resize links all
//! entries anew while readers still follow the old table (Herbert Xu's scheme from Linux' bridge multicast tables, 2010;
//! compared with others by Triplett, McKenney and Walpole, USENIX ATC 2011).
//!
//! What must hold:
//! - writers hold `writer`; only they store links;
//! - an entry or table that is unlinked is freed after every core has passed an event boundary;
//! - the links a table does not use are not written before the table that did use them has been freed: `resizing` is
//!   set from a resize until then.

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::borrow::Borrow;
use core::hash::{BuildHasher, Hash};
use core::marker::PhantomData;
use core::ptr;

use foldhash::fast::RandomState;

use super::atomic::{AtomicBool, AtomicPtr, AtomicUsize, Ordering};
use super::epoch::{Bound, Quiescence, retire_box};

const SMALLEST: usize = 16;

type Link<K, V> = AtomicPtr<Entry<K, V>>;

struct Entry<K, V> {
    hash: u64,
    key: K,
    value: V,
    next: [Link<K, V>; 2],
}

struct Table<K, V> {
    /// Which of an entry's links this table uses.
    links: usize,
    /// A power of two.
    buckets: Box<[Link<K, V>]>,
}

impl<K, V> Table<K, V> {
    fn new(links: usize, buckets: usize) -> Self {
        Self::with(links, Vec::with_capacity(buckets), buckets)
    }

    /// A table, if there is memory for it in one piece.
    fn try_new(links: usize, buckets: usize) -> Option<Self> {
        let mut room = Vec::new();
        room.try_reserve_exact(buckets).ok()?;
        Some(Self::with(links, room, buckets))
    }

    /// A table in `room`, which has that for as many buckets.
    fn with(links: usize, mut room: Vec<Link<K, V>>, buckets: usize) -> Self {
        room.extend((0..buckets).map(|_| AtomicPtr::new(ptr::null_mut())));
        Table {
            links,
            buckets: room.into_boxed_slice(),
        }
    }

    fn bucket(&self, hash: u64) -> &Link<K, V> {
        &self.buckets[hash as usize & (self.buckets.len() - 1)]
    }
}

/// A concurrent hash map for what is read often and written seldom. **Cross-core.**
///
/// Reads are wait-free: plain loads along one chain. Writers take turns by a spin lock, held for one chain's length, and
/// for the whole map's when it grows or shrinks (amortised O(1)); they do not hold up readers. `K`'s `Hash` and `Eq` run
/// under that lock and must not use the map.
///
/// It belongs to the cores of the machine that first uses it. Every use panics on a thread that is not a core, or is a
/// core of another machine.
pub struct RcuMap<K, V, Q, S = RandomState> {
    table: AtomicPtr<Table<K, V>>,
    len: AtomicUsize,
    writer: spin::Mutex<()>,
    /// Whether the table before the current one may still have readers.
    resizing: Arc<AtomicBool>,
    hasher: S,
    bound: Bound,
    _owns: PhantomData<Entry<K, V>>,
    _quiescence: PhantomData<fn() -> Q>,
}

// SAFETY: keys and values are read from all cores (`Sync`) and dropped on any (`Send`); links change under the lock.
unsafe impl<K: Send + Sync, V: Send + Sync, Q, S: Sync> Sync for RcuMap<K, V, Q, S> {}
// SAFETY: it owns keys and values.
unsafe impl<K: Send + Sync, V: Send + Sync, Q, S: Send> Send for RcuMap<K, V, Q, S> {}

impl<K, V, Q> Default for RcuMap<K, V, Q>
where
    K: Hash + Eq + Send + Sync + 'static,
    V: Send + Sync + 'static,
    Q: Quiescence,
{
    fn default() -> Self {
        Self::new()
    }
}

impl<K, V, Q> RcuMap<K, V, Q>
where
    K: Hash + Eq + Send + Sync + 'static,
    V: Send + Sync + 'static,
    Q: Quiescence,
{
    /// An empty map.
    pub fn new() -> Self {
        Self::with_hasher(RandomState::default())
    }
}

impl<K, V, Q, S> RcuMap<K, V, Q, S>
where
    K: Hash + Eq + Send + Sync + 'static,
    V: Send + Sync + 'static,
    Q: Quiescence,
    S: BuildHasher,
{
    /// An empty map with a hash function of your own. For keys that an adversary chooses, give a keyed one.
    pub fn with_hasher(hasher: S) -> Self {
        RcuMap {
            table: AtomicPtr::new(Box::into_raw(Box::new(Table::new(0, SMALLEST)))),
            len: AtomicUsize::new(0),
            writer: spin::Mutex::new(()),
            resizing: Arc::new(AtomicBool::new(false)),
            hasher,
            bound: Bound::new(),
            _owns: PhantomData,
            _quiescence: PhantomData,
        }
    }

    /// How many entries there are; while others write, how many there were a moment ago.
    pub fn len(&self) -> usize {
        self.len.load(Ordering::Relaxed)
    }

    /// Whether there is no entry; see [`len`](Self::len).
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn table(&self) -> &Table<K, V> {
        // Acquire: the table was filled before it was published.
        let table = self.table.load(Ordering::Acquire);
        // SAFETY: the callers have checked that this is a core of the map's domain, and use the table in this event
        // only, so it is not freed meanwhile.
        unsafe { &*table }
    }

    /// Lends the value of `key` to `f`. Wait-free; O(1) expected. Writes meanwhile do not change what `f` sees.
    pub fn read<B, R>(&self, key: &B, f: impl FnOnce(Option<&V>) -> R) -> R
    where
        K: Borrow<B>,
        B: Hash + Eq + ?Sized,
    {
        self.bound.check::<Q>();
        let hash = self.hasher.hash_one(key);
        let table = self.table();
        let mut entry = table.bucket(hash).load(Ordering::Acquire);
        // SAFETY: as in `table`: what was found linked is not freed before this event ends, and `f` keeps nothing.
        while let Some(this) = unsafe { entry.as_ref() } {
            if this.hash == hash && this.key.borrow() == key {
                return f(Some(&this.value));
            }
            entry = this.next[table.links].load(Ordering::Acquire);
        }
        f(None)
    }

    /// A copy of the value of `key`.
    pub fn get<B>(&self, key: &B) -> Option<V>
    where
        K: Borrow<B>,
        B: Hash + Eq + ?Sized,
        V: Clone,
    {
        self.read(key, |value| value.cloned())
    }

    /// Whether `key` has a value.
    pub fn contains_key<B>(&self, key: &B) -> bool
    where
        K: Borrow<B>,
        B: Hash + Eq + ?Sized,
    {
        self.read(key, |value| value.is_some())
    }

    /// Calls `f` for every entry. Entries that are added, replaced or removed meanwhile may be seen or not.
    pub fn for_each(&self, mut f: impl FnMut(&K, &V)) {
        self.bound.check::<Q>();
        let table = self.table();
        for bucket in &table.buckets {
            let mut entry = bucket.load(Ordering::Acquire);
            // SAFETY: as in `read`.
            while let Some(this) = unsafe { entry.as_ref() } {
                f(&this.key, &this.value);
                entry = this.next[table.links].load(Ordering::Acquire);
            }
        }
    }

    /// The link that leads to `key`'s entry, or the one its chain ends in. The caller holds the lock.
    fn find<'t, B>(
        &self,
        table: &'t Table<K, V>,
        hash: u64,
        key: &B,
    ) -> (&'t Link<K, V>, Option<&'t Entry<K, V>>)
    where
        K: Borrow<B>,
        B: Eq + ?Sized,
    {
        let mut link = table.bucket(hash);
        // SAFETY: what is linked is not freed before it has been unlinked, which only the lock's holder does.
        while let Some(this) = unsafe { link.load(Ordering::Acquire).as_ref() } {
            if this.hash == hash && this.key.borrow() == key {
                return (link, Some(this));
            }
            link = &this.next[table.links];
        }
        (link, None)
    }

    /// Gives `key` a value; says whether it had none before. A value it had is dropped when no core reads it any more.
    pub fn insert(&self, key: K, value: V) -> bool {
        self.put(key, value, true)
    }

    /// Gives `key` a value if it has none; says whether it had none.
    pub fn insert_if_absent(&self, key: K, value: V) -> bool {
        self.put(key, value, false)
    }

    fn put(&self, key: K, value: V, replace: bool) -> bool {
        self.bound.check::<Q>();
        let hash = self.hasher.hash_one(&key);
        let new = Box::new(Entry {
            hash,
            key,
            value,
            next: [
                AtomicPtr::new(ptr::null_mut()),
                AtomicPtr::new(ptr::null_mut()),
            ],
        });
        let lock = self.writer.lock();
        let table = self.table();
        let (link, old) = self.find(table, hash, &new.key);
        let Some(old) = old else {
            // Release: the entry was written before it can be found.
            link.store(Box::into_raw(new), Ordering::Release);
            let len = self.len.load(Ordering::Relaxed) + 1;
            self.len.store(len, Ordering::Relaxed);
            if len > table.buckets.len() {
                self.resize(table, 2 * len);
            }
            return true;
        };
        if !replace {
            drop(lock);
            return false;
        }
        let next = old.next[table.links].load(Ordering::Relaxed);
        new.next[table.links].store(next, Ordering::Relaxed);
        let old = link.swap(Box::into_raw(new), Ordering::AcqRel);
        drop(lock);
        // SAFETY: made by a `put`, and no longer linked. (The previous table's readers, who may come to it by the other
        // links, began their events before the resize, so they have ended when this is freed.)
        unsafe { retire_box::<_, Q>(old) };
        false
    }

    /// Takes `key`'s entry out; says whether there was one. It is dropped when no core reads it any more.
    pub fn remove<B>(&self, key: &B) -> bool
    where
        K: Borrow<B>,
        B: Hash + Eq + ?Sized,
    {
        self.bound.check::<Q>();
        let hash = self.hasher.hash_one(key);
        let lock = self.writer.lock();
        let table = self.table();
        let (link, Some(old)) = self.find(table, hash, key) else {
            return false;
        };
        let next = old.next[table.links].load(Ordering::Relaxed);
        let old = link.swap(next, Ordering::AcqRel);
        let len = self.len.load(Ordering::Relaxed) - 1;
        self.len.store(len, Ordering::Relaxed);
        if table.buckets.len() > SMALLEST && len < table.buckets.len() / 8 {
            self.resize(table, 2 * len);
        }
        drop(lock);
        // SAFETY: as in `put`.
        unsafe { retire_box::<_, Q>(old) };
        true
    }

    /// Links all entries in a table for `len` of them. Does nothing while the last resize's readers may be there, or when there
    /// is no memory for a larger one, with which chains get longer: a later write comes here again. The caller holds the lock.
    fn resize(&self, old: &Table<K, V>, len: usize) {
        // Acquire: the previous table's readers have ended before its links are written.
        if self.resizing.load(Ordering::Acquire) {
            return;
        }
        let Some(new) = Table::try_new(1 - old.links, len.next_power_of_two().max(SMALLEST)) else {
            return;
        };
        for bucket in &old.buckets {
            let mut entry = bucket.load(Ordering::Acquire);
            // SAFETY: as in `find`.
            while let Some(this) = unsafe { entry.as_ref() } {
                let first = new.bucket(this.hash);
                this.next[new.links].store(first.load(Ordering::Relaxed), Ordering::Relaxed);
                first.store(entry, Ordering::Relaxed);
                entry = this.next[old.links].load(Ordering::Acquire);
            }
        }
        self.resizing.store(true, Ordering::Relaxed);
        // Release: all links go out with the table.
        let old = self
            .table
            .swap(Box::into_raw(Box::new(new)), Ordering::AcqRel);
        let old = Retiring {
            table: old,
            resizing: self.resizing.clone(),
        };
        // SAFETY: fresh from a box; `Retiring` frees a table that has just been made unreachable.
        unsafe { retire_box::<_, Q>(Box::into_raw(Box::new(old))) };
    }
}

/// A table that is to be freed after a grace period, without its entries.
struct Retiring<K, V> {
    table: *mut Table<K, V>,
    resizing: Arc<AtomicBool>,
}

// SAFETY: the pointer stands for the table alone, whose parts may be freed on any core.
unsafe impl<K, V> Send for Retiring<K, V> {}

impl<K, V> Drop for Retiring<K, V> {
    fn drop(&mut self) {
        // SAFETY: made by `resize` from a table that was replaced; the grace period has ended.
        drop(unsafe { Box::from_raw(self.table) });
        self.resizing.store(false, Ordering::Release);
    }
}

impl<K, V, Q, S> Drop for RcuMap<K, V, Q, S> {
    fn drop(&mut self) {
        // SAFETY: nobody else has the map, so nobody reads it; what was unlinked is not the table's any more.
        let table = unsafe { Box::from_raw(self.table.load(Ordering::Acquire)) };
        for bucket in &table.buckets {
            let mut entry = bucket.load(Ordering::Acquire);
            while !entry.is_null() {
                // SAFETY: each linked entry was made from a box and is linked once by these links.
                let this = unsafe { Box::from_raw(entry) };
                entry = this.next[table.links].load(Ordering::Acquire);
            }
        }
    }
}

#[cfg(all(test, not(ebb_loom)))]
mod tests {
    extern crate std;

    use std::collections::BTreeMap;
    use std::string::{String, ToString};
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::vec::Vec;

    use super::super::epoch::Domain;
    use super::super::testing::Here;
    use super::*;

    type Map<K, V> = RcuMap<K, V, Here>;

    #[test]
    fn it_does_what_a_sorted_map_does_while_it_grows_and_shrinks() {
        let domain = Domain::new(1);
        let _core = Here::enter(&domain, 0);
        let map = Map::<String, u64>::new();
        let mut model = BTreeMap::new();
        let mut seed = 88_172_645_463_325_252u64;
        for round in 0..60_000 {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            let key = (seed % 2_000).to_string();
            // Grows in the first half, shrinks in the second.
            let grow = if round < 30_000 { 3 } else { 1 };
            if seed >> 32 & 3 < grow {
                assert_eq!(
                    map.insert(key.clone(), seed),
                    model.insert(key, seed).is_none()
                );
            } else {
                assert_eq!(map.remove(key.as_str()), model.remove(&key).is_some());
            }
            if round % 7 == 0 {
                Here::boundary();
            }
            if round > 56_000 && round % 16 == 0 {
                let key = model.keys().next().cloned();
                if let Some(key) = key {
                    model.remove(&key);
                    assert!(map.remove(&key));
                }
            }
        }
        assert_eq!(map.len(), model.len());
        let mut seen = Vec::new();
        map.for_each(|k, v| seen.push((k.clone(), *v)));
        seen.sort();
        assert!(seen.iter().map(|(k, v)| (k, v)).eq(model.iter()));
        for (key, value) in &model {
            assert_eq!(map.get(key.as_str()), Some(*value));
        }
        assert_eq!(map.get("no such key"), None);
        assert!(
            !map.insert_if_absent(seen[0].0.clone(), 0) && map.get(&seen[0].0) == Some(seen[0].1)
        );
        assert!(map.table().buckets.len() < 2_000, "it has shrunk");
    }

    #[test]
    fn readers_see_whole_values_while_writers_replace_and_resize() {
        static LIVE: AtomicUsize = AtomicUsize::new(0);
        /// Twice the same number, so that a torn or freed value shows.
        struct Pair(u64, u64);
        impl Pair {
            fn new(n: u64) -> Self {
                LIVE.fetch_add(1, Ordering::Relaxed);
                Pair(n, n)
            }
        }
        impl Drop for Pair {
            fn drop(&mut self) {
                self.0 = u64::MAX;
                LIVE.fetch_sub(1, Ordering::Relaxed);
            }
        }
        const KEYS: u64 = 500;
        const ROUNDS: u64 = 200;
        let domain = Domain::new(3);
        let map = Map::<u64, Pair>::new();
        std::thread::scope(|scope| {
            let (map, domain) = (&map, &domain);
            for index in 1..3 {
                scope.spawn(move || {
                    let _core = Here::enter(domain, index);
                    let mut last = 0;
                    while last < ROUNDS {
                        for key in 0..KEYS {
                            map.read(&key, |pair| {
                                if let Some(pair) = pair {
                                    assert_eq!(pair.0, pair.1);
                                    // Key 0 is never removed, and only ever counts up.
                                    if key == 0 {
                                        assert!(pair.0 >= last);
                                        last = pair.0;
                                    }
                                }
                            });
                        }
                        Here::boundary();
                    }
                });
            }
            let _core = Here::enter(domain, 0);
            for round in 1..=ROUNDS {
                for key in 0..KEYS {
                    map.insert(key, Pair::new(round));
                }
                Here::boundary();
                for key in 1..KEYS {
                    assert!(map.remove(&key));
                    if key % 50 == 0 {
                        Here::boundary();
                    }
                }
            }
            Here::drain();
        });
        drop(map);
        assert_eq!(LIVE.load(Ordering::Relaxed), 0);
    }
}
