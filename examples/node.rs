//! Runs a script with an unmodified Node.js.
//!
//! `cargo run --release --example node -- script.js arguments` packs the machine's `node` (or `EBB_NODE`) with its libraries and
//! the script, boots the image and runs it; an HTTP server in the script is reached through `EBB_FORWARD=8080:8080`. The
//! options for the image are those of the example `linux`.

#![no_std]
#![no_main]

extern crate alloc;

#[path = "support/guest.rs"]
mod guest;

// One core for each program, so V8's pool of helpers brings nothing.
ebb_archive::manifest!("program node\nargs --v8-pool-size=0\nfiles-of-arguments\n");

#[ebb::main]
async fn main() -> u8 {
    guest::run("node", ebb::args()).await
}
