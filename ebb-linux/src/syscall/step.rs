//! Making the system call that a thread asks for: finding the handler, calling it, putting the result where the guest
//! expects it.

use super::call::{Call, Handler, Stop};
use super::table::{self, TABLE};
use super::{file, trace};
use crate::abi::errno::Errno;
use crate::life::release_wait;
use crate::state::process::{Memory, Process};
use crate::state::thread::{Thread, Waiting};
use crate::uc::Uc;
use alloc::rc::Rc;
use core::task::Waker;

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
        .map_or(table::absent as Handler, |e| e.handler);
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
    if let Some(mask) = release_wait(uc, thread) {
        if interrupted {
            // The signal is handled with the mask of the call.
            thread.saved_mask = Some(mask);
        } else {
            thread.mask = mask;
        }
    }
}

/// Takes a waiting thread out of the queue of a futex.
fn cancel(call: &Call<'_>) {
    if let Some(Some(key)) = call.waited(|w| w.futex.take()) {
        let mut futexes = call.uc.futexes.borrow_mut();
        futexes.cancel(key, call.thread_key());
    }
}
