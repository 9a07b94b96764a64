//! Synchronisation for a world of one thread per core and of tasks that are never preempted.
//!
//! | module | reach | what it is |
//! |---|---|---|
//! | [`channel`](mod@channel) | per-core | bounded queue with back-pressure, many senders, one receiver |
//! | [`mutex`] | per-core | fair async mutex |
//! | [`semaphore`] | per-core | fair async semaphore |
//! | [`notify`] | per-core | condition variable |
//! | [`oneshot`] | cross-core | one value, one allocation |
//! | [`queue`](mod@queue) | cross-core | bounded queue, wait-free to push, one receiver |
//! | [`shared`] | cross-core | async mutex, reader-writer lock, semaphore, barrier |
//! | [`inbox`] | cross-core | intrusive list, wait-free to push, for one consumer |
//! | [`rcu`] | cross-core | pointer that is read without an atomic read-modify-write |
//! | [`rcu_map`] | cross-core | hash map read the same way |
//! | [`outlet`] | cross-core | slow device whose writers do not wait for one another |
//! | [`epoch`] | cross-core | has every core passed an event boundary? |
//!
//! *Per-core* types are built on `Cell`, are neither `Send` nor `Sync`, and need no atomic instruction. *Cross-core*
//! types may be reached from any core. All of them meet the executor only through [`core::task::Waker`].

pub(crate) mod atomic;
pub mod channel;
pub(crate) mod doorbell;
pub mod epoch;
pub mod inbox;
pub mod mutex;
pub mod notify;
pub mod oneshot;
pub mod outlet;
pub mod queue;
pub mod rcu;
pub mod rcu_map;
pub mod semaphore;
/// Async locks that tasks of different cores may share, from the `async-lock` crate. **Cross-core**: a few atomic
/// operations uncontended, and a wake across cores where one waits for another. A lock that only one core uses is better
/// served by [`mutex`] and [`semaphore`].
///
/// Cancellation: a dropped wait passes a wake-up it was given on to the next.
pub mod shared {
    pub use async_lock::{
        Barrier, Mutex, MutexGuard, OnceCell, RwLock, RwLockReadGuard, RwLockWriteGuard, Semaphore,
        SemaphoreGuard,
    };
}
#[cfg(all(test, not(ebb_loom)))]
mod testing;
mod waiters;

pub use channel::channel;
pub use mutex::{Mutex, MutexGuard};
pub use notify::Notify;
pub use queue::queue;
pub use rcu::Rcu;
pub use rcu_map::RcuMap;
pub use semaphore::Semaphore;
