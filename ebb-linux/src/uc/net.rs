//! A UC's sockets on the core's TCP/IP stack ([`ebb_net`]).
//!
//! What must hold: the guest's socket keeps a number; the stack's socket lives here under it, with a task that carries the
//! stack's news of it to the guest's objects. Objects are borrowed by the caller while these are called, so nothing here
//! touches them but that task.

use super::Uc;
use super::env::World;
use crate::abi::errno::{Errno, Result};
use crate::object::socket::network::{NetSocket, Network};
use crate::object::wait::Events;
use alloc::rc::Weak;
use alloc::vec::Vec;
use core::future::poll_fn;
use core::net::{IpAddr, SocketAddr};
use core::task::{Poll, Waker};
use core::time::Duration;
use ebb_net::tcp::{Shutdown, TcpListener, TcpStream};
use ebb_net::udp::UdpSocket;
use ebb_net::{Error, Interest, Ready, configuration};
use ebb_runtime::{JoinHandle, spawn};

/// The most sockets of one UC on the network.
const MAX_SOCKETS: usize = 16_384;
/// How long a connection with `SO_KEEPALIVE` may be silent; Linux' default.
const KEEP_ALIVE: Duration = Duration::from_secs(7200);

enum Kind {
    Listener(TcpListener),
    Stream(TcpStream),
    Datagram(UdpSocket),
}

struct Socket {
    kind: Kind,
    news: JoinHandle<()>,
}

impl Drop for Socket {
    fn drop(&mut self) {
        self.news.cancel();
    }
}

/// The network sockets of a UC, by number.
#[derive(Default)]
pub struct NetSockets {
    slots: Vec<Option<Socket>>,
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
        let index = match sockets.slots.iter().position(Option::is_none) {
            Some(index) => index,
            None if sockets.slots.len() >= MAX_SOCKETS => return Err(Errno::ENFILE),
            None => {
                sockets.slots.push(None);
                sockets.slots.len() - 1
            }
        };
        let number = NetSocket(index as u32);
        let news = spawn(carry_news(self.uc.weak(), number));
        sockets.slots[index] = Some(Socket { kind, news });
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
        configuration().addresses.clone()
    }

    fn listen(&self, local: SocketAddr, backlog: usize) -> Result<NetSocket> {
        self.add(Kind::Listener(
            TcpListener::bind_with(local, backlog).map_err(errno)?,
        ))
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

    fn bind(&self, local: SocketAddr) -> Result<NetSocket> {
        self.add(Kind::Datagram(UdpSocket::bind(local).map_err(errno)?))
    }

    fn receive_from(&self, socket: NetSocket, buffer: &mut [u8]) -> Result<(usize, SocketAddr)> {
        self.uc
            .network
            .borrow()
            .datagram(socket)?
            .try_recv_from(buffer)
            .map_err(errno)
    }

    fn send_to(&self, socket: NetSocket, bytes: &[u8], to: SocketAddr) -> Result<usize> {
        self.uc
            .network
            .borrow()
            .datagram(socket)?
            .try_send_to(bytes, to)
            .map_err(errno)
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
        let Ok(stream) = sockets.stream(socket) else {
            return;
        };
        // What the stack refuses stays as it was, as with options that no wire knows.
        let _ = match (level, name) {
            (6, 1) => stream.set_nodelay(value != 0),
            (1, 9) => stream.set_keepalive((value != 0).then_some(KEEP_ALIVE)),
            _ => Ok(()),
        };
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
        let mut sockets = self.uc.network.borrow_mut();
        let closed = sockets
            .slots
            .get_mut(socket.0 as usize)
            .and_then(Option::take);
        drop(sockets);
        drop(closed);
    }
}
