//! `fcntl`, but for locks, and `ioctl` as far as it is of descriptors.

use super::files::permission::asker;
use super::ready::has_signals;
use crate::object::{
    Objects,
    env::Env,
    errno::{Errno, Result},
    flags::OpenFlags,
    id::{DescId, Fd},
    kind::{Kind, Object, dispatch},
};

/// How `F_SETFL` may change a description.
const SETTABLE: OpenFlags = OpenFlags::APPEND
    .union(OpenFlags::NONBLOCK)
    .union(OpenFlags::DIRECT)
    .union(OpenFlags::NOATIME)
    .union(OpenFlags::ASYNC);

/// `F_UNLCK`.
const UNLOCKED: u32 = 2;

/// A `fcntl` that concerns descriptors and descriptions; locks are in [`record`](super::record).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fcntl {
    /// `F_DUPFD` and, with `close_on_exec`, `F_DUPFD_CLOEXEC`.
    Dup {
        /// The lowest number wanted.
        from: i32,
        /// Set `FD_CLOEXEC` on the new descriptor.
        close_on_exec: bool,
    },
    /// `F_GETFD`.
    GetFd,
    /// `F_SETFD`.
    SetFd(u32),
    /// `F_GETFL`.
    GetFl,
    /// `F_SETFL`.
    SetFl(u32),
    /// `F_GETPIPE_SZ`.
    GetPipeSize,
    /// `F_SETPIPE_SZ`.
    SetPipeSize(u32),
    /// `F_ADD_SEALS`.
    AddSeals(u32),
    /// `F_GET_SEALS`.
    GetSeals,
    /// `F_GETSIG`.
    GetSignal,
    /// `F_SETSIG`.
    SetSignal(u64),
    /// `F_GETLEASE`.
    GetLease,
    /// `F_SETLEASE`.
    SetLease(u64),
}

impl Fcntl {
    /// From the numbers of the system call; `None` for a command that is not here.
    pub fn from_numbers(command: u32, argument: u64) -> Option<Fcntl> {
        Some(match command {
            0 => Fcntl::Dup {
                from: argument as i32,
                close_on_exec: false,
            },
            1030 => Fcntl::Dup {
                from: argument as i32,
                close_on_exec: true,
            },
            1 => Fcntl::GetFd,
            2 => Fcntl::SetFd(argument as u32),
            3 => Fcntl::GetFl,
            4 => Fcntl::SetFl(argument as u32),
            10 => Fcntl::SetSignal(argument),
            11 => Fcntl::GetSignal,
            1024 => Fcntl::SetLease(argument),
            1025 => Fcntl::GetLease,
            1031 => Fcntl::SetPipeSize(argument as u32),
            1032 => Fcntl::GetPipeSize,
            1033 => Fcntl::AddSeals(argument as u32),
            1034 => Fcntl::GetSeals,
            _ => return None,
        })
    }
}

impl Objects {
    /// `fcntl`, but for locks.
    ///
    /// # Errors
    /// `EBADF`, `EINVAL`, `EMFILE`, `EPERM`, `EBUSY`, as in fcntl(2).
    pub fn fcntl(&mut self, env: &dyn Env, fd: Fd, command: Fcntl) -> Result<u32> {
        let entry = *self.files.fds.entry(fd)?;
        let desc = entry.desc;
        match command {
            Fcntl::Dup {
                from,
                close_on_exec,
            } => {
                let from = u32::try_from(from).map_err(|_| Errno::EINVAL)?;
                if from >= self.files.fds.limit {
                    return Err(Errno::EINVAL);
                }
                Ok(self.install_from(desc, from as usize, close_on_exec)? as u32)
            }
            Fcntl::GetFd => Ok(u32::from(entry.close_on_exec)),
            Fcntl::SetFd(flags) => {
                if let Some(Some(entry)) = self.files.fds.entries.get_mut(fd as usize) {
                    entry.close_on_exec = flags & 1 != 0;
                }
                Ok(0)
            }
            Fcntl::GetFl => Ok(self
                .description(desc)?
                .flags
                .difference(OpenFlags::MASTER)
                .bits()),
            _ if self.description(desc)?.flags.contains(OpenFlags::PATH) => Err(Errno::EBADF),
            Fcntl::SetFl(flags) => {
                let flags = OpenFlags::from_bits_retain(flags) & SETTABLE;
                let object = self.description(desc)?.object;
                let direct = match object {
                    Object::Pipe(_) => true,
                    Object::File => !self.has_seals(desc),
                    _ => false,
                };
                let found = self.description(desc)?;
                let (before, node) = (found.flags, found.node);
                if flags.difference(before).contains(OpenFlags::NOATIME) {
                    match node {
                        Some(node) => self.check_owner(env, &asker(env), node)?,
                        None if asker(env).owns(self.maker(object).0) => {}
                        None => return Err(Errno::EPERM),
                    }
                }
                if flags.contains(OpenFlags::DIRECT) && !direct {
                    return Err(Errno::EINVAL);
                }
                if has_signals(object) {
                    self.set_async(desc, fd, flags.contains(OpenFlags::ASYNC))?;
                }
                // Of what sends no signals the flag is not kept.
                let settable = SETTABLE.difference(OpenFlags::ASYNC);
                let desc = self.description_mut(desc)?;
                desc.flags = desc.flags.difference(settable) | flags & settable;
                Ok(0)
            }
            Fcntl::GetPipeSize => Ok(self.pipe_of(desc)?.1.capacity()),
            Fcntl::SetPipeSize(size) => self.set_pipe_size(desc, size),
            Fcntl::AddSeals(seals) => self.add_seals(env, desc, seals).map(|()| 0),
            Fcntl::GetSeals => self.seals(desc),
            Fcntl::GetSignal => Ok(self.description(desc)?.signal.into()),
            Fcntl::SetSignal(signal) => {
                let signal = u8::try_from(signal).ok().filter(|&s| s <= 64);
                self.description_mut(desc)?.signal = signal.ok_or(Errno::EINVAL)?;
                Ok(0)
            }
            // As where `leases-enable` is 0: nobody has one.
            Fcntl::GetLease => Ok(UNLOCKED),
            Fcntl::SetLease(_) if !self.is_file(desc)? => Err(Errno::EINVAL),
            Fcntl::SetLease(kind) if kind == UNLOCKED.into() => Err(Errno::EAGAIN),
            Fcntl::SetLease(_) => Err(Errno::EINVAL),
        }
    }

