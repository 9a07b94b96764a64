#![no_std]
//! Runs unmodified Linux programs as isolated unikernel contexts (UCs).
//!
//! # Principles
//! 1. A UC lives on one core. A guest thread is one task there; its system calls are functions that either finish or say
//!    what they wait for. There is no kernel stack behind a thread, and no lock.
//! 2. A system call that would block is restartable: it changes nothing before it waits, and is called again when it is
//!    woken. What it has to remember (a deadline) is kept in its thread as plain data.
//! 3. What a UC owns is plain data that refers to itself by index, so a snapshot is a clone.
//! 4. The kernel never follows a guest's pointer: it walks the guest's page tables in software ([`ebb_mem::space`]), so a
//!    wrong pointer is `EFAULT` and a fault in the kernel cannot happen.
//! 5. Nothing that a guest does may panic or hold up the core; every value that it gives is checked where it is used.
//!
//! # Layers
//! A file uses only what stands above its own line here; the files that one module is split into may use one another.
//! - `abi`: numbers and layouts of Linux' interface, without behaviour.
//! - `object`: descriptors and what is behind them, without address spaces: operations that never block and take bytes from
//!   and give them to a [`Source`](object::io::Source) or [`Sink`](object::io::Sink); wait queues. Everything in it belongs
//!   to one `Objects`, which a UC embeds.
//! - `image`: the boot archive, program files and loading them into an address space, the vDSO.
//! - `state`: threads, processes, timers, futexes as plain data.
//! - `ipc`: System V IPC as plain data.
//! - `uc`: the UC around all that, and what its objects see of it.
//! - `crash`: what a person is told when a guest goes wrong.
//! - `signal`: sending and delivering signals.
//! - `typing`: what is typed for a program.
//! - `owned`: locks with an owner, and who has one next.
//! - `life`: the ends of threads and processes.
//! - `timers`: the task that lets timers fire.
//! - `syscall`: the table of system calls and their handlers, which move arguments between guest memory and `object`.
//! - `random_instructions`: RDRAND and RDSEED for programs, where the processor has neither.
//! - `run`: the task of a guest thread.
//! - `start`: starting a program.
//! - `snapshot`: capturing a UC and starting clones of it, on any core.
//! - `report`: what a program did, for a person who asks.

extern crate alloc;
// Tests link the components' providers.
#[cfg(test)]
extern crate ebb_hosted as _;
#[cfg(test)]
extern crate std;

mod abi;
mod crash;
mod image;
mod ipc;
mod life;
pub mod object;
mod owned;
mod random_instructions;
mod report;
mod run;
mod signal;
pub mod snapshot;
mod start;
mod state;
pub mod syscall;
mod timers;
mod typing;
mod uc;

pub use abi::errno::Errno;
pub use abi::exit::Exit;
pub use image::program::{Program, ProgramFile};
pub use random_instructions::are_unseen as draws_may_be_unseen;
pub use report::{figures, missing_calls, threads};
pub use snapshot::Snapshot;
pub use uc::channel::{Access, Channel, ChannelId};
pub use uc::{Options, Stdio, Uc};

use ebb_runtime::EbbRef;
use ebb_runtime::platform::Clock;

/// Nanoseconds of the machine's monotonic clock.
fn now() -> u64 {
    EbbRef::<dyn Clock>::get().now_ns()
}

/// Nanoseconds since 1970.
fn unix_now() -> u64 {
    EbbRef::<dyn Clock>::get().unix_time_ns()
}

/// The error number for a refused change of an address space.
fn errno_of(error: ebb_mem::space::Error) -> Errno {
    use ebb_mem::space::Error;
    match error {
        Error::Occupied => Errno::EEXIST,
        Error::Denied => Errno::EACCES,
        Error::NoRoom | Error::NotMapped | Error::OutOfMemory => Errno::ENOMEM,
        _ => Errno::EINVAL,
    }
}
