//! A connection as protocols above it see it: TCP, vsock, or a layer over one of them, such as TLS.
//!
//! What must hold: a layer's functions never wait; one that has nothing to give says [`Error::WouldBlock`](crate::Error::WouldBlock), and after that
//! [`Layer::register`] wakes when trying again may help, in whichever direction of the connection below that is.

use alloc::{boxed::Box, collections::VecDeque};
use core::{fmt, task::Waker};

use bytes::Bytes;

use crate::{
    Interest, Ready, Result, lend, socket, tcp::Shutdown, tcp::TcpStream, vsock::VsockStream,
};

/// What lies over a connection and carries bytes both ways in its own form.
pub trait Layer {
    /// Lends received bytes to `f`, which returns how many it has consumed; the rest comes again. False at the end of the stream.
    /// `f` does not use the stream.
    ///
    /// # Errors
    /// [`Error::WouldBlock`](crate::Error::WouldBlock) when nothing is there, else what ended the connection.
    fn try_receive(&self, f: &mut dyn FnMut(&[u8]) -> usize) -> Result<bool>;

    /// Takes bytes from the front of `bytes`; returns how many.
    ///
    /// # Errors
    /// [`Error::WouldBlock`](crate::Error::WouldBlock) when there is no room, else what ended the connection.
    fn try_write(&self, bytes: &[u8]) -> Result<usize>;

    /// Ends the sending direction after all that was taken.
    ///
    /// # Errors
    /// [`Error::NotConnected`](crate::Error::NotConnected).
    fn shutdown_write(&self) -> Result<()>;

    /// What the stream is ready for now. `readable` may be a false alarm.
    fn readiness(&self) -> Ready;

    /// Wakes `waker` once at the next change that may help in a direction of `interest`.
    fn register(&self, interest: Interest, waker: &Waker);

    /// The connection below.
    fn below(&self) -> &Stream;
}

/// A connection: TCP, vsock, or a layer over one of them. Belongs to its core, as [`TcpStream`] does, and ends in the same way
/// when it is dropped.
#[non_exhaustive]
pub enum Stream {
    /// TCP as it is.
    Tcp(TcpStream),
    /// vsock as it is.
    Vsock(VsockStream),
    /// A layer over another.
    Layered(Box<dyn Layer>),
}

impl From<TcpStream> for Stream {
    fn from(stream: TcpStream) -> Self {
        Self::Tcp(stream)
    }
}

impl From<VsockStream> for Stream {
    fn from(stream: VsockStream) -> Self {
        Self::Vsock(stream)
    }
}

impl Stream {
    /// What is at the bottom, below all layers.
    fn bottom(&self) -> &Stream {
        let mut this = self;
        while let Self::Layered(layer) = this {
            this = layer.below();
        }
        this
    }

    /// The TCP connection at the bottom, if it is one: addresses, settings.
    #[must_use]
    pub fn tcp(&self) -> Option<&TcpStream> {
        match self.bottom() {
            Self::Tcp(stream) => Some(stream),
            _ => None,
        }
    }

    /// The vsock connection at the bottom, if it is one.
    #[must_use]
    pub fn vsock(&self) -> Option<&VsockStream> {
        match self.bottom() {
            Self::Vsock(stream) => Some(stream),
            _ => None,
        }
    }

    /// Whether small segments are sent at once, where the connection has such: over TCP.
    ///
    /// # Errors
    /// When the platform refuses.
    pub fn set_nodelay(&self, on: bool) -> Result<()> {
        self.tcp().map_or(Ok(()), |tcp| tcp.set_nodelay(on))
    }

    /// As [`TcpStream::try_recv_with`].
    ///
    /// # Errors
    /// [`Error::WouldBlock`](crate::Error::WouldBlock) when nothing is there, else what ended the connection.
    #[inline]
    pub fn try_recv_with<R>(&self, f: impl FnOnce(&[u8]) -> (usize, R)) -> Result<Option<R>> {
        let layer = match self {
            Self::Tcp(stream) => return stream.try_recv_with(f),
            Self::Vsock(stream) => return stream.try_recv_with(f),
            Self::Layered(layer) => layer,
        };
        lend::once(|sink| layer.try_receive(sink), f)
    }

