//! inotify: changes of files as messages.
//!
//! An instance has watches, each of a node and of some events, and a queue of what has happened to them. Which nodes are
//! watched by whom is in `Watched`, so that a change of a file that nobody watches costs one look.
//!
//! What must hold: a watch of an instance and its entry in `Watched` come and go together; the queue holds `MAX_EVENTS`
//! and one that says that more were lost.
//!
//! Source: inotify(7), and Linux' `fs/notify/inotify`.

use alloc::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    vec::Vec,
};

use bitflags::bitflags;

use super::{Face, Kind};
use crate::object::{
    env::Env,
    errno::{Errno, Result},
    flags::OpenFlags,
    id::{Id, NodeRef, QueueId},
    io::{Sink, put_all},
    wait::{Events, Hub},
};

/// How many events wait to be read (Linux' `max_queued_events`).
const MAX_EVENTS: usize = 16_384;
/// Bytes of a `struct inotify_event` without its name, and what names are filled up to.
const HEADER: usize = 16;

bitflags! {
    /// `IN_*`: what has happened, and how a watch behaves.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Change: u32 {
        /// A file was read.
        const ACCESS = 0x1;
        /// A file was written or cut.
        const MODIFY = 0x2;
        /// Attributes or the number of links changed.
        const ATTRIB = 0x4;
        /// What was open for writing was closed.
        const CLOSE_WRITE = 0x8;
        /// What was open for reading only was closed.
        const CLOSE_NOWRITE = 0x10;
        /// It was opened.
        const OPEN = 0x20;
        /// An entry went elsewhere.
        const MOVED_FROM = 0x40;
        /// An entry came from elsewhere.
        const MOVED_TO = 0x80;
        /// An entry was made.
        const CREATE = 0x100;
        /// An entry was removed.
        const DELETE = 0x200;
        /// The watched node itself is gone.
        const DELETE_SELF = 0x400;
        /// The watched node itself has another name.
        const MOVE_SELF = 0x800;
        /// Events were lost.
        const Q_OVERFLOW = 0x4000;
        /// The watch is over.
        const IGNORED = 0x8000;
        /// Watch only if it is a directory.
        const ONLYDIR = 0x0100_0000;
        /// Watch the link, not what it leads to.
        const DONT_FOLLOW = 0x0200_0000;
        /// No events of what has no name in the directory any more.
        const EXCL_UNLINK = 0x0400_0000;
        /// Fail if it is watched already.
        const MASK_CREATE = 0x1000_0000;
        /// Add to the events that are watched for already.
        const MASK_ADD = 0x2000_0000;
        /// It happened to a directory.
        const ISDIR = 0x4000_0000;
        /// The watch is over after one event.
        const ONESHOT = 0x8000_0000;
    }
}

impl Change {
    /// What can be watched for.
    pub const EVENTS: Change = Change::from_bits_truncate(0xfff);
}

/// A watch of an instance.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Watch {
    pub(crate) node: NodeRef,
    /// What it is for, `EXCL_UNLINK` and `ONESHOT`.
    pub(crate) mask: Change,
}

/// Which nodes are watched, by which instances under which numbers.
pub(crate) type Watched = BTreeMap<NodeRef, Vec<(Id<Inotify>, i32)>>;

#[derive(Clone, Debug, PartialEq, Eq)]
struct Event {
    watch: i32,
    change: Change,
    cookie: u32,
    /// The entry of a watched directory that it is about; empty for the watched node itself.
    name: Arc<[u8]>,
}

impl Event {
    /// Bytes of the name with what it is filled up with.
    fn name_size(&self) -> usize {
        match self.name.len() {
            0 => 0,
            len => (len + 1).next_multiple_of(HEADER),
        }
    }

    fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(HEADER + self.name_size());
        bytes.extend_from_slice(&self.watch.to_le_bytes());
        bytes.extend_from_slice(&self.change.bits().to_le_bytes());
        bytes.extend_from_slice(&self.cookie.to_le_bytes());
        bytes.extend_from_slice(&(self.name_size() as u32).to_le_bytes());
        bytes.extend_from_slice(&self.name);
        bytes.resize(HEADER + self.name_size(), 0);
        bytes
    }
}

/// An inotify instance.
#[derive(Clone, Debug)]
pub struct Inotify {
    pub(crate) watches: BTreeMap<i32, Watch>,
    last: i32,
    events: VecDeque<Event>,
    queue: QueueId,
}

