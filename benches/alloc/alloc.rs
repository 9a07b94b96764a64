//! What does the heap cost, next to glibc malloc, jemalloc and mimalloc?
//!
//! Every side runs the same generic code through the `GlobalAlloc` trait, in
//! one process, alternating round by round; worker threads are always fresh
//! threads. Time is the workers' processor time, waiting left out. A figure is
//! the median of its rounds, a ratio the median of the rounds' ratios.
//! `--quick` runs fewer and shorter rounds; a word runs what it is part of.
//!
//! - threadtest (Berger et al., "Hoard", 2000): each thread allocates N
//!   objects of 8 bytes and frees them, over and over.
//! - larson (Larson and Krishnan, 1998): each thread replaces random objects of
//!   10 to 500 bytes; now and then it ends and leaves its objects to a new one.
//! - xmalloc (Lever and Boreham, 2000): one thread allocates, another frees.

mod workload;

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::Barrier;
use std::thread;
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
/// nanoseconds. The mean over the threads.
fn on_threads<A: Side>(alloc: &A, threads: usize, work: impl Fn(&A, usize) -> u64 + Sync) -> f64 {
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
        total as f64 / threads as f64
    })
}

/// Nanoseconds per operation (one allocation and its free).
fn run<A: Side>(alloc: &A, workload: &Workload, threads: usize, scale: f64) -> f64 {
    workload.run(alloc, threads, scale)
}

const SIDES: [&str; 4] = ["ebb", "glibc", "jemalloc", "mimalloc"];

fn run_side(side: usize, workload: &Workload, threads: usize, scale: f64) -> f64 {
    match side {
        0 => run(&ebb_mem::Heap, workload, threads, scale),
        1 => run(&System, workload, threads, scale),
        2 => run(&tikv_jemallocator::Jemalloc, workload, threads, scale),
        _ => run(&mimalloc::MiMalloc, workload, threads, scale),
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let quick = args.iter().any(|a| a == "--quick");
    let only = args.iter().find(|a| !a.starts_with('-'));
    let (rounds, scale) = if quick { (3, 0.1) } else { (15, 1.0) };
    start_ebb();

    println!(
        "{} rounds, nanoseconds per allocation and free, median (fastest..slowest)",
        rounds
    );
    print!("{:22}", "");
    for side in SIDES {
        print!("{side:>24}");
    }
    println!();

    let mut verdicts = Vec::new();
    for (name, workload, threads) in workload::all() {
        if only.is_some_and(|o| !name.contains(o.as_str())) {
            continue;
        }
        let mut times = [const { Vec::new() }; SIDES.len()];
        for side in 0..SIDES.len() {
            run_side(side, &workload, threads, scale * 0.1);
        }
        for round in 0..rounds {
            for i in 0..SIDES.len() {
                // Each side is first as often as the others.
                let side = (round + i) % SIDES.len();
                times[side].push(run_side(side, &workload, threads, scale));
            }
        }
        print!("{name:22}");
        for side in &times {
            let fastest = side.iter().copied().fold(f64::INFINITY, f64::min);
            let slowest = side.iter().copied().fold(0.0, f64::max);
            print!(
                "{:>8.2} {:>15}",
                median(side.clone()),
                format!("({fastest:.2}..{slowest:.2})")
            );
        }
        println!();
        for other in 1..SIDES.len() {
            let ratios = times[0]
                .iter()
                .zip(&times[other])
                .map(|(a, b)| a / b)
                .collect();
            let goal = if SIDES[other] == "mimalloc" {
                "<= 1.05"
            } else {
                "< 1.00"
            };
            verdicts.push(format!(
                "ratio alloc_{name}_vs_{} {:.2} goal {goal}",
                SIDES[other],
                median(ratios)
            ));
        }
    }
    for verdict in verdicts {
        println!("{verdict}");
    }
}
