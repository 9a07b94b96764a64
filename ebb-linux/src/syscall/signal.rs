//! `rt_sigaction` and its kin.

use super::{Call, Outcome, Stop};
use crate::abi::errno::Errno;
use crate::abi::signal::{
    Action, AltStack, SIGCONT, SigInfo, UNBLOCKABLE, bit, is_ignored_by_default,
};
use crate::signal::{self, Sent};
use crate::state::pending;
use crate::state::process::Process;
use crate::state::thread::Thread;

fn check_size(size: u64) -> Result<(), Stop> {
    if size == 8 {
        Ok(())
    } else {
        Err(Errno::EINVAL.into())
    }
}

fn number(value: u64) -> Result<u8, Stop> {
    match value as i32 {
        n @ 0..=64 => Ok(n as u8),
        _ => Err(Errno::EINVAL.into()),
    }
}

/// `SA_NOCLDSTOP`, `SA_NOCLDWAIT`, `SA_SIGINFO`, `SA_EXPOSE_TAGBITS`, `SA_RESTORER`, `SA_ONSTACK`, `SA_RESTART`,
/// `SA_NODEFER`, `SA_RESETHAND`.
const KNOWN_FLAGS: u64 = 0xdc00_0807;

/// `SIG_IGN`.
const IGNORE: u64 = 1;

pub fn rt_sigaction(call: &Call<'_>) -> Outcome {
    let [signal, new, old, size, ..] = call.args;
    check_size(size)?;
    let action: Option<[u64; 4]> = match new {
        0 => None,
        at => Some(call.space().get(at)?),
    };
    let signal = number(signal)?;
    let before = call
        .process
        .state
        .borrow()
        .actions
        .get(signal)
        .ok_or(Errno::EINVAL)?;
    if let Some([handler, flags, restorer, mask]) = action {
        if UNBLOCKABLE & bit(signal) != 0 {
            return Err(Errno::EINVAL.into());
        }
        let mask = mask & !UNBLOCKABLE;
        let action = Action {
            handler,
            // By flags that are not kept programs learn that they are not there.
            flags: flags & KNOWN_FLAGS,
            restorer,
            mask,
        };
        call.process.state.borrow_mut().actions.set(signal, action);
        // What is ignored does not wait.
        if handler == IGNORE || handler == 0 && is_ignored_by_default(signal) {
            signal::forget(call.process, bit(signal));
        }
    }
    if old != 0 {
        call.space().put(
            old,
            [before.handler, before.flags, before.restorer, before.mask],
        )?;
    }
    Ok(0)
}

pub fn rt_sigprocmask(call: &Call<'_>) -> Outcome {
    let [how, new, old, size, ..] = call.args;
    check_size(size)?;
    let before = call.thread(|t| t.mask)?;
    if new != 0 {
        let set: u64 = call.space().get(new)?;
        let mask = match how {
            0 => before | set,
            1 => before & !set,
            2 => set,
            _ => return Err(Errno::EINVAL.into()),
        };
        call.thread(|t| t.mask = mask & !UNBLOCKABLE)?;
        signal::take_process_signals(call.process, call.index);
    }
    if old != 0 {
        call.space().put(old, before)?;
    }
    Ok(0)
}

pub fn rt_sigpending(call: &Call<'_>) -> Outcome {
    let [at, size, ..] = call.args;
    let pending = call.thread(|t| t.pending & t.mask)? | call.process.state.borrow().pending;
    let bytes = pending.to_le_bytes();
    let bytes = usize::try_from(size).ok().and_then(|n| bytes.get(..n));
    call.space().write(at, bytes.ok_or(Errno::EINVAL)?)?;
    Ok(0)
}

pub fn sigaltstack(call: &Call<'_>) -> Outcome {
    let [new, old, ..] = call.args;
    let (before, stack_pointer) = call.thread(|t| (t.alt_stack, t.context.rsp))?;
    let inside = before.contains(stack_pointer);
    if new != 0 {
        let [start, flags, size]: [u64; 3] = call.space().get(new)?;
        let flags = flags as u32;
        if inside {
            return Err(Errno::EPERM.into());
        }
        // SS_DISABLE is 2; SS_AUTODISARM the top bit.
        let same = (start, size, flags) == (before.start, before.size, before.flags & !2);
        let stack = match flags & 0x7fff_ffff {
            2 => AltStack::default(),
            // What is so already is not looked at.
            0 if same => before,
            0 | 1 if size < 2048 => return Err(Errno::ENOMEM.into()),
            0 | 1 => AltStack {
                start,
                size,
                flags: flags & !1,
            },
            _ => return Err(Errno::EINVAL.into()),
        };
        call.thread(|t| t.alt_stack = stack)?;
    }
    if old != 0 {
        let flags = before.flags | u32::from(inside);
        call.space()
            .put(old, [before.start, u64::from(flags), before.size])?;
    }
    Ok(0)
}

