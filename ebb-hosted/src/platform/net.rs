//! The network stack of the hosted platform: non-blocking Linux sockets, and readiness from the core's epoll.
//!
//! Every core has its own table of sockets. Readiness is edge-triggered: a direction counts as ready until the kernel
//! says `EAGAIN`, which is when the socket's next edge is certain to come.

use std::{
    cell::RefCell,
    collections::VecDeque,
    io::{self, ErrorKind, IoSlice},
    mem::{MaybeUninit, take},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    os::fd::AsRawFd,
    task::Waker,
    time::Duration,
};

use ebb_net::{
    BindAddress, Buf, Bytes, Configuration, Datagram, Direction, Error, Interest, NetStack, Ready,
    Report, Result, SocketId, SocketWakers, TcpInfo, TcpOption, UdpOption,
};
use ebb_runtime::{EbbRef, ebb, provides};
use socket2::{Domain, Protocol, Socket, TcpKeepalive, Type};

use super::tcp_info;
use crate::parker::Parker;

/// Bytes taken from the kernel at once, and the longest datagram.
const BUFFER: usize = 64 << 10;
/// Buffers that a core keeps for reuse.
const SPARE_BUFFERS: usize = 16;
/// What is said of every link and path: the kernel keeps to the right one.
const MTU: usize = 1500;
/// Most pieces handed to the kernel at once.
const PIECES: usize = 64;

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Listener,
    Stream,
    Datagram,
}

pub(super) struct Entry {
    pub socket: Socket,
    kind: Kind,
    wakers: SocketWakers,
    /// Unless the kernel has said otherwise since the last edge.
    readable: bool,
    writable: bool,
    connecting: bool,
    /// Received bytes that nobody has consumed: `buffer[start..end]`.
    buffer: Option<Box<[u8]>>,
    start: usize,
    end: usize,
}

/// The sockets of one core.
#[ebb(per_core)]
#[derive(Default)]
pub(super) struct Sockets {
    entries: RefCell<Vec<Option<Entry>>>,
    free: RefCell<Vec<u32>>,
    spare: RefCell<Vec<Box<[u8]>>>,
}

/// An edge from the kernel, for a socket of the calling core.
pub(crate) fn ready(socket: u32, events: u32) {
    let sockets = EbbRef::<Sockets>::get();
    let mut entries = sockets.entries.borrow_mut();
    // An edge may be older than the socket's closing, and then wakes another for nothing.
    let Some(Some(entry)) = entries.get_mut(socket as usize) else {
        return;
    };
    let has = |bits: i32| events & bits as u32 != 0;
    let ended = has(libc::EPOLLERR | libc::EPOLLHUP);
    // Waking only queues tasks, so the borrow may last.
    if ended || has(libc::EPOLLIN | libc::EPOLLRDHUP) {
        entry.readable = true;
        entry.wakers.wake(Direction::Read);
    }
    if ended || has(libc::EPOLLOUT) {
        entry.writable = true;
        entry.wakers.wake(Direction::Write);
    }
}

pub(super) fn error_of(error: &io::Error) -> Error {
    match error.raw_os_error().unwrap_or(0) {
        libc::EAGAIN | libc::EINPROGRESS => Error::WouldBlock,
        libc::EADDRINUSE => Error::AddressInUse,
        libc::EADDRNOTAVAIL => Error::AddressNotAvailable,
        libc::ECONNREFUSED => Error::ConnectionRefused,
        libc::ECONNRESET => Error::ConnectionReset,
        libc::ECONNABORTED => Error::ConnectionAborted,
        libc::ENOTCONN => Error::NotConnected,
        libc::EPIPE => Error::BrokenPipe,
        libc::ETIMEDOUT => Error::TimedOut,
        libc::EHOSTUNREACH => Error::HostUnreachable,
        libc::ENETUNREACH => Error::NetworkUnreachable,
        libc::EINVAL | libc::EAFNOSUPPORT => Error::InvalidInput,
        libc::EMSGSIZE => Error::MessageTooLong,
        libc::ENOMEM | libc::ENOBUFS | libc::EMFILE | libc::ENFILE => Error::OutOfMemory,
        number => Error::Other(number),
    }
}

