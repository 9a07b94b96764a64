//! `setsockopt` and `getsockopt`. Options that concern the wire are handed to the stack below.

use alloc::vec::Vec;

use super::group;
use crate::object::{
    Objects,
    env::{Env, Time},
    errno::{Errno, Result},
    id::DescId,
    interfaces,
    kind::socket::{
        SocketKind, State,
        address::{Address, Domain},
        option::{
            IP, IPV6, LINGER, MAX_BUFFER, MIN_BUFFER, PASSCRED, RCVBUF, REUSEADDR, REUSEPORT,
            SNDBUF, SOCKET, TCP, UDP, UDP_CORK, V6ONLY,
        },
    },
};

fn int(bytes: &[u8], at: usize) -> Result<i32> {
    let word = bytes.get(at..at + 4).and_then(|w| w.try_into().ok());
    word.map(i32::from_le_bytes).ok_or(Errno::EINVAL)
}

fn timeval(bytes: &[u8]) -> Result<u64> {
    let word = |at: usize| {
        let word = bytes.get(at..at + 8).and_then(|w| w.try_into().ok());
        word.map(i64::from_le_bytes).ok_or(Errno::EINVAL)
    };
    let (sec, usec) = (word(0)?, word(8)?);
    if !(0..1_000_000).contains(&usec) {
        return Err(Errno::EDOM);
    }
    Ok(Time {
        sec,
        nsec: usec as u32 * 1000,
    }
    .to_ns())
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
        match (level, name) {
            (SOCKET, 3 | 4 | 30 | 38 | 39) => return Err(Errno::ENOPROTOOPT),
            (SOCKET, LINGER) => socket.options.linger = (int(value, 0)?, int(value, 4)?),
            (SOCKET, 20 | 66) => socket.options.timeouts_ns.0 = timeval(value)?,
            (SOCKET, 21 | 67) => socket.options.timeouts_ns.1 = timeval(value)?,
            (TCP, 13) | (TCP, 31) => {} // CONGESTION, ULP: one algorithm, whatever its name
            _ if group::is_known(level, name) => {
                return self.set_group_option(env, id, (level, name), value);
            }
            _ => {
                if socket.options.get(level, name).is_none() {
                    return Err(Errno::ENOPROTOOPT);
                }
                // Some programs pass a single byte for IP options, as Linux allows.
                let value = match (level, value) {
                    (IP, [byte]) => i32::from(*byte),
                    _ => int(value, 0)?,
                };
                let value = match (level, name) {
                    (SOCKET, SNDBUF | RCVBUF) => value
                        .clamp(0, MAX_BUFFER / 2)
                        .saturating_mul(2)
                        .max(MIN_BUFFER),
                    (SOCKET, REUSEADDR | REUSEPORT | 5 | 6 | 9 | 10 | PASSCRED) => {
                        i32::from(value != 0)
                    }
                    (TCP, 1 | 3) | (IPV6, V6ONLY) => i32::from(value != 0),
                    (TCP, 4..=6) if !(1..=32767).contains(&value) => return Err(Errno::EINVAL),
                    (IP, 2) if value != -1 && !(1..=255).contains(&value) => {
                        return Err(Errno::EINVAL);
                    }
                    (IP, 33) | (IPV6, 16 | 18 | 67) if !(-1..=255).contains(&value) => {
                        return Err(Errno::EINVAL);
                    }
                    (IP, 10) | (IPV6, 23) if !(0..=5).contains(&value) => {
                        return Err(Errno::EINVAL);
                    }
                    // -1 is the usual.
                    (IP, 2) if value == -1 => 64,
                    (IP, 33) | (IPV6, 18) if value == -1 => 1,
                    (IPV6, 16) if value == -1 => 64,
                    (IPV6, 67) if value == -1 => 0,
                    (IPV6, 17) if !(0..=2).contains(&value) => return Err(Errno::ENODEV),
                    (UDP, UDP_CORK) => i32::from(value != 0),
                    _ => value,
                };
                socket.options.values.insert((level, name), value);
                let net = socket.net;
                if let (Some(net), Some(network)) = (net, env.network()) {
                    network.set_option(net, level, name, value);
                }
                if (level, name, value) == (UDP, UDP_CORK, 0) {
                    return self.uncork(env, id);
                }
            }
        }
        Ok(())
    }

    /// `getsockopt`: the value, which the caller cuts to the room the guest has.
    ///
    /// # Errors
    /// `ENOTSOCK`, `ENOPROTOOPT`.
    pub fn socket_option(
        &mut self,
        env: &dyn Env,
        desc: DescId,
        (level, name): (u32, u32),
    ) -> Result<Vec<u8>> {
        let id = self.socket_of(desc)?;
        self.settle_connect(env, id);
        let socket = self.socket_mut(id)?;
        if socket.domain == Domain::Unix && level != SOCKET {
            return Err(Errno::EOPNOTSUPP);
        }
        let word = |value: i32| Ok(value.to_le_bytes().to_vec());
        let time = |ns: u64| {
            let usec = ns % 1_000_000_000 / 1000;
            Ok([(ns / 1_000_000_000).to_le_bytes(), usec.to_le_bytes()].concat())
        };
        match (level, name) {
            (SOCKET, 3) => word(socket.kind.number() as i32),
            (SOCKET, 4) => {
                let (error, net) = (socket.error.take(), socket.net);
                let outside = || env.network().zip(net).and_then(|(n, s)| n.take_error(s));
                word(error.or_else(outside).map_or(0, Errno::number))
            }
            (SOCKET, LINGER) => {
                let (on, seconds) = socket.options.linger;
                Ok([on.to_le_bytes(), seconds.to_le_bytes()].concat())
            }
            (SOCKET, 17) => {
                // PEERCRED: everything in a UC is one process of the super-user.
                let known = socket.domain == Domain::Unix && socket.state != State::Idle;
                let pid = if known { env.process().pid() } else { 0 };
                let id: u32 = if known { 0 } else { u32::MAX };
                Ok([pid.to_le_bytes(), id.to_le_bytes(), id.to_le_bytes()].concat())
            }
            (SOCKET, 19) => word(1),
            (SOCKET, 20 | 66) => time(socket.options.timeouts_ns.0),
            (SOCKET, 21 | 67) => time(socket.options.timeouts_ns.1),
            (SOCKET, 30) => word(i32::from(socket.state == State::Listening)),
            (SOCKET, 38) => word(match (socket.domain, socket.kind) {
                (Domain::Unix | Domain::Netlink, _) => 0,
                (_, SocketKind::Stream) => 6,
                _ => 17,
            }),
            (SOCKET, 39) => word(i32::from(socket.domain.number())),
            (TCP, 11) => {
                // TCP_INFO: the state (1 established, 7 closed, 10 listening); the rest is unknown.
                let mut info = alloc::vec![0; 104];
                info[0] = match socket.state {
                    State::Connected => 1,
                    State::Listening => 10,
                    State::Connecting => 2,
                    State::Idle => 7,
                };
                Ok(info)
            }
            // IP_MTU, IPV6_MTU
            (IP, 14) | (IPV6, 24) => match (&socket.remote, socket.state) {
                (Address::Inet(to), State::Connected) => {
                    let to = to.ip().to_canonical();
                    let outside = env.network().filter(|_| !to.is_loopback());
                    word(outside.map_or(65_536, |n| n.path_mtu(to) as i32))
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
            (TCP, 13) => Ok(b"reno\0\0\0\0\0\0\0\0\0\0\0\0".to_vec()),
            _ => word(socket.options.get(level, name).ok_or(Errno::ENOPROTOOPT)?),
        }
    }

    /// Which options a guest has set that make something come with each datagram.
    ///
    /// # Errors
    /// `ENOTSOCK`.
    pub fn socket_wants(&self, desc: DescId) -> Result<impl Fn(u32, u32) -> bool + 'static> {
        let options = self.socket(self.socket_of(desc)?)?.options.clone();
        Ok(move |level, name| options.flag(level, name))
    }

    /// How long receiving and sending may block, in nanoseconds; 0 is for ever.
    pub fn socket_timeouts(&self, desc: DescId) -> Result<(u64, u64)> {
        Ok(self.socket(self.socket_of(desc)?)?.options.timeouts_ns)
    }
}
