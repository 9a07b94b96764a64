//! Where the image's start-up time went: the TSC at each step, reported when the clock is known.

use crate::{apic, clock, cpu, report};
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

/// Reports: a line on the debug console, and a table on the console.
pub fn report(line: bool, table: bool) {
    let t = TIMELINE.lock();
    let us = |ticks: u64| clock::ticks_to_ns(ticks) / 1000;
    if line {
        let mut text = Line {
            bytes: [0; 512],
            len: 0,
        };
        let _ = write!(
            text,
            "boot total={}us cores={}",
            us(t.last - t.first),
            cpu::count()
        );
        for (step, ticks) in &t.steps[..t.count] {
            let _ = write!(text, " {step}={}us", us(*ticks));
        }
        report::line(format_args!(
            "{}",
            core::str::from_utf8(&text.bytes[..text.len]).unwrap_or("boot")
        ));
    }
    if table {
        crate::say!("boot step        time (us)   until (us)");
        let mut until = 0;
        for (step, ticks) in &t.steps[..t.count] {
            until += ticks;
            crate::say!("{step:<16} {:>9} {:>12}", us(*ticks), us(until));
        }
        crate::say!("{:<16} {:>9} {:>12}", "main", "", us(t.last - t.first));
        crate::say!(
            "{} cores; {}, timer by {}; TSC {} MHz by {}",
            cpu::count(),
            if apic::is_x2apic() { "x2APIC" } else { "xAPIC" },
            if apic::has_deadline_timer() {
                "TSC deadline"
            } else {
                "countdown"
            },
            clock::frequency_hz() / 1_000_000,
            clock::source().map_or("nothing", clock::Source::name),
        );
    }
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
