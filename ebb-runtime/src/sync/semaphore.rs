//! A counting semaphore for the tasks of one core. Fair: permits go to waiters in the order in which they first asked, also
//! when a later one asks for fewer.

use core::cell::{Cell, RefCell};
use core::fmt;
use core::future::Future;
use core::pin::Pin;
use core::task::{Context, Poll};

use super::waiters::{Outcome, Waiters};

/// How a waiter's wait ended.
enum Answer {
    Granted,
    Closed,
}

/// Permits, shared by the tasks of one core. **Per-core**: neither `Send` nor `Sync`, no atomic instruction.
///
/// Cancellation: a future of [`acquire`](Self::acquire) that is dropped leaves the queue, and if it had been granted its
/// permits they go to the next; nothing is lost.
pub struct Semaphore {
    permits: Cell<usize>,
    closed: Cell<bool>,
    waiters: RefCell<Waiters<usize, Answer>>,
}

/// The semaphore has been closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Closed;

impl fmt::Display for Closed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the semaphore has been closed")
    }
}

impl core::error::Error for Closed {}

/// Why there was no permit at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TryAcquireError {
    /// Too few are free, or others wait already.
    NoPermits,
    /// The semaphore has been closed.
    Closed,
}

impl fmt::Display for TryAcquireError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            TryAcquireError::NoPermits => "too few permits are free, or other tasks wait for them",
            TryAcquireError::Closed => "the semaphore has been closed",
        })
    }
}

impl core::error::Error for TryAcquireError {}

impl Semaphore {
    /// A semaphore with `permits` free permits. Allocates nothing until a task waits.
    pub const fn new(permits: usize) -> Self {
        Semaphore {
            permits: Cell::new(permits),
            closed: Cell::new(false),
            waiters: RefCell::new(Waiters::new()),
        }
    }

    /// How many permits are free.
    pub fn available(&self) -> usize {
        self.permits.get()
    }

    /// Waits for `count` permits. A request for more than there will ever be waits for ever, and all behind it. O(1).
    pub fn acquire(&self, count: usize) -> Acquire<'_> {
        Acquire {
            semaphore: self,
            count,
            place: None,
        }
    }

    /// Takes `count` permits if they are free and nobody waits. O(1).
    pub fn try_acquire(&self, count: usize) -> Result<Permit<'_>, TryAcquireError> {
        if self.closed.get() {
            return Err(TryAcquireError::Closed);
        }
        match self.permits.get().checked_sub(count) {
            Some(left) if self.waiters.borrow().is_empty() => self.permits.set(left),
            _ => return Err(TryAcquireError::NoPermits),
        }
        Ok(Permit {
            semaphore: self,
            count,
        })
    }

    /// Adds `count` permits and gives them to whoever waits. O(1) for each waiter that is served.
    ///
    /// # Panics
    /// If there would be more than `usize::MAX` permits.
    pub fn release(&self, count: usize) {
        let Some(permits) = self.permits.get().checked_add(count) else {
            panic!("more than usize::MAX permits in a semaphore");
        };
        self.permits.set(permits);
        self.serve();
    }

    /// Fails all who wait and all who will ask. Permits that are out stay valid.
    pub fn close(&self) {
        self.closed.set(true);
        loop {
            let waker = self.waiters.borrow_mut().answer_front(Answer::Closed);
            let Some(waker) = waker else { break };
            waker.wake();
        }
    }

    /// Whether [`close`](Self::close) has been called.
    pub fn is_closed(&self) -> bool {
        self.closed.get()
    }

    fn serve(&self) {
        loop {
            let mut waiters = self.waiters.borrow_mut();
            let Some(left) = waiters
                .front()
                .and_then(|count| self.permits.get().checked_sub(count))
            else {
                break;
            };
            self.permits.set(left);
            let waker = waiters.answer_front(Answer::Granted);
            drop(waiters);
            if let Some(waker) = waker {
                waker.wake();
            }
        }
    }
}

/// The future of [`Semaphore::acquire`].
pub struct Acquire<'a> {
    semaphore: &'a Semaphore,
    count: usize,
    place: Option<u32>,
}

