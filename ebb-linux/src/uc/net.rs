//! A UC's sockets on the core's TCP/IP stack ([`ebb_net`]).
//!
//! What must hold: the guest's socket keeps a number; the stack's socket lives here under it, with a task that carries the
//! stack's news of it to the guest's objects. Objects are borrowed by the caller while these are called, so nothing here
//! touches them but that task.

use super::Uc;
use super::env::World;
use crate::abi::errno::{Errno, Result};
use crate::object::env::{Carried, KeepAlive, NetSocket, Network, NetworkCard, Report};
use crate::object::files::MAX_NOFILE;
use crate::object::tcp_info::TcpInfo;
use crate::object::wait::Events;
use alloc::rc::Weak;
use alloc::vec::Vec;
use core::future::poll_fn;
use core::net::{IpAddr, SocketAddr};
use core::task::{Poll, Waker};
use core::time::Duration;
use ebb_net::tcp::{Shutdown, TcpListener, TcpStream};
use ebb_net::udp::UdpSocket;
use ebb_net::{BindAddress, Datagram, Error, Interest, Ready, TcpOption, UdpOption, configuration};
use ebb_runtime::{JoinHandle, spawn};

/// The most sockets of one UC on the network: as many as a program is told that it may open.
const MAX_SOCKETS: usize = MAX_NOFILE as usize;

enum Kind {
    Listener(TcpListener),
    Stream(TcpStream),
    Datagram(UdpSocket),
}

struct Socket {
    kind: Kind,
    _news: News,
}

struct News(JoinHandle<()>);

/// Ends the task that waits for its news.
impl Drop for News {
    fn drop(&mut self) {
        self.0.cancel();
    }
}

/// The network sockets of a UC, by number.
#[derive(Default)]
pub struct NetSockets {
    slots: Vec<Option<Socket>>,
    /// Places of `slots` that are empty.
    free: Vec<u32>,
}

fn errno(error: Error) -> Errno {
    match error {
        Error::WouldBlock => Errno::EAGAIN,
        Error::AddressInUse => Errno::EADDRINUSE,
        Error::AddressNotAvailable => Errno::EADDRNOTAVAIL,
        Error::ConnectionRefused => Errno::ECONNREFUSED,
        Error::ConnectionReset => Errno::ECONNRESET,
        Error::ConnectionAborted => Errno::ECONNABORTED,
        Error::NotConnected => Errno::ENOTCONN,
        Error::BrokenPipe => Errno::EPIPE,
        Error::TimedOut => Errno::ETIMEDOUT,
        Error::HostUnreachable => Errno::EHOSTUNREACH,
        Error::NetworkUnreachable | Error::NoDevice => Errno::ENETUNREACH,
        Error::InvalidInput => Errno::EINVAL,
        Error::MessageTooLong => Errno::EMSGSIZE,
        Error::OutOfMemory => Errno::ENOBUFS,
        Error::PermissionDenied => Errno::EACCES,
        Error::Unsupported => Errno::EOPNOTSUPP,
        _ => Errno::EIO,
    }
}

impl Kind {
    fn readiness(&self) -> Ready {
        match self {
            Self::Listener(s) => s.readiness(),
            Self::Stream(s) => s.readiness(),
            Self::Datagram(s) => s.readiness(),
        }
    }

    fn register(&self, waker: &Waker) {
        match self {
            Self::Listener(s) => s.register(waker),
            Self::Stream(s) => s.register(Interest::BOTH, waker),
            Self::Datagram(s) => s.register(Interest::BOTH, waker),
        }
    }
}

impl NetSockets {
    /// Takes a socket out; its number is the next one's.
    fn take(&mut self, socket: NetSocket) -> Option<Socket> {
        let taken = self.slots.get_mut(socket.0 as usize)?.take()?;
        self.free.push(socket.0);
        Some(taken)
    }

