//! The operations of [`NetStack`](ebb_net::NetStack) on one core's stack.

use alloc::{boxed::Box, collections::VecDeque};
use core::{
    net::{IpAddr, SocketAddr},
    task::Waker,
};

use bytes::{Buf, Bytes};

use super::{
    connection::{Connection, FlowKey, State, Wire},
    frame::Port,
    host::{Datagrams, Flow, Host, Inner, Listener, Socket, send::Sender},
    queues::Chunk,
    shared::{Hop, Protocol},
    wire::{Ip, Path, TcpOut, flags},
};
use ebb_net::{Error, Interest, Ready, Result, SocketId, SocketWakers, TcpOption};

/// Bounds of buffer sizes that an application may ask for.
const BUFFERS: (usize, usize) = (4 << 10, 4 << 20);
const EPHEMERAL: core::ops::RangeInclusive<u16> = 32_768..=65_535;

fn address(ip: Ip, port: u16) -> SocketAddr {
    SocketAddr::new(IpAddr::from(ip), port)
}

fn nanos(duration: core::time::Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

fn connection(inner: &mut Inner, id: SocketId) -> Result<&mut Connection> {
    match inner.sockets.get_mut(id.0 as usize) {
        Some(Socket::Connection(connection)) => Ok(connection),
        _ => Err(Error::NotConnected),
    }
}

impl<P: Port> Host<P> {
    fn next_port(inner: &mut Inner, is_free: impl Fn(u16) -> bool) -> Result<u16> {
        for _ in EPHEMERAL {
            inner.next_port = match inner.next_port {
                port if port >= *EPHEMERAL.start() && port < *EPHEMERAL.end() => port + 1,
                _ => *EPHEMERAL.start(),
            };
            if is_free(inner.next_port) {
                return Ok(inner.next_port);
            }
        }
        Err(Error::AddressInUse)
    }

    /// Checks an address to bind to, and picks a port if it has none.
    fn bindable(
        &self,
        inner: &mut Inner,
        protocol: Protocol,
        wanted: SocketAddr,
    ) -> Result<(Ip, u16)> {
        self.refresh(inner);
        let ip = Ip::from(wanted.ip());
        if !self.accepts(inner, ip) {
            return Err(Error::AddressNotAvailable);
        }
        let shared = &self.shared;
        let port = match wanted.port() {
            0 => Self::next_port(inner, |port| shared.is_port_free(protocol, port))?,
            port => port,
        };
        let overlaps = |other: Ip| {
            other == ip
                || other == Ip::UNSPECIFIED
                || ip == Ip::UNSPECIFIED
                || other.is_v4() == ip.is_v4() && (other.is_unspecified() || ip.is_unspecified())
        };
        let taken = inner.ports.get(&(protocol, port)).is_some_and(|ids| {
            ids.iter().any(|id| match &inner.sockets[*id as usize] {
                Socket::Listener(l) => overlaps(l.address),
                Socket::Datagrams(d) => overlaps(d.address),
                _ => false,
            })
        });
        if taken {
            return Err(Error::AddressInUse);
        }
        Ok((ip, port))
    }

    fn bind(&self, inner: &mut Inner, protocol: Protocol, port: u16, socket: Socket) -> SocketId {
        let id = inner.insert_socket(socket);
        inner.ports.entry((protocol, port)).or_default().push(id);
        self.shared.claim_port(protocol, port, self.core);
        SocketId(id)
    }

    fn unbind(&self, inner: &mut Inner, protocol: Protocol, port: u16, id: u32) {
        if let Some(ids) = inner.ports.get_mut(&(protocol, port)) {
            ids.retain(|other| *other != id);
            if ids.is_empty() {
                inner.ports.remove(&(protocol, port));
                self.shared.release_port(protocol, port, self.core);
            }
        }
    }

    /// See [`NetStack::tcp_listen`](ebb_net::NetStack::tcp_listen).
    pub fn tcp_listen(&self, wanted: SocketAddr, backlog: usize) -> Result<SocketId> {
        let inner = &mut *self.inner.borrow_mut();
        let (address, port) = self.bindable(inner, Protocol::Tcp, wanted)?;
        let listener = Socket::Listener(Box::new(Listener {
            address,
            port,
            backlog,
            ready: VecDeque::new(),
            wakers: SocketWakers::default(),
        }));
        Ok(self.bind(inner, Protocol::Tcp, port, listener))
    }

    /// See [`NetStack::tcp_accept`](ebb_net::NetStack::tcp_accept).
    pub fn tcp_accept(&self, listener: SocketId) -> Result<(SocketId, SocketAddr)> {
        let inner = &mut *self.inner.borrow_mut();
        let Some(Socket::Listener(l)) = inner.sockets.get_mut(listener.0 as usize) else {
            return Err(Error::InvalidInput);
        };
        let id = SocketId(l.ready.pop_front().ok_or(Error::WouldBlock)?);
        let connection = connection(inner, id)?;
        connection.listener = None;
        let key = connection.key;
        Ok((id, address(key.remote, key.remote_port)))
    }

    /// See [`NetStack::tcp_connect`](ebb_net::NetStack::tcp_connect).
    pub fn tcp_connect(
        &self,
        local: Option<SocketAddr>,
        remote: SocketAddr,
        now: u64,
    ) -> Result<SocketId> {
        let inner = &mut *self.inner.borrow_mut();
        self.refresh(inner);
        let target = Ip::from(remote.ip());
        if remote.port() == 0 || target.is_multicast() {
            return Err(Error::InvalidInput);
        }
        if inner.connections >= self.limits.connections {
            return Err(Error::OutOfMemory);
        }
        let (source, hop) = self.route(inner, target)?;
        let wanted = local.map_or(Ip::UNSPECIFIED, |l| Ip::from(l.ip()));
        if !self.accepts(inner, wanted) {
            return Err(Error::AddressNotAvailable);
        }
        let source = if wanted.is_unspecified() {
            source
        } else {
            wanted
        };
        if source.is_v4() != target.is_v4() {
            return Err(Error::InvalidInput);
        }
        let mut key = FlowKey {
            local: source,
            remote: target,
            local_port: local.map_or(0, |l| l.port()),
            remote_port: remote.port(),
        };
        let shared = &self.shared;
        let is_free = |inner: &Inner, key: &FlowKey| {
            !matches!(
                inner.flows.get(key),
                Some(Flow::Socket(_) | Flow::HalfOpen(_))
            ) && shared.owner(key).is_none_or(|core| core == self.core)
        };
        if key.local_port == 0 {
            let mut tries = EPHEMERAL.len();
            loop {
                key.local_port = Self::next_port(inner, |_| true)?;
                if is_free(inner, &key) && !inner.flows.contains_key(&key) {
                    break;
                }
                tries -= 1;
                if tries == 0 {
                    return Err(Error::AddressInUse);
                }
            }
        } else if !is_free(inner, &key) {
            return Err(Error::AddressInUse);
        }
        let loopback = hop == Hop::Local;
        let mac = match hop {
            Hop::Local => Some([0; 6]),
            Hop::Via(hop) => self.hardware_address(hop, now),
        };
        let path = Path {
            source_mac: if loopback {
                [0; 6]
            } else {
                self.port.capabilities().mac
            },
            target_mac: mac.unwrap_or_default(),
            source,
            target,
            loopback,
        };
        let iss = inner.handshakes.initial(&key, now);
        let mut connection = Connection::connecting(key, path, iss, self.mss(&path), now);
        connection.resolved = mac.is_some();
        let id = inner.insert_socket(Socket::Connection(connection));
        inner.connections += 1;
        inner.flows.insert(key, Flow::Socket(id));
        self.shared.claim_flow(&key, self.core);
        if mac.is_none() {
            self.wait_for_neighbour(inner, id, now);
        }
        self.touch(inner, id, now);
        Ok(SocketId(id))
    }

    /// See [`NetStack::tcp_connected`](ebb_net::NetStack::tcp_connected).
    pub fn tcp_connected(&self, id: SocketId) -> Result<()> {
        let inner = &mut *self.inner.borrow_mut();
        let connection = connection(inner, id)?;
        match connection.state {
            State::SynSent | State::SynReceived => Err(Error::WouldBlock),
            State::Closed => match connection.error {
                Some(error) => Err(error),
                None => Ok(()),
            },
            _ => Ok(()),
        }
    }

    /// See [`NetStack::tcp_receive`](ebb_net::NetStack::tcp_receive).
    #[inline]
    pub fn tcp_receive(
        &self,
        id: SocketId,
        f: &mut dyn FnMut(&[u8]) -> usize,
        now: u64,
    ) -> Result<bool> {
        let mut chunk: Chunk = {
            let inner = &mut *self.inner.borrow_mut();
            let connection = connection(inner, id)?;
            match connection.receive.take_front() {
                Some(chunk) => {
                    inner.received -= chunk.buffer.len();
                    chunk
                }
                None if connection.error.is_some() => {
                    return Err(connection.error.unwrap_or(Error::ConnectionReset));
                }
                None if connection.peer_closed || connection.ended => return Ok(false),
                None => return Err(Error::WouldBlock),
            }
        };
        let taken = f(chunk.bytes()).min(chunk.len());
        chunk.start += taken as u32;
        let inner = &mut *self.inner.borrow_mut();
        let Some(Socket::Connection(connection)) = inner.sockets.get_mut(id.0 as usize) else {
            return Ok(true);
        };
        if chunk.len() == 0 {
            inner.pool.give(chunk.buffer);
        } else {
            inner.received += chunk.buffer.len();
            connection.receive.put_front(chunk);
        }
        if connection.after_take() {
            self.touch(inner, id.0, now);
        }
        Ok(true)
    }

    fn sendable(connection: &mut Connection, short: bool) -> Result<usize> {
        if connection.can_send() {
            return match connection.take_send_room(short) {
                0 => Err(Error::WouldBlock),
                room => Ok(room),
            };
        }
        Err(match connection.state {
            State::SynSent | State::SynReceived => Error::WouldBlock,
            _ => connection.error.unwrap_or(Error::BrokenPipe),
        })
    }

    /// See [`NetStack::tcp_send`](ebb_net::NetStack::tcp_send).
    #[inline]
    pub fn tcp_send(&self, id: SocketId, bytes: &[u8], now: u64) -> Result<usize> {
        let inner = &mut *self.inner.borrow_mut();
        let short = inner.sending > self.limits.sent;
        let connection = connection(inner, id)?;
        let count = Self::sendable(connection, short)?.min(bytes.len());
        connection.send.copy_in(&bytes[..count]);
        self.touch(inner, id.0, now);
        Ok(count)
    }

    /// See [`NetStack::tcp_send_buffers`](ebb_net::NetStack::tcp_send_buffers).
    #[inline]
    pub fn tcp_send_buffers(
        &self,
        id: SocketId,
        buffers: &mut VecDeque<Bytes>,
        now: u64,
    ) -> Result<usize> {
        let inner = &mut *self.inner.borrow_mut();
        let short = inner.sending > self.limits.sent;
        let connection = connection(inner, id)?;
        let room = Self::sendable(connection, short)?;
        let mut sent = 0;
        while sent < room
            && let Some(front) = buffers.front_mut()
        {
            let left = room - sent;
            let part = if front.len() <= left {
                buffers.pop_front().unwrap_or_default()
            } else {
                let part = front.slice(..left);
                front.advance(left);
                part
            };
            sent += part.len();
            // Small pieces are better copied together than kept apart.
            if part.len() <= 128 {
                connection.send.copy_in(&part);
            } else {
                connection.send.push(part);
            }
        }
        self.touch(inner, id.0, now);
        Ok(sent)
    }

    /// See [`NetStack::tcp_shutdown_write`](ebb_net::NetStack::tcp_shutdown_write).
    pub fn tcp_shutdown_write(&self, id: SocketId, now: u64) -> Result<()> {
        let inner = &mut *self.inner.borrow_mut();
        let connection = connection(inner, id)?;
        if connection.state == State::Closed {
            return Err(connection.error.unwrap_or(Error::NotConnected));
        }
        connection.shutdown();
        self.touch(inner, id.0, now);
        Ok(())
    }

    /// See [`NetStack::tcp_set`](ebb_net::NetStack::tcp_set).
    pub fn tcp_set(&self, id: SocketId, option: TcpOption, now: u64) -> Result<()> {
        let inner = &mut *self.inner.borrow_mut();
        let connection = connection(inner, id)?;
        match option {
            TcpOption::NoDelay(on) => connection.nodelay = on,
            TcpOption::KeepAlive(idle) => connection.set_keepalive(idle.map(nanos), now),
            TcpOption::SendBuffer(bytes) => {
                connection.send_limit = bytes.clamp(BUFFERS.0, BUFFERS.1);
            }
            TcpOption::ReceiveBuffer(bytes) => {
                connection.receive_limit = bytes.clamp(BUFFERS.0, BUFFERS.1);
            }
            TcpOption::UserTimeout(limit) => {
                connection.user_timeout = limit.map_or(u64::MAX, nanos);
            }
            _ => return Err(Error::Unsupported),
        }
        self.touch(inner, id.0, now);
        Ok(())
    }

    /// See [`NetStack::tcp_queued`](ebb_net::NetStack::tcp_queued).
    pub fn tcp_queued(&self, id: SocketId) -> Result<(usize, usize)> {
        let inner = &mut *self.inner.borrow_mut();
        let connection = connection(inner, id)?;
        Ok((connection.unacknowledged(), connection.receive.len()))
    }

    /// See [`NetStack::tcp_abort`](ebb_net::NetStack::tcp_abort).
    pub fn tcp_abort(&self, id: SocketId, now: u64) {
        let inner = &mut *self.inner.borrow_mut();
        self.abort(inner, id.0, now);
    }

    fn abort(&self, inner: &mut Inner, id: u32, now: u64) {
        let Some(Socket::Connection(connection)) = inner.sockets.get_mut(id as usize) else {
            return;
        };
        connection.owned = false;
        let held = connection.receive.held();
        connection.receive.clear(&mut inner.pool);
        inner.received -= held;
        let Some(Socket::Connection(connection)) = inner.sockets.get_mut(id as usize) else {
            return;
        };
        let reset = !matches!(
            connection.state,
            State::Closed | State::SynSent | State::TimeWait
        );
        let (path, key) = (connection.path, connection.key);
        let (seq, ack) = connection.reset_seq();
        connection.fail(Some(Error::ConnectionAborted));
        if reset {
            let header = TcpOut {
                source: key.local_port,
                target: key.remote_port,
                seq,
                ack,
                flags: flags::RST | flags::ACK,
                ..TcpOut::default()
            };
            Sender::of(self, inner).send(&path, header, None, 0);
        }
        self.touch(inner, id, now);
    }

    /// See [`NetStack::udp_bind`](ebb_net::NetStack::udp_bind).
    pub fn udp_bind(&self, wanted: SocketAddr) -> Result<SocketId> {
        let inner = &mut *self.inner.borrow_mut();
        let (address, port) = self.bindable(inner, Protocol::Udp, wanted)?;
        let socket = Socket::Datagrams(Box::new(Datagrams {
            address,
            port,
            queue: VecDeque::new(),
            bytes: 0,
            wakers: SocketWakers::default(),
        }));
        Ok(self.bind(inner, Protocol::Udp, port, socket))
    }

    /// See [`NetStack::udp_send`](ebb_net::NetStack::udp_send).
    pub fn udp_send(&self, id: SocketId, bytes: &[u8], to: SocketAddr, now: u64) -> Result<()> {
        let inner = &mut *self.inner.borrow_mut();
        let Some(Socket::Datagrams(socket)) = inner.sockets.get(id.0 as usize) else {
            return Err(Error::InvalidInput);
        };
        let local = (socket.address, socket.port);
        self.send_datagram(inner, local, (Ip::from(to.ip()), to.port()), bytes, now)
    }

    /// See [`NetStack::udp_receive`](ebb_net::NetStack::udp_receive).
    pub fn udp_receive(&self, id: SocketId, f: &mut dyn FnMut(&[u8], SocketAddr)) -> Result<()> {
        let (chunk, from, port) = {
            let inner = &mut *self.inner.borrow_mut();
            let Some(Socket::Datagrams(socket)) = inner.sockets.get_mut(id.0 as usize) else {
                return Err(Error::InvalidInput);
            };
            let datagram = socket.queue.pop_front().ok_or(Error::WouldBlock)?;
            socket.bytes -= datagram.0.buffer.len();
            datagram
        };
        f(chunk.bytes(), address(from, port));
        self.inner.borrow_mut().pool.give(chunk.buffer);
        Ok(())
    }

    /// See [`NetStack::local_address`](ebb_net::NetStack::local_address).
    pub fn local_address(&self, id: SocketId) -> Result<SocketAddr> {
        match self.inner.borrow().sockets.get(id.0 as usize) {
            Some(Socket::Listener(l)) => Ok(address(l.address, l.port)),
            Some(Socket::Datagrams(d)) => Ok(address(d.address, d.port)),
            Some(Socket::Connection(c)) => Ok(address(c.key.local, c.key.local_port)),
            _ => Err(Error::InvalidInput),
        }
    }

    /// See [`NetStack::peer_address`](ebb_net::NetStack::peer_address).
    pub fn peer_address(&self, id: SocketId) -> Result<SocketAddr> {
        let inner = &mut *self.inner.borrow_mut();
        let connection = connection(inner, id)?;
        Ok(address(connection.key.remote, connection.key.remote_port))
    }

    /// See [`NetStack::readiness`](ebb_net::NetStack::readiness).
    pub fn readiness(&self, id: SocketId) -> Ready {
        let inner = self.inner.borrow();
        let short = inner.sending > self.limits.sent;
        match inner.sockets.get(id.0 as usize) {
            Some(Socket::Listener(l)) => Ready {
                readable: !l.ready.is_empty(),
                ..Ready::default()
            },
            Some(Socket::Datagrams(d)) => Ready {
                readable: !d.queue.is_empty(),
                writable: true,
                ..Ready::default()
            },
            Some(Socket::Connection(c)) => {
                let ended = c.state == State::Closed;
                let error = c.error.is_some();
                Ready {
                    readable: c.receive.len() > 0 || c.peer_closed || ended,
                    writable: ended
                        || c.is_connected() && !(c.can_send() && c.send_room(short) == 0),
                    read_closed: c.peer_closed || ended,
                    hung_up: ended,
                    error,
                }
            }
            _ => Ready::default(),
        }
    }

    /// See [`NetStack::register`](ebb_net::NetStack::register).
    #[inline]
    pub fn register(&self, id: SocketId, interest: Interest, waker: &Waker) {
        let inner = &mut *self.inner.borrow_mut();
        match inner.sockets.get_mut(id.0 as usize) {
            Some(Socket::Listener(l)) => l.wakers.add(interest, waker),
            Some(Socket::Datagrams(d)) => d.wakers.add(interest, waker),
            Some(Socket::Connection(c)) => c.wakers.add(interest, waker),
            _ => {}
        }
    }

    /// See [`NetStack::take_error`](ebb_net::NetStack::take_error).
    pub fn take_error(&self, id: SocketId) -> Option<Error> {
        let inner = &mut *self.inner.borrow_mut();
        connection(inner, id).ok()?.error.take()
    }

    /// See [`NetStack::close`](ebb_net::NetStack::close).
    pub fn close(&self, id: SocketId, now: u64) {
        let inner = &mut *self.inner.borrow_mut();
        match inner.sockets.get_mut(id.0 as usize) {
            Some(Socket::Connection(connection)) => {
                if connection.orphan(now) {
                    self.abort(inner, id.0, now);
                } else {
                    if connection.state == State::Closed {
                        let held = connection.receive.held();
                        connection.receive.clear(&mut inner.pool);
                        inner.received -= held;
                    }
                    self.touch(inner, id.0, now);
                }
            }
            Some(Socket::Listener(_)) => {
                let Socket::Listener(mut listener) = inner.remove_socket(id.0) else {
                    return;
                };
                self.unbind(inner, Protocol::Tcp, listener.port, id.0);
                for waiting in listener.ready.drain(..) {
                    self.abort(inner, waiting, now);
                }
                listener.wakers.wake_all();
            }
            Some(Socket::Datagrams(_)) => {
                let Socket::Datagrams(mut socket) = inner.remove_socket(id.0) else {
                    return;
                };
                self.unbind(inner, Protocol::Udp, socket.port, id.0);
                for (chunk, ..) in socket.queue.drain(..) {
                    inner.pool.give(chunk.buffer);
                }
                socket.wakers.wake_all();
            }
            _ => {}
        }
    }
}
