#![no_std]
//! virtio devices of an image.
//!
//! | file | what it is |
//! |---|---|
//! | `registers.rs` | mapped registers, and what the transports have in common |
//! | `pci.rs` | finding a device on PCI, its registers, its interrupts |
//! | `mmio.rs` | the same for a device that a monitor names by its address |
//! | `bus.rs` | either; also for the network's own queues |
//! | `memory.rs` | memory that devices read and write |
//! | `transport.rs` | the same registers as virtio-drivers wants them |
//! | `queue.rs` | virtio-drivers' queue, and what it must be guarded against |
//! | `device.rs` | what drivers above it do alike: set a device up, lend it buffers, give it up |
//! | `served.rs` | devices that one event serves when their interrupt says so |
//! | `block.rs` | the driver of disks |
//! | `entropy.rs` | a seed from the entropy device |
//! | `console.rs` | the driver of channels to the host: the ports of a console device |
//! | `channels.rs` | what binds [`ebb::channel::Channels`] to it |
//! | `disks.rs` | what binds [`ebb_block::Disks`] to it |
//! | `fuzzing.rs` | for tests: drivers against devices that do whatever |
//! | `vsock` | the driver of socket devices, and what binds [`ebb_net::vsock::Vsock`] to it |

extern crate alloc;
// The macros name everything through `::ebb`.
extern crate ebb_runtime as ebb;

mod block;
pub mod bus;
mod channels;
mod console;
mod device;
mod disks;
pub mod entropy;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
#[cfg(test)]
mod identity;
mod memory;
mod mmio;
mod pci;
#[cfg(any(test, fuzzing))]
mod played;
mod queue;
mod registers;
mod served;
mod transport;
mod vsock;

pub use memory::{Addresses, Dma, device_memory};
pub use registers::{Doorbell, Fault, status};