/// Repeats a call that a signal interrupted.
pub(super) fn retry<T>(mut call: impl FnMut() -> io::Result<T>) -> Result<T> {
    loop {
        match call() {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            result => return result.map_err(|e| error_of(&e)),
        }
    }
}

fn to_std(address: &socket2::SockAddr) -> SocketAddr {
    let address = address
        .as_socket()
        .unwrap_or_else(|| SocketAddr::from(([0, 0, 0, 0], 0)));
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

/// Makes a socket, bound to `address`. The unspecified IPv6 address means both families, or IPv4 alone where the host
/// has no IPv6.
fn bound(
    BindAddress { address, only_v6 }: BindAddress,
    kind: Type,
    shared: bool,
) -> Result<Socket> {
    let protocol = match kind {
        Type::STREAM => Protocol::TCP,
        _ => Protocol::UDP,
    };
    let make = |address: SocketAddr| -> io::Result<Socket> {
        let socket = Socket::new(
            Domain::for_address(address),
            kind.nonblocking(),
            Some(protocol),
        )?;
        if address.is_ipv6() {
            socket.set_only_v6(only_v6)?;
        }
        if kind == Type::STREAM || shared {
            socket.set_reuse_address(true)?;
        }
        // Every core binds the address for itself, and the kernel deals connections out.
        socket.set_reuse_port(true)?;
        socket.bind(&address.into())?;
        Ok(socket)
    };
    let everywhere = address.ip() == IpAddr::V6(Ipv6Addr::UNSPECIFIED);
    match make(address) {
        Err(_) if everywhere && !only_v6 => make(SocketAddr::new(
            IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            address.port(),
        )),
        result => result,
    }
    .map_err(|e| error_of(&e))
}

impl Sockets {
    pub fn insert(&self, socket: Socket, kind: Kind, connecting: bool) -> Result<SocketId> {
        let parker = Parker::current().ok_or(Error::Unsupported)?;
        let mut entries = self.entries.borrow_mut();
        let id = self.free.borrow_mut().pop().unwrap_or_else(|| {
            entries.push(None);
            (entries.len() - 1) as u32
        });
        if let Err(error) = parker.watch(socket.as_raw_fd(), id) {
            self.free.borrow_mut().push(id);
            return Err(error_of(&error));
        }
        entries[id as usize] = Some(Entry {
            socket,
            kind,
            wakers: SocketWakers::default(),
            readable: !connecting,
            writable: !connecting,
            connecting,
            buffer: None,
            start: 0,
            end: 0,
        });
        Ok(SocketId(id))
    }

    pub fn with<R>(&self, id: SocketId, f: impl FnOnce(&mut Entry) -> Result<R>) -> Result<R> {
        match self.entries.borrow_mut().get_mut(id.0 as usize) {
            Some(Some(entry)) => f(entry),
            _ => Err(Error::InvalidInput),
        }
    }

    fn remove(&self, id: SocketId) -> Option<Entry> {
        let entry = self.entries.borrow_mut().get_mut(id.0 as usize)?.take();
        self.free.borrow_mut().push(id.0);
        entry
    }

    fn buffer(&self) -> Box<[u8]> {
        let spare = self.spare.borrow_mut().pop();
        spare.unwrap_or_else(|| vec![0; BUFFER].into_boxed_slice())
    }

    fn give_back(&self, buffer: Box<[u8]>) {
        let mut spare = self.spare.borrow_mut();
        if spare.len() < SPARE_BUFFERS {
            spare.push(buffer);
        }
    }
}

/// An attempt in the sending direction.
fn write(entry: &mut Entry, mut call: impl FnMut(&Socket) -> io::Result<usize>) -> Result<usize> {
    if entry.connecting || !entry.writable {
        return Err(Error::WouldBlock);
    }
    let result = retry(|| call(&entry.socket));
    if result == Err(Error::WouldBlock) {
        entry.writable = false;
    }
    result
}

/// The provider; the state is in [`Sockets`].
pub(super) struct LinuxSockets;

pub(super) fn sockets() -> &'static Sockets {
    EbbRef::<Sockets>::get()
}

