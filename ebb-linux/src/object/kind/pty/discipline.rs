//! The line discipline of a terminal: what becomes of bytes between the side that types and the program, after Linux'
//! `n_tty`. No queues, no processes, no time: bytes in, bytes out, and the signals that keys ask for.
//!
//! What must hold: neither direction grows beyond its limit, whatever is typed or written.

use alloc::collections::VecDeque;

use super::termios::{Input, Local, Output, Termios, cc};
use crate::abi::signal::{SIGINT, SIGQUIT, SIGTSTP};

/// Bytes that wait to be read by the program at most; a line has one less, and its end.
pub const INPUT_BYTES: usize = 4096;
/// Bytes that wait to be read by the other side at most, and bytes that wait to be typed.
pub const OUTPUT_BYTES: usize = 8192;
/// How much echo is gathered before it is shown.
const ECHO_BATCH_BYTES: usize = 256;
/// The most that one written byte becomes.
pub(super) const WIDEST: usize = 8;

/// A typed byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Cell {
    byte: u8,
    /// A read in canonical mode ends behind it.
    ends: bool,
    /// It is only an end (`VEOF`), and not read.
    hidden: bool,
}

/// What has been typed has done besides.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Effects {
    /// The signals that keys asked for, a bit each.
    pub(super) signals: u64,
    /// Input was thrown away.
    pub(super) flushed: bool,
    /// Output was held or let go.
    pub(super) flow: bool,
}

/// The state of a line discipline.
#[derive(Clone, Debug, Default)]
pub struct Discipline {
    settings: Termios,
    cells: VecDeque<Cell>,
    /// How many cells from the front are complete lines; counts in canonical mode only.
    complete: usize,
    /// What stood there when canonical mode began is one line without an end of its own.
    pushed: bool,
    /// The next byte is taken as it is.
    literal: bool,
    /// `ECHOPRT` has begun to show what is erased.
    erasing: bool,
    /// Output that the other side has not taken.
    output: VecDeque<u8>,
    /// Echo that is held with the output.
    held_echo: VecDeque<u8>,
    /// Output is held by `VSTOP`.
    stopped: bool,
    /// Output is held by `tcflow`.
    held_by_call: bool,
    column: usize,
    /// The column at which the line being typed began.
    line_column: usize,
}

const fn is_control(byte: u8) -> bool {
    byte < 32 || byte == 127
}

impl Discipline {
    /// The settings.
    pub const fn settings(&self) -> &Termios {
        &self.settings
    }

    /// Changes the settings.
    pub(super) fn set(&mut self, settings: Termios) {
        let before = core::mem::replace(&mut self.settings, settings);
        if (before.local ^ settings.local).intersects(Local::ICANON | Local::EXTPROC) {
            for cell in &mut self.cells {
                (cell.ends, cell.hidden) = (false, false);
            }
            self.complete = 0;
            self.pushed = false;
            if self.is_canonical()
                && let Some(last) = self.cells.back_mut()
            {
                last.ends = true;
                self.complete = self.cells.len();
                self.pushed = true;
            }
            self.erasing = false;
            self.literal = false;
        }
        if !settings.input.contains(Input::IXON) && before.input.contains(Input::IXON) {
            self.stopped = false;
            self.pass_echo();
        }
    }

    fn has(&self, flag: Local) -> bool {
        self.settings.local.contains(flag)
    }

    /// Whether lines are read.
    pub(super) fn is_canonical(&self) -> bool {
        self.has(Local::ICANON)
    }

    /// Whether output is held.
    pub(super) const fn is_stopped(&self) -> bool {
        self.stopped || self.held_by_call
    }

    /// `tcflow`: holds output, or lets it go.
    pub(super) fn hold_output(&mut self, hold: bool) {
        self.held_by_call = hold;
        if !hold {
            self.stopped = false;
            self.pass_echo();
        }
    }

    /// Throws away what was typed and not read.
    pub(super) fn flush_input(&mut self) {
        self.cells.clear();
        self.complete = 0;
        self.pushed = false;
        self.erasing = false;
        self.literal = false;
    }

    /// Bytes that can be read now (`FIONREAD`).
    pub(super) fn readable(&self) -> usize {
        let cells = self.cells.len();
        let count = if self.is_canonical() {
            self.complete
        } else {
            cells
        };
        self.cells.iter().take(count).filter(|c| !c.hidden).count()
    }

    /// Whether a read that wants `least` bytes has them: a line in canonical mode.
    pub(super) fn has_input(&self, least: usize) -> bool {
        if self.is_canonical() {
            self.complete > 0
        } else {
            self.cells.len() >= least.max(1)
        }
    }

