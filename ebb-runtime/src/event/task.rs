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
//!
//! A wake on the home core therefore needs no atomic operation, and spawn, run and join none at all.

use alloc::boxed::Box;
use core::{
    any::Any,
    cell::{Cell, UnsafeCell},
    mem::{self, ManuallyDrop},
    panic::Location,
    pin::Pin,
    ptr::{self, NonNull},
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    task::{Context, Poll, RawWaker, RawWakerVTable, Waker},
};

use super::join::JoinError;
use crate::{
    core::Core,
    sync::inbox::{Link, Node},
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
    /// The future is gone. A result may wait for the join handle.
    Done,
}

/// The part of a task that does not depend on its future.
pub(crate) struct Header {
    link: Link<Header>,
    refs: AtomicUsize,
    remote_wake: AtomicBool,
    remote_cancel: AtomicBool,
    core: &'static Core,
    table: &'static Table,
    /// Where it was spawned.
    pub site: &'static Location<'static>,
    /// The home core's own references: executor and join handle.
    owners: Cell<u8>,
    queued: Cell<bool>,
    /// In the core's list of live tasks.
    adopted: Cell<bool>,
    state: Cell<State>,
    joiner: Cell<Option<Waker>>,
    /// The next task in the run queue.
    next: Cell<*const Header>,
    /// Neighbours in the core's list of live tasks.
    live: [Cell<*const Header>; 2],
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
    poll: unsafe fn(*const Header, &mut Context<'_>) -> bool,
    /// Delivers an error, when the future is gone.
    fail: unsafe fn(*const Header, JoinError),
    /// Moves the result to where the pointer says.
    take: unsafe fn(*const Header, *mut ()),
    /// Drops the future, or what is left of the result, in place.
    discard: unsafe fn(*const Header),
    free: unsafe fn(*const Header),
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

    unsafe fn poll(header: *const Header, cx: &mut Context<'_>) -> bool {
        let this = header.cast::<Self>();
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

    unsafe fn fail(header: *const Header, error: JoinError) {
        let this = header.cast::<Self>();
        // SAFETY: the home core; nothing else uses the place.
        if let Some(result) = unsafe { (*(*this).deliver.get()).deliver(Err(error)) } {
            // SAFETY: as above.
            unsafe { *(*this).stage.get() = Stage::Result(result) };
        }
    }

    unsafe fn take(header: *const Header, into: *mut ()) {
        let this = header.cast::<Self>();
        // SAFETY: the home core; `into` is a place for this type of result.
        unsafe {
            let stage = mem::replace(&mut *(*this).stage.get(), Stage::Empty);
            if let Stage::Result(result) = stage {
                into.cast::<Option<Result<F::Output, JoinError>>>()
                    .write(Some(result));
            }
        }
    }

    unsafe fn discard(header: *const Header) {
        let this = header.cast::<Self>();
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

    unsafe fn free(header: *const Header) {
        // SAFETY: the last reference; allocated by `Task::new` as this type. Future and result are
        // gone, so on another core than home only memory is given back.
        drop(unsafe { Box::from_raw(header.cast::<Self>().cast_mut()) });
    }
}

/// One of the home core's own references to a task. Not `Send`.
pub(crate) struct Task(NonNull<Header>);

impl Task {
    /// A task for `core`, not yet known to it. `owners` is the number of `Task`s that stand for it;
    /// this is one of them.
    pub fn allocate<F: Future + 'static, D: Deliver<F::Output>>(
        core: &'static Core,
        future: F,
        deliver: D,
        owners: u8,
        site: &'static Location<'static>,
    ) -> NonNull<Header> {
        let cell = Box::new(Cell_ {
            header: Header {
                link: Link::new(),
                refs: AtomicUsize::new(1),
                remote_wake: AtomicBool::new(false),
                remote_cancel: AtomicBool::new(false),
                core,
                table: Cell_::<F, D>::TABLE,
                site,
                owners: Cell::new(owners),
                queued: Cell::new(false),
                adopted: Cell::new(false),
                state: Cell::new(State::Alive),
                joiner: Cell::new(None),
                next: Cell::new(ptr::null()),
                live: [Cell::new(ptr::null()), Cell::new(ptr::null())],
            },
            stage: UnsafeCell::new(Stage::Future(future)),
            deliver: UnsafeCell::new(deliver),
        });
        NonNull::from(Box::leak(cell)).cast()
    }

    /// # Safety
    /// On the home core; the reference was counted in `owners` for this handle.
    pub unsafe fn from_header(header: NonNull<Header>) -> Self {
        Self(header)
    }

    fn header(&self) -> &Header {
        // SAFETY: counted.
        unsafe { self.0.as_ref() }
    }

    /// True when the result is there.
    pub fn is_done(&self) -> bool {
        self.header().state.get() == State::Done
    }

    /// Where it was spawned.
    pub fn site(&self) -> &'static Location<'static> {
        self.header().site
    }

    /// The waker to call when the result is there.
    pub fn set_joiner(&self, waker: &Waker) {
        let old = self.header().joiner.take();
        let new = match old {
            Some(old) if old.will_wake(waker) => old,
            _ => waker.clone(),
        };
        self.header().joiner.set(Some(new));
    }

    /// Takes the result. `None` when it was taken already, or sent away.
    ///
    /// # Safety
    /// `T` is the output of this task's future.
    pub unsafe fn take<T>(&self) -> Option<Result<T, JoinError>> {
        let mut result: Option<Result<T, JoinError>> = None;
        // SAFETY: the home core (a `Task` is not Send); the type is the caller's promise.
        unsafe { (self.header().table.take)(self.0.as_ptr(), (&raw mut result).cast()) };
        result
    }

    /// Ends the task now: its future is dropped before this returns, unless it is the one that
    /// runs, whose future is dropped when its poll returns.
    pub fn cancel(&self) {
        let header = self.header();
        match header.state.get() {
            State::Alive => header.end(JoinError::Cancelled),
            State::Running => header.state.set(State::Cancelled),
            State::Cancelled | State::Done => {}
        }
    }

    /// Drops a result that nobody will take.
    pub fn discard_result(&self) {
        if self.is_done() {
            // SAFETY: the home core; the future is gone.
            unsafe { (self.header().table.discard)(self.0.as_ptr()) };
        }
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        let header = self.header();
        debug_assert!(header.core.is_current(), "a task's handle left its core");
        let owners = header.owners.get() - 1;
        header.owners.set(owners);
        if owners == 0 {
            // SAFETY: the home core's count.
            unsafe { Header::release(self.0.as_ptr()) };
        }
    }
}

impl Header {
    /// Gives one count of `refs` back.
    ///
    /// # Safety
    /// The caller has that count and does not use the header afterwards.
    pub unsafe fn release(this: *const Self) {
        // SAFETY: counted until here.
        unsafe {
            let refs = &(*this).refs;
            // The only reference left cannot be cloned by anybody else, so no decrement is needed.
            if refs.load(Ordering::Acquire) == 1 || refs.fetch_sub(1, Ordering::AcqRel) == 1 {
                ((*this).table.free)(this);
            }
        }
    }

    /// Takes one more count of `refs`; the caller is sure of another.
    pub fn retain(&self) {
        self.refs.fetch_add(1, Ordering::Relaxed);
    }

    /// Asks the home core to end the task.
    pub fn cancel_remote(&self) {
        self.remote_cancel.store(true, Ordering::Release);
        self.wake_remote();
    }

    /// Puts the task into its core's run queue, unless it is there.
    #[inline]
    pub fn enqueue(&self) {
        if !self.queued.replace(true) {
            self.core.local.events.queue.push(self);
        }
    }

    /// First arrival on its core.
    pub fn adopt(&self) {
        if !self.adopted.replace(true) {
            self.core.local.events.live.insert(self);
            if self.core.local.events.closed.get() {
                self.end(JoinError::Cancelled);
            }
        }
    }

    /// What the core does with a header from its inbox.
    ///
    /// # Safety
    /// Called by the home core with a header that its inbox gave out.
    pub unsafe fn arrive(this: NonNull<Self>) {
        // SAFETY: the inbox's count keeps it alive until the release below.
        let header = unsafe { this.as_ref() };
        // Before the poll, and reading what the last waker wrote: a wake from now on pushes again.
        header.remote_wake.swap(false, Ordering::AcqRel);
        header.adopt();
        if header.state.get() == State::Alive {
            if header.remote_cancel.load(Ordering::Acquire) {
                header.end(JoinError::Cancelled);
            } else {
                header.enqueue();
            }
        }
        // SAFETY: the inbox's count.
        unsafe { Self::release(this.as_ptr()) };
    }

    /// Wakes from any thread.
    #[inline]
    pub fn wake(&self) {
        if self.core.is_current() {
            if matches!(self.state.get(), State::Alive | State::Running) {
                self.enqueue();
            }
        } else {
            self.wake_remote();
        }
    }

    /// Sends the header to its core.
    pub fn wake_remote(&self) {
        if !self.remote_wake.swap(true, Ordering::AcqRel) {
            self.refs.fetch_add(1, Ordering::Relaxed);
            // SAFETY: the count just taken keeps it valid; `remote_wake` was false, so it is in no
            // inbox.
            if unsafe { self.core.inbox.push(NonNull::from(self)) } {
                self.core.nudge();
            }
        }
    }

    /// Runs one event of this task, which the core took from its run queue.
    ///
    /// # Safety
    /// On the home core, not within another task; the header has the executor's reference.
    #[inline]
    pub unsafe fn run(this: NonNull<Self>) {
        // SAFETY: the executor's reference.
        let header = unsafe { this.as_ref() };
        header.queued.set(false);
        if header.state.get() == State::Done {
            // Ended while it was queued; that kept the executor's reference.
            // SAFETY: the executor's reference, given up here.
            drop(unsafe { Task::from_header(this) });
            return;
        }
        header.state.set(State::Running);
        // SAFETY: borrowed for the poll; clones count themselves.
        let waker = ManuallyDrop::new(unsafe { Waker::from_raw(raw_waker(this.as_ptr())) });
        let mut cx = Context::from_waker(&waker);
        // SAFETY: the home core; the state says that nobody else polls.
        let ready = unsafe { (header.table.poll)(this.as_ptr(), &mut cx) };
        if ready {
            header.finish();
        } else if header.state.get() == State::Cancelled {
            header.end(JoinError::Cancelled);
        } else {
            header.state.set(State::Alive);
        }
    }

    /// Ends a task whose poll panicked.
    pub fn panicked(&self, payload: Box<dyn Any + Send>) {
        self.end(JoinError::Panicked(payload));
    }

    /// Drops the future and delivers an error, also when the future's destructor panics.
    pub fn end(&self, error: JoinError) {
        struct Ending<'a>(&'a Header, Option<JoinError>);
        impl Drop for Ending<'_> {
            fn drop(&mut self) {
                let error = self.1.take().expect("taken once");
                // SAFETY: the home core; the future is gone.
                unsafe { (self.0.table.fail)(self.0, error) };
                self.0.finish();
            }
        }
        self.state.set(State::Done);
        let _ending = Ending(self, Some(error));
        // SAFETY: the home core; the state keeps everybody else from the future.
        unsafe { (self.table.discard)(self) };
    }

