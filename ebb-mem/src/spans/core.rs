//! One core's part of the heap.
//!
//! A core allocates from a plain list per class, refilled from one span at a
//! time, and frees into the span that the block came from; both touch nothing
//! that another core writes (mimalloc's sharded free lists). A block of
//! another core's goes into a batch, which is pushed to the owner with one
//! compare-and-swap (snmalloc's message passing: Lietar et al., "snmalloc: A
//! Message Passing Allocator", 2019); the owner takes all batches when it next
//! runs out of blocks. A batch holds pointers and is itself a block of the
//! sender's, so the blocks are not touched on the way, and it goes home as
//! soon as it is unpacked.
//!
//! What must hold: `Local` is touched by one thread at a time: the attached
//! core, or the holder of the lock for the state that unattached threads
//! share. Other cores touch the inbox, `claimed` and the counters only. The
//! list `free[class]` holds blocks of `bins[class].current` alone.

use super::block::{BATCH_BLOCKS, Batch, Block, Inbox};
use super::class::{CLASSES, SIZES, class_of};
use super::span::{CHUNK_SIZE, Chunk, GROUP, Span, State, chunk_of, slices_of, span_of};
use crate::frame_allocator::{FrameAllocator, FrameCache, LARGE_PAGE_ORDER};
use crate::stats::{CoreStats, Counters};
use core::cell::UnsafeCell;
use core::ptr::null_mut;
use core::sync::atomic::{
    AtomicBool,
    Ordering::{Acquire, Relaxed},
};

/// Bytes of foreign blocks that a core collects before it sends them home.
const BATCH_BYTES: u32 = 16 << 10;

/// Batches that are unpacked in passing, so that no allocation takes long.
const UNPACK: usize = 16;

/// Bytes of blocks that are linked at a time in a fresh span.
const EXTEND_BYTES: u32 = 4096;

/// A span of one class that has free blocks, or is being used up.
#[derive(Clone, Copy)]
struct Bin {
    current: *mut Span,
    /// Spans with free blocks, oldest first.
    head: *mut Span,
    tail: *mut Span,
}

/// What only the core itself touches.
#[repr(C)]
struct Local {
    free: [*mut Block; CLASSES],
    bins: [Bin; CLASSES],
    /// Chunks with free slices.
    chunks: *mut Chunk,
    /// An empty chunk kept back, so that a span that comes and goes does not
    /// cost a trip to the buddy allocator each time.
    spare: *mut Chunk,
    /// Whether the spare chunk stays even when the core is trimmed.
    keeps_spare: bool,
    /// A batch being filled, or null, per core.
    outgoing: *mut *mut Batch,
    destinations: usize,
    /// Batches that arrived and are not unpacked yet.
    arrived: *mut Batch,
    frames: FrameCache,
}

/// A core's state.
#[repr(C, align(128))]
pub(crate) struct Core {
    local: UnsafeCell<Local>,
    memory: *const FrameAllocator,
    id: usize,
    pub(crate) claimed: AtomicBool,
    pub(crate) counters: Counters,
    inbox: Inbox,
}

// SAFETY: `Local` is guarded as the module says; the rest is atomic or never
// written after `init`.
unsafe impl Sync for Core {}

impl Core {
    /// Bytes of a core's state in a machine of `destinations` states.
    pub const fn footprint(destinations: usize) -> usize {
        (size_of::<Core>() + destinations * size_of::<*mut Batch>()).next_multiple_of(4096)
    }

    /// # Safety
    /// `at` is `footprint(destinations)` unused bytes aligned to 4096;
    /// `memory` outlives the core.
    pub unsafe fn init(
        at: *mut Core,
        id: usize,
        destinations: usize,
        memory: *const FrameAllocator,
    ) {
        let outgoing = at.wrapping_add(1).cast::<*mut Batch>();
        // SAFETY: the caller's memory, large enough by `footprint`.
        unsafe {
            for i in 0..destinations {
                outgoing.add(i).write(null_mut());
            }
            at.write(Core {
                local: UnsafeCell::new(Local {
                    free: [null_mut(); CLASSES],
                    bins: [Bin {
                        current: null_mut(),
                        head: null_mut(),
                        tail: null_mut(),
                    }; CLASSES],
                    chunks: null_mut(),
                    spare: null_mut(),
                    keeps_spare: false,
                    outgoing,
                    destinations,
                    arrived: null_mut(),
                    frames: FrameCache::new(),
                }),
                memory,
                id,
                claimed: AtomicBool::new(false),
                counters: Counters::new(),
                inbox: Inbox::new(),
            });
        }
    }

