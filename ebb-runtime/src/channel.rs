//! Channels to the host: streams of bytes with a name, without a network.
//!
//! ```no_run
//! # async fn serve() -> Result<(), ebb_runtime::channel::Missing> {
//! let mut channel = ebb_runtime::channel::open("log").await?;
//! let mut buffer = [0; 512];
//! loop {
//!     channel.connected().await;
//!     loop {
//!         let n = channel.read(&mut buffer).await;
//!         if n == 0 || channel.write_all(&buffer[..n]).await.is_err() {
//!             break; // The host has gone; it may come again.
//!         }
//!     }
//! }
//! # }
//! ```
//!
//! What must hold: a channel has one holder; what has come from the host before it went is read before the end is; nobody buffers
//! more than a bound, so a side that does not read stops the other.
//!
//! What a host has sent may still be on its way when it goes, and is lost then: one that has to know that it has arrived waits for
//! an answer.

use alloc::{boxed::Box, sync::Arc};
use core::{
    fmt,
    future::{Future, poll_fn},
    pin::Pin,
    task::{Context, Poll},
};

use crate::{EbbRef, component};

/// There is no channel of this name, or somebody holds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Missing;

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "there is no channel of this name, or it is in use; the runner makes them: EBB_CHANNEL=NAME=unix:PATH",
        )
    }
}

impl core::error::Error for Missing {}

/// The host has gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gone;

impl fmt::Display for Gone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the host's side of the channel has gone")
    }
}

impl core::error::Error for Gone {}

/// A future that a provider makes.
pub type Opening = Pin<Box<dyn Future<Output = Result<Arc<dyn Port>, Missing>>>>;

/// The machine's channels.
#[component]
pub trait Channels {
    /// Takes the channel of a name. Nobody else gets it until [`Port::release`].
    fn open(&self, name: &str) -> Opening;
}

/// The machine's side of a channel. Each operation wakes the last task that has asked for it.
pub trait Port: Send + Sync {
    /// Ready when the host is there; what it has left behind from before is dropped.
    fn poll_connected(&self, context: &mut Context<'_>) -> Poll<()>;
    /// Takes received bytes; 0 when the host has gone.
    fn poll_read(&self, context: &mut Context<'_>, buffer: &mut [u8]) -> Poll<usize>;
    /// Takes bytes to be sent, at least one if there is one.
    fn poll_write(&self, context: &mut Context<'_>, bytes: &[u8]) -> Poll<Result<usize, Gone>>;
    /// Ready when the host has taken all that was written.
    fn poll_flush(&self, context: &mut Context<'_>) -> Poll<Result<(), Gone>>;
    /// Gives the channel up, for somebody else to open.
    fn release(&self);
}

/// A channel, which ends for the host when this is dropped.
pub struct Channel(Arc<dyn Port>);

impl fmt::Debug for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Channel")
    }
}

/// Takes the channel of a name.
///
/// # Errors
/// When there is none, or somebody has it.
pub async fn open(name: &str) -> Result<Channel, Missing> {
    let opening = EbbRef::<dyn Channels>::get().open(name);
    opening.await.map(Channel)
}

impl Channel {
    /// Waits until the host is there. What it has sent before it went the last time, and nobody has read, is dropped.
    pub async fn connected(&mut self) {
        poll_fn(|context| self.0.poll_connected(context)).await;
    }

    /// Reads at least a byte into a buffer that is not empty; 0 means that the host has gone, and
    /// [`connected`](Self::connected) waits for its return.
    pub async fn read(&mut self, buffer: &mut [u8]) -> usize {
        poll_fn(|context| self.0.poll_read(context, buffer)).await
    }

    /// Writes all bytes. They are on their way then; [`flush`](Self::flush) waits until the host has them.
    ///
    /// # Errors
    /// When the host has gone, or is not there yet; how much it has got is not known.
    pub async fn write_all(&mut self, mut bytes: &[u8]) -> Result<(), Gone> {
        while !bytes.is_empty() {
            let n = poll_fn(|context| self.0.poll_write(context, bytes)).await?;
            bytes = bytes.get(n..).unwrap_or_default();
        }
        Ok(())
    }

    /// Waits until the host has taken all that was written.
    ///
    /// # Errors
    /// When it has gone.
    pub async fn flush(&mut self) -> Result<(), Gone> {
        poll_fn(|context| self.0.poll_flush(context)).await
    }
}

impl Drop for Channel {
    fn drop(&mut self) {
        self.0.release();
    }
}
