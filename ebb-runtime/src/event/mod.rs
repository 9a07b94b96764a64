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
//! | `task.rs` | the memory of a task and its wakers (all the `unsafe` of the executor) |
//! | `run_loop.rs` | the loop, hogs, shutdown |
//! | `join.rs` | spawning and join handles |
//! | `idle.rs` | work for a core that has nothing to do |

mod idle;
mod join;
mod run_loop;
mod task;

pub use idle::{IdleWork, idle};
pub use join::{JoinError, JoinHandle, Yield, spawn, yield_now};
pub use run_loop::{CoreStats, Stats, core_stats, running_site, set_hog_limit};
pub(crate) use run_loop::{Local, run};
pub(crate) use task::{Deliver, Header, TaskPtr, allocate};

/// Events run between two looks at the timers and the platform.
pub(crate) const BATCH: usize = 64;
