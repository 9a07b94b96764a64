//! Making the system call that a thread asks for: finding the handler, calling it, putting the result where the guest
//! expects it.

use super::call::{Call, Outcome, Stop};
use super::table::{self, Restart};
use super::{file, trace};
use crate::abi::errno::Errno;
use crate::life::release_wait;
use crate::signal::{self, Interruption};
use crate::state::thread::{Thread, Waiting};
use crate::uc::Uc;
use alloc::sync::Arc;

/// What has become of a system call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// It has this result, with which it is to be [finished](finish) before the thread runs.
    Finished(u64),
    /// It is over and finished: a signal interrupted it.
    FinishedInPlace,
    /// It waits.
    Waits,
    /// It is over and finished, and others are to run first.
    Yields,
    /// The thread's registers were replaced; there is no result.
    Replaced,
    /// The thread is over, with this status.
    Gone(u8),
}

/// As [`dispatch`], with the call and its result printed.
#[cold]
pub fn dispatch_traced(call: &Call<'_>) -> Step {
    call.uc.calls.set(call.uc.calls.get() + 1);
    trace::begin(call);
    conclude(call, table::handler(call.number)(call))
}

/// Makes a system call for the first time; `Ok` with what it is to be [finished](finish) with.
#[inline(always)]
pub fn dispatch(call: &Call<'_>) -> Result<u64, Step> {
    let uc = call.uc;
    uc.calls.set(uc.calls.get() + 1);
    let outcome = table::handler(call.number)(call);
    let result = match outcome {
        Ok(value) => value,
        Err(Stop::Error(errno)) if errno != Errno::ERESTARTSYS => {
            (-i64::from(errno.number())) as u64
        }
        outcome => return Err(conclude(call, outcome)),
    };
    let has_aftermath = uc.objects.borrow_mut().has_aftermath();
    match has_aftermath {
        false => Ok(result),
        true => Err(conclude(call, outcome)),
    }
}

/// Tries again the call that a thread waits in.
pub fn try_again(call: &Call<'_>) -> Step {
    conclude(call, table::handler(call.number)(call))
}

/// What the outcome of a handler means to the thread.
#[inline(never)]
fn conclude(call: &Call<'_>, mut outcome: Outcome) -> Step {
    let uc = call.uc;
    // What the guest has closed ends on the network now, not when it next uses the network.
    if uc.objects.borrow().has_aftermath() {
        aftermath(call);
    }
    if outcome == Err(Stop::Error(Errno::ERESTARTSYS)) {
        // It has sent its own process a signal, behind which it is made again.
        outcome = call.wait(None);
    }
    let mut interrupted = false;
    if outcome == Err(Stop::Wait) {
        if !signal::is_due(call) {
            return Step::Waits;
        }
        match interrupt(call) {
            Interrupted::Waits => return Step::Waits,
            Interrupted::BeginsAnew => return Step::FinishedInPlace,
            Interrupted::With(result) => outcome = result,
        }
        interrupted = true;
    }
    if uc.options.trace {
        trace::end(call, outcome);
    }
    let result = match outcome {
        Ok(value) => value,
        Err(Stop::Error(errno)) => (-i64::from(errno.number())) as u64,
        Err(Stop::Yield) => 0,
        Err(Stop::Wait) => return Step::Waits,
        Err(Stop::Gone(status)) => return Step::Gone(status),
        Err(Stop::Replaced) => return Step::Replaced,
    };
    if !interrupted && outcome != Err(Stop::Yield) {
        return Step::Finished(result);
    }
    call.with_thread(|thread| finish(uc, thread, Some(result), interrupted));
    if interrupted {
        Step::FinishedInPlace
    } else {
        Step::Yields
    }
}

/// What a signal has made of a call that waits.
enum Interrupted {
    /// It goes on waiting, with all that it remembers.
    Waits,
    /// The thread stands at its instruction again: it is made anew behind the handler.
    BeginsAnew,
    /// It ends so.
    With(Outcome),
}

