//! Users, groups and capabilities.

use super::{Call, Outcome, Stop, quick};
use crate::abi::errno::Errno;
use crate::abi::limit;
use crate::object::credentials::{Credentials, Whose, cap};
use crate::state::process::State;
use alloc::sync::Arc;
use alloc::vec::Vec;

/// `NGROUPS_MAX`.
const MOST_GROUPS: u64 = 65_536;

/// The credentials of the calling process.
pub fn of(call: &Call<'_>) -> Arc<Credentials> {
    Arc::clone(&call.process.state.borrow().credentials)
}

/// The credentials of a process whose state is at hand.
pub fn of_state(state: &State) -> &Credentials {
    &state.credentials
}

/// Changes the credentials of the calling process, all of whose threads have the same: C libraries see to that on Linux.
pub fn change<R>(
    call: &Call<'_>,
    f: impl FnOnce(&mut Credentials) -> Result<R, Errno>,
) -> Result<R, Stop> {
    let result = {
        let mut state = call.process.state.borrow_mut();
        let before = Arc::clone(&state.credentials);
        let result = f(Arc::make_mut(&mut state.credentials))?;
        if state.credentials.user.effective != before.user.effective
            || state.credentials.group.effective != before.group.effective
        {
            // As Linux does, lest somebody reads what is not theirs.
            state.dumpable = 0;
            state.death_signal = 0;
        }
        result
    };
    for thread in call.process.threads.borrow_mut().iter_mut() {
        quick::set(call.uc, call.process, thread);
    }
    Ok(result)
}

fn id(call: &Call<'_>, n: usize) -> u32 {
    call.args[n] as u32
}

pub fn getuid(call: &Call<'_>) -> Outcome {
    Ok(of(call).user.real.into())
}

pub fn getgid(call: &Call<'_>) -> Outcome {
    Ok(of(call).group.real.into())
}

pub fn geteuid(call: &Call<'_>) -> Outcome {
    Ok(of(call).user.effective.into())
}

pub fn getegid(call: &Call<'_>) -> Outcome {
    Ok(of(call).group.effective.into())
}

pub fn setuid(call: &Call<'_>) -> Outcome {
    change(call, |c| c.set(Whose::User, id(call, 0)))?;
    Ok(0)
}

pub fn setgid(call: &Call<'_>) -> Outcome {
    change(call, |c| c.set(Whose::Group, id(call, 0)))?;
    Ok(0)
}

pub fn setreuid(call: &Call<'_>) -> Outcome {
    change(call, |c| {
        c.set_real_effective(Whose::User, id(call, 0), id(call, 1))
    })?;
    Ok(0)
}

pub fn setregid(call: &Call<'_>) -> Outcome {
    change(call, |c| {
        c.set_real_effective(Whose::Group, id(call, 0), id(call, 1))
    })?;
    Ok(0)
}

pub fn setresuid(call: &Call<'_>) -> Outcome {
    let ids = [0, 1, 2].map(|n| id(call, n));
    change(call, |c| c.set_all(Whose::User, ids))?;
    Ok(0)
}

pub fn setresgid(call: &Call<'_>) -> Outcome {
    let ids = [0, 1, 2].map(|n| id(call, n));
    change(call, |c| c.set_all(Whose::Group, ids))?;
    Ok(0)
}

fn give_ids(call: &Call<'_>, ids: [u32; 3]) -> Outcome {
    for (address, id) in call.args.iter().zip(ids) {
        call.space().put(*address, id)?;
    }
    Ok(0)
}

pub fn getresuid(call: &Call<'_>) -> Outcome {
    let ids = of(call).user;
    give_ids(call, [ids.real, ids.effective, ids.saved])
}

pub fn getresgid(call: &Call<'_>) -> Outcome {
    let ids = of(call).group;
    give_ids(call, [ids.real, ids.effective, ids.saved])
}

pub fn setfsuid(call: &Call<'_>) -> Outcome {
    let before = change(call, |c| Ok(c.set_for_files(Whose::User, id(call, 0))))?;
    Ok(before.into())
}

pub fn setfsgid(call: &Call<'_>) -> Outcome {
    let before = change(call, |c| Ok(c.set_for_files(Whose::Group, id(call, 0))))?;
    Ok(before.into())
}

