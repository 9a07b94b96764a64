//! Sockets among sockets: pairs, names, connections, messages, and the network beyond the UC.

mod brief;
pub mod connect;
mod datagram;
mod device;
mod flight;
mod group;
mod listen;
pub mod message;
mod netlink;
pub mod option;
#[cfg(test)]
mod outside;
mod peek;
mod ports;
mod spread;
#[cfg(test)]
mod tests;
mod urgent;

use alloc::vec::Vec;

use self::message::MessageFlags;
use crate::object::{
    Objects,
    env::{Env, NetSocket},
    errno::{Errno, Result},
    flags::OpenFlags,
    id::{DescId, Fd},
    io::{Sink, Source},
    kind::{
        Object,
        socket::{
            Message, Owner, Socket, SocketId, SocketKind, State,
            address::{Address, Domain, Purpose},
            option::{IPV6, SOCKET, V6ONLY},
        },
    },
    wait::Events,
};

/// No protocol has this number or a higher one.
const IPPROTO_MAX: u32 = 263;
const ICMP: u32 = 1;
/// `SOCK_RAW` and `SO_TYPE`.
const SOCK_RAW: u32 = 3;
const SO_TYPE: u32 = 3;
const ICMP6: u32 = 58;

/// Why a socket is closed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Ended {
    /// Nobody has it any more.
    Closed,
    /// Its listener ended before it was accepted, and the peer hears of a reset.
    Unaccepted,
}

impl Objects {
    /// The family of a socket, for parsing the addresses that go with it.
    pub fn socket_domain(&self, desc: DescId) -> Result<Domain> {
        Ok(self.socket(self.socket_of(desc)?)?.domain)
    }

    /// The address of a call on a socket; `None`: the call takes no notice of it.
    ///
    /// # Errors
    /// As [`Address::for_call`].
    pub fn address_for(
        &self,
        desc: DescId,
        purpose: Purpose,
        bytes: &[u8],
    ) -> Result<Option<Address>> {
        let socket = self.socket(self.socket_of(desc)?)?;
        let only_v6 = socket.options.flag(IPV6, V6ONLY);
        Address::for_call(purpose, (socket.domain, socket.kind, only_v6), bytes)
    }

    pub(crate) fn socket(&self, id: SocketId) -> Result<&Socket> {
        self.kinds.sockets.get(id).ok_or(Errno::EBADF)
    }

    pub(crate) fn socket_mut(&mut self, id: SocketId) -> Result<&mut Socket> {
        self.kinds.sockets.get_mut(id).ok_or(Errno::EBADF)
    }

    /// The socket behind a description.
    ///
    /// # Errors
    /// `ENOTSOCK`, `EBADF`.
    pub(crate) fn socket_of(&self, desc: DescId) -> Result<SocketId> {
        match self.description(desc)?.object {
            Object::Socket(id) => Ok(id),
            Object::Path => Err(Errno::EBADF),
            _ => Err(Errno::ENOTSOCK),
        }
    }

    /// A socket without a description.
    ///
    /// # Errors
    /// `ENFILE` when the UC has as many as it may.
    pub(crate) fn new_socket(&mut self, domain: Domain, kind: SocketKind) -> Result<SocketId> {
        if self.kinds.sockets.len() >= self.limits.sockets {
            return Err(Errno::ENFILE);
        }
        let socket = Socket::new(&mut self.hub, domain, kind);
        Ok(self.kinds.sockets.insert(socket))
    }

