//! Counters and histograms in Prometheus' text format, and the console's line for each activation.
//!
//! Every core counts for itself; what is shown is their sum ([`Metrics::add`]), and the counters that say where.

use crate::activation::{Activation, Status};
use crate::call::{Call, Start};
use crate::json::Json;
use alloc::{format, string::String, vec::Vec};
use core::fmt::Write;

/// Upper bounds of a histogram's buckets in microseconds; the last bucket has none.
const BOUNDS: [u64; 16] = [
    250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000,
    2_500_000, 10_000_000, 30_000_000, 60_000_000,
];

/// A histogram of times.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Histogram {
    counts: [u64; BOUNDS.len() + 1],
    sum: u64,
}

impl Histogram {
    /// Counts a time in microseconds.
    pub fn record(&mut self, microseconds: u64) {
        let bucket = BOUNDS.partition_point(|&bound| bound < microseconds);
        self.counts[bucket] += 1;
        self.sum = self.sum.saturating_add(microseconds);
    }

    /// Times counted.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// The mean in microseconds, 0 without any.
    pub fn mean(&self) -> u64 {
        self.sum.checked_div(self.count()).unwrap_or(0)
    }

    /// The bound of the bucket below which the `percent`th part of all times lies, in microseconds.
    pub fn quantile(&self, percent: u64) -> u64 {
        let wanted = (self.count() * percent).div_ceil(100);
        let mut seen = 0;
        for (count, bound) in self.counts.iter().zip(BOUNDS) {
            seen += count;
            if seen >= wanted {
                return bound;
            }
        }
        BOUNDS[BOUNDS.len() - 1]
    }

    fn numbers_mut(&mut self) -> impl Iterator<Item = &mut u64> {
        self.counts.iter_mut().chain([&mut self.sum])
    }

    /// Appends its lines; `labels` are `name="value"`, or none.
    pub fn render(&self, out: &mut String, name: &str, labels: &str) {
        let mut total = 0;
        let separator = if labels.is_empty() { "" } else { "," };
        for (count, bound) in self.counts.iter().zip(BOUNDS) {
            total += count;
            let _ = writeln!(
                out,
                "{name}_bucket{{{labels}{separator}le=\"{}\"}} {total}",
                seconds(bound)
            );
        }
        total += self.counts[BOUNDS.len()];
        let braces = if labels.is_empty() {
            String::new()
        } else {
            format!("{{{labels}}}")
        };
        let _ = writeln!(
            out,
            "{name}_bucket{{{labels}{separator}le=\"+Inf\"}} {total}"
        );
        let _ = writeln!(out, "{name}_sum{braces} {}", seconds(self.sum));
        let _ = writeln!(out, "{name}_count{braces} {total}");
    }
}

/// Microseconds as seconds, without a rounding error.
fn seconds(microseconds: u64) -> String {
    let text = format!(
        "{}.{:06}",
        microseconds / 1_000_000,
        microseconds % 1_000_000
    );
    String::from(text.trim_end_matches('0').trim_end_matches('.'))
}

/// What a core counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Metrics {
    /// HTTP requests received.
    pub requests: u64,
    /// Requests refused with 429.
    pub throttled: u64,
    /// Calls that were handed over to another core.
    pub handed_over: u64,
    /// Activations by outcome.
    pub outcomes: [u64; 4],
    /// From the request to the answer, by [`Start`].
    pub latency: [Histogram; 3],
    /// From the request until an instance was at hand.
    pub wait: Histogram,
    /// Of init.
    pub init: Histogram,
    /// Of run, by [`Start`].
    pub run: [Histogram; 3],
    /// Making an instance: a copy, or what was made in advance, by [`Start`]; hot ones are there.
    pub deploy: [Histogram; 3],
    /// Taking a function's snapshot, which no call waits for.
    pub capture: Histogram,
    /// Instances for new functions that had been made in advance.
    pub ahead: u64,
    /// Such instances that wait for a function now.
    pub blanks: u64,
    /// Idle instances whose capture has been put off until their core is quiet.
    pub uncaptured: u64,
    /// Instances that could be made only when others had made room for them.
    pub relieved: u64,
    /// Functions' snapshots that were read from a disk.
    pub snapshots_read: u64,
    /// Snapshots that came from other machines, of bases and of functions, and the bytes of them that were taken.
    pub snapshots_fetched: u64,
    /// See [`snapshots_fetched`](Self::snapshots_fetched).
    pub bytes_fetched: u64,
    /// Snapshots of other machines that did not come, not in time, or not as they were.
    pub fetches_failed: u64,
}

