//! Interval timers (`setitimer`, `alarm`) and POSIX timers (`timer_create`) of a process: plain data that says what is due.
//!
//! Who drives them: the task of the UC's timers those of real time, the threads' tasks those of processor time.

use alloc::vec::Vec;
use borsh::{BorshDeserialize, BorshSerialize};

/// Which clock a timer follows.
#[derive(BorshSerialize, BorshDeserialize, Clone, Copy, Debug, PartialEq, Eq)]
pub enum Clock {
    /// The UC's monotonic clock.
    Real,
    /// The process's processor time.
    Processor,
}

/// When something is due, on its clock, and how often then.
#[derive(BorshSerialize, BorshDeserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Interval {
    /// Nanoseconds of the clock; `None` for a timer that is off.
    pub due: Option<u64>,
    /// Nanoseconds between later times; 0 for once.
    pub every: u64,
}

impl Interval {
    /// What is left and the period: 0 for what is off.
    #[must_use]
    pub fn left(&self, now_ns: u64) -> (u64, u64) {
        // A timer that is on never says 0.
        let left = self.due.map_or(0, |d| d.saturating_sub(now_ns).max(1));
        (left, self.every)
    }

    /// How often it has come due by now; it goes on from there.
    fn expire(&mut self, now_ns: u64) -> u64 {
        let Some(due) = self.due.filter(|d| *d <= now_ns) else {
            return 0;
        };
        let Some(more) = (now_ns - due).checked_div(self.every) else {
            self.due = None;
            return 1;
        };
        let periods = more.saturating_add(1);
        self.due = Some(due.saturating_add(periods.saturating_mul(self.every)));
        periods
    }
}

/// What a POSIX timer does when it is due.
#[derive(BorshSerialize, BorshDeserialize, Clone, Copy, Debug, PartialEq, Eq)]
pub enum Notify {
    /// Nothing.
    Nothing,
    /// Sends a signal to the process.
    Process(u8),
    /// Sends a signal to a thread.
    Thread(u8, u32),
}

/// A POSIX timer.
#[derive(BorshSerialize, BorshDeserialize, Clone, Copy, Debug)]
pub struct Posix {
    /// Its clock.
    pub clock: Clock,
    /// Absolute times of it are those of the wall clock.
    pub wall: bool,
    /// What it does.
    pub notify: Notify,
    /// `sigev_value`.
    pub value: u64,
    /// When.
    pub interval: Interval,
    /// Times that it came due beyond those that were told.
    pub overrun: u64,
}

/// The most POSIX timers of a process.
const MAX_POSIX: usize = 1024;

/// The timers of a process.
#[derive(BorshSerialize, BorshDeserialize, Clone, Debug, Default)]
pub struct Timers {
    /// `ITIMER_REAL`, `ITIMER_VIRTUAL`, `ITIMER_PROF`.
    pub intervals: [Interval; 3],
    posix: Vec<Option<Posix>>,
}

/// A signal that is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Due {
    /// Where to.
    pub notify: Notify,
    /// The POSIX timer and its `sigev_value`, if it is one.
    pub posix: Option<(usize, u64)>,
    /// How often it came due since it was last looked at, once at least.
    pub times: u64,
}

const SIGNALS: [u8; 3] = [14, 26, 27];

impl Timers {
    /// A new POSIX timer's number.
    pub fn add(&mut self, timer: Posix) -> Option<usize> {
        let free = self.posix.iter().position(Option::is_none);
        match free {
            Some(index) => self.posix[index] = Some(timer),
            None if self.posix.len() >= MAX_POSIX => return None,
            None => self.posix.push(Some(timer)),
        }
        Some(free.unwrap_or(self.posix.len() - 1))
    }

    /// How many POSIX timers there are.
    pub fn count(&self) -> usize {
        self.posix.iter().flatten().count()
    }

    /// The POSIX timer of a number.
    pub fn get_mut(&mut self, index: usize) -> Option<&mut Posix> {
        self.posix.get_mut(index)?.as_mut()
    }

    /// Removes a POSIX timer; false when there is none.
    pub fn remove(&mut self, index: usize) -> bool {
        self.posix.get_mut(index).and_then(Option::take).is_some()
    }

