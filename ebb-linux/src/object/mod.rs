//! The kernel objects of a UC: descriptors and everything behind them.
//!
//! # Rules
//! 1. A UC lives on one core: nothing here is locked or atomic.
//! 2. Everything is plain data that names other data by index, so [`Objects`]' clone is an
//!    independent copy. Immutable pages and bytes may be shared; nothing that changes is.
//! 3. No operation blocks. What would is `EAGAIN`, and the object's wait queue says when to try
//!    again.
//! 4. Every argument comes from a hostile guest: no operation panics, and everything that grows
//!    has a limit in [`Limits`].
//!
//! # Where things are
//! | module | what |
//! |---|---|
//! | [`errno`], [`flags`] | error numbers, flag words |
//! | [`arena`] | objects and the checked indices that name them |
//! | [`io`] | where a transfer's bytes come from and go to |
//! | [`env`](mod@env) | what objects ask of the UC around them |
//! | [`wait`], [`epoll`], [`poll`] | readiness, wait queues, epoll sets, poll and select |
//! | [`fd`], [`description`] | descriptor tables, open file descriptions |
//! | [`transfer`] | read, write, seek and copies, for every kind of object |
//! | [`vfs`] | the file system: archive, writable layer, /proc and /sys |
//! | [`device`], [`channel`] | character devices; consoles and links to Ebbs |
//! | [`pipe`], [`eventfd`], [`timerfd`], [`signalfd`], [`inotify`], [`lock`], [`record`] | one kind of object each |
//! | [`socket`] | Unix and internet sockets |
//!
//! Behaviour is that of Linux; `tests/differential_*.rs` compare it with the host's kernel over
//! random sequences of operations.

pub mod arena;
pub mod description;
pub mod env;
pub mod errno;
pub mod fd;
pub mod flags;
pub mod fs;
pub mod io;
pub mod kind;
pub mod lock;
pub mod ops;
pub mod record;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
pub mod wait;

pub use fs as vfs;
pub use kind::{channel, device, epoll, eventfd, inotify, pipe, signalfd, socket, timerfd};
pub use ops::{poll, setup::Console, transfer};

use alloc::{collections::BTreeMap, sync::Arc};
use ebb_mem::space::Shared;

use self::{
    arena::Arena,
    channel::{Channel, ChannelId},
    description::Description,
    eventfd::EventFd,
    fd::{Files, FilesId, Parked},
    inotify::Inotify,
    lock::Locks,
    pipe::Pipe,
    record::Records,
    signalfd::SignalFd,
    socket::Sockets,
    timerfd::Timers,
    vfs::{Filesystem, NodeRef},
    wait::{Hub, QueueId},
};

/// How much a UC may have of what its objects are made of.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Descriptors: the soft `RLIMIT_NOFILE` that the UC starts with.
    pub nofile: u32,
    /// Open file descriptions, including those in flight between sockets.
    pub descriptions: usize,
    /// Pipes. Beyond a quarter of them new pipes are small.
    pub pipes: usize,
    /// Items in all epoll sets together.
    pub epoll_items: usize,
    /// Sockets, including connections that nobody has accepted.
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
            descriptions: 8192,
            pipes: 2048,
            epoll_items: 65_536,
            sockets: 16_384,
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
    running: Option<FilesId>,
    /// Those of the others.
    parked: Arena<Parked>,
    /// Wait queues and epoll sets.
    pub hub: Hub,
    /// The file system.
    pub fs: Filesystem,
    limits: Limits,
    descriptions: Arena<Description>,
    pipes: Arena<Pipe>,
    eventfds: Arena<EventFd>,
    timers: Timers,
    signalfds: Arena<SignalFd>,
    inotifies: Arena<Inotify>,
    channels: Arena<Channel>,
    sockets: Sockets,
    locks: Locks,
    records: Records,
    /// Items in all epoll sets.
    epoll_items: usize,
    /// The queue of what never has news.
    idle_queue: QueueId,
    /// Signals that become pending.
    signal_queue: QueueId,
    /// Locks that are let go.
    lock_queue: QueueId,
    /// Processes that end, stop or go on.
    child_queue: QueueId,
    /// What /dev/tty opens.
    terminal: Option<ChannelId>,
    /// Where /dev/tty is.
    tty_node: Option<NodeRef>,
    boot_id: u128,
}

impl Objects {
    /// Whether a system call has left something to be done outside: connections to be ended, pages to be unmapped.
    #[inline]
    pub fn has_aftermath(&self) -> bool {
        self.has_closed_network() || self.fs.has_given_up() || self.fs.has_trash()
    }

    /// A clone that shares no memory with the original, and by name the pages that take the place of those that mappings
    /// share: the clone's memory must map these. `None` when there is no memory for them.
    pub fn duplicate(&self) -> Option<(Self, BTreeMap<u64, Arc<Shared>>)> {
        let mut copy = self.clone();
        let mut made = BTreeMap::new();
        copy.fs.unshare(&mut made).then_some((copy, made))
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
            pipes: self.pipes.clone(),
            eventfds: self.eventfds.clone(),
            timers: self.timers.clone(),
            signalfds: self.signalfds.clone(),
            inotifies: self.inotifies.clone(),
            channels: self.channels.clone(),
            sockets: self.sockets.clone(),
            locks: self.locks.clone(),
            records: self.records.clone(),
            epoll_items: self.epoll_items,
            idle_queue: self.idle_queue,
            signal_queue: self.signal_queue,
            lock_queue: self.lock_queue,
            child_queue: self.child_queue,
            terminal: self.terminal,
            tty_node: self.tty_node,
            boot_id: self.boot_id,
        };
        copy.drop_holds();
        copy
    }
}
