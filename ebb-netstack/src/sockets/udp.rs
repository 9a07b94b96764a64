//! UDP sockets.

use alloc::{boxed::Box, collections::VecDeque};
use core::net::SocketAddr;

use super::address;
use crate::{
    host::{Datagrams, Host, Socket},
    link::Link,
    shared::Protocol,
    wire::Ip,
};
use ebb_net::{Error, Result, SocketId, SocketWakers};

impl<L: Link> Host<L> {
    /// See [`NetStack::udp_bind`](ebb_net::NetStack::udp_bind).
    pub fn udp_bind(&self, wanted: SocketAddr) -> Result<SocketId> {
        self.enter(0, |inner, cx| {
            let (address, port) = inner.bindable(cx, Protocol::Udp, wanted)?;
            let socket = Socket::Datagrams(Box::new(Datagrams {
                address,
                port,
                queue: VecDeque::new(),
                bytes: 0,
                wakers: SocketWakers::default(),
            }));
            Ok(inner.bind(cx, Protocol::Udp, port, socket))
        })
    }

    /// See [`NetStack::udp_send`](ebb_net::NetStack::udp_send).
    pub fn udp_send(&self, id: SocketId, bytes: &[u8], to: SocketAddr, now_ns: u64) -> Result<()> {
        self.enter(now_ns, |inner, cx| {
            let Some(Socket::Datagrams(socket)) = inner.sockets.get(id.0 as usize) else {
                return Err(Error::InvalidInput);
            };
            let local = (socket.address, socket.port);
            inner.send_datagram(cx, local, (Ip::from(to.ip()), to.port()), bytes)
        })
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
}