    /// What is behind a descriptor that is more than a place (`O_PATH`).
    ///
    /// # Errors
    /// `EBADF`.
    pub fn check_usable(&self, fd: Fd) -> Result<Object> {
        match self.description(self.files.fds.get(fd)?)?.object {
            Object::Path => Err(Errno::EBADF),
            object => Ok(object),
        }
    }

    /// Whether a descriptor is of something that can be written through to where it is kept.
    ///
    /// # Errors
    /// `EBADF`, `EINVAL`.
    pub fn check_sync(&self, fd: Fd) -> Result<()> {
        match self.check_usable(fd)? {
            Object::File | Object::Dir => Ok(()),
            _ => Err(Errno::EINVAL),
        }
    }

    /// Bytes that can be read at once (`FIONREAD`).
    ///
    /// # Errors
    /// `ENOTTY` for what has no such number.
    pub fn bytes_available(&self, env: &dyn Env, desc: DescId) -> Result<usize> {
        let found = self.description(desc)?;
        if let Object::Socket(_) = found.object {
            let here = self.bytes_within(desc)?;
            // What has come from beyond the UC is read after what is here.
            let datagram = here > 0 && !self.writes_all(desc);
            return Ok(match datagram {
                true => here,
                false => here + self.outside_bytes(env, desc).1,
            });
        }
        self.bytes_within(desc)
    }

    fn bytes_within(&self, desc: DescId) -> Result<usize> {
        let found = self.description(desc)?;
        match (found.object, found.node) {
            (Object::File, Some(node)) => {
                Ok(self.fs.file_size(node)?.saturating_sub(found.pos) as usize)
            }
            (object, _) => {
                dispatch!(get, self.kinds, object, |kind| kind.available(), Err(Errno::EBADF), {
                    Object::Path => Err(Errno::EBADF),
                    Object::Epoll(_) => Err(Errno::EINVAL),
                    Object::Text => Ok(0),
                    Object::File | Object::Dir => Err(Errno::ENOTTY),
                })
            }
        }
    }

    fn is_file(&self, desc: DescId) -> Result<bool> {
        Ok(matches!(
            self.description(desc)?.object,
            Object::File | Object::Text
        ))
    }

    /// Whether nothing of it may be run: it has no place among the files, or /proc makes it up.
    ///
    /// # Errors
    /// `EBADF`.
    pub fn never_runs(&self, desc: DescId) -> Result<bool> {
        let found = self.description(desc)?;
        Ok(match found.object {
            Object::Text => true,
            Object::File | Object::Dir | Object::Path | Object::Device(_) | Object::Pty(_) => false,
            _ => found.node.is_none(),
        })
    }

    /// The bytes that are set aside for a file or directory (`FIOQSIZE`).
    ///
    /// # Errors
    /// `ENOTTY` for what has none.
    pub fn size_of(&self, desc: DescId) -> Result<u64> {
        let found = self.description(desc)?;
        match (found.object, found.node) {
            (Object::File, Some(node)) => Ok(self.fs.file_size(node)?.next_multiple_of(4096)),
            (Object::Dir | Object::Text, _) => Ok(0),
            _ => Err(Errno::ENOTTY),
        }
    }

    /// Whether a file could have its blocks in common with another (`FICLONE`): no file here can.
    ///
    /// # Errors
    /// `EBADF`, `EINVAL` for what is no file; else `EOPNOTSUPP`, on which programs copy.
    pub fn check_clone(&self, to: DescId, from: i32) -> Result<()> {
        let from = self.description(self.files.fds.get(from)?)?;
        let to = self.description(to)?;
        if !from.flags.readable() || !to.flags.writable() {
            return Err(Errno::EBADF);
        }
        match (from.object, to.object) {
            (Object::Dir, _) | (_, Object::Dir) => Err(Errno::EISDIR),
            (Object::File, Object::File) => Err(Errno::EOPNOTSUPP),
            _ => Err(Errno::EINVAL),
        }
    }

    /// Sets or clears `O_NONBLOCK` (`FIONBIO`).
    pub fn set_nonblocking(&mut self, desc: DescId, on: bool) -> Result<()> {
        self.description_mut(desc)?
            .flags
            .set(OpenFlags::NONBLOCK, on);
        Ok(())
    }

    /// Whether a call on this description may wait.
    pub fn may_block(&self, desc: DescId) -> bool {
        self.description(desc)
            .is_ok_and(|d| !d.flags.contains(OpenFlags::NONBLOCK))
    }
}
