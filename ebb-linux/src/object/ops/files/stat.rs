//! `stat`, `statx`, `statfs` and `access`.

use super::{permission::asker, proc};
use crate::object::{
    Objects,
    env::{Env, Time},
    errno::{Errno, Result},
    flags::{AT_FDCWD, AtFlags},
    fs::{
        NAME_MAX, NodeKind,
        data::PAGE,
        stat::{MEMFD_DEV, PROC_DEV, ROOT_DEV, Stat},
    },
    id::{Fd, NodeRef},
    kind::{Face, Object, mqueue::MQUEUE_BYTES},
};

/// The device number of what has no place anywhere.
const ANON_DEV: u64 = 0x0e;
/// That of name spaces.
const NAME_SPACE_DEV: u64 = 0x04;

impl Objects {
    /// The inode number of a node, for directory entries.
    pub(crate) fn ino(&self, env: &dyn Env, node: NodeRef) -> u64 {
        self.stat_node(env, node).map_or(1, |s| s.ino)
    }

    pub(crate) fn stat_node(&self, env: &dyn Env, node: NodeRef) -> Result<Stat> {
        match node {
            NodeRef::Open(desc) => {
                let desc = self.description(desc)?;
                if let Some(node) = desc.node {
                    return self.stat_node(env, node);
                }
                let (dev, mode, ino) = match desc.object.face() {
                    (
                        Face::Numbered {
                            dev, mode, base, ..
                        },
                        at,
                    ) => (dev, mode, base + at),
                    (Face::Anonymous(_), _) => (ANON_DEV, 0o600, 1),
                };
                let now = Time::from_ns(env.realtime());
                let (uid, gid, mode, size) = match desc.object {
                    Object::MessageQueue(queue) => {
                        let (uid, gid, bits) = self.mqueue(queue)?.ownership;
                        (uid, gid, mode & !0o7777 | bits, MQUEUE_BYTES)
                    }
                    object => {
                        let (uid, gid) = self.maker(object);
                        (uid, gid, mode, 0)
                    }
                };
                Ok(Stat {
                    dev,
                    ino: ino.into(),
                    mode,
                    uid,
                    gid,
                    size,
                    nlink: 1,
                    atime: now,
                    mtime: now,
                    ctime: now,
                    ..Stat::default()
                })
            }
            NodeRef::Synth(node) => {
                let kind = node.kind();
                let now = Time::from_ns(env.realtime());
                let (uid, gid) = proc::owner(env, node);
                let is_name_space = node.name_space().is_some();
                Ok(Stat {
                    dev: match is_name_space {
                        true => NAME_SPACE_DEV,
                        false => PROC_DEV + u64::from(node.tree()),
                    },
                    ino: node.ino(),
                    uid,
                    gid,
                    mode: kind.mode() | node.mode(),
                    mount: 2 + u32::from(node.tree()),
                    is_mount_root: node.parent().is_none() && !is_name_space,
                    nlink: if kind == NodeKind::Dir { 2 } else { 1 },
                    atime: now,
                    mtime: now,
                    ctime: now,
                    ..Stat::default()
                })
            }
            node => self.fs.stat(node),
        }
    }

    /// `newfstatat` and, with an empty path and `EMPTY_PATH`, `fstat`.
    ///
    /// # Errors
    /// Those of stat(2).
    pub fn stat(&self, env: &dyn Env, dirfd: Fd, path: &[u8], flags: AtFlags) -> Result<Stat> {
        let known = AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT | AtFlags::EMPTY_PATH;
        if !(known | AtFlags::STATX_SYNC).contains(flags) {
            return Err(Errno::EINVAL);
        }
        let follow = !flags.contains(AtFlags::SYMLINK_NOFOLLOW);
        let empty = flags.contains(AtFlags::EMPTY_PATH);
        let node = self.resolve_at(env, dirfd, path, follow, empty)?;
        self.stat_node(env, node)
    }

    /// `fstat`.
    pub fn fstat(&self, env: &dyn Env, fd: Fd) -> Result<Stat> {
        self.stat_node(env, NodeRef::Open(self.files.fds.get(fd)?))
    }

    /// `faccessat2`, with the real numbers of the process unless `EACCESS` is among the flags.
    pub fn access(
        &self,
        env: &dyn Env,
        dirfd: Fd,
        path: &[u8],
        mode: u32,
        flags: AtFlags,
    ) -> Result<()> {
        let known = AtFlags::SYMLINK_NOFOLLOW | AtFlags::EMPTY_PATH | AtFlags::REMOVEDIR;
        if mode & !7 != 0 || !known.contains(flags) {
            return Err(Errno::EINVAL);
        }
        let follow = !flags.contains(AtFlags::SYMLINK_NOFOLLOW);
        let empty = flags.contains(AtFlags::EMPTY_PATH);
        let node = self.resolve_at(env, dirfd, path, follow, empty)?;
        let who = asker(env);
        // `AT_EACCESS` is the bit that is `AT_REMOVEDIR` elsewhere.
        let stat = self.stat_node(env, node)?;
        let is_dir = stat.mode & 0o170000 == NodeKind::Dir.mode();
        if mode & 1 != 0 && !is_dir && stat.mode & 0o111 == 0 {
            return Err(Errno::EACCES);
        }
        if flags.contains(AtFlags::REMOVEDIR) {
            self.check_access(env, &who, node, mode)
        } else {
            self.check_access(env, &who.real(), node, mode)
        }
    }

