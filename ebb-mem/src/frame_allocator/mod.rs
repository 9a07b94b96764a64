//! What [`frame`](crate::frame) is made of: a buddy allocator with a reference count per frame and a
//! per-core cache of single frames in front.
//!
//! What must hold: see `info.rs` for who writes a frame's entry and
//! `buddy.rs` for which entries are read.

mod buddy;
mod info;
#[cfg(test)]
mod tests;

use crate::phys::{FRAME_SHIFT, FRAME_SIZE, LinearMap, PhysAddr};
use buddy::{Buddy, FrameArray};
use core::ops::Range;
use core::sync::atomic::{
    Ordering::{Acquire, Relaxed, Release},
    fence,
};
use info::{FrameInfo, Tag};
use spin::mutex::SpinMutex;

/// The largest order: 1 GiB.
pub const MAX_ORDER: u32 = 18;

/// The order of a 2 MiB block, the processor's large page.
pub const LARGE_PAGE_ORDER: u32 = 9;

pub(crate) const ORDERS: usize = MAX_ORDER as usize + 1;

/// Frame numbers are 32 bits wide: 16 TiB.
const FRAME_NUMBERS: u64 = 1 << 32;

/// The most ranges of a memory map that are used.
const MAX_RANGES: usize = 64;

/// A NUMA node. There is one today; the parameter is in the interface so that
/// callers say what they mean already.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Node(pub u8);

impl Node {
    /// The node of the calling core.
    pub const LOCAL: Node = Node(0);
}

/// Of so many large pages one is kept for the heap, whose chunks they are: without a free one it fails, and with it the machine, however
/// many single frames are free. None in machines with fewer.
const KEPT_FOR_HEAP: u64 = 64;

/// Why [`crate::init`] failed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum InitError {
    /// The memory map holds no whole usable frame.
    NoUsableMemory,
    /// No range of the map is large enough for the allocator's own tables.
    TooLittleMemory {
        /// Bytes the tables need in one piece.
        needed: u64,
        /// Bytes of the largest range.
        largest: u64,
    },
    /// `init` had been called before.
    AlreadyInitialised,
}

impl core::fmt::Display for InitError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            InitError::NoUsableMemory => {
                f.write_str("the memory map holds no usable memory; check what the machine or its loader passes")
            }
            InitError::TooLittleMemory { needed, largest } => write!(
                f,
                "too little memory: the frame tables need {needed} bytes in one piece, the largest usable range has {largest}; give the machine more memory"
            ),
            InitError::AlreadyInitialised => f.write_str("ebb-mem is initialised already; call init once, on the boot core"),
        }
    }
}

impl core::error::Error for InitError {}

/// Usable memory, free memory and how it is split.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct FrameStats {
    /// Frames given to the allocator, its own tables not counted.
    pub total: u64,
    /// Frames on the free lists. Frames in per-core caches are not among them.
    pub free: u64,
    /// Free blocks of each order.
    pub blocks: [u32; MAX_ORDER as usize + 1],
    /// Free frames that only the heap gets: in the last large pages, which its chunks are and single frames would break up, and in
    /// pieces of those that it has broken up itself.
    pub kept: u64,
    /// How many are to be kept in large pages.
    pub to_keep: u64,
}

impl FrameStats {
    /// Free frames for everything else than the heap.
    #[must_use]
    pub fn free_for_pages(&self) -> u64 {
        self.free - self.kept
    }

    /// Free frames that lie together in large pages: what chunks of the heap, and with them all small blocks, are made of.
    #[must_use]
    pub fn free_in_large_pages(&self) -> u64 {
        let blocks = self.blocks.iter().zip(0u32..);
        let large = blocks.filter(|(_, order)| *order >= LARGE_PAGE_ORDER);
        large.map(|(count, order)| u64::from(*count) << order).sum()
    }
}

/// The frames of one machine or arena.
pub(crate) struct FrameAllocator {
    linear: LinearMap,
    array: FrameArray,
    buddy: SpinMutex<Buddy>,
    total: u64,
}