    fn memory(&self) -> &FrameAllocator {
        // SAFETY: outlives the core, by `init`'s contract.
        unsafe { &*self.memory }
    }

    /// The core's own frames.
    ///
    /// # Safety
    /// The caller is the one thread that may touch this core's `Local`, and
    /// does not call back into the core while it holds the reference.
    #[expect(clippy::mut_from_ref, reason = "exclusive by the module's invariant")]
    pub unsafe fn frame_cache(&self) -> &mut FrameCache {
        // SAFETY: the caller's promise.
        unsafe { &mut (*self.local.get()).frames }
    }

    /// A block of `class` from the core's list; null when it is empty.
    ///
    /// # Safety
    /// The caller is the one thread that may touch this core's `Local`.
    #[inline(always)]
    pub unsafe fn alloc_listed(&self, class: usize) -> *mut u8 {
        debug_assert!(class < CLASSES);
        // SAFETY: exclusive by the caller; the list holds free blocks.
        unsafe {
            let list = &raw mut (*self.local.get()).free;
            let head = list.cast::<*mut Block>().add(class);
            let block = *head;
            if !block.is_null() {
                *head = (*block).next;
            }
            block.cast()
        }
    }

    /// A block of `class`; null when memory is exhausted.
    ///
    /// # Safety
    /// As [`alloc_listed`](Self::alloc_listed).
    pub unsafe fn alloc(&self, class: usize) -> *mut u8 {
        // SAFETY: the caller's promise.
        unsafe {
            let block = self.alloc_listed(class);
            if block.is_null() {
                self.refill(class)
            } else {
                block
            }
        }
    }

    /// Whether the block is this core's.
    ///
    /// # Safety
    /// `block` is a live block of a chunk.
    #[inline(always)]
    pub unsafe fn owns(this: *const Core, block: *mut u8) -> bool {
        // SAFETY: a live block's chunk has a header, whose owner is constant.
        unsafe { core::ptr::eq((*chunk_of(block)).owner, this.cast()) }
    }

    /// Frees a block of this core's into its span.
    ///
    /// # Safety
    /// As [`alloc`](Self::alloc); `block` is a live block of `span`, which is
    /// this core's.
    #[inline(always)]
    pub unsafe fn free_local(&self, span: *mut Span, block: *mut u8) {
        // SAFETY: exclusive by the caller; the block is not used any more.
        unsafe {
            let block = block.cast::<Block>();
            (*block).next = (*span).local_free;
            (*span).local_free = block;
            (*span).countdown -= 1;
            if (*span).countdown == 0 {
                self.look(span);
            }
        }
    }

    /// Frees a block of another core's: into the batch for its owner.
    ///
    /// # Safety
    /// As [`alloc`](Self::alloc); `block` is a live block of `size` bytes.
    #[inline(never)]
    pub unsafe fn free_remote(&self, block: *mut u8, size: usize) {
        // SAFETY: exclusive by the caller; a live block's owner is a core of
        // this machine, so its id indexes the batches; a batch is sent as
        // soon as it is full.
        unsafe {
            let chunk = chunk_of(block);
            let slot = (*self.local.get()).outgoing.add((*chunk).owner_id as usize);
            let mut batch = *slot;
            if batch.is_null() {
                batch = self.alloc(class_of(size_of::<Batch>())).cast();
                if batch.is_null() {
                    return (*(*chunk).inbox).push_block(block.cast());
                }
                (*batch).count = 0;
                (*batch).bytes = 0;
                *slot = batch;
            }
            let count = (*batch).count as usize;
            (&raw mut (*batch).blocks)
                .cast::<*mut u8>()
                .add(count)
                .write(block);
            (*batch).count += 1;
            (*batch).bytes += size as u32;
            if (*batch).count as usize == BATCH_BLOCKS || (*batch).bytes >= BATCH_BYTES {
                *slot = null_mut();
                self.send(batch, &*(*chunk).inbox);
            }
        }
    }

    unsafe fn send(&self, batch: *mut Batch, inbox: &Inbox) {
        // SAFETY: the batch is this core's until it is pushed.
        unsafe {
            self.counters
                .add(&self.counters.remote_sent, u64::from((*batch).count));
            inbox.push_batch(batch);
        }
    }

