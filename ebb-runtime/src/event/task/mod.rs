//! The memory of a task: a header, its future or result, and how the result is delivered.
//!
//! What must hold:
//! - Everything but `refs`, `link`, `remote_wake` and `remote_cancel` is touched by the home core only (the core that
//!   runs the task). Futures and results are polled, taken and dropped there.
//! - `refs` counts the wakers, plus one for all of the home core's own references together (the
//!   executor's and the join handle's, which `owners` counts without atomics), plus one while the
//!   header is in an inbox. Whoever takes it to zero frees the memory; by then the future and the
//!   result are gone.
//! - The header is in its home core's run queue while `queued` is true, and in its inbox while
//!   `remote_wake` is true.
//! - A [`TaskPtr`] is used only while a count for it is held: the executor's until `complete`, a
//!   handle's, a waker's, or the inbox's.
//! - Destructors, wakers of others and results are the user's code: they may spawn, wake, cancel and
//!   panic. Whatever calls one has left the task in a state in which all of that is right.
//! - Once a core's loop has ended for good (its doorbell is shut) whoever sweeps its inbox stands in
//!   for the home core. It drops futures that never arrived only: they hold but a `Send` closure.
//!
//! A wake on the home core therefore needs no atomic operation, and spawn, run and join none at all.
//!
//! `home.rs` has what a core keeps of its tasks, `lists.rs` the lists in it.

mod home;
mod lists;

use alloc::boxed::Box;
use core::{
    any::Any,
    cell::{Cell, UnsafeCell},
    mem::{self, ManuallyDrop},
    ops::Deref,
    panic::Location,
    pin::Pin,
    ptr::{self, NonNull},
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    task::{Context, Poll, RawWaker, RawWakerVTable, Waker},
};

pub(crate) use self::home::{Home, Homes};
use crate::{
    event::error::JoinError,
    sync::inbox::{Link, Node},
    trace,
};

/// Where a task is in its life.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    /// Its future waits for a poll.
    Alive,
    /// Its future is being polled.
    Running,
    /// Cancelled by its own poll; ends when the poll returns.
    Cancelled,
    /// Its future is being dropped, whose destructor may drop the task's own join handle.
    Ending,
    /// The future is gone. A result may wait for the join handle.
    Done,
}

/// Where a task is in its core's list of live tasks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Place {
    /// Its core has not seen it yet.
    Away,
    /// In the list.
    Listed,
    /// It has ended.
    Gone,
}

/// The part of a task that does not depend on its future.
pub(crate) struct Header {
    link: Link<Header>,
    refs: AtomicUsize,
    remote_wake: AtomicBool,
    remote_cancel: AtomicBool,
    home: &'static Home,
    table: &'static Table,
    /// Where it was spawned.
    pub site: &'static Location<'static>,
    /// The home core's own references: executor and join handle.
    owners: Cell<u8>,
    queued: Cell<bool>,
    place: Cell<Place>,
    state: Cell<State>,
    joiner: Cell<Option<Waker>>,
    /// The next task in the run queue.
    next: Cell<Option<TaskPtr>>,
    /// Neighbours in the core's list of live tasks.
    live: [Cell<Option<TaskPtr>>; 2],
}

/// A task. Unlike a `&Header`, the pointer is good for the whole of the task's memory, of which the
/// header is the first part.
#[derive(Clone, Copy)]
pub(crate) struct TaskPtr(NonNull<Header>);

impl Deref for TaskPtr {
    type Target = Header;

    #[inline(always)]
    fn deref(&self) -> &Header {
        // SAFETY: used while a count is held (module's invariant). All that changes is in cells.
        unsafe { self.0.as_ref() }
    }
}

// SAFETY: the link is the header's own field and only the inbox uses it.
unsafe impl Node for Header {
    unsafe fn link(this: NonNull<Self>) -> NonNull<Link<Self>> {
        // SAFETY: `this` is valid; no reference to the rest is made.
        unsafe { NonNull::new_unchecked(&raw mut (*this.as_ptr()).link) }
    }
}

