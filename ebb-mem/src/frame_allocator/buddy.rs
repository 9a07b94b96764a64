//! The buddy allocator proper: free lists by order over the frame array.
//!
//! A block of order `o` is `2^o` frames and begins at a multiple of `2^o`
//! (Knuth, The Art of Computer Programming, 2.5). Nothing is written for a
//! frame until it becomes the first of a block, so start-up cost does not
//! grow with memory: 16 GiB begin as a few dozen entries.
//!
//! What must hold, and why uninitialised entries are never read: the only
//! entries looked at are those of (a) first frames of blocks, (b) the buddy of
//! a block being freed, (c) the frame just behind an allocated range. A block
//! came into being by a split, which writes both halves, or is one of the
//! initial blocks, for which `add_range` writes the buddy and the frame behind
//! the range as reserved when they are not usable themselves.
//!
//! A large page of which the heap was given the first piece is in pieces for the heap alone until it is whole again, so that what it takes
//! for a while does not use up the large pages that are kept for it. The pieces of a large page, free or not, are of one [`Owner`], which
//! each one's entry says.

use super::info::{FrameInfo, NONE, Owner, Tag};
use super::{LARGE_PAGE_ORDER, MAX_ORDER, ORDERS};
use core::sync::atomic::Ordering::Relaxed;

/// The frame array: entries for frame numbers `[first, end)`.
#[derive(Clone, Copy)]
pub(super) struct FrameArray {
    base: *mut FrameInfo,
    first: u32,
    end: u32,
}

impl FrameArray {
    /// # Safety
    /// `base` points to `end - first` entries that live as long as the array
    /// is used and are accessed through it alone.
    pub const unsafe fn new(base: *mut FrameInfo, first: u32, end: u32) -> Self {
        FrameArray { base, first, end }
    }

    #[inline]
    pub fn contains(&self, frame: u32) -> bool {
        frame >= self.first && frame < self.end
    }

    /// The entry of `frame`, which must be in the array.
    #[inline]
    pub fn get(&self, frame: u32) -> &FrameInfo {
        debug_assert!(
            self.contains(frame),
            "frame {frame:#x} is not managed memory"
        );
        // SAFETY: in bounds, as `new`'s caller promised and the assertion
        // states; entries are plain atomics, for which any bytes are valid.
        unsafe { &*self.base.add((frame - self.first) as usize) }
    }
}

/// The free blocks of an owner, by order; whole large pages are everybody's.
struct Lists {
    heads: [u32; ORDERS],
    counts: [u32; ORDERS],
    /// Bit `o` is set when list `o` is not empty.
    nonempty: u32,
    free_frames: u64,
}

impl Lists {
    const EMPTY: Self = Self {
        heads: [NONE; ORDERS],
        counts: [0; ORDERS],
        nonempty: 0,
        free_frames: 0,
    };

    /// The order of the smallest block of at least this order.
    fn smallest(&self, order: u32) -> Option<u32> {
        let fitting = self.nonempty >> order;
        (fitting != 0).then(|| order + fitting.trailing_zeros())
    }
}

/// Free lists. Used under the lock of its zone.
pub(super) struct Buddy {
    array: FrameArray,
    all: Lists,
    heap: Lists,
    /// Large pages that are free as a whole, and how many of them [`take_sparing`](Self::take_sparing) leaves.
    large_pages: u64,
    kept_large_pages: u64,
}

// SAFETY: the raw pointer inside leads to memory that the zone alone owns.
unsafe impl Send for Buddy {}

impl Buddy {
    pub const fn new(array: FrameArray) -> Self {
        Buddy {
            array,
            all: Lists::EMPTY,
            heap: Lists::EMPTY,
            large_pages: 0,
            kept_large_pages: 0,
        }
    }

    pub fn free_frames(&self) -> u64 {
        self.all.free_frames + self.heap.free_frames
    }

    fn lists(&mut self, owner: Owner) -> &mut Lists {
        match owner {
            Owner::All => &mut self.all,
            Owner::Heap => &mut self.heap,
        }
    }

    /// Sets how many large pages [`take_sparing`](Self::take_sparing) leaves.
    pub fn keep(&mut self, large_pages: u64) {
        self.kept_large_pages = large_pages;
    }

    /// How many frames are to be left for the heap, and how many are: in whole large pages or in pieces of its own.
    pub fn kept(&self) -> (u64, u64) {
        let wanted = self.kept_large_pages;
        let whole = wanted.min(self.large_pages) << LARGE_PAGE_ORDER;
        (wanted << LARGE_PAGE_ORDER, whole + self.heap.free_frames)
    }

    pub fn counts(&self) -> [u32; ORDERS] {
        let mut counts = self.all.counts;
        let both = counts.iter_mut().zip(self.heap.counts);
        both.for_each(|(all, heap)| *all += heap);
        counts
    }

    /// Writes the guard entries of the usable range `[start, end)`. To be
    /// called for every range before the first `add_range`.
    pub fn guard_range(&mut self, start: u32, end: u32) {
        let mut frame = start;
        while frame < end {
            let order = largest_order(frame, end);
            self.reserve(frame ^ (1 << order));
            frame += 1 << order;
        }
        self.reserve(end);
    }

