//! The table.
//!
//! A key's hash picks one of the shards. Each has an [`RcuMap`], the order of eviction, and a lock for writers. What must
//! hold:
//! - reads take no lock and write nothing shared, but for a mark on an item that has none;
//! - an item in a shard's map is in its order of eviction and counted in `used`, and vice versa; all three change under
//!   the shard's lock;
//! - a lock is held for a bounded number of steps, none of which copies a value. A write that depends on what was there
//!   is prepared without the lock and linked only if nothing has changed, else prepared again;
//! - a core holds at most one shard's lock, except that it may try (not wait for) another to evict there;
//! - no client brings the machine to an allocation that fails: see `memory`.

mod memory;

use alloc::{boxed::Box, sync::Arc};
use core::{
    borrow::Borrow,
    hash::{BuildHasher, Hash, Hasher},
    sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering},
};

use crossbeam_utils::CachePadded;
use ebb_runtime::sync::{RcuMap, epoch::Quiescence};
use foldhash::fast::RandomState;
use spin::Mutex;

use crate::{
    item::{Draft, Item, OVERHEAD, SMALL},
    output::SHARE,
    sieve::Sieve,
    stats::{Counters, Totals},
    time::{NEVER, PAST, Time},
};
use memory::{LOOK, Reserve};

/// How much a store holds.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Bytes of memory for items, their overhead included.
    pub memory: usize,
    /// Longest value, in bytes.
    pub item: usize,
    /// Values of at least so many bytes are sent from where they lie, smaller ones copied.
    pub share: usize,
}

impl Default for Limits {
    /// As memcached: 64 MiB, and 1 MiB for an item.
    fn default() -> Self {
        Self {
            memory: 64 << 20,
            item: 1 << 20,
            share: SHARE,
        }
    }
}

/// What a write asks of the item that is there.
#[derive(Clone, Copy, Debug)]
pub enum Condition<'a> {
    /// Nothing.
    Any,
    /// That there is none.
    Absent,
    /// That there is one.
    Present,
    /// That it is the one with this number.
    Cas(u64),
    /// That it is this very one.
    Same(&'a Arc<Item>),
}

/// What became of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Done; the new item's number.
    Stored(u64),
    /// There is an item, or another than was asked for.
    Exists,
    /// There is none.
    NotFound,
    /// The result would be too large.
    TooLarge,
    /// The value is no number.
    NotANumber,
    /// The machine has no memory for it.
    OutOfMemory,
}

/// What to do with a value that is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Add after it.
    Append,
    /// Add before it.
    Prepend,
}

/// An item as the map's key: found by its bytes.
struct Key(Arc<Item>);

impl Borrow<[u8]> for Key {
    #[inline]
    fn borrow(&self) -> &[u8] {
        self.0.key()
    }
}

impl Hash for Key {
    #[inline]
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.key().hash(state);
    }
}

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        self.0.key() == other.0.key()
    }
}

impl Eq for Key {}

/// What writers change.
#[derive(Default)]
struct Writer {
    order: Sieve,
    /// Items with an expiry time.
    mortal: usize,
    /// Where the sweep is.
    swept: usize,
    /// The last flush that a sweep has seen.
    flushed: u64,
}

struct Shard<Q: Quiescence> {
    map: RcuMap<Key, Arc<Item>, Q>,
    writer: CachePadded<Mutex<Writer>>,
}

/// Items by key, for all cores of one machine.
pub struct Store<Q: Quiescence> {
    shards: Box<[Shard<Q>]>,
    hasher: RandomState,
    limits: Limits,
    /// What `used` is held to now: `limits.memory`, or 0 while the machine has no memory for more.
    limit: AtomicUsize,
    reserve: Reserve,
    /// Items up to this number are flushed.
    flushed: AtomicU64,
    /// When the next flush is due; 0 for never.
    flush_at: AtomicU32,
    used: CachePadded<AtomicUsize>,
    last_cas: CachePadded<AtomicU64>,
    counters: Box<[CachePadded<Counters>]>,
}

