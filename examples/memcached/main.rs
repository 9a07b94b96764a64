//! memcached on every core: text and binary protocol, one table for all, no lock on the way to a value.
//!
//!     cargo run --release --example memcached -- -m 256
//!
//! or as a Linux process, `cargo hosted memcached -- -p 11311`. Any memcached client will do. The image's port 11211 is that
//! of this machine unless `EBB_FORWARD` says otherwise.
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

use options::{Options, USAGE};
use server::Server;

ebb_archive::variables!("EBB_FORWARD=11211:11211");

#[ebb::main]
async fn main() -> Result<u8, String> {
    if let ["--help" | "-h", ..] = ebb::args() {
        println!("{USAGE}");
        return Ok(0);
    }
    let options = match Options::parse(ebb::args()) {
        Ok(options) => options,
        Err(why) => {
            println!("memcached: {why}\n{USAGE}");
            return Ok(2);
        }
    };
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
    match listening.failed().await {
        Ok(()) => Ok(0),
        Err(error) => Err(format!("the listener failed: {error}")),
    }
}
