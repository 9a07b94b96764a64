//! Calls that change the tree: mkdir, mknod, symlink, link, unlink, rmdir, rename, and the
//! attributes of nodes. The order of checks is that of Linux' `fs/namei.c`.

use alloc::sync::Arc;

use bitflags::bitflags;

use super::path::{Last, Parent};
use super::permission::{asker, want};
use crate::object::{
    Objects,
    credentials::cap,
    env::{Env, Time},
    errno::{Errno, Result},
    flags::AtFlags,
    fs::{DirData, InodeKind, LINK_MAX, NAME_MAX, NodeKind, PATH_MAX, S_ISGID},
    id::{Fd, Id, InodeId, NodeRef},
    kind::{Object, inotify::Change, mqueue::MessageQueue},
};

bitflags! {
    /// `RENAME_*`.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
    pub struct RenameFlags: u32 {
        /// Fail if the new name exists.
        const NOREPLACE = 1;
        /// Swap the two names.
        const EXCHANGE = 2;
        /// Leave a device of number 0 behind, which union file systems take for nothing.
        const WHITEOUT = 4;

        const _ = !0;
    }
}

/// What `utimensat` does with a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SetTime {
    /// Leave it (`UTIME_OMIT`).
    Omit,
    /// The present (`UTIME_NOW`).
    Now,
    /// This time.
    To(Time),
}

pub(super) fn now(env: &dyn Env) -> Time {
    Time::from_ns(env.realtime())
}

impl Objects {
    /// Where a new node is to be made: the directory, once it is sure that the name is free.
    fn place_for(&self, env: &dyn Env, dirfd: Fd, path: &[u8], want_dir: bool) -> Result<Parent> {
        let parent = self.resolve_parent(env, dirfd, path)?;
        let name = parent.name(Errno::EEXIST)?;
        if self.child(env, parent.dir, name)?.is_some() {
            return Err(Errno::EEXIST);
        }
        if parent.slash && !want_dir {
            return Err(Errno::ENOENT);
        }
        self.check_entering(env, parent.dir)?;
        Ok(parent)
    }

    /// Makes a node and its name.
    pub(crate) fn make_node(
        &mut self,
        env: &dyn Env,
        dirfd: Fd,
        path: &[u8],
        kind: InodeKind,
        mode: u32,
    ) -> Result<InodeId> {
        let want_dir = matches!(kind, InodeKind::Dir(_));
        let parent = self.place_for(env, dirfd, path, want_dir)?;
        let Last::Name(name) = parent.last else {
            return Err(Errno::EEXIST);
        };
        let made = self.fs.create(parent.dir, &name, kind, mode, now(env))?;
        self.fs.give(made, &asker(env), parent.dir)?;
        let change = match want_dir {
            true => Change::CREATE | Change::ISDIR,
            false => Change::CREATE,
        };
        self.tell_entry(parent.dir, &name, change, 0);
        Ok(made)
    }

    /// `mkdirat`.
    pub fn mkdir(&mut self, env: &dyn Env, dirfd: Fd, path: &[u8], mode: u32) -> Result<()> {
        let mode = mode & 0o1777 & !self.files.umask;
        self.make_node(env, dirfd, path, InodeKind::Dir(DirData::default()), mode)
            .map(|_| ())
    }

    /// `mknodat`: regular files, FIFOs, sockets and the character devices that exist here.
    pub fn mknod(
        &mut self,
        env: &dyn Env,
        dirfd: Fd,
        path: &[u8],
        mode: u32,
        device: u64,
    ) -> Result<()> {
        let kind = match mode & 0o170000 {
            0 | 0o100000 => InodeKind::File(Default::default()),
            0o010000 => InodeKind::Fifo(None),
            0o140000 => InodeKind::Socket(None),
            0o020000 if asker(env).has(cap::MKNOD) => InodeKind::Char(device),
            0o040000 => return Err(Errno::EPERM),
            // What is wrong with the place is told first.
            0o020000 | 0o060000 => {
                self.place_for(env, dirfd, path, false)?;
                return Err(Errno::EPERM);
            }
            _ => return Err(Errno::EINVAL),
        };
        let mode = mode & !self.files.umask;
        self.make_node(env, dirfd, path, kind, mode).map(|_| ())
    }

