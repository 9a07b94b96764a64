//! The workloads, generic over the allocator.

use super::{Side, on_threads, thread_time};
use std::alloc::Layout;
use std::hint::black_box;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// One kind of work.
pub enum Workload {
    /// `objects` of 8 bytes allocated, then freed, over and over.
    Threadtest { objects: usize },
    /// Random replacement in an array of `slots`; `generations` of threads.
    Larson { slots: usize, generations: usize },
    /// Pairs of threads: one allocates batches, the other frees them.
    Xmalloc { batch: usize },
}

/// All of them: name, work, threads.
pub fn all() -> [(&'static str, Workload, usize); 7] {
    let few = || Workload::Threadtest { objects: 100 };
    let many = || Workload::Threadtest { objects: 100_000 };
    let larson = || Workload::Larson {
        slots: 1000,
        generations: 4,
    };
    [
        ("threadtest_100_1t", few(), 1),
        ("threadtest_100_2t", few(), 2),
        ("threadtest_100k_1t", many(), 1),
        ("threadtest_100k_2t", many(), 2),
        ("larson_1t", larson(), 1),
        ("larson_2t", larson(), 2),
        ("xmalloc_2t", Workload::Xmalloc { batch: 4096 }, 2),
    ]
}

/// A pointer that may be handed to another thread.
#[derive(Clone, Copy)]
struct Block {
    ptr: *mut u8,
    size: usize,
}

// SAFETY: whoever holds it owns the block.
unsafe impl Send for Block {}

fn layout(size: usize) -> Layout {
    // SAFETY: 8 is a power of two, sizes are small.
    unsafe { Layout::from_size_align_unchecked(size, 8) }
}

fn allocate<A: Side>(alloc: &A, size: usize) -> Block {
    // SAFETY: the size is not zero.
    let ptr = unsafe { alloc.alloc(layout(size)) };
    assert!(!ptr.is_null(), "out of memory");
    // SAFETY: fresh, at least one byte.
    unsafe { ptr.write(1) };
    Block { ptr, size }
}

fn release<A: Side>(alloc: &A, block: Block) {
    // SAFETY: allocated with this layout, released once.
    unsafe { alloc.dealloc(block.ptr, layout(block.size)) };
}

/// xorshift, cheap enough not to hide the allocator.
struct Rng(u64);

impl Rng {
    fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (((self.0 >> 32) * n as u64) >> 32) as usize
    }
}

impl Workload {
    /// Operations per thread in a round.
    pub fn operations(&self) -> u64 {
        match self {
            Workload::Threadtest { .. } => 10_000_000,
            Workload::Larson { .. } | Workload::Xmalloc { .. } => 4_000_000,
        }
    }

    /// Does about `n` operations on each thread: one allocation and its free
    /// each, or, where a pair of threads shares them, half of them.
    pub fn run<A: Side>(&self, alloc: &A, threads: usize, n: u64) -> Duration {
        match *self {
            Workload::Threadtest { objects } => {
                let repeat = (n as usize / objects).max(1);
                on_threads(alloc, threads, |alloc, _| {
                    let mut blocks = Vec::with_capacity(objects);
                    let start = thread_time();
                    for _ in 0..repeat {
                        for _ in 0..objects {
                            blocks.push(allocate(alloc, black_box(8)));
                        }
                        for block in blocks.drain(..) {
                            release(alloc, block);
                        }
                    }
                    thread_time() - start
                })
            }
            Workload::Larson { slots, generations } => {
                let steps = n as usize / generations;
                let heirs: Vec<_> = (0..threads)
                    .map(|_| std::sync::Mutex::new(Vec::<Block>::new()))
                    .collect();
                let mut time = Duration::ZERO;
                for generation in 0..generations {
                    time += on_threads(alloc, threads, |alloc, id| {
                        let mut blocks = std::mem::take(&mut *heirs[id].lock().expect("one user"));
                        let start = thread_time();
                        let mut rng = Rng(0x9E37_79B9 + (generation * threads + id) as u64);
                        while blocks.len() < slots {
                            let size = 10 + rng.below(490);
                            blocks.push(allocate(alloc, size));
                        }
                        for _ in 0..steps {
                            let slot = rng.below(slots);
                            release(alloc, blocks[slot]);
                            let size = 10 + rng.below(490);
                            blocks[slot] = allocate(alloc, size);
                        }
                        if generation + 1 == generations {
                            for block in blocks.drain(..) {
                                release(alloc, block);
                            }
                        }
                        *heirs[id].lock().expect("one user") = blocks;
                        thread_time() - start
                    });
                }
                time
            }
            Workload::Xmalloc { batch } => {
                let batches = (n as usize / batch).max(1);
                pairs(alloc, threads, batch, batches)
            }
        }
    }
}

/// Two buffers per pair go back and forth: full to the freeing thread, empty
/// to the allocating one.
fn pairs<A: Side>(alloc: &A, threads: usize, batch: usize, batches: usize) -> Duration {
    const SIZES: [usize; 8] = [16, 32, 48, 64, 96, 128, 192, 256];
    let pairs = threads / 2;
    let buffers: Vec<[std::sync::Mutex<Vec<Block>>; 2]> = (0..pairs)
        .map(|_| std::array::from_fn(|_| Vec::with_capacity(batch).into()))
        .collect();
    // How many batches were filled, and emptied, per pair.
    let filled: Vec<_> = (0..pairs).map(|_| AtomicUsize::new(0)).collect();
    let emptied: Vec<_> = (0..pairs).map(|_| AtomicUsize::new(0)).collect();
    let wait = |counter: &AtomicUsize, at_least: usize| {
        let mut spins = 0u32;
        while counter.load(Ordering::Acquire) < at_least {
            spins += 1;
            if spins.is_multiple_of(1 << 12) {
                std::thread::yield_now();
            }
            std::hint::spin_loop();
        }
    };
    on_threads(alloc, pairs * 2, |alloc, id| {
        let pair = id / 2;
        let mut time = 0;
        for n in 0..batches {
            if id % 2 == 0 {
                wait(&emptied[pair], (n + 1).saturating_sub(2));
                let mut buffer = buffers[pair][n % 2].lock().expect("one user");
                let start = thread_time();
                for i in 0..batch {
                    buffer.push(allocate(alloc, SIZES[i % SIZES.len()]));
                }
                time += thread_time() - start;
                drop(buffer);
                filled[pair].store(n + 1, Ordering::Release);
            } else {
                wait(&filled[pair], n + 1);
                let mut buffer = buffers[pair][n % 2].lock().expect("one user");
                let start = thread_time();
                for block in buffer.drain(..) {
                    release(alloc, block);
                }
                time += thread_time() - start;
                drop(buffer);
                emptied[pair].store(n + 1, Ordering::Release);
            }
        }
        time
    }) * 2
}
