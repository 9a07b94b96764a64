//! System V IPC: moving arguments between guest memory and [`crate::ipc`], and waiting.
//!
//! What must hold: whoever waits is in the one queue of the UC for this, and every change that somebody may wait for wakes it.

use super::guest::timespec;
use super::memory::{make_room, space_is_full};
use super::{Call, Outcome, Stop};
use crate::abi::errno::Errno;
use crate::image::note;
use crate::ipc::msg::{self, Wanted};
use crate::ipc::sem::{self, Attempt, Operation, Question};
use crate::ipc::shm;
use crate::ipc::{
    IPC_64, IPC_INFO, IPC_NOWAIT, IPC_RMID, IPC_SET, IPC_STAT, Ipc, Lookup, PERM_BYTES, Subject,
};
use crate::object::credentials::cap;
use crate::object::wait::Events;
use crate::state::thread::Waiting;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::cell::RefMut;
use ebb_mem::space::{Backing, Error, PAGE, Place, Protection};

/// The lowest address that `shmat` maps at.
const SHMLBA: u64 = PAGE;

fn now_s() -> i64 {
    (crate::unix_now() / 1_000_000_000) as i64
}

/// The call's process, as access checks see it.
fn subject(call: &Call<'_>) -> Subject {
    let who = super::credentials::of(call);
    Subject {
        uid: who.user.effective,
        gid: who.group.effective,
        overrides_modes: who.has(cap::IPC_OWNER),
        administers: who.has(cap::SYS_ADMIN | cap::IPC_OWNER),
        groups: Arc::clone(&who.groups),
        pid: call.process.pid(),
    }
}

/// The System V objects of the UC.
fn ipc<'a>(call: &'a Call<'_>) -> RefMut<'a, Ipc> {
    RefMut::map(call.uc.ipc.borrow_mut(), |ipc| {
        &mut **ipc.get_or_insert_default()
    })
}

/// Runs an operation, and wakes whoever waits for what it has changed.
fn with_ipc<R>(call: &Call<'_>, f: impl FnOnce(&mut Ipc) -> Result<R, Errno>) -> Result<R, Stop> {
    let result = f(&mut ipc(call));
    call.uc.tell_ipc_news();
    result.map_err(Stop::Error)
}

/// Waits for a change of any of the objects.
fn wait(call: &Call<'_>, deadline: Option<u64>) -> Outcome {
    let queue = ipc(call).queue;
    let mut objects = call.objects();
    let queue = match queue {
        Some(queue) => queue,
        None => {
            let queue = objects.hub.new_queue();
            ipc(call).queue = Some(queue);
            queue
        }
    };
    call.thread(|t| {
        t.waiting.get_or_insert_with(|| Waiting {
            deadline,
            ..Waiting::default()
        });
        objects.register_queue(queue, Events::all(), &mut t.registration, call.waker);
    })?;
    Err(Stop::Wait)
}

/// The command of a `*ctl` call.
/// An object's number, which is looked at before what is asked of it.
///
/// # Errors
/// `EINVAL` for a negative one.
fn identifier(value: u64) -> Result<i32, Errno> {
    match value as i32 {
        ..0 => Err(Errno::EINVAL),
        id => Ok(id),
    }
}

fn command(value: u64) -> u32 {
    value as u32 & !IPC_64
}

/// How a command that tells of an object finds it.
fn lookup(command: u32, stat_any: u32) -> Lookup {
    match command {
        IPC_STAT => Lookup::Identifier,
        command => Lookup::Slot {
            any: command == stat_any,
        },
    }
}

pub fn semget(call: &Call<'_>) -> Outcome {
    let [key, count, flags, ..] = call.args;
    let subject = subject(call);
    let id = with_ipc(call, |ipc| {
        ipc.semget(key as i32, count as i32, flags as u32, &subject, now_s())
    })?;
    Ok(id as u64)
}

pub fn semop(call: &Call<'_>) -> Outcome {
    semop_until(call, None)
}

pub fn semtimedop(call: &Call<'_>) -> Outcome {
    let timeout = timespec(call, call.args[3])?;
    semop_until(call, timeout)
}

