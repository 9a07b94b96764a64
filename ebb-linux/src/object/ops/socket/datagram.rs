//! Internet datagrams, what is received from beyond the UC, and answers to what was not delivered.

use alloc::{vec, vec::Vec};
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::message::{Ancillary, Beside, MessageFlags, Received};
use crate::object::{
    Objects,
    env::{Carried, Env, NetSocket, Report},
    errno::{Errno, Result},
    id::DescId,
    interfaces::LO,
    io::{Sink, Source},
    kind::{
        Object,
        socket::{
            Socket, SocketId, SocketKind, State,
            address::{Address, Domain, canonical, is_loopback},
            option::{BROADCAST, IP, IPV6, RECVERR, RECVERR6, SOCKET, UDP, UDP_CORK, UDP_SEGMENT},
        },
    },
    wait::Events,
};

/// The largest UDP datagram.
const MAX_DATAGRAM: usize = 65_507;
/// The most datagrams that one call is cut into.
const MAX_SEGMENTS: usize = 64;
/// The most that is taken from a connection at once.
const PIECE: usize = 64 << 10;
/// Answers that wait to be taken.
const MAX_REPORTS: usize = 16;

impl Objects {
    pub(super) fn send_datagram(
        &mut self,
        env: &dyn Env,
        id: SocketId,
        source: &mut dyn Source,
        to: Option<Address>,
        flags: MessageFlags,
        ancillary: Ancillary,
    ) -> Result<usize> {
        let socket = self.socket_mut(id)?;
        if let Some(errno) = socket.error.take() {
            return Err(errno);
        }
        let named = to.is_some();
        let to = match (to, socket.state) {
            // The first part of a datagram has said where it goes.
            _ if socket.corked.is_some() => socket.corked.as_ref().map(|(to, _)| *to),
            (Some(Address::Inet(to)), _) => Some(to),
            (Some(_), _) => return Err(Errno::EAFNOSUPPORT),
            (None, State::Connected) => match socket.remote {
                Address::Inet(to) => Some(to),
                _ => None,
            },
            (None, _) => None,
        };
        // What no datagram can be is told before where it would go.
        if source.remaining() > usize::from(u16::MAX) {
            return Err(Errno::EMSGSIZE);
        }
        let to = to.ok_or(Errno::EDESTADDRREQ)?;
        if to.port() == 0 {
            // A peer may have been given with it: what is sent there arrives nowhere.
            return match named {
                true => Err(Errno::EINVAL),
                false => Ok(source.remaining()),
            };
        }
        let before = socket.corked.as_ref().map_or(0, |(_, bytes)| bytes.len());
        if before + source.remaining() > MAX_DATAGRAM {
            return Err(Errno::EMSGSIZE);
        }
        if is_for_all(env, to.ip()) && !socket.options.flag(SOCKET, BROADCAST) {
            return Err(Errno::EACCES);
        }
        if flags.contains(MessageFlags::PROBE) {
            return Ok(source.remaining());
        }
        if socket.no_write {
            return Err(Errno::EPIPE);
        }
        let mut bytes = vec![0; source.remaining()];
        if source.take(&mut bytes) < bytes.len() {
            return Err(Errno::EFAULT);
        }
        let len = bytes.len();
        let corked = flags.contains(MessageFlags::MORE) || socket.options.flag(UDP, UDP_CORK);
        if corked || socket.corked.is_some() {
            let (_, all) = socket.corked.get_or_insert((to, Vec::new()));
            all.extend_from_slice(&bytes);
            if corked {
                return Ok(len);
            }
        }
        if let Some((_, all)) = socket.corked.take() {
            bytes = all;
        }
        let segment = match ancillary.segment {
            Some(segment) => segment.into(),
            None => usize::try_from(socket.options.get(UDP, UDP_SEGMENT).unwrap_or(0)).unwrap_or(0),
        };
        if segment == 0 || bytes.len() <= segment {
            self.send_whole(env, id, &bytes, to, ancillary)?;
            return Ok(len);
        }
        if bytes.len().div_ceil(segment) > MAX_SEGMENTS {
            return Err(Errno::EINVAL);
        }
        for part in bytes.chunks(segment) {
            self.send_whole(env, id, part, to, ancillary)?;
        }
        Ok(len)
    }

