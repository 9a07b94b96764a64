//! Sockets in flight: those that only messages of one another keep open are given back.
//!
//! What must hold: a description is counted once for each message that carries it. One that is counted no more often is
//! kept open by messages alone, and lives if a socket that somebody can read leads to it.

use alloc::{
    collections::{BTreeMap, BTreeSet},
    vec::Vec,
};

use super::message::MessageFlags;
use crate::object::{
    Objects,
    credentials::cap,
    env::Env,
    errno::{Errno, Result},
    id::DescId,
    kind::{Object, socket::SocketId},
};

impl Objects {
    /// A description goes into a message.
    pub(super) fn note_flight(&mut self, desc: DescId) {
        if let Ok(desc) = self.description(desc)
            && let Object::Socket(_) = desc.object
        {
            self.sockets.sends_sockets = true;
        }
    }

    /// Gives the guest descriptors that came with a message, as many as it has room for; and what the message's flags say of it.
    pub(super) fn take_descriptors(
        &mut self,
        descriptions: Vec<DescId>,
        room: usize,
        flags: MessageFlags,
    ) -> (Vec<i32>, MessageFlags) {
        let mut fds = Vec::new();
        let mut told = flags & MessageFlags::CMSG_CLOEXEC;
        let cloexec = !told.is_empty();
        for desc in descriptions {
            let fd = match fds.len() < room {
                true => self.install(desc, cloexec).ok(),
                false => None,
            };
            match fd {
                Some(fd) => fds.push(fd),
                None => told |= MessageFlags::CTRUNC,
            }
            if !flags.contains(MessageFlags::PEEK) {
                self.release(desc);
            }
        }
        (fds, told)
    }

    /// Whose descriptions go into a message: the real user's, who may have as many in flight as a process of theirs may have
    /// open.
    ///
    /// # Errors
    /// `ETOOMANYREFS`.
    pub(super) fn flier(&mut self, env: &dyn Env, descriptions: &[DescId]) -> Result<u32> {
        if descriptions.is_empty() {
            return Ok(0);
        }
        let (who, limit) = (env.process().credentials(), self.files.fds.limit() as usize);
        if self.sockets.most_in_flight > limit {
            // Messages that are taken do not lower it: it is counted anew.
            let (mut all, mut own) = (0, 0);
            for message in self.kinds.sockets.iter().flat_map(|(_, s)| &s.inbox) {
                all += message.descriptions.len();
                if message.user == who.user.real {
                    own += message.descriptions.len();
                }
            }
            self.sockets.most_in_flight = all;
            if own > limit && !who.has(cap::SYS_RESOURCE) && !who.has(cap::SYS_ADMIN) {
                return Err(Errno::ETOOMANYREFS);
            }
        }
        self.sockets.most_in_flight += descriptions.len();
        Ok(who.user.real)
    }

    /// Frees sockets that nobody can reach any more; called when a descriptor of a socket that is still referred to has been
    /// closed.
    pub(crate) fn collect_unreachable(&mut self) {
        let mut carried: BTreeMap<DescId, u32> = BTreeMap::new();
        for (_, socket) in self.kinds.sockets.iter() {
            for desc in socket.inbox.iter().flat_map(|m| &m.descriptions) {
                *carried.entry(*desc).or_default() += 1;
            }
        }
        self.sockets.sends_sockets = carried.keys().any(|desc| self.socket_of(*desc).is_ok());
        let in_flight = |id: DescId| {
            let desc = self.descriptions.get(id);
            desc.is_some_and(|d| d.holds == 0 && carried.get(&id) == Some(&d.refs))
        };
        let mut reached: BTreeSet<SocketId> = BTreeSet::new();
        let mut look: Vec<SocketId> = Vec::new();
        for (id, desc) in self.descriptions.iter() {
            if let Object::Socket(socket) = desc.object
                && !in_flight(id)
            {
                look.push(socket);
            }
        }
        while let Some(id) = look.pop() {
            if !reached.insert(id) {
                continue;
            }
            let Ok(socket) = self.socket(id) else {
                continue;
            };
            look.extend(socket.backlog.iter().copied());
            let descriptions = socket.inbox.iter().flat_map(|m| &m.descriptions);
            look.extend(descriptions.filter_map(|desc| self.socket_of(*desc).ok()));
        }
        let lost: Vec<SocketId> = carried
            .keys()
            .filter_map(|desc| self.socket_of(*desc).ok())
            .filter(|socket| !reached.contains(socket))
            .collect();
        let mut released = Vec::new();
        for id in lost {
            if let Ok(socket) = self.socket_mut(id) {
                for message in &mut socket.inbox {
                    released.append(&mut message.descriptions);
                }
            }
        }
        for desc in released {
            self.release(desc);
        }
    }
}
