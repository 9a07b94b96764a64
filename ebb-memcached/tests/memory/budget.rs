//! An allocator in which each thread may be given a budget. What must hold: it counts, and otherwise passes on what it is asked.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

thread_local! {
    static LEFT: Cell<isize> = const { Cell::new(isize::MAX) };
    /// The longest piece.
    static LONGEST: Cell<usize> = const { Cell::new(usize::MAX) };
}

struct Counting;

#[global_allocator]
static COUNTING: Counting = Counting;

/// Takes `size` bytes of the thread's budget; false when there are not as many, unless it is to tell of a failed test.
fn take(size: usize) -> bool {
    let left = LEFT.get();
    if left == isize::MAX || std::thread::panicking() {
        return true;
    }
    let rest = left.saturating_sub(size as isize);
    let fits = rest >= 0 && size <= LONGEST.get();
    if fits {
        LEFT.set(rest);
    }
    fits
}

fn give(size: usize) {
    let left = LEFT.get();
    if left != isize::MAX {
        LEFT.set(left + size as isize);
    }
}

// SAFETY: blocks are the system allocator's, under the layouts that it got.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if !take(layout.size()) {
            return std::ptr::null_mut();
        }
        // SAFETY: the caller's promise.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        give(layout.size());
        // SAFETY: the caller's promise; `alloc` had the block from there.
        unsafe { System.dealloc(ptr, layout) }
    }
}

/// This thread has so much memory more than it uses now, until the end of this value.
pub struct Budget;

impl Budget {
    pub fn of(bytes: usize) -> Self {
        LEFT.set(bytes as isize);
        Self
    }

    /// The same, but nowhere more than so many bytes in one piece.
    pub fn in_pieces_of(longest: usize, bytes: usize) -> Self {
        LONGEST.set(longest);
        Self::of(bytes)
    }

    /// Bytes that are left.
    pub fn spare() -> usize {
        LEFT.get().max(0) as usize
    }
}

impl Drop for Budget {
    fn drop(&mut self) {
        LEFT.set(isize::MAX);
        LONGEST.set(usize::MAX);
    }
}

/// Runs `f` without a budget.
pub fn beside<R>(f: impl FnOnce() -> R) -> R {
    let left = LEFT.replace(isize::MAX);
    let result = f();
    LEFT.set(left);
    result
}
