//! The vector registers that memory is compared with.

use core::arch::x86_64::__cpuid_count;
use core::num::NonZeroUsize;
use ebb_guest::xsave;
use ebb_mem::space::Vectors;
use ebb_runtime::EbbRef;
use ebb_runtime::platform::VectorRegisters;
use once_cell::race::OnceNonZeroUsize;

/// AVX2 among the features of CPUID's leaf 7, in EBX.
const AVX2: u32 = 1 << 5;

/// Asked once: to ask the CPU is an exit of a virtual machine.
fn has_avx2() -> bool {
    static KNOWN: OnceNonZeroUsize = OnceNonZeroUsize::new();
    let known = KNOWN.get_or_init(|| {
        let both = xsave::SSE | xsave::AVX;
        let is_on = xsave::components() & both == both;
        let has = is_on && __cpuid_count(7, 0).ebx & AVX2 != 0;
        NonZeroUsize::MIN.saturating_add(has.into())
    });
    known > NonZeroUsize::MIN
}

/// The best that the CPU has, free for use until this event enters a guest.
pub(super) fn claim() -> Vectors {
    if !has_avx2() {
        return Vectors::BASELINE;
    }
    EbbRef::<dyn VectorRegisters>::get().claim();
    // SAFETY: the CPU has it, and the registers were just claimed; whoever called uses them in this event.
    unsafe { Vectors::avx2() }
}
