//! Bytes that go from one descriptor to another: `sendfile`, `copy_file_range`, `splice`, `tee`, `vmsplice`.
//!
//! What must hold: when a call waits or lets others run, what it has moved is in its `Waiting`, and an offset that the guest
//! gave stands in the guest's memory behind what was moved: the call goes on from there.

use super::call::{Call, Outcome, Stop};
use super::counted;
use super::file::COPY;
use super::guest::iovec;
use super::refused::{broken_pipe, too_big};
use crate::abi::errno::Errno;
use crate::object::id::{DescId, Fd};
use crate::object::kind::Object;
use crate::object::ops::{
    splice::{FLAGS, NONBLOCK, Stall},
    transfer::MAX_COUNT,
};
use crate::object::wait::Events;
use crate::state::thread::Work;
use crate::uc::user_bytes::UserBytes;

/// The offset at an address, if there is one.
fn offset(call: &Call<'_>, at: u64) -> Result<Option<u64>, Stop> {
    match at {
        0 => Ok(None),
        at => Ok(Some(call.space().get(at)?)),
    }
}

fn put_offset(call: &Call<'_>, at: u64, value: Option<u64>) -> Result<(), Stop> {
    match value {
        Some(value) => Ok(call.space().put(at, value)?),
        None => Ok(()),
    }
}

/// A count as the guest gives it.
fn limited(count: u64) -> usize {
    usize::try_from(count).unwrap_or(usize::MAX).min(MAX_COUNT)
}

/// Bytes that the call has moved before it waited.
fn progress(call: &Call<'_>) -> usize {
    let progress = || call.waited(|w| w.progress);
    (!call.first).then(progress).flatten().unwrap_or(0)
}

/// Lets others run before the rest of a long copy.
fn next_part(call: &Call<'_>, fd: Fd, done: usize) -> Outcome {
    call.keep_open(fd)?;
    let outcome = call.next_part(Work::default());
    call.waited(|w| w.progress = done);
    outcome
}

/// The guest's output may be a console.
fn flush(call: &Call<'_>, id: DescId) {
    let object = call.objects().description(id).map(|d| d.object);
    if matches!(object, Ok(Object::Channel(_))) {
        call.uc.flush_console();
    }
}

pub fn sendfile(call: &Call<'_>) -> Outcome {
    counted::reading(call, counted::writing(call, send(call)))
}

fn send(call: &Call<'_>) -> Outcome {
    let [_, _, at, count, ..] = call.args;
    let (out, input) = (call.fd(0), call.fd(1));
    let total = limited(count);
    let splices = match at == 0 && count > 0 {
        true => call.objects().sendfile_splices(out, input)?,
        false => None,
    };
    if let Some(flags) = splices {
        let (from, to) = ((input, None), (out, None));
        let moved = call.objects().splice(&call.world(), from, to, total, flags);
        return match moved {
            Ok(n) => Ok(n as u64),
            Err(stall) => stalled(call, input, out, stall),
        };
    }
    let (mut done, begun) = (progress(call), progress(call));
    loop {
        let mut position = offset(call, at)?;
        // What is asked for may be wrong though it is more than is moved.
        let left = match done {
            0 => usize::try_from(count).unwrap_or(usize::MAX),
            done => total - done,
        };
        let result = call.on_objects(|o, w| o.sendfile(w, out, input, position.as_mut(), left));
        match result {
            Ok(0) => return Ok(done as u64),
            Ok(n) => {
                put_offset(call, at, position)?;
                done += n;
                flush(call, call.held(out)?);
                if done == total {
                    return Ok(done as u64);
                }
                if done - begun >= COPY {
                    return next_part(call, out, done);
                }
            }
            Err(Stop::Error(Errno::EAGAIN)) => {
                let id = call.held(out)?;
                if !call.is_nonblocking(id) {
                    let outcome = call.wait_for_transfer(out, id, Events::FOR_WRITE);
                    if outcome == Err(Stop::Error(Errno::EAGAIN)) && done > 0 {
                        return Ok(done as u64);
                    }
                    call.waited(|w| (w.progress, w.rare_mut().work) = (done, None));
                    return outcome;
                }
                return match done {
                    0 => Err(Errno::EAGAIN.into()),
                    done => Ok(done as u64),
                };
            }
            Err(Stop::Error(_)) if done > 0 => return Ok(done as u64),
            Err(Stop::Error(Errno::EPIPE)) => {
                broken_pipe(call, call.held(out)?);
                return Err(Errno::EPIPE.into());
            }
            Err(Stop::Error(Errno::EFBIG)) => return Err(too_big(call)),
            Err(stop) => return Err(stop),
        }
    }
}

pub fn copy_file_range(call: &Call<'_>) -> Outcome {
    counted::reading(call, counted::writing(call, copy_range(call)))
}

