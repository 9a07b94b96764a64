//! Signals that were sent and not taken, of a thread and of a process.

use super::process::{Process, State};
use super::thread::Thread;
use crate::abi::signal::{SI_KERNEL, SigInfo, bit};
use alloc::vec::Vec;
use core::mem;

/// Real-time signals queue, up to this many in a thread or process; others are kept once.
const MAX_QUEUED: usize = 128;

/// Adds a signal; one that is not real-time is kept once.
pub fn queue(pending: &mut u64, queued: &mut Vec<SigInfo>, info: SigInfo) {
    let signal = info.signal();
    let new = *pending & bit(signal) == 0;
    *pending |= bit(signal);
    if new || signal >= 32 && queued.len() < MAX_QUEUED {
        queued.push(info);
    }
}

/// Takes a pending signal off, with what came with it.
pub fn unqueue(pending: &mut u64, queued: &mut Vec<SigInfo>, signal: u8) -> SigInfo {
    let at = queued.iter().position(|q| q.signal() == signal);
    let info = at.map_or(SigInfo::new(signal, SI_KERNEL), |i| queued.remove(i));
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
        let (ours, rest) = mem::take(&mut state.queued)
            .into_iter()
            .partition(|q| bit(q.signal()) & set != 0);
        state.queued = rest;
        let ours: Vec<SigInfo> = ours;
        thread.queued.extend(ours);
    }
}
