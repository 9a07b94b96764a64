//! `setsockopt` and `getsockopt`. Options that concern the wire are handed to the stack below.

use alloc::vec::Vec;

use super::group;
use crate::object::{
    Objects,
    credentials::cap,
    env::{Env, Time},
    errno::{Errno, Result},
    id::DescId,
    interfaces,
    kind::socket::{
        Owner, Sender, Socket, SocketId, SocketKind, State,
        address::{Address, Domain},
        option::{
            ADDR_PREFERENCES, BINDTODEVICE, BINDTOIFINDEX, BUF_LOCK, BUSY_POLL_BUDGET,
            DEFER_ACCEPT, FASTOPEN, FREEBIND, IP, IPV6, LINGER, LINGER2, MAX_BUFFER, MAXSEG,
            MIN_RECEIVE, MIN_SEND, MULTICAST_ALL, MULTICAST_HOPS, MULTICAST_IF, MULTICAST_IF6,
            MULTICAST_TTL, NETLINK, Options, PASSCRED, PEEK_OFF, PEERNAME, RCVBUF, RCVLOWAT,
            SNDBUF, SOCKET, STAMPS, TCLASS, TCP, TIMESTAMP, TIMESTAMP_NEW, TIMESTAMPING,
            TIMESTAMPNS, TIMESTAMPNS_NEW, TOS, TRANSPARENT, TRANSPARENT6, UDP, UDP_CORK,
            WINDOW_CLAMP, preferences, whole_repetitions,
        },
    },
    tcp_info::TcpInfo,
    wait::Events,
};

fn int(bytes: &[u8], at: usize) -> Result<i32> {
    let word = bytes.get(at..at + 4).and_then(|w| w.try_into().ok());
    word.map(i32::from_le_bytes).ok_or(Errno::EINVAL)
}

/// The same, or a byte where there is no room for more, as options of IPv4 are given.
fn short_int(bytes: &[u8]) -> Option<i32> {
    int(bytes, 0)
        .ok()
        .or(bytes.first().map(|byte| i32::from(*byte)))
}

/// A time limit in nanoseconds; 0 is none.
fn timeval(bytes: &[u8]) -> Result<u64> {
    let word = |at: usize| {
        let word = bytes.get(at..at + 8).and_then(|w| w.try_into().ok());
        word.map(i64::from_le_bytes).ok_or(Errno::EINVAL)
    };
    let (sec, usec) = (word(0)?, word(8)?);
    if !(0..1_000_000).contains(&usec) {
        return Err(Errno::EDOM);
    }
    // Longer than can be counted is for ever.
    if sec > (u64::MAX / 1_000_000_000) as i64 - 1 {
        return Ok(0);
    }
    Ok(Time {
        sec,
        nsec: usec as u32 * 1000,
    }
    .to_ns())
}

/// Half of what a window of loopback's may be.
const LOOPBACK_MSS: i32 = 32_741;

/// Names rather than numbers, of `IPPROTO_TCP`.
const CONGESTION: u32 = 13;
const ULP: u32 = 31;

/// Whether a socket has options of that level.
fn has_level(socket: &Socket, level: u32) -> bool {
    match level {
        SOCKET => true,
        _ if socket.domain == Domain::Unix => false,
        IP => socket.domain != Domain::Netlink,
        IPV6 => socket.domain == Domain::Inet6,
        TCP => socket.kind == SocketKind::Stream,
        UDP => socket.kind == SocketKind::Datagram && socket.domain != Domain::Netlink,
        NETLINK => socket.domain == Domain::Netlink,
        _ => false,
    }
}

/// `IP_OPTIONS`.
const OPTIONS: u32 = 4;

/// Of the options of IPv4 (RFC 791) those that say nothing are sent as none; others are refused.
///
/// # Errors
/// `EINVAL`.
fn ip_options(socket: &mut Socket, value: &[u8]) -> Result<()> {
    const END: u8 = 0;
    const MOST: usize = 40;
    let end = value.iter().position(|option| *option == END);
    let said = &value[..end.unwrap_or(value.len())];
    if value.len() > MOST || said.iter().any(|option| *option != 1) {
        return Err(Errno::EINVAL);
    }
    let mut kept = value.to_vec();
    kept[said.len()..].fill(END);
    kept.resize(value.len().next_multiple_of(4), END);
    socket.options.padding = kept;
    Ok(())
}