    /// `execve` ends the POSIX timers.
    pub fn end_posix(&mut self) {
        self.posix.clear();
    }

    /// When the first timer of a clock is due.
    #[must_use]
    pub fn next(&self, clock: Clock) -> Option<u64> {
        let intervals = match clock {
            Clock::Real => &self.intervals[..1],
            Clock::Processor => &self.intervals[1..],
        };
        let posix = self.posix.iter().flatten().filter(|t| t.clock == clock);
        let all = intervals.iter().chain(posix.map(|t| &t.interval));
        all.filter_map(|i| i.due).min()
    }

    /// Whether there is a [`next`](Self::next): asked whenever a thread's turn ends.
    #[must_use]
    #[inline]
    pub fn is_armed(&self, clock: Clock) -> bool {
        let [real, processor @ ..] = &self.intervals;
        let has_interval = match clock {
            Clock::Real => real.due.is_some(),
            Clock::Processor => processor.iter().any(|i| i.due.is_some()),
        };
        has_interval || !self.posix.is_empty() && self.next(clock).is_some()
    }

    /// What is due on a clock.
    pub fn expire(&mut self, clock: Clock, now_ns: u64) -> Vec<Due> {
        let mut due = Vec::new();
        let of_clock = match clock {
            Clock::Real => 0..1,
            Clock::Processor => 1..3,
        };
        for which in of_clock {
            let times = self.intervals[which].expire(now_ns);
            if times > 0 {
                due.push(Due {
                    notify: Notify::Process(SIGNALS[which]),
                    posix: None,
                    times,
                });
            }
        }
        for (index, timer) in self.posix.iter_mut().enumerate() {
            let Some(timer) = timer.as_mut().filter(|t| t.clock == clock) else {
                continue;
            };
            let times = timer.interval.expire(now_ns);
            if times > 0 {
                due.push(Due {
                    notify: timer.notify,
                    posix: Some((index, timer.value)),
                    times,
                });
            }
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_periodic_timer_goes_on_from_when_it_was_due_and_counts_what_was_missed() {
        let mut timers = Timers::default();
        timers.intervals[0] = Interval {
            due: Some(100),
            every: 10,
        };
        let posix = Posix {
            clock: Clock::Real,
            wall: false,
            notify: Notify::Thread(34, 7),
            value: 5,
            interval: Interval {
                due: Some(95),
                every: 20,
            },
            overrun: 0,
        };
        assert_eq!(timers.add(posix), Some(0));
        assert_eq!(timers.next(Clock::Real), Some(95));
        assert!(timers.expire(Clock::Real, 94).is_empty());
        let due = timers.expire(Clock::Real, 137);
        assert_eq!(due.len(), 2);
        assert_eq!(due[0].notify, Notify::Process(14));
        assert_eq!(due[1].posix, Some((0, 5)));
        assert_eq!(due[1].times, 3);
        assert_eq!(timers.next(Clock::Real), Some(140));
        assert_eq!(timers.intervals[0].left(137), (3, 10));
        assert_eq!(timers.next(Clock::Processor), None);
    }

    #[test]
    fn a_clock_is_armed_when_it_has_a_next_timer() {
        let due = Interval {
            due: Some(7),
            every: 0,
        };
        let agree = |timers: &Timers, armed: [bool; 2]| {
            for (clock, armed) in [Clock::Real, Clock::Processor].into_iter().zip(armed) {
                assert_eq!(timers.is_armed(clock), armed);
                assert_eq!(timers.next(clock).is_some(), armed);
            }
        };
        let mut timers = Timers::default();
        agree(&timers, [false; 2]);
        for (which, armed) in [(0, [true, false]), (1, [false, true]), (2, [false, true])] {
            let mut timers = Timers::default();
            timers.intervals[which] = due;
            agree(&timers, armed);
        }
        timers.add(Posix {
            clock: Clock::Processor,
            wall: false,
            notify: Notify::Thread(34, 7),
            value: 5,
            interval: due,
            overrun: 0,
        });
        agree(&timers, [false, true]);
        timers.remove(0);
        agree(&timers, [false; 2]);
    }
}
