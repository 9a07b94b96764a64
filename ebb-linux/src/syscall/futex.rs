//! `futex` and robust lists.

use super::futex_key::{PRIVATE, key, waited};
use super::guest::timespec;
use super::remote::may_look_into;
use super::{Call, Outcome, Stop, futex_pi};
use crate::abi::errno::Errno;
use crate::state::process::Process;
use crate::state::thread::Waiting;
use alloc::rc::Rc;
use ebb_mem::space::Access;

const WAIT: u64 = 0;
const WAKE: u64 = 1;
const REQUEUE: u64 = 3;
const CMP_REQUEUE: u64 = 4;
const WAKE_OP: u64 = 5;
const LOCK_PI: u64 = 6;
const UNLOCK_PI: u64 = 7;
const TRYLOCK_PI: u64 = 8;
const WAIT_BITSET: u64 = 9;
const WAKE_BITSET: u64 = 10;
const LOCK_PI2: u64 = 13;
const CLOCK_REALTIME: u64 = 256;

pub fn futex(call: &Call<'_>) -> Outcome {
    let [address, op, value, timeout, ..] = call.args;
    // What locks do most, before the registers are saved that the rest needs.
    if address.is_multiple_of(4) {
        match op & 0xffff_ffff & !PRIVATE {
            WAIT => return wait(call, address, value as u32, timeout, !0, true, false),
            WAKE => return wake(call, address, value as u32, !0),
            _ => {}
        }
    }
    other(call)
}

/// The operations that are asked for less often, and what there is not.
#[inline(never)]
fn other(call: &Call<'_>) -> Outcome {
    let [address, op, value, timeout, address2, value3] = call.args;
    let realtime = op & CLOCK_REALTIME != 0;
    let command = op & 0xffff_ffff & !(PRIVATE | CLOCK_REALTIME);
    // Of what may wait the time is looked at before anything else.
    if matches!(command, WAIT | LOCK_PI | WAIT_BITSET | LOCK_PI2) {
        timespec(call, timeout)?;
    }
    if realtime && !matches!(command, WAIT_BITSET | LOCK_PI2) {
        return Err(Errno::ENOSYS.into());
    }
    if !address.is_multiple_of(4) {
        // What there is not is told first.
        let known = matches!(command, WAIT..=WAKE | REQUEUE..=WAKE_BITSET | LOCK_PI2);
        return Err(if known { Errno::EINVAL } else { Errno::ENOSYS }.into());
    }
    match command {
        WAIT_BITSET => wait(
            call,
            address,
            value as u32,
            timeout,
            value3 as u32,
            false,
            realtime,
        ),
        LOCK_PI => futex_pi::lock(call, address, timeout, true),
        LOCK_PI2 => futex_pi::lock(call, address, timeout, realtime),
        TRYLOCK_PI => futex_pi::try_lock(call, address),
        UNLOCK_PI => futex_pi::unlock(call, address),
        WAKE_BITSET => wake(call, address, value as u32, value3 as u32),
        REQUEUE => requeue(call, address, value as u32, timeout as u32, address2),
        CMP_REQUEUE => {
            if (value as i32) < 0 || (timeout as i32) < 0 {
                return Err(Errno::EINVAL.into());
            }
            if call.space().get::<u32>(address)? != value3 as u32 {
                return Err(Errno::EAGAIN.into());
            }
            requeue(call, address, value as u32, timeout as u32, address2)
        }
        WAKE_OP => wake_op(
            call,
            address,
            value as u32,
            timeout as u32,
            address2,
            value3 as u32,
        ),
        _ => Err(Errno::ENOSYS.into()),
    }
}

fn wait(
    call: &Call<'_>,
    address: u64,
    expected: u32,
    timeout: u64,
    bits: u32,
    relative: bool,
    realtime: bool,
) -> Outcome {
    if !call.first
        && let Some(outcome) = waited(call)
    {
        return outcome;
    }
    if bits == 0 {
        return Err(Errno::EINVAL.into());
    }
    let deadline = match timeout {
        0 => None,
        _ => deadline(call, timeout, relative, realtime)?,
    };
    if call.space().get::<u32>(address)? != expected {
        return Err(Errno::EAGAIN.into());
    }
    if deadline.is_some_and(|d| d <= call.uc.now()) {
        return Err(Errno::ETIMEDOUT.into());
    }
    let key = key(call, address);
    call.uc
        .futexes
        .borrow_mut()
        .wait(key, call.thread_key(), bits);
    call.thread(|t| {
        t.waiting = Some(Waiting {
            deadline,
            futex: Some(key),
            ..Waiting::default()
        });
    })?;
    Err(Stop::Wait)
}

/// When a wait gives up.
#[inline(never)]
fn deadline(
    call: &Call<'_>,
    timeout: u64,
    relative: bool,
    realtime: bool,
) -> Result<Option<u64>, Stop> {
    let now = call.uc.now();
    Ok(
        timespec(call, timeout)?.map(|t| match (relative, realtime) {
            (true, _) => now.saturating_add(t),
            (_, true) => t.saturating_sub(crate::unix_now().saturating_sub(now)),
            _ => t,
        }),
    )
}

