//! A socket of its core by number, and the functions that wait, which all streams have in the same words.

use core::{
    future::poll_fn,
    marker::PhantomData,
    task::{Context, Poll, Waker},
};

use crate::{Error, Interest, Ready, Result, SocketId};

/// Who keeps sockets by number. What must hold: nothing that changes between a refused operation and `register` is missed.
pub(crate) trait Sockets: 'static {
    fn readiness(id: SocketId) -> Ready;
    fn register(id: SocketId, interest: Interest, waker: &Waker);
    fn close(id: SocketId);
}

/// A socket of this core; closes it when dropped. Not `Send`.
pub(crate) struct Socket<S: Sockets> {
    pub id: SocketId,
    on_core: PhantomData<(*const (), S)>,
}

impl<S: Sockets> Socket<S> {
    pub fn new(id: SocketId) -> Self {
        Self {
            id,
            on_core: PhantomData,
        }
    }

    pub fn readiness(&self) -> Ready {
        S::readiness(self.id)
    }

    pub fn register(&self, interest: Interest, waker: &Waker) {
        S::register(self.id, interest, waker);
    }

    /// Waits for what `attempt` would block on.
    pub async fn wait_for<T>(
        &self,
        interest: Interest,
        attempt: impl FnMut() -> Result<T>,
    ) -> Result<T> {
        wait_for(attempt, |waker| self.register(interest, waker)).await
    }

    pub fn poll_ready(&self, cx: &mut Context<'_>, interest: Interest) -> Poll<Ready> {
        let ready = self.readiness();
        if ready.is_for(interest) {
            return Poll::Ready(ready);
        }
        self.register(interest, cx.waker());
        Poll::Pending
    }
}

impl<S: Sockets> Drop for Socket<S> {
    fn drop(&mut self) {
        S::close(self.id);
    }
}

/// Tries again each time that the waker which `register` was given is woken, until `attempt` would not block.
pub(crate) async fn wait_for<T>(
    mut attempt: impl FnMut() -> Result<T>,
    register: impl Fn(&Waker),
) -> Result<T> {
    poll_fn(|cx| match attempt() {
        Err(Error::WouldBlock) => {
            register(cx.waker());
            Poll::Pending
        }
        result => Poll::Ready(result),
    })
    .await
}

/// The functions of a stream that copy or wait, by its `try_recv_with`, `try_write` and `wait_for`; and the traits of
/// `embedded-io-async`, whose methods take `&mut self`.
macro_rules! stream_functions {
    ($stream:ty) => {
        impl $stream {
            /// Waits for bytes and lends them to `f` where they lie: contiguous, at least one. `f` returns how many it has
            /// consumed, and a result; the rest comes again next time, at once. `None` at the end of the stream.
            ///
            /// What belongs together may come in pieces: consume a piece that is not complete into a buffer of your own, since
            /// the pieces do not become contiguous by waiting.
            ///
            /// `f` must not use this stream's receiving side.
            ///
            /// # Errors
            /// What ended the connection.
            pub async fn recv_with<R>(
                &self,
                mut f: impl FnMut(&[u8]) -> (usize, R),
            ) -> $crate::Result<Option<R>> {
                self.wait_for($crate::Interest::READ, || self.try_recv_with(&mut f))
                    .await
            }

            /// Waits for bytes and copies them out; 0 at the end of the stream (or for an empty buffer).
            ///
            /// # Errors
            /// What ended the connection. Bytes that arrived before that come first.
            pub async fn read(&self, buffer: &mut [u8]) -> $crate::Result<usize> {
                self.wait_for($crate::Interest::READ, || self.try_read(buffer))
                    .await
            }

            /// As [`read`](Self::read), without waiting.
            ///
            /// # Errors
            /// [`Error::WouldBlock`](crate::Error::WouldBlock) when nothing is there, else what ended the connection.
            pub fn try_read(&self, buffer: &mut [u8]) -> $crate::Result<usize> {
                let mut filled = 0;
                while filled < buffer.len() {
                    let step = self.try_recv_with(|bytes| {
                        let n = $crate::lend::copy(bytes, &mut buffer[filled..]);
                        (n, n)
                    });
                    match step {
                        Ok(Some(n)) => filled += n,
                        Ok(None) => break,
                        Err(_) if filled > 0 => break,
                        Err(error) => return Err(error),
                    }
                }
                Ok(filled)
            }

            /// Fills all of `buffer`.
            ///
            /// Unlike the other functions this one loses bytes when it is dropped half way: they are in `buffer`.
            ///
            /// # Errors
            /// [`Error::UnexpectedEof`](crate::Error::UnexpectedEof) when the stream ends first, else what ended the connection.
            pub async fn read_exact(&self, buffer: &mut [u8]) -> $crate::Result<()> {
                let mut filled = 0;
                while filled < buffer.len() {
                    match self.read(&mut buffer[filled..]).await? {
                        0 => return Err($crate::Error::UnexpectedEof),
                        n => filled += n,
                    }
                }
                Ok(())
            }

            /// Waits for room and takes bytes to be sent; returns how many, at least one unless `bytes` is empty.
            ///
            /// # Errors
            /// What ended the connection; [`Error::BrokenPipe`](crate::Error::BrokenPipe) when the peer receives no more.
            pub async fn write(&self, bytes: &[u8]) -> $crate::Result<usize> {
                self.wait_for($crate::Interest::WRITE, || self.try_write(bytes))
                    .await
            }

            /// Writes all of `bytes`, waiting for room as needed.
            ///
            /// # Errors
            /// As [`write`](Self::write).
            pub async fn write_all(&self, mut bytes: &[u8]) -> $crate::Result<()> {
                while !bytes.is_empty() {
                    let n = self.write(bytes).await?;
                    bytes = &bytes[n..];
                }
                Ok(())
            }
        }

        impl embedded_io_async::ErrorType for $stream {
            type Error = $crate::Error;
        }

        impl embedded_io_async::Read for $stream {
            async fn read(&mut self, buffer: &mut [u8]) -> $crate::Result<usize> {
                <$stream>::read(self, buffer).await
            }
        }

        impl embedded_io_async::Write for $stream {
            async fn write(&mut self, bytes: &[u8]) -> $crate::Result<usize> {
                <$stream>::write(self, bytes).await
            }

            /// Nothing to do: what was taken leaves by itself.
            async fn flush(&mut self) -> $crate::Result<()> {
                Ok(())
            }
        }
    };
}

pub(crate) use stream_functions;