/// An option's value that is a number.
fn word(value: i32) -> Result<Vec<u8>> {
    Ok(value.to_le_bytes().to_vec())
}

/// One that is a `struct timeval`.
fn time(ns: u64) -> Result<Vec<u8>> {
    let usec = ns % 1_000_000_000 / 1000;
    Ok([(ns / 1_000_000_000).to_le_bytes(), usec.to_le_bytes()].concat())
}

/// An option that is what the guest has set, or was at the beginning.
fn plain_option(socket: &Socket, level: u32, name: u32) -> Result<Vec<u8>> {
    word(socket.options.get(level, name).ok_or(Errno::ENOPROTOOPT)?)
}

/// An option of every socket that follows from the socket alone.
fn general_option(socket: &Socket, name: u32) -> Result<Vec<u8>> {
    match name {
        // Of NETLINK the number that it was made with.
        3 => {
            let raw = socket.options.values.get(&(SOCKET, name));
            word(raw.copied().unwrap_or(socket.kind.number() as i32))
        }
        LINGER => {
            let (on, seconds) = socket.options.linger;
            Ok([on.to_le_bytes(), seconds.to_le_bytes()].concat())
        }
        17 => {
            // PEERCRED
            let nobody = Sender {
                pid: 0,
                uid: u32::MAX,
                gid: u32::MAX,
            };
            let owner = socket.peer_owner.as_ref();
            Ok(owner.map_or(nobody, Owner::name).to_bytes())
        }
        59 => {
            // PEERGROUPS
            let owner = socket.peer_owner.as_ref().ok_or(Errno::ENODATA)?;
            let groups = owner.who.groups.iter().flat_map(|g| g.to_le_bytes());
            Ok(groups.collect())
        }
        19 => word(1),
        PEEK_OFF if socket.domain != Domain::Unix => Err(Errno::EOPNOTSUPP),
        PEEK_OFF => match socket.options.peek_offset {
            Some(at) => word(at as i32),
            None => word(socket.options.peek_ended.unwrap_or(-1)),
        },
        BINDTOIFINDEX => word(socket.options.device as i32),
        20 | 66 => time(socket.options.timeouts_ns.0),
        21 | 67 => time(socket.options.timeouts_ns.1),
        30 => word(i32::from(socket.state == State::Listening)),
        38 => word(match (socket.domain, socket.kind) {
            (Domain::Unix | Domain::Netlink, _) => 0,
            (_, SocketKind::Stream) => 6,
            _ => 17,
        }),
        39 => word(i32::from(socket.domain.number())),
        // It has come over the only processor.
        49 if socket.state == State::Connected
            && socket.kind == SocketKind::Stream
            && socket.domain != Domain::Unix =>
        {
            word(
                socket
                    .options
                    .values
                    .get(&(SOCKET, name))
                    .copied()
                    .unwrap_or(0),
            )
        }
        TIMESTAMPING | 65 => {
            let flags = socket.options.get(SOCKET, name).unwrap_or(0);
            Ok([flags.to_le_bytes(), [0; 4]].concat())
        }
        // CNX_ADVICE
        BUSY_POLL_BUDGET | 53 => Err(Errno::ENOPROTOOPT),
        74 if !is_tcp(socket) => Err(Errno::EOPNOTSUPP),
        // GET_FILTER: there is none.
        26 => Ok(Vec::new()),
        _ => plain_option(socket, SOCKET, name),
    }
}

/// Whether a socket is of TCP.
fn is_tcp(socket: &Socket) -> bool {
    let inet = matches!(socket.domain, Domain::Inet | Domain::Inet6);
    inet && socket.kind == SocketKind::Stream
}

