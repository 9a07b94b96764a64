//! Socket options. Those that programs set and Linux keeps are kept; those that concern the wire
//! are handed to the stack below.

use alloc::{collections::BTreeMap, vec::Vec};

use super::{Objects, SocketKind, State, address::Domain};
use crate::object::{
    description::DescId,
    env::{Env, Time},
    errno::{Errno, Result},
};

/// `SOL_SOCKET`.
pub const SOCKET: u32 = 1;
/// `IPPROTO_IP`.
const IP: u32 = 0;
/// `IPPROTO_TCP`.
const TCP: u32 = 6;
/// `IPPROTO_UDP`.
const UDP: u32 = 17;
/// `IPPROTO_IPV6`.
pub const IPV6: u32 = 41;
pub(super) const REUSEADDR: u32 = 2;
pub(super) const REUSEPORT: u32 = 15;
pub(super) const V6ONLY: u32 = 26;
const PASSCRED: u32 = 16;
const LINGER: u32 = 13;
const SNDBUF: u32 = 7;
const RCVBUF: u32 = 8;

/// Bytes that a new socket's buffers hold (Linux' `wmem_default`).
pub const DEFAULT_BUFFER: i32 = 212_992;
/// The most that `SO_SNDBUF` and `SO_RCVBUF` double to.
const MAX_BUFFER: i32 = 2 * DEFAULT_BUFFER;
const MIN_BUFFER: i32 = 4608;

/// Integer options with a meaning of their own or none here: level, name, default. A value is
/// remembered and given back.
const KEPT: &[(u32, u32, i32)] = &[
    (SOCKET, REUSEADDR, 0),
    (SOCKET, 5, 0), // DONTROUTE
    (SOCKET, 6, 0), // BROADCAST
    (SOCKET, SNDBUF, DEFAULT_BUFFER),
    (SOCKET, RCVBUF, DEFAULT_BUFFER),
    (SOCKET, 9, 0),  // KEEPALIVE
    (SOCKET, 10, 0), // OOBINLINE
    (SOCKET, 12, 0), // PRIORITY
    (SOCKET, REUSEPORT, 0),
    (SOCKET, PASSCRED, 0),
    (SOCKET, 18, 1), // RCVLOWAT
    (SOCKET, 29, 0), // TIMESTAMP
    (SOCKET, 35, 0), // TIMESTAMPNS
    (SOCKET, 36, 0), // MARK
    (SOCKET, 46, 0), // BUSY_POLL
    (SOCKET, 47, 0), // MAX_PACING_RATE
    (SOCKET, 49, 0), // INCOMING_CPU
    (TCP, 1, 0),     // NODELAY
    (TCP, 2, 536),   // MAXSEG
    (TCP, 3, 0),     // CORK
    (TCP, 4, 7200),  // KEEPIDLE
    (TCP, 5, 75),    // KEEPINTVL
    (TCP, 6, 9),     // KEEPCNT
    (TCP, 7, 6),     // SYNCNT
    (TCP, 8, 60),    // LINGER2
    (TCP, 9, 0),     // DEFER_ACCEPT
    (TCP, 10, 0),    // WINDOW_CLAMP
    (TCP, 12, 1),    // QUICKACK
    (TCP, 18, 0),    // USER_TIMEOUT
    (TCP, 23, 0),    // FASTOPEN
    (TCP, 25, 0),    // NOTSENT_LOWAT
    (TCP, 30, 0),    // FASTOPEN_CONNECT
    (IP, 1, 0),      // TOS
    (IP, 2, 64),     // TTL
    (IP, 8, 0),      // PKTINFO
    (IP, 10, 1),     // MTU_DISCOVER
    (IP, 11, 0),     // RECVERR
    (IP, 12, 0),     // RECVTTL
    (IP, 13, 0),     // RECVTOS
    (IP, 15, 0),     // FREEBIND
    (IP, 24, 0),     // BIND_ADDRESS_NO_PORT
    (IP, 33, 1),     // MULTICAST_TTL
    (IP, 34, 1),     // MULTICAST_LOOP
    (IPV6, 16, -1),  // UNICAST_HOPS
    (IPV6, 18, -1),  // MULTICAST_HOPS
    (IPV6, 19, 1),   // MULTICAST_LOOP
    (IPV6, 23, 1),   // MTU_DISCOVER
    (IPV6, 25, 0),   // RECVERR
    (IPV6, V6ONLY, 0),
    (IPV6, 49, 0), // RECVPKTINFO
    (IPV6, 67, 0), // TCLASS
    (UDP, 103, 0), // SEGMENT
    (UDP, 104, 0), // GRO
];

/// What a guest has set.
#[derive(Clone, Debug, Default)]
pub struct Options {
    values: BTreeMap<(u32, u32), i32>,
    linger: (i32, i32),
    /// `SO_RCVTIMEO` and `SO_SNDTIMEO` in nanoseconds; 0 waits for ever.
    pub(crate) timeouts: (u64, u64),
}

impl Options {
    fn get(&self, level: u32, name: u32) -> Option<i32> {
        let &(.., default) = KEPT.iter().find(|&&(l, n, _)| (l, n) == (level, name))?;
        Some(self.values.get(&(level, name)).copied().unwrap_or(default))
    }

    /// Whether a boolean option is on.
    pub(crate) fn flag(&self, level: u32, name: u32) -> bool {
        self.get(level, name).is_some_and(|v| v != 0)
    }

    /// Bytes that may wait for the receiver.
    pub(crate) fn receive_buffer(&self) -> usize {
        self.get(SOCKET, RCVBUF).unwrap_or(DEFAULT_BUFFER) as usize
    }

    /// Bytes that may be on their way.
    pub(crate) fn send_buffer(&self) -> usize {
        self.get(SOCKET, SNDBUF).unwrap_or(DEFAULT_BUFFER) as usize
    }
}

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
            (SOCKET, 20 | 66) => socket.options.timeouts.0 = timeval(value)?,
            (SOCKET, 21 | 67) => socket.options.timeouts.1 = timeval(value)?,
            (TCP, 13) | (TCP, 31) => {} // CONGESTION, ULP: one algorithm, whatever its name
            // Membership in multicast groups: nobody else is there.
            (IP, 32 | 35 | 36) | (IPV6, 17 | 20 | 21) => {}
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
                    _ => value,
                };
                socket.options.values.insert((level, name), value);
                let net = socket.net;
                if let (Some(net), Some(network)) = (net, env.network()) {
                    network.set_option(net, level, name, value);
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
            (SOCKET, 4) => word(socket.error.take().map_or(0, Errno::number)),
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
            (SOCKET, 20 | 66) => time(socket.options.timeouts.0),
            (SOCKET, 21 | 67) => time(socket.options.timeouts.1),
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
            (TCP, 13) => Ok(b"reno\0\0\0\0\0\0\0\0\0\0\0\0".to_vec()),
            _ => word(socket.options.get(level, name).ok_or(Errno::ENOPROTOOPT)?),
        }
    }

    /// How long receiving and sending may block, in nanoseconds; 0 is for ever.
    pub fn socket_timeouts(&self, desc: DescId) -> Result<(u64, u64)> {
        Ok(self.socket(self.socket_of(desc)?)?.options.timeouts)
    }
}

impl Options {
    /// Everything that was set to an integer.
    pub(super) fn all(&self) -> impl Iterator<Item = (&(u32, u32), &i32)> {
        self.values.iter()
    }
}
