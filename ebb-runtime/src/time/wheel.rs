//! Timers of one core: a hierarchical timing wheel (Varghese and Lauck, SOSP 1987, scheme 7) on a slab.
//!
//! A tick is [`TICK_NS`] nanoseconds. Level `n` has 64 slots of `64^n` ticks each; ten levels cover every `u64` of
//! nanoseconds, so there is no overflow list. A timer hangs at the level of the highest bit in which its tick differs
//! from the wheel's position, and moves down when the position enters its slot: at most ten moves in its life, and
//! three for a sleep of 20 ms. Within a level all occupied slots lie at or after the position, and a lower level
//! always expires before a higher one; so the earliest slot is two bit scans away.
//!
//! What must hold: a timer never fires before its deadline, and fires at the first [`Wheel::pop_expired`] whose `now`
//! is its deadline rounded up to a tick. Timers fire in the order of their ticks.
//!
//! Timers live in chunks of 256 that are never moved and never given back, so an insert allocates once in 256
//! times while the number of live timers grows, and not at all after that.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::task::Waker;

/// Resolution: deadlines are rounded up to a multiple of this many nanoseconds.
pub const TICK_NS: u64 = 1 << TICK_BITS;

const TICK_BITS: u32 = 8;
const SLOT_BITS: u32 = 6;
const SLOTS: usize = 1 << SLOT_BITS;
/// A deadline rounded up can reach tick 2^56, so levels have to cover 57 bits.
const LEVELS: usize = (u64::BITS - TICK_BITS + 1).div_ceil(SLOT_BITS) as usize;
const CHUNK: usize = 256;
const NIL: u32 = u32::MAX;
/// `Entry::slot` of an entry without a timer.
const FREE: u16 = u16::MAX;

/// Names a timer of one wheel. Once the timer has fired or been cancelled its key names nothing, also when the place
/// is used again (until 2^32 timers have used it).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key {
    index: u32,
    generation: u32,
}

struct Entry {
    /// The deadline in ticks, rounded up.
    tick: u64,
    waker: Option<Waker>,
    /// Neighbours in the slot's list; `next` also links free entries.
    next: u32,
    prev: u32,
    generation: u32,
    /// `level * SLOTS + slot`, or `FREE`.
    slot: u16,
}

#[derive(Clone)]
struct Slot {
    head: u32,
    tail: u32,
    /// No timer in the slot is due before this tick. Exact until one is cancelled.
    earliest: u64,
}

/// The timers of one core. All times are nanoseconds of one monotonic clock.
///
/// No method calls or drops a waker while the wheel is borrowed: wakers come back to the caller, who may hold the wheel
/// in a `RefCell` and let go of it first (to drop a waker can drop a task, and that can cancel a timer).
pub struct Wheel {
    /// The position, in ticks: everything due before it has fired.
    position: u64,
    /// No slot starts before this tick; `u64::MAX` if there is no timer.
    first_start: u64,
    /// The earliest `earliest`, in ticks; may be too early after a cancel.
    first_due: u64,
    len: usize,
    /// Bit `n`: level `n` has a timer.
    levels: u16,
    /// Per level, bit `n`: slot `n` has a timer.
    occupied: [u64; LEVELS],
    slots: Box<[Slot]>,
    chunks: Vec<Box<[Entry]>>,
    free: u32,
}

fn tick_after(deadline_ns: u64) -> u64 {
    deadline_ns.div_ceil(TICK_NS)
}

fn nanoseconds(tick: u64) -> u64 {
    tick.saturating_mul(TICK_NS)
}

impl Wheel {
    /// A wheel without timers that stands at `now_ns`.
    pub fn new(now_ns: u64) -> Wheel {
        let empty = Slot {
            head: NIL,
            tail: NIL,
            earliest: u64::MAX,
        };
        Wheel {
            position: now_ns / TICK_NS,
            first_start: u64::MAX,
            first_due: u64::MAX,
            len: 0,
            levels: 0,
            occupied: [0; LEVELS],
            slots: alloc::vec![empty; LEVELS * SLOTS].into_boxed_slice(),
            chunks: Vec::new(),
            free: NIL,
        }
    }