/// `TCP_INFO`: a socket without a connection has a state alone.
fn tcp_info(env: &dyn Env, socket: &Socket) -> Result<Vec<u8>> {
    let mut state = socket.tcp_state();
    let info = match (socket.state, &socket.remote, socket.net) {
        (State::Connected, Address::Inet(to), Some(net)) => {
            let network = env.network().ok_or(Errno::ENODEV)?;
            if network.readiness(net).contains(Events::RDHUP) {
                // The peer has ended, and it is known only there.
                state = if socket.no_write { 7 } else { 8 };
            }
            TcpInfo {
                path_mtu: network.path_mtu(to.ip().to_canonical()),
                ..network.tcp_info(net).unwrap_or_default()
            }
        }
        (State::Connected, ..) => TcpInfo::of_loopback(LOOPBACK_MSS as u32),
        _ => TcpInfo::default(),
    };
    Ok(info.to_bytes(state))
}

/// Bytes of a full segment of a connection.
fn segment_size(env: &dyn Env, socket: &Socket) -> Result<i32> {
    let to = match &socket.remote {
        Address::Inet(to) => to.ip().to_canonical(),
        _ => return Err(Errno::ENOTCONN),
    };
    let headers = if to.is_ipv4() { 40 } else { 60 };
    Ok(match (socket.net, env.network()) {
        (Some(_), Some(network)) => network.path_mtu(to) as i32 - headers,
        _ => LOOPBACK_MSS,
    })
}

impl Objects {
    /// `setsockopt`.
    ///
    /// # Errors
    /// `ENOTSOCK`, `EINVAL` (value too short), `ENOPROTOOPT`, `EDOM`.
    pub fn set_socket_option(
        &mut self,
        env: &dyn Env,
        desc: DescId,
        (level, name): (u32, u32),
        value: &[u8],
    ) -> Result<()> {
        let id = self.socket_of(desc)?;
        let socket = self.socket_mut(id)?;
        if socket.domain == Domain::Unix && level != SOCKET {
            return Err(Errno::EOPNOTSUPP);
        }
        if !has_level(socket, level) {
            return Err(Errno::ENOPROTOOPT);
        }
        // Times and what is to linger are longer, names of devices may be shorter.
        if (matches!(level, SOCKET | UDP) || level == TCP && !matches!(name, CONGESTION | ULP))
            && name != BINDTODEVICE
            && value.len() < 4
        {
            return Err(Errno::EINVAL);
        }
        let mighty = env.process().credentials().has(cap::NET_ADMIN);
        match (level, name) {
            (SOCKET, 3 | 4 | PEERNAME | 30 | 38 | 39) => return Err(Errno::ENOPROTOOPT),
            (SOCKET, BINDTODEVICE) => return self.bind_to_device(env, id, value),
            (SOCKET, BINDTOIFINDEX) => return self.bind_to_index(env, id, int(value, 0)?),
            (SOCKET, PEEK_OFF) if socket.domain != Domain::Unix => return Err(Errno::EOPNOTSUPP),
            // Anything below 0 ends it.
            (SOCKET, PEEK_OFF) => {
                let at = int(value, 0)?;
                socket.options.peek_offset = at.try_into().ok();
                socket.options.peek_ended = Some(at).filter(|at| *at < 0);
            }
            (SOCKET, LINGER) => {
                socket.options.linger = (i32::from(int(value, 0)? != 0), int(value, 4)?);
            }
            (SOCKET, 20 | 66) => socket.options.timeouts_ns.0 = timeval(value)?,
            (SOCKET, 21 | 67) => socket.options.timeouts_ns.1 = timeval(value)?,
            // CONGESTION: there is one algorithm. ULP: none.
            (TCP, CONGESTION | ULP) if value.is_empty() => return Err(Errno::EINVAL),
            (TCP, CONGESTION) if value.split(|b| *b == 0).next() == Some(b"reno") => {}
            (TCP, CONGESTION | ULP) => return Err(Errno::ENOENT),
            // FASTOPEN_CONNECT, as where `tcp_fastopen` is 0.
            (TCP, 30) => return Err(Errno::EOPNOTSUPP),
            // SO_RCVBUFFORCE and SO_SNDBUFFORCE, MARK, DEBUG, BUSY_POLL: for the network's administrator.
            (SOCKET, 32 | 33 | 36) if !mighty => return Err(Errno::EPERM),
            // PREFER_BUSY_POLL
            (SOCKET, 69) if !mighty && int(value, 0)? != 0 => return Err(Errno::EPERM),
            (SOCKET, BUSY_POLL_BUDGET) if !mighty && int(value, 0)? > 0 => {
                return Err(Errno::EPERM);
            }
            // DETACH_FILTER
            (SOCKET, 27) => return Err(Errno::ENOENT),
            // RESERVE_MEM: nobody counts the memory of this one apart.
            (SOCKET, 73) if int(value, 0)? < 0 => return Err(Errno::EINVAL),
            (SOCKET, 73) => return Err(Errno::EOPNOTSUPP),
            (SOCKET, 74) if !is_tcp(socket) => return Err(Errno::EOPNOTSUPP),
            (IP, TRANSPARENT) if !mighty && short_int(value).is_some_and(|on| on != 0) => {
                return Err(Errno::EPERM);
            }
            (IPV6, TRANSPARENT6) if !mighty && int(value, 0)? != 0 => return Err(Errno::EPERM),
            (IP, 5) => return Err(Errno::EINVAL),
            (IP, OPTIONS) => return ip_options(socket, value),
            (SOCKET, 1) if !mighty && int(value, 0)? != 0 => return Err(Errno::EACCES),
            (SOCKET, 46) if !mighty && int(value, 0)? > 0 => return Err(Errno::EPERM),
            (SOCKET, 12) if !mighty && !(0..=6).contains(&int(value, 0)?) => {
                return Err(Errno::EPERM);
            }
            (IP, MULTICAST_IF) if socket.kind == SocketKind::Stream => return Err(Errno::EINVAL),
            _ if group::is_known(level, name) => {
                return self.set_group_option(env, id, (level, name), value);
            }
            _ => return self.set_number(env, id, (level, name), value),
        }
        Ok(())
    }

