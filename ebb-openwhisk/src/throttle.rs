//! Throttles: how many calls a namespace makes in any minute, how many at once, and how much those take.

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
        if second + (SECONDS as u64) < self.now_ms {
            // The clock was set back by more than a minute. What was counted goes a minute from now, not when the clock is there again.
            self.counts = [0; SECONDS];
            self.counts[(second % SECONDS as u64) as usize] = self.sum;
            self.now_ms = second;
        }
        // Seconds that nobody counted in are empty; a clock that steps back a little counts into the newest second.
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
    memory_mb: u32,
    argument_bytes: usize,
}

/// What a call takes while it runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Admission {
    /// The namespace that it counts for.
    pub namespace: Arc<str>,
    /// MB: the memory limit of its action.
    pub memory_mb: u32,
    /// Bytes of its arguments.
    pub argument_bytes: usize,
}

/// Bytes of the arguments of one namespace's calls where it is not the only one: half of what all may have.
pub const ARGUMENTS: usize = 64 << 20;

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
                memory_mb: 0,
                argument_bytes: 0,
            })
    }

    /// Lets a call begin; [`Throttle::end`] must follow.
    ///
    /// # Errors
    /// 429.
    pub fn begin(
        &mut self,
        call: &Admission,
        limits: &NamespaceLimits,
        is_alone: bool,
        now_ms: u64,
    ) -> Result<()> {
        let usage = self.usage(&call.namespace);
        if usage.running >= limits.concurrent_calls {
            return Err(Failure::new(
                429,
                format!(
                    "Too many concurrent requests in flight (count: {}, allowed: {}).",
                    usage.running, limits.concurrent_calls
                ),
            ));
        }
        if usage.memory_mb.saturating_add(call.memory_mb) > limits.memory_mb {
            return Err(Failure::new(
                429,
                format!(
                    "Too much memory in use by requests in flight (in use: {} MB, allowed: {} MB).",
                    usage.memory_mb, limits.memory_mb
                ),
            ));
        }
        if !is_alone && usage.argument_bytes.saturating_add(call.argument_bytes) > ARGUMENTS {
            return Err(Failure::new(
                429,
                "Too many concurrent requests in flight: their arguments take too much memory.",
            ));
        }
        usage
            .calls
            .count(now_ms, limits.calls_per_minute)
            .map_err(|count| too_many(count, limits.calls_per_minute))?;
        usage.running += 1;
        usage.memory_mb = usage.memory_mb.saturating_add(call.memory_mb);
        usage.argument_bytes += call.argument_bytes;
        Ok(())
    }

    /// A call has ended.
    pub fn end(&mut self, call: &Admission) {
        let Some(usage) = self.usage.get_mut(&call.namespace) else {
            return;
        };
        usage.running = usage.running.saturating_sub(1);
        usage.memory_mb = usage.memory_mb.saturating_sub(call.memory_mb);
        usage.argument_bytes = usage.argument_bytes.saturating_sub(call.argument_bytes);
    }

    /// A namespace is gone. What it has running still ends.
    pub fn forget(&mut self, namespace: &str) {
        if self.running_of(namespace) == 0 {
            self.usage.remove(namespace);
        }
    }

    /// Calls of a namespace that are running.
    pub fn running_of(&self, namespace: &str) -> u32 {
        self.usage.get(namespace).map_or(0, |usage| usage.running)
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
    fn after_the_clock_was_set_back_a_minute_is_a_minute_again() {
        let mut minute = Minute::new();
        for _ in 0..5 {
            assert_eq!(minute.count(9_000_000, 5), Ok(()));
        }
        // A little is a clock that is corrected.
        assert_eq!(minute.count(8_970_000, 5), Err(6));
        assert_eq!(minute.count(1_000_000, 5), Err(6));
        assert_eq!(minute.count(1_059_000, 5), Err(6));
        for _ in 0..5 {
            assert_eq!(minute.count(1_060_000, 5), Ok(()));
        }
        assert_eq!(minute.count(1_060_000, 5), Err(6));
    }

    fn call(memory_mb: u32) -> Admission {
        Admission {
            namespace: Arc::from("guest"),
            memory_mb,
            argument_bytes: 1 << 20,
        }
    }

    #[test]
    fn calls_at_once_are_limited_and_end() {
        let call = call(256);
        let limits = NamespaceLimits {
            concurrent_calls: 2,
            ..NamespaceLimits::default()
        };
        let mut throttle = Throttle::default();
        throttle.begin(&call, &limits, true, 0).unwrap();
        throttle.begin(&call, &limits, true, 0).unwrap();
        let refused = throttle.begin(&call, &limits, true, 0).unwrap_err();
        assert_eq!(
            (refused.status, refused.text.as_str()),
            (
                429,
                "Too many concurrent requests in flight (count: 2, allowed: 2)."
            )
        );
        throttle.end(&call);
        throttle.begin(&call, &limits, true, 0).unwrap();
    }

    #[test]
    fn the_memory_of_calls_at_once_is_limited() {
        let limits = NamespaceLimits {
            memory_mb: 700,
            ..NamespaceLimits::default()
        };
        let mut throttle = Throttle::default();
        throttle.begin(&call(512), &limits, true, 0).unwrap();
        let refused = throttle.begin(&call(256), &limits, true, 0).unwrap_err();
        assert_eq!(refused.status, 429);
        throttle.begin(&call(128), &limits, true, 0).unwrap();
        throttle.end(&call(512));
        throttle.begin(&call(256), &limits, true, 0).unwrap();
    }

    #[test]
    fn one_of_several_namespaces_cannot_take_all_memory_for_arguments() {
        let limits = NamespaceLimits::default();
        let begun = |is_alone| {
            let mut throttle = Throttle::default();
            (0..100)
                .take_while(|_| throttle.begin(&call(128), &limits, is_alone, 0).is_ok())
                .count()
        };
        assert_eq!((begun(true), begun(false)), (100, ARGUMENTS >> 20));
    }
}