    /// Sends what `UDP_CORK` has kept back.
    pub(super) fn uncork(&mut self, env: &dyn Env, id: SocketId) -> Result<()> {
        match self.socket_mut(id)?.corked.take() {
            Some((to, bytes)) => self.send_whole(env, id, &bytes, to, Ancillary::default()),
            None => Ok(()),
        }
    }

    fn send_whole(
        &mut self,
        env: &dyn Env,
        id: SocketId,
        bytes: &[u8],
        to: SocketAddr,
        ancillary: Ancillary,
    ) -> Result<()> {
        let socket = self.socket(id)?;
        if matches!(socket.local, Address::Inet(l) if l.port() == 0) {
            let Address::Inet(any) = socket.domain.unspecified() else {
                return Err(Errno::EINVAL);
            };
            self.bind_inet(env, id, any)?;
        }
        let source_ip = ancillary.source.filter(|ip| !ip.is_unspecified());
        if source_ip.is_some_and(|ip| !self.is_local(env, ip)) {
            return Err(match source_ip {
                Some(IpAddr::V4(_)) => Errno::ENETUNREACH,
                _ => Errno::EINVAL,
            });
        }
        let Address::Inet(local) = self.socket(id)?.local else {
            return Err(Errno::EINVAL);
        };
        let own = match canonical(to).ip() {
            ip if !is_loopback(ip) => ip,
            IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
        };
        let from = match (source_ip, local.ip().is_unspecified()) {
            (Some(ip), _) => SocketAddr::new(ip, local.port()),
            (None, true) => SocketAddr::new(own, local.port()),
            (None, false) => local,
        };
        let target = self
            .is_local(env, to.ip())
            .then(|| self.find_local(false, from, to))
            .flatten()
            .filter(|_| self.socket(id).is_ok_and(|socket| socket.uses(LO)));
        if target.is_none()
            && to.ip().is_multicast()
            && let Some(members) = {
                let group = to.ip().to_canonical();
                self.members_within(id, group, canonical(from).ip(), to.port())
            }
        {
            return self.deliver_to(members, from, bytes);
        }
        let Some(target) = target else {
            if is_loopback(to.ip()) && !self.socket(id)?.uses(LO) {
                return Err(Errno::ENETUNREACH);
            }
            if is_loopback(to.ip()) {
                // Loopback answers at once that the port is closed.
                return self.refuse(id, canonical(to), bytes);
            }
            let network = env.network().ok_or(Errno::ENETUNREACH)?;
            let net = self.socket(id)?.net.ok_or(Errno::ENETUNREACH)?;
            return network
                .send_to(net, bytes, canonical(to), source_ip)
                .map(|_| ());
        };
        let options = &self.socket(id)?.options;
        let carried = Carried {
            to: match to.ip() {
                ip if ip.is_unspecified() => own,
                ip => ip.to_canonical(),
            },
            hop_limit: ancillary
                .hop_limit
                .unwrap_or_else(|| options.hop_limit(to.is_ipv4())),
            traffic_class: ancillary
                .traffic_class
                .unwrap_or_else(|| options.traffic_class(to.is_ipv4())),
        };
        let limit = self.socket(target)?.options.receive_buffer();
        let from = Address::Inet(from);
        match self.deliver_with(
            target,
            limit,
            from,
            Vec::new(),
            Beside {
                carried: Some(carried),
                ..Beside::default()
            },
            &mut &bytes[..],
        ) {
            // A full receiver loses what it cannot hold.
            Ok(_) | Err(Errno::EAGAIN) => Ok(()),
            Err(errno) => Err(errno),
        }
    }

