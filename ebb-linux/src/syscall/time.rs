//! Clocks and sleeping.

use super::guest::timespec;
use super::{Call, Outcome, Stop};
use crate::abi::errno::Errno;
use crate::state::process::Used;
use crate::state::thread::Remainder;

const SECOND: u64 = 1_000_000_000;
const CLOCK_PROCESS_CPUTIME_ID: i32 = 2;
const CLOCK_THREAD_CPUTIME_ID: i32 = 3;

/// The time of a clock by number, in nanoseconds.
pub fn clock(call: &Call<'_>, id: u64) -> Result<u64, Errno> {
    Ok(match id as i32 {
        // CLOCK_REALTIME, its coarse form, CLOCK_TAI
        0 | 5 | 11 => crate::unix_now(),
        // CLOCK_MONOTONIC, raw, coarse, CLOCK_BOOTTIME
        1 | 4 | 6 | 7 => call.uc.now(),
        // CLOCK_PROCESS_CPUTIME_ID, CLOCK_THREAD_CPUTIME_ID
        2 => call.process.ran(),
        3 => own(call),
        // The clock of a process or thread: its number inverted, bit 2 for a thread, the kind below that.
        // 3 is the clock of a descriptor: no device here has one.
        id if id < 0 && id & 3 == 3 => return Err(Errno::EINVAL),
        id if id < 0 => {
            let number = !(id >> 3) as u32;
            if id & 4 != 0 {
                let threads = call.process.threads.borrow();
                let tid = if number == 0 { call.tid } else { number };
                let thread = threads.iter().find(|t| t.tid == tid);
                thread.map(|t| t.ran).ok_or(Errno::EINVAL)?
            } else if number == 0 {
                call.process.ran()
            } else {
                let processes = call.uc.processes.borrow();
                let ended = processes.zombies.iter().find(|z| z.pid == number);
                match (processes.find(number), ended) {
                    (Some(process), _) => process.ran(),
                    (None, Some(_)) => 0,
                    (None, None) => return Err(Errno::EINVAL),
                }
            }
        }
        _ => return Err(Errno::EINVAL),
    })
}

/// The short number of a clock that tells the time of the caller, by the number of the process or thread that it tells
/// of.
pub fn own_clock(call: &Call<'_>, id: i32) -> Option<i32> {
    let number = !(id >> 3) as u32;
    match id {
        0.. => None,
        _ if id & 3 == 3 => None,
        _ if id & 4 != 0 => (number == 0 || number == call.tid).then_some(CLOCK_THREAD_CPUTIME_ID),
        _ => (number == 0 || number == call.process.pid()).then_some(CLOCK_PROCESS_CPUTIME_ID),
    }
}

