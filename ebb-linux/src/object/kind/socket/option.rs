//! Socket options as they are kept: those that programs set and Linux keeps are kept here.

use alloc::{collections::BTreeMap, vec::Vec};

use crate::object::{
    env::{KeepAlive, NetSocket, Network},
    errno::{Errno, Result},
};

/// `SOL_SOCKET`.
pub const SOCKET: u32 = 1;
/// `IPPROTO_IP`.
pub(crate) const IP: u32 = 0;
/// `IPPROTO_TCP`.
pub(crate) const TCP: u32 = 6;
/// `IPPROTO_UDP`.
pub const UDP: u32 = 17;
/// `SOL_NETLINK`, and of it: errors hold the request's header only.
pub(crate) const NETLINK: u32 = 270;
pub(crate) const CAP_ACK: u32 = 10;
/// `IPPROTO_IPV6`.
pub const IPV6: u32 = 41;
pub(crate) const REUSEADDR: u32 = 2;
pub(crate) const REUSEPORT: u32 = 15;
pub(crate) const V6ONLY: u32 = 26;
pub(crate) const BROADCAST: u32 = 6;
pub(crate) const OOBINLINE: u32 = 10;
/// Of `IPPROTO_IP`.
pub(crate) const RECVERR: u32 = 11;
/// Of `IPPROTO_IPV6`.
pub(crate) const RECVERR6: u32 = 25;
pub(crate) const UDP_CORK: u32 = 1;
/// Into how long datagrams what is sent is cut.
pub const UDP_SEGMENT: u32 = 103;
pub(crate) const RCVLOWAT: u32 = 18;
pub(crate) const PASSCRED: u32 = 16;
pub(crate) const PEEK_OFF: u32 = 42;
pub(crate) const LINGER: u32 = 13;
pub(crate) const KEEPALIVE: u32 = 9;
pub(crate) const BINDTODEVICE: u32 = 25;
pub(crate) const PEERNAME: u32 = 28;
pub(crate) const BINDTOIFINDEX: u32 = 62;
/// These name what they make come, too.
pub(crate) const TIMESTAMP: u32 = 29;
pub(crate) const TIMESTAMPNS: u32 = 35;
pub(crate) const TIMESTAMP_NEW: u32 = 63;
pub(crate) const TIMESTAMPNS_NEW: u32 = 64;
pub(crate) const TIMESTAMPING_NEW: u32 = 65;
/// A time comes with what is received, by flags: `RX_SOFTWARE` makes it, `SOFTWARE` tells it.
pub const TIMESTAMPING: u32 = 37;
/// See [`TIMESTAMPING`].
pub const RX_SOFTWARE: i32 = 8;
/// See [`TIMESTAMPING`].
pub const SOFTWARE: i32 = 16;
/// Of those flags what is obeyed: these, and what asks for times of network cards, of which none makes any.
pub(crate) const STAMPS: i32 = 0x7d;
pub(crate) const BUF_LOCK: u32 = 72;
pub(crate) const BUSY_POLL_BUDGET: u32 = 70;
/// Of `IPPROTO_TCP`.
pub(crate) const MAXSEG: u32 = 2;
pub(crate) const KEEPIDLE: u32 = 4;
pub(crate) const KEEPINTVL: u32 = 5;
pub(crate) const KEEPCNT: u32 = 6;
pub(crate) const LINGER2: u32 = 8;
pub(crate) const DEFER_ACCEPT: u32 = 9;
pub(crate) const WINDOW_CLAMP: u32 = 10;
pub(crate) const FASTOPEN: u32 = 23;
/// Of `IPPROTO_IP`.
pub(crate) const TOS: u32 = 1;
pub(crate) const MULTICAST_IF: u32 = 32;
pub(crate) const MULTICAST_TTL: u32 = 33;
pub(crate) const MULTICAST_ALL: u32 = 49;
/// Addresses that are nobody's may be bound to; the same, for who has a right to the network.
pub(crate) const FREEBIND: u32 = 15;
pub(crate) const TRANSPARENT: u32 = 19;
pub(crate) const FREEBIND6: u32 = 78;
pub(crate) const TRANSPARENT6: u32 = 75;
/// Of `IPPROTO_IPV6`.
pub(crate) const MULTICAST_IF6: u32 = 17;
pub(crate) const MULTICAST_HOPS: u32 = 18;
pub(crate) const TCLASS: u32 = 67;
pub(crate) const ADDR_PREFERENCES: u32 = 72;
pub(crate) const SNDBUF: u32 = 7;
pub(crate) const RCVBUF: u32 = 8;

