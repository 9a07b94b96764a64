//! Priorities and scheduling policies.
//!
//! What must hold: what is accepted reads back as it was set; what cannot be given (real-time policies, other cores) is
//! refused as Linux refuses it to whoever has no right to it.

use super::{Call, Outcome};
use crate::abi::errno::Errno;
use crate::object::credentials::cap;
use crate::state::process::{Process, Scheduling};
use alloc::rc::Rc;
use alloc::vec::Vec;

/// `PRIO_PROCESS`, `PRIO_PGRP`, `PRIO_USER`: the processes that are meant.
fn meant(call: &Call<'_>, which: u64, who: u64) -> Result<Vec<Rc<Process>>, Errno> {
    let who = who as u32;
    let live = call.uc.processes.borrow().live.clone();
    let caller = call.process.state.borrow();
    let (group, user) = (caller.group, caller.credentials.user.real);
    drop(caller);
    let is_meant = |process: &Rc<Process>| {
        let state = process.state.borrow();
        match which as i32 {
            0 if who == 0 => Rc::ptr_eq(process, call.process),
            0 => state.pid == who || process.threads.borrow().iter().any(|t| t.tid == who),
            1 => state.group == if who == 0 { group } else { who },
            _ => state.credentials.user.real == if who == 0 { user } else { who },
        }
    };
    if !(0..=2).contains(&(which as i32)) {
        return Err(Errno::EINVAL);
    }
    let found: Vec<Rc<Process>> = live.into_iter().filter(is_meant).collect();
    if found.is_empty() {
        return Err(Errno::ESRCH);
    }
    Ok(found)
}

/// Whether the caller may change how another process is scheduled.
fn check_change(call: &Call<'_>, process: &Rc<Process>) -> Result<(), Errno> {
    let caller = super::credentials::of(call);
    let target = process.state.borrow();
    let same = [
        target.credentials.user.real,
        target.credentials.user.effective,
    ]
    .contains(&caller.user.effective);
    if same || caller.has(cap::SYS_NICE) {
        Ok(())
    } else {
        Err(Errno::EPERM)
    }
}

pub fn getpriority(call: &Call<'_>) -> Outcome {
    let found = meant(call, call.args[0], call.args[1])?;
    let nice = found.iter().map(|p| p.state.borrow().scheduling.nice).min();
    // As the system call has it: never negative.
    Ok((20 - i64::from(nice.unwrap_or(0))) as u64)
}

pub fn setpriority(call: &Call<'_>) -> Outcome {
    let nice = (call.args[2] as i32).clamp(-20, 19) as i8;
    let mut result = Ok(0);
    for process in meant(call, call.args[0], call.args[1])? {
        if check_change(call, &process).is_err() {
            result = Err(Errno::EPERM.into());
            continue;
        }
        let mut state = process.state.borrow_mut();
        if nice < state.scheduling.nice && !super::credentials::of_state(&state).has(cap::SYS_NICE)
        {
            result = Err(Errno::EACCES.into());
            continue;
        }
        state.scheduling.nice = nice;
    }
    result
}

const SCHED_OTHER: u32 = 0;
const SCHED_FIFO: u32 = 1;
const SCHED_RR: u32 = 2;
const SCHED_BATCH: u32 = 3;
const SCHED_IDLE: u32 = 5;
const SCHED_DEADLINE: u32 = 6;
const SCHED_RESET_ON_FORK: u32 = 0x4000_0000;

/// The process that a scheduling call means: 0 is the caller, others go by the number of any thread.
fn target(call: &Call<'_>, pid: u64) -> Result<Rc<Process>, Errno> {
    match pid as i32 {
        ..0 => Err(Errno::EINVAL),
        0 => Ok(Rc::clone(call.process)),
        _ => meant(call, 0, pid)?.pop().ok_or(Errno::ESRCH),
    }
}

/// As `target`; these calls take a negative number for one that nobody has.
fn thread_of(call: &Call<'_>, pid: u64) -> Result<Rc<Process>, Errno> {
    match pid as i32 {
        ..0 => Err(Errno::ESRCH),
        _ => target(call, pid),
    }
}

/// Whether a policy goes with a priority, and whether both can be had.
fn check_policy(
    call: &Call<'_>,
    process: &Rc<Process>,
    policy: u32,
    priority: i32,
) -> Result<(), Errno> {
    match policy {
        SCHED_OTHER | SCHED_BATCH | SCHED_IDLE if priority == 0 => check_change(call, process),
        SCHED_FIFO | SCHED_RR if (1..=99).contains(&priority) => Err(Errno::EPERM),
        _ => Err(Errno::EINVAL),
    }
}

