//! The heap: size classes over per-core spans, large blocks from the buddy.
//!
//! | bytes, rounded up to the alignment | come from |
//! |---|---|
//! | up to 8 KiB | spans of 64 KiB of equal blocks |
//! | up to 64 KiB | spans of 512 KiB |
//! | above | whole frames of the buddy allocator, really freed |
//!
//! What must hold: `dealloc` and `realloc` get the layout that `alloc` got, as
//! `GlobalAlloc` demands; the heap finds a block's kind by its size.

use crate::check::{self, CHECKED};
use crate::frame_allocator::FrameAllocator;
use crate::global::{self, Memory};
use crate::phys::FRAME_SIZE;
use crate::spans::class::{MEDIUM_MAX, SIZES, SMALL_MAX, class_of};
use crate::spans::{Core, span};
use crate::tls;
use core::alloc::{GlobalAlloc, Layout};
use core::ptr::null_mut;

#[cfg(test)]
mod tests;

/// The heap of the machine as a global allocator:
///
/// ```no_run
/// #[global_allocator]
/// static HEAP: ebb_mem::Heap = ebb_mem::Heap;
/// ```
///
/// Null before [`crate::init`] and when memory is exhausted.
#[derive(Clone, Copy, Debug, Default)]
pub struct Heap;

/// The size that decides where a block comes from.
#[inline(always)]
fn effective(layout: Layout) -> usize {
    (layout.size() + layout.align() - 1) & !(layout.align() - 1)
}

fn pages_of(size: usize) -> u32 {
    u32::try_from(size.div_ceil(FRAME_SIZE)).unwrap_or(u32::MAX)
}

/// Runs a checked operation; a failed check ends the program.
fn checked<R>(operation: impl FnOnce() -> R) -> R {
    let guard = check::NoUnwind;
    let result = operation();
    core::mem::forget(guard);
    result
}

// SAFETY: blocks are disjoint, aligned and stay until freed; nothing unwinds.
unsafe impl GlobalAlloc for Heap {
    #[inline]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if CHECKED {
            // SAFETY: this thread's own core, by the slot's invariant.
            return checked(|| unsafe { checked_alloc(Caller::Slot, layout) });
        }
        // SAFETY: as above.
        unsafe { raw_alloc(Caller::Slot, layout) }
    }

    #[inline]
    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        if CHECKED {
            // SAFETY: the caller's promise.
            return checked(|| unsafe { checked_dealloc(Caller::Slot, ptr, layout) });
        }
        // SAFETY: the caller's promise.
        unsafe { raw_dealloc(Caller::Slot, ptr, layout) }
    }

    #[inline]
    unsafe fn realloc(&self, ptr: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        if CHECKED {
            // SAFETY: the caller's promise.
            return checked(|| unsafe { realloc(Caller::Slot, ptr, layout, new_size) });
        }
        // SAFETY: the caller's promise.
        unsafe { realloc(Caller::Slot, ptr, layout, new_size) }
    }
}

/// Whose state an operation uses.
#[derive(Clone, Copy)]
pub(crate) enum Caller<'a> {
    /// That of the calling thread.
    Slot,
    /// That of a given core (tests).
    #[cfg_attr(
        not(test),
        expect(dead_code, reason = "for tests of several machines in one process")
    )]
    Core(&'a Memory, &'a Core),
}

impl Caller<'_> {
    #[inline(always)]
    fn core(&self) -> *const Core {
        match self {
            Caller::Slot => tls::get(),
            Caller::Core(_, core) => *core,
        }
    }

    fn memory(&self) -> Option<&Memory> {
        match self {
            Caller::Slot => global::memory(),
            Caller::Core(memory, _) => Some(memory),
        }
    }

    /// Runs `f` on the caller's state, or on the shared one under its lock.
    fn with<R>(&self, f: impl FnOnce(&Memory, &Core) -> R) -> Option<R> {
        let memory = self.memory()?;
        let mut core = self.core();
        if core.is_null() {
            memory.claim();
            core = self.core();
        }
        if core.is_null() {
            Some(memory.with_shared(|core| f(memory, core)))
        } else {
            // SAFETY: cores live as long as their machine.
            Some(f(memory, unsafe { &*core }))
        }
    }
}

