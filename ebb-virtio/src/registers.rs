//! A device's registers, mapped: what the transports have in common.
//!
//! What must hold: `Registers` are mapped device memory of at least the length they are made with; offsets are
//! checked against it.

use core::ptr::NonNull;

/// Device status bits.
pub mod status {
    /// The device was found.
    pub const ACKNOWLEDGE: u8 = 1;
    /// There is a driver for it.
    pub const DRIVER: u8 = 2;
    /// It may begin.
    pub const DRIVER_OK: u8 = 4;
    /// The features are agreed.
    pub const FEATURES_OK: u8 = 8;
}

/// Why a device cannot be used.
pub type Fault = &'static str;

/// Mapped registers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Registers {
    pub(crate) base: NonNull<u8>,
    pub(crate) length: usize,
}

// SAFETY: device registers; any core may access them. The device's own rules of order are kept by its one
// initialiser.
unsafe impl Send for Registers {}
// SAFETY: as above.
unsafe impl Sync for Registers {}

impl Registers {
    pub(crate) fn at<T>(&self, offset: usize) -> NonNull<T> {
        assert!(
            offset.is_multiple_of(size_of::<T>()) && offset + size_of::<T>() <= self.length,
            "a register outside of its device"
        );
        // SAFETY: within the mapping, just checked.
        unsafe { self.base.add(offset).cast() }
    }

    pub(crate) fn read<T: Copy>(&self, offset: usize) -> T {
        // SAFETY: a mapped, aligned register; every bit pattern is valid for the integers read here.
        unsafe { self.at::<T>(offset).read_volatile() }
    }

    pub(crate) fn write<T: Copy>(&self, offset: usize, value: T) {
        // SAFETY: a mapped, aligned register.
        unsafe { self.at::<T>(offset).write_volatile(value) }
    }
}

/// Waits until a device has done its reset: its status, which `read` reads, is then 0.
///
/// # Errors
/// When it never is; such a device is broken.
pub(crate) fn await_reset(read: impl Fn() -> u8) -> Result<(), Fault> {
    for _ in 0..1_000_000 {
        if read() == 0 {
            return Ok(());
        }
        core::hint::spin_loop();
    }
    Err("it does not finish its reset")
}

/// The register that tells a device of a queue.
#[derive(Clone, Copy, Debug)]
pub struct Doorbell(Width);

#[derive(Clone, Copy, Debug)]
enum Width {
    /// On PCI, one for each queue or for all.
    Two(NonNull<u16>),
    /// On MMIO, where registers are accessed as a whole.
    Four(NonNull<u32>),
}

// SAFETY: a register that any core may write.
unsafe impl Send for Doorbell {}

impl Doorbell {
    /// One of two bytes, as on PCI.
    ///
    /// # Safety
    /// The register stays writable for as long as the doorbell is used, and writes to it harm nothing in memory.
    #[must_use]
    pub unsafe fn of_two_bytes(at: NonNull<u16>) -> Self {
        Self(Width::Two(at))
    }

    /// One of four bytes, as on MMIO.
    ///
    /// # Safety
    /// As for [`of_two_bytes`](Self::of_two_bytes).
    #[must_use]
    pub unsafe fn of_four_bytes(at: NonNull<u32>) -> Self {
        Self(Width::Four(at))
    }

    /// Tells the device that a queue has something for it.
    #[inline]
    pub fn ring(self, queue: u16) {
        // SAFETY: who made it has seen to it.
        unsafe {
            match self.0 {
                Width::Two(at) => at.write_volatile(queue),
                Width::Four(at) => at.write_volatile(u32::from(queue)),
            }
        }
    }
}
