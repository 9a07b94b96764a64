//! Messages for people: COM1, and notes on the debug console.

use super::Native;
use crate::{console, report};
use ebb_runtime::{platform::Console, provides};

#[provides(Console, default, instance = &Native)]
impl Console for Native {
    fn write(&self, bytes: &[u8]) {
        console::write(bytes);
    }

    fn read(&self, buffer: &mut [u8]) -> usize {
        console::read(buffer)
    }

    fn note(&self, line: &str) {
        for line in line.lines() {
            report::note(format_args!("{line}"));
        }
    }

    fn inform(&self, line: &str) {
        for line in line.lines() {
            report::inform(format_args!("{line}"));
        }
    }

    fn pass_keys(&self, every_key: bool) {
        let mode = if every_key { "raw" } else { "line" };
        report::line(format_args!("console {mode}"));
    }

    fn pass_sizes(&self) {
        report::line(format_args!("console sizes"));
    }
}
