//! Signals that were sent and not taken, of a thread and of a process.

use super::process::{Process, State};
use super::thread::Thread;
use crate::abi::signal::{SI_USER, SigInfo, bit};
use alloc::vec::Vec;
use core::mem;

/// The first of the signals of which more than one of a kind may be pending.
pub const FIRST_QUEUED: u8 = 32;

/// Adds a signal. Real-time signals queue if there is `room`; of the others one is kept. False when it is lost: what
/// `kill` sends comes even without room, but once and without its sender's name.
pub fn queue(pending: &mut u64, queued: &mut Vec<SigInfo>, info: SigInfo, room: bool) -> bool {
    let signal = info.signal();
    // What processes queue needs room, whichever it is; the rest of one kind comes once.
    let keeps = match signal {
        FIRST_QUEUED.. => room,
        _ => *pending & bit(signal) == 0 && (room || info.code() >= 0),
    };
    if signal >= FIRST_QUEUED && !room && info.code() != SI_USER {
        return false;
    }
    *pending |= bit(signal);
    if keeps {
        queued.push(info);
    }
    true
}

/// Takes a pending signal off, with what came with it.
pub fn unqueue(pending: &mut u64, queued: &mut Vec<SigInfo>, signal: u8) -> SigInfo {
    let at = queued.iter().position(|q| q.signal() == signal);
    let info = at.map_or(SigInfo::new(signal, SI_USER), |i| queued.remove(i));
    if queued.iter().all(|q| q.signal() != signal) {
        *pending &= !bit(signal);
    }
    info
}

/// Takes a signal of a set that is pending for the process.
pub fn take_of_process(state: &mut State, set: u64) -> Option<SigInfo> {
    let found = state.pending & set;
    let signal = found.trailing_zeros() as u8 + 1;
    (found != 0).then(|| unqueue(&mut state.pending, &mut state.queued, signal))
}

/// Takes a pending signal of a set.
pub fn take(thread: &mut Thread, set: u64) -> Option<SigInfo> {
    let found = thread.pending & set;
    let signal = found.trailing_zeros() as u8 + 1;
    (found != 0).then(|| unqueue(&mut thread.pending, &mut thread.queued, signal))
}

/// Moves signals of the process to a thread that has just unblocked them.
pub fn take_process_signals(process: &Process, index: usize) {
    let mask = process.threads.borrow().get(index).map(|t| t.mask);
    let set = !mask.unwrap_or(!0);
    let mut threads = process.threads.borrow_mut();
    let mut state = process.state.borrow_mut();
    if state.pending & set == 0 {
        return;
    }
    if let Some(thread) = threads.get_mut(index) {
        thread.pending |= state.pending & set;
        state.pending &= !set;
        let (ours, rest) = mem::take(&mut state.queued)
            .into_iter()
            .partition(|q| bit(q.signal()) & set != 0);
        state.queued = rest;
        let ours: Vec<SigInfo> = ours;
        thread.queued.extend(ours);
    }
}
