//! Log lines: what an instance wrote to its two streams, as the record shows it.

use alloc::{format, string::String, vec::Vec};

/// The line that ends an activation's logs on a stream.
pub const MARKER: &str = "XXX_THE_END_OF_A_WHISK_ACTIVATION_XXX";
const UNEXPECTED: &str =
    "The action did not initialize or run as expected. Log data might be missing.";
/// The longest line in bytes; a longer one is broken.
const LONGEST_LINE: usize = 64 << 10;

/// One of an instance's streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    /// Standard output.
    Out,
    /// Standard error.
    Err,
}

impl Stream {
    fn name(self) -> &'static str {
        match self {
            Self::Out => "stdout",
            Self::Err => "stderr",
        }
    }
}

/// A time as ISO 8601 in UTC; `nanoseconds` since 1970. The calendar is Howard Hinnant's `civil_from_days`.
pub fn timestamp(nanoseconds: u64) -> String {
    let seconds = nanoseconds / 1_000_000_000;
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    let days = days + 719_468;
    let (era, day) = (days / 146_097, days % 146_097);
    let year_of_era = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day_of_year = day - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 {
        shifted + 3
    } else {
        shifted - 9
    };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    format!(
        "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}.{:09}Z",
        second / 3600,
        second / 60 % 60,
        second % 60,
        nanoseconds % 1_000_000_000
    )
}

fn line(time_ns: u64, stream: Stream, text: &str) -> String {
    format!("{:<30} {}: {text}", timestamp(time_ns), stream.name())
}

/// Collects the logs of one activation up to its limit.
#[derive(Debug)]
pub struct Collector {
    lines: Vec<String>,
    /// What each stream wrote since its last line end.
    open: [Vec<u8>; 2],
    /// Markers seen on each stream.
    markers: [u32; 2],
    bytes: usize,
    limit: usize,
    cut: bool,
}

impl Collector {
    /// Collects up to `limit` MB.
    pub fn new(limit: u32) -> Self {
        Self {
            lines: Vec::new(),
            open: [Vec::new(), Vec::new()],
            markers: [0; 2],
            bytes: 0,
            limit: (limit as usize) << 20,
            cut: false,
        }
    }

    /// Takes what a stream wrote; `time_ns` in nanoseconds since 1970.
    pub fn push(&mut self, stream: Stream, time_ns: u64, mut bytes: &[u8]) {
        while let Some(end) = bytes.iter().position(|&b| b == b'\n') {
            self.open[stream as usize].extend_from_slice(&bytes[..end]);
            self.end_line(stream, time_ns);
            bytes = &bytes[end + 1..];
        }
        self.open[stream as usize].extend_from_slice(bytes);
        while self.open[stream as usize].len() > LONGEST_LINE {
            let rest = self.open[stream as usize].split_off(LONGEST_LINE);
            self.end_line(stream, time_ns);
            self.open[stream as usize] = rest;
        }
    }

    fn end_line(&mut self, stream: Stream, time_ns: u64) {
        let bytes = core::mem::take(&mut self.open[stream as usize]);
        let text = String::from_utf8_lossy(&bytes);
        if text.contains(MARKER) {
            self.markers[stream as usize] += 1;
            return;
        }
        if self.limit == 0 || self.cut {
            return;
        }
        if self.bytes + text.len() > self.limit {
            self.cut = true;
            return;
        }
        self.bytes += text.len();
        self.lines.push(line(time_ns, stream, &text));
    }

    /// Whether both streams ended the activation's logs.
    pub fn is_complete(&self) -> bool {
        self.markers.iter().all(|&n| n > 0)
    }

    /// The lines, and what the platform has to add to them.
    pub fn finish(mut self, time_ns: u64, developer_error: bool) -> Vec<String> {
        for stream in [Stream::Out, Stream::Err] {
            if !self.open[stream as usize].is_empty() {
                self.end_line(stream, time_ns);
            }
        }
        if self.limit == 0 {
            return Vec::new();
        }
        if self.cut {
            let text = format!(
                "Logs were truncated because the total bytes size exceeds the limit of {} bytes.",
                self.limit
            );
            self.lines.push(line(time_ns, Stream::Err, &text));
        }
        if developer_error {
            self.lines.push(line(time_ns, Stream::Err, UNEXPECTED));
        }
        self.lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_those_of_the_calendar() {
        for (seconds, expected) in [
            (0, "1970-01-01T00:00:00.000000000Z"),
            (951_782_400, "2000-02-29T00:00:00.000000000Z"),
            (1_760_000_000, "2025-10-09T08:53:20.000000000Z"),
            (4_102_444_799, "2099-12-31T23:59:59.000000000Z"),
        ] {
            assert_eq!(timestamp(seconds * 1_000_000_000), expected);
        }
    }

    #[test]
    fn a_line_is_time_stream_and_text() {
        let mut logs = Collector::new(10);
        logs.push(Stream::Out, 1_760_000_000_123_456_789, b"hel");
        logs.push(Stream::Out, 1_760_000_000_123_456_789, b"lo\n");
        assert_eq!(
            logs.finish(0, false),
            ["2025-10-09T08:53:20.123456789Z stdout: hello"]
        );
    }

    #[test]
    fn markers_end_the_logs_and_are_not_shown() {
        let mut logs = Collector::new(10);
        logs.push(Stream::Out, 0, format!("{MARKER}\n").as_bytes());
        assert!(!logs.is_complete());
        logs.push(Stream::Err, 0, format!("half a line{MARKER}\n").as_bytes());
        assert!(logs.is_complete());
        assert!(logs.finish(0, false).is_empty());
    }

    #[test]
    fn logs_above_the_limit_are_cut_and_say_so() {
        let mut logs = Collector::new(1);
        for _ in 0..40 {
            logs.push(Stream::Out, 0, &[b'x'; 30_000]);
            logs.push(Stream::Out, 0, b"\n");
        }
        let lines = logs.finish(0, false);
        assert_eq!(lines.len(), 34 + 1);
        assert!(lines[34].ends_with(
            "stderr: Logs were truncated because the total bytes size exceeds the limit of 1048576 bytes."
        ));
    }

    #[test]
    fn with_limit_0_there_are_none() {
        let mut logs = Collector::new(0);
        logs.push(Stream::Out, 0, b"hello\n");
        assert!(logs.finish(0, true).is_empty());
    }

    #[test]
    fn after_a_developer_error_the_last_line_warns() {
        let mut logs = Collector::new(1);
        logs.push(Stream::Err, 0, b"no line end");
        let lines = logs.finish(0, true);
        assert!(lines[0].ends_with("stderr: no line end"));
        assert!(lines[1].ends_with(
            "stderr: The action did not initialize or run as expected. Log data might be missing."
        ));
    }
}
