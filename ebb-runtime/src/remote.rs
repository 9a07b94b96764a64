//! Work on other cores: spawning there, and the representatives that live there.
//!
//! Everything here is explicit. The closure travels, the representative stays; only `Send` values
//! cross. A core runs what arrives as events of its own, in the order of arrival, so a
//! representative is never used by two cores.

use alloc::vec::Vec;
use core::{
    fmt,
    panic::Location,
    pin::Pin,
    task::{Context, Poll},
};

use crate::{
    Ebb, EbbRef,
    event::{Deliver, Home, JoinError, TaskPtr, allocate},
    per_core::{CoreId, Part},
    sync::oneshot,
};

/// The result leaves through a channel to another core.
struct SendAway<T>(Option<oneshot::Sender<Result<T, JoinError>>>);

impl<T: 'static> Deliver<T> for SendAway<T> {
    fn deliver(&mut self, result: Result<T, JoinError>) -> Option<Result<T, JoinError>> {
        if let Some(sender) = self.0.take() {
            // Nobody waits: the result is dropped here, on the core that made it.
            let _ = sender.send(result);
        }
        None
    }
}

/// Spawns a task on a core, which builds the future itself: the future need not be `Send`.
///
/// # Panics
/// On a thread that is not a core, and when the machine has no such core.
#[track_caller]
pub fn spawn_on<F, Fut>(core: CoreId, f: F) -> RemoteHandle<Fut::Output>
where
    F: FnOnce() -> Fut + Send + 'static,
    Fut: Future + 'static,
    Fut::Output: Send,
{
    spawn_to(Home::current().of(core), f)
}

/// As [`spawn_on`], from any thread.
#[track_caller]
pub(crate) fn spawn_to<F, Fut>(home: &'static Home, f: F) -> RemoteHandle<Fut::Output>
where
    F: FnOnce() -> Fut + Send + 'static,
    Fut: Future + 'static,
    Fut::Output: Send,
{
    // SAFETY: both are `Send`.
    unsafe { spawn_to_any(home, f) }
}

/// As [`spawn_to`], of what need not be `Send`.
///
/// # Safety
/// `f` and what its future gives are `Send`, or the core runs on this thread, which has it take `f` before it shuts.
#[track_caller]
pub(crate) unsafe fn spawn_to_any<F, Fut>(home: &'static Home, f: F) -> RemoteHandle<Fut::Output>
where
    F: FnOnce() -> Fut + 'static,
    Fut: Future + 'static,
{
    let (sender, receiver) = oneshot::channel();
    // The block holds only `f` until its first poll, on the target.
    let future = async move { f().await };
    let deliver = SendAway(Some(sender));
    let task = allocate(home, future, deliver, 1, Location::caller());
    // The handle's own count.
    task.retain();
    let task = RemoteTask(task);
    task.0.wake_remote();
    RemoteHandle { receiver, task }
}

/// A count on a task that another core runs.
struct RemoteTask(TaskPtr);

// SAFETY: only what any thread may use is used here: `wake_remote`, `cancel_remote`, the spawn site
// and the count.
unsafe impl Send for RemoteTask {}
// SAFETY: as above.
unsafe impl Sync for RemoteTask {}

impl Drop for RemoteTask {
    fn drop(&mut self) {
        // SAFETY: the count taken in `spawn_to`.
        unsafe { self.0.release() }
    }
}

/// Waits for a task of another core. Dropping it lets the task go on unattended. May be sent to any
/// core.
#[must_use = "await it for the result; dropping it lets the task go on unattended"]
pub struct RemoteHandle<T> {
    receiver: oneshot::Receiver<Result<T, JoinError>>,
    task: RemoteTask,
}

impl<T> RemoteHandle<T> {
    /// Asks the task's core to end it. The handle then gives [`JoinError::Cancelled`], unless the
    /// task ended first.
    pub fn cancel(&self) {
        self.task.0.cancel_remote();
    }

    /// Where the task was spawned.
    #[must_use]
    pub fn spawned_at(&self) -> &'static Location<'static> {
        self.task.0.site
    }
}

impl<T> Future for RemoteHandle<T> {
    type Output = Result<T, JoinError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.receiver)
            .poll(cx)
            .map(|result| result.unwrap_or(Err(JoinError::Cancelled)))
    }
}

