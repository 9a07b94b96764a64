//! The driver of virtio network devices. Their registers are reached through `ebb-virtio`.
//!
//! virtio-drivers' queues know neither several pairs, nor an interrupt for each, nor batched doorbells, so this is written
//! against the specification.

pub mod net;
pub mod queue;
#[cfg(test)]
mod tests;
