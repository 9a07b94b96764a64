//! The operations of [`NetStack`](ebb_net::NetStack) on one core's stack.

mod tcp;
mod udp;

use core::{
    net::{IpAddr, SocketAddr},
    task::Waker,
};

use crate::{
    connection::{Connection, State},
    host::{Cx, Host, Inner, Socket, covers},
    link::Link,
    shared::Protocol,
    wire::{FlowKey, Ip},
};
use ebb_net::{BindAddress, Error, Interest, Ready, Result, SocketId, TcpInfo};

const EPHEMERAL: core::ops::RangeInclusive<u16> = 32_768..=65_535;

fn address(ip: Ip, port: u16) -> SocketAddr {
    SocketAddr::new(IpAddr::from(ip), port)
}

fn local(key: &FlowKey) -> SocketAddr {
    address(key.local, key.local_port)
}

fn remote(key: &FlowKey) -> SocketAddr {
    address(key.remote, key.remote_port)
}

fn connection(sockets: &mut [Socket], id: SocketId) -> Result<&mut Connection> {
    match sockets.get_mut(id.0 as usize) {
        Some(Socket::Connection(connection)) => Ok(connection),
        _ => Err(Error::NotConnected),
    }
}

impl Inner {
    fn next_port(&mut self, is_free: impl Fn(u16) -> bool) -> Result<u16> {
        for _ in EPHEMERAL {
            self.next_port = match self.next_port {
                port if port >= *EPHEMERAL.start() && port < *EPHEMERAL.end() => port + 1,
                _ => *EPHEMERAL.start(),
            };
            if is_free(self.next_port) {
                return Ok(self.next_port);
            }
        }
        Err(Error::AddressInUse)
    }

    /// Checks an address to bind to, and picks a port if it has none.
    fn bindable<L: Link>(
        &mut self,
        cx: &Cx<'_, L>,
        protocol: Protocol,
        BindAddress {
            address: wanted,
            only_v6,
        }: BindAddress,
        shared: bool,
    ) -> Result<(Ip, u16)> {
        self.refresh(cx);
        let ip = Ip::from(wanted.ip());
        let for_all =
            protocol == Protocol::Udp && (ip.is_multicast() || self.routes.is_broadcast(ip));
        if !self.routes.accepts(ip) && !for_all {
            return Err(Error::AddressNotAvailable);
        }
        let port = match wanted.port() {
            0 => self.next_port(|port| cx.shared.is_port_free(protocol, port))?,
            port => port,
        };
        let overlaps = |other: Ip, its: bool| covers(ip, only_v6, other) || covers(other, its, ip);
        let taken = self.ports.get(&(protocol, port)).is_some_and(|ids| {
            ids.iter().any(|id| match &self.sockets[*id as usize] {
                Socket::Listener(l) => overlaps(l.address, l.only_v6),
                Socket::Datagrams(d) => !(shared && d.shared) && overlaps(d.bound_to, d.only_v6),
                _ => false,
            })
        });
        if taken {
            return Err(Error::AddressInUse);
        }
        Ok((ip, port))
    }

    fn bind<L: Link>(
        &mut self,
        cx: &Cx<'_, L>,
        protocol: Protocol,
        port: u16,
        socket: Socket,
    ) -> SocketId {
        let id = self.insert_socket(socket);
        self.ports.entry((protocol, port)).or_default().push(id);
        cx.shared.claim_port(protocol, port, cx.core);
        SocketId(id)
    }

    fn unbind<L: Link>(&mut self, cx: &Cx<'_, L>, protocol: Protocol, port: u16, id: u32) {
        if let Some(ids) = self.ports.get_mut(&(protocol, port)) {
            ids.retain(|other| *other != id);
            if ids.is_empty() {
                self.ports.remove(&(protocol, port));
                cx.shared.release_port(protocol, port, cx.core);
            }
        }
    }
}

impl<L: Link> Host<L> {
    /// See [`NetStack::local_address`](ebb_net::NetStack::local_address).
    pub fn local_address(&self, id: SocketId) -> Result<SocketAddr> {
        match self.inner.borrow().sockets.get(id.0 as usize) {
            Some(Socket::Listener(l)) => Ok(address(l.address, l.port)),
            Some(Socket::Datagrams(d)) => Ok(address(d.address, d.port)),
            Some(Socket::Connection(c)) => Ok(local(&c.key())),
            _ => Err(Error::InvalidInput),
        }
    }