impl<Q: Quiescence> Store<Q> {
    /// An empty store for so many cores.
    #[must_use]
    pub fn new(limits: Limits, cores: usize) -> Self {
        let shards = (16 * cores).next_power_of_two().min(1024);
        Self {
            shards: (0..shards)
                .map(|_| Shard {
                    map: RcuMap::new(),
                    writer: CachePadded::default(),
                })
                .collect(),
            hasher: RandomState::default(),
            limits,
            limit: AtomicUsize::new(limits.memory),
            reserve: Reserve::default(),
            flushed: AtomicU64::new(0),
            flush_at: AtomicU32::new(0),
            used: CachePadded::default(),
            last_cas: CachePadded::default(),
            counters: (0..cores.max(1)).map(|_| CachePadded::default()).collect(),
        }
    }

    /// What it may hold.
    #[must_use]
    pub fn limits(&self) -> Limits {
        self.limits
    }

    /// A core's counters.
    #[inline]
    #[must_use]
    pub fn counters(&self, core: usize) -> &Counters {
        &self.counters[core % self.counters.len()]
    }

    /// All cores' counters together.
    #[must_use]
    pub fn totals(&self) -> Totals {
        let mut totals = Totals::default();
        self.counters.iter().for_each(|c| totals.add(c));
        totals
    }

    /// Sets the counters to zero.
    pub fn reset_counters(&self) {
        self.counters.iter().for_each(|c| c.reset());
    }

    /// How many cores count.
    #[must_use]
    pub fn cores(&self) -> usize {
        self.counters.len()
    }