impl Inotify {
    pub(crate) fn new(hub: &mut Hub) -> Self {
        Self {
            watches: BTreeMap::new(),
            last: 0,
            events: VecDeque::new(),
            queue: hub.new_queue(),
        }
    }

    /// Adds a watch: its number, which no other watch of the instance has had.
    pub(crate) fn add(&mut self, watch: Watch) -> Result<i32> {
        self.last = self.last.checked_add(1).ok_or(Errno::ENOSPC)?;
        self.watches.insert(self.last, watch);
        Ok(self.last)
    }

    /// Notes an event, unless it says what the one before it says.
    pub(crate) fn push(
        &mut self,
        hub: &mut Hub,
        watch: i32,
        change: Change,
        cookie: u32,
        name: &[u8],
    ) {
        let same = |e: &Event| (e.watch, e.change, &*e.name) == (watch, change, name);
        if self.events.back().is_some_and(same) {
            return;
        }
        let lost = self.events.len() >= MAX_EVENTS;
        if lost && self.events.len() > MAX_EVENTS {
            return;
        }
        self.events.push_back(match lost {
            true => Event {
                watch: -1,
                change: Change::Q_OVERFLOW,
                cookie: 0,
                name: Arc::from([]),
            },
            false => Event {
                watch,
                change,
                cookie,
                name: Arc::from(name),
            },
        });
        hub.wake(self.queue, Events::READ);
    }
}

impl Kind for Inotify {
    const FACE: Face = Face::Anonymous("inotify");

    fn read(
        &mut self,
        _: &mut Hub,
        _: &dyn Env,
        _: OpenFlags,
        sink: &mut dyn Sink,
    ) -> Result<usize> {
        let mut done = 0;
        while let Some(event) = self.events.front() {
            let bytes = event.to_bytes();
            if bytes.len() > sink.remaining() {
                return match done {
                    0 => Err(Errno::EINVAL),
                    done => Ok(done),
                };
            }
            // As in Linux an event that could not be stored is lost.
            self.events.pop_front();
            done += put_all(sink, &bytes)?;
        }
        match done {
            0 => Err(Errno::EAGAIN),
            done => Ok(done),
        }
    }

    fn poll(&mut self, _: &mut Hub, _: &dyn Env, _: OpenFlags) -> Events {
        match self.events.is_empty() {
            true => Events::empty(),
            false => Events::READ,
        }
    }

    fn queue(&self, _: &Hub) -> Option<QueueId> {
        Some(self.queue)
    }

    fn close(&mut self, hub: &mut Hub, _: OpenFlags) -> bool {
        hub.remove_queue(self.queue);
        true
    }

    fn available(&self) -> Result<usize> {
        Ok(self.events.iter().map(|e| HEADER + e.name_size()).sum())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::object::testing::World;

    fn read(i: &mut Inotify, hub: &mut Hub, room: usize) -> Result<usize> {
        let mut buffer = alloc::vec![0; room];
        let flags = OpenFlags::empty();
        i.read(hub, &World::default(), flags, &mut &mut buffer[..])
    }

    #[test]
    fn a_buffer_too_small_for_the_next_event_is_an_error_and_takes_nothing() {
        let mut hub = Hub::default();
        let mut i = Inotify::new(&mut hub);
        i.push(&mut hub, 1, Change::CREATE, 0, b"fifteen letters");
        i.push(&mut hub, 1, Change::CREATE, 0, b"sixteen lettersx");
        assert_eq!(i.available(), Ok(32 + 48));
        assert_eq!(read(&mut i, &mut hub, 31), Err(Errno::EINVAL));
        assert_eq!(read(&mut i, &mut hub, 79), Ok(32));
        assert_eq!(read(&mut i, &mut hub, 79), Ok(48));
        assert_eq!(read(&mut i, &mut hub, 79), Err(Errno::EAGAIN));
    }

    #[test]
    fn events_beyond_the_queue_are_lost_and_one_event_says_so() {
        let mut hub = Hub::default();
        let mut i = Inotify::new(&mut hub);
        for at in 0..MAX_EVENTS + 10 {
            i.push(&mut hub, 1, Change::OPEN, 0, &at.to_le_bytes());
        }
        assert_eq!(i.events.len(), MAX_EVENTS + 1);
        let last = i.events.back().unwrap();
        assert_eq!((last.watch, last.change), (-1, Change::Q_OVERFLOW));
    }
}
