//! The seam below the sockets: non-blocking operations on sockets by number, and readiness.
//!
//! What must hold on both sides:
//! - a [`SocketId`] is used only on the core that made it, and not after [`NetStack::close`];
//! - every operation returns at once; [`Error::WouldBlock`] means that the state of the socket has to change
//!   first. A waker registered *in the same event, after* that answer is woken when it has changed (events of one core
//!   are not preempted, so there is no window between the two);
//! - a provider may wake without reason, never too little: it wakes readers for new data, a connection to accept, the
//!   end of the stream and errors, writers for new room, an established connection and errors.

use alloc::{collections::VecDeque, vec::Vec};
use core::{
    future::poll_fn,
    net::{IpAddr, SocketAddr},
    task::{Poll, Waker},
    time::Duration,
};

use bytes::Bytes;
use ebb::{EbbRef, component};

use crate::{Error, Result};

/// A socket of the core that uses this number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SocketId(pub u32);

/// Which directions of a socket somebody waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Interest {
    /// Data, a connection to accept, the end of the stream, an error.
    pub read: bool,
    /// Room to send, the connection established, an error.
    pub write: bool,
}

impl Interest {
    /// Reading.
    pub const READ: Self = Self {
        read: true,
        write: false,
    };
    /// Writing.
    pub const WRITE: Self = Self {
        read: false,
        write: true,
    };
    /// Both.
    pub const BOTH: Self = Self {
        read: true,
        write: true,
    };
}

/// What a socket is ready for now (level, not edge): what `poll` reports on Unix.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ready {
    /// Receiving (or accepting) would not block: there is data, a connection, the end of the stream or an error.
    pub readable: bool,
    /// Sending would not block: there is room, or an error.
    pub writable: bool,
    /// The peer has ended its direction (`EPOLLRDHUP`).
    pub read_closed: bool,
    /// Both directions have ended (`EPOLLHUP`).
    pub hung_up: bool,
    /// An error waits to be taken (`EPOLLERR`).
    pub error: bool,
}

impl Ready {
    /// Whether it is worth trying in a direction of `interest`: ready for it, or ended.
    #[must_use]
    pub fn is_for(self, interest: Interest) -> bool {
        let is_ready = interest.read && self.readable || interest.write && self.writable;
        is_ready || self.error || self.hung_up
    }
}

/// When a silent connection is probed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeepAlive {
    /// Silence before the first probe.
    pub idle: Duration,
    /// Silence between probes.
    pub interval: Duration,
    /// Probes without an answer that fail the connection.
    pub probes: u8,
}

impl KeepAlive {
    /// Five probes, a quarter of `idle` apart and a second at least.
    #[must_use]
    pub fn after(idle: Duration) -> Self {
        Self {
            idle,
            interval: (idle / 4).max(Duration::from_secs(1)),
            probes: 5,
        }
    }
}

/// A setting of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TcpOption {
    /// Send small segments at once instead of waiting for earlier ones to be acknowledged. On by default.
    NoDelay(bool),
    /// Probe a connection that has been silent; `None` for never, the default. A peer that answers no
    /// probe fails the connection with [`Error::TimedOut`].
    KeepAlive(Option<KeepAlive>),
    /// Bytes that may wait to be sent or acknowledged before sending blocks.
    SendBuffer(usize),
    /// Bytes that may wait to be received; what the advertised window grows to.
    ReceiveBuffer(usize),
    /// How long sent data may stay unacknowledged before the connection fails.
    UserTimeout(Option<Duration>),
}