/// # Safety
/// The calling thread may use the caller's core.
#[inline(always)]
pub(crate) unsafe fn raw_alloc(caller: Caller<'_>, layout: Layout) -> *mut u8 {
    let size = effective(layout);
    let core = caller.core();
    if size <= MEDIUM_MAX && !core.is_null() {
        // SAFETY: the caller's promise.
        let block = unsafe { (*core).alloc_listed(class_of(size)) };
        if !block.is_null() {
            return block;
        }
    }
    alloc_rare(caller, layout)
}

/// Empty lists, large blocks, and threads that are not cores.
#[cold]
#[inline(never)]
fn alloc_rare(caller: Caller<'_>, layout: Layout) -> *mut u8 {
    let size = effective(layout);
    let block = caller.with(|memory, core| {
        if size > MEDIUM_MAX {
            return alloc_large(memory.frames(), core, layout);
        }
        // SAFETY: `with` gives a core that this thread may use.
        let block = unsafe { core.alloc(class_of(size)) };
        if block.is_null() && core.id() < memory.count() {
            // No chunk left for a core of its own (many cores, little
            // memory): the shared state may have room.
            // SAFETY: under the shared state's lock.
            return memory.with_shared(|shared| unsafe { shared.alloc(class_of(size)) });
        }
        block
    });
    let block = block.unwrap_or(null_mut());
    if block.is_null() {
        caller.with(|_, core| core.counters.add(&core.counters.failures, 1));
    }
    block
}

fn alloc_large(frames: &FrameAllocator, core: &Core, layout: Layout) -> *mut u8 {
    let pages = pages_of(layout.size());
    let align = pages_of(layout.align());
    let Some(span) = pages.checked_next_power_of_two() else {
        return null_mut();
    };
    let order = span.max(align).ilog2();
    if !frames.linear().keeps_alignment(layout.align()) {
        return null_mut();
    }
    let mut addr = frames.alloc_pages(pages, order);
    if addr.is_none() {
        // SAFETY: `core` is the caller's.
        unsafe { core.trim() };
        addr = frames.alloc_pages(pages, order);
    }
    let Some(addr) = addr else { return null_mut() };
    count_large(core, 1, i64::from(pages));
    frames.linear().to_virt(addr)
}

fn count_large(core: &Core, blocks: i64, pages: i64) {
    let counters = &core.counters;
    counters.add(&counters.large_blocks, blocks as u64);
    counters.add(&counters.large_bytes, (pages * FRAME_SIZE as i64) as u64);
}

/// # Safety
/// As `GlobalAlloc::dealloc`, and the calling thread may use the core.
#[inline(always)]
pub(crate) unsafe fn raw_dealloc(caller: Caller<'_>, ptr: *mut u8, layout: Layout) {
    let size = effective(layout);
    // SAFETY: a block of this size lies in a chunk with a header.
    unsafe {
        let span = if size <= SMALL_MAX {
            span::small_span_of(ptr)
        } else if size <= MEDIUM_MAX {
            span::medium_span_of(ptr)
        } else {
            return dealloc_large(caller, ptr, layout);
        };
        let core = caller.core();
        if Core::owns(core, ptr) {
            (*core).free_local(span, ptr);
        } else if !core.is_null() {
            (*core).free_remote(ptr, size);
        } else {
            dealloc_unattached(caller, ptr, size);
        }
    }
}

#[cold]
#[inline(never)]
fn dealloc_unattached(caller: Caller<'_>, ptr: *mut u8, size: usize) {
    // SAFETY: `with` gives a core that this thread may use, and the pointer
    // is the block that `raw_dealloc` was given.
    caller.with(|_, core| unsafe { core.free_any(ptr, size) });
}

#[cold]
#[inline(never)]
fn dealloc_large(caller: Caller<'_>, ptr: *mut u8, layout: Layout) {
    caller.with(|memory, core| {
        let pages = pages_of(layout.size());
        let frames = memory.frames();
        // SAFETY: `alloc_large` gave this range for this layout.
        unsafe { frames.free_pages(frames.linear().to_phys(ptr), pages) };
        count_large(core, -1, -i64::from(pages));
    });
}

