//! vsock: streams between a virtual machine and its host, by number, without a network (`AF_VSOCK`).
//!
//! ```no_run
//! # use ebb_net::vsock::{Address, HOST, VsockListener, VsockStream};
//! # async fn serve() -> ebb_net::Result<()> {
//! let to_host = VsockStream::connect(Address { cid: HOST, port: 7000 }).await?;
//! to_host.write_all(b"ready\n").await?;
//! let listener = VsockListener::bind(7)?;
//! loop {
//!     let (stream, _) = listener.accept().await?;
//!     ebb_runtime::spawn(async move {
//!         let mut buffer = [0; 512];
//!         while let Ok(n @ 1..) = stream.read(&mut buffer).await {
//!             if stream.write_all(&buffer[..n]).await.is_err() {
//!                 break;
//!             }
//!         }
//!     });
//! }
//! # }
//! ```
//!
//! Streams are used as those of [`tcp`](crate::tcp) are: all methods take `&self`, every future may be dropped, a stream belongs to its
//! core. An image has them over its virtio socket device, a Linux process over the kernel's `AF_VSOCK`.
//!
//! What must hold below (the component [`Vsock`]): what [`NetStack`](crate::NetStack) says of sockets by number.

use alloc::rc::Rc;
use core::{
    fmt,
    task::{Context, Poll, Waker},
};

use ebb::{EbbRef, component, spawn};

use crate::{
    Error, Interest, Ready, Result, SocketId, lend,
    socket::{self, Sockets},
    tcp::Shutdown,
};

/// The host's context identifier.
pub const HOST: u32 = 2;

/// How many connections wait to be accepted, unless said otherwise.
pub const BACKLOG: usize = 128;

/// A context, which is a machine or its host, and a port of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Address {
    /// The context identifier; [`HOST`] is the host.
    pub cid: u32,
    /// The port.
    pub port: u32,
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "vsock:{}:{}", self.cid, self.port)
    }
}

/// vsock sockets by number, as [`NetStack`](crate::NetStack) has those of TCP. Every operation returns at once.
#[component]
pub trait Vsock {
    /// This machine's context identifier.
    fn cid(&self) -> Result<u32>;
    /// Listens on a port. Connections wait in a queue of at most `backlog`.
    fn listen(&self, port: u32, backlog: usize) -> Result<SocketId>;
    /// Takes a connection from a listener's queue.
    fn accept(&self, listener: SocketId) -> Result<(SocketId, Address)>;
    /// Starts to connect.
    fn connect(&self, to: Address) -> Result<SocketId>;
    /// Whether a connection is established: `WouldBlock` until then, else how it failed.
    fn connected(&self, socket: SocketId) -> Result<()>;
    /// Lends the next received bytes to `f`, which returns how many it has consumed. `Ok(false)` at the end of the stream.
    fn receive(&self, socket: SocketId, f: &mut dyn FnMut(&[u8]) -> usize) -> Result<bool>;
    /// Takes bytes to be sent; returns how many, at least one.
    fn send(&self, socket: SocketId, bytes: &[u8]) -> Result<usize>;
    /// Ends the sending direction after what was taken.
    fn shutdown_write(&self, socket: SocketId) -> Result<()>;
    /// The peer's address.
    fn peer(&self, socket: SocketId) -> Result<Address>;
    /// What the socket is ready for.
    fn readiness(&self, socket: SocketId) -> Ready;
    /// Wakes `waker` once when the socket changes in a direction of `interest`, or at once if it is ready for that already: the
    /// device may have answered on another core meanwhile.
    fn register(&self, socket: SocketId, interest: Interest, waker: &Waker);
    /// Resets the connection; the socket is closed.
    fn abort(&self, socket: SocketId);
    /// Gives a socket up. A connection ends after what was taken; a listener resets what waits in its queue.
    fn close(&self, socket: SocketId);
}

fn provider() -> &'static VsockLinked {
    EbbRef::<dyn Vsock>::get()
}

/// This machine's context identifier.
///
/// # Errors
/// [`Error::NoDevice`] where there is no vsock, [`Error::Unsupported`] where this process' kernel knows none.
pub fn cid() -> Result<u32> {
    provider().cid()
}

/// The sockets of the linked provider.
struct OfVsock;

impl Sockets for OfVsock {
    fn readiness(id: SocketId) -> Ready {
        provider().readiness(id)
    }

    fn register(id: SocketId, interest: Interest, waker: &Waker) {
        provider().register(id, interest, waker);
    }

    fn close(id: SocketId) {
        provider().close(id);
    }
}

type Socket = socket::Socket<OfVsock>;

/// Accepts connections. Dropping it stops listening; connections that wait are reset.
pub struct VsockListener {
    socket: Socket,
    port: u32,
}

impl VsockListener {
    /// Listens on a port, with room for [`BACKLOG`] connections that wait.
    ///
    /// # Errors
    /// [`Error::AddressInUse`] when somebody listens there already, [`Error::NoDevice`] where there is no vsock,
    /// [`Error::Unsupported`] where this process' kernel knows none.
    pub fn bind(port: u32) -> Result<Self> {
        Self::bind_with(port, BACKLOG)
    }