impl Metrics {
    /// Every number of it, in an order of its own.
    fn numbers_mut(&mut self) -> impl Iterator<Item = &mut u64> {
        let counts = [
            &mut self.requests,
            &mut self.throttled,
            &mut self.handed_over,
            &mut self.ahead,
            &mut self.blanks,
            &mut self.uncaptured,
            &mut self.relieved,
            &mut self.snapshots_read,
            &mut self.snapshots_fetched,
            &mut self.bytes_fetched,
            &mut self.fetches_failed,
        ];
        let by_start = [&mut self.latency, &mut self.run, &mut self.deploy];
        let times = [&mut self.wait, &mut self.init, &mut self.capture];
        let times = by_start.into_iter().flatten().chain(times);
        counts
            .into_iter()
            .chain(&mut self.outcomes)
            .chain(times.flat_map(Histogram::numbers_mut))
    }

    /// All of it as numbers, which [`Metrics::from_numbers`] of the same version reads.
    pub fn to_numbers(&self) -> Vec<u64> {
        let mut copy = *self;
        copy.numbers_mut().map(|number| *number).collect()
    }

    /// What [`Metrics::to_numbers`] gave; `None` if there are more or fewer numbers.
    pub fn from_numbers(numbers: &[u64]) -> Option<Self> {
        let mut metrics = Self::default();
        let mut rest = numbers.iter();
        for number in metrics.numbers_mut() {
            *number = *rest.next()?;
        }
        rest.next().is_none().then_some(metrics)
    }

    /// Adds another core's.
    pub fn add(&mut self, other: &Self) {
        let mut other = *other;
        for (sum, more) in self.numbers_mut().zip(other.numbers_mut()) {
            *sum = sum.saturating_add(*more);
        }
    }

    /// Counts an activation.
    pub fn activation(&mut self, start: Start, status: Status, latency_us: u64) {
        self.outcomes[usize::from(status.code())] += 1;
        self.latency[start as usize].record(latency_us);
    }

    /// The text of all of it; `cores` are the counts of each.
    pub fn render(&self, out: &mut String, cores: &[Self]) {
        self.render_counts(out, cores);
        self.render_times(out);
    }

    fn render_counts(&self, out: &mut String, cores: &[Self]) {
        type Count = fn(&Metrics) -> u64;
        let by_core: [(_, _, Count); 2] = [
            ("ebb_http_requests_total", "HTTP requests received.", |of| {
                of.requests
            }),
            (
                "ebb_handed_over_total",
                "Calls served by another core than the one that received them.",
                |of| of.handed_over,
            ),
        ];
        for (name, help, count) in by_core {
            head(out, name, "counter", help);
            for (core, metrics) in cores.iter().enumerate() {
                let _ = writeln!(out, "{name}{{core=\"{core}\"}} {}", count(metrics));
            }
        }
        let outcomes = "ebb_activations_total";
        head(out, outcomes, "counter", "Activations by outcome.");
        let statuses = [
            Status::Success,
            Status::ApplicationError,
            Status::DeveloperError,
            Status::InternalError,
        ];
        for (status, count) in statuses.iter().zip(self.outcomes) {
            let _ = writeln!(out, "{outcomes}{{status=\"{}\"}} {count}", status.text());
        }
        for (name, kind, help, value) in [
            (
                "ebb_throttled_total",
                "counter",
                "Requests refused with 429.",
                self.throttled,
            ),
            (
                "ebb_deployed_ahead_total",
                "counter",
                "Cold starts whose instance had been made in advance.",
                self.ahead,
            ),
            (
                "ebb_instances_ahead",
                "gauge",
                "Instances that were made in idle times and wait for a new function.",
                self.blanks,
            ),
            (
                "ebb_captures_put_off",
                "gauge",
                "Functions whose snapshot is taken when their core is quiet.",
                self.uncaptured,
            ),
            (
                "ebb_relieved_total",
                "counter",
                "Instances for which others had to make room because the machine's memory was used up.",
                self.relieved,
            ),
            (
                "ebb_snapshots_read_total",
                "counter",
                "Functions' snapshots that were read from the disk for calls.",
                self.snapshots_read,
            ),
        ] {
            single(out, name, kind, help, value);
        }
    }

