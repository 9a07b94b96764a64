//! Wakes tasks of one core without passing a value: the per-core condition variable.

use core::cell::{Cell, RefCell};
use core::future::Future;
use core::pin::Pin;
use core::task::{Context, Poll};

use super::waiters::{Outcome, Waiters};

/// Which call ended a wait.
enum Answer {
    One,
    All,
}

/// Lets tasks wait to be told. **Per-core**: neither `Send` nor `Sync`, no atomic instruction.
///
/// [`notify_one`](Self::notify_one) ends the longest wait, or the next one if nobody waits (it is remembered, once);
/// [`notify_all`](Self::notify_all) ends every wait that [`notified`](Self::notified) has begun, polled or not, and is not
/// remembered.
///
/// Cancellation: a wait that is dropped after `notify_one` had chosen it passes that on to the next.
pub struct Notify {
    /// A `notify_one` that found nobody.
    stored: Cell<bool>,
    /// How often `notify_all` has been called.
    rounds: Cell<u64>,
    waiters: RefCell<Waiters<(), Answer>>,
}

impl Default for Notify {
    fn default() -> Self {
        Self::new()
    }
}

impl Notify {
    /// Nobody waits, nothing is remembered. Allocates nothing until a task waits.
    pub const fn new() -> Self {
        Notify {
            stored: Cell::new(false),
            rounds: Cell::new(0),
            waiters: RefCell::new(Waiters::new()),
        }
    }

    /// Waits for a notification. The wait begins here for `notify_all`, and with the first poll for the order among
    /// those who wait for `notify_one`. O(1).
    pub fn notified(&self) -> Notified<'_> {
        Notified {
            notify: self,
            round: self.rounds.get(),
            place: None,
        }
    }

    /// Ends the longest wait, or the next one to begin. O(1).
    pub fn notify_one(&self) {
        let waker = self.waiters.borrow_mut().answer_front(Answer::One);
        match waker {
            Some(waker) => waker.wake(),
            None => self.stored.set(true),
        }
    }

    /// Ends every wait that has begun. O(1) for each.
    pub fn notify_all(&self) {
        self.rounds.set(self.rounds.get().wrapping_add(1));
        // Bounded, should a waker poll at once and its task wait again.
        let bound = self.waiters.borrow().len();
        for _ in 0..bound {
            let waker = self.waiters.borrow_mut().answer_front(Answer::All);
            let Some(waker) = waker else { break };
            waker.wake();
        }
    }
}

/// The future of [`Notify::notified`].
pub struct Notified<'a> {
    notify: &'a Notify,
    round: u64,
    place: Option<u32>,
}

impl Future for Notified<'_> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let notify = self.notify;
        if let Some(place) = self.place {
            let outcome = notify.waiters.borrow_mut().poll(place, cx.waker());
            return match outcome {
                Outcome::Waiting(_unused) => Poll::Pending,
                Outcome::Answered(_) => {
                    self.place = None;
                    Poll::Ready(())
                }
            };
        }
        if self.round != notify.rounds.get() || notify.stored.replace(false) {
            return Poll::Ready(());
        }
        let waker = cx.waker().clone();
        self.place = Some(notify.waiters.borrow_mut().join((), waker));
        Poll::Pending
    }
}

impl Drop for Notified<'_> {
    fn drop(&mut self) {
        let Some(place) = self.place else { return };
        let outcome = self.notify.waiters.borrow_mut().leave(place);
        if let Outcome::Answered(Answer::One) = outcome {
            self.notify.notify_one();
        }
    }
}

#[cfg(all(test, not(ebb_loom)))]
mod tests {
    use super::super::testing::Task;
    use super::*;

    #[test]
    fn a_notification_without_a_waiter_is_remembered_once() {
        let notify = Notify::new();
        notify.notify_one();
        notify.notify_one();
        assert!(Task::new(notify.notified()).poll().is_ready());
        assert!(Task::new(notify.notified()).poll().is_pending());
    }

    #[test]
    fn a_wait_dropped_after_it_was_chosen_passes_the_notification_on() {
        let notify = Notify::new();
        let [mut first, mut second] = [(); 2].map(|()| Task::new(notify.notified()));
        assert!(first.poll().is_pending());
        assert!(second.poll().is_pending());
        notify.notify_one();
        assert_eq!((first.wakes(), second.wakes()), (1, 0));
        drop(first);
        assert_eq!(second.wakes(), 1);
        assert!(second.poll().is_ready());
        // With nobody left it is remembered.
        let mut third = Task::new(notify.notified());
        assert!(third.poll().is_pending());
        notify.notify_one();
        drop(third);
        assert!(Task::new(notify.notified()).poll().is_ready());
    }

    #[test]
    fn notify_all_ends_the_waits_that_have_begun_and_no_others() {
        let notify = Notify::new();
        let mut polled = Task::new(notify.notified());
        let mut begun = Task::new(notify.notified());
        assert!(polled.poll().is_pending());
        notify.notify_all();
        assert!(polled.poll().is_ready());
        assert!(begun.poll().is_ready());
        assert!(Task::new(notify.notified()).poll().is_pending());
    }
}
