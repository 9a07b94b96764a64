//! Priorities and scheduling policies.
//!
//! What must hold: what is accepted reads back as it was set; what cannot be given (real-time policies, other cores) is
//! refused as Linux refuses it to whoever has no right to it.

use super::{Call, Outcome};
use crate::abi::errno::Errno;
use crate::object::credentials::{Credentials, cap};
use crate::state::process::{Process, Scheduling};
use alloc::rc::Rc;
use alloc::vec::Vec;

/// A process that a call means.
enum Meant {
    Living(Rc<Process>),
    /// One that has ended and that nobody has waited for, by its serial number.
    Ended(u64),
}

impl Meant {
    /// Runs `f` with what it asks of the scheduler, and who it is.
    fn with<R>(
        &self,
        call: &Call<'_>,
        f: impl FnOnce(&mut Scheduling, &Credentials) -> R,
    ) -> Result<R, Errno> {
        match self {
            Self::Living(process) => {
                let state = &mut *process.state.borrow_mut();
                Ok(f(&mut state.scheduling, &state.credentials))
            }
            Self::Ended(serial) => {
                let zombies = &mut call.uc.processes.borrow_mut().zombies;
                let zombie = zombies.iter_mut().find(|z| z.serial == *serial);
                let zombie = zombie.ok_or(Errno::ESRCH)?;
                Ok(f(&mut zombie.scheduling, &zombie.credentials))
            }
        }
    }

    fn scheduling(&self, call: &Call<'_>) -> Result<Scheduling, Errno> {
        self.with(call, |scheduling, _| *scheduling)
    }
}

/// `PRIO_PROCESS`, `PRIO_PGRP`, `PRIO_USER`: the processes that are meant.
fn meant(call: &Call<'_>, which: u64, who: u64) -> Result<Vec<Meant>, Errno> {
    let who = who as u32;
    let which = which as i32;
    if !(0..=2).contains(&which) {
        return Err(Errno::EINVAL);
    }
    let (group, user) = {
        let caller = call.process.state.borrow();
        (caller.group, caller.credentials.user.real)
    };
    let or_own = |own| if who == 0 { own } else { who };
    let processes = call.uc.processes.borrow();
    let living = processes.live.iter().filter(|process| {
        let state = process.state.borrow();
        match which {
            0 if who == 0 => Rc::ptr_eq(process, call.process),
            0 => state.pid == who || process.threads.borrow().iter().any(|t| t.tid == who),
            1 => state.group == or_own(group),
            _ => state.credentials.user.real == or_own(user),
        }
    });
    let ended = processes.zombies.iter().filter(|zombie| match which {
        0 => who != 0 && zombie.pid == who,
        1 => zombie.group == or_own(group),
        _ => zombie.credentials.user.real == or_own(user),
    });
    let living = living.map(|process| Meant::Living(Rc::clone(process)));
    let found: Vec<Meant> = living
        .chain(ended.map(|zombie| Meant::Ended(zombie.serial)))
        .collect();
    if found.is_empty() {
        return Err(Errno::ESRCH);
    }
    Ok(found)
}

/// Whether the caller may change how another process is scheduled.
fn check_change(call: &Call<'_>, process: &Meant) -> Result<(), Errno> {
    let caller = super::credentials::of(call);
    let ids = process.with(call, |_, who| [who.user.real, who.user.effective])?;
    if ids.contains(&caller.user.effective) || caller.has(cap::SYS_NICE) {
        Ok(())
    } else {
        Err(Errno::EPERM)
    }
}

/// Whether a process may be given this nice value.
fn may_have(scheduling: &Scheduling, who: &Credentials, nice: i8) -> bool {
    nice >= scheduling.nice || who.has(cap::SYS_NICE)
}