fn semop_until(call: &Call<'_>, timeout_ns: Option<u64>) -> Outcome {
    let [id, operations, count, ..] = call.args;
    if count == 0 {
        return Err(Errno::EINVAL.into());
    }
    if count > sem::MOST_OPERATIONS as u64 {
        return Err(Errno::E2BIG.into());
    }
    let mut bytes = alloc::vec![0; count as usize * sem::OPERATION_BYTES];
    call.space().read(operations, &mut bytes)?;
    let (chunks, _) = bytes.as_chunks::<{ sem::OPERATION_BYTES }>();
    let operations: Vec<Operation> = chunks.iter().map(|c| Operation::from_bytes(*c)).collect();
    let (subject, thread) = (subject(call), call.thread_key());
    let attempt = with_ipc(call, |ipc| {
        let waited = !call.first;
        ipc.semop(id as i32, &operations, &subject, thread, waited, now_s())
    })?;
    match attempt {
        Attempt::Done => Ok(0),
        Attempt::Waits if call.is_late() => {
            ipc(call).sem_leave(id as i32, thread);
            Err(Errno::EAGAIN.into())
        }
        Attempt::Waits => {
            let deadline = timeout_ns.map(|t| call.uc.now().saturating_add(t));
            let outcome = wait(call, deadline);
            call.waited(|w| w.rare_mut().semaphores = Some((id as i32, thread)));
            outcome
        }
    }
}

pub fn semctl(call: &Call<'_>) -> Outcome {
    const GETPID: u32 = 11;
    const GETVAL: u32 = 12;
    const GETALL: u32 = 13;
    const GETNCNT: u32 = 14;
    const GETZCNT: u32 = 15;
    const SETVAL: u32 = 16;
    const SETALL: u32 = 17;
    const SEM_STAT: u32 = 18;
    const SEM_INFO: u32 = 19;
    const SEM_STAT_ANY: u32 = 20;
    let [id, number, command_, argument, ..] = call.args;
    let (id, number, subject) = (identifier(id)?, number as i32, subject(call));
    let ask = |question| Ok(ipc(call).sem_ask(id, number, question, &subject)?);
    match command(command_) {
        IPC_RMID => {
            with_ipc(call, |ipc| ipc.sem_remove(id, &subject))?;
            Ok(0)
        }
        IPC_SET => {
            let perm: [u8; PERM_BYTES] = call.space().get(argument)?;
            with_ipc(call, |ipc| ipc.sem_set(id, &perm, &subject, now_s()))?;
            Ok(0)
        }
        command @ (IPC_STAT | SEM_STAT | SEM_STAT_ANY) => {
            let by = lookup(command, SEM_STAT_ANY);
            let (answer, stat) = {
                let ipc = ipc(call);
                let (answer, set) = ipc.semaphores.asked(id, by, &subject)?;
                (answer, set.stat())
            };
            call.space().put(argument, stat)?;
            Ok(answer as u64)
        }
        command @ (IPC_INFO | SEM_INFO) => {
            let (sets, all, highest) = {
                let ipc = ipc(call);
                let all: usize = ipc.semaphores.iter().map(|(_, set)| set.count()).sum();
                (ipc.semaphores.count(), all, ipc.semaphores.highest_slot())
            };
            let (used_sets, used) = if command == SEM_INFO {
                (sets as i32, all as i32)
            } else {
                (20, sem::VALUE_MAX)
            };
            let all = sem::MOST_IN_ALL as i32;
            let info: [i32; 10] = [
                all,
                crate::ipc::MOST_OBJECTS as i32,
                all,
                all,
                sem::MOST_IN_SET as i32,
                sem::MOST_OPERATIONS as i32,
                sem::MOST_OPERATIONS as i32,
                used_sets,
                sem::VALUE_MAX,
                used,
            ];
            call.space().put(argument, info)?;
            Ok(highest)
        }
        GETVAL => ask(Question::Value),
        GETPID => ask(Question::LastProcess),
        GETNCNT => ask(Question::WaitingForMore),
        GETZCNT => ask(Question::WaitingForZero),
        GETALL => {
            let values = ipc(call).sem_values(id, &subject)?;
            let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
            call.space().write(argument, &bytes)?;
            Ok(0)
        }
        SETVAL => {
            let value = argument as i32;
            if !(0..=sem::VALUE_MAX).contains(&value) {
                return Err(Errno::ERANGE.into());
            }
            with_ipc(call, |ipc| {
                ipc.sem_put_values(id, number, &[value], &subject, now_s())
            })?;
            Ok(0)
        }
        SETALL => {
            let count = ipc(call).semaphores.by_id(id)?.count();
            let values: Vec<u16> = call.space().get_array(argument, count)?;
            let values: Vec<i32> = values.into_iter().map(i32::from).collect();
            with_ipc(call, |ipc| {
                ipc.sem_put_values(id, 0, &values, &subject, now_s())
            })?;
            Ok(0)
        }
        _ => Err(Errno::EINVAL.into()),
    }
}

