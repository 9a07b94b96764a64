//! A hint to the processor that a line of memory is about to be used.
//!
//! What must hold: nothing. The address may be any: a hint neither reads, writes nor faults.

/// Asks for the line of the cache that an address lies in.
#[inline(always)]
pub(super) fn prefetch<T>(address: *const T) {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    // SAFETY: PREFETCHT0 is in every x86-64 processor and has no effect but on caches, whatever the address (Intel SDM, volume 2,
    // PREFETCHh).
    unsafe {
        use core::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_T0>(address.cast());
    }
    #[cfg(not(all(target_arch = "x86_64", not(miri))))]
    let _ = address;
}