impl<'a> Future for Acquire<'a> {
    type Output = Result<Permit<'a>, Closed>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let semaphore = self.semaphore;
        if let Some(place) = self.place {
            let outcome = semaphore.waiters.borrow_mut().poll(place, cx.waker());
            let answer = match outcome {
                Outcome::Waiting(_unused) => return Poll::Pending,
                Outcome::Answered(answer) => answer,
            };
            self.place = None;
            return Poll::Ready(match answer {
                Answer::Granted => Ok(Permit {
                    semaphore,
                    count: self.count,
                }),
                Answer::Closed => Err(Closed),
            });
        }
        match semaphore.try_acquire(self.count) {
            Ok(permit) => Poll::Ready(Ok(permit)),
            Err(TryAcquireError::Closed) => Poll::Ready(Err(Closed)),
            Err(TryAcquireError::NoPermits) => {
                let waker = cx.waker().clone();
                let place = semaphore.waiters.borrow_mut().join(self.count, waker);
                self.place = Some(place);
                Poll::Pending
            }
        }
    }
}

impl Drop for Acquire<'_> {
    fn drop(&mut self) {
        let Some(place) = self.place else { return };
        let outcome = self.semaphore.waiters.borrow_mut().leave(place);
        match outcome {
            Outcome::Answered(Answer::Granted) => self.semaphore.release(self.count),
            Outcome::Answered(Answer::Closed) => {}
            // Whoever was behind may need less.
            Outcome::Waiting(_unused) => self.semaphore.serve(),
        }
    }
}

/// Permits that go back to their semaphore when dropped.
#[must_use = "a permit that is dropped goes back at once"]
pub struct Permit<'a> {
    semaphore: &'a Semaphore,
    count: usize,
}

impl Permit<'_> {
    /// Keeps the permits from going back; [`Semaphore::release`] can return them.
    pub fn forget(self) {
        core::mem::forget(self);
    }
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        self.semaphore.release(self.count);
    }
}

#[cfg(all(test, not(ebb_loom)))]
mod tests {
    use super::super::testing::Task;
    use super::*;

    #[test]
    fn permits_go_to_waiters_in_order_even_if_a_later_one_needs_fewer() {
        let semaphore = Semaphore::new(1);
        let [mut large, mut small] = [2, 1].map(|n| Task::new(semaphore.acquire(n)));
        assert!(large.poll().is_pending());
        assert!(small.poll().is_pending());
        assert!(semaphore.try_acquire(1).is_err());
        semaphore.release(1);
        assert_eq!((large.wakes(), small.wakes()), (1, 0));
        let Poll::Ready(Ok(permit)) = large.poll() else {
            panic!()
        };
        drop(permit);
        assert_eq!(small.wakes(), 1);
    }

    #[test]
    fn a_waiter_dropped_after_it_was_served_passes_its_permits_on() {
        let semaphore = Semaphore::new(0);
        let [mut first, mut second] = [(); 2].map(|()| Task::new(semaphore.acquire(1)));
        assert!(first.poll().is_pending());
        assert!(second.poll().is_pending());
        semaphore.release(1);
        assert_eq!(second.wakes(), 0);
        drop(first);
        assert_eq!(second.wakes(), 1);
        assert!(second.poll().is_ready());
        assert_eq!(semaphore.available(), 1);
    }

    #[test]
    fn a_waiter_that_leaves_the_head_of_the_queue_lets_the_next_through() {
        let semaphore = Semaphore::new(1);
        let [mut large, mut small] = [2, 1].map(|n| Task::new(semaphore.acquire(n)));
        assert!(large.poll().is_pending());
        assert!(small.poll().is_pending());
        drop(large);
        assert_eq!(small.wakes(), 1);
        assert!(small.poll().is_ready());
    }

    #[test]
    fn closing_fails_those_who_wait_and_those_who_come() {
        let semaphore = Semaphore::new(0);
        let mut waiter = Task::new(semaphore.acquire(1));
        assert!(waiter.poll().is_pending());
        semaphore.close();
        assert_eq!(waiter.wakes(), 1);
        assert!(matches!(waiter.poll(), Poll::Ready(Err(Closed))));
        semaphore.release(1);
        assert_eq!(
            semaphore.try_acquire(1).err(),
            Some(TryAcquireError::Closed)
        );
    }
}