/// Takes bytes from the kernel.
fn receive(socket: &Socket, buffer: &mut [u8]) -> io::Result<usize> {
    // SAFETY: initialised bytes are valid as maybe-uninitialised ones, and `recv` writes only initialised ones.
    let buffer: &mut [MaybeUninit<u8>] = unsafe { &mut *(buffer as *mut [u8] as *mut _) };
    socket.recv(buffer)
}

/// An address as a socket wants it: one of both families takes IPv4 addresses in IPv6's clothes.
fn for_socket(socket: &Socket, address: SocketAddr) -> SocketAddr {
    let is_v6 = socket.local_addr().is_ok_and(|a| a.is_ipv6());
    match address {
        SocketAddr::V4(v4) if is_v6 => SocketAddr::new(v4.ip().to_ipv6_mapped().into(), v4.port()),
        address => address,
    }
}

/// As [`receive`], with the sender.
fn receive_from(socket: &Socket, buffer: &mut [u8], peek: bool) -> io::Result<(usize, SocketAddr)> {
    // SAFETY: as in `receive`.
    let buffer: &mut [MaybeUninit<u8>] = unsafe { &mut *(buffer as *mut [u8] as *mut _) };
    let flags = if peek { libc::MSG_PEEK } else { 0 };
    let (count, from) = socket.recv_from_with_flags(buffer, flags)?;
    Ok((count, to_std(&from)))
}

#[provides(NetStack, instance = &LinuxSockets)]
impl NetStack for LinuxSockets {
    fn tcp_listen(&self, at: BindAddress, backlog: usize) -> Result<SocketId> {
        let address = at.address;
        // `SO_REUSEPORT` lets this core bind twice; that is a mistake, as it is elsewhere.
        let taken = sockets().entries.borrow().iter().flatten().any(|entry| {
            entry.kind == Kind::Listener
                && address.port() != 0
                && entry.socket.local_addr().is_ok_and(|a| {
                    to_std(&a).port() == address.port() && overlap(to_std(&a).ip(), address.ip())
                })
        });
        if taken {
            return Err(Error::AddressInUse);
        }
        let socket = bound(at, Type::STREAM, false)?;
        let backlog = i32::try_from(backlog).unwrap_or(i32::MAX);
        socket.listen(backlog).map_err(|e| error_of(&e))?;
        sockets().insert(socket, Kind::Listener, false)
    }

    fn tcp_accept(&self, listener: SocketId) -> Result<(SocketId, SocketAddr)> {
        let (socket, peer) = sockets().with(listener, |entry| {
            if !entry.readable {
                return Err(Error::WouldBlock);
            }
            loop {
                // Programs that this one starts must not hold it open.
                match retry(|| {
                    entry
                        .socket
                        .accept4(libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK)
                }) {
                    // A connection that its peer gave up meanwhile is nobody's error.
                    Err(Error::ConnectionAborted) => {}
                    Err(Error::WouldBlock) => {
                        entry.readable = false;
                        return Err(Error::WouldBlock);
                    }
                    result => return result,
                }
            }
        })?;
        let _ = socket.set_tcp_nodelay(true);
        let id = sockets().insert(socket, Kind::Stream, false)?;
        Ok((id, to_std(&peer)))
    }

    fn tcp_connect(&self, local: Option<SocketAddr>, remote: SocketAddr) -> Result<SocketId> {
        let socket = match local {
            Some(local) => bound(local.into(), Type::STREAM, false)?,
            None => Socket::new(
                Domain::for_address(remote),
                Type::STREAM.nonblocking(),
                Some(Protocol::TCP),
            )
            .map_err(|e| error_of(&e))?,
        };
        let _ = socket.set_tcp_nodelay(true);
        match retry(|| socket.connect(&remote.into())) {
            Ok(()) => sockets().insert(socket, Kind::Stream, false),
            Err(Error::WouldBlock) => sockets().insert(socket, Kind::Stream, true),
            Err(error) => Err(error),
        }
    }

