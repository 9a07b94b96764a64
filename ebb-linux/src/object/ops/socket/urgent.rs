//! Urgent data within a UC: the last byte that is sent with `MSG_OOB` is marked. Readers hear of it (`POLLPRI`), may take it by
//! itself, and read up to the mark first; without `SO_OOBINLINE` the byte is not among the others.

use crate::object::{
    Objects,
    errno::{Errno, Result},
    id::DescId,
    io::{Sink, Source},
    kind::{
        Object,
        socket::{
            Message, Socket, SocketId, SocketKind, State, Urgent,
            address::{Address, Domain},
            option::{OOBINLINE, SOCKET},
        },
    },
    table::Owner,
    wait::Events,
};

/// Gives the bytes of another source and remembers the last one.
pub(super) struct Marking<'a> {
    source: &'a mut dyn Source,
    last: Option<u8>,
}

impl Source for Marking<'_> {
    fn remaining(&self) -> usize {
        self.source.remaining()
    }

    fn take(&mut self, buffer: &mut [u8]) -> usize {
        let n = self.source.take(buffer);
        if n > 0 {
            self.last = Some(buffer[n - 1]);
        }
        n
    }
}

impl Objects {
    /// Sends on a stream within the UC with the last byte marked.
    ///
    /// # Errors
    /// `EOPNOTSUPP` for a connection that leaves the UC, else those of sending.
    pub(super) fn send_urgent(
        &mut self,
        id: SocketId,
        source: &mut dyn Source,
        send: impl FnOnce(&mut Self, &mut dyn Source) -> Result<usize>,
    ) -> Result<usize> {
        let socket = self.socket(id)?;
        if socket.state == State::Connected && socket.net.is_some() {
            return Err(Errno::EOPNOTSUPP);
        }
        let (peer, wanted) = (socket.peer, source.remaining());
        let mut marking = Marking { source, last: None };
        let sent = send(self, &mut marking)?;
        let last = marking.last;
        if let (true, Some(byte), Some(peer)) = (sent == wanted, last, peer)
            && let Ok(peer) = self.socket_mut(peer)
        {
            let all: usize = peer.inbox.iter().map(Message::left).sum();
            // One byte is marked at a time; an older mark is forgotten, and its byte read with the others.
            peer.urgent = all.checked_sub(1).map(|ahead| Urgent {
                byte,
                ahead,
                taken: false,
            });
            let queue = peer.queue;
            self.hub.wake(queue, Events::PRI);
        }
        Ok(sent)
    }

    /// Who is told by `SIGURG` that a byte was marked for a socket's peer (`F_SETOWN`).
    pub fn urgent_owner(&self, desc: DescId) -> Owner {
        let peer = self.socket_of(desc).and_then(|id| self.socket(id));
        let Some(peer) = peer.ok().and_then(|socket| socket.peer) else {
            return Owner::Nobody;
        };
        let mut all = self.descriptions.iter();
        let found = all.find(|(_, d)| d.object == Object::Socket(peer));
        found.map_or(Owner::Nobody, |(_, d)| d.owner)
    }

    /// `recv` with `MSG_OOB`: the marked byte.
    ///
    /// # Errors
    /// `EINVAL` when there is none, it was taken already, or it is read with the others.
    pub(super) fn receive_urgent(
        &mut self,
        id: SocketId,
        sink: &mut dyn Sink,
        peek: bool,
    ) -> Result<usize> {
        let socket = self.socket_mut(id)?;
        let among = socket.options.flag(SOCKET, OOBINLINE);
        let urgent = socket.urgent.as_mut().filter(|u| !among && !u.taken);
        let urgent = urgent.ok_or(Errno::EINVAL)?;
        urgent.taken = !peek;
        Ok(sink.put(&[urgent.byte]))
    }

    /// Whether the next byte is the marked one (`SIOCATMARK`).
    ///
    /// # Errors
    /// `ENOTTY` for what is no socket.
    pub fn is_at_mark(&self, desc: DescId) -> Result<bool> {
        let socket = self.socket(self.socket_of(desc).map_err(|_| Errno::ENOTTY)?)?;
        Ok(socket.urgent.is_some_and(|u| u.ahead == 0))
    }
}

impl Socket {
    /// Whether a mark on what cannot be marked is no error of its own: datagrams of IPv6 go as they are, and packets of Unix
    /// sockets without a peer go nowhere.
    pub(super) fn ignores_mark(&self, to: Option<&Address>) -> bool {
        match (self.domain, self.kind, to) {
            (Domain::Inet6, _, Some(Address::Inet(to))) => to.ip().to_canonical().is_ipv6(),
            (Domain::Inet6, ..) => true,
            (Domain::Unix, SocketKind::SeqPacket, _) => self.state != State::Connected,
            _ => false,
        }
    }

    /// Whether a marked byte may be asked for.
    ///
    /// # Errors
    /// `EOPNOTSUPP`, `ENOTCONN`.
    pub(super) fn check_marked(&self) -> Result<()> {
        let connected = self.state == State::Connected;
        match (self.domain, self.kind) {
            (Domain::Unix, SocketKind::SeqPacket) if !connected => Err(Errno::ENOTCONN),
            (Domain::Unix, SocketKind::Stream) => Ok(()),
            (Domain::Unix | Domain::Netlink, _) => Err(Errno::EOPNOTSUPP),
            (_, SocketKind::Stream) if self.state == State::Listening => Err(Errno::ENOTCONN),
            _ => Ok(()),
        }
    }

    /// How many bytes may be read or seen now, and how many before them are left out: reading stops at the mark, and at the
    /// mark its byte is passed over, unless it is to be read with the others.
    pub(super) fn up_to_mark(&mut self, peek: bool) -> (usize, usize) {
        match self.urgent {
            None => (usize::MAX, 0),
            Some(urgent) if urgent.ahead > 0 => (urgent.ahead, 0),
            Some(_) => {
                let among = self.options.flag(SOCKET, OOBINLINE);
                if !peek {
                    self.urgent = None;
                }
                (usize::MAX, usize::from(!among))
            }
        }
    }

    /// Whether nothing is left to read but the marked byte, which is not read with the others.
    pub(super) fn is_at_last_mark(&self) -> bool {
        self.urgent.is_some_and(|u| u.ahead == 0)
            && !self.options.flag(SOCKET, OOBINLINE)
            && self.inbox.iter().map(Message::left).sum::<usize>() == 1
    }

    /// Bytes were read.
    pub(super) fn passed(&mut self, count: usize) {
        if let Some(urgent) = &mut self.urgent {
            urgent.ahead -= count.min(urgent.ahead);
        }
    }

    /// Whether there is a marked byte that was not taken.
    pub(super) fn is_urgent(&self) -> bool {
        self.urgent.is_some_and(|u| !u.taken)
    }
}