/// What differs between futures.
struct Table {
    poll: unsafe fn(TaskPtr, &mut Context<'_>) -> bool,
    /// Delivers an error, when the future is gone.
    fail: unsafe fn(TaskPtr, JoinError),
    /// Moves the result to where the pointer says.
    take: unsafe fn(TaskPtr, *mut ()),
    /// Drops the future, or what is left of the result, in place.
    discard: unsafe fn(TaskPtr),
    free: unsafe fn(TaskPtr),
}

/// How a result reaches whoever waits for it.
pub(crate) trait Deliver<T>: 'static {
    /// `None` when it was sent away, `Some` when the task keeps it for its join handle.
    fn deliver(&mut self, result: Result<T, JoinError>) -> Option<Result<T, JoinError>>;
}

enum Stage<F: Future> {
    Future(F),
    Result(Result<F::Output, JoinError>),
    Empty,
}

#[repr(C)]
struct Cell_<F: Future, D> {
    header: Header,
    stage: UnsafeCell<Stage<F>>,
    deliver: UnsafeCell<D>,
}

impl<F: Future + 'static, D: Deliver<F::Output>> Cell_<F, D> {
    const TABLE: &'static Table = &Table {
        poll: Self::poll,
        fail: Self::fail,
        take: Self::take,
        discard: Self::discard,
        free: Self::free,
    };

    unsafe fn poll(task: TaskPtr, cx: &mut Context<'_>) -> bool {
        let this = task.0.as_ptr().cast::<Self>();
        // SAFETY: the home core, outside any other use of the stage (module's invariant).
        let stage = unsafe { &mut *(*this).stage.get() };
        let Stage::Future(future) = stage else {
            return true;
        };
        // SAFETY: the future stays in its heap memory until it is dropped there.
        match unsafe { Pin::new_unchecked(future) }.poll(cx) {
            Poll::Pending => false,
            Poll::Ready(output) => {
                *stage = Stage::Empty;
                // SAFETY: as above.
                let kept = unsafe { (*(*this).deliver.get()).deliver(Ok(output)) };
                if let Some(result) = kept {
                    // SAFETY: as above; `stage` was not used since.
                    unsafe { *(*this).stage.get() = Stage::Result(result) };
                }
                true
            }
        }
    }

    unsafe fn fail(task: TaskPtr, error: JoinError) {
        let this = task.0.as_ptr().cast::<Self>();
        // SAFETY: the home core; nothing else uses the place.
        if let Some(result) = unsafe { (*(*this).deliver.get()).deliver(Err(error)) } {
            // SAFETY: as above.
            unsafe { *(*this).stage.get() = Stage::Result(result) };
        }
    }

    unsafe fn take(task: TaskPtr, into: *mut ()) {
        let this = task.0.as_ptr().cast::<Self>();
        // SAFETY: the home core; `into` is a place for this type of result.
        unsafe {
            let stage = mem::replace(&mut *(*this).stage.get(), Stage::Empty);
            if let Stage::Result(result) = stage {
                into.cast::<Option<Result<F::Output, JoinError>>>()
                    .write(Some(result));
            }
        }
    }

    unsafe fn discard(task: TaskPtr) {
        let this = task.0.as_ptr().cast::<Self>();
        // SAFETY: the home core. A future is dropped in place, as pinning demands, and counts as
        // gone even if its destructor panics.
        unsafe {
            let stage = (*this).stage.get();
            struct Emptied<F: Future>(*mut Stage<F>);
            impl<F: Future> Drop for Emptied<F> {
                fn drop(&mut self) {
                    // SAFETY: what was there has been dropped in place.
                    unsafe { self.0.write(Stage::Empty) }
                }
            }
            let _emptied = Emptied(stage);
            ptr::drop_in_place(stage);
        }
    }

    unsafe fn free(task: TaskPtr) {
        // SAFETY: the last reference; allocated by `allocate` as this type. Future and result are
        // gone, so on another core than home only memory is given back.
        drop(unsafe { Box::from_raw(task.0.as_ptr().cast::<Self>()) });
    }
}

