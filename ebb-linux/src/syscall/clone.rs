//! `clone` and `fork`: new threads and processes.

use super::credentials::thread_limit;
use super::namespace::{self, NEWTIME};
use super::process::fork;
use super::thread::{New, duplicate, is_canonical, tell_child, tell_parent};
use super::{Call, Outcome, Stop};
use crate::abi::clone::{
    CLONE_CLEAR_SIGHAND, CLONE_DETACHED, CLONE_PARENT_SETTID, CLONE_PIDFD, CLONE_SETTLS,
    CLONE_SIGHAND, CLONE_THREAD, CLONE_VFORK, CLONE_VM,
};
use crate::abi::errno::Errno;

fn start(call: &Call<'_>, new: &New) -> Outcome {
    let has = |flags| new.flags & flags == flags;
    if has(CLONE_SIGHAND) && !has(CLONE_VM)
        || has(CLONE_THREAD) && !has(CLONE_SIGHAND)
        || has(CLONE_SETTLS) && !is_canonical(new.tls)
        || has(CLONE_PIDFD | CLONE_THREAD)
        || has(CLONE_PIDFD | CLONE_PARENT_SETTID) && new.pidfd == new.parent_tid
    {
        return Err(Errno::EINVAL.into());
    }
    namespace::check_clone(new.flags)?;
    if !has(CLONE_THREAD) {
        return fork(call, new);
    }
    let tid = {
        let mut processes = call.uc.processes.borrow_mut();
        let threads = processes.threads();
        let own = thread_limit(call);
        if threads >= call.uc.options.threads || threads as u64 >= own {
            return Err(Errno::EAGAIN.into());
        }
        processes.new_number()
    };
    let thread = duplicate(call, new, tid)?;
    tell_parent(call, new, tid);
    tell_child(&mut call.space(), new, tid);
    call.uc.add_thread(call.process, thread);
    Ok(tid.into())
}

pub fn clone(call: &Call<'_>) -> Outcome {
    let [flags, stack, parent_tid, child_tid, tls, _] = call.args;
    start(
        call,
        &New {
            // The lowest byte is the signal.
            flags: flags & 0xffff_ff00,
            stack,
            parent_tid,
            child_tid,
            tls,
            pidfd: parent_tid,
            exit_signal: signal(flags & 0xff)?,
        },
    )
}

fn signal(number: u64) -> Result<u8, Stop> {
    match u8::try_from(number) {
        Ok(signal @ 0..=64) => Ok(signal),
        _ => Err(Errno::EINVAL.into()),
    }
}

pub fn clone3(call: &Call<'_>) -> Outcome {
    let [address, size, ..] = call.args;
    if size < 64 {
        return Err(Errno::EINVAL.into());
    }
    if size > 4096 {
        return Err(Errno::E2BIG.into());
    }
    let mut space = call.space();
    // flags, pidfd, child_tid, parent_tid, exit_signal, stack, stack_size, tls, then set_tid, set_tid_size, cgroup.
    let words: [u64; 8] = space.get(address)?;
    // Of what nobody knows nothing may be asked.
    const KNOWN_BYTES: u64 = 88;
    let mut refused = None;
    for i in (64..size).step_by(8) {
        if space.get::<u64>(address.wrapping_add(i))? != 0 {
            let unknown = i >= KNOWN_BYTES;
            refused = Some(if unknown { Errno::E2BIG } else { Errno::EINVAL });
        }
    }
    if let Some(errno) = refused {
        return Err(errno.into());
    }
    drop(space);
    let [
        flags,
        pidfd,
        child_tid,
        parent_tid,
        exit_signal,
        stack,
        stack_size,
        tls,
    ] = words;
    if flags & CLONE_THREAD != 0 && exit_signal != 0 || (stack == 0) != (stack_size == 0) {
        return Err(Errno::EINVAL.into());
    }
    // What `clone` takes for the signal, and what it takes no notice of, is free for other flags here.
    const KNOWN: u64 = 0xffff_ff00 | NEWTIME | CLONE_CLEAR_SIGHAND;
    let both = CLONE_SIGHAND | CLONE_CLEAR_SIGHAND;
    if flags & !KNOWN != 0 || flags & CLONE_DETACHED != 0 || flags & both == both {
        return Err(Errno::EINVAL.into());
    }
    let stack = stack.checked_add(stack_size).ok_or(Errno::EINVAL)?;
    start(
        call,
        &New {
            flags,
            stack,
            parent_tid,
            child_tid,
            tls,
            pidfd,
            exit_signal: signal(exit_signal)?,
        },
    )
}

pub fn vfork(call: &Call<'_>) -> Outcome {
    simple(call, CLONE_VM | CLONE_VFORK)
}

pub fn fork_call(call: &Call<'_>) -> Outcome {
    simple(call, 0)
}

fn simple(call: &Call<'_>, flags: u64) -> Outcome {
    let new = New {
        flags,
        stack: 0,
        parent_tid: 0,
        child_tid: 0,
        tls: 0,
        pidfd: 0,
        exit_signal: crate::abi::signal::SIGCHLD,
    };
    fork(call, &new)
}
