//! The kinds of objects that a descriptor can stand for, one file each.
//!
//! A kind is a type of plain data that is a `Kind` and has a row below. The row names it in [`Object`] and gives it a
//! place among a UC's objects (`Kinds`); everything that a system call does with descriptors of any kind goes through
//! `dispatch!`, which is made of the rows. Kinds know wait queues and what [`Env`] says, not one another.
//!
//! What is not a row here is made of several objects: files and directories are the file system's ([`fs`](super::fs)),
//! an epoll set looks at other descriptions, and a socket at other sockets. Their calls are in [`ops`](super::ops).

pub mod channel;
pub mod device;
pub mod eventfd;
pub mod inotify;
pub mod mqueue;
pub mod pipe;
pub mod process;
pub mod pty;
pub mod signalfd;
pub mod socket;
pub mod timerfd;

use core::fmt::Write;

use borsh::{BorshDeserialize, BorshSerialize};

use super::{
    arena::Arena,
    env::Env,
    errno::{Errno, Result},
    flags::OpenFlags,
    id::{Id, QueueId},
    io::{Sink, Source},
    wait::{Epoll, Events, Hub},
};

/// How an object that is nowhere in the file system looks to `fstat` and in /proc/self/fd.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Face {
    /// All of its kind are one: `anon_inode:` and this.
    Anonymous(&'static str),
    /// Each has an inode number: `base` and its index.
    Numbered {
        name: &'static str,
        dev: u64,
        mode: u32,
        base: u32,
    },
}

/// An object as calls on descriptors see it: it works with the wait queues, the world around the UC, and the access mode
/// and status flags with which it was opened. The access mode has been checked before [`read`](Self::read) and
/// [`write`](Self::write), and nothing here blocks: what would is `EAGAIN`, with news on [`queue`](Self::queue).
pub(crate) trait Kind {
    /// How it looks where it has no name.
    const FACE: Face;
    /// Whether `pread` and `pwrite` are `read` and `write`; other kinds that are no files refuse them.
    const POSITIONED: bool = false;

    /// `read`: 0 at the end, `EAGAIN` when there is nothing yet.
    fn read(&mut self, _: &mut Hub, _: &dyn Env, _: OpenFlags, _: &mut dyn Sink) -> Result<usize> {
        Err(Errno::EINVAL)
    }
    /// `write`: `EAGAIN` when there is no room yet; may write a part only.
    fn write(
        &mut self,
        _: &mut Hub,
        _: &dyn Env,
        _: OpenFlags,
        _: &mut dyn Source,
    ) -> Result<usize> {
        Err(Errno::EINVAL)
    }
    /// What it is ready for now.
    fn poll(&mut self, _: &mut Hub, _: &dyn Env, _: OpenFlags) -> Events {
        Events::READ | Events::WRITE
    }
    /// Where news of it arrive; `None` for what is always ready and so cannot be put in an epoll set.
    fn queue(&self, hub: &Hub) -> Option<QueueId>;
    /// A description is closed; whether the object ends with it. Its queue must be removed then.
    fn close(&mut self, _: &mut Hub, _: OpenFlags) -> bool {
        true
    }
    /// `lseek` with a position that makes sense.
    fn seek(&self) -> Result<u64> {
        Ok(0)
    }
    /// Bytes that can be read at once (`FIONREAD`).
    fn available(&self) -> Result<usize> {
        Err(Errno::ENOTTY)
    }
    /// What /proc/PID/fdinfo says of it beyond what it says of all.
    fn describe(&self, _now_ns: u64, _: &mut dyn Write) {}
    /// Whether a blocking write goes on until all is written, as byte streams do.
    fn writes_all(&self) -> bool {
        false
    }
    /// Whether a write that gives `EPIPE` also sends `SIGPIPE`.
    fn raises_sigpipe(&self) -> bool {
        false
    }
}

