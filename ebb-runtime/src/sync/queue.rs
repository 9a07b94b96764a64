//! A bounded queue from any cores to one task, wait-free to push.
//!
//! A push takes a *credit* for a free place (one `fetch_sub`), then a *ticket* that names the place (one `fetch_add`), and
//! fills it: a fixed number of steps whatever other cores do. There is a credit for each place, and the receiver returns
//! it only after it has emptied the place, in ticket order. So when ticket `t` is drawn, `t + 1` credits have been taken
//! and at most `capacity` of them are out: ticket `t - capacity`, the last to use the same place, has been emptied.
//!
//! Guarantees, exactly:
//! - [`Sender::push`] is wait-free. It fails with [`PushError::Full`] only if, at some moment during this push or during
//!   failing pushes that overlap with it, every place was taken. (A failing push borrows a credit for a moment, and
//!   another push may find it missing.)
//! - [`Receiver::try_recv`] is wait-free. Values come in ticket order, which is the order of the pushes where one ends
//!   before the other begins. A push under way holds back the values behind it; when it ends it wakes the receiver, so
//!   the receiver sleeps meanwhile and does not spin.

use alloc::boxed::Box;
use alloc::sync::Arc;
use core::cell::Cell;
use core::fmt;
use core::future::poll_fn;
use core::marker::PhantomData;
use core::task::{Poll, Waker};

use crossbeam_utils::CachePadded;

use super::atomic::{AtomicBool, AtomicIsize, AtomicUsize, Ordering, UnsafeCell, fence};

#[cfg(not(all(ebb_loom, test)))]
use atomic_waker::AtomicWaker;
#[cfg(all(ebb_loom, test))]
use loom::future::AtomicWaker;

struct Place<T> {
    full: AtomicBool,
    value: UnsafeCell<Option<T>>,
}

struct Shared<T> {
    /// Free places, less the pushes that are about to fail.
    credits: CachePadded<AtomicIsize>,
    /// The next ticket.
    tail: CachePadded<AtomicUsize>,
    /// Whether the receiver is about to sleep, or asleep: written seldom, so pushes share the line.
    waiting: CachePadded<AtomicBool>,
    waker: AtomicWaker,
    senders: AtomicUsize,
    receiver_gone: AtomicBool,
    /// As many as `capacity` rounded up to a power of two, so that tickets may wrap around.
    places: Box<[Place<T>]>,
    capacity: usize,
}

// SAFETY: a place's value is written by the holder of its ticket and then, once `full` says so, taken by the one
// receiver, who returns the credit after that; the module's argument shows that no two meet in one place.
unsafe impl<T: Send> Sync for Shared<T> {}
// SAFETY: as above; the values are `Send`.
unsafe impl<T: Send> Send for Shared<T> {}

/// Makes a queue that holds at most `capacity` values. **Cross-core.** Allocates all its memory now.
///
/// # Panics
/// If `capacity` is 0 or more than `isize::MAX / 2`.
pub fn queue<T: Send>(capacity: usize) -> (Sender<T>, Receiver<T>) {
    assert!(
        capacity > 0 && capacity <= isize::MAX as usize / 2,
        "a queue cannot hold {capacity} values"
    );
    let shared = Arc::new(Shared {
        credits: CachePadded::new(AtomicIsize::new(capacity as isize)),
        tail: CachePadded::new(AtomicUsize::new(0)),
        waiting: CachePadded::new(AtomicBool::new(false)),
        waker: AtomicWaker::new(),
        senders: AtomicUsize::new(1),
        receiver_gone: AtomicBool::new(false),
        places: (0..capacity.next_power_of_two())
            .map(|_| Place {
                full: AtomicBool::new(false),
                value: UnsafeCell::new(None),
            })
            .collect(),
        capacity,
    });
    (
        Sender {
            shared: shared.clone(),
        },
        Receiver {
            shared,
            head: 0,
            _one: PhantomData,
        },
    )
}

/// Why a value was not pushed; it comes back.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum PushError<T> {
    /// Every place was taken. Drop the value, or try again after other work: nothing wakes a pusher.
    Full(T),
    /// The receiver is gone.
    Closed(T),
}

impl<T> PushError<T> {
    /// The value.
    pub fn into_inner(self) -> T {
        match self {
            PushError::Full(value) | PushError::Closed(value) => value,
        }
    }
}

