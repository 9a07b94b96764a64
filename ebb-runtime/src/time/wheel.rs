//! Timers of one core: a hierarchical timing wheel (Varghese and Lauck, SOSP 1987, scheme 7), its slots filled block by block.
//!
//! A tick is [`TICK_NS`] nanoseconds. Level `n` has 256 slots of `256^n` ticks each; eight levels cover every `u64` of
//! nanoseconds, so there is no overflow list. A timer is in the level of the highest bit in which its tick differs
//! from the wheel's position, and moves down when the position enters its slot: at most eight moves in its life, and
//! two for a sleep of 20 ms to 4 s. Within a level all occupied slots lie at or after the position, and a lower level
//! always expires before a higher one; so the earliest slot is some bit scans away.
//!
//! What must hold: a timer never fires before its deadline, and fires at the first [`Wheel::pop_expired`] whose `now`
//! is its deadline rounded up to a tick. Timers fire in the order of their ticks.
//!
//! Among a million sleepers each one's memory was last touched long ago, and a list that leads from one to the next waits for every one of them. So
//! a slot has its timers with their wakers in blocks, one beside the other: what moves down is read in a row, and the tasks that are due
//! within the next 256 ticks are asked for (`prefetch`) before the first of them is woken.
//! A key names a `Place`, which says where in the blocks its timer is: whoever moves a timer writes it and need not wait for it.
//!
//! Blocks and places come in chunks that are never moved and never given back, so an insert allocates once in some 250 times
//! while the number of live timers grows, and not at all after that. A wheel without timers has no slots yet: 32 KiB.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::num::NonZeroU32;
use core::task::Waker;

use super::prefetch::prefetch;

/// Resolution: deadlines are rounded up to a multiple of this many nanoseconds.
pub const TICK_NS: u64 = 1 << TICK_BITS;

const TICK_BITS: u32 = 8;
const SLOT_BITS: u32 = 8;
const SLOTS: usize = 1 << SLOT_BITS;
/// A deadline rounded up can reach tick 2^56, so levels have to cover 57 bits.
const LEVELS: usize = (u64::BITS - TICK_BITS + 1).div_ceil(SLOT_BITS) as usize;
/// Places of a chunk.
const PLACES: usize = 256;
/// Blocks of a chunk.
const BLOCKS: usize = 16;
/// Timers of a block: with what names its neighbours it fills eight lines of the cache.
const TIMERS: usize = 15;
/// How many inserts before its own a place is asked for.
const AHEAD: usize = 8;
const NIL: u32 = u32::MAX;
/// `Place::at` of a place without a timer.
const FREE: u8 = u8::MAX;

/// Names a timer of one wheel. Once the timer has fired or been cancelled its key names nothing, also when the place
/// is used again (until 2^32 timers have used it).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key {
    index: u32,
    /// Not zero, so that whoever may have a timer needs no more room than whoever has one.
    generation: NonZeroU32,
}

/// Where a timer is.
struct Place {
    /// Its block.
    block: u32,
    generation: NonZeroU32,
    /// Its position in the block, or `FREE`.
    at: u8,
}

struct Timer {
    /// The deadline in ticks, rounded up.
    tick: u64,
    /// There as long as the timer is.
    waker: Option<Waker>,
    /// Its place.
    place: u32,
}

/// Some timers of a slot: those from `first` to `end`. All but a slot's first and last block are full.
#[repr(align(64))]
struct Block {
    /// Neighbours in the slot.
    next: u32,
    previous: u32,
    /// `level * SLOTS + slot`.
    slot: u16,
    first: u8,
    end: u8,
    timers: [Timer; TIMERS],
}