    fn get(&self, socket: NetSocket) -> Result<&Kind> {
        let slot = self.slots.get(socket.0 as usize).and_then(Option::as_ref);
        slot.map(|s| &s.kind).ok_or(Errno::EBADF)
    }

    fn stream(&self, socket: NetSocket) -> Result<&TcpStream> {
        match self.get(socket)? {
            Kind::Stream(stream) => Ok(stream),
            _ => Err(Errno::ENOTCONN),
        }
    }

    fn datagram(&self, socket: NetSocket) -> Result<&UdpSocket> {
        match self.get(socket)? {
            Kind::Datagram(socket) => Ok(socket),
            _ => Err(Errno::EINVAL),
        }
    }
}

impl Uc {
    /// Has the machine's network come up, if this is its first use.
    pub(crate) fn start_network(&self) {
        if self.options.network && self.network_settled.get() == (false, false) {
            self.look_at_network();
        }
    }

    fn look_at_network(&self) -> (bool, bool) {
        let known = configuration();
        let settled = (known.settled_v4, known.settled_v6);
        self.network_settled.set(settled);
        settled
    }

    /// Whether the peer of a connection has not acknowledged all that was sent, its end included; `waker` is woken when that
    /// may have changed.
    pub(crate) fn is_unfinished(&self, net: NetSocket, waker: &Waker) -> bool {
        let sockets = self.network.borrow();
        let Ok(stream) = sockets.stream(net) else {
            return false;
        };
        stream.register(Interest::BOTH, waker);
        stream
            .queued()
            .is_ok_and(|(unacknowledged, _)| unacknowledged > 0)
    }

    /// Whether it is known if the machine has an address to reach `ip` from, or without one if it has any. Loopback
    /// needs none.
    pub(crate) fn knows_network(&self, ip: Option<IpAddr>) -> bool {
        let is_known = |settled: (bool, bool)| match ip.map(|ip| ip.to_canonical()) {
            Some(ip) if ip.is_loopback() || ip.is_unspecified() => true,
            Some(IpAddr::V6(_)) => settled.1,
            _ => settled.0,
        };
        !self.options.network
            || is_known(self.network_settled.get())
            || is_known(self.look_at_network())
    }
}

/// Carries the stack's news of a socket to the guest's objects.
async fn carry_news(uc: Weak<Uc>, socket: NetSocket) {
    loop {
        // First ask for the next change, then tell of the last: what comes in between is not lost.
        poll_fn(|task| {
            if let Some(uc) = uc.upgrade()
                && let Ok(kind) = uc.network.borrow().get(socket)
            {
                kind.register(task.waker());
            }
            Poll::Ready(())
        })
        .await;
        let Some(alive) = uc.upgrade() else { return };
        alive.objects.borrow_mut().network_event(socket);
        drop(alive);
        let mut asked = false;
        poll_fn(|_| match core::mem::replace(&mut asked, true) {
            true => Poll::Ready(()),
            false => Poll::Pending,
        })
        .await;
    }
}

impl World<'_> {
    fn add(&self, kind: Kind) -> Result<NetSocket> {
        let mut sockets = self.uc.network.borrow_mut();
        let index = match sockets.free.pop() {
            Some(index) => index as usize,
            None if sockets.slots.len() >= MAX_SOCKETS => return Err(Errno::ENFILE),
            None => {
                sockets.slots.push(None);
                sockets.slots.len() - 1
            }
        };
        let number = NetSocket(index as u32);
        let _news = News(spawn(carry_news(self.uc.weak(), number)));
        sockets.slots[index] = Some(Socket { kind, _news });
        Ok(number)
    }
}

