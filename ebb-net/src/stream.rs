//! A connection as protocols above it see it: TCP as it is, or a layer over it, such as TLS.
//!
//! What must hold: a layer's functions never wait; one that has nothing to give says [`Error::WouldBlock`], and after that
//! [`Layer::register`] wakes when trying again may help, in whichever direction of the TCP connection that is.

use alloc::{boxed::Box, collections::VecDeque};
use core::{
    fmt,
    future::poll_fn,
    task::{Context, Poll, Waker},
};

use bytes::Bytes;

use crate::{Error, Interest, Ready, Result, lend, tcp::Shutdown, tcp::TcpStream};

/// What lies over a TCP connection and carries bytes both ways in its own form.
pub trait Layer {
    /// Lends received bytes to `f`, which returns how many it has consumed; the rest comes again. False at the end of the stream.
    /// `f` does not use the stream.
    ///
    /// # Errors
    /// [`Error::WouldBlock`] when nothing is there, else what ended the connection.
    fn try_receive(&self, f: &mut dyn FnMut(&[u8]) -> usize) -> Result<bool>;

    /// Takes bytes from the front of `bytes`; returns how many.
    ///
    /// # Errors
    /// [`Error::WouldBlock`] when there is no room, else what ended the connection.
    fn try_write(&self, bytes: &[u8]) -> Result<usize>;

    /// Ends the sending direction after all that was taken.
    ///
    /// # Errors
    /// [`Error::NotConnected`].
    fn shutdown_write(&self) -> Result<()>;

    /// What the stream is ready for now. `readable` may be a false alarm.
    fn readiness(&self) -> Ready;

    /// Wakes `waker` once at the next change that may help in a direction of `interest`.
    fn register(&self, interest: Interest, waker: &Waker);

    /// The connection below.
    fn tcp(&self) -> &TcpStream;
}

/// A connection: see the module. Belongs to its core, as [`TcpStream`] does, and ends in the same way when it is dropped.
pub enum Stream {
    /// TCP as it is.
    Tcp(TcpStream),
    /// A layer over it.
    Layered(Box<dyn Layer>),
}

impl From<TcpStream> for Stream {
    fn from(stream: TcpStream) -> Self {
        Self::Tcp(stream)
    }
}

impl Stream {
    /// The TCP connection at the bottom: addresses, settings.
    #[must_use]
    pub fn tcp(&self) -> &TcpStream {
        match self {
            Self::Tcp(stream) => stream,
            Self::Layered(layer) => layer.tcp(),
        }
    }

    /// As [`TcpStream::recv_with`].
    ///
    /// # Errors
    /// What ended the connection.
    pub async fn recv_with<R>(&self, mut f: impl FnMut(&[u8]) -> (usize, R)) -> Result<Option<R>> {
        self.wait_for(Interest::READ, || self.try_recv_with(&mut f))
            .await
    }

    /// As [`TcpStream::try_recv_with`].
    ///
    /// # Errors
    /// [`Error::WouldBlock`] when nothing is there, else what ended the connection.
    #[inline]
    pub fn try_recv_with<R>(&self, f: impl FnOnce(&[u8]) -> (usize, R)) -> Result<Option<R>> {
        let layer = match self {
            Self::Tcp(stream) => return stream.try_recv_with(f),
            Self::Layered(layer) => layer,
        };
        lend::once(|sink| layer.try_receive(sink), f)
    }

    /// Waits for bytes and copies them out; 0 at the end of the stream (or for an empty buffer).
    ///
    /// # Errors
    /// What ended the connection.
    pub async fn read(&self, buffer: &mut [u8]) -> Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        let got = self
            .recv_with(|bytes| {
                let n = lend::copy(bytes, buffer);
                (n, n)
            })
            .await?;
        Ok(got.unwrap_or(0))
    }

    /// Whether the stream has come to its end, or an error waits, as far as can be said without consuming anything.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        let ready = self.readiness();
        let at_end = || matches!(self.try_recv_with(|_| (0, ())), Ok(None));
        ready.error || ready.hung_up || ready.readable && at_end()
    }

    /// Waits for room; returns how many of `bytes` were taken.
    ///
    /// # Errors
    /// What ended the connection.
    pub async fn write(&self, bytes: &[u8]) -> Result<usize> {
        self.wait_for(Interest::WRITE, || self.try_write(bytes))
            .await
    }

    /// Writes all of `bytes`, waiting for room as needed.
    ///
    /// # Errors
    /// What ended the connection.
    pub async fn write_all(&self, mut bytes: &[u8]) -> Result<()> {
        while !bytes.is_empty() {
            let n = self.write(bytes).await?;
            bytes = &bytes[n..];
        }
        Ok(())
    }

    /// As [`write`](Self::write), without waiting.
    ///
    /// # Errors
    /// [`Error::WouldBlock`] when there is no room, else what ended the connection.
    #[inline]
    pub fn try_write(&self, bytes: &[u8]) -> Result<usize> {
        match self {
            Self::Tcp(stream) => stream.try_write(bytes),
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
            Self::Layered(_) => self.write_all(&buffer.into()).await,
        }
    }

    /// As [`TcpStream::try_send`].
    ///
    /// # Errors
    /// [`Error::WouldBlock`] when there is no room, else what ended the connection.
    pub fn try_send(&self, buffers: &mut VecDeque<Bytes>) -> Result<usize> {
        let layer = match self {
            Self::Tcp(stream) => return stream.try_send(buffers),
            Self::Layered(layer) => layer,
        };
        let mut sent = 0;
        while let Some(first) = buffers.front_mut() {
            let taken = match layer.try_write(first) {
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
    /// [`Error::NotConnected`].
    pub fn shutdown(&self, how: Shutdown) -> Result<()> {
        match self {
            Self::Tcp(stream) => stream.shutdown(how),
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
            Self::Layered(layer) => layer.readiness(),
        }
    }

    /// As [`TcpStream::register`].
    pub fn register(&self, interest: Interest, waker: &Waker) {
        match self {
            Self::Tcp(stream) => stream.register(interest, waker),
            Self::Layered(layer) => layer.register(interest, waker),
        }
    }

    /// Waits for what `attempt` would block on.
    async fn wait_for<T>(
        &self,
        interest: Interest,
        mut attempt: impl FnMut() -> Result<T>,
    ) -> Result<T> {
        poll_fn(|cx| self.poll(cx, interest, &mut attempt)).await
    }

    #[inline]
    fn poll<T>(
        &self,
        cx: &mut Context<'_>,
        interest: Interest,
        attempt: impl FnOnce() -> Result<T>,
    ) -> Poll<Result<T>> {
        match attempt() {
            Err(Error::WouldBlock) => {
                self.register(interest, cx.waker());
                Poll::Pending
            }
            result => Poll::Ready(result),
        }
    }
}

impl fmt::Debug for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(stream) => stream.fmt(f),
            Self::Layered(layer) => write!(f, "Layered({:?})", layer.tcp()),
        }
    }
}

crate::embedded::embedded_io!(Stream);
