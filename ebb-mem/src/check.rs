//! What debug builds do around every heap block to find misuse.
//!
//! A block is laid out as `front | user bytes | 16 bytes of red zone`. The
//! front is as long as the alignment, at least 16 bytes, and ends in two
//! words: the size and a mark that says live or freed. Free user bytes hold a
//! pattern that is verified when the block is given out again.
//!
//! Found, with a message and a panic: writing past either end (when the block
//! is freed), freeing twice, freeing with another size or a foreign pointer,
//! writing after freeing (when the block is reused). The free lists use the
//! first word of a block, which lies in the front.

use core::alloc::Layout;

/// Whether blocks are checked: where debug assertions are on.
pub(crate) const CHECKED: bool = cfg!(debug_assertions);

/// Ends the program when it is dropped by unwinding: a global allocator must
/// not unwind, and after misuse of the heap there is nothing to go on with.
pub(crate) struct NoUnwind;

impl Drop for NoUnwind {
    fn drop(&mut self) {
        panic!("ebb-mem: the heap was misused, see the message above; ending");
    }
}

const RED_ZONE: usize = 16;
const RED: u8 = 0xFB;
const FREED: u8 = 0xDB;
const UNINIT: u8 = 0xCD;

const LIVE_MARK: u64 = 0x11FE_B10C_0EBB_11FE;
/// The upper half of a freed block's mark; the lower is its size.
const FREE_MARK: u64 = 0xF4EE_B10C;

fn front(layout: Layout) -> usize {
    layout.align().max(16)
}

/// The layout with room for the checks; None when it overflows.
pub(crate) fn padded(layout: Layout) -> Option<Layout> {
    let size = layout.size().checked_add(front(layout) + RED_ZONE)?;
    Layout::from_size_align(size, layout.align()).ok()
}

/// Marks a block of memory that was never handed out: there is nothing to
/// verify yet.
#[inline]
pub(crate) unsafe fn fresh(block: *mut u8, size: usize) {
    if CHECKED && size >= 16 {
        // SAFETY: a free block of `size` bytes; the mark of the smallest
        // front (16) is its second word.
        unsafe { block.add(8).cast::<u64>().write(0) };
    }
}

/// Dresses a raw block, and gives the user's pointer. With `verify`, first
/// checks whether the block was written to since it was freed.
///
/// # Safety
/// `raw` is a block for `padded(layout)`.
pub(crate) unsafe fn dress(raw: *mut u8, layout: Layout, verify: bool) -> *mut u8 {
    let front = front(layout);
    // SAFETY: all within the padded block.
    unsafe {
        let user = raw.add(front);
        if front == 16 {
            let mark = user.sub(8).cast::<u64>().read();
            if verify && mark >> 32 == FREE_MARK {
                verify_freed(user, (mark as u32) as usize);
            }
        } else {
            // The word that would be verified says nothing any more.
            raw.add(8).cast::<u64>().write(0);
        }
        user.sub(16).cast::<u64>().write(layout.size() as u64);
        user.sub(8).cast::<u64>().write(LIVE_MARK);
        user.write_bytes(UNINIT, layout.size());
        user.add(layout.size()).write_bytes(RED, RED_ZONE);
        user
    }
}

/// Verifies a live block before it is freed or resized, and gives the raw
/// pointer.
///
/// # Safety
/// `user` is readable with 16 bytes before and after the block, as any
/// pointer that the heap gave is.
pub(crate) unsafe fn verify_live(user: *mut u8, layout: Layout) -> *mut u8 {
    // SAFETY: the caller's promise.
    unsafe {
        let mark = user.sub(8).cast::<u64>().read();
        assert!(
            mark >> 32 != FREE_MARK,
            "ebb-mem: double free of {user:p} ({} bytes, align {})",
            layout.size(),
            layout.align()
        );
        assert!(
            mark == LIVE_MARK,
            "ebb-mem: freeing {user:p} ({} bytes, align {}): the words before it are damaged ({mark:#x}): underflow, or not a pointer of this heap",
            layout.size(),
            layout.align()
        );
        let size = user.sub(16).cast::<u64>().read();
        assert!(
            size == layout.size() as u64,
            "ebb-mem: freeing {user:p} with size {}, but it was allocated with {size}",
            layout.size()
        );
        for i in 0..RED_ZONE {
            let byte = user.add(layout.size() + i).read();
            assert!(
                byte == RED,
                "ebb-mem: overflow of {user:p} ({} bytes): byte {} holds {byte:#x}",
                layout.size(),
                layout.size() + i
            );
        }
        user.sub(front(layout))
    }
}

/// Verifies and poisons a block that is about to be freed; gives the raw
/// pointer.
///
/// # Safety
/// As [`verify_live`], and the block is no longer used.
pub(crate) unsafe fn undress(user: *mut u8, layout: Layout) -> *mut u8 {
    // SAFETY: the caller's promise.
    unsafe {
        let raw = verify_live(user, layout);
        user.sub(8)
            .cast::<u64>()
            .write(FREE_MARK << 32 | layout.size() as u32 as u64);
        user.write_bytes(FREED, layout.size() + RED_ZONE);
        raw
    }
}

/// Brings the marks of a block that was resized in place up to date.
///
/// # Safety
/// The block now has room for `new` bytes and the checks.
pub(crate) unsafe fn resized(user: *mut u8, old: usize, new: usize) {
    // SAFETY: the caller's promise.
    unsafe {
        if new > old {
            user.add(old).write_bytes(UNINIT, new - old);
        }
        user.sub(16).cast::<u64>().write(new as u64);
        user.add(new).write_bytes(RED, RED_ZONE);
    }
}

/// The bytes of a freed block, red zone included, are as `undress` left them.
unsafe fn verify_freed(user: *mut u8, size: usize) {
    for i in 0..size + RED_ZONE {
        // SAFETY: within the block: it held `size` bytes and a red zone.
        let byte = unsafe { user.add(i).read() };
        assert!(
            byte == FREED,
            "ebb-mem: use after free: byte {i} of the freed block at {user:p} ({size} bytes) was overwritten with {byte:#x}"
        );
    }
}