// SAFETY: the frame array is shared through atomics and the free lists
// through the lock.
unsafe impl Sync for FrameAllocator {}
// SAFETY: as above; nothing is bound to a thread.
unsafe impl Send for FrameAllocator {}

/// Usable frames as sorted, disjoint, not adjacent ranges of frame numbers.
struct UsableRanges {
    ranges: [(u32, u32); MAX_RANGES],
    len: usize,
}

impl UsableRanges {
    fn from_map(map: &[Range<PhysAddr>]) -> Self {
        let mut usable = UsableRanges {
            ranges: [(0, 0); MAX_RANGES],
            len: 0,
        };
        for range in map {
            // Whole frames only; frame 0 never, for address 0 means nothing.
            let start = range.start.0.div_ceil(FRAME_SIZE as u64).max(1);
            let end = (range.end.0 >> FRAME_SHIFT).min(FRAME_NUMBERS - 1);
            if start < end {
                usable.insert(start as u32, end as u32);
            }
        }
        usable.join();
        usable
    }

    fn insert(&mut self, start: u32, end: u32) {
        if self.len == MAX_RANGES {
            // Full: the smallest range loses.
            let smallest = (0..self.len)
                .min_by_key(|&i| self.ranges[i].1 - self.ranges[i].0)
                .unwrap_or(0);
            if self.ranges[smallest].1 - self.ranges[smallest].0 >= end - start {
                return;
            }
            self.remove(smallest);
        }
        let at = self.ranges[..self.len].partition_point(|r| r.0 < start);
        self.ranges.copy_within(at..self.len, at + 1);
        self.ranges[at] = (start, end);
        self.len += 1;
    }

    fn remove(&mut self, at: usize) {
        self.ranges.copy_within(at + 1..self.len, at);
        self.len -= 1;
    }

    fn join(&mut self) {
        let mut i = 0;
        while i + 1 < self.len {
            let next = self.ranges[i + 1];
            if self.ranges[i].1 >= next.0 {
                self.ranges[i].1 = self.ranges[i].1.max(next.1);
                self.remove(i + 1);
            } else {
                i += 1;
            }
        }
    }

    fn as_slice(&self) -> &[(u32, u32)] {
        &self.ranges[..self.len]
    }

    /// Drops ranges at the top that would cost more table than they bring
    /// (a little memory far above a hole).
    fn drop_not_worth_it(&mut self) {
        while self.len > 1 {
            let (start, end) = self.ranges[self.len - 1];
            let below = self.ranges[self.len - 2].1;
            let cost = u64::from(end - below) * size_of::<FrameInfo>() as u64;
            if cost < u64::from(end - start) * FRAME_SIZE as u64 {
                break;
            }
            self.len -= 1;
        }
    }
}

impl FrameAllocator {
    /// Takes over the memory of `map`, and reserves `extra` bytes, aligned to
    /// a frame, for the caller.
    ///
    /// # Safety
    /// The ranges are unused memory, mapped by `linear`, for ever.
    pub unsafe fn new(
        map: &[Range<PhysAddr>],
        linear: LinearMap,
        extra: usize,
    ) -> Result<(Self, PhysAddr), InitError> {
        let mut usable = UsableRanges::from_map(map);
        usable.drop_not_worth_it();
        let (Some(&(first, _)), Some(&(_, end))) =
            (usable.as_slice().first(), usable.as_slice().last())
        else {
            return Err(InitError::NoUsableMemory);
        };

        // The tables come from the end of the largest range.
        let info_bytes = u64::from(end - first) * size_of::<FrameInfo>() as u64;
        let info_frames = info_bytes.div_ceil(FRAME_SIZE as u64);
        let extra_frames = extra.div_ceil(FRAME_SIZE) as u64;
        let needed = info_frames + extra_frames;
        let largest = (0..usable.len)
            .max_by_key(|&i| usable.ranges[i].1 - usable.ranges[i].0)
            .unwrap_or(0);
        let host = &mut usable.ranges[largest];
        if u64::from(host.1 - host.0) <= needed {
            return Err(InitError::TooLittleMemory {
                needed: needed * FRAME_SIZE as u64,
                largest: u64::from(host.1 - host.0) * FRAME_SIZE as u64,
            });
        }
        host.1 -= needed as u32;
        let tables = PhysAddr(u64::from(host.1) << FRAME_SHIFT);
        let extra_at = tables.offset(info_frames * FRAME_SIZE as u64);

        let base = linear.to_virt(tables).cast::<FrameInfo>();
        // SAFETY: the table's memory was just set aside from memory that the
        // caller gave us; it has `end - first` entries.
        let array = unsafe { FrameArray::new(base, first, end) };
        let mut buddy = Buddy::new(array);
        for &(start, end) in usable.as_slice() {
            buddy.guard_range(start, end);
        }
        for &(start, end) in usable.as_slice() {
            buddy.add_range(start, end);
        }
        let total = buddy.free_frames();
        buddy.keep((total >> LARGE_PAGE_ORDER) / KEPT_FOR_HEAP);
        Ok((
            FrameAllocator {
                linear,
                array,
                buddy: SpinMutex::new(buddy),
                total,
            },
            extra_at,
        ))
    }