impl Network for World<'_> {
    fn addresses(&self) -> Vec<IpAddr> {
        configuration()
            .addresses
            .iter()
            .map(|(address, _)| *address)
            .collect()
    }

    fn prefixes(&self) -> Vec<(IpAddr, u8)> {
        configuration().addresses
    }

    fn gateways(&self) -> Vec<IpAddr> {
        configuration().gateways
    }

    fn link(&self) -> ([u8; 6], u32) {
        let known = configuration();
        let mtu = if known.mtu == 0 { 1500 } else { known.mtu };
        (known.hardware_address.unwrap_or_default(), mtu as u32)
    }

    fn cards(&self) -> Vec<NetworkCard> {
        let known = configuration();
        if known.cards.is_empty() {
            // One, of all addresses.
            let (mac, mtu) = self.link();
            let is_there = mac != [0; 6] || !known.addresses.is_empty();
            let one = is_there.then_some(NetworkCard {
                mac,
                mtu,
                addresses: known.addresses,
                gateways: known.gateways,
            });
            return one.into_iter().collect();
        }
        let card = |card: ebb_net::CardConfiguration| NetworkCard {
            mac: card.hardware_address,
            mtu: card.mtu as u32,
            addresses: card.addresses,
            gateways: card.gateways,
        };
        known.cards.into_iter().map(card).collect()
    }

    fn path_mtu(&self, to: IpAddr) -> u32 {
        ebb_net::path_mtu(to) as u32
    }

    fn listen(&self, address: SocketAddr, only_v6: bool, backlog: usize) -> Result<NetSocket> {
        let listener = TcpListener::bind_at(BindAddress { address, only_v6 }, backlog);
        self.add(Kind::Listener(listener.map_err(errno)?))
    }

    fn accept(&self, listener: NetSocket) -> Result<(NetSocket, SocketAddr)> {
        let accepted = match self.uc.network.borrow().get(listener)? {
            Kind::Listener(listener) => listener.try_accept().map_err(errno)?,
            _ => return Err(Errno::EINVAL),
        };
        Ok((self.add(Kind::Stream(accepted.0))?, accepted.1))
    }

    fn connect(&self, local: Option<SocketAddr>, remote: SocketAddr) -> Result<NetSocket> {
        self.add(Kind::Stream(
            TcpStream::start_connect(local, remote).map_err(errno)?,
        ))
    }

    fn connected(&self, socket: NetSocket) -> Result<()> {
        self.uc
            .network
            .borrow()
            .stream(socket)?
            .try_connected()
            .map_err(errno)
    }

    fn receive(&self, socket: NetSocket, buffer: &mut [u8], peek: bool) -> Result<usize> {
        let sockets = self.uc.network.borrow();
        let stream = sockets.stream(socket)?;
        let n = if peek {
            stream.try_peek(buffer)
        } else {
            stream.try_read(buffer)
        };
        n.map_err(errno)
    }

    fn send(&self, socket: NetSocket, bytes: &[u8]) -> Result<usize> {
        self.uc
            .network
            .borrow()
            .stream(socket)?
            .try_write(bytes)
            .map_err(errno)
    }

    fn shutdown(&self, socket: NetSocket) -> Result<()> {
        self.uc
            .network
            .borrow()
            .stream(socket)?
            .shutdown(Shutdown::Write)
            .map_err(errno)
    }

    fn bind(&self, address: SocketAddr, only_v6: bool, shared: bool) -> Result<NetSocket> {
        let socket = UdpSocket::bind_at(BindAddress { address, only_v6 }, shared);
        self.add(Kind::Datagram(socket.map_err(errno)?))
    }

    fn set_peer(&self, socket: NetSocket, peer: Option<SocketAddr>) -> Result<()> {
        let sockets = self.uc.network.borrow();
        sockets.datagram(socket)?.connect(peer).map_err(errno)
    }

    fn receive_from(
        &self,
        socket: NetSocket,
        buffer: &mut [u8],
        peek: bool,
    ) -> Result<(usize, SocketAddr, Carried)> {
        let sockets = self.uc.network.borrow();
        let take = |datagram: &Datagram<'_>| {
            let n = datagram.bytes.len().min(buffer.len());
            buffer[..n].copy_from_slice(&datagram.bytes[..n]);
            let carried = Carried {
                to: datagram.to,
                hop_limit: datagram.hop_limit,
                traffic_class: datagram.traffic_class,
            };
            (datagram.bytes.len(), datagram.from, carried)
        };
        let socket = sockets.datagram(socket)?;
        socket.try_receive(peek, take).map_err(errno)
    }

    fn send_to(
        &self,
        socket: NetSocket,
        bytes: &[u8],
        to: SocketAddr,
        from: Option<IpAddr>,
    ) -> Result<usize> {
        let sockets = self.uc.network.borrow();
        let socket = sockets.datagram(socket)?;
        socket.try_send_from(bytes, to, from).map_err(errno)
    }

    fn queued(&self, socket: NetSocket) -> (usize, usize) {
        match self.uc.network.borrow().get(socket) {
            Ok(Kind::Stream(stream)) => stream.queued().unwrap_or_default(),
            Ok(Kind::Datagram(socket)) => (0, socket.available()),
            _ => (0, 0),
        }
    }

    fn take_error(&self, socket: NetSocket) -> Option<Errno> {
        match self.uc.network.borrow().get(socket) {
            Ok(Kind::Stream(stream)) => stream.take_error().map(errno),
            Ok(Kind::Datagram(socket)) => socket.take_error().map(errno),
            _ => None,
        }
    }

    fn take_report(&self, socket: NetSocket) -> Option<Report> {
        let sockets = self.uc.network.borrow();
        let report = sockets.datagram(socket).ok()?.take_report()?;
        Some(Report {
            to: report.to,
            offender: report.offender,
            kind: report.kind,
            code: report.code,
            mtu: report.mtu,
            errno: errno(report.error),
            payload: report.payload,
        })
    }

    fn set_member(&self, socket: NetSocket, group: IpAddr, enter: bool) -> Result<()> {
        let sockets = self.uc.network.borrow();
        let option = match enter {
            true => UdpOption::Join(group),
            false => UdpOption::Leave(group),
        };
        sockets.datagram(socket)?.set(option).map_err(errno)
    }

    fn set_senders(
        &self,
        socket: NetSocket,
        group: IpAddr,
        only: bool,
        senders: &[IpAddr],
    ) -> Result<()> {
        let sockets = self.uc.network.borrow();
        let socket = sockets.datagram(socket)?;
        let filter = UdpOption::Filter { group, only };
        socket.set(filter).map_err(errno)?;
        for &sender in senders {
            let list = UdpOption::List { group, sender };
            socket.set(list).map_err(errno)?;
        }
        Ok(())
    }

    fn abort(&self, socket: NetSocket) {
        let taken = self.uc.network.borrow_mut().take(socket);
        let Some(Socket { kind, _news }) = taken else {
            return;
        };
        if let Kind::Stream(stream) = kind {
            stream.abort();
        }
    }

    fn local(&self, socket: NetSocket) -> Result<SocketAddr> {
        match self.uc.network.borrow().get(socket)? {
            Kind::Listener(s) => Ok(s.local_addr()),
            Kind::Stream(s) => s.local_addr().map_err(errno),
            Kind::Datagram(s) => Ok(s.local_addr()),
        }
    }

    fn set_option(&self, socket: NetSocket, level: u32, name: u32, value: i32) {
        let sockets = self.uc.network.borrow();
        let on = value != 0;
        let byte = value.clamp(0, 255) as u8;
        // What the stack refuses stays as it was, as with options that no wire knows.
        let _ = match (sockets.get(socket), level, name) {
            (Ok(Kind::Stream(stream)), 6, 1) => stream.set_nodelay(on),
            (Ok(Kind::Stream(stream)), 6, 18) => {
                let limit = Duration::from_millis(value.max(0) as u64);
                stream.set(TcpOption::UserTimeout(on.then_some(limit)))
            }
            (Ok(Kind::Datagram(socket)), 0, 1) | (Ok(Kind::Datagram(socket)), 41, 67) => {
                // -1 is the usual class.
                socket.set(UdpOption::TrafficClass(byte))
            }
            (Ok(Kind::Datagram(socket)), 0, 2) | (Ok(Kind::Datagram(socket)), 41, 16) => {
                socket.set(UdpOption::HopLimit(if value < 1 { 64 } else { byte }))
            }
            (Ok(Kind::Datagram(socket)), 0, 33) | (Ok(Kind::Datagram(socket)), 41, 18) => {
                socket.set(UdpOption::GroupHopLimit(if value < 0 { 1 } else { byte }))
            }
            (Ok(Kind::Datagram(socket)), 0, 34) | (Ok(Kind::Datagram(socket)), 41, 19) => {
                socket.set(UdpOption::GroupLoop(on))
            }
            // IP_PMTUDISC_DO, IP_PMTUDISC_PROBE
            (Ok(Kind::Datagram(socket)), 0, 10) | (Ok(Kind::Datagram(socket)), 41, 23) => {
                socket.set(UdpOption::DontFragment(matches!(value, 2 | 3)))
            }
            (Ok(Kind::Datagram(socket)), 0, 11) | (Ok(Kind::Datagram(socket)), 41, 25) => {
                socket.set(UdpOption::Reports(on))
            }
            _ => Ok(()),
        };
    }

    fn tcp_info(&self, socket: NetSocket) -> Option<TcpInfo> {
        let sockets = self.uc.network.borrow();
        let Ok(Kind::Stream(stream)) = sockets.get(socket) else {
            return None;
        };
        let info = stream.info().ok()?;
        // Rounded up: no round trip takes nothing.
        let micros =
            |time: Duration| u32::try_from(time.as_nanos().div_ceil(1000)).unwrap_or(u32::MAX);
        Some(TcpInfo {
            round_trip_us: micros(info.round_trip),
            variation_us: micros(info.round_trip_variation),
            timeout_us: micros(info.retransmission_timeout),
            timeouts: info.timeouts,
            probes: info.probes,
            backoff: info.backoff,
            sack: info.sack,
            window_scales: info.window_scales,
            mss: info.mss,
            path_mtu: 0,
            congestion_window: info.congestion_window,
            slow_start_threshold: info.slow_start_threshold,
            in_flight: info.in_flight,
            unsent: info.unsent,
            send_window: info.send_window,
            receive_window: info.receive_window,
            bytes_acknowledged: info.bytes_acknowledged,
            bytes_resent: info.bytes_resent,
            bytes_received: info.bytes_received,
            segments_resent: info.segments_resent,
            silence_ms: u32::try_from(info.silence.as_millis()).unwrap_or(u32::MAX),
        })
    }

    fn set_keep_alive(&self, socket: NetSocket, how: Option<KeepAlive>) {
        let how = how.map(|how| ebb_net::KeepAlive {
            idle: Duration::from_secs(how.idle_s.into()),
            interval: Duration::from_secs(how.interval_s.into()),
            probes: how.count,
        });
        if let Ok(Kind::Stream(stream)) = self.uc.network.borrow().get(socket) {
            // A connection that has ended needs none.
            let _ = stream.set(TcpOption::KeepAlive(how));
        }
    }

    fn readiness(&self, socket: NetSocket) -> Events {
        let sockets = self.uc.network.borrow();
        let Ok(kind) = sockets.get(socket) else {
            return Events::NVAL;
        };
        let ready = kind.readiness();
        let mut events = Events::empty();
        events.set(Events::READ, ready.readable);
        events.set(Events::WRITE, ready.writable);
        events.set(Events::RDHUP, ready.read_closed);
        events.set(Events::HUP, ready.hung_up);
        events.set(Events::ERR, ready.error);
        events
    }

    fn close(&self, socket: NetSocket) {
        let closed = self.uc.network.borrow_mut().take(socket);
        drop(closed);
    }
}
