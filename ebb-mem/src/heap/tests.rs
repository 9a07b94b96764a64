//! The heap against a model, alone and with several cores.

use super::*;
use crate::arena::{Machine, Rng};
use std::sync::mpsc::channel;
use std::thread;
use std::vec::Vec;

/// One core of a test machine, with the checks that builds with debug
/// assertions have.
struct On<'a> {
    memory: &'a Memory,
    core: &'a Core,
}

impl<'a> On<'a> {
    fn new(machine: &'a Machine, id: usize) -> Self {
        let memory = machine.memory();
        let Some(core) = memory.core(id) else {
            panic!("no core {id}")
        };
        On { memory, core }
    }

    fn caller(&self) -> Caller<'a> {
        Caller::Core(self.memory, self.core)
    }

    fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: tests use each core on one thread.
        unsafe {
            if CHECKED {
                checked_alloc(self.caller(), layout)
            } else {
                raw_alloc(self.caller(), layout)
            }
        }
    }

    unsafe fn free(&self, ptr: *mut u8, layout: Layout) {
        // SAFETY: the caller's.
        unsafe {
            if CHECKED {
                checked_dealloc(self.caller(), ptr, layout);
            } else {
                raw_dealloc(self.caller(), ptr, layout);
            }
        }
    }

    unsafe fn realloc(&self, ptr: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: the caller's.
        unsafe { realloc(self.caller(), ptr, layout, size) }
    }

    fn trim(&self) {
        // SAFETY: tests use each core on one thread.
        unsafe { self.core.trim() };
    }
}

fn layout(size: usize, align: usize) -> Layout {
    match Layout::from_size_align(size, align) {
        Ok(layout) => layout,
        Err(error) => panic!("{error}"),
    }
}

fn random_layout(rng: &mut Rng) -> Layout {
    let size = rng.size(18);
    let align = 1
        << if rng.below(8) == 0 {
            rng.below(15)
        } else {
            rng.below(5)
        };
    layout(size, align)
}

/// A live block, filled with its own pattern.
struct Live {
    ptr: *mut u8,
    layout: Layout,
    pattern: u8,
}

// SAFETY: the block is owned.
unsafe impl Send for Live {}

impl Live {
    fn new(ptr: *mut u8, layout: Layout, pattern: u8) -> Live {
        assert_eq!(ptr.addr() % layout.align(), 0);
        // SAFETY: the block is ours.
        unsafe { ptr.write_bytes(pattern, layout.size()) };
        Live {
            ptr,
            layout,
            pattern,
        }
    }

    fn verify(&self, len: usize) {
        for i in 0..len {
            // SAFETY: within the block.
            let byte = unsafe { self.ptr.add(i).read() };
            assert_eq!(byte, self.pattern, "byte {i} of {len}");
        }
    }
}

fn assert_nothing_left(machine: &Machine, fresh: crate::frame::FrameStats) {
    let mut sum = crate::CoreStats::default();
    for id in 0..=machine.memory().count() {
        On::new(machine, id).trim();
    }
    // Once more: the first round may have sent blocks to cores before it.
    for id in 0..=machine.memory().count() {
        On::new(machine, id).trim();
        sum += On::new(machine, id).core.stats();
    }
    assert_eq!((sum.blocks, sum.bytes), (0, 0), "{sum:?}");
    assert_eq!((sum.spans, sum.chunks), (0, machine.chunks), "{sum:?}");
    assert_eq!((sum.large_blocks, sum.large_bytes), (0, 0), "{sum:?}");
    assert_eq!(sum.remote_sent, sum.remote_received);
    assert_eq!(
        machine.memory().frames().stats(),
        fresh,
        "all frames joined again"
    );
}

