//! Sending and receiving: streams, datagrams, and descriptors that travel with them.

use alloc::{vec, vec::Vec};
use core::net::IpAddr;

use bitflags::bitflags;

use crate::object::{
    Objects,
    env::{Carried, Env, Report},
    errno::{Errno, Result},
    id::{DescId, Fd},
    io::{Discard, Sink, Source},
    kind::socket::{
        Message, OVERHEAD, Sender, Socket, SocketId, SocketKind, State,
        address::{Address, Domain},
    },
    wait::Events,
};

/// How long small pieces of a stream are put together.
const MERGE: usize = 16 << 10;
/// The largest piece of a stream.
const PIECE: usize = 64 << 10;
/// How many messages wait at a Unix datagram socket (Linux' `max_dgram_qlen`, and one).
const MAX_QUEUE: usize = 11;
/// The most descriptors that one message carries (`SCM_MAX_FD`).
pub const MAX_DESCRIPTORS: usize = 253;

bitflags! {
    /// `MSG_*`.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
    pub struct MessageFlags: u32 {
        /// The marked byte of a stream.
        const OOB = 0x1;
        /// Look, do not take.
        const PEEK = 0x2;
        /// Ancillary data did not fit (result).
        const CTRUNC = 0x8;
        /// The datagram did not fit (result), or: give its real length (argument).
        const TRUNC = 0x20;
        /// Do not block, this once.
        const DONTWAIT = 0x40;
        /// Nothing is sent: what is asked for is the way.
        const PROBE = 0x10;
        /// The end of a record.
        const EOR = 0x80;
        /// Wait for all (the caller repeats).
        const WAITALL = 0x100;
        /// The queue of answers to what was not delivered, which never makes wait.
        const ERRQUEUE = 0x2000;
        /// No SIGPIPE.
        const NOSIGNAL = 0x4000;
        /// More of the same datagram or segment follows.
        const MORE = 0x8000;
        /// Connect with the first bytes.
        const FASTOPEN = 0x2000_0000;
        /// Received descriptors are closed at `execve`.
        const CMSG_CLOEXEC = 0x4000_0000;

        const _ = !0;
    }
}

/// What `recvmsg` gives.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Received {
    /// How many bytes; with [`MessageFlags::TRUNC`] asked for, how long the datagram was.
    pub len: usize,
    /// From whom, for datagrams.
    pub from: Address,
    /// Descriptors that came with it, already in the table.
    pub fds: Vec<Fd>,
    /// `TRUNC`, `CTRUNC` and `ERRQUEUE`.
    pub flags: MessageFlags,
    /// What came with a datagram.
    pub carried: Option<Carried>,
    /// The process that sent it, if it is known.
    pub sender: Option<Sender>,
    /// From the queue of answers: to what was not delivered.
    pub report: Option<Report>,
}

/// What a datagram is sent with beside its bytes (ancillary data).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ancillary {
    /// The address to send from, if it is one.
    pub source: Option<IpAddr>,
    /// TTL, hop limit.
    pub hop_limit: Option<u8>,
    /// Type of service, traffic class.
    pub traffic_class: Option<u8>,
    /// Who sends it, as the sender says.
    pub sender: Option<Sender>,
    /// How long the datagrams are into which it is cut (`UDP_SEGMENT`).
    pub segment: Option<u16>,
}

/// What lies beside the bytes of a message in an inbox.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Beside {
    pub(super) carried: Option<Carried>,
    pub(super) sender: Option<Sender>,
    /// The real user whose descriptions go along.
    pub(super) user: u32,
}

/// How many bytes, from whom, descriptors, flags, and what came with a datagram.
type Taken = (usize, Address, Vec<DescId>, MessageFlags, Beside);

impl Objects {
    /// Room in the inbox that a socket sends to.
    pub(super) fn has_room(&self, socket: &Socket) -> bool {
        let Some(peer) = socket.peer.and_then(|p| self.socket(p).ok()) else {
            return true;
        };
        match socket.kind {
            SocketKind::Datagram => peer.inbox.len() < MAX_QUEUE || peer.peer.is_some(),
            _ => socket.no_write || peer.inbox_cost * 4 <= self.capacity(socket, peer),
        }
    }