    /// Live timers.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is no live timer.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Arms a timer that gives `waker` back once `deadline_ns` has come; a deadline in the past is due at once.
    /// O(1); allocates when there are more timers than ever before. A deadline within a tick of `u64::MAX` never fires.
    ///
    /// # Panics
    /// At 2^32 - 1 live timers, which would be 170 GB of them.
    pub fn insert(&mut self, deadline_ns: u64, waker: Waker) -> Key {
        if self.free == NIL {
            self.grow();
        }
        let index = self.free;
        let entry = &mut self.chunks[index as usize / CHUNK][index as usize % CHUNK];
        self.free = entry.next;
        entry.tick = tick_after(deadline_ns);
        entry.waker = Some(waker);
        let generation = entry.generation;
        self.len += 1;
        self.link(index);
        Key { index, generation }
    }

    /// Whether the timer has neither fired nor been cancelled. O(1).
    pub fn contains(&self, key: Key) -> bool {
        self.live(key).is_some()
    }

    /// Makes the timer give back `waker` instead of the one it has, unless they wake the same task. Returns the waker
    /// that is no longer needed, or `Err` if the timer has fired or been cancelled. O(1).
    pub fn update(&mut self, key: Key, waker: &Waker) -> Result<Option<Waker>, Expired> {
        self.live(key).ok_or(Expired)?;
        match &mut self.entry(key.index).waker {
            Some(old) if old.will_wake(waker) => Ok(None),
            old => Ok(old.replace(waker.clone())),
        }
    }

    /// Disarms the timer and returns its waker; `None` if it has fired or been cancelled. O(1).
    pub fn cancel(&mut self, key: Key) -> Option<Waker> {
        self.live(key)?;
        self.unlink(key.index);
        self.release(key.index)
    }

    /// When [`pop_expired`](Self::pop_expired) should next be called: the earliest deadline, rounded up to a tick. May
    /// be too early, never too late, if the earliest timer has been cancelled. `None` without a timer. O(1).
    pub fn next_deadline(&self) -> Option<u64> {
        (self.len > 0).then(|| nanoseconds(self.first_due))
    }

    /// Moves the wheel to `now_ns` and disarms one timer that is due: the caller wakes it and asks again until there is
    /// none. Timers come in the order of their ticks. Two comparisons if nothing is due; amortised O(1) for each timer
    /// in its life. A `now_ns` before an earlier one counts as that one.
    pub fn pop_expired(&mut self, now_ns: u64) -> Option<Waker> {
        let now = now_ns / TICK_NS;
        while self.first_start <= now {
            let level = self.levels.trailing_zeros();
            let slot = self.occupied[level as usize].trailing_zeros();
            self.position = self.position.max(self.first_start);
            let list = level as usize * SLOTS + slot as usize;
            let head = self.slots[list].head;
            if level == 0 {
                // Every timer of a slot of level 0 has the same tick, or was late when it was inserted.
                self.unlink(head);
                return self.release(head);
            }
            self.cascade(list, head);
        }
        self.position = self.position.max(now);
        None
    }

    /// Calls `wake` with the waker of each timer that is due at `now_ns`, and says how many there were. The wheel stays
    /// borrowed meanwhile, so `wake` must not come back to it; see [`pop_expired`](Self::pop_expired) otherwise.
    pub fn expire(&mut self, now_ns: u64, wake: &mut impl FnMut(Waker)) -> usize {
        let before = self.len;
        while let Some(waker) = self.pop_expired(now_ns) {
            wake(waker);
        }
        before - self.len
    }

    /// Takes a slot's timers out and puts them in again, relative to the position, which has just entered the slot.
    fn cascade(&mut self, list: usize, mut index: u32) {
        self.vacate(list);
        while index != NIL {
            let next = self.entry(index).next;
            self.link_quietly(index);
            index = next;
        }
        self.find_first();
    }

    /// Hangs an entry in the slot its tick belongs to.
    fn link(&mut self, index: u32) {
        let (start, tick) = self.link_quietly(index);
        self.first_start = self.first_start.min(start);
        self.first_due = self.first_due.min(tick);
    }