    /// `symlinkat`.
    pub fn symlink(&mut self, env: &dyn Env, target: &[u8], dirfd: Fd, path: &[u8]) -> Result<()> {
        match target.len() {
            0 => return Err(Errno::ENOENT),
            PATH_MAX.. => return Err(Errno::ENAMETOOLONG),
            _ => {}
        }
        self.make_node(
            env,
            dirfd,
            path,
            InodeKind::Symlink(Arc::from(target)),
            0o777,
        )
        .map(|_| ())
    }

    /// `linkat`; `flags` may hold `SYMLINK_FOLLOW` and `EMPTY_PATH`.
    pub fn link(
        &mut self,
        env: &dyn Env,
        (old_dirfd, old): (Fd, &[u8]),
        (new_dirfd, new): (Fd, &[u8]),
        flags: AtFlags,
    ) -> Result<()> {
        if !(AtFlags::SYMLINK_FOLLOW | AtFlags::EMPTY_PATH).contains(flags) {
            return Err(Errno::EINVAL);
        }
        let follow = flags.contains(AtFlags::SYMLINK_FOLLOW);
        let empty = flags.contains(AtFlags::EMPTY_PATH);
        let node = self.resolve_at(env, old_dirfd, old, follow, empty)?;
        let parent = self.place_for(env, new_dirfd, new, false)?;
        let node = self.place(node).map_err(|_| Errno::EXDEV)?;
        let (NodeRef::Upper(_) | NodeRef::Lower(_), NodeRef::Upper(_) | NodeRef::Lower(_)) =
            (node, parent.dir)
        else {
            return Err(Errno::EXDEV);
        };
        if self.is_dir(node) {
            return Err(Errno::EPERM);
        }
        let name = parent.name(Errno::EEXIST)?;
        if name.len() > NAME_MAX {
            return Err(Errno::ENAMETOOLONG);
        }
        let id = self.fs.copy_up(node)?;
        let inode = self.fs.inode(id)?;
        if inode.seals.is_some() {
            // A memfd is in a file system of its own.
            return Err(Errno::EXDEV);
        }
        match inode.nlink {
            // Only what O_TMPFILE made may come back from having no name.
            0 if !inode.linkable => return Err(Errno::ENOENT),
            LINK_MAX.. => return Err(Errno::EMLINK),
            _ => {}
        }
        let dir = self.fs.copy_up(parent.dir)?;
        if self.fs.inode(dir)?.nlink == 0 {
            return Err(Errno::ENOENT);
        }
        let now = now(env);
        self.fs.add_entry(dir, name, id, now)?;
        let inode = self.fs.inode_mut(id)?;
        inode.nlink += 1;
        inode.linkable = false;
        inode.ctime = now;
        self.tell_self(node, Change::ATTRIB);
        self.tell_entry(parent.dir, name, Change::CREATE, 0);
        Ok(())
    }

    /// `unlinkat`; with `REMOVEDIR` it is `rmdir`.
    pub fn unlink(&mut self, env: &dyn Env, dirfd: Fd, path: &[u8], flags: AtFlags) -> Result<()> {
        if !AtFlags::REMOVEDIR.contains(flags) {
            return Err(Errno::EINVAL);
        }
        if flags.contains(AtFlags::REMOVEDIR) {
            return self.rmdir(env, dirfd, path);
        }
        let parent = self.resolve_parent(env, dirfd, path)?;
        let name = parent.name(Errno::EISDIR)?;
        let node = self.child(env, parent.dir, name)?.ok_or(Errno::ENOENT)?;
        if self.is_dir(node) {
            return Err(Errno::EISDIR);
        }
        if parent.slash {
            return Err(Errno::ENOTDIR);
        }
        if let NodeRef::Synth(_) = node {
            return Err(Errno::EPERM);
        }
        self.check_removing(env, parent.dir, node)?;
        let file = self.fs.origin(self.fs.canon(node));
        self.fs.unlink_entry(parent.dir, name, node, now(env))?;
        if self.is_watching() {
            self.tell_self(file, Change::ATTRIB);
            self.tell_ends();
            self.tell_entry(parent.dir, name, Change::DELETE, 0);
        }
        Ok(())
    }