/// What a stack knows of a connection. What it does not know is 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TcpInfo {
    /// The smoothed round-trip time, and how much it varies.
    pub round_trip: Duration,
    /// See [`round_trip`](Self::round_trip).
    pub round_trip_variation: Duration,
    /// How long the peer's acknowledgement is waited for, doublings included.
    pub retransmission_timeout: Duration,
    /// Timeouts in a row, keep-alive probes without an answer, and doublings of the timeout.
    pub timeouts: u8,
    /// See [`timeouts`](Self::timeouts).
    pub probes: u8,
    /// See [`timeouts`](Self::timeouts).
    pub backoff: u8,
    /// Both sides know selective acknowledgements.
    pub sack: bool,
    /// The shifts of the peer's window and of this side's, if windows are scaled.
    pub window_scales: Option<(u8, u8)>,
    /// Bytes of a full segment.
    pub mss: u32,
    /// Bytes that the network is believed to hold, and below which the window grows fast; `u32::MAX` for no such bound.
    pub congestion_window: u32,
    /// See [`congestion_window`](Self::congestion_window).
    pub slow_start_threshold: u32,
    /// Bytes sent and not acknowledged, and bytes that wait to be sent.
    pub in_flight: u32,
    /// See [`in_flight`](Self::in_flight).
    pub unsent: u32,
    /// What the peer takes, and what this side takes.
    pub send_window: u32,
    /// See [`send_window`](Self::send_window).
    pub receive_window: u32,
    /// Bytes that the peer has acknowledged, that were sent again, and that have come in order.
    pub bytes_acknowledged: u64,
    /// See [`bytes_acknowledged`](Self::bytes_acknowledged).
    pub bytes_resent: u64,
    /// See [`bytes_acknowledged`](Self::bytes_acknowledged).
    pub bytes_received: u64,
    /// Segments that were sent again.
    pub segments_resent: u32,
    /// How long ago the peer was last heard.
    pub silence: Duration,
}

/// A received datagram, as it is lent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Datagram<'a> {
    /// Its payload.
    pub bytes: &'a [u8],
    /// Its sender.
    pub from: SocketAddr,
    /// Where it was sent to: an address of this machine, a group, or a broadcast address.
    pub to: IpAddr,
    /// How many hops it might still have gone (TTL, hop limit).
    pub hop_limit: u8,
    /// Type of service, traffic class.
    pub traffic_class: u8,
}

/// A setting of a UDP socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum UdpOption {
    /// Hops that a datagram to one host may take. 64 by default.
    HopLimit(u8),
    /// Hops that a datagram to a group may take. 1 by default.
    GroupHopLimit(u8),
    /// Whether members on this machine hear what is sent to a group. On by default.
    GroupLoop(bool),
    /// Type of service, traffic class. 0 by default.
    TrafficClass(u8),
    /// Whether a datagram that is longer than the path takes fails with [`Error::MessageTooLong`] instead of being cut into
    /// fragments. Off by default.
    DontFragment(bool),
    /// Whether answers of routers and hosts are kept for [`NetStack::udp_take_report`]. Off by default.
    Reports(bool),
    /// Hears a group.
    Join(IpAddr),
    /// Hears a group no longer.
    Leave(IpAddr),
    /// Of a group that it hears: `only` what listed senders send to it, or what all others do, with a list that is empty at
    /// first. In images only.
    Filter {
        /// The group.
        group: IpAddr,
        /// Whether the list says who is heard, not who is not.
        only: bool,
    },
    /// Adds a sender to the list of a group.
    List {
        /// The group.
        group: IpAddr,
        /// The sender's address.
        sender: IpAddr,
    },
}

/// What a router, a host or this machine itself has answered to a datagram that could not be delivered (RFC 792, 4443).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// Where the datagram was sent to.
    pub to: SocketAddr,
    /// Who says so.
    pub offender: IpAddr,
    /// Type of the ICMP or ICMPv6 message.
    pub kind: u8,
    /// Its code.
    pub code: u8,
    /// The longest IP packet that the path takes, in bytes, if that is what is wrong; else 0.
    pub mtu: u32,
    /// As an error.
    pub error: Error,
    /// The beginning of the datagram's payload, as far as it is quoted.
    pub payload: Vec<u8>,
}

