//! Futexes that know their owner: `FUTEX_LOCK_PI` and its kin, by which C libraries make mutexes with priority inheritance.
//!
//! Threads of a UC take turns on one core whatever their priorities, so nothing is inherited: what is here is the lock. Its
//! word holds the owner's number; whoever waits does so in a queue of its own beside that of plain waiters, and is given the
//! lock by the owner, or by the owner's end.

use super::futex_key::{key, waited};
use super::guest::timespec;
use super::{Call, Outcome};
use crate::abi::errno::Errno;
use crate::owned::{OWNER, OWNER_DIED, WAITERS, hand_over};
use crate::state::futex::Key;
use crate::state::thread::{Inheriting, Rare, Waiting};
use alloc::boxed::Box;

/// `FUTEX_LOCK_PI` and `FUTEX_LOCK_PI2`, until a point in time of the wall clock or of the monotonic one.
pub fn lock(call: &Call<'_>, address: u64, timeout: u64, wall_clock: bool) -> Outcome {
    if let Some(outcome) = waited(call) {
        return outcome;
    }
    let deadline = timespec(call, timeout)?.map(|t| match wall_clock {
        true => t.saturating_sub(crate::unix_now().saturating_sub(call.uc.now())),
        false => t,
    });
    let value: u32 = call.space().get(address)?;
    let owner = value & OWNER;
    if owner == 0 {
        call.space().put(address, call.tid | value & OWNER_DIED)?;
        return Ok(0);
    }
    note_waiter(call, address, value)?;
    check_owner(call, owner)?;
    if deadline.is_some_and(|d| d <= call.uc.now()) {
        return Err(Errno::ETIMEDOUT.into());
    }
    let key = queue(call, address);
    call.uc
        .futexes
        .borrow_mut()
        .wait(key, call.thread_key(), !0);
    call.thread(|t| {
        t.waiting = Some(Waiting {
            deadline,
            futex: Some(key),
            rare: Some(Box::new(Rare {
                inheriting: Some(Inheriting { owner, address }),
                ..Rare::default()
            })),
            ..Waiting::default()
        });
    })?;
    Err(super::Stop::Wait)
}

/// `FUTEX_TRYLOCK_PI`.
pub fn try_lock(call: &Call<'_>, address: u64) -> Outcome {
    let value: u32 = call.space().get(address)?;
    if value & OWNER != 0 {
        note_waiter(call, address, value)?;
        check_owner(call, value & OWNER)?;
        return Err(Errno::EAGAIN.into());
    }
    call.space().put(address, call.tid | value & OWNER_DIED)?;
    Ok(0)
}

/// `FUTEX_UNLOCK_PI`.
pub fn unlock(call: &Call<'_>, address: u64) -> Outcome {
    let value: u32 = call.space().get(address)?;
    if value & OWNER != call.tid {
        return Err(Errno::EPERM.into());
    }
    let key = queue(call, address);
    if !hand_over(call.uc, key, call.memory, address, 0) {
        call.space().put(address, 0u32)?;
    }
    Ok(0)
}

/// The queue of those who wait for a lock. Addresses are multiples of four, so no plain futex has it.
fn queue(call: &Call<'_>, address: u64) -> Key {
    let plain = key(call, address);
    Key {
        at: plain.at | 1,
        ..plain
    }
}

/// Marks a lock that somebody else has, so that its owner makes a call to let go of it: even when there is no such owner.
fn note_waiter(call: &Call<'_>, address: u64, value: u32) -> Result<(), super::Stop> {
    if value & OWNER == call.tid {
        return Err(Errno::EDEADLK.into());
    }
    Ok(call.space().put(address, value | WAITERS)?)
}

/// Whether somebody who has a lock can be waited for.
///
/// # Errors
/// `ESRCH` when there is no such thread, `EDEADLK` when it waits for the caller, or is the caller.
fn check_owner(call: &Call<'_>, mut owner: u32) -> Result<(), Errno> {
    let processes = call.uc.processes.borrow();
    // For whom a thread waits, if there is such a thread.
    let waits_for = |tid: u32| {
        processes.live.iter().find_map(|process| {
            let threads = process.threads.borrow();
            let thread = threads.iter().find(|t| t.tid == tid)?;
            let waiting = thread.waiting.as_ref();
            Some(waiting.and_then(|w| w.rare().inheriting).map(|i| i.owner))
        })
    };
    let mut exists = false;
    // No lock is handed over meanwhile, so a chain that does not end is a cycle that others have made.
    for _ in 0..1024 {
        if owner == call.tid {
            return Err(Errno::EDEADLK);
        }
        match waits_for(owner) {
            None if exists => return Ok(()),
            None => return Err(Errno::ESRCH),
            Some(None) => return Ok(()),
            Some(Some(next)) => (owner, exists) = (next, true),
        }
    }
    Ok(())
}