/// Bytes that a new socket's buffers hold (Linux' `wmem_default`).
pub const DEFAULT_BUFFER: i32 = 212_992;
/// The most that `SO_SNDBUF` and `SO_RCVBUF` double to.
pub(crate) const MAX_BUFFER: i32 = 2 * DEFAULT_BUFFER;
/// The least that `SO_SNDBUF` and `SO_RCVBUF` are.
pub(crate) const MIN_SEND: i32 = 4608;
pub(crate) const MIN_RECEIVE: i32 = 2304;

/// What is kept of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rule {
    /// 1 for everything but 0.
    Flag,
    /// What is between the bounds; others are `EINVAL`.
    Range(i32, i32),
    /// The same, and -1 stands for the default.
    RangeOr(i32, i32),
    /// Everything, as `set_socket_option` makes it.
    Any,
    /// Anything may be set, and nothing comes of it.
    Ignored,
    /// Nothing can be set (`ENOPROTOOPT`).
    Told,
}

impl Rule {
    /// # Errors
    /// `EINVAL`.
    pub(crate) fn keep(self, value: i32, default: i32) -> Result<i32> {
        match self {
            Self::Flag => Ok(i32::from(value != 0)),
            Self::RangeOr(..) if value == -1 => Ok(default),
            Self::Range(least, most) | Self::RangeOr(least, most) => (least..=most)
                .contains(&value)
                .then_some(value)
                .ok_or(Errno::EINVAL),
            Self::Any => Ok(value),
            Self::Ignored => Ok(default),
            Self::Told => Err(Errno::ENOPROTOOPT),
        }
    }
}

use Rule::{Any, Flag, Ignored, Range, RangeOr, Told};