    fn tcp_connected(&self, socket: SocketId) -> Result<()> {
        sockets().with(socket, |entry| {
            if !entry.connecting {
                return Ok(());
            }
            if !entry.writable {
                return Err(Error::WouldBlock);
            }
            if let Some(error) = entry.socket.take_error().map_err(|e| error_of(&e))? {
                return Err(error_of(&error));
            }
            entry.socket.peer_addr().map_err(|e| error_of(&e))?;
            entry.connecting = false;
            Ok(())
        })
    }

    fn tcp_receive(&self, id: SocketId, f: &mut dyn FnMut(&[u8]) -> usize) -> Result<bool> {
        let sockets = sockets();
        // The buffer leaves the table for the call, which may use other sockets.
        let (buffer, start, end) = sockets.with(id, |entry| {
            if let Some(buffer) = entry.buffer.take() {
                return Ok((buffer, entry.start, entry.end));
            }
            if entry.connecting || !entry.readable {
                return Err(Error::WouldBlock);
            }
            let mut buffer = sockets.buffer();
            let result = retry(|| receive(&entry.socket, &mut buffer));
            match result {
                Ok(count) => Ok((buffer, 0, count)),
                Err(error) => {
                    entry.readable = error != Error::WouldBlock;
                    sockets.give_back(buffer);
                    Err(error)
                }
            }
        })?;
        if start == end {
            sockets.give_back(buffer);
            return Ok(false);
        }
        let start = start + f(&buffer[start..end]).min(end - start);
        if start == end {
            sockets.give_back(buffer);
            return Ok(true);
        }
        sockets.with(id, |entry| {
            entry.buffer = Some(buffer);
            (entry.start, entry.end) = (start, end);
            Ok(true)
        })
    }

    fn tcp_send(&self, socket: SocketId, bytes: &[u8]) -> Result<usize> {
        sockets().with(socket, |entry| {
            write(entry, |socket| {
                socket.send_with_flags(bytes, libc::MSG_NOSIGNAL)
            })
        })
    }

    fn tcp_send_buffers(&self, socket: SocketId, buffers: &mut VecDeque<Bytes>) -> Result<usize> {
        let sent = sockets().with(socket, |entry| {
            let pieces: Vec<IoSlice<'_>> = buffers
                .iter()
                .take(PIECES)
                .map(|b| IoSlice::new(b))
                .collect();
            write(entry, |socket| {
                socket.send_vectored_with_flags(&pieces, libc::MSG_NOSIGNAL)
            })
        })?;
        let mut left = sent;
        while let Some(front) = buffers.front_mut() {
            if front.len() > left {
                front.advance(left);
                break;
            }
            left -= front.len();
            buffers.pop_front();
        }
        Ok(sent)
    }

    fn tcp_shutdown_write(&self, socket: SocketId) -> Result<()> {
        sockets().with(socket, |entry| {
            retry(|| entry.socket.shutdown(std::net::Shutdown::Write))
        })
    }

    fn tcp_set(&self, socket: SocketId, option: TcpOption) -> Result<()> {
        sockets().with(socket, |entry| {
            let socket = &entry.socket;
            match option {
                TcpOption::NoDelay(on) => socket.set_tcp_nodelay(on),
                TcpOption::KeepAlive(None) => socket.set_keepalive(false),
                TcpOption::KeepAlive(Some(how)) => socket.set_tcp_keepalive(
                    &TcpKeepalive::new()
                        .with_time(how.idle.max(Duration::from_secs(1)))
                        .with_interval(how.interval.max(Duration::from_secs(1)))
                        .with_retries(how.probes.into()),
                ),
                TcpOption::SendBuffer(bytes) => socket.set_send_buffer_size(bytes),
                TcpOption::ReceiveBuffer(bytes) => socket.set_recv_buffer_size(bytes),
                TcpOption::UserTimeout(limit) => socket.set_tcp_user_timeout(limit),
                _ => return Err(Error::Unsupported),
            }
            .map_err(|e| error_of(&e))
        })
    }

