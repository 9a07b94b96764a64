//! Channels: byte streams between a UC and whoever owns it.
//!
//! The guest has one side as a descriptor (its console, or a private link to an Ebb); the owner
//! reads and writes the other side through [`Objects`](crate::object::Objects) and waits on the channel's owner queue.
//! Both directions are bounded: a guest whose output nobody takes waits, like a writer to a pipe.

use alloc::{collections::VecDeque, vec};
use borsh::{BorshDeserialize, BorshSerialize};

use super::{Face, Kind, pty::Pty};
use crate::object::{
    env::Env,
    errno::{Errno, Result},
    flags::OpenFlags,
    id::{Id, QueueId},
    io::{Sink, Source, put_some},
    wait::{Events, Hub},
};

/// Bytes that wait in each direction at most.
pub const CAPACITY_BYTES: usize = 64 << 10;

/// A byte stream in both directions.
#[derive(BorshSerialize, BorshDeserialize, Clone, Debug)]
pub struct Channel {
    pub(crate) to_guest: VecDeque<u8>,
    pub(crate) from_guest: VecDeque<u8>,
    /// The terminal whose other side the owner has; the channel itself carries nothing then.
    pub(crate) terminal: Option<Id<Pty>>,
    /// Open descriptions of the guest's side.
    pub(crate) guests: u32,
    pub(crate) owner_writes: bool,
    pub(crate) owner_reads: bool,
    pub(crate) guest_queue: QueueId,
    pub(crate) owner_queue: QueueId,
}

/// The name of a channel, for its owner.
pub type ChannelId = Id<Channel>;

impl Channel {
    pub(crate) fn new(hub: &mut Hub) -> Self {
        Self {
            to_guest: VecDeque::new(),
            from_guest: VecDeque::new(),
            terminal: None,
            guests: 0,
            owner_writes: true,
            owner_reads: true,
            guest_queue: hub.new_queue(),
            owner_queue: hub.new_queue(),
        }
    }

    /// Whether the guest's descriptors and the owner's end are gone: then so are the queues, and nothing is left to say.
    pub(crate) fn ends(&self, hub: &mut Hub) -> bool {
        let ends = self.guests == 0 && !self.owner_reads && !self.owner_writes;
        if ends {
            hub.remove_queue(self.guest_queue);
            hub.remove_queue(self.owner_queue);
        }
        ends
    }
}

impl Kind for Channel {
    const FACE: Face = Face::Numbered {
        name: "pipe",
        dev: super::pipe::PIPE_DEV,
        mode: 0o010600,
        base: 0x3000_0000,
    };

    fn read(
        &mut self,
        hub: &mut Hub,
        _: &dyn Env,
        _: OpenFlags,
        sink: &mut dyn Sink,
    ) -> Result<usize> {
        if sink.remaining() == 0 {
            return Ok(0);
        }
        if self.to_guest.is_empty() {
            return if self.owner_writes {
                Err(Errno::EAGAIN)
            } else {
                Ok(0)
            };
        }
        let mut done = 0;
        for part in <[&[u8]; 2]>::from(self.to_guest.as_slices()) {
            match put_some(sink, part) {
                Ok(n) => done += n,
                Err(errno) if done == 0 => return Err(errno),
                Err(_) => break,
            }
        }
        self.to_guest.drain(..done);
        hub.wake(self.owner_queue, Events::WRITE);
        Ok(done)
    }

    fn write(
        &mut self,
        hub: &mut Hub,
        _: &dyn Env,
        _: OpenFlags,
        source: &mut dyn Source,
    ) -> Result<usize> {
        if !self.owner_reads {
            return Err(Errno::EPIPE);
        }
        let room = CAPACITY_BYTES - self.from_guest.len();
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
        self.from_guest.extend(&bytes[..n]);
        hub.wake(self.owner_queue, Events::READ);
        Ok(n)
    }

    fn poll(&mut self, _: &mut Hub, _: &dyn Env, _: OpenFlags) -> Events {
        let mut events = Events::empty();
        events.set(
            Events::READ,
            !self.to_guest.is_empty() || !self.owner_writes,
        );
        events.set(
            Events::WRITE,
            self.from_guest.len() < CAPACITY_BYTES || !self.owner_reads,
        );
        events.set(Events::RDHUP, !self.owner_writes);
        events.set(Events::HUP, !self.owner_writes && !self.owner_reads);
        events
    }

    fn queue(&self, _: &Hub) -> Option<QueueId> {
        Some(self.guest_queue)
    }

    fn close(&mut self, hub: &mut Hub, _: OpenFlags) -> bool {
        self.guests = self.guests.saturating_sub(1);
        hub.wake(self.owner_queue, Events::all());
        self.ends(hub)
    }

    fn seek(&self) -> Result<u64> {
        Err(Errno::ESPIPE)
    }

    fn available(&self) -> Result<usize> {
        Ok(self.to_guest.len())
    }

    fn writes_all(&self) -> bool {
        true
    }
}
