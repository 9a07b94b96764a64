//! [`Network`] over ebb-net: the sockets of a UC on the stack of its core.
//!
//! A bridge belongs to one UC and is not part of its objects (nor of a snapshot): it holds the real
//! sockets. Every operation leaves a waker with the stack, so a change of a socket that the guest
//! has touched is announced exactly where the guest can see it; the UC runs one task that takes
//! what has changed to its objects:
//!
//! ```text
//! loop {
//!     for socket in bridge.changed().await { objects.network_event(socket) }
//! }
//! ```

use alloc::{collections::BTreeMap, sync::Arc, task::Wake, vec::Vec};
use core::{
    cell::RefCell,
    fmt,
    future::poll_fn,
    net::{IpAddr, SocketAddr},
    sync::atomic::{AtomicBool, Ordering},
    task::{Poll, Waker},
    time::Duration,
};

use ebb_net::{
    Error, Interest, Ready, TcpOption,
    tcp::{Shutdown, TcpListener, TcpStream},
    udp::UdpSocket,
};
use spin::Mutex;

use super::network::{NetSocket, Network};
use crate::object::{
    errno::{Errno, Result},
    wait::Events,
};

/// The sockets that have changed, and who takes them.
#[derive(Default)]
struct News {
    changed: Vec<NetSocket>,
    waker: Option<Waker>,
}

/// What the stack wakes for one socket.
struct Bell {
    socket: NetSocket,
    rung: AtomicBool,
    news: Arc<Mutex<News>>,
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if self.rung.swap(true, Ordering::AcqRel) {
            return;
        }
        let waker = {
            let mut news = self.news.lock();
            news.changed.push(self.socket);
            news.waker.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

enum Kind {
    Listener(TcpListener),
    Stream(TcpStream),
    Datagram(UdpSocket),
}

struct Entry {
    kind: Kind,
    bell: Arc<Bell>,
    waker: Waker,
    /// `TCP_KEEPIDLE` in seconds, for when `SO_KEEPALIVE` is switched on.
    keep_idle: u64,
    keep_alive: bool,
}

impl Entry {
    /// Asks to hear of the next change.
    fn listen_for_changes(&self) {
        match &self.kind {
            Kind::Listener(listener) => listener.register(&self.waker),
            Kind::Stream(stream) => stream.register(Interest::BOTH, &self.waker),
            Kind::Datagram(socket) => socket.register(Interest::BOTH, &self.waker),
        }
    }

    fn readiness(&self) -> Ready {
        match &self.kind {
            Kind::Listener(listener) => listener.readiness(),
            Kind::Stream(stream) => stream.readiness(),
            Kind::Datagram(socket) => socket.readiness(),
        }
    }
}

#[derive(Default)]
struct Table {
    entries: BTreeMap<NetSocket, Entry>,
    next: u32,
}

/// The sockets that a UC has on the network of its core.
#[derive(Default)]
pub struct Bridge {
    table: RefCell<Table>,
    news: Arc<Mutex<News>>,
}

impl fmt::Debug for Bridge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Bridge({} sockets)", self.table.borrow().entries.len())
    }
}

/// The error number for what the stack says.
fn errno(error: Error) -> Errno {
    match error {
        Error::WouldBlock => Errno::EAGAIN,
        Error::AddressInUse => Errno::EADDRINUSE,
        Error::AddressNotAvailable => Errno::EADDRNOTAVAIL,
        Error::ConnectionRefused => Errno::ECONNREFUSED,
        Error::ConnectionReset | Error::UnexpectedEof => Errno::ECONNRESET,
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
        Error::Other(number) => Errno::from_number(number).unwrap_or(Errno::EIO),
        _ => Errno::EIO,
    }
}

impl Bridge {
    /// No sockets yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// How many sockets are open.
    pub fn len(&self) -> usize {
        self.table.borrow().entries.len()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Waits until sockets have changed: each goes to
    /// [`network_event`](crate::object::Objects::network_event). One task at a time.
    pub async fn changed(&self) -> Vec<NetSocket> {
        let changed = poll_fn(|cx| {
            let mut news = self.news.lock();
            if news.changed.is_empty() {
                news.waker = Some(cx.waker().clone());
                return Poll::Pending;
            }
            Poll::Ready(core::mem::take(&mut news.changed))
        })
        .await;
        let table = self.table.borrow();
        for socket in &changed {
            if let Some(entry) = table.entries.get(socket) {
                entry.bell.rung.store(false, Ordering::Release);
            }
        }
        changed
    }

    fn add(&self, kind: Kind) -> NetSocket {
        let table = &mut *self.table.borrow_mut();
        let socket = loop {
            table.next = table.next.wrapping_add(1);
            if !table.entries.contains_key(&NetSocket(table.next)) {
                break NetSocket(table.next);
            }
        };
        let news = self.news.clone();
        let bell = Arc::new(Bell {
            socket,
            rung: AtomicBool::new(false),
            news,
        });
        let waker = Waker::from(bell.clone());
        let entry = Entry {
            kind,
            bell,
            waker,
            keep_idle: 7200,
            keep_alive: false,
        };
        entry.listen_for_changes();
        table.entries.insert(socket, entry);
        socket
    }

    /// Runs an operation on a socket, and asks to hear of what changes after it.
    fn with<T>(&self, socket: NetSocket, f: impl FnOnce(&Kind) -> Result<T>) -> Result<T> {
        let table = self.table.borrow();
        let entry = table.entries.get(&socket).ok_or(Errno::EBADF)?;
        let result = f(&entry.kind);
        entry.listen_for_changes();
        result
    }

    fn stream<T>(
        &self,
        socket: NetSocket,
        f: impl FnOnce(&TcpStream) -> ebb_net::Result<T>,
    ) -> Result<T> {
        self.with(socket, |kind| match kind {
            Kind::Stream(stream) => f(stream).map_err(errno),
            _ => Err(Errno::EOPNOTSUPP),
        })
    }

    fn datagram<T>(
        &self,
        socket: NetSocket,
        f: impl FnOnce(&UdpSocket) -> ebb_net::Result<T>,
    ) -> Result<T> {
        self.with(socket, |kind| match kind {
            Kind::Datagram(socket) => f(socket).map_err(errno),
            _ => Err(Errno::EOPNOTSUPP),
        })
    }
}

impl Network for Bridge {
    fn addresses(&self) -> Vec<IpAddr> {
        ebb_net::configuration()
            .addresses
            .into_iter()
            .map(|(ip, _)| ip)
            .collect()
    }

