//! Channels: byte streams between a UC and whoever owns it.
//!
//! The guest has one side as a descriptor (its console, or a private link to an Ebb); the owner
//! reads and writes the other side through [`Objects`] and waits on the channel's owner queue.
//! Both directions are bounded: a guest whose output nobody takes waits, like a writer to a pipe.

use alloc::{collections::VecDeque, vec, vec::Vec};

use crate::object::{
    Objects,
    arena::Id,
    description::Object,
    errno::{Errno, Result},
    fd::Fd,
    flags::OpenFlags,
    io::{Sink, Source, put_some},
    wait::{Events, QueueId},
};

/// Bytes that wait in each direction at most.
pub const CAPACITY: usize = 64 << 10;

/// A byte stream in both directions.
#[derive(Clone, Debug)]
pub struct Channel {
    to_guest: VecDeque<u8>,
    from_guest: VecDeque<u8>,
    terminal: bool,
    /// Open descriptions of the guest's side.
    guests: u32,
    owner_writes: bool,
    owner_reads: bool,
    pub(crate) guest_queue: QueueId,
    owner_queue: QueueId,
}

/// The name of a channel, for its owner.
pub type ChannelId = Id<Channel>;

impl Channel {
    pub(crate) fn poll(&self) -> Events {
        let mut events = Events::empty();
        events.set(
            Events::READ,
            !self.to_guest.is_empty() || !self.owner_writes,
        );
        events.set(
            Events::WRITE,
            self.from_guest.len() < CAPACITY || !self.owner_reads,
        );
        events.set(Events::RDHUP, !self.owner_writes);
        events.set(Events::HUP, !self.owner_writes && !self.owner_reads);
        events
    }

    /// Bytes that the guest can read.
    pub fn available(&self) -> usize {
        self.to_guest.len()
    }

    /// Whether the guest sees a terminal.
    pub const fn is_terminal(&self) -> bool {
        self.terminal
    }
}

impl Objects {
    /// A new channel with the owner's side open. `terminal` says whether `isatty` is true of it.
    pub fn new_channel(&mut self, terminal: bool) -> ChannelId {
        let guest_queue = self.hub.new_queue();
        let owner_queue = self.hub.new_queue();
        self.channels.insert(Channel {
            to_guest: VecDeque::new(),
            from_guest: VecDeque::new(),
            terminal,
            guests: 0,
            owner_writes: true,
            owner_reads: true,
            guest_queue,
            owner_queue,
        })
    }

    /// Gives the guest a descriptor of a channel; `flags` as for `open` (access mode,
    /// `O_NONBLOCK`, `O_CLOEXEC`).
    pub fn open_channel(&mut self, id: ChannelId, flags: OpenFlags) -> Result<Fd> {
        self.channels.get_mut(id).ok_or(Errno::ENXIO)?.guests += 1;
        let node = self.channel_node(id);
        self.open_object(Object::Channel(id), flags, node)
    }

    /// A new open description of a channel that is reached by name (`/dev/stdin`, `/dev/tty`).
    pub(crate) fn reopen_channel(
        &mut self,
        id: ChannelId,
        flags: OpenFlags,
    ) -> Result<crate::object::description::DescId> {
        self.channels.get_mut(id).ok_or(Errno::ENXIO)?.guests += 1;
        let node = self.channel_node(id);
        self.describe(Object::Channel(id), flags, node)
    }

    /// A terminal is `/dev/tty` to those who ask where it is.
    fn channel_node(&self, id: ChannelId) -> Option<crate::object::vfs::NodeRef> {
        if self.channels.get(id)?.terminal {
            self.tty_node
        } else {
            None
        }
    }

    /// The guest's descriptors and the owner's end are gone: nothing is left to say.
    fn reap_channel(&mut self, id: ChannelId) {
        if let Some(channel) = self.channels.get(id)
            && channel.guests == 0
            && !channel.owner_reads
            && !channel.owner_writes
            && let Some(channel) = self.channels.remove(id)
        {
            self.hub.remove_queue(channel.guest_queue);
            self.hub.remove_queue(channel.owner_queue);
        }
    }

    pub(crate) fn close_channel_guest(&mut self, id: ChannelId) {
        let Some(channel) = self.channels.get_mut(id) else {
            return;
        };
        channel.guests = channel.guests.saturating_sub(1);
        let queue = channel.owner_queue;
        self.hub.wake(queue, Events::all());
        self.reap_channel(id);
    }

    pub(crate) fn read_channel(&mut self, id: ChannelId, sink: &mut dyn Sink) -> Result<usize> {
        let channel = self.channels.get_mut(id).ok_or(Errno::EIO)?;
        if sink.remaining() == 0 {
            return Ok(0);
        }
        if channel.to_guest.is_empty() {
            return if channel.owner_writes {
                Err(Errno::EAGAIN)
            } else {
                Ok(0)
            };
        }
        let mut done = 0;
        // A terminal gives one line per read.
        let limit = match channel.to_guest.iter().position(|&b| b == b'\n') {
            Some(end) if channel.terminal => end + 1,
            _ => usize::MAX,
        };
        for part in <[&[u8]; 2]>::from(channel.to_guest.as_slices()) {
            let part = &part[..part.len().min(limit - done)];
            match put_some(sink, part) {
                Ok(n) => done += n,
                Err(errno) if done == 0 => return Err(errno),
                Err(_) => break,
            }
        }
        channel.to_guest.drain(..done);
        let queue = channel.owner_queue;
        self.hub.wake(queue, Events::WRITE);
        Ok(done)
    }