pub fn getpriority(call: &Call<'_>) -> Outcome {
    let found = meant(call, call.args[0], call.args[1])?;
    let nices = found.iter().map(|p| Some(p.scheduling(call).ok()?.nice));
    let nice = nices.flatten().min();
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
        let changed = process.with(call, |scheduling, who| {
            let may = may_have(scheduling, who, nice);
            if may {
                scheduling.nice = nice;
            }
            may
        })?;
        if !changed {
            result = Err(Errno::EACCES.into());
        }
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
fn target(call: &Call<'_>, pid: u64) -> Result<Meant, Errno> {
    match pid as i32 {
        ..0 => Err(Errno::EINVAL),
        0 => Ok(Meant::Living(Rc::clone(call.process))),
        _ => meant(call, 0, pid)?.pop().ok_or(Errno::ESRCH),
    }
}

/// As `target`; these calls take a negative number for one that nobody has.
fn thread_of(call: &Call<'_>, pid: u64) -> Result<Meant, Errno> {
    match pid as i32 {
        ..0 => Err(Errno::ESRCH),
        _ => target(call, pid),
    }
}

/// Whether a policy goes with a priority, and whether both can be had.
fn check_policy(call: &Call<'_>, process: &Meant, policy: u32, priority: i32) -> Result<(), Errno> {
    match policy {
        SCHED_OTHER | SCHED_BATCH if priority == 0 => {
            // What runs only when nobody else would has given up more than its `nice` says: it does not come back by itself.
            // Root does, which elsewhere has CAP_SYS_NICE.
            let (was, who) = (process.scheduling(call)?, super::credentials::of(call));
            if was.policy == SCHED_IDLE && who.user.effective != 0 && !who.has(cap::SYS_NICE) {
                return Err(Errno::EPERM);
            }
            check_change(call, process)
        }
        SCHED_IDLE if priority == 0 => check_change(call, process),
        SCHED_FIFO | SCHED_RR if (1..=99).contains(&priority) => Err(Errno::EPERM),
        _ => Err(Errno::EINVAL),
    }
}

pub fn sched_setscheduler(call: &Call<'_>) -> Outcome {
    let [pid, policy, parameter, ..] = call.args;
    if (policy as i32) < 0 || (pid as i32) < 0 || parameter == 0 {
        return Err(Errno::EINVAL.into());
    }
    let priority: i32 = call.space().get(parameter)?;
    let process = target(call, pid)?;
    let resets = policy as u32 & SCHED_RESET_ON_FORK != 0;
    let policy = policy as u32 & !SCHED_RESET_ON_FORK;
    check_policy(call, &process, policy, priority)?;
    process.with(call, |scheduling, _| {
        scheduling.policy = policy;
        scheduling.resets_on_fork = resets;
    })?;
    Ok(0)
}

pub fn sched_getscheduler(call: &Call<'_>) -> Outcome {
    let process = target(call, call.args[0])?;
    let scheduling = process.scheduling(call)?;
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
    if (pid as i32) < 0 {
        return Err(Errno::EINVAL.into());
    }
    let priority: i32 = call.space().get(parameter)?;
    let process = target(call, pid)?;
    let policy = process.scheduling(call)?.policy;
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
    let scheduling = target(call, pid)?.scheduling(call)?;
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
    if at == 0 || flags as u32 != 0 || (pid as i32) < 0 {
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
    let changed = process.with(call, |scheduling, who| {
        let may = may_have(scheduling, who, nice);
        if may {
            *scheduling = Scheduling {
                nice,
                policy,
                resets_on_fork: resets,
                ..*scheduling
            };
        }
        may
    })?;
    if !changed {
        return Err(Errno::EPERM.into());
    }
    Ok(0)
}

/// The processes that an `ioprio_*` call means, whose kinds count from 1.
fn io_meant(call: &Call<'_>) -> Result<Vec<Meant>, Errno> {
    let which = call.args[0].wrapping_sub(1);
    meant(call, which, call.args[1])
}

const IOPRIO_WHO_PROCESS: i32 = 1;

pub fn ioprio_get(call: &Call<'_>) -> Outcome {
    let found = io_meant(call)?;
    let found = found.iter().map(|p| p.scheduling(call));
    let mut found = found.collect::<Result<Vec<_>, _>>()?.into_iter();
    // Of several it is the best that they have, which follows from their `nice` where none was set.
    let had = |scheduling: Scheduling| match scheduling {
        Scheduling { io_priority, .. } if io_priority >> 13 != 0 => io_priority,
        Scheduling { nice, policy, .. } => {
            let class = if policy == SCHED_IDLE { 3 } else { 2 };
            (class << 13) | ((i16::from(nice) + 20) as u16 / 5)
        }
    };
    Ok(match call.args[0] as i32 {
        IOPRIO_WHO_PROCESS => found.next().map_or(0, |own| own.io_priority),
        _ => found.map(had).min().unwrap_or(0),
    }
    .into())
}

pub fn ioprio_set(call: &Call<'_>) -> Outcome {
    let value = call.args[2] as u32;
    // Bits above those of the class say nothing.
    let (class, level) = (value >> 13 & 7, value & 7);
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
        process.with(call, |scheduling, _| scheduling.io_priority = value as u16)?;
    }
    Ok(0)
}
