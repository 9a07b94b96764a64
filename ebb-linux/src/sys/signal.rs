//! `rt_sigaction` and its kin.

use super::{Call, Outcome, Stop};
use crate::object::errno::Errno;
use crate::signal::{self, Action, AltStack, SigInfo, UNBLOCKABLE, bit};

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

pub fn rt_sigaction(call: &Call<'_>) -> Outcome {
    let [signal, new, old, size, ..] = call.args;
    check_size(size)?;
    let signal = number(signal)?;
    let before = call
        .uc
        .process
        .borrow()
        .actions
        .get(signal)
        .ok_or(Errno::EINVAL)?;
    if new != 0 {
        if UNBLOCKABLE & bit(signal) != 0 {
            return Err(Errno::EINVAL.into());
        }
        let [handler, flags, restorer, mask]: [u64; 4] = call.space().get(new)?;
        let mask = mask & !UNBLOCKABLE;
        let action = Action {
            handler,
            flags,
            restorer,
            mask,
        };
        call.uc.process.borrow_mut().actions.set(signal, action);
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
        signal::take_process_signals(call.uc, call.index);
    }
    if old != 0 {
        call.space().put(old, before)?;
    }
    Ok(0)
}

pub fn rt_sigpending(call: &Call<'_>) -> Outcome {
    check_size(call.args[1])?;
    let pending = call.thread(|t| t.pending & t.mask)? | call.uc.process.borrow().pending;
    call.space().put(call.args[0], pending)?;
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
        let stack = match flags & 0x7fff_ffff {
            2 => AltStack::default(),
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
    if group != u64::from(call.uc.process.borrow().pid) {
        return Err(Errno::ESRCH.into());
    }
    send(call, tid, signal)
}

pub fn tkill(call: &Call<'_>) -> Outcome {
    send(call, call.args[0], call.args[1])
}

fn send(call: &Call<'_>, tid: u64, signal: u64) -> Outcome {
    // SI_TKILL
    if signal::send_thread(call.uc, tid as u32, SigInfo::sent(number(signal)?, -6)) {
        Ok(0)
    } else {
        Err(Errno::ESRCH.into())
    }
}

pub fn kill(call: &Call<'_>) -> Outcome {
    let signal = number(call.args[1])?;
    let to = call.args[0] as i32;
    if matches!(to, -1 | 0) || to == call.uc.process.borrow().pid as i32 {
        signal::send_process(call.uc, SigInfo::sent(signal, 0));
        return Ok(0);
    }
    Err(Errno::ESRCH.into())
}

pub fn pause(call: &Call<'_>) -> Outcome {
    call.wait(None)
}

pub fn rt_sigreturn(call: &Call<'_>) -> Outcome {
    if signal::restore(call.uc, call.index).is_err() {
        signal::bad_frame(call.uc, call.index);
    }
    Err(Stop::Replaced)
}

pub fn rt_sigsuspend(call: &Call<'_>) -> Outcome {
    check_size(call.args[1])?;
    if call.waited(|_| ()).is_none() {
        let mask: u64 = call.space().get(call.args[0])?;
        call.thread(|t| {
            let before = core::mem::replace(&mut t.mask, mask & !UNBLOCKABLE);
            t.waiting = Some(crate::thread::Waiting {
                restore_mask: Some(before),
                ..Default::default()
            });
        })?;
        signal::take_process_signals(call.uc, call.index);
    }
    Err(Stop::Wait)
}

/// `rt_sigtimedwait`: takes a pending signal of a set.
pub fn rt_sigtimedwait(call: &Call<'_>) -> Outcome {
    let [set, info, timeout, size, ..] = call.args;
    check_size(size)?;
    let set: u64 = call.space().get(set)?;
    signal::take_process_signals_of(call.uc, call.index, set);
    if let Some(found) = call.thread(|t| signal::take(t, set))? {
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
        None => super::futex::timespec(call, timeout)?.map(|t| call.uc.now().saturating_add(t)),
    };
    call.wait(deadline)
}
