//! TCP: listeners and streams.
//!
//! ```ignore
//! let server = tcp::listen_on_all_cores(8080, async |stream: TcpStream| {
//!     while stream.recv_with(|bytes| (bytes.len(), ())).await?.is_some() {}
//!     stream.send(Bytes::from_static(b"bye\n")).await
//! })?;
//! ```
//!
//! Three ways to the same stream, to be mixed at will:
//! - the usual one, copying: [`TcpStream::read`], [`TcpStream::write_all`], and the traits of `embedded-io-async`;
//! - in place: [`TcpStream::recv_with`] lends the received bytes where they lie, [`TcpStream::send`] hands over buffers
//!   that are owned, static or shared ([`Bytes`]);
//! - without waiting: the `try_` functions with [`TcpStream::readiness`] and [`TcpStream::poll_ready`].
//!
//! All methods take `&self`: one task may read while another writes, and a stream may be shared within its core by `Rc`.
//! Every future here may be dropped at any point: what has been sent or consumed until then has been, and nothing else
//! is lost. Limit any of them by [`ebb::time::timeout`].
//!
//! Sending only queues; segments leave at the latest when the core has run the events that are due, so several sends in
//! one event share segments and one doorbell.

use alloc::{collections::VecDeque, rc::Rc, vec::Vec};
use core::{
    fmt,
    future::poll_fn,
    net::{IpAddr, Ipv6Addr, SocketAddr},
    task::{Context, Poll, Waker},
    time::Duration,
};

use bytes::Bytes;
use ebb::{CoreId, RemoteHandle, cores, spawn, spawn_on};

use crate::{
    BindAddress, Error, Interest, KeepAlive, NetStack, Ready, Result, SocketId, TcpInfo, TcpOption,
    backend::stack,
    lend,
    socket::{self, Sockets},
};

/// Which direction of a connection to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shutdown {
    /// The sending one: the peer sees the end of the stream after all that was sent.
    Write,
}

/// How many connections wait to be accepted, unless said otherwise.
pub const BACKLOG: usize = 1024;

/// An address to bind to: a full one, or a port of all addresses.
pub trait ToBindAddress {
    /// The address.
    fn to_bind_address(self) -> SocketAddr;
}

impl ToBindAddress for u16 {
    /// The port on all addresses of both families.
    fn to_bind_address(self) -> SocketAddr {
        SocketAddr::new(IpAddr::V6(Ipv6Addr::UNSPECIFIED), self)
    }
}

impl<T: Into<SocketAddr>> ToBindAddress for T
where
    T: NotAPort,
{
    fn to_bind_address(self) -> SocketAddr {
        self.into()
    }
}

mod sealed {
    pub trait Sealed {}
}

/// What converts into a socket address.
pub trait NotAPort: sealed::Sealed {}

macro_rules! not_a_port {
    ($($type:ty),*) => { $(
        impl sealed::Sealed for $type {}
        impl NotAPort for $type {}
    )* };
}
not_a_port!(
    SocketAddr,
    core::net::SocketAddrV4,
    core::net::SocketAddrV6,
    (IpAddr, u16),
    (core::net::Ipv4Addr, u16),
    (Ipv6Addr, u16),
    ([u8; 4], u16)
);

/// The sockets of the linked stack.
pub(crate) struct OfStack;

impl Sockets for OfStack {
    #[inline]
    fn readiness(id: SocketId) -> Ready {
        stack().readiness(id)
    }

    #[inline]
    fn register(id: SocketId, interest: Interest, waker: &Waker) {
        stack().register(id, interest, waker);
    }

    #[inline]
    fn close(id: SocketId) {
        stack().close(id);
    }
}

/// A socket of TCP or UDP.
pub(crate) type Socket = socket::Socket<OfStack>;

/// Accepts connections on the core that made it. Dropping it stops listening; connections that wait are reset.
pub struct TcpListener {
    socket: Socket,
    local: SocketAddr,
}

impl TcpListener {
    /// Listens on this core, with room for [`BACKLOG`] connections that wait. A bare port means all addresses; port 0
    /// a free port, see [`local_addr`](Self::local_addr).
    ///
    /// Every core may listen on the same address. Each connection then belongs to the core that its packets arrive on,
    /// or, where the device has one queue, to the one that its addresses and ports hash to.
    ///
    /// # Errors
    /// [`Error::AddressInUse`] when this core listens there already, [`Error::AddressNotAvailable`].
    pub fn bind(address: impl ToBindAddress) -> Result<Self> {
        Self::bind_with(address, BACKLOG)
    }