    fn reserve(&mut self, frame: u32) {
        if self.array.contains(frame) {
            self.array.get(frame).set(Tag::Reserved, 0);
        }
    }

    /// Gives the usable frames `[start, end)` to the allocator.
    pub fn add_range(&mut self, start: u32, end: u32) {
        let mut frame = start;
        while frame < end {
            let order = largest_order(frame, end);
            self.push(frame, order, Owner::All);
            frame += 1 << order;
        }
    }

    fn push(&mut self, frame: u32, order: u32, owner: Owner) {
        let (o, owner) = (order as usize, owner_of(order, owner));
        let array = self.array;
        self.large_pages += (1 << order) >> LARGE_PAGE_ORDER;
        let lists = self.lists(owner);
        let head = lists.heads[o];
        let info = array.get(frame);
        info.set_of(Tag::Free, order, owner);
        info.prev.store(NONE, Relaxed);
        info.next.store(head, Relaxed);
        if head != NONE {
            array.get(head).prev.store(frame, Relaxed);
        }
        lists.heads[o] = frame;
        lists.counts[o] += 1;
        lists.nonempty |= 1 << order;
        lists.free_frames += 1 << order;
    }

    fn unlink(&mut self, frame: u32, order: u32) {
        let o = order as usize;
        let array = self.array;
        self.large_pages -= (1 << order) >> LARGE_PAGE_ORDER;
        let info = array.get(frame);
        let (next, prev) = (info.next.load(Relaxed), info.prev.load(Relaxed));
        let lists = self.lists(info.owner());
        if prev == NONE {
            lists.heads[o] = next;
        } else {
            array.get(prev).next.store(next, Relaxed);
        }
        if next != NONE {
            array.get(next).prev.store(prev, Relaxed);
        }
        lists.counts[o] -= 1;
        if lists.heads[o] == NONE {
            lists.nonempty &= !(1 << order);
        }
        lists.free_frames -= 1 << order;
    }

    /// Takes a block of `order` for the heap, marked allocated with one reference.
    pub fn take(&mut self, order: u32) -> Option<u32> {
        if order > MAX_ORDER {
            return None;
        }
        if let Some(from) = self.heap.smallest(order) {
            let frame = self.heap.heads[from as usize];
            return Some(self.take_from(frame, (from, order), Owner::Heap));
        }
        let from = self.all.smallest(order)?;
        let frame = self.all.heads[from as usize];
        let owner = match from {
            LARGE_PAGE_ORDER.. => Owner::Heap,
            _ => Owner::All,
        };
        Some(self.take_from(frame, (from, order), owner))
    }

    /// As [`take`](Self::take), for everybody: neither takes nor breaks up the last large pages, nor takes pieces of the heap's.
    pub fn take_sparing(&mut self, order: u32) -> Option<u32> {
        if order > MAX_ORDER {
            return None;
        }
        let from = self.all.smallest(order)?;
        let large_pages = ((1 << order) >> LARGE_PAGE_ORDER).max(1);
        if from >= LARGE_PAGE_ORDER && self.large_pages < self.kept_large_pages + large_pages {
            return None;
        }
        let frame = self.all.heads[from as usize];
        Some(self.take_from(frame, (from, order), Owner::All))
    }

    /// Takes a block of order `to` from a free one of order `from`, whose rest is the owner's where it is no whole large page.
    fn take_from(&mut self, frame: u32, (from, to): (u32, u32), owner: Owner) -> u32 {
        self.unlink(frame, from);
        self.split(frame, (from, to), owner);
        self.mark(frame, to, owner);
        frame
    }

    /// Frees all but the first `2^to` frames of an unlinked block.
    fn split(&mut self, frame: u32, (from, to): (u32, u32), owner: Owner) {
        for order in (to..from).rev() {
            self.push(frame + (1 << order), order, owner);
        }
    }

    fn mark(&mut self, frame: u32, order: u32, owner: Owner) {
        let info = self.array.get(frame);
        info.set_of(Tag::Allocated, order, owner_of(order, owner));
        info.refs.store(1, Relaxed);
    }

    /// Takes `pages` frames in a row, aligned to `2^order` frames, where
    /// `2^order >= pages`. They are marked as [`pieces`] says.
    pub fn take_pages(&mut self, pages: u32, order: u32) -> Option<u32> {
        let frame = self.take(order)?;
        // Of whole large pages the last one may be broken up now.
        let owner = match order {
            LARGE_PAGE_ORDER.. => Owner::Heap,
            _ => self.array.get(frame).owner(),
        };
        self.mark_pages(frame, pages, owner);
        self.give_tail(frame, (pages, 1 << order), owner);
        Some(frame)
    }

    /// Marks a range; its last large page is the owner's if it is in pieces.
    fn mark_pages(&mut self, frame: u32, pages: u32, owner: Owner) {
        for (at, order) in pieces(frame, pages) {
            self.mark(at, order, owner);
        }
    }