/// Nanoseconds that the calling thread ran.
fn own(call: &Call<'_>) -> u64 {
    let threads = call.process.threads.borrow();
    threads.get(call.index).map_or(0, |t| t.ran)
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

/// Sleeps until a point of the UC's clock; `remainder_at` is where the guest wants to be told what a handler has left of it,
/// or 0.
fn sleep_until(call: &Call<'_>, deadline: u64, remainder_at: u64) -> Outcome {
    let _ = call.wait(Some(deadline));
    if remainder_at != 0 {
        call.waited(|w| w.remainder = Some(Remainder::Timespec(remainder_at)));
    }
    Err(Stop::Wait)
}

pub fn nanosleep(call: &Call<'_>) -> Outcome {
    if call.is_late() {
        return Ok(0);
    }
    if !call.first {
        return Err(Stop::Wait);
    }
    let span = timespec(call, call.args[0])?.ok_or(Errno::EFAULT)?;
    sleep_until(call, call.uc.now().saturating_add(span), call.args[1])
}

pub fn clock_nanosleep(call: &Call<'_>) -> Outcome {
    const TIMER_ABSTIME: u64 = 1;
    let [id, flags, request, remainder_at, ..] = call.args;
    if call.is_late() {
        return Ok(0);
    }
    if !call.first {
        return Err(Stop::Wait);
    }
    match id as i32 {
        // Without a timer: CLOCK_MONOTONIC_RAW, the coarse ones, and the alarm clocks of a machine without one.
        CLOCK_THREAD_CPUTIME_ID | 4..=6 | 8 | 9 => return Err(Errno::EOPNOTSUPP.into()),
        // The time is looked at before whose clock it is.
        id if id < 0 && id & 7 != 3 => {
            timespec(call, request)?.ok_or(Errno::EFAULT)?;
        }
        _ => {}
    }
    match id as i32 {
        // A thread would wait for its own time.
        id if own_clock(call, id) == Some(CLOCK_THREAD_CPUTIME_ID) => {
            return Err(Errno::EINVAL.into());
        }
        _ => {}
    }
    let now = clock(call, id)?;
    let time = timespec(call, request)?.ok_or(Errno::EFAULT)?;
    let is_absolute = flags & TIMER_ABSTIME != 0;
    let span = if is_absolute {
        time.saturating_sub(now)
    } else {
        time
    };
    if span == 0 {
        return Ok(0);
    }
    let remainder_at = if is_absolute { 0 } else { remainder_at };
    sleep_until(call, call.uc.now().saturating_add(span), remainder_at)
}

pub fn clock_settime(call: &Call<'_>) -> Outcome {
    const CLOCK_REALTIME: u64 = 0;
    if call.args[0] != CLOCK_REALTIME {
        return Err(Errno::EINVAL.into());
    }
    timespec(call, call.args[1])?.ok_or(Errno::EFAULT)?;
    Err(Errno::EPERM.into())
}

pub fn settimeofday(call: &Call<'_>) -> Outcome {
    let [at, zone, ..] = call.args;
    if at != 0 {
        let [seconds, micros]: [i64; 2] = call.space().get(at)?;
        if seconds < 0 || !(0..1_000_000).contains(&micros) {
            return Err(Errno::EINVAL.into());
        }
    }
    if zone != 0 {
        let _: [u32; 2] = call.space().get(zone)?;
    }
    Err(Errno::EPERM.into())
}

/// Tells of the clock in a `struct timex` at `at`: nobody disciplines it. Whatever would change it is refused.
fn discipline(call: &Call<'_>, at: u64) -> Outcome {
    const TIME_ERROR: u64 = 5;
    const STA_UNSYNC: u64 = 0x40;
    const MOST_ERROR_US: u64 = 16_000_000;
    const TICK_US: u64 = 10_000;
    let modes: u32 = call.space().get(at)?;
    if modes != 0 {
        return Err(Errno::EPERM.into());
    }
    let now = crate::unix_now();
    let mut timex = [0u64; 26];
    timex[3] = MOST_ERROR_US;
    timex[4] = MOST_ERROR_US;
    timex[5] = STA_UNSYNC;
    timex[7] = 1;
    timex[8] = 500 << 16;
    timex[9] = now / SECOND;
    timex[10] = now % SECOND / 1000;
    timex[11] = TICK_US;
    call.space().put(at, timex)?;
    Ok(TIME_ERROR)
}

pub fn adjtimex(call: &Call<'_>) -> Outcome {
    discipline(call, call.args[0])
}

pub fn clock_adjtime(call: &Call<'_>) -> Outcome {
    match call.args[0] as i32 {
        0 => discipline(call, call.args[1]),
        1..=11 => Err(Errno::EOPNOTSUPP.into()),
        _ => Err(Errno::EINVAL.into()),
    }
}

pub fn times(call: &Call<'_>) -> Outcome {
    let ticks = |time: u64| time / 10_000_000;
    let own = ticks(call.process.ran());
    let children = ticks(call.process.state.borrow().ran.children.ran);
    if call.args[0] != 0 {
        call.space().put(call.args[0], [own, 0, children, 0])?;
    }
    Ok(ticks(call.uc.now()))
}

/// A `struct rusage`.
pub fn rusage(used: &Used) -> [u64; 18] {
    let mut usage = [0u64; 18];
    usage[0] = used.ran / SECOND;
    usage[1] = used.ran % SECOND / 1000;
    // In KiB.
    usage[4] = used.peak >> 10;
    usage[8] = used.faults;
    usage[16] = used.waits;
    usage[17] = used.turns_lost;
    usage
}

pub fn getrusage(call: &Call<'_>) -> Outcome {
    let used = match call.args[0] as i32 {
        0 => call.process.used(),
        1 => Used {
            ran: own(call),
            ..call.process.used()
        },
        -1 => call.process.state.borrow().ran.children,
        _ => return Err(Errno::EINVAL.into()),
    };
    call.space().put(call.args[1], rusage(&used))?;
    Ok(0)
}