    /// Whether another byte would be taken in. In canonical mode one always is while there is no line: the last is lost.
    pub(super) fn has_room(&self) -> bool {
        let one = if self.settings.input.contains(Input::PARMRK) {
            3
        } else {
            1
        };
        self.cells.len() + one < INPUT_BYTES || self.is_canonical() && self.complete == 0
    }

    /// What a read of `most` bytes gets.
    pub(super) fn read(&mut self, most: usize, mut put: impl FnMut(u8) -> bool) -> usize {
        let mut done = 0;
        let canonical = self.is_canonical();
        while let Some(cell) = self.cells.front().copied() {
            if canonical && self.complete == 0 {
                break;
            }
            // An end of input right behind the last byte that is wanted goes with it.
            if done == most && !(cell.hidden && canonical && most > 0) {
                break;
            }
            if !cell.hidden {
                if !put(cell.byte) {
                    break;
                }
                done += 1;
            }
            self.cells.pop_front();
            if canonical {
                self.complete -= 1;
                if cell.ends {
                    self.pushed = false;
                    break;
                }
            }
        }
        done
    }

    fn queue(&mut self, byte: u8, ends: bool, hidden: bool) {
        // A line that is too long keeps its start, and loses its last byte to what comes.
        if self.cells.len() >= INPUT_BYTES {
            self.cells.pop_back();
        }
        self.cells.push_back(Cell { byte, ends, hidden });
        if ends {
            self.complete = self.cells.len();
        }
    }

    /// A byte is typed. What is shown of it is shown with [`pass_echo`](Self::pass_echo): a key that throws things away
    /// takes that along which came just before.
    pub(super) fn receive(&mut self, byte: u8) -> Effects {
        let mut effects = Effects::default();
        let input = self.settings.input;
        let mut byte = byte;
        if input.contains(Input::ISTRIP) {
            byte &= 0x7f;
        }
        if input.contains(Input::IUCLC) && self.has(Local::IEXTEN) {
            byte = byte.to_ascii_lowercase();
        }
        if core::mem::take(&mut self.literal) {
            self.ordinary(byte, false);
        } else if self.has(Local::EXTPROC) {
            self.queue(byte, false, false);
        } else {
            self.receive_key(byte, &mut effects);
        }
        if self.held_echo.len() >= ECHO_BATCH_BYTES {
            self.pass_echo();
        }
        effects
    }

    fn receive_key(&mut self, byte: u8, effects: &mut Effects) {
        let settings = self.settings;
        let input = settings.input;
        if input.contains(Input::IXON) {
            let (start, stop) = (settings.is(cc::START, byte), settings.is(cc::STOP, byte));
            if start || stop {
                effects.flow |= self.stopped == start;
                self.stopped = !start;
                return;
            }
        }
        if self.has(Local::ISIG) {
            let keys = [(cc::INTR, SIGINT), (cc::QUIT, SIGQUIT), (cc::SUSP, SIGTSTP)];
            let found = keys.iter().find(|(key, _)| settings.is(*key, byte));
            if let Some((_, signal)) = found {
                return self.signal_key(byte, *signal, effects);
            }
        }
        if self.stopped && input.contains(Input::IXON | Input::IXANY) {
            self.stopped = false;
            effects.flow = true;
        }
        let (mut byte, typed) = (byte, byte);
        match byte {
            b'\r' if input.contains(Input::IGNCR) => return,
            b'\r' if input.contains(Input::ICRNL) => byte = b'\n',
            b'\n' if input.contains(Input::INLCR) => byte = b'\r',
            _ => {}
        }
        if !self.is_canonical() || !self.edit(byte) {
            self.ordinary(byte, byte != typed);
        }
    }

    fn signal_key(&mut self, byte: u8, signal: u8, effects: &mut Effects) {
        effects.signals |= crate::abi::signal::bit(signal);
        if !self.has(Local::NOFLSH) {
            self.held_echo.clear();
            self.flush_input();
            effects.flushed = true;
        }
        if self.settings.input.contains(Input::IXON) && self.stopped {
            self.stopped = false;
            effects.flow = true;
        }
        if self.has(Local::ECHO) {
            self.echo(byte);
        }
    }

    /// A byte that is part of the input; a newline that was typed as another is shown as one.
    fn ordinary(&mut self, byte: u8, changed: bool) {
        if self.has(Local::ECHO) {
            self.finish_erasing();
            if byte == b'\n' && changed {
                self.echo_raw(b'\n');
            } else {
                self.begin_line();
                self.echo(byte);
            }
        }
        if byte == 0xff && self.settings.input.contains(Input::PARMRK) {
            self.queue(byte, false, false);
        }
        self.queue(byte, false, false);
    }