pub fn getgroups(call: &Call<'_>) -> Outcome {
    let [room, list, ..] = call.args;
    let groups = Arc::clone(&of(call).groups);
    let room = u64::try_from(room as i32).map_err(|_| Errno::EINVAL)?;
    if room == 0 {
        return Ok(groups.len() as u64);
    }
    if room < groups.len() as u64 {
        return Err(Errno::EINVAL.into());
    }
    let bytes: Vec<u8> = groups.iter().flat_map(|g| g.to_le_bytes()).collect();
    call.space().write(list, &bytes)?;
    Ok(groups.len() as u64)
}

pub fn setgroups(call: &Call<'_>) -> Outcome {
    let [count, list, ..] = call.args;
    if !of(call).has(cap::SETGID) {
        return Err(Errno::EPERM.into());
    }
    let count = u64::from(count as u32);
    if count > MOST_GROUPS {
        return Err(Errno::EINVAL.into());
    }
    let groups: Vec<u32> = call.space().get_array(list, count as usize)?;
    change(call, |c| c.set_groups(groups))?;
    Ok(0)
}

/// Versions of `struct __user_cap_header_struct`.
const VERSION_1: u32 = 0x1998_0330;
const VERSION_2: u32 = 0x2007_1026;
const VERSION_3: u32 = 0x2008_0522;

/// The number of 32-bit halves that a version has, and the process that is meant.
fn cap_header(call: &Call<'_>) -> Result<Option<(usize, u32)>, Stop> {
    let header = call.args[0];
    let mut space = call.space();
    let [version, pid]: [u32; 2] = space.get(header)?;
    match version {
        VERSION_1 => Ok(Some((1, pid))),
        VERSION_2 | VERSION_3 => Ok(Some((2, pid))),
        _ => {
            space.put(header, VERSION_3)?;
            Ok(None)
        }
    }
}

pub fn capget(call: &Call<'_>) -> Outcome {
    let data = call.args[1];
    let Some((halves, pid)) = cap_header(call)? else {
        return if data == 0 {
            Ok(0)
        } else {
            Err(Errno::EINVAL.into())
        };
    };
    let who = match pid as i32 {
        ..0 => return Err(Errno::EINVAL.into()),
        0 => of(call),
        pid => {
            let processes = call.uc.processes.borrow();
            let ended = processes.zombies.iter().find(|z| z.pid == pid as u32);
            match (processes.find(pid as u32), ended) {
                (Some(process), _) => Arc::clone(&process.state.borrow().credentials),
                (None, Some(ended)) => Arc::clone(&ended.credentials),
                (None, None) => return Err(Errno::ESRCH.into()),
            }
        }
    };
    if data == 0 {
        return Ok(0);
    }
    let half = |n: usize| {
        [who.effective, who.permitted, who.inheritable].map(|set| (set >> (32 * n)) as u32)
    };
    let mut space = call.space();
    for n in 0..halves {
        space.put(data + 12 * n as u64, half(n))?;
    }
    Ok(0)
}

pub fn capset(call: &Call<'_>) -> Outcome {
    let data = call.args[1];
    let Some((halves, pid)) = cap_header(call)? else {
        return Err(Errno::EINVAL.into());
    };
    if pid != 0 && pid != call.process.pid() && pid != call.tid {
        return Err(Errno::EPERM.into());
    }
    let mut sets = [0u64; 3];
    for n in 0..halves {
        let half: [u32; 3] = call.space().get(data + 12 * n as u64)?;
        for (set, bits) in sets.iter_mut().zip(half) {
            *set |= u64::from(bits) << (32 * n);
        }
    }
    let sets = sets.map(|set| set & cap::ALL);
    change(call, |c| c.set_capabilities(sets))?;
    Ok(0)
}

