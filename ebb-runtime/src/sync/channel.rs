//! A bounded queue from tasks of one core to a task of the same core, with back-pressure.

use alloc::collections::VecDeque;
use alloc::rc::Rc;
use core::cell::{Cell, RefCell};
use core::fmt;
use core::future::poll_fn;
use core::task::{Poll, Waker};

pub use super::queue::TryRecvError;
use super::semaphore::{Permit, Semaphore, TryAcquireError};

struct Shared<T> {
    queue: RefCell<VecDeque<T>>,
    /// A permit is a free place in the queue; closed with the receiver.
    places: Semaphore,
    capacity: usize,
    senders: Cell<usize>,
    receiver: Cell<Option<Waker>>,
}

impl<T> Shared<T> {
    fn wake_receiver(&self) {
        if let Some(waker) = self.receiver.take() {
            waker.wake();
        }
    }

    /// Puts a value in the place that the caller has a permit for, and forgets.
    fn push(&self, value: T) {
        self.queue.borrow_mut().push_back(value);
        self.wake_receiver();
    }
}

/// Makes a channel that holds at most `capacity` values. **Per-core**: neither end is `Send`, no atomic instruction.
/// Memory for the values is taken as the queue grows.
///
/// # Panics
/// If `capacity` is 0.
pub fn channel<T>(capacity: usize) -> (Sender<T>, Receiver<T>) {
    assert!(capacity > 0, "a channel needs room for at least one value");
    let shared = Rc::new(Shared {
        queue: RefCell::new(VecDeque::new()),
        places: Semaphore::new(capacity),
        capacity,
        senders: Cell::new(1),
        receiver: Cell::new(None),
    });
    (
        Sender {
            shared: shared.clone(),
        },
        Receiver { shared },
    )
}

/// The receiver is gone or has closed the channel; the value comes back.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct SendError<T>(pub T);

impl<T> fmt::Debug for SendError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SendError(..)")
    }
}

impl<T> fmt::Display for SendError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the channel is closed: its receiver is gone")
    }
}

impl<T> core::error::Error for SendError<T> {}

/// Why a value could not be sent at once; it comes back.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum TrySendError<T> {
    /// The channel is full, or others wait for a place.
    Full(T),
    /// The receiver is gone or has closed the channel.
    Closed(T),
}

impl<T> fmt::Debug for TrySendError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            TrySendError::Full(_) => "Full(..)",
            TrySendError::Closed(_) => "Closed(..)",
        })
    }
}

impl<T> fmt::Display for TrySendError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            TrySendError::Full(_) => "the channel is full",
            TrySendError::Closed(_) => "the channel is closed: its receiver is gone",
        })
    }
}

impl<T> core::error::Error for TrySendError<T> {}

/// Puts values in. Cloned freely; when the last one goes, the channel is closed.
pub struct Sender<T> {
    shared: Rc<Shared<T>>,
}

impl<T> Sender<T> {
    /// Waits for a place and puts `value` there. Senders are served in the order in which they began to wait. O(1).
    ///
    /// Cancellation: the value is dropped with the future; use [`reserve`](Self::reserve) to keep it.
    pub async fn send(&self, value: T) -> Result<(), SendError<T>> {
        match self.reserve().await {
            Ok(place) => {
                place.send(value);
                Ok(())
            }
            Err(SendError(())) => Err(SendError(value)),
        }
    }

    /// Puts `value` in if there is a place and nobody waits for one. O(1).
    pub fn try_send(&self, value: T) -> Result<(), TrySendError<T>> {
        match self.shared.places.try_acquire(1) {
            Ok(permit) => {
                permit.forget();
                self.shared.push(value);
                Ok(())
            }
            Err(TryAcquireError::NoPermits) => Err(TrySendError::Full(value)),
            Err(TryAcquireError::Closed) => Err(TrySendError::Closed(value)),
        }
    }

