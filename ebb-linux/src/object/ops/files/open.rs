//! `open` and the descriptions it makes.

use super::path::{Last, Resolve};
use super::permission::{asker, want};
use crate::object::{
    Objects,
    env::{Env, Time},
    errno::{Errno, Result},
    flags::OpenFlags,
    fs::{InodeKind, NAME_MAX, NodeKind, data::FileData},
    id::{DescId, Fd, NodeRef},
    kind::{Object, device::Device, inotify::Change},
};

/// What `open` has come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opened {
    /// A descriptor.
    Fd(Fd),
    /// A FIFO whose other side nobody has open: pass this to [`Objects::finish_open`] until it no
    /// longer says `EAGAIN`.
    Fifo(PendingFifo),
}

/// A FIFO being opened. The description is held; [`Objects::finish_open`] or
/// [`Objects::abandon_open`] ends that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PendingFifo {
    /// The description, on whose queue the partner's arrival is announced.
    pub desc: DescId,
    opens: (u32, u32),
    close_on_exec: bool,
}

impl Objects {
    /// `openat`.
    ///
    /// # Errors
    /// Those of open(2).
    pub fn open(
        &mut self,
        env: &dyn Env,
        dirfd: Fd,
        path: &[u8],
        flags: u32,
        mode: u32,
    ) -> Result<Opened> {
        self.open_in(env, (dirfd, path), flags, mode, Resolve::empty())
    }

    /// `openat2`: as [`open`](Self::open), with what the path may not do.
    ///
    /// # Errors
    /// As there; `EXDEV` for a path that leaves what it may not leave.
    pub fn open_in(
        &mut self,
        env: &dyn Env,
        (dirfd, path): (Fd, &[u8]),
        flags: u32,
        mode: u32,
        resolve: Resolve,
    ) -> Result<Opened> {
        let mut flags = OpenFlags::from_bits_retain(flags) & OpenFlags::KNOWN;
        let tmpfile = flags.contains(OpenFlags::TMPFILE) && !flags.contains(OpenFlags::PATH);
        if flags.contains(OpenFlags::PATH) {
            flags &=
                OpenFlags::DIRECTORY | OpenFlags::NOFOLLOW | OpenFlags::PATH | OpenFlags::CLOEXEC;
        } else {
            if tmpfile {
                let access = flags.bits() & 3;
                let directory = flags.contains(OpenFlags::DIRECTORY);
                if !directory || flags.contains(OpenFlags::CREAT) || access == 0 {
                    return Err(Errno::EINVAL);
                }
            } else if flags.contains(OpenFlags::CREAT | OpenFlags::DIRECTORY) {
                return Err(Errno::EINVAL);
            }
            flags |= OpenFlags::LARGEFILE;
        }
        // A full table is found before the file is made.
        if path.is_empty() {
            return Err(Errno::ENOENT);
        }
        self.files.fds.check_room()?;
        let exclusive = flags.contains(OpenFlags::CREAT | OpenFlags::EXCL);
        let follow = !flags.contains(OpenFlags::NOFOLLOW) && !exclusive;
        let create = flags.contains(OpenFlags::CREAT);
        let mut parent = self.resolve_parent_in(env, dirfd, path, resolve)?;
        if tmpfile {
            let (_, node) = self.finish(env, parent, follow)?;
            return self.open_tmpfile(env, node.ok_or(Errno::ENOENT)?, flags, mode);
        }
        if create {
            match parent.last {
                // The slash is looked at before the name is looked up.
                Last::Name(_) if parent.slash => return Err(Errno::EISDIR),
                Last::Name(_) => {}
                Last::DotDot if self.leaves(&parent) => return Err(Errno::EXDEV),
                _ if exclusive => return Err(Errno::EEXIST),
                _ => return Err(Errno::EISDIR),
            }
        }
        parent.create = create;
        let (found_in, node) = self.finish(env, parent, follow)?;
        parent = found_in;
        let Some(node) = node else {
            if !create {
                return Err(Errno::ENOENT);
            }
            if parent.slash {
                return Err(Errno::EISDIR);
            }
            let mode = mode & !self.files.umask;
            let name = parent.name(Errno::EISDIR)?;
            self.check_entering(env, parent.dir)?;
            let now = Time::from_ns(env.realtime());
            let kind = InodeKind::File(FileData::default());
            let dir = self.fs.canon(parent.dir);
            let inode = self.fs.create(dir, name, kind, mode, now)?;
            self.fs.give(inode, &asker(env), dir)?;
            self.tell_entry(parent.dir, name, Change::CREATE, 0);
            return self.open_as(Object::File, flags, NodeRef::Upper(inode));
        };
        if exclusive {
            return Err(Errno::EEXIST);
        }
        let kind = self.node_kind(node)?;
        if create && kind == NodeKind::Dir {
            return Err(Errno::EISDIR);
        }
        if flags.contains(OpenFlags::DIRECTORY) && kind != NodeKind::Dir {
            return Err(Errno::ENOTDIR);
        }
        if flags.contains(OpenFlags::DIRECT) && kind == NodeKind::Dir {
            return Err(Errno::EINVAL);
        }
        if flags.contains(OpenFlags::PATH) {
            let node = self.place(node)?;
            return self.open_as(Object::Path, flags, node);
        }
        let mut wanted = match flags.bits() & 3 {
            0 => want::READ,
            1 => want::WRITE,
            _ => want::READ | want::WRITE,
        };
        if flags.contains(OpenFlags::TRUNC) {
            wanted |= want::WRITE;
        }
        if kind != NodeKind::Symlink {
            self.check_access(env, &asker(env), node, wanted)?;
        }
        if flags.contains(OpenFlags::NOATIME) {
            // Only who could change its times anyway may leave no trace.
            self.check_owner(env, &asker(env), node)?;
        }
        self.open_node(env, node, kind, flags)
    }

