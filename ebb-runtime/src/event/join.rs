//! Spawning on this core, join handles, yielding.

use core::{
    fmt,
    marker::PhantomData,
    panic::Location,
    pin::Pin,
    task::{Context, Poll},
};

use super::{
    error::JoinError,
    task::{Deliver, Home, Task, allocate},
};
use crate::per_core::Part;

/// The task keeps its result until its join handle takes it.
struct Keep;

impl<T> Deliver<T> for Keep {
    fn deliver(&mut self, result: Result<T, JoinError>) -> Option<Result<T, JoinError>> {
        Some(result)
    }
}

/// Spawns a task on this core. It first runs after the current event.
///
/// # Panics
/// On a thread that is not a core.
#[track_caller]
#[inline]
pub fn spawn<F: Future + 'static>(future: F) -> JoinHandle<F::Output> {
    let task = allocate(Home::current(), future, Keep, 2, Location::caller());
    // SAFETY: this is the home core; the handle's reference is one of the two.
    let handle = unsafe { Task::new(task) };
    if crate::trace::is_on() {
        crate::trace::spawned(task.number(), task.site);
    }
    task.enqueue();
    task.adopt();
    JoinHandle {
        task: handle,
        output: PhantomData,
    }
}

/// Waits for a task of this core. Dropping it lets the task go on unattended.
///
/// Neither `Send` nor `Sync`: it belongs to the core of its task.
pub struct JoinHandle<T> {
    task: Task,
    output: PhantomData<*const T>,
}

impl<T> JoinHandle<T> {
    /// Ends the task now: its future is dropped before this returns. A task that cancels itself
    /// ends when its event returns. Without effect when the task has ended.
    pub fn cancel(&self) {
        self.task.cancel();
    }

    /// True when the task has ended.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.task.is_done()
    }

    /// Where the task was spawned.
    #[must_use]
    pub fn spawned_at(&self) -> &'static Location<'static> {
        self.task.site()
    }
}

impl<T> Future for JoinHandle<T> {
    type Output = Result<T, JoinError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if !self.task.is_done() {
            self.task.set_joiner(cx.waker());
            return Poll::Pending;
        }
        // SAFETY: `spawn` made the handle for this output.
        let result = unsafe { self.task.take::<T>() };
        Poll::Ready(result.expect("a join handle is not polled after it was ready"))
    }
}

impl<T> Drop for JoinHandle<T> {
    fn drop(&mut self) {
        self.task.discard_result();
    }
}

impl<T> fmt::Debug for JoinHandle<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JoinHandle")
            .field("spawned_at", &format_args!("{}", self.spawned_at()))
            .field("finished", &self.is_finished())
            .finish()
    }
}

/// Lets every event that waits now run before this task goes on.
#[must_use = "futures do nothing until awaited"]
pub fn yield_now() -> Yield {
    Yield { yielded: false }
}

/// See [`yield_now`].
#[derive(Debug)]
pub struct Yield {
    yielded: bool,
}

impl Future for Yield {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if self.yielded {
            return Poll::Ready(());
        }
        self.yielded = true;
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}
