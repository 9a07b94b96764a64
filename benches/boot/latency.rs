//! The image that the boot bench measures: prints `figure NAME VALUE` lines, or sleeps (`idle`).

#![no_std]
#![no_main]

extern crate alloc;

use alloc::vec::Vec;
use core::time::Duration;

use ebb::{CoreId, EbbRef, core_count, platform::Clock, println, spawn_on, time, yield_now};

fn now() -> u64 {
    EbbRef::<dyn Clock>::get().now()
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