    pub(crate) fn write_channel(
        &mut self,
        id: ChannelId,
        source: &mut dyn Source,
    ) -> Result<usize> {
        let channel = self.channels.get_mut(id).ok_or(Errno::EIO)?;
        if !channel.owner_reads {
            return Err(if channel.terminal {
                Errno::EIO
            } else {
                Errno::EPIPE
            });
        }
        let room = CAPACITY - channel.from_guest.len();
        let want = source.remaining().min(room);
        if want == 0 {
            return if source.remaining() == 0 {
                Ok(0)
            } else {
                Err(Errno::EAGAIN)
            };
        }
        let mut bytes = vec![0; want];
        let n = source.take(&mut bytes);
        if n == 0 {
            return Err(Errno::EFAULT);
        }
        channel.from_guest.extend(&bytes[..n]);
        let queue = channel.owner_queue;
        self.hub.wake(queue, Events::READ);
        Ok(n)
    }

    /// The owner takes up to `max` bytes that the guest wrote. Nothing there is `EAGAIN` while the
    /// guest has the channel open, and an empty vector (the end) afterwards.
    pub fn channel_take(&mut self, id: ChannelId, max: usize) -> Result<Vec<u8>> {
        let channel = self.channels.get_mut(id).ok_or(Errno::EPIPE)?;
        let n = channel.from_guest.len().min(max);
        if n == 0 && channel.guests > 0 && max > 0 {
            return Err(Errno::EAGAIN);
        }
        let bytes = channel.from_guest.drain(..n).collect();
        let queue = channel.guest_queue;
        if n > 0 {
            self.hub.wake(queue, Events::WRITE);
        }
        Ok(bytes)
    }

    /// The owner gives bytes to the guest: how many there was room for, `EAGAIN` if for none.
    ///
    /// # Errors
    /// `EPIPE` when the guest has closed its side.
    pub fn channel_give(&mut self, id: ChannelId, bytes: &[u8]) -> Result<usize> {
        let channel = self.channels.get_mut(id).ok_or(Errno::EPIPE)?;
        if channel.guests == 0 || !channel.owner_writes {
            return Err(Errno::EPIPE);
        }
        let n = bytes.len().min(CAPACITY - channel.to_guest.len());
        if n == 0 && !bytes.is_empty() {
            return Err(Errno::EAGAIN);
        }
        channel.to_guest.extend(&bytes[..n]);
        let queue = channel.guest_queue;
        self.hub.wake(queue, Events::READ);
        Ok(n)
    }

    /// The owner will give no more: the guest reads the end after what is there.
    pub fn channel_end_input(&mut self, id: ChannelId) {
        if let Some(channel) = self.channels.get_mut(id) {
            channel.owner_writes = false;
            let queue = channel.guest_queue;
            self.hub.wake(queue, Events::all());
        }
        self.reap_channel(id);
    }

    /// The owner leaves: the guest's writes fail from now on.
    pub fn channel_close(&mut self, id: ChannelId) {
        if let Some(channel) = self.channels.get_mut(id) {
            channel.owner_reads = false;
            channel.owner_writes = false;
            channel.from_guest.clear();
            let queue = channel.guest_queue;
            self.hub.wake(queue, Events::all());
        }
        self.reap_channel(id);
    }

    /// Empties both directions: a clone must not see what was meant for its parent.
    pub fn channel_reset(&mut self, id: ChannelId) {
        if let Some(channel) = self.channels.get_mut(id) {
            channel.to_guest.clear();
            channel.from_guest.clear();
        }
    }

    /// Where the owner waits: for [`Events::IN`] before taking, [`Events::OUT`] before giving.
    pub fn channel_queue(&self, id: ChannelId) -> Result<QueueId> {
        Ok(self.channels.get(id).ok_or(Errno::EPIPE)?.owner_queue)
    }

    /// Whether the guest still has a descriptor of the channel.
    pub fn channel_is_open(&self, id: ChannelId) -> bool {
        self.channels.get(id).is_some_and(|c| c.guests > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::object::testing::{World, objects};

    #[test]
    fn what_one_side_writes_the_other_reads_and_a_full_channel_would_block() {
        let (mut o, w) = (objects(), World::default());
        let id = o.new_channel(false);
        let fd = o.open_channel(id, OpenFlags::RDWR).unwrap();
        assert_eq!(o.channel_take(id, 10), Err(Errno::EAGAIN));
        assert_eq!(o.write(&w, fd, &mut &[1u8; 100_000][..]), Ok(CAPACITY));
        assert_eq!(o.write(&w, fd, &mut &[1u8; 1][..]), Err(Errno::EAGAIN));
        assert_eq!(o.channel_take(id, 10).unwrap().len(), 10);
        assert_eq!(o.write(&w, fd, &mut &[1u8; 11][..]), Ok(10));
        assert_eq!(o.channel_give(id, b"hello\nworld"), Ok(11));
        o.channel_end_input(id);
        let mut buffer = [0; 20];
        assert_eq!(o.read(&w, fd, &mut &mut buffer[..]), Ok(11));
        assert_eq!(o.read(&w, fd, &mut &mut buffer[..]), Ok(0));
        o.close(fd).unwrap();
        assert_eq!(o.channel_take(id, usize::MAX).unwrap().len(), CAPACITY);
        assert_eq!(o.channel_take(id, 1).unwrap(), b"");
        o.channel_close(id);
        assert!(o.channels.is_empty());
    }

    #[test]
    fn a_terminal_gives_one_line_per_read() {
        let (mut o, w) = (objects(), World::default());
        let id = o.new_channel(true);
        let fd = o.open_channel(id, OpenFlags::RDWR).unwrap();
        o.channel_give(id, b"one\ntwo\n").unwrap();
        let mut buffer = [0; 20];
        assert_eq!(o.read(&w, fd, &mut &mut buffer[..]), Ok(4));
        assert_eq!(&buffer[..4], b"one\n");
    }
}