/// Signals are due for a thread that waits: the one place that decides what becomes of its call (signal(7), "Interruption of
/// system calls"). What it has moved already is never forgotten; what may go on without a handler goes on where it was.
#[cold]
fn interrupt(call: &Call<'_>) -> Interrupted {
    let waits = |w: &mut Waiting| {
        let whole = w.rare().child.is_some() || w.rare().work.is_some();
        (whole, w.moved(), w.deadline.is_some())
    };
    let (whole, moved, timed) = call.waited(waits).unwrap_or_default();
    if whole {
        return Interrupted::Waits;
    }
    // A time limit that is not an argument is the socket's own (`SO_RCVTIMEO`), and such a call is not made again.
    let restart = match table::restart(call.number) {
        Restart::SaRestart if timed => Restart::Never,
        Restart::SaRestartUntimed if timed => Restart::UnlessHandled,
        other => other,
    };
    // Whoever waits for a lock with an owner never hears `EINTR`.
    let owned = call.waited(|w| w.rare().inheriting.is_some()) == Some(true);
    let interruption = signal::interruption(call);
    if interruption == Interruption::Unhandled && (moved > 0 || restart != Restart::Never) {
        signal::deliver(call);
        return Interrupted::Waits;
    }
    let anew = owned
        || matches!(
            restart,
            Restart::SaRestart | Restart::SaRestartUntimed | Restart::SaRestartAbsolute
        ) && interruption == Interruption::Handled { restart: true };
    cancel(call);
    if moved > 0 {
        // The handler says what the guest is to be told besides.
        let last = Call {
            last_try: true,
            ..*call
        };
        return Interrupted::With(match table::handler(call.number)(&last) {
            Err(Stop::Wait) => Ok(moved),
            outcome => outcome,
        });
    }
    if anew {
        // The handler returns to the instruction before.
        call.with_thread(|thread| {
            finish(call.uc, thread, None, true);
            thread.context.settle();
            thread.context.rip -= 2;
        });
        return Interrupted::BeginsAnew;
    }
    Interrupted::With(match call.give_remainder() {
        Ok(()) => Err(Errno::EINTR.into()),
        Err(stop) => Err(stop),
    })
}

/// What a call leaves to be done where objects do not reach: connections to be ended, pages to be unmapped.
#[cold]
fn aftermath(call: &Call<'_>) {
    if crate::signal::send_noted(call.uc) {
        call.uc.timers_changed();
    }
    let (given_up, exchanged, left_archive) = {
        let mut objects = call.objects();
        objects.sweep_network(&call.world());
        // More than a call can add to it.
        objects
            .fs
            .empty_trash(4 * file::COPY as u64 / ebb_mem::space::PAGE);
        (
            objects.fs.take_given_up(),
            objects.fs.take_exchanged(),
            objects.fs.take_left_archive(),
        )
    };
    for (bytes, file) in left_archive {
        super::mmap::leave_archive(call, bytes, file);
    }
    let processes = call.uc.processes.borrow();
    for (frozen, own) in exchanged {
        for process in &processes.live {
            let memory = process.memory();
            let other = |s: &Arc<_>| Arc::ptr_eq(s, &frozen).then(|| Arc::clone(&own));
            // Without memory for the tables such a mapping stays as it was.
            let _ = memory.space.borrow_mut().exchange_shared(other);
        }
    }
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
    let queues = call.waited(|w| {
        let any = w.rare.as_mut().and_then(|r| r.any_of.take());
        (w.futex.take(), any)
    });
    let (one, any) = queues.unwrap_or_default();
    let mut futexes = call.uc.futexes.borrow_mut();
    for key in one.into_iter().chain(any.into_iter().flat_map(|a| a.keys)) {
        futexes.cancel(key, call.thread_key());
    }
}
