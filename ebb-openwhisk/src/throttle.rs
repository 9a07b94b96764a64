//! Throttles: how many calls a namespace makes in any minute, and how many at once.

use crate::failure::{Failure, Result};
use crate::limits::NamespaceLimits;
use alloc::{format, sync::Arc};
use hashbrown::HashMap;

const SECONDS: usize = 60;

/// Counts events of the last minute, second by second.
#[derive(Clone, Debug)]
struct Minute {
    counts: [u32; SECONDS],
    sum: u32,
    now_ms: u64,
}

impl Minute {
    fn new() -> Self {
        Self {
            counts: [0; SECONDS],
            sum: 0,
            now_ms: 0,
        }
    }

    /// Counts one more, unless there are `limit` already: then says how many there would be.
    fn count(&mut self, now_ms: u64, limit: u32) -> core::result::Result<(), u32> {
        let second = now_ms / 1000;
        // Seconds that nobody counted in are empty; a clock that steps back counts into the newest second.
        for passed in (self.now_ms + 1..=second).rev().take(SECONDS) {
            let slot = &mut self.counts[(passed % SECONDS as u64) as usize];
            self.sum -= core::mem::take(slot);
        }
        self.now_ms = self.now_ms.max(second);
        if self.sum >= limit {
            return Err(self.sum.saturating_add(1));
        }
        self.counts[(self.now_ms % SECONDS as u64) as usize] += 1;
        self.sum += 1;
        Ok(())
    }
}

#[derive(Debug)]
struct Usage {
    calls: Minute,
    fires: Minute,
    running: u32,
}

/// The usage of all namespaces.
#[derive(Debug, Default)]
pub struct Throttle {
    usage: HashMap<Arc<str>, Usage>,
}

impl Throttle {
    fn usage(&mut self, namespace: &Arc<str>) -> &mut Usage {
        self.usage
            .entry(namespace.clone())
            .or_insert_with(|| Usage {
                calls: Minute::new(),
                fires: Minute::new(),
                running: 0,
            })
    }

    /// Lets a call begin; [`Throttle::end`] must follow.
    ///
    /// # Errors
    /// 429.
    pub fn begin(
        &mut self,
        namespace: &Arc<str>,
        limits: &NamespaceLimits,
        now_ms: u64,
    ) -> Result<()> {
        let usage = self.usage(namespace);
        if usage.running >= limits.concurrent_calls {
            return Err(Failure::new(
                429,
                format!(
                    "Too many concurrent requests in flight (count: {}, allowed: {}).",
                    usage.running, limits.concurrent_calls
                ),
            ));
        }
        usage
            .calls
            .count(now_ms, limits.calls_per_minute)
            .map_err(|count| too_many(count, limits.calls_per_minute))?;
        usage.running += 1;
        Ok(())
    }

    /// A call has ended.
    pub fn end(&mut self, namespace: &Arc<str>) {
        let usage = self.usage(namespace);
        usage.running = usage.running.saturating_sub(1);
    }

    /// Calls that are running.
    pub fn running(&self) -> u32 {
        self.usage.values().map(|usage| usage.running).sum()
    }

    /// Lets a trigger fire.
    ///
    /// # Errors
    /// 429.
    pub fn fire(
        &mut self,
        namespace: &Arc<str>,
        limits: &NamespaceLimits,
        now_ms: u64,
    ) -> Result<()> {
        self.usage(namespace)
            .fires
            .count(now_ms, limits.fires_per_minute)
            .map_err(|count| too_many(count, limits.fires_per_minute))
    }
}

fn too_many(count: u32, allowed: u32) -> Failure {
    Failure::new(
        429,
        format!("Too many requests in the last minute (count: {count}, allowed: {allowed})."),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_minute_forgets_what_is_older() {
        let mut minute = Minute::new();
        for n in 0..5 {
            assert_eq!(minute.count(1_000_000 + n * 10_000, 5), Ok(()));
        }
        assert_eq!(minute.count(1_050_000, 5), Err(6));
        assert_eq!(minute.count(1_060_000, 5), Ok(()));
        assert_eq!(minute.count(1_060_000, 5), Err(6));
        assert_eq!(minute.count(9_000_000, 1), Ok(()));
    }

    #[test]
    fn calls_at_once_are_limited_and_end() {
        let namespace = Arc::from("guest");
        let limits = NamespaceLimits {
            concurrent_calls: 2,
            ..NamespaceLimits::default()
        };
        let mut throttle = Throttle::default();
        throttle.begin(&namespace, &limits, 0).unwrap();
        throttle.begin(&namespace, &limits, 0).unwrap();
        let refused = throttle.begin(&namespace, &limits, 0).unwrap_err();
        assert_eq!(
            (refused.status, refused.text.as_str()),
            (
                429,
                "Too many concurrent requests in flight (count: 2, allowed: 2)."
            )
        );
        throttle.end(&namespace);
        throttle.begin(&namespace, &limits, 0).unwrap();
    }
}
