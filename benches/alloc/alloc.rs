//! What does the heap cost, next to glibc malloc, jemalloc and mimalloc?
//!
//! Every side runs the same generic code through the `GlobalAlloc` trait, in
//! one process, alternating; worker threads are fresh threads each time. Time
//! is the workers' processor time, waiting left out, for one allocation and
//! its free. `cargo bench --bench alloc [-- --quick] [WORKLOAD]`.
//!
//! - threadtest (Berger et al., "Hoard", 2000): each thread allocates N
//!   objects of 8 bytes and frees them, over and over.
//! - larson (Larson and Krishnan, 1998): each thread replaces random objects of
//!   10 to 500 bytes; now and then it ends and leaves its objects to a new one.
//! - xmalloc (Lever and Boreham, 2000): one thread allocates, another frees.

mod workload;

use benches::{compare, quick};
use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::Barrier;
use std::thread;
use std::time::Duration;
use workload::Workload;

/// An allocator under test.
pub trait Side: GlobalAlloc + Sync {
    /// Called on a worker thread before its first allocation.
    fn thread_begins(&self) {}
    /// Called on a worker thread after its last use of the allocator.
    fn thread_ends(&self) {}
}

impl Side for System {}
impl Side for tikv_jemallocator::Jemalloc {}
impl Side for mimalloc::MiMalloc {}
impl Side for ebb_mem::Heap {
    fn thread_begins(&self) {
        // More threads than cores would be a bug of this file.
        ebb_mem::attach_any().expect("a free core");
    }
    fn thread_ends(&self) {
        ebb_mem::detach_core();
    }
}

/// Memory for the ebb side, at made-up physical addresses. It comes from the
/// system untouched, in pages of 4 KiB as for every other side.
fn start_ebb() {
    const ARENA: usize = 1 << 30;
    let layout = Layout::from_size_align(ARENA, 2 << 20).expect("a layout");
    // SAFETY: the size is not zero.
    let base = unsafe { System.alloc(layout) };
    assert!(!base.is_null(), "no memory for the arena of {ARENA} bytes");
    let start = ebb_mem::PhysAddr(ARENA as u64);
    let offset = base.expose_provenance().wrapping_sub(ARENA);
    let map = [start..start.offset(ARENA as u64)];
    // SAFETY: the arena is ours and is never freed.
    unsafe { ebb_mem::init(&map, offset, 16) }.expect("an arena is a machine");
}

/// Processor time of the calling thread in nanoseconds. On a machine that
/// others use too, wall-clock time measures them.
pub fn thread_time() -> u64 {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: writes the given structure.
    let result = unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut time) };
    assert_eq!(result, 0, "no processor time clock");
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// Runs `work` on fresh threads that start together; `work` gives its time in
/// nanoseconds. Gives the mean over the threads.
fn on_threads<A: Side>(
    alloc: &A,
    threads: usize,
    work: impl Fn(&A, usize) -> u64 + Sync,
) -> Duration {
    let barrier = Barrier::new(threads);
    thread::scope(|scope| {
        let workers: Vec<_> = (0..threads)
            .map(|id| {
                let (barrier, work) = (&barrier, &work);
                scope.spawn(move || {
                    alloc.thread_begins();
                    barrier.wait();
                    let time = work(alloc, id);
                    alloc.thread_ends();
                    time
                })
            })
            .collect();
        let total: u64 = workers
            .into_iter()
            .map(|w| w.join().expect("a worker"))
            .sum();
        Duration::from_nanos(total / threads as u64)
    })
}

fn side<'a, A: Side + 'a>(
    name: &'static str,
    alloc: A,
    workload: &'a Workload,
    threads: usize,
) -> benches::Side<'a> {
    benches::Side::new(name, move |n| workload.run(&alloc, threads, n))
}

fn main() {
    let only = std::env::args().skip(1).find(|a| !a.starts_with('-'));
    let (rounds, share) = if quick() { (5, 10) } else { (21, 1) };
    start_ebb();

    let mut measured = Vec::new();
    for (name, workload, threads) in workload::all() {
        if only.as_ref().is_some_and(|o| !name.contains(o.as_str())) {
            continue;
        }
        let sides = vec![
            side("ebb", ebb_mem::Heap, &workload, threads),
            side("glibc", System, &workload, threads),
            side("jemalloc", tikv_jemallocator::Jemalloc, &workload, threads),
            side("mimalloc", mimalloc::MiMalloc, &workload, threads),
        ];
        measured.push((
            name,
            compare(name, workload.operations() / share, rounds, sides),
        ));
    }
    for (name, comparison) in &measured {
        for (other, bound) in [("glibc", 1.0), ("jemalloc", 1.0), ("mimalloc", 1.05)] {
            comparison.goal(&format!("alloc_{name}_vs_{other}"), "ebb", other, bound);
        }
    }
}
