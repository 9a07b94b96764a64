//! The settings of a terminal (`struct termios`), with Linux' values for x86-64.

use bitflags::bitflags;

bitflags! {
    /// `c_iflag`.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Input: u32 {
        /// Eight bits become seven.
        const ISTRIP = 0o40;
        /// A newline becomes a carriage return.
        const INLCR = 0o100;
        /// Carriage returns are dropped.
        const IGNCR = 0o200;
        /// A carriage return becomes a newline.
        const ICRNL = 0o400;
        /// Capitals become small letters.
        const IUCLC = 0o1000;
        /// `VSTOP` and `VSTART` hold output.
        const IXON = 0o2000;
        /// Any character lets output go on.
        const IXANY = 0o4000;
        /// 0xff is read twice.
        const PARMRK = 0o10;
        /// Characters are UTF-8 when they are erased.
        const IUTF8 = 0o40000;
        const _ = !0;
    }

    /// `c_oflag`.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Output: u32 {
        /// The others count.
        const OPOST = 1;
        /// Small letters become capitals.
        const OLCUC = 2;
        /// A newline becomes carriage return and newline.
        const ONLCR = 4;
        /// A carriage return becomes a newline.
        const OCRNL = 0o10;
        /// No carriage return at column 0.
        const ONOCR = 0o20;
        /// A newline goes back to column 0.
        const ONLRET = 0o40;
        /// Tabs become blanks.
        const XTABS = 0o14000;
        const _ = !0;
    }

    /// `c_lflag`.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Local: u32 {
        /// Keys send signals.
        const ISIG = 1;
        /// Lines, which can be edited.
        const ICANON = 2;
        /// What is typed is shown.
        const ECHO = 0o10;
        /// Erased characters disappear.
        const ECHOE = 0o20;
        /// A newline follows an erased line.
        const ECHOK = 0o40;
        /// Newlines are shown without `ECHO`, too.
        const ECHONL = 0o100;
        /// Signals leave the queues as they are.
        const NOFLSH = 0o200;
        /// Writing from the background stops the writer.
        const TOSTOP = 0o400;
        /// Control characters are shown as `^X`.
        const ECHOCTL = 0o1000;
        /// Erased characters are shown, as on paper.
        const ECHOPRT = 0o2000;
        /// An erased line disappears.
        const ECHOKE = 0o4000;
        /// Word erase, literal next, reprint and `VEOL2` count.
        const IEXTEN = 0o100000;
        /// Somebody else edits lines.
        const EXTPROC = 0o200000;
        const _ = !0;
    }
}

/// Indices of `c_cc`.
pub mod cc {
    /// Sends `SIGINT`.
    pub const INTR: usize = 0;
    /// Sends `SIGQUIT`.
    pub const QUIT: usize = 1;
    /// Erases a character.
    pub const ERASE: usize = 2;
    /// Erases the line.
    pub const KILL: usize = 3;
    /// Ends the input.
    pub const EOF: usize = 4;
    /// How long a raw read waits, in tenths of a second.
    pub const TIME: usize = 5;
    /// How many bytes a raw read wants.
    pub const MIN: usize = 6;
    /// Lets output go on.
    pub const START: usize = 8;
    /// Holds output.
    pub const STOP: usize = 9;
    /// Sends `SIGTSTP`.
    pub const SUSP: usize = 10;
    /// Ends a line, besides the newline.
    pub const EOL: usize = 11;
    /// Shows the line again.
    pub const REPRINT: usize = 12;
    /// Erases a word.
    pub const WERASE: usize = 14;
    /// Takes the next byte as it is.
    pub const LNEXT: usize = 15;
    /// Ends a line, too.
    pub const EOL2: usize = 16;
}

/// How many control characters the kernel's structure has.
pub const NCC: usize = 19;
/// Bytes of the kernel's `struct termios`.
pub const TERMIOS_BYTES: usize = 36;
/// Bytes of `struct termios2`.
pub const TERMIOS2_BYTES: usize = 44;
/// Bytes of `struct termio`.
pub const TERMIO_BYTES: usize = 18;

/// The bits of `c_cflag` that are a speed.
const CBAUD: u32 = 0o10017;
/// The speed is in `c_ospeed`.
const BOTHER: u32 = 0o10000;
/// What a terminal without wires does not change: eight bits, no parity, a receiver that is on.
const CSIZE: u32 = 0o60;
const PARENB: u32 = 0o400;
const CREAD: u32 = 0o200;

/// The settings of a terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Termios {
    /// `c_iflag`.
    pub input: Input,
    /// `c_oflag`.
    pub output: Output,
    /// `c_cflag`.
    pub control: u32,
    /// `c_lflag`.
    pub local: Local,
    /// `c_line`.
    pub line: u8,
    /// `c_cc`.
    pub cc: [u8; NCC],
    /// `c_ispeed` and `c_ospeed`, in bits per second.
    pub speed: [u32; 2],
}

impl Default for Termios {
    /// What Linux gives a new pseudo-terminal.
    fn default() -> Self {
        let mut cc = [0; NCC];
        for (at, value) in [
            (cc::INTR, 3),
            (cc::QUIT, 28),
            (cc::ERASE, 127),
            (cc::KILL, 21),
            (cc::EOF, 4),
            (cc::MIN, 1),
            (cc::START, 17),
            (cc::STOP, 19),
            (cc::SUSP, 26),
            (cc::REPRINT, 18),
            // VDISCARD, which nothing looks at.
            (13, 15),
            (cc::WERASE, 23),
            (cc::LNEXT, 22),
        ] {
            cc[at] = value;
        }
        Self {
            input: Input::ICRNL | Input::IXON,
            output: Output::OPOST | Output::ONLCR,
            control: 0xbf,
            local: Local::ISIG
                | Local::ICANON
                | Local::ECHO
                | Local::ECHOE
                | Local::ECHOK
                | Local::ECHOCTL
                | Local::ECHOKE
                | Local::IEXTEN,
            line: 0,
            cc,
            speed: [38_400; 2],
        }
    }
}