/// The requests of `prctl` that are about credentials; `None` for others.
pub fn prctl(call: &Call<'_>) -> Option<Outcome> {
    const PR_GET_KEEPCAPS: u32 = 7;
    const PR_SET_KEEPCAPS: u32 = 8;
    const PR_CAPBSET_READ: u32 = 23;
    const PR_CAPBSET_DROP: u32 = 24;
    const PR_GET_SECUREBITS: u32 = 27;
    const PR_SET_SECUREBITS: u32 = 28;
    const PR_SET_NO_NEW_PRIVS: u32 = 38;
    const PR_GET_NO_NEW_PRIVS: u32 = 39;
    const PR_CAP_AMBIENT: u32 = 47;
    let [option, value, third, fourth, fifth, _] = call.args;
    let bit = |value: u64| -> Result<u64, Errno> {
        if value > u64::from(cap::LAST) {
            return Err(Errno::EINVAL);
        }
        Ok(1 << value)
    };
    let who = of(call);
    let zero = |result: Result<(), Stop>| result.map(|()| 0);
    Some(match option as u32 {
        PR_GET_KEEPCAPS => Ok(who.keeps.into()),
        PR_SET_KEEPCAPS if value > 1 => Err(Errno::EINVAL.into()),
        PR_SET_KEEPCAPS => zero(change(call, |c| {
            c.keeps = value == 1;
            Ok(())
        })),
        PR_CAPBSET_READ => bit(value)
            .map(|bit| u64::from(who.bounding & bit != 0))
            .map_err(Stop::Error),
        PR_CAPBSET_DROP => zero(change(call, |c| {
            if !c.has(cap::SETPCAP) {
                return Err(Errno::EPERM);
            }
            c.bounding &= !bit(value)?;
            Ok(())
        })),
        PR_GET_SECUREBITS => Ok(who.secure_bits.into()),
        PR_SET_SECUREBITS => zero(change(call, |c| {
            // Each bit is followed by one that locks it.
            const LOCKS: u32 = 0xaa;
            let (old, new) = (c.secure_bits, value as u32);
            let unlocks = old & LOCKS & !new != 0;
            let changes = (old & LOCKS) >> 1 & (old ^ new) != 0;
            if !c.has(cap::SETPCAP) || value & !0xff != 0 || unlocks || changes {
                return Err(Errno::EPERM);
            }
            c.secure_bits = new;
            Ok(())
        })),
        PR_GET_NO_NEW_PRIVS if [value, third, fourth, fifth] != [0; 4] => Err(Errno::EINVAL.into()),
        PR_GET_NO_NEW_PRIVS => Ok(who.no_new_privileges.into()),
        PR_SET_NO_NEW_PRIVS if [value, third, fourth, fifth] != [1, 0, 0, 0] => {
            Err(Errno::EINVAL.into())
        }
        PR_SET_NO_NEW_PRIVS => zero(change(call, |c| {
            c.no_new_privileges = true;
            Ok(())
        })),
        PR_CAP_AMBIENT if [fourth, fifth] != [0; 2] => Err(Errno::EINVAL.into()),
        PR_CAP_AMBIENT => ambient(call, value as u32, third),
        _ => return None,
    })
}

fn ambient(call: &Call<'_>, request: u32, capability: u64) -> Outcome {
    const IS_SET: u32 = 1;
    const RAISE: u32 = 2;
    const LOWER: u32 = 3;
    const CLEAR_ALL: u32 = 4;
    if request == CLEAR_ALL {
        if capability != 0 {
            return Err(Errno::EINVAL.into());
        }
        change(call, |c| {
            c.ambient = 0;
            Ok(())
        })?;
        return Ok(0);
    }
    if capability > u64::from(cap::LAST) {
        return Err(Errno::EINVAL.into());
    }
    let bit = 1 << capability;
    match request {
        IS_SET => Ok(u64::from(of(call).ambient & bit != 0)),
        RAISE => {
            change(call, |c| {
                if c.permitted & c.inheritable & bit == 0 {
                    return Err(Errno::EPERM);
                }
                c.ambient |= bit;
                Ok(())
            })?;
            Ok(0)
        }
        LOWER => {
            change(call, |c| {
                c.ambient &= !bit;
                Ok(())
            })?;
            Ok(0)
        }
        _ => Err(Errno::EINVAL.into()),
    }
}

/// How many threads the caller's user may have: its limit binds everybody but root.
pub fn thread_limit(call: &Call<'_>) -> u64 {
    let root = of(call).user.real == 0;
    match root {
        true => u64::MAX,
        false => call.process.state.borrow().soft(limit::NPROC),
    }
}