pub fn sched_setscheduler(call: &Call<'_>) -> Outcome {
    let [pid, policy, parameter, ..] = call.args;
    if (policy as i32) < 0 || parameter == 0 {
        return Err(Errno::EINVAL.into());
    }
    let process = target(call, pid)?;
    let priority: i32 = call.space().get(parameter)?;
    let resets = policy as u32 & SCHED_RESET_ON_FORK != 0;
    let policy = policy as u32 & !SCHED_RESET_ON_FORK;
    check_policy(call, &process, policy, priority)?;
    let mut state = process.state.borrow_mut();
    state.scheduling.policy = policy;
    state.scheduling.resets_on_fork = resets;
    Ok(0)
}

pub fn sched_getscheduler(call: &Call<'_>) -> Outcome {
    let process = target(call, call.args[0])?;
    let scheduling = process.state.borrow().scheduling;
    let flag = if scheduling.resets_on_fork {
        SCHED_RESET_ON_FORK
    } else {
        0
    };
    Ok((scheduling.policy | flag).into())
}

pub fn sched_setparam(call: &Call<'_>) -> Outcome {
    let [pid, parameter, ..] = call.args;
    if parameter == 0 {
        return Err(Errno::EINVAL.into());
    }
    let process = target(call, pid)?;
    let priority: i32 = call.space().get(parameter)?;
    let policy = process.state.borrow().scheduling.policy;
    check_policy(call, &process, policy, priority)?;
    Ok(0)
}

pub fn sched_getparam(call: &Call<'_>) -> Outcome {
    let [pid, parameter, ..] = call.args;
    if parameter == 0 {
        return Err(Errno::EINVAL.into());
    }
    target(call, pid)?;
    call.space().put(parameter, 0u32)?;
    Ok(0)
}

fn priority_range(policy: u64) -> Result<(u64, u64), Errno> {
    match policy as u32 {
        SCHED_FIFO | SCHED_RR => Ok((1, 99)),
        SCHED_OTHER | SCHED_BATCH | SCHED_IDLE | SCHED_DEADLINE => Ok((0, 0)),
        _ => Err(Errno::EINVAL),
    }
}

pub fn sched_get_priority_max(call: &Call<'_>) -> Outcome {
    Ok(priority_range(call.args[0])?.1)
}

pub fn sched_get_priority_min(call: &Call<'_>) -> Outcome {
    Ok(priority_range(call.args[0])?.0)
}

pub fn sched_rr_get_interval(call: &Call<'_>) -> Outcome {
    target(call, call.args[0])?;
    // The slice after which others have their turn.
    call.space().put(call.args[1], [0u64, 2_000_000])?;
    Ok(0)
}

pub fn sched_getaffinity(call: &Call<'_>) -> Outcome {
    let [pid, len, mask, ..] = call.args;
    if len < 8 || len % 8 != 0 {
        return Err(Errno::EINVAL.into());
    }
    thread_of(call, pid)?;
    call.space().put(mask, 1u64)?;
    Ok(8)
}

pub fn sched_setaffinity(call: &Call<'_>) -> Outcome {
    let [pid, len, mask, ..] = call.args;
    let mut first = [0u8; 1];
    if len > 0 {
        call.space().read(mask, &mut first)?;
    }
    let process = thread_of(call, pid)?;
    check_change(call, &process)?;
    // There is one core.
    if first[0] & 1 == 0 {
        return Err(Errno::EINVAL.into());
    }
    Ok(0)
}

/// Bytes of the first version of `struct sched_attr`.
const ATTRIBUTE_BYTES: u64 = 48;
/// The same with the clamps of the second, which are not obeyed, and are refused by their flags.
const KNOWN_BYTES: u64 = 56;

pub fn sched_getattr(call: &Call<'_>) -> Outcome {
    let [pid, at, size, flags, ..] = call.args;
    if flags as u32 != 0 || at == 0 || !(ATTRIBUTE_BYTES..=4096).contains(&u64::from(size as u32)) {
        return Err(Errno::EINVAL.into());
    }
    let scheduling = target(call, pid)?.state.borrow().scheduling;
    let len = KNOWN_BYTES.min(size & 0xffff_ffff) as usize;
    let mut bytes = [0u8; KNOWN_BYTES as usize];
    bytes[..4].copy_from_slice(&(len as u32).to_le_bytes());
    bytes[4..8].copy_from_slice(&scheduling.policy.to_le_bytes());
    bytes[8..16].copy_from_slice(&u64::from(scheduling.resets_on_fork).to_le_bytes());
    bytes[16..20].copy_from_slice(&i32::from(scheduling.nice).to_le_bytes());
    call.space().write(at, &bytes[..len])?;
    Ok(0)
}

