//! Descriptors: reading, writing and duplicating them.

use super::counted;
use super::guest::{END, give_pair, iovec, length, may_be_mapped};
use super::refused::{broken_pipe, too_big};
use super::socket::receive_rest;
use super::{Call, Outcome, Stop};
use crate::abi::errno::Errno;
use crate::abi::flags::OpenFlags;
use crate::object::Objects;
use crate::object::description::{DescId, Object};
use crate::object::fd::{Fcntl, Fd};
use crate::object::lock::Flock;
use crate::object::record::{FileLock, Request};
use crate::object::socket::message::MessageFlags;
use crate::object::table::Owner;
use crate::object::timerfd::TimerSpec;
use crate::object::transfer::Whence;
use crate::object::vfs::Entries;
use crate::object::wait::Events;
use crate::state::thread::Work;
use crate::uc::user_bytes::UserBytes;

/// The most bytes that a transfer moves at once to or from what never lets it wait: about a millisecond's worth.
pub(super) const COPY: usize = 512 << 10;
/// Where a range of so many may begin without a look at its end.
const SAFE_START: u64 = END - COPY as u64;

pub(super) fn sum(parts: &[(u64, usize)]) -> usize {
    parts.iter().map(|p| p.1).sum()
}

/// Goes on with a transfer that has moved `done` bytes after others have run, if `last` bytes of the descriptor's were as
/// many as one part may have; else that was all of it.
pub(super) fn next_part_of(
    call: &Call<'_>,
    fd: Fd,
    id: DescId,
    last: usize,
    done: usize,
) -> Outcome {
    if last < COPY || !call.objects().moves_at_once(id) {
        return Ok(done as u64);
    }
    call.keep_open(fd)?;
    let outcome = call.next_part(Work::default());
    call.waited(|w| w.progress = done);
    outcome
}

/// One try of a transfer, and waiting if it has to.
pub(super) fn read_parts(call: &Call<'_>, parts: &[(u64, usize)]) -> Outcome {
    let fd = call.fd(0);
    let id = call.held(fd)?;
    if call.objects().more_wanted(id) > 0 {
        let done = call.waited(|w| w.progress).unwrap_or(0);
        return read_enough(call, parts, done);
    }
    let total = sum(parts);
    let done = if total <= COPY {
        0
    } else {
        call.waited(|w| w.progress).unwrap_or(0)
    };
    let mut sink = UserBytes::new(call.memory, parts, done).first(COPY);
    let result = call.objects().read_desc(&call.world(), id, &mut sink);
    match result {
        Ok(n) if done + n < total => next_part_of(call, fd, id, n, done + n),
        Ok(n) => Ok((done + n) as u64),
        Err(_) if done > 0 => Ok(done as u64),
        Err(Errno::EAGAIN) => wait_to_read(call, fd, id),
        Err(errno) => Err(errno.into()),
    }
}

/// Reads a stream until there is as much as `SO_RCVLOWAT` says.
fn read_enough(call: &Call<'_>, parts: &[(u64, usize)], done: usize) -> Outcome {
    let received = receive_rest(call, parts, done, 0, MessageFlags::empty())?;
    Ok(received.len as u64)
}

/// There is nothing yet.
fn wait_to_read(call: &Call<'_>, fd: Fd, id: DescId) -> Outcome {
    match call.is_nonblocking(id) {
        true => Err(Errno::EAGAIN.into()),
        false => call.wait_for_transfer(fd, id, Events::FOR_READ),
    }
}

pub(super) fn write_parts(call: &Call<'_>, parts: &[(u64, usize)]) -> Outcome {
    let id = call.held(call.fd(0))?;
    let progress = || call.waited(|w| w.progress);
    let done = (!call.first).then(progress).flatten().unwrap_or(0);
    let mut source = UserBytes::new(call.memory, parts, done).first(COPY);
    let result = call.objects().write_desc(&call.world(), id, &mut source);
    go_on_writing(call, id, parts, done, result)
}

