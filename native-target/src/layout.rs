//! Where things are in the kernel's half of the address space, as far as it is fixed.

unsafe extern "C" {
    static __image_start: u8;
    static __image_end: u8;
}

/// Virtual minus physical address of the image.
pub const BASE: u64 = 0xffff_ffff_8000_0000;

/// Where physical address 0 is mapped.
pub const LINEAR: u64 = 0xffff_8000_0000_0000;

/// The linear map's address of a physical one.
#[inline]
pub fn linear(physical: u64) -> *mut u64 {
    (LINEAR + physical) as *mut u64
}

/// Physical range of the image, in whole frames.
pub fn image() -> (u64, u64) {
    let start = &raw const __image_start as u64 - BASE;
    let end = &raw const __image_end as u64 - BASE;
    (start, end)
}