    fn open_as(&mut self, object: Object, flags: OpenFlags, node: NodeRef) -> Result<Opened> {
        let fd = self.open_object(object, flags, Some(node))?;
        self.tell_open(fd);
        Ok(Opened::Fd(fd))
    }

    /// Gives a new description its descriptor.
    fn opened(&mut self, desc: DescId, cloexec: bool) -> Result<Opened> {
        let fd = self.install(desc, cloexec)?;
        self.tell_open(fd);
        Ok(Opened::Fd(fd))
    }

    /// Somebody may watch what was opened.
    fn tell_open(&mut self, fd: Fd) {
        if !self.is_watching() {
            return;
        }
        let found = self.lookup_fd(fd).and_then(|id| self.description(id));
        if let Ok(desc) = found
            && desc.object != Object::Path
            && let Some(node) = desc.node
        {
            self.tell_node(node, Change::OPEN);
        }
    }

    fn open_node(
        &mut self,
        env: &dyn Env,
        node: NodeRef,
        kind: NodeKind,
        flags: OpenFlags,
    ) -> Result<Opened> {
        let write = flags.bits() & 3 != 0 || flags.contains(OpenFlags::TRUNC);
        let cloexec = flags.contains(OpenFlags::CLOEXEC);
        match (kind, node) {
            (NodeKind::Symlink, _) => Err(Errno::ELOOP),
            (NodeKind::Dir, _) if write => Err(Errno::EISDIR),
            (NodeKind::Dir, node) => {
                let node = self.place(node)?;
                self.open_as(Object::Dir, flags, node)
            }
            (NodeKind::Socket, _) => Err(Errno::ENXIO),
            (NodeKind::Fifo, NodeRef::Open(desc)) => {
                let Object::Pipe(_) = self.description(desc)?.object else {
                    return Err(Errno::ENXIO);
                };
                let desc = self.reopen_pipe(desc, flags)?;
                self.opened(desc, cloexec)
            }
            (NodeKind::Fifo, node) => {
                let node = self.place(node)?;
                let (desc, wait) = self.open_fifo(node, flags)?;
                if !wait {
                    return self.opened(desc, cloexec);
                }
                let opens = self.fifo_opens(desc)?;
                self.hold_description(desc);
                Ok(Opened::Fifo(PendingFifo {
                    desc,
                    opens,
                    close_on_exec: cloexec,
                }))
            }
            (NodeKind::Char, node) => {
                let desc = match node {
                    NodeRef::Open(desc) => match self.description(desc)?.object {
                        Object::Channel(id) => self.reopen_channel(id, flags)?,
                        Object::Pty(_) => {
                            let node = self.description(desc)?.node.ok_or(Errno::ENXIO)?;
                            return self.open_node(env, node, kind, flags);
                        }
                        object => {
                            let node = self.description(desc)?.node;
                            self.describe(object, flags, node)?
                        }
                    },
                    node => match self.device(node).ok_or(Errno::ENXIO)? {
                        Device::Tty => self.open_controlling_terminal(env, flags, node)?,
                        Device::Console => self.open_console_terminal(flags)?,
                        Device::Ptmx => self.open_terminal_master(env, flags, node)?,
                        Device::Pts(number) => self.open_terminal(env, number, flags, node)?,
                        device => self.describe(Object::Device(device), flags, Some(node))?,
                    },
                };
                self.opened(desc, cloexec)
            }
            (NodeKind::File, NodeRef::Open(desc)) => {
                let found = self.description(desc)?;
                let (object, Some(node)) = (found.object, found.node) else {
                    // eventfd, epoll and the like cannot be opened again.
                    return Err(Errno::ENXIO);
                };
                match object {
                    Object::File | Object::Text => self.open_node(env, node, kind, flags),
                    Object::Path => {
                        let kind = self.node_kind(node)?;
                        self.open_node(env, node, kind, flags)
                    }
                    _ => Err(Errno::ENXIO),
                }
            }
            (NodeKind::File, node @ NodeRef::Synth(synth)) => {
                if write && synth.name_space().is_some() {
                    return Err(Errno::EPERM);
                }
                if write && !synth.writable() {
                    return Err(Errno::EACCES);
                }
                self.open_as(Object::Text, flags, node)
            }
            (NodeKind::File, node) => {
                let node = self.place(node)?;
                if write {
                    self.check_text(env, node)?;
                }
                let truncate = flags.contains(OpenFlags::TRUNC);
                if truncate {
                    self.truncate_quietly(env, node, 0)?;
                }
                let opened = self.open_as(Object::File, flags, self.fs.canon(node))?;
                if truncate {
                    self.tell_node(node, Change::MODIFY);
                }
                Ok(opened)
            }
        }
    }