    fn rmdir(&mut self, env: &dyn Env, dirfd: Fd, path: &[u8]) -> Result<()> {
        let parent = self.resolve_parent(env, dirfd, path)?;
        let name = match &parent.last {
            Last::Name(name) => name,
            Last::DotDot => return Err(Errno::ENOTEMPTY),
            Last::Dot => return Err(Errno::EINVAL),
            Last::Root => return Err(Errno::EBUSY),
        };
        let node = self.child(env, parent.dir, name)?.ok_or(Errno::ENOENT)?;
        if !self.is_dir(node) {
            return Err(Errno::ENOTDIR);
        }
        match node {
            NodeRef::Synth(_) => {
                let on = self.fs.lookup(parent.dir, name);
                return Err(if matches!(on, Ok(Some(_))) {
                    Errno::EBUSY
                } else {
                    Errno::EPERM
                });
            }
            node if self.fs.is_mountpoint(node) => return Err(Errno::EBUSY),
            _ => {}
        }
        self.check_removing(env, parent.dir, node)?;
        if !self.fs.is_empty_dir(node)? {
            return Err(Errno::ENOTEMPTY);
        }
        self.fs.unlink_entry(parent.dir, name, node, now(env))?;
        if self.is_watching() {
            self.tell_ends();
            self.tell_entry(parent.dir, name, Change::DELETE | Change::ISDIR, 0);
        }
        Ok(())
    }

    /// `renameat2`.
    pub fn rename(
        &mut self,
        env: &dyn Env,
        (old_dirfd, old): (Fd, &[u8]),
        (new_dirfd, new): (Fd, &[u8]),
        flags: RenameFlags,
    ) -> Result<()> {
        let known = RenameFlags::NOREPLACE | RenameFlags::EXCHANGE | RenameFlags::WHITEOUT;
        let alone = flags == RenameFlags::EXCHANGE || !flags.contains(RenameFlags::EXCHANGE);
        if !known.contains(flags) || !alone {
            return Err(Errno::EINVAL);
        }
        let whiteout = flags.contains(RenameFlags::WHITEOUT);
        if whiteout && !asker(env).has(cap::MKNOD) {
            return Err(Errno::EPERM);
        }
        let exchange = flags.contains(RenameFlags::EXCHANGE);
        let noreplace = flags.contains(RenameFlags::NOREPLACE);
        let from = self.resolve_parent(env, old_dirfd, old)?;
        let to = self.resolve_parent(env, new_dirfd, new)?;
        let is_synth = |dir| matches!(dir, NodeRef::Synth(_));
        if is_synth(from.dir) != is_synth(to.dir) {
            return Err(Errno::EXDEV);
        }
        let old_name = from.name(Errno::EBUSY)?;
        let new_name = to.name(if noreplace {
            Errno::EEXIST
        } else {
            Errno::EBUSY
        })?;
        let node = self.child(env, from.dir, old_name)?.ok_or(Errno::ENOENT)?;
        let target = self.child(env, to.dir, new_name)?;
        match target {
            Some(_) if noreplace => return Err(Errno::EEXIST),
            None if exchange => return Err(Errno::ENOENT),
            _ => {}
        }
        if exchange && to.slash && !target.is_some_and(|t| self.is_dir(t)) {
            return Err(Errno::ENOTDIR);
        }
        let is_dir = self.is_dir(node);
        if !is_dir && (from.slash || !exchange && to.slash) {
            return Err(Errno::ENOTDIR);
        }
        if is_dir && self.fs.is_within(to.dir, node) {
            return Err(Errno::EINVAL);
        }
        if target.is_some_and(|t| self.is_dir(t) && self.fs.is_within(from.dir, t)) {
            return Err(if exchange {
                Errno::EINVAL
            } else {
                Errno::ENOTEMPTY
            });
        }
        if is_synth(from.dir) {
            return Err(Errno::EPERM);
        }
        let same = target.is_some_and(|t| self.fs.canon(t) == self.fs.canon(node));
        if same {
            return Ok(());
        }
        if is_synth(node) || target.is_some_and(is_synth) {
            return Err(Errno::EBUSY);
        }
        self.check_removing(env, from.dir, node)?;
        match target {
            Some(target) => self.check_removing(env, to.dir, target)?,
            None => self.check_entering(env, to.dir)?,
        }
        if is_dir && from.dir != to.dir {
            // Its `..` changes.
            self.check_access(env, &asker(env), node, want::WRITE)?;
        }
        let (source, destination) = ((from.dir, old_name), (to.dir, new_name));
        if let Some(target) = target {
            if exchange {
                let pair = (node, target);
                self.fs
                    .exchange_entries(source, destination, pair, now(env))?;
                self.tell_move(source, destination, node, None);
                self.tell_move(destination, source, target, None);
                return Ok(());
            }
            match (is_dir, self.is_dir(target)) {
                (true, false) => return Err(Errno::ENOTDIR),
                (false, true) => return Err(Errno::EISDIR),
                (true, true) if !self.fs.is_empty_dir(target)? => return Err(Errno::ENOTEMPTY),
                _ => {}
            }
        }
        let replaced = target.map(|t| self.fs.origin(self.fs.canon(t)));
        self.fs
            .rename_entry(source, destination, node, target, now(env))?;
        self.tell_move(source, destination, node, replaced);
        if whiteout {
            let (dir, name) = source;
            let left = self.fs.create(dir, name, InodeKind::Char(0), 0, now(env))?;
            self.fs.give(left, &asker(env), dir)?;
        }
        Ok(())
    }

