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

    /// Forgets what is more than a minute ago.
    fn pass(&mut self, second: u64) {
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
    }

    /// Whether there may be one more. There are `limit` already: says how many there would be.
    fn check(&mut self, now_ms: u64, limit: u32) -> core::result::Result<(), u32> {
        self.pass(now_ms / 1000);
        if self.sum >= limit {
            return Err(self.sum.saturating_add(1));
        }
        Ok(())
    }

    /// Counts one more, if there may be.
    fn count(&mut self, now_ms: u64, limit: u32) -> core::result::Result<(), u32> {
        self.check(now_ms, limit)?;
        self.add(1);
        Ok(())
    }

    /// Counts more in the newest second.
    fn add(&mut self, count: u32) {
        self.counts[(self.now_ms % SECONDS as u64) as usize] += count;
        self.sum += count;
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
    /// How many calls it is: one, or as many as rules of a trigger make.
    pub calls: u32,
    /// MB: the memory limits of their actions.
    pub memory_mb: u32,
    /// Bytes of their arguments.
    pub argument_bytes: usize,
}

impl Admission {
    /// No call.
    pub fn none(namespace: Arc<str>) -> Self {
        Self {
            namespace,
            calls: 0,
            memory_mb: 0,
            argument_bytes: 0,
        }
    }

    /// With those of another.
    pub fn add(&mut self, other: &Self) {
        self.calls += other.calls;
        self.memory_mb = self.memory_mb.saturating_add(other.memory_mb);
        self.argument_bytes += other.argument_bytes;
    }
}

/// One of several equal parts of what is left of a namespace's limits, lent to a core: it lets calls begin by itself as long as they
/// fit, and what was counted goes back with it ([`Throttle::take_back`]). So nothing is let in that the limits do not allow, whatever
/// the others do meanwhile.
#[derive(Debug, Default)]
pub struct Share {
    /// The second, since 1970, in which calls may begin.
    second: u64,
    /// What may still begin.
    calls: u32,
    running: u32,
    memory_mb: u32,
    argument_bytes: usize,
    /// Calls that have begun, and those of them that have not ended: fewer than none when earlier ones ended.
    begun: u32,
    more_running: i64,
    more_memory_mb: i64,
    more_argument_bytes: i64,
}

impl Share {
    /// Lets a call begin, if it fits. Else nothing is said: others may have what this one lacks.
    pub fn begin(&mut self, call: &Admission, now_ms: u64) -> bool {
        let fits = self.second == now_ms / 1000
            && self.calls > 0
            && self.running > 0
            && self.memory_mb >= call.memory_mb
            && self.argument_bytes >= call.argument_bytes;
        if fits {
            self.calls -= 1;
            self.begun += 1;
            self.running -= 1;
            self.memory_mb -= call.memory_mb;
            self.argument_bytes -= call.argument_bytes;
            self.add_running(1, call);
        }
        fits
    }

    /// A call has ended, wherever it began.
    pub fn end(&mut self, call: &Admission) {
        self.running = self.running.saturating_add(call.calls);
        self.memory_mb = self.memory_mb.saturating_add(call.memory_mb);
        self.argument_bytes = self.argument_bytes.saturating_add(call.argument_bytes);
        self.add_running(-1, call);
    }

    fn add_running(&mut self, sign: i64, call: &Admission) {
        self.more_running += sign * i64::from(call.calls);
        self.more_memory_mb += sign * i64::from(call.memory_mb);
        self.more_argument_bytes += sign * i64::try_from(call.argument_bytes).unwrap_or(i64::MAX);
    }

    /// Whether calls began or ended since it was lent.
    pub fn is_used(&self) -> bool {
        self.begun > 0 || self.more_running != 0
    }
}

/// Bytes of the arguments of one namespace's calls where it is not the only one: half of what all may have.
pub const ARGUMENTS: usize = 64 << 20;

/// The usage of all namespaces.
#[derive(Debug, Default)]
pub struct Throttle {
    usage: HashMap<Arc<str>, Usage>,
}

impl Throttle {
    fn usage(&mut self, namespace: &str) -> &mut Usage {
        let usage = || Usage {
            calls: Minute::new(),
            fires: Minute::new(),
            running: 0,
            memory_mb: 0,
            argument_bytes: 0,
        };
        // Under a name of its own: the caller's is counted by its core.
        let own = self.usage.get_key_value(namespace);
        let own = own.map_or_else(|| Arc::from(namespace), |(own, _)| own.clone());
        self.usage.entry(own).or_insert_with(usage)
    }

    /// Whether one more call may begin, whatever it takes. That there were too many is told before that there are.
    ///
    /// # Errors
    /// 429.
    pub fn check(&mut self, namespace: &str, limits: &NamespaceLimits, now_ms: u64) -> Result<()> {
        let usage = self.usage(namespace);
        let allowed = limits.calls_per_minute;
        let free = usage.calls.check(now_ms, allowed);
        free.map_err(|count| too_many(count, allowed))?;
        if usage.running >= limits.concurrent_calls {
            return Err(Failure::new(
                429,
                format!(
                    "Too many concurrent requests in flight (count: {}, allowed: {}).",
                    usage.running, limits.concurrent_calls
                ),
            ));
        }
        Ok(())
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
        self.check(&call.namespace, limits, now_ms)?;
        let usage = self.usage(&call.namespace);
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
        usage.calls.add(call.calls);
        usage.running += call.calls;
        usage.memory_mb = usage.memory_mb.saturating_add(call.memory_mb);
        usage.argument_bytes += call.argument_bytes;
        Ok(())
    }