    /// Waits for a place, which is then kept for whoever holds the result. O(1).
    ///
    /// Cancellation: dropped while waiting, or with a place it was just given, it leaves everything to the next.
    pub async fn reserve(&self) -> Result<Place<'_, T>, SendError<()>> {
        // Outlives the wait: a wait that is cancelled with a place in a closed channel tells the receiver.
        let _returned = Returned(&self.shared);
        match self.shared.places.acquire(1).await {
            Ok(permit) => Ok(Place {
                shared: &self.shared,
                permit: Some(permit),
            }),
            Err(_) => Err(SendError(())),
        }
    }

    /// Whether the receiver is gone or has closed the channel.
    pub fn is_closed(&self) -> bool {
        self.shared.places.is_closed()
    }
}

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Self {
        self.shared.senders.set(self.shared.senders.get() + 1);
        Sender {
            shared: self.shared.clone(),
        }
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        let left = self.shared.senders.get() - 1;
        self.shared.senders.set(left);
        if left == 0 {
            self.shared.wake_receiver();
        }
    }
}

/// A place in a channel, from [`Sender::reserve`]. Dropped, it is free again.
#[must_use = "a place that is dropped is free again"]
pub struct Place<'a, T> {
    shared: &'a Shared<T>,
    permit: Option<Permit<'a>>,
}

impl<T> Place<'_, T> {
    /// Puts `value` in.
    pub fn send(mut self, value: T) {
        if let Some(permit) = self.permit.take() {
            permit.forget();
            self.shared.push(value);
        }
    }
}

impl<T> Drop for Place<'_, T> {
    fn drop(&mut self) {
        let _returned = Returned(self.shared);
        drop(self.permit.take());
    }
}

/// Dropped after a place may have become free again: in a closed channel the receiver may have waited for that only.
struct Returned<'a, T>(&'a Shared<T>);

impl<T> Drop for Returned<'_, T> {
    fn drop(&mut self) {
        if self.0.places.is_closed() {
            self.0.wake_receiver();
        }
    }
}

/// Takes values out, in the order in which they were put in.
pub struct Receiver<T> {
    shared: Rc<Shared<T>>,
}

impl<T> Receiver<T> {
    /// Waits for a value; `None` once the channel is closed and empty. O(1).
    ///
    /// Cancellation: nothing is lost when the future is dropped.
    pub async fn recv(&mut self) -> Option<T> {
        poll_fn(|cx| match self.try_recv() {
            Ok(value) => Poll::Ready(Some(value)),
            Err(TryRecvError::Closed) => Poll::Ready(None),
            Err(TryRecvError::Empty) => {
                let old = self.shared.receiver.take();
                let waker = match old {
                    Some(old) if old.will_wake(cx.waker()) => old,
                    _ => cx.waker().clone(),
                };
                self.shared.receiver.set(Some(waker));
                Poll::Pending
            }
        })
        .await
    }

    /// Takes a value if there is one. O(1).
    pub fn try_recv(&mut self) -> Result<T, TryRecvError> {
        let value = self.shared.queue.borrow_mut().pop_front();
        if let Some(value) = value {
            self.shared.places.release(1);
            return Ok(value);
        }
        let shared = &self.shared;
        // Places that were reserved before the channel was closed may still be filled.
        let closed = shared.places.is_closed() && shared.places.available() == shared.capacity;
        Err(if closed || shared.senders.get() == 0 {
            TryRecvError::Closed
        } else {
            TryRecvError::Empty
        })
    }

    /// Lets nothing more in. What is in the channel, and what fills a reserved [`Place`], can still be received.
    pub fn close(&mut self) {
        self.shared.places.close();
    }

    /// How many values wait to be received.
    pub fn len(&self) -> usize {
        self.shared.queue.borrow().len()
    }

    /// Whether no value waits to be received.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        self.close();
        drop(self.shared.receiver.take());
        // Not borrowed while the values are dropped: they may hold senders.
        drop(self.shared.queue.take());
    }
}

