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

use super::info::{FrameInfo, NONE, Tag};
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

/// Free lists. Used under the lock of its zone.
pub(super) struct Buddy {
    array: FrameArray,
    heads: [u32; ORDERS],
    counts: [u32; ORDERS],
    /// Bit `o` is set when list `o` is not empty.
    nonempty: u32,
    free_frames: u64,
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
            heads: [NONE; ORDERS],
            counts: [0; ORDERS],
            nonempty: 0,
            free_frames: 0,
            large_pages: 0,
            kept_large_pages: 0,
        }
    }

    pub fn free_frames(&self) -> u64 {
        self.free_frames
    }

    /// Sets how many large pages [`take_sparing`](Self::take_sparing) leaves.
    pub fn keep(&mut self, large_pages: u64) {
        self.kept_large_pages = large_pages;
    }

    /// How many large pages are to be left, and how many of these there are.
    pub fn kept(&self) -> (u64, u64) {
        let wanted = self.kept_large_pages;
        (wanted, wanted.min(self.large_pages))
    }

    pub fn counts(&self) -> [u32; ORDERS] {
        self.counts
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
            self.push(frame, order);
            frame += 1 << order;
        }
    }

    fn push(&mut self, frame: u32, order: u32) {
        let o = order as usize;
        let head = self.heads[o];
        let info = self.array.get(frame);
        info.set(Tag::Free, order);
        info.prev.store(NONE, Relaxed);
        info.next.store(head, Relaxed);
        if head != NONE {
            self.array.get(head).prev.store(frame, Relaxed);
        }
        self.heads[o] = frame;
        self.counts[o] += 1;
        self.nonempty |= 1 << order;
        self.free_frames += 1 << order;
        self.large_pages += (1 << order) >> LARGE_PAGE_ORDER;
    }

    fn unlink(&mut self, frame: u32, order: u32) {
        let o = order as usize;
        let info = self.array.get(frame);
        let (next, prev) = (info.next.load(Relaxed), info.prev.load(Relaxed));
        if prev == NONE {
            self.heads[o] = next;
        } else {
            self.array.get(prev).next.store(next, Relaxed);
        }
        if next != NONE {
            self.array.get(next).prev.store(prev, Relaxed);
        }
        self.counts[o] -= 1;
        if self.heads[o] == NONE {
            self.nonempty &= !(1 << order);
        }
        self.free_frames -= 1 << order;
        self.large_pages -= (1 << order) >> LARGE_PAGE_ORDER;
    }

    /// Takes a block of `order`, marked allocated with one reference.
    pub fn take(&mut self, order: u32) -> Option<u32> {
        if order > MAX_ORDER {
            return None;
        }
        let fitting = self.nonempty >> order;
        if fitting == 0 {
            return None;
        }
        let from = order + fitting.trailing_zeros();
        let frame = self.heads[from as usize];
        self.unlink(frame, from);
        self.split(frame, from, order);
        self.mark(frame, order);
        Some(frame)
    }

    /// As [`take`](Self::take), but neither takes nor breaks up the last large pages.
    pub fn take_sparing(&mut self, order: u32) -> Option<u32> {
        const PIECES: u32 = (1 << LARGE_PAGE_ORDER) - 1;
        if order > MAX_ORDER {
            return None;
        }
        let in_pieces = (self.nonempty & PIECES) >> order != 0;
        let large_pages = ((1 << order) >> LARGE_PAGE_ORDER).max(1);
        if !in_pieces && self.large_pages < self.kept_large_pages + large_pages {
            return None;
        }
        self.take(order)
    }

    /// Frees all but the first `2^to` frames of an unlinked block.
    fn split(&mut self, frame: u32, from: u32, to: u32) {
        for order in (to..from).rev() {
            self.push(frame + (1 << order), order);
        }
    }

    fn mark(&mut self, frame: u32, order: u32) {
        let info = self.array.get(frame);
        info.set(Tag::Allocated, order);
        info.refs.store(1, Relaxed);
    }

    /// Takes `pages` frames in a row, aligned to `2^order` frames, where
    /// `2^order >= pages`. They are marked as [`pieces`] says.
    pub fn take_pages(&mut self, pages: u32, order: u32) -> Option<u32> {
        let frame = self.take(order)?;
        self.mark_pages(frame, pages);
        self.give_tail(frame, pages, 1 << order);
        Some(frame)
    }

    fn mark_pages(&mut self, frame: u32, pages: u32) {
        for (at, order) in pieces(frame, pages) {
            self.mark(at, order);
        }
    }

    /// Frees frames `[used, all)` of the range that begins at `frame`.
    fn give_tail(&mut self, frame: u32, used: u32, all: u32) {
        let (mut at, end) = (frame + used, frame + all);
        while at < end {
            let order = largest_order(at, end);
            self.give(at, order);
            at += 1 << order;
        }
    }

    /// Takes a block back and joins it with its free buddies.
    pub fn give(&mut self, mut frame: u32, mut order: u32) {
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
        self.push(frame, order);
    }

    /// Takes back what [`take_pages`](Self::take_pages) gave.
    pub fn give_pages(&mut self, frame: u32, pages: u32) {
        for (at, order) in pieces(frame, pages) {
            self.give(at, order);
        }
    }

    /// Gives back the end of a range that was `old` frames long.
    pub fn shrink_pages(&mut self, frame: u32, old: u32, new: u32) {
        // The pieces of the shorter range are not those of the longer one:
        // mark what stays first, so that no joining looks past it.
        self.mark_pages(frame, new);
        self.give_tail(frame, new, old);
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
        while at < end {
            let order = self.array.get(at).order();
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
                        self.push(half, part);
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
        self.mark_pages(frame, new);
        true
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