    /// Bytes of memory that items take.
    #[must_use]
    pub fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }

    /// How many items there are, expired ones that nobody has come upon included.
    #[must_use]
    pub fn len(&self) -> usize {
        self.shards.iter().map(|s| s.map.len()).sum()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    #[inline]
    fn shard(&self, key: &[u8]) -> &Shard<Q> {
        let hash = self.hasher.hash_one(key);
        // Not the bits that the map's buckets would use, should it have the same seed.
        &self.shards[(hash >> 48) as usize & (self.shards.len() - 1)]
    }

    #[inline]
    fn is_dead(&self, item: &Item, time: Time) -> bool {
        item.cas() <= self.flushed.load(Ordering::Relaxed) || item.has_expired(time)
    }

    // --- Reading -------------------------------------------------------------------------------------

    /// Lends the item of `key` to `f`. No lock; no write, unless it is the first hit since eviction looked.
    #[inline]
    pub fn get<R>(&self, key: &[u8], time: Time, f: impl FnOnce(&Item) -> R) -> Option<R> {
        self.shard(key).map.read(key, |item| {
            let item = item.filter(|item| !self.is_dead(item, time))?;
            item.visit();
            Some(f(item))
        })
    }

    fn current(&self, shard: &Shard<Q>, key: &[u8], time: Time) -> Option<Arc<Item>> {
        let item = shard.map.get(key)?;
        (!self.is_dead(&item, time)).then_some(item)
    }

    // --- Writing -------------------------------------------------------------------------------------

    fn next_cas(&self) -> u64 {
        self.last_cas.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Stores an item if the one that is there is as asked, and makes room for it.
    pub fn put(&self, draft: Draft, condition: Condition<'_>, time: Time, core: usize) -> Outcome {
        let item = Arc::new(draft.finish(self.next_cas()));
        let shard = self.shard(item.key());
        let mut writer = shard.writer.lock();
        let mut old = shard.map.get(item.key());
        let live = old.as_ref().filter(|old| !self.is_dead(old, time));
        match (condition, live) {
            (Condition::Any, _) | (Condition::Absent, None) | (Condition::Present, Some(_)) => {}
            (Condition::Cas(cas), Some(live)) if live.cas() == cas => {}
            (Condition::Same(same), Some(live)) if Arc::ptr_eq(same, live) => {}
            (_, None) => return Outcome::NotFound,
            (_, Some(_)) => return Outcome::Exists,
        }
        let cas = item.cas();
        let size = item.size();
        if self.used() + size > self.limit.load(Ordering::Relaxed) {
            // Before the item is there, lest it be the one to go.
            let room = self.make_room(shard, &mut writer, size, time, core);
            old = shard.map.get(item.key());
            if !room {
                if let (Condition::Any, Some(old)) = (condition, &old) {
                    // What was there before is not to be taken for it.
                    self.unlink(shard, &mut writer, old);
                }
                return Outcome::OutOfMemory;
            }
        }
        match &old {
            Some(old) => {
                writer.mortal -= usize::from(old.expires() != NEVER);
                writer.order.replace(old, Arc::clone(&item));
                self.used.fetch_sub(old.size(), Ordering::Relaxed);
            }
            None => {
                while !writer.order.insert(Arc::clone(&item)) {
                    if self.evict(shard, &mut writer, time, core).is_none() {
                        return Outcome::OutOfMemory;
                    }
                }
            }
        }
        writer.mortal += usize::from(item.expires() != NEVER);
        shard.map.insert(Key(Arc::clone(&item)), item);
        self.used.fetch_add(size, Ordering::Relaxed);
        drop(writer);
        self.counters(core).items.add(1);
        if cas.is_multiple_of(LOOK) {
            self.look_at_memory(time, core);
        }
        Outcome::Stored(cas)
    }

    /// Evicts until an item of `size` bytes fits, from the other shards too if it is long or larger than all of its own. False when
    /// the machine has no memory for it.
    #[inline]
    fn make_room(
        &self,
        own: &Shard<Q>,
        writer: &mut Writer,
        size: usize,
        time: Time,
        core: usize,
    ) -> bool {
        if self.limit.load(Ordering::Relaxed) == 0 && !self.look_at_memory(time, core) {
            return false;
        }
        let is_full = || self.used() + size > self.limits.memory;
        if size > SMALL && is_full() {
            // Many shorter ones in its place would leave gaps among what the other shards have of their age.
            self.evict_in_turn(time, core, |_| is_full());
        }
        while is_full() && self.evict(own, writer, time, core).is_some() {}
        if is_full() {
            self.evict_in_turn(time, core, |_| is_full());
        }
        true
    }

    /// Removes the item that should go, and says how large it was; `None` when there is none.
    fn evict(
        &self,
        shard: &Shard<Q>,
        writer: &mut Writer,
        time: Time,
        core: usize,
    ) -> Option<usize> {
        let victim = writer.order.victim(|item| self.is_dead(item, time))?;
        let counters = self.counters(core);
        if self.is_dead(&victim, time) {
            counters.expired.add(1);
        } else {
            counters.evictions.add(1);
        }
        self.unlink(shard, writer, &victim);
        Some(victim.size())
    }

    fn unlink(&self, shard: &Shard<Q>, writer: &mut Writer, item: &Item) {
        writer.order.remove(item);
        writer.mortal -= usize::from(item.expires() != NEVER);
        shard.map.remove(item.key());
        self.used.fetch_sub(item.size(), Ordering::Relaxed);
    }

    /// Removes an item, if its number is `cas` or that is 0.
    pub fn delete(&self, key: &[u8], cas: u64, time: Time) -> Outcome {
        let shard = self.shard(key);
        // Most deletions of what is not there need no lock.
        if !shard.map.contains_key(key) {
            return Outcome::NotFound;
        }
        let mut writer = shard.writer.lock();
        let Some(item) = shard.map.get(key) else {
            return Outcome::NotFound;
        };
        let dead = self.is_dead(&item, time);
        if !dead && cas != 0 && cas != item.cas() {
            return Outcome::Exists;
        }
        self.unlink(shard, &mut writer, &item);
        match dead {
            true => Outcome::NotFound,
            false => Outcome::Stored(item.cas()),
        }
    }

    /// Changes when an item expires, and lends it to `f`.
    pub fn touch<R>(
        &self,
        key: &[u8],
        expires: u32,
        time: Time,
        f: impl FnOnce(&Item) -> R,
    ) -> Option<R> {
        let shard = self.shard(key);
        let item = {
            let mut writer = shard.writer.lock();
            let item = self.current(shard, key, time)?;
            writer.mortal -= usize::from(item.expires() != NEVER);
            writer.mortal += usize::from(expires != NEVER);
            item.expires.store(expires, Ordering::Relaxed);
            item
        };
        item.visit();
        Some(f(&item))
    }

    /// Adds to a value, before or after it. With a `cas` other than 0 only to the item of that number.
    pub fn extend(
        &self,
        key: &[u8],
        more: &[u8],
        side: Side,
        cas: u64,
        time: Time,
        core: usize,
    ) -> Outcome {
        let shard = self.shard(key);
        loop {
            let Some(old) = self.current(shard, key, time) else {
                return Outcome::NotFound;
            };
            if cas != 0 && cas != old.cas() {
                return Outcome::Exists;
            }
            let len = old.value().len() + more.len();
            if !self.fits(key.len(), len) {
                return Outcome::TooLarge;
            }
            let fits = len <= SMALL || self.has_room(len, time, core);
            let draft = fits.then(|| Draft::whole(key, old.flags(), old.expires(), len));
            let Some(mut draft) = draft.flatten() else {
                return Outcome::OutOfMemory;
            };
            let (first, second) = match side {
                Side::Append => (old.value(), more),
                Side::Prepend => (more, old.value()),
            };
            draft.fill(first);
            draft.fill(second);
            // Another core's write came between when this fails: once more, with what it wrote.
            match self.put(draft, Condition::Same(&old), time, core) {
                Outcome::Exists => {}
                outcome => return outcome,
            }
        }
    }

    /// Adds to a number (`delta` modulo 2^64), or subtracts, but not below zero. Returns the new number. `initial` is what
    /// an absent number becomes, and when it expires.
    ///
    /// # Errors
    /// Why not.
    #[allow(clippy::too_many_arguments)]
    pub fn add(
        &self,
        key: &[u8],
        delta: u64,
        decrement: bool,
        initial: Option<(u64, u32)>,
        cas: u64,
        time: Time,
        core: usize,
    ) -> Result<(u64, u64), Outcome> {
        let shard = self.shard(key);
        loop {
            let old = self.current(shard, key, time);
            let (value, flags, expires) = match (&old, initial) {
                (None, None) => return Err(Outcome::NotFound),
                (None, Some((value, expires))) => (value, 0, expires),
                (Some(old), _) if cas != 0 && cas != old.cas() => return Err(Outcome::Exists),
                (Some(old), _) => {
                    let value = number(old.value()).ok_or(Outcome::NotANumber)?;
                    let value = match decrement {
                        true => value.saturating_sub(delta),
                        false => value.wrapping_add(delta),
                    };
                    (value, old.flags(), old.expires())
                }
            };
            let mut digits = itoa::Buffer::new();
            let digits = digits.format(value).as_bytes();
            let draft = Draft::new(key, flags, expires, digits.len());
            let mut draft = draft.ok_or(Outcome::OutOfMemory)?;
            draft.fill(digits);
            let condition = match &old {
                Some(old) => Condition::Same(old),
                None => Condition::Absent,
            };
            // As in `extend`; and what was there may have gone, which the next round sees.
            match self.put(draft, condition, time, core) {
                Outcome::Stored(cas) => return Ok((value, cas)),
                Outcome::OutOfMemory => return Err(Outcome::OutOfMemory),
                _ => {}
            }
        }
    }

    /// Whether a value of `len` bytes under a key of `key_len` may be stored.
    #[must_use]
    pub fn fits(&self, key_len: usize, len: usize) -> bool {
        len <= self.limits.item && len + key_len + OVERHEAD <= self.limits.memory
    }

    // --- Time ----------------------------------------------------------------------------------------

    /// Lets all items that are there now, or will be at `at`, count as gone.
    pub fn flush(&self, at: u32, time: Time) {
        if at == NEVER || at <= PAST || time.is_past(at) {
            self.flush_at.store(0, Ordering::Relaxed);
            self.flush_now();
        } else {
            self.flush_at.store(at, Ordering::Relaxed);
        }
    }

    fn flush_now(&self) {
        let last = self.last_cas.load(Ordering::Relaxed);
        self.flushed.fetch_max(last, Ordering::Relaxed);
    }

    /// To be called before a batch of requests: does what is due by now.
    #[inline]
    pub fn tick(&self, time: Time) {
        let at = self.flush_at.load(Ordering::Relaxed);
        if time.is_past(at) {
            let this = self
                .flush_at
                .compare_exchange(at, 0, Ordering::Relaxed, Ordering::Relaxed);
            if this.is_ok() {
                self.flush_now();
            }
        }
    }

    /// Looks at up to `budget` items of one shard and removes those that have expired or are flushed. True when
    /// the shard has more to look at. Shards without such items cost nothing.
    pub fn sweep(&self, shard: usize, budget: usize, time: Time, core: usize) -> bool {
        let shard = &self.shards[shard % self.shards.len()];
        let Some(mut writer) = shard.writer.try_lock() else {
            return true;
        };
        let flushed = self.flushed.load(Ordering::Relaxed);
        if writer.mortal == 0 && writer.flushed == flushed {
            writer.swept = 0;
            return false;
        }
        for _ in 0..budget {
            if writer.swept >= writer.order.slots() {
                writer.swept = 0;
                writer.flushed = flushed;
                return false;
            }
            let at = writer.swept;
            writer.swept += 1;
            let dead = writer.order.get(at).filter(|i| self.is_dead(i, time));
            if let Some(item) = dead.cloned() {
                self.unlink(shard, &mut writer, &item);
                self.counters(core).expired.add(1);
            }
        }
        true
    }

    /// How many shards there are to [`sweep`](Self::sweep).
    #[must_use]
    pub fn shards(&self) -> usize {
        self.shards.len()
    }
}

impl<Q: Quiescence> core::fmt::Debug for Store<Q> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Store({} items, {} bytes)", self.len(), self.used())
    }
}

const fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t'..=b'\r')
}

/// Sign and magnitude of a decimal number as `strtoull` and `strtol` read it: blanks and a sign may come before, anything
/// behind the first blank or NUL after it.
#[inline]
fn magnitude(text: &[u8]) -> Option<(bool, u64)> {
    let start = text.iter().position(|b| !is_space(*b))?;
    let (negative, digits) = match &text[start..] {
        [b'-', digits @ ..] => (true, digits),
        [b'+', digits @ ..] => (false, digits),
        digits => (false, digits),
    };
    let mut number = 0u64;
    for (at, byte) in digits.iter().enumerate() {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            return (at > 0 && (is_space(*byte) || *byte == 0)).then_some((negative, number));
        }
        number = number.checked_mul(10)?.checked_add(digit.into())?;
    }
    (!digits.is_empty()).then_some((negative, number))
}

/// A number as memcached reads it (`safe_strtoull`). One with a minus is what it is modulo 2^64, if that is below 2^63.
#[must_use]
pub fn number(text: &[u8]) -> Option<u64> {
    match magnitude(text)? {
        (false, number) => Some(number),
        (true, number) => Some(number.wrapping_neg()).filter(|n| *n >> 63 == 0),
    }
}

/// A number with a sign as memcached reads it (`safe_strtol`): the lowest 32 bits of what has 64.
#[must_use]
pub fn signed(text: &[u8]) -> Option<i32> {
    let number = match magnitude(text)? {
        (false, number) => i64::try_from(number).ok()?,
        (true, number) => 0i64.checked_sub_unsigned(number)?,
    };
    Some(number as i32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_as_strtoull_and_strtol_read_them() {
        for (text, unsigned, with_sign) in [
            ("41", Some(41), Some(41)),
            (" \t\u{b}+0041 x", Some(41), Some(41)),
            ("41\0x", Some(41), Some(41)),
            ("-0", Some(0), Some(0)),
            ("-41", None, Some(-41)),
            ("-18446744073709551615", Some(1), None),
            ("18446744073709551615", Some(u64::MAX), None),
            ("18446744073709551616", None, None),
            ("-9223372036854775808", None, Some(0)),
            ("9223372036854775807", Some(i64::MAX as u64), Some(-1)),
            ("4294967297", Some(4_294_967_297), Some(1)),
            ("", None, None),
            (" ", None, None),
            ("+", None, None),
            ("+ 1", None, None),
            ("--1", None, None),
            ("4x", None, None),
            ("x", None, None),
        ] {
            assert_eq!(number(text.as_bytes()), unsigned, "{text:?}");
            assert_eq!(signed(text.as_bytes()), with_sign, "{text:?}");
        }
    }
}
