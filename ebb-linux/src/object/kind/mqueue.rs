//! POSIX message queues: messages with priorities, and one process that hears of the first.
//!
//! What must hold: a queue has no more messages than was said when it was made, none longer than was said, and lives as long
//! as it has a name or a descriptor.

use alloc::{
    collections::{BTreeMap, VecDeque},
    format,
    string::String,
    sync::Arc,
    vec::Vec,
};

use super::{Face, Kind, socket::SocketId};
use crate::object::{
    env::Env,
    errno::{Errno, Result},
    flags::OpenFlags,
    id::{DescId, Id, QueueId},
    wait::{Events, Hub},
};

/// The names of queues.
pub(crate) type Names = BTreeMap<Arc<[u8]>, Id<MessageQueue>>;

/// Bytes that a queue has as a file, whatever can be read of it.
pub const MQUEUE_BYTES: u64 = 80;

/// What waits for a message, beside those that only want to know whether there is one.
pub const RECEIVERS: Events = Events::IN.union(Events::MSG);

/// How a process hears of a message (`struct sigevent`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// Not at all, but nobody else does either.
    Nothing,
    /// By this signal, which carries the value.
    Signal(u8, u64),
    /// By these bytes at a netlink socket, as the C library's threads do.
    Socket(SocketId, [u8; NOTICE_BYTES]),
}

/// Bytes of such a notice.
pub const NOTICE_BYTES: usize = 32;

/// Who hears of the next message that comes to an empty queue.
#[derive(Clone, Debug)]
pub(crate) struct Listener {
    pub(crate) pid: u32,
    pub(crate) serial: u64,
    /// It hears nothing any more when it closes this.
    pub(crate) desc: DescId,
    pub(crate) notice: Notice,
}

/// A message queue.
#[derive(Clone, Debug)]
pub struct MessageQueue {
    /// By priority, the oldest in front.
    messages: BTreeMap<u32, VecDeque<Vec<u8>>>,
    count: usize,
    /// The most messages, and the most bytes of one.
    pub(crate) most: usize,
    pub(crate) longest: usize,
    /// Owner, group, mode.
    pub(crate) ownership: (u32, u32, u32),
    /// What it counts against its owner's limit, in bytes.
    pub(crate) cost: u64,
    pub(crate) named: bool,
    pub(crate) opens: u32,
    pub(crate) listener: Option<Listener>,
    pub(crate) queue: QueueId,
}

impl MessageQueue {
    pub(crate) fn new(
        hub: &mut Hub,
        (most, longest): (usize, usize),
        ownership: (u32, u32, u32),
    ) -> Self {
        Self {
            messages: BTreeMap::new(),
            count: 0,
            most,
            longest,
            ownership,
            cost: cost(most, longest),
            named: true,
            opens: 0,
            listener: None,
            queue: hub.new_queue(),
        }
    }

    /// How many messages there are.
    pub(crate) const fn count(&self) -> usize {
        self.count
    }

    /// Adds a message; whether the listener is to hear of it: it is the first, and nobody waits for it.
    ///
    /// # Errors
    /// `EAGAIN` when the queue is full.
    pub(crate) fn send(&mut self, hub: &mut Hub, priority: u32, message: Vec<u8>) -> Result<bool> {
        if self.count >= self.most {
            return Err(Errno::EAGAIN);
        }
        let tells = self.count == 0 && !hub.is_awaited(self.queue, Events::MSG);
        self.messages
            .entry(priority)
            .or_default()
            .push_back(message);
        self.count += 1;
        hub.wake(self.queue, Events::READ | Events::MSG);
        Ok(tells)
    }

    /// Takes the oldest message of the highest priority.
    ///
    /// # Errors
    /// `EAGAIN` when there is none.
    pub(crate) fn receive(&mut self, hub: &mut Hub) -> Result<(u32, Vec<u8>)> {
        let mut last = self.messages.last_entry().ok_or(Errno::EAGAIN)?;
        let priority = *last.key();
        let message = last.get_mut().pop_front().ok_or(Errno::EAGAIN)?;
        if last.get().is_empty() {
            last.remove();
        }
        self.count -= 1;
        hub.wake(self.queue, Events::WRITE);
        Ok((priority, message))
    }

    /// What a read tells: bytes that wait, and who is to be told of a message.
    pub(crate) fn line(&self) -> String {
        let bytes: usize = self.messages.values().flatten().map(Vec::len).sum();
        let (notice, signal, pid) = match &self.listener {
            None => (0, 0, 0),
            // `SIGEV_NONE`, `SIGEV_SIGNAL`, `SIGEV_THREAD`.
            Some(Listener { notice, pid, .. }) => match notice {
                Notice::Nothing => (1, 0, *pid),
                Notice::Signal(signal, _) => (0, *signal, *pid),
                Notice::Socket(..) => (2, 0, *pid),
            },
        };
        format!("QSIZE:{bytes:<10} NOTIFY:{notice:<5} SIGNO:{signal:<5} NOTIFY_PID:{pid:<6}\n")
    }

    /// Whether neither a name nor a descriptor leads to it. Its wait queue goes then.
    pub(crate) fn ends(&self, hub: &mut Hub) -> bool {
        let ends = !self.named && self.opens == 0;
        if ends {
            hub.remove_queue(self.queue);
        }
        ends
    }
}

/// What a queue counts against `RLIMIT_MSGQUEUE` (getrlimit(2)): its messages, and what they and their priorities are kept in.
pub(crate) fn cost(most: usize, longest: usize) -> u64 {
    const OF_MESSAGE: u64 = 48;
    const OF_PRIORITY: u64 = 48;
    const PRIORITIES: u64 = 32_768;
    let (most, longest) = (most as u64, longest as u64);
    let kept = most * OF_MESSAGE + most.min(PRIORITIES) * OF_PRIORITY;
    kept.saturating_add(most.saturating_mul(longest))
}

impl Kind for MessageQueue {
    const FACE: Face = Face::Numbered {
        name: "mqueue",
        dev: 0x15,
        mode: 0o100600,
        base: 0x4000_0000,
    };

    fn poll(&mut self, _: &mut Hub, _: &dyn Env, _: OpenFlags) -> Events {
        let mut events = Events::empty();
        events.set(Events::READ, self.count > 0);
        events.set(Events::WRITE, self.count < self.most);
        events
    }

    fn queue(&self, _: &Hub) -> Option<QueueId> {
        Some(self.queue)
    }

    fn close(&mut self, hub: &mut Hub, _: OpenFlags) -> bool {
        self.opens = self.opens.saturating_sub(1);
        self.ends(hub)
    }
}