/// Goes on with a write that had moved `done` bytes before the try with this result.
fn go_on_writing(
    call: &Call<'_>,
    id: DescId,
    parts: &[(u64, usize)],
    mut done: usize,
    mut result: Result<usize, Errno>,
) -> Outcome {
    let fd = call.fd(0);
    let total = sum(parts);
    loop {
        match result {
            Ok(n) => {
                done += n;
                if call.objects().is_channel(id) {
                    call.uc.flush_console();
                }
                if n == 0 || done >= total {
                    return Ok(done as u64);
                }
                if n == COPY && call.objects().moves_at_once(id) {
                    return next_part_of(call, fd, id, n, done);
                }
                if call.is_nonblocking(id) || !call.objects().writes_all(id) {
                    return Ok(done as u64);
                }
            }
            Err(Errno::EAGAIN) if !call.is_nonblocking(id) => {
                let outcome = call.wait_for_transfer(fd, id, Events::FOR_WRITE);
                if outcome == Err(Stop::Error(Errno::EAGAIN)) && done > 0 {
                    return Ok(done as u64);
                }
                call.waited(|w| w.progress = done);
                return outcome;
            }
            Err(_) if done > 0 => return Ok(done as u64),
            Err(Errno::EPIPE) => {
                broken_pipe(call, id);
                return Err(Errno::EPIPE.into());
            }
            Err(Errno::EFBIG) => return Err(too_big(call)),
            Err(errno) => return Err(errno.into()),
        }
        let mut source = UserBytes::new(call.memory, parts, done).first(COPY);
        result = call.objects().write_desc(&call.world(), id, &mut source);
    }
}

/// What is wrong with a descriptor is told before what is wrong with a range, but not that it is a directory.
fn beyond<T>(nothing: Outcome) -> Result<T, Stop> {
    match nothing {
        Ok(_) | Err(Stop::Error(Errno::EISDIR)) => Err(Errno::EFAULT.into()),
        Err(stop) => Err(stop),
    }
}

/// The range of a call that moves nothing, and says what is wrong with its descriptor, when that reaches too far.
pub(super) fn one(
    call: &Call<'_>,
    nothing: impl FnOnce() -> Outcome,
) -> Result<[(u64, usize); 1], Stop> {
    let [_, at, len, ..] = call.args;
    match may_be_mapped(at, len) {
        true => Ok([(at, length(len))]),
        false => beyond(nothing()),
    }
}

/// The range, if it is short and does not come near the end of what programs have.
#[inline]
pub(super) fn short(call: &Call<'_>) -> Option<(u64, usize)> {
    let [_, at, len, ..] = call.args;
    (len <= COPY as u64 && at <= SAFE_START).then_some((at, len as usize))
}

pub fn read(call: &Call<'_>) -> Outcome {
    if call.first
        && let Some((at, len)) = short(call)
    {
        // The first try of a short one, which mostly is the last.
        let mut sink = UserBytes::one(call.memory, at, len);
        let mut objects = call.objects();
        let id = objects.lookup_fd(call.fd(0))?;
        match objects.read_desc(&call.world(), id, &mut sink) {
            Ok(n) if n > 0 && n < len && objects.more_wanted(id) >= n => {
                drop(objects);
                return counted::reading(call, read_enough(call, &[(at, len)], n));
            }
            Ok(n) => return counted::has_read(call, n),
            Err(Errno::EAGAIN) => {
                drop(objects);
                return counted::reading(call, wait_to_read(call, call.fd(0), id));
            }
            Err(errno) => return Err(errno.into()),
        }
    }
    let parts = one(call, || move_nothing(call, OpenFlags::readable))?;
    counted::reading(call, read_parts(call, &parts))
}

pub fn write(call: &Call<'_>) -> Outcome {
    let short = short(call).filter(|_| call.first);
    let Some((at, len)) = short else {
        let parts = one(call, || move_nothing(call, OpenFlags::writable))?;
        return counted::writing(call, write_parts(call, &parts));
    };
    // As in `read`.
    let mut source = UserBytes::one(call.memory, at, len);
    let mut objects = call.objects();
    let id = objects.lookup_fd(call.fd(0))?;
    match objects.write_desc(&call.world(), id, &mut source) {
        Ok(n) if n == len && !objects.is_channel(id) => counted::has_written(call, n),
        result => {
            drop(objects);
            counted::writing(call, go_on_writing(call, id, &[(at, len)], 0, result))
        }
    }
}

