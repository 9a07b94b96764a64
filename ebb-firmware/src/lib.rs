#![no_std]
//! What firmware and virtual-machine monitors tell an image of its machine: parsers, apart from the machine so that they can be
//! tested as a process.
//!
//! What must hold: whatever the input, nothing here panics, reads beyond it or runs for long.

pub mod dsdt;
pub mod mp_table;
pub mod virtio_mmio;
