//! Tests that boot an image, by what they are about: `cargo test --test native guests::`, `... network::`. One program, because many wait for a
//! machine, a timer or a peer, and Cargo runs programs one after the other.

mod channels;
mod disk;
mod echo;
mod examples;
mod faults;
mod guests;
mod instances;
mod invoker;
mod kept;
mod languages;
mod linux;
mod machines;
mod network;
mod node;
mod programs;
mod servers;
mod snapshots;
mod soak;
mod state;
mod tls;
mod tracing;
mod vsock;