/// A task for a core, not yet known to it. `owners` is the number of [`Task`]s that stand for it.
pub(crate) fn allocate<F: Future + 'static, D: Deliver<F::Output>>(
    home: &'static Home,
    future: F,
    deliver: D,
    owners: u8,
    site: &'static Location<'static>,
) -> TaskPtr {
    let cell = Box::new(Cell_ {
        header: Header {
            link: Link::new(),
            refs: AtomicUsize::new(1),
            remote_wake: AtomicBool::new(false),
            remote_cancel: AtomicBool::new(false),
            home,
            table: Cell_::<F, D>::TABLE,
            site,
            owners: Cell::new(owners),
            queued: Cell::new(false),
            place: Cell::new(Place::Away),
            state: Cell::new(State::Alive),
            joiner: Cell::new(None),
            next: Cell::new(None),
            live: [Cell::new(None), Cell::new(None)],
        },
        stage: UnsafeCell::new(Stage::Future(future)),
        deliver: UnsafeCell::new(deliver),
    });
    TaskPtr(NonNull::from(Box::leak(cell)).cast())
}

/// One of the home core's own references to a task. Not `Send`.
pub(crate) struct Task(TaskPtr);

impl Task {
    /// # Safety
    /// On the home core; the reference was counted in `owners` for this handle.
    pub unsafe fn new(task: TaskPtr) -> Self {
        Self(task)
    }

    /// True when the result is there.
    pub fn is_done(&self) -> bool {
        self.0.state.get() == State::Done
    }

    /// Where it was spawned.
    pub fn site(&self) -> &'static Location<'static> {
        self.0.site
    }

    /// The waker to call when the result is there.
    pub fn set_joiner(&self, waker: &Waker) {
        let old = self.0.joiner.take();
        let new = match &old {
            Some(old) if old.will_wake(waker) => None,
            _ => Some(waker.clone()),
        };
        // The old one is dropped last: that may run a destructor.
        let (new, _old) = if new.is_some() {
            (new, old)
        } else {
            (old, None)
        };
        self.0.joiner.set(new);
    }

    /// Takes the result. `None` when it was taken already, or sent away.
    ///
    /// # Safety
    /// `T` is the output of this task's future.
    pub unsafe fn take<T>(&self) -> Option<Result<T, JoinError>> {
        let mut result: Option<Result<T, JoinError>> = None;
        // SAFETY: the home core (a `Task` is not Send); the type is the caller's promise.
        unsafe { (self.0.table.take)(self.0, (&raw mut result).cast()) };
        result
    }

    /// Ends the task now: its future is dropped before this returns, unless it is the one that
    /// runs, whose future is dropped when its poll returns.
    pub fn cancel(&self) {
        match self.0.state.get() {
            State::Alive => self.0.end(JoinError::Cancelled),
            State::Running => self.0.state.set(State::Cancelled),
            State::Cancelled | State::Ending | State::Done => {}
        }
    }

    /// Drops a result that nobody will take.
    pub fn discard_result(&self) {
        if self.is_done() {
            // SAFETY: the home core; the future is gone.
            unsafe { (self.0.table.discard)(self.0) };
        }
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        // After the core's end it is whoever sweeps, or a thread-local variable that kept a handle.
        debug_assert!(
            self.0.home.is_current() || self.0.home.doorbell.is_shut(),
            "a task's handle left its core"
        );
        let owners = self.0.owners.get() - 1;
        self.0.owners.set(owners);
        if owners == 0 {
            // SAFETY: the home core's count.
            unsafe { self.0.release() };
        }
    }
}

