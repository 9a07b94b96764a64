//! The smallest program: says hello from every core.
//!
//! `cargo run --release --example hello` boots it as a virtual machine in which nothing else runs;
//! `cargo hosted hello` runs it as a Linux process. `EBB_CORES=4` sets the number of cores.

#![no_std]
#![no_main]

extern crate alloc;

use ebb::{cores, current_core, println, spawn_on};

#[ebb::main]
async fn main() {
    for core in cores() {
        // The closure runs on that core; its result comes back as a value.
        let greeting = spawn_on(core, async || {
            alloc::format!("hello from {:?}", current_core())
        });
        println!(
            "{}",
            greeting
                .await
                .unwrap_or_else(|error| alloc::format!("{core:?}: {error}"))
        );
    }
}
