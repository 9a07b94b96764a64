//! The tests of `tests/suite.rs` as an image; `cargo ebb test` boots it.
#![no_std]
#![no_main]

extern crate alloc;

#[path = "../tests/suite.rs"]
mod suite;

ebb::test_image!();
