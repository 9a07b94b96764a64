//! UDP sockets.

use alloc::{boxed::Box, vec::Vec};
use core::net::{IpAddr, SocketAddr};

use super::address;
use crate::{
    host::{Cx, Datagrams, Host, Inner, Member, Socket},
    link::Link,
    shared::Protocol,
    wire::Ip,
};
use ebb_net::{BindAddress, Datagram, Error, Report, Result, SocketId, UdpOption};

/// Most senders that are listed for one group of one socket.
const MAX_LISTED: usize = 64;

fn datagrams(inner: &mut Inner, id: SocketId) -> Result<&mut Datagrams> {
    match inner.sockets.get_mut(id.0 as usize) {
        Some(Socket::Datagrams(socket)) => Ok(socket),
        _ => Err(Error::InvalidInput),
    }
}

impl Datagrams {
    fn member(&mut self, group: IpAddr) -> Result<&mut Member> {
        let group = Ip::from(group);
        let member = self.groups.iter_mut().find(|m| m.group == group);
        member.ok_or(Error::AddressNotAvailable)
    }
}

impl Inner {
    fn udp_option<L: Link>(
        &mut self,
        cx: &Cx<'_, L>,
        id: SocketId,
        option: UdpOption,
    ) -> Result<()> {
        let socket = datagrams(self, id)?;
        match option {
            UdpOption::HopLimit(hops) => socket.unicast.hop_limit = hops,
            UdpOption::GroupHopLimit(hops) => socket.group_hop_limit = hops,
            UdpOption::GroupLoop(on) => socket.group_loop = on,
            UdpOption::TrafficClass(class) => socket.unicast.traffic_class = class,
            UdpOption::DontFragment(on) => socket.dont_fragment = on,
            UdpOption::Reports(on) => {
                socket.wants_reports = on;
                socket.reports.clear();
            }
            UdpOption::Join(group) => {
                let group = Ip::from(group);
                if !group.is_multicast() || group == Ip::v4(u32::MAX) {
                    return Err(Error::InvalidInput);
                }
                if socket.groups.iter().any(|m| m.group == group) {
                    return Err(Error::AddressInUse);
                }
                if !cx.shared.join(group) {
                    return Err(Error::OutOfMemory);
                }
                datagrams(self, id)?.groups.push(Member {
                    group,
                    only: false,
                    listed: Vec::new(),
                });
            }
            UdpOption::Leave(group) => {
                let group = Ip::from(group);
                let known = socket.groups.iter().position(|m| m.group == group);
                socket
                    .groups
                    .swap_remove(known.ok_or(Error::AddressNotAvailable)?);
                cx.shared.leave(group);
            }
            UdpOption::Filter { group, only } => {
                let member = socket.member(group)?;
                member.only = only;
                member.listed.clear();
            }
            UdpOption::List { group, sender } => {
                let member = socket.member(group)?;
                if member.listed.len() >= MAX_LISTED {
                    return Err(Error::OutOfMemory);
                }
                member.listed.push(Ip::from(sender));
            }
            _ => return Err(Error::Unsupported),
        }
        Ok(())
    }

    fn udp_peer<L: Link>(
        &mut self,
        cx: &Cx<'_, L>,
        id: SocketId,
        peer: Option<SocketAddr>,
    ) -> Result<()> {
        self.refresh(cx);
        let Some(peer) = peer else {
            let socket = datagrams(self, id)?;
            (socket.peer, socket.address) = (None, socket.bound_to);
            return Ok(());
        };
        if peer.port() == 0 {
            return Err(Error::InvalidInput);
        }
        let to = Ip::from(peer.ip());
        let bound_to = datagrams(self, id)?.bound_to;
        let source = self.route(to, bound_to)?.source;
        let socket = datagrams(self, id)?;
        if socket.bound_to.is_unspecified() {
            socket.address = source;
        } else if socket.address.is_v4() != to.is_v4() {
            return Err(Error::InvalidInput);
        }
        socket.peer = Some((to, peer.port()));
        Ok(())
    }
}

impl<L: Link> Host<L> {
    /// See [`NetStack::udp_bind`](ebb_net::NetStack::udp_bind).
    pub fn udp_bind(&self, at: impl Into<BindAddress>, shared: bool) -> Result<SocketId> {
        let at = at.into();
        self.enter(0, |inner, cx| {
            let (address, port) = inner.bindable(cx, Protocol::Udp, at, shared)?;
            let mut socket = Box::new(Datagrams::new(address, port, shared));
            socket.only_v6 = at.only_v6;
            Ok(inner.bind(cx, Protocol::Udp, port, Socket::Datagrams(socket)))
        })
    }

    /// See [`NetStack::udp_connect`](ebb_net::NetStack::udp_connect).
    pub fn udp_connect(&self, id: SocketId, peer: Option<SocketAddr>) -> Result<()> {
        self.enter(0, |inner, cx| inner.udp_peer(cx, id, peer))
    }

    /// See [`NetStack::udp_send`](ebb_net::NetStack::udp_send).
    pub fn udp_send(
        &self,
        id: SocketId,
        bytes: &[u8],
        to: SocketAddr,
        from: Option<IpAddr>,
        now_ns: u64,
    ) -> Result<()> {
        self.enter(now_ns, |inner, cx| {
            let error = datagrams(inner, id)?.error.take();
            if let Some(error) = error {
                return Err(error);
            }
            let to = (Ip::from(to.ip()), to.port());
            inner.send_datagram(cx, id.0, bytes, to, from.map(Ip::from))
        })
    }

    /// See [`NetStack::udp_receive`](ebb_net::NetStack::udp_receive).
    pub fn udp_receive(
        &self,
        id: SocketId,
        peek: bool,
        f: &mut dyn FnMut(&Datagram<'_>),
    ) -> Result<()> {
        let datagram = {
            let inner = &mut *self.inner.borrow_mut();
            let socket = datagrams(inner, id)?;
            if let Some(error) = socket.error.take() {
                return Err(error);
            }
            let datagram = socket.queue.pop_front().ok_or(Error::WouldBlock)?;
            socket.bytes -= datagram.chunk.buffer.len();
            datagram
        };
        f(&Datagram {
            bytes: datagram.chunk.bytes(),
            from: address(datagram.from.0, datagram.from.1),
            to: datagram.to.into(),
            hop_limit: datagram.ip.hop_limit,
            traffic_class: datagram.ip.traffic_class,
        });
        let inner = &mut *self.inner.borrow_mut();
        match datagrams(inner, id) {
            Ok(socket) if peek => {
                socket.bytes += datagram.chunk.buffer.len();
                socket.queue.push_front(datagram);
            }
            _ => inner.pool.give(datagram.chunk.buffer),
        }
        Ok(())
    }

    /// See [`NetStack::udp_set`](ebb_net::NetStack::udp_set).
    pub fn udp_set(&self, id: SocketId, option: UdpOption) -> Result<()> {
        self.enter(0, |inner, cx| inner.udp_option(cx, id, option))
    }

    /// See [`NetStack::udp_take_report`](ebb_net::NetStack::udp_take_report).
    pub fn udp_take_report(&self, id: SocketId) -> Option<Report> {
        let inner = &mut *self.inner.borrow_mut();
        let socket = datagrams(inner, id).ok()?;
        let report = socket.reports.pop_front()?;
        // The error that was told with it is told, and the next one's is still to be.
        socket.error = socket.reports.front().map(|next| next.error);
        Some(report)
    }
}