/// A vector without parts: the descriptor is not asked.
pub(super) fn move_nothing(call: &Call<'_>, may: impl Fn(OpenFlags) -> bool) -> Outcome {
    let objects = call.objects();
    let description = objects.description(objects.lookup_fd(call.fd(0))?)?;
    match description.object {
        Object::Path => Err(Errno::EBADF.into()),
        _ if !may(description.flags) => Err(Errno::EBADF.into()),
        // The kinds that can neither be read nor written.
        Object::Epoll(_) | Object::Process(_) if description.flags.readable() => {
            Err(Errno::EINVAL.into())
        }
        // Those that can only be read: of the two directions this is the one that they lack.
        Object::TimerFd(_) | Object::SignalFd(_)
            if may(OpenFlags::WRONLY) && !may(OpenFlags::empty()) =>
        {
            Err(Errno::EINVAL.into())
        }
        _ => Ok(0),
    }
}

/// `readv` of parts with bytes among them. What tells of events in records fills the parts one by one, as if each were a
/// call of its own: none of them holds a record of which another has the rest.
pub(super) fn read_vector(call: &Call<'_>, parts: &[(u64, usize)]) -> Outcome {
    if parts.len() == 1 {
        return read_parts(call, parts);
    }
    let id = call.held(call.fd(0))?;
    if !matches!(call.objects().description(id)?.object, Object::Inotify(_)) {
        return read_parts(call, parts);
    }
    one_by_one(parts, |part, first| match first {
        true => read_parts(call, part),
        false => {
            let mut sink = UserBytes::new(call.memory, part, 0);
            let read = call.objects().read_desc(&call.world(), id, &mut sink);
            Ok(read? as u64)
        }
    })
}

/// The same of `writev`, for what takes one number at a time.
pub(super) fn write_vector(call: &Call<'_>, parts: &[(u64, usize)]) -> Outcome {
    if parts.len() == 1 {
        return write_parts(call, parts);
    }
    let id = call.held(call.fd(0))?;
    if !matches!(call.objects().description(id)?.object, Object::EventFd(_)) {
        return write_parts(call, parts);
    }
    one_by_one(parts, |part, first| match first {
        true => write_parts(call, part),
        false => {
            let mut source = UserBytes::new(call.memory, part, 0);
            let written = call.objects().write_desc(&call.world(), id, &mut source);
            Ok(written? as u64)
        }
    })
}

/// Moves parts until one is not moved whole. The first may wait; what follows it is better than nothing.
fn one_by_one(
    parts: &[(u64, usize)],
    mut step: impl FnMut(&[(u64, usize)], bool) -> Outcome,
) -> Outcome {
    let mut done = 0;
    let last = parts.iter().rposition(|part| part.1 > 0).unwrap_or(0);
    for (index, part) in parts[..=last].iter().enumerate() {
        // Only in front is a part of nothing asked for.
        if done > 0 && part.1 == 0 {
            continue;
        }
        match step(core::slice::from_ref(part), index == 0) {
            Ok(n) => done += n,
            Err(stop) if done == 0 => return Err(stop),
            Err(_) => return Ok(done),
        }
        if done as usize != sum(&parts[..=index]) {
            break;
        }
    }
    Ok(done)
}

pub fn readv(call: &Call<'_>) -> Outcome {
    let parts = iovec(call, call.args[1], call.args[2]);
    let parts = parts.or_else(|wrong| move_nothing(call, OpenFlags::readable).and(Err(wrong)))?;
    let outcome = match sum(&parts) == 0 {
        true => move_nothing(call, OpenFlags::readable),
        false => read_vector(call, &parts),
    };
    counted::reading(call, outcome)
}

