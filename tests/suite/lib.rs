//! Tests that run on both platforms: hosted as this crate's own under libtest, native linked into `tests/images/suite.rs`,
//! which a test of `tests/native` boots.

#![no_std]

extern crate alloc;
#[cfg(test)]
extern crate std;

pub mod durable;

mod disk;
mod dns;
mod events;
mod model;
mod net;
mod sync;
