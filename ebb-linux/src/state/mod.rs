//! What a UC's processes and threads are: plain data that refers to itself by number, so that a snapshot is a clone.

pub mod futex;
pub mod pending;
pub mod policy;
pub mod process;
pub mod thread;
pub mod timer;
