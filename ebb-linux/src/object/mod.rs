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
//! # Layers
//! A row uses only what stands above it.
//!
//! | module | what |
//! |---|---|
//! | [`id`] | the checked indices that name objects |
//! | [`arena`] | where objects live |
//! | [`io`] | where a transfer's bytes come from and go to |
//! | [`wait`] | readiness, wait queues, deadlines, interest lists |
//! | [`credentials`] | users, groups and capabilities of a process |
//! | [`tcp_info`] | what a program is told of a connection |
//! | [`env`](mod@env) | what objects ask of the UC around them, its network included |
//! | [`interfaces`] | the network interfaces, as netlink, ioctls and /proc tell of them |
//! | [`kind`] | pipes, sockets and so on: one kind of object each |
//! | [`files`], [`lock`] | descriptor tables; who has locked what |
//! | [`fs`] | the file system: archive, writable layer, /proc and /sys |
//! | [`table`] | all objects of a UC, and open file descriptions |
//! | [`stored`] | all of them as bytes |
//! | [`ops`] | what system calls do with them |
//!
//! Behaviour is that of Linux; `tests/differential` compares it with the host's kernel over
//! random sequences of operations.

pub mod arena;
pub mod credentials;
pub mod env;
pub mod files;
pub mod fs;
pub mod id;
pub mod interfaces;
pub mod io;
pub mod kind;
pub mod lock;
pub mod ops;
pub mod stored;
pub mod table;
pub mod tcp_info;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
pub mod wait;

pub use crate::abi::{errno, flags};
pub use ops::setup::Console;
pub use table::{Limits, Objects};

// The names by which the layers above know what is here.
pub use kind::{channel, device};
pub use ops::{epoll, poll, transfer};

/// Descriptors.
pub mod fd {
    pub use super::{
        files::{FdTable, Files, MAX_NOFILE},
        id::{Fd, FilesId},
        ops::fcntl::Fcntl,
    };
}

/// Open file descriptions.
pub mod description {
    pub use super::{id::DescId, kind::Object, table::Description};
}

/// The file system, and what calls make of it.
pub mod vfs {
    pub use super::{
        fs::*,
        id::{InodeId, NodeRef, SynthNode},
        ops::files::{
            AttributeFlags, Entries, Executable, Named, Opened, PendingFifo, RenameFlags, SetTime,
        },
    };
}

/// Locks of both sorts.
pub mod record {
    pub use super::lock::record::{FileLock, Request, WaitId};
}

/// Timers as descriptors.
pub mod timerfd {
    pub use super::kind::timerfd::TimerSpec;
}

/// Sockets.
pub mod socket {
    pub use super::{
        kind::socket::{SocketId, SocketKind, address},
        ops::socket::message,
    };

    /// The network beyond the UC.
    pub mod network {
        pub use crate::object::env::{NetSocket, Network};
    }
}
