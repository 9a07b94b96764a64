//! The components of the platform seam (`ebb_runtime::platform`, `ebb_guest`), provided by the machine: one file for each,
//! named as its counterpart in `ebb-hosted`.
//!
//! What must hold: interrupts are off except inside `park` and `poll`; handlers run here, after the
//! window has closed, on the core's own stack.

mod clock;
mod console;
mod cores;
mod entropy;
mod environment;
mod guest;
mod hardware;
mod power;
mod unwind;
mod vectors;

pub use cores::{sleep_until, token};
pub use power::exit_status;

/// The machine, as the provider of every component.
struct Native;
