//! The platform's clock, for rustls.

use ebb::time::unix_time;
use rustls::{pki_types::UnixTime, time_provider::TimeProvider};

/// Tells the validity of certificates and the age of tickets.
#[derive(Debug)]
pub struct Clock;

impl TimeProvider for Clock {
    fn current_time(&self) -> Option<UnixTime> {
        Some(UnixTime::since_unix_epoch(unix_time()))
    }
}