    fn capacity(&self, from: &Socket, to: &Socket) -> usize {
        match from.domain {
            Domain::Unix => from.options.send_buffer(),
            _ => from.options.send_buffer() + to.options.receive_buffer(),
        }
    }

    /// Puts a message (or for streams as much as there is room for) into an inbox.
    pub(crate) fn deliver(
        &mut self,
        to: SocketId,
        limit: usize,
        from: Address,
        descriptions: Vec<DescId>,
        source: &mut dyn Source,
    ) -> Result<usize> {
        self.deliver_with(to, limit, from, descriptions, Beside::default(), source)
    }

    /// As [`deliver`](Self::deliver), with what comes with a datagram.
    pub(super) fn deliver_with(
        &mut self,
        to: SocketId,
        limit: usize,
        from: Address,
        descriptions: Vec<DescId>,
        beside: Beside,
        source: &mut dyn Source,
    ) -> Result<usize> {
        let left = self.limits.socket_bytes.saturating_sub(self.sockets.bytes);
        let socket = self.kinds.sockets.get_mut(to).ok_or(Errno::ECONNREFUSED)?;
        let stream = socket.kind == SocketKind::Stream;
        let room = limit.saturating_sub(socket.inbox_cost).min(left);
        let mut want = source.remaining();
        if stream {
            want = want.min(room.saturating_sub(OVERHEAD)).min(PIECE);
            if want == 0 {
                return Err(Errno::EAGAIN);
            }
        } else if want + OVERHEAD > room && !(socket.inbox.is_empty() && want + OVERHEAD <= left) {
            return Err(Errno::EAGAIN);
        }
        let merged = match socket.inbox.back_mut() {
            Some(last)
                if stream
                    && descriptions.is_empty()
                    && last.descriptions.is_empty()
                    && last.sender == beside.sender
                    && last.bytes.len() + want <= MERGE =>
            {
                let end = last.bytes.len();
                last.bytes.resize(end + want, 0);
                let n = source.take(&mut last.bytes[end..]);
                if n < want {
                    last.bytes.truncate(end);
                    return Err(Errno::EFAULT);
                }
                Some((n, n))
            }
            _ => None,
        };
        let (n, cost) = match merged {
            Some(merged) => merged,
            None => {
                let mut bytes = vec![0; want];
                let n = source.take(&mut bytes);
                if n < want {
                    return Err(Errno::EFAULT);
                }
                let message = Message {
                    bytes,
                    start: 0,
                    from,
                    descriptions,
                    user: beside.user,
                    carried: beside.carried,
                    sender: beside.sender,
                    was_seen: false,
                };
                let cost = message.cost();
                socket.inbox.push_back(message);
                (n, cost)
            }
        };
        socket.inbox_cost += cost;
        let queue = socket.queue;
        self.sockets.bytes += cost;
        self.hub.wake(queue, Events::READ);
        Ok(n)
    }

    /// `sendto` and `sendmsg`. Streams may take a part only; the caller goes on.
    ///
    /// # Errors
    /// Those of send(2); `EAGAIN` when there is no room.
    pub fn send(
        &mut self,
        env: &dyn Env,
        desc: DescId,
        source: &mut dyn Source,
        to: Option<Address>,
        fds: &[Fd],
        flags: MessageFlags,
    ) -> Result<usize> {
        self.send_with(env, desc, source, to, fds, flags, Ancillary::default())
    }

