#![no_std]
//! The TCP/IP stack of an image: one per core, each with its own connections, timers and way to the device.
//!
//! Programs use the sockets of `ebb-net`; linking this crate (the platform of images does) binds them to this stack.
//!
//! | file | what it is |
//! |---|---|
//! | `engine.rs` | finding the devices, and the task of each core that drives its stack |
//! | `provider.rs` | what binds the sockets to it |
//! | `virtio/` | the driver of virtio network devices |
//! | `host/` | a core's stack: demultiplexing, output, timers |
//! | `sockets/` | the operations of the sockets |
//! | `connection/` | a TCP connection |
//! | `handshake.rs` | connections that peers have begun |
//! | `queues.rs` | bytes to send, received bytes |
//! | `control.rs` | the slow path: ARP, NDP, ICMP, DHCP, fragments |
//! | `address.rs` | the option `ip` |
//! | `icmp.rs` | answers of ICMP |
//! | `shared.rs` | what the cores share: routes, neighbours, owners of flows |
//! | `wire.rs`, `seq.rs` | headers, checksums, sequence numbers |
//! | `link.rs` | frames, and a core's link to the devices |

extern crate alloc;
// The macros name everything through `::ebb`.
extern crate ebb_runtime as ebb;

mod address;
mod connection;
mod control;
mod engine;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
mod handshake;
mod host;
mod icmp;
mod link;
mod provider;
mod queues;
mod seq;
mod shared;
mod sockets;
#[cfg(test)]
mod tests;
mod time;
mod virtio;
mod wire;

pub use host::Stats;
pub use provider::{CoreNetStats, DeviceStats, device, stats};