pub fn writev(call: &Call<'_>) -> Outcome {
    let parts = iovec(call, call.args[1], call.args[2]);
    let parts = parts.or_else(|wrong| move_nothing(call, OpenFlags::writable).and(Err(wrong)))?;
    let outcome = match sum(&parts) == 0 {
        true => move_nothing(call, OpenFlags::writable),
        false => write_vector(call, &parts),
    };
    counted::writing(call, outcome)
}

pub fn lseek(call: &Call<'_>) -> Outcome {
    let Some(whence) = Whence::from_number(call.args[2] as u32) else {
        // A wrong descriptor is told first.
        move_nothing(call, |_| true)?;
        return Err(Errno::EINVAL.into());
    };
    call.on_objects(|o, _| o.seek(call.fd(0), call.args[1] as i64, whence))
}

pub fn close(call: &Call<'_>) -> Outcome {
    if !call.first {
        return super::socket::linger(call);
    }
    let mut objects = call.objects();
    let before = objects.closed_network();
    objects.close(call.fd(0))?;
    match objects.take_lingering(before) {
        None => Ok(0),
        Some((net, seconds)) => {
            drop(objects);
            super::socket::begin_to_linger(call, net, seconds)
        }
    }
}

pub fn close_range(call: &Call<'_>) -> Outcome {
    // CLOSE_RANGE_UNSHARE, CLOSE_RANGE_CLOEXEC
    if call.args[2] & !6 != 0 || call.args[0] as u32 > call.args[1] as u32 {
        return Err(Errno::EINVAL.into());
    }
    if call.args[2] & 2 != 0 {
        let files = call.objects().unshare_files(call.process.files.get());
        call.process.files.set(files);
    }
    call.on_objects(|o, _| {
        o.close_range(
            call.args[0] as u32,
            call.args[1] as u32,
            call.args[2] & 4 != 0,
        )
    })?;
    Ok(0)
}

pub fn dup(call: &Call<'_>) -> Outcome {
    Ok(call.on_objects(|o, _| o.dup(call.fd(0)))? as u64)
}

pub fn dup2(call: &Call<'_>) -> Outcome {
    Ok(call.on_objects(|o, _| o.dup2(call.fd(0), call.fd(1)))? as u64)
}

pub fn dup3(call: &Call<'_>) -> Outcome {
    Ok(call.on_objects(|o, _| o.dup3(call.fd(0), call.fd(1), call.args[2] as u32))? as u64)
}

/// `F_GETOWNER_UIDS`: as whom signals about a descriptor are sent.
const GETOWNER_UIDS: u32 = 17;
/// `F_GET_RW_HINT` and `F_SET_RW_HINT`: how long what is written is said to live.
const GET_RW_HINT: u32 = 1035;
const SET_RW_HINT: u32 = 1036;