    /// The future is gone and the result delivered: tell the join handle, leave the lists.
    fn finish(&self) {
        self.state.set(State::Done);
        if self.adopted.get() {
            self.core.local.events.live.remove(self);
        }
        if let Some(joiner) = self.joiner.take() {
            joiner.wake();
        }
        if self.owners.get() == 1 {
            // No join handle: nobody will take the result. (Its destructor is the user's code.)
            // SAFETY: the home core; the future is gone.
            unsafe { (self.table.discard)(self) };
        }
        if !self.queued.get() {
            // SAFETY: the executor's reference, given up here.
            drop(unsafe { Task::from_header(NonNull::from(self)) });
        }
    }
}

// --- Wakers ------------------------------------------------------------------------------------

fn raw_waker(header: *const Header) -> RawWaker {
    static TABLE: RawWakerVTable = RawWakerVTable::new(clone, wake, wake_by_ref, drop_waker);

    unsafe fn clone(data: *const ()) -> RawWaker {
        // SAFETY: the waker being cloned has a count.
        unsafe { (*data.cast::<Header>()).retain() };
        raw_waker(data.cast())
    }
    unsafe fn wake(data: *const ()) {
        // SAFETY: the waker's count lasts until `drop_waker`.
        unsafe {
            (*data.cast::<Header>()).wake();
            drop_waker(data);
        }
    }
    unsafe fn wake_by_ref(data: *const ()) {
        // SAFETY: the waker has a count.
        unsafe { (*data.cast::<Header>()).wake() }
    }
    unsafe fn drop_waker(data: *const ()) {
        // SAFETY: gives back the waker's count.
        unsafe { Header::release(data.cast()) }
    }

    RawWaker::new(header.cast(), &TABLE)
}