/// The speed that bits of `c_cflag` stand for; `None` for `BOTHER` and what is none.
fn speed_of(control: u32) -> Option<u32> {
    const LOW: [u32; 16] = [
        0, 50, 75, 110, 134, 150, 200, 300, 600, 1200, 1800, 2400, 4800, 9600, 19_200, 38_400,
    ];
    const HIGH: [u32; 16] = [
        0, 57_600, 115_200, 230_400, 460_800, 500_000, 576_000, 921_600, 1_000_000, 1_152_000,
        1_500_000, 2_000_000, 2_500_000, 3_000_000, 3_500_000, 4_000_000,
    ];
    let low = (control & 0o17) as usize;
    match control & BOTHER {
        0 => Some(LOW[low]),
        _ if low == 0 => None,
        _ => Some(HIGH[low]),
    }
}

fn word(bytes: &[u8], at: usize) -> u32 {
    let part = bytes.get(at..at + 4).and_then(|b| b.first_chunk());
    part.map_or(0, |b| u32::from_le_bytes(*b))
}

impl Termios {
    /// `struct termios2`, the first [`TERMIOS_BYTES`] of which are `struct termios`.
    pub fn to_bytes(&self) -> [u8; TERMIOS2_BYTES] {
        let mut out = [0; TERMIOS2_BYTES];
        let flags = [
            self.input.bits(),
            self.output.bits(),
            self.control,
            self.local.bits(),
        ];
        for (at, flag) in flags.iter().enumerate() {
            out[at * 4..at * 4 + 4].copy_from_slice(&flag.to_le_bytes());
        }
        out[16] = self.line;
        out[17..17 + NCC].copy_from_slice(&self.cc);
        out[36..40].copy_from_slice(&self.speed[0].to_le_bytes());
        out[40..44].copy_from_slice(&self.speed[1].to_le_bytes());
        out
    }

    /// From `struct termios`, or from `struct termios2` with its speeds.
    pub fn from_bytes(bytes: &[u8]) -> Self {
        let mut cc = [0; NCC];
        if let Some(given) = bytes.get(17..17 + NCC) {
            cc.copy_from_slice(given);
        }
        let given = [word(bytes, 36), word(bytes, 40)];
        Self {
            input: Input::from_bits_retain(word(bytes, 0)),
            output: Output::from_bits_retain(word(bytes, 4)),
            control: word(bytes, 8),
            local: Local::from_bits_retain(word(bytes, 12)),
            line: bytes.get(16).copied().unwrap_or(0),
            cc,
            speed: given,
        }
        .settled()
    }

    /// `struct termio`: the low halves of the flags and eight control characters.
    pub fn to_old(&self) -> [u8; TERMIO_BYTES] {
        let new = self.to_bytes();
        let mut out = [0; TERMIO_BYTES];
        for at in 0..4 {
            out[at * 2..at * 2 + 2].copy_from_slice(&new[at * 4..at * 4 + 2]);
        }
        out[8] = self.line;
        out[9..17].copy_from_slice(&self.cc[..8]);
        out
    }

    /// These settings with what `struct termio` says.
    pub fn with_old(&self, old: &[u8; TERMIO_BYTES]) -> Self {
        let mut bytes = self.to_bytes();
        for at in 0..4 {
            bytes[at * 4..at * 4 + 2].copy_from_slice(&old[at * 2..at * 2 + 2]);
        }
        bytes[16] = old[8];
        bytes[17..25].copy_from_slice(&old[9..17]);
        Self::from_bytes(&bytes)
    }

    /// What a pseudo-terminal makes of settings.
    fn settled(mut self) -> Self {
        self.control = self.control & !(CSIZE | PARENB) | CSIZE | CREAD;
        let control = self.control;
        if let Some(speed) = speed_of(control) {
            self.speed = [speed; 2];
        } else if self.control & CBAUD == BOTHER && self.speed[0] == 0 {
            self.speed[0] = self.speed[1];
        }
        self
    }

    /// Whether `byte` is the control character of this index, which 0 switches off.
    pub(super) fn is(&self, index: usize, byte: u8) -> bool {
        byte != 0 && self.cc[index] == byte
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_come_back_as_they_were_set_in_each_of_the_three_structures() {
        let mut t = Termios::default();
        t.local -= Local::ECHO;
        t.cc[cc::EOL2] = 9;
        assert_eq!(Termios::from_bytes(&t.to_bytes()), t);
        assert_eq!(Termios::from_bytes(&t.to_bytes()[..TERMIOS_BYTES]), t);
        let mut old = t.to_old();
        old[9] = 7;
        assert_eq!(t.with_old(&old).cc[cc::INTR], 7);
        assert_eq!(t.with_old(&old).cc[cc::EOL2], 9);
    }

    #[test]
    fn a_pseudo_terminal_has_eight_bits_whatever_is_asked_for() {
        let t = Termios {
            control: 0o15 | 0o400,
            ..Termios::default()
        };
        let set = Termios::from_bytes(&t.to_bytes()[..TERMIOS_BYTES]);
        assert_eq!(set.control, 0o15 | CSIZE | CREAD);
        assert_eq!(set.speed, [9600; 2]);
    }
}
