//! Reading and writing at a position, with or without flags.

use super::counted;
use super::file::{
    COPY, move_nothing, next_part_of, one, read_vector, short, sum, write_parts, write_vector,
};
use super::guest::iovec;
use super::refused::too_big;
use super::{Call, Outcome, Stop};
use crate::abi::errno::Errno;
use crate::abi::flags::OpenFlags;
use crate::object::Objects;
use crate::object::fd::Fd;
use crate::object::kind::Object;
use crate::object::transfer::Whence;
use crate::object::wait::Events;
use crate::uc::env::World;
use crate::uc::user_bytes::UserBytes;
use alloc::vec::Vec;

fn read_at(call: &Call<'_>, parts: &[(u64, usize)], position: i64) -> Outcome {
    at_position(call, parts, position, |o, w, fd, at, bytes| {
        o.pread(w, fd, at, bytes)
    })
}

fn write_at(call: &Call<'_>, parts: &[(u64, usize)], position: i64) -> Outcome {
    let write = |o: &mut Objects, w: &World<'_>, fd, at, bytes: &mut UserBytes<'_>| {
        o.pwrite(w, fd, at, bytes)
    };
    match at_position(call, parts, position, write) {
        Err(Stop::Error(Errno::EFBIG)) => Err(too_big(call)),
        other => other,
    }
}

/// A transfer at a position, in parts if it is long.
fn at_position(
    call: &Call<'_>,
    parts: &[(u64, usize)],
    position: i64,
    step: impl FnOnce(&mut Objects, &World<'_>, Fd, i64, &mut UserBytes<'_>) -> Result<usize, Errno>,
) -> Outcome {
    let fd = call.fd(0);
    let total = sum(parts);
    if total <= COPY {
        let mut bytes = UserBytes::new(call.memory, parts, 0);
        return Ok(call.on_objects(|o, w| step(o, w, fd, position, &mut bytes))? as u64);
    }
    // A position beyond all that is refused whatever is moved.
    if position.checked_add(total as i64).is_none() {
        return Err(Errno::EINVAL.into());
    }
    let done = call.waited(|w| w.progress).unwrap_or(0);
    let id = call.objects().lookup_fd(fd);
    if call
        .waited(|w| w.held)
        .flatten()
        .is_some_and(|held| Ok(held) != id)
    {
        // Another thread has closed it, or opened something else in its place.
        return Ok(done as u64);
    }
    let mut bytes = UserBytes::new(call.memory, parts, done).first(COPY);
    match call.on_objects(|o, w| step(o, w, fd, position + done as i64, &mut bytes)) {
        Ok(n) if done + n < total => next_part_of(call, fd, id?, n, done + n),
        Ok(n) => Ok((done + n) as u64),
        Err(_) if done > 0 => Ok(done as u64),
        Err(stop) => Err(stop),
    }
}

pub fn pread64(call: &Call<'_>) -> Outcome {
    let position = call.args[3] as i64;
    let Some((at, len)) = short(call) else {
        let parts = one(call, || read_at(call, &[], position))?;
        return counted::reading(call, read_at(call, &parts, position));
    };
    let mut sink = UserBytes::one(call.memory, at, len);
    let read = call
        .objects()
        .pread(&call.world(), call.fd(0), position, &mut sink);
    counted::has_read(call, read?)
}

pub fn pwrite64(call: &Call<'_>) -> Outcome {
    let position = call.args[3] as i64;
    let Some((at, len)) = short(call) else {
        let parts = one(call, || write_at(call, &[], position))?;
        return counted::writing(call, write_at(call, &parts, position));
    };
    let mut source = UserBytes::one(call.memory, at, len);
    let written = call
        .objects()
        .pwrite(&call.world(), call.fd(0), position, &mut source);
    match written {
        Ok(n) => counted::has_written(call, n),
        Err(Errno::EFBIG) => Err(too_big(call)),
        Err(errno) => Err(errno.into()),
    }
}

/// Nothing, at a position: what is wrong with the descriptor.
fn nothing_at(call: &Call<'_>, may: impl Fn(OpenFlags) -> bool, position: i64) -> Outcome {
    match read_at(call, &[], position) {
        Err(Stop::Error(errno @ (Errno::ESPIPE | Errno::EINVAL))) => Err(errno.into()),
        _ => move_nothing(call, may),
    }
}