    /// Sets an option that is a number.
    fn set_number(
        &mut self,
        env: &dyn Env,
        id: SocketId,
        (level, name): (u32, u32),
        value: &[u8],
    ) -> Result<()> {
        let socket = self.socket_mut(id)?;
        let (default, rule) = Options::rule(level, name).ok_or(Errno::ENOPROTOOPT)?;
        let stream = socket.kind == SocketKind::Stream;
        if stream && level == IPV6 && matches!(name, MULTICAST_HOPS | MULTICAST_IF6) {
            return Err(Errno::ENOPROTOOPT);
        }
        let value = match (level, value) {
            // What is too short is nothing.
            (NETLINK, [] | [_] | [_, _] | [_, _, _]) => 0,
            // A byte is enough for options of IP, and nothing at all for those that are on or off.
            (IP, [])
                if !matches!(
                    name,
                    2 | MULTICAST_TTL | 34 | MULTICAST_ALL | FREEBIND | TRANSPARENT
                ) =>
            {
                0
            }
            (IPV6, [] | [_] | [_, _] | [_, _, _]) if matches!(name, 62 | 70) => 0,
            (IP, [_] | [_, _] | [_, _, _]) => short_int(value).unwrap_or(0),
            _ => int(value, 0)?,
        };
        let value = rule.keep(value, default)?;
        let value = match (level, name) {
            (SOCKET, SNDBUF | RCVBUF) => {
                let least = if name == SNDBUF {
                    MIN_SEND
                } else {
                    MIN_RECEIVE
                };
                let half = (value as u32).min(MAX_BUFFER as u32 / 2) as i32;
                (half * 2).max(least)
            }
            // No more than there can be.
            (SOCKET, RCVLOWAT) if value < 0 => MAX_BUFFER / 2,
            (SOCKET, RCVLOWAT) => value.clamp(1, MAX_BUFFER / 2),
            (SOCKET, TIMESTAMPING | 65) if value & !STAMPS != 0 => return Err(Errno::EINVAL),
            // Bits of congestion notification are the protocol's.
            (IP, TOS) | (IPV6, TCLASS) if stream => value & 0xfc,
            (IP, TOS) => value & 0xff,
            (IP, MULTICAST_TTL) if stream => return Err(Errno::EINVAL),
            (IPV6, MULTICAST_IF6) if !(0..=2).contains(&value) => return Err(Errno::ENODEV),
            (IPV6, ADDR_PREFERENCES) => {
                preferences(socket.options.get(level, name).unwrap_or(default), value)?
            }
            (TCP, MAXSEG) if value != 0 && !(88..=32_767).contains(&value) => {
                return Err(Errno::EINVAL);
            }
            (TCP, MAXSEG) if value == 0 => default,
            (TCP, LINGER2) => match value {
                ..0 => -1,
                0 => default,
                _ => value.min(120),
            },
            (TCP, DEFER_ACCEPT) => whole_repetitions(value),
            (TCP, WINDOW_CLAMP) if value == 0 && socket.state != State::Idle => {
                return Err(Errno::EINVAL);
            }
            (TCP, WINDOW_CLAMP) if value != 0 => value.max(MIN_RECEIVE / 2),
            (TCP, FASTOPEN) if !matches!(socket.state, State::Idle | State::Listening) => {
                return Err(Errno::EINVAL);
            }
            (TCP, FASTOPEN) => value.min(4096),
            _ => value,
        };
        match (level, name) {
            (SOCKET, PASSCRED) => socket.options.passes_credentials = value != 0,
            (SOCKET, RCVLOWAT) => socket.options.more_wanted = value as usize - 1,
            // Each of them ends the others.
            (SOCKET, TIMESTAMP | TIMESTAMPNS | TIMESTAMP_NEW | TIMESTAMPNS_NEW) => {
                for other in [TIMESTAMP, TIMESTAMPNS, TIMESTAMP_NEW, TIMESTAMPNS_NEW] {
                    socket.options.values.remove(&(SOCKET, other));
                }
            }
            (SOCKET, TIMESTAMPING | 65) => {
                let other = TIMESTAMPING + 65 - name;
                socket.options.values.remove(&(SOCKET, other));
            }
            (SOCKET, SNDBUF | RCVBUF) => {
                let locked = socket.options.get(SOCKET, BUF_LOCK).unwrap_or(0);
                let more = if name == SNDBUF { 1 } else { 2 };
                socket
                    .options
                    .values
                    .insert((SOCKET, BUF_LOCK), locked | more);
            }
            _ => {}
        }
        socket.options.values.insert((level, name), value);
        if let (Some(net), Some(network)) = (socket.net, env.network()) {
            socket.options.tell_one(network, net, level, name);
        }
        match (level, name, value) {
            (UDP, UDP_CORK, 0) => self.uncork(env, id),
            _ => Ok(()),
        }
    }

