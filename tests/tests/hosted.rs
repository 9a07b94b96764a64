//! The suite on the hosted runtime.

extern crate alloc;

#[path = "../suite/mod.rs"]
mod suite;