    /// As [`send`](Self::send), with ancillary data beside the descriptors.
    ///
    /// # Errors
    /// As there.
    #[allow(clippy::too_many_arguments)]
    pub fn send_with(
        &mut self,
        env: &dyn Env,
        desc: DescId,
        source: &mut dyn Source,
        to: Option<Address>,
        fds: &[Fd],
        flags: MessageFlags,
        ancillary: Ancillary,
    ) -> Result<usize> {
        let id = self.socket_of(desc)?;
        self.settle_connect(env, id);
        let socket = self.socket(id)?;
        let (domain, kind, state) = (socket.domain, socket.kind, socket.state);
        let stream = kind == SocketKind::Stream;
        let urgent = flags.contains(MessageFlags::OOB);
        if flags.contains(MessageFlags::FASTOPEN) && domain != Domain::Unix && stream {
            // As where `tcp_fastopen` is 0.
            return Err(match state {
                State::Idle => Errno::EOPNOTSUPP,
                _ => Errno::EISCONN,
            });
        }
        // A stream within the machine has no byte to mark in nothing.
        let markable = stream && (domain != Domain::Unix || source.remaining() > 0);
        if urgent && !markable && !socket.ignores_mark(to.as_ref()) {
            return Err(Errno::EOPNOTSUPP);
        }
        if !fds.is_empty() && domain != Domain::Unix {
            return Err(Errno::EINVAL);
        }
        if fds.len() > MAX_DESCRIPTORS {
            return Err(Errno::EINVAL);
        }
        let mut descriptions = Vec::with_capacity(fds.len());
        for &fd in fds {
            descriptions.push(self.files.fds.get(fd)?);
        }
        for &desc in &descriptions {
            self.retain(desc);
            self.note_flight(desc);
        }
        let sent = match (domain, kind) {
            (Domain::Unix, SocketKind::Datagram) => {
                self.send_unix_datagram(env, id, source, to, descriptions.clone(), ancillary.sender)
            }
            (Domain::Unix, _) => {
                let (fds, sender) = (descriptions.clone(), ancillary.sender);
                match urgent {
                    true => self.send_urgent(id, source, |o, source| {
                        o.send_unix(env, id, source, to, fds, sender)
                    }),
                    false => self.send_unix(env, id, source, to, fds, sender),
                }
            }
            (Domain::Netlink, _) => self.send_netlink(env, id, source, to),
            (_, SocketKind::Datagram) => self.send_datagram(env, id, source, to, flags, ancillary),
            _ if urgent => self.send_urgent(id, source, |o, source| o.send_tcp(env, id, source)),
            _ => self.send_tcp(env, id, source),
        };
        // No bytes make no message in a stream: what was to go with them goes nowhere.
        if sent.is_err() || kind == SocketKind::Stream && sent == Ok(0) {
            for desc in descriptions {
                self.release(desc);
            }
        }
        sent
    }

    /// The process that a message names as its sender: the one that was given, or the caller if either side wants to know
    /// or the other is not accepted yet.
    fn sender(
        &self,
        env: &dyn Env,
        from: SocketId,
        to: SocketId,
        given: Option<Sender>,
    ) -> Option<Sender> {
        if given.is_some() {
            return given;
        }
        let (from, to) = (self.socket(from).ok()?, self.socket(to).ok()?);
        let wanted = from.options.passes_credentials || to.options.passes_credentials;
        (wanted || to.owner.is_none()).then(|| Sender::caller(env))
    }

    fn send_unix(
        &mut self,
        env: &dyn Env,
        id: SocketId,
        source: &mut dyn Source,
        to: Option<Address>,
        descriptions: Vec<DescId>,
        sender: Option<Sender>,
    ) -> Result<usize> {
        let socket = self.socket_mut(id)?;
        let connected = socket.state == State::Connected;
        if to.is_some() && socket.kind == SocketKind::Stream {
            return Err(if connected {
                Errno::EISCONN
            } else {
                Errno::EOPNOTSUPP
            });
        }
        let packet = socket.kind == SocketKind::SeqPacket;
        if packet && let Some(errno) = socket.error.take() {
            return Err(errno);
        }
        if !connected {
            return Err(Errno::ENOTCONN);
        }
        if socket.no_write {
            return Err(Errno::EPIPE);
        }
        if let Some(errno) = socket.error.take() {
            return Err(errno);
        }
        let (kind, peer) = (socket.kind, socket.peer.ok_or(Errno::EPIPE)?);
        if source.remaining() == 0 && kind == SocketKind::Stream {
            return Ok(0);
        }
        let own = self.socket(id)?;
        let Ok(receiver) = self.socket(peer) else {
            return Err(Errno::EPIPE);
        };
        if receiver.no_read {
            return Err(Errno::EPIPE);
        }
        let limit = self.capacity(own, receiver);
        if kind == SocketKind::SeqPacket && source.remaining() > limit {
            return Err(Errno::EMSGSIZE);
        }
        let sender = self.sender(env, id, peer, sender);
        let beside = Beside {
            sender,
            user: self.flier(env, &descriptions)?,
            ..Beside::default()
        };
        self.deliver_with(peer, limit, Address::Unnamed, descriptions, beside, source)
    }