/// Integer options: level, name, default, what is kept. A value is remembered and given back.
#[rustfmt::skip]
const KEPT: &[(u32, u32, i32, Rule)] = &[
    (SOCKET, 1, 0, Flag), // DEBUG
    (SOCKET, REUSEADDR, 0, Flag),
    (SOCKET, 5, 0, Flag), // DONTROUTE
    (SOCKET, BROADCAST, 0, Flag),
    (SOCKET, SNDBUF, DEFAULT_BUFFER, Any),
    (SOCKET, RCVBUF, DEFAULT_BUFFER, Any),
    (SOCKET, KEEPALIVE, 0, Flag),
    (SOCKET, OOBINLINE, 0, Flag),
    (SOCKET, 12, 0, Any), // PRIORITY
    (SOCKET, 14, 0, Ignored), // BSDCOMPAT
    (SOCKET, REUSEPORT, 0, Flag),
    (SOCKET, PASSCRED, 0, Flag),
    (SOCKET, RCVLOWAT, 1, Any),
    (SOCKET, TIMESTAMP, 0, Flag),
    (SOCKET, TIMESTAMPNS, 0, Flag),
    (SOCKET, 36, 0, Any), // MARK
    (SOCKET, 40, 0, Flag), // RXQ_OVFL: a count comes with what is received once something was lost
    (SOCKET, 46, 0, Range(0, i32::MAX)), // BUSY_POLL
    (SOCKET, 49, -1, Any), // INCOMING_CPU
    (SOCKET, 53, 0, Ignored), // CNX_ADVICE: to look for another way to the peer, of which there is one
    (SOCKET, 56, 0, Told), // INCOMING_NAPI_ID: of no queue that a program could poll
    (SOCKET, TIMESTAMP_NEW, 0, Flag),
    (SOCKET, TIMESTAMPNS_NEW, 0, Flag),
    (SOCKET, TIMESTAMPING, 0, Any),
    (SOCKET, TIMESTAMPING_NEW, 0, Any),
    (SOCKET, 69, 0, Flag), // PREFER_BUSY_POLL
    (SOCKET, BUSY_POLL_BUDGET, 0, Range(0, 65_535)),
    (SOCKET, BUF_LOCK, 0, Range(0, 3)), // buffers keep the size that they have
    (SOCKET, 73, 0, Any), // RESERVE_MEM
    (SOCKET, 74, 1, RangeOr(0, 1)), // TXREHASH: which of several ways, of which there is one
    (TCP, 1, 0, Flag), // NODELAY
    (TCP, MAXSEG, 536, Any),
    (TCP, 3, 0, Flag), // CORK
    (TCP, KEEPIDLE, 7200, Range(1, 32_767)),
    (TCP, KEEPINTVL, 75, Range(1, 32_767)),
    (TCP, KEEPCNT, 9, Range(1, 127)),
    (TCP, 7, 6, Range(1, 127)), // SYNCNT
    (TCP, LINGER2, 60, Any),
    (TCP, DEFER_ACCEPT, 0, Any),
    (TCP, WINDOW_CLAMP, 0, Any),
    (TCP, 12, 1, Flag), // QUICKACK
    (TCP, 18, 0, Range(0, i32::MAX)), // USER_TIMEOUT
    (TCP, FASTOPEN, 0, Range(0, i32::MAX)),
    (TCP, 25, 0, Any), // NOTSENT_LOWAT
    (IP, TOS, 0, Any),
    (IP, 2, 64, RangeOr(1, 255)), // TTL
    (IP, 3, 0, Told), // HDRINCL, of raw sockets
    (IP, 5, 0, Any), // ROUTER_ALERT, the same
    (IP, 22, 0, Told), // NODEFRAG, the same
    (IP, FREEBIND, 0, Flag),
    (IP, TRANSPARENT, 0, Flag),
    (IP, 8, 0, Flag), // PKTINFO
    (IP, 10, 1, Range(0, 5)), // MTU_DISCOVER
    (IP, RECVERR, 0, Flag),
    (IP, 12, 0, Flag), // RECVTTL
    (IP, 13, 0, Flag), // RECVTOS
    (IP, 20, 0, Flag), // RECVORIGDSTADDR
    (IP, 24, 0, Flag), // BIND_ADDRESS_NO_PORT
    (IP, MULTICAST_IF, 0, Any), // as a number
    (IP, MULTICAST_TTL, 1, RangeOr(0, 255)),
    (IP, 34, 1, Flag), // MULTICAST_LOOP
    (IP, MULTICAST_ALL, 1, Range(0, 1)),
    (IPV6, 16, 64, RangeOr(0, 255)), // UNICAST_HOPS
    (IPV6, MULTICAST_IF6, 0, Any),
    (IPV6, MULTICAST_HOPS, 1, RangeOr(0, 255)),
    (IPV6, 19, 1, Range(0, 1)), // MULTICAST_LOOP
    (IPV6, 23, 1, Range(0, 5)), // MTU_DISCOVER
    (IPV6, RECVERR6, 0, Flag),
    (IPV6, V6ONLY, 0, Flag),
    (IPV6, 29, 1, Flag), // MULTICAST_ALL
    (IPV6, 49, 0, Flag), // RECVPKTINFO
    (IPV6, 51, 0, Flag), // RECVHOPLIMIT
    (IPV6, 62, 0, Flag), // DONTFRAG
    (IPV6, 66, 0, Flag), // RECVTCLASS
    (IPV6, TCLASS, 0, RangeOr(0, 255)),
    (IPV6, 74, 0, Flag), // RECVORIGDSTADDR
    (IPV6, FREEBIND6, 0, Flag),
    (IPV6, TRANSPARENT6, 0, Flag),
    (IPV6, 70, 1, Flag), // AUTOFLOWLABEL
    (IPV6, ADDR_PREFERENCES, PREFERRED, Any),
    (NETLINK, CAP_ACK, 0, Flag),
    (NETLINK, 11, 0, Flag), // EXT_ACK: errors may say more, and here say no more
    (NETLINK, 12, 0, Flag), // GET_STRICT_CHK
    (UDP, UDP_CORK, 0, Flag),
    (UDP, UDP_SEGMENT, 0, Range(0, 65_535)),
    (UDP, 104, 0, Flag), // GRO
];

/// What `IPV6_ADDR_PREFERENCES` are that nobody has set: a home address, public or temporary.
const PREFERRED: i32 = 0x500;

/// What is kept of the `IPV6_ADDR_PREFERENCES` that are wanted (RFC 5014): of each pair one at most, and what
/// is not mentioned stays. There is one address of a kind to choose from, so that nothing follows from it.
///
/// # Errors
/// `EINVAL`.
pub(crate) fn preferences(kept: i32, wanted: i32) -> Result<i32> {
    // Temporary, public, whichever; care-of, home; with a cryptographic key, without.
    let (ages, homes, keys) = (wanted & 0x103, wanted & 0x404, wanted & 0x808);
    let age = match ages {
        0 => kept & 0x103,
        1 | 2 | 0x100 => ages,
        _ => return Err(Errno::EINVAL),
    };
    let home = match homes {
        0 => kept & 0x404,
        4 | 0x400 => homes,
        _ => return Err(Errno::EINVAL),
    };
    match keys {
        0x808 => Err(Errno::EINVAL),
        _ => Ok(age | home),
    }
}

/// How many repetitions of a handshake's answer take so many seconds, and how long these take: what is left of
/// a time for `TCP_DEFER_ACCEPT`.
pub(crate) fn whole_repetitions(seconds: i32) -> i32 {
    let (mut wait, mut whole, mut count) = (1, i32::from(seconds > 0), 1);
    while seconds > whole && count < 255 {
        wait = (wait * 2).min(120);
        whole += wait;
        count += 1;
    }
    whole
}

