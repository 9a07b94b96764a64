//! Running guests: user mode, see [`user`](crate::user).

use super::Native;
use crate::cpu::{self, XSAVE_SIZE};
use crate::user::{
    FORCED_FLAGS, GUEST_FLAGS, OWNER, ROOT, SYSCALL, change_owner, change_root, ebb_enter_user,
    fill_in, get, guest_gs, save_extended, set, write_cr3,
};
use crate::{apic, clock, interrupts, paging, timer, vectors};
use core::arch::asm;
use core::sync::atomic::Ordering;
use ebb_guest::{Context, GUEST_END, GuestCpu, Stale, Trap};
use ebb_runtime::provides;
use x86_64::registers::control::Cr2;

fn canonical(address: u64) -> bool {
    ((address << 16) as i64 >> 16) as u64 == address
}

#[provides(GuestCpu, instance = &Native)]
impl GuestCpu for Native {
    #[inline]
    fn enter(&self, context: &mut Context, root: u64, stale: &Stale) -> Trap {
        // Mostly the guest goes on behind a system call, and everything is as it left it.
        let this = core::ptr::from_mut(context) as u64;
        if (get(ROOT) != root
            || get(OWNER) != this
            || !stale.is_empty()
            || context.fast_return == 0)
            && !make_ready(context, root, stale)
        {
            return Trap::Exception {
                vector: 13,
                error: 0,
            };
        }
        // SAFETY: the context's fields are sound for the way back: `make_ready` has seen to them, or they are those of the last
        // trap: `rip` and the bases are canonical, the flags are a guest's; MXCSR came from `stmxcsr`. The assembly keeps
        // RBX, RBP, FS and GS; what else it loses is declared.
        unsafe {
            // By name: through a pointer the linker would have to find it, the way is an indirect jump.
            let context = core::ptr::from_mut(context);
            asm!(
                "call {}", sym ebb_enter_user, inout("rdi") context => _,
                out("r12") _, out("r13") _, out("r14") _, out("r15") _, clobber_abi("sysv64"),
            );
        }
        if context.vector == SYSCALL {
            return Trap::Syscall;
        }
        other_trap(context)
    }

    fn interrupt_at(&self, deadline_ns: u64) {
        timer::arm_earlier(cpu::this(), deadline_ns);
    }

    fn save(&self, context: &mut Context) {
        if get(OWNER) == core::ptr::from_mut(context) as u64 {
            context.gs_base = guest_gs();
            save_extended(context);
        } else {
            fill_in(context);
        }
    }

    fn evict(&self, context: &mut Context) {
        if get(OWNER) == core::ptr::from_mut(context) as u64 {
            context.gs_base = guest_gs();
            save_extended(context);
            set(OWNER, 0);
        }
    }

    fn extended_size(&self) -> usize {
        XSAVE_SIZE.load(Ordering::Relaxed) as usize
    }

    fn kernel_root(&self) -> u64 {
        paging::ROOT.load(Ordering::Acquire)
    }

    fn clock_page(&self) -> u64 {
        paging::physical(core::ptr::from_ref(clock::page()) as u64).unwrap_or(0)
    }

    fn image_address(&self, address: *const u8) -> u64 {
        paging::physical(address as u64).unwrap_or(0)
    }

    fn image(&self) -> &'static [u8] {
        paging::constants()
    }

    fn leave(&self, root: u64) {
        if get(ROOT) == root {
            write_cr3(self.kernel_root());
        }
    }
}

/// Makes the CPU ready for a guest: its address space, vector state and bases. False when the guest cannot be entered with
/// these registers.
#[cold]
#[inline(never)]
fn make_ready(context: &mut Context, root: u64, stale: &Stale) -> bool {
    // Before anything that may return: who calls takes it that this is done.
    if get(ROOT) != root {
        change_root(root);
    } else {
        match stale.pages() {
            None => write_cr3(root),
            Some(pages) => {
                for page in pages {
                    // SAFETY: drops a TLB entry.
                    unsafe {
                        asm!("invlpg [{}]", in(reg) *page, options(nostack, preserves_flags))
                    };
                }
            }
        }
    }
    // Bases in the guest's half are canonical, and there is hardly another.
    let high = (context.rip | context.fs_base | context.gs_base) >= GUEST_END;
    if high
        && (context.rip >= GUEST_END || !canonical(context.fs_base) || !canonical(context.gs_base))
    {
        return false;
    }
    if get(OWNER) != core::ptr::from_mut(context) as u64 {
        change_owner(context);
    }
    context.rflags = context.rflags & GUEST_FLAGS | FORCED_FLAGS;
    true
}

/// What ended a guest's turn if it was no system call.
#[inline(never)]
fn other_trap(context: &Context) -> Trap {
    match context.vector as u8 {
        // Not by an access of the guest's own: QEMU's emulator makes some of an instruction's with the kernel's rights.
        14 if context.error & 4 == 0 => Trap::Exception {
            vector: 14,
            error: context.error,
        },
        14 => Trap::PageFault {
            address: Cr2::read_raw(),
            write: context.error & 2 != 0,
            execute: context.error & 16 != 0,
        },
        vector @ 0..32 => Trap::Exception {
            vector,
            error: context.error,
        },
        vector => {
            interrupts::record(vector);
            if vector == vectors::TIMER {
                // The next guest to be entered sets its own timer.
                cpu::this().armed_ns.store(0, Ordering::Relaxed);
            }
            if vector != vectors::SPURIOUS {
                apic::end_of_interrupt();
            }
            Trap::Interrupt
        }
    }
}