    fn open_tmpfile(
        &mut self,
        env: &dyn Env,
        dir: NodeRef,
        flags: OpenFlags,
        mode: u32,
    ) -> Result<Opened> {
        match (self.node_kind(dir)?, dir) {
            (NodeKind::Dir, NodeRef::Synth(_)) => return Err(Errno::EOPNOTSUPP),
            (NodeKind::Dir, _) => {}
            _ => return Err(Errno::ENOTDIR),
        }
        self.check_entering(env, dir)?;
        let mode = mode & !self.files.umask;
        let now = Time::from_ns(env.realtime());
        let kind = InodeKind::File(FileData::default());
        let inode = self.fs.create_unnamed(kind, mode, now)?;
        self.fs.give(inode, &asker(env), self.fs.canon(dir))?;
        self.fs.inode_mut(inode)?.linkable = !flags.contains(OpenFlags::EXCL);
        self.open_as(Object::File, flags, NodeRef::Upper(inode))
    }

    /// Whether `memfd_create` knows these flags: it says so before it looks at the name.
    ///
    /// # Errors
    /// `EINVAL`.
    pub fn check_memfd(flags: u32) -> Result<()> {
        match flags & !0x1b == 0 && flags & 0x18 != 0x18 {
            true => Ok(()),
            false => Err(Errno::EINVAL),
        }
    }

    /// `memfd_create`. The name is only a label. `flags`: `MFD_CLOEXEC` 1, `MFD_ALLOW_SEALING` 2,
    /// `MFD_NOEXEC_SEAL` 8, `MFD_EXEC` 0x10; huge pages are not to be had.
    pub fn memfd(&mut self, env: &dyn Env, name: &[u8], flags: u32) -> Result<Fd> {
        const SEAL_SEAL: u32 = 1;
        const SEAL_EXEC: u32 = 0x20;
        Self::check_memfd(flags)?;
        if name.len() > NAME_MAX - 6 {
            return Err(Errno::EINVAL);
        }
        self.files.fds.check_room()?;
        let now = Time::from_ns(env.realtime());
        let mode = if flags & 8 != 0 { 0o666 } else { 0o777 };
        let kind = InodeKind::File(FileData::default());
        let inode = self.fs.create_unnamed(kind, mode, now)?;
        let file = self.fs.inode_mut(inode)?;
        file.seals = Some(match flags {
            f if f & 8 != 0 => SEAL_EXEC,
            f if f & 2 != 0 => 0,
            _ => SEAL_SEAL,
        });
        file.name = [b"memfd:", name].concat().into();
        let who = asker(env);
        (file.uid, file.gid) = (who.user.files, who.group.files);
        let mut open = OpenFlags::RDWR | OpenFlags::LARGEFILE;
        open.set(OpenFlags::CLOEXEC, flags & 1 != 0);
        self.open_object(Object::File, open, Some(NodeRef::Upper(inode)))
    }

    /// The second half of opening a FIFO.
    ///
    /// # Errors
    /// `EAGAIN` while the other side is not open; the caller waits on the description for any
    /// event and tries again.
    pub fn finish_open(&mut self, pending: PendingFifo) -> Result<Fd> {
        if !self.fifo_partner(pending.desc, pending.opens)? {
            return Err(Errno::EAGAIN);
        }
        let fd = self.install(pending.desc, pending.close_on_exec);
        self.unhold(pending.desc);
        if let Ok(fd) = fd {
            self.tell_open(fd);
        }
        fd
    }

    /// Gives up opening a FIFO, as when a signal interrupts it.
    pub fn abandon_open(&mut self, pending: PendingFifo) {
        self.unhold(pending.desc);
    }

    /// The stateless device that a node opens.
    fn device(&self, node: NodeRef) -> Option<Device> {
        match self.fs.canon(node) {
            NodeRef::Upper(id) => match self.fs.inode(id).ok()?.kind {
                InodeKind::Char(number) => Device::from_number(number),
                _ => None,
            },
            _ => None,
        }
    }
}
