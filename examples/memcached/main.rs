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
mod server;
mod sweep;

use alloc::{format, string::String};

use ebb::{cores, println, spawn_on};
use ebb_net::tcp;

use options::Options;
use server::Server;

#[ebb::main]
async fn main() -> Result<(), String> {
    let options = Options::parse(ebb::args())?;
    let server = Server::new(options.limits);
    for core in cores() {
        // A sweep ends with the machine only.
        drop(spawn_on(core, async move || sweep::run(server).await));
    }
    let listening = tcp::listen_on_all_cores(options.port, move |stream| {
        serve::connection(server, stream)
    })
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
