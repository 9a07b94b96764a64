//! Test machines: an arena of ordinary memory under made-up physical
//! addresses.

use crate::global::Memory;
use crate::phys::{FRAME_SIZE, LinearMap, PhysAddr};
use core::mem::MaybeUninit;
use core::ops::Range;
use std::alloc::{Layout, alloc, dealloc, handle_alloc_error};
use std::boxed::Box;
use std::vec::Vec;

/// A small generator (xorshift64*, Vigna 2016) so that failures repeat.
pub(crate) struct Rng(pub u64);

impl Rng {
    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    pub fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }

    /// From 1 to below `2^log`, every magnitude equally likely.
    pub fn size(&mut self, log: usize) -> usize {
        let magnitude = 1 + self.below(log);
        1 + self.below((1 << magnitude) - 1)
    }
}

/// Memory for a machine, filled with what misleads the allocator the most:
/// entries that look like free blocks.
pub(crate) struct Arena {
    base: *mut u8,
    layout: Layout,
    /// The made-up physical address of its first byte.
    pub start: u64,
}

impl Arena {
    pub fn new(bytes: usize, start: u64) -> Arena {
        let Ok(layout) = Layout::from_size_align(bytes, 2 << 20) else {
            unreachable!()
        };
        // SAFETY: the size is not zero.
        let base = unsafe { alloc(layout) };
        if base.is_null() {
            handle_alloc_error(layout);
        }
        for i in 0..bytes / 16 {
            let words = [1, 0xF4EE_0000 | (i as u32 & 7), 0, 0];
            // SAFETY: within the arena.
            unsafe { base.cast::<[u32; 4]>().add(i).write(words) };
        }
        Arena {
            base,
            layout,
            start,
        }
    }

    pub fn linear(&self) -> LinearMap {
        LinearMap::new(
            self.base
                .expose_provenance()
                .wrapping_sub(self.start as usize),
        )
    }

    pub fn range(&self) -> Range<PhysAddr> {
        PhysAddr(self.start)..PhysAddr(self.start + self.layout.size() as u64)
    }

    /// Some frames of the arena.
    pub fn frames(&self, frames: Range<usize>) -> Range<PhysAddr> {
        self.range()
            .start
            .offset((frames.start * FRAME_SIZE) as u64)
            ..self.range().start.offset((frames.end * FRAME_SIZE) as u64)
    }
}

// SAFETY: the pointer is only dereferenced while the arena is built.
unsafe impl Sync for Arena {}

impl Drop for Arena {
    fn drop(&mut self) {
        // SAFETY: allocated in `new` with this layout.
        unsafe { dealloc(self.base, self.layout) };
    }
}

/// A machine of its own.
pub(crate) struct Machine {
    memory: Box<MaybeUninit<Memory>>,
    /// Chunks that the heap keeps from the start.
    pub chunks: i64,
    _arena: Arena,
}

impl Machine {
    pub fn new(bytes: usize, cores: usize) -> Machine {
        let arena = Arena::new(bytes, 1 << 30);
        let map: Vec<_> = [arena.range()].into();
        let mut memory = Box::new(MaybeUninit::uninit());
        // SAFETY: the arena lives as long as the machine; a box does not move
        // what it holds.
        let result = unsafe { Memory::init_at(memory.as_mut_ptr(), &map, arena.linear(), cores) };
        assert_eq!(result, Ok(()));
        let mut machine = Machine {
            memory,
            chunks: 0,
            _arena: arena,
        };
        let shared = machine.memory().core(cores).map(|core| core.stats().chunks);
        machine.chunks = shared.unwrap_or(0);
        machine
    }

    pub fn memory(&self) -> &Memory {
        // SAFETY: initialised in `new`.
        unsafe { self.memory.assume_init_ref() }
    }
}