    fn tcp_info(&self, socket: SocketId) -> Result<TcpInfo> {
        sockets().with(socket, |entry| {
            tcp_info::of(&entry.socket).map_err(|e| error_of(&e))
        })
    }

    fn queued(&self, socket: SocketId) -> Result<(usize, usize)> {
        sockets().with(socket, |entry| {
            let mut counts = [0i32; 2];
            let fd = entry.socket.as_raw_fd();
            // SAFETY: both write one int.
            unsafe {
                libc::ioctl(fd, libc::TIOCOUTQ, &mut counts[0]);
                libc::ioctl(fd, libc::FIONREAD, &mut counts[1]);
            }
            let held = entry.buffer.as_ref().map_or(0, |_| entry.end - entry.start);
            Ok((counts[0].max(0) as usize, counts[1].max(0) as usize + held))
        })
    }

    fn tcp_abort(&self, socket: SocketId) {
        if let Some(mut entry) = sockets().remove(socket) {
            let _ = entry.socket.set_linger(Some(Duration::ZERO));
            entry.wakers.wake_all();
        }
    }

    fn udp_bind(&self, at: BindAddress, shared: bool) -> Result<SocketId> {
        sockets().insert(bound(at, Type::DGRAM, shared)?, Kind::Datagram, false)
    }

    fn udp_connect(&self, socket: SocketId, peer: Option<SocketAddr>) -> Result<()> {
        sockets().with(socket, |entry| match peer {
            Some(peer) => {
                let peer = for_socket(&entry.socket, peer);
                retry(|| entry.socket.connect(&peer.into()))
            }
            None => {
                let none = libc::sockaddr {
                    sa_family: libc::AF_UNSPEC as u16,
                    sa_data: [0; 14],
                };
                let before = entry.socket.local_addr().map_err(|e| error_of(&e))?;
                retry(|| {
                    // SAFETY: an address of the length that is said.
                    let result = unsafe {
                        libc::connect(
                            entry.socket.as_raw_fd(),
                            &none,
                            size_of_val(&none) as libc::socklen_t,
                        )
                    };
                    match result {
                        0 => Ok(()),
                        _ => Err(io::Error::last_os_error()),
                    }
                })?;
                // The kernel takes a port back that it had chosen.
                match (entry.socket.local_addr(), before.as_socket()) {
                    (Ok(now), Some(before)) if to_std(&now).port() == 0 => {
                        let any: IpAddr = match before {
                            SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
                            SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
                        };
                        let before = SocketAddr::new(any, before.port());
                        retry(|| entry.socket.bind(&before.into()))
                    }
                    _ => Ok(()),
                }
            }
        })
    }

    /// The kernel chooses what to send from.
    fn udp_send(
        &self,
        socket: SocketId,
        bytes: &[u8],
        to: SocketAddr,
        from: Option<IpAddr>,
    ) -> Result<()> {
        if from.is_some() {
            return Err(Error::Unsupported);
        }
        sockets().with(socket, |entry| {
            let to = for_socket(&entry.socket, to);
            write(entry, |socket| socket.send_to(bytes, &to.into())).map(drop)
        })
    }

