//! `stat`, `statx`, `statfs` and `access`.

use super::{Filesystem, Kind, NodeKind, NodeRef, archive::ArchiveKind, data::PAGE, lower_ino};
use crate::object::{
    Objects,
    description::Object,
    env::{Env, Time},
    errno::{Errno, Result},
    fd::Fd,
    flags::AtFlags,
};

/// What is known of a file; [`Stat::to_bytes`] and [`Stat::to_statx`] give it to a guest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stat {
    /// The file system it is on.
    pub dev: u64,
    /// Its number there.
    pub ino: u64,
    /// Kind and permissions.
    pub mode: u32,
    /// How many names it has.
    pub nlink: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Which device it is, for a device.
    pub rdev: u64,
    /// Length in bytes.
    pub size: u64,
    /// Allocated, in units of 512 bytes.
    pub blocks: u64,
    /// Last access.
    pub atime: Time,
    /// Last change of content.
    pub mtime: Time,
    /// Last change of content or attributes.
    pub ctime: Time,
    /// When it was made.
    pub btime: Time,
}

/// The device numbers of the file systems.
const ROOT_DEV: u64 = 0x12;
const SYNTH_DEV: u64 = 0x13;
const ANON_DEV: u64 = 0x0e;
const PIPE_DEV: u64 = 0x0d;
const SOCKET_DEV: u64 = 0x08;

impl Stat {
    /// Linux' `struct stat` for x86-64.
    pub fn to_bytes(&self) -> [u8; 144] {
        let mut out = [0; 144];
        let mut at = 0;
        let mut put = |bytes: &[u8]| {
            out[at..at + bytes.len()].copy_from_slice(bytes);
            at += bytes.len();
        };
        put(&self.dev.to_le_bytes());
        put(&self.ino.to_le_bytes());
        put(&u64::from(self.nlink).to_le_bytes());
        put(&self.mode.to_le_bytes());
        put(&self.uid.to_le_bytes());
        put(&self.gid.to_le_bytes());
        put(&[0; 4]);
        put(&self.rdev.to_le_bytes());
        put(&self.size.to_le_bytes());
        put(&(PAGE as u64).to_le_bytes());
        put(&self.blocks.to_le_bytes());
        for time in [self.atime, self.mtime, self.ctime] {
            put(&time.sec.to_le_bytes());
            put(&u64::from(time.nsec).to_le_bytes());
        }
        out
    }

    /// Linux' `struct statx`, with all basic fields and the time of birth.
    pub fn to_statx(&self) -> [u8; 256] {
        const BASIC_AND_BTIME: u32 = 0xfff;
        let mut out = [0; 256];
        let mut at = 0;
        let mut put = |bytes: &[u8]| {
            out[at..at + bytes.len()].copy_from_slice(bytes);
            at += bytes.len();
        };
        put(&BASIC_AND_BTIME.to_le_bytes());
        put(&(PAGE as u32).to_le_bytes());
        put(&[0; 8]);
        put(&self.nlink.to_le_bytes());
        put(&self.uid.to_le_bytes());
        put(&self.gid.to_le_bytes());
        put(&(self.mode as u16).to_le_bytes());
        put(&[0; 2]);
        put(&self.ino.to_le_bytes());
        put(&self.size.to_le_bytes());
        put(&self.blocks.to_le_bytes());
        put(&[0; 8]);
        for time in [self.atime, self.btime, self.ctime, self.mtime] {
            put(&time.sec.to_le_bytes());
            put(&time.nsec.to_le_bytes());
            put(&[0; 4]);
        }
        for dev in [self.rdev, self.dev] {
            let major = dev >> 8 & 0xfff | dev >> 32 & 0xffff_f000;
            let minor = dev & 0xff | dev >> 12 & 0xffff_ff00;
            put(&(major as u32).to_le_bytes());
            put(&(minor as u32).to_le_bytes());
        }
        out
    }
}

