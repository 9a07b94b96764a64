//! TCP sockets: listeners and connections.

use alloc::{boxed::Box, collections::VecDeque};
use core::net::SocketAddr;

use bytes::{Buf, Bytes};

use super::{EPHEMERAL, connection, remote};
use crate::{
    connection::{Connection, State},
    host::{Cx, Flow, Host, Inner, Listener, Socket},
    link::Link,
    queues::Chunk,
    shared::Protocol,
    wire::{FlowKey, Ip, TcpOut, flags},
};
use ebb_net::{BindAddress, Error, Result, SocketId, SocketWakers, TcpOption};

/// Bounds of buffer sizes that an application may ask for.
const BUFFERS: (usize, usize) = (4 << 10, 4 << 20);

fn nanos(duration: core::time::Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

impl Inner {
    /// Whether no connection has this key.
    fn is_free<L: Link>(&self, cx: &Cx<'_, L>, key: &FlowKey) -> bool {
        let taken = self.connection_of(key).is_some()
            || matches!(self.flows.get(key), Some(Flow::HalfOpen(_)));
        !taken && cx.shared.owner(key).is_none_or(|core| core == cx.core)
    }

    /// Gives a connection to be opened a local port if it has none, else checks that it is free.
    fn choose_port<L: Link>(&mut self, cx: &Cx<'_, L>, key: &mut FlowKey) -> Result<()> {
        if key.local_port != 0 {
            return if self.is_free(cx, key) {
                Ok(())
            } else {
                Err(Error::AddressInUse)
            };
        }
        for _ in EPHEMERAL {
            key.local_port = self.next_port(|_| true)?;
            if self.is_free(cx, key) && !self.flows.contains_key(key) {
                return Ok(());
            }
        }
        Err(Error::AddressInUse)
    }

    fn connect<L: Link>(
        &mut self,
        cx: &Cx<'_, L>,
        local: Option<SocketAddr>,
        remote: SocketAddr,
    ) -> Result<SocketId> {
        self.refresh(cx);
        let target = Ip::from(remote.ip());
        if remote.port() == 0 || target.is_multicast() || self.routes.is_broadcast(target) {
            return Err(Error::InvalidInput);
        }
        if self.connections >= cx.limits.connections {
            return Err(Error::OutOfMemory);
        }
        let wanted = local.map_or(Ip::UNSPECIFIED, |l| Ip::from(l.ip()));
        if !self.routes.accepts(wanted) {
            return Err(Error::AddressNotAvailable);
        }
        let route = self.route(target, wanted)?;
        let source = if wanted.is_unspecified() {
            route.source
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
        self.choose_port(cx, &mut key)?;
        let (path, resolved) = cx.path(source, target, route);
        let iss = self.handshakes.initial(&key, cx.now_ns);
        let mut connection = Connection::connecting(key, path, iss, cx.mss(&path), cx.now_ns);
        connection.resolved = resolved;
        let id = self.insert_socket(Socket::Connection(connection));
        self.connections += 1;
        self.connect_flow(&key, id);
        cx.shared.claim_flow(&key, cx.core);
        if !resolved {
            self.wait_for_neighbour(cx, id);
        }
        self.settle(cx, id);
        Ok(SocketId(id))
    }

    /// Ends a connection with a reset; its socket is given up.
    pub(super) fn abort<L: Link>(&mut self, cx: &Cx<'_, L>, id: u32) {
        self.drop_received(id);
        let Some(Socket::Connection(connection)) = self.sockets.get_mut(id as usize) else {
            return;
        };
        connection.owned = false;
        let reset = !matches!(
            connection.state,
            State::Closed | State::SynSent | State::TimeWait
        );
        let (path, key) = (connection.path, connection.key());
        let (seq, ack) = connection.reset_numbers();
        connection.fail(Some(Error::ConnectionAborted));
        if reset {
            self.send_bare(
                cx,
                &path,
                TcpOut::of(&key, flags::RST | flags::ACK, seq, ack),
            );
        }
        self.settle(cx, id);
    }
}

impl<L: Link> Host<L> {
    /// See [`NetStack::tcp_listen`](ebb_net::NetStack::tcp_listen).
    pub fn tcp_listen(&self, at: impl Into<BindAddress>, backlog: usize) -> Result<SocketId> {
        let at = at.into();
        self.enter(0, |inner, cx| {
            let (address, port) = inner.bindable(cx, Protocol::Tcp, at, false)?;
            let listener = Socket::Listener(Box::new(Listener {
                address,
                only_v6: at.only_v6,
                port,
                backlog,
                ready: VecDeque::new(),
                wakers: SocketWakers::default(),
            }));
            Ok(inner.bind(cx, Protocol::Tcp, port, listener))
        })
    }

    /// See [`NetStack::tcp_accept`](ebb_net::NetStack::tcp_accept).
    pub fn tcp_accept(&self, listener: SocketId) -> Result<(SocketId, SocketAddr)> {
        let inner = &mut *self.inner.borrow_mut();
        let Some(Socket::Listener(l)) = inner.sockets.get_mut(listener.0 as usize) else {
            return Err(Error::InvalidInput);
        };
        let id = SocketId(l.ready.pop_front().ok_or(Error::WouldBlock)?);
        let connection = connection(&mut inner.sockets, id)?;
        connection.listener = None;
        Ok((id, remote(&connection.key())))
    }

    /// See [`NetStack::tcp_connect`](ebb_net::NetStack::tcp_connect).
    pub fn tcp_connect(
        &self,
        local: Option<SocketAddr>,
        remote: SocketAddr,
        now_ns: u64,
    ) -> Result<SocketId> {
        self.enter(now_ns, |inner, cx| inner.connect(cx, local, remote))
    }

    /// See [`NetStack::tcp_connected`](ebb_net::NetStack::tcp_connected).
    pub fn tcp_connected(&self, id: SocketId) -> Result<()> {
        let inner = &mut *self.inner.borrow_mut();
        let connection = connection(&mut inner.sockets, id)?;
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
        now_ns: u64,
    ) -> Result<bool> {
        let mut chunk: Chunk = {
            let inner = &mut *self.inner.borrow_mut();
            let connection = connection(&mut inner.sockets, id)?;
            match connection.receive.queue.take_front() {
                Some(chunk) => {
                    inner.received -= chunk.buffer.len();
                    chunk
                }
                None if connection.error.is_some() => {
                    return Err(connection.error.unwrap_or(Error::ConnectionReset));
                }
                None if connection.receive.peer_closed || connection.ended => return Ok(false),
                None => return Err(Error::WouldBlock),
            }
        };
        let taken = f(chunk.bytes()).min(chunk.len());
        chunk.start += taken as u32;
        self.enter(now_ns, |inner, cx| {
            let Some(Socket::Connection(connection)) = inner.sockets.get_mut(id.0 as usize) else {
                return inner.pool.give(chunk.buffer);
            };
            if chunk.len() == 0 {
                inner.pool.give(chunk.buffer);
                connection.receive.queue.rest(&mut inner.pool);
            } else {
                inner.received += chunk.buffer.len();
                connection.receive.queue.put_front(chunk);
            }
            if connection.after_take() {
                inner.settle(cx, id.0);
            }
        });
        Ok(true)
    }

    fn sendable(connection: &mut Connection, short: bool) -> Result<usize> {
        if connection.can_send() {
            return match connection.send.take_room(short) {
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
    pub fn tcp_send(&self, id: SocketId, bytes: &[u8], now_ns: u64) -> Result<usize> {
        self.enter(now_ns, |inner, cx| {
            let short = inner.sending > cx.limits.sent;
            let connection = connection(&mut inner.sockets, id)?;
            let count = Self::sendable(connection, short)?.min(bytes.len());
            let queue = &mut connection.send.queue;
            queue.copy_in(&bytes[..count], &mut inner.pool);
            inner.settle(cx, id.0);
            Ok(count)
        })
    }

    /// See [`NetStack::tcp_send_buffers`](ebb_net::NetStack::tcp_send_buffers).
    #[inline]
    pub fn tcp_send_buffers(
        &self,
        id: SocketId,
        buffers: &mut VecDeque<Bytes>,
        now_ns: u64,
    ) -> Result<usize> {
        self.enter(now_ns, |inner, cx| {
            let short = inner.sending > cx.limits.sent;
            let connection = connection(&mut inner.sockets, id)?;
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
                    connection.send.queue.copy_in(&part, &mut inner.pool);
                } else {
                    connection.send.queue.push(part, &mut inner.pool);
                }
            }
            inner.settle(cx, id.0);
            Ok(sent)
        })
    }

    /// See [`NetStack::tcp_shutdown_write`](ebb_net::NetStack::tcp_shutdown_write).
    pub fn tcp_shutdown_write(&self, id: SocketId, now_ns: u64) -> Result<()> {
        self.enter(now_ns, |inner, cx| {
            let connection = connection(&mut inner.sockets, id)?;
            if connection.state == State::Closed {
                return Err(connection.error.unwrap_or(Error::NotConnected));
            }
            connection.shutdown();
            inner.settle(cx, id.0);
            Ok(())
        })
    }

    /// See [`NetStack::tcp_set`](ebb_net::NetStack::tcp_set).
    pub fn tcp_set(&self, id: SocketId, option: TcpOption, now_ns: u64) -> Result<()> {
        self.enter(now_ns, |inner, cx| {
            let connection = connection(&mut inner.sockets, id)?;
            match option {
                TcpOption::NoDelay(on) => connection.send.nodelay = on,
                TcpOption::KeepAlive(how) => connection.set_keepalive(how, now_ns),
                TcpOption::SendBuffer(bytes) => {
                    connection.send.limit = bytes.clamp(BUFFERS.0, BUFFERS.1);
                }
                TcpOption::ReceiveBuffer(bytes) => {
                    connection.receive.limit = bytes.clamp(BUFFERS.0, BUFFERS.1);
                }
                TcpOption::UserTimeout(limit) => {
                    connection.timers.user_timeout_ns = limit.map_or(u64::MAX, nanos);
                }
                _ => return Err(Error::Unsupported),
            }
            inner.settle(cx, id.0);
            Ok(())
        })
    }

    /// See [`NetStack::tcp_abort`](ebb_net::NetStack::tcp_abort).
    pub fn tcp_abort(&self, id: SocketId, now_ns: u64) {
        self.enter(now_ns, |inner, cx| inner.abort(cx, id.0));
    }
}
