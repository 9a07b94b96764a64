//! System calls: finding the handler, calling it, putting the result where the guest expects it.
//!
//! What must hold: a handler either finishes or says [`Stop::Wait`] having changed nothing but its `Waiting` (principle 2 in
//! the crate's documentation). It is called again with the same arguments whenever the thread is woken.

mod file;
pub(crate) mod futex;
mod memory;
mod misc;
mod path;
mod poll;
mod process;
pub(crate) mod quick;
mod resource;
mod signal;
mod socket;
pub mod table;
mod thread;
mod time;
mod timer;
mod trace;

use crate::futex::ThreadKey;
use crate::object::errno::Errno;
use crate::process::{Memory, Process};
use crate::thread::{Thread, Waiting, Work};
use crate::uc::Uc;
use alloc::rc::Rc;
use core::cell::RefMut;
use core::task::Waker;
use ebb_mem::space::{BadAddress, Error, Space};
pub use table::{State, TABLE};

/// Why a handler did not give a result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// It failed.
    Error(Errno),
    /// It waits.
    Wait,
    /// The thread is over, with this status.
    Gone(u8),
    /// The thread's registers were replaced; there is no result.
    Replaced,
    /// It is done, with the result 0, and others are to run first.
    Yield,
}

impl From<Errno> for Stop {
    fn from(errno: Errno) -> Self {
        Self::Error(errno)
    }
}

impl From<BadAddress> for Stop {
    fn from(_: BadAddress) -> Self {
        Self::Error(Errno::EFAULT)
    }
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        Self::Error(crate::errno_of(error))
    }
}

/// What a handler gives.
pub type Outcome = Result<u64, Stop>;
/// A handler.
pub type Handler = fn(&Call<'_>) -> Outcome;

/// A system call being made.
pub struct Call<'a> {
    /// In which UC.
    pub uc: &'a Rc<Uc>,
    /// By which process of it.
    pub process: &'a Rc<Process>,
    /// That process's memory.
    pub memory: &'a Rc<Memory>,
    /// Index of the thread.
    pub index: usize,
    /// The thread's number.
    pub tid: u32,
    /// Its number.
    pub number: u64,
    /// Its arguments.
    pub args: [u64; 6],
    /// The thread has not waited in it yet.
    pub first: bool,
    /// Wakes the thread's task.
    pub waker: &'a Waker,
}

impl Call<'_> {
    /// The calling thread, as futexes name it.
    pub fn thread_key(&self) -> ThreadKey {
        ThreadKey {
            process: self.process.serial,
            index: self.index,
        }
    }

    /// The guest's memory.
    pub fn space(&self) -> RefMut<'_, Space> {
        self.memory.space.borrow_mut()
    }

    /// Runs `f` with the calling thread.
    pub fn thread<R>(&self, f: impl FnOnce(&mut Thread) -> R) -> Result<R, Stop> {
        let mut threads = self.process.threads.borrow_mut();
        threads.get_mut(self.index).map(f).ok_or(Stop::Gone(0))
    }

    /// Runs `f` with what the call remembers while it waits, if it has waited.
    pub fn waited<R>(&self, f: impl FnOnce(&mut Waiting) -> R) -> Option<R> {
        let mut threads = self.process.threads.borrow_mut();
        threads.get_mut(self.index)?.waiting.as_mut().map(f)
    }

    /// Waits, with `deadline` in clock nanoseconds if it is the first time.
    pub fn wait(&self, deadline: Option<u64>) -> Outcome {
        self.thread(|t| {
            t.waiting.get_or_insert_with(|| Waiting {
                deadline,
                ..Waiting::default()
            });
        })?;
        Err(Stop::Wait)
    }

    /// Whether the call has waited and its deadline has passed.
    pub fn is_late(&self) -> bool {
        if self.first {
            return false;
        }
        let deadline = self.waited(|w| w.deadline).flatten();
        deadline.is_some_and(|d| self.uc.now() >= d)
    }
}

/// Entries of page tables that one part of a call changes: about a millisecond's worth.
pub(crate) const PART: u64 = 6144;

impl Call<'_> {
    /// How far the call has come, if it is made in parts.
    pub fn work(&self) -> Work {
        self.waited(|w| w.work).flatten().unwrap_or_default()
    }

    /// Lets others run before the next part of the call. No signal comes between.
    pub fn next_part(&self, work: Work) -> Outcome {
        self.thread(|t| {
            t.waiting.get_or_insert_with(Waiting::default).work = Some(work);
        })?;
        self.waker.wake_by_ref();
        Err(Stop::Wait)
    }
}

fn absent(call: &Call<'_>) -> Outcome {
    *call
        .uc
        .missing
        .borrow_mut()
        .entry(call.number.min(table::NUMBERS as u64))
        .or_default() += 1;
    Err(Stop::Error(Errno::ENOSYS))
}

/// The name of a system call by number.
#[must_use]
pub fn name(number: u64) -> &'static str {
    let entry = usize::try_from(number)
        .ok()
        .and_then(|n| TABLE.get(n))
        .copied()
        .flatten();
    entry.map_or("unknown", |e| e.name)
}

/// What a thread's registers ask for.
#[derive(Clone, Copy)]
pub struct Asked {
    tid: u32,
    number: u64,
    args: [u64; 6],
    /// Not one that it waits in already.
    first: bool,
}