    /// Tells those that watch of a move; `replaced` is what had the new name before.
    fn tell_move(
        &mut self,
        from: (NodeRef, &[u8]),
        to: (NodeRef, &[u8]),
        node: NodeRef,
        replaced: Option<NodeRef>,
    ) {
        if !self.is_watching() {
            return;
        }
        let cookie = self.move_cookie();
        let kind = match self.is_dir(node) {
            true => Change::ISDIR,
            false => Change::empty(),
        };
        self.tell_entry(from.0, from.1, Change::MOVED_FROM | kind, cookie);
        self.tell_entry(to.0, to.1, Change::MOVED_TO | kind, cookie);
        if let Some(replaced) = replaced {
            self.tell_self(replaced, Change::ATTRIB | kind);
        }
        self.tell_self(node, Change::MOVE_SELF);
        self.tell_ends();
    }

    /// The inode of a node whose attributes change.
    fn attributes(&mut self, node: NodeRef) -> Result<InodeId> {
        let node = self.place(node)?;
        match node {
            NodeRef::Synth(_) => Err(Errno::EPERM),
            node => self.fs.copy_up(node),
        }
    }

    /// A node whose attributes a call names by descriptor and path.
    ///
    /// # Errors
    /// `EINVAL` for other flags than those that such calls have, and those of path_resolution(7).
    fn named(&self, env: &dyn Env, dirfd: Fd, path: &[u8], flags: AtFlags) -> Result<NodeRef> {
        if !(AtFlags::SYMLINK_NOFOLLOW | AtFlags::EMPTY_PATH).contains(flags) {
            return Err(Errno::EINVAL);
        }
        let follow = !flags.contains(AtFlags::SYMLINK_NOFOLLOW);
        self.resolve_at(
            env,
            dirfd,
            path,
            follow,
            flags.contains(AtFlags::EMPTY_PATH),
        )
    }

    /// `fchmodat2`; `EMPTY_PATH` and an empty path make it `fchmod`.
    pub fn chmod(
        &mut self,
        env: &dyn Env,
        dirfd: Fd,
        path: &[u8],
        mode: u32,
        flags: AtFlags,
    ) -> Result<()> {
        let node = self.named(env, dirfd, path, flags)?;
        if self.node_kind(node)? == NodeKind::Symlink {
            return Err(Errno::EOPNOTSUPP);
        }
        if let Some(queue) = self.mqueue_at(node) {
            return self.set_mqueue_ownership(env, queue, (u32::MAX, u32::MAX, Some(mode)));
        }
        if self.has_no_place(node) {
            return Ok(());
        }
        let who = asker(env);
        self.check_owner(env, &who, node)?;
        let id = self.attributes(node)?;
        let inode = self.fs.inode_mut(id)?;
        inode.mode = mode & 0o7777;
        if !who.is_in(inode.gid) && !who.has(cap::FSETID) {
            inode.mode &= !S_ISGID;
        }
        inode.ctime = now(env);
        self.tell_node(NodeRef::Upper(id), Change::ATTRIB);
        Ok(())
    }