    fn udp_receive(
        &self,
        id: SocketId,
        peek: bool,
        f: &mut dyn FnMut(&Datagram<'_>),
    ) -> Result<()> {
        let sockets = sockets();
        let mut buffer = sockets.buffer();
        let received = sockets.with(id, |entry| {
            if !entry.readable {
                return Err(Error::WouldBlock);
            }
            let connected = entry.socket.peer_addr().is_ok();
            let result = loop {
                match retry(|| receive_from(&entry.socket, &mut buffer, peek)) {
                    // What an earlier datagram met with concerns only a socket of one peer.
                    Err(Error::ConnectionRefused | Error::HostUnreachable) if !connected => {}
                    result => break result,
                }
            };
            entry.readable = result != Err(Error::WouldBlock);
            let to = entry.socket.local_addr().map_err(|e| error_of(&e))?;
            result.map(|(count, from)| (count, from, to_std(&to).ip()))
        });
        if let Ok((count, from, to)) = received {
            f(&Datagram {
                bytes: &buffer[..count],
                from,
                to,
                hop_limit: 0,
                traffic_class: 0,
            });
        }
        sockets.give_back(buffer);
        received.map(drop)
    }

    fn udp_set(&self, socket: SocketId, option: UdpOption) -> Result<()> {
        sockets().with(socket, |entry| {
            let socket = &entry.socket;
            let is_v6 = socket.local_addr().is_ok_and(|a| a.is_ipv6());
            match option {
                UdpOption::HopLimit(n) if is_v6 => socket.set_unicast_hops_v6(n.into()),
                UdpOption::HopLimit(n) => socket.set_ttl_v4(n.into()),
                UdpOption::GroupHopLimit(n) if is_v6 => socket.set_multicast_hops_v6(n.into()),
                UdpOption::GroupHopLimit(n) => socket.set_multicast_ttl_v4(n.into()),
                UdpOption::GroupLoop(on) if is_v6 => socket.set_multicast_loop_v6(on),
                UdpOption::GroupLoop(on) => socket.set_multicast_loop_v4(on),
                UdpOption::TrafficClass(n) if is_v6 => socket.set_tclass_v6(n.into()),
                UdpOption::TrafficClass(n) => socket.set_tos_v4(n.into()),
                UdpOption::Join(IpAddr::V4(group)) => {
                    socket.join_multicast_v4(&group, &Ipv4Addr::UNSPECIFIED)
                }
                UdpOption::Join(IpAddr::V6(group)) => socket.join_multicast_v6(&group, 0),
                UdpOption::Leave(IpAddr::V4(group)) => {
                    socket.leave_multicast_v4(&group, &Ipv4Addr::UNSPECIFIED)
                }
                UdpOption::Leave(IpAddr::V6(group)) => socket.leave_multicast_v6(&group, 0),
                _ => return Err(Error::Unsupported),
            }
            .map_err(|e| error_of(&e))
        })
    }

    /// None: [`UdpOption::Reports`] is not done here.
    fn udp_take_report(&self, _: SocketId) -> Option<Report> {
        None
    }

    fn local_address(&self, socket: SocketId) -> Result<SocketAddr> {
        sockets().with(socket, |entry| {
            let address = entry.socket.local_addr().map_err(|e| error_of(&e))?;
            Ok(to_std(&address))
        })
    }

    fn peer_address(&self, socket: SocketId) -> Result<SocketAddr> {
        sockets().with(socket, |entry| {
            let address = entry.socket.peer_addr().map_err(|e| error_of(&e))?;
            Ok(to_std(&address))
        })
    }

    fn readiness(&self, socket: SocketId) -> Ready {
        let ready = sockets().with(socket, |entry| {
            let mut poll = libc::pollfd {
                fd: entry.socket.as_raw_fd(),
                events: libc::POLLIN | libc::POLLOUT | libc::POLLRDHUP,
                revents: 0,
            };
            // SAFETY: one valid pollfd.
            unsafe { libc::poll(&mut poll, 1, 0) };
            let has = |bits: i16| poll.revents & bits != 0;
            let ended = has(libc::POLLERR | libc::POLLHUP);
            // The kernel may know more than the last edge told; what is said here must hold for the next attempt.
            entry.readable |= ended || has(libc::POLLIN | libc::POLLRDHUP);
            entry.writable |= ended || has(libc::POLLOUT);
            Ok(Ready {
                readable: ended || entry.buffer.is_some() || has(libc::POLLIN | libc::POLLRDHUP),
                writable: ended || has(libc::POLLOUT),
                read_closed: has(libc::POLLRDHUP),
                hung_up: has(libc::POLLHUP) && !entry.connecting,
                error: has(libc::POLLERR),
            })
        });
        ready.unwrap_or_default()
    }

    fn register(&self, socket: SocketId, interest: Interest, waker: &Waker) {
        let _ = sockets().with(socket, |entry| {
            entry.wakers.add(interest, waker);
            Ok(())
        });
    }

    fn take_error(&self, socket: SocketId) -> Option<Error> {
        sockets()
            .with(socket, |entry| {
                entry.socket.take_error().map_err(|e| error_of(&e))
            })
            .ok()
            .flatten()
            .map(|e| error_of(&e))
    }

    fn close(&self, socket: SocketId) {
        if let Some(mut entry) = sockets().remove(socket) {
            if let Some(buffer) = take(&mut entry.buffer) {
                sockets().give_back(buffer);
            }
            entry.wakers.wake_all();
        }
    }

    fn path_mtu(&self, _: IpAddr) -> usize {
        MTU
    }

    fn configuration(&self) -> Configuration {
        configuration()
    }

    /// It does not change.
    fn register_configuration(&self, _waker: &Waker) {}
}

/// Whether two addresses to listen on include a common one.
fn overlap(a: IpAddr, b: IpAddr) -> bool {
    a == b || a.is_unspecified() || b.is_unspecified()
}

/// What the host says about itself.
fn configuration() -> Configuration {
    let mut configuration = Configuration {
        mtu: MTU,
        settled_v4: true,
        settled_v6: true,
        ..Configuration::default()
    };
    let mut list = std::ptr::null_mut();
    // SAFETY: writes one pointer.
    if unsafe { libc::getifaddrs(&mut list) } == 0 {
        let mut next = list;
        // SAFETY: the list's elements are valid until it is freed below.
        while let Some(interface) = unsafe { next.as_ref() } {
            // SAFETY: both are null or addresses of the family they name.
            let (address, mask) = unsafe {
                (
                    address_of(interface.ifa_addr),
                    address_of(interface.ifa_netmask),
                )
            };
            if let (Some(address), Some(mask)) = (address, mask) {
                let ones = match mask {
                    IpAddr::V4(mask) => mask.to_bits().count_ones(),
                    IpAddr::V6(mask) => mask.to_bits().count_ones(),
                };
                configuration.addresses.push((address, ones as u8));
            }
            next = interface.ifa_next;
        }
        // SAFETY: from getifaddrs; nothing refers to it any more.
        unsafe { libc::freeifaddrs(list) };
    }
    let resolver = std::fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
    configuration.dns_servers = resolver
        .lines()
        .filter_map(|line| line.trim().strip_prefix("nameserver")?.trim().parse().ok())
        .collect();
    let routes = std::fs::read_to_string("/proc/net/route").unwrap_or_default();
    configuration.gateways = routes
        .lines()
        .filter_map(|line| {
            let mut fields = line.split_whitespace().skip(1);
            let (to, gateway) = (fields.next()?, fields.next()?);
            let gateway = u32::from_str_radix(gateway, 16).ok()?;
            (to == "00000000" && gateway != 0)
                .then(|| IpAddr::from(Ipv4Addr::from(gateway.to_ne_bytes())))
        })
        .collect();
    configuration
}

/// # Safety
/// Null, or a valid address of the family that it names.
unsafe fn address_of(address: *const libc::sockaddr) -> Option<IpAddr> {
    // SAFETY: as the caller says; the family tells the type.
    unsafe {
        match i32::from(address.as_ref()?.sa_family) {
            libc::AF_INET => {
                let address = &*address.cast::<libc::sockaddr_in>();
                Some(Ipv4Addr::from(address.sin_addr.s_addr.to_ne_bytes()).into())
            }
            libc::AF_INET6 => {
                let address = &*address.cast::<libc::sockaddr_in6>();
                Some(Ipv6Addr::from(address.sin6_addr.s6_addr).into())
            }
            _ => None,
        }
    }
}