    /// As [`bind`](Self::bind), with room for `backlog` connections that wait. When it is full, further ones are refused.
    ///
    /// # Errors
    /// As [`bind`](Self::bind).
    pub fn bind_with(port: u32, backlog: usize) -> Result<Self> {
        let socket = Socket::new(provider().listen(port, backlog.max(1))?);
        Ok(Self { socket, port })
    }

    /// Waits for a connection.
    ///
    /// # Errors
    /// When the listener itself has failed.
    pub async fn accept(&self) -> Result<(VsockStream, Address)> {
        self.socket
            .wait_for(Interest::READ, || self.try_accept())
            .await
    }

    /// Takes a connection that waits.
    ///
    /// # Errors
    /// [`Error::WouldBlock`] when none does.
    pub fn try_accept(&self) -> Result<(VsockStream, Address)> {
        let (id, peer) = provider().accept(self.socket.id)?;
        Ok((VsockStream::new(id), peer))
    }

    /// Accepts connections until the listener fails, and runs `f` as a task of this core for each of them. HTTP is served so:
    ///
    /// ```no_run
    /// # use ebb_net::{http::{self, Limits, Request, Response}, vsock::VsockListener};
    /// # async fn serve() -> ebb_net::Result<()> {
    /// let answer = async |_: &mut Request<'_>| Response::text("hello\n");
    /// let listener = VsockListener::bind(80)?;
    /// Err(listener
    ///     .serve(async move |stream| http::serve_connection(stream, &Limits::default(), &answer).await)
    ///     .await)
    /// # }
    /// ```
    ///
    /// What `f` returns is dropped: how a connection ended is reported inside it, if at all. This gives why the listener failed.
    pub async fn serve<F, R>(self, f: F) -> Error
    where
        F: AsyncFn(VsockStream) -> R + 'static,
        R: 'static,
    {
        let f = Rc::new(f);
        loop {
            let stream = match self.accept().await {
                Ok((stream, _)) => stream,
                Err(error) => return error,
            };
            let f = Rc::clone(&f);
            spawn(async move { f(stream).await });
        }
    }

    /// The port that it listens on.
    #[must_use]
    pub fn port(&self) -> u32 {
        self.port
    }
}

impl fmt::Debug for VsockListener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "VsockListener({})", self.port)
    }
}

/// A connection. Dropped, it ends after what was written.
pub struct VsockStream {
    socket: Socket,
}

impl VsockStream {
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

    /// Connects.
    ///
    /// # Errors
    /// [`Error::ConnectionRefused`], [`Error::TimedOut`] when nobody answers for some seconds, [`Error::NoDevice`] and
    /// [`Error::Unsupported`] as in [`VsockListener::bind`].
    pub async fn connect(to: Address) -> Result<Self> {
        let stream = Self::new(provider().connect(to)?);
        let id = stream.socket.id;
        let connected = || provider().connected(id);
        stream.socket.wait_for(Interest::WRITE, connected).await?;
        Ok(stream)
    }

    /// As [`recv_with`](Self::recv_with), without waiting.
    ///
    /// # Errors
    /// [`Error::WouldBlock`] when nothing is there, else what ended the connection.
    pub fn try_recv_with<R>(&self, f: impl FnOnce(&[u8]) -> (usize, R)) -> Result<Option<R>> {
        lend::once(|sink| provider().receive(self.socket.id, sink), f)
    }

    /// As [`write`](Self::write), without waiting.
    ///
    /// # Errors
    /// [`Error::WouldBlock`] when there is no room, else as [`write`](Self::write).
    pub fn try_write(&self, bytes: &[u8]) -> Result<usize> {
        if bytes.is_empty() {
            return Ok(0);
        }
        provider().send(self.socket.id, bytes)
    }

    /// Ends a direction. The peer sees the end of the stream after all that was written.
    ///
    /// # Errors
    /// [`Error::NotConnected`].
    pub fn shutdown(&self, how: Shutdown) -> Result<()> {
        match how {
            Shutdown::Write => provider().shutdown_write(self.socket.id),
        }
    }

    /// Resets the connection; what is under way may be lost.
    pub fn abort(self) {
        provider().abort(self.socket.id);
        core::mem::forget(self);
    }

    /// The peer's address.
    ///
    /// # Errors
    /// [`Error::NotConnected`].
    pub fn peer_addr(&self) -> Result<Address> {
        provider().peer(self.socket.id)
    }

    /// What the stream is ready for now.
    #[must_use]
    pub fn readiness(&self) -> Ready {
        provider().readiness(self.socket.id)
    }

    /// Wakes `waker` once at the next change in a direction of `interest`, or at once when the stream is ready for it.
    pub fn register(&self, interest: Interest, waker: &Waker) {
        self.socket.register(interest, waker);
    }

    /// Waits until the stream is ready in a direction of `interest`, or has ended.
    pub fn poll_ready(&self, cx: &mut Context<'_>, interest: Interest) -> Poll<Ready> {
        self.socket.poll_ready(cx, interest)
    }
}

impl fmt::Debug for VsockStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.peer_addr() {
            Ok(peer) => write!(f, "VsockStream({peer})"),
            Err(_) => f.write_str("VsockStream(not connected)"),
        }
    }
}

socket::stream_functions!(VsockStream);