#[cfg(all(test, not(ebb_loom)))]
mod tests {
    extern crate std;

    use std::vec::Vec;

    use super::super::testing::Task;
    use super::*;

    #[test]
    fn a_full_channel_makes_senders_wait_and_serves_them_in_order() {
        let (tx, mut rx) = channel(1);
        tx.try_send(0).unwrap();
        assert_eq!(tx.try_send(9), Err(TrySendError::Full(9)));
        let mut sends: Vec<_> = [1, 2].iter().map(|&n| Task::new(tx.send(n))).collect();
        assert!(sends.iter_mut().all(|s| s.poll().is_pending()));
        for (n, send) in sends.iter_mut().enumerate() {
            assert_eq!(rx.try_recv(), Ok(n));
            // The place is the waiting sender's.
            assert_eq!(tx.try_send(9), Err(TrySendError::Full(9)));
            assert!(send.poll().is_ready());
        }
        assert_eq!(rx.try_recv(), Ok(2));
        assert_eq!(rx.try_recv(), Err(TryRecvError::Empty));
    }

    #[test]
    fn a_cancelled_send_frees_its_place_for_the_next() {
        let (tx, mut rx) = channel(1);
        tx.try_send(0).unwrap();
        let [mut first, mut second] = [1, 2].map(|n| Task::new(tx.send(n)));
        assert!(first.poll().is_pending());
        assert!(second.poll().is_pending());
        assert_eq!(rx.try_recv(), Ok(0));
        drop(first);
        assert_eq!(second.wakes(), 1);
        assert!(second.poll().is_ready());
        assert_eq!(rx.try_recv(), Ok(2));
    }

    #[test]
    fn a_receiver_gets_what_is_left_and_then_the_end() {
        let (tx, mut rx) = channel(2);
        let also = tx.clone();
        tx.try_send(1).unwrap();
        drop(tx);
        also.try_send(2).unwrap();
        assert_eq!(rx.try_recv(), Ok(1));
        assert_eq!(rx.try_recv(), Ok(2));
        let mut recv = Task::new(rx.recv());
        assert!(recv.poll().is_pending());
        drop(also);
        assert_eq!(recv.wakes(), 1);
        assert_eq!(recv.poll(), Poll::Ready(None));
    }

    #[test]
    fn a_dropped_receiver_fails_senders_and_gives_values_back() {
        let (tx, rx) = channel(1);
        tx.try_send(1).unwrap();
        let mut send = Task::new(tx.send(2));
        assert!(send.poll().is_pending());
        drop(rx);
        assert_eq!(send.poll(), Poll::Ready(Err(SendError(2))));
        assert_eq!(tx.try_send(3), Err(TrySendError::Closed(3)));
        assert!(tx.is_closed());
    }

    #[test]
    fn a_place_reserved_before_the_close_can_still_be_filled() {
        let (tx, mut rx) = channel(2);
        let mut reserve = Task::new(tx.reserve());
        let Poll::Ready(Ok(place)) = reserve.poll() else {
            panic!()
        };
        rx.close();
        assert_eq!(rx.try_recv(), Err(TryRecvError::Empty));
        place.send(5);
        assert_eq!(rx.try_recv(), Ok(5));
        assert_eq!(rx.try_recv(), Err(TryRecvError::Closed));
    }

    #[test]
    fn a_send_cancelled_with_a_place_in_a_closed_channel_ends_the_receivers_wait() {
        let (tx, mut rx) = channel(1);
        tx.try_send(1).unwrap();
        let mut send = Task::new(tx.send(2));
        assert!(send.poll().is_pending());
        assert_eq!(rx.try_recv(), Ok(1));
        rx.close();
        let mut recv = Task::new(rx.recv());
        assert!(recv.poll().is_pending());
        drop(send);
        assert_eq!(recv.wakes(), 1);
        assert_eq!(recv.poll(), Poll::Ready(None));
    }
}
