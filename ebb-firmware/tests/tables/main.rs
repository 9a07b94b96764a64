//! What an image makes of what firmware and monitors tell it.

mod dsdt;
mod mp_table;
mod virtio_mmio;
