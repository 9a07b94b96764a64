//! eventfd: a 64-bit counter as a descriptor.

use core::fmt::Write;

use super::{Face, Kind};
use crate::object::{
    env::Env,
    errno::{Errno, Result},
    flags::OpenFlags,
    id::QueueId,
    io::{Sink, Source, put_all, take_array},
    wait::{Events, Hub},
};
use borsh::{BorshDeserialize, BorshSerialize};

/// `EFD_SEMAPHORE`: a read takes one, not all.
pub const SEMAPHORE: u32 = 1;

/// A counter.
#[derive(BorshSerialize, BorshDeserialize, Clone, Debug)]
pub struct EventFd {
    count: u64,
    semaphore: bool,
    queue: QueueId,
}

impl EventFd {
    pub(crate) fn new(hub: &mut Hub, count: u64, semaphore: bool) -> Self {
        Self {
            count,
            semaphore,
            queue: hub.new_queue(),
        }
    }
}

impl Kind for EventFd {
    const FACE: Face = Face::Anonymous("[eventfd]");

    #[inline]
    fn read(
        &mut self,
        hub: &mut Hub,
        _: &dyn Env,
        _: OpenFlags,
        sink: &mut dyn Sink,
    ) -> Result<usize> {
        if sink.remaining() < 8 {
            return Err(Errno::EINVAL);
        }
        if self.count == 0 {
            return Err(Errno::EAGAIN);
        }
        let taken = if self.semaphore { 1 } else { self.count };
        self.count -= taken;
        hub.wake(self.queue, Events::OUT);
        put_all(sink, &taken.to_le_bytes())
    }

    #[inline]
    fn write(
        &mut self,
        hub: &mut Hub,
        _: &dyn Env,
        _: OpenFlags,
        source: &mut dyn Source,
    ) -> Result<usize> {
        if source.remaining() != 8 {
            return Err(Errno::EINVAL);
        }
        let added = u64::from_le_bytes(take_array(source)?);
        if added == u64::MAX {
            return Err(Errno::EINVAL);
        }
        if u64::MAX - self.count <= added {
            return Err(Errno::EAGAIN);
        }
        self.count += added;
        hub.wake(self.queue, Events::IN);
        Ok(8)
    }

    #[inline]
    fn poll(&mut self, _: &mut Hub, _: &dyn Env, _: OpenFlags) -> Events {
        let mut events = Events::empty();
        events.set(Events::IN, self.count > 0);
        events.set(Events::ERR, self.count == u64::MAX);
        events.set(Events::OUT, self.count < u64::MAX - 1);
        events
    }

    fn describe(&self, _: u64, out: &mut dyn Write) {
        let semaphore = u8::from(self.semaphore);
        let _ = write!(
            out,
            "eventfd-count: {:16x}\neventfd-id: {}\neventfd-semaphore: {semaphore}\n",
            self.count,
            self.queue.index(),
        );
    }

    fn queue(&self, _: &Hub) -> Option<QueueId> {
        Some(self.queue)
    }

    fn close(&mut self, hub: &mut Hub, _: OpenFlags) -> bool {
        hub.remove_queue(self.queue);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::object::testing::{World, objects};

    #[test]
    fn a_read_takes_all_or_with_semaphore_one() {
        let (mut o, w) = (objects(), World::default());
        for (flags, first, second) in [(0, 3, Err(Errno::EAGAIN)), (SEMAPHORE, 1, Ok(8))] {
            let fd = o.eventfd(3, flags).unwrap();
            let mut word = [0; 8];
            assert_eq!(o.read(&w, fd, &mut &mut word[..]), Ok(8));
            assert_eq!(u64::from_le_bytes(word), first);
            assert_eq!(o.read(&w, fd, &mut &mut word[..]), second);
        }
    }
}
