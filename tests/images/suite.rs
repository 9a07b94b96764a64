//! The suite that runs on both platforms, and the machine's own tests, as a test image.

#![no_std]
#![no_main]

extern crate alloc;

#[path = "../machine/mod.rs"]
mod machine;
#[path = "../suite/mod.rs"]
mod suite;

ebb::test_image!();
