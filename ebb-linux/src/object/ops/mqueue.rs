//! POSIX message queues by name and by descriptor (mq_overview(7)).

use alloc::vec::Vec;

use super::files::permission::{asker, want};
use crate::object::{
    Objects,
    credentials::{Credentials, cap},
    env::Env,
    errno::{Errno, Result},
    flags::OpenFlags,
    fs::NAME_MAX,
    id::{DescId, Fd, Id},
    io::{Sink, put_some},
    kind::{
        Object,
        mqueue::{Listener, MessageQueue, NOTICE_BYTES, Notice, cost},
        socket::{SocketId, address::Address},
    },
};

/// Queues of unprivileged processes at most (`/proc/sys/fs/mqueue/queues_max`).
const MOST_QUEUES: usize = 256;
/// Messages and bytes of one, where nothing else is said, and where a process without privileges says it.
const USUAL: (usize, usize) = (10, 8192);
/// What a privileged process may say at most.
const MOST: (usize, usize) = (65_536, 16 << 20);
/// One more than the highest priority.
const PRIORITIES: u32 = 32_768;
/// Notices that wait at a socket, in bytes.
const NOTICES: usize = 64 << 10;
/// The last byte of a notice: of a message, or of an end to notices.
const WOKEN: u8 = 1;
const REMOVED: u8 = 2;

/// What a queue is like (`struct mq_attr`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attributes {
    /// `O_NONBLOCK` or nothing.
    pub flags: u32,
    /// The most messages.
    pub most: i64,
    /// The most bytes of one.
    pub longest: i64,
    /// Messages that are there.
    pub count: i64,
}

/// A signal that a process is to get because a message has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Notification {
    /// The process.
    pub pid: u32,
    /// The signal and its value.
    pub signal: u8,
    /// See `signal`.
    pub value: u64,
}

fn limits(who: &Credentials, asked: Option<(i64, i64)>) -> Result<(usize, usize)> {
    let Some((most, longest)) = asked else {
        return Ok(USUAL);
    };
    let bound = if who.has(cap::SYS_RESOURCE) {
        MOST
    } else {
        USUAL
    };
    let most = usize::try_from(most).map_err(|_| Errno::EINVAL)?;
    let longest = usize::try_from(longest).map_err(|_| Errno::EINVAL)?;
    if most == 0 || longest == 0 || most > bound.0 || longest > bound.1 {
        return Err(Errno::EINVAL);
    }
    Ok((most, longest))
}

impl Objects {
    pub(crate) fn mqueue(&self, id: Id<MessageQueue>) -> Result<&MessageQueue> {
        self.kinds.mqueues.get(id).ok_or(Errno::EBADF)
    }

    /// The queue behind a description.
    ///
    /// # Errors
    /// `EBADF` when it is none.
    fn mqueue_of(&self, desc: DescId) -> Result<(Id<MessageQueue>, OpenFlags)> {
        let desc = self.description(desc)?;
        match desc.object {
            Object::MessageQueue(id) => Ok((id, desc.flags)),
            _ => Err(Errno::EBADF),
        }
    }

    fn check_mq_name(name: &[u8]) -> Result<()> {
        if name.len() > NAME_MAX {
            return Err(Errno::ENAMETOOLONG);
        }
        if name.is_empty() {
            return Err(Errno::ENOENT);
        }
        if name.contains(&b'/') || matches!(name, b"." | b"..") {
            return Err(Errno::EACCES);
        }
        Ok(())
    }

    /// `mq_open`; `asked` are the most messages and the most bytes of one.
    ///
    /// # Errors
    /// Those of mq_open(3).
    pub fn mq_open(
        &mut self,
        env: &dyn Env,
        name: &[u8],
        (flags, mode): (u32, u32),
        asked: Option<(i64, i64)>,
    ) -> Result<Fd> {
        let flags = OpenFlags::from_bits_retain(flags);
        let wanted = match flags.bits() & 3 {
            0 => want::READ,
            1 => want::WRITE,
            2 => want::READ | want::WRITE,
            _ => return Err(Errno::EINVAL),
        };
        Self::check_mq_name(name)?;
        self.files.fds.check_room()?;
        let who = asker(env);
        let id = match self.mq_names.get(name).copied() {
            Some(_) if flags.contains(OpenFlags::CREAT | OpenFlags::EXCL) => {
                return Err(Errno::EEXIST);
            }
            Some(id) => {
                let ownership = self.mqueue(id)?.ownership;
                let may = who.has(cap::DAC_OVERRIDE) || who.may_access(ownership, false, wanted);
                if !may {
                    return Err(Errno::EACCES);
                }
                id
            }
            None if !flags.contains(OpenFlags::CREAT) => return Err(Errno::ENOENT),
            None => self.mq_create(env, &who, name, mode, asked)?,
        };
        if let Some(queue) = self.kinds.mqueues.get_mut(id) {
            queue.opens += 1;
        }
        let kept = OpenFlags::from_bits_retain(3) | OpenFlags::NONBLOCK;
        let kept = flags & kept | OpenFlags::CLOEXEC;
        self.open_object(Object::MessageQueue(id), kept, None)
    }

