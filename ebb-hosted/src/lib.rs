//! The platform seam on Linux threads: a core is a thread pinned to a CPU, with std.
//!
//! [`main`] runs a program, [`run`] a future on a machine of its own (any number in one process),
//! [`test`] a test. Everything else is reached through the components of `ebb_runtime::platform`.

//!
//! ```
//! use ebb_hosted::Config;
//! use ebb_runtime::{cores, current_core, spawn_on};
//!
//! let two = Config { cores: 2, pin: false };
//! let numbers = ebb_hosted::run(&two, || async {
//!     let mut numbers = Vec::new();
//!     for core in cores() {
//!         let number = spawn_on(core, async || current_core().number()).await;
//!         numbers.push(number.unwrap());
//!     }
//!     numbers
//! });
//! assert_eq!(numbers, [0, 1]);
//! ```

extern crate ebb_runtime as ebb;

mod parker;
mod patience;
mod platform;
mod start;
mod trace;

pub use platform::set_disks;
pub use start::{Config, block_on, main, refuse, run, test};