    /// Whether the stream has come to its end, or an error waits, as far as can be said without consuming anything.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        let ready = self.readiness();
        let at_end = || matches!(self.try_recv_with(|_| (0, ())), Ok(None));
        ready.error || ready.hung_up || ready.readable && at_end()
    }

    /// As [`write`](Self::write), without waiting.
    ///
    /// # Errors
    /// [`Error::WouldBlock`](crate::Error::WouldBlock) when there is no room, else what ended the connection.
    #[inline]
    pub fn try_write(&self, bytes: &[u8]) -> Result<usize> {
        match self {
            Self::Tcp(stream) => stream.try_write(bytes),
            Self::Vsock(stream) => stream.try_write(bytes),
            Self::Layered(_) if bytes.is_empty() => Ok(0),
            Self::Layered(layer) => layer.try_write(bytes),
        }
    }

    /// Sends a buffer, over TCP without copying it.
    ///
    /// # Errors
    /// What ended the connection.
    pub async fn send(&self, buffer: impl Into<Bytes>) -> Result<()> {
        match self {
            Self::Tcp(stream) => stream.send(buffer).await,
            Self::Vsock(_) | Self::Layered(_) => self.write_all(&buffer.into()).await,
        }
    }

    /// As [`TcpStream::try_send`].
    ///
    /// # Errors
    /// [`Error::WouldBlock`](crate::Error::WouldBlock) when there is no room, else what ended the connection.
    pub fn try_send(&self, buffers: &mut VecDeque<Bytes>) -> Result<usize> {
        if let Self::Tcp(stream) = self {
            return stream.try_send(buffers);
        }
        let mut sent = 0;
        while let Some(first) = buffers.front_mut() {
            let taken = match self.try_write(first) {
                Err(_) if sent > 0 => break,
                result => result?,
            };
            sent += taken;
            if taken < first.len() {
                drop(first.split_to(taken));
                break;
            }
            buffers.pop_front();
        }
        Ok(sent)
    }

    /// As [`TcpStream::shutdown`].
    ///
    /// # Errors
    /// [`Error::NotConnected`](crate::Error::NotConnected).
    pub fn shutdown(&self, how: Shutdown) -> Result<()> {
        match self {
            Self::Tcp(stream) => stream.shutdown(how),
            Self::Vsock(stream) => stream.shutdown(how),
            Self::Layered(layer) => match how {
                Shutdown::Write => layer.shutdown_write(),
            },
        }
    }

    /// What the stream is ready for now; of a layer, `readable` may be a false alarm.
    #[must_use]
    pub fn readiness(&self) -> Ready {
        match self {
            Self::Tcp(stream) => stream.readiness(),
            Self::Vsock(stream) => stream.readiness(),
            Self::Layered(layer) => layer.readiness(),
        }
    }

    /// As [`TcpStream::register`].
    pub fn register(&self, interest: Interest, waker: &Waker) {
        match self {
            Self::Tcp(stream) => stream.register(interest, waker),
            Self::Vsock(stream) => stream.register(interest, waker),
            Self::Layered(layer) => layer.register(interest, waker),
        }
    }

    async fn wait_for<T>(
        &self,
        interest: Interest,
        attempt: impl FnMut() -> Result<T>,
    ) -> Result<T> {
        socket::wait_for(attempt, |waker| self.register(interest, waker)).await
    }
}

impl fmt::Debug for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(stream) => stream.fmt(f),
            Self::Vsock(stream) => stream.fmt(f),
            Self::Layered(layer) => write!(f, "Layered({:?})", layer.below()),
        }
    }
}

socket::stream_functions!(Stream);