    pub fn linear(&self) -> LinearMap {
        self.linear
    }

    pub fn stats(&self) -> FrameStats {
        let buddy = self.buddy.lock();
        let (to_keep, kept) = buddy.kept();
        FrameStats {
            total: self.total,
            free: buddy.free_frames(),
            blocks: buddy.counts(),
            kept,
            to_keep,
        }
    }

    /// A block of `2^order` frames with one reference.
    pub fn alloc(&self, order: u32) -> Option<PhysAddr> {
        self.buddy.lock().take(order).map(address)
    }

    /// As [`alloc`](Self::alloc), for what is not the heap: leaves it the last large pages.
    pub fn alloc_sparing(&self, order: u32) -> Option<PhysAddr> {
        self.buddy.lock().take_sparing(order).map(address)
    }

    /// `pages` frames in a row, aligned to `2^order` frames
    /// (`2^order >= pages`). Freed with [`free_pages`](Self::free_pages).
    pub fn alloc_pages(&self, pages: u32, order: u32) -> Option<PhysAddr> {
        self.buddy.lock().take_pages(pages, order).map(address)
    }

    /// # Safety
    /// `alloc_pages(pages, _)` gave this address, or the range was brought to
    /// this length since, and nothing uses it any more.
    pub unsafe fn free_pages(&self, addr: PhysAddr, pages: u32) {
        if cfg!(debug_assertions) {
            for (at, order) in buddy::pieces(number(addr), pages) {
                self.check_allocated(address(at), order);
            }
        }
        self.buddy.lock().give_pages(number(addr), pages);
    }

    /// Brings a range of `old` frames to `new` without moving it.
    ///
    /// # Safety
    /// As for [`free_pages`](Self::free_pages), of the frames given up.
    pub unsafe fn resize_pages(&self, addr: PhysAddr, old: u32, new: u32) -> bool {
        let mut buddy = self.buddy.lock();
        if new >= old {
            new == old || buddy.grow_pages(number(addr), old, new)
        } else {
            buddy.shrink_pages(number(addr), old, new);
            true
        }
    }

    /// # Safety
    /// `addr` is an allocated block of `order` that nothing uses any more.
    pub unsafe fn free(&self, addr: PhysAddr, order: u32) {
        self.check_allocated(addr, order);
        self.buddy.lock().give_block(number(addr), order);
    }

    fn info(&self, addr: PhysAddr) -> &FrameInfo {
        self.array.get(number(addr))
    }

    /// Debug builds: `addr` is the beginning of an allocated block.
    fn check_allocated(&self, addr: PhysAddr, order: u32) {
        if cfg!(debug_assertions) {
            assert!(
                addr.is_aligned(FRAME_SIZE as u64) && self.array.contains(number(addr)),
                "ebb-mem: {addr} is not a frame of the allocator: foreign or misaligned address"
            );
            let info = self.info(addr);
            assert!(
                info.is(Tag::Allocated, order),
                "ebb-mem: {addr} is not the beginning of an allocated block of order {order} (state {:#x}): double free, wrong order or foreign frame",
                info.raw()
            );
        }
    }

    pub fn order_of(&self, addr: PhysAddr) -> u32 {
        self.info(addr).order()
    }

