//! Physical memory while the machine comes up: the map, and frames taken from it one after the
//! other until `ebb-mem` owns the rest.
//!
//! What must hold: a frame is handed out once. Frames of this allocator are never given back; it
//! makes page tables, stacks and core blocks, which live as long as the machine.

use crate::paging::linear;
use core::alloc::{GlobalAlloc, Layout};
use spin::mutex::SpinMutex as Mutex;

/// Size of a frame in bytes.
pub const FRAME: u64 = 4096;

/// What a region of physical memory may be used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Ordinary memory.
    Usable,
    /// ACPI tables.
    Acpi,
    /// ACPI non-volatile storage.
    AcpiNvs,
    /// Anything else.
    Reserved,
}

/// A region of physical memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Region {
    /// First byte.
    pub start: u64,
    /// Length in bytes.
    pub len: u64,
    /// Use.
    pub kind: Kind,
}

impl Region {
    /// First byte after the region.
    pub const fn end(&self) -> u64 {
        self.start.saturating_add(self.len)
    }
}

struct Early {
    next: u64,
    end: u64,
}

static EARLY: Mutex<Early> = Mutex::new(Early { next: 0, end: 0 });

/// Gives the early allocator the physical range `[start, end)`.
pub fn set_early(start: u64, end: u64) {
    *EARLY.lock() = Early {
        next: start.next_multiple_of(FRAME),
        end: end & !(FRAME - 1),
    };
}

/// Takes `count` adjoining frames; their contents are whatever they were. `None` when the range is used up.
pub fn take_frames(count: u64) -> Option<u64> {
    let mut early = EARLY.lock();
    let start = early.next.next_multiple_of(FRAME);
    let end = start.checked_add(count * FRAME)?;
    if end > early.end {
        return None;
    }
    early.next = end;
    Some(start)
}

/// Takes one zeroed frame.
pub fn take_zeroed() -> Option<u64> {
    let frame = take_frames(1)?;
    // SAFETY: the frame is ours alone and lies in the linear map (`set_early`'s range does).
    unsafe { linear(frame).cast::<u8>().write_bytes(0, FRAME as usize) };
    Some(frame)
}

/// Gives every usable region that is not taken to the heap. Until `ebb-mem` is there, the heap is the early range itself.
pub fn to_heap(_map: &[Region], _modules: &[(u64, u64)]) {}

struct Bump;

// SAFETY: blocks come from a range nobody else has, each once; nothing is freed.
unsafe impl GlobalAlloc for Bump {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let mut early = EARLY.lock();
        let at = early.next.next_multiple_of(layout.align() as u64);
        let Some(end) = at
            .checked_add(layout.size() as u64)
            .filter(|&end| end <= early.end)
        else {
            return core::ptr::null_mut();
        };
        early.next = end;
        linear(at).cast()
    }

    unsafe fn dealloc(&self, _: *mut u8, _: Layout) {}
}

#[global_allocator]
static BUMP: Bump = Bump;
