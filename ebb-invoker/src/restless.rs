//! An instance that has been called, and how long it has to be idle until it rests.

use core::time::Duration;

use ebb::time::Instant;

/// How long an instance has been idle when it rests, and when it rests for long. What the next call is delayed by then is less than a
/// ten-thousandth of that.
const IDLE: Duration = Duration::from_millis(500);
const LONG: Duration = Duration::from_secs(10);

/// An instance that has been called.
#[derive(Clone, Copy)]
pub(crate) struct Restless {
    /// When its last call ended.
    pub(crate) since: Instant,
    /// It rests, and not for long yet.
    pub(crate) rests: bool,
}

impl Restless {
    /// How long it has to be idle.
    pub(crate) const fn patience(self) -> Duration {
        if self.rests { LONG } else { IDLE }
    }

    pub(crate) fn is_due(self) -> bool {
        self.since.elapsed() >= self.patience()
    }
}