    fn parse_kind(domain: u32, kind: u32, protocol: u32) -> Result<(Domain, SocketKind)> {
        let number = kind & 0xf;
        if number >= 11 {
            return Err(Errno::EINVAL);
        }
        let domain = match domain {
            1 => Domain::Unix,
            2 => Domain::Inet,
            10 => Domain::Inet6,
            16 => Domain::Netlink,
            _ => return Err(Errno::EAFNOSUPPORT),
        };
        if domain == Domain::Unix {
            if protocol > 1 {
                return Err(Errno::EPROTONOSUPPORT);
            }
            return match number {
                1 => Ok((domain, SocketKind::Stream)),
                2 | 3 => Ok((domain, SocketKind::Datagram)),
                5 => Ok((domain, SocketKind::SeqPacket)),
                _ => Err(Errno::ESOCKTNOSUPPORT),
            };
        }
        if domain == Domain::Netlink {
            return match (number, protocol) {
                (2 | 3, 0) => Ok((domain, SocketKind::Datagram)),
                (2 | 3, _) => Err(Errno::EPROTONOSUPPORT),
                _ => Err(Errno::ESOCKTNOSUPPORT),
            };
        }
        if protocol >= IPPROTO_MAX {
            return Err(Errno::EINVAL);
        }
        match (number, protocol) {
            // As long as `ping_group_range` names nobody.
            (2, ICMP) if domain == Domain::Inet => Err(Errno::EACCES),
            (2, ICMP6) if domain == Domain::Inet6 => Err(Errno::EACCES),
            (1, 0 | 6) => Ok((domain, SocketKind::Stream)),
            (2, 0 | 17) => Ok((domain, SocketKind::Datagram)),
            (1..=3, _) => Err(Errno::EPROTONOSUPPORT),
            _ => Err(Errno::ESOCKTNOSUPPORT),
        }
    }

    /// Whether there can be sockets of that type with those flags, whatever the domain.
    ///
    /// # Errors
    /// `EINVAL`.
    pub fn check_type(kind: u32) -> Result<()> {
        Self::socket_flags(kind).map(|_| ())
    }

    fn socket_flags(kind: u32) -> Result<OpenFlags> {
        let flags = OpenFlags::from_bits_retain(kind & !0xf);
        match (OpenFlags::NONBLOCK | OpenFlags::CLOEXEC).contains(flags) {
            true => Ok(flags | OpenFlags::RDWR),
            false => Err(Errno::EINVAL),
        }
    }

    /// `socket`. `kind` may hold `SOCK_NONBLOCK` and `SOCK_CLOEXEC`.
    ///
    /// # Errors
    /// `EAFNOSUPPORT`, `ESOCKTNOSUPPORT`, `EPROTONOSUPPORT`, `EINVAL`, `EMFILE`, `ENFILE`.
    pub fn socket_create(&mut self, domain: u32, kind: u32, protocol: u32) -> Result<Fd> {
        let flags = Self::socket_flags(kind)?;
        let number = kind & 0xf;
        let (domain, kind) = Self::parse_kind(domain, kind, protocol)?;
        let id = self.new_socket(domain, kind)?;
        if (domain, number) == (Domain::Netlink, SOCK_RAW) {
            let values = &mut self.socket_mut(id)?.options.values;
            values.insert((SOCKET, SO_TYPE), number as i32);
        }
        self.open_object(Object::Socket(id), flags, None)
    }

    /// `socketpair`: two connected Unix sockets.
    pub fn socketpair(&mut self, domain: u32, kind: u32, protocol: u32) -> Result<(Fd, Fd)> {
        let flags = Self::socket_flags(kind)?;
        let (domain, kind) = Self::parse_kind(domain, kind, protocol)?;
        if domain != Domain::Unix {
            return Err(Errno::EOPNOTSUPP);
        }
        let a = self.new_socket(domain, kind)?;
        let b = match self.new_socket(domain, kind) {
            Ok(b) => b,
            Err(errno) => {
                self.close_socket(a);
                return Err(errno);
            }
        };
        self.pair(a, b);
        let first = match self.open_object(Object::Socket(a), flags, None) {
            Ok(fd) => fd,
            Err(errno) => {
                self.close_socket(b);
                return Err(errno);
            }
        };
        match self.open_object(Object::Socket(b), flags, None) {
            Ok(second) => Ok((first, second)),
            Err(errno) => {
                self.close(first)?;
                Err(errno)
            }
        }
    }

