//! memcached on every core: text and binary protocol, one table for all, no lock on the way to a value.
//!
//!     EBB_FORWARD=11211:11211 cargo run --release --example memcached -- -m 256
//!
//! or as a Linux process, `cargo hosted memcached -- -p 11311`. Any memcached client will do.
//!
//! Everything about the protocol is in the crate `ebb-memcached`, which knows no sockets. What is left is what this
//! program is: a table made once and reached from all cores, a task for each connection on the core that its packets
//! arrive on, and idle cores that look for what has expired.

#![no_std]
#![no_main]

extern crate alloc;

mod options;
mod serve;
mod sweep;

use alloc::{boxed::Box, format, string::String};

use ebb::{cores, println, quiesce::EventBoundary, spawn_on, time};
use ebb_net::tcp;

use options::Options;

/// Reads of the table are safe until the end of an event, which is what `EventBoundary` says.
type Store = ebb_memcached::Store<EventBoundary>;

/// What every connection needs: the table, and when the server started, which expiry times count from.
#[derive(Clone, Copy)]
struct Server {
    store: &'static Store,
    started: time::Instant,
    /// The start as a Unix time, in seconds.
    epoch: i64,
}

impl Server {
    fn new(options: &Options) -> Self {
        let store = Store::new(options.limits, ebb::core_count());
        Self {
            // It lives as long as the machine.
            store: Box::leak(Box::new(store)),
            started: time::Instant::now(),
            epoch: i64::try_from(time::unix_time().as_secs()).unwrap_or(0),
        }
    }

    fn time(&self) -> ebb_memcached::Time {
        ebb_memcached::Time::new(self.started.elapsed().as_secs(), self.epoch)
    }
}

#[ebb::main]
async fn main() -> Result<(), String> {
    let options = Options::parse(ebb::args())?;
    let server = Server::new(&options);
    for core in cores() {
        // A sweep ends with the machine only.
        drop(spawn_on(core, async move || sweep::run(server).await));
    }
    let listening = tcp::listen_on_all_cores(options.port, move |stream| serve::connection(server, stream))
        .await
        .map_err(|error| format!("listening on port {}: {error}", options.port))?;
    println!(
        "serving memcached on {} with {} cores and {} MiB",
        listening.local_addr(),
        ebb::core_count(),
        options.limits.memory >> 20
    );
    listening
        .failed()
        .await
        .map_err(|error| format!("the listener failed: {error}"))
}