    /// See [`NetStack::peer_address`](ebb_net::NetStack::peer_address).
    pub fn peer_address(&self, id: SocketId) -> Result<SocketAddr> {
        match self.inner.borrow().sockets.get(id.0 as usize) {
            Some(Socket::Connection(c)) => Ok(remote(&c.key())),
            Some(Socket::Datagrams(d)) => {
                let (ip, port) = d.peer.ok_or(Error::NotConnected)?;
                Ok(address(ip, port))
            }
            _ => Err(Error::NotConnected),
        }
    }

    /// See [`NetStack::tcp_info`](ebb_net::NetStack::tcp_info).
    pub fn tcp_info(&self, id: SocketId, now_ns: u64) -> Result<TcpInfo> {
        match self.inner.borrow().sockets.get(id.0 as usize) {
            Some(Socket::Connection(c)) => Ok(c.info(now_ns)),
            _ => Err(Error::NotConnected),
        }
    }

    /// See [`NetStack::queued`](ebb_net::NetStack::queued).
    pub fn queued(&self, id: SocketId) -> Result<(usize, usize)> {
        match self.inner.borrow().sockets.get(id.0 as usize) {
            Some(Socket::Connection(c)) => Ok((c.unacknowledged_with_end(), c.receive.queue.len())),
            Some(Socket::Datagrams(d)) => Ok((0, d.queue.front().map_or(0, |d| d.chunk.len()))),
            _ => Err(Error::NotConnected),
        }
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
                error: d.error.is_some() || !d.reports.is_empty(),
                ..Ready::default()
            },
            Some(Socket::Connection(c)) => {
                let ended = c.state == State::Closed;
                let error = c.error.is_some();
                Ready {
                    readable: c.receive.queue.len() > 0 || c.receive.peer_closed || ended,
                    writable: ended
                        || c.is_connected() && !(c.can_send() && c.send.room(short) == 0),
                    read_closed: c.receive.peer_closed || ended,
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
        match self.inner.borrow_mut().sockets.get_mut(id.0 as usize) {
            Some(Socket::Connection(c)) => c.error.take(),
            Some(Socket::Datagrams(d)) => d.error.take(),
            _ => None,
        }
    }

    /// See [`NetStack::path_mtu`](ebb_net::NetStack::path_mtu).
    pub fn path_mtu(&self, to: IpAddr, now_ns: u64) -> usize {
        self.enter(now_ns, |inner, cx| {
            inner.refresh(cx);
            let to = Ip::from(to);
            match inner.route(to, Ip::UNSPECIFIED) {
                Ok(route) => cx.mtu(&cx.path(route.source, to, route).0),
                Err(_) => cx.link.capabilities(0).mtu,
            }
        })
    }

    /// See [`NetStack::close`](ebb_net::NetStack::close).
    pub fn close(&self, id: SocketId, now_ns: u64) {
        self.enter(now_ns, |inner, cx| {
            match inner.sockets.get_mut(id.0 as usize) {
                Some(Socket::Connection(connection)) => {
                    if connection.orphan(now_ns) {
                        inner.abort(cx, id.0);
                    } else {
                        if connection.state == State::Closed {
                            inner.drop_received(id.0);
                        }
                        inner.settle(cx, id.0);
                    }
                }
                Some(Socket::Listener(_)) => {
                    let Socket::Listener(mut listener) = inner.remove_socket(id.0) else {
                        return;
                    };
                    inner.unbind(cx, Protocol::Tcp, listener.port, id.0);
                    for waiting in listener.ready.drain(..) {
                        inner.abort(cx, waiting);
                    }
                    listener.wakers.wake_all();
                }
                Some(Socket::Datagrams(_)) => {
                    let Socket::Datagrams(mut socket) = inner.remove_socket(id.0) else {
                        return;
                    };
                    inner.unbind(cx, Protocol::Udp, socket.port, id.0);
                    for datagram in socket.queue.drain(..) {
                        inner.pool.give(datagram.chunk.buffer);
                    }
                    for member in socket.groups.drain(..) {
                        cx.shared.leave(member.group);
                    }
                    socket.wakers.wake_all();
                }
                _ => {}
            }
        });
    }
}