/// What a guest has set.
#[derive(Clone, Debug, Default)]
pub struct Options {
    pub(crate) values: BTreeMap<(u32, u32), i32>,
    /// Options of IPv4 that say nothing (`IP_OPTIONS`).
    pub(crate) padding: Vec<u8>,
    /// `SO_PASSCRED`.
    pub(crate) passes_credentials: bool,
    /// Bytes below which a stream is not worth reading (`SO_RCVLOWAT`), less one.
    pub(crate) more_wanted: usize,
    /// Where the next look begins (`SO_PEEK_OFF`), if looks go on.
    pub(crate) peek_offset: Option<usize>,
    /// The negative number that has ended that.
    pub(crate) peek_ended: Option<i32>,
    pub(crate) linger: (i32, i32),
    /// The number of the only interface that it uses; 0 for all (`SO_BINDTODEVICE`).
    pub(crate) device: u32,
    /// `SO_RCVTIMEO` and `SO_SNDTIMEO` in nanoseconds; 0 waits for ever.
    pub(crate) timeouts_ns: (u64, u64),
}

impl Options {
    pub(crate) fn get(&self, level: u32, name: u32) -> Option<i32> {
        let (default, _) = Self::rule(level, name)?;
        Some(self.values.get(&(level, name)).copied().unwrap_or(default))
    }

    /// What an option is that nobody has set, and what is kept of what is set.
    pub(crate) fn rule(level: u32, name: u32) -> Option<(i32, Rule)> {
        let found = KEPT.iter().find(|&&(l, n, ..)| (l, n) == (level, name))?;
        Some((found.2, found.3))
    }

    /// Whether a boolean option is on.
    pub(crate) fn flag(&self, level: u32, name: u32) -> bool {
        self.get(level, name).is_some_and(|v| v != 0)
    }

    /// Whether it may be bound to an address that is nobody's.
    pub(crate) fn binds_freely(&self) -> bool {
        let names = [
            (IP, FREEBIND),
            (IP, TRANSPARENT),
            (IPV6, FREEBIND6),
            (IPV6, TRANSPARENT6),
        ];
        names
            .iter()
            .any(|name| self.values.get(name).is_some_and(|v| *v != 0))
    }

    /// Bytes that may wait for the receiver.
    pub(crate) fn receive_buffer(&self) -> usize {
        self.buffer(RCVBUF)
    }

    /// Bytes that may be on their way.
    pub(crate) fn send_buffer(&self) -> usize {
        self.buffer(SNDBUF)
    }

    /// Without a search for the default: every message asks.
    fn buffer(&self, name: u32) -> usize {
        let set = self.values.get(&(SOCKET, name)).copied();
        set.unwrap_or(DEFAULT_BUFFER) as usize
    }

    /// TTL or hop limit of what is sent to one host.
    pub(crate) fn hop_limit(&self, v4: bool) -> u8 {
        let set = if v4 {
            self.get(IP, 2)
        } else {
            self.get(IPV6, 16)
        };
        set.and_then(|n| u8::try_from(n).ok())
            .filter(|n| *n > 0)
            .unwrap_or(64)
    }

    /// Type of service or traffic class of what is sent.
    pub(crate) fn traffic_class(&self, v4: bool) -> u8 {
        let set = if v4 {
            self.get(IP, 1)
        } else {
            self.get(IPV6, 67)
        };
        set.and_then(|n| u8::try_from(n).ok()).unwrap_or(0)
    }

    /// How a connection is asked whether it lives, if it is.
    pub(crate) fn keep_alive(&self) -> Option<KeepAlive> {
        let number = |name| self.get(TCP, name).unwrap_or(1).max(1) as u32;
        self.flag(SOCKET, KEEPALIVE).then(|| KeepAlive {
            idle_s: number(KEEPIDLE),
            interval_s: number(KEEPINTVL),
            count: number(KEEPCNT) as u8,
        })
    }

    /// Tells the stack below everything that was set.
    pub(crate) fn tell(&self, network: &dyn Network, socket: NetSocket) {
        for &(level, name) in self.values.keys() {
            self.tell_one(network, socket, level, name);
        }
    }

    /// Tells the stack below what one option is.
    pub(crate) fn tell_one(&self, network: &dyn Network, socket: NetSocket, level: u32, name: u32) {
        match (level, name) {
            (SOCKET, KEEPALIVE) | (TCP, KEEPIDLE | KEEPINTVL | KEEPCNT) => {
                network.set_keep_alive(socket, self.keep_alive());
            }
            _ => network.set_option(socket, level, name, self.get(level, name).unwrap_or(0)),
        }
    }
}
