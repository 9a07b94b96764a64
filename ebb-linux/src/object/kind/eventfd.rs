//! eventfd: a 64-bit counter as a descriptor.

use crate::object::{
    Objects,
    arena::Id,
    description::Object,
    errno::{Errno, Result},
    fd::Fd,
    flags::OpenFlags,
    io::{Sink, Source, put_all, take_array},
    wait::{Events, QueueId},
};

/// `EFD_SEMAPHORE`: a read takes one, not all.
pub const SEMAPHORE: u32 = 1;

/// A counter.
#[derive(Clone, Debug)]
pub struct EventFd {
    count: u64,
    semaphore: bool,
    pub(crate) queue: QueueId,
}

impl EventFd {
    pub(crate) fn poll(&self) -> Events {
        let mut events = Events::empty();
        events.set(Events::IN, self.count > 0);
        events.set(Events::ERR, self.count == u64::MAX);
        events.set(Events::OUT, self.count < u64::MAX - 1);
        events
    }
}

impl Objects {
    /// `eventfd2`. `flags` may hold `EFD_SEMAPHORE`, `EFD_NONBLOCK` and `EFD_CLOEXEC` (the last
    /// two are the `O_` flags).
    pub fn eventfd(&mut self, count: u32, flags: u32) -> Result<Fd> {
        let status = OpenFlags::from_bits_retain(flags & !SEMAPHORE);
        if !(OpenFlags::NONBLOCK | OpenFlags::CLOEXEC).contains(status) {
            return Err(Errno::EINVAL);
        }
        let semaphore = flags & SEMAPHORE != 0;
        let queue = self.hub.new_queue();
        let id = self.eventfds.insert(EventFd {
            count: count.into(),
            semaphore,
            queue,
        });
        self.open_object(Object::EventFd(id), status | OpenFlags::RDWR, None)
    }

    pub(crate) fn read_eventfd(&mut self, id: Id<EventFd>, sink: &mut dyn Sink) -> Result<usize> {
        if sink.remaining() < 8 {
            return Err(Errno::EINVAL);
        }
        let eventfd = self.eventfds.get_mut(id).ok_or(Errno::EBADF)?;
        if eventfd.count == 0 {
            return Err(Errno::EAGAIN);
        }
        let taken = if eventfd.semaphore { 1 } else { eventfd.count };
        eventfd.count -= taken;
        self.hub.wake(eventfd.queue, Events::OUT);
        put_all(sink, &taken.to_le_bytes())
    }

    pub(crate) fn write_eventfd(
        &mut self,
        id: Id<EventFd>,
        source: &mut dyn Source,
    ) -> Result<usize> {
        if source.remaining() != 8 {
            return Err(Errno::EINVAL);
        }
        let added = u64::from_le_bytes(take_array(source)?);
        let eventfd = self.eventfds.get_mut(id).ok_or(Errno::EBADF)?;
        if added == u64::MAX {
            return Err(Errno::EINVAL);
        }
        if u64::MAX - eventfd.count <= added {
            return Err(Errno::EAGAIN);
        }
        eventfd.count += added;
        self.hub.wake(eventfd.queue, Events::IN);
        Ok(8)
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
