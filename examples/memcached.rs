//! memcached on every core: text and binary protocol, one table for all, no lock on the way to a value.
//!
//!     cargo run --release --example memcached -- -m 128
//!
//! or as a Linux process, `cargo hosted memcached -- -p 11311`. Any memcached client will do. The image's port 11211 is that
//! of this machine unless `EBB_FORWARD` says otherwise.
//!
//! The crate `ebb-memcached` has the protocol and the table, which know no sockets, and a small server around them.

#![no_std]
#![no_main]

extern crate alloc;

use alloc::{format, string::String};

use ebb::println;
use ebb_memcached::server::{Options, Server, USAGE};

ebb_archive::variables!("EBB_FORWARD=11211:11211");

#[ebb::main]
async fn main() -> Result<u8, String> {
    let said = |words: [&str; 2]| ebb::args().iter().any(|word| words.contains(word));
    if said(["-h", "--help"]) {
        println!("{USAGE}");
        return Ok(0);
    }
    if said(["-V", "--version"]) {
        println!("memcached of ebb {}", env!("CARGO_PKG_VERSION"));
        return Ok(0);
    }
    let options = match Options::parse(ebb::args(), ebb::memory_bytes()) {
        Ok(options) => options,
        Err(why) => {
            println!("memcached: {why}");
            return Ok(2);
        }
    };
    let server = Server::new(options.limits);
    server.sweep_when_idle();
    let listening = server
        .listen(options.port)
        .await
        .map_err(|error| format!("listening on port {}: {error}", options.port))?;
    println!(
        "serving memcached on {} with {} cores and {} MiB",
        listening.local_addr(),
        ebb::core_count(),
        options.limits.memory >> 20
    );
    if let Some(hint) = ebb::net::unreached(listening.local_addr().port()) {
        println!("memcached: {hint}");
    }
    match listening.failed().await {
        Ok(()) => Ok(0),
        Err(error) => Err(format!("the listener failed: {error}")),
    }
}
