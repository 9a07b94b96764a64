//! Memory that a device reads and writes.
//!
//! What must hold: what [`Dma::physical`] gives an address of lies in the linear map, where ranges that are one in the image are
//! one for the device.

use alloc::alloc::alloc_zeroed;
use core::{alloc::Layout, ptr::NonNull};

use ebb::{EbbRef, platform::Hardware};

/// The most memory a machine may have in its linear map, in bytes.
const REACH: usize = 1 << 46;

/// The addresses that a device is told.
#[derive(Clone, Copy, Debug)]
pub struct Addresses {
    /// The descriptor table.
    pub descriptors: u64,
    /// The area that the driver writes: the available ring.
    pub driver: u64,
    /// The area that the device writes: the used ring.
    pub device: u64,
}

/// How addresses of memory look to the device: the linear map's base, and the image's.
#[derive(Clone, Copy, Debug)]
pub struct Dma {
    /// Where physical address 0 is mapped.
    pub linear: usize,
    /// Bytes that the linear map may have.
    pub reach: usize,
}

impl Dma {
    /// That of this machine.
    #[must_use]
    pub fn of_machine() -> Self {
        Self {
            linear: EbbRef::<dyn Hardware>::get().virtual_address(0).addr(),
            reach: REACH,
        }
    }

    /// The physical address of memory in the linear map.
    #[inline]
    pub fn physical(&self, pointer: *const u8) -> Option<u64> {
        let offset = pointer.addr().wrapping_sub(self.linear);
        (offset < self.reach).then_some(offset as u64)
    }
}

/// Memory for a device, zeroed, on a page boundary. Never freed: a device that was not reset may use it.
pub fn device_memory(bytes: usize) -> Option<NonNull<u8>> {
    let layout = Layout::from_size_align(bytes.max(1), 4096).ok()?;
    // SAFETY: the size is not zero.
    NonNull::new(unsafe { alloc_zeroed(layout) })
}
