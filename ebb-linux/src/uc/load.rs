//! The load averages of /proc/loadavg and `sysinfo`, computed as Linux computes them, from samples five seconds apart, but
//! without a timer: a UC that sleeps is not woken to be counted.
//!
//! What must hold: the load of the time since the last sample is how much of it the threads ran, times how many wanted to when it was
//! taken. A sample is taken at the end of a thread's turn, where one more than was asleep always runs, so the number alone would say 1 of
//! a UC that wakes up now and then.

use core::cell::Cell;

/// 1.0.
pub const ONE: u64 = 1 << 11;
/// Between samples, in nanoseconds.
const STEP: u64 = 5_000_000_000;
/// What one step leaves of an average over 1, 5 and 15 minutes: e to the power of minus step by minutes.
const LEFT: [u64; 3] = [1884, 2014, 2037];

#[derive(Clone, Copy, Default)]
struct State {
    averages: [u64; 3],
    /// The end of the last step that is counted.
    until: u64,
    /// The processor time then.
    ran: u64,
}

/// How much a UC wants to run.
pub struct Load(Cell<State>);

impl Load {
    /// None yet, at this time and with so much processor time used.
    pub fn new(now: u64, ran: u64) -> Self {
        Self(Cell::new(State {
            until: now,
            ran,
            ..State::default()
        }))
    }

    /// Counts the steps that have passed. `wanting` gives how many threads want to run.
    #[inline]
    pub fn sample(&self, now: u64, ran: u64, wanting: impl FnOnce() -> usize) {
        if now >= self.0.get().until + STEP {
            self.count(now, ran, wanting());
        }
    }

    #[cold]
    fn count(&self, now: u64, ran: u64, wanting: usize) {
        let mut state = self.0.get();
        let time = now - state.until;
        let used = ran.saturating_sub(state.ran).min(time);
        // At most 2^11 times a few hundred threads times the share, which is at most 1.
        let active =
            (u128::from(ONE) * wanting as u128 * u128::from(used) / u128::from(time)) as u64;
        let steps = time / STEP;
        for (average, left) in state.averages.iter_mut().zip(LEFT) {
            let left = power(left, steps);
            let sum = *average * left + active * (ONE - left);
            // As Linux rounds: up while it rises, so that it reaches what it rises to.
            let up = if active >= *average { ONE - 1 } else { 0 };
            *average = (sum + up) / ONE;
        }
        state.until += steps * STEP;
        state.ran = ran;
        self.0.set(state);
    }

    /// The averages over 1, 5 and 15 minutes, in units of [`ONE`].
    pub fn averages(&self) -> [u64; 3] {
        self.0.get().averages
    }
}

/// `base` to the power of `exponent`, both factors of [`ONE`].
fn power(mut base: u64, mut exponent: u64) -> u64 {
    let mut result = ONE;
    while exponent > 0 {
        if exponent & 1 == 1 {
            result = (result * base + ONE / 2) / ONE;
        }
        base = (base * base + ONE / 2) / ONE;
        exponent >>= 1;
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn hundredths(load: &Load) -> [u64; 3] {
        load.averages().map(|a| a * 100 / ONE)
    }

    #[test]
    fn three_threads_that_always_run_become_a_load_of_three() {
        let load = Load::new(0, 0);
        for at in 1..=12 {
            load.sample(at * 5 * SECOND, at * 5 * SECOND, || 3);
        }
        // 3 * (1 - 1/e), 3 * (1 - e^(-1/5)), 3 * (1 - e^(-1/15)), each within the rounding.
        let [one, five, fifteen] = hundredths(&load);
        assert!((188..=194).contains(&one), "{one}");
        assert!((53..=60).contains(&five), "{five}");
        assert!((18..=26).contains(&fifteen), "{fifteen}");
        for at in 13..=400 {
            load.sample(at * 5 * SECOND, at * 5 * SECOND, || 3);
        }
        assert_eq!(hundredths(&load)[0], 300);
    }

    #[test]
    fn who_wakes_up_now_and_then_is_no_load() {
        let load = Load::new(0, 0);
        for at in 1..=100 {
            load.sample(at * 10 * SECOND, at * 1_000_000, || 1);
        }
        assert!(hundredths(&load).iter().all(|l| *l <= 1));
    }

    #[test]
    fn a_load_is_forgotten_while_nothing_runs() {
        let load = Load::new(0, 0);
        for at in 1..=120 {
            load.sample(at * 5 * SECOND, at * 5 * SECOND, || 1);
        }
        let before = hundredths(&load);
        assert_eq!(before[0], 100);
        // A minute and an hour later.
        load.sample(660 * SECOND, 600 * SECOND, || 1);
        let [one, ..] = hundredths(&load);
        assert!((34..=40).contains(&one), "{one}");
        load.sample(4260 * SECOND, 600 * SECOND, || 1);
        assert_eq!(hundredths(&load)[0], 0);
    }

    #[test]
    fn less_than_a_step_changes_nothing() {
        let load = Load::new(0, 0);
        load.sample(STEP - 1, STEP - 1, || unreachable!("nobody is counted"));
        assert_eq!(load.averages(), [0; 3]);
    }
}
