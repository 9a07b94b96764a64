//! `inotify_init1`, `inotify_add_watch`, `inotify_rm_watch`, and telling instances what happens to files.

use crate::object::{
    Objects,
    env::Env,
    errno::{Errno, Result},
    flags::{AT_FDCWD, OpenFlags},
    id::{Fd, Id, NodeRef},
    kind::{
        Object,
        inotify::{Change, Inotify, Watch},
    },
};

/// Instances that a UC can have (Linux' `max_user_instances`).
const MAX_INSTANCES: usize = 128;
/// Watches that one instance can have.
const MAX_WATCHES: usize = 8192;

impl Objects {
    /// `inotify_init1`.
    pub fn inotify(&mut self, flags: u32) -> Result<Fd> {
        let flags = OpenFlags::from_bits_retain(flags);
        if !(OpenFlags::NONBLOCK | OpenFlags::CLOEXEC).contains(flags) {
            return Err(Errno::EINVAL);
        }
        if self.kinds.inotifies.len() >= MAX_INSTANCES {
            return Err(Errno::EMFILE);
        }
        let inotify = Inotify::new(&mut self.hub);
        let id = self.kinds.inotifies.insert(inotify);
        self.fs.set_watching(true);
        self.open_object(Object::Inotify(id), flags, None)
    }

    fn inotify_of(&self, fd: Fd) -> Result<Id<Inotify>> {
        match self.description(self.files.fds.get(fd)?)?.object {
            Object::Inotify(id) => Ok(id),
            Object::Path => Err(Errno::EBADF),
            _ => Err(Errno::EINVAL),
        }
    }

    /// `inotify_add_watch`: a watch descriptor, the same one for the same file.
    ///
    /// # Errors
    /// `EBADF`, `EINVAL`, `EEXIST`, `ENOTDIR`, `ENOSPC`, and those of path resolution.
    pub fn inotify_add(&mut self, env: &dyn Env, fd: Fd, path: &[u8], mask: u32) -> Result<i32> {
        /// `IN_UNMOUNT`, which never happens.
        const UNMOUNT: u32 = 0x2000;
        let wanted = mask;
        let mask = Change::from_bits_truncate(wanted);
        if mask.is_empty() && wanted & UNMOUNT == 0 {
            return Err(Errno::EINVAL);
        }
        self.files.fds.get(fd)?;
        if mask.contains(Change::MASK_ADD | Change::MASK_CREATE) {
            return Err(Errno::EINVAL);
        }
        let id = self.inotify_of(fd)?;
        let node = self.resolve(env, AT_FDCWD, path, !mask.contains(Change::DONT_FOLLOW))?;
        if mask.contains(Change::ONLYDIR) && !self.is_dir(node) {
            return Err(Errno::ENOTDIR);
        }
        let node = self.place(node).map_err(|_| Errno::EINVAL)?;
        let node = self.fs.origin(node);
        let kept = mask & (Change::EVENTS | Change::EXCL_UNLINK | Change::ONESHOT);
        let inotify = self.kinds.inotifies.get_mut(id).ok_or(Errno::EBADF)?;
        let watched = self.watched.entry(node).or_default();
        if let Some(&(_, number)) = watched.iter().find(|w| w.0 == id) {
            if mask.contains(Change::MASK_CREATE) {
                return Err(Errno::EEXIST);
            }
            if let Some(watch) = inotify.watches.get_mut(&number) {
                watch.mask = match mask.contains(Change::MASK_ADD) {
                    true => watch.mask | kept,
                    false => kept,
                };
            }
            return Ok(number);
        }
        let number = match inotify.watches.len() < MAX_WATCHES {
            true => inotify.add(Watch { node, mask: kept }),
            false => Err(Errno::ENOSPC),
        };
        if let Ok(number) = number {
            watched.push((id, number));
        } else if watched.is_empty() {
            self.watched.remove(&node);
        }
        number
    }

    /// `inotify_rm_watch`.
    ///
    /// # Errors
    /// `EBADF`, `EINVAL`.
    pub fn inotify_remove(&mut self, fd: Fd, number: i32) -> Result<()> {
        let id = self.inotify_of(fd)?;
        self.end_watch(id, number).ok_or(Errno::EINVAL)
    }

