//! Message queues: `msgget`, `msgsnd`, `msgrcv`, `msgctl`.
//!
//! What must hold: a queue holds at most its limit of bytes, and no more messages than that number.

use super::{Access, Ipc, Object, PERM_BYTES, Permissions, Subject};
use crate::abi::errno::Errno;
use alloc::collections::VecDeque;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt::Write;

/// `MSGMAX`: bytes of a message.
pub const MESSAGE_MAX: usize = 8192;
/// `MSGMNB`: bytes of a queue, unless somebody with the right to it says more.
pub const QUEUE_MAX: u64 = 16_384;
/// `MSG_NOERROR`: a message that is too long is cut.
pub const MSG_NOERROR: u32 = 0o10_000;
/// `MSG_EXCEPT`: any type but this one.
pub const MSG_EXCEPT: u32 = 0o20_000;
/// `MSG_COPY`: the message of this index, which stays.
pub const MSG_COPY: u32 = 0o40_000;
/// Bytes of kernel memory that the messages of all queues together may take.
const ALL_MAX: u64 = 16 << 20;
/// What a message takes besides its text, in bytes.
const OVERHEAD: u64 = 64;
/// Bytes of `struct msqid64_ds`.
pub const STAT_BYTES: usize = 120;

#[derive(Clone, Debug)]
struct Message {
    kind: i64,
    text: Vec<u8>,
}

/// A message queue.
#[derive(Clone, Debug)]
pub struct Queue {
    permissions: Permissions,
    messages: VecDeque<Message>,
    bytes: u64,
    bytes_max: u64,
    sent_s: i64,
    received_s: i64,
    changed_s: i64,
    last_sender: u32,
    last_receiver: u32,
}

impl Object for Queue {
    fn permissions(&self) -> &Permissions {
        &self.permissions
    }

    fn permissions_mut(&mut self) -> &mut Permissions {
        &mut self.permissions
    }
}

/// What a receiver asks for.
#[derive(Clone, Copy, Debug)]
pub struct Wanted {
    /// `msgtyp`: 0 any, positive that type, negative the lowest type up to its absolute value; with `MSG_COPY` an index.
    pub kind: i64,
    /// `MSG_NOERROR`, `MSG_EXCEPT`, `MSG_COPY`.
    pub flags: u32,
    /// Bytes that it has room for.
    pub room: usize,
}

impl Queue {
    fn find(&self, wanted: &Wanted) -> Option<usize> {
        let mut messages = self.messages.iter();
        if wanted.flags & MSG_COPY != 0 {
            let index = usize::try_from(wanted.kind).ok()?;
            return (index < self.messages.len()).then_some(index);
        }
        match wanted.kind {
            0 => (!self.messages.is_empty()).then_some(0),
            kind if kind > 0 => {
                let except = wanted.flags & MSG_EXCEPT != 0;
                messages.position(|m| (m.kind == kind) != except)
            }
            kind => {
                let most = kind.checked_neg().unwrap_or(i64::MAX);
                let lowest = messages.map(|m| m.kind).filter(|k| *k <= most).min()?;
                self.messages.iter().position(|m| m.kind == lowest)
            }
        }
    }

    /// As `struct msqid64_ds`.
    #[must_use]
    pub fn stat(&self) -> [u8; STAT_BYTES] {
        let mut bytes = [0; STAT_BYTES];
        bytes[..PERM_BYTES].copy_from_slice(&self.permissions.to_bytes());
        let processes = u64::from(self.last_sender) | u64::from(self.last_receiver) << 32;
        let words = [
            self.sent_s as u64,
            self.received_s as u64,
            self.changed_s as u64,
            self.bytes,
            self.messages.len() as u64,
            self.bytes_max,
            processes,
        ];
        for (to, word) in bytes[PERM_BYTES..].chunks_exact_mut(8).zip(words) {
            to.copy_from_slice(&word.to_le_bytes());
        }
        bytes
    }
}

impl Queue {
    /// The rest of its line in /proc/sysvipc/msg.
    pub(super) fn describe(&self, owners: &str, out: &mut String) {
        let _ = write!(
            out,
            "  {:10} {:10} {:5} {:5} {owners} {:10} {:10} {:10}",
            self.bytes,
            self.messages.len(),
            self.last_sender,
            self.last_receiver,
            self.sent_s,
            self.received_s,
            self.changed_s,
        );
    }
}

impl Ipc {
    /// `msgget`.
    ///
    /// # Errors
    /// Those of every `*get`.
    pub fn msgget(
        &mut self,
        key: i32,
        flags: u32,
        subject: &Subject,
        now_s: i64,
    ) -> Result<i32, Errno> {
        self.messages.get(
            key,
            flags,
            subject,
            |_| Ok(()),
            |permissions| {
                Ok(Queue {
                    permissions,
                    messages: VecDeque::new(),
                    bytes: 0,
                    bytes_max: QUEUE_MAX,
                    sent_s: 0,
                    received_s: 0,
                    changed_s: now_s,
                    last_sender: 0,
                    last_receiver: 0,
                })
            },
        )
    }