    fn render_times(&self, out: &mut String) {
        for (name, help, times, starts) in [
            (
                "ebb_activation_seconds",
                "From the request to the answer, by how the instance was obtained.",
                &self.latency,
                &Start::ALL[..],
            ),
            (
                "ebb_run_seconds",
                "Running an action, by how its instance was obtained.",
                &self.run,
                &Start::ALL,
            ),
            (
                "ebb_deploy_seconds",
                "Making an instance before its first request, by what it is made of.",
                &self.deploy,
                &[Start::Warm, Start::Cold],
            ),
        ] {
            head(out, name, "histogram", help);
            for start in starts {
                let label = format!("start=\"{}\"", start.name());
                times[*start as usize].render(out, name, &label);
            }
        }
        for (name, help, times) in [
            (
                "ebb_wait_seconds",
                "From the request until an instance was at hand.",
                &self.wait,
            ),
            (
                "ebb_init_seconds",
                "Loading of an action's code.",
                &self.init,
            ),
            (
                "ebb_capture_seconds",
                "Taking the snapshot of a function; no call waits for it.",
                &self.capture,
            ),
        ] {
            head(out, name, "histogram", help);
            times.render(out, name, "");
        }
    }
}

/// The lines above a metric's values.
pub fn head(out: &mut String, name: &str, kind: &str, help: &str) {
    let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}");
}

/// One metric with one value.
pub fn single(out: &mut String, name: &str, kind: &str, help: &str, value: u64) {
    head(out, name, kind, help);
    let _ = writeln!(out, "{name} {value}");
}

/// The console's line for an activation.
pub fn line(call: &Call, start: Start, record: &Activation, core: usize) -> String {
    let annotation = |key: &str| {
        record
            .annotations
            .get(key)
            .and_then(Json::to_integer)
            .unwrap_or(0)
    };
    format!(
        "activation {} {} v{} {} {} core={core} wait={}ms init={}ms run={}ms",
        record.id,
        call.action.common.name,
        record.version,
        start.name(),
        record.outcome.status.text().replace(' ', "-"),
        annotation("waitTime"),
        annotation("initTime"),
        record
            .duration_ms
            .unwrap_or(0)
            .saturating_sub(annotation("initTime").unsigned_abs()),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn histograms_are_cumulative_and_in_seconds() {
        let mut metrics = Metrics::default();
        for time in [200, 250, 251, 3_000, 70_000_000] {
            metrics.wait.record(time);
        }
        let mut text = String::new();
        metrics.render(&mut text, &[metrics, metrics]);
        for line in [
            "ebb_wait_seconds_bucket{le=\"0.00025\"} 2",
            "ebb_wait_seconds_bucket{le=\"0.0005\"} 3",
            "ebb_wait_seconds_bucket{le=\"0.005\"} 4",
            "ebb_wait_seconds_bucket{le=\"60\"} 4",
            "ebb_wait_seconds_bucket{le=\"+Inf\"} 5",
            "ebb_wait_seconds_sum 70.003701",
            "ebb_wait_seconds_count 5",
            "ebb_http_requests_total{core=\"1\"} 0",
            "ebb_activation_seconds_count{start=\"warm\"} 0",
        ] {
            assert!(text.lines().any(|l| l == line), "{line} is not in\n{text}");
        }
        assert_eq!(metrics.wait.quantile(50), 500);
    }

    #[test]
    fn what_is_written_as_numbers_is_read_as_the_same_and_adds_up() {
        let mut metrics = Metrics::default();
        for (at, number) in metrics.numbers_mut().enumerate() {
            *number = at as u64 + 1;
        }
        let mut numbers = metrics.to_numbers();
        assert_eq!(Metrics::from_numbers(&numbers), Some(metrics));
        let mut sum = metrics;
        sum.add(&metrics);
        let twice: Vec<u64> = numbers.iter().map(|n| 2 * n).collect();
        assert_eq!(sum.to_numbers(), twice);
        // A member that a new version has is not left out above.
        assert_eq!(size_of::<Metrics>(), 8 * numbers.len());
        numbers.push(0);
        assert_eq!(Metrics::from_numbers(&numbers), None);
        assert_eq!(Metrics::from_numbers(&numbers[2..]), None);
    }

    #[test]
    fn every_metric_is_explained_once() {
        let mut text = String::new();
        Metrics::default().render(&mut text, &[]);
        let mut explained = alloc::vec::Vec::new();
        for line in text.lines().filter(|l| l.starts_with("# TYPE")) {
            let name = line.split(' ').nth(2).unwrap();
            assert!(!explained.contains(&name), "{name}");
            explained.push(name);
        }
        assert_eq!(explained.len(), 15);
    }
}
