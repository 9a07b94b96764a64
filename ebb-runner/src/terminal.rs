//! The user's terminal: raw while the image wants it, restored whatever happens.
//!
//! What must hold: the terminal is touched only while this process is in its foreground group
//! (a background job that touches it would be stopped), and [`Terminal::restore`] puts back
//! exactly what was found. QEMU never has the terminal: it talks through pipes.

use std::{io, os::fd::AsFd};

use nix::{
    libc,
    sys::termios::{
        InputFlags, LocalFlags, SetArg, SpecialCharacterIndices, Termios, tcgetattr, tcsetattr,
    },
    unistd::{getpgrp, tcgetpgrp},
};

use crate::config::Console;

/// The key that ends an image in raw mode: Ctrl-].
pub const ESCAPE: u8 = 0x1d;

/// Standard input, which may or may not be a terminal.
pub struct Terminal {
    /// Its state at start; `None` when it is no terminal.
    found: Option<Termios>,
    mode: Console,
}

impl Terminal {
    /// Looks at standard input.
    pub fn open() -> Self {
        Self {
            found: tcgetattr(io::stdin()).ok(),
            mode: Console::Line,
        }
    }

    /// Whether it is a terminal.
    pub fn is_terminal(&self) -> bool {
        self.found.is_some()
    }

    /// Whether every key goes to the image.
    pub fn is_raw(&self) -> bool {
        self.mode == Console::Raw && self.is_terminal()
    }

    /// Whether it may be read and changed: not a terminal, or one whose foreground we are in.
    pub fn is_ours(&self) -> bool {
        !self.is_terminal() || tcgetpgrp(io::stdin()).is_ok_and(|group| group == getpgrp())
    }

    /// How large its window is, as terminals say it in their mode 2048; `None` when it is no terminal or does not know.
    pub fn size(&self) -> Option<String> {
        self.found.as_ref()?;
        let mut size = libc::winsize {
            ws_row: 0,
            ws_col: 0,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        // SAFETY: writes one `winsize`, which `size` is.
        let status = unsafe { libc::ioctl(libc::STDIN_FILENO, libc::TIOCGWINSZ, &mut size) };
        (status == 0 && size.ws_row > 0 && size.ws_col > 0).then(|| {
            format!(
                "\x1b[48;{};{};{};{}t",
                size.ws_row, size.ws_col, size.ws_ypixel, size.ws_xpixel
            )
        })
    }

    /// Sets the mode.
    pub fn set(&mut self, mode: Console) {
        self.mode = mode;
        self.apply();
    }

    /// Sets the mode again after a stop.
    pub fn apply(&self) {
        let Some(found) = &self.found else { return };
        let mut wanted = found.clone();
        if self.mode == Console::Raw {
            wanted.local_flags &=
                !(LocalFlags::ICANON | LocalFlags::ECHO | LocalFlags::ISIG | LocalFlags::IEXTEN);
            wanted.input_flags &=
                !(InputFlags::IXON | InputFlags::ICRNL | InputFlags::INLCR | InputFlags::IGNCR);
            wanted.control_chars[SpecialCharacterIndices::VMIN as usize] = 1;
            wanted.control_chars[SpecialCharacterIndices::VTIME as usize] = 0;
        }
        self.write(&wanted);
    }

    /// Puts back what was found.
    pub fn restore(&self) {
        if let Some(found) = &self.found {
            self.write(found);
        }
    }

    fn write(&self, wanted: &Termios) {
        let stdin = io::stdin();
        // In line mode nothing differs, so nothing is written.
        let differs = tcgetattr(stdin.as_fd()).is_ok_and(|now| now != *wanted);
        if differs && self.is_ours() {
            let _ = tcsetattr(stdin.as_fd(), SetArg::TCSADRAIN, wanted);
        }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        self.restore();
    }
}
