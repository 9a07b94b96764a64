//! Delivering signals to the thread that takes them: handlers, default actions, faults.

use super::frame;
use super::send::stop_process;
use crate::abi::exit::Exit;
use crate::abi::signal::{
    FaultInfo, SA_RESTART, SI_KERNEL, SIGKILL, SIGSEGV, STOPS, SigInfo, bit, is_ignored_by_default,
    name,
};
use crate::crash;
use crate::state::pending::take;
use crate::state::process::{Memory, Process};
use crate::state::thread::Thread;
use crate::uc::Uc;
use alloc::rc::Rc;
use alloc::vec::Vec;
use core::mem::take as empty;

/// A thread did something that the CPU refused: its handler hears of it, or its process ends with a report.
pub fn fault(uc: &Rc<Uc>, process: &Rc<Process>, index: usize, signal: u8, info: FaultInfo) {
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
    let memory = process.memory();
    if action.handler <= 1
        || blocked
        || frame::push(process, &memory, index, signal, &action, &data, Some(&info)).is_err()
    {
        crash::report(uc, process, index, name(signal), &info);
        uc.end_process(process, Exit::Signal(signal));
    }
}

/// Moves signals of the process to a thread that has just unblocked them.
pub fn take_process_signals(process: &Process, index: usize) {
    let mask = process.threads.borrow().get(index).map(|t| t.mask);
    take_process_signals_of(process, index, !mask.unwrap_or(!0));
}

/// As [`take_process_signals`], of a set whether blocked or not.
pub fn take_process_signals_of(process: &Process, index: usize, set: u64) {
    let mut threads = process.threads.borrow_mut();
    let mut state = process.state.borrow_mut();
    if state.pending & set == 0 {
        return;
    }
    if let Some(thread) = threads.get_mut(index) {
        thread.pending |= state.pending & set;
        state.pending &= !set;
        let (ours, rest) = empty(&mut state.queued)
            .into_iter()
            .partition(|q| bit(q.signal()) & set != 0);
        state.queued = rest;
        let ours: Vec<SigInfo> = ours;
        thread.queued.extend(ours);
    }
}

/// `rt_sigreturn` with a frame that cannot be: the process ends.
pub fn bad_frame(uc: &Rc<Uc>, process: &Rc<Process>, index: usize) {
    let info = FaultInfo {
        code: SI_KERNEL,
        address: 0,
        vector: 13,
        error: 0,
    };
    crash::report(
        uc,
        process,
        index,
        "rt_sigreturn with a damaged frame",
        &info,
    );
    uc.end_process(process, Exit::Signal(SIGSEGV));
}

/// Whether a system call that a signal interrupts is made again after the handler (signal(7)).
pub fn restarts(process: &Process, index: usize, number: u64) -> bool {
    // read, write, readv, writev, ioctl, connect, accept, sendto, recvfrom, sendmsg, recvmsg, open, flock, wait4, fcntl,
    // futex, waitid, openat, accept4, preadv, pwritev, recvmmsg, sendmmsg, getrandom
    let restartable = [
        0, 1, 19, 20, 16, 42, 43, 44, 45, 46, 47, 2, 73, 61, 72, 202, 247, 257, 288, 295, 296, 299,
        307, 318,
    ];
    let threads = process.threads.borrow();
    let Some(thread) = threads.get(index) else {
        return false;
    };
    let due = thread.pending & !thread.mask;
    let state = process.state.borrow();
    let mut actions = (1..=64u8)
        .filter(|s| due & bit(*s) != 0)
        .filter_map(|s| state.actions.get(s));
    let again = restartable.contains(&number)
        || thread.waiting.as_ref().is_none_or(|w| w.deadline.is_none());
    restartable.contains(&number)
        && again
        && actions.all(|a| a.handler <= 1 || a.flags & SA_RESTART != 0)
}

/// Whether a signal waits for the thread that it does not block and that does something.
#[inline]
pub fn is_due(process: &Process, index: usize) -> bool {
    let threads = process.threads.borrow();
    let Some(thread) = threads.get(index) else {
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
pub fn deliver(uc: &Rc<Uc>, process: &Rc<Process>, memory: &Memory, index: usize) {
    deliver_due(uc, process, memory, index);
    let saved = {
        let mut threads = process.threads.borrow_mut();
        let thread = threads.get_mut(index);
        thread.and_then(|t| t.saved_mask.take().map(|mask| t.mask = mask))
    };
    if saved.is_some() {
        // No handler has run; what the call blocked may be due now.
        deliver_due(uc, process, memory, index);
    }
}

fn deliver_due(uc: &Rc<Uc>, process: &Rc<Process>, memory: &Memory, index: usize) {
    while is_due(process, index) {
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
            0 if STOPS & bit(signal) != 0 => {
                stop_process(uc, process, Some(signal));
                return;
            }
            0 => uc.end_process(process, Exit::Signal(signal)),
            _ => {
                if frame::push(process, memory, index, signal, &action, &info, None).is_err() {
                    let info = FaultInfo {
                        code: SI_KERNEL,
                        address: 0,
                        vector: 14,
                        error: 6,
                    };
                    crash::report(
                        uc,
                        process,
                        index,
                        "a signal for which its stack has no room",
                        &info,
                    );
                    uc.end_process(process, Exit::Signal(SIGSEGV));
                }
            }
        }
        if process.exit.get().is_some() {
            return;
        }
    }
}