    /// The user and the group of who has made a pipe or a socket; everything else without a place is root's.
    pub(crate) fn maker(&self, object: Object) -> (u32, u32) {
        match object {
            Object::Pipe(pipe) => self.kinds.pipes.get(pipe).map(|pipe| pipe.owner),
            Object::Socket(id) => {
                let owner = self.socket(id).ok().and_then(|s| s.owner.as_ref());
                owner.map(|owner| (owner.name().uid, owner.name().gid))
            }
            _ => None,
        }
        .unwrap_or((0, 0))
    }

    /// `statfs` of a path: Linux' `struct statfs`.
    pub fn statfs(&self, env: &dyn Env, path: &[u8]) -> Result<[u8; 120]> {
        let node = self.resolve(env, AT_FDCWD, path, true)?;
        Ok(self.statfs_node(node))
    }

    /// Free blocks and inodes of the file system with a device's number.
    pub fn room_of(&self, device: u64) -> Option<(u64, u64)> {
        let (budget, (inodes, most)) = (self.fs.budget(), self.fs.inode_use());
        let blocks = budget.max.saturating_sub(budget.used);
        match device {
            ROOT_DEV | MEMFD_DEV => Some((blocks, most.saturating_sub(inodes) as u64)),
            PROC_DEV => Some((0, 0)),
            device if device == PROC_DEV + 1 => Some((0, 0)),
            _ => None,
        }
    }

    /// By what a file is known again: its number, and that of its mount.
    ///
    /// # Errors
    /// Those of the path; `EOPNOTSUPP` for what has no place among files.
    pub fn handle_of(
        &self,
        env: &dyn Env,
        dirfd: Fd,
        path: &[u8],
        flags: AtFlags,
    ) -> Result<(u64, u32)> {
        let follow = flags.contains(AtFlags::SYMLINK_FOLLOW);
        let empty = flags.contains(AtFlags::EMPTY_PATH);
        let node = self.resolve_at(env, dirfd, path, follow, empty)?;
        match self.stat_node(env, node)? {
            stat if matches!(stat.dev, ROOT_DEV | MEMFD_DEV) => Ok((stat.ino, stat.mount)),
            _ => Err(Errno::EOPNOTSUPP),
        }
    }

    /// `fstatfs`.
    pub fn fstatfs(&self, fd: Fd) -> Result<[u8; 120]> {
        Ok(self.statfs_node(NodeRef::Open(self.files.fds.get(fd)?)))
    }

    fn statfs_node(&self, node: NodeRef) -> [u8; 120] {
        const TMPFS: u64 = 0x0102_1994;
        const PROC: u64 = 0x9fa0;
        const NAME_SPACES: u64 = 0x6e73_6673;
        const SYSFS: u64 = 0x6265_6572;
        const DEVPTS: u64 = 0x1cd1;
        const PIPEFS: u64 = 0x5049_5045;
        const SOCKFS: u64 = 0x534f_434b;
        const ANON: u64 = 0x0904_1934;
        const MQUEUE: u64 = 0x1980_0202;
        // `ST_VALID`: the flags are known. `ST_RDONLY` is 1.
        const VALID: u64 = 0x20;
        let object = match node {
            NodeRef::Open(desc) => self.description(desc).map(|d| d.object).ok(),
            _ => None,
        };
        let kind = match (self.place(node), object) {
            (Ok(NodeRef::Synth(node)), _) if node.name_space().is_some() => NAME_SPACES,
            (Ok(NodeRef::Synth(node)), _) if node.tree() == 1 => SYSFS,
            (Ok(NodeRef::Synth(_)), _) => PROC,
            (Ok(_), Some(Object::Pty(_))) => DEVPTS,
            (Ok(_), _) => TMPFS,
            (Err(_), Some(Object::Pipe(_))) => PIPEFS,
            (Err(_), Some(Object::Socket(_))) => SOCKFS,
            (Err(_), Some(Object::MessageQueue(_))) => MQUEUE,
            (Err(_), Some(Object::Channel(_))) => PIPEFS,
            (Err(_), _) => ANON,
        };
        let budget = self.fs.budget();
        let (inodes, max_inodes) = self.fs.inode_use();
        let words = match kind {
            TMPFS => [
                TMPFS,
                PAGE as u64,
                budget.max,
                budget.max.saturating_sub(budget.used),
                budget.max.saturating_sub(budget.used),
                max_inodes as u64,
                max_inodes.saturating_sub(inodes) as u64,
                0,
                NAME_MAX as u64,
                PAGE as u64,
                VALID,
            ],
            kind => [
                kind,
                PAGE as u64,
                0,
                0,
                0,
                0,
                0,
                0,
                NAME_MAX as u64,
                PAGE as u64,
                VALID | u64::from(kind == SYSFS),
            ],
        };
        let mut out = [0; 120];
        for (at, word) in words.iter().enumerate() {
            out[at * 8..at * 8 + 8].copy_from_slice(&word.to_le_bytes());
        }
        out
    }
}