/// Linux counts after it has woken one: zero and negative counts wake one, too.
fn at_least_one(count: u32) -> u32 {
    (count as i32).max(1) as u32
}

fn wake(call: &Call<'_>, address: u64, count: u32, bits: u32) -> Outcome {
    if bits == 0 {
        return Err(Errno::EINVAL.into());
    }
    // Of what others may know by another address there has to be something.
    if call.args[1] & PRIVATE == 0 {
        call.space().check(address, Access::Read)?;
    }
    Ok(call
        .uc
        .wake_key(key(call, address), at_least_one(count), bits)
        .into())
}

fn requeue(call: &Call<'_>, from: u64, wake: u32, move_: u32, to: u64) -> Outcome {
    if !to.is_multiple_of(4) || wake > i32::MAX as u32 || move_ > i32::MAX as u32 {
        return Err(Errno::EINVAL.into());
    }
    call.space().check(to, Access::Read)?;
    let woken = call.uc.wake_key(key(call, from), wake, !0);
    let (from, to) = (key(call, from), key(call, to));
    let processes = call.uc.processes.borrow();
    let mut futexes = call.uc.futexes.borrow_mut();
    let moved = futexes.requeue(from, to, move_, |thread| {
        let process = processes.by_serial(thread.process);
        let mut threads = process.map(|p| p.threads.borrow_mut());
        let thread = threads.as_mut().and_then(|t| t.get_mut(thread.index));
        let Some(waiting) = thread.and_then(|t| t.waiting.as_mut()) else {
            return;
        };
        match waiting.rare.as_mut().and_then(|r| r.any_of.as_mut()) {
            Some(any) => {
                if let Some(key) = any.keys.iter_mut().find(|key| **key == from) {
                    *key = to;
                }
            }
            None => waiting.futex = Some(to),
        }
    });
    Ok(u64::from(woken) + u64::from(moved))
}

fn wake_op(call: &Call<'_>, first: u64, count: u32, count2: u32, second: u64, op: u32) -> Outcome {
    if !second.is_multiple_of(4) {
        return Err(Errno::EINVAL.into());
    }
    let mut operand = (op << 8) as i32 >> 20;
    let compared = (op << 20) as i32 >> 20;
    if op >> 28 & 8 != 0 {
        operand = 1i32.wrapping_shl(operand as u32);
    }
    let old: i32 = call.space().get(second)?;
    let new = match op >> 28 & 7 {
        0 => operand,
        1 => old.wrapping_add(operand),
        2 => old | operand,
        3 => old & !operand,
        4 => old ^ operand,
        _ => return Err(Errno::ENOSYS.into()),
    };
    let hit = match op >> 24 & 15 {
        0 => old == compared,
        1 => old != compared,
        2 => old < compared,
        3 => old <= compared,
        4 => old > compared,
        5 => old >= compared,
        _ => return Err(Errno::ENOSYS.into()),
    };
    // No other thread of the program runs meanwhile, so reading and writing are one step.
    call.space().put(second, new)?;
    let mut woken = call.uc.wake_key(key(call, first), at_least_one(count), !0);
    if hit {
        woken += call
            .uc
            .wake_key(key(call, second), at_least_one(count2), !0);
    }
    Ok(woken.into())
}

/// Bytes of a `struct robust_list_head`.
const ROBUST_BYTES: u64 = 24;

pub fn set_robust_list(call: &Call<'_>) -> Outcome {
    let [head, len, ..] = call.args;
    if len != ROBUST_BYTES {
        return Err(Errno::EINVAL.into());
    }
    call.thread(|t| t.robust = (head, len))?;
    Ok(0)
}

pub fn get_robust_list(call: &Call<'_>) -> Outcome {
    let [tid, head, len, ..] = call.args;
    let wanted = if tid == 0 { call.tid } else { tid as u32 };
    let robust_of = |process: &Process| {
        let threads = process.threads.borrow();
        threads.iter().find(|t| t.tid == wanted).map(|t| t.robust)
    };
    let (found, ended) = {
        let processes = call.uc.processes.borrow();
        let mut live = processes.live.iter();
        let found = live.find_map(|p| Some((Rc::clone(p), robust_of(p)?)));
        (found, processes.zombies.iter().any(|z| z.pid == wanted))
    };
    let list = match found {
        Some((process, _)) if !may_look_into(call, &process) => return Err(Errno::EPERM.into()),
        Some((_, (list, _))) => list,
        // The list has ended with it.
        None if ended => 0,
        None => return Err(Errno::ESRCH.into()),
    };
    let mut space = call.space();
    space.put(len, ROBUST_BYTES)?;
    space.put(head, list)?;
    Ok(0)
}