    fn send_unix_datagram(
        &mut self,
        env: &dyn Env,
        id: SocketId,
        source: &mut dyn Source,
        to: Option<Address>,
        descriptions: Vec<DescId>,
        sender: Option<Sender>,
    ) -> Result<usize> {
        let socket = self.socket_mut(id)?;
        if let Some(errno) = socket.error.take() {
            return Err(errno);
        }
        if socket.no_write {
            return Err(Errno::EPIPE);
        }
        let (from, connected, limit) = (
            socket.local.clone(),
            socket.peer,
            socket.options.send_buffer(),
        );
        let target = match to {
            Some(to) => self.find_unix(env, SocketKind::Datagram, &to)?,
            None => connected.ok_or(Errno::ENOTCONN)?,
        };
        if source.remaining() > limit {
            return Err(Errno::EMSGSIZE);
        }
        let Ok(receiver) = self.socket_mut(target) else {
            // The connected peer has gone, and with the connection go its messages.
            let socket = self.socket_mut(id)?;
            (socket.peer, socket.state) = (None, State::Idle);
            let lost = core::mem::take(&mut socket.inbox);
            let cost = socket.inbox_cost;
            self.pay_back(id, cost);
            for desc in lost.into_iter().flat_map(|m| m.descriptions) {
                self.release(desc);
            }
            return Err(Errno::ECONNREFUSED);
        };
        if receiver.no_read {
            return Err(Errno::EPIPE);
        }
        if receiver.peer.is_some_and(|p| p != id) {
            return Err(Errno::EPERM);
        }
        if receiver.inbox.len() >= MAX_QUEUE && receiver.peer != Some(id) {
            if !receiver.waiting.contains(&id) {
                receiver.waiting.push(id);
            }
            return Err(Errno::EAGAIN);
        }
        let beside = Beside {
            sender: self.sender(env, id, target, sender),
            user: self.flier(env, &descriptions)?,
            ..Beside::default()
        };
        let sent = self.deliver_with(target, limit, from, descriptions, beside, source);
        if sent == Err(Errno::EAGAIN)
            && let Ok(receiver) = self.socket_mut(target)
            && !receiver.waiting.contains(&id)
        {
            receiver.waiting.push(id);
        }
        sent
    }

    fn send_tcp(&mut self, env: &dyn Env, id: SocketId, source: &mut dyn Source) -> Result<usize> {
        let socket = self.socket_mut(id)?;
        if let Some(errno) = socket.error.take() {
            return Err(errno);
        }
        match socket.state {
            State::Connecting => return Err(Errno::EAGAIN),
            State::Connected if !socket.no_write => {}
            _ => return Err(Errno::EPIPE),
        }
        if source.remaining() == 0 {
            return Ok(0);
        }
        if let Some(net) = socket.net {
            let network = env.network().ok_or(Errno::ENETDOWN)?;
            let mut bytes = vec![0; source.remaining().min(PIECE)];
            let n = source.take(&mut bytes);
            return if n < bytes.len() {
                Err(Errno::EFAULT)
            } else {
                let sent = network.send(net, &bytes[..n]);
                if sent.is_err_and(|errno| errno != Errno::EAGAIN) {
                    // It is told once.
                    network.take_error(net);
                }
                sent
            };
        }
        let peer = socket.peer.ok_or(Errno::EPIPE)?;
        if socket.peer_closed {
            // The bytes leave; what comes back is a reset.
            let n = source.remaining().min(PIECE);
            if source.take(&mut [0; 1]) == 0 {
                return Err(Errno::EFAULT);
            }
            (socket.no_write, socket.error) = (true, Some(Errno::EPIPE));
            let queue = socket.queue;
            self.hub.wake(queue, Events::all());
            return Ok(n);
        }
        let (sender, receiver) = (self.socket(id)?, self.socket(peer)?);
        let limit = self.capacity(sender, receiver);
        self.deliver(peer, limit, Address::Unnamed, Vec::new(), source)
    }