impl Filesystem {
    pub(crate) fn stat(&self, node: NodeRef) -> Result<Stat> {
        let blocks = |bytes: u64| bytes.div_ceil(PAGE as u64) * (PAGE as u64 / 512);
        match self.canon(node) {
            NodeRef::Upper(id) => {
                let inode = self.inode(id)?;
                let (size, allocated, rdev) = match &inode.kind {
                    Kind::File(data) => (data.size(), data.allocated(), 0),
                    Kind::Dir(dir) => (40 + 20 * dir.len() as u64, 0, 0),
                    Kind::Symlink(target) => (target.len() as u64, 0, 0),
                    Kind::Char(number) => (0, 0, *number),
                    Kind::Fifo(_) | Kind::Socket(_) => (0, 0, 0),
                };
                Ok(Stat {
                    dev: ROOT_DEV,
                    ino: inode.ino,
                    mode: self.kind(node)?.mode() | inode.mode,
                    nlink: inode.nlink,
                    uid: inode.uid,
                    gid: inode.gid,
                    rdev,
                    size,
                    blocks: blocks(allocated),
                    atime: inode.atime,
                    mtime: inode.mtime,
                    ctime: inode.ctime,
                    btime: inode.btime,
                })
            }
            NodeRef::Lower(n) => {
                let meta = self.archive.meta(n);
                let (size, nlink) = match meta.kind {
                    ArchiveKind::Dir => (40, 2 + self.archive.subdirs(n)),
                    _ => (self.archive.content(n).len() as u64, 1),
                };
                let file = meta.kind == ArchiveKind::File;
                Ok(Stat {
                    dev: ROOT_DEV,
                    ino: lower_ino(n),
                    mode: self.kind(node)?.mode() | meta.mode,
                    nlink,
                    size,
                    blocks: if file { blocks(size) } else { 0 },
                    atime: meta.mtime,
                    mtime: meta.mtime,
                    ctime: meta.mtime,
                    btime: meta.mtime,
                    ..Stat::default()
                })
            }
            _ => Err(Errno::ENOENT),
        }
    }
}

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
                let (dev, mode, ino) = match desc.object {
                    Object::Pipe(id) => (PIPE_DEV, 0o010600, 0x1000_0000 + id.index()),
                    Object::Socket(id) => (SOCKET_DEV, 0o140777, 0x2000_0000 + id.index()),
                    Object::Channel(id) => (PIPE_DEV, 0o010600, 0x3000_0000 + id.index()),
                    _ => (ANON_DEV, 0o600, 1),
                };
                let now = Time::from_ns(env.realtime());
                Ok(Stat {
                    dev,
                    ino: ino.into(),
                    mode,
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
                Ok(Stat {
                    dev: SYNTH_DEV,
                    ino: node.ino(),
                    mode: kind.mode() | node.mode(),
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

    /// `faccessat2`: everything may be read and written; what nobody may execute cannot be.
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
        let stat = self.stat_node(env, node)?;
        let is_dir = stat.mode & 0o170000 == NodeKind::Dir.mode();
        if mode & 1 != 0 && !is_dir && stat.mode & 0o111 == 0 {
            return Err(Errno::EACCES);
        }
        Ok(())
    }

    /// `statfs` of a path: Linux' `struct statfs`.
    pub fn statfs(&self, env: &dyn Env, path: &[u8]) -> Result<[u8; 120]> {
        let node = self.resolve(env, crate::object::flags::AT_FDCWD, path, true)?;
        Ok(self.statfs_node(node))
    }

    /// `fstatfs`.
    pub fn fstatfs(&self, fd: Fd) -> Result<[u8; 120]> {
        Ok(self.statfs_node(NodeRef::Open(self.files.fds.get(fd)?)))
    }

    fn statfs_node(&self, node: NodeRef) -> [u8; 120] {
        const TMPFS: u64 = 0x0102_1994;
        const PROC: u64 = 0x9fa0;
        const PIPEFS: u64 = 0x5049_5045;
        let kind = match self.place(node) {
            Ok(NodeRef::Synth(_)) => PROC,
            Ok(_) => TMPFS,
            Err(_) => PIPEFS,
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
                super::NAME_MAX as u64,
                PAGE as u64,
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
                super::NAME_MAX as u64,
                PAGE as u64,
            ],
        };
        let mut out = [0; 120];
        for (at, word) in words.iter().enumerate() {
            out[at * 8..at * 8 + 8].copy_from_slice(&word.to_le_bytes());
        }
        out
    }
}
