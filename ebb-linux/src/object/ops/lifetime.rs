//! How long descriptions live: made, counted, and closed with whatever only they kept alive.

use alloc::{collections::BTreeMap, sync::Arc, vec::Vec};

use ebb_mem::space::Shared;

use crate::object::{
    Objects,
    errno::{Errno, Result},
    flags::OpenFlags,
    id::{DescId, Fd, NodeRef},
    kind::{Kind, Object, dispatch, inotify::Change},
    table::Description,
};

impl Objects {
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
            } else if self.sockets.sends_sockets && matches!(desc.object, Object::Socket(_)) {
                self.collect_unreachable();
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

    /// Ends what a description with these flags was to its object, and the object with the last.
    pub(crate) fn close_end(&mut self, object: Object, flags: OpenFlags) {
        let ends = dispatch!(get_mut, self.kinds, object, |kind| kind.close(&mut self.hub, flags), false, {
            Object::File | Object::Dir | Object::Path | Object::Text | Object::Epoll(_) => false,
        });
        if ends {
            self.kinds.remove(object);
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
                Object::Epoll(id) => self.close_epoll(id),
                Object::Inotify(inotify) => {
                    self.forget_watches(inotify);
                    self.close_end(desc.object, desc.flags);
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
                Object::MessageQueue(queue) => self.close_mqueue(queue, id, desc.flags),
                Object::Pty(id) => self.close_terminal(id, desc.flags),
                object => self.close_end(object, desc.flags),
            }
            if let Some(node) = desc.node {
                self.drop_locks(id, node);
                self.drop_description_records(id, node);
                if self.is_watching() && desc.object != Object::Path {
                    self.tell_node(
                        node,
                        match desc.flags.writable() {
                            true => Change::CLOSE_WRITE,
                            false => Change::CLOSE_NOWRITE,
                        },
                    );
                }
                self.fs.close_node(node);
                if self.is_watching() {
                    self.tell_ends();
                }
            }
        }
    }
}

impl Clone for Objects {
    /// An independent copy. Nobody waits in it, and holds of running system calls are dropped:
    /// threads start theirs again. Connections over the network stay with the original; see
    /// [`Objects::reset_connections`]. Files that are mapped to be shared still are; see [`Objects::duplicate`].
    fn clone(&self) -> Self {
        let mut copy = Self {
            files: self.files.clone(),
            running: self.running,
            parked: self.parked.clone(),
            hub: self.hub.clone(),
            fs: self.fs.clone(),
            limits: self.limits,
            descriptions: self.descriptions.clone(),
            kinds: self.kinds.clone(),
            sockets: self.sockets.clone(),
            flocks: self.flocks.clone(),
            records: self.records.clone(),
            watched: self.watched.clone(),
            last_cookie: self.last_cookie,
            epoll_items: self.epoll_items,
            terminals: self.terminals.clone(),
            mq_names: self.mq_names.clone(),
            boot_id: self.boot_id,
        };
        copy.drop_holds();
        copy
    }
}

impl Objects {
    /// Whether a system call has left something to be done outside: connections to be ended, pages to be unmapped.
    #[inline]
    pub fn has_aftermath(&self) -> bool {
        // Without a branch for each: every system call ends with this question.
        self.has_closed_network()
            | self.fs.has_given_up()
            | self.fs.has_trash()
            | self.hub.has_news()
    }

    /// A clone that shares no memory with the original, and by name the pages that take the place of those that mappings
    /// share: the clone's memory must map these. `None` when there is no memory for them.
    pub fn duplicate(&self) -> Option<(Self, BTreeMap<u64, Arc<Shared>>)> {
        let mut copy = self.clone();
        let mut made = BTreeMap::new();
        copy.fs.unshare(&mut made).then_some((copy, made))
    }
}