    /// `recvfrom` and `recvmsg`. At most `max_fds` descriptors are given to the guest; the rest
    /// are closed and `CTRUNC` says so.
    ///
    /// # Errors
    /// Those of recv(2); `EAGAIN` when nothing is there.
    pub fn receive(
        &mut self,
        env: &dyn Env,
        desc: DescId,
        sink: &mut dyn Sink,
        max_fds: usize,
        flags: MessageFlags,
    ) -> Result<Received> {
        let id = self.socket_of(desc)?;
        self.settle_connect(env, id);
        let peek = flags.contains(MessageFlags::PEEK);
        let socket = self.socket(id)?;
        let (unix, stream) = (
            socket.domain == Domain::Unix,
            socket.kind == SocketKind::Stream,
        );
        if flags.contains(MessageFlags::OOB) {
            socket.check_marked()?;
        }
        if flags.contains(MessageFlags::OOB) && stream {
            return Ok(Received {
                len: self.receive_urgent(id, sink, peek)?,
                flags: MessageFlags::OOB,
                ..Received::default()
            });
        }
        if flags.contains(MessageFlags::ERRQUEUE) && !unix {
            return self.receive_report(env, id, sink);
        }
        let mut nowhere = Discard(sink.remaining());
        let sink = match flags.contains(MessageFlags::TRUNC) && stream && !unix {
            // Of a TCP stream it means: away with them.
            true => &mut nowhere,
            false => sink,
        };
        let impatient = !self.may_block(desc) || flags.contains(MessageFlags::DONTWAIT);
        let socket = self.socket_mut(id)?;
        let datagram = socket.kind == SocketKind::Datagram;
        match (socket.domain, socket.kind, socket.state) {
            (_, _, State::Connected) | (_, SocketKind::Datagram, _) => {}
            (_, _, State::Connecting) => return Err(Errno::EAGAIN),
            (Domain::Unix, SocketKind::Stream, _) => return Err(Errno::EINVAL),
            _ if socket.error.is_some() => {}
            (Domain::Inet | Domain::Inet6, ..) if socket.no_read => {
                return Ok(Received::default());
            }
            _ => return Err(Errno::ENOTCONN),
        }
        // A stream that its peer had ended before it was reset stays at its end: what is told of that is for who writes.
        let ended = socket.kind == SocketKind::Stream && socket.error == Some(Errno::EPIPE);
        if ended && socket.inbox.is_empty() {
            return Ok(Received::default());
        }
        // Messages come after an error, streams before it.
        if (socket.inbox.is_empty() || socket.kind != SocketKind::Stream)
            && let Some(errno) = socket.error.take()
        {
            return Err(errno);
        }
        let at_last_mark = socket.is_at_last_mark();
        if at_last_mark && !peek {
            socket.urgent = None;
            let passed = socket.inbox.drain(..).map(|m| m.cost()).sum();
            self.pay_back(id, passed);
        }
        let socket = self.socket(id)?;
        if socket.inbox.is_empty() || at_last_mark {
            if let Some(net) = socket.net {
                let flags = match impatient {
                    true => flags | MessageFlags::DONTWAIT,
                    false => flags,
                };
                let received = self.receive_outside(env, id, net, sink, flags)?;
                self.stamp(env, id);
                return Ok(received);
            }
            // A datagram socket that is shut down ends a wait, but a look finds nothing.
            if socket.no_read && !(datagram && impatient) {
                return Ok(Received::default());
            }
            return Err(Errno::EAGAIN);
        }
        let received = match socket.kind {
            SocketKind::Stream => self.take_stream(id, sink, flags)?,
            _ => self.take_message(id, sink, flags)?,
        };
        self.stamp(env, id);
        let (len, from, descriptions, mut result_flags, beside) = received;
        let (fds, told) = self.take_descriptors(descriptions, max_fds, flags);
        result_flags |= told;
        let socket = self.socket_mut(id)?;
        let (peer, waiting) = (socket.peer, core::mem::take(&mut socket.waiting));
        if let Some(peer) = peer
            && let Ok(peer) = self.socket(peer)
        {
            let queue = peer.queue;
            self.hub.wake(queue, Events::WRITE | Events::WRBAND);
        }
        self.wake_sockets(waiting);
        Ok(Received {
            len,
            from,
            fds,
            flags: result_flags,
            carried: beside.carried,
            sender: beside.sender,
            report: None,
        })
    }