impl<T> fmt::Debug for RemoteHandle<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RemoteHandle")
            .field("spawned_at", &format_args!("{}", self.spawned_at()))
            .finish_non_exhaustive()
    }
}

impl<T: Ebb> EbbRef<T> {
    /// Calls `f` with the representative on `core`, as an event there.
    ///
    /// # Panics
    /// On a thread that is not a core, and when the machine has no such core.
    #[track_caller]
    pub fn on<R: Send + 'static>(
        self,
        core: CoreId,
        f: impl FnOnce(&T) -> R + Send + 'static,
    ) -> RemoteHandle<R> {
        spawn_on(core, async move || self.with(f))
    }

    /// Calls `f` with every core's representative and gives the answers in the order of the cores.
    /// The cores work at the same time; each sees its representative between two of its events, so
    /// there is no instant at which all answers hold together.
    ///
    /// # Panics
    /// On a thread that is not a core.
    #[track_caller]
    pub fn gather<R: Send + 'static>(
        self,
        f: impl Fn(&T) -> R + Clone + Send + 'static,
    ) -> Gather<R> {
        let waiting: Vec<_> = crate::cores()
            .map(|core| {
                let f = f.clone();
                Some(self.on(core, move |rep| f(rep)))
            })
            .collect();
        let answers = waiting.iter().map(|_| None).collect();
        Gather { waiting, answers }
    }

    /// Calls `f` with every core's representative and waits until all have done it.
    ///
    /// # Errors
    /// As [`gather`](Self::gather).
    ///
    /// # Panics
    /// On a thread that is not a core.
    #[track_caller]
    pub fn broadcast(
        self,
        f: impl Fn(&T) + Clone + Send + 'static,
    ) -> impl Future<Output = Result<(), JoinError>> {
        let all = self.gather(f);
        async move { all.await.map(drop) }
    }

    /// Calls `map` with every core's representative and folds the answers, in the order of the
    /// cores, on the calling core.
    ///
    /// # Errors
    /// As [`gather`](Self::gather).
    ///
    /// # Panics
    /// On a thread that is not a core.
    #[track_caller]
    pub fn fold<R: Send + 'static, A>(
        self,
        initial: A,
        map: impl Fn(&T) -> R + Clone + Send + 'static,
        combine: impl FnMut(A, R) -> A,
    ) -> impl Future<Output = Result<A, JoinError>> {
        let all = self.gather(map);
        async move { Ok(all.await?.into_iter().fold(initial, combine)) }
    }
}

/// The answers of all cores, in their order. The first core that failed decides the error; the others are
/// still waited for.
#[must_use = "futures do nothing until awaited"]
pub struct Gather<R> {
    waiting: Vec<Option<RemoteHandle<R>>>,
    answers: Vec<Option<Result<R, JoinError>>>,
}

impl<R> Unpin for Gather<R> {}

impl<R> Future for Gather<R> {
    type Output = Result<Vec<R>, JoinError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Self { waiting, answers } = &mut *self;
        let mut pending = false;
        for (handle, answer) in waiting.iter_mut().zip(answers.iter_mut()) {
            if let Some(remote) = handle {
                match Pin::new(remote).poll(cx) {
                    Poll::Ready(result) => {
                        *answer = Some(result);
                        *handle = None;
                    }
                    Poll::Pending => pending = true,
                }
            }
        }
        if pending {
            return Poll::Pending;
        }
        Poll::Ready(answers.drain(..).flatten().collect())
    }
}

impl<R> fmt::Debug for Gather<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let left = self.waiting.iter().flatten().count();
        write!(
            f,
            "Gather({left} of {} cores to answer)",
            self.waiting.len()
        )
    }
}