    /// Notes that the caller has made a socket, and both ends of a pair.
    pub fn own_socket(&mut self, env: &dyn Env, fd: Fd) -> Result<()> {
        let id = self.socket_of(self.files.fds.get(fd)?)?;
        let owner = Owner::caller(env);
        let socket = self.socket_mut(id)?;
        if socket.peer.is_some() {
            socket.peer_owner = Some(owner.clone());
        }
        socket.owner = Some(owner);
        Ok(())
    }

    /// Makes two sockets each other's peer.
    pub(crate) fn pair(&mut self, a: SocketId, b: SocketId) {
        for (this, other) in [(a, b), (b, a)] {
            if let Ok(socket) = self.socket_mut(this) {
                socket.peer = Some(other);
                socket.state = State::Connected;
            }
        }
    }

    /// Closes a socket; gives the descriptions that were in flight to it, which the caller must
    /// release.
    pub(crate) fn close_socket(&mut self, id: SocketId) -> Vec<DescId> {
        self.close_sockets(Vec::from([(id, Ended::Closed)]))
    }

    fn close_sockets(&mut self, mut dead: Vec<(SocketId, Ended)>) -> Vec<DescId> {
        let mut in_flight = Vec::new();
        while let Some((id, ended)) = dead.pop() {
            let Some(socket) = self.kinds.sockets.remove(id) else {
                continue;
            };
            self.sockets.bytes = self.sockets.bytes.saturating_sub(socket.inbox_cost);
            if let Some(node) = socket.node {
                self.set_socket_node(node, None);
                self.fs.close_node(node);
            }
            if let Address::Abstract(name) = &socket.local {
                let key = (socket.kind.number(), name.clone());
                if self.sockets.abstracts.get(&key) == Some(&id) {
                    self.sockets.abstracts.remove(&key);
                }
            }
            self.sockets.ports.release(id, &socket);
            // With a time of zero `SO_LINGER` gives up what was not delivered and resets the peer.
            let (lingers, seconds) = socket.options.linger;
            let aborts = ended == Ended::Unaccepted
                || lingers != 0 && seconds == 0 && socket.kind == SocketKind::Stream;
            if let Some(net) = socket.net
                && self.leave_net(id, net)
            {
                match aborts && socket.state == State::Connected {
                    true => self.sockets.net_aborted.push(net),
                    false => self.sockets.net_closed.push(net),
                }
                if lingers != 0 && seconds != 0 && socket.state == State::Connected {
                    self.sockets.net_lingers = Some((net, seconds as u32));
                }
            }
            if let Some(peer) = socket.peer.filter(|_| socket.state == State::Connected) {
                // An empty message at the front is not missed.
                let skipped = socket.inbox.front().is_some_and(Message::is_used_up);
                let unread = socket.inbox.len() > usize::from(skipped);
                let inet = socket.domain != Domain::Unix;
                let missed = unread || ended == Ended::Unaccepted;
                self.peer_closed(id, peer, missed, aborts && inet);
            }
            in_flight.extend(
                socket
                    .inbox
                    .iter()
                    .flat_map(|m| m.descriptions.iter().copied()),
            );
            // Connections nobody accepted end with the listener.
            dead.extend(socket.backlog.iter().map(|&id| (id, Ended::Unaccepted)));
            self.wake_sockets(socket.waiting);
            self.hub.remove_queue(socket.queue);
        }
        in_flight
    }

