//! Threads: starting, ending, naming, scheduling.

use super::{Call, Outcome, Stop};
use crate::object::errno::Errno;
use crate::thread::Thread;
use crate::uc::Exit;

const CLONE_VM: u64 = 0x100;
const CLONE_SIGHAND: u64 = 0x800;
const CLONE_THREAD: u64 = 0x1_0000;
const CLONE_SETTLS: u64 = 0x8_0000;
const CLONE_PARENT_SETTID: u64 = 0x10_0000;
const CLONE_CHILD_CLEARTID: u64 = 0x20_0000;
const CLONE_CHILD_SETTID: u64 = 0x100_0000;
const THREAD: u64 = CLONE_VM | CLONE_SIGHAND | CLONE_THREAD;

struct New {
    flags: u64,
    stack: u64,
    parent_tid: u64,
    child_tid: u64,
    tls: u64,
}

fn is_canonical(address: u64) -> bool {
    address < 1 << 47
}

fn start(call: &Call<'_>, new: &New) -> Outcome {
    if new.flags & THREAD != THREAD {
        return Err(Errno::ENOSYS.into());
    }
    if new.flags & CLONE_SETTLS != 0 && !is_canonical(new.tls) {
        return Err(Errno::EPERM.into());
    }
    let mut threads = call.uc.threads.borrow_mut();
    if threads.len() >= call.uc.options.threads {
        return Err(Errno::EAGAIN.into());
    }
    let tid = threads.new_tid();
    let parent = threads.get_mut(call.index).ok_or(Stop::Gone(0))?;
    let mut context = parent.context.duplicate();
    context.rax = 0;
    if new.stack != 0 {
        context.rsp = new.stack;
    }
    if new.flags & CLONE_SETTLS != 0 {
        context.fs_base = new.tls;
    }
    let mut thread = Thread::new(tid, context);
    thread.mask = parent.mask;
    thread.name = parent.name;
    if new.flags & CLONE_CHILD_CLEARTID != 0 {
        thread.clear_tid = new.child_tid;
    }
    drop(threads);
    let mut space = call.space();
    if new.flags & CLONE_PARENT_SETTID != 0 {
        space.put(new.parent_tid, tid)?;
    }
    if new.flags & CLONE_CHILD_SETTID != 0 {
        // As on Linux, a bad pointer here is the child's affair.
        let _ = space.put(new.child_tid, tid);
    }
    drop(space);
    call.uc.add_thread(thread);
    Ok(tid.into())
}

pub fn clone(call: &Call<'_>) -> Outcome {
    let [flags, stack, parent_tid, child_tid, tls, _] = call.args;
    start(
        call,
        &New {
            flags,
            stack,
            parent_tid,
            child_tid,
            tls,
        },
    )
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
    for i in (64..size).step_by(8) {
        if space.get::<u64>(address.wrapping_add(i))? != 0 {
            return Err(Errno::EINVAL.into());
        }
    }
    drop(space);
    let [
        flags,
        _,
        child_tid,
        parent_tid,
        exit_signal,
        stack,
        stack_size,
        tls,
    ] = words;
    if flags & THREAD == THREAD && exit_signal != 0 || (stack == 0) != (stack_size == 0) {
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
        },
    )
}

pub fn exit(call: &Call<'_>) -> Outcome {
    Err(Stop::Gone(call.args[0] as u8))
}

pub fn exit_group(call: &Call<'_>) -> Outcome {
    call.uc.end(Exit::Status(call.args[0] as u8));
    Err(Stop::Gone(call.args[0] as u8))
}

pub fn set_tid_address(call: &Call<'_>) -> Outcome {
    call.thread(|t| t.clear_tid = call.args[0])?;
    Ok(call.tid.into())
}

pub fn gettid(call: &Call<'_>) -> Outcome {
    Ok(call.tid.into())
}

pub fn getpid(call: &Call<'_>) -> Outcome {
    Ok(call.uc.process.borrow().pid.into())
}

pub fn getpriority(_: &Call<'_>) -> Outcome {
    Ok(20)
}

pub fn sched_getaffinity(call: &Call<'_>) -> Outcome {
    let [_, len, mask, ..] = call.args;
    if len < 8 || len % 8 != 0 {
        return Err(Errno::EINVAL.into());
    }
    call.space().put(mask, 1u64)?;
    Ok(8)
}

pub fn sched_getparam(call: &Call<'_>) -> Outcome {
    call.space().put(call.args[1], 0u32)?;
    Ok(0)
}

pub fn arch_prctl(call: &Call<'_>) -> Outcome {
    let [code, value, ..] = call.args;
    match code {
        // ARCH_SET_GS, ARCH_SET_FS
        0x1001 | 0x1002 if !is_canonical(value) => return Err(Errno::EPERM.into()),
        0x1001 => call.thread(|t| t.context.gs_base = value)?,
        0x1002 => call.thread(|t| t.context.fs_base = value)?,
        // ARCH_GET_FS, ARCH_GET_GS
        0x1003 => {
            let base = call.thread(|t| t.context.fs_base)?;
            call.space().put(value, base)?;
        }
        0x1004 => {
            let base = call.thread(|t| t.context.gs_base)?;
            call.space().put(value, base)?;
        }
        _ => return Err(Errno::EINVAL.into()),
    }
    Ok(0)
}

pub fn prctl(call: &Call<'_>) -> Outcome {
    let [option, value, ..] = call.args;
    match option as u32 {
        // PR_SET_NAME, PR_GET_NAME
        15 => {
            let short = call.space().get_string(value, 15)?;
            let name = match short {
                Some(name) => name,
                // Longer: cut.
                None => call.space().get::<[u8; 15]>(value)?.to_vec(),
            };
            call.thread(|t| {
                t.name = [0; 16];
                t.name[..name.len()].copy_from_slice(&name);
            })?;
            Ok(0)
        }
        16 => {
            let name = call.thread(|t| t.name)?;
            call.space().put(value, name)?;
            Ok(0)
        }
        // PR_GET_DUMPABLE, PR_GET_NO_NEW_PRIVS; and setting either, PR_SET_PDEATHSIG, PR_SET_TIMERSLACK, PR_SET_PTRACER
        3 | 39 => Ok(1),
        1 | 4 | 29 | 38 | 0x5961_6d61 => Ok(0),
        // PR_GET_TIMERSLACK
        30 => Ok(50_000),
        _ => Err(Errno::EINVAL.into()),
    }
}
