//! Socket options as they are kept: those that programs set and Linux keeps are kept here.

use alloc::collections::BTreeMap;

/// `SOL_SOCKET`.
pub const SOCKET: u32 = 1;
/// `IPPROTO_IP`.
pub(crate) const IP: u32 = 0;
/// `IPPROTO_TCP`.
pub(crate) const TCP: u32 = 6;
/// `IPPROTO_UDP`.
pub const UDP: u32 = 17;
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
pub(crate) const LINGER: u32 = 13;
pub(crate) const KEEPALIVE: u32 = 9;
/// Of `IPPROTO_TCP`.
pub(crate) const KEEPIDLE: u32 = 4;
pub(crate) const SNDBUF: u32 = 7;
pub(crate) const RCVBUF: u32 = 8;

/// Bytes that a new socket's buffers hold (Linux' `wmem_default`).
pub const DEFAULT_BUFFER: i32 = 212_992;
/// The most that `SO_SNDBUF` and `SO_RCVBUF` double to.
pub(crate) const MAX_BUFFER: i32 = 2 * DEFAULT_BUFFER;
/// The least that `SO_SNDBUF` and `SO_RCVBUF` are.
pub(crate) const MIN_SEND: i32 = 4608;
pub(crate) const MIN_RECEIVE: i32 = 2304;

/// Integer options with a meaning of their own or none here: level, name, default. A value is
/// remembered and given back.
const KEPT: &[(u32, u32, i32)] = &[
    (SOCKET, REUSEADDR, 0),
    (SOCKET, 5, 0), // DONTROUTE
    (SOCKET, 6, 0), // BROADCAST
    (SOCKET, SNDBUF, DEFAULT_BUFFER),
    (SOCKET, RCVBUF, DEFAULT_BUFFER),
    (SOCKET, KEEPALIVE, 0),
    (SOCKET, 10, 0), // OOBINLINE
    (SOCKET, 1, 0),  // DEBUG
    (SOCKET, 12, 0), // PRIORITY
    (SOCKET, REUSEPORT, 0),
    (SOCKET, PASSCRED, 0),
    (SOCKET, RCVLOWAT, 1),
    (SOCKET, 29, 0), // TIMESTAMP
    (SOCKET, 35, 0), // TIMESTAMPNS
    (SOCKET, 36, 0), // MARK
    (SOCKET, 46, 0), // BUSY_POLL
    (SOCKET, 49, 0), // INCOMING_CPU
    (TCP, 1, 0),     // NODELAY
    (TCP, 2, 536),   // MAXSEG
    (TCP, 3, 0),     // CORK
    (TCP, KEEPIDLE, 7200),
    (TCP, 5, 75),   // KEEPINTVL
    (TCP, 6, 9),    // KEEPCNT
    (TCP, 7, 6),    // SYNCNT
    (TCP, 8, 60),   // LINGER2
    (TCP, 9, 0),    // DEFER_ACCEPT
    (TCP, 10, 0),   // WINDOW_CLAMP
    (TCP, 12, 1),   // QUICKACK
    (TCP, 18, 0),   // USER_TIMEOUT
    (TCP, 23, 0),   // FASTOPEN
    (TCP, 25, 0),   // NOTSENT_LOWAT
    (IP, 1, 0),     // TOS
    (IP, 2, 64),    // TTL
    (IP, 8, 0),     // PKTINFO
    (IP, 10, 1),    // MTU_DISCOVER
    (IP, 11, 0),    // RECVERR
    (IP, 12, 0),    // RECVTTL
    (IP, 13, 0),    // RECVTOS
    (IP, 24, 0),    // BIND_ADDRESS_NO_PORT
    (IP, 32, 0),    // MULTICAST_IF, as a number
    (IP, 33, 1),    // MULTICAST_TTL
    (IP, 34, 1),    // MULTICAST_LOOP
    (IPV6, 16, 64), // UNICAST_HOPS
    (IPV6, 18, 1),  // MULTICAST_HOPS
    (IPV6, 19, 1),  // MULTICAST_LOOP
    (IPV6, 23, 1),  // MTU_DISCOVER
    (IPV6, 25, 0),  // RECVERR
    (IPV6, V6ONLY, 0),
    (IPV6, 17, 0), // MULTICAST_IF
    (IPV6, 29, 1), // MULTICAST_ALL
    (IPV6, 49, 0), // RECVPKTINFO
    (IPV6, 51, 0), // RECVHOPLIMIT
    (IPV6, 66, 0), // RECVTCLASS
    (IPV6, 62, 0), // DONTFRAG
    (IPV6, 70, 0), // AUTOFLOWLABEL
    (IPV6, 72, 0), // ADDR_PREFERENCES
    (IP, 49, 1),   // MULTICAST_ALL
    (IPV6, 67, 0), // TCLASS
    (UDP, UDP_CORK, 0),
    (UDP, UDP_SEGMENT, 0),
    (UDP, 104, 0), // GRO
];

/// What a guest has set.
#[derive(Clone, Debug, Default)]
pub struct Options {
    pub(crate) values: BTreeMap<(u32, u32), i32>,
    /// `SO_PASSCRED`.
    pub(crate) passes_credentials: bool,
    /// Bytes below which a stream is not worth reading (`SO_RCVLOWAT`), less one.
    pub(crate) more_wanted: usize,
    pub(crate) linger: (i32, i32),
    /// `SO_RCVTIMEO` and `SO_SNDTIMEO` in nanoseconds; 0 waits for ever.
    pub(crate) timeouts_ns: (u64, u64),
}

impl Options {
    pub(crate) fn get(&self, level: u32, name: u32) -> Option<i32> {
        let &(.., default) = KEPT.iter().find(|&&(l, n, _)| (l, n) == (level, name))?;
        Some(self.values.get(&(level, name)).copied().unwrap_or(default))
    }

    /// Whether a boolean option is on.
    pub(crate) fn flag(&self, level: u32, name: u32) -> bool {
        self.get(level, name).is_some_and(|v| v != 0)
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

    /// After how many idle seconds a connection is asked whether it lives; 0 for never.
    pub(crate) fn keep_alive_seconds(&self) -> i32 {
        match self.flag(SOCKET, KEEPALIVE) {
            true => self.get(TCP, KEEPIDLE).unwrap_or(0),
            false => 0,
        }
    }

    /// Everything that was set to an integer, as the stack below is told.
    pub(crate) fn all(&self) -> impl Iterator<Item = (u32, u32, i32)> {
        self.values.iter().map(|(&(level, name), &value)| {
            let value = match (level, name) {
                (SOCKET, KEEPALIVE) => self.keep_alive_seconds(),
                _ => value,
            };
            (level, name, value)
        })
    }
}
