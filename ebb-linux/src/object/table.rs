//! All kernel objects of a UC, and the open file descriptions that give access to them: what `open` makes and `dup` shares,
//! a position, status flags, and the object behind.
//!
//! A description lives as long as a descriptor, a message in flight, a mapping (all counted in
//! `refs`) or a running system call (`holds`) names it. Holds are not part of a snapshot, because
//! the system calls that had them are started again in the clone.

use alloc::sync::Arc;
use borsh::{BorshDeserialize, BorshSerialize};

use super::{
    arena::Arena,
    errno::{Errno, Result},
    files::{Files, MAX_NOFILE, Parked},
    flags::OpenFlags,
    fs::Filesystem,
    id::{DescId, FilesId, NodeRef, of},
    kind::{Kinds, Object, inotify::Watched, mqueue::Names, pty::Terminals, socket::Sockets},
    lock::{flock::Flocks, record::Records},
    wait::Hub,
};

/// Who a signal about a descriptor is for.
#[derive(BorshSerialize, BorshDeserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Owner {
    /// Nobody.
    #[default]
    Nobody,
    /// A thread.
    Thread(u32),
    /// A process.
    Process(u32),
    /// All processes of a group.
    Group(u32),
}

/// An open file description.
#[derive(BorshSerialize, BorshDeserialize, Clone, Debug)]
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
    /// Who is told by a signal that it has become ready (`F_SETOWN`), and by which (`F_SETSIG`; 0 is `SIGIO`).
    pub owner: Owner,
    /// See [`owner`](Self::owner).
    pub signal: u8,
    /// Real and effective user of who chose them.
    pub(crate) owner_users: [u32; 2],
    /// `F_SET_RW_HINT`, of what is no file.
    pub(crate) hint: u8,
    pub(crate) refs: u32,
    pub(crate) holds: u32,
}

impl Description {
    pub(crate) fn new(object: Object, flags: OpenFlags, node: Option<NodeRef>) -> Self {
        Self {
            object,
            flags,
            pos: 0,
            node,
            text: None,
            owner: Owner::default(),
            signal: 0,
            owner_users: [0; 2],
            hint: 0,
            refs: 0,
            holds: 0,
        }
    }
}

/// How much a UC may have of what its objects are made of.
#[derive(BorshSerialize, BorshDeserialize, Clone, Copy, Debug)]
pub struct Limits {
    /// Descriptors: the soft `RLIMIT_NOFILE` that the UC starts with.
    pub nofile: u32,
    /// Open file descriptions, including those in flight between sockets.
    pub descriptions: usize,
    /// Pipes. Beyond a sixteenth of them new pipes are small.
    pub pipes: usize,
    /// Items in all epoll sets together.
    pub epoll_items: usize,
    /// Sockets, including connections that nobody has accepted: as many as descriptors by default.
    pub sockets: usize,
    /// Bytes that wait in all sockets together.
    pub socket_bytes: usize,
    /// Pages of 4 KiB in writable files.
    pub file_pages: u64,
    /// Inodes of the writable layer.
    pub inodes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            nofile: 4096,
            descriptions: MAX_NOFILE as usize,
            pipes: 8192,
            epoll_items: 65_536,
            sockets: MAX_NOFILE as usize,
            socket_bytes: 64 << 20,
            file_pages: (256 << 20) / 4096,
            inodes: 65_536,
        }
    }
}

/// All kernel objects of a UC.
#[derive(Debug)]
pub struct Objects {
    /// Descriptors, working directory and file mode mask of the process that runs.
    pub files: Files,
    /// Whose they are.
    pub(crate) running: Option<FilesId>,
    /// Those of the others.
    pub(crate) parked: Arena<Parked, of::Files>,
    /// Wait queues and epoll sets.
    pub hub: Hub,
    /// The file system.
    pub fs: Filesystem,
    pub(crate) limits: Limits,
    pub(crate) descriptions: Arena<Description, of::Description>,
    pub(crate) kinds: Kinds,
    pub(crate) sockets: Sockets,
    pub(crate) flocks: Flocks,
    pub(crate) records: Records,
    /// Which nodes are watched for changes.
    pub(crate) watched: Watched,
    pub(crate) last_cookie: u32,
    /// Items in all epoll sets.
    pub(crate) epoll_items: usize,
    pub(crate) terminals: Terminals,
    /// POSIX message queues by name.
    pub(crate) mq_names: Names,
    pub(crate) boot_id: u128,
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
}
