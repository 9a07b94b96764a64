//! The flag words of `open` and its relatives, with their x86-64 values.

use bitflags::bitflags;

bitflags! {
    /// `O_*`.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
    pub struct OpenFlags: u32 {
        /// Write only (with neither this nor `RDWR`: read only).
        const WRONLY = 1;
        /// Read and write.
        const RDWR = 2;
        /// Create what is missing.
        const CREAT = 0o100;
        /// Fail if it exists.
        const EXCL = 0o200;
        /// Do not become the controlling terminal.
        const NOCTTY = 0o400;
        /// Cut to nothing.
        const TRUNC = 0o1000;
        /// Every write goes to the end.
        const APPEND = 0o2000;
        /// Never block.
        const NONBLOCK = 0o4000;
        /// Write through data.
        const DSYNC = 0o10000;
        /// Send SIGIO (accepted, inert).
        const ASYNC = 0o20000;
        /// Bypass caches; packet mode on pipes.
        const DIRECT = 0o40000;
        /// Set by Linux on every 64-bit open.
        const LARGEFILE = 0o100000;
        /// Fail unless a directory.
        const DIRECTORY = 0o200000;
        /// Fail on a symbolic link.
        const NOFOLLOW = 0o400000;
        /// Leave the access time alone.
        const NOATIME = 0o1000000;
        /// Close at `execve`.
        const CLOEXEC = 0o2000000;
        /// Write through data and metadata (with `DSYNC`).
        const SYNC = 0o4000000;
        /// Only name the file.
        const PATH = 0o10000000;
        /// An unnamed file (with `DIRECTORY`).
        const TMPFILE = 0o20000000;
        /// Of a description only, and not told: the master of a pseudo-terminal.
        const MASTER = 1 << 31;

        const _ = !0;
    }
}

crate::abi::stored_bits!(OpenFlags);

impl OpenFlags {
    /// Every bit that `open` knows; others are ignored by it.
    pub const KNOWN: OpenFlags = OpenFlags::from_bits_retain(0o37777703);

    /// Whether reading is allowed by the access mode.
    pub const fn readable(self) -> bool {
        matches!(self.bits() & 3, 0 | 2) && !self.contains(OpenFlags::PATH)
    }

    /// Whether writing is allowed by the access mode.
    pub const fn writable(self) -> bool {
        matches!(self.bits() & 3, 1 | 2) && !self.contains(OpenFlags::PATH)
    }
}

/// The directory argument that stands for the working directory.
pub const AT_FDCWD: i32 = -100;

bitflags! {
    /// `AT_*`.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
    pub struct AtFlags: u32 {
        /// Do not follow a symbolic link at the end.
        const SYMLINK_NOFOLLOW = 0x100;
        /// `unlinkat` removes a directory; `faccessat` uses effective ids.
        const REMOVEDIR = 0x200;
        /// Follow a symbolic link at the end (`linkat`).
        const SYMLINK_FOLLOW = 0x400;
        /// Accepted; nothing is mounted on demand.
        const NO_AUTOMOUNT = 0x800;
        /// An empty path means the descriptor itself.
        const EMPTY_PATH = 0x1000;
        /// How fresh `statx` is to be (accepted; always fresh).
        const STATX_SYNC = 0x6000;

        const _ = !0;
    }
}
