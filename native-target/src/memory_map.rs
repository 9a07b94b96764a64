//! Physical memory while the machine comes up: the map, and frames taken from it one after the
//! other until `ebb-mem` owns the rest.
//!
//! What must hold: a frame is handed out once. Frames of this allocator are never given back; it
//! makes page tables, stacks and core blocks, which live as long as the machine.

use crate::layout::{self, LINEAR, linear};
use core::ops::Range;
use ebb_mem::{PhysAddr, frame::Node};
use spin::mutex::SpinMutex as Mutex;

/// Size of a frame in bytes.
pub const FRAME: u64 = 4096;

/// The most regions that a map has.
pub const MAX_REGIONS: usize = 128;

/// What a region of physical memory may be used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Anything that is none of the others. The first, so that a map without entries is all zeros and takes no byte of the image.
    Reserved,
    /// Ordinary memory.
    Usable,
    /// ACPI tables.
    Acpi,
    /// ACPI non-volatile storage.
    AcpiNvs,
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
    start: u64,
    next: u64,
    end: u64,
}

static EARLY: Mutex<Early> = Mutex::new(Early {
    start: 0,
    next: 0,
    end: 0,
});

/// The largest part of a range `[start, end)` that holds none of `modules` (start, length).
pub fn largest_gap(range: (u64, u64), modules: &[(u64, u64)]) -> (u64, u64) {
    let taken = || {
        modules
            .iter()
            .filter(|m| m.1 > 0)
            .map(|m| (m.0, m.0.saturating_add(m.1)))
    };
    let mut best = (range.0, range.0);
    for start in core::iter::once(range.0).chain(taken().map(|m| m.1)) {
        let inside =
            range.0 <= start && start < range.1 && !taken().any(|m| m.0 <= start && start < m.1);
        if inside {
            let end = taken()
                .map(|m| m.0)
                .filter(|&m| m > start)
                .fold(range.1, u64::min);
            if end - start > best.1 - best.0 {
                best = (start, end);
            }
        }
    }
    best
}

/// Gives the early allocator the physical range `[start, end)`.
pub fn set_early(start: u64, end: u64) {
    let start = start.next_multiple_of(FRAME);
    *EARLY.lock() = Early {
        start,
        next: start,
        end: end & !(FRAME - 1),
    };
}

/// Takes `count` adjoining frames; their contents are whatever they were. `None` when the range is used up.
pub fn take_frames(count: u64) -> Option<u64> {
    let mut early = EARLY.lock();
    let start = early.next.next_multiple_of(FRAME);
    let end = start.checked_add(count * FRAME)?;
    if end > early.end {
        drop(early);
        let order = count.next_power_of_two().trailing_zeros();
        return ebb_mem::frame::alloc(order, Node(0)).map(|at| at.0);
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

#[global_allocator]
static HEAP: ebb_mem::Heap = ebb_mem::Heap;

/// Gives all memory that is not taken to `ebb-mem`, which serves [`take_frames`] from then on:
/// the usable regions above 1 MiB without the image and what the early allocator gave out
/// and without `modules` (start, length).
///
/// # Errors
/// What `ebb-mem` says.
pub fn to_heap(
    map: &[Region],
    modules: &[(u64, u64)],
    cores: usize,
) -> Result<(), ebb_mem::frame::InitError> {
    let early = {
        let mut early = EARLY.lock();
        early.end = early.next;
        (early.start, early.next)
    };
    const MAX: usize = MAX_REGIONS;
    const MAX_PIECES: usize = 8;
    let mut free: [Range<PhysAddr>; MAX] = [const { PhysAddr(0)..PhysAddr(0) }; MAX];
    let mut count = 0;
    for region in map.iter().filter(|r| r.kind == Kind::Usable) {
        // What is left of the region after each thing in it has been cut out.
        let mut pieces = [(0, 0); MAX_PIECES];
        pieces[0] = (region.start.max(1 << 20), region.end());
        let mut n = 1;
        let cuts = modules.iter().filter(|m| m.1 > 0).map(|m| (m.0, m.0 + m.1));
        for (from, to) in cuts.chain([layout::image(), early]) {
            for i in 0..MAX_PIECES {
                let (start, stop) = pieces[i];
                if from < stop && start < to && n < MAX_PIECES {
                    pieces[i] = (start, from.max(start));
                    pieces[n] = (to.min(stop), stop);
                    n += 1;
                }
            }
        }
        for &(start, stop) in &pieces[..n] {
            let (start, stop) = (start.next_multiple_of(FRAME), stop & !(FRAME - 1));
            if start < stop && count < MAX {
                free[count] = PhysAddr(start)..PhysAddr(stop);
                count += 1;
            }
        }
    }
    // SAFETY: the ranges are usable by the map, nobody's, and in the linear map for ever.
    unsafe { ebb_mem::init(&free[..count], LINEAR as usize, cores) }
}
