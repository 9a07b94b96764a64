//! When an item expires.

/// Relative times reach this far; greater numbers are Unix times.
const THIRTY_DAYS: i64 = 60 * 60 * 24 * 30;

/// A time that is always past.
pub const PAST: u32 = 1;
/// No expiry.
pub const NEVER: u32 = 0;

/// The time of one batch of requests, in seconds.
#[derive(Clone, Copy, Debug)]
pub struct Time {
    /// Since the server started, counted from 2, so that it is later than [`PAST`].
    pub now: u32,
    /// Since 1970.
    pub unix: i64,
}

impl Time {
    /// So many seconds after the server's start, which was at `started` (Unix time).
    #[must_use]
    pub fn new(uptime: u64, started: i64) -> Self {
        let uptime = u32::try_from(uptime)
            .unwrap_or(u32::MAX - 2)
            .min(u32::MAX - 2);
        Self {
            now: uptime + 2,
            unix: started.saturating_add(i64::from(uptime)),
        }
    }

    /// Seconds since the start.
    #[must_use]
    pub fn uptime(&self) -> u32 {
        self.now - 2
    }

    /// What a client's expiry time means: 0 never, negative at once, up to thirty days from now, else a Unix time.
    #[must_use]
    pub fn deadline(&self, expires: i64) -> u32 {
        let after = match expires {
            0 => return NEVER,
            ..0 => return PAST,
            1..=THIRTY_DAYS => expires,
            _ => expires.saturating_sub(self.unix),
        };
        if after <= 0 {
            return PAST;
        }
        u32::try_from(i64::from(self.now).saturating_add(after)).unwrap_or(u32::MAX)
    }

    /// Whether `deadline` is past.
    #[inline]
    #[must_use]
    pub fn is_past(&self, deadline: u32) -> bool {
        deadline != NEVER && deadline <= self.now
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expiry_times_are_relative_up_to_thirty_days_and_absolute_beyond() {
        let time = Time::new(100, 1_000_000_000);
        assert_eq!(time.deadline(0), NEVER);
        assert_eq!(time.deadline(-1), PAST);
        assert_eq!(time.deadline(i64::MIN), PAST);
        assert_eq!(time.deadline(10), 112);
        assert_eq!(time.deadline(THIRTY_DAYS), 102 + THIRTY_DAYS as u32);
        assert_eq!(time.deadline(THIRTY_DAYS + 1), PAST);
        assert_eq!(time.deadline(1_000_000_100), PAST);
        assert_eq!(time.deadline(1_000_000_107), 109);
        assert_eq!(time.deadline(i64::MAX), u32::MAX);
        assert!(time.is_past(PAST) && time.is_past(102));
        assert!(!time.is_past(NEVER) && !time.is_past(103));
    }
}