    /// Delivers a datagram to members of a group; those that are full lose it.
    fn deliver_to(&mut self, members: Vec<SocketId>, from: SocketAddr, bytes: &[u8]) -> Result<()> {
        for member in members {
            let limit = self.socket(member)?.options.receive_buffer();
            let from = Address::Inet(from);
            let _ = self.deliver(member, limit, from, Vec::new(), &mut &bytes[..]);
        }
        Ok(())
    }

    /// Nobody has the port that a datagram was sent to: a connected sender hears of it, and one that wants to know.
    fn refuse(&mut self, id: SocketId, to: SocketAddr, bytes: &[u8]) -> Result<()> {
        let socket = self.socket_mut(id)?;
        let (kind, code) = if to.is_ipv4() { (3, 3) } else { (1, 4) };
        let wants = wants_reports(socket, to.ip());
        if wants && socket.reports.len() < MAX_REPORTS {
            socket.reports.push_back(Report {
                to,
                offender: to.ip(),
                kind,
                code,
                mtu: 0,
                errno: Errno::ECONNREFUSED,
                payload: bytes.to_vec(),
            });
        }
        if wants || socket.state == State::Connected {
            socket.error = Some(Errno::ECONNREFUSED);
            let queue = socket.queue;
            self.hub.wake(queue, Events::all());
        }
        Ok(())
    }

    /// `MSG_ERRQUEUE`: an answer to what was not delivered, with what was sent.
    ///
    /// # Errors
    /// `EAGAIN` when there is none; it is never waited for.
    pub(super) fn receive_report(
        &mut self,
        env: &dyn Env,
        id: SocketId,
        sink: &mut dyn Sink,
    ) -> Result<Received> {
        let socket = self.socket_mut(id)?;
        let datagram = socket.kind == SocketKind::Datagram;
        let mut report = socket.reports.pop_front();
        if report.is_some() {
            socket.error = socket.reports.front().map(|next| next.errno);
        }
        if let (None, Some(net), Some(network), true) =
            (&report, socket.net, env.network(), datagram)
        {
            report = network.take_report(net);
        }
        let report = report.ok_or(Errno::EAGAIN)?;
        let want = report.payload.len().min(sink.remaining());
        if sink.put(&report.payload[..want]) < want {
            return Err(Errno::EFAULT);
        }
        let mut flags = MessageFlags::ERRQUEUE;
        flags.set(MessageFlags::TRUNC, want < report.payload.len());
        Ok(Received {
            len: want,
            from: Address::Inet(report.to),
            flags,
            report: Some(report),
            ..Received::default()
        })
    }

    pub(super) fn receive_outside(
        &mut self,
        env: &dyn Env,
        id: SocketId,
        net: NetSocket,
        sink: &mut dyn Sink,
        flags: MessageFlags,
    ) -> Result<Received> {
        let network = env.network().ok_or(Errno::ENETDOWN)?;
        let socket = self.socket(id)?;
        let datagram = socket.kind == SocketKind::Datagram;
        let available = network.queued(net).1;
        if socket.no_read && available == 0 {
            return match datagram && flags.contains(MessageFlags::DONTWAIT) {
                true => Err(Errno::EAGAIN),
                false => Ok(Received::default()),
            };
        }
        let peek = flags.contains(MessageFlags::PEEK);
        let size = match datagram {
            true => available,
            false => sink.remaining().min(PIECE),
        };
        let mut buffer = vec![0; size];
        let received = if datagram {
            network
                .receive_from(net, &mut buffer, peek)
                .map(|(n, from, carried)| (n, Address::Inet(from), Some(carried)))
        } else {
            network
                .receive(net, &mut buffer, peek)
                .map(|n| (n, Address::Unnamed, None))
        };
        let (n, from, carried) = received.inspect_err(|errno| {
            if *errno != Errno::EAGAIN {
                // It is told once.
                network.take_error(net);
            }
        })?;
        let want = n.min(sink.remaining()).min(buffer.len());
        if sink.put(&buffer[..want]) < want {
            return Err(Errno::EFAULT);
        }
        let mut result = MessageFlags::empty();
        result.set(MessageFlags::TRUNC, want < n);
        Ok(Received {
            len: match flags.contains(MessageFlags::TRUNC) {
                true => n,
                false => want,
            },
            from,
            flags: result,
            carried,
            ..Received::default()
        })
    }

