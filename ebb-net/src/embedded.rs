//! Streams as `embedded-io-async` wants them, whose methods take `&mut self`.

/// Implements its traits for a stream by the stream's own `read` and `write`.
macro_rules! embedded_io {
    ($stream:ty) => {
        impl embedded_io_async::ErrorType for $stream {
            type Error = crate::Error;
        }

        impl embedded_io_async::Read for $stream {
            async fn read(&mut self, buffer: &mut [u8]) -> crate::Result<usize> {
                <$stream>::read(self, buffer).await
            }
        }

        impl embedded_io_async::Write for $stream {
            async fn write(&mut self, bytes: &[u8]) -> crate::Result<usize> {
                <$stream>::write(self, bytes).await
            }

            /// Nothing to do: what was taken leaves by itself.
            async fn flush(&mut self) -> crate::Result<()> {
                Ok(())
            }
        }
    };
}

pub(crate) use embedded_io;