impl TaskPtr {
    /// A number that no other task has while this one is there.
    pub fn number(self) -> u64 {
        self.0.as_ptr().expose_provenance() as u64
    }

    /// Gives one count of `refs` back.
    ///
    /// # Safety
    /// The caller has that count and does not use the task afterwards.
    pub unsafe fn release(self) {
        // The only reference left cannot be cloned by anybody else, so no decrement is needed.
        // Acquire: what the others did with the task happened before it is freed.
        if self.refs.load(Ordering::Acquire) == 1 || self.refs.fetch_sub(1, Ordering::AcqRel) == 1 {
            // SAFETY: the last count.
            unsafe { (self.table.free)(self) };
        }
    }

    /// Takes one more count of `refs`; the caller is sure of another.
    pub fn retain(self) {
        self.refs.fetch_add(1, Ordering::Relaxed);
    }

    /// Asks the home core to end the task.
    pub fn cancel_remote(self) {
        self.remote_cancel.store(true, Ordering::Release);
        self.wake_remote();
    }

    /// Puts the task into its core's run queue, unless it is there.
    #[inline]
    pub fn enqueue(self) {
        if !self.queued.replace(true) {
            self.home.queue.push(self);
        }
    }

    /// First arrival on its core.
    pub fn adopt(self) {
        if self.place.get() == Place::Away {
            self.place.set(Place::Listed);
            self.home.live.insert(self);
            if self.home.closed.get() {
                self.end(JoinError::Cancelled);
            }
        }
    }

    /// What the core does with a header from its inbox.
    ///
    /// # Safety
    /// Called by the home core with a header that its inbox gave out.
    pub unsafe fn arrive(header: NonNull<Header>) {
        let task = Self(header);
        let _count = InboxCount(task);
        // Before the poll, and reading what the last waker wrote: a wake from now on pushes again.
        task.remote_wake.swap(false, Ordering::AcqRel);
        task.adopt();
        if task.state.get() == State::Alive {
            if task.remote_cancel.load(Ordering::Acquire) {
                task.end(JoinError::Cancelled);
            } else {
                task.enqueue();
            }
        }
    }

    /// What becomes of a header in the inbox of a core whose loop has ended.
    ///
    /// # Safety
    /// That core's inbox gave it out to the caller, who sweeps it.
    pub unsafe fn abandon(header: NonNull<Header>) {
        let task = Self(header);
        let _count = InboxCount(task);
        task.remote_wake.swap(false, Ordering::AcqRel);
        if task.place.get() == Place::Away {
            task.end(JoinError::Cancelled);
        }
    }

    /// Wakes from any thread.
    #[inline]
    pub fn wake(self) {
        if self.home.is_current() {
            if matches!(self.state.get(), State::Alive | State::Running) {
                self.enqueue();
            }
        } else {
            self.wake_remote();
        }
    }

    /// Sends the header to its core.
    pub fn wake_remote(self) {
        if !self.remote_wake.swap(true, Ordering::AcqRel) {
            self.retain();
            if trace::is_on() {
                trace::sent(self.home.number(), self.number(), self.site);
            }
            // SAFETY: the count just taken keeps it valid; `remote_wake` was false, so it is in no
            // inbox.
            if unsafe { self.home.inbox.push(self.0) } {
                self.home.nudge();
            }
        }
    }

    /// Runs one event of this task, which the core took from its run queue.
    ///
    /// # Safety
    /// On the home core, not within another task; the task has the executor's reference.
    #[inline]
    pub unsafe fn run(self) {
        self.queued.set(false);
        if self.state.get() == State::Done {
            // Ended while it was queued; that kept the executor's reference.
            // SAFETY: the executor's reference, given up here.
            drop(unsafe { Task::new(self) });
            return;
        }
        self.state.set(State::Running);
        // SAFETY: borrowed for the poll; clones count themselves.
        let waker = ManuallyDrop::new(unsafe { Waker::from_raw(raw_waker(self)) });
        let mut cx = Context::from_waker(&waker);
        // SAFETY: the home core; the state says that nobody else polls.
        let ready = unsafe { (self.table.poll)(self, &mut cx) };
        if ready {
            self.finish();
        } else if self.state.get() == State::Cancelled {
            self.end(JoinError::Cancelled);
        } else {
            self.state.set(State::Alive);
        }
    }

