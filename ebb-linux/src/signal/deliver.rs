//! Delivering signals to the thread that takes them: handlers, default actions, faults.

use super::frame;
use super::send::stop_process;
use crate::abi::exit::Exit;
use crate::abi::signal::{
    FaultInfo, SA_RESTART, SI_KERNEL, SIGKILL, SIGSEGV, SIGSTOP, STOPS, SigInfo, bit,
    is_ignored_by_default, name,
};
use crate::crash;
use crate::object::env::Env;
use crate::state::pending::take;
use crate::state::process::Process;
use crate::state::thread::Thread;
use crate::uc::Uc;
use crate::uc::caller::Caller;
use crate::uc::env::World;
use alloc::rc::Rc;

/// A thread did something that the CPU refused: its handler hears of it, or its process ends with a report.
pub fn fault(caller: &Caller<'_>, signal: u8, info: FaultInfo) {
    let Caller {
        uc, process, index, ..
    } = *caller;
    let action = process
        .state
        .borrow()
        .actions
        .get(signal)
        .unwrap_or_default();
    let blocked = process
        .threads
        .borrow()
        .get(index)
        .is_none_or(|t| t.mask & bit(signal) != 0);
    let mut data = SigInfo::new(signal, info.code);
    data.0[16..24].copy_from_slice(&info.address.to_le_bytes());
    if action.handler <= 1
        || blocked
        || frame::push(caller, signal, &action, &data, Some(&info)).is_err()
    {
        crash::report(caller, name(signal), &info);
        uc.end_process(process, Exit::Signal(signal));
    }
}

/// `rt_sigreturn` with a frame that cannot be: the process ends.
pub fn bad_frame(caller: &Caller<'_>) {
    let info = FaultInfo {
        code: SI_KERNEL,
        address: 0,
        vector: 13,
        error: 0,
    };
    crash::report(caller, "rt_sigreturn with a damaged frame", &info);
    caller.uc.end_process(caller.process, Exit::Signal(SIGSEGV));
}

/// Whether a process is in a group that nobody outside of it looks after.
fn is_orphaned(uc: &Rc<Uc>, process: &Rc<Process>) -> bool {
    let (group, session) = {
        let state = process.state.borrow();
        (state.group, state.session)
    };
    World { uc, process }.is_orphaned(group, session)
}

/// What the signals that are due do to a call that waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interruption {
    /// None of them has a handler: they stop the process, end it, or do nothing.
    Unhandled,
    /// A handler runs; the call may be made again behind it if it asked for that (`SA_RESTART`).
    Handled {
        /// It did.
        restart: bool,
    },
}

/// What the signals that are due will do, were they delivered now. The first handler to run counts, as on Linux.
pub fn interruption(caller: &Caller<'_>) -> Interruption {
    let due = caller.with_thread(|t| t.pending & !t.mask).unwrap_or(0);
    if due & bit(SIGKILL) != 0 {
        return Interruption::Unhandled;
    }
    let state = caller.process.state.borrow();
    let handler = (1..=64u8)
        .filter(|signal| due & bit(*signal) != 0)
        .map(|signal| state.actions.get(signal).unwrap_or_default())
        .find(|action| action.handler > 1);
    match handler {
        None => Interruption::Unhandled,
        Some(action) => Interruption::Handled {
            restart: action.flags & SA_RESTART != 0,
        },
    }
}

/// Whether a signal waits for the thread that it does not block and that does something.
#[inline]
pub fn is_due(caller: &Caller<'_>) -> bool {
    let threads = caller.process.threads.borrow();
    let Some(thread) = threads.get(caller.index) else {
        return false;
    };
    thread.pending & !thread.mask != 0
}

/// Whether [`deliver`] has anything to do.
#[inline]
pub fn has_work(thread: &Thread) -> bool {
    thread.pending & !thread.mask != 0 || thread.saved_mask.is_some()
}

/// Takes the thread's pending signals that it does not block, and does what they are to do.
#[cold]
pub fn deliver(caller: &Caller<'_>) {
    deliver_due(caller);
    let saved = {
        let restore = |t: &mut Thread| t.saved_mask.take().map(|mask| t.mask = mask);
        caller.with_thread(restore).flatten()
    };
    if saved.is_some() {
        // No handler has run; what the call blocked may be due now.
        deliver_due(caller);
    }
}

fn has_handler(caller: &Caller<'_>, signal: u8) -> bool {
    let action = caller.process.state.borrow().actions.get(signal);
    action.is_some_and(|a| a.handler > 1)
}

fn deliver_due(caller: &Caller<'_>) {
    let Caller {
        uc, process, index, ..
    } = *caller;
    while is_due(caller) {
        let info = {
            let mut threads = process.threads.borrow_mut();
            let Some(thread) = threads.get_mut(index) else {
                return;
            };
            // What ends the program comes first.
            let due = thread.pending & !thread.mask;
            let first = if due & bit(SIGKILL) != 0 {
                bit(SIGKILL)
            } else {
                due
            };
            match take(thread, first) {
                Some(info) => info,
                None => return,
            }
        };
        let signal = info.signal();
        let action = process
            .state
            .borrow()
            .actions
            .get(signal)
            .unwrap_or_default();
        match action.handler {
            1 => {}
            0 if is_ignored_by_default(signal) => {}
            // Nobody would let an orphaned group go on.
            0 if STOPS & bit(signal) != 0 && signal != SIGSTOP && is_orphaned(uc, process) => {}
            0 if STOPS & bit(signal) != 0 => {
                stop_process(uc, process, Some(signal));
                return;
            }
            0 => uc.end_process(process, Exit::Signal(signal)),
            _ => {
                if frame::push(caller, signal, &action, &info, None).is_err() {
                    let info = FaultInfo {
                        code: SI_KERNEL,
                        address: 0,
                        vector: 14,
                        error: 6,
                    };
                    if signal != SIGSEGV && has_handler(caller, SIGSEGV) {
                        // It may run on a stack that has room.
                        fault(caller, SIGSEGV, info);
                    } else {
                        crash::report(caller, "a signal for which its stack has no room", &info);
                        uc.end_process(process, Exit::Signal(SIGSEGV));
                    }
                }
            }
        }
        if process.exit.get().is_some() {
            return;
        }
    }
}
