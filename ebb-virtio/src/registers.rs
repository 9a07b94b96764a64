//! A device's registers, mapped: what the transports have in common.
//!
//! What must hold: `Registers` are mapped device memory of at least the length they are made with, and aligned; offsets are
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

/// A register's type: an integer, aligned to its size, of which every bit pattern is one.
pub(crate) trait Register: Copy {}

impl Register for u8 {}
impl Register for u16 {}
impl Register for u32 {}

/// Mapped registers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Registers {
    base: NonNull<u8>,
    length: usize,
    /// Bytes of the largest of them, which the base is aligned to.
    largest: usize,
}

// SAFETY: device registers; any core may access them. The device's own rules of order are kept by its one
// initialiser.
unsafe impl Send for Registers {}
// SAFETY: as above.
unsafe impl Sync for Registers {}

impl Registers {
    /// Those that begin at `base`, of this type or smaller ones; `None` where such do not belong, which a device may say.
    ///
    /// # Safety
    /// `length` bytes from there on are mapped registers of a device for as long as the program runs, and to write to them
    /// harms nothing in memory.
    pub(crate) unsafe fn new<Largest: Register>(base: NonNull<u8>, length: usize) -> Option<Self> {
        let largest = size_of::<Largest>();
        let is_aligned = base.addr().get().is_multiple_of(largest);
        is_aligned.then_some(Self {
            base,
            length,
            largest,
        })
    }

    /// Bytes of them.
    pub(crate) fn length(&self) -> usize {
        self.length
    }

    pub(crate) fn at<T: Register>(&self, offset: usize) -> NonNull<T> {
        let size = size_of::<T>();
        let last = self.length.checked_sub(size);
        assert!(
            size <= self.largest
                && offset.is_multiple_of(size)
                && last.is_some_and(|last| offset <= last),
            "a register outside of its device"
        );
        // SAFETY: within the mapping, just checked.
        unsafe { self.base.add(offset).cast() }
    }

    pub(crate) fn read<T: Register>(&self, offset: usize) -> T {
        // SAFETY: a mapped register (`new`), aligned as its base and offset are; every bit pattern is valid (`Register`).
        unsafe { self.at::<T>(offset).read_volatile() }
    }

    pub(crate) fn write<T: Register>(&self, offset: usize, value: T) {
        // SAFETY: a mapped register (`new`), aligned as its base and offset are.
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

#[cfg(test)]
mod tests {
    extern crate std;

    use super::*;

    /// Memory in place of a device's.
    fn played(memory: &mut [u32; 4], offset: usize, length: usize) -> Option<Registers> {
        let base = NonNull::from(memory).cast::<u8>();
        // SAFETY: the tests ask for places within the memory, and use them while it is there.
        unsafe { Registers::new::<u32>(base.add(offset), length) }
    }

    #[test]
    fn registers_are_read_and_written_where_they_are() {
        let mut memory = [0, 0x0403_0201, 0, 0];
        let registers = played(&mut memory, 4, 12).expect("it is aligned");
        assert_eq!(registers.read::<u32>(0), 0x0403_0201);
        assert_eq!(registers.read::<u16>(2), 0x0403);
        assert_eq!(registers.read::<u8>(3), 4);
        registers.write(8, 7_u32);
        assert_eq!((registers.length(), registers.read::<u8>(8)), (12, 7));
    }

    #[test]
    fn registers_that_a_device_says_are_unaligned_are_refused() {
        let mut memory = [0; 4];
        for offset in [1, 2, 3, 5] {
            assert!(played(&mut memory, offset, 4).is_none());
        }
    }

    #[test]
    fn what_is_outside_or_unaligned_is_no_register() {
        for (offset, length) in [(12, 12), (9, 12), (8, 11), (0, 3), (usize::MAX - 3, 12)] {
            let access = move || {
                let mut memory = [0; 4];
                let registers = played(&mut memory, 4, length).expect("it is aligned");
                registers.read::<u32>(offset)
            };
            assert!(std::panic::catch_unwind(access).is_err(), "{offset}");
        }
    }
}