    /// Ends a task in whose event something panicked.
    pub fn panicked(self, payload: Box<dyn Any + Send>) {
        if self.state.get() == State::Done {
            // It had ended: what panicked was the joiner's waker, or the destructor of a result that
            // nobody took.
            drop(payload);
            self.complete();
        } else {
            self.end(JoinError::Panicked(payload));
        }
    }

    /// Drops the future and delivers an error, also when the future's destructor panics.
    pub fn end(self, error: JoinError) {
        struct Ending(TaskPtr, Option<JoinError>);
        impl Drop for Ending {
            fn drop(&mut self) {
                if let Some(error) = self.1.take() {
                    // SAFETY: the home core, or its sweeper; the future is gone.
                    unsafe { (self.0.table.fail)(self.0, error) };
                }
                self.0.finish();
            }
        }
        self.state.set(State::Ending);
        let _ending = Ending(self, Some(error));
        // SAFETY: the home core, or its sweeper; the state keeps everybody else from the future.
        unsafe { (self.table.discard)(self) };
    }

    /// The future is gone and the result delivered: leave the list, tell the join handle.
    fn finish(self) {
        self.state.set(State::Done);
        if self.place.replace(Place::Gone) == Place::Listed {
            self.home.live.remove(self);
        }
        if let Some(joiner) = self.joiner.take() {
            joiner.wake();
        }
        self.complete();
    }

    /// Gives up the executor's reference, or leaves that to the run queue.
    fn complete(self) {
        if self.owners.get() == 1 {
            // No join handle: nobody will take the result. (Its destructor is the user's code.)
            // SAFETY: the home core, or its sweeper; the future is gone.
            unsafe { (self.table.discard)(self) };
        }
        if !self.queued.get() {
            // SAFETY: the executor's reference, given up here.
            drop(unsafe { Task::new(self) });
        }
    }
}

/// The inbox's count on a task that it has given out.
struct InboxCount(TaskPtr);

impl Drop for InboxCount {
    fn drop(&mut self) {
        // SAFETY: taken by `wake_remote`.
        unsafe { self.0.release() }
    }
}

// --- Wakers ------------------------------------------------------------------------------------

fn raw_waker(task: TaskPtr) -> RawWaker {
    static TABLE: RawWakerVTable = RawWakerVTable::new(clone, wake, wake_by_ref, drop_waker);

    /// # Safety
    /// `data` is of a waker that has a count, and lives for the call.
    unsafe fn task_of(data: *const ()) -> TaskPtr {
        // SAFETY: made from a task's pointer below.
        TaskPtr(unsafe { NonNull::new_unchecked(data.cast_mut().cast()) })
    }
    unsafe fn clone(data: *const ()) -> RawWaker {
        // SAFETY: the waker being cloned has a count.
        let task = unsafe { task_of(data) };
        task.retain();
        raw_waker(task)
    }
    unsafe fn wake(data: *const ()) {
        // SAFETY: the waker's count lasts until `drop_waker`.
        unsafe {
            task_of(data).wake();
            drop_waker(data);
        }
    }
    unsafe fn wake_by_ref(data: *const ()) {
        // SAFETY: the waker has a count.
        unsafe { task_of(data) }.wake();
    }
    unsafe fn drop_waker(data: *const ()) {
        // SAFETY: gives back the waker's count.
        unsafe { task_of(data).release() }
    }

    RawWaker::new(task.0.as_ptr().cast_const().cast(), &TABLE)
}