fn copy_range(call: &Call<'_>) -> Outcome {
    let [_, in_at, _, out_at, count, flags] = call.args;
    if flags != 0 {
        return Err(Errno::EINVAL.into());
    }
    let (input, output) = (call.fd(0), call.fd(2));
    let total = limited(count);
    let (mut done, begun) = (progress(call), progress(call));
    loop {
        let (mut from, mut to) = (offset(call, in_at)?, offset(call, out_at)?);
        let left = match done {
            0 => usize::try_from(count).unwrap_or(usize::MAX),
            done => total - done,
        };
        let result = call.on_objects(|o, w| {
            o.copy_file_range(w, (input, from.as_mut()), (output, to.as_mut()), left)
        });
        match result {
            Ok(n) => {
                put_offset(call, in_at, from)?;
                put_offset(call, out_at, to)?;
                done += n;
                if n == 0 || done == total {
                    return Ok(done as u64);
                }
                if done - begun >= COPY {
                    return next_part(call, output, done);
                }
            }
            Err(Stop::Error(_)) if done > 0 => return Ok(done as u64),
            Err(Stop::Error(Errno::EFBIG)) => return Err(too_big(call)),
            Err(stop) => return Err(stop),
        }
    }
}

/// What comes of a call that could not move anything.
fn stalled(call: &Call<'_>, input: Fd, output: Fd, stall: Stall) -> Outcome {
    match stall {
        Stall::Input => {
            let id = call.objects().lookup_fd(input)?;
            call.wait_for_transfer(input, id, Events::FOR_READ)
        }
        Stall::Output => {
            let id = call.objects().lookup_fd(output)?;
            call.wait_for_transfer(output, id, Events::FOR_WRITE)
        }
        Stall::Error(Errno::EPIPE) => {
            let id = call.objects().lookup_fd(output)?;
            broken_pipe(call, id);
            Err(Errno::EPIPE.into())
        }
        Stall::Error(Errno::EFBIG) => Err(too_big(call)),
        Stall::Error(errno) => Err(errno.into()),
    }
}

pub fn splice(call: &Call<'_>) -> Outcome {
    let [_, in_at, _, out_at, len, flags] = call.args;
    let (input, output) = (call.fd(0), call.fd(2));
    if len == 0 {
        return Ok(0);
    }
    if flags as u32 & !FLAGS != 0 {
        return Err(Errno::EINVAL.into());
    }
    let (mut from, mut to) = (offset(call, in_at)?, offset(call, out_at)?);
    let moved = call.objects().splice(
        &call.world(),
        (input, from.as_mut()),
        (output, to.as_mut()),
        usize::try_from(len).unwrap_or(usize::MAX),
        flags as u32,
    );
    match moved {
        Ok(n) => {
            put_offset(call, in_at, from)?;
            put_offset(call, out_at, to)?;
            let id = call.objects().lookup_fd(output)?;
            flush(call, id);
            Ok(n as u64)
        }
        Err(stall) => stalled(call, input, output, stall),
    }
}

pub fn tee(call: &Call<'_>) -> Outcome {
    let [_, _, len, flags, ..] = call.args;
    if flags as u32 & !FLAGS != 0 {
        return Err(Errno::EINVAL.into());
    }
    if len == 0 {
        return Ok(0);
    }
    let (input, output) = (call.fd(0), call.fd(1));
    let copied = call
        .objects()
        .tee(input, output, limited(len), flags as u32);
    match copied {
        Ok(n) => Ok(n as u64),
        Err(stall) => stalled(call, input, output, stall),
    }
}

pub fn vmsplice(call: &Call<'_>) -> Outcome {
    let [_, vector, count, flags, ..] = call.args;
    if flags as u32 & !FLAGS != 0 {
        return Err(Errno::EINVAL.into());
    }
    let fd = call.fd(0);
    let parts = iovec(call, vector, count);
    let of_nothing = parts
        .as_ref()
        .map_or(true, |parts| parts.iter().all(|p| p.1 == 0));
    let writes = call.objects().vmsplice_writes(fd, of_nothing)?;
    let parts = parts?;
    if of_nothing {
        return Ok(0);
    }
    if !writes {
        let id = call.held(fd)?;
        let mut sink = UserBytes::new(call.memory, &parts, 0).first(COPY);
        let result = call.objects().read_desc(&call.world(), id, &mut sink);
        return match result {
            Err(Errno::EAGAIN) if flags as u32 & NONBLOCK == 0 && !call.is_nonblocking(id) => {
                call.wait_for_transfer(fd, id, Events::FOR_READ)
            }
            other => Ok(other? as u64),
        };
    }
    let mut done = 0;
    for part in parts {
        let list = [part];
        let mut source = UserBytes::new(call.memory, &list, 0);
        let put = call
            .objects()
            .vmsplice(fd, &mut source, part.0, flags as u32);
        match put {
            Ok(n) => {
                done += n;
                if n < part.1 {
                    break;
                }
            }
            Err(_) if done > 0 => break,
            Err(stall) => return stalled(call, fd, fd, stall),
        }
    }
    Ok(done as u64)
}