    /// The same, leaving `first_start` and `first_due`. Returns where the slot starts and when the timer is due.
    fn link_quietly(&mut self, index: u32) -> (u64, u64) {
        let position = self.position;
        let entry = &self.chunks[index as usize / CHUNK][index as usize % CHUNK];
        let tick = entry.tick.max(position);
        // The highest differing bit, no lower than the top one of level 0.
        let differing = (tick ^ position) | (SLOTS as u64 - 1);
        let level = differing.ilog2() / SLOT_BITS;
        let shift = level * SLOT_BITS;
        let slot = (tick >> shift) as usize % SLOTS;
        let list = level as usize * SLOTS + slot;

        self.levels |= 1 << level;
        self.occupied[level as usize] |= 1 << slot;
        let ends = &mut self.slots[list];
        let tail = core::mem::replace(&mut ends.tail, index);
        ends.earliest = ends.earliest.min(tick);
        if tail == NIL {
            ends.head = index;
        } else {
            self.entry(tail).next = index;
        }
        let entry = self.entry(index);
        entry.prev = tail;
        entry.next = NIL;
        entry.slot = list as u16;
        (tick >> shift << shift, tick)
    }

    /// Takes an entry out of its slot.
    fn unlink(&mut self, index: u32) {
        let &mut Entry {
            prev, next, slot, ..
        } = self.entry(index);
        let list = slot as usize;
        if prev != NIL {
            self.entry(prev).next = next;
        } else {
            self.slots[list].head = next;
        }
        if next != NIL {
            self.entry(next).prev = prev;
        } else {
            self.slots[list].tail = prev;
        }
        if prev == NIL && next == NIL {
            self.vacate(list);
            self.find_first();
        }
    }

    fn vacate(&mut self, list: usize) {
        let slot = &mut self.slots[list];
        slot.head = NIL;
        slot.tail = NIL;
        slot.earliest = u64::MAX;
        let (level, slot) = (list / SLOTS, list % SLOTS);
        self.occupied[level] &= !(1 << slot);
        if self.occupied[level] == 0 {
            self.levels &= !(1 << level);
        }
    }

    /// Works out the first slot's start and first tick.
    fn find_first(&mut self) {
        if self.levels == 0 {
            self.first_start = u64::MAX;
            self.first_due = u64::MAX;
            return;
        }
        let level = self.levels.trailing_zeros();
        let slot = self.occupied[level as usize].trailing_zeros();
        let shift = level * SLOT_BITS;
        // What the slot shares with the position: all above its level.
        let above = shift + SLOT_BITS;
        let base = self.position.checked_shr(above).map_or(0, |p| p << above);
        self.first_start = base | u64::from(slot) << shift;
        self.first_due = self.slots[level as usize * SLOTS + slot as usize].earliest;
    }

    fn entry(&mut self, index: u32) -> &mut Entry {
        &mut self.chunks[index as usize / CHUNK][index as usize % CHUNK]
    }

    fn live(&self, key: Key) -> Option<&Entry> {
        let entry = &self.chunks.get(key.index as usize / CHUNK)?[key.index as usize % CHUNK];
        (entry.generation == key.generation && entry.slot != FREE).then_some(entry)
    }

    /// Ends an unlinked entry's timer.
    fn release(&mut self, index: u32) -> Option<Waker> {
        let free = core::mem::replace(&mut self.free, index);
        self.len -= 1;
        let entry = self.entry(index);
        entry.next = free;
        entry.slot = FREE;
        entry.generation = entry.generation.wrapping_add(1);
        entry.waker.take()
    }

    /// Adds a chunk of free entries.
    #[cold]
    fn grow(&mut self) {
        let base = self.chunks.len() * CHUNK;
        assert!(
            base + CHUNK < NIL as usize,
            "one core has 2^32 timers; a loop that arms timers without end?"
        );
        self.chunks.push(
            (base..base + CHUNK)
                .map(|index| Entry {
                    tick: 0,
                    waker: None,
                    next: if index + 1 < base + CHUNK {
                        index as u32 + 1
                    } else {
                        self.free
                    },
                    prev: NIL,
                    generation: 0,
                    slot: FREE,
                })
                .collect(),
        );
        self.free = base as u32;
    }
}

/// The timer has fired or been cancelled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expired;

impl core::fmt::Display for Expired {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("the timer has fired or been cancelled")
    }
}

impl core::error::Error for Expired {}
