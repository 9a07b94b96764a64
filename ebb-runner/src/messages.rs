//! QEMU's own messages: shown as they come, the last few kept for the explanation. What must hold: the memory used here is bounded.

use crate::tell::tell;

/// Longer lines are cut.
const LONGEST: usize = 4096;

/// Gathers bytes into lines.
#[derive(Default)]
pub struct Messages {
    line: Vec<u8>,
    /// The last few.
    pub last: Vec<String>,
}

impl Messages {
    /// Takes bytes, and shows the lines or not.
    pub fn feed(&mut self, bytes: &[u8], show: bool) {
        for &byte in bytes {
            if byte == b'\n' {
                self.end_line(show);
            } else if self.line.len() < LONGEST {
                self.line.push(byte);
            }
        }
    }

    /// Takes a last line that has no end.
    pub fn finish(&mut self) {
        if !self.line.is_empty() {
            self.end_line(true);
        }
    }

    fn end_line(&mut self, show: bool) {
        let line = String::from_utf8_lossy(&std::mem::take(&mut self.line))
            .trim_end()
            .to_string();
        if show {
            tell!("{line}");
            if self.last.len() == 20 {
                self.last.remove(0);
            }
            self.last.push(line);
        }
    }
}