    /// As [`bind`](Self::bind), with room for `backlog` connections that wait. When it is full, further ones
    /// are ignored, so that their peers try again.
    ///
    /// # Errors
    /// As [`bind`](Self::bind).
    pub fn bind_with(address: impl ToBindAddress, backlog: usize) -> Result<Self> {
        Self::bind_at(address.to_bind_address().into(), backlog)
    }

    /// As [`bind_with`](Self::bind_with), which may be to IPv6 alone.
    ///
    /// # Errors
    /// As [`bind`](Self::bind).
    pub fn bind_at(at: BindAddress, backlog: usize) -> Result<Self> {
        let socket = Socket::new(stack().tcp_listen(at, backlog.max(1))?);
        let local = stack().local_address(socket.id)?;
        Ok(Self { socket, local })
    }

    /// Waits for a connection.
    ///
    /// # Errors
    /// When the listener itself has failed; a connection that fails before it is accepted is not seen.
    pub async fn accept(&self) -> Result<(TcpStream, SocketAddr)> {
        self.socket
            .wait_for(Interest::READ, || self.try_accept())
            .await
    }

    /// Takes a connection that waits.
    ///
    /// # Errors
    /// [`Error::WouldBlock`] when none does.
    pub fn try_accept(&self) -> Result<(TcpStream, SocketAddr)> {
        let (id, peer) = stack().tcp_accept(self.socket.id)?;
        Ok((TcpStream::new(id), peer))
    }

    /// Where it listens.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.local
    }

    /// Whether a connection waits.
    #[must_use]
    pub fn readiness(&self) -> Ready {
        stack().readiness(self.socket.id)
    }

    /// Waits until a connection waits, without taking it.
    pub fn poll_ready(&self, cx: &mut Context<'_>) -> Poll<Ready> {
        self.socket.poll_ready(cx, Interest::READ)
    }

    /// Wakes `waker` once at the next change, whatever the state is now.
    pub fn register(&self, waker: &Waker) {
        stack().register(self.socket.id, Interest::READ, waker);
    }
}

impl fmt::Debug for TcpListener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TcpListener({})", self.local)
    }
}

/// A connection. Belongs to its core. Dropping it closes it gracefully: what is queued is still sent.
pub struct TcpStream {
    socket: Socket,
}

impl TcpStream {
    fn new(id: SocketId) -> Self {
        Self {
            socket: Socket::new(id),
        }
    }

    async fn wait_for<T>(
        &self,
        interest: Interest,
        attempt: impl FnMut() -> Result<T>,
    ) -> Result<T> {
        self.socket.wait_for(interest, attempt).await
    }

    /// Connects to an address.
    ///
    /// # Errors
    /// Why there is no connection. Without an answer it takes about a minute to say
    /// [`Error::TimedOut`]; use [`ebb::time::timeout`] for less.
    pub async fn connect(address: impl Into<SocketAddr>) -> Result<Self> {
        let stream = Self::start_connect(None, address.into())?;
        stream.connected().await?;
        Ok(stream)
    }

    /// Starts to connect and returns at once; [`connected`](Self::connected) waits, and the stream becomes writable.
    /// `local` is the address to connect from; port 0 or an unspecified address leave the choice to the stack.
    ///
    /// # Errors
    /// When it cannot be tried.
    pub fn start_connect(local: Option<SocketAddr>, remote: SocketAddr) -> Result<Self> {
        Ok(Self::new(stack().tcp_connect(local, remote)?))
    }

    /// Waits until the connection is established.
    ///
    /// # Errors
    /// Why there is no connection.
    pub async fn connected(&self) -> Result<()> {
        let id = self.socket.id;
        self.socket
            .wait_for(Interest::WRITE, || stack().tcp_connected(id))
            .await
    }

    /// Whether the connection is established.
    ///
    /// # Errors
    /// [`Error::WouldBlock`] while it is being made, else why there is none.
    pub fn try_connected(&self) -> Result<()> {
        stack().tcp_connected(self.socket.id)
    }

    // --- Receiving ---------------------------------------------------------------------------------

    /// As [`recv_with`](Self::recv_with), without waiting.
    ///
    /// # Errors
    /// [`Error::WouldBlock`] when nothing is there, else what ended the connection.
    #[inline]
    pub fn try_recv_with<R>(&self, f: impl FnOnce(&[u8]) -> (usize, R)) -> Result<Option<R>> {
        lend::once(|sink| stack().tcp_receive(self.socket.id, sink), f)
    }

