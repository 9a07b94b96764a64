//! UDP.

use core::{
    cell::Cell,
    fmt,
    future::poll_fn,
    net::{IpAddr, SocketAddr},
    task::{Context, Poll},
};

use crate::{
    BindAddress, Datagram, Error, Interest, NetStack, Ready, Report, Result, UdpOption,
    backend::stack,
    tcp::{Socket, ToBindAddress},
};

/// A UDP socket of the core that made it. Cancel-safe; all methods take `&self`.
///
/// Datagrams that nobody receives in time are dropped, the newest first, once the socket's queue is full.
pub struct UdpSocket {
    socket: Socket,
    local: Cell<SocketAddr>,
    peer: Cell<Option<SocketAddr>>,
}

impl UdpSocket {
    /// Binds to an address; a bare port means all addresses, port 0 a free port. When several cores bind the same
    /// address, each sender's datagrams go to one of them.
    ///
    /// # Errors
    /// [`Error::AddressInUse`] when this core has bound it already, [`Error::AddressNotAvailable`].
    pub fn bind(address: impl ToBindAddress) -> Result<Self> {
        Self::bind_at(address.to_bind_address().into(), false)
    }

    /// As [`bind`](Self::bind), to an address that others may bind, too, if they do it in this way. What is sent to this
    /// machine goes to the newest of them, what is sent to a group to all.
    ///
    /// # Errors
    /// As [`bind`](Self::bind).
    pub fn bind_shared(address: impl ToBindAddress) -> Result<Self> {
        Self::bind_at(address.to_bind_address().into(), true)
    }

    /// As [`bind`](Self::bind) or [`bind_shared`](Self::bind_shared), which may be to IPv6 alone.
    ///
    /// # Errors
    /// As [`bind`](Self::bind).
    pub fn bind_at(at: BindAddress, shared: bool) -> Result<Self> {
        let socket = Socket::new(stack().udp_bind(at, shared)?);
        let local = stack().local_address(socket.id)?;
        Ok(Self {
            socket,
            local: Cell::new(local),
            peer: Cell::new(None),
        })
    }

    /// Where it is bound.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.local.get()
    }

    /// Sets the one peer that the socket sends to by [`send`](Self::send) and hears; `None` lets it hear all again. A
    /// socket that was bound to all addresses gets the one that the peer is reached from.
    ///
    /// # Errors
    /// [`Error::NetworkUnreachable`] when there is no way to the peer.
    pub fn connect(&self, peer: impl Into<Option<SocketAddr>>) -> Result<()> {
        let peer = peer.into();
        stack().udp_connect(self.socket.id, peer)?;
        self.local.set(stack().local_address(self.socket.id)?);
        self.peer.set(peer);
        Ok(())
    }

    /// The peer, if one is set.
    #[must_use]
    pub fn peer_addr(&self) -> Option<SocketAddr> {
        self.peer.get()
    }

    /// Changes a setting.
    ///
    /// # Errors
    /// [`Error::Unsupported`], and for groups [`Error::InvalidInput`] and [`Error::AddressNotAvailable`].
    pub fn set(&self, option: UdpOption) -> Result<()> {
        stack().udp_set(self.socket.id, option)
    }

    /// Bytes of the next datagram, 0 if there is none.
    #[must_use]
    pub fn available(&self) -> usize {
        stack().queued(self.socket.id).map_or(0, |(_, next)| next)
    }

    /// What a datagram to the peer met with, once.
    pub fn take_error(&self) -> Option<Error> {
        stack().take_error(self.socket.id)
    }

    /// The oldest answer to a datagram that could not be delivered, once; see [`UdpOption::Reports`].
    pub fn take_report(&self) -> Option<Report> {
        stack().udp_take_report(self.socket.id)
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
    /// [`Error::NotConnected`] without one; what a datagram to it met with, [`Error::ConnectionRefused`] among others.
    pub async fn recv(&self, buffer: &mut [u8]) -> Result<usize> {
        self.peer.get().ok_or(Error::NotConnected)?;
        Ok(self.recv_from(buffer).await?.0)
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
        self.try_receive(false, |datagram| f(datagram.bytes, datagram.from))
    }

    /// Lends the next datagram to `f`, with all that is known of it; it stays the next one if it is only to be seen
    /// (`peek`).
    ///
    /// # Errors
    /// [`Error::WouldBlock`] when none is there; what an earlier datagram to the peer met with, once.
    pub fn try_receive<R>(&self, peek: bool, f: impl FnOnce(&Datagram<'_>) -> R) -> Result<R> {
        let mut f = Some(f);
        let mut result = None;
        stack().udp_receive(self.socket.id, peek, &mut |datagram| {
            if let Some(f) = f.take() {
                result = Some(f(datagram));
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
        self.try_send_from(bytes, to, None)
    }

    /// As [`try_send_to`](Self::try_send_to), from one of the machine's addresses.
    ///
    /// # Errors
    /// As there, and [`Error::AddressNotAvailable`] when the machine does not have it.
    pub fn try_send_from(
        &self,
        bytes: &[u8],
        to: SocketAddr,
        from: Option<IpAddr>,
    ) -> Result<usize> {
        stack().udp_send(self.socket.id, bytes, to, from)?;
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
        write!(f, "UdpSocket({})", self.local.get())
    }
}