// --- Lists of the home core ----------------------------------------------------------------------

/// The run queue: first in, first out, linked through `next`.
pub(crate) struct RunQueue {
    head: Cell<*const Header>,
    tail: Cell<*const Header>,
}

impl Default for RunQueue {
    fn default() -> Self {
        Self {
            head: Cell::new(ptr::null()),
            tail: Cell::new(ptr::null()),
        }
    }
}

impl RunQueue {
    #[inline]
    fn push(&self, header: &Header) {
        let this: *const Header = header;
        header.next.set(ptr::null());
        // SAFETY: queued headers keep the executor's reference until they are popped.
        match unsafe { self.tail.get().as_ref() } {
            Some(tail) => tail.next.set(this),
            None => self.head.set(this),
        }
        self.tail.set(this);
    }

    #[inline]
    pub fn pop(&self) -> Option<NonNull<Header>> {
        let head = NonNull::new(self.head.get().cast_mut())?;
        // SAFETY: as in `push`.
        let next = unsafe { head.as_ref() }.next.get();
        self.head.set(next);
        if next.is_null() {
            self.tail.set(ptr::null());
        }
        Some(head)
    }

    #[inline]
    pub fn is_empty(&self) -> bool {
        self.head.get().is_null()
    }
}

/// Every task of the core that has not ended, linked through `live`.
pub(crate) struct LiveList {
    head: Cell<*const Header>,
    count: Cell<usize>,
}