/// As long as a `struct sched_attr` may be.
const MOST_ATTRIBUTE_BYTES: u32 = 4096;
/// `SCHED_FLAG_RESET_ON_FORK`, `RECLAIM`, `DL_OVERRUN`, `KEEP_POLICY`, `KEEP_PARAMS`; no clamps.
const KNOWN_FLAGS: u64 = 0x1f;

/// Says how much of a `struct sched_attr` is known here.
fn too_big(call: &Call<'_>, at: u64) -> Outcome {
    call.space().put(at, KNOWN_BYTES as u32)?;
    Err(Errno::E2BIG.into())
}

pub fn sched_setattr(call: &Call<'_>) -> Outcome {
    let [pid, at, flags, ..] = call.args;
    if at == 0 || flags as u32 != 0 {
        return Err(Errno::EINVAL.into());
    }
    let size = match call.space().get::<u32>(at)? {
        0 => ATTRIBUTE_BYTES as u32,
        size => size,
    };
    if u64::from(size) < ATTRIBUTE_BYTES || size > MOST_ATTRIBUTE_BYTES {
        return too_big(call, at);
    }
    // Of what is longer, the rest says nothing.
    let beyond = u64::from(size).saturating_sub(KNOWN_BYTES) as usize;
    let rest: alloc::vec::Vec<u8> = call.space().get_array(at + KNOWN_BYTES, beyond)?;
    if rest.iter().any(|&byte| byte != 0) {
        return too_big(call, at);
    }
    let bytes: [u8; ATTRIBUTE_BYTES as usize] = call.space().get(at)?;
    let word = |n: usize| u32::from_le_bytes([bytes[n], bytes[n + 1], bytes[n + 2], bytes[n + 3]]);
    let what = u64::from(word(8)) | u64::from(word(12)) << 32;
    if what & !KNOWN_FLAGS != 0 {
        return Err(Errno::EINVAL.into());
    }
    let process = target(call, pid)?;
    let (policy, resets, nice, priority) = (word(4), word(8) & 1 != 0, word(16) as i32, word(20));
    check_policy(call, &process, policy, priority as i32)?;
    let nice = nice.clamp(-20, 19) as i8;
    let mut state = process.state.borrow_mut();
    if nice < state.scheduling.nice && !super::credentials::of_state(&state).has(cap::SYS_NICE) {
        return Err(Errno::EPERM.into());
    }
    state.scheduling = Scheduling {
        nice,
        policy,
        resets_on_fork: resets,
        ..state.scheduling
    };
    Ok(0)
}

/// The processes that an `ioprio_*` call means, whose kinds count from 1.
fn io_meant(call: &Call<'_>) -> Result<Vec<Rc<Process>>, Errno> {
    let which = call.args[0].wrapping_sub(1);
    meant(call, which, call.args[1])
}

const IOPRIO_WHO_PROCESS: i32 = 1;

pub fn ioprio_get(call: &Call<'_>) -> Outcome {
    let found = io_meant(call)?;
    let own = |p: &Rc<Process>| p.state.borrow().scheduling.io_priority;
    // Of several it is the best that they have, which follows from their `nice` where none was set.
    let had = |p: &Rc<Process>| match p.state.borrow().scheduling {
        Scheduling { io_priority, .. } if io_priority >> 13 != 0 => io_priority,
        Scheduling { nice, policy, .. } => {
            let class = if policy == SCHED_IDLE { 3 } else { 2 };
            (class << 13) | ((i16::from(nice) + 20) as u16 / 5)
        }
    };
    Ok(match call.args[0] as i32 {
        IOPRIO_WHO_PROCESS => found.first().map_or(0, own),
        _ => found.iter().map(had).min().unwrap_or(0),
    }
    .into())
}

pub fn ioprio_set(call: &Call<'_>) -> Outcome {
    let value = call.args[2] as u32;
    let (class, level) = (value >> 13, value & 7);
    match class {
        0 if level != 0 => return Err(Errno::EINVAL.into()),
        // None, best effort, idle.
        0 | 2 | 3 => {}
        // Real time.
        1 => return Err(Errno::EPERM.into()),
        _ => return Err(Errno::EINVAL.into()),
    }
    for process in io_meant(call)? {
        check_change(call, &process)?;
        process.state.borrow_mut().scheduling.io_priority = value as u16;
    }
    Ok(0)
}
