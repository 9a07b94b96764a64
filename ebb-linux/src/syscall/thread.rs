//! Threads: starting, ending, naming, scheduling.

use super::{Call, Outcome, Stop};
use crate::abi::clone::{
    CLONE_CHILD_CLEARTID, CLONE_CHILD_SETTID, CLONE_PARENT_SETTID, CLONE_SETTLS,
};
use crate::abi::errno::Errno;
use crate::abi::exit::Exit;
use crate::state::thread::Thread;
use ebb_guest::GuestCpu;
use ebb_runtime::EbbRef;

/// What a new thread or process is to be.
pub struct New {
    pub flags: u64,
    pub stack: u64,
    pub parent_tid: u64,
    pub child_tid: u64,
    pub tls: u64,
    /// Where the parent gets a descriptor for the child (`CLONE_PIDFD`).
    pub pidfd: u64,
    /// What tells the parent of the end of a process.
    pub exit_signal: u8,
}

pub fn is_canonical(address: u64) -> bool {
    address < 1 << 47
}

/// A thread that goes on from where the calling one is, with this number.
pub fn duplicate(call: &Call<'_>, new: &New, tid: u32) -> Result<Thread, Stop> {
    let mut thread = call.thread(|parent| {
        let mut context = parent.context.duplicate();
        context.rax = 0;
        if new.stack != 0 {
            context.rsp = new.stack;
        }
        let mut thread = Thread::new(tid, context);
        thread.mask = parent.mask;
        thread.name = parent.name;
        thread
    })?;
    if new.flags & CLONE_SETTLS != 0 {
        thread.context.fs_base = new.tls;
    }
    if new.flags & CLONE_CHILD_CLEARTID != 0 {
        thread.clear_tid = new.child_tid;
    }
    Ok(thread)
}

/// Tells a parent of its new thread or process, in its memory.
pub fn tell_parent(call: &Call<'_>, new: &New, tid: u32) -> Result<(), Stop> {
    if new.flags & CLONE_PARENT_SETTID != 0 {
        call.space().put(new.parent_tid, tid)?;
    }
    Ok(())
}

/// Tells a new thread or process its number. As on Linux, a bad pointer here is the child's affair.
pub fn tell_child(space: &mut ebb_mem::space::Space, new: &New, tid: u32) {
    if new.flags & CLONE_CHILD_SETTID != 0 {
        let _ = space.put(new.child_tid, tid);
    }
}

pub fn exit(call: &Call<'_>) -> Outcome {
    Err(Stop::Gone(call.args[0] as u8))
}

pub fn exit_group(call: &Call<'_>) -> Outcome {
    call.uc
        .end_process(call.process, Exit::Status(call.args[0] as u8));
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
    Ok(call.process.pid().into())
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
        0x1001 => call.thread(|t| {
            EbbRef::<dyn GuestCpu>::get().evict(&mut t.context);
            t.context.gs_base = value;
        })?,
        0x1002 => call.thread(|t| t.context.fs_base = value)?,
        // ARCH_GET_FS, ARCH_GET_GS
        0x1003 => {
            let base = call.thread(|t| t.context.fs_base)?;
            call.space().put(value, base)?;
        }
        0x1004 => {
            let base = call.thread(|t| {
                EbbRef::<dyn GuestCpu>::get().save(&mut t.context);
                t.context.gs_base
            })?;
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
