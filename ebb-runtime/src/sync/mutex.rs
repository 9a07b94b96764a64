//! A mutex for the tasks of one core, for what must stay locked across an `await`. (Between two awaits no other task of
//! the core runs, and a `Cell` or `RefCell` does.)

use core::cell::{RefCell, RefMut};
use core::fmt;
use core::future::Future;
use core::ops::{Deref, DerefMut};
use core::pin::Pin;
use core::task::{Context, Poll, ready};

use super::semaphore::{Acquire, Permit, Semaphore};

/// A fair async mutex. **Per-core**: neither `Send` nor `Sync`, no atomic instruction. Not poisoned by a panic.
///
/// Cancellation: a future of [`lock`](Self::lock) that is dropped leaves the queue, and hands the lock on if it had been
/// given it.
pub struct Mutex<T: ?Sized> {
    turn: Semaphore,
    value: RefCell<T>,
}

/// The mutex is locked, or others wait for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WouldBlock;

impl fmt::Display for WouldBlock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the mutex is locked, or other tasks wait for it")
    }
}

impl core::error::Error for WouldBlock {}

impl<T> Mutex<T> {
    /// A mutex that is not locked. Allocates nothing until a task waits.
    pub const fn new(value: T) -> Self {
        Mutex {
            turn: Semaphore::new(1),
            value: RefCell::new(value),
        }
    }

    /// The value.
    pub fn into_inner(self) -> T {
        self.value.into_inner()
    }
}

impl<T: ?Sized> Mutex<T> {
    /// Waits for the lock; tasks get it in the order in which they first asked. O(1).
    pub fn lock(&self) -> Lock<'_, T> {
        Lock {
            mutex: self,
            turn: self.turn.acquire(1),
        }
    }

    /// Takes the lock if it is free and nobody waits. O(1).
    pub fn try_lock(&self) -> Result<MutexGuard<'_, T>, WouldBlock> {
        let turn = self.turn.try_acquire(1).map_err(|_| WouldBlock)?;
        Ok(self.guard(turn))
    }

    /// The value; `&mut self` says that nobody has it locked.
    pub fn get_mut(&mut self) -> &mut T {
        self.value.get_mut()
    }

    fn guard<'a>(&'a self, turn: Permit<'a>) -> MutexGuard<'a, T> {
        MutexGuard {
            // There is one permit, and each guard gives up its borrow before the permit.
            value: self.value.borrow_mut(),
            _turn: turn,
        }
    }
}

impl<T: Default> Default for Mutex<T> {
    fn default() -> Self {
        Mutex::new(T::default())
    }
}

/// The future of [`Mutex::lock`].
pub struct Lock<'a, T: ?Sized> {
    mutex: &'a Mutex<T>,
    turn: Acquire<'a>,
}

impl<'a, T: ?Sized> Future for Lock<'a, T> {
    type Output = MutexGuard<'a, T>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match ready!(Pin::new(&mut self.turn).poll(cx)) {
            Ok(turn) => Poll::Ready(self.mutex.guard(turn)),
            Err(_) => unreachable!("a mutex never closes its semaphore"),
        }
    }
}

/// The lock, and access to what it guards. Dropped, it hands the lock to the next task.
#[must_use = "a guard that is dropped unlocks at once"]
pub struct MutexGuard<'a, T: ?Sized> {
    // Dropped in this order: the borrow ends before the next task can come.
    value: RefMut<'a, T>,
    _turn: Permit<'a>,
}

impl<T: ?Sized> Deref for MutexGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T: ?Sized> DerefMut for MutexGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.value
    }
}

#[cfg(all(test, not(ebb_loom)))]
mod tests {
    use super::super::testing::Task;
    use super::*;

    #[test]
    fn tasks_get_the_lock_in_order_and_none_can_barge_in() {
        let mutex = Mutex::new(0);
        let guard = mutex.try_lock().ok().unwrap();
        let [mut first, mut second] = [(); 2].map(|()| Task::new(mutex.lock()));
        assert!(first.poll().is_pending());
        assert!(second.poll().is_pending());
        drop(guard);
        // The lock is the first's already, though it has not run yet.
        assert!(mutex.try_lock().is_err());
        assert!(second.poll().is_pending());
        let Poll::Ready(mut guard) = first.poll() else {
            panic!()
        };
        *guard += 1;
        drop(guard);
        let Poll::Ready(guard) = second.poll() else {
            panic!()
        };
        assert_eq!(*guard, 1);
    }

    #[test]
    fn a_lock_future_dropped_with_the_lock_hands_it_on() {
        let mutex = Mutex::new(());
        let guard = mutex.try_lock().ok().unwrap();
        let [mut first, mut second] = [(); 2].map(|()| Task::new(mutex.lock()));
        assert!(first.poll().is_pending());
        assert!(second.poll().is_pending());
        drop(guard);
        drop(first);
        assert_eq!(second.wakes(), 1);
        assert!(second.poll().is_ready());
        assert!(mutex.try_lock().is_ok());
    }
}
