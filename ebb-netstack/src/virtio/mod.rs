//! The driver of virtio network devices.
//!
//! virtio-drivers' queues know neither several pairs, nor an interrupt for each, nor batched doorbells, and its transport
//! keeps the registers for them to itself, so this is written against the specification.

pub mod net;
pub mod pci;
pub mod queue;
#[cfg(test)]
mod tests;