    /// Takes back what other cores have freed: at most `limit` batches.
    unsafe fn collect_remote(&self, limit: usize) {
        let inbox = &self.inbox;
        // SAFETY: lists of batches and blocks that were pushed whole; all
        // blocks in them are free and this core's.
        unsafe {
            for _ in 0..limit {
                let mut batch = (*self.local.get()).arrived;
                if batch.is_null() {
                    if inbox.batches.load(Relaxed).is_null() {
                        break;
                    }
                    batch = inbox.batches.swap(null_mut(), Acquire);
                }
                (*self.local.get()).arrived = (*batch).next;
                let count = (*batch).count;
                let blocks = (&raw const (*batch).blocks).cast::<*mut u8>();
                for i in 0..count as usize {
                    let block = *blocks.add(i);
                    self.free_local(span_of(block), block);
                }
                self.counters
                    .add(&self.counters.remote_received, u64::from(count));
                (*(*chunk_of(batch.cast())).inbox).push_block(batch.cast());
            }
            if !inbox.blocks.load(Relaxed).is_null() {
                let mut block = inbox.blocks.swap(null_mut(), Acquire);
                while !block.is_null() {
                    let next = (*block).next;
                    self.free_local(span_of(block.cast()), block.cast());
                    block = next;
                }
            }
        }
    }

    /// The list of a class is empty: finds blocks and takes one; null when
    /// memory is exhausted.
    unsafe fn refill(&self, class: usize) -> *mut u8 {
        // SAFETY: exclusive by the callers' contract, here and in all private
        // functions below.
        unsafe {
            self.counters.add(&self.counters.refills, 1);
            self.collect_remote(UNPACK);
            let bin = &raw mut (*self.local.get()).bins[class];
            let span = (*bin).current;
            if !span.is_null() {
                if !(*span).local_free.is_null() {
                    return self.take(span, class);
                }
                if (*span).made < (*span).capacity {
                    return self.extend(span, class);
                }
                (*bin).current = null_mut();
                self.sync(span);
                (*span).state = State::Full;
                // A few frees at a time make the span worth coming back to.
                arm(span, ((*span).capacity / 8).clamp(1, (*span).used));
            }
            let span = (*bin).head;
            if !span.is_null() {
                self.unlink(span);
                (*bin).current = span;
                return self.take(span, class);
            }
            let mut span = self.new_span(class);
            if span.is_null() {
                self.trim();
                span = self.new_span(class);
                if span.is_null() {
                    return null_mut();
                }
            }
            (*bin).current = span;
            self.extend(span, class)
        }
    }

    /// Makes the blocks freed into `span` the list of its class and takes one.
    unsafe fn take(&self, span: *mut Span, class: usize) -> *mut u8 {
        // SAFETY: see `refill`.
        unsafe {
            self.sync(span);
            (*span).state = State::Current;
            arm(span, u32::MAX);
            let count = (*span).made - (*span).used;
            (*span).used = (*span).made;
            self.count_used(class, i64::from(count));
            let block = (*span).local_free;
            (*span).local_free = null_mut();
            (&mut (*self.local.get()).free)[class] = (*block).next;
            block.cast()
        }
    }

    /// Makes some new blocks of `span` the list of its class and takes one.
    unsafe fn extend(&self, span: *mut Span, class: usize) -> *mut u8 {
        // SAFETY: see `refill`; blocks `made..capacity` lie in the span and
        // are untouched.
        unsafe {
            let size = SIZES[class] as usize;
            let room = (*span).capacity - (*span).made;
            let count = (EXTEND_BYTES / SIZES[class]).clamp(1, room);
            let first = Span::base(span, class).add((*span).made as usize * size);
            let mut block = first;
            for _ in 1..count {
                let next = block.add(size);
                (*block.cast::<Block>()).next = next.cast();
                crate::check::fresh(block, size);
                block = next;
            }
            (*block.cast::<Block>()).next = null_mut();
            crate::check::fresh(block, size);
            (*span).state = State::Current;
            (*span).made += count;
            (*span).used += count;
            self.count_used(class, i64::from(count));
            (&mut (*self.local.get()).free)[class] = (*first.cast::<Block>()).next;
            first
        }
    }

    fn count_used(&self, class: usize, blocks: i64) {
        let counters = &self.counters;
        counters.add(&counters.blocks, blocks as u64);
        counters.add(&counters.bytes, (blocks * i64::from(SIZES[class])) as u64);
    }

    /// Brings `used` up to date.
    unsafe fn sync(&self, span: *mut Span) {
        // SAFETY: see `refill`.
        unsafe {
            let freed = (*span).armed - (*span).countdown;
            (*span).armed = (*span).countdown;
            (*span).used -= freed;
            self.count_used((*span).class as usize, -i64::from(freed));
        }
    }