#[test]
fn random_use_keeps_contents_apart_and_leaves_nothing() {
    for seed in 1..12 {
        let machine = Machine::new(64 << 20, 1);
        let fresh = machine.memory().frames().stats();
        let on = On::new(&machine, 0);
        let mut rng = Rng(seed);
        let mut live: Vec<Live> = Vec::new();
        for step in 0..20_000 {
            match rng.below(5) {
                0 | 1 => {
                    let layout = random_layout(&mut rng);
                    let ptr = on.alloc(layout);
                    if !ptr.is_null() {
                        live.push(Live::new(ptr, layout, step as u8));
                    }
                }
                2 | 3 if !live.is_empty() => {
                    let block = live.swap_remove(rng.below(live.len()));
                    block.verify(block.layout.size());
                    // SAFETY: live.
                    unsafe { on.free(block.ptr, block.layout) };
                }
                4 if !live.is_empty() => {
                    let i = rng.below(live.len());
                    let new = random_layout(&mut rng).size();
                    let block = &mut live[i];
                    // SAFETY: live.
                    let ptr = unsafe { on.realloc(block.ptr, block.layout, new) };
                    if !ptr.is_null() {
                        let kept = new.min(block.layout.size());
                        block.ptr = ptr;
                        block.layout = layout(new, block.layout.align());
                        block.verify(kept);
                        *block = Live::new(ptr, block.layout, block.pattern);
                    }
                }
                _ => {}
            }
        }
        for block in live {
            block.verify(block.layout.size());
            // SAFETY: live.
            unsafe { on.free(block.ptr, block.layout) };
        }
        assert_nothing_left(&machine, fresh);
    }
}

#[test]
fn blocks_freed_on_other_cores_come_home() {
    let machine = Machine::new(64 << 20, 2);
    let fresh = machine.memory().frames().stats();
    let (to_b, from_a) = channel::<Live>();
    let (to_a, from_b) = channel::<Live>();
    thread::scope(|scope| {
        let machine = &machine;
        let run = |id: usize,
                   out: std::sync::mpsc::Sender<Live>,
                   inbox: std::sync::mpsc::Receiver<Live>| {
            scope.spawn(move || {
                let on = On::new(machine, id);
                let mut rng = Rng(77 + id as u64);
                for step in 0..50_000 {
                    let layout = layout(rng.size(12), 8);
                    let ptr = on.alloc(layout);
                    if !ptr.is_null() {
                        let block = Live::new(ptr, layout, step as u8);
                        if rng.below(2) == 0 {
                            let _ = out.send(block);
                        } else {
                            block.verify(layout.size());
                            // SAFETY: live.
                            unsafe { on.free(ptr, layout) };
                        }
                    }
                    while let Ok(block) = inbox.try_recv() {
                        block.verify(block.layout.size());
                        // SAFETY: live, handed over.
                        unsafe { on.free(block.ptr, block.layout) };
                    }
                }
                drop(out);
                for block in inbox {
                    block.verify(block.layout.size());
                    // SAFETY: as above.
                    unsafe { on.free(block.ptr, block.layout) };
                }
            });
        };
        run(0, to_b, from_b);
        run(1, to_a, from_a);
    });
    let received = On::new(&machine, 0).core.stats().remote_received;
    assert!(received > 1000, "only {received} came home in passing");
    assert_nothing_left(&machine, fresh);
}

#[test]
fn exhausted_memory_is_null_and_everything_comes_back() {
    for size in [24, 500, 9000, 70_000, 3 << 20] {
        let machine = Machine::new(32 << 20, 1);
        let fresh = machine.memory().frames().stats();
        let on = On::new(&machine, 0);
        let layout = layout(size, 8);
        let mut live = Vec::new();
        loop {
            let ptr = on.alloc(layout);
            if ptr.is_null() {
                break;
            }
            live.push(ptr);
        }
        // The checks around a block cost most where it is small.
        let least = if CHECKED { 10 << 20 } else { 16 << 20 };
        assert!(live.len() * size > least, "{} blocks of {size}", live.len());
        assert_eq!(on.core.stats().failures, 1);
        for ptr in live {
            // SAFETY: live.
            unsafe { on.free(ptr, layout) };
        }
        assert_nothing_left(&machine, fresh);
    }
}

