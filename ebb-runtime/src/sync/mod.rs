//! Synchronisation for a world of one thread per core and of tasks that are never preempted.
//!
//! | module | reach | what it is |
//! |---|---|---|
//! | [`inbox`] | cross-core | intrusive list, wait-free to push, for one consumer |
//!
//! *Per-core* types are built on `Cell`, are neither `Send` nor `Sync`, and need no atomic instruction. *Cross-core*
//! types may be reached from any core. All of them meet the executor only through [`core::task::Waker`].

pub(crate) mod atomic;
pub mod inbox;
pub mod oneshot;
pub mod quiesce;
