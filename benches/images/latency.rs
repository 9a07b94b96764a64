//! The image that the boot bench measures: prints `figure NAME VALUE` lines, or sleeps (`idle`).

#![no_std]
#![no_main]

extern crate alloc;

use alloc::vec::Vec;
use core::{arch::asm, hint::black_box, time::Duration};

use ebb::{CoreId, EbbRef, core_count, platform::Clock, println, spawn_on, time, yield_now};

fn now() -> u64 {
    EbbRef::<dyn Clock>::get().now_ns()
}

#[ebb::main]
async fn main() {
    if ebb::args().first() == Some(&"idle") {
        let heap = ebb_mem::heap_stats();
        println!("figure heap {}", (heap.chunks << 21) + heap.large_bytes);
        println!("idle");
        return time::sleep(Duration::from_secs(60)).await;
    }
    timers().await;
    events().await;
    copies();
    if core_count() > 1 {
        wakes().await;
    }
}

/// How late a timer of half a millisecond fires on a core that sleeps meanwhile.
async fn timers() {
    let wait = Duration::from_micros(500);
    let mut late = Vec::new();
    for _ in 0..400 {
        let deadline = now() + wait.as_nanos() as u64;
        time::sleep(wait).await;
        late.push(now() - deadline);
    }
    report("timer_late", late);
}

/// One event: a task that yields, is queued, and is polled again. The loop takes interrupts in
/// between.
async fn events() {
    const EACH: u64 = 20_000;
    let mut spent = Vec::new();
    for _ in 0..20 {
        let begun = now();
        for _ in 0..EACH {
            yield_now().await;
        }
        spent.push((now() - begun) / EACH);
    }
    report("event", spent);
}

/// The image's `memcpy` beside the string instruction.
fn copies() {
    for (size, names) in [
        (64, ["copy_64", "copy_64_rep"]),
        (4096, ["copy_4k", "copy_4k_rep"]),
        (1 << 20, ["copy_1m", "copy_1m_rep"]),
    ] {
        let source = alloc::vec![1u8; size];
        let mut target = alloc::vec![0u8; size];
        let times = (1 << 22) / size;
        let (mut ours, mut rep) = (Vec::new(), Vec::new());
        for _ in 0..20 {
            let begun = now();
            for _ in 0..times {
                black_box(&mut target[..]).copy_from_slice(black_box(&source));
            }
            let middle = now();
            for _ in 0..times {
                // SAFETY: both buffers have the size.
                unsafe {
                    asm!("rep movsb", inout("rcx") size => _, inout("rsi") source.as_ptr() => _,
                        inout("rdi") target.as_mut_ptr() => _, options(nostack, preserves_flags));
                }
            }
            ours.push((middle - begun) / times as u64);
            rep.push((now() - middle) / times as u64);
        }
        report(names[0], ours);
        report(names[1], rep);
    }
}

/// From the spawn on core 0 to the first instruction of the task on core 1, which sleeps, and back.
async fn wakes() {
    let (mut there, mut round) = (Vec::new(), Vec::new());
    for _ in 0..300 {
        time::sleep(Duration::from_micros(300)).await;
        let begun = now();
        if let Ok(arrived) = spawn_on(CoreId::new(1), async || now()).await {
            round.push(now() - begun);
            there.push(arrived - begun);
        }
    }
    report("wake", there);
    report("wake_and_answer", round);
}

fn report(name: &str, mut values: Vec<u64>) {
    values.sort_unstable();
    let at = |part: usize| values[(values.len() - 1) * part / 100];
    println!("figure {name} {} {} {}", at(50), at(99), at(100));
}