pub fn fcntl(call: &Call<'_>) -> Outcome {
    let [_, command, argument, ..] = call.args;
    // All but F_DUPFD, F_GETFD, F_SETFD, F_GETFL and F_DUPFD_CLOEXEC are for what is more than a place.
    if !matches!(command as u32, 0..=3 | 1030) {
        call.objects().check_usable(call.fd(0))?;
    }
    match command as u32 {
        // F_GETLK, F_OFD_GETLK
        5 | 36 => get_record(call, argument, command == 36),
        // F_SETLK, F_OFD_SETLK, and F_SETLKW, F_OFD_SETLKW, which wait.
        6 | 37 => set_record(call, argument, command == 37, false),
        7 | 38 => set_record(call, argument, command == 38, true),
        // F_SETOWN, F_GETOWN, F_SETOWN_EX, F_GETOWN_EX
        8 => set_owner_number(call, argument as i32),
        9 => Ok(i64::from(owner_number(call)?) as u64),
        15 => {
            let [kind, id]: [u32; 2] = call.space().get(argument)?;
            match (kind, id) {
                (0..=2, 0) => set_owner(call, Owner::Nobody),
                (0, id) => set_owner(call, Owner::Thread(id)),
                (1, id) => set_owner(call, Owner::Process(id)),
                (2, id) => set_owner(call, Owner::Group(id)),
                _ => Err(Errno::EINVAL.into()),
            }
        }
        16 => {
            let owner = match call.objects().owner(call.fd(0))? {
                Owner::Nobody => [0, 0],
                Owner::Thread(id) => [0, id],
                Owner::Process(id) => [1, id],
                Owner::Group(id) => [2, id],
            };
            call.space().put(argument, owner)?;
            Ok(0)
        }
        GETOWNER_UIDS => {
            let users = call.objects().owner_users(call.fd(0))?;
            call.space().put(argument, users)?;
            Ok(0)
        }
        GET_RW_HINT => {
            let id = call.objects().lookup_fd(call.fd(0))?;
            let hint = call.objects().write_hint(id)?;
            call.space().put(argument, u64::from(hint))?;
            Ok(0)
        }
        SET_RW_HINT => {
            let id = call.objects().lookup_fd(call.fd(0))?;
            let hint: u64 = call.space().get(argument)?;
            call.on_objects(|o, w| o.set_write_hint(w, id, hint))?;
            Ok(0)
        }
        command => {
            call.objects().lookup_fd(call.fd(0))?;
            let command = Fcntl::from_numbers(command, argument).ok_or(Errno::EINVAL)?;
            if matches!(command, Fcntl::SetFl(flags) if flags & OpenFlags::ASYNC.bits() != 0) {
                crate::signal::ready::start(call.uc);
            }
            Ok(call
                .on_objects(|o, w| o.fcntl(w, call.fd(0), command))?
                .into())
        }
    }
}

/// The same by a number: a process', or a group's below 0.
pub fn set_owner_number(call: &Call<'_>, number: i32) -> Outcome {
    match number {
        0 => set_owner(call, Owner::Nobody),
        i32::MIN => Err(Errno::EINVAL.into()),
        group @ ..0 => set_owner(call, Owner::Group(group.unsigned_abs())),
        pid => set_owner(call, Owner::Process(pid as u32)),
    }
}

pub fn owner_number(call: &Call<'_>) -> Result<i32, Stop> {
    Ok(match call.objects().owner(call.fd(0))? {
        Owner::Nobody => 0,
        Owner::Thread(id) | Owner::Process(id) => id as i32,
        Owner::Group(id) => -(id as i32),
    })
}

/// Makes somebody who exists the one to whom signals about a descriptor go.
fn set_owner(call: &Call<'_>, owner: Owner) -> Outcome {
    call.objects().check_usable(call.fd(0))?;
    let exists = {
        let processes = call.uc.processes.borrow();
        let mut live = processes.live.iter();
        match owner {
            Owner::Nobody => true,
            Owner::Process(pid) => live.any(|p| p.pid() == pid),
            Owner::Group(group) => live.any(|p| p.state.borrow().group == group),
            Owner::Thread(tid) => live.any(|p| p.threads.borrow().iter().any(|t| t.tid == tid)),
        }
    };
    if !exists {
        return Err(Errno::ESRCH.into());
    }
    call.on_objects(|o, w| o.set_owner(w, call.fd(0), owner))?;
    Ok(0)
}

/// What a record lock's `fcntl` asks for.
fn record_request(
    call: &Call<'_>,
    id: DescId,
    at: u64,
    of_description: bool,
) -> Result<Request, Stop> {
    let bytes: [u8; FileLock::SIZE] = call.space().get(at)?;
    let lock = FileLock::from_bytes(&bytes);
    let pid = call.process.pid();
    Ok(call
        .objects()
        .record_request(id, lock, pid, of_description)?)
}

fn get_record(call: &Call<'_>, at: u64, of_description: bool) -> Outcome {
    let id = call.objects().lookup_fd(call.fd(0))?;
    let request = record_request(call, id, at, of_description)?;
    let found = call.objects().find_record(&request)?;
    match found {
        Some(lock) => {
            let mut bytes: [u8; FileLock::SIZE] = call.space().get(at)?;
            lock.to_bytes(&mut bytes);
            call.space().put(at, bytes)?;
        }
        None => call.space().put(at, 2u16)?,
    }
    Ok(0)
}

