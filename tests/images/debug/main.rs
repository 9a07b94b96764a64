//! An image that a debugger looks into: tasks on two cores, an Ebb, a static, and a fault when the first argument says so.
//! `cargo-ebb/tests/debug.rs` does.

#![no_std]
#![no_main]

use core::{
    cell::Cell,
    future::pending,
    hint::black_box,
    sync::atomic::{AtomicU64, Ordering},
};

use ebb::{CoreId, EbbRef, ebb, spawn, spawn_on};

static SEEN_BY_GDB: AtomicU64 = AtomicU64::new(0);

#[ebb(per_core)]
#[derive(Default)]
struct Visited {
    times: Cell<u64>,
}

async fn waits_for_ever() {
    let visited = EbbRef::<Visited>::get();
    visited.times.set(visited.times.get() + 1);
    pending::<()>().await;
}

#[inline(never)]
fn fault_here(address: usize) -> u64 {
    // SAFETY: none; that is the test.
    unsafe { black_box(address as *const u64).read_volatile() }
}

#[inline(never)]
fn hang_here() {
    loop {
        black_box(SEEN_BY_GDB.load(Ordering::Relaxed));
    }
}

#[ebb::main]
async fn main() {
    SEEN_BY_GDB.store(0x1234_5678, Ordering::Relaxed);
    let _here = spawn(waits_for_ever());
    let there = spawn_on(CoreId::new(1), async || {
        drop(spawn(waits_for_ever()));
        ebb::yield_now().await;
    });
    let _ = there.await;
    ebb::yield_now().await;
    match ebb::args().first() {
        Some(&"fault") => ebb::println!("{}", fault_here(0xdead_0000)),
        Some(&"hang") => hang_here(),
        _ => {}
    }
}
