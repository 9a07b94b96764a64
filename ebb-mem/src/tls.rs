//! The calling core's allocator state: one 8-byte slot in thread-local
//! storage.
//!
//! Stable Rust has no `#[thread_local]`, so the slot is emitted into `.tbss`
//! by assembly and read with the local-exec access of the x86-64 TLS ABI
//! (Drepper, "ELF Handling For Thread-Local Storage"). The same instruction
//! works where a core is a Linux thread and where it has its own TLS block.
//!
//! What must hold: FS is valid before the first allocation, and the slot is
//! null or points to the state that this thread alone uses.

use crate::spans::Core;

#[cfg(not(miri))]
mod slot {
    use super::Core;

    core::arch::global_asm!(
        ".pushsection .tbss.ebb_mem_core,\"awT\",@nobits",
        ".globl __ebb_mem_core",
        ".hidden __ebb_mem_core",
        ".type __ebb_mem_core, @object",
        ".size __ebb_mem_core, 8",
        ".p2align 3",
        "__ebb_mem_core:",
        ".zero 8",
        ".popsection",
    );

    #[inline(always)]
    pub fn get() -> *const Core {
        let core;
        // SAFETY: reads this thread's slot, which exists from the moment the
        // thread has its TLS block. Not `pure`: the slot changes on attach.
        unsafe {
            core::arch::asm!(
                "mov {}, qword ptr fs:[__ebb_mem_core@tpoff]",
                out(reg) core,
                options(nostack, preserves_flags, readonly),
            );
        }
        core
    }

    pub fn set(core: *const Core) {
        // SAFETY: writes this thread's slot and nothing else.
        unsafe {
            core::arch::asm!(
                "mov qword ptr fs:[__ebb_mem_core@tpoff], {}",
                in(reg) core,
                options(nostack, preserves_flags),
            );
        }
    }
}

#[cfg(miri)]
mod slot {
    use super::Core;
    extern crate std;
    std::thread_local! {
        static SLOT: core::cell::Cell<*const Core> = const { core::cell::Cell::new(core::ptr::null()) };
    }
    pub fn get() -> *const Core {
        SLOT.get()
    }
    pub fn set(core: *const Core) {
        SLOT.set(core);
    }
}

pub(crate) use slot::{get, set};