fn set_record(call: &Call<'_>, at: u64, of_description: bool, waits: bool) -> Outcome {
    let fd = call.fd(0);
    let id = call.held(fd)?;
    let request = record_request(call, id, at, of_description)?;
    let result = call.objects().set_record(id, &request);
    match result {
        Ok(()) => {
            let waited = call.waited(|w| w.held.is_some()) == Some(true);
            if waited && call.objects().lookup_fd(fd) != Ok(id) {
                // Closed meanwhile, and the process's locks with it.
                call.objects().unlock_record(id, &request)?;
                return Err(Errno::EBADF.into());
            }
            Ok(0)
        }
        Err(Errno::EAGAIN) if waits => {
            let before = call.waited(|w| w.rare().record).flatten();
            let wait = call.objects().wait_for_record(before, &request)?;
            let outcome = wait_for_lock(call, fd);
            call.waited(|w| w.rare_mut().record = Some(wait));
            outcome
        }
        Err(errno) => Err(errno.into()),
    }
}

/// Waits until somebody lets go of a lock.
fn wait_for_lock(call: &Call<'_>, fd: Fd) -> Outcome {
    call.keep_open(fd)?;
    let mut objects = call.objects();
    let queue = objects.lock_queue();
    call.thread(|t| {
        objects.register_queue(queue, Events::all(), &mut t.registration, call.waker);
    })?;
    Err(Stop::Wait)
}

/// Mandatory locks, which Linux says nothing against and has no more.
const LOCK_MAND: u32 = 32;

pub fn flock(call: &Call<'_>) -> Outcome {
    let operation = call.args[1] as u32;
    let id = call.held(call.fd(0))?;
    if operation & LOCK_MAND != 0 {
        return Ok(0);
    }
    let flock = Flock::from_number(operation).ok_or(Errno::EINVAL)?;
    let result = call.objects().flock(&call.world(), id, flock);
    match result {
        Ok(()) => Ok(0),
        Err(Errno::EAGAIN) if operation & 4 == 0 => wait_for_lock(call, call.fd(0)),
        Err(errno) => Err(errno.into()),
    }
}

pub fn pipe2(call: &Call<'_>) -> Outcome {
    pipe_with(call, call.args[1] as u32)
}

fn pipe_with(call: &Call<'_>, flags: u32) -> Outcome {
    let (input, output) = call.on_objects(|o, w| {
        let ends = o.pipe(flags)?;
        o.own_pipe(w, ends.0).map(|()| ends)
    })?;
    give_pair(call, call.args[0], input, output)
}

pub fn pipe(call: &Call<'_>) -> Outcome {
    pipe_with(call, 0)
}

pub fn eventfd2(call: &Call<'_>) -> Outcome {
    Ok(call.on_objects(|o, _| o.eventfd(call.args[0] as u32, call.args[1] as u32))? as u64)
}

pub fn eventfd(call: &Call<'_>) -> Outcome {
    Ok(call.on_objects(|o, _| o.eventfd(call.args[0] as u32, 0))? as u64)
}

pub fn timerfd_create(call: &Call<'_>) -> Outcome {
    Ok(call.on_objects(|o, _| o.timerfd(call.args[0] as i32, call.args[1] as u32))? as u64)
}

pub fn timerfd_settime(call: &Call<'_>) -> Outcome {
    let [_, flags, new, old, ..] = call.args;
    let bytes: [u8; 32] = call.space().get(new)?;
    let spec = TimerSpec::from_bytes(&bytes)?;
    let before = call.on_objects(|o, w| o.timerfd_set(w, call.fd(0), flags as u32, spec))?;
    call.uc.timers_changed();
    if old != 0 {
        call.space().put(old, before.to_bytes())?;
    }
    Ok(0)
}

pub fn timerfd_gettime(call: &Call<'_>) -> Outcome {
    let spec = call.on_objects(|o, w| o.timerfd_get(w, call.fd(0)))?;
    call.space().put(call.args[1], spec.to_bytes())?;
    Ok(0)
}

