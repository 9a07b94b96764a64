//! Open file descriptions: what `open` makes and `dup` shares: a position, status flags, and the
//! object behind.
//!
//! A description lives as long as a descriptor, a message in flight, a mapping (all counted in
//! `refs`) or a running system call (`holds`) names it. Holds are not part of a snapshot, because
//! the system calls that had them are started again in the clone.

use alloc::{sync::Arc, vec::Vec};

use super::{
    Objects,
    arena::Id,
    channel::Channel,
    device::Device,
    env::Env,
    epoll::Epoll,
    errno::{Errno, Result},
    eventfd::EventFd,
    fd::Fd,
    flags::OpenFlags,
    inotify::Inotify,
    pipe::Pipe,
    signalfd::SignalFd,
    socket::Socket,
    timerfd::TimerFd,
    vfs::NodeRef,
    wait::{Events, QueueId},
};

/// The name of an open file description.
pub type DescId = Id<Description>;

/// What a description gives access to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Object {
    /// A regular file.
    File,
    /// A directory.
    Dir,
    /// Only a place in the file system (`O_PATH`).
    Path,
    /// A generated file of /proc or /sys.
    Text,
    /// A character device without state of its own.
    Device(Device),
    /// One or both ends of a pipe, by the access mode.
    Pipe(Id<Pipe>),
    /// A counter.
    EventFd(Id<EventFd>),
    /// A timer.
    TimerFd(Id<TimerFd>),
    /// Signals as messages.
    SignalFd(Id<SignalFd>),
    /// An epoll set.
    Epoll(Id<Epoll>),
    /// The guest's side of a channel: a console, or a link to an Ebb.
    Channel(Id<Channel>),
    /// An inotify instance.
    Inotify(Id<Inotify>),
    /// A process, by its number and its serial number.
    Process(u32, u64),
    /// A socket of any family.
    Socket(Id<Socket>),
}

/// An open file description.
#[derive(Clone, Debug)]
pub struct Description {
    /// What is behind it.
    pub object: Object,
    /// Access mode and status flags, as `F_GETFL` gives them.
    pub flags: OpenFlags,
    /// Where the next read or write happens, for what has a position.
    pub pos: u64,
    /// Where it is in the file system, for what is there.
    pub node: Option<NodeRef>,
    /// The content of a generated file as of the last read from its start.
    pub(crate) text: Option<Arc<[u8]>>,
    refs: u32,
    holds: u32,
}

impl Description {
    pub(crate) fn new(object: Object, flags: OpenFlags, node: Option<NodeRef>) -> Self {
        Self {
            object,
            flags,
            pos: 0,
            node,
            text: None,
            refs: 0,
            holds: 0,
        }
    }
}

impl Objects {
    /// The description of this name.
    ///
    /// # Errors
    /// `EBADF` when it is gone.
    pub fn description(&self, id: DescId) -> Result<&Description> {
        self.descriptions.get(id).ok_or(Errno::EBADF)
    }

    pub(crate) fn description_mut(&mut self, id: DescId) -> Result<&mut Description> {
        self.descriptions.get_mut(id).ok_or(Errno::EBADF)
    }

    /// Adds a description and its first descriptor. If there is no room for either, what was
    /// behind it is closed.
    pub(crate) fn open_object(
        &mut self,
        object: Object,
        flags: OpenFlags,
        node: Option<NodeRef>,
    ) -> Result<Fd> {
        let desc = self.describe(object, flags, node)?;
        self.install(desc, flags.contains(OpenFlags::CLOEXEC))
    }

    /// Adds a description that nobody refers to yet. The caller must [`install`](Self::install)
    /// or [`retain`](Self::retain) it.
    pub(crate) fn describe(
        &mut self,
        object: Object,
        flags: OpenFlags,
        node: Option<NodeRef>,
    ) -> Result<DescId> {
        let kept = flags
            .difference(OpenFlags::CREAT | OpenFlags::EXCL | OpenFlags::NOCTTY)
            .difference(OpenFlags::TRUNC | OpenFlags::CLOEXEC);
        if let Some(node) = node {
            self.fs.open_node(node);
        }
        let desc = self
            .descriptions
            .insert(Description::new(object, kept, node));
        if self.descriptions.len() > self.limits.descriptions {
            self.drop_description(desc);
            return Err(Errno::ENFILE);
        }
        Ok(desc)
    }

    /// Adds a lasting reference: a mapping, or a message in flight.
    pub fn retain(&mut self, id: DescId) {
        if let Some(desc) = self.descriptions.get_mut(id) {
            desc.refs += 1;
        }
    }

    /// Drops a lasting reference; the last one closes the object.
    pub fn release(&mut self, id: DescId) {
        if let Some(desc) = self.descriptions.get_mut(id) {
            desc.refs = desc.refs.saturating_sub(1);
            if desc.refs + desc.holds == 0 {
                self.drop_description(id);
            }
        }
    }

    /// Keeps the description behind `fd` alive during a system call that may wait, even if
    /// another thread closes `fd` meanwhile.
    pub fn hold(&mut self, fd: Fd) -> Result<DescId> {
        let id = self.files.fds.get(fd)?;
        self.hold_description(id);
        Ok(id)
    }

    pub(crate) fn hold_description(&mut self, id: DescId) {
        if let Some(desc) = self.descriptions.get_mut(id) {
            desc.holds += 1;
        }
    }