    /// `getsockopt`: the value, which the caller cuts to the `room` that the guest has.
    ///
    /// # Errors
    /// `ENOTSOCK`, `ENOPROTOOPT`.
    pub fn socket_option(
        &mut self,
        env: &dyn Env,
        desc: DescId,
        (level, name): (u32, u32),
        room: i32,
    ) -> Result<Vec<u8>> {
        let id = self.socket_of(desc)?;
        self.settle_connect(env, id);
        let socket = self.socket_mut(id)?;
        if !has_level(socket, level) {
            return Err(match socket.domain {
                Domain::Inet6 | Domain::Netlink => Errno::ENOPROTOOPT,
                Domain::Unix | Domain::Inet => Errno::EOPNOTSUPP,
            });
        }
        // IPv6 takes a negative number for a large one.
        let room = match (level, usize::try_from(room)) {
            (_, Ok(room)) => room,
            (IPV6, Err(_)) => usize::MAX,
            _ => return Err(Errno::EINVAL),
        };
        if level == NETLINK && room < 4 && Options::rule(level, name).is_some() {
            return Err(Errno::EINVAL);
        }
        match (level, name) {
            (SOCKET, BINDTODEVICE) => self.device_of(env, id, room),
            (SOCKET, 4) => {
                let (error, net) = (socket.error.take(), socket.net);
                let outside = || env.network().zip(net).and_then(|(n, s)| n.take_error(s));
                word(error.or_else(outside).map_or(0, Errno::number))
            }
            // COOKIE: a number for each socket.
            (SOCKET, 57) if room < 8 => Err(Errno::EINVAL),
            (SOCKET, 57) => Ok((u64::from(id.index()) + 1).to_le_bytes().to_vec()),
            (SOCKET, PEERNAME) => match (&socket.remote, socket.state) {
                _ if socket.domain == Domain::Netlink && room <= 12 => {
                    Ok(Address::Netlink(0).to_bytes(Domain::Netlink))
                }
                _ if socket.domain == Domain::Netlink => Err(Errno::EINVAL),
                (_, State::Idle | State::Listening | State::Connecting) => Err(Errno::ENOTCONN),
                _ => {
                    let (domain, peer) = self.peer_name(env, desc)?;
                    let bytes = peer.to_bytes(domain);
                    // Unlike getpeername, it does not cut.
                    (room <= bytes.len()).then_some(bytes).ok_or(Errno::EINVAL)
                }
            },
            (SOCKET, _) => general_option(socket, name),
            (TCP, 11) => tcp_info(env, socket),
            (TCP, MAXSEG) if socket.state == State::Connected => word(segment_size(env, socket)?),
            (TCP, ULP) => Ok(Vec::new()),
            (IP, OPTIONS) => Ok(socket.options.padding.clone()),
            // Whoever hears one family alone hears groups that others have entered in it.
            (IP, MULTICAST_ALL) if socket.domain == Domain::Inet6 => word(
                socket
                    .options
                    .values
                    .get(&(level, name))
                    .copied()
                    .unwrap_or(0),
            ),
            (TCP, 13) => Ok(b"reno\0\0\0\0\0\0\0\0\0\0\0\0".to_vec()),
            // IP_MTU, IPV6_MTU
            (IP, 14) | (IPV6, 24) => match (&socket.remote, socket.state) {
                (Address::Inet(to), State::Connected) => {
                    let to = to.ip().to_canonical();
                    let outside = env.network().filter(|_| !to.is_loopback());
                    // No packet of IPv4 is as long as loopback could take.
                    let most = if level == IP { 65_535 } else { 65_536 };
                    word(outside.map_or(most, |n| n.path_mtu(to) as i32))
                }
                _ => Err(Errno::ENOTCONN),
            },
            // IP_MULTICAST_IF gives the interface's address.
            (IP, 32) => {
                let chosen = socket.options.get(IP, 32).unwrap_or(0) as u32;
                let all = interfaces::all(env);
                let found = all.iter().find(|i| i.index == chosen).and_then(|i| i.v4());
                Ok(found.map_or([0; 4], |(ip, _)| ip.octets()).to_vec())
            }
            _ => plain_option(socket, level, name),
        }
    }