pub fn msgget(call: &Call<'_>) -> Outcome {
    let [key, flags, ..] = call.args;
    let subject = subject(call);
    let id = with_ipc(call, |ipc| {
        ipc.msgget(key as i32, flags as u32, &subject, now_s())
    })?;
    Ok(id as u64)
}

pub fn msgsnd(call: &Call<'_>) -> Outcome {
    let [id, message, len, flags, ..] = call.args;
    let (id, subject) = (id as i32, subject(call));
    let len = usize::try_from(len).unwrap_or(usize::MAX);
    if len > msg::MESSAGE_MAX {
        return Err(Errno::EINVAL.into());
    }
    let kind: i64 = call.space().get(message)?;
    if kind < 1 {
        return Err(Errno::EINVAL.into());
    }
    let room = ipc(call).msg_has_room(id, len, &subject, !call.first);
    match room {
        Err(Errno::EAGAIN) if flags as u32 & IPC_NOWAIT == 0 => return wait(call, None),
        other => other?,
    }
    let mut text = alloc::vec![0; len];
    call.space().read(message.wrapping_add(8), &mut text)?;
    with_ipc(call, |ipc| ipc.msgsnd(id, kind, text, &subject, now_s()))?;
    Ok(0)
}

pub fn msgrcv(call: &Call<'_>) -> Outcome {
    let [id, message, room, kind, flags, _] = call.args;
    let (id, flags, subject) = (id as i32, flags as u32, subject(call));
    let copies = flags & msg::MSG_COPY != 0;
    if room > i64::MAX as u64 || copies && (flags & msg::MSG_EXCEPT != 0 || flags & IPC_NOWAIT == 0)
    {
        return Err(Errno::EINVAL.into());
    }
    let wanted = Wanted {
        kind: kind as i64,
        flags,
        room: usize::try_from(room).unwrap_or(usize::MAX),
    };
    let (index, len) = {
        let ipc = ipc(call);
        let found = ipc.msg_peek(id, &wanted, &subject, !call.first);
        let (index, kind, text) = match found {
            Err(Errno::ENOMSG) if flags & IPC_NOWAIT == 0 => {
                drop(ipc);
                return wait(call, None);
            }
            found => found?,
        };
        let mut space = call.space();
        space.put(message, kind)?;
        space.write(message.wrapping_add(8), text)?;
        (index, text.len())
    };
    if !copies {
        with_ipc(call, |ipc| ipc.msg_take(id, index, &subject, now_s()))?;
    }
    Ok(len as u64)
}