    fn mq_create(
        &mut self,
        env: &dyn Env,
        who: &Credentials,
        name: &[u8],
        mode: u32,
        asked: Option<(i64, i64)>,
    ) -> Result<Id<MessageQueue>> {
        const MSGQUEUE: u32 = 12;
        if self.kinds.mqueues.len() >= MOST_QUEUES && !who.has(cap::SYS_RESOURCE) {
            return Err(Errno::ENOSPC);
        }
        let size = limits(who, asked)?;
        let uid = who.user.effective;
        let own = self.kinds.mqueues.iter();
        let used: u64 = own
            .filter(|(_, q)| q.ownership.0 == uid)
            .map(|(_, q)| q.cost)
            .sum();
        if used.saturating_add(cost(size.0, size.1)) > env.process().rlimit(MSGQUEUE).0 {
            return Err(Errno::EMFILE);
        }
        let mode = mode & 0o777 & !self.files.umask;
        let ownership = (uid, who.group.effective, mode);
        let queue = MessageQueue::new(&mut self.hub, size, ownership);
        let id = self.kinds.mqueues.insert(queue);
        self.mq_names.insert(name.into(), id);
        Ok(id)
    }

    /// `read`: a line of what the queue is at (mq_overview(7)).
    pub(crate) fn read_mqueue(
        &self,
        id: Id<MessageQueue>,
        pos: u64,
        sink: &mut dyn Sink,
    ) -> Result<usize> {
        let line = self.mqueue(id)?.line();
        let start = usize::try_from(pos).unwrap_or(usize::MAX).min(line.len());
        put_some(sink, &line.as_bytes()[start..])
    }

    /// `fchmod` and `fchown`: a new mode, owner or group.
    ///
    /// # Errors
    /// `EPERM`.
    pub(crate) fn set_mqueue_ownership(
        &mut self,
        env: &dyn Env,
        id: Id<MessageQueue>,
        (uid, gid, mode): (u32, u32, Option<u32>),
    ) -> Result<()> {
        let who = asker(env);
        let queue = self.kinds.mqueues.get_mut(id).ok_or(Errno::EBADF)?;
        let (owner, group, bits) = &mut queue.ownership;
        if *owner != who.user.effective && !who.has(cap::FOWNER) {
            return Err(Errno::EPERM);
        }
        let changes = uid != u32::MAX && uid != *owner || gid != u32::MAX && gid != *group;
        if changes && !who.has(cap::CHOWN) {
            return Err(Errno::EPERM);
        }
        *owner = if uid == u32::MAX { *owner } else { uid };
        *group = if gid == u32::MAX { *group } else { gid };
        *bits = mode.map_or(*bits, |mode| mode & 0o7777);
        Ok(())
    }

    /// `mq_unlink`.
    ///
    /// # Errors
    /// `ENOENT`; `EPERM` for who owns neither the queue nor the right.
    pub fn mq_unlink(&mut self, env: &dyn Env, name: &[u8]) -> Result<()> {
        Self::check_mq_name(name)?;
        let id = *self.mq_names.get(name).ok_or(Errno::ENOENT)?;
        let who = asker(env);
        if self.mqueue(id)?.ownership.0 != who.user.effective && !who.has(cap::FOWNER) {
            return Err(Errno::EPERM);
        }
        self.mq_names.remove(name);
        if let Some(queue) = self.kinds.mqueues.get_mut(id) {
            queue.named = false;
            if queue.ends(&mut self.hub) {
                self.kinds.mqueues.remove(id);
            }
        }
        Ok(())
    }

    /// Checks a send before its message is fetched.
    ///
    /// # Errors
    /// `EINVAL`, `EBADF`, `EMSGSIZE`.
    pub fn mq_check_send(&self, desc: DescId, len: u64, priority: u64) -> Result<()> {
        if priority >= PRIORITIES.into() {
            return Err(Errno::EINVAL);
        }
        let (id, flags) = self.mqueue_of(desc)?;
        if !flags.writable() {
            return Err(Errno::EBADF);
        }
        if len > self.mqueue(id)?.longest as u64 {
            return Err(Errno::EMSGSIZE);
        }
        Ok(())
    }

    /// Whether a queue has room for another message.
    pub fn mq_has_room(&self, desc: DescId) -> Result<bool> {
        let queue = self.mqueue(self.mqueue_of(desc)?.0)?;
        Ok(queue.count() < queue.most)
    }