impl Default for LiveList {
    fn default() -> Self {
        Self {
            head: Cell::new(ptr::null()),
            count: Cell::new(0),
        }
    }
}

const NEXT: usize = 0;
const PREVIOUS: usize = 1;

impl LiveList {
    fn insert(&self, header: &Header) {
        let head = self.head.get();
        header.live[NEXT].set(head);
        header.live[PREVIOUS].set(ptr::null());
        // SAFETY: live tasks have the executor's reference.
        if let Some(head) = unsafe { head.as_ref() } {
            head.live[PREVIOUS].set(header);
        }
        self.head.set(header);
        self.count.set(self.count.get() + 1);
    }

    fn remove(&self, header: &Header) {
        let (next, previous) = (header.live[NEXT].get(), header.live[PREVIOUS].get());
        // SAFETY: as in `insert`.
        match unsafe { previous.as_ref() } {
            Some(previous) => previous.live[NEXT].set(next),
            None => self.head.set(next),
        }
        // SAFETY: as in `insert`.
        if let Some(next) = unsafe { next.as_ref() } {
            next.live[PREVIOUS].set(previous);
        }
        self.count.set(self.count.get() - 1);
    }

    pub fn first(&self) -> Option<NonNull<Header>> {
        NonNull::new(self.head.get().cast_mut())
    }

    pub fn len(&self) -> usize {
        self.count.get()
    }
}
