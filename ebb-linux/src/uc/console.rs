//! The other end of a program's first three descriptors: its owner's (see [`Stdio::Owner`](crate::Stdio::Owner)) or the
//! machine's console.

use super::{Stdio, Uc};
use crate::abi::errno::Errno;
use crate::object::poll::Registration;
use crate::object::wait::Events;
use alloc::rc::Weak;
use alloc::vec::Vec;
use core::future::poll_fn;
use core::pin::pin;
use core::task::Poll;
use core::time::Duration;
use ebb_runtime::EbbRef;
use ebb_runtime::platform::Console as _;
use ebb_runtime::time::sleep;

/// Ends the input, as on a terminal.
const END_OF_INPUT: u8 = 4;

/// How often the console is polled.
const LOOK: Duration = Duration::from_millis(10);

/// Gives a program what is typed on the machine's console, until the input or the program ends.
pub async fn pass_input(uc: Weak<Uc>) {
    let console = EbbRef::<dyn ebb_runtime::platform::Console>::get();
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
        crate::signal::send_noted(self);
        self.flush_console();
        given
    }

    /// The program reads the end of its input after what it was given.
    pub fn end_input(&self) {
        let mut objects = self.objects.borrow_mut();
        objects.channel_end_input(self.console.input);
    }

    /// Takes what the program has written to its output and to its error output.
    pub fn take(&self) -> [Vec<u8>; 2] {
        let mut objects = self.objects.borrow_mut();
        [self.console.output, self.console.error].map(|channel| {
            objects
                .channel_take(channel, usize::MAX)
                .unwrap_or_default()
        })
    }

    /// Waits until the program has written to its output and takes that; empty when the program is over or has closed it.
    pub async fn output(&self) -> Vec<u8> {
        let mut registration = Registration::default();
        let channel = self.console.output;
        let mut ended = pin!(self.wait());
        let bytes = poll_fn(|task| {
            let over = ended.as_mut().poll(task).is_ready();
            let mut objects = self.objects.borrow_mut();
            match objects.channel_take(channel, usize::MAX) {
                Err(Errno::EAGAIN) if !over => {
                    if let Ok(queue) = objects.channel_queue(channel) {
                        let waker = task.waker();
                        objects.register_queue(queue, Events::all(), &mut registration, waker);
                    }
                    Poll::Pending
                }
                taken => Poll::Ready(taken.unwrap_or_default()),
            }
        })
        .await;
        self.objects.borrow_mut().unregister(&mut registration);
        bytes
    }

    /// Prints what the program wrote to its console.
    pub(crate) fn flush_console(&self) {
        if self.options.stdio == Stdio::Owner {
            return;
        }
        use ebb_runtime::platform::Console as _;
        let machine = EbbRef::<dyn ebb_runtime::platform::Console>::get();
        for channel in [self.console.output, self.console.error] {
            while let Ok(bytes) = self.objects.borrow_mut().channel_take(channel, 4096)
                && !bytes.is_empty()
            {
                machine.write(&bytes);
            }
        }
    }
}
