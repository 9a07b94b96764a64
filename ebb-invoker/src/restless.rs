//! An instance that has been called, and how long it has to be idle until it rests.

use core::time::Duration;

use ebb::time::Instant;

/// How long an instance has been idle when it rests, when it rests for long, and when it does so once more if it has taken memory by
/// itself: timers of its own wake it. What the next call is delayed by then is less than a ten-thousandth of that.
const PATIENCE: [Duration; 4] = [
    Duration::from_millis(500),
    Duration::from_secs(10),
    Duration::from_secs(30),
    Duration::from_secs(150),
];

/// An instance that has been called.
#[derive(Clone, Copy)]
pub(crate) struct Restless {
    /// When its last call ended.
    since: Instant,
    /// How often it has rested since.
    rests: usize,
}

impl Restless {
    /// One whose call has just ended.
    pub(crate) fn called() -> Self {
        Self {
            since: Instant::now(),
            rests: 0,
        }
    }

    /// How long it has been idle by then beyond what it has to be until it rests; `None` before that.
    pub(crate) fn overdue(self, now: Instant) -> Option<Duration> {
        (now - self.since).checked_sub(PATIENCE[self.rests])
    }

    /// Whether it has rested, and what comes is not to come soon.
    pub(crate) const fn rests(self) -> bool {
        self.rests > 0
    }

    /// Whether it has rested for long, so that there is nothing to be done unless it has run since.
    pub(crate) const fn rests_for_long(self) -> bool {
        self.rests > 1
    }

    /// The same after it has rested; `None` when it has done so for the last time.
    pub(crate) fn next(self) -> Option<Self> {
        let rests = self.rests + 1;
        (rests < PATIENCE.len()).then_some(Self { rests, ..self })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_rests_soon_then_for_long_and_then_only_for_what_it_has_taken_by_itself() {
        let mut stages = alloc::vec::Vec::new();
        let mut next = Some(Restless::called());
        while let Some(restless) = next {
            stages.push((restless.rests(), restless.rests_for_long()));
            next = restless.next();
        }
        assert_eq!(
            stages,
            [(false, false), (true, false), (true, true), (true, true)]
        );
        assert!(PATIENCE.is_sorted());
        let restless = Restless::called();
        let overdue = |idle| restless.overdue(restless.since + idle);
        assert_eq!(overdue(PATIENCE[0] / 2), None);
        assert_eq!(overdue(PATIENCE[0] * 3), Some(PATIENCE[0] * 2));
    }
}
