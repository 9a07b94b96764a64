//! Chunks of 2 MiB, cut into slices of 64 KiB, and spans of blocks in them.
//!
//! A chunk belongs to one core from the moment it leaves the buddy allocator
//! until all its spans are empty. It begins with its header, so any block's
//! header is found by masking the block's address (the layout of mimalloc's
//! segments and pages: Leijen, Zorn, de Moura, "Mimalloc: Free List Sharding
//! in Action", 2019).
//!
//! What must hold: the owner does not change while the chunk is in use, and is
//! the only thing that other cores read. Everything else is touched by the
//! owning core alone.

use super::block::{Block, Inbox};
use super::class::{self, SIZES};
use core::ptr::{addr_of_mut, null_mut};

pub(super) const CHUNK_SIZE: usize = 2 << 20;
pub(super) const SLICE_SIZE: usize = 64 << 10;
pub(super) const SLICES: usize = CHUNK_SIZE / SLICE_SIZE;
/// Slices of a medium span: 512 KiB.
pub(super) const GROUP: usize = 8;

/// What a span is doing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub(crate) enum State {
    /// Its slices are free.
    Unused,
    /// The span that its class allocates from.
    Current,
    /// Has free blocks, waits in the class's list.
    Available,
    /// Had no free block when it was left.
    Full,
}

/// One run of equal blocks. Kept in the header of its chunk, at the position
/// of its first slice.
///
/// Freeing counts `countdown` down, and looks at the span's state only when
/// it reaches zero: one decrement answers "is there anything to do?".
#[repr(C, align(64))]
pub(crate) struct Span {
    /// Blocks freed by the owner since the last look.
    pub local_free: *mut Block,
    /// Frees until the next look.
    pub countdown: u32,
    /// What `countdown` was at the last look.
    pub armed: u32,
    /// Blocks handed out (to the core's list or the program) at the last look.
    pub used: u32,
    /// Blocks that have been made so far; the rest of the span is untouched.
    pub made: u32,
    /// Blocks there is room for.
    pub capacity: u32,
    pub class: u8,
    pub state: State,
    /// Slices from the first slice of the span to this one.
    pub back: u8,
    pub next: *mut Span,
    pub prev: *mut Span,
}

/// The header of a chunk.
#[repr(C, align(64))]
pub(super) struct Chunk {
    /// The state of the core that it belongs to; only compared.
    pub owner: *const (),
    /// That core's number, here so that freeing another core's block need not
    /// read that core's state.
    pub owner_id: u32,
    /// Bit per slice.
    pub free_slices: u32,
    pub listed: bool,
    /// Where other cores send its blocks.
    pub inbox: *const Inbox,
    pub next: *mut Chunk,
    pub prev: *mut Chunk,
    pub spans: [Span; SLICES],
}

const ALL_FREE: u32 = u32::MAX;

impl Chunk {
    /// Writes the header of a fresh chunk.
    ///
    /// # Safety
    /// `chunk` is 2 MiB of the caller's, aligned to 2 MiB; `inbox` is that of
    /// the core `owner_id`, whose state is at `owner`, and outlives the chunk.
    pub unsafe fn init(chunk: *mut Chunk, owner: *const (), owner_id: usize, inbox: *const Inbox) {
        // SAFETY: the caller's memory; fields are written before any is read.
        unsafe {
            (*chunk).owner = owner;
            (*chunk).owner_id = owner_id as u32;
            (*chunk).inbox = inbox;
            (*chunk).free_slices = ALL_FREE;
            (*chunk).listed = false;
            (*chunk).next = null_mut();
            (*chunk).prev = null_mut();
            for i in 0..SLICES {
                let span = addr_of_mut!((*chunk).spans[i]);
                (*span).state = State::Unused;
                (*span).back = 0;
            }
        }
    }

    pub fn is_empty(&self) -> bool {
        self.free_slices == ALL_FREE
    }

