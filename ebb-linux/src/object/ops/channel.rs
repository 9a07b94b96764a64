//! Channels from both sides: descriptors for the guest, calls for the owner.

use alloc::vec::Vec;

use crate::object::{
    Objects,
    errno::{Errno, Result},
    flags::OpenFlags,
    id::{DescId, Fd, QueueId},
    kind::{
        Object,
        channel::{CAPACITY_BYTES, Channel, ChannelId},
    },
    wait::Events,
};

impl Objects {
    /// A new channel with the owner's side open.
    pub(crate) fn new_channel(&mut self) -> ChannelId {
        let channel = Channel::new(&mut self.hub);
        self.kinds.channels.insert(channel)
    }

    /// Gives the guest a descriptor of a channel; `flags` as for `open` (access mode,
    /// `O_NONBLOCK`, `O_CLOEXEC`).
    pub(crate) fn open_channel(&mut self, id: ChannelId, flags: OpenFlags) -> Result<Fd> {
        self.kinds.channels.get_mut(id).ok_or(Errno::ENXIO)?.guests += 1;
        self.open_object(Object::Channel(id), flags, None)
    }

    /// A new open description of a channel that is reached by name (`/dev/stdin`).
    pub(crate) fn reopen_channel(&mut self, id: ChannelId, flags: OpenFlags) -> Result<DescId> {
        self.kinds.channels.get_mut(id).ok_or(Errno::ENXIO)?.guests += 1;
        self.describe(Object::Channel(id), flags, None)
    }

    /// Frees a channel that neither side has.
    fn reap_channel(&mut self, id: ChannelId) {
        if let Some(channel) = self.kinds.channels.get(id)
            && channel.ends(&mut self.hub)
        {
            self.kinds.channels.remove(id);
        }
    }