pub fn tgkill(call: &Call<'_>) -> Outcome {
    let [group, tid, signal, ..] = call.args;
    if group as i32 <= 0 || tid as i32 <= 0 {
        return Err(Errno::EINVAL.into());
    }
    to_thread(
        call,
        Some(group as u32),
        tid as u32,
        sent(call, signal, -6)?,
    )
}

pub fn tkill(call: &Call<'_>) -> Outcome {
    let [tid, signal, ..] = call.args;
    if tid as i32 <= 0 {
        return Err(Errno::EINVAL.into());
    }
    // SI_TKILL
    to_thread(call, None, tid as u32, sent(call, signal, -6)?)
}

/// A signal that the caller sends.
fn sent(call: &Call<'_>, signal: u64, code: i32) -> Result<SigInfo, Stop> {
    let user = super::credentials::of(call).user.real;
    Ok(SigInfo::sent(number(signal)?, code, call.process.pid()).by_user(user))
}

/// Sends a signal to a thread of any process, or of the one of this number.
fn to_thread(call: &Call<'_>, group: Option<u32>, tid: u32, info: SigInfo) -> Outcome {
    let live = call.uc.processes.borrow().live.clone();
    for process in live.iter().filter(|p| group.is_none_or(|g| g == p.pid())) {
        let has = |t: &Thread| t.tid == tid;
        if process.threads.borrow().iter().any(has) {
            check_permission(call, process, info.signal())?;
        }
        match signal::send_thread(call.uc, process, tid, info.clone()) {
            Sent::Done => return Ok(0),
            Sent::Full => return Err(Errno::EAGAIN.into()),
            Sent::Nobody => {}
        }
    }
    // One that has ended takes it and nothing happens.
    let processes = call.uc.processes.borrow();
    let is_it = |pid: u32| pid == tid && group.is_none_or(|g| g == pid);
    match processes.zombies.iter().any(|z| is_it(z.pid)) {
        true => Ok(0),
        false => Err(Errno::ESRCH.into()),
    }
}

pub fn kill(call: &Call<'_>) -> Outcome {
    let info = sent(call, call.args[1], 0)?;
    let to = call.args[0] as i32;
    let (pid, group) = {
        let state = call.process.state.borrow();
        (state.pid, state.group)
    };
    if to > 0 {
        return to_process(call, to as u32, &info);
    }
    let hits = |process: &Process| {
        let state = process.state.borrow();
        match to {
            // Everybody but the first process and oneself.
            -1 => state.parent != 0 && state.pid != pid,
            0 => state.group == group,
            group => state.group == group.unsigned_abs(),
        }
    };
    let live = call.uc.processes.borrow().live.clone();
    let mut found = false;
    let mut refused = false;
    for process in live.iter().filter(|p| hits(p)) {
        if check_permission(call, process, info.signal()).is_err() {
            refused = true;
            continue;
        }
        found = true;
        let _ = signal::send_process(call.uc, process, info.clone());
    }
    match (found, refused) {
        (true, _) => Ok(0),
        (_, true) => Err(Errno::EPERM.into()),
        _ => Err(Errno::ESRCH.into()),
    }
}

/// Whether the caller may send a process a signal: `SIGCONT` goes anywhere within a session.
fn check_permission(call: &Call<'_>, process: &Process, signal: u8) -> Result<(), Errno> {
    let sender = call.process.state.borrow();
    if core::ptr::eq(&**call.process, process) {
        return Ok(());
    }
    let target = process.state.borrow();
    if sender.credentials.may_signal(&target.credentials)
        || signal == SIGCONT && sender.session == target.session
    {
        Ok(())
    } else {
        Err(Errno::EPERM)
    }
}

/// Sends a signal to the process of this number; one that has ended takes it and nothing happens.
fn to_process(call: &Call<'_>, pid: u32, info: &SigInfo) -> Outcome {
    let (process, ended) = {
        let processes = call.uc.processes.borrow();
        let ended = processes.zombies.iter().any(|z| z.pid == pid);
        (processes.find(pid).cloned(), ended)
    };
    match process {
        Some(process) => {
            check_permission(call, &process, info.signal())?;
            deliver(call, &process, info.clone())
        }
        None if ended => Ok(0),
        None => Err(Errno::ESRCH.into()),
    }
}

