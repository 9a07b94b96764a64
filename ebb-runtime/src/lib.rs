#![no_std]
//! See the crate's description.

extern crate alloc;

pub mod sync;
pub mod time;
