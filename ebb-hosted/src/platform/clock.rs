//! Time.

use std::{
    sync::LazyLock,
    time::{Instant, SystemTime, UNIX_EPOCH},
};

use ebb_runtime::{platform::Clock, provides};

use super::Linux;

static START: LazyLock<Instant> = LazyLock::new(Instant::now);

#[provides(Clock, default, instance = &Linux)]
impl Clock for Linux {
    fn now_ns(&self) -> u64 {
        START.elapsed().as_nanos() as u64
    }

    fn unix_time_ns(&self) -> u64 {
        SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |d| d.as_nanos() as u64)
    }
}
