//! What is typed for a program: input from its owner or from the machine's console. On a terminal keys send signals, and whoever has
//! the window says among the keys how large it is ([`Console::pass_sizes`]).

use crate::abi::errno::Errno;
use crate::signal;
use crate::uc::Uc;
use alloc::rc::Weak;
use alloc::vec::Vec;
use core::time::Duration;
use ebb_runtime::EbbRef;
use ebb_runtime::platform::Console;
use ebb_runtime::time::sleep;

/// Ends the input, as on a terminal.
const END_OF_INPUT: u8 = 4;

/// How often the console is polled.
const LOOK: Duration = Duration::from_millis(10);

/// Gives a program what is typed on the machine's console, until the input or the program ends.
pub async fn pass_input(uc: Weak<Uc>) {
    let console = EbbRef::<dyn Console>::get();
    let mut typed: Vec<u8> = Vec::new();
    let mut held: Vec<u8> = Vec::new();
    let mut quiet = 0;
    loop {
        {
            let Some(uc) = uc.upgrade() else { return };
            if uc.exit_status().is_some() {
                return;
            }
            if typed.is_empty() {
                let mut buffer = [0; 1024];
                let n = console.read(&mut buffer);
                typed.extend_from_slice(&buffer[..n]);
                // A size may come in pieces; what only looks like the beginning of one is typed when nothing follows it.
                if uc.options.terminal && (n > 0 || !held.is_empty()) {
                    quiet = if n == 0 { quiet + 1 } else { 0 };
                    let late = quiet > patience(held.len());
                    held.append(&mut typed);
                    while let Some(size) = take_size(&mut held) {
                        uc.resize(size);
                    }
                    let kept = if late { 0 } else { begun_size(&held) };
                    typed = held.drain(..held.len() - kept).collect();
                }
            }
            // A terminal has its own key for that.
            let ends = |b: &u8| *b == END_OF_INPUT && !uc.options.terminal;
            let end = typed.iter().position(ends);
            match uc.give(&typed[..end.unwrap_or(typed.len())]) {
                Ok(n) => drop(typed.drain(..n)),
                // There is no room yet.
                Err(Errno::EAGAIN) => {}
                Err(_) => return,
            }
            if typed.first().is_some_and(ends) {
                uc.end_input();
                return;
            }
        }
        sleep(LOOK).await;
    }
}

/// How many looks the rest of a size is waited for when so much of its beginning has come: a key that sends as much as an escape has to act
/// soon, and nobody types more of it.
fn patience(begun: usize) -> u32 {
    if begun <= 2 { 1 } else { 50 }
}

/// How a size begins; numbers with semicolons between them follow, and a `t`.
const SIZE: &[u8] = b"\x1b[48;";
/// The longest has four numbers of five digits.
const MAX_SIZE: usize = SIZE.len() + 4 * 6;

/// What `bytes` after the beginning of a size are, up to the `t`: rows, columns, height and width of the window.
fn size_of(bytes: &[u8]) -> Option<[u16; 4]> {
    let text = core::str::from_utf8(bytes).ok()?;
    let mut numbers = text.split(';').map(|n| n.parse().ok());
    let size = [
        numbers.next()??,
        numbers.next()??,
        numbers.next()??,
        numbers.next()??,
    ];
    numbers.next().is_none().then_some(size)
}

/// Takes the first whole size out of what was typed.
fn take_size(typed: &mut Vec<u8>) -> Option<[u16; 4]> {
    let mut from = 0;
    while let Some(at) = typed[from..].windows(SIZE.len()).position(|w| w == SIZE) {
        let begin = from + at;
        let rest = begin + SIZE.len();
        let end = typed[rest..].iter().take(MAX_SIZE).position(|b| *b == b't');
        if let Some(length) = end
            && let Some(size) = size_of(&typed[rest..rest + length])
        {
            typed.drain(begin..=rest + length);
            return Some(size);
        }
        from = rest;
    }
    None
}

/// How many bytes at the end may be the beginning of a size.
fn begun_size(typed: &[u8]) -> usize {
    let from = typed.len().saturating_sub(MAX_SIZE);
    let Some(at) = typed[from..].iter().rposition(|b| *b == SIZE[0]) else {
        return 0;
    };
    let end = &typed[from + at..];
    let known = end.len().min(SIZE.len());
    let numbers = end[known..]
        .iter()
        .all(|b| b.is_ascii_digit() || *b == b';');
    if end[..known] == SIZE[..known] && numbers {
        end.len()
    } else {
        0
    }
}

impl Uc {
    /// The window of the terminal that the program has from the start is so large now: rows, columns, height and width.
    fn resize(&self, [rows, columns, height, width]: [u16; 4]) {
        {
            let mut objects = self.objects.borrow_mut();
            if let Some(end) = objects.channel_terminal(self.console.input) {
                // As `struct winsize` has them.
                let _ = objects.resize_terminal(end, [rows, columns, width, height]);
            }
        }
        signal::send_noted(self);
    }

    /// Gives the program input: how many of the bytes there was room for.
    ///
    /// # Errors
    /// `EAGAIN` when there is no room, `EPIPE` when the program has closed its input.
    pub fn give(&self, bytes: &[u8]) -> Result<usize, Errno> {
        let given = {
            let mut objects = self.objects.borrow_mut();
            match objects.channel_terminal(self.console.input) {
                Some(end) => objects.channel_type(&self.world(), end, bytes),
                None => objects.channel_give(self.console.input, bytes),
            }
        };
        // Keys send signals, and are shown.
        signal::send_noted(self);
        self.flush_console();
        given
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_taken_out_of_what_was_typed() {
        let mut typed = b"ls\x1b[48;50;132;800;1056t -l\x1b[A\x1b[48;24;80;0;0t".to_vec();
        assert_eq!(take_size(&mut typed), Some([50, 132, 800, 1056]));
        assert_eq!(take_size(&mut typed), Some([24, 80, 0, 0]));
        assert_eq!(take_size(&mut typed), None);
        assert_eq!(typed, b"ls -l\x1b[A");
    }

    #[test]
    fn what_only_looks_like_a_size_stays() {
        for text in [
            &b"\x1b[48;50;132t"[..],
            b"\x1b[48;50;132;1;2;3t",
            b"\x1b[48;50;132;1;70000t",
            b"\x1b[48;a;1;1;1t",
            b"\x1b[48;50;132;1;2",
        ] {
            let mut typed = text.to_vec();
            assert_eq!(take_size(&mut typed), None);
            assert_eq!(typed, text);
        }
    }

    #[test]
    fn the_beginning_of_a_size_is_held_wherever_it_is_cut() {
        let whole = b"\x1b[48;50;132;800;1056t";
        for cut in 1..whole.len() {
            let typed = [b"keys", &whole[..cut]].concat();
            assert_eq!(begun_size(&typed), cut);
        }
        for text in [&b"keys"[..], b"\x1b[A", b"\x1b[48;1;2;3;4t", b"\x1b[47"] {
            assert_eq!(begun_size(text), 0, "{text:?}");
        }
    }
}