    /// What canonical mode makes of a byte; false when it is an ordinary one.
    fn edit(&mut self, byte: u8) -> bool {
        let settings = self.settings;
        let (echo, extended) = (self.has(Local::ECHO), self.has(Local::IEXTEN));
        let is = |key| settings.is(key, byte);
        if is(cc::ERASE) || is(cc::KILL) || is(cc::WERASE) && extended {
            self.erase(byte);
        } else if is(cc::LNEXT) && extended {
            self.literal = true;
            if echo {
                self.finish_erasing();
                if self.has(Local::ECHOCTL) {
                    self.echo_raw(b'^');
                    self.echo_raw(8);
                }
            }
        } else if is(cc::REPRINT) && echo && extended {
            self.finish_erasing();
            self.echo(byte);
            self.echo_raw(b'\n');
            for at in self.complete..self.cells.len() {
                let again = self.cells[at].byte;
                self.echo(again);
            }
        } else if byte == b'\n' {
            if echo || self.has(Local::ECHONL) {
                self.echo_raw(b'\n');
            }
            self.queue(byte, true, false);
        } else if is(cc::EOF) {
            self.queue(0, true, true);
        } else if is(cc::EOL) || is(cc::EOL2) && extended {
            if echo {
                self.begin_line();
                self.echo(byte);
            }
            if byte == 0xff && settings.input.contains(Input::PARMRK) {
                self.queue(byte, false, false);
            }
            self.queue(byte, true, false);
        } else {
            return false;
        }
        true
    }

    /// Notes where the line being typed begins.
    fn begin_line(&mut self) {
        if self.cells.len() == self.complete {
            self.line_column = self.column;
        }
    }

    fn is_continuation(&self, byte: u8) -> bool {
        self.settings.input.contains(Input::IUTF8) && byte & 0xc0 == 0x80
    }

    fn finish_erasing(&mut self) {
        if core::mem::take(&mut self.erasing) {
            self.echo_raw(b'/');
        }
    }

    /// `VERASE`, `VWERASE` or `VKILL` was typed.
    fn erase(&mut self, key: u8) {
        if self.cells.len() == self.complete {
            return;
        }
        let one = self.settings.is(cc::ERASE, key);
        let word = !one && self.settings.is(cc::WERASE, key);
        if !one && !word {
            if !self.has(Local::ECHO) {
                self.cells.truncate(self.complete);
                return;
            }
            if !self.has(Local::ECHOK | Local::ECHOKE | Local::ECHOE) {
                self.cells.truncate(self.complete);
                self.finish_erasing();
                self.echo(key);
                if self.has(Local::ECHOK) {
                    self.echo_raw(b'\n');
                }
                return;
            }
        }
        let mut in_word = false;
        while self.cells.len() > self.complete {
            let mut at = self.cells.len() - 1;
            while at > self.complete && self.is_continuation(self.cells[at].byte) {
                at -= 1;
            }
            let byte = self.cells[at].byte;
            if self.is_continuation(byte) {
                break;
            }
            if word {
                if byte.is_ascii_alphanumeric() || byte == b'_' {
                    in_word = true;
                } else if in_word {
                    break;
                }
            }
            let rest: VecDeque<Cell> = self.cells.split_off(at);
            if self.has(Local::ECHO) {
                self.show_erased(byte, rest.iter().skip(1).map(|c| c.byte), one);
            }
            if one {
                break;
            }
        }
        if self.cells.len() == self.complete && self.has(Local::ECHO) {
            self.finish_erasing();
        }
    }

    fn show_erased(&mut self, byte: u8, more: impl Iterator<Item = u8>, one: bool) {
        if self.has(Local::ECHOPRT) {
            if !core::mem::replace(&mut self.erasing, true) {
                self.echo_raw(b'\\');
            }
            self.echo(byte);
            for byte in more {
                self.echo_raw(byte);
                self.column = self.column.saturating_sub(1);
            }
        } else if one && !self.has(Local::ECHOE) {
            let key = self.settings.cc[cc::ERASE];
            self.echo(key);
        } else if byte == b'\t' {
            self.erase_tab();
        } else {
            let shown = match (is_control(byte), self.has(Local::ECHOCTL)) {
                (true, true) => 2,
                (true, false) => 0,
                (false, _) => 1,
            };
            for _ in 0..shown {
                for part in [8, b' ', 8] {
                    self.echo_raw(part);
                }
            }
        }
    }