    /// Bytes that were sent and not taken or acknowledged (`SIOCOUTQ`).
    ///
    /// # Errors
    /// `ENOTTY` for what is no socket, `EINVAL` for a listener that is no Unix socket.
    pub fn bytes_sent(&self, env: &dyn Env, desc: DescId) -> Result<usize> {
        let socket = self.socket(self.socket_of(desc).map_err(|_| Errno::ENOTTY)?)?;
        let unix = socket.domain == Domain::Unix;
        if socket.domain == Domain::Netlink {
            return Err(Errno::ENOTTY);
        }
        if socket.state == State::Listening && !unix {
            return Err(Errno::EINVAL);
        }
        let peer = socket.peer.and_then(|peer| self.socket(peer).ok());
        // A peer within the UC has acknowledged what is in its inbox; a Unix one has not taken it.
        let held = peer.filter(|_| unix).map_or(0, |peer| peer.inbox_cost);
        Ok(held + self.outside_bytes(env, desc).0)
    }

    /// A datagram has been received.
    pub(super) fn stamp(&mut self, env: &dyn Env, id: SocketId) {
        if let Ok(socket) = self.socket_mut(id)
            && socket.kind == SocketKind::Datagram
            && socket.domain != Domain::Unix
        {
            socket.received_ns = Some(env.realtime());
        }
    }

    /// When the last datagram was received, in nanoseconds of the real time (`SIOCGSTAMP`).
    ///
    /// # Errors
    /// `ENOENT` when there was none, `ENOTTY` for sockets that keep no such time.
    pub fn last_received(&self, desc: DescId) -> Result<u64> {
        let socket = self.socket(self.socket_of(desc).map_err(|_| Errno::ENOTTY)?)?;
        match socket.domain {
            Domain::Inet | Domain::Inet6 => socket.received_ns.ok_or(Errno::ENOENT),
            _ => Err(Errno::ENOTTY),
        }
    }

    /// Whether a socket asks which interfaces there are (netlink).
    pub fn asks_interfaces(&self, desc: DescId) -> bool {
        let socket = self.socket_of(desc).and_then(|id| self.socket(id));
        socket.is_ok_and(|socket| socket.domain == Domain::Netlink)
    }

    /// Bytes of a socket that the stack below holds: sent and not acknowledged, and to be received.
    pub(crate) fn outside_bytes(&self, env: &dyn Env, desc: DescId) -> (usize, usize) {
        let Ok(Object::Socket(id)) = self.description(desc).map(|d| d.object) else {
            return (0, 0);
        };
        let net = self.socket(id).ok().and_then(|socket| socket.net);
        match (net, env.network()) {
            (Some(net), Some(network)) => network.queued(net),
            _ => (0, 0),
        }
    }
}

/// Whether a socket wants answers to datagrams of that family (`IP_RECVERR`, `IPV6_RECVERR`).
fn wants_reports(socket: &Socket, ip: IpAddr) -> bool {
    let options = &socket.options;
    options.flag(IPV6, RECVERR6) || ip.is_ipv4() && options.flag(IP, RECVERR)
}

/// Whether everybody on a link is meant.
fn is_for_all(env: &dyn Env, ip: IpAddr) -> bool {
    let IpAddr::V4(ip) = ip.to_canonical() else {
        return false;
    };
    let of = |prefixes: Vec<(IpAddr, u8)>| {
        prefixes.into_iter().any(|(own, length)| match own {
            IpAddr::V4(own) if length < 31 => {
                let host = u32::MAX.checked_shr(length.into()).unwrap_or(0);
                ip.to_bits() == own.to_bits() | host
            }
            _ => false,
        })
    };
    ip.is_broadcast() || ip.octets()[3] == 255 && env.network().is_some_and(|n| of(n.prefixes()))
}