pub fn msgctl(call: &Call<'_>) -> Outcome {
    const MSG_STAT: u32 = 11;
    const MSG_INFO: u32 = 12;
    const MSG_STAT_ANY: u32 = 13;
    /// Where `msg_qbytes` is in `struct msqid64_ds`.
    const QBYTES_AT: u64 = 88;
    let [id, command_, argument, ..] = call.args;
    let (id, subject) = (identifier(id)?, subject(call));
    match command(command_) {
        IPC_RMID => {
            with_ipc(call, |ipc| ipc.msg_remove(id, &subject))?;
            Ok(0)
        }
        IPC_SET => {
            let (perm, bytes_max) = {
                let mut space = call.space();
                let perm: [u8; PERM_BYTES] = space.get(argument)?;
                (perm, space.get(argument.wrapping_add(QBYTES_AT))?)
            };
            with_ipc(call, |ipc| {
                ipc.msg_set(id, &perm, bytes_max, &subject, now_s())
            })?;
            Ok(0)
        }
        command @ (IPC_STAT | MSG_STAT | MSG_STAT_ANY) => {
            let by = lookup(command, MSG_STAT_ANY);
            let (answer, stat) = {
                let ipc = ipc(call);
                let (answer, queue) = ipc.messages.asked(id, by, &subject)?;
                (answer, queue.stat())
            };
            call.space().put(argument, stat)?;
            Ok(answer as u64)
        }
        command @ (IPC_INFO | MSG_INFO) => {
            let (queues, messages, bytes, highest) = {
                let ipc = ipc(call);
                let (messages, bytes) = ipc.msg_totals();
                let highest = ipc.messages.highest_slot();
                (ipc.messages.count(), messages, bytes, highest)
            };
            let used = |value: u64, limit: i32| {
                if command == MSG_INFO {
                    value as i32
                } else {
                    limit
                }
            };
            let most = msg::QUEUE_MAX as i32;
            // Pool and map, then limits; the last is a short.
            let info: [i32; 8] = [
                used(queues as u64, most),
                used(messages, most),
                msg::MESSAGE_MAX as i32,
                most,
                crate::ipc::MOST_OBJECTS as i32,
                16,
                used(bytes, most),
                0xffff,
            ];
            call.space().put(argument, info)?;
            Ok(highest)
        }
        _ => Err(Errno::EINVAL.into()),
    }
}

/// How many mappings of the pages of this identifier the processes have.
fn mappings(call: &Call<'_>) -> impl Fn(u64) -> u64 {
    |pages| call.uc.mappings_of(pages)
}

pub fn shmget(call: &Call<'_>) -> Outcome {
    let [key, size_bytes, flags, ..] = call.args;
    let subject = subject(call);
    let quota = call.objects().fs.quota().clone();
    call.uc.sweep_segments();
    let id = with_ipc(call, |ipc| {
        let flags = flags as u32;
        ipc.shmget(key as i32, size_bytes, flags, &subject, &quota, now_s())
    })?;
    Ok(id as u64)
}

pub fn shmat(call: &Call<'_>) -> Outcome {
    let [id, address, flags, ..] = call.args;
    let (id, flags, subject) = (id as i32, flags as u32, subject(call));
    let has = |flag| flags & flag != 0;
    let place = match address {
        0 if has(shm::SHM_REMAP) => return Err(Errno::EINVAL.into()),
        0 => Place::Near(0),
        at => {
            let at = if has(shm::SHM_RND) {
                at & !(SHMLBA - 1)
            } else {
                at
            };
            // Rounded down to where nobody may have anything.
            if at == 0 && !has(shm::SHM_REMAP) {
                return Err(Errno::EPERM.into());
            }
            if !at.is_multiple_of(SHMLBA) || at == 0 {
                return Err(Errno::EINVAL.into());
            }
            if has(shm::SHM_REMAP) {
                Place::Fixed(at)
            } else {
                Place::FixedFree(at)
            }
        }
    };
    call.uc.sweep_segments();
    let (pages, key, len) = {
        let ipc = ipc(call);
        let segment = ipc.shm_to_map(id, has(shm::SHM_RDONLY), has(shm::SHM_EXEC), &subject)?;
        let len = segment.size_bytes().next_multiple_of(PAGE);
        (segment.pages().clone(), segment.key(), len)
    };
    if space_is_full(&call.process.state.borrow(), &call.space(), len) {
        return Err(Errno::ENOMEM.into());
    }
    make_room(call, place, len)?;
    let name = alloc::format!("/SYSV{key:08x} (deleted)");
    let note = match call.process.note_of(name.as_bytes(), id as u64) {
        0 => note::NONE,
        note => note,
    };
    let protection = Protection {
        read: true,
        write: !has(shm::SHM_RDONLY),
        execute: has(shm::SHM_EXEC),
    };
    let mapped = call
        .space()
        .map(place, len, protection, Backing::Shared(pages), 0, note);
    let at = mapped.map_err(|error| match error {
        Error::Occupied => Errno::EINVAL,
        Error::Invalid if !has(shm::SHM_REMAP) => Errno::EINVAL,
        _ => Errno::ENOMEM,
    })?;
    ipc(call).shm_mapped(id, &subject, now_s());
    Ok(at)
}