    fn listen(&self, local: SocketAddr, backlog: usize) -> Result<NetSocket> {
        let listener = TcpListener::bind_with(local, backlog).map_err(errno)?;
        Ok(self.add(Kind::Listener(listener)))
    }

    fn accept(&self, listener: NetSocket) -> Result<(NetSocket, SocketAddr)> {
        let (stream, from) = self.with(listener, |kind| match kind {
            Kind::Listener(listener) => listener.try_accept().map_err(errno),
            _ => Err(Errno::EINVAL),
        })?;
        Ok((self.add(Kind::Stream(stream)), from))
    }

    fn connect(&self, local: Option<SocketAddr>, remote: SocketAddr) -> Result<NetSocket> {
        let stream = TcpStream::start_connect(local, remote).map_err(errno)?;
        Ok(self.add(Kind::Stream(stream)))
    }

    fn connected(&self, socket: NetSocket) -> Result<()> {
        self.stream(socket, TcpStream::try_connected)
    }

    fn receive(&self, socket: NetSocket, buffer: &mut [u8], peek: bool) -> Result<usize> {
        self.stream(socket, |stream| match peek {
            true => stream.try_peek(buffer),
            false => stream.try_read(buffer),
        })
    }

    fn send(&self, socket: NetSocket, bytes: &[u8]) -> Result<usize> {
        self.stream(socket, |stream| stream.try_write(bytes))
    }

    fn shutdown(&self, socket: NetSocket) -> Result<()> {
        self.stream(socket, |stream| stream.shutdown(Shutdown::Write))
    }

    fn bind(&self, local: SocketAddr) -> Result<NetSocket> {
        let socket = UdpSocket::bind(local).map_err(errno)?;
        Ok(self.add(Kind::Datagram(socket)))
    }

    fn receive_from(&self, socket: NetSocket, buffer: &mut [u8]) -> Result<(usize, SocketAddr)> {
        self.datagram(socket, |socket| socket.try_recv_from(buffer))
    }

    fn send_to(&self, socket: NetSocket, bytes: &[u8], to: SocketAddr) -> Result<usize> {
        self.datagram(socket, |socket| socket.try_send_to(bytes, to))
    }

    fn local(&self, socket: NetSocket) -> Result<SocketAddr> {
        self.with(socket, |kind| match kind {
            Kind::Listener(listener) => Ok(listener.local_addr()),
            Kind::Stream(stream) => stream.local_addr().map_err(errno),
            Kind::Datagram(socket) => Ok(socket.local_addr()),
        })
    }

    fn set_option(&self, socket: NetSocket, level: u32, name: u32, value: i32) {
        const SOCKET: u32 = 1;
        const TCP: u32 = 6;
        let mut table = self.table.borrow_mut();
        let Some(entry) = table.entries.get_mut(&socket) else {
            return;
        };
        let option = match (level, name) {
            (TCP, 1) => TcpOption::NoDelay(value != 0),
            (SOCKET, 7) => TcpOption::SendBuffer(value.max(0) as usize),
            (SOCKET, 8) => TcpOption::ReceiveBuffer(value.max(0) as usize),
            (TCP, 18) => {
                let limit = Duration::from_millis(value.max(0) as u64);
                TcpOption::UserTimeout((value > 0).then_some(limit))
            }
            (SOCKET, 9) | (TCP, 4) => {
                match level {
                    TCP => entry.keep_idle = value.max(1) as u64,
                    _ => entry.keep_alive = value != 0,
                }
                let idle = Duration::from_secs(entry.keep_idle);
                TcpOption::KeepAlive(entry.keep_alive.then_some(idle))
            }
            _ => return,
        };
        if let Kind::Stream(stream) = &entry.kind {
            // An option is a wish: a connection that has just ended does not care.
            let _ = stream.set(option);
        }
    }

    fn readiness(&self, socket: NetSocket) -> Events {
        let table = self.table.borrow();
        let Some(entry) = table.entries.get(&socket) else {
            return Events::NVAL;
        };
        let ready = entry.readiness();
        entry.listen_for_changes();
        let mut events = Events::empty();
        events.set(Events::READ, ready.readable);
        events.set(Events::WRITE, ready.writable);
        events.set(Events::RDHUP, ready.read_closed);
        events.set(Events::HUP, ready.hung_up);
        events.set(Events::ERR, ready.error);
        events
    }

    fn close(&self, socket: NetSocket) {
        let closed = self.table.borrow_mut().entries.remove(&socket);
        drop(closed);
    }
}
