//! Time: instants, sleeping, time limits, intervals.
//!
//! Every core has a [`wheel`] of its own; a sleeping future's timer lives on the core that polls
//! it. A timer never fires early; it fires up to a quarter of a microsecond late by rounding, and
//! later only when the core is busy.

mod prefetch;
pub mod wheel;

use core::{
    cell::RefCell,
    fmt,
    marker::PhantomData,
    ops::{Add, AddAssign, Sub},
    pin::Pin,
    task::{Context, Poll, Waker},
    time::Duration,
};

use wheel::{Expired, Key, Wheel};

use crate::{
    EbbRef,
    per_core::{Part, part},
    platform::Clock,
};

/// A point in time of the machine's monotonic clock.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Instant(u64);

impl Instant {
    /// Now.
    #[inline]
    #[must_use]
    pub fn now() -> Self {
        Self(EbbRef::<dyn Clock>::get().now_ns())
    }

    /// Nanoseconds since the machine started.
    #[must_use]
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// Time since then; zero for a point in the future.
    #[must_use]
    pub fn elapsed(self) -> Duration {
        Self::now().since(self)
    }

    /// Time from `earlier` to this; zero when it is later.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

/// Nanoseconds of a duration; more than 584 years count as that.
fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

impl Add<Duration> for Instant {
    type Output = Self;
    fn add(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(nanos(duration)))
    }
}

impl AddAssign<Duration> for Instant {
    fn add_assign(&mut self, duration: Duration) {
        *self = *self + duration;
    }
}

impl Sub for Instant {
    type Output = Duration;
    fn sub(self, earlier: Self) -> Duration {
        self.since(earlier)
    }
}

impl fmt::Debug for Instant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", Duration::from_nanos(self.0))
    }
}

/// Time since 1970-01-01 00:00 UTC.
#[must_use]
pub fn unix_time() -> Duration {
    Duration::from_nanos(EbbRef::<dyn Clock>::get().unix_time_ns())
}

/// The timers of one core.
pub(crate) struct Timers {
    wheel: RefCell<Wheel>,
}

part!("__ebb_timers", Timers);

impl Timers {
    pub fn new(now_ns: u64) -> Self {
        Self {
            wheel: RefCell::new(Wheel::new(now_ns)),
        }
    }

    #[inline]
    pub fn next_deadline_ns(&self) -> Option<u64> {
        self.wheel.borrow().next_deadline_ns()
    }

    /// Wakes at most `most` of what is due; returns how many. The loop runs those before it asks for more: of very many, the first
    /// would have left the caches when the last has been woken.
    #[inline]
    pub fn expire(&self, now_ns: u64, most: usize) -> u64 {
        let mut count = 0;
        while count < most as u64 {
            // The borrow ends before the waker is called: dropping a task may cancel a timer.
            let waker = self.wheel.borrow_mut().pop_expired(now_ns);
            let Some(waker) = waker else { break };
            waker.wake();
            count += 1;
        }
        count
    }

    /// Drops every timer.
    pub fn clear(&self) {
        let all = self.wheel.replace(Wheel::new(0));
        drop(all);
    }

    fn insert(&self, deadline_ns: u64, waker: Waker) -> Key {
        self.wheel.borrow_mut().insert(deadline_ns, waker)
    }

    /// Sets another waker, or says that the timer has fired.
    fn update(&self, key: Key, waker: &Waker) -> Result<(), Expired> {
        let old = self.wheel.borrow_mut().update(key, waker)?;
        drop(old);
        Ok(())
    }

    fn cancel(&self, key: Key) {
        let old = self.wheel.borrow_mut().cancel(key);
        drop(old);
    }
}

/// Waits until `duration` has passed.
pub fn sleep(duration: Duration) -> Sleep {
    sleep_until(Instant::now() + duration)
}

/// Waits until `deadline`. One that has passed still lets the other events of the core run first.
pub fn sleep_until(deadline: Instant) -> Sleep {
    Sleep {
        deadline,
        timer: None,
        on_core: PhantomData,
    }
}

/// See [`sleep`]. Belongs to the core that first polls it.
#[must_use = "futures do nothing until awaited"]
pub struct Sleep {
    deadline: Instant,
    timer: Option<Key>,
    on_core: PhantomData<*const ()>,
}

impl Sleep {
    /// When it ends.
    #[must_use]
    pub fn deadline(&self) -> Instant {
        self.deadline
    }

    /// Sets another end.
    pub fn reset(&mut self, deadline: Instant) {
        self.disarm();
        self.deadline = deadline;
    }

    fn disarm(&mut self) {
        if let Some(key) = self.timer.take()
            && let Some(timers) = Timers::try_current()
        {
            timers.cancel(key);
        }
    }
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let timers = Timers::current();
        // The wheel finds out whether the time has come: no look at the clock here.
        match self.timer {
            None => self.timer = Some(timers.insert(self.deadline.0, cx.waker().clone())),
            Some(key) => {
                if timers.update(key, cx.waker()).is_err() {
                    self.timer = None;
                    return Poll::Ready(());
                }
            }
        }
        Poll::Pending
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        self.disarm();
    }
}

impl fmt::Debug for Sleep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sleep(until {:?})", self.deadline)
    }
}

/// The time limit has passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Elapsed;

impl fmt::Display for Elapsed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the time limit has passed")
    }
}

impl core::error::Error for Elapsed {}

/// Runs `future` for at most `limit`, then drops it.
///
/// # Errors
/// [`Elapsed`] when the limit passed first.
pub fn timeout<F: Future>(limit: Duration, future: F) -> Timeout<F> {
    Timeout {
        future,
        sleep: sleep(limit),
    }
}

/// See [`timeout`].
#[must_use = "futures do nothing until awaited"]
#[derive(Debug)]
pub struct Timeout<F> {
    future: F,
    sleep: Sleep,
}

impl<F: Future> Future for Timeout<F> {
    type Output = Result<F::Output, Elapsed>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        // SAFETY: `future` is pinned with `self` and never moved out of it; `Sleep` is Unpin.
        let (future, sleep) = unsafe {
            let this = self.get_unchecked_mut();
            (Pin::new_unchecked(&mut this.future), &mut this.sleep)
        };
        if let Poll::Ready(output) = future.poll(cx) {
            return Poll::Ready(Ok(output));
        }
        Pin::new(sleep).poll(cx).map(|()| Err(Elapsed))
    }
}

/// Ticks every `period`, the first time after one period. A tick that comes late does not shift the
/// following ones; ticks that were missed altogether are skipped.
///
/// # Panics
/// When `period` is zero.
pub fn interval(period: Duration) -> Interval {
    assert!(!period.is_zero(), "an interval needs a period above zero");
    Interval {
        sleep: sleep(period),
        period,
    }
}

/// See [`interval`].
#[derive(Debug)]
pub struct Interval {
    sleep: Sleep,
    period: Duration,
}

impl Interval {
    /// Waits for the next tick; gives the time at which it was due.
    pub async fn tick(&mut self) -> Instant {
        let due = self.sleep.deadline();
        Pin::new(&mut self.sleep).await;
        let period = nanos(self.period);
        let late = nanos(Instant::now() - due);
        self.sleep
            .reset(due + Duration::from_nanos(period.saturating_mul(late / period + 1)));
        due
    }
}