    /// Sends a message that was [checked](Self::mq_check_send).
    ///
    /// # Errors
    /// `EAGAIN` when the queue is full.
    pub fn mq_send(
        &mut self,
        env: &dyn Env,
        desc: DescId,
        message: Vec<u8>,
        priority: u32,
    ) -> Result<Option<Notification>> {
        let (id, _) = self.mqueue_of(desc)?;
        let queue = self.kinds.mqueues.get_mut(id).ok_or(Errno::EBADF)?;
        if !queue.send(&mut self.hub, priority, message)? {
            return Ok(None);
        }
        let Some(listener) = queue.listener.take() else {
            return Ok(None);
        };
        if !env.is_alive(listener.serial) {
            return Ok(None);
        }
        Ok(match listener.notice {
            Notice::Nothing => None,
            Notice::Signal(signal, value) => Some(Notification {
                pid: listener.pid,
                signal,
                value,
            }),
            Notice::Socket(socket, bytes) => {
                self.mq_tell_socket(socket, bytes, WOKEN);
                None
            }
        })
    }

    fn mq_tell_socket(&mut self, socket: SocketId, mut bytes: [u8; NOTICE_BYTES], what: u8) {
        bytes[NOTICE_BYTES - 1] = what;
        let from = Address::Netlink(0);
        let _ = self.deliver(socket, NOTICES, from, Vec::<DescId>::new(), &mut &bytes[..]);
    }

    /// Takes a message for a buffer of `room` bytes: its priority, and itself.
    ///
    /// # Errors
    /// `EBADF`; `EMSGSIZE` when a message could be longer than the buffer; `EAGAIN` when there is none.
    pub fn mq_receive(&mut self, desc: DescId, room: u64) -> Result<(u32, Vec<u8>)> {
        let (id, flags) = self.mqueue_of(desc)?;
        if !flags.readable() {
            return Err(Errno::EBADF);
        }
        let queue = self.kinds.mqueues.get_mut(id).ok_or(Errno::EBADF)?;
        if room < queue.longest as u64 {
            return Err(Errno::EMSGSIZE);
        }
        queue.receive(&mut self.hub)
    }

    /// `mq_notify`: a process wants to hear of the next message, or no more.
    ///
    /// # Errors
    /// `EBADF`; `EBUSY` when another wants to already, or it does itself.
    pub fn mq_notify(
        &mut self,
        env: &dyn Env,
        desc: DescId,
        serial: u64,
        notice: Option<Notice>,
    ) -> Result<()> {
        let (id, _) = self.mqueue_of(desc)?;
        let pid = env.process().pid();
        let queue = self.kinds.mqueues.get_mut(id).ok_or(Errno::EBADF)?;
        let taken = queue.listener.as_ref().map(|l| l.serial);
        let taken = taken.filter(|serial| env.is_alive(*serial));
        match notice {
            None if taken == Some(serial) => {
                self.mq_forget_listener(id);
                Ok(())
            }
            None => Ok(()),
            Some(_) if taken.is_some() => Err(Errno::EBUSY),
            Some(notice) => {
                queue.listener = Some(Listener {
                    pid,
                    serial,
                    desc,
                    notice,
                });
                Ok(())
            }
        }
    }

    fn mq_forget_listener(&mut self, id: Id<MessageQueue>) {
        let queue = self.kinds.mqueues.get_mut(id);
        if let Some(listener) = queue.and_then(|q| q.listener.take())
            && let Notice::Socket(socket, bytes) = listener.notice
        {
            self.mq_tell_socket(socket, bytes, REMOVED);
        }
    }

    /// A description of a queue is closed.
    pub(super) fn close_mqueue(&mut self, id: Id<MessageQueue>, desc: DescId, flags: OpenFlags) {
        let listens = |q: &MessageQueue| q.listener.as_ref().is_some_and(|l| l.desc == desc);
        if self.kinds.mqueues.get(id).is_some_and(listens) {
            self.mq_forget_listener(id);
        }
        self.close_end(Object::MessageQueue(id), flags);
    }

    /// `mq_getsetattr`: what a queue is like, and its new flags.
    ///
    /// # Errors
    /// `EBADF`.
    pub fn mq_attributes(&mut self, desc: DescId, set: Option<u32>) -> Result<Attributes> {
        let (id, flags) = self.mqueue_of(desc)?;
        let queue = self.mqueue(id)?;
        let attributes = Attributes {
            flags: (flags & OpenFlags::NONBLOCK).bits(),
            most: queue.most as i64,
            longest: queue.longest as i64,
            count: queue.count() as i64,
        };
        if let Some(set) = set {
            let on = set & OpenFlags::NONBLOCK.bits() != 0;
            self.set_nonblocking(desc, on)?;
        }
        Ok(attributes)
    }
}
