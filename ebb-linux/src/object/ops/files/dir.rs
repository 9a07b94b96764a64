//! Directories as guests read them, the working directory, and the paths of nodes.

use alloc::vec::Vec;

use super::permission::asker;
use super::proc;
use crate::object::{
    Objects,
    credentials::cap,
    env::Env,
    errno::{Errno, Result},
    flags::AT_FDCWD,
    fs::{Filesystem, InodeKind, NAME_MAX, NodeKind},
    id::{DescId, Fd, NodeRef, SynthNode},
    io::{Sink, Source},
    kind::{Object, inotify::Change, socket::SocketId},
};

/// The longest request that is written to a generated file.
const MAX_REQUEST: usize = 256;

/// How entries of a directory are put.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Entries {
    /// `struct linux_dirent`: the kind is the last byte.
    Old,
    /// `struct linux_dirent64`.
    New,
}

impl Entries {
    /// Bytes before the name.
    const fn header(self) -> usize {
        match self {
            Self::Old => 18,
            Self::New => 19,
        }
    }

    fn put(self, record: &mut [u8], kind: u8) {
        let at = match self {
            Self::Old => record.len() - 1,
            Self::New => 18,
        };
        record[at] = kind;
    }
}

impl Objects {
    /// The text of a generated file as of now.
    pub(crate) fn generated(&self, env: &dyn Env, node: SynthNode) -> Result<Vec<u8>> {
        proc::content(self, env, node)
    }

    /// Writes to a generated file: what is written at once is one request.
    pub(crate) fn write_text(
        &mut self,
        env: &dyn Env,
        node: Option<NodeRef>,
        source: &mut dyn Source,
    ) -> Result<usize> {
        let Some(NodeRef::Synth(node)) = node else {
            return Err(Errno::EACCES);
        };
        let whole = source.remaining();
        let mut bytes = [0; MAX_REQUEST];
        let want = whole.min(MAX_REQUEST);
        if source.take(&mut bytes[..want]) < want {
            return Err(Errno::EFAULT);
        }
        proc::write(env, node, &bytes[..want])?;
        Ok(whole)
    }

    /// `getdents` and `getdents64`: fills `sink` with whole entries.
    ///
    /// # Errors
    /// `EBADF`, `ENOTDIR`, `ENOENT` (the directory was removed), `EINVAL` (no room for one entry).
    pub fn getdents(
        &mut self,
        env: &dyn Env,
        fd: Fd,
        entries: Entries,
        sink: &mut dyn Sink,
    ) -> Result<usize> {
        let id = self.files.fds.get(fd)?;
        let desc = self.description(id)?;
        let (object, mut pos) = (desc.object, desc.pos);
        let node = match (object, desc.node) {
            (Object::Path, _) => return Err(Errno::EBADF),
            (Object::Dir, Some(node)) => self.fs.canon(node),
            _ => return Err(Errno::ENOTDIR),
        };
        if let NodeRef::Upper(inode) = node
            && self.fs.inode(inode)?.nlink == 0
        {
            return Err(Errno::ENOENT);
        }
        let mut done = 0;
        let mut full = false;
        while let Some((name, entry, next)) = self.dir_entry(env, node, pos)? {
            let kind = self.node_kind(entry)?;
            let ino = self.ino(env, entry);
            // A zero ends the name; the old form has its kind behind that.
            let header = entries.header();
            let behind = 1 + usize::from(entries == Entries::Old);
            let size = (header + name.len() + behind).next_multiple_of(8);
            if sink.remaining() < size {
                full = true;
                break;
            }
            let mut record = [0; NAME_MAX + 32];
            record[..8].copy_from_slice(&ino.to_le_bytes());
            record[8..16].copy_from_slice(&next.to_le_bytes());
            record[16..18].copy_from_slice(&(size as u16).to_le_bytes());
            record[header..header + name.len()].copy_from_slice(&name);
            entries.put(&mut record[..size], kind.entry_type());
            if sink.put(&record[..size]) < size {
                if done == 0 {
                    return Err(Errno::EFAULT);
                }
                break;
            }
            done += size;
            pos = next;
        }
        if done == 0 && full {
            return Err(Errno::EINVAL);
        }
        self.description_mut(id)?.pos = pos;
        self.tell_node(node, Change::ACCESS);
        Ok(done)
    }

    /// The entry at a position of a directory, and the position behind it. Positions 0 and 1 are
    /// `.` and `..`.
    fn dir_entry(
        &self,
        env: &dyn Env,
        dir: NodeRef,
        pos: u64,
    ) -> Result<Option<(Vec<u8>, NodeRef, u64)>> {
        match pos {
            0 => Ok(Some((b".".to_vec(), dir, 1))),
            1 => Ok(Some((b"..".to_vec(), self.dotdot(dir)?, 2))),
            pos => Ok(match dir {
                NodeRef::Synth(dir) => proc::entry(self, env, dir, pos - 2)?
                    .map(|(name, node, next)| (name, NodeRef::Synth(node), next + 2)),
                dir => self
                    .fs
                    .next_entry(dir, pos - 2)?
                    .map(|(name, node, next)| (name.to_vec(), self.fs.cross(node), next + 2)),
            }),
        }
    }

