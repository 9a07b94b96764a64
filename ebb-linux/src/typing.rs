//! What is typed for a program: input from its owner or from the machine's console. On a terminal keys send signals.

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

impl Uc {
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