/// Resizes without moving when the block's class or the frames behind it
/// allow; true when it did.
///
/// # Safety
/// `ptr` is a raw block of layout `old`.
unsafe fn resize(caller: Caller<'_>, ptr: *mut u8, old: Layout, new: Layout) -> bool {
    let (old_size, new_size) = (effective(old), effective(new));
    if old_size <= MEDIUM_MAX || new_size <= MEDIUM_MAX {
        return old_size <= MEDIUM_MAX
            && new_size <= MEDIUM_MAX
            && class_of(old_size) == class_of(new_size);
    }
    let (old_pages, new_pages) = (pages_of(old.size()), pages_of(new.size()));
    if old_pages == new_pages {
        return true;
    }
    caller
        .with(|memory, core| {
            let frames = memory.frames();
            let addr = frames.linear().to_phys(ptr);
            // SAFETY: the range is the caller's and `old_pages` long.
            let done = unsafe { frames.resize_pages(addr, old_pages, new_pages) };
            if done {
                count_large(core, 0, i64::from(new_pages) - i64::from(old_pages));
            }
            done
        })
        .unwrap_or(false)
}

/// # Safety
/// As `GlobalAlloc::realloc`, and the calling thread may use the core.
pub(crate) unsafe fn realloc(
    caller: Caller<'_>,
    ptr: *mut u8,
    layout: Layout,
    new_size: usize,
) -> *mut u8 {
    let Ok(new) = Layout::from_size_align(new_size, layout.align()) else {
        return null_mut();
    };
    // SAFETY: the caller's promise, throughout.
    unsafe {
        if CHECKED {
            return checked_realloc(caller, ptr, layout, new);
        }
        if resize(caller, ptr, layout, new) {
            return ptr;
        }
        let moved = raw_alloc(caller, new);
        if !moved.is_null() {
            moved.copy_from_nonoverlapping(ptr, layout.size().min(new.size()));
            raw_dealloc(caller, ptr, layout);
        }
        moved
    }
}

/// # Safety
/// As [`raw_alloc`].
pub(crate) unsafe fn checked_alloc(caller: Caller<'_>, layout: Layout) -> *mut u8 {
    let Some(padded) = check::padded(layout) else {
        return null_mut();
    };
    // SAFETY: the caller's promise; the raw block is of the padded layout.
    unsafe {
        let raw = raw_alloc(caller, padded);
        if raw.is_null() {
            return raw;
        }
        check::dress(raw, layout, effective(padded) <= MEDIUM_MAX)
    }
}

/// # Safety
/// As [`raw_dealloc`].
pub(crate) unsafe fn checked_dealloc(caller: Caller<'_>, ptr: *mut u8, layout: Layout) {
    let Some(padded) = check::padded(layout) else {
        return;
    };
    // SAFETY: the caller's promise.
    unsafe { raw_dealloc(caller, check::undress(ptr, layout), padded) };
}

unsafe fn checked_realloc(caller: Caller<'_>, ptr: *mut u8, old: Layout, new: Layout) -> *mut u8 {
    // SAFETY: the caller's promise.
    unsafe {
        let raw = check::verify_live(ptr, old);
        if let (Some(padded_old), Some(padded_new)) = (check::padded(old), check::padded(new))
            && resize(caller, raw, padded_old, padded_new)
        {
            check::resized(ptr, old.size(), new.size());
            return ptr;
        }
        let moved = checked_alloc(caller, new);
        if !moved.is_null() {
            moved.copy_from_nonoverlapping(ptr, old.size().min(new.size()));
            checked_dealloc(caller, ptr, old);
        }
        moved
    }
}

/// Bytes that a block of `layout` really takes, for budgets and statistics.
#[must_use]
pub fn block_size(layout: Layout) -> usize {
    let size = effective(layout);
    if size <= MEDIUM_MAX {
        SIZES[class_of(size)] as usize
    } else {
        layout.size().next_multiple_of(FRAME_SIZE)
    }
}