    /// Copies received bytes without consuming them: those that lie contiguous in front.
    ///
    /// # Errors
    /// [`Error::WouldBlock`] when nothing is there, else what ended the connection.
    pub fn try_peek(&self, buffer: &mut [u8]) -> Result<usize> {
        let peeked = self.try_recv_with(|bytes| (0, lend::copy(bytes, buffer)))?;
        Ok(peeked.unwrap_or(0))
    }

    // --- Sending -----------------------------------------------------------------------------------

    /// As [`write`](Self::write), without waiting.
    ///
    /// # Errors
    /// [`Error::WouldBlock`] when there is no room, else what ended the connection.
    #[inline]
    pub fn try_write(&self, bytes: &[u8]) -> Result<usize> {
        if bytes.is_empty() {
            return Ok(0);
        }
        stack().tcp_send(self.socket.id, bytes)
    }

    /// Queues a buffer without copying it: the stack keeps it until the peer has acknowledged it. Waits while the send
    /// queue is full. `&'static [u8]`, `Vec<u8>`, `Box<[u8]>`, `String` and [`Bytes`] are buffers.
    ///
    /// # Errors
    /// What ended the connection.
    pub async fn send(&self, buffer: impl Into<Bytes>) -> Result<()> {
        self.send_all([buffer.into()]).await
    }

    /// Queues several buffers, in order, as one: they share segments.
    ///
    /// # Errors
    /// What ended the connection.
    pub async fn send_all(&self, buffers: impl IntoIterator<Item = Bytes>) -> Result<()> {
        let mut buffers: VecDeque<Bytes> = buffers.into_iter().filter(|b| !b.is_empty()).collect();
        while !buffers.is_empty() {
            self.socket
                .wait_for(Interest::WRITE, || self.try_send(&mut buffers))
                .await?;
        }
        Ok(())
    }

    /// Moves buffers from the front of the queue into the send queue until that is full; returns the number of bytes.
    ///
    /// # Errors
    /// [`Error::WouldBlock`] when there is no room, else what ended the connection.
    pub fn try_send(&self, buffers: &mut VecDeque<Bytes>) -> Result<usize> {
        if buffers.is_empty() {
            return Ok(0);
        }
        stack().tcp_send_buffers(self.socket.id, buffers)
    }

    /// Ends a direction. The peer sees the end of the stream after all that was sent.
    ///
    /// # Errors
    /// [`Error::NotConnected`].
    pub fn shutdown(&self, how: Shutdown) -> Result<()> {
        match how {
            Shutdown::Write => stack().tcp_shutdown_write(self.socket.id),
        }
    }

    /// Resets the connection; what is queued is lost.
    pub fn abort(self) {
        stack().tcp_abort(self.socket.id);
        core::mem::forget(self);
    }

    // --- State ---------------------------------------------------------------------------------------

    /// The peer's address.
    ///
    /// # Errors
    /// [`Error::NotConnected`].
    pub fn peer_addr(&self) -> Result<SocketAddr> {
        stack().peer_address(self.socket.id)
    }

    /// This side's address.
    ///
    /// # Errors
    /// [`Error::NotConnected`].
    pub fn local_addr(&self) -> Result<SocketAddr> {
        stack().local_address(self.socket.id)
    }

    /// Whether small segments are sent at once (the default).
    ///
    /// # Errors
    /// When the platform refuses.
    pub fn set_nodelay(&self, on: bool) -> Result<()> {
        self.set(TcpOption::NoDelay(on))
    }

    /// Probes the peer after this much silence; `None` for never (the default).
    ///
    /// # Errors
    /// When the platform refuses.
    pub fn set_keepalive(&self, idle: Option<Duration>) -> Result<()> {
        self.set(TcpOption::KeepAlive(idle.map(KeepAlive::after)))
    }

    /// Changes a setting.
    ///
    /// # Errors
    /// When the platform refuses.
    pub fn set(&self, option: TcpOption) -> Result<()> {
        stack().tcp_set(self.socket.id, option)
    }

    /// How the connection fares: round-trip time, windows, what was lost.
    ///
    /// # Errors
    /// [`Error::NotConnected`].
    pub fn info(&self) -> Result<TcpInfo> {
        stack().tcp_info(self.socket.id)
    }

    /// Bytes queued that the peer has not acknowledged, and bytes received that nobody has taken.
    ///
    /// # Errors
    /// [`Error::NotConnected`].
    pub fn queued(&self) -> Result<(usize, usize)> {
        stack().queued(self.socket.id)
    }

