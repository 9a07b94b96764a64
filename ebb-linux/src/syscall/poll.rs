//! `epoll`, `poll` and `select`.

use super::guest::timespec;
use super::{Call, Outcome, Stop};
use crate::abi::errno::Errno;
use crate::abi::signal::UNBLOCKABLE;
use crate::object::epoll::{Control, EpollEvent, MAX_EVENTS};
use crate::object::fd::Fd;
use crate::object::poll::{PollFd, SELECT_SETS};
use crate::object::wait::Events;
use crate::state::thread::{Remainder, Thread, Waiting};
use alloc::vec::Vec;
use ebb_mem::space::GUEST_END;

pub fn epoll_create1(call: &Call<'_>) -> Outcome {
    Ok(call.on_objects(|o, _| o.epoll_create(call.args[0] as u32))? as u64)
}

pub fn epoll_create(call: &Call<'_>) -> Outcome {
    if call.args[0] as i32 <= 0 {
        return Err(Errno::EINVAL.into());
    }
    Ok(call.on_objects(|o, _| o.epoll_create(0))? as u64)
}

pub fn epoll_ctl(call: &Call<'_>) -> Outcome {
    let [_, op, _, event, ..] = call.args;
    let get =
        || -> Result<EpollEvent, Stop> { Ok(EpollEvent::from_bytes(call.space().get(event)?)) };
    let control = match op as u32 {
        1 => Control::Add(get()?),
        2 => Control::Delete,
        3 => Control::Modify(get()?),
        _ => {
            get()?;
            Control::Unknown
        }
    };
    call.on_objects(|o, w| o.epoll_ctl(w, call.fd(0), call.fd(2), control))?;
    Ok(0)
}

/// Puts the mask that a call asks for in place of the thread's; it is put back when the call ends.
fn set_mask(call: &Call<'_>, address: u64, size: u64) -> Result<(), Stop> {
    if address == 0 || call.waited(|_| ()).is_some() {
        return Ok(());
    }
    if size != 8 {
        return Err(Errno::EINVAL.into());
    }
    let mask: u64 = call.space().get(address)?;
    call.thread(|t| {
        let before = core::mem::replace(&mut t.mask, mask & !UNBLOCKABLE);
        t.waiting = Some(Waiting {
            restore_mask: Some(before),
            ..Waiting::default()
        });
    })?;
    crate::signal::take_process_signals(call.process, call.index);
    Ok(())
}

/// The deadline of a call: as it was when the call began, if it has waited.
fn deadline(call: &Call<'_>, timeout: Option<u64>) -> Option<u64> {
    let begun = || call.waited(|w| w.begun.then_some(w.deadline)).flatten();
    match (!call.first).then(begun).flatten() {
        Some(deadline) => deadline,
        None => timeout.map(|t| call.uc.now().saturating_add(t)),
    }
}

/// Remembers the deadline; the registration has been made.
fn wait_until(call: &Call<'_>, deadline: Option<u64>) -> Outcome {
    call.thread(|t| begin_to_wait(t, deadline))?;
    Err(Stop::Wait)
}

fn begin_to_wait(thread: &mut Thread, deadline: Option<u64>) {
    let waiting = thread.waiting.get_or_insert_with(Waiting::default);
    waiting.deadline = deadline;
    waiting.begun = true;
}

/// Makes a call that tells what is left of its time limit, however it ends; `make` is given the limit's deadline.
fn with_remainder(
    call: &Call<'_>,
    remainder: Remainder,
    timeout: Option<u64>,
    make: impl FnOnce(Option<u64>) -> Outcome,
) -> Outcome {
    let deadline = deadline(call, timeout);
    let outcome = make(deadline);
    let (Remainder::Timespec(at) | Remainder::Timeval(at)) = remainder;
    if at == 0 {
        return outcome;
    }
    match outcome {
        Err(Stop::Wait) => {
            call.waited(|w| w.remainder = Some(remainder));
        }
        // As on Linux the result counts even where the time cannot be told.
        Ok(_) => drop(deadline.map(|d| call.put_remainder(remainder, d))),
        Err(_) => {}
    }
    outcome
}

fn milliseconds(timeout: u64) -> Option<u64> {
    u64::try_from(timeout as i32).ok().map(|t| t * 1_000_000)
}

/// Whether events can lie there at all: told even when there are none.
fn check_room(out: u64, max: i32) -> Result<(), Errno> {
    let max = match max {
        1..=MAX_EVENTS => max as u64,
        _ => return Err(Errno::EINVAL),
    };
    let end = out.checked_add(max * EpollEvent::SIZE as u64);
    match end.is_some_and(|end| end <= GUEST_END) {
        true => Ok(()),
        false => Err(Errno::EFAULT),
    }
}

fn epoll(call: &Call<'_>, timeout: Option<u64>) -> Outcome {
    let [_, out, max, ..] = call.args;
    let max = max as i32;
    check_room(out, max)?;
    let deadline = deadline(call, timeout);
    let mut events = call.uc.reported.borrow_mut();
    events.clear();
    let mut objects = call.objects();
    if let Some(queue) = objects.epoll_try(&call.world(), call.fd(0), max, &mut events)? {
        if timeout == Some(0) || deadline.is_some_and(|d| d <= call.uc.now()) {
            return Ok(0);
        }
        call.thread(|t| {
            objects.register_queue(queue, Events::IN, &mut t.registration, call.waker);
            begin_to_wait(t, deadline);
        })?;
        return Err(Stop::Wait);
    }
    drop(objects);
    match events.as_slice() {
        [event] => call.space().put(out, event.to_bytes())?,
        events => {
            let mut bytes = Vec::with_capacity(events.len() * EpollEvent::SIZE);
            for event in events {
                bytes.extend_from_slice(&event.to_bytes());
            }
            call.space().write(out, &bytes)?;
        }
    }
    Ok(events.len() as u64)
}