pub fn signalfd(call: &Call<'_>) -> Outcome {
    make_signalfd(call, 0)
}

pub fn signalfd4(call: &Call<'_>) -> Outcome {
    make_signalfd(call, call.args[3] as u32)
}

fn make_signalfd(call: &Call<'_>, flags: u32) -> Outcome {
    let [_, mask, size, ..] = call.args;
    if size != 8 {
        return Err(Errno::EINVAL.into());
    }
    let mask: u64 = call.space().get(mask)?;
    Ok(call.on_objects(|o, _| o.signalfd(call.fd(0), mask, flags))? as u64)
}

pub fn memfd_create(call: &Call<'_>) -> Outcome {
    Objects::check_memfd(call.args[1] as u32)?;
    let name = super::path::path(call, call.args[0])?;
    Ok(call.on_objects(|o, w| o.memfd(w, &name, call.args[1] as u32))? as u64)
}

pub fn ftruncate(call: &Call<'_>) -> Outcome {
    match call.on_objects(|o, w| o.ftruncate(w, call.fd(0), call.args[1] as i64)) {
        Err(Stop::Error(Errno::EFBIG)) => Err(too_big(call)),
        other => other.map(|()| 0),
    }
}

pub fn fallocate(call: &Call<'_>) -> Outcome {
    let [_, mode, start, len, ..] = call.args;
    call.on_objects(|o, w| o.fallocate(w, call.fd(0), mode as u32, start as i64, len as i64))?;
    Ok(0)
}

/// `fsync` and `fdatasync`: what is written is where it stays.
pub fn fsync(call: &Call<'_>) -> Outcome {
    call.objects().check_sync(call.fd(0))?;
    Ok(0)
}

pub fn syncfs(call: &Call<'_>) -> Outcome {
    call.objects().check_usable(call.fd(0))?;
    Ok(0)
}

pub fn sync_file_range(call: &Call<'_>) -> Outcome {
    let [_, offset, len, flags, ..] = call.args;
    let object = call.objects().check_usable(call.fd(0))?;
    let (offset, len) = (offset as i64, len as i64);
    if flags & !7 != 0 || offset < 0 || len < 0 || offset.checked_add(len).is_none() {
        return Err(Errno::EINVAL.into());
    }
    match object {
        Object::File | Object::Dir | Object::Text => Ok(0),
        _ => Err(Errno::ESPIPE.into()),
    }
}

/// `readahead`: everything is in memory already.
pub fn readahead(call: &Call<'_>) -> Outcome {
    let objects = call.objects();
    let description = objects.description(objects.lookup_fd(call.fd(0))?)?;
    match (description.flags.readable(), description.object) {
        (false, _) => Err(Errno::EBADF.into()),
        (true, Object::File | Object::Text) => Ok(0),
        (true, _) => Err(Errno::EINVAL.into()),
    }
}

/// `posix_fadvise`: there is nothing to read ahead or to drop.
pub fn fadvise64(call: &Call<'_>) -> Outcome {
    let [_, _, len, advice, ..] = call.args;
    match call.objects().check_usable(call.fd(0))? {
        Object::Pipe(_) => Err(Errno::ESPIPE.into()),
        _ if advice > 5 || (len as i64) < 0 => Err(Errno::EINVAL.into()),
        _ => Ok(0),
    }
}

fn entries(call: &Call<'_>, entries: Entries) -> Outcome {
    // What is negative as an `int` is no room.
    let len = usize::try_from(call.args[2] as i32).unwrap_or(0);
    let mut sink = UserBytes::one(call.memory, call.args[1], len);
    Ok(call.on_objects(|o, w| o.getdents(w, call.fd(0), entries, &mut sink))? as u64)
}

pub fn getdents(call: &Call<'_>) -> Outcome {
    entries(call, Entries::Old)
}

pub fn getdents64(call: &Call<'_>) -> Outcome {
    entries(call, Entries::New)
}
