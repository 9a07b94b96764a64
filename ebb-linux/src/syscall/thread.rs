//! Threads: starting, ending, naming, scheduling.

use super::{Call, Outcome, Stop};
use crate::abi::clone::{
    CLONE_CHILD_CLEARTID, CLONE_CHILD_SETTID, CLONE_PARENT_SETTID, CLONE_SETTLS,
};
use crate::abi::errno::Errno;
use crate::abi::exit::Exit;
use crate::state::thread::Thread;
use ebb_guest::GuestCpu;
use ebb_mem::space::GUEST_END;
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
        thread.memory_policy = parent.memory_policy;
        thread.name = parent.name;
        thread
    })?;
    if new.flags & CLONE_SETTLS != 0 {
        thread.context.settle();
        thread.context.fs_base = new.tls;
    }
    if new.flags & CLONE_CHILD_CLEARTID != 0 {
        thread.clear_tid = new.child_tid;
    }
    Ok(thread)
}

/// Tells a parent of its new thread or process, in its memory.
/// As on Linux, a bad pointer for the number is nobody's affair.
pub fn tell_parent(call: &Call<'_>, new: &New, tid: u32) {
    if new.flags & CLONE_PARENT_SETTID != 0 {
        let _ = call.space().put(new.parent_tid, tid);
    }
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

pub fn arch_prctl(call: &Call<'_>) -> Outcome {
    let [code, value, ..] = call.args;
    match code {
        // ARCH_SET_GS, ARCH_SET_FS
        0x1001 | 0x1002 if !is_canonical(value) || value >= GUEST_END => {
            return Err(Errno::EPERM.into());
        }
        0x1001 => call.thread(|t| {
            EbbRef::<dyn GuestCpu>::get().evict(&mut t.context);
            t.context.settle();
            t.context.gs_base = value;
        })?,
        0x1002 => call.thread(|t| {
            t.context.settle();
            t.context.fs_base = value;
        })?,
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
        // ARCH_GET_CPUID, ARCH_SET_CPUID: everybody may use the instruction, as on CPUs that cannot refuse it.
        0x1011 => return Ok(1),
        0x1012 => return Err(Errno::ENODEV.into()),
        // ARCH_MAP_VDSO_32, ARCH_MAP_VDSO_64: there is one already.
        0x2002 | 0x2003 => return Err(Errno::EEXIST.into()),
        _ => return Err(Errno::EINVAL.into()),
    }
    Ok(0)
}

/// `PR_MCE_KILL`: what a process wants to hear of broken memory. It is told, and no memory breaks here.
fn machine_check_policy(call: &Call<'_>) -> Outcome {
    const CLEAR: u64 = 0;
    const SET: u64 = 1;
    const DEFAULT: u64 = 2;
    let [_, what, policy, rest @ ..] = call.args;
    let policy = match (what, policy) {
        _ if rest[..2] != [0; 2] => return Err(Errno::EINVAL.into()),
        (CLEAR, 0) => DEFAULT,
        (SET, 0..=DEFAULT) => policy,
        _ => return Err(Errno::EINVAL.into()),
    };
    call.process.state.borrow_mut().machine_check_policy = policy as u8;
    Ok(0)
}

pub fn prctl(call: &Call<'_>) -> Outcome {
    const PR_SET_PDEATHSIG: u32 = 1;
    const PR_GET_PDEATHSIG: u32 = 2;
    const PR_GET_DUMPABLE: u32 = 3;
    const PR_SET_DUMPABLE: u32 = 4;
    const PR_SET_TIMERSLACK: u32 = 29;
    const PR_GET_TIMERSLACK: u32 = 30;
    const PR_SET_CHILD_SUBREAPER: u32 = 36;
    const PR_GET_CHILD_SUBREAPER: u32 = 37;
    const PR_TSC_ENABLE: u32 = 1;
    const PR_SET_PTRACER: u32 = 0x5961_6d61;
    const PR_SET_MDWE: u32 = 65;
    const PR_GET_MDWE: u32 = 66;
    let [option, value, ..] = call.args;
    if let Some(outcome) = super::credentials::prctl(call) {
        return outcome;
    }
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
        PR_SET_PDEATHSIG if value > 64 => Err(Errno::EINVAL.into()),
        PR_SET_PDEATHSIG => {
            call.process.state.borrow_mut().death_signal = value as u8;
            Ok(0)
        }
        PR_GET_PDEATHSIG => {
            let signal = call.process.state.borrow().death_signal;
            call.space().put(value, u32::from(signal))?;
            Ok(0)
        }
        PR_GET_DUMPABLE => Ok(call.process.state.borrow().dumpable.into()),
        PR_SET_DUMPABLE if value > 1 => Err(Errno::EINVAL.into()),
        PR_SET_DUMPABLE => {
            call.process.state.borrow_mut().dumpable = value as u8;
            Ok(0)
        }
        PR_GET_TIMERSLACK => Ok(call.process.state.borrow().timer_slack_ns),
        PR_SET_TIMERSLACK => {
            let value = if value == 0 { 50_000 } else { value };
            call.process.state.borrow_mut().timer_slack_ns = value;
            Ok(0)
        }
        PR_SET_CHILD_SUBREAPER => {
            call.process.state.borrow_mut().adopts_orphans = value != 0;
            Ok(0)
        }
        PR_GET_CHILD_SUBREAPER => {
            let adopts = call.process.state.borrow().adopts_orphans;
            call.space().put(value, u32::from(adopts))?;
            Ok(0)
        }
        // PR_GET_TIMING, PR_SET_TIMING: statistical only. PR_TASK_PERF_EVENTS_DISABLE and _ENABLE: there are none.
        13 | 31 | 32 => Ok(0),
        14 if value == 0 => Ok(0),
        // PR_GET_SECCOMP
        21 => Ok(0),
        // PR_MCE_KILL, PR_MCE_KILL_GET
        33 => machine_check_policy(call),
        34 if call.args[1..5] == [0; 4] => {
            Ok(call.process.state.borrow().machine_check_policy.into())
        }
        // PR_GET_SPECULATION_CTRL, PR_SET_SPECULATION_CTRL: of three kinds, none of which the CPU does.
        52 if call.args[2..5] == [0; 3] => match value {
            0..=2 => Ok(0),
            _ => Err(Errno::ENODEV.into()),
        },
        53 if call.args[3..5] == [0; 2] => match value {
            0..=2 => Err(Errno::ENXIO.into()),
            _ => Err(Errno::ENODEV.into()),
        },
        // PR_SET_MM: for who has CAP_SYS_RESOURCE.
        35 => Err(Errno::EPERM.into()),
        // PR_SET_IO_FLUSHER, PR_GET_IO_FLUSHER: for who has CAP_SYS_RESOURCE.
        57 | 58 => Err(Errno::EPERM.into()),
        // PR_GET_TSC, PR_SET_TSC: everybody may read the time-stamp counter.
        25 => {
            call.space().put(value, PR_TSC_ENABLE)?;
            Ok(0)
        }
        26 if value == u64::from(PR_TSC_ENABLE) => Ok(0),
        // PR_GET_TID_ADDRESS
        40 => {
            let at = call.thread(|t| t.clear_tid)?;
            call.space().put(value, at)?;
            Ok(0)
        }
        // PR_SET_THP_DISABLE, PR_GET_THP_DISABLE: there are no huge pages to keep away.
        41 if call.args[2..5] == [0; 3] => {
            call.process.state.borrow_mut().huge_pages_disabled = value != 0;
            Ok(0)
        }
        42 if call.args[1..5] == [0; 4] => {
            Ok(call.process.state.borrow().huge_pages_disabled.into())
        }
        PR_SET_MDWE if call.args[2..5] == [0; 3] && matches!(value, 0 | 1 | 3) => {
            let mut state = call.process.state.borrow_mut();
            if state.code_is_fixed != 0 && u64::from(state.code_is_fixed) != value {
                return Err(Errno::EPERM.into());
            }
            state.code_is_fixed = value as u8;
            Ok(0)
        }
        PR_GET_MDWE if call.args[1..5] == [0; 4] => {
            Ok(call.process.state.borrow().code_is_fixed.into())
        }
        // There is no tracing: whoever is let in has no way in.
        PR_SET_PTRACER => Ok(0),
        _ => Err(Errno::EINVAL.into()),
    }
}