    /// A call has ended.
    pub fn end(&mut self, call: &Admission) {
        let Some(usage) = self.usage.get_mut(&call.namespace) else {
            return;
        };
        usage.running = usage.running.saturating_sub(call.calls);
        usage.memory_mb = usage.memory_mb.saturating_sub(call.memory_mb);
        usage.argument_bytes = usage.argument_bytes.saturating_sub(call.argument_bytes);
    }

    /// Takes a share back, and what was counted with it.
    pub fn take_back(&mut self, namespace: &Arc<str>, share: &mut Share) {
        let share = core::mem::take(share);
        // What has ended after its namespace was forgotten is nobody's.
        let known = self.usage.contains_key(namespace) || share.begun > 0;
        if !share.is_used() && share.more_argument_bytes == 0 || !known {
            return;
        }
        let usage = self.usage(namespace);
        if share.begun > 0 {
            usage.calls.pass(share.second);
            usage.calls.add(share.begun);
        }
        let sum =
            |now: u32, more: i64| u32::try_from((i64::from(now) + more).max(0)).unwrap_or(u32::MAX);
        usage.running = sum(usage.running, share.more_running);
        usage.memory_mb = sum(usage.memory_mb, share.more_memory_mb);
        let more = isize::try_from(share.more_argument_bytes).unwrap_or(isize::MAX);
        usage.argument_bytes = usage.argument_bytes.saturating_add_signed(more);
    }

    /// One of `parts` equal parts of what is left of a namespace's limits. No more of them may be lent at once, and while some are,
    /// nothing may begin or fire but with them.
    pub fn lend(
        &mut self,
        namespace: &Arc<str>,
        limits: &NamespaceLimits,
        is_alone: bool,
        parts: u32,
        now_ms: u64,
    ) -> Share {
        let usage = self.usage(namespace);
        let second = now_ms / 1000;
        usage.calls.pass(second);
        // Where the clock was set back a little, there are seconds in which nothing is lent.
        if usage.calls.now_ms != second {
            return Share::default();
        }
        let part = |most: u32, used: u32| most.saturating_sub(used) / parts;
        let bytes = if is_alone { usize::MAX } else { ARGUMENTS };
        Share {
            second,
            calls: part(limits.calls_per_minute, usage.calls.sum),
            running: part(limits.concurrent_calls, usage.running),
            memory_mb: part(limits.memory_mb, usage.memory_mb),
            argument_bytes: bytes.saturating_sub(usage.argument_bytes) / parts as usize,
            ..Share::default()
        }
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
    use alloc::vec::Vec;

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
            calls: 1,
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

    #[test]
    fn shares_let_in_what_the_limits_allow_and_not_one_more() {
        let limits = NamespaceLimits {
            concurrent_calls: 10,
            calls_per_minute: 25,
            ..NamespaceLimits::default()
        };
        let call = call(128);
        let namespace = call.namespace.clone();
        let mut throttle = Throttle::default();
        let (mut begun, mut now_ms) = (0, 5_000_000);
        let mut running: Vec<usize> = Vec::new();
        // Cores in turns, each with its share as far as that goes and else with all of them, as a controller is used.
        let mut shares: [Share; 3] = Default::default();
        for turn in 0..1_000_usize {
            let core = turn * 7 % 3;
            if turn % 5 == 4 && !running.is_empty() {
                let ended = running.swap_remove(turn % running.len());
                shares[(core + ended) % 3].end(&call);
                continue;
            }
            let mut is_in = shares[core].begin(&call, now_ms);
            if !is_in {
                shares
                    .iter_mut()
                    .for_each(|share| throttle.take_back(&namespace, share));
                assert_eq!(throttle.running() as usize, running.len());
                is_in = throttle.begin(&call, &limits, true, now_ms).is_ok();
                // Refused only where a limit is reached.
                assert!(is_in || running.len() == 10 || begun == 25);
                shares =
                    core::array::from_fn(|_| throttle.lend(&namespace, &limits, true, 3, now_ms));
            }
            if is_in {
                begun += 1;
                running.push(turn);
            }
            assert!(running.len() <= 10 && begun <= 25);
            if turn % 400 == 399 {
                now_ms += 61_000;
                begun = 0;
            }
        }
        assert!(running.len() == 10 || begun == 25);
    }

    #[test]
    fn a_share_is_of_its_second_and_ends_are_counted_after_their_namespace_is_gone() {
        let limits = NamespaceLimits::default();
        let call = call(128);
        let namespace = call.namespace.clone();
        let mut throttle = Throttle::default();
        let mut share = throttle.lend(&namespace, &limits, true, 2, 1_500);
        assert!(share.begin(&call, 1_999) && !share.begin(&call, 2_000));
        throttle.take_back(&namespace, &mut share);
        assert_eq!((throttle.running(), share.begin(&call, 1_999)), (1, false));
        share.end(&call);
        throttle.take_back(&namespace, &mut share);
        assert_eq!(throttle.running(), 0);
        throttle.forget(&namespace);
        share.end(&call);
        throttle.take_back(&namespace, &mut share);
        assert_eq!((throttle.running(), share.is_used()), (0, false));
    }
}
