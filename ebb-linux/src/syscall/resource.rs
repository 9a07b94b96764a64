//! Limits of resources: which there are, and what a change of one does.

use super::{Call, Outcome, Stop};
use crate::abi::errno::Errno;
use crate::abi::limit;
use crate::object::credentials::{Credentials, Ids, cap};
use crate::object::files::MAX_NOFILE;
use crate::state::process::Process;
use alloc::rc::Rc;
use alloc::sync::Arc;

pub fn prlimit64(call: &Call<'_>) -> Outcome {
    let [pid, resource, new, old, ..] = call.args;
    let wanted = match new {
        0 => None,
        at => Some(call.space().get::<[u64; 2]>(at)?),
    };
    let process = match pid as u32 {
        0 => Rc::clone(call.process),
        pid => {
            let processes = call.uc.processes.borrow();
            match processes.find(pid) {
                Some(process) => Rc::clone(process),
                None => {
                    drop(processes);
                    return of_ended(call, pid, wanted);
                }
            }
        }
    };
    let credentials = Arc::clone(&process.state.borrow().credentials);
    if process.serial != call.process.serial && !may_change(call, &credentials) {
        return Err(Errno::EPERM.into());
    }
    let before = get(&process, resource)?;
    if let Some([soft, hard]) = wanted {
        set(call, &process, resource, soft, hard)?;
    }
    if old != 0 {
        call.space().put(old, [before.0, before.1])?;
    }
    Ok(0)
}

/// `prlimit` of a process that has ended and that nobody has waited for.
fn of_ended(call: &Call<'_>, pid: u32, wanted: Option<[u64; 2]>) -> Outcome {
    let [_, resource, _, old, ..] = call.args;
    let mut processes = call.uc.processes.borrow_mut();
    let ended = processes.zombies.iter_mut().find(|z| z.pid == pid);
    let ended = ended.ok_or(Errno::ESRCH)?;
    if !may_change(call, &ended.credentials) {
        return Err(Errno::EPERM.into());
    }
    let index = usize::try_from(resource).unwrap_or(usize::MAX);
    let limit = ended.limits.get_mut(index).ok_or(Errno::EINVAL)?;
    let before = *limit;
    if let Some([soft, hard]) = wanted {
        check(before, index, soft, hard)?;
        *limit = (soft, hard);
    }
    if old != 0 {
        call.space().put(old, [before.0, before.1])?;
    }
    Ok(0)
}

/// Whether a limit may be changed to these.
fn check(before: (u64, u64), index: usize, soft: u64, hard: u64) -> Result<(), Stop> {
    if soft > hard {
        return Err(Errno::EINVAL.into());
    }
    if hard > before.1 || index == limit::NOFILE && hard > MAX_NOFILE.into() {
        return Err(Errno::EPERM.into());
    }
    Ok(())
}

/// Whether another process is one's own in every respect, or one may have its way.
fn may_change(call: &Call<'_>, target: &Credentials) -> bool {
    let who = super::credentials::of(call);
    let all = |ids: &Ids, id: u32| [ids.real, ids.effective, ids.saved] == [id; 3];
    who.has(cap::SYS_RESOURCE)
        || all(&target.user, who.user.real) && all(&target.group, who.group.real)
}

fn get(process: &Process, resource: u64) -> Result<(u64, u64), Stop> {
    let state = process.state.borrow();
    let limit = usize::try_from(resource)
        .ok()
        .and_then(|r| state.limits.get(r))
        .copied();
    limit.ok_or(Stop::Error(Errno::EINVAL))
}

fn set(call: &Call<'_>, process: &Process, resource: u64, soft: u64, hard: u64) -> Outcome {
    let mut state = process.state.borrow_mut();
    let index = usize::try_from(resource).unwrap_or(usize::MAX);
    let slot = state.limits.get_mut(index).ok_or(Errno::EINVAL)?;
    check(*slot, index, soft, hard)?;
    *slot = (soft, hard);
    if index == limit::CPU {
        state.cpu_warned = 0;
    }
    drop(state);
    if index == limit::STACK {
        let memory = process.memory();
        memory.space.borrow_mut().set_growth_limit(soft);
    }
    apply(call, process);
    Ok(0)
}

/// Tells the objects of the limits that they keep: those of the process that they belong to.
fn apply(call: &Call<'_>, process: &Process) {
    let (files, size) = {
        let state = process.state.borrow();
        (state.soft(limit::NOFILE), state.soft(limit::FSIZE))
    };
    let mut objects = call.objects();
    objects.run_files(process.files.get());
    let files = u32::try_from(files).unwrap_or(u32::MAX);
    objects.files.fds.set_limit(files);
    objects.files.max_size = size;
    objects.run_files(call.process.files.get());
}

pub fn getrlimit(call: &Call<'_>) -> Outcome {
    let (soft, hard) = get(call.process, call.args[0])?;
    call.space().put(call.args[1], [soft, hard])?;
    Ok(0)
}

pub fn setrlimit(call: &Call<'_>) -> Outcome {
    let [soft, hard]: [u64; 2] = call.space().get(call.args[1])?;
    set(call, call.process, call.args[0], soft, hard)
}
