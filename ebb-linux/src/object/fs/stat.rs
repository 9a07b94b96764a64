//! What is known of files, as `stat` and `statx` give it.

use super::{Filesystem, InodeKind, archive::ArchiveKind, data::PAGE, lower_ino};
use crate::object::{
    env::Time,
    errno::{Errno, Result},
    id::NodeRef,
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
    /// `FS_*_FL` that `statx` tells of, which has the same numbers for them.
    pub flags: u32,
    /// The mount that it is in, as `mountinfo` counts them.
    pub mount: u32,
    /// It is the root of that.
    pub is_mount_root: bool,
}

/// The device of files (`st_dev`).
pub const ROOT_DEV: u64 = 0x12;
/// That of what `memfd_create` makes.
pub const MEMFD_DEV: u64 = 0x01;
/// That of /proc, behind which comes that of /sys.
pub const PROC_DEV: u64 = 0x13;

impl Stat {
    /// How much is best moved at once (`st_blksize`).
    const fn block(&self) -> u32 {
        match self.dev {
            PROC_DEV => 1024,
            _ => PAGE as u32,
        }
    }

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
        put(&u64::from(self.block()).to_le_bytes());
        put(&self.blocks.to_le_bytes());
        for time in [self.atime, self.mtime, self.ctime] {
            put(&time.sec.to_le_bytes());
            put(&u64::from(time.nsec).to_le_bytes());
        }
        out
    }

    /// Linux' `struct statx` with all basic fields, the mount, and the time of birth if it was `asked` for.
    pub fn to_statx(&self, asked: u32) -> [u8; 256] {
        const BASIC: u32 = 0x7ff;
        const BTIME: u32 = 0x800;
        const MOUNT: u32 = 0x1000;
        /// Those that files here could have: immutable, append only, not dumped; and that of mounts' roots.
        const ATTRIBUTES: u64 = 0x70 | MOUNT_ROOT;
        const MOUNT_ROOT: u64 = 0x2000;
        let attributes = match self.is_mount_root {
            true => u64::from(self.flags) | MOUNT_ROOT,
            false => u64::from(self.flags),
        };
        let mut out = [0; 256];
        let mut at = 0;
        let mut put = |bytes: &[u8]| {
            out[at..at + bytes.len()].copy_from_slice(bytes);
            at += bytes.len();
        };
        put(&(BASIC | MOUNT | asked & BTIME).to_le_bytes());
        put(&self.block().to_le_bytes());
        put(&attributes.to_le_bytes());
        put(&self.nlink.to_le_bytes());
        put(&self.uid.to_le_bytes());
        put(&self.gid.to_le_bytes());
        put(&(self.mode as u16).to_le_bytes());
        put(&[0; 2]);
        put(&self.ino.to_le_bytes());
        put(&self.size.to_le_bytes());
        put(&self.blocks.to_le_bytes());
        put(&ATTRIBUTES.to_le_bytes());
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
        put(&u64::from(self.mount).to_le_bytes());
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
                    InodeKind::File(data) => (data.size(), data.allocated(), 0),
                    InodeKind::Dir(dir) => (40 + 20 * dir.len() as u64, 0, 0),
                    InodeKind::Symlink(target) => (target.len() as u64, 0, 0),
                    InodeKind::Char(number) => (0, 0, *number),
                    InodeKind::Fifo(_) | InodeKind::Socket(_) => (0, 0, 0),
                };
                Ok(Stat {
                    dev: match inode.seals {
                        Some(_) => MEMFD_DEV,
                        None => ROOT_DEV,
                    },
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
                    flags: inode.flags & 0x70,
                    mount: 1,
                    is_mount_root: node == self.root(),
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
                    mount: 1,
                    is_mount_root: node == self.root(),
                    ..Stat::default()
                })
            }
            _ => Err(Errno::ENOENT),
        }
    }
}
