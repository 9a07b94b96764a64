//! POSIX message queues: moving arguments between guest memory and the objects, and waiting.

use super::guest::timespec;
use super::path::path;
use super::{Call, Outcome, Stop};
use crate::abi::errno::Errno;
use crate::abi::flags::OpenFlags;
use crate::abi::signal::SigInfo;
use crate::object::fd::Fd;
use crate::object::kind::mqueue::{NOTICE_BYTES, Notice, RECEIVERS};
use crate::object::ops::mqueue::Notification;
use crate::object::wait::Events;

/// `SI_MESGQ`.
const SI_MESGQ: i32 = -3;
const SIGEV_SIGNAL: u32 = 0;
const SIGEV_NONE: u32 = 1;
const SIGEV_THREAD: u32 = 2;

pub fn mq_open(call: &Call<'_>) -> Outcome {
    let [name, flags, mode, attributes, ..] = call.args;
    let flags = flags as u32;
    let creates = OpenFlags::from_bits_retain(flags).contains(OpenFlags::CREAT);
    let asked = match attributes {
        0 => None,
        _ if !creates => None,
        at => {
            let [_, most, longest, _]: [i64; 4] = call.space().get(at)?;
            Some((most, longest))
        }
    };
    let name = path(call, name)?;
    let fd = call.on_objects(|o, w| o.mq_open(w, &name, (flags, mode as u32), asked))?;
    Ok(fd as u64)
}

pub fn mq_unlink(call: &Call<'_>) -> Outcome {
    let name = path(call, call.args[0])?;
    call.on_objects(|o, w| o.mq_unlink(w, &name))?;
    Ok(0)
}

/// When the call gives up, on the UC's clock; the argument is a time of the clock of the day.
fn deadline(call: &Call<'_>) -> Result<Option<u64>, Stop> {
    let offset_ns = crate::unix_now().saturating_sub(call.uc.now());
    Ok(timespec(call, call.args[4])?.map(|t| t.saturating_sub(offset_ns)))
}

/// Waits for news of the queue that a call found full or empty.
fn wait(call: &Call<'_>, fd: Fd, events: Events, deadline: Option<u64>) -> Outcome {
    let id = call.held(fd)?;
    if call.is_nonblocking(id) {
        return Err(Errno::EAGAIN.into());
    }
    if deadline.is_some_and(|d| d <= call.uc.now()) {
        return Err(Errno::ETIMEDOUT.into());
    }
    call.wait_for(fd, id, events, deadline)
}

pub fn mq_timedsend(call: &Call<'_>) -> Outcome {
    let [_, message, len, priority, ..] = call.args;
    let deadline = deadline(call)?;
    let priority = u64::from(priority as u32);
    let id = call.held(call.fd(0))?;
    call.objects().mq_check_send(id, len, priority)?;
    let mut bytes = alloc::vec![0; len as usize];
    call.space().read(message, &mut bytes)?;
    if !call.objects().mq_has_room(id)? {
        return wait(call, call.fd(0), Events::FOR_WRITE, deadline);
    }
    let sent = call.on_objects(|o, w| o.mq_send(w, id, bytes, priority as u32))?;
    if let Some(notification) = sent {
        notify(call, notification);
    }
    Ok(0)
}

/// A process hears of a message by a signal.
fn notify(call: &Call<'_>, told: Notification) {
    let target = call.uc.processes.borrow().find(told.pid).cloned();
    let Some(target) = target else { return };
    let uid = super::credentials::of(call).user.real;
    let mut info = SigInfo::new(told.signal, SI_MESGQ);
    info.0[16..20].copy_from_slice(&call.process.pid().to_le_bytes());
    info.0[20..24].copy_from_slice(&uid.to_le_bytes());
    info.0[24..32].copy_from_slice(&told.value.to_le_bytes());
    let _ = crate::signal::send_process(call.uc, &target, info);
}

pub fn mq_timedreceive(call: &Call<'_>) -> Outcome {
    let [_, message, room, priority_at, ..] = call.args;
    let deadline = deadline(call)?;
    let id = call.held(call.fd(0))?;
    let received = call.objects().mq_receive(id, room);
    let (priority, bytes) = match received {
        Err(Errno::EAGAIN) => return wait(call, call.fd(0), RECEIVERS, deadline),
        received => received?,
    };
    if priority_at != 0 {
        call.space().put(priority_at, priority)?;
    }
    call.space().write(message, &bytes)?;
    Ok(bytes.len() as u64)
}

pub fn mq_notify(call: &Call<'_>) -> Outcome {
    let event = call.args[1];
    let notice = match event {
        0 => None,
        at => {
            let [value, how]: [u64; 2] = call.space().get(at)?;
            let (signal, how) = (how as u32, (how >> 32) as u32);
            Some(match how {
                SIGEV_NONE => Notice::Nothing,
                SIGEV_SIGNAL if signal <= 64 => Notice::Signal(signal as u8, value),
                SIGEV_THREAD => {
                    let bytes: [u8; NOTICE_BYTES] = call.space().get(value)?;
                    let objects = call.objects();
                    let socket = objects.lookup_fd(signal as Fd)?;
                    Notice::Socket(objects.socket_of(socket)?, bytes)
                }
                _ => return Err(Errno::EINVAL.into()),
            })
        }
    };
    let id = call.objects().lookup_fd(call.fd(0))?;
    let serial = call.process.serial;
    call.on_objects(|o, w| o.mq_notify(w, id, serial, notice))?;
    Ok(0)
}

pub fn mq_getsetattr(call: &Call<'_>) -> Outcome {
    let [_, new, old, ..] = call.args;
    let set = match new {
        0 => None,
        at => {
            let flags: u64 = call.space().get(at)?;
            let only = u64::from(OpenFlags::NONBLOCK.bits());
            if flags & !only != 0 {
                return Err(Errno::EINVAL.into());
            }
            Some(flags as u32)
        }
    };
    let id = call.objects().lookup_fd(call.fd(0))?;
    let was = call.objects().mq_attributes(id, set)?;
    if old != 0 {
        let words = [i64::from(was.flags), was.most, was.longest, was.count];
        call.space().put(old, words)?;
    }
    Ok(0)
}