    /// Which options a guest has set that make something come with each datagram.
    ///
    /// # Errors
    /// `ENOTSOCK`.
    pub fn socket_wants(&self, desc: DescId) -> Result<impl Fn(u32, u32) -> i32 + 'static> {
        let options = self.socket(self.socket_of(desc)?)?.options.clone();
        Ok(move |level, name| options.get(level, name).unwrap_or(0))
    }

    /// Whether each message of a Unix socket says who sent it (`SO_PASSCRED`).
    pub fn tells_senders(&self, desc: DescId) -> bool {
        let socket = self.socket_of(desc).and_then(|id| self.socket(id));
        socket.is_ok_and(|s| s.domain == Domain::Unix && s.options.passes_credentials)
    }

    /// Bytes beyond the first that a call which reads a stream waits for (`SO_RCVLOWAT`).
    pub fn more_wanted(&self, desc: DescId) -> usize {
        let socket = self.socket_of(desc).and_then(|id| self.socket(id));
        socket.map_or(0, |socket| match socket.kind {
            SocketKind::Stream => socket.options.more_wanted,
            _ => 0,
        })
    }

    /// How long receiving and sending may block, in nanoseconds; 0 is for ever.
    pub fn socket_timeouts(&self, desc: DescId) -> Result<(u64, u64)> {
        Ok(self.socket(self.socket_of(desc)?)?.options.timeouts_ns)
    }
}
