//! The owner's ends of byte streams whose other ends are descriptors of a program.
//!
//! Both directions are bounded, so each side waits for the other like the two ends of a pipe. What is checked and what is
//! registered within one event cannot miss a change: a UC lives on one core.

use super::Uc;
use crate::abi::errno::Errno;
use crate::object::flags::OpenFlags;
use crate::object::id::Fd;
use crate::object::poll::Registration;
use crate::object::wait::Events;
use alloc::rc::Rc;
use alloc::vec::Vec;
use core::fmt;
use core::future::poll_fn;
use core::pin::pin;
use core::task::{Poll, Waker};

/// The name of a channel in its UC, and in every clone of it.
pub use crate::object::channel::ChannelId;

/// What a program may do with its end of a channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Read what the owner writes.
    Read,
    /// Write what the owner reads.
    Write,
    /// Both.
    ReadWrite,
}

/// The owner's end of a byte stream to a program. Dropping it closes it: the program then reads the end, and its writes fail.
///
/// One task at a time uses it: what waits replaces what waited before.
///
/// ```no_run
/// use ebb_linux::{Access, Errno, Options, Program, Uc};
///
/// /// What a program answers on its descriptor 3.
/// async fn ask(program: Program, question: &[u8]) -> Result<Vec<u8>, Errno> {
///     let uc = Uc::start(Options::default(), program)?;
///     // Its threads run after this event, and find the descriptor.
///     let mut channel = uc.open_channel(3, Access::ReadWrite)?;
///     channel.write(question).await?;
///     let mut answer = Vec::new();
///     while channel.read(&mut answer).await > 0 {}
///     uc.wait().await;
///     Ok(answer)
/// }
/// ```
pub struct Channel {
    uc: Rc<Uc>,
    id: ChannelId,
    waiting: Registration,
}

impl Uc {
    /// Gives the first process a new channel at its descriptor `fd`, in place of what it has there.
    ///
    /// # Errors
    /// `EMFILE` when it may have no more descriptors, `EBADF` for a number that no descriptor can have.
    pub fn open_channel(self: &Rc<Self>, fd: Fd, access: Access) -> Result<Channel, Errno> {
        self.switch(&self.init);
        let flags = match access {
            Access::Read => OpenFlags::empty(),
            Access::Write => OpenFlags::WRONLY,
            Access::ReadWrite => OpenFlags::RDWR,
        };
        let mut objects = self.objects.borrow_mut();
        let id = objects.new_channel();
        let opened = objects.open_channel(id, flags);
        let moved = opened.and_then(|lowest| {
            if lowest != fd {
                let moved = objects.dup2(lowest, fd);
                objects.close(lowest)?;
                moved?;
            }
            Ok(())
        });
        drop(objects);
        // Dropped on an error, so that nothing is left of it.
        let channel = self.channel(id);
        moved.map(|()| channel)
    }

    /// The owner's end of a channel that the UC has from the one that it is a clone of.
    pub fn channel(self: &Rc<Self>, id: ChannelId) -> Channel {
        Channel {
            uc: Rc::clone(self),
            id,
            waiting: Registration::default(),
        }
    }
}

impl Channel {
    /// Its name, by which clones of the UC know it as well.
    pub fn id(&self) -> ChannelId {
        self.id
    }

    /// Takes what the program has written, to the end of `into`: how many bytes, 0 at the end of its output.
    ///
    /// # Errors
    /// `EAGAIN` when there is nothing now.
    pub fn try_read(&mut self, into: &mut Vec<u8>) -> Result<usize, Errno> {
        let mut objects = self.uc.objects.borrow_mut();
        objects.channel_take_into(self.id, into)
    }

    /// Gives the program bytes: how many there was room for.
    ///
    /// # Errors
    /// `EAGAIN` when there is no room now, `EPIPE` when the program has closed its end.
    pub fn try_write(&mut self, bytes: &[u8]) -> Result<usize, Errno> {
        let mut objects = self.uc.objects.borrow_mut();
        objects.channel_give(self.id, bytes)
    }

    /// Wakes `waker` once, when there is something to read or room to write, or the program closes its end. The end of the
    /// program is told by [`Uc::wait`].
    pub fn wake_on_change(&mut self, waker: &Waker) {
        let mut objects = self.uc.objects.borrow_mut();
        if let Ok(queue) = objects.channel_queue(self.id) {
            objects.register_queue(queue, Events::all(), &mut self.waiting, waker);
        }
    }

    /// Takes that back. A task that has stopped waiting should do so: its waker keeps its memory.
    pub fn cancel_wake(&mut self) {
        let mut objects = self.uc.objects.borrow_mut();
        objects.unregister(&mut self.waiting);
    }

    /// Waits until `ready` gives something, or the program is over.
    async fn until<T>(&mut self, mut ready: impl FnMut(&mut Self) -> Option<T>) -> Option<T> {
        let uc = Rc::clone(&self.uc);
        let mut over = pin!(uc.wait());
        let done = poll_fn(|task| {
            let is_over = over.as_mut().poll(task).is_ready();
            if let Some(done) = ready(self) {
                return Poll::Ready(Some(done));
            }
            if is_over {
                return Poll::Ready(None);
            }
            self.wake_on_change(task.waker());
            Poll::Pending
        })
        .await;
        self.cancel_wake();
        done
    }

    /// Waits for output and takes it, to the end of `into`: how many bytes, 0 when the program has closed its end or is over.
    pub async fn read(&mut self, into: &mut Vec<u8>) -> usize {
        let read = self.until(|channel| match channel.try_read(into) {
            Err(Errno::EAGAIN) => None,
            read => Some(read.unwrap_or(0)),
        });
        read.await.unwrap_or(0)
    }

    /// Gives the program all the bytes, waiting for room.
    ///
    /// # Errors
    /// `EPIPE` when the program closes its end or is over before.
    pub async fn write(&mut self, bytes: &[u8]) -> Result<(), Errno> {
        let mut given = 0;
        let written = self.until(|channel| {
            while given < bytes.len() {
                match channel.try_write(&bytes[given..]) {
                    Ok(n) => given += n,
                    Err(Errno::EAGAIN) => return None,
                    Err(errno) => return Some(Err(errno)),
                }
            }
            Some(Ok(()))
        });
        written.await.unwrap_or(Err(Errno::EPIPE))
    }

    /// Waits until the program has closed its end or is over. What it has written can still be read.
    pub async fn ended(&mut self) {
        self.until(|channel| {
            let objects = channel.uc.objects.borrow();
            (!objects.channel_is_open(channel.id)).then_some(())
        })
        .await;
    }
}

impl Drop for Channel {
    fn drop(&mut self) {
        let mut objects = self.uc.objects.borrow_mut();
        objects.unregister(&mut self.waiting);
        objects.channel_close(self.id);
    }
}

impl fmt::Debug for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Channel({:?})", self.id)
    }
}
