//! Boots, says so, ends.
#![no_std]
#![no_main]
extern crate native_target;
#[unsafe(no_mangle)]
extern "Rust" fn __ebb_main() {}