    /// The owner takes up to `max` bytes that the guest wrote. Nothing there is `EAGAIN` while the
    /// guest has the channel open, and an empty vector (the end) afterwards.
    pub(crate) fn channel_take(&mut self, id: ChannelId, max: usize) -> Result<Vec<u8>> {
        if let Some(end) = self.channel_terminal(id) {
            return self.take_shown(end, max);
        }
        let channel = self.kinds.channels.get_mut(id).ok_or(Errno::EPIPE)?;
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

    /// As [`channel_take`](Self::channel_take) without a bound, to the end of `into`: how many bytes, 0 at the end.
    pub(crate) fn channel_take_into(&mut self, id: ChannelId, into: &mut Vec<u8>) -> Result<usize> {
        if let Some(end) = self.channel_terminal(id) {
            let shown = self.take_shown(end, usize::MAX)?;
            into.extend_from_slice(&shown);
            return Ok(shown.len());
        }
        let channel = self.kinds.channels.get_mut(id).ok_or(Errno::EPIPE)?;
        let n = channel.from_guest.len();
        if n == 0 {
            return if channel.guests > 0 {
                Err(Errno::EAGAIN)
            } else {
                Ok(0)
            };
        }
        into.extend(channel.from_guest.drain(..));
        let queue = channel.guest_queue;
        self.hub.wake(queue, Events::WRITE);
        Ok(n)
    }

    /// The owner gives bytes to the guest: how many there was room for, `EAGAIN` if for none.
    ///
    /// # Errors
    /// `EPIPE` when the guest has closed its side.
    pub(crate) fn channel_give(&mut self, id: ChannelId, bytes: &[u8]) -> Result<usize> {
        let channel = self.kinds.channels.get_mut(id).ok_or(Errno::EPIPE)?;
        if channel.guests == 0 || !channel.owner_writes {
            return Err(Errno::EPIPE);
        }
        let n = bytes.len().min(CAPACITY_BYTES - channel.to_guest.len());
        if n == 0 && !bytes.is_empty() {
            return Err(Errno::EAGAIN);
        }
        channel.to_guest.extend(&bytes[..n]);
        let queue = channel.guest_queue;
        self.hub.wake(queue, Events::READ);
        Ok(n)
    }

    /// The owner will give no more: the guest reads the end after what is there.
    pub(crate) fn channel_end_input(&mut self, id: ChannelId) {
        if let Some(end) = self.channel_terminal(id) {
            self.end_typing(end);
        }
        if let Some(channel) = self.kinds.channels.get_mut(id) {
            channel.owner_writes = false;
            let queue = channel.guest_queue;
            self.hub.wake(queue, Events::all());
        }
        self.reap_channel(id);
    }

    /// The owner leaves: the guest's writes fail from now on.
    pub(crate) fn channel_close(&mut self, id: ChannelId) {
        if let Some(end) = self.channel_terminal(id) {
            self.close_terminal(end.pty, OpenFlags::MASTER);
        }
        if let Some(channel) = self.kinds.channels.get_mut(id) {
            channel.owner_reads = false;
            channel.owner_writes = false;
            channel.from_guest.clear();
            let queue = channel.guest_queue;
            self.hub.wake(queue, Events::all());
        }
        self.reap_channel(id);
    }

    /// Empties both directions: a clone must not see what was meant for its parent.
    pub(crate) fn channel_reset(&mut self, id: ChannelId) {
        if let Some(end) = self.channel_terminal(id)
            && let Ok(pty) = self.terminal_mut(end)
        {
            pty.clear();
        }
        if let Some(channel) = self.kinds.channels.get_mut(id) {
            channel.to_guest.clear();
            channel.from_guest.clear();
        }
    }

    /// Where the owner waits: for [`Events::IN`] before taking, [`Events::OUT`] before giving.
    pub(crate) fn channel_queue(&self, id: ChannelId) -> Result<QueueId> {
        if let Some(end) = self.channel_terminal(id) {
            return Ok(self.terminal(end)?.queue);
        }
        Ok(self.kinds.channels.get(id).ok_or(Errno::EPIPE)?.owner_queue)
    }

    /// Whether the guest still has a descriptor of the channel.
    pub(crate) fn channel_is_open(&self, id: ChannelId) -> bool {
        match self.channel_terminal(id) {
            Some(end) => self.terminal(end).is_ok_and(|pty| pty.slaves > 0),
            None => self.kinds.channels.get(id).is_some_and(|c| c.guests > 0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::object::testing::{World, objects};

    #[test]
    fn what_one_side_writes_the_other_reads_and_a_full_channel_would_block() {
        let (mut o, w) = (objects(), World::default());
        let id = o.new_channel();
        let fd = o.open_channel(id, OpenFlags::RDWR).unwrap();
        assert_eq!(o.channel_take(id, 10), Err(Errno::EAGAIN));
        assert_eq!(
            o.write(&w, fd, &mut &[1u8; 100_000][..]),
            Ok(CAPACITY_BYTES)
        );
        assert_eq!(o.write(&w, fd, &mut &[1u8; 1][..]), Err(Errno::EAGAIN));
        assert_eq!(o.channel_take(id, 10).unwrap().len(), 10);
        assert_eq!(o.write(&w, fd, &mut &[1u8; 11][..]), Ok(10));
        assert_eq!(o.channel_give(id, b"hello\nworld"), Ok(11));
        o.channel_end_input(id);
        let mut buffer = [0; 20];
        assert_eq!(o.read(&w, fd, &mut &mut buffer[..]), Ok(11));
        assert_eq!(o.read(&w, fd, &mut &mut buffer[..]), Ok(0));
        o.close(fd).unwrap();
        assert_eq!(
            o.channel_take(id, usize::MAX).unwrap().len(),
            CAPACITY_BYTES
        );
        assert_eq!(o.channel_take(id, 1).unwrap(), b"");
        o.channel_close(id);
        assert!(o.kinds.channels.is_empty());
    }
}
