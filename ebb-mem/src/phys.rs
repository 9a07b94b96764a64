//! Physical addresses and the linear map.
//!
//! What must hold: every usable physical address `p` is readable and writable
//! at virtual address `p + offset` for as long as the allocator lives.

use core::fmt;

/// Bytes in a frame, the unit in which physical memory is handed out.
pub const FRAME_SIZE: usize = 4096;

/// log2 of [`FRAME_SIZE`].
pub const FRAME_SHIFT: u32 = 12;

/// A physical address in bytes.
///
/// In the hosted arena it is a made-up number that obeys the same rules.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
#[repr(transparent)]
pub struct PhysAddr(pub u64);

impl PhysAddr {
    /// The address `bytes` further up.
    #[inline]
    #[must_use]
    pub const fn offset(self, bytes: u64) -> PhysAddr {
        PhysAddr(self.0 + bytes)
    }

    /// The number of the frame this address lies in.
    #[inline]
    #[must_use]
    pub const fn frame_number(self) -> u64 {
        self.0 >> FRAME_SHIFT
    }

    /// Whether this is a multiple of `align`, a power of two.
    #[inline]
    #[must_use]
    pub const fn is_aligned(self, align: u64) -> bool {
        self.0 & (align - 1) == 0
    }
}

impl fmt::Debug for PhysAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "phys {:#x}", self.0)
    }
}

impl fmt::Display for PhysAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// The window through which all physical memory is reached.
#[derive(Clone, Copy, Debug)]
pub struct LinearMap {
    offset: usize,
}

impl LinearMap {
    /// The map that adds `offset` (wrapping) to a physical address.
    #[must_use]
    pub const fn new(offset: usize) -> LinearMap {
        LinearMap { offset }
    }

    /// Whether what is aligned to `align` physically is so virtually too.
    #[inline]
    #[must_use]
    pub fn keeps_alignment(self, align: usize) -> bool {
        self.offset & (align - 1) == 0
    }

    /// Where `addr` is mapped.
    #[inline]
    #[must_use]
    pub fn to_virt(self, addr: PhysAddr) -> *mut u8 {
        core::ptr::with_exposed_provenance_mut((addr.0 as usize).wrapping_add(self.offset))
    }

    /// The physical address behind a pointer into the linear map.
    #[inline]
    #[must_use]
    pub fn to_phys(self, ptr: *const u8) -> PhysAddr {
        PhysAddr(ptr.addr().wrapping_sub(self.offset) as u64)
    }
}