    /// Ends a watch, which its instance is told.
    fn end_watch(&mut self, id: Id<Inotify>, number: i32) -> Option<()> {
        let inotify = self.kinds.inotifies.get_mut(id)?;
        let watch = inotify.watches.remove(&number)?;
        inotify.push(&mut self.hub, number, Change::IGNORED, 0, b"");
        self.forget_watch(watch.node, id);
        Some(())
    }

    fn forget_watch(&mut self, node: NodeRef, id: Id<Inotify>) {
        if let Some(watched) = self.watched.get_mut(&node) {
            watched.retain(|w| w.0 != id);
            if watched.is_empty() {
                self.watched.remove(&node);
            }
        }
    }

    /// An instance is about to be closed.
    pub(crate) fn forget_watches(&mut self, id: Id<Inotify>) {
        let Some(inotify) = self.kinds.inotifies.get_mut(id) else {
            return;
        };
        for (_, watch) in core::mem::take(&mut inotify.watches) {
            self.forget_watch(watch.node, id);
        }
        self.fs.set_watching(self.kinds.inotifies.len() > 1);
    }

    /// Whether somebody may want to know of changes.
    #[inline]
    pub(crate) fn is_watching(&self) -> bool {
        !self.kinds.inotifies.is_empty()
    }

    /// Something has happened to an entry of a directory.
    pub(crate) fn tell_entry(&mut self, dir: NodeRef, name: &[u8], change: Change, cookie: u32) {
        if self.is_watching() {
            self.tell(dir, change, cookie, name, false);
        }
    }

    /// Something has happened to a node that the directory it is in does not hear of.
    pub(crate) fn tell_self(&mut self, node: NodeRef, change: Change) {
        if self.is_watching() {
            self.tell(node, change, 0, b"", false);
        }
    }

    /// Something has happened to a node, of which the directory it is in hears too.
    #[inline]
    pub(crate) fn tell_node(&mut self, node: NodeRef, change: Change) {
        if self.is_watching() {
            self.tell_node_and_parent(node, change);
        }
    }

    #[cold]
    #[inline(never)]
    fn tell_node_and_parent(&mut self, node: NodeRef, change: Change) {
        let change = match self.is_dir(node) {
            true => change | Change::ISDIR,
            false => change,
        };
        if let Ok((dir, name, unlinked)) = self.fs.entry_of(node)
            && !name.is_empty()
        {
            self.tell(dir, change, 0, &name, unlinked);
        }
        self.tell(node, change, 0, b"", false);
    }

    /// Tells those that watch a node; `unlinked` if the name that it is about is gone.
    fn tell(&mut self, node: NodeRef, change: Change, cookie: u32, name: &[u8], unlinked: bool) {
        let node = self.fs.origin(self.fs.canon(node));
        let Some(watched) = self.watched.get(&node) else {
            return;
        };
        for (id, number) in watched.clone() {
            let Some(inotify) = self.kinds.inotifies.get_mut(id) else {
                continue;
            };
            let Some(&Watch { mask, .. }) = inotify.watches.get(&number) else {
                continue;
            };
            let excluded = unlinked && mask.contains(Change::EXCL_UNLINK);
            if excluded || !mask.intersects(change & Change::EVENTS) {
                continue;
            }
            inotify.push(&mut self.hub, number, change, cookie, name);
            if mask.contains(Change::ONESHOT) {
                self.end_watch(id, number);
            }
        }
    }

    /// Tells of nodes that are no more.
    pub(crate) fn tell_ends(&mut self) {
        for node in self.fs.take_ended() {
            self.tell_self(node, Change::DELETE_SELF);
            for (id, number) in self.watched.get(&node).cloned().unwrap_or_default() {
                self.end_watch(id, number);
            }
        }
    }

    /// A number that the two halves of a move have in common.
    pub(crate) fn move_cookie(&mut self) -> u32 {
        self.last_cookie = self.last_cookie.wrapping_add(1).max(1);
        self.last_cookie
    }
}
