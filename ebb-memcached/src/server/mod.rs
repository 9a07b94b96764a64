//! A server on every core: what `examples/memcached.rs` is made of.
//!
//! One table is made once and reached from all cores; each connection is a task on the core that its packets arrive on; cores
//! that have nothing to do look for what has expired. This is the one module of the crate that does I/O.

mod connection;
mod options;
mod sweep;

use alloc::boxed::Box;

use ebb_net::tcp::{self, TcpStream, ToBindAddress};
use ebb_runtime::{core_count, cores, quiesce::EventBoundary, spare_memory_bytes, spawn_on, time};

use crate::{Limits, Time};

pub use options::{Options, USAGE};

/// Reads of the table are safe until the end of an event, which is what `EventBoundary` says.
type Store = crate::Store<EventBoundary>;

/// Of the memory that is free at the start, so much stays free, for all that is no item: packets, connections, commands and
/// answers on their way.
const RESERVE: usize = 8;

/// Bytes of memory that nothing uses now.
fn spare() -> usize {
    let bytes = spare_memory_bytes().unwrap_or(u64::MAX);
    usize::try_from(bytes).unwrap_or(usize::MAX)
}

/// A table, and when the server started, which expiry times count from. Copies mean the same server.
#[derive(Clone, Copy)]
pub struct Server {
    store: &'static Store,
    started: time::Instant,
    /// The start as a Unix time, in seconds.
    epoch_s: i64,
}

impl Server {
    /// A server with an empty table, which lives as long as the machine. Where the platform knows what memory is free, an
    /// eighth of it stays so: then the table holds less than it may, and at last takes nothing in.
    pub fn new(limits: Limits) -> Self {
        let mut store = Store::new(limits, core_count());
        if let Some(bytes) = spare_memory_bytes() {
            let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
            store = store.keeping_free(bytes / RESERVE, spare);
        }
        Self {
            store: Box::leak(Box::new(store)),
            started: time::Instant::now(),
            epoch_s: i64::try_from(time::unix_time().as_secs()).unwrap_or(0),
        }
    }

    /// From now on idle cores look for expired items.
    pub fn sweep_when_idle(self) {
        for core in cores() {
            // A sweep ends with the machine only.
            drop(spawn_on(core, async move || sweep::run(self).await));
        }
    }

    /// Listens on every core.
    ///
    /// # Errors
    /// As [`tcp::listen_on_all_cores`].
    pub async fn listen(self, address: impl ToBindAddress) -> ebb_net::Result<tcp::Server> {
        tcp::listen_on_all_cores(address, move |stream| self.serve(stream)).await
    }

    /// Serves a client until it goes or misbehaves.
    pub async fn serve(self, stream: TcpStream) {
        // An error is the client's end, and concerns nothing else.
        let _ = connection::serve(self, &stream).await;
    }

    /// The time of this batch of requests.
    fn time(&self) -> Time {
        Time::new(self.started.elapsed().as_secs(), self.epoch_s)
    }
}
