//! `poll`, `ppoll` and `select`: readiness of a list of descriptors, and waiting for a change.

use alloc::vec::Vec;
use core::task::Waker;

use crate::object::{
    Objects,
    env::Env,
    errno::{Errno, Result},
    id::{Fd, QueueId},
    wait::{Events, Token},
};

/// Linux' `struct pollfd`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PollFd {
    /// The descriptor; a negative one is skipped.
    pub fd: Fd,
    /// What is asked.
    pub events: u16,
    /// What is.
    pub revents: u16,
}

impl PollFd {
    /// How many bytes the guest sees.
    pub const SIZE: usize = 8;

    /// From the guest's memory.
    pub fn from_bytes(bytes: [u8; 8]) -> Self {
        let [a, b, c, d, e, f, g, h] = bytes;
        Self {
            fd: i32::from_le_bytes([a, b, c, d]),
            events: u16::from_le_bytes([e, f]),
            revents: u16::from_le_bytes([g, h]),
        }
    }

    /// As it lies in the guest's memory.
    pub fn to_bytes(self) -> [u8; 8] {
        let mut bytes = [0; 8];
        bytes[..4].copy_from_slice(&self.fd.to_le_bytes());
        bytes[4..6].copy_from_slice(&self.events.to_le_bytes());
        bytes[6..].copy_from_slice(&self.revents.to_le_bytes());
        bytes
    }
}

/// A registration on the queues of several descriptors.
#[derive(Debug, Default)]
pub struct Registration {
    queues: Vec<QueueId>,
    token: Option<Token>,
}

/// What of `revents` a `select` set means: readable, writable, exceptional.
pub const SELECT_SETS: [Events; 3] = [
    Events::IN
        .union(Events::RDNORM)
        .union(Events::RDBAND)
        .union(Events::HUP)
        .union(Events::ERR),
    Events::OUT
        .union(Events::WRNORM)
        .union(Events::WRBAND)
        .union(Events::ERR),
    Events::PRI,
];

impl Objects {
    /// One look at a list of descriptors: fills in `revents` and says how many are not zero.
    ///
    /// # Errors
    /// `EINVAL` for more entries than the table can have descriptors.
    pub fn poll_list(&mut self, env: &dyn Env, list: &mut [PollFd]) -> Result<usize> {
        if list.len() > self.files.fds.limit() as usize {
            return Err(Errno::EINVAL);
        }
        let mut ready = 0;
        for entry in list {
            entry.revents = match self.files.fds.get(entry.fd) {
                _ if entry.fd < 0 => 0,
                Err(_) => Events::NVAL.bits() as u16,
                Ok(desc) => {
                    let asked = Events::from_bits_retain(entry.events.into());
                    let events = self.poll(env, desc);
                    (events & (asked | Events::ALWAYS | Events::NVAL)).bits() as u16
                }
            };
            ready += usize::from(entry.revents != 0);
        }
        Ok(ready)
    }

    /// One look at the three sets of `select` (bit `n % 64` of word `n / 64` is descriptor `n`):
    /// leaves the ready ones and says how many bits are left.
    ///
    /// # Errors
    /// `EBADF` when a set names a descriptor that is not open.
    pub fn select_sets(
        &mut self,
        env: &dyn Env,
        count: usize,
        sets: &mut [Option<Vec<u64>>; 3],
    ) -> Result<usize> {
        let asked = |sets: &[Option<Vec<u64>>; 3], which: usize, fd: usize| {
            let word = sets[which]
                .as_ref()
                .and_then(|s| s.get(fd / 64))
                .copied()
                .unwrap_or(0);
            word >> (fd % 64) & 1 != 0
        };
        let fds = (0..count).filter(|&fd| (0..3).any(|s| asked(sets, s, fd)));
        for fd in fds.clone() {
            self.files.fds.get(fd as Fd)?;
        }
        let fds: Vec<usize> = fds.collect();
        let mut bits = 0;
        for fd in fds {
            let events = self.poll(env, self.files.fds.get(fd as Fd)?);
            for (set, means) in sets.iter_mut().zip(SELECT_SETS) {
                let Some(word) = set.as_mut().and_then(|s| s.get_mut(fd / 64)) else {
                    continue;
                };
                let bit = 1 << (fd % 64);
                if *word & bit != 0 {
                    if events.intersects(means) {
                        bits += 1
                    } else {
                        *word &= !bit
                    }
                }
            }
        }
        Ok(bits)
    }

    /// Wakes `waker` when something changes about one of the descriptors; what cannot be polled is
    /// left out. Replaces what `registration` held.
    pub fn register_fds(
        &mut self,
        fds: impl Iterator<Item = (Fd, Events)>,
        registration: &mut Registration,
        waker: &Waker,
    ) {
        self.unregister(registration);
        let token = self.hub.new_token();
        registration.token = Some(token);
        for (fd, events) in fds {
            let queue = self.files.fds.get(fd).and_then(|desc| self.queue_of(desc));
            if let Ok(Some(queue)) = queue {
                self.hub
                    .register(queue, token, events | Events::ALWAYS, waker);
                registration.queues.push(queue);
            }
        }
    }

    /// Wakes `waker` when something changes about `queue`. Replaces what `registration` held.
    pub fn register_queue(
        &mut self,
        queue: QueueId,
        events: Events,
        registration: &mut Registration,
        waker: &Waker,
    ) {
        self.unregister(registration);
        let token = self.hub.new_token();
        registration.token = Some(token);
        self.hub.register(queue, token, events, waker);
        registration.queues.push(queue);
    }

    /// Takes a registration back.
    pub fn unregister(&mut self, registration: &mut Registration) {
        if let Some(token) = registration.token.take() {
            for queue in registration.queues.drain(..) {
                self.hub.cancel(queue, token);
            }
        }
    }
}