    /// The absolute path of a node, with ` (deleted)` where Linux has it.
    pub(crate) fn path_text(&self, node: NodeRef) -> Result<Vec<u8>> {
        let is_memfd = |fs: &Filesystem| match fs.canon(node) {
            NodeRef::Upper(id) => fs.inode(id).is_ok_and(|i| i.seals.is_some()),
            _ => false,
        };
        if let NodeRef::Synth(node) = node
            && let Some(text) = node.name_space_text()
        {
            return Ok(text.into());
        }
        let (mut path, deleted) = self.fs.path_of(node)?;
        if let NodeRef::Upper(id) = self.fs.canon(node)
            && deleted
            && !is_memfd(&self.fs)
            && self.fs.inode(id)?.name.is_empty()
        {
            // O_TMPFILE: Linux shows the directory and the inode's number.
            let number = alloc::format!("#{}", self.fs.inode(id)?.ino);
            path.extend_from_slice(number.as_bytes());
        }
        if deleted {
            path.extend_from_slice(b" (deleted)");
        }
        Ok(self.below_root(path)?.0)
    }

    /// A path as it is from the caller's root, and whether it is below that.
    fn below_root(&self, path: Vec<u8>) -> Result<(Vec<u8>, bool)> {
        if self.files.root == self.fs.root() {
            return Ok((path, true));
        }
        let root = self.fs.path_of(self.files.root)?.0;
        Ok(match path.strip_prefix(root.as_slice()) {
            _ if root == b"/" => (path, true),
            Some([]) => (b"/".to_vec(), true),
            Some(rest @ [b'/', ..]) => (rest.to_vec(), true),
            _ => (path, false),
        })
    }

    /// `chroot`: absolute paths start at another directory from now on.
    ///
    /// # Errors
    /// `EPERM` without `CAP_SYS_CHROOT`, and those of `chdir`.
    pub fn chroot(&mut self, env: &dyn Env, path: &[u8]) -> Result<()> {
        let node = self.resolve(env, AT_FDCWD, path, true)?;
        let node = self.place(node).map_err(|_| Errno::ENOTDIR)?;
        if !self.is_dir(node) {
            return Err(Errno::ENOTDIR);
        }
        let who = asker(env);
        self.check_search(env, &who, node)?;
        if !who.has(cap::SYS_CHROOT) {
            return Err(Errno::EPERM);
        }
        self.fs.open_node(node);
        let old = core::mem::replace(&mut self.files.root, node);
        self.fs.close_node(old);
        Ok(())
    }

    /// The absolute path of the file behind a description, as `/proc/self/maps` shows it.
    pub fn path_of_description(&self, desc: DescId) -> Result<Vec<u8>> {
        self.path_text(self.description(desc)?.node.ok_or(Errno::ENOENT)?)
    }

    /// `getcwd`: the path and its ending zero byte.
    ///
    /// # Errors
    /// `ENOENT` when the directory was removed.
    pub fn getcwd(&self) -> Result<Vec<u8>> {
        let (path, deleted) = self.fs.path_of(self.files.cwd)?;
        if deleted {
            return Err(Errno::ENOENT);
        }
        let (mut path, below) = self.below_root(path)?;
        if !below {
            path.splice(0..0, *b"(unreachable)");
        }
        path.push(0);
        Ok(path)
    }

    fn set_cwd(&mut self, node: NodeRef) -> Result<()> {
        if !self.is_dir(node) {
            return Err(Errno::ENOTDIR);
        }
        self.fs.open_node(node);
        let old = core::mem::replace(&mut self.files.cwd, node);
        self.fs.close_node(old);
        Ok(())
    }

    /// `chdir`.
    pub fn chdir(&mut self, env: &dyn Env, path: &[u8]) -> Result<()> {
        let node = self.resolve(env, AT_FDCWD, path, true)?;
        let node = self.place(node).map_err(|_| Errno::ENOTDIR)?;
        self.check_cwd(env, node)?;
        self.set_cwd(node)
    }

    /// A directory that one may not search is not to be worked in.
    fn check_cwd(&self, env: &dyn Env, node: NodeRef) -> Result<()> {
        if self.is_dir(node) {
            self.check_search(env, &asker(env), node)?;
        }
        Ok(())
    }

    /// `fchdir`.
    pub fn fchdir(&mut self, fd: Fd) -> Result<()> {
        let desc = self.description(self.files.fds.get(fd)?)?;
        let node = desc.node.ok_or(Errno::ENOTDIR)?;
        self.set_cwd(node)
    }

    /// `readlinkat`; an empty path names the link that `dirfd` refers to.
    pub fn readlink(&self, env: &dyn Env, dirfd: Fd, path: &[u8]) -> Result<Vec<u8>> {
        let node = self.resolve_at(env, dirfd, path, false, dirfd != AT_FDCWD)?;
        if path.is_empty() {
            let place = self.place(node).map_err(|_| Errno::ENOENT)?;
            if self.node_kind(place)? != NodeKind::Symlink {
                return Err(Errno::ENOENT);
            }
            return self.link_target(env, place);
        }
        if self.node_kind(node)? != NodeKind::Symlink {
            return Err(Errno::EINVAL);
        }
        self.link_target(env, node)
    }

    /// Gives the name of a bound socket to its socket, or takes it away.
    pub(crate) fn set_socket_node(&mut self, node: NodeRef, socket: Option<SocketId>) {
        if let NodeRef::Upper(id) = self.fs.canon(node)
            && let Ok(inode) = self.fs.inode_mut(id)
            && let InodeKind::Socket(bound) = &mut inode.kind
        {
            *bound = socket;
        }
    }
}