    /// The countdown of a span has come to zero.
    #[cold]
    #[inline(never)]
    unsafe fn look(&self, span: *mut Span) {
        // SAFETY: see `refill`.
        unsafe {
            self.sync(span);
            match (*span).state {
                State::Full if (*span).used == 0 => self.retire(span),
                State::Full => {
                    (*span).state = State::Available;
                    arm(span, (*span).used);
                    self.append(span);
                }
                State::Available => {
                    self.unlink(span);
                    self.retire(span);
                }
                // Counts from `u32::MAX`, more than there are blocks.
                State::Current | State::Unused => {
                    debug_assert!(false, "ebb-mem: heap corrupted: too many frees into a span");
                    arm(span, u32::MAX);
                }
            }
        }
    }

    unsafe fn append(&self, span: *mut Span) {
        // SAFETY: see `refill`.
        unsafe {
            let bin = &raw mut (*self.local.get()).bins[(*span).class as usize];
            (*span).next = null_mut();
            (*span).prev = (*bin).tail;
            if (*bin).tail.is_null() {
                (*bin).head = span;
            } else {
                (*(*bin).tail).next = span;
            }
            (*bin).tail = span;
        }
    }

    unsafe fn unlink(&self, span: *mut Span) {
        // SAFETY: see `refill`.
        unsafe {
            let bin = &raw mut (*self.local.get()).bins[(*span).class as usize];
            let (next, prev) = ((*span).next, (*span).prev);
            if prev.is_null() {
                (*bin).head = next;
            } else {
                (*prev).next = next;
            }
            if next.is_null() {
                (*bin).tail = prev;
            } else {
                (*next).prev = prev;
            }
        }
    }

    unsafe fn new_span(&self, class: usize) -> *mut Span {
        let slices = slices_of(class);
        // SAFETY: see `refill`.
        unsafe {
            let local = self.local.get();
            let mut chunk = (*local).chunks;
            let mut found = None;
            while !chunk.is_null() {
                found = (*chunk).find(slices);
                if found.is_some() {
                    break;
                }
                chunk = (*chunk).next;
            }
            if found.is_none() {
                chunk = self.new_chunk();
                if chunk.is_null() {
                    return null_mut();
                }
                found = (*chunk).find(slices);
            }
            let Some(slice) = found else {
                return null_mut();
            };
            (*chunk).free_slices &= !slice_mask(slice, slices);
            if (*chunk).free_slices == 0 {
                self.unlist(chunk);
            }
            let span = (&raw mut (*chunk).spans).cast::<Span>().add(slice);
            Span::init(span, class);
            self.counters.add(&self.counters.spans, 1);
            span
        }
    }

    unsafe fn new_chunk(&self) -> *mut Chunk {
        // SAFETY: see `refill`; a fresh block of 2 MiB is this core's alone.
        unsafe {
            let local = self.local.get();
            let mut chunk = (*local).spare;
            (*local).spare = null_mut();
            if chunk.is_null() {
                let Some(addr) = self.memory().alloc(LARGE_PAGE_ORDER) else {
                    return null_mut();
                };
                chunk = self.memory().linear().to_virt(addr).cast();
                Chunk::init(chunk, (&raw const *self).cast(), self.id, &self.inbox);
                self.counters.add(&self.counters.chunks, 1);
            }
            self.list(chunk);
            chunk
        }
    }

    /// Takes a chunk now, and keeps one for good.
    ///
    /// # Safety
    /// As [`alloc`](Self::alloc); the core has no chunk yet.
    pub unsafe fn reserve_chunk(&self) {
        // SAFETY: see `refill`.
        unsafe {
            let chunk = self.new_chunk();
            if !chunk.is_null() {
                self.unlist(chunk);
                (*self.local.get()).spare = chunk;
                (*self.local.get()).keeps_spare = true;
            }
        }
    }

    unsafe fn list(&self, chunk: *mut Chunk) {
        // SAFETY: see `refill`.
        unsafe {
            let local = self.local.get();
            (*chunk).listed = true;
            (*chunk).prev = null_mut();
            (*chunk).next = (*local).chunks;
            if !(*chunk).next.is_null() {
                (*(*chunk).next).prev = chunk;
            }
            (*local).chunks = chunk;
        }
    }