pub fn epoll_wait(call: &Call<'_>) -> Outcome {
    epoll(call, milliseconds(call.args[3]))
}

pub fn epoll_pwait(call: &Call<'_>) -> Outcome {
    set_mask(call, call.args[4], call.args[5])?;
    epoll(call, milliseconds(call.args[3]))
}

pub fn epoll_pwait2(call: &Call<'_>) -> Outcome {
    set_mask(call, call.args[4], call.args[5])?;
    let timeout = timespec(call, call.args[3])?;
    epoll(call, timeout)
}

fn poll_list(call: &Call<'_>, deadline: Option<u64>) -> Outcome {
    let [address, count, ..] = call.args;
    let count = count as u32 as usize;
    if count > call.objects().files.fds.limit() as usize {
        return Err(Errno::EINVAL.into());
    }
    let raw: Vec<[u8; 8]> = call.space().get_array(address, count)?;
    let mut list: Vec<PollFd> = raw.into_iter().map(PollFd::from_bytes).collect();
    let ready = call.on_objects(|o, w| o.poll_list(w, &mut list))?;
    if ready > 0 || deadline.is_some_and(|d| d <= call.uc.now()) {
        let mut space = call.space();
        for (i, entry) in list.iter().enumerate() {
            space.put(address + i as u64 * 8, entry.to_bytes())?;
        }
        return Ok(ready as u64);
    }
    let mut objects = call.objects();
    let fds = list
        .iter()
        .filter(|e| e.fd >= 0)
        .map(|e| (e.fd, Events::from_bits_retain(e.events.into())));
    call.thread(|t| objects.register_fds(fds, &mut t.registration, call.waker))?;
    drop(objects);
    wait_until(call, deadline)
}

pub fn poll(call: &Call<'_>) -> Outcome {
    poll_list(call, deadline(call, milliseconds(call.args[2])))
}

pub fn ppoll(call: &Call<'_>) -> Outcome {
    set_mask(call, call.args[3], call.args[4])?;
    let timeout = timespec(call, call.args[2])?;
    let remainder = Remainder::Timespec(call.args[2]);
    with_remainder(call, remainder, timeout, |d| poll_list(call, d))
}

fn select_sets(call: &Call<'_>, deadline: Option<u64>) -> Outcome {
    let count = call.args[0] as i32;
    if count < 0 {
        return Err(Errno::EINVAL.into());
    }
    let count = (count as usize).min(call.objects().files.fds.size());
    let words = count.div_ceil(64);
    let mut sets: [Option<Vec<u64>>; 3] = [None, None, None];
    for (set, address) in sets.iter_mut().zip(&call.args[1..4]) {
        if *address != 0 {
            *set = Some(call.space().get_array(*address, words)?);
        }
    }
    let asked = sets.clone();
    let ready = call.on_objects(|o, w| o.select_sets(w, count, &mut sets))?;
    if ready > 0 || deadline.is_some_and(|d| d <= call.uc.now()) {
        let mut space = call.space();
        for (set, address) in sets.iter().zip(&call.args[1..4]) {
            for (i, word) in set.iter().flatten().enumerate() {
                space.put(address + i as u64 * 8, *word)?;
            }
        }
        return Ok(ready as u64);
    }
    let mut fds: Vec<(Fd, Events)> = Vec::new();
    for fd in 0..count {
        let wanted = |set: &Option<Vec<u64>>| {
            set.as_ref()
                .is_some_and(|s| s[fd / 64] >> (fd % 64) & 1 != 0)
        };
        let events = asked
            .iter()
            .zip(SELECT_SETS)
            .filter(|(s, _)| wanted(s))
            .fold(Events::empty(), |all, (_, e)| all | e);
        if !events.is_empty() {
            fds.push((fd as Fd, events));
        }
    }
    let mut objects = call.objects();
    call.thread(|t| objects.register_fds(fds.into_iter(), &mut t.registration, call.waker))?;
    drop(objects);
    wait_until(call, deadline)
}

pub fn select(call: &Call<'_>) -> Outcome {
    let timeout = match call.args[4] {
        0 => None,
        at => {
            let [seconds, micros]: [i64; 2] = call.space().get(at)?;
            if seconds < 0 || micros < 0 {
                return Err(Errno::EINVAL.into());
            }
            Some(
                (seconds as u64)
                    .saturating_mul(1_000_000_000)
                    .saturating_add((micros as u64).saturating_mul(1000)),
            )
        }
    };
    let remainder = Remainder::Timeval(call.args[4]);
    with_remainder(call, remainder, timeout, |d| select_sets(call, d))
}

pub fn pselect6(call: &Call<'_>) -> Outcome {
    if call.args[5] != 0 {
        let [mask, size]: [u64; 2] = call.space().get(call.args[5])?;
        set_mask(call, mask, size)?;
    }
    let timeout = timespec(call, call.args[4])?;
    let remainder = Remainder::Timespec(call.args[4]);
    with_remainder(call, remainder, timeout, |d| select_sets(call, d))
}