pub fn preadv(call: &Call<'_>) -> Outcome {
    let position = call.args[3] as i64;
    let parts = iovec(call, call.args[1], call.args[2]);
    let nothing = || nothing_at(call, OpenFlags::readable, position);
    let parts = parts.or_else(|wrong| nothing().and(Err(wrong)))?;
    let outcome = match sum(&parts) {
        0 => nothing(),
        _ => read_at(call, &parts, position),
    };
    counted::reading(call, outcome)
}

pub fn pwritev(call: &Call<'_>) -> Outcome {
    let position = call.args[3] as i64;
    let parts = iovec(call, call.args[1], call.args[2]);
    let nothing = || nothing_at(call, OpenFlags::writable, position);
    let parts = parts.or_else(|wrong| nothing().and(Err(wrong)))?;
    let outcome = match sum(&parts) {
        0 => nothing(),
        _ => write_at(call, &parts, position),
    };
    counted::writing(call, outcome)
}

/// `RWF_NOWAIT`.
const NOWAIT: u64 = 8;
/// `RWF_HIPRI`.
const HIPRI: u64 = 1;
/// `RWF_APPEND`.
const APPEND: u64 = 0x10;
/// Those, and `RWF_HIPRI`, `RWF_DSYNC`, `RWF_SYNC`, which ask for what is so anyway.
const KNOWN: u64 = 7 | NOWAIT | APPEND;

/// `preadv2` and `pwritev2` of nothing, or with a wrong descriptor or list: flags are not looked at. `None` for all others.
fn moves_nothing(
    call: &Call<'_>,
    may: impl Fn(OpenFlags) -> bool,
    parts: &Result<Vec<(u64, usize)>, Stop>,
) -> Option<Outcome> {
    let nothing = match call.args[3] as i64 {
        -1 => move_nothing(call, may),
        position => nothing_at(call, may, position),
    };
    match (nothing, parts) {
        (Err(stop), _) => Some(Err(stop)),
        (_, Err(stop)) => Some(Err(*stop)),
        (_, Ok(parts)) if sum(parts) == 0 => Some(Ok(0)),
        _ => None,
    }
}

/// Looks at the flags of `preadv2` and `pwritev2`: what is not ready for `events` is not waited for.
fn transfer_flags(call: &Call<'_>, events: Events) -> Result<u64, Stop> {
    let flags = call.args[5];
    if flags & !KNOWN != 0 {
        return Err(Errno::EOPNOTSUPP.into());
    }
    // A directory knows no flags but that of haste.
    if flags & !HIPRI != 0 && call.objects().check_usable(call.fd(0))? == Object::Dir {
        return Err(Errno::EOPNOTSUPP.into());
    }
    if flags & NOWAIT != 0 {
        let id = call.objects().lookup_fd(call.fd(0))?;
        if !call.objects().poll(&call.world(), id).intersects(events) {
            return Err(Errno::EAGAIN.into());
        }
    }
    Ok(flags)
}

pub fn preadv2(call: &Call<'_>) -> Outcome {
    counted::reading(call, read_with_flags(call))
}

fn read_with_flags(call: &Call<'_>) -> Outcome {
    let parts = iovec(call, call.args[1], call.args[2]);
    if call.first
        && let Some(outcome) = moves_nothing(call, OpenFlags::readable, &parts)
    {
        return outcome;
    }
    let parts = parts?;
    transfer_flags(call, Events::FOR_READ)?;
    match call.args[3] as i64 {
        -1 => read_vector(call, &parts),
        position => read_at(call, &parts, position),
    }
}

pub fn pwritev2(call: &Call<'_>) -> Outcome {
    counted::writing(call, write_with_flags(call))
}

fn write_with_flags(call: &Call<'_>) -> Outcome {
    let parts = iovec(call, call.args[1], call.args[2]);
    if call.first
        && let Some(outcome) = moves_nothing(call, OpenFlags::writable, &parts)
    {
        return outcome;
    }
    let parts = parts?;
    let flags = transfer_flags(call, Events::FOR_WRITE)?;
    if flags & APPEND != 0 {
        let end = |call: &Call<'_>, whence, offset| {
            call.on_objects(|o, _| o.seek(call.fd(0), offset, whence))
        };
        let before = end(call, Whence::Current, 0);
        if let Ok(before) = before {
            end(call, Whence::End, 0)?;
            let written = write_parts(call, &parts);
            if call.args[3] as i64 != -1 {
                end(call, Whence::Set, before as i64)?;
            }
            return written;
        }
    }
    match call.args[3] as i64 {
        -1 => write_vector(call, &parts),
        position => write_at(call, &parts, position),
    }
}
