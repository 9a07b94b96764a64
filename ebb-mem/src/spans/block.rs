//! Free blocks, and their way back to the core that they belong to.
//!
//! What must hold: a block or batch that is pushed is nobody else's, and the
//! lists of an inbox are only ever emptied as a whole, by its core.

use core::ptr::null_mut;
use core::sync::atomic::{
    AtomicPtr,
    Ordering::{Relaxed, Release},
};

/// A free block; the rest of it is not touched.
pub(crate) struct Block {
    pub next: *mut Block,
}

/// Blocks in a full batch; a batch is 512 bytes.
pub(super) const BATCH_BLOCKS: usize = 62;

/// Blocks on their way to one other core.
#[repr(C)]
pub(super) struct Batch {
    pub next: *mut Batch,
    pub count: u32,
    pub bytes: u32,
    pub blocks: [*mut u8; BATCH_BLOCKS],
}

const _: () = assert!(size_of::<Batch>() == 512);

/// Blocks of this core's that others have freed, on a cache line of its own.
#[repr(C, align(128))]
pub(super) struct Inbox {
    pub batches: AtomicPtr<Batch>,
    /// Unpacked batches, and what was sent when there was no memory for one.
    pub blocks: AtomicPtr<Block>,
}

impl Inbox {
    pub const fn new() -> Self {
        Self {
            batches: AtomicPtr::new(null_mut()),
            blocks: AtomicPtr::new(null_mut()),
        }
    }

    /// Pushes blocks of this core's from another core.
    ///
    /// # Safety
    /// The batch is the caller's, and nothing uses its blocks any more.
    pub unsafe fn push_batch(&self, batch: *mut Batch) {
        // SAFETY: the batch is the caller's until it is pushed.
        unsafe { push(&self.batches, batch, &raw mut (*batch).next) };
    }

    /// Pushes a block of this core's from another core.
    ///
    /// # Safety
    /// Nothing uses the block any more.
    pub unsafe fn push_block(&self, block: *mut Block) {
        // SAFETY: the block is the caller's until it is pushed.
        unsafe { push(&self.blocks, block, &raw mut (*block).next) };
    }
}

/// Pushes `node` onto a list that is only ever emptied as a whole, so that
/// there is no ABA; `next` is the node's link.
///
/// # Safety
/// The node is the caller's, and `next` points to its link.
unsafe fn push<T>(list: &AtomicPtr<T>, node: *mut T, next: *mut *mut T) {
    let mut seen = list.load(Relaxed);
    loop {
        // SAFETY: the node is the caller's until it is pushed.
        unsafe { *next = seen };
        match list.compare_exchange_weak(seen, node, Release, Relaxed) {
            Ok(_) => return,
            Err(now) => seen = now,
        }
    }
}
