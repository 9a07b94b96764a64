//! What every connection and every core needs.

use alloc::boxed::Box;

use ebb::{quiesce::EventBoundary, time};
use ebb_memcached::{Limits, Time};

/// Reads of the table are safe until the end of an event, which is what `EventBoundary` says.
type Store = ebb_memcached::Store<EventBoundary>;

/// What every connection needs: the table, and when the server started, which expiry times count from.
#[derive(Clone, Copy)]
pub struct Server {
    pub store: &'static Store,
    started: time::Instant,
    /// The start as a Unix time, in seconds.
    epoch: i64,
}

impl Server {
    pub fn new(limits: Limits) -> Self {
        let store = Store::new(limits, ebb::core_count());
        Self {
            // It lives as long as the machine.
            store: Box::leak(Box::new(store)),
            started: time::Instant::now(),
            epoch: i64::try_from(time::unix_time().as_secs()).unwrap_or(0),
        }
    }

    /// The time of this batch of requests.
    pub fn time(&self) -> Time {
        Time::new(self.started.elapsed().as_secs(), self.epoch)
    }
}
