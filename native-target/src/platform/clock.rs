//! Time.

use super::Native;
use crate::clock;
use ebb_runtime::{platform::Clock, provides};

#[provides(Clock, default, instance = &Native)]
impl Clock for Native {
    #[inline]
    fn now_ns(&self) -> u64 {
        clock::now_ns()
    }

    fn unix_time_ns(&self) -> u64 {
        clock::unix_time_ns()
    }
}
