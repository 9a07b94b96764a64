//! Moving the extended state (x87, vector registers) between the CPU and a context.
//!
//! A context has the XMM registers of its own, so exchanging threads leaves them out: under QEMU's emulator, which moves the
//! state word by word, that is almost half of the cost.

use super::MXCSR_WORD;
use crate::cpu::XCR0;
use core::arch::asm;
use core::sync::atomic::Ordering;
use ebb_guest::{Context, xsave};

/// Brings the state of the context that owns the CPU's extended state into memory, but for the XMM registers.
pub fn put_aside(context: &mut Context) {
    let components = XCR0.load(Ordering::Relaxed) & !xsave::SSE;
    if components == 0 {
        return save_extended(context);
    }
    let area = context.extended_mut().as_mut_ptr();
    if components == xsave::X87 | xsave::AVX {
        // Nothing else is enabled: moving the halves by themselves is no slower than XSAVE, and under the emulator the
        // difference is a quarter of what waking a thread costs.
        // SAFETY: the area is an XSAVE area, which the halves lie in; only memory is written.
        unsafe {
            asm!(
                "xsave64 [{area}]",
                ".irp n, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15",
                "vextractf128 [{area} + {ymm} + 16 * \\n], ymm\\n, 1",
                ".endr",
                "or qword ptr [{area} + {present}], {avx}",
                area = in(reg) area, ymm = const xsave::YMM_UPPER, present = const xsave::XSTATE_BV, avx = const xsave::AVX,
                in("eax") xsave::X87 as u32, in("edx") 0,
                options(nostack),
            );
        }
        return;
    }
    let mxcsr = &raw const context.mxcsr;
    // SAFETY: as in `save_extended`; XSAVE writes memory only, and MXCSR is the kernel's again afterwards.
    unsafe {
        asm!(
            "ldmxcsr [{mxcsr}]",
            "xsave64 [{area}]",
            "ldmxcsr [{default}]",
            mxcsr = in(reg) mxcsr, area = in(reg) area, default = in(reg) &raw const MXCSR_WORD,
            in("eax") components as u32, in("edx") (components >> 32) as u32,
            options(nostack, preserves_flags),
        )
    }
}

/// Completes the area of a context that was put aside.
pub fn fill_in(context: &mut Context) {
    if XCR0.load(Ordering::Relaxed) & !xsave::SSE == 0 {
        return;
    }
    let (xmm, mxcsr) = (context.xmm, context.mxcsr);
    let area = context.extended_mut().as_mut_ptr().cast::<u8>();
    // SAFETY: the area begins with the 512 bytes of FXSAVE and the 64 of the XSAVE header.
    unsafe {
        area.add(xsave::MXCSR).cast::<u32>().write(mxcsr);
        area.add(xsave::XMM).cast::<[[u64; 2]; 16]>().write(xmm);
        let present = area.add(xsave::XSTATE_BV).cast::<u64>();
        present.write(present.read() | xsave::SSE);
    }
}

/// Brings the state of the context that owns the CPU's extended state into memory.
pub fn save_extended(context: &mut Context) {
    let area = context.extended_mut().as_mut_ptr();
    let components = XCR0.load(Ordering::Relaxed);
    let xmm = &raw const context.xmm;
    let mxcsr = &raw const context.mxcsr;
    macro_rules! save {
        ($save:literal) => {
            // SAFETY: the area has `extended_size` bytes and is aligned to 64; the CPU has the instruction. The registers
            // that the kernel uses are loaded with the guest's for the moment and declared lost.
            unsafe {
                asm!(
                    ".irp n, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15",
                    "movups xmm\\n, [{xmm} + 16 * \\n]",
                    ".endr",
                    "ldmxcsr [{mxcsr}]",
                    $save,
                    "ldmxcsr [{default}]",
                    xmm = in(reg) xmm, mxcsr = in(reg) mxcsr, area = in(reg) area, default = in(reg) &raw const MXCSR_WORD,
                    in("eax") components as u32, in("edx") (components >> 32) as u32,
                    out("xmm0") _, out("xmm1") _, out("xmm2") _, out("xmm3") _, out("xmm4") _, out("xmm5") _,
                    out("xmm6") _, out("xmm7") _, out("xmm8") _, out("xmm9") _, out("xmm10") _, out("xmm11") _,
                    out("xmm12") _, out("xmm13") _, out("xmm14") _, out("xmm15") _,
                    options(nostack),
                )
            }
        };
    }
    if components == 0 {
        save!("fxsave64 [{area}]");
    } else {
        save!("xsave64 [{area}]");
    }
}

/// Loads a context's extended state from memory. Its XMM registers are loaded at entry.
pub fn restore_extended(context: &Context) {
    let area = context.extended().as_ptr();
    let components = XCR0.load(Ordering::Relaxed) & !xsave::SSE;
    if components == xsave::X87 | xsave::AVX {
        // SAFETY: as below. The lower halves stay as they are: `vinsertf128` copies them, `vzeroupper` leaves them.
        unsafe {
            asm!(
                "xrstor64 [{area}]",
                "test qword ptr [{area} + {present}], {avx}",
                "jz 2f",
                ".irp n, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15",
                "vinsertf128 ymm\\n, ymm\\n, [{area} + {ymm} + 16 * \\n], 1",
                ".endr",
                "jmp 3f",
                "2: vzeroupper",
                "3:",
                area = in(reg) area, ymm = const xsave::YMM_UPPER, present = const xsave::XSTATE_BV, avx = const xsave::AVX,
                in("eax") xsave::X87 as u32, in("edx") 0,
                options(nostack, readonly),
            );
        }
        return;
    }
    macro_rules! restore {
        ($restore:literal) => {
            // SAFETY: the area was made by `Context::new` or `save_extended`, or checked by whoever changed it.
            unsafe {
                asm!(
                    $restore,
                    "ldmxcsr [{default}]",
                    area = in(reg) area, default = in(reg) &raw const MXCSR_WORD,
                    in("eax") components as u32, in("edx") (components >> 32) as u32,
                    out("xmm0") _, out("xmm1") _, out("xmm2") _, out("xmm3") _, out("xmm4") _, out("xmm5") _,
                    out("xmm6") _, out("xmm7") _, out("xmm8") _, out("xmm9") _, out("xmm10") _, out("xmm11") _,
                    out("xmm12") _, out("xmm13") _, out("xmm14") _, out("xmm15") _,
                    options(nostack),
                )
            }
        };
    }
    if components == 0 {
        restore!("fxrstor64 [{area}]");
    } else {
        restore!("xrstor64 [{area}]");
    }
}