    /// Goes back over a tab: to behind what stands before it.
    fn erase_tab(&mut self) {
        let (mut width, mut after_tab) = (0, false);
        for cell in self.cells.iter().skip(self.complete).rev() {
            if cell.byte == b'\t' {
                after_tab = true;
                break;
            }
            if is_control(cell.byte) {
                width += if self.has(Local::ECHOCTL) { 2 } else { 0 };
            } else if !self.is_continuation(cell.byte) {
                width += 1;
            }
        }
        if !after_tab {
            width += self.line_column;
        }
        for _ in 0..8 - (width & 7) {
            self.put_echo(8);
            self.column = self.column.saturating_sub(1);
        }
    }

    /// Shows a byte, control characters as `^X` if that is wanted.
    fn echo(&mut self, byte: u8) {
        if self.has(Local::ECHOCTL) && is_control(byte) && byte != b'\t' {
            self.put_echo(b'^');
            self.put_echo(byte ^ 0o100);
            self.column += 2;
        } else {
            self.echo_raw(byte);
        }
    }

    /// Shows a byte as it would be written.
    fn echo_raw(&mut self, byte: u8) {
        let (parts, n) = self.process(byte);
        for part in &parts[..n] {
            self.put_echo(*part);
        }
    }

    fn put_echo(&mut self, byte: u8) {
        // Echo that nobody reads is lost, as on Linux.
        if self.held_echo.len() < INPUT_BYTES {
            self.held_echo.push_back(byte);
        }
    }

    /// Moves echo to the output as far as that takes it.
    pub(super) fn pass_echo(&mut self) {
        while !self.is_stopped()
            && self.output.len() < OUTPUT_BYTES
            && let Some(byte) = self.held_echo.pop_front()
        {
            self.output.push_back(byte);
        }
    }

    /// What becomes of a byte on its way out.
    fn process(&mut self, byte: u8) -> ([u8; WIDEST], usize) {
        let mut out = [0; WIDEST];
        out[0] = byte;
        let flags = self.settings.output;
        let has = |flag| flags.contains(flag);
        if !has(Output::OPOST) {
            return (out, 1);
        }
        match byte {
            b'\n' => {
                if has(Output::ONLRET) {
                    self.column = 0;
                }
                if has(Output::ONLCR) {
                    (self.column, self.line_column) = (0, 0);
                    out[..2].copy_from_slice(b"\r\n");
                    return (out, 2);
                }
                self.line_column = self.column;
            }
            b'\r' => {
                if has(Output::ONOCR) && self.column == 0 {
                    return (out, 0);
                }
                if has(Output::OCRNL) {
                    out[0] = b'\n';
                    if has(Output::ONLRET) {
                        (self.column, self.line_column) = (0, 0);
                    }
                } else {
                    (self.column, self.line_column) = (0, 0);
                }
            }
            b'\t' => {
                let blanks = 8 - (self.column & 7);
                self.column += blanks;
                if has(Output::XTABS) {
                    return ([b' '; WIDEST], blanks);
                }
            }
            8 => self.column = self.column.saturating_sub(1),
            byte if !is_control(byte) => {
                if has(Output::OLCUC) {
                    out[0] = byte.to_ascii_uppercase();
                }
                if !self.is_continuation(byte) {
                    self.column += 1;
                }
            }
            _ => {}
        }
        (out, 1)
    }

    /// How many bytes can be written for certain.
    pub(super) fn room(&self) -> usize {
        if self.is_stopped() {
            return 0;
        }
        let left = OUTPUT_BYTES - self.output.len();
        if self.settings.output.contains(Output::OPOST) {
            left / WIDEST
        } else {
            left
        }
    }

    /// The program writes bytes, no more than there is [`room`](Self::room) for.
    pub(super) fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            let (parts, n) = self.process(*byte);
            self.output.extend(&parts[..n]);
        }
    }

    /// A byte for the other side that no setting changes (`tcflow`).
    pub(super) fn send(&mut self, byte: u8) {
        if self.output.len() < OUTPUT_BYTES {
            self.output.push_back(byte);
        }
    }

    /// Bytes that the other side can take.
    pub(super) fn waiting(&self) -> usize {
        self.output.len()
    }

    /// The other side takes bytes.
    pub(super) fn take(&mut self, most: usize, mut put: impl FnMut(&[u8]) -> usize) -> usize {
        let (front, _) = self.output.as_slices();
        let n = front.len().min(most);
        let done = put(&front[..n]);
        self.output.drain(..done);
        self.pass_echo();
        done
    }

    /// Throws away what was written and not taken.
    pub(super) fn flush_output(&mut self) {
        self.held_echo.clear();
    }

    /// As [`flush_output`](Self::flush_output), with what the other side could have taken.
    pub(super) fn clear(&mut self) {
        self.flush_input();
        self.held_echo.clear();
        self.output.clear();
    }
}

#[cfg(test)]
#[path = "discipline_tests.rs"]
mod tests;