    /// Ends a [`hold`](Self::hold).
    pub fn unhold(&mut self, id: DescId) {
        if let Some(desc) = self.descriptions.get_mut(id) {
            desc.holds = desc.holds.saturating_sub(1);
            if desc.refs + desc.holds == 0 {
                self.drop_description(id);
            }
        }
    }

    /// Forgets all holds: the first thing a clone does.
    pub(crate) fn drop_holds(&mut self) {
        let mut dead = Vec::new();
        for (id, desc) in self.descriptions.iter_mut() {
            desc.holds = 0;
            if desc.refs == 0 {
                dead.push(id);
            }
        }
        for id in dead {
            self.drop_description(id);
        }
    }

    /// Closes a description and whatever only it kept alive. Descriptors that were in flight to a
    /// closed socket are closed in turn, by a list and not by recursion.
    fn drop_description(&mut self, id: DescId) {
        let mut dead = Vec::from([id]);
        while let Some(id) = dead.pop() {
            if let Ok(Some(queue)) = self.queue_of(id) {
                self.epoll_items -= self.hub.forget(queue, id);
            }
            let Some(desc) = self.descriptions.remove(id) else {
                continue;
            };
            match desc.object {
                Object::File | Object::Dir | Object::Path | Object::Text | Object::Device(_) => {}
                Object::Process(..) => {}
                Object::Pipe(pipe) => self.close_pipe(pipe, desc.flags, desc.node),
                Object::EventFd(id) => {
                    if let Some(eventfd) = self.eventfds.remove(id) {
                        self.hub.remove_queue(eventfd.queue);
                    }
                }
                Object::TimerFd(id) => self.close_timerfd(id),
                Object::SignalFd(id) => {
                    self.signalfds.remove(id);
                }
                Object::Epoll(id) => self.close_epoll(id),
                Object::Channel(id) => self.close_channel_guest(id),
                Object::Inotify(id) => {
                    if let Some(inotify) = self.inotifies.remove(id) {
                        self.hub.remove_queue(inotify.queue);
                    }
                }
                Object::Socket(id) => {
                    for in_flight in self.close_socket(id) {
                        if let Some(desc) = self.descriptions.get_mut(in_flight) {
                            desc.refs = desc.refs.saturating_sub(1);
                            if desc.refs + desc.holds == 0 {
                                dead.push(in_flight);
                            }
                        }
                    }
                }
            }
            if let Some(node) = desc.node {
                self.drop_locks(id, node);
                self.drop_description_records(id, node);
                self.fs.close_node(node);
            }
        }
    }

    /// The queue on which news of a description arrive; `None` for what is always ready and so
    /// cannot be put in an epoll set (files, directories).
    ///
    /// # Errors
    /// `EBADF`.
    pub fn queue_of(&self, id: DescId) -> Result<Option<QueueId>> {
        let gone = Errno::EBADF;
        Ok(Some(match self.description(id)?.object {
            Object::File | Object::Dir | Object::Text => return Ok(None),
            Object::Path => return Err(gone),
            Object::Device(device) => match device.pollable() {
                true => self.idle_queue,
                false => return Ok(None),
            },
            Object::Pipe(id) => self.pipes.get(id).ok_or(gone)?.queue,
            Object::EventFd(id) => self.eventfds.get(id).ok_or(gone)?.queue,
            Object::TimerFd(id) => self.timers.get(id).ok_or(gone)?.queue,
            Object::SignalFd(_) => self.signal_queue,
            Object::Epoll(id) => self.hub.epolls.get(id).ok_or(gone)?.queue,
            Object::Channel(id) => self.channels.get(id).ok_or(gone)?.guest_queue,
            Object::Inotify(id) => self.inotifies.get(id).ok_or(gone)?.queue,
            Object::Process(..) => self.child_queue,
            Object::Socket(id) => self.sockets.get(id).ok_or(gone)?.queue,
        }))
    }

    /// What a description is ready for now. What cannot be polled is always readable and writable.
    pub fn poll(&mut self, env: &dyn Env, id: DescId) -> Events {
        let Some(desc) = self.descriptions.get(id) else {
            return Events::NVAL;
        };
        let flags = desc.flags;
        match desc.object {
            Object::File | Object::Dir | Object::Text => Events::READ | Events::WRITE,
            Object::Path => Events::NVAL,
            Object::Device(device) => device.poll(),
            Object::Pipe(id) => self
                .pipes
                .get_mut(id)
                .map_or(Events::NVAL, |p| p.poll(flags)),
            Object::EventFd(id) => self.eventfds.get(id).map_or(Events::NVAL, EventFd::poll),
            Object::TimerFd(id) => self.poll_timerfd(env, id),
            Object::SignalFd(id) => match self.signalfds.get(id) {
                Some(signalfd) if env.pending_signals(signalfd.mask) != 0 => Events::READ,
                _ => Events::empty(),
            },
            Object::Epoll(id) => self.poll_epoll(env, id),
            Object::Channel(id) => self.channels.get(id).map_or(Events::NVAL, Channel::poll),
            Object::Inotify(_) => Events::empty(),
            Object::Process(_, serial) if env.is_alive(serial) => Events::empty(),
            Object::Process(..) => Events::READ,
            Object::Socket(id) => self.poll_socket(env, id),
        }
    }
}
