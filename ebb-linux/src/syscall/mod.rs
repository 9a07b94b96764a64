//! System calls: the table, what a call is, how one is made, and the handlers by topic.
//!
//! What must hold: a handler either finishes or says [`Stop::Wait`] having changed nothing but its `Waiting` (principle 2 in
//! the crate's documentation). It is called again with the same arguments whenever the thread is woken.

mod advice;
mod attributes;
mod call;
mod clone;
mod control;
mod copy;
mod counted;
mod credentials;
mod file;
mod filesystem;
mod futex;
mod futex_key;
mod futex_pi;
mod futex_vector;
mod guest;
mod ioctl;
mod ipc;
mod kcmp;
mod memory;
mod misc;
mod mmap;
mod mqueue;
mod namespace;
mod netdev;
mod numa;
mod parts;
mod path;
mod poll;
mod positioned;
mod process;
pub(crate) mod quick;
mod refused;
mod remote;
mod resource;
mod scheduling;
mod signal;
mod socket;
mod step;
pub mod table;
mod terminal;
mod thread;
mod time;
mod timer;
mod trace;

pub use call::{Call, Outcome, Stop};
pub use step::{Step, dispatch, dispatch_traced, finish, try_again};
pub use table::{Restart, State, TABLE, name};
