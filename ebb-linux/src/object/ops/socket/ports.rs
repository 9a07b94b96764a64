//! Ports of a UC: which internet socket has which, within loopback and beyond.

use core::cmp::Ordering;
use core::net::{IpAddr, SocketAddr};

use super::spread::Choice;
use crate::object::{
    Objects,
    env::Env,
    errno::{Errno, Result},
    interfaces::LO,
    kind::socket::{
        Port, Socket, SocketId, SocketKind, State,
        address::{Address, Domain, canonical, is_loopback},
        option,
    },
};

/// Ports that are given to those who ask for none in particular (Linux' `ip_local_port_range`).
const EPHEMERAL: core::ops::RangeInclusive<u16> = 32768..=60999;

/// Whether a socket bound to `bound` hears what is sent to `ip`.
fn covers(bound: IpAddr, v6: bool, v6_only: bool, ip: IpAddr) -> bool {
    match bound {
        IpAddr::V4(any) if any.is_unspecified() => ip.is_ipv4(),
        IpAddr::V6(any) if any.is_unspecified() => ip.is_ipv6() || v6 && !v6_only,
        bound => bound == ip,
    }
}

impl Objects {
    /// Whether two bound sockets would hear the same.
    fn ports_conflict(&self, a: &Socket, at: SocketAddr, b: &Socket) -> bool {
        let Address::Inet(other) = b.local else {
            return false;
        };
        let (x, y) = (at.ip().to_canonical(), other.ip().to_canonical());
        let only = |s: &Socket| s.options.flag(option::IPV6, option::V6ONLY);
        let v6 = |s: &Socket| s.domain == Domain::Inet6;
        let overlap = x == y
            || x.is_unspecified() && covers(x, v6(a), only(a), y)
            || y.is_unspecified() && covers(y, v6(b), only(b), x)
            || x.is_unspecified()
                && y.is_unspecified()
                && (v6(a) == v6(b) || v6(a) && !only(a) || v6(b) && !only(b));
        let devices = (a.options.device, b.options.device);
        let apart = devices.0 != devices.1 && devices.0 != 0 && devices.1 != 0;
        if !overlap || apart {
            return false;
        }
        let both =
            |name| a.options.flag(option::SOCKET, name) && b.options.flag(option::SOCKET, name);
        if both(option::REUSEPORT) {
            return false;
        }
        !(both(option::REUSEADDR) && b.state != State::Listening)
    }

    /// Gives a socket its local address; port 0 is any free one.
    pub(super) fn take_port(&mut self, env: &dyn Env, id: SocketId, at: SocketAddr) -> Result<()> {
        let socket = self.socket(id)?;
        let stream = socket.kind == SocketKind::Stream;
        let free = |at: SocketAddr| {
            let others = self.sockets.ports.at(stream, at.port()).iter();
            let mut others = others.filter_map(|&o| self.kinds.sockets.get(o));
            !others.any(|other| self.ports_conflict(socket, at, other))
        };
        let chosen = at.port() == 0;
        let at = if !chosen {
            if !free(at) {
                return Err(Errno::EADDRINUSE);
            }
            at
        } else {
            let mut start = [0; 2];
            env.random(&mut start);
            let count = EPHEMERAL.end() - EPHEMERAL.start() + 1;
            let start = u16::from_le_bytes(start) % count;
            let candidates = (0..count).map(|n| EPHEMERAL.start() + (start + n) % count);
            // An ephemeral port is nobody else's, whatever its options.
            let unused = |port: &u16| self.sockets.ports.at(stream, *port).is_empty();
            let port = candidates
                .into_iter()
                .find(unused)
                .ok_or(Errno::EADDRINUSE)?;
            SocketAddr::new(at.ip(), port)
        };
        self.sockets
            .ports
            .taken
            .entry((stream, at.port()))
            .or_default()
            .push(id);
        let socket = self.socket_mut(id)?;
        socket.local = Address::Inet(at);
        socket.port = match chosen {
            true => Port::Chosen,
            false => Port::Asked,
        };
        Ok(())
    }

    /// Notes a port that the stack below has chosen, or that an accepted connection shares.
    pub(super) fn note_port(&mut self, id: SocketId, at: SocketAddr) -> Result<()> {
        let stream = self.socket(id)?.kind == SocketKind::Stream;
        self.sockets
            .ports
            .taken
            .entry((stream, at.port()))
            .or_default()
            .push(id);
        self.socket_mut(id)?.local = Address::Inet(at);
        Ok(())
    }

    /// Who hears what is sent to a local address: a listener, or a datagram socket, that which is bound most
    /// exactly.
    pub(super) fn find_local(
        &self,
        stream: bool,
        from: SocketAddr,
        to: SocketAddr,
    ) -> Option<SocketId> {
        let to = canonical(to);
        let ip = match to.ip() {
            IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::from([127, 0, 0, 1]),
            IpAddr::V6(ip) if ip.is_unspecified() => core::net::Ipv6Addr::LOCALHOST.into(),
            ip => ip,
        };
        let mut best = None;
        let mut choice = None;
        for &id in self.sockets.ports.at(stream, to.port()) {
            let Some(socket) = self.kinds.sockets.get(id) else {
                continue;
            };
            let Address::Inet(bound) = socket.local else {
                continue;
            };
            // Thousands may have a port, and options are searched for.
            let v6 = socket.domain == Domain::Inet6;
            let only = v6 && socket.options.flag(option::IPV6, option::V6ONLY);
            if !socket.uses(LO) || !covers(bound.ip().to_canonical(), v6, only, ip) {
                continue;
            }
            if stream && socket.state != State::Listening {
                continue;
            }
            let mut exact = u32::from(!bound.ip().is_unspecified());
            if !stream && socket.state == State::Connected {
                // A connected datagram socket hears only its peer.
                match socket.remote {
                    Address::Inet(peer) if canonical(peer) == canonical(from) => exact += 2,
                    _ => continue,
                }
            }
            // Of those that share an address the newest hears all; of those that share a port each hears some. Which it is
            // they have in common.
            match best.map(|(score, _)| exact.cmp(&score)) {
                Some(Ordering::Less) => continue,
                Some(Ordering::Equal) => {}
                None | Some(Ordering::Greater) => {
                    let shares = socket.options.flag(option::SOCKET, option::REUSEPORT);
                    choice = shares.then(|| Choice::of(from));
                }
            }
            if choice.as_mut().is_none_or(Choice::takes_next) {
                best = Some((exact, id));
            }
        }
        best.map(|(_, id)| id)
    }

    /// Whether an address is this UC's own.
    pub(super) fn is_local(&self, env: &dyn Env, ip: IpAddr) -> bool {
        is_loopback(ip)
            || env
                .network()
                .is_some_and(|n| n.addresses().contains(&ip.to_canonical()))
    }

    /// Whether the way to an address stays within the UC; what listens on the machine's own addresses may be the
    /// machine's, or another UC's.
    pub(super) fn leads_within(
        &self,
        env: &dyn Env,
        id: SocketId,
        is_stream: bool,
        to: SocketAddr,
    ) -> Result<bool> {
        let socket = self.socket(id)?;
        if socket.domain == Domain::Inet && to.is_ipv6() {
            return Err(Errno::EAFNOSUPPORT);
        }
        let here = self.is_local(env, to.ip())
            && (is_loopback(to.ip()) || self.find_local(is_stream, to, to).is_some());
        if if here {
            socket.uses(LO)
        } else {
            socket.leads_out()
        } {
            Ok(here)
        } else {
            Err(Errno::ENETUNREACH)
        }
    }
}
