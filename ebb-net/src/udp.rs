//! UDP.

use core::{
    cell::Cell,
    fmt,
    future::poll_fn,
    net::SocketAddr,
    task::{Context, Poll},
};

use crate::{
    Error, Interest, NetStack, Ready, Result,
    backend::stack,
    tcp::{Socket, ToBindAddress},
};

/// A UDP socket of the core that made it. Cancel-safe; all methods take `&self`.
///
/// Datagrams that nobody receives in time are dropped, the newest first, once the socket's queue is full.
pub struct UdpSocket {
    socket: Socket,
    local: SocketAddr,
    peer: Cell<Option<SocketAddr>>,
}

impl UdpSocket {
    /// Binds to an address; a bare port means all addresses, port 0 a free port. When several cores bind the same
    /// address, each sender's datagrams go to one of them.
    ///
    /// # Errors
    /// [`Error::AddressInUse`] when this core has bound it already, [`Error::AddressNotAvailable`].
    pub fn bind(address: impl ToBindAddress) -> Result<Self> {
        let socket = Socket::new(stack().udp_bind(address.to_bind_address())?);
        let local = stack().local_address(socket.id)?;
        Ok(Self {
            socket,
            local,
            peer: Cell::new(None),
        })
    }

    /// Where it is bound.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.local
    }

    /// Sets the peer for [`send`](Self::send) and [`recv`](Self::recv), which then ignores all others.
    pub fn connect(&self, peer: SocketAddr) {
        self.peer.set(Some(peer));
    }

    /// Sends a datagram.
    ///
    /// # Errors
    /// [`Error::MessageTooLong`], or why it cannot leave.
    pub async fn send_to(&self, bytes: &[u8], to: SocketAddr) -> Result<usize> {
        self.socket
            .wait_for(Interest::WRITE, || self.try_send_to(bytes, to))
            .await
    }

    /// Sends a datagram to the peer.
    ///
    /// # Errors
    /// [`Error::NotConnected`] without one; as [`send_to`](Self::send_to).
    pub async fn send(&self, bytes: &[u8]) -> Result<usize> {
        let peer = self.peer.get().ok_or(Error::NotConnected)?;
        self.send_to(bytes, peer).await
    }

    /// Waits for a datagram and copies it out. What does not fit is cut off.
    ///
    /// # Errors
    /// When the socket has failed.
    pub async fn recv_from(&self, buffer: &mut [u8]) -> Result<(usize, SocketAddr)> {
        self.socket
            .wait_for(Interest::READ, || self.try_recv_from(buffer))
            .await
    }

    /// Waits for a datagram of the peer.
    ///
    /// # Errors
    /// [`Error::NotConnected`] without one.
    pub async fn recv(&self, buffer: &mut [u8]) -> Result<usize> {
        let peer = self.peer.get().ok_or(Error::NotConnected)?;
        loop {
            let (n, from) = self.recv_from(buffer).await?;
            if from == peer {
                return Ok(n);
            }
        }
    }

    /// Waits for a datagram and lends it to `f` where it lies.
    ///
    /// # Errors
    /// When the socket has failed.
    pub async fn recv_with<R>(&self, mut f: impl FnMut(&[u8], SocketAddr) -> R) -> Result<R> {
        self.socket
            .wait_for(Interest::READ, || self.try_recv_with(&mut f))
            .await
    }

    /// As [`recv_with`](Self::recv_with), without waiting.
    ///
    /// # Errors
    /// [`Error::WouldBlock`] when none is there.
    pub fn try_recv_with<R>(&self, f: impl FnOnce(&[u8], SocketAddr) -> R) -> Result<R> {
        let mut f = Some(f);
        let mut result = None;
        stack().udp_receive(self.socket.id, &mut |bytes, from| {
            if let Some(f) = f.take() {
                result = Some(f(bytes, from));
            }
        })?;
        result.ok_or(Error::WouldBlock)
    }

    /// As [`recv_from`](Self::recv_from), without waiting.
    ///
    /// # Errors
    /// [`Error::WouldBlock`] when none is there.
    pub fn try_recv_from(&self, buffer: &mut [u8]) -> Result<(usize, SocketAddr)> {
        self.try_recv_with(|bytes, from| {
            let n = bytes.len().min(buffer.len());
            buffer[..n].copy_from_slice(&bytes[..n]);
            (n, from)
        })
    }

    /// As [`send_to`](Self::send_to), without waiting.
    ///
    /// # Errors
    /// [`Error::WouldBlock`] when there is no room, else as there.
    pub fn try_send_to(&self, bytes: &[u8], to: SocketAddr) -> Result<usize> {
        stack().udp_send(self.socket.id, bytes, to)?;
        Ok(bytes.len())
    }

    /// What the socket is ready for now.
    #[must_use]
    pub fn readiness(&self) -> Ready {
        stack().readiness(self.socket.id)
    }

    /// Waits until the socket is ready in a direction of `interest`.
    pub fn poll_ready(&self, cx: &mut Context<'_>, interest: Interest) -> Poll<Ready> {
        self.socket.poll_ready(cx, interest)
    }

    /// As [`poll_ready`](Self::poll_ready).
    pub async fn ready(&self, interest: Interest) -> Ready {
        poll_fn(|cx| self.socket.poll_ready(cx, interest)).await
    }

    /// Wakes `waker` once at the next change in a direction of `interest`.
    pub fn register(&self, interest: Interest, waker: &core::task::Waker) {
        stack().register(self.socket.id, interest, waker);
    }
}

impl fmt::Debug for UdpSocket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "UdpSocket({})", self.local)
    }
}