macro_rules! kinds {
    (
        ($d:tt)
        here { $($(#[$here_doc:meta])* $here:ident($value:ty);)* }
        stored { $($(#[$doc:meta])* $name:ident($data:ty) in $field:ident;)* }
    ) => {
        /// What a description gives access to.
        #[derive(BorshSerialize, BorshDeserialize, Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Object {
            /// A regular file.
            File,
            /// A directory.
            Dir,
            /// Only a place in the file system (`O_PATH`).
            Path,
            /// A generated file of /proc or /sys.
            Text,
            /// An epoll set.
            Epoll(Id<Epoll>),
            $($(#[$here_doc])* $here($value),)*
            $($(#[$doc])* $name(Id<$data>),)*
        }

        /// The objects of a UC, by their kinds.
        #[derive(Clone, Debug, Default)]
        pub(crate) struct Kinds {
            $(pub(crate) $field: Arena<$data>,)*
        }

        impl Kinds {
            /// Frees an object that nothing refers to any more.
            pub(crate) fn remove(&mut self, object: Object) {
                match object {
                    $(Object::$name(id) => {
                        self.$field.remove(id);
                    })*
                    _ => {}
                }
            }
        }

        impl Object {
            /// Whether `pread` and `pwrite` are `read` and `write`.
            pub(crate) const fn is_positioned(self) -> bool {
                match self {
                    $(Object::$here(_) => <$value as Kind>::POSITIONED,)*
                    $(Object::$name(_) => <$data as Kind>::POSITIONED,)*
                    _ => false,
                }
            }

            /// How it looks where it has no name, and its number among its kind.
            pub(crate) const fn face(self) -> (Face, u32) {
                match self {
                    $(Object::$here(_) => (<$value as Kind>::FACE, 0),)*
                    $(Object::$name(id) => (<$data as Kind>::FACE, id.index()),)*
                    _ => (Face::Anonymous("[eventpoll]"), 0),
                }
            }
        }

        /// One `match` over all objects: the arms in braces, which may take some kinds for themselves, and for every other
        /// row `call` with its [`Kind`] as `kind`, or `gone` when the object no longer lives. `get` is `get` or `get_mut`.
        macro_rules! dispatch {
            (
                $d get:ident, $d kinds:expr, $d object:expr,
                |$d kind:ident| $d call:expr, $d gone:expr, { $d ($d arms:tt)* }
            ) => {{
                #[allow(
                    unreachable_patterns,
                    unused_mut,
                    clippy::let_and_return,
                    reason = "an arm may stand for a row, not every call changes, and only statements have attributes"
                )]
                let result = match $d object {
                    $d ($d arms)*
                    $(Object::$here(mut $d kind) => $d call,)*
                    $(Object::$name(id) => match $d kinds.$field.$d get(id) {
                        Some($d kind) => $d call,
                        None => $d gone,
                    },)*
                };
                result
            }};
        }
        pub(crate) use dispatch;
    };
}

kinds! {
    ($)
    here {
        /// A character device without state of its own.
        Device(device::Device);
        /// A process.
        Process(process::Process);
    }
    stored {
        /// One or both ends of a pipe, by the access mode.
        Pipe(pipe::Pipe) in pipes;
        /// A counter.
        EventFd(eventfd::EventFd) in eventfds;
        /// A timer.
        TimerFd(timerfd::TimerFd) in timers;
        /// Signals as messages.
        SignalFd(signalfd::SignalFd) in signalfds;
        /// The guest's side of a channel: a console, or a link to an Ebb.
        Channel(channel::Channel) in channels;
        /// Either end of a pseudo-terminal.
        Pty(pty::Pty) in ptys;
        /// A POSIX message queue.
        MessageQueue(mqueue::MessageQueue) in mqueues;
        /// An inotify instance.
        Inotify(inotify::Inotify) in inotifies;
        /// A socket of any family.
        Socket(socket::Socket) in sockets;
    }
}
