#![no_std]
//! Apache OpenWhisk as logic without I/O.

extern crate alloc;
