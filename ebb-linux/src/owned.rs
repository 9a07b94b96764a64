//! Locks with an owner (`FUTEX_LOCK_PI` and its kin): how one goes to whoever has waited longest for it.
//!
//! What must hold: of those who wait for one lock, all know its owner (`Waiting::inheriting`), whose number is in its word.

use crate::state::futex::{Key, ThreadKey};
use crate::state::process::Memory;
use crate::uc::Uc;
use alloc::rc::Rc;
use alloc::vec::Vec;

/// The bits of a lock's word that hold the number of the thread that has it.
pub const OWNER: u32 = 0x3fff_ffff;
/// Of the word: an owner has ended without letting go.
pub const OWNER_DIED: u32 = 0x4000_0000;
/// Of the word: others wait.
pub const WAITERS: u32 = 0x8000_0000;

/// Gives a lock to the first who waits for it; false if nobody does. The word is at `address` of `memory`.
pub fn hand_over(uc: &Uc, key: Key, memory: &Memory, address: u64, flags: u32) -> bool {
    let Some(next) = uc.futexes.borrow().first(key) else {
        return false;
    };
    let Some(tid) = number_of(uc, next) else {
        return false;
    };
    // Who has unmapped it is given it all the same.
    let _ = memory
        .space
        .borrow_mut()
        .put(address, tid | WAITERS | flags);
    for process in &uc.processes.borrow().live {
        for thread in process.threads.borrow_mut().iter_mut() {
            if let Some(waiting) = &mut thread.waiting
                && waiting.futex == Some(key)
                && let Some(rare) = &mut waiting.rare
                && let Some(inheriting) = &mut rare.inheriting
            {
                inheriting.owner = tid;
            }
        }
    }
    uc.wake_key(key, 1, !0);
    true
}

fn number_of(uc: &Uc, thread: ThreadKey) -> Option<u32> {
    let processes = uc.processes.borrow();
    let process = processes.by_serial(thread.process)?;
    let threads = process.threads.borrow();
    threads.get(thread.index).map(|t| t.tid)
}

/// A thread has ended: what it had locked goes to those who wait, who hear that it did not let go of it.
pub fn owner_ended(uc: &Uc, tid: u32) {
    if !uc.futexes.borrow().has_inheriting() {
        return;
    }
    let mut owned: Vec<(Key, u64, Rc<Memory>)> = Vec::new();
    for process in &uc.processes.borrow().live {
        for thread in process.threads.borrow().iter() {
            let Some(waiting) = &thread.waiting else {
                continue;
            };
            if let (Some(key), Some(inheriting)) = (waiting.futex, waiting.rare().inheriting)
                && inheriting.owner == tid
                && owned.iter().all(|(k, ..)| *k != key)
            {
                owned.push((key, inheriting.address, process.memory()));
            }
        }
    }
    for (key, address, memory) in owned {
        hand_over(uc, key, &memory, address, OWNER_DIED);
    }
}
