//! Clocks and sleeping.

use super::futex::timespec;
use super::{Call, Outcome};
use crate::object::errno::Errno;

const SECOND: u64 = 1_000_000_000;

/// The time of a clock by number, in nanoseconds.
pub fn clock(call: &Call<'_>, id: u64) -> Result<u64, Errno> {
    Ok(match id as i32 {
        // CLOCK_REALTIME, its coarse form, CLOCK_TAI
        0 | 5 | 11 => crate::unix_now(),
        // CLOCK_MONOTONIC, raw, coarse, CLOCK_BOOTTIME
        1 | 4 | 6 | 7 => call.uc.now(),
        // CLOCK_PROCESS_CPUTIME_ID, CLOCK_THREAD_CPUTIME_ID
        2 => call.uc.threads.borrow().iter().map(|t| t.ran).sum(),
        3 => call
            .uc
            .threads
            .borrow()
            .get(call.index)
            .map_or(0, |t| t.ran),
        // A thread's or process's own clock (negative numbers): that of the program.
        id if id < 0 => call.uc.threads.borrow().iter().map(|t| t.ran).sum(),
        _ => return Err(Errno::EINVAL),
    })
}

pub fn clock_gettime(call: &Call<'_>) -> Outcome {
    let time = clock(call, call.args[0])?;
    call.space()
        .put(call.args[1], [time / SECOND, time % SECOND])?;
    Ok(0)
}

pub fn clock_getres(call: &Call<'_>) -> Outcome {
    clock(call, call.args[0])?;
    if call.args[1] != 0 {
        call.space().put(call.args[1], [0u64, 1])?;
    }
    Ok(0)
}

pub fn gettimeofday(call: &Call<'_>) -> Outcome {
    let time = crate::unix_now();
    let mut space = call.space();
    if call.args[0] != 0 {
        space.put(call.args[0], [time / SECOND, time % SECOND / 1000])?;
    }
    if call.args[1] != 0 {
        space.put(call.args[1], 0u64)?;
    }
    Ok(0)
}

pub fn time(call: &Call<'_>) -> Outcome {
    let time = crate::unix_now() / SECOND;
    if call.args[0] != 0 {
        call.space().put(call.args[0], time)?;
    }
    Ok(time)
}

pub fn nanosleep(call: &Call<'_>) -> Outcome {
    if call.is_late() {
        return Ok(0);
    }
    let deadline = match call.waited(|w| w.deadline) {
        Some(deadline) => deadline,
        None => Some(
            call.uc
                .now()
                .saturating_add(timespec(call, call.args[0])?.ok_or(Errno::EFAULT)?),
        ),
    };
    call.wait(deadline)
}

pub fn clock_nanosleep(call: &Call<'_>) -> Outcome {
    let [id, flags, request, ..] = call.args;
    if call.is_late() {
        return Ok(0);
    }
    let now = clock(call, id)?;
    let deadline = match call.waited(|w| w.deadline) {
        Some(deadline) => deadline,
        None => {
            let time = timespec(call, request)?.ok_or(Errno::EFAULT)?;
            let span = if flags & 1 != 0 {
                time.saturating_sub(now)
            } else {
                time
            };
            if span == 0 {
                return Ok(0);
            }
            Some(call.uc.now().saturating_add(span))
        }
    };
    call.wait(deadline)
}

/// Nanoseconds that the program ran.
fn ran(call: &Call<'_>) -> u64 {
    call.uc.threads.borrow().iter().map(|t| t.ran).sum()
}

pub fn times(call: &Call<'_>) -> Outcome {
    let ticks = ran(call) / 10_000_000;
    if call.args[0] != 0 {
        call.space().put(call.args[0], [ticks, 0, 0, 0])?;
    }
    Ok(call.uc.now() / 10_000_000)
}

pub fn getrusage(call: &Call<'_>) -> Outcome {
    let time = match call.args[0] as i32 {
        0 => ran(call),
        1 => call
            .uc
            .threads
            .borrow()
            .get(call.index)
            .map_or(0, |t| t.ran),
        -1 => 0,
        _ => return Err(Errno::EINVAL.into()),
    };
    let mut usage = [0u64; 18];
    usage[0] = time / SECOND;
    usage[1] = time % SECOND / 1000;
    let mut space = call.space();
    usage[4] = space.resident() >> 10;
    space.put(call.args[1], usage)?;
    Ok(0)
}
