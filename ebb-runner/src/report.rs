//! The image's report: lines on the debug console (I/O port 0xe9), apart from the console proper.
//!
//! `exit STATUS` (0 to 255) is the exit status of the runner. `console raw` and `console line`
//! ask for the terminal's mode, `console sizes` for the size of its window among the keys. `power-button`: the image ends in its own way when it is asked to, and then says
//! `shutdown`. `boot ...` says where the start-up time went, and is shown; so is what follows `note`, and what follows `info` unless the user wants quiet. What follows `trace` is a line of the file named by `EBB_TRACE`. All other lines, these and others (`boot ...`), go to the file named by
//! `EBB_REPORT`. What must hold: whatever an image writes, the memory used here is bounded.

use std::{fs::File, io::Write};

use crate::tell::tell;
use crate::{config::Console, corefile::Fault};

/// Longer lines are cut.
const LONGEST: usize = 4096;

/// What a line asks the runner to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Request {
    /// The image ends with this status.
    Exit(u8),
    /// The image wants to hear how large the terminal is.
    Sizes,
    /// The image wants the terminal in this mode.
    Console(Console),
    /// The image listens to its power button.
    PowerButton,
    /// The image was asked to end, and is about to.
    Shutdown,
    /// The image went wrong and stands still, to be written to a core file.
    Dump,
}

/// Gathers bytes into lines.
#[derive(Default)]
pub struct Report {
    line: Vec<u8>,
    file: Option<File>,
    /// Where lines of the trace go.
    trace: Option<File>,
    /// The image's name, if its boot timeline and what it says about its run are to be shown.
    pub show: Option<String>,
    /// The last `exit` line's status.
    pub exit: Option<u8>,
    /// The registers of the core that went wrong.
    pub fault: Option<Fault>,
}

impl Report {
    /// A report whose lines also go to `file`.
    pub fn new(file: Option<File>) -> Self {
        Self {
            file,
            ..Self::default()
        }
    }

    /// Sends the lines of the image's trace to `file`.
    pub fn set_trace(&mut self, file: Option<File>) {
        self.trace = file;
    }

    /// Takes bytes from the image and gives what they ask for, in order.
    pub fn feed(&mut self, bytes: &[u8]) -> Vec<Request> {
        let mut requests = Vec::new();
        for &byte in bytes {
            if byte == b'\n' {
                requests.extend(self.end_line());
            } else if self.line.len() < LONGEST {
                self.line.push(byte);
            }
        }
        requests
    }

    /// Adds a line of the runner's own to the file.
    pub fn note(&mut self, line: &str) {
        if let Some(file) = &mut self.file {
            // A full disk must not end the image.
            let _ = writeln!(file, "{line}");
        }
    }

    fn end_line(&mut self) -> Option<Request> {
        let line = String::from_utf8_lossy(&std::mem::take(&mut self.line))
            .trim_end()
            .to_string();
        if let Some(text) = line.strip_prefix("trace ") {
            if let Some(file) = &mut self.trace {
                // As above.
                let _ = writeln!(file, "{text}");
            }
            return None;
        }
        self.note(&line);
        if let (Some(name), true) = (&self.show, line.starts_with("boot ")) {
            tell!("ebb-runner: {name}: {line}");
        }
        if let Some(note) = line.strip_prefix("note ") {
            tell!("{note}");
        }
        if let (Some(_), Some(info)) = (&self.show, line.strip_prefix("info ")) {
            tell!("{info}");
        }
        let request = match line.split_once(' ').unwrap_or((&line, "")) {
            ("power-button", "") => Request::PowerButton,
            ("shutdown", "") => Request::Shutdown,
            ("dump", "") => Request::Dump,
            ("fault", registers) => {
                self.fault = Fault::parse(registers);
                return None;
            }
            ("exit", status) => Request::Exit(status.parse().ok()?),
            ("console", "raw") => Request::Console(Console::Raw),
            ("console", "sizes") => Request::Sizes,
            ("console", "line") => Request::Console(Console::Line),
            _ => return None,
        };
        if let Request::Exit(status) = request {
            self.exit = Some(status);
        }
        Some(request)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_may_arrive_in_pieces_and_several_at_once() {
        let mut report = Report::default();
        assert_eq!(report.feed(b"ex"), []);
        assert_eq!(report.feed(b"it 7"), []);
        assert_eq!(report.exit, None);
        assert_eq!(
            report.feed(b"\nboot total=3\nconsole raw\r\nconsole line\n"),
            [
                Request::Exit(7),
                Request::Console(Console::Raw),
                Request::Console(Console::Line)
            ]
        );
        assert_eq!(report.exit, Some(7));
    }

    #[test]
    fn lines_that_are_no_request_are_ignored() {
        let mut report = Report::default();
        for line in [
            "exit",
            "exit ",
            "exit 256",
            "exit -1",
            "exit 7 8",
            "exited 7",
            "console",
            "console x",
            "",
            "\u{0}",
            "boot 1",
        ] {
            assert_eq!(report.feed(format!("{line}\n").as_bytes()), [], "{line}");
        }
        assert_eq!(report.feed(b"\xff\xfe\n"), []);
        assert_eq!(report.exit, None);
    }

    #[test]
    fn a_line_without_end_uses_bounded_memory() {
        let mut report = Report::default();
        for _ in 0..100 {
            report.feed(&[b'x'; 10_000]);
        }
        assert_eq!(report.line.len(), LONGEST);
        assert_eq!(report.feed(b"\nexit 3\n"), [Request::Exit(3)]);
    }
}