    /// Whether a message of `len` bytes has room, and may be sent.
    ///
    /// # Errors
    /// `EINVAL`, `EACCES`; `EAGAIN` when there is no room in the queue, `ENOMEM` when all queues
    /// together hold too much; `EIDRM` when the sender waited and the queue is gone.
    pub fn msg_has_room(
        &self,
        id: i32,
        len: usize,
        subject: &Subject,
        has_waited: bool,
    ) -> Result<(), Errno> {
        let gone = |error| if has_waited { Errno::EIDRM } else { error };
        let queue = self.messages.by_id(id).map_err(gone)?;
        queue.permissions.check(subject, Access::Write)?;
        let bytes_after = queue.bytes + len as u64;
        let messages_after = queue.messages.len() as u64 + 1;
        if bytes_after > queue.bytes_max || messages_after > queue.bytes_max {
            return Err(Errno::EAGAIN);
        }
        let (messages, bytes) = self.msg_totals();
        if bytes + len as u64 + (messages + 1) * OVERHEAD > ALL_MAX {
            return Err(Errno::ENOMEM);
        }
        Ok(())
    }

    /// `msgsnd` of a message for which there is room.
    ///
    /// # Errors
    /// `EINVAL`.
    pub fn msgsnd(
        &mut self,
        id: i32,
        kind: i64,
        text: Vec<u8>,
        subject: &Subject,
        now_s: i64,
    ) -> Result<(), Errno> {
        let queue = self.messages.by_id_mut(id)?;
        queue.bytes += text.len() as u64;
        queue.messages.push_back(Message { kind, text });
        queue.sent_s = now_s;
        queue.last_sender = subject.pid;
        self.news = true;
        Ok(())
    }

    /// The message that a receiver is to get: its type and its bytes, cut to the room. It stays until [`Ipc::msg_take`].
    ///
    /// # Errors
    /// `EINVAL`, `EACCES`, `ENOMSG` when there is none, `E2BIG` when it is too long and may not be cut; `EIDRM` when the
    /// receiver waited and the queue is gone.
    pub fn msg_peek(
        &self,
        id: i32,
        wanted: &Wanted,
        subject: &Subject,
        has_waited: bool,
    ) -> Result<(usize, i64, &[u8]), Errno> {
        let gone = |error| if has_waited { Errno::EIDRM } else { error };
        let queue = self.messages.by_id(id).map_err(gone)?;
        queue.permissions.check(subject, Access::Read)?;
        let index = queue.find(wanted).ok_or(Errno::ENOMSG)?;
        let message = &queue.messages[index];
        if message.text.len() > wanted.room && wanted.flags & MSG_NOERROR == 0 {
            return Err(Errno::E2BIG);
        }
        let text = &message.text[..message.text.len().min(wanted.room)];
        Ok((index, message.kind, text))
    }

    /// Takes the message of this index, which [`Ipc::msg_peek`] gave, off the queue.
    ///
    /// # Errors
    /// `EINVAL`.
    pub fn msg_take(
        &mut self,
        id: i32,
        index: usize,
        subject: &Subject,
        now_s: i64,
    ) -> Result<(), Errno> {
        let queue = self.messages.by_id_mut(id)?;
        let message = queue.messages.remove(index).ok_or(Errno::EINVAL)?;
        queue.bytes -= message.text.len() as u64;
        queue.received_s = now_s;
        queue.last_receiver = subject.pid;
        self.news = true;
        Ok(())
    }

    /// `IPC_RMID`.
    ///
    /// # Errors
    /// `EINVAL`, `EPERM`.
    pub fn msg_remove(&mut self, id: i32, subject: &Subject) -> Result<(), Errno> {
        self.messages.owned(id, subject)?;
        self.messages.remove(id)?;
        self.news = true;
        Ok(())
    }

    /// `IPC_SET`; `bytes_max` is `msg_qbytes`.
    ///
    /// # Errors
    /// `EINVAL`, `EPERM`.
    pub fn msg_set(
        &mut self,
        id: i32,
        perm: &[u8; PERM_BYTES],
        bytes_max: u64,
        subject: &Subject,
        now_s: i64,
    ) -> Result<(), Errno> {
        let queue = self.messages.owned(id, subject)?;
        // `CAP_SYS_RESOURCE`, which goes with administration here.
        if bytes_max > QUEUE_MAX && !subject.administers {
            return Err(Errno::EPERM);
        }
        // Whoever may set it high does not get more than a UC can hold.
        if bytes_max > i32::MAX as u64 {
            return Err(Errno::EINVAL);
        }
        queue.permissions.set(perm);
        queue.bytes_max = bytes_max;
        queue.changed_s = now_s;
        self.news = true;
        Ok(())
    }

    /// Messages of all queues, and their bytes.
    pub fn msg_totals(&self) -> (u64, u64) {
        let add = |(messages, bytes), queue: &Queue| {
            (messages + queue.messages.len() as u64, bytes + queue.bytes)
        };
        self.messages
            .iter()
            .map(|(_, queue)| queue)
            .fold((0, 0), add)
    }
}