    /// Finds room for a span of 1 slice or of [`GROUP`] slices in a row,
    /// aligned to as many. The header lies in slice 0, so small spans use the
    /// first group first, and medium spans use it last.
    pub fn find(&self, slices: usize) -> Option<usize> {
        if slices == 1 {
            return (self.free_slices != 0).then(|| self.free_slices.trailing_zeros() as usize);
        }
        [8, 16, 24, 0]
            .into_iter()
            .find(|&at| self.free_slices >> at & 0xFF == 0xFF)
    }
}

/// The chunk a block lies in.
#[inline(always)]
pub(super) fn chunk_of(block: *mut u8) -> *mut Chunk {
    block.map_addr(|a| a & !(CHUNK_SIZE - 1)).cast()
}

/// The span of a block that is known to be small.
///
/// # Safety
/// `block` lies in a chunk.
#[inline(always)]
pub(crate) unsafe fn small_span_of(block: *mut u8) -> *mut Span {
    let slice = block.addr() / SLICE_SIZE % SLICES;
    // SAFETY: the chunk has a header with `SLICES` spans.
    unsafe {
        addr_of_mut!((*chunk_of(block)).spans)
            .cast::<Span>()
            .add(slice)
    }
}

/// The span of a block that is known to be medium.
///
/// # Safety
/// `block` lies in a chunk.
#[inline(always)]
pub(crate) unsafe fn medium_span_of(block: *mut u8) -> *mut Span {
    let slice = block.addr() / SLICE_SIZE % SLICES / GROUP * GROUP;
    // SAFETY: as above.
    unsafe {
        addr_of_mut!((*chunk_of(block)).spans)
            .cast::<Span>()
            .add(slice)
    }
}

/// The span of any block.
///
/// # Safety
/// `block` is a block of the calling core's.
#[inline(always)]
pub(super) unsafe fn span_of(block: *mut u8) -> *mut Span {
    // SAFETY: the entries of all slices of a span are initialised.
    unsafe {
        let span = small_span_of(block);
        span.sub((*span).back as usize)
    }
}

/// How many slices the spans of a class have.
pub(super) fn slices_of(class: usize) -> usize {
    if SIZES[class] as usize <= class::SMALL_MAX {
        1
    } else {
        GROUP
    }
}

impl Span {
    /// Which slice the span begins with.
    pub fn slice(this: *mut Span) -> usize {
        let chunk = chunk_of(this.cast());
        // SAFETY: the address is computed, nothing is read.
        let first = unsafe { addr_of_mut!((*chunk).spans) };
        (this.addr() - first.addr()) / size_of::<Span>()
    }

    /// Where the blocks begin.
    pub fn base(this: *mut Span, class: usize) -> *mut u8 {
        let slice = Span::slice(this);
        let start = if slice == 0 {
            size_of::<Chunk>().next_multiple_of(class::natural_align(class))
        } else {
            slice * SLICE_SIZE
        };
        chunk_of(this.cast()).cast::<u8>().wrapping_add(start)
    }

    /// Makes a span of `class` on slices that were just taken.
    ///
    /// # Safety
    /// The slices are the caller's and nothing lies in them.
    pub unsafe fn init(this: *mut Span, class: usize) {
        let slices = slices_of(class);
        let slice = Span::slice(this);
        let start = Span::base(this, class).addr();
        let end = chunk_of(this.cast()).addr() + (slice + slices) * SLICE_SIZE;
        // SAFETY: the entries belong to the slices, which are the caller's.
        unsafe {
            for i in 0..slices {
                (*this.add(i)).back = i as u8;
            }
            (*this).local_free = null_mut();
            (*this).countdown = u32::MAX;
            (*this).armed = u32::MAX;
            (*this).used = 0;
            (*this).made = 0;
            (*this).capacity = ((end - start) / SIZES[class] as usize) as u32;
            (*this).class = class as u8;
            (*this).state = State::Unused;
            (*this).next = null_mut();
            (*this).prev = null_mut();
        }
    }
}