#[derive(Clone)]
struct Slot {
    /// Its blocks. None is empty.
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
    /// Per level, bit `n`: word `n` of `occupied` is not zero.
    words: [u8; LEVELS],
    /// Per level, bit `n`: slot `n` has a timer.
    occupied: [[u64; SLOTS / 64]; LEVELS],
    /// There from the first timer on.
    slots: Box<[Slot]>,
    blocks: Vec<Box<[Block]>>,
    /// Those without a timer, with room for all.
    free_blocks: Vec<u32>,
    places: Vec<Box<[Place]>>,
    /// Those without a timer, with room for all.
    free_places: Vec<u32>,
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
        Wheel {
            position: now_ns / TICK_NS,
            first_start: u64::MAX,
            first_due: u64::MAX,
            len: 0,
            levels: 0,
            words: [0; LEVELS],
            occupied: [[0; SLOTS / 64]; LEVELS],
            slots: Box::default(),
            blocks: Vec::new(),
            free_blocks: Vec::new(),
            places: Vec::new(),
            free_places: Vec::new(),
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
    /// At 2^32 - 1 live timers, which would be 200 GB of them.
    pub fn insert(&mut self, deadline_ns: u64, waker: Waker) -> Key {
        if self.free_places.is_empty() {
            self.more_places();
        }
        let index = self.free_places.pop().expect("there are more now");
        if let Some(&later) = self.free_places.iter().nth_back(AHEAD) {
            // Freed in no order, so that its insert would wait for it.
            prefetch(self.place(later));
        }
        let generation = self.place(index).generation;
        self.len += 1;
        let (start, tick) = self.link(tick_after(deadline_ns), Some(waker), index);
        self.first_start = self.first_start.min(start);
        self.first_due = self.first_due.min(tick);
        Key { index, generation }
    }

    /// Whether the timer has neither fired nor been cancelled. O(1).
    pub fn contains(&self, key: Key) -> bool {
        self.live(key).is_some()
    }

    /// Makes the timer give back `waker` instead of the one it has, unless they wake the same task. Returns the waker
    /// that is no longer needed, or `Err` if the timer has fired or been cancelled. O(1).
    pub fn update(&mut self, key: Key, waker: &Waker) -> Result<Option<Waker>, Expired> {
        let (block, at) = self.live(key).ok_or(Expired)?;
        match &mut self.block(block).timers[at].waker {
            Some(old) if old.will_wake(waker) => Ok(None),
            old => Ok(old.replace(waker.clone())),
        }
    }

    /// Disarms the timer and returns its waker; `None` if it has fired or been cancelled. O(1).
    pub fn cancel(&mut self, key: Key) -> Option<Waker> {
        let (number, at) = self.live(key)?;
        let block = self.block(number);
        let slot = block.slot as usize;
        let (end, waker) = (block.end as usize, block.timers[at].waker.take());
        let last = self.slots[slot].tail;
        if (last, at + 1) == (number, end) {
            self.shorten(slot, number);
        } else {
            // The slot's last timer takes its place.
            let tail = self.block(last);
            let moved = tail.timers[tail.end as usize - 1].take();
            let place = self.place(moved.place);
            (place.block, place.at) = (number, at as u8);
            self.block(number).timers[at] = moved;
            self.shorten(slot, last);
        }
        self.release(key.index);
        waker
    }

    /// The last timer of a slot, which is in this block, has been taken out.
    #[inline]
    fn shorten(&mut self, list: usize, last: u32) {
        let block = self.block(last);
        block.end -= 1;
        if block.first < block.end {
            return;
        }
        let previous = block.previous;
        if previous == NIL {
            self.vacate(list);
            self.find_first();
        } else {
            self.block(previous).next = NIL;
            self.slots[list].tail = previous;
        }
        self.free_blocks.push(last);
    }

    /// When [`pop_expired`](Self::pop_expired) should next be called: the earliest deadline, rounded up to a tick. May
    /// be too early, never too late, if the earliest timer has been cancelled. `None` without a timer. O(1).
    pub fn next_deadline_ns(&self) -> Option<u64> {
        (self.len > 0).then(|| nanoseconds(self.first_due))
    }

    /// Moves the wheel to `now_ns` and disarms one timer that is due: the caller wakes it and asks again until there is
    /// none. Timers come in the order of their ticks. Two comparisons if nothing is due; amortised O(1) for each timer
    /// in its life. A `now_ns` before an earlier one counts as that one.
    pub fn pop_expired(&mut self, now_ns: u64) -> Option<Waker> {
        let now = (now_ns / TICK_NS).max(self.position);
        while self.first_start <= now {
            let level = self.levels.trailing_zeros();
            let slot = self.first_slot(level);
            self.position = self.position.max(self.first_start);
            let list = level as usize * SLOTS + slot;
            if level == 0 {
                // Every timer of a slot of level 0 has the same tick, or was late when it was inserted.
                return self.pop(list);
            }
            self.cascade(list, level == 1);
        }
        self.position = now;
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

    /// Takes the first timer out of a slot that has one.
    fn pop(&mut self, list: usize) -> Option<Waker> {
        let head = self.slots[list].head;
        let block = self.block(head);
        let timer = &mut block.timers[block.first as usize];
        let (waker, place) = (timer.waker.take(), timer.place);
        block.first += 1;
        if block.first == block.end {
            let next = block.next;
            if next == NIL {
                self.vacate(list);
                self.find_first();
            } else {
                self.block(next).previous = NIL;
                self.slots[list].head = next;
            }
            self.free_blocks.push(head);
        }
        self.release(place);
        waker
    }

    /// Takes a slot's timers out and puts them in again, relative to the position, which has just entered the slot.
    /// Each goes to a lower level. Those that are `soon` due have their tasks asked for.
    fn cascade(&mut self, list: usize, soon: bool) {
        let mut number = self.slots[list].head;
        self.vacate(list);
        while number != NIL {
            let block = self.block(number);
            let (next, first, end) = (block.next, block.first as usize, block.end as usize);
            for at in first..end {
                let timer = self.block(number).timers[at].take();
                if soon && let Some(waker) = &timer.waker {
                    ask_for_task(waker);
                }
                self.link(timer.tick, timer.waker, timer.place);
            }
            self.free_blocks.push(number);
            number = next;
        }
        self.find_first();
    }

    /// Puts a timer at the end of the slot that its tick belongs to. Returns where the slot starts and when the timer is due; to
    /// bring `first_start` and `first_due` up to date is the caller's.
    ///
    /// The parts of a timer come in registers: to read them together as soon as they were written one by one takes the processor long.
    #[inline]
    fn link(&mut self, due: u64, waker: Option<Waker>, index: u32) -> (u64, u64) {
        let position = self.position;
        let tick = due.max(position);
        // The highest differing bit, no lower than the top one of level 0.
        let differing = (tick ^ position) | (SLOTS as u64 - 1);
        let level = differing.ilog2() / SLOT_BITS;
        let shift = level * SLOT_BITS;
        let slot = (tick >> shift) as usize % SLOTS;
        let list = level as usize * SLOTS + slot;

        self.levels |= 1 << level;
        self.words[level as usize] |= 1 << (slot / 64);
        self.occupied[level as usize][slot / 64] |= 1 << (slot % 64);
        let ends = &mut self.slots[list];
        ends.earliest = ends.earliest.min(tick);
        let tail = ends.tail;
        let number = if tail != NIL && (self.block(tail).end as usize) < TIMERS {
            tail
        } else {
            self.extend(list, tail)
        };
        let block = self.block(number);
        if number != tail {
            (block.next, block.previous, block.slot) = (NIL, tail, list as u16);
            (block.first, block.end) = (0, 0);
        }
        let at = block.end;
        block.end += 1;
        let timer = &mut block.timers[at as usize];
        timer.tick = due;
        timer.waker = waker;
        timer.place = index;
        let place = self.place(index);
        place.block = number;
        place.at = at;
        (tick >> shift << shift, tick)
    }

    /// A free block behind a slot's last one; its own part of that is the caller's.
    fn extend(&mut self, list: usize, tail: u32) -> u32 {
        if self.free_blocks.is_empty() {
            self.more_blocks();
        }
        let number = self.free_blocks.pop().expect("there are more now");
        if tail == NIL {
            self.slots[list].head = number;
        } else {
            self.block(tail).next = number;
        }
        self.slots[list].tail = number;
        number
    }

    fn vacate(&mut self, list: usize) {
        let slot = &mut self.slots[list];
        slot.head = NIL;
        slot.tail = NIL;
        slot.earliest = u64::MAX;
        let (level, slot) = (list / SLOTS, list % SLOTS);
        let (word, rest) = (slot / 64, !(1 << (slot % 64)));
        self.occupied[level][word] &= rest;
        if self.occupied[level][word] == 0 {
            self.words[level] &= !(1 << word);
            if self.words[level] == 0 {
                self.levels &= !(1 << level);
            }
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
        let slot = self.first_slot(level);
        let shift = level * SLOT_BITS;
        // What the slot shares with the position: all above its level.
        let above = shift + SLOT_BITS;
        let base = self.position >> above << above;
        self.first_start = base | (slot as u64) << shift;
        self.first_due = self.slots[level as usize * SLOTS + slot].earliest;
    }

    /// The first slot with a timer of a level that has one.
    fn first_slot(&self, level: u32) -> usize {
        let word = self.words[level as usize].trailing_zeros() as usize % (SLOTS / 64);
        word * 64 + self.occupied[level as usize][word].trailing_zeros() as usize
    }

    fn block(&mut self, number: u32) -> &mut Block {
        &mut self.blocks[number as usize / BLOCKS][number as usize % BLOCKS]
    }

    fn place(&mut self, index: u32) -> &mut Place {
        &mut self.places[index as usize / PLACES][index as usize % PLACES]
    }

    /// The block of a live timer, and its position there.
    fn live(&self, key: Key) -> Option<(u32, usize)> {
        let place = &self.places.get(key.index as usize / PLACES)?[key.index as usize % PLACES];
        (place.generation == key.generation && place.at != FREE)
            .then_some((place.block, place.at as usize))
    }

    /// Ends a timer that has been taken out.
    fn release(&mut self, index: u32) {
        self.free_places.push(index);
        self.len -= 1;
        let place = self.place(index);
        place.at = FREE;
        place.generation = place.generation.checked_add(1).unwrap_or(NonZeroU32::MIN);
    }

    /// Adds a chunk of free places.
    #[cold]
    fn more_places(&mut self) {
        if self.slots.is_empty() {
            let empty = Slot {
                head: NIL,
                tail: NIL,
                earliest: u64::MAX,
            };
            self.slots = alloc::vec![empty; LEVELS * SLOTS].into_boxed_slice();
        }
        let base = self.places.len() * PLACES;
        assert!(
            base + PLACES < NIL as usize,
            "one core has 2^32 timers; a loop that arms timers without end?"
        );
        let free = |_| Place {
            block: NIL,
            generation: NonZeroU32::MIN,
            at: FREE,
        };
        self.places.push((0..PLACES).map(free).collect());
        // Room for all of them, so that to free one never allocates.
        self.free_places.reserve(base + PLACES);
        self.free_places
            .extend((base as u32..(base + PLACES) as u32).rev());
    }

    /// Adds a chunk of free blocks.
    #[cold]
    fn more_blocks(&mut self) {
        let base = self.blocks.len() * BLOCKS;
        let block = |_| Block {
            next: NIL,
            previous: NIL,
            slot: 0,
            first: 0,
            end: 0,
            timers: [const { Timer::NONE }; TIMERS],
        };
        self.blocks.push((0..BLOCKS).map(block).collect());
        // As with places.
        self.free_blocks.reserve(base + BLOCKS);
        self.free_blocks
            .extend((base as u32..(base + BLOCKS) as u32).rev());
    }
}

impl Timer {
    const NONE: Self = Self {
        tick: 0,
        waker: None,
        place: NIL,
    };

    fn take(&mut self) -> Self {
        Self {
            waker: self.waker.take(),
            ..*self
        }
    }
}

/// Asks for what a task of this runtime has in its header and, mostly, in its future.
fn ask_for_task(waker: &Waker) {
    let task = waker.data().cast::<[u8; 64]>();
    for line in 0..3 {
        prefetch(task.wrapping_add(line));
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

#[cfg(test)]
mod tests {
    extern crate std;

    use std::collections::BTreeMap;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::task::Wake;
    use std::vec::Vec;

    use proptest::prelude::*;

    use super::*;

    /// A waker that says which timer it belongs to.
    struct Named(u64, Arc<AtomicU64>);

    impl Wake for Named {
        fn wake(self: Arc<Self>) {
            self.1.store(self.0, Ordering::Relaxed);
        }
    }

    #[derive(Clone, Debug)]
    enum Op {
        Insert(u64),
        Cancel(usize),
        Advance(u64),
        Late(u64),
    }

    fn span() -> impl Strategy<Value = u64> {
        // Spread over all levels.
        (0u32..63, any::<u64>()).prop_map(|(bits, n)| n & ((1 << bits) - 1))
    }

    fn op() -> impl Strategy<Value = Op> {
        prop_oneof![
            4 => span().prop_map(Op::Insert),
            1 => any::<usize>().prop_map(Op::Cancel),
            2 => span().prop_map(|s| Op::Advance(s >> 2)),
            1 => span().prop_map(Op::Late),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]
        #[test]
        fn the_wheel_does_what_a_sorted_map_does(ops in prop::collection::vec(op(), 1..120)) {
            let mut now: u64 = 12_345;
            let mut wheel = Wheel::new(now);
            let mut model: BTreeMap<(u64, u64), Key> = BTreeMap::new();
            let mut dead: Vec<Key> = Vec::new();
            let fired = Arc::new(AtomicU64::new(0));
            let mut cancelled = false;
            for (name, op) in (1..).zip(ops) {
                match op {
                    Op::Insert(_) | Op::Late(_) => {
                        let deadline = match op {
                            Op::Insert(after) => now.saturating_add(after),
                            Op::Late(before) => now.saturating_sub(before),
                            _ => unreachable!(),
                        };
                        let key = wheel.insert(deadline, Arc::new(Named(name, fired.clone())).into());
                        // What is late fires with what is due now, in order of insertion.
                        model.insert((tick_after(deadline).max(now / TICK_NS), name), key);
                    }
                    Op::Cancel(n) => if let Some((&at, &key)) = model.iter().nth(n % model.len().max(1)) {
                        prop_assert!(wheel.contains(key));
                        prop_assert!(wheel.cancel(key).is_some());
                        model.remove(&at);
                        dead.push(key);
                        cancelled = true;
                    },
                    Op::Advance(by) => {
                        now = now.saturating_add(by);
                        let mut order = Vec::new();
                        wheel.expire(now, &mut |waker| {
                            waker.wake();
                            order.push(fired.load(Ordering::Relaxed));
                        });
                        let later = model.split_off(&(now / TICK_NS + 1, 0));
                        let due = core::mem::replace(&mut model, later);
                        let mut names: Vec<_> = due.keys().map(|at| at.1).collect();
                        let ticks: BTreeMap<_, _> = due.keys().map(|at| (at.1, at.0)).collect();
                        prop_assert!(order.iter().map(|n| ticks[n]).is_sorted());
                        order.sort_unstable();
                        names.sort_unstable();
                        prop_assert_eq!(order, names);
                        dead.extend(due.into_values());
                        cancelled &= !model.is_empty();
                    }
                }
                prop_assert_eq!(wheel.len(), model.len());
                let first = model.keys().next().map(|at| nanoseconds(at.0));
                if cancelled {
                    prop_assert!(wheel.next_deadline_ns() <= first || first.is_none());
                    prop_assert_eq!(wheel.next_deadline_ns().is_none(), first.is_none());
                } else {
                    prop_assert_eq!(wheel.next_deadline_ns(), first);
                }
                for &key in &dead {
                    prop_assert!(!wheel.contains(key));
                }
            }
            for key in dead {
                prop_assert!(wheel.cancel(key).is_none());
                prop_assert!(wheel.update(key, Waker::noop()).is_err());
            }
        }
    }

    #[test]
    fn timers_of_slots_with_many_blocks_fire_or_are_cancelled_wherever_they_are() {
        for seed in 1..40u64 {
            let mut random = seed;
            let mut below = |n: u64| {
                random ^= random << 13;
                random ^= random >> 7;
                random ^= random << 17;
                random % n
            };
            let (mut now, mut wheel) = (0, Wheel::new(0));
            let fired = Arc::new(AtomicU64::new(0));
            let mut live: BTreeMap<u64, (u64, Key)> = BTreeMap::new();
            for name in 1..4000 {
                match below(8) {
                    // Few ticks, so that slots of all levels have many.
                    0..5 => {
                        let deadline = now + (below(4) << (6 * below(4))) * TICK_NS;
                        let key =
                            wheel.insert(deadline, Arc::new(Named(name, fired.clone())).into());
                        live.insert(name, (deadline, key));
                    }
                    5 | 6 if !live.is_empty() => {
                        let nth = below(live.len() as u64) as usize;
                        let (&name, &(_, key)) = live.iter().nth(nth).unwrap();
                        wheel.cancel(key).unwrap().wake();
                        assert_eq!(fired.load(Ordering::Relaxed), name);
                        live.remove(&name);
                    }
                    _ => {
                        now += below(600) * TICK_NS;
                        for _ in 0..below(100) {
                            let Some(waker) = wheel.pop_expired(now) else {
                                break;
                            };
                            waker.wake();
                            let (deadline, _) =
                                live.remove(&fired.load(Ordering::Relaxed)).unwrap();
                            assert!(deadline <= now);
                        }
                    }
                }
                assert_eq!(wheel.len(), live.len());
            }
            now += 1 << 40;
            while let Some(waker) = wheel.pop_expired(now) {
                waker.wake();
                live.remove(&fired.load(Ordering::Relaxed)).unwrap();
            }
            assert!(live.is_empty() && wheel.is_empty());
        }
    }

    #[test]
    fn a_timer_never_fires_early_and_at_most_a_tick_late() {
        for deadline in [0, 1, 255, 256, 257, 4096, 1_000_000, 16_777_217, 1 << 40] {
            let mut wheel = Wheel::new(0);
            wheel.insert(deadline, Waker::noop().clone());
            let told = wheel.next_deadline_ns().unwrap();
            assert!(told >= deadline && told - deadline < TICK_NS);
            if let Some(before) = told.checked_sub(1) {
                assert!(wheel.pop_expired(before).is_none(), "{deadline}");
            }
            assert!(wheel.pop_expired(told).is_some(), "{deadline}");
            assert!(wheel.is_empty());
        }
    }

    #[test]
    fn a_deadline_at_the_end_of_time_never_fires() {
        let mut wheel = Wheel::new(u64::MAX - 5000);
        let key = wheel.insert(u64::MAX, Waker::noop().clone());
        assert_eq!(wheel.next_deadline_ns(), Some(u64::MAX));
        assert!(wheel.pop_expired(u64::MAX).is_none());
        assert!(wheel.cancel(key).is_some());
    }

    #[test]
    fn a_million_timers_fire_in_order_and_their_places_are_used_again() {
        let mut wheel = Wheel::new(0);
        let mut seed = 1u64;
        for round in 0..2 {
            let start = round * 20_000_000_000;
            for _ in 0..1_000_000 {
                seed ^= seed << 13;
                seed ^= seed >> 7;
                seed ^= seed << 17;
                wheel.insert(start + seed % 10_000_000_000, Waker::noop().clone());
            }
            assert_eq!(wheel.len(), 1_000_000);
            let mut fired = 0;
            while let Some(next) = wheel.next_deadline_ns() {
                assert_eq!(wheel.expire(next - 1, &mut |_| ()), 0);
                let now = wheel.expire(next, &mut |_| ());
                assert!(now > 0);
                fired += now;
            }
            assert_eq!(fired, 1_000_000);
        }
        assert_eq!(wheel.places.len(), 1_000_000usize.div_ceil(PLACES));
    }
}