impl<T> fmt::Debug for PushError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            PushError::Full(_) => "Full(..)",
            PushError::Closed(_) => "Closed(..)",
        })
    }
}

impl<T> fmt::Display for PushError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            PushError::Full(_) => "the queue is full",
            PushError::Closed(_) => "the queue is closed: its receiver is gone",
        })
    }
}

impl<T> core::error::Error for PushError<T> {}

/// Puts values in, from any core. Cloned freely; when the last one goes, the receiver learns it.
pub struct Sender<T> {
    shared: Arc<Shared<T>>,
}

impl<T: Send> Sender<T> {
    /// Puts `value` in. Wait-free: two atomic read-modify-writes and a fence; a failing push undoes its one. See the
    /// module for what "full" means exactly.
    pub fn push(&self, value: T) -> Result<(), PushError<T>> {
        let shared = &*self.shared;
        if shared.receiver_gone.load(Ordering::Relaxed) {
            return Err(PushError::Closed(value));
        }
        if !shared.take_credit() {
            return Err(PushError::Full(value));
        }
        // Acquire and release: whoever draws a later ticket has seen, through this chain, every credit that was
        // needed for the tickets before it, hence the emptying of its own place.
        let ticket = shared.tail.fetch_add(1, Ordering::AcqRel);
        let place = &shared.places[ticket & (shared.places.len() - 1)];
        place
            .value
            // SAFETY: the ticket makes this the only user of the place until `full` is set.
            .with_mut(|value_place| unsafe { *value_place = Some(value) });
        place.full.store(true, Ordering::Release);
        shared.wake_receiver();
        Ok(())
    }

    /// Whether the receiver is gone.
    pub fn is_closed(&self) -> bool {
        self.shared.receiver_gone.load(Ordering::Relaxed)
    }
}

impl<T> Shared<T> {
    fn take_credit(&self) -> bool {
        // The load keeps pushes to a full queue from taking the line, and from borrowing credits.
        if self.credits.load(Ordering::Relaxed) <= 0 {
            return false;
        }
        // Acquire: the place that comes with a credit was emptied before.
        let taken = self.credits.fetch_sub(1, Ordering::Acquire) > 0;
        if !taken {
            self.credits.fetch_add(1, Ordering::Relaxed);
        }
        taken
    }

    /// Wakes the receiver if it is, or is about to be, asleep; what went before is visible to it.
    fn wake_receiver(&self) {
        // Pairs with the fence in `wait`: either the receiver sees what was just written, or `waiting` is seen here.
        fence(Ordering::SeqCst);
        if self.waiting.load(Ordering::Relaxed) {
            self.waker.wake();
        }
    }

    fn wait(&self, waker: &Waker) {
        #[cfg(not(all(ebb_loom, test)))]
        self.waker.register(waker);
        #[cfg(all(ebb_loom, test))]
        self.waker.register_by_ref(waker);
        self.waiting.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
    }
}

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Self {
        self.shared.senders.fetch_add(1, Ordering::Relaxed);
        Sender {
            shared: self.shared.clone(),
        }
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        // Release: this sender's pushes come before its end.
        if self.shared.senders.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.shared.wake_receiver();
        }
    }
}

/// There is nothing to receive, from a queue or a [`channel`](mod@super::channel).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TryRecvError {
    /// Not yet.
    Empty,
    /// And there never will be: no sender is left.
    Closed,
}

impl fmt::Display for TryRecvError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            TryRecvError::Empty => "nothing has come yet",
            TryRecvError::Closed => "nothing is left, and no sender",
        })
    }
}

impl core::error::Error for TryRecvError {}

/// Takes values out. One task's at a time, on any core.
pub struct Receiver<T> {
    shared: Arc<Shared<T>>,
    /// The ticket to be received next.
    head: usize,
    /// `Send`, not `Sync`.
    _one: PhantomData<Cell<()>>,
}

impl<T: Send> Receiver<T> {
    /// Takes the next value if it is there. Wait-free; one read-modify-write if it is.
    pub fn try_recv(&mut self) -> Result<T, TryRecvError> {
        if let Some(value) = self.take() {
            return Ok(value);
        }
        if self.shared.senders.load(Ordering::Acquire) > 0 {
            return Err(TryRecvError::Empty);
        }
        // The last sender may have pushed between the two looks.
        self.take().ok_or(TryRecvError::Closed)
    }