    unsafe fn unlist(&self, chunk: *mut Chunk) {
        // SAFETY: see `refill`.
        unsafe {
            let local = self.local.get();
            (*chunk).listed = false;
            let (next, prev) = ((*chunk).next, (*chunk).prev);
            if prev.is_null() {
                (*local).chunks = next;
            } else {
                (*prev).next = next;
            }
            if !next.is_null() {
                (*next).prev = prev;
            }
        }
    }

    /// Gives an empty span's slices back to its chunk.
    unsafe fn retire(&self, span: *mut Span) {
        // SAFETY: see `refill`.
        unsafe {
            let slices = slices_of((*span).class as usize);
            let chunk = chunk_of(span.cast());
            (*span).state = State::Unused;
            (*chunk).free_slices |= slice_mask(Span::slice(span), slices);
            self.counters.sub(&self.counters.spans, 1);
            if !(*chunk).listed {
                self.list(chunk);
            }
            if (*chunk).is_empty() {
                self.unlist(chunk);
                let local = self.local.get();
                if (*local).spare.is_null() {
                    (*local).spare = chunk;
                } else {
                    self.free_chunk(chunk);
                }
            }
        }
    }

    unsafe fn free_chunk(&self, chunk: *mut Chunk) {
        self.counters.sub(&self.counters.chunks, 1);
        let addr = self.memory().linear().to_phys(chunk.cast());
        // SAFETY: the chunk came from `alloc` with this order and is empty.
        unsafe { self.memory().free(addr, LARGE_PAGE_ORDER) };
    }

    /// Sends foreign blocks home, collects what others freed, and gives
    /// whatever is empty back to the frame allocator.
    ///
    /// # Safety
    /// As [`alloc`](Self::alloc).
    pub unsafe fn trim(&self) {
        // SAFETY: see `refill`.
        unsafe {
            self.flush_outgoing();
            self.collect_remote(usize::MAX);
            let local = self.local.get();
            for class in 0..CLASSES {
                let span = (*local).bins[class].current;
                if span.is_null() {
                    continue;
                }
                let mut block = (*local).free[class];
                (&mut (*local).free)[class] = null_mut();
                while !block.is_null() {
                    let next = (*block).next;
                    self.free_local(span, block.cast());
                    block = next;
                }
                self.sync(span);
                if (*span).used == 0 {
                    (&mut (*local).bins)[class].current = null_mut();
                    self.retire(span);
                }
            }
            let spare = (*local).spare;
            if !spare.is_null() && !(*local).keeps_spare {
                (*local).spare = null_mut();
                self.free_chunk(spare);
            }
            (*local).frames.flush(self.memory(), usize::MAX);
        }
    }

    /// Sends foreign blocks home, and takes some of its own back.
    ///
    /// # Safety
    /// As [`alloc`](Self::alloc).
    pub unsafe fn exchange(&self) {
        // SAFETY: the caller's promise.
        unsafe {
            self.flush_outgoing();
            self.collect_remote(UNPACK);
        }
    }

    /// Sends foreign blocks home.
    unsafe fn flush_outgoing(&self) {
        // SAFETY: see `refill`; a batch's blocks all belong to one core.
        unsafe {
            let local = self.local.get();
            for i in 0..(*local).destinations {
                let slot = (*local).outgoing.add(i);
                let batch = *slot;
                if !batch.is_null() {
                    *slot = null_mut();
                    let inbox = (*chunk_of((*batch).blocks[0])).inbox;
                    self.send(batch, &*inbox);
                }
            }
        }
    }

    /// The counters, readable from any core.
    pub fn stats(&self) -> CoreStats {
        self.counters.read()
    }

    pub fn id(&self) -> usize {
        self.id
    }

    /// Frees a block whoever owns it.
    ///
    /// # Safety
    /// As [`free_remote`](Self::free_remote).
    pub unsafe fn free_any(&self, block: *mut u8, size: usize) {
        // SAFETY: the caller's promise.
        unsafe {
            if Core::owns(self, block) {
                self.free_local(span_of(block), block);
            } else {
                self.free_remote(block, size);
            }
        }
    }
}

unsafe fn arm(span: *mut Span, count: u32) {
    // SAFETY: a span of the calling core's.
    unsafe {
        (*span).countdown = count;
        (*span).armed = count;
    }
}

fn slice_mask(slice: usize, slices: usize) -> u32 {
    (((1u64 << slices) - 1) << slice) as u32
}

const _: () = assert!(GROUP < 32 && CHUNK_SIZE == 4096 << LARGE_PAGE_ORDER);
