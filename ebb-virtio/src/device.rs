//! What the drivers above virtio-drivers' queue do alike: setting a device up, giving it up, and buffers that it is lent as a whole.
//!
//! What must hold: a buffer belongs to the driver until its chain has come back.

use alloc::boxed::Box;
use core::ptr::NonNull;

use virtio_drivers::{
    Hal,
    transport::{DeviceStatus, Transport},
};

use crate::{
    queue::{Guarded, Lent, Span},
    registers::Fault,
};

/// The interface of VIRTIO 1.0.
pub const VERSION_1: u64 = 1 << 32;

const AGREED: DeviceStatus = DeviceStatus::ACKNOWLEDGE
    .union(DeviceStatus::DRIVER)
    .union(DeviceStatus::FEATURES_OK);

/// Agrees on features with a device that was just reset: those of `wanted` that it has, and VIRTIO 1.0. Gives them.
pub fn agree(transport: &mut impl Transport, wanted: u64) -> Result<u64, Fault> {
    use DeviceStatus as S;
    transport.set_status(S::ACKNOWLEDGE);
    transport.set_status(S::ACKNOWLEDGE | S::DRIVER);
    let features = transport.read_device_features() & (wanted | VERSION_1);
    if features & VERSION_1 == 0 {
        return Err("it is older than VIRTIO 1.0");
    }
    transport.write_driver_features(features);
    transport.set_status(AGREED);
    if !transport.get_status().contains(S::FEATURES_OK) {
        return Err("it refuses the features it offered");
    }
    Ok(features)
}

/// Lets a device go whose queues are there.
pub fn start(transport: &mut impl Transport) {
    transport.set_status(AGREED | DeviceStatus::DRIVER_OK);
}

/// Resets a device that breaks its protocol. Whether it says that it has done so: else it may touch what it was lent.
pub fn reset(transport: &mut impl Transport) -> bool {
    transport.set_status(DeviceStatus::empty());
    (0..10_000).any(|_| transport.get_status() == DeviceStatus::empty())
}

/// A buffer that a device is lent as a whole, or its beginning.
pub type Buffer = Box<[u8]>;

/// One of so many bytes.
pub fn buffer(length: usize) -> Buffer {
    alloc::vec![0; length].into_boxed_slice()
}

fn span(buffer: &mut Buffer, length: usize) -> Option<Span> {
    let length = length.min(buffer.len());
    let start = NonNull::new(buffer.as_mut_ptr())?;
    Some(Span { start, length })
}

impl<H: Hal, const N: usize> Guarded<H, Buffer, N> {
    /// Lends a buffer to be written to.
    pub fn lend(&mut self, mut buffer: Buffer) -> Result<(), Buffer> {
        let length = buffer.len();
        let lent = Lent {
            read: [None, None],
            write: [span(&mut buffer, length), None],
        };
        // SAFETY: the tag keeps the buffer, which nobody touches until it comes back.
        unsafe { self.add(lent, buffer) }
    }

    /// Lends the beginning of a buffer to be read.
    pub fn send(&mut self, mut buffer: Buffer, length: usize) -> Result<(), Buffer> {
        let lent = Lent {
            read: [span(&mut buffer, length), None],
            write: [None, None],
        };
        // SAFETY: as in `lend`.
        unsafe { self.add(lent, buffer) }
    }

    /// Does no more with a device: what it was lent is freed only if it `is_reset`, and never touched.
    pub fn give_up(&mut self, is_reset: bool) {
        let lent = self.abandon();
        if !is_reset {
            lent.into_iter().for_each(core::mem::forget);
        }
    }
}