    pub fn share(&self, addr: PhysAddr) {
        let info = self.info(addr);
        debug_assert!(
            info.has_tag(Tag::Allocated),
            "ebb-mem: sharing {addr}, which is not allocated"
        );
        let before = info.refs.fetch_add(1, Relaxed);
        debug_assert!(
            before != 0 && before != u32::MAX,
            "ebb-mem: reference count of {addr} is {before}"
        );
    }

    pub fn refs(&self, addr: PhysAddr) -> u32 {
        self.info(addr).refs.load(Acquire)
    }

    /// Takes one reference away; true when it was the last.
    pub fn unref(&self, addr: PhysAddr) -> bool {
        let info = self.info(addr);
        // Nobody can share a frame whose only reference is ours, so the
        // common case needs no read-modify-write.
        if info.refs.load(Acquire) == 1 {
            return true;
        }
        let before = info.refs.fetch_sub(1, Release);
        debug_assert!(before != 0, "ebb-mem: reference count of {addr} underflows");
        if before == 1 {
            info.refs.store(1, Relaxed);
            fence(Acquire);
            return true;
        }
        false
    }

    /// Makes one allocated block of `order` into `2^order` frames that are
    /// shared and freed one by one, each with the block's reference count.
    pub fn break_up(&self, addr: PhysAddr, order: u32) {
        self.check_allocated(addr, order);
        let refs = self.refs(addr);
        let first = number(addr);
        for frame in first..first + (1 << order) {
            let info = self.array.get(frame);
            info.refs.store(refs, Relaxed);
            info.set(Tag::Allocated, 0);
        }
    }
}

#[inline]
fn number(addr: PhysAddr) -> u32 {
    addr.frame_number() as u32
}

#[inline]
fn address(frame: u32) -> PhysAddr {
    PhysAddr(u64::from(frame) << FRAME_SHIFT)
}

/// How many frames a core keeps, and moves at once.
const CACHE_FRAMES: usize = 64;
const CACHE_BATCH: usize = 32;

/// A core's own single frames: allocating and freeing them takes no lock.
pub(crate) struct FrameCache {
    len: usize,
    frames: [u32; CACHE_FRAMES],
}

impl FrameCache {
    pub const fn new() -> Self {
        FrameCache {
            len: 0,
            frames: [0; CACHE_FRAMES],
        }
    }

    #[inline]
    pub fn alloc(&mut self, frames: &FrameAllocator) -> Option<PhysAddr> {
        if self.len == 0 {
            self.refill(frames);
        }
        self.len = self.len.checked_sub(1)?;
        let frame = self.frames[self.len];
        let info = frames.array.get(frame);
        info.set(Tag::Allocated, 0);
        info.refs.store(1, Relaxed);
        Some(address(frame))
    }

    /// # Safety
    /// As [`FrameAllocator::free`] with order 0.
    #[inline]
    pub unsafe fn free(&mut self, frames: &FrameAllocator, addr: PhysAddr) {
        frames.check_allocated(addr, 0);
        if self.len == CACHE_FRAMES {
            self.flush(frames, CACHE_BATCH);
        }
        frames.info(addr).set(Tag::Cached, 0);
        self.frames[self.len] = number(addr);
        self.len += 1;
    }

    #[cold]
    fn refill(&mut self, frames: &FrameAllocator) {
        let mut buddy = frames.buddy.lock();
        while self.len < CACHE_BATCH {
            let Some(frame) = buddy.take_sparing(0) else {
                break;
            };
            frames.array.get(frame).set(Tag::Cached, 0);
            self.frames[self.len] = frame;
            self.len += 1;
        }
        // Ascending addresses come out first.
        self.frames[..self.len].reverse();
    }

    /// Gives the `count` frames that were cached longest back.
    pub fn flush(&mut self, frames: &FrameAllocator, count: usize) {
        let count = count.min(self.len);
        let mut buddy = frames.buddy.lock();
        for &frame in &self.frames[..count] {
            buddy.give_block(frame, 0);
        }
        drop(buddy);
        self.frames.copy_within(count..self.len, 0);
        self.len -= count;
    }
}
