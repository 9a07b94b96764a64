//! `setitimer`, `alarm`, `timer_create` and their kin.

use super::{Call, Outcome, Stop};
use crate::abi::errno::Errno;
use crate::abi::signal::SIGALRM;
use crate::object::timerfd::TimerSpec;
use crate::signal::has_room_of;
use crate::state::timer::{Clock, Interval, Notify, Posix};

const SECOND: u64 = 1_000_000_000;

/// Which clock an interval timer follows, by its number.
fn clock_of(which: u64) -> Result<(usize, Clock), Stop> {
    match which {
        0 => Ok((0, Clock::Real)),
        1 | 2 => Ok((which as usize, Clock::Processor)),
        _ => Err(Errno::EINVAL.into()),
    }
}

fn now(call: &Call<'_>, clock: Clock) -> u64 {
    match clock {
        Clock::Real => call.uc.now(),
        Clock::Processor => call.process.ran(),
    }
}

/// A `struct timeval` in nanoseconds.
fn timeval([seconds, micros]: [i64; 2]) -> Result<u64, Stop> {
    if seconds < 0 || !(0..1_000_000).contains(&micros) {
        return Err(Errno::EINVAL.into());
    }
    Ok((seconds as u64)
        .saturating_mul(SECOND)
        .saturating_add(micros as u64 * 1000))
}

fn interval_spec(call: &Call<'_>, which: usize, clock: Clock) -> [u64; 4] {
    let now = now(call, clock);
    let (left, every) = call.process.state.borrow().timers.intervals[which].left(now);
    let micros = |ns: u64| [ns / SECOND, ns % SECOND / 1000];
    // What is left of a microsecond is shown as one: 0 would mean that the timer is off.
    let [value, part] = micros(if left == 0 { 0 } else { left.max(1000) });
    let [period, period_part] = micros(every);
    [period, period_part, value, part]
}

fn set_interval(call: &Call<'_>, which: usize, clock: Clock, value: u64, every: u64) {
    let now = now(call, clock);
    let interval = Interval {
        due: (value > 0).then(|| now.saturating_add(value)),
        every,
    };
    call.process.state.borrow_mut().timers.intervals[which] = interval;
    if clock == Clock::Real {
        call.uc.timers_changed();
    }
}

pub fn getitimer(call: &Call<'_>) -> Outcome {
    let (which, clock) = clock_of(call.args[0])?;
    let spec = interval_spec(call, which, clock);
    call.space().put(call.args[1], spec)?;
    Ok(0)
}

pub fn setitimer(call: &Call<'_>) -> Outcome {
    let [which, new, old, ..] = call.args;
    let (value, every) = match new {
        // As on Linux, where this has always meant to switch it off.
        0 => (0, 0),
        at => {
            let [a, b, c, d]: [i64; 4] = call.space().get(at)?;
            (timeval([c, d])?, timeval([a, b])?)
        }
    };
    let (which, clock) = clock_of(which)?;
    let before = interval_spec(call, which, clock);
    set_interval(call, which, clock, value, every);
    if old != 0 {
        call.space().put(old, before)?;
    }
    Ok(0)
}

pub fn alarm(call: &Call<'_>) -> Outcome {
    let left = call.process.state.borrow().timers.intervals[0]
        .left(call.uc.now())
        .0;
    let seconds = u64::from(call.args[0] as u32);
    set_interval(call, 0, Clock::Real, seconds * SECOND, 0);
    // Rounded, but never to 0.
    Ok(if left == 0 {
        0
    } else {
        ((left + SECOND / 2) / SECOND).max(1)
    })
}