    /// `fchownat`; an id of `u32::MAX` leaves that one as it is.
    ///
    /// # Errors
    /// Those of chown(2).
    pub fn chown(
        &mut self,
        env: &dyn Env,
        dirfd: Fd,
        path: &[u8],
        (uid, gid): (u32, u32),
        flags: AtFlags,
    ) -> Result<()> {
        let node = self.named(env, dirfd, path, flags)?;
        if let Some(queue) = self.mqueue_at(node) {
            return self.set_mqueue_ownership(env, queue, (uid, gid, None));
        }
        if self.has_no_place(node) {
            return Ok(());
        }
        let id = self.attributes(node)?;
        let who = asker(env);
        let inode = self.fs.inode_mut(id)?;
        let owns = who.user.files == inode.uid;
        let may_give = uid == u32::MAX || owns && uid == inode.uid;
        let may_regroup = gid == u32::MAX || owns && (gid == inode.gid || who.is_in(gid));
        if !(who.has(cap::CHOWN) || may_give && may_regroup) {
            return Err(Errno::EPERM);
        }
        if uid != u32::MAX {
            inode.uid = uid;
        }
        if gid != u32::MAX {
            inode.gid = gid;
        }
        if inode.dir().is_none() && (uid, gid) != (u32::MAX, u32::MAX) {
            // A change of owner takes set-id bits from programs.
            inode.mode &= if inode.mode & 0o10 != 0 {
                !0o6000
            } else {
                !0o4000
            };
        }
        inode.ctime = now(env);
        if (uid, gid) != (u32::MAX, u32::MAX) {
            self.tell_node(NodeRef::Upper(id), Change::ATTRIB);
        }
        Ok(())
    }

    /// `utimensat`: access time, modification time.
    pub fn set_times(
        &mut self,
        env: &dyn Env,
        dirfd: Fd,
        path: &[u8],
        (atime, mtime): (SetTime, SetTime),
        flags: AtFlags,
    ) -> Result<()> {
        let node = self.named(env, dirfd, path, flags)?;
        if self.has_no_place(node) || (atime, mtime) == (SetTime::Omit, SetTime::Omit) {
            return Ok(());
        }
        let who = asker(env);
        if self.check_owner(env, &who, node).is_err() {
            if (atime, mtime) != (SetTime::Now, SetTime::Now) {
                return Err(Errno::EPERM);
            }
            self.check_access(env, &who, node, want::WRITE)?;
        }
        let now = now(env);
        let id = self.attributes(node)?;
        let inode = self.fs.inode_mut(id)?;
        for (time, set) in [(&mut inode.atime, atime), (&mut inode.mtime, mtime)] {
            match set {
                SetTime::Omit => {}
                SetTime::Now => *time = now,
                SetTime::To(to) => *time = to,
            }
        }
        inode.ctime = now;
        let change = match (atime, mtime) {
            (SetTime::Omit, _) => Change::MODIFY,
            (_, SetTime::Omit) => Change::ACCESS,
            _ => Change::ATTRIB,
        };
        self.tell_node(NodeRef::Upper(id), change);
        Ok(())
    }

    /// The message queue that a node is.
    fn mqueue_at(&self, node: NodeRef) -> Option<Id<MessageQueue>> {
        let NodeRef::Open(desc) = node else {
            return None;
        };
        match self.description(desc).ok()?.object {
            Object::MessageQueue(queue) => Some(queue),
            _ => None,
        }
    }

    /// Whether a node is an object that is nowhere in the file system, such as a pipe.
    fn has_no_place(&self, node: NodeRef) -> bool {
        matches!(node, NodeRef::Open(desc)
            if self.description(desc).is_ok_and(|d| d.node.is_none()))
    }
}
