//! The TCP/IP stack: one per core, each with its own connections, timers and way to the device.
//!
//! | file | what it is |
//! |---|---|
//! | `host.rs` | a core's stack: demultiplexing, output, timers |
//! | `sockets.rs` | the operations of the sockets |
//! | `connection.rs` | a TCP connection |
//! | `handshake.rs` | connections that peers have begun |
//! | `queues.rs` | bytes to send, received bytes |
//! | `control.rs` | the slow path: ARP, NDP, ICMP, DHCP, fragments |
//! | `shared.rs` | what the cores share: routes, neighbours, owners of flows |
//! | `wire.rs`, `seq.rs` | headers, checksums, sequence numbers |
//! | `frame.rs` | frames, and the port of a device |

pub mod connection;
pub mod control;
pub mod frame;
pub mod handshake;
pub mod host;
pub mod queues;
pub mod seq;
pub mod shared;
pub mod sockets;
#[cfg(test)]
mod tests;
pub mod wire;
