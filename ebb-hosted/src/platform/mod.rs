//! The components of the platform seam (`ebb_runtime::platform`, `ebb_net`, `ebb_block::Disks`, `ebb_guest`), provided by Linux: one
//! file for each, named as its counterpart in `native-target`.

mod clock;
mod console;
mod cores;
mod disk;
mod entropy;
mod environment;
mod guest;
mod net;
mod power;
mod tcp_info;
mod unwind;
mod vectors;
mod vsock;

pub(crate) use cores::pin_to_cpu;
pub use disk::set_disks;
pub(crate) use environment::{check_options, set_arguments};

/// Linux, as the provider of every component.
struct Linux;
