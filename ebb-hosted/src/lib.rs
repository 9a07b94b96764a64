//! The platform seam on Linux threads: a core is a thread pinned to a CPU, with std.
//!
//! [`main`] runs a program, [`run`] a future on a machine of its own (any number in one process),
//! [`test`] a test. Everything else is reached through the components of `ebb_runtime::platform`.

extern crate ebb_runtime as ebb;

mod parker;
mod platform;
mod start;

pub use start::{Config, block_on, main, refuse, run, test};