    /// Frees frames `[used, all)` of the range that begins at `frame`, of which no large page but the one that `used` is in is in pieces.
    fn give_tail(&mut self, frame: u32, (used, all): (u32, u32), owner: Owner) {
        let (mut at, end) = (frame + used, frame + all);
        while at < end {
            let order = largest_order(at, end);
            self.give(at, order, owner);
            at += 1 << order;
        }
    }

    /// Takes a block back, which is the owner's, and joins it with its free buddies.
    pub fn give(&mut self, mut frame: u32, mut order: u32, owner: Owner) {
        while order < MAX_ORDER {
            let buddy = frame ^ (1 << order);
            if !self.array.contains(buddy) || !self.array.get(buddy).is(Tag::Free, order) {
                break;
            }
            self.unlink(buddy, order);
            self.array.get(frame.max(buddy)).set(Tag::Interior, 0);
            frame = frame.min(buddy);
            order += 1;
        }
        self.push(frame, order, owner);
    }

    /// Takes an allocated block back.
    pub fn give_block(&mut self, frame: u32, order: u32) {
        self.give(frame, order, self.array.get(frame).owner());
    }

    /// Takes back what [`take_pages`](Self::take_pages) gave.
    pub fn give_pages(&mut self, frame: u32, pages: u32) {
        for (at, order) in pieces(frame, pages) {
            self.give_block(at, order);
        }
    }

    /// Whose the last large page of a range is.
    fn last_owner(&self, frame: u32, pages: u32) -> Owner {
        let last = pieces(frame, pages).last();
        last.map_or(Owner::All, |(at, _)| self.array.get(at).owner())
    }

    /// Gives back the end of a range that was `old` frames long.
    pub fn shrink_pages(&mut self, frame: u32, old: u32, new: u32) {
        let last = self.last_owner(frame, old);
        // Where the large page ends that the shorter range ends in.
        let page_end = (frame + new).next_multiple_of(1 << LARGE_PAGE_ORDER) - frame;
        let owner = match page_end < old || old.is_multiple_of(1 << LARGE_PAGE_ORDER) {
            // That one was whole.
            true => Owner::Heap,
            false => last,
        };
        // The pieces of the shorter range are not those of the longer one:
        // mark what stays first, so that no joining looks past it.
        self.mark_pages(frame, new, owner);
        let middle = page_end.min(old);
        self.give_tail(frame, (new, middle), owner);
        // Whole large pages, and pieces of the one that the longer range ended in.
        self.give_tail(frame, (middle, old), last);
    }

    /// Lengthens a range in place when the frames behind it are free.
    pub fn grow_pages(&mut self, frame: u32, old: u32, new: u32) -> bool {
        let Some(end) = frame.checked_add(new) else {
            return false;
        };
        // `pieces` needs the range's start aligned to its longest piece.
        if !frame.is_multiple_of(new.next_power_of_two()) {
            return false;
        }
        let mut at = frame + old;
        while at < end {
            if !self.array.contains(at) || !self.array.get(at).has_tag(Tag::Free) {
                return false;
            }
            at += 1 << self.array.get(at).order();
        }
        let mut at = frame + old;
        // Whose the large page is that the longer range ends in.
        let mut owner = self.last_owner(frame, old);
        while at < end {
            let order = self.array.get(at).order();
            owner = match order {
                LARGE_PAGE_ORDER.. => Owner::Heap,
                _ => self.array.get(at).owner(),
            };
            self.unlink(at, order);
            self.array.get(at).set(Tag::Interior, 0);
            let block_end = at + (1 << order);
            if block_end > end {
                // Split down to what is needed, as repeated halving would.
                let mut part = order;
                let mut from = at;
                while from < end {
                    part -= 1;
                    let half = from + (1 << part);
                    if half >= end {
                        self.push(half, part, owner);
                        if half == end {
                            break;
                        }
                    } else {
                        self.array.get(half).set(Tag::Interior, 0);
                        from = half;
                    }
                }
            }
            at = block_end;
        }
        self.mark_pages(frame, new, owner);
        true
    }
}

/// Whose a block of that order is, of a large page of this owner's if it is smaller.
fn owner_of(order: u32, owner: Owner) -> Owner {
    match order {
        LARGE_PAGE_ORDER.. => Owner::All,
        _ => owner,
    }
}

/// The largest order of a block that begins at `frame` and ends by `end`.
fn largest_order(frame: u32, end: u32) -> u32 {
    let by_alignment = frame.trailing_zeros();
    let by_length = (end - frame).ilog2();
    by_alignment.min(by_length).min(MAX_ORDER)
}

/// The blocks that `pages` frames at `frame` consist of, largest first. Each
/// is the left half of its pair, for `frame` is aligned to `pages` rounded up
/// to a power of two; so its buddy is the next piece or the frame behind.
pub(super) fn pieces(frame: u32, pages: u32) -> impl Iterator<Item = (u32, u32)> {
    let mut done = 0;
    core::iter::from_fn(move || {
        let left = pages - done;
        if left == 0 {
            return None;
        }
        let order = left.ilog2();
        let at = frame + done;
        done += 1 << order;
        Some((at, order))
    })
}