    fn take(&mut self) -> Option<T> {
        let place = &self.shared.places[self.head & (self.shared.places.len() - 1)];
        // Acquire: the value was written before.
        if !place.full.load(Ordering::Acquire) {
            return None;
        }
        let value = place
            .value
            // SAFETY: the place is full, so its ticket's holder is done, and no other is drawn for it before the credit
            // goes back below.
            .with_mut(|value_place| unsafe { (*value_place).take() });
        place.full.store(false, Ordering::Relaxed);
        self.head = self.head.wrapping_add(1);
        // Release: the place is empty before the credit is there.
        self.shared.credits.fetch_add(1, Ordering::Release);
        value
    }

    /// Waits for a value; `None` once no sender is left and the queue is empty.
    ///
    /// Cancellation: nothing is lost when the future is dropped.
    pub async fn recv(&mut self) -> Option<T> {
        poll_fn(|cx| {
            for registered in [false, true] {
                match self.try_recv() {
                    Err(TryRecvError::Empty) => {}
                    done => {
                        if self.shared.waiting.load(Ordering::Relaxed) {
                            self.shared.waiting.store(false, Ordering::Relaxed);
                        }
                        return Poll::Ready(done.ok());
                    }
                }
                if !registered {
                    self.shared.wait(cx.waker());
                }
            }
            Poll::Pending
        })
        .await
    }

    /// How many values it can hold.
    pub fn capacity(&self) -> usize {
        self.shared.capacity
    }
}

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        // Values in the queue are dropped with the last handle: a push may be under way.
        self.shared.receiver_gone.store(true, Ordering::Relaxed);
    }
}

#[cfg(all(test, not(ebb_loom)))]
mod tests {
    extern crate std;

    use std::vec::Vec;

    use super::super::testing::Task;
    use super::*;

    #[test]
    fn a_full_queue_refuses_and_takes_again_once_there_is_room() {
        let (tx, mut rx) = queue(3);
        for n in 0..3 {
            tx.push(n).unwrap();
        }
        assert_eq!(tx.push(9), Err(PushError::Full(9)));
        assert_eq!(rx.try_recv(), Ok(0));
        tx.push(3).unwrap();
        assert_eq!(tx.push(9), Err(PushError::Full(9)));
        for n in 1..4 {
            assert_eq!(rx.try_recv(), Ok(n));
        }
        assert_eq!(rx.try_recv(), Err(TryRecvError::Empty));
    }

    #[test]
    fn a_push_wakes_the_waiting_receiver_and_the_last_sender_ends_it() {
        let (tx, mut rx) = queue(1);
        let mut recv = Task::new(rx.recv());
        assert!(recv.poll().is_pending());
        tx.push(1).unwrap();
        assert_eq!(recv.wakes(), 1);
        assert_eq!(recv.poll(), Poll::Ready(Some(1)));
        drop(recv);
        let mut recv = Task::new(rx.recv());
        assert!(recv.poll().is_pending());
        drop(tx);
        assert_eq!(recv.wakes(), 1);
        assert_eq!(recv.poll(), Poll::Ready(None));
    }

    #[test]
    fn a_dropped_receiver_refuses_pushes_and_values_are_not_leaked() {
        let value = Arc::new(());
        let (tx, rx) = queue(2);
        tx.push(value.clone()).unwrap();
        drop(rx);
        assert!(matches!(tx.push(value.clone()), Err(PushError::Closed(_))));
        drop(tx);
        assert_eq!(Arc::strong_count(&value), 1);
    }

    #[test]
    fn values_of_many_senders_arrive_once_each_in_its_senders_order() {
        const SENDERS: usize = 3;
        const EACH: usize = 50_000;
        let (tx, mut rx) = queue(7);
        let senders: Vec<_> = (0..SENDERS)
            .map(|s| {
                let tx = tx.clone();
                std::thread::spawn(move || {
                    for n in 0..EACH {
                        while tx.push((s, n)).is_err() {
                            std::thread::yield_now();
                        }
                    }
                })
            })
            .collect();
        drop(tx);
        let mut next = [0; SENDERS];
        loop {
            match rx.try_recv() {
                Ok((s, n)) => {
                    assert_eq!(n, next[s]);
                    next[s] += 1;
                }
                Err(TryRecvError::Empty) => std::thread::yield_now(),
                Err(TryRecvError::Closed) => break,
            }
        }
        assert_eq!(next, [EACH; SENDERS]);
        senders.into_iter().for_each(|s| s.join().unwrap());
    }
}
