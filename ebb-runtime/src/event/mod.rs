//! Events: a core's loop, its run queue and its tasks.
//!
//! An event is one poll of one task. It runs to completion on its core; nothing preempts it. A
//! task is pinned to the core it was spawned on, so its future needs neither `Send` nor locks.
//!
//! The loop, once round:
//! 1. take what other cores have sent (`inbox`), and the timers that are due;
//! 2. run at most [`BATCH`] events from the run queue, looking into the inbox now and then;
//! 3. let the platform's interrupts and I/O in;
//! 4. with nothing to run: idle work, else park until woken or the next timer.
//!
//! | file | |
//! |---|---|
//! | `task/` | the memory of a task and its wakers (all the `unsafe` of the executor), and what a core keeps of its tasks |
//! | `join.rs` | spawning and join handles |
//! | `idle.rs` | work for a core that has nothing to do |
//! | `run_loop.rs` | the loop, hogs, the end; a core as the parts of all layers |
//! | `step.rs` | once round the loop, without clocks of its own: for machines of a simulation |

mod counters;
mod error;
mod idle;
mod join;
mod run_loop;
#[cfg(feature = "stepped")]
mod step;
mod task;

pub use error::JoinError;
pub(crate) use idle::IdleList;
pub use idle::{IdleWork, idle};
pub use join::{JoinHandle, Yield, spawn, yield_now};
pub(crate) use run_loop::{Core, StopStatus, run};
pub use run_loop::{CoreStats, core_stats, running_site, set_hog_limit};
#[cfg(feature = "stepped")]
pub use step::Next;
#[cfg(feature = "stepped")]
pub(crate) use step::{end, step};
pub(crate) use task::{Deliver, Home, Homes, TaskPtr, allocate};

/// Events run between two looks at the timers and the platform.
pub(crate) const BATCH: usize = 64;
