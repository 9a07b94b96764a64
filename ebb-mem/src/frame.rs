//! Physical frames of the machine: blocks of `2^order` frames, each with a reference count.
//!
//! Order `o` is `2^o` frames: 0 is 4 KiB, 9 is 2 MiB, 18 is 1 GiB. Blocks are
//! aligned to their size, physically and in the linear map.
//!
//! A frame is allocated with one reference. [`share`] adds one, [`release`]
//! takes one away and frees the frame with the last; a frame whose count is
//! one ([`is_unique`]) may be written by its only holder, which is what
//! copy-on-write asks. Debug builds stop at a double free and at frames that
//! are not the allocator's.

pub use crate::frame_allocator::{FrameStats, InitError, LARGE_PAGE_ORDER, MAX_ORDER, Node};
use crate::{
    frame_allocator::{FrameAllocator, ORDERS},
    global::with_frames,
    phys::{FRAME_SIZE, PhysAddr},
};

/// A block of `2^order` frames on `node`, its contents unspecified. None when
/// memory is exhausted but for what is [kept](FrameStats::kept) for the heap, the order is above [`MAX_ORDER`] or
/// [`crate::init`] has not run.
#[inline]
#[must_use]
pub fn alloc(order: u32, node: Node) -> Option<PhysAddr> {
    let _ = node;
    with_frames(order == 0, |frames, cache| match cache {
        Some(cache) => cache.alloc(frames),
        None => frames.alloc_sparing(order),
    })?
}

/// As [`alloc()`], filled with zeroes.
#[must_use]
pub fn alloc_zeroed(order: u32, node: Node) -> Option<PhysAddr> {
    let addr = alloc(order, node)?;
    // SAFETY: the block is ours alone and mapped by the linear map.
    unsafe { crate::phys_to_virt(addr).write_bytes(0, FRAME_SIZE << order) };
    Some(addr)
}

/// Frees a block whatever its reference count says.
///
/// # Safety
/// `addr` came from [`alloc()`] with this order, and nothing uses it any more.
#[inline]
pub unsafe fn free(addr: PhysAddr, order: u32) {
    with_frames(order == 0, |frames, cache| {
        // SAFETY: the caller's promise.
        unsafe {
            match cache {
                Some(cache) => cache.free(frames, addr),
                None => frames.free(addr, order),
            }
        }
    });
}

/// Adds a reference to an allocated block, named by its first frame.
#[inline]
pub fn share(addr: PhysAddr) {
    with_frames(false, |frames, _| frames.share(addr));
}

/// Adds references to many blocks: where they are counted is looked up once.
#[derive(Clone, Copy)]
pub(crate) struct Sharer<'a>(&'a FrameAllocator);

impl Sharer<'_> {
    /// As [`share`].
    #[inline]
    pub(crate) fn share(self, addr: PhysAddr) {
        self.0.share(addr);
    }
}

/// Calls `f` with what adds references; not when there are no frames.
#[inline]
pub(crate) fn with_sharer(f: impl FnOnce(Sharer<'_>)) {
    let _ = with_frames(false, |frames, _| f(Sharer(frames)));
}

/// Takes a reference away and frees the block with the last one; true when
/// it was freed.
///
/// # Safety
/// The caller owns the reference and does not use the block through it again.
#[inline]
pub unsafe fn release(addr: PhysAddr) -> bool {
    with_frames(true, |frames, cache| {
        if !frames.unref(addr) {
            return false;
        }
        let order = frames.order_of(addr);
        // SAFETY: the last reference is gone.
        unsafe {
            match cache {
                Some(cache) if order == 0 => cache.free(frames, addr),
                _ => frames.free(addr, order),
            }
        }
        true
    })
    .unwrap_or(false)
}

/// Takes a reference away unless it is the last; true when it is, and then the caller still owns it and frees the block. For
/// blocks that hold references to others, which the last holder gives up before it frees the block.
#[inline]
#[must_use]
pub fn unref(addr: PhysAddr) -> bool {
    with_frames(false, |frames, _| frames.unref(addr)).unwrap_or(false)
}

/// Whether the block has exactly one reference. For the holder of that
/// reference the answer stays true until it shares the block itself.
#[inline]
#[must_use]
pub fn is_unique(addr: PhysAddr) -> bool {
    with_frames(false, |frames, _| frames.refs(addr) == 1).unwrap_or(false)
}

/// How many references a block has. For telling only: others may come and go.
#[must_use]
pub fn holders(addr: PhysAddr) -> u32 {
    with_frames(false, |frames, _| frames.refs(addr)).unwrap_or(1)
}

/// Makes an allocated block into single frames that are shared and freed one
/// by one; each has the reference count of the block. (Breaking up a large
/// page of which parts are to be copied.)
///
/// # Safety
/// `addr` is an allocated block of `order`, and nobody uses its count during
/// the call.
pub unsafe fn break_up(addr: PhysAddr, order: u32) {
    with_frames(false, |frames, _| frames.break_up(addr, order));
}

/// What is free now; all zero before [`crate::init`].
#[must_use]
pub fn stats() -> FrameStats {
    with_frames(false, |frames, _| frames.stats()).unwrap_or(FrameStats {
        total: 0,
        free: 0,
        blocks: [0; ORDERS],
        kept: 0,
        to_keep: 0,
    })
}
