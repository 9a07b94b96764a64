#![no_std]
//! Ebbs that span machines: methods of an Ebb on another node, as futures with typed failures.
//!
//! - [`connection`]: one connection as a state machine without I/O. Everything that is promised about calls holds there.
//! - [`frame`]: what travels.
//! - [`channel`]: what protects it.
//! - [`sim`] (feature `sim`): many connections in virtual time, with faults from a seed.

extern crate alloc;

pub mod channel;
pub mod connection;
mod failure;
pub mod frame;
#[cfg(any(test, feature = "sim"))]
pub mod sim;

pub use crate::failure::{Failure, NotSent};