    /// What the end of `gone` means to its peer.
    fn peer_closed(&mut self, gone: SocketId, peer: SocketId, unread: bool, aborted: bool) {
        let Ok(socket) = self.socket_mut(peer) else {
            return;
        };
        if socket.peer != Some(gone) {
            return;
        }
        // Both have said their last word: of a TCP connection nothing is left that could be reset.
        let over = socket.no_read && socket.no_write;
        let stream = socket.kind != SocketKind::Datagram;
        match (socket.domain, stream) {
            (Domain::Unix, true) => {
                (socket.no_read, socket.no_write) = (true, true);
                if unread {
                    socket.error = Some(Errno::ECONNRESET);
                }
            }
            // Learns of it when it sends.
            (Domain::Unix, false) => {}
            (_, true) => {
                socket.no_read = true;
                socket.peer_closed = true;
                if (unread || aborted) && !over {
                    socket.error = Some(Errno::ECONNRESET);
                    socket.no_write = true;
                }
            }
            (_, false) => return,
        }
        if let Ok(socket) = self.socket(peer) {
            let queue = socket.queue;
            self.hub.wake(queue, Events::all());
        }
    }

    /// Wakes sockets that waited for room.
    pub(crate) fn wake_sockets(&mut self, waiting: Vec<SocketId>) {
        for id in waiting {
            if let Ok(socket) = self.socket(id) {
                let queue = socket.queue;
                self.hub.wake(queue, Events::WRITE);
            }
        }
    }

    pub(crate) fn read_socket(
        &mut self,
        env: &dyn Env,
        desc: DescId,
        sink: &mut dyn Sink,
    ) -> Result<usize> {
        // As in System V: reading nothing is not receiving.
        if sink.remaining() == 0 {
            return Ok(0);
        }
        self.receive(env, desc, sink, 0, MessageFlags::empty())
            .map(|r| r.len)
    }

    pub(crate) fn write_socket(
        &mut self,
        env: &dyn Env,
        desc: DescId,
        source: &mut dyn Source,
    ) -> Result<usize> {
        self.send(env, desc, source, None, &[], MessageFlags::empty())
    }

    pub(crate) fn poll_socket(&mut self, env: &dyn Env, id: SocketId) -> Events {
        self.settle_connect(env, id);
        let Ok(socket) = self.socket(id) else {
            return Events::NVAL;
        };
        let mut events = Events::empty();
        let net = match (socket.net, env.network()) {
            (Some(net), Some(network)) => network.readiness(net),
            _ => Events::empty(),
        };
        events.set(
            Events::ERR,
            socket.error.is_some() || !socket.reports.is_empty(),
        );
        match socket.state {
            State::Listening => {
                let waits = match self.listens_with_others(id) {
                    Some(net) => {
                        self.spread(env, net, id);
                        false
                    }
                    None => net.intersects(Events::READ),
                };
                if let Ok(socket) = self.socket(id) {
                    // A Unix listener keeps its queue when it is shut down.
                    let (no_read, here) = (socket.no_read, !socket.backlog.is_empty());
                    events.set(Events::READ, here || waits || no_read);
                    events.set(Events::RDHUP, no_read);
                    events.set(Events::HUP, no_read && socket.no_write);
                }
                return events;
            }
            State::Connecting => return events,
            _ => {}
        }
        let connected = socket.state == State::Connected;
        let readable = match socket.options.more_wanted {
            more if more > 0
                && socket.kind == SocketKind::Stream
                && socket.domain != Domain::Unix =>
            {
                let outside = socket.net.zip(env.network());
                let outside = outside.map_or(0, |(net, network)| network.queued(net).1);
                let here: usize = socket.inbox.iter().map(Message::left).sum();
                here + outside > more
            }
            _ => {
                // A Unix stream says so of a marked byte also.
                let unix = socket.domain == Domain::Unix;
                let here = !socket.inbox.is_empty() && (unix || !socket.is_at_last_mark());
                here || net.intersects(Events::READ)
            }
        };
        let no_read = socket.no_read || net.intersects(Events::RDHUP);
        events.set(Events::READ, readable || no_read);
        events.set(Events::RDHUP, no_read);
        let stream = socket.kind != SocketKind::Datagram;
        let hung_up = no_read && socket.no_write || net.intersects(Events::HUP);
        events.set(Events::HUP, hung_up || stream && !connected);
        events |= net & Events::ERR;
        events.set(Events::PRI, socket.is_urgent());
        let writable = match (socket.net, stream) {
            (Some(_), true) if connected => net.intersects(Events::OUT) || socket.no_write,
            _ => self.has_room(socket),
        };
        events.set(Events::WRITE | Events::WRBAND, writable);
        if socket.domain != Domain::Unix && stream {
            events.remove(Events::WRBAND);
        }
        events
    }

