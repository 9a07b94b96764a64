//! Where the image's start-up time went: the TSC at each step, reported when the clock is known.

use crate::{clock, report};
use core::fmt::Write;
use spin::mutex::SpinMutex as Mutex;

const STEPS: usize = 24;

struct Steps {
    last: u64,
    first: u64,
    steps: [(&'static str, u64); STEPS],
    count: usize,
}

static TIMELINE: Mutex<Steps> = Mutex::new(Steps {
    last: 0,
    first: 0,
    steps: [("", 0); STEPS],
    count: 0,
});

/// Sets the zero.
pub fn begin(entry: u64) {
    let mut t = TIMELINE.lock();
    t.first = entry;
    t.last = entry;
    t.count = 0;
}

/// Ends a step.
pub fn mark(step: &'static str) {
    let now = clock::tsc();
    let mut t = TIMELINE.lock();
    let n = t.count;
    if n < STEPS {
        t.steps[n] = (step, now - t.last);
        t.count = n + 1;
    }
    t.last = now;
}

/// Writes the line to the debug console.
pub fn report() {
    let t = TIMELINE.lock();
    let us = |ticks: u64| clock::ticks_to_ns(ticks) / 1000;
    let mut line = Line {
        bytes: [0; 512],
        len: 0,
    };
    let _ = write!(line, "boot total={}us", us(t.last - t.first));
    for (step, ticks) in &t.steps[..t.count] {
        let _ = write!(line, " {step}={}us", us(*ticks));
    }
    report::line(format_args!(
        "{}",
        core::str::from_utf8(&line.bytes[..line.len]).unwrap_or("boot")
    ));
}

struct Line {
    bytes: [u8; 512],
    len: usize,
}

impl Write for Line {
    fn write_str(&mut self, s: &str) -> core::fmt::Result {
        let n = s.len().min(self.bytes.len() - self.len);
        self.bytes[self.len..self.len + n].copy_from_slice(&s.as_bytes()[..n]);
        self.len += n;
        Ok(())
    }
}