#[test]
fn more_cores_than_chunks_still_allocate() {
    let machine = Machine::new(16 << 20, 32);
    let fresh = machine.memory().frames().stats();
    let layout = layout(100, 8);
    let mut live = Vec::new();
    for id in 0..32 {
        let on = On::new(&machine, id);
        for _ in 0..10 {
            let ptr = on.alloc(layout);
            assert!(!ptr.is_null(), "core {id}");
            live.push(ptr);
        }
    }
    for (i, ptr) in live.into_iter().enumerate() {
        let on = On::new(&machine, i % 32);
        // SAFETY: live.
        unsafe { on.free(ptr, layout) };
    }
    // Batches of blocks are blocks too, and may need a second way home.
    for _ in 0..2 {
        for id in 0..=32 {
            On::new(&machine, id).trim();
        }
    }
    assert_nothing_left(&machine, fresh);
}

#[test]
fn absurd_sizes_are_null() {
    let machine = Machine::new(8 << 20, 1);
    let on = On::new(&machine, 0);
    for size in [1 << 31, 1 << 40, isize::MAX as usize - 4096] {
        assert!(on.alloc(layout(size, 8)).is_null());
    }
    assert!(on.alloc(layout(8, 1 << 40)).is_null());
}

#[test]
fn a_large_block_grows_in_place_while_frames_behind_it_are_free() {
    let machine = Machine::new(64 << 20, 1);
    let on = On::new(&machine, 0);
    let first = layout(300 << 10, 8);
    let ptr = on.alloc(first);
    // SAFETY: live.
    unsafe {
        assert_eq!(on.realloc(ptr, first, 500 << 10), ptr);
        let grown = layout(500 << 10, 8);
        assert_eq!(on.realloc(ptr, grown, 100 << 10), ptr, "shrinking stays");
        on.free(ptr, layout(100 << 10, 8));
    }
}

#[test]
fn threads_that_are_no_cores_share_a_state() {
    let machine = Machine::new(64 << 20, 1);
    let fresh = machine.memory().frames().stats();
    thread::scope(|scope| {
        for id in 0..3 {
            let memory = machine.memory();
            scope.spawn(move || {
                let mut rng = Rng(5 + id);
                for _ in 0..5000 {
                    let layout = random_layout(&mut rng);
                    memory.with_shared(|core| {
                        let on = On { memory, core };
                        let ptr = on.alloc(layout);
                        if !ptr.is_null() {
                            // SAFETY: just allocated.
                            unsafe { on.free(ptr, layout) };
                        }
                    });
                }
            });
        }
    });
    assert_nothing_left(&machine, fresh);
}

#[cfg(debug_assertions)]
mod misuse {
    use super::*;

    fn with_block(size: usize, misuse: impl FnOnce(&On<'_>, *mut u8, Layout)) {
        let machine = Machine::new(8 << 20, 1);
        let on = On::new(&machine, 0);
        let layout = layout(size, 8);
        misuse(&on, on.alloc(layout), layout);
    }

    // SAFETY of all blocks here: the memory stays mapped; the misuse is what
    // the checks are to catch.

    #[test]
    #[should_panic(expected = "double free")]
    fn freeing_twice_is_caught() {
        // SAFETY: see above.
        with_block(100, |on, ptr, layout| unsafe {
            on.free(ptr, layout);
            on.free(ptr, layout);
        });
    }

    #[test]
    #[should_panic(expected = "overflow of")]
    fn writing_one_byte_too_far_is_caught() {
        // SAFETY: see above.
        with_block(100, |on, ptr, layout| unsafe {
            ptr.add(100).write(1);
            on.free(ptr, layout);
        });
    }

    #[test]
    #[should_panic(expected = "underflow")]
    fn writing_before_a_block_is_caught() {
        // SAFETY: see above.
        with_block(100, |on, ptr, layout| unsafe {
            ptr.sub(1).write(1);
            on.free(ptr, layout);
        });
    }

    #[test]
    #[should_panic(expected = "use after free")]
    fn writing_after_freeing_is_caught_at_reuse() {
        // SAFETY: see above.
        with_block(100, |on, ptr, layout| unsafe {
            on.free(ptr, layout);
            ptr.add(60).write(1);
            for _ in 0..10_000 {
                on.alloc(layout);
            }
        });
    }

    #[test]
    #[should_panic(expected = "was allocated with 100")]
    fn freeing_with_another_size_is_caught() {
        // SAFETY: see above.
        with_block(100, |on, ptr, _| unsafe { on.free(ptr, layout(90, 8)) });
    }
}