    /// The stack below has news of one of its sockets.
    pub fn network_event(&mut self, net: NetSocket) {
        let first = self.sockets.net.get(&net).copied();
        let others = self.sockets.groups.get(&net).cloned().unwrap_or_default();
        for id in first.into_iter().chain(others) {
            if let Ok(socket) = self.socket(id) {
                let queue = socket.queue;
                self.hub.wake(queue, Events::all());
            }
        }
    }

    /// Sockets of the stack below that the guest has closed: whoever runs the stack closes them.
    /// Every operation that has a network does so by itself.
    pub fn take_closed_network(&mut self) -> Vec<NetSocket> {
        self.sockets.net_lingers = None;
        core::mem::take(&mut self.sockets.net_closed)
    }

    /// How many sockets of the stack below are to be closed.
    pub fn closed_network(&self) -> usize {
        self.sockets.net_closed.len()
    }

    /// The connection of a socket that was closed after `before` others, if its end is to be waited for: it is not closed then
    /// before [`close_network`](Self::close_network) says so. With it the most seconds to wait.
    pub fn take_lingering(&mut self, before: usize) -> Option<(NetSocket, u32)> {
        let (net, seconds) = self.sockets.net_lingers?;
        let closed = &mut self.sockets.net_closed;
        let at = closed.iter().skip(before).position(|c| *c == net)?;
        closed.remove(before + at);
        self.sockets.net_lingers = None;
        Some((net, seconds))
    }

    /// A connection of the stack below is to be closed.
    pub fn close_network(&mut self, net: NetSocket) {
        self.sockets.net_closed.push(net);
    }

    /// Whether the guest has closed sockets of the stack below, which
    /// [`take_closed_network`](Self::take_closed_network) gives.
    pub fn has_closed_network(&self) -> bool {
        self.sockets.net_closed.len() | self.sockets.net_aborted.len() != 0
    }

    /// Closes what the guest has closed.
    pub(crate) fn sweep_network(&mut self, env: &dyn Env) {
        if self.has_closed_network()
            && let Some(network) = env.network()
        {
            for net in core::mem::take(&mut self.sockets.net_aborted) {
                network.abort(net);
            }
            for net in self.take_closed_network() {
                network.close(net);
            }
        }
    }

    /// Makes the sockets of a clone its own: connections over the network end with `ECONNRESET`,
    /// listeners and bound UDP sockets are opened again in the clone's network (or serve loopback
    /// only if that fails). Everything within the UC stays as it was.
    pub fn reset_connections(&mut self, env: &dyn Env) {
        self.sockets.net_closed.clear();
        self.sockets.net_lingers = None;
        self.sockets.net_aborted.clear();
        self.sockets.net.clear();
        self.sockets.groups.clear();
        // All of them first: what listens again looks for others that do.
        let all = self.kinds.sockets.iter_mut();
        let ids: Vec<SocketId> = all
            .filter_map(|(id, socket)| socket.net.take().map(|_| id))
            .collect();
        for id in ids {
            let Ok(socket) = self.socket_mut(id) else {
                continue;
            };
            let queue = socket.queue;
            let (state, kind, backlog) = (socket.state, socket.kind, socket.backlog_max);
            match (state, kind) {
                (State::Listening, _) => {
                    let _ = self.listen_outside(env, id, backlog);
                }
                (_, SocketKind::Datagram) => {
                    let _ = self.bind_outside(env, id);
                }
                _ => {
                    socket.error = Some(Errno::ECONNRESET);
                    (socket.no_read, socket.no_write) = (true, true);
                    socket.state = State::Connected;
                }
            }
            self.hub.wake(queue, Events::all());
        }
    }
}