/// How the machine is connected.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Configuration {
    /// Addresses and prefix lengths. Empty until configured.
    pub addresses: Vec<(IpAddr, u8)>,
    /// Routers, those of the default route first.
    pub gateways: Vec<IpAddr>,
    /// Name servers.
    pub dns_servers: Vec<IpAddr>,
    /// Hardware address of the first card, where there is one.
    pub hardware_address: Option<[u8; 6]>,
    /// Largest IP packet that the first card sends, in bytes.
    pub mtu: usize,
    /// It is known whether there is an IPv4 address: one is there, or none is asked for, or nobody answers.
    pub settled_v4: bool,
    /// The same of IPv6 addresses beyond the link.
    pub settled_v6: bool,
    /// The network cards, in their order. Empty where the stack does not know them apart.
    pub cards: Vec<CardConfiguration>,
}

/// What is known of one network card.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CardConfiguration {
    /// Hardware address.
    pub hardware_address: [u8; 6],
    /// Largest IP packet that is sent by it, in bytes.
    pub mtu: usize,
    /// Its addresses and prefix lengths.
    pub addresses: Vec<(IpAddr, u8)>,
    /// Its routers.
    pub gateways: Vec<IpAddr>,
}

/// Where a socket is bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BindAddress {
    /// Address and port. The unspecified address of IPv6 means both families.
    pub address: SocketAddr,
    /// It means IPv6 alone.
    pub only_v6: bool,
}

impl From<SocketAddr> for BindAddress {
    fn from(address: SocketAddr) -> Self {
        let only_v6 = false;
        Self { address, only_v6 }
    }
}

/// A TCP/IP stack. Bound by the linker; see the source of this module for what must hold.
#[component]
pub trait NetStack {
    /// Listens on this core. With port 0 a free one is picked. Connections wait in a queue of at most `backlog`.
    fn tcp_listen(&self, at: BindAddress, backlog: usize) -> Result<SocketId>;
    /// Takes a connection from a listener's queue.
    fn tcp_accept(&self, listener: SocketId) -> Result<(SocketId, SocketAddr)>;
    /// Starts to connect. An unspecified local address or port 0 lets the stack choose.
    fn tcp_connect(&self, local: Option<SocketAddr>, remote: SocketAddr) -> Result<SocketId>;
    /// Whether a connection is established: `WouldBlock` until then, else how it failed.
    fn tcp_connected(&self, socket: SocketId) -> Result<()>;
    /// Lends the next received bytes, contiguous and at least one, to `f`, which returns how many it has consumed.
    /// `Ok(false)`, without a call, at the end of the stream.
    fn tcp_receive(&self, socket: SocketId, f: &mut dyn FnMut(&[u8]) -> usize) -> Result<bool>;
    /// Copies bytes into the send queue; returns how many, at least one.
    fn tcp_send(&self, socket: SocketId, bytes: &[u8]) -> Result<usize>;
    /// Moves buffers from the front of `buffers` into the send queue, without copying where the stack can, until it is
    /// full; returns the number of bytes. A buffer may be moved in part.
    fn tcp_send_buffers(&self, socket: SocketId, buffers: &mut VecDeque<Bytes>) -> Result<usize>;
    /// Ends the sending direction after what is queued.
    fn tcp_shutdown_write(&self, socket: SocketId) -> Result<()>;
    /// Changes a setting.
    fn tcp_set(&self, socket: SocketId, option: TcpOption) -> Result<()>;
    /// How a connection fares.
    fn tcp_info(&self, socket: SocketId) -> Result<TcpInfo>;
    /// Bytes queued to be sent that the peer has not acknowledged, and bytes received and not taken: of a UDP socket those
    /// of the next datagram.
    fn queued(&self, socket: SocketId) -> Result<(usize, usize)>;
    /// Resets the connection; the socket is closed. What is queued is lost.
    fn tcp_abort(&self, socket: SocketId);