impl Asked {
    /// By this thread.
    #[inline]
    pub fn by(thread: &Thread) -> Self {
        let c = &thread.context;
        Self {
            tid: thread.tid,
            // Linux looks at 32 bits.
            number: u64::from(c.rax as u32),
            args: [c.rdi, c.rsi, c.rdx, c.r10, c.r8, c.r9],
            first: thread.waiting.is_none(),
        }
    }
}

/// Makes the system call that a thread's registers ask for, or tries again the one it waits in. Its result, with which the
/// caller is to [`finish`] it before the thread runs; `None` when that is done.
///
/// # Errors
/// [`Stop::Wait`], [`Stop::Gone`], [`Stop::Replaced`] or [`Stop::Yield`].
#[inline]
pub fn step(
    uc: &Rc<Uc>,
    process: &Rc<Process>,
    memory: &Rc<Memory>,
    index: usize,
    asked: Asked,
    waker: &Waker,
) -> Result<Option<u64>, Stop> {
    let Asked {
        tid,
        number,
        args,
        first,
    } = asked;
    let call = Call {
        uc,
        process,
        memory,
        index,
        tid,
        number,
        args,
        first,
        waker,
    };
    let handler = usize::try_from(number)
        .ok()
        .and_then(|n| TABLE.get(n)?.as_ref())
        .map_or(absent as Handler, |e| e.handler);
    if first {
        uc.calls.set(uc.calls.get() + 1);
        if uc.options.trace {
            trace::begin(&call);
        }
    }
    let mut outcome = handler(&call);
    let mut interrupted = false;
    // What the guest has closed ends on the network now, not when it next uses the network.
    if uc.objects.borrow().has_aftermath() {
        aftermath(&call);
    }
    if outcome == Err(Stop::Wait) {
        let whole = |w: &mut Waiting| w.child.is_some() || w.work.is_some();
        if !crate::signal::is_due(process, index) || call.waited(whole) == Some(true) {
            return Err(Stop::Wait);
        }
        cancel(&call);
        if crate::signal::restarts(process, index, number) {
            // The handler returns to the instruction before: the call is made again.
            if let Some(thread) = process.threads.borrow_mut().get_mut(index) {
                finish(uc, thread, None, true);
                thread.context.rip -= 2;
                thread.context.fast_return = 0;
            }
            return Ok(None);
        }
        outcome = Err(Stop::Error(Errno::EINTR));
        interrupted = true;
    }
    if uc.options.trace {
        trace::end(&call, outcome);
    }
    let result = match outcome {
        Ok(value) => value,
        Err(Stop::Error(errno)) => (-i64::from(errno.number())) as u64,
        Err(Stop::Yield) => 0,
        Err(stop) => return Err(stop),
    };
    if !interrupted && outcome != Err(Stop::Yield) {
        return Ok(Some(result));
    }
    if let Some(thread) = process.threads.borrow_mut().get_mut(index) {
        finish(uc, thread, Some(result), interrupted);
    }
    if interrupted {
        Ok(None)
    } else {
        Err(Stop::Yield)
    }
}

/// What a call leaves to be done where objects do not reach: connections to be ended, pages to be unmapped.
#[cold]
fn aftermath(call: &Call<'_>) {
    let given_up = {
        let mut objects = call.objects();
        objects.sweep_network(&call.world());
        // More than a call can add to it.
        objects
            .fs
            .empty_trash(4 * file::COPY as u64 / ebb_mem::space::PAGE);
        objects.fs.take_given_up()
    };
    let processes = call.uc.processes.borrow();
    for shared in given_up {
        for process in &processes.live {
            // Without memory for the tables some pages stay mapped: they are nobody else's any more.
            let _ = process.memory().space.borrow_mut().unmap_shared(&shared);
        }
    }
}

/// Ends a call: its result, and an end to what it held while it waited.
#[inline]
pub fn finish(uc: &Uc, thread: &mut Thread, result: Option<u64>, interrupted: bool) {
    if let Some(result) = result {
        thread.context.rax = result;
    }
    if thread.waiting.is_none() {
        return;
    }
    if let Some(mask) = let_go(uc, thread) {
        if interrupted {
            // The signal is handled with the mask of the call.
            thread.saved_mask = Some(mask);
        } else {
            thread.mask = mask;
        }
    }
}

/// Takes a thread out of the queues of objects, and gives up what its call held. The mask from before the call, if that had
/// one of its own.
fn let_go(uc: &Uc, thread: &mut Thread) -> Option<u64> {
    let waiting = thread.waiting.take()?;
    let mut objects = uc.objects.borrow_mut();
    objects.unregister(&mut thread.registration);
    if let Some(held) = waiting.held {
        objects.unhold(held);
    }
    if let Some(record) = waiting.record {
        objects.stop_waiting_for_record(record);
    }
    if let Some(pending) = waiting.fifo {
        objects.abandon_open(pending);
    }
    waiting.restore_mask
}

/// A thread ends, perhaps in the middle of a call that waits: nothing of it stays behind.
pub(crate) fn abandon(uc: &Uc, thread: &mut Thread, key: ThreadKey) {
    if let Some(futex) = thread.waiting.as_ref().and_then(|w| w.futex) {
        uc.futexes.borrow_mut().cancel(futex, key);
    }
    let_go(uc, thread);
}

/// Takes a waiting thread out of the queue of a futex.
fn cancel(call: &Call<'_>) {
    if let Some(Some(key)) = call.waited(|w| w.futex.take()) {
        let mut futexes = call.uc.futexes.borrow_mut();
        futexes.cancel(key, call.thread_key());
    }
}
