//! What is known of each frame: 16 bytes, found by frame number.
//!
//! What must hold: the words of an entry are written only by whoever owns the
//! frame: the buddy allocator (under its lock) while the frame is free, the
//! holder of the block while it is allocated. Only `refs` is shared. Entries
//! of frames that never were the first of a block hold whatever the memory
//! held before; the buddy allocator never reads those (see `buddy.rs`).

use core::sync::atomic::{AtomicU32, Ordering::Relaxed};

/// The end of a list of frames.
pub(super) const NONE: u32 = u32::MAX;

/// What a block is, kept at its first frame. The values are arbitrary and
/// unlikely in memory that nobody wrote, so debug checks recognise foreign
/// frames.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u32)]
pub(super) enum Tag {
    /// On a free list of the buddy allocator.
    Free = 0xF4EE_0000,
    /// Handed out.
    Allocated = 0xA110_0000,
    /// In a core's cache.
    Cached = 0xCAC4_0000,
    /// Not usable memory.
    Reserved = 0x4E5E_0000,
    /// Swallowed by a block that begins further down.
    Interior = 0x147E_0000,
}

const TAG_MASK: u32 = 0xFFFF_0000;
/// Beside the order: see [`Owner::Heap`].
const OF_HEAP: u32 = 0x100;

/// Whose pieces a large page is in. All of one large page are of one owner; a block of whole large pages is nobody's.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Owner {
    /// Everybody's.
    All,
    /// The heap's alone: it is the only one that was given a piece.
    Heap,
}

/// The state of one frame.
#[repr(C)]
pub(super) struct FrameInfo {
    /// References to an allocated block; counted at its first frame.
    pub refs: AtomicU32,
    /// Tag in the upper half, order in the lowest byte, the owner beside it.
    state: AtomicU32,
    /// Links while free. Atomics only so that a shared reference suffices.
    pub next: AtomicU32,
    pub prev: AtomicU32,
}

const _: () = assert!(size_of::<FrameInfo>() == 16);

impl FrameInfo {
    /// Whether this is the first frame of a `tag` block of `order`.
    #[inline]
    pub fn is(&self, tag: Tag, order: u32) -> bool {
        self.state.load(Relaxed) & !OF_HEAP == tag as u32 | order
    }

    /// Whether this is the first frame of a `tag` block of any order.
    #[inline]
    pub fn has_tag(&self, tag: Tag) -> bool {
        self.state.load(Relaxed) & TAG_MASK == tag as u32
    }

    /// The order of the block that begins here.
    #[inline]
    pub fn order(&self) -> u32 {
        self.state.load(Relaxed) & 0xFF
    }

    /// Sets it, as a block of everybody's.
    #[inline]
    pub fn set(&self, tag: Tag, order: u32) {
        self.state.store(tag as u32 | order, Relaxed);
    }

    pub fn set_of(&self, tag: Tag, order: u32, owner: Owner) {
        let of_heap = match owner {
            Owner::All => 0,
            Owner::Heap => OF_HEAP,
        };
        self.state.store(tag as u32 | order | of_heap, Relaxed);
    }

    pub fn owner(&self) -> Owner {
        match self.state.load(Relaxed) & OF_HEAP {
            0 => Owner::All,
            _ => Owner::Heap,
        }
    }

    /// The raw state, for messages.
    pub fn raw(&self) -> u32 {
        self.state.load(Relaxed)
    }
}
