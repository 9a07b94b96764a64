//! What one process may learn and take of another: whether two have something in common (`kcmp`), and a descriptor
//! (`pidfd_getfd`).

use super::remote::may_look_into;
use super::{Call, Outcome, Stop};
use crate::abi::errno::Errno;
use crate::object::id::{DescId, Fd};
use crate::state::process::Process;
use alloc::rc::Rc;

const FILE: u64 = 0;
const VM: u64 = 1;
const FILES: u64 = 2;
const FS: u64 = 3;
const SIGHAND: u64 = 4;
const IO: u64 = 5;
const SYSVSEM: u64 = 6;
const EPOLL_TFD: u64 = 7;

/// The process that a number, of a thread also, is one of; `None` when it has ended and was not waited for.
pub fn process(call: &Call<'_>, number: u64) -> Result<Option<Rc<Process>>, Stop> {
    let number = number as u32;
    let processes = call.uc.processes.borrow();
    let is_it =
        |p: &&Rc<Process>| p.pid() == number || p.threads.borrow().iter().any(|t| t.tid == number);
    match processes.live.iter().find(is_it) {
        Some(found) => Ok(Some(Rc::clone(found))),
        None if processes.zombies.iter().any(|z| z.pid == number) => Ok(None),
        None => Err(Errno::ESRCH.into()),
    }
}

/// The description behind a descriptor of a process.
fn description(call: &Call<'_>, process: &Process, fd: u64) -> Result<DescId, Stop> {
    let fd = Fd::try_from(fd).map_err(|_| Errno::EBADF)?;
    Ok(call.objects().description_of(process.files.get(), fd)?)
}

/// As Linux puts it: the same, the first before the second, or behind it. Which of two comes first stays so while they live.
fn order<T: Ord>(first: T, second: T) -> Outcome {
    Ok(match first.cmp(&second) {
        core::cmp::Ordering::Equal => 0,
        core::cmp::Ordering::Less => 1,
        core::cmp::Ordering::Greater => 2,
    })
}

pub fn kcmp(call: &Call<'_>) -> Outcome {
    let [first, second, kind, one, other, _] = call.args;
    let (first, second) = match (process(call, first)?, process(call, second)?) {
        (Some(first), Some(second)) => (first, second),
        (first, second) => return with_ended(call, first.or(second).as_deref()),
    };
    if !may_look_into(call, &first) || !may_look_into(call, &second) {
        return Err(Errno::EPERM.into());
    }
    match kind as u32 as u64 {
        FILE => order(
            description(call, &first, one)?,
            description(call, &second, other)?,
        ),
        VM => order(
            Rc::as_ptr(&first.memory()).addr(),
            Rc::as_ptr(&second.memory()).addr(),
        ),
        // Working directory and mask are kept with the descriptors.
        FILES | FS => order(first.files.get(), second.files.get()),
        SIGHAND => order(first.serial, second.serial),
        // There are no contexts of input and output, so everybody has the same: none.
        IO => Ok(0),
        // Who owes nothing to semaphores has the same as everybody else who does not.
        SYSVSEM => {
            let ipc = call.uc.ipc.borrow();
            let owes = |p: &Process| ipc.as_ref().is_some_and(|ipc| ipc.owes(p.serial));
            let owing = |p: &Process| owes(p).then_some(p.serial);
            order(owing(&first), owing(&second))
        }
        EPOLL_TFD => {
            let [epoll, fd, nth]: [u32; 3] = call.space().get(other)?;
            let own = description(call, &first, one)?;
            let epoll = description(call, &second, epoll.into())?;
            let watched = call.objects().watched_by(epoll, fd as Fd, nth as usize)?;
            order(own, watched)
        }
        _ => Err(Errno::EINVAL.into()),
    }
}

/// `kcmp` where one process has ended, and the other, if it lives, is `live`: what has ended has nothing any more.
fn with_ended(call: &Call<'_>, live: Option<&Process>) -> Outcome {
    let [_, _, kind, _, other, _] = call.args;
    if live.is_some_and(|live| !may_look_into(call, live)) {
        return Err(Errno::EPERM.into());
    }
    match kind as u32 as u64 {
        FILE => Err(Errno::EBADF.into()),
        VM | FILES | FS | SIGHAND => Ok(if live.is_some() { 2 } else { 0 }),
        IO | SYSVSEM => Ok(0),
        EPOLL_TFD => {
            let _: [u32; 3] = call.space().get(other)?;
            Err(Errno::EBADF.into())
        }
        _ => Err(Errno::EINVAL.into()),
    }
}

/// A copy of another process' descriptor.
pub fn pidfd_getfd(call: &Call<'_>) -> Outcome {
    let [_, fd, flags, ..] = call.args;
    if flags as u32 != 0 {
        return Err(Errno::EINVAL.into());
    }
    let (_, serial, _) = call.objects().process_of(call.fd(0))?;
    let process = {
        let processes = call.uc.processes.borrow();
        let found = processes.by_serial(serial).cloned();
        found.ok_or(Errno::ESRCH)?
    };
    if !may_look_into(call, &process) {
        return Err(Errno::EPERM.into());
    }
    let id = description(call, &process, u64::from(fd as u32))?;
    Ok(call.objects().take_over(id)? as u64)
}