pub fn shmdt(call: &Call<'_>) -> Outcome {
    let address = call.args[0];
    let found: Option<(u64, Vec<(u64, u64)>)> = {
        let space = call.space();
        let ipc = ipc(call);
        let segment = space.area(address).and_then(|area| match &area.backing {
            Backing::Shared(pages) if area.start == address && area.offset == 0 => {
                ipc.segment_of(pages.id())
            }
            _ => None,
        });
        segment.map(|(_, segment)| {
            let id = segment.pages().id();
            let end = address + segment.size_bytes().next_multiple_of(PAGE);
            // What is left of the mapping: parts of it may have been unmapped or replaced.
            let own = space.areas().filter(|a| {
                let same = matches!(&a.backing, Backing::Shared(pages) if pages.id() == id);
                same && a.start >= address && a.end <= end && a.start - a.offset == address
            });
            (id, own.map(|a| (a.start, a.end - a.start)).collect())
        })
    };
    let (pages, parts) = found.ok_or(Errno::EINVAL)?;
    for (start, len) in parts {
        call.space().unmap(start, len)?;
    }
    ipc(call).shm_unmapped(pages, call.process.pid(), now_s());
    call.uc.sweep_segments();
    Ok(0)
}

pub fn shmctl(call: &Call<'_>) -> Outcome {
    const SHM_LOCK: u32 = 11;
    const SHM_UNLOCK: u32 = 12;
    const SHM_STAT: u32 = 13;
    const SHM_INFO: u32 = 14;
    const SHM_STAT_ANY: u32 = 15;
    let [id, command_, argument, ..] = call.args;
    let (id, subject) = (identifier(id)?, subject(call));
    call.uc.sweep_segments();
    match command(command_) {
        IPC_RMID => {
            with_ipc(call, |ipc| ipc.shm_remove(id, &subject, mappings(call)))?;
            Ok(0)
        }
        IPC_SET => {
            let perm: [u8; PERM_BYTES] = call.space().get(argument)?;
            with_ipc(call, |ipc| ipc.shm_set(id, &perm, &subject, now_s()))?;
            Ok(0)
        }
        command @ (IPC_STAT | SHM_STAT | SHM_STAT_ANY) => {
            let by = lookup(command, SHM_STAT_ANY);
            let (answer, stat) = {
                let ipc = ipc(call);
                let (answer, segment) = ipc.segments.asked(id, by, &subject)?;
                let mapped = call.uc.mappings_of(segment.pages().id());
                (answer, segment.stat(mapped))
            };
            call.space().put(argument, stat)?;
            Ok(answer as u64)
        }
        IPC_INFO => {
            let highest = ipc(call).segments.highest_slot();
            let most = crate::ipc::MOST_OBJECTS as u64;
            let pages = call.objects().fs.quota().max();
            let info: [u64; 9] = [shm::SEGMENT_MAX, 1, most, most, pages, 0, 0, 0, 0];
            call.space().put(argument, info)?;
            Ok(highest)
        }
        SHM_INFO => {
            let (count, (total, resident), highest) = {
                let ipc = ipc(call);
                let highest = ipc.segments.highest_slot();
                (ipc.segments.count() as u64, ipc.shm_totals(), highest)
            };
            call.space()
                .put(argument, [count, total, resident, 0, 0, 0])?;
            Ok(highest)
        }
        command @ (SHM_LOCK | SHM_UNLOCK) => {
            with_ipc(call, |ipc| ipc.shm_lock(id, command == SHM_LOCK, &subject))?;
            Ok(0)
        }
        _ => Err(Errno::EINVAL.into()),
    }
}