/// Sends a signal that has to be told of when it is lost.
fn deliver(call: &Call<'_>, process: &Process, info: SigInfo) -> Outcome {
    match signal::send_process(call.uc, process, info) {
        Sent::Full => Err(Errno::EAGAIN.into()),
        Sent::Done | Sent::Nobody => Ok(0),
    }
}

/// The `siginfo_t` of `rt_sigqueueinfo`: what the kernel itself or `kill` would say is not for others to say.
fn queued_info(call: &Call<'_>, signal: u64, address: u64, own: bool) -> Result<SigInfo, Stop> {
    let mut info = SigInfo(call.space().get(address)?);
    info.0[0] = number(signal)?;
    info.0[1..4].fill(0);
    let code = i32::from_le_bytes([info.0[8], info.0[9], info.0[10], info.0[11]]);
    if (code >= 0 || code == -6) && !own {
        return Err(Errno::EPERM.into());
    }
    Ok(info)
}

pub fn rt_sigqueueinfo(call: &Call<'_>) -> Outcome {
    let [pid, signal, info, ..] = call.args;
    let info = queued_info(call, signal, info, pid as u32 == call.process.pid())?;
    to_process(call, pid as u32, &info)
}

pub fn rt_tgsigqueueinfo(call: &Call<'_>) -> Outcome {
    let [group, tid, signal, info, ..] = call.args;
    if group as i32 <= 0 || tid as i32 <= 0 {
        return Err(Errno::EINVAL.into());
    }
    let info = queued_info(call, signal, info, tid as u32 == call.tid)?;
    to_thread(call, Some(group as u32), tid as u32, info)
}

pub fn pause(call: &Call<'_>) -> Outcome {
    call.wait(None)
}

pub fn rt_sigreturn(call: &Call<'_>) -> Outcome {
    if signal::restore(call.process, call.memory, call.index).is_err() {
        signal::bad_frame(call);
    }
    Err(Stop::Replaced)
}

pub fn rt_sigsuspend(call: &Call<'_>) -> Outcome {
    check_size(call.args[1])?;
    if call.waited(|_| ()).is_none() {
        let mask: u64 = call.space().get(call.args[0])?;
        call.thread(|t| {
            let before = core::mem::replace(&mut t.mask, mask & !UNBLOCKABLE);
            t.waiting = Some(crate::state::thread::Waiting {
                restore_mask: Some(before),
                ..Default::default()
            });
        })?;
        signal::take_process_signals(call.process, call.index);
    }
    Err(Stop::Wait)
}

/// `rt_sigtimedwait`: takes a pending signal of a set.
pub fn rt_sigtimedwait(call: &Call<'_>) -> Outcome {
    let [set, info, timeout, size, ..] = call.args;
    check_size(size)?;
    let set: u64 = call.space().get(set)?;
    // The thread's own come first.
    let own = call.thread(|t| pending::take(t, set))?;
    let of_process = || pending::take_of_process(&mut call.process.state.borrow_mut(), set);
    if let Some(found) = own.or_else(of_process) {
        if info != 0 {
            call.space().put(info, found.0)?;
        }
        return Ok(found.signal().into());
    }
    if call.is_late() {
        return Err(Errno::EAGAIN.into());
    }
    let deadline = match call.waited(|w| w.deadline) {
        Some(deadline) => deadline,
        None => super::guest::timespec(call, timeout)?.map(|t| call.uc.now().saturating_add(t)),
    };
    call.wait(deadline)
}

/// `pidfd_send_signal`: as `kill` or `rt_sigqueueinfo`, to the process behind a descriptor or whose folder of /proc it is.
pub fn pidfd_send_signal(call: &Call<'_>) -> Outcome {
    let [_, signal, info, flags, ..] = call.args;
    if flags != 0 {
        return Err(Errno::EINVAL.into());
    }
    let behind = call.objects().process_of(call.fd(0));
    let named = call.objects().process_named_by(call.fd(0));
    let (pid, serial) = match (behind, named) {
        (Ok((pid, serial, _)), _) => (pid, serial),
        (Err(_), Some(pid)) => (pid, super::process::serial_of(call, pid)?),
        (Err(errno), None) => return Err(errno.into()),
    };
    let info = match info {
        0 => sent(call, signal, 0)?,
        info => {
            if call.space().get::<i32>(info)? != signal as i32 {
                return Err(Errno::EINVAL.into());
            }
            queued_info(call, signal, info, pid == call.process.pid())?
        }
    };
    let (process, ended) = {
        let processes = call.uc.processes.borrow();
        let ended = processes.zombies.iter().any(|z| z.serial == serial);
        (processes.by_serial(serial).cloned(), ended)
    };
    match process {
        Some(process) => deliver(call, &process, info),
        None if ended => Ok(0),
        None => Err(Errno::ESRCH.into()),
    }
}