    /// Binds a UDP socket. With port 0 a free one is picked. `shared`: others that say so, too, may have the same address;
    /// what is sent to one host goes to the newest of them, what is sent to a group to all.
    fn udp_bind(&self, at: BindAddress, shared: bool) -> Result<SocketId>;
    /// Sets the one peer that the socket hears, or lets it hear all again. Without a local address it gets that which
    /// the peer is reached from.
    fn udp_connect(&self, socket: SocketId, peer: Option<SocketAddr>) -> Result<()>;
    /// Sends one datagram; `from` is one of the machine's addresses to send it from, if not the usual.
    fn udp_send(
        &self,
        socket: SocketId,
        bytes: &[u8],
        to: SocketAddr,
        from: Option<IpAddr>,
    ) -> Result<()>;
    /// Lends one received datagram to `f`, and drops it unless it is only to be seen (`peek`).
    fn udp_receive(
        &self,
        socket: SocketId,
        peek: bool,
        f: &mut dyn FnMut(&Datagram<'_>),
    ) -> Result<()>;
    /// Changes a setting.
    fn udp_set(&self, socket: SocketId, option: UdpOption) -> Result<()>;
    /// Takes the oldest answer to a datagram that could not be delivered; see [`UdpOption::Reports`].
    fn udp_take_report(&self, socket: SocketId) -> Option<Report>;

    /// The local address.
    fn local_address(&self, socket: SocketId) -> Result<SocketAddr>;
    /// The peer's address, of a connection or a connected UDP socket.
    fn peer_address(&self, socket: SocketId) -> Result<SocketAddr>;
    /// What the socket is ready for.
    fn readiness(&self, socket: SocketId) -> Ready;
    /// Wakes `waker` once when the socket changes in a direction of `interest`. A waker that is there already is not
    /// added again. Any number may wait.
    fn register(&self, socket: SocketId, interest: Interest, waker: &Waker);
    /// Takes the error of a failed connection, or what a connected UDP socket's datagram met with, if it has not been
    /// reported yet.
    fn take_error(&self, socket: SocketId) -> Option<Error>;
    /// Gives a socket up. A connection sends what is queued and closes; a listener resets what waits in its queue.
    fn close(&self, socket: SocketId);

    /// The longest IP packet that reaches `to` as far as is known, in bytes.
    fn path_mtu(&self, to: IpAddr) -> usize;
    /// How this machine is connected now.
    fn configuration(&self) -> Configuration;
    /// Wakes `waker` once when the configuration changes.
    fn register_configuration(&self, waker: &Waker);
}

/// The linked stack.
#[inline(always)]
pub(crate) fn stack() -> &'static NetStackLinked {
    EbbRef::<dyn NetStack>::get()
}

/// How this machine is connected now. The first use of the network on a native machine starts its devices.
#[must_use]
pub fn configuration() -> Configuration {
    stack().configuration()
}

/// Wakes `waker` once when the configuration changes.
pub fn register_configuration(waker: &Waker) {
    stack().register_configuration(waker);
}

/// Waits until it is known whether this machine has an IPv4 address. Whoever tells others where it listens does so after this: a
/// client that is faster waits for its next SYN, seconds later. The first use of the network on a native machine starts its devices.
pub async fn settled() {
    poll_fn(|context| {
        // Before the look, so that no change is missed.
        register_configuration(context.waker());
        match configuration().settled_v4 {
            true => Poll::Ready(()),
            false => Poll::Pending,
        }
    })
    .await;
}

/// The longest IP packet that reaches `to` as far as is known, in bytes.
#[must_use]
pub fn path_mtu(to: IpAddr) -> usize {
    stack().path_mtu(to)
}

impl Configuration {
    /// Whether it is known if this machine has addresses of the family of `ip`.
    #[must_use]
    pub fn is_settled(&self, ip: IpAddr) -> bool {
        match ip.to_canonical() {
            IpAddr::V4(_) => self.settled_v4,
            IpAddr::V6(_) => self.settled_v6,
        }
    }
}
