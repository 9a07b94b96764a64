//! The layout of the extended state in XSAVE's standard format. Source: Intel SDM volume 1, 13.4.

/// 64 bytes, aligned as XSAVE wants them.
#[repr(C, align(64))]
#[derive(Clone, Copy)]
pub struct Line(pub [u8; 64]);

/// The x87 control word after FNINIT: all exceptions masked, round to nearest, 64 bits of precision.
pub const FCW_DEFAULT: u16 = 0x37f;
/// MXCSR after reset: all exceptions masked, round to nearest.
pub const MXCSR_DEFAULT: u32 = 0x1f80;

/// Bytes of the legacy region, as FXSAVE writes it: x87, MXCSR and XMM.
pub const LEGACY_SIZE: usize = 512;
/// Offset of MXCSR in the legacy region.
pub const MXCSR: usize = 24;
/// Offset of the 16 XMM registers, 16 bytes each.
pub const XMM: usize = 160;
/// Offset of XSTATE_BV, the components that are not in their initial state: the header's first word.
pub const XSTATE_BV: usize = LEGACY_SIZE;
/// Offset of the upper halves of YMM, 16 bytes each: the first component after the header on every CPU that has them. Who
/// relies on it asks CPUID leaf 0xd, sub-leaf 2 first.
pub const YMM_UPPER: usize = 576;

/// The component of x87.
pub const X87: u64 = 1 << 0;
/// The component of the XMM registers.
pub const SSE: u64 = 1 << 1;
/// The component of the upper halves of YMM.
pub const AVX: u64 = 1 << 2;

/// State components that are switched on; 0 without XSAVE.
#[must_use]
pub fn components() -> u64 {
    // CPUID.1:ECX.OSXSAVE says that XGETBV works.
    if core::arch::x86_64::__cpuid(1).ecx & 1 << 27 == 0 {
        return 0;
    }
    let (low, high): (u32, u32);
    // SAFETY: OSXSAVE is set.
    unsafe {
        core::arch::asm!("xgetbv", in("ecx") 0, out("eax") low, out("edx") high, options(nomem, nostack))
    };
    u64::from(low) | u64::from(high) << 32
}