    /// What the stream is ready for now.
    #[must_use]
    pub fn readiness(&self) -> Ready {
        stack().readiness(self.socket.id)
    }

    /// Waits until the stream is ready in a direction of `interest`, or has ended.
    pub fn poll_ready(&self, cx: &mut Context<'_>, interest: Interest) -> Poll<Ready> {
        self.socket.poll_ready(cx, interest)
    }

    /// As [`poll_ready`](Self::poll_ready).
    pub async fn ready(&self, interest: Interest) -> Ready {
        poll_fn(|cx| self.socket.poll_ready(cx, interest)).await
    }

    /// Wakes `waker` once at the next change in a direction of `interest`, whatever the state is now: what an
    /// edge-triggered epoll is made of.
    pub fn register(&self, interest: Interest, waker: &Waker) {
        stack().register(self.socket.id, interest, waker);
    }

    /// Takes the error that ended the connection, if nobody has seen it yet (`SO_ERROR`).
    #[must_use]
    pub fn take_error(&self) -> Option<Error> {
        stack().take_error(self.socket.id)
    }
}

impl fmt::Debug for TcpStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.peer_addr() {
            Ok(peer) => write!(f, "TcpStream({peer})"),
            Err(_) => f.write_str("TcpStream(not connected)"),
        }
    }
}

socket::stream_functions!(TcpStream);

// --- Serving -----------------------------------------------------------------------------------------

/// A server on all cores; see [`listen_on_all_cores`]. Dropping it lets the server go on.
#[must_use = "dropping it lets the server go on; `stop` ends it"]
pub struct Server {
    local: SocketAddr,
    accepting: Vec<RemoteHandle<Result<()>>>,
}

impl Server {
    /// Where it listens.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.local
    }

    /// Stops listening. Connections that were accepted go on.
    pub async fn stop(self) {
        for core in &self.accepting {
            core.cancel();
        }
        for core in self.accepting {
            let _ = core.await;
        }
    }

    /// Waits until a core stops listening, which it does only when its listener fails.
    ///
    /// # Errors
    /// Why.
    pub async fn failed(self) -> Result<()> {
        for core in self.accepting {
            core.await.map_err(|_| Error::ConnectionAborted)??;
        }
        Ok(())
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Server({} on {} cores)",
            self.local,
            self.accepting.len()
        )
    }
}

/// Listens on every core, and runs `serve` as a task of its own for each connection, on the connection's core. Returns
/// when every core listens.
///
/// Clones of `serve` travel to the cores; what it returns is dropped (report errors inside it). It may be an async closure that
/// uses what it has captured: the connections of a core share its clone.
///
/// # Errors
/// As [`TcpListener::bind`], for the first core that fails.
pub async fn listen_on_all_cores<F, R>(address: impl ToBindAddress, serve: F) -> Result<Server>
where
    F: AsyncFn(TcpStream) -> R + Clone + Send + 'static,
    R: 'static,
{
    listen_on(cores().collect::<Vec<_>>(), address, BACKLOG, serve).await
}

/// As [`listen_on_all_cores`], on some cores, each with its own backlog.
///
/// # Errors
/// As [`listen_on_all_cores`].
pub async fn listen_on<F, R>(
    on: impl IntoIterator<Item = CoreId>,
    address: impl ToBindAddress,
    backlog: usize,
    serve: F,
) -> Result<Server>
where
    F: AsyncFn(TcpStream) -> R + Clone + Send + 'static,
    R: 'static,
{
    let mut address = address.to_bind_address();
    let mut accepting = Vec::new();
    for core in on {
        let (sender, receiver) = ebb::sync::oneshot::channel();
        let serve = serve.clone();
        let task = spawn_on(core, async move || {
            let listener = match TcpListener::bind_with(address, backlog) {
                Ok(listener) => listener,
                Err(error) => {
                    let _ = sender.send(Err(error));
                    return Err(error);
                }
            };
            let _ = sender.send(Ok(listener.local_addr()));
            let serve = Rc::new(serve);
            loop {
                let (stream, _) = listener.accept().await?;
                let serve = Rc::clone(&serve);
                spawn(async move { serve(stream).await });
            }
        });
        match receiver.await {
            // Port 0 becomes the same port everywhere.
            Ok(Ok(local)) => address = local,
            Ok(Err(error)) => {
                accepting.iter().for_each(RemoteHandle::cancel);
                return Err(error);
            }
            Err(_) => return Err(Error::ConnectionAborted),
        }
        accepting.push(task);
    }
    Ok(Server {
        local: address,
        accepting,
    })
}
