//! What the invoker counts, and Prometheus' text of it. Written on one core, read on any.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use ebb_openwhisk::metrics::{Histogram, head, single};

/// A number that goes up.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// One more.
    pub fn increment(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    /// How many.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    /// It is so many now.
    pub fn set(&self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
    }
}

/// A time that is counted.
#[derive(Debug, Default)]
pub struct Times(Mutex<Histogram>);

impl Times {
    /// Counts a time in microseconds.
    pub fn record(&self, microseconds: u64) {
        let mut times = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        times.record(microseconds);
    }

    fn get(&self) -> Histogram {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// All that is counted.
#[derive(Debug)]
pub struct Counts {
    /// Controllers are to send more.
    pub enabled: AtomicBool,
    /// Messages that were read.
    pub messages: Counter,
    /// Of those, what could not be read as activations.
    pub malformed: Counter,
    /// Activations that have begun and not been acknowledged.
    pub running: AtomicI64,
    /// Containers that schedulers asked for.
    pub creations: Counter,
    /// Requests of schedulers to let containers go.
    pub deletions: Counter,
    /// Containers that there are.
    pub containers: Counter,
    /// Activations that were not run and given back to a scheduler.
    pub rescheduled: Counter,
    /// How often a container lost its scheduler.
    pub lost_schedulers: Counter,
    /// What containers there are, as JSON; empty in classic mode.
    pool: Mutex<String>,
    /// Activations that were refused because their namespace is blocked.
    pub blocked: Counter,
    /// Activations whose action could not be had.
    pub unusable: Counter,
    /// Activations that ended with an error of the platform's.
    pub system_errors: Counter,
    /// Acknowledgements that the bus has taken.
    pub acknowledged: Counter,
    /// Acknowledgements that were too large, and went as the id alone.
    pub shrunk: Counter,
    /// Acknowledgements that the bus did not take.
    pub unacknowledged: Counter,
    /// Messages in the topic that have not been taken; -1 while that is not known.
    pub lag: AtomicI64,
    /// From taking a message to the bus having the last acknowledgement of it.
    pub latency: Times,
    /// About what that takes at present, in microseconds; 0 before the first has ended.
    pub recent_us: AtomicU64,
    /// From the end of a run to the bus having its acknowledgement.
    pub acknowledging: Times,
    /// Actions in the cache.
    pub cached: Counter,
    /// Bytes that they take.
    pub cached_bytes: Counter,
    /// Requests for actions to the database.
    pub fetches: Counter,
    /// Records that the database has.
    pub records_stored: Counter,
    /// Records that are lost.
    pub records_lost: Counter,
    /// Bytes of records that wait for the database.
    pub records_bytes: Counter,
    /// Bytes of acknowledgements that wait for the bus.
    pub unsent_bytes: Counter,
}

impl Default for Counts {
    fn default() -> Self {
        Self {
            enabled: AtomicBool::new(true),
            messages: Counter::default(),
            malformed: Counter::default(),
            running: AtomicI64::new(0),
            creations: Counter::default(),
            deletions: Counter::default(),
            containers: Counter::default(),
            rescheduled: Counter::default(),
            lost_schedulers: Counter::default(),
            pool: Mutex::default(),
            blocked: Counter::default(),
            unusable: Counter::default(),
            system_errors: Counter::default(),
            acknowledged: Counter::default(),
            shrunk: Counter::default(),
            unacknowledged: Counter::default(),
            lag: AtomicI64::new(-1),
            latency: Times::default(),
            recent_us: AtomicU64::new(0),
            acknowledging: Times::default(),
            cached: Counter::default(),
            cached_bytes: Counter::default(),
            fetches: Counter::default(),
            records_stored: Counter::default(),
            records_lost: Counter::default(),
            records_bytes: Counter::default(),
            unsent_bytes: Counter::default(),
        }
    }
}

impl Counts {
    /// Whether controllers are to send more.
    pub fn is_enabled(&self) -> bool {
        self.enabled.load(Ordering::Relaxed)
    }

    /// Activations that have begun and not been acknowledged.
    pub fn running(&self) -> i64 {
        self.running.load(Ordering::Relaxed)
    }

    /// An activation has been acknowledged, so long after it was taken.
    pub fn has_taken(&self, us: u64) {
        self.latency.record(us);
        let recent_us = match self.recent_us.load(Ordering::Relaxed) {
            0 => us,
            recent_us => recent_us - recent_us / 8 + us / 8,
        };
        self.recent_us.store(recent_us, Ordering::Relaxed);
    }

    /// What containers there are, as JSON.
    pub fn pool(&self) -> MutexGuard<'_, String> {
        self.pool.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Prometheus' text format.
    pub fn render(&self, out: &mut String) {
        for (name, help, counter) in self.counters() {
            let name = format!("ebb_whisk_{name}");
            single(out, &name, "counter", help, counter.get());
        }
        for (name, help, value) in self.gauges() {
            single(out, &format!("ebb_whisk_{name}"), "gauge", help, value);
        }
        head(
            out,
            "ebb_whisk_lag",
            "gauge",
            "Messages in the invoker's topic that have not been taken; -1 while that is not known.",
        );
        let _ = writeln!(out, "ebb_whisk_lag {}", self.lag.load(Ordering::Relaxed));
        for (name, help, times) in [
            (
                "ebb_whisk_latency_seconds",
                "From taking a message to the bus having its last acknowledgement.",
                &self.latency,
            ),
            (
                "ebb_whisk_acknowledging_seconds",
                "From the end of a run to the bus having its last acknowledgement.",
                &self.acknowledging,
            ),
        ] {
            head(out, name, "histogram", help);
            times.get().render(out, name, "");
        }
    }

    /// What only grows: name, help, value.
    fn counters(&self) -> [(&'static str, &'static str, &Counter); 15] {
        [
            (
                "messages_total",
                "Messages read from the invoker's topic.",
                &self.messages,
            ),
            (
                "malformed_total",
                "Messages that could not be read as activations.",
                &self.malformed,
            ),
            (
                "creations_total",
                "Containers that schedulers asked for.",
                &self.creations,
            ),
            (
                "deletions_total",
                "Requests of schedulers to let containers go.",
                &self.deletions,
            ),
            (
                "rescheduled_total",
                "Activations that were not run and given back to a scheduler.",
                &self.rescheduled,
            ),
            (
                "lost_schedulers_total",
                "How often a container lost its scheduler.",
                &self.lost_schedulers,
            ),
            (
                "blocked_total",
                "Activations refused because their namespace is blocked.",
                &self.blocked,
            ),
            (
                "unusable_total",
                "Activations whose action could not be had.",
                &self.unusable,
            ),
            (
                "system_errors_total",
                "Activations that ended with an error of the platform's.",
                &self.system_errors,
            ),
            (
                "acknowledged_total",
                "Acknowledgements that the bus has taken.",
                &self.acknowledged,
            ),
            (
                "shrunk_total",
                "Acknowledgements that were too large and went as the id alone.",
                &self.shrunk,
            ),
            (
                "unacknowledged_total",
                "Acknowledgements that the bus did not take.",
                &self.unacknowledged,
            ),
            (
                "fetches_total",
                "Requests for actions to the database.",
                &self.fetches,
            ),
            (
                "records_stored_total",
                "Records that the database has.",
                &self.records_stored,
            ),
            (
                "records_lost_total",
                "Records that were given up.",
                &self.records_lost,
            ),
        ]
    }

    /// What goes up and down: name, help, value.
    fn gauges(&self) -> [(&'static str, &'static str, u64); 7] {
        [
            (
                "containers",
                "Containers, in scheduler mode.",
                self.containers.get(),
            ),
            ("cached_actions", "Actions in the cache.", self.cached.get()),
            (
                "cached_bytes",
                "Bytes of the actions in the cache.",
                self.cached_bytes.get(),
            ),
            (
                "records_bytes",
                "Bytes of records that wait for the database.",
                self.records_bytes.get(),
            ),
            (
                "acknowledgements_bytes",
                "Bytes of acknowledgements that wait for the bus.",
                self.unsent_bytes.get(),
            ),
            (
                "running",
                "Activations that have begun and not been acknowledged.",
                self.running().unsigned_abs(),
            ),
            (
                "enabled",
                "1 while controllers are to send activations.",
                self.is_enabled().into(),
            ),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_has_each_figure_with_its_type() {
        let counts = Counts::default();
        counts.messages.increment();
        counts.latency.record(700);
        let mut text = String::new();
        counts.render(&mut text);
        for line in [
            "# TYPE ebb_whisk_messages_total counter",
            "ebb_whisk_messages_total 1",
            "ebb_whisk_enabled 1",
            "ebb_whisk_lag -1",
            "ebb_whisk_latency_seconds_bucket{le=\"0.001\"} 1",
            "ebb_whisk_acknowledging_seconds_count 0",
        ] {
            assert!(text.lines().any(|l| l == line), "{line} in {text}");
        }
    }
}
