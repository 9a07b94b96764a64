//! The other end of a program's first three descriptors: its owner's (see [`Stdio::Owner`](crate::Stdio::Owner)) or the
//! machine's console.

use super::{Stdio, Uc};
use crate::abi::errno::Errno;
use crate::object::poll::Registration;
use crate::object::wait::Events;
use alloc::vec::Vec;
use core::future::poll_fn;
use core::pin::pin;
use core::task::Poll;
use ebb_runtime::EbbRef;

impl Uc {
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