pub fn timer_create(call: &Call<'_>) -> Outcome {
    let [clock, event, out, ..] = call.args;
    let clock = clock as i32;
    // sigev_value, then signo, notify, thread id.
    let event: Option<(u64, [u32; 3])> = match event {
        0 => None,
        at => {
            let mut space = call.space();
            let value = space.get(at)?;
            Some((value, space.get(at.wrapping_add(8))?))
        }
    };
    let (clock, wall) = match super::time::own_clock(call, clock).unwrap_or(clock) {
        0 | 8 | 11 => (Clock::Real, true),
        1 | 7 | 9 => (Clock::Real, false),
        2 | 3 => (Clock::Processor, false),
        4..=6 => return Err(Errno::EOPNOTSUPP.into()),
        // A clock of nobody's is noticed when the number has been told.
        ..0 if clock & 3 != 3 || clock & 4 != 0 => {
            if event.is_none() {
                call.space().put(out, 0u32)?;
            }
            return Err(Errno::EINVAL.into());
        }
        _ => return Err(Errno::EINVAL.into()),
    };
    let (notify, value) = match event {
        None => (Notify::Process(SIGALRM), None),
        Some((value, [signal, how, tid])) => {
            let signal = match u8::try_from(signal) {
                Ok(signal @ 1..=64) => signal,
                // SIGEV_NONE needs none.
                _ if how == 1 => 1,
                _ => return Err(Errno::EINVAL.into()),
            };
            let notify = match how {
                // SIGEV_THREAD is a matter of libraries: to the kernel it is a signal to the process.
                0 | 2 => Notify::Process(signal),
                1 => Notify::Nothing,
                4 => {
                    let threads = call.process.threads.borrow();
                    if threads.iter().all(|t| t.tid != tid) {
                        return Err(Errno::EINVAL.into());
                    }
                    Notify::Thread(signal, tid)
                }
                _ => return Err(Errno::EINVAL.into()),
            };
            (notify, Some(value))
        }
    };
    let timer = Posix {
        clock,
        wall,
        notify,
        value: value.unwrap_or(0),
        interval: Interval::default(),
        overrun: 0,
    };
    if !has_room_of(call.uc, call.process) {
        return Err(Errno::EAGAIN.into());
    }
    let added = call.process.state.borrow_mut().timers.add(timer);
    let index = added.ok_or(Errno::EAGAIN)?;
    if value.is_none()
        && let Some(timer) = call.process.state.borrow_mut().timers.get_mut(index)
    {
        timer.value = index as u64;
    }
    let told = call.space().put(out, index as u32);
    if let Err(error) = told {
        call.process.state.borrow_mut().timers.remove(index);
        return Err(error.into());
    }
    Ok(0)
}

/// Runs `f` with the timer in the first argument.
fn with<R>(call: &Call<'_>, f: impl FnOnce(&mut Posix) -> R) -> Result<R, Stop> {
    let index = usize::try_from(call.args[0] as i32).map_err(|_| Errno::EINVAL)?;
    let mut state = call.process.state.borrow_mut();
    let timer = state.timers.get_mut(index).ok_or(Errno::EINVAL)?;
    Ok(f(timer))
}

fn spec_of(call: &Call<'_>) -> Result<TimerSpec, Stop> {
    let clock = with(call, |t| t.clock)?;
    let now = now(call, clock);
    let (left, every) = with(call, |t| t.interval.left(now))?;
    Ok(TimerSpec::from_ns(every, left))
}

pub fn timer_settime(call: &Call<'_>) -> Outcome {
    let [_, flags, new, old, ..] = call.args;
    if new == 0 {
        return Err(Errno::EINVAL.into());
    }
    let before = spec_of(call)?;
    let bytes: [u8; 32] = call.space().get(new)?;
    let spec = TimerSpec::from_bytes(&bytes)?;
    let (clock, wall) = with(call, |t| (t.clock, t.wall))?;
    let now = now(call, clock);
    let value = spec.value.to_ns();
    let due = match (value, flags & 1 != 0) {
        (0, _) => None,
        (value, false) => Some(now.saturating_add(value)),
        (value, true) if wall => Some(now.saturating_add(value.saturating_sub(crate::unix_now()))),
        (value, true) => Some(value),
    };
    with(call, |t| {
        t.overrun = 0;
        t.interval = Interval {
            due,
            // One that is switched off has no period either.
            every: due.map_or(0, |_| spec.interval.to_ns()),
        };
    })?;
    if clock == Clock::Real {
        call.uc.timers_changed();
    }
    if old != 0 {
        call.space().put(old, before.to_bytes())?;
    }
    Ok(0)
}

pub fn timer_gettime(call: &Call<'_>) -> Outcome {
    let spec = spec_of(call)?;
    call.space().put(call.args[1], spec.to_bytes())?;
    Ok(0)
}

pub fn timer_getoverrun(call: &Call<'_>) -> Outcome {
    with(call, |t| t.overrun.min(i32::MAX as u64))
}

pub fn timer_delete(call: &Call<'_>) -> Outcome {
    let index = usize::try_from(call.args[0] as i32).map_err(|_| Errno::EINVAL)?;
    if call.process.state.borrow_mut().timers.remove(index) {
        Ok(0)
    } else {
        Err(Errno::EINVAL.into())
    }
}