    fn pay_back(&mut self, id: SocketId, cost: usize) {
        self.sockets.bytes = self.sockets.bytes.saturating_sub(cost);
        if let Some(socket) = self.kinds.sockets.get_mut(id) {
            socket.inbox_cost = socket.inbox_cost.saturating_sub(cost);
        }
    }

    fn take_stream(
        &mut self,
        id: SocketId,
        sink: &mut dyn Sink,
        flags: MessageFlags,
    ) -> Result<Taken> {
        let peek = flags.contains(MessageFlags::PEEK);
        let socket = self.kinds.sockets.get_mut(id).ok_or(Errno::EBADF)?;
        let (mut done, mut paid, mut at) = (0, 0, 0);
        let mut descriptions = Vec::new();
        let mut sender = None;
        let (most, mut skipped) = socket.next_bytes(peek);
        while sink.remaining() > 0
            && done < most
            && let Some(message) = socket.inbox.get_mut(at)
        {
            let left = message.left();
            if peek && left > 0 && skipped >= left {
                (skipped, at) = (skipped - left, at + 1);
                continue;
            }
            // Descriptors end a read: what is behind their message is for the next.
            if done == 0 {
                sender = message.sender;
            } else if message.sender != sender {
                break;
            }
            if !message.descriptions.is_empty() {
                descriptions = match peek {
                    true => message.descriptions.clone(),
                    false => core::mem::take(&mut message.descriptions),
                };
            }
            let room = sink.remaining().min(most - done);
            let passed = skipped.min(message.left());
            skipped -= passed;
            let start = message.start + passed;
            let want = (message.bytes.len() - start).min(room);
            let n = sink.put(&message.bytes[start..start + want]);
            if n < want {
                if done == 0 {
                    return Err(Errno::EFAULT);
                }
                break;
            }
            done += n;
            let used_up = start + n == message.bytes.len();
            if peek {
                at += 1;
            } else if used_up {
                // What a partly read message had is paid back when it goes.
                paid += message.cost();
                socket.inbox.pop_front();
            } else {
                message.start = start + n;
            }
            if !used_up || !descriptions.is_empty() {
                break;
            }
        }
        if !peek {
            socket.passed(done);
        } else if done == 0 && at > 0 && !socket.no_read {
            // All that is there was seen before.
            return Err(Errno::EAGAIN);
        }
        socket.looked(done, peek);
        self.pay_back(id, paid);
        let flags = MessageFlags::empty();
        let beside = Beside {
            sender,
            ..Beside::default()
        };
        Ok((done, Address::Unnamed, descriptions, flags, beside))
    }

    fn take_message(
        &mut self,
        id: SocketId,
        sink: &mut dyn Sink,
        flags: MessageFlags,
    ) -> Result<Taken> {
        let socket = self.kinds.sockets.get_mut(id).ok_or(Errno::EBADF)?;
        let peek = flags.contains(MessageFlags::PEEK);
        let (at, seen) = socket.next_message(peek);
        let message = match peek {
            true => socket.inbox.get(at).cloned(),
            false => socket.inbox.pop_front(),
        };
        let message = message.ok_or(Errno::EAGAIN)?;
        let len = message.bytes.len() - seen;
        let want = len.min(sink.remaining());
        socket.looked(if peek { want } else { len }, peek);
        match socket.inbox.get_mut(at) {
            Some(seen) if peek => seen.was_seen = true,
            _ => self.pay_back(id, message.cost()),
        }
        if sink.put(&message.bytes[seen..seen + want]) < want {
            // As in Linux the datagram is lost.
            if !peek {
                for desc in message.descriptions {
                    self.release(desc);
                }
            }
            return Err(Errno::EFAULT);
        }
        let mut result = MessageFlags::empty();
        result.set(MessageFlags::TRUNC, want < len);
        let given = if flags.contains(MessageFlags::TRUNC) {
            len
        } else {
            want
        };
        let beside = Beside {
            carried: message.carried,
            sender: message.sender,
            ..Beside::default()
        };
        Ok((given, message.from, message.descriptions, result, beside))
    }
}
