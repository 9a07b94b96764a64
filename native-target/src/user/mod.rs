//! User mode: entering a guest and coming back from it.
//!
//! What must hold:
//! - while the kernel runs, GS base is the core's block, FS base its TLS; while a guest runs, both are the guest's and the
//!   other bank of GS (KERNEL_GS_BASE) holds the block. Interrupts are off from the first instruction of an entry on;
//! - at `ebb_user_trap` a vector's stub has pushed the error code (an exception without one: 0; an interrupt: anything) and the
//!   vector on the vector's own interrupt stack, above which lies the core's block; every other register, FS and GS included, is
//!   the guest's;
//! - a trap leaves its interrupt stack behind for good, which is why an NMI, a double fault and a machine check, which may
//!   come in the middle of an entry, end the image instead;
//! - the kernel uses no vector state but XMM0-15 in their legacy form, which keeps the upper halves, and MXCSR. So these
//!   are all that an entry saves; the rest (x87, upper halves, masks) and the guest's GS base stay in the CPU until another
//!   context is entered ([`OWNER`]), or until code that uses AVX where CPUID says so has asked for the registers
//!   ([`put_owner_aside`], by `VectorRegisters`);
//! - a quick call (`ebb_syscall`) uses no register but RAX and RSP, no stack and no memory but the context, so the guest finds
//!   everything else as it was. The number is bounded by its width, not by a branch alone: a mispredicted branch reads
//!   nothing outside the table. `swapgs` is unconditional there, and interrupts stay off until `sysretq` restores the flags.
//!
//! Sources: Intel SDM volume 2 (SYSCALL, SYSRET, SWAPGS, XSAVE, IRET), volume 3 "Managing State Using the XSAVE Feature Set".

mod entry;
mod extended;

pub use entry::ebb_enter_user;
pub use extended::{fill_in, save_extended};

use crate::cpu::{self, XCR0};
use crate::msr;
use core::arch::asm;
use core::arch::x86_64::__cpuid_count;
use core::sync::atomic::Ordering;
use ebb_guest::{Context, MXCSR_DEFAULT, xsave};
use extended::{put_aside, restore_extended};
use x86_64::registers::control::{Cr4, Cr4Flags};
use x86_64::registers::model_specific::Msr;

// Words of `CpuBlock::user`.
/// The context that is entered.
const CONTEXT: usize = 0;
/// The kernel's stack pointer at entry.
const STACK: usize = 1;
/// Not 0: RDFSBASE and its kin work.
const FSGSBASE: usize = 2;
/// The guest's stack pointer or RAX, for an instruction or two.
const SCRATCH: usize = 3;
/// The context whose extended state is in the CPU; 0 for none.
pub const OWNER: usize = 4;
/// The top-level page table that CR3 names; 0 before the first guest.
pub const ROOT: usize = 5;
/// Not 0: this core's MSRs are set up.
const READY: usize = 6;

/// Stands in for a vector when the guest executed `syscall`.
pub const SYSCALL: u64 = 256;

/// Flags that a guest may set: arithmetic, TF, DF, AC, ID. NT would make an IRET fault.
pub const GUEST_FLAGS: u64 = 0x0024_0dd5;
/// Always set in a guest: interrupts on, and bit 1.
pub const FORCED_FLAGS: u64 = 0x202;
/// Flags that `syscall` clears.
const FLAG_MASK: u64 = 0x0025_7fd5;

static MXCSR_WORD: u32 = MXCSR_DEFAULT;

/// This core's words of `CpuBlock::user`.
fn word(index: usize) -> *mut u64 {
    // SAFETY: the index is one of the constants above, inside the array.
    unsafe { cpu::this().user.get().cast::<u64>().add(index) }
}

/// One of this core's words.
pub fn get(index: usize) -> u64 {
    // SAFETY: only this core touches its words, and the assembly does so only within `ebb_enter_user`.
    unsafe { word(index).read() }
}

/// Changes one of this core's words.
pub fn set(index: usize, value: u64) {
    // SAFETY: as in `get`.
    unsafe { word(index).write(value) };
}

/// Sets up what SYSCALL and SYSRET need on this core.
#[cold]
fn prepare() {
    let mut efer = Msr::new(msr::EFER);
    // STAR: SYSCALL takes CS 0x08 and SS 0x10; SYSRET takes SS 0x10 + 8 and CS 0x10 + 16, with RPL 3.
    // SAFETY: the selectors are those of `cpu`'s GDT, the entry is `ebb_syscall`, which keeps this module's invariants.
    unsafe {
        Msr::new(msr::STAR).write(0x10 << 48 | 0x08 << 32);
        Msr::new(msr::LSTAR).write(&raw const entry::ebb_syscall as u64);
        Msr::new(msr::SYSCALL_MASK).write(FLAG_MASK);
        efer.write(efer.read() | 1);
    }
    set(
        FSGSBASE,
        u64::from(Cr4::read().contains(Cr4Flags::FSGSBASE)),
    );
    if XCR0.load(Ordering::Relaxed) & xsave::AVX != 0 {
        assert_eq!(__cpuid_count(0xd, 2).ebx as usize, xsave::YMM_UPPER);
    }
    set(READY, 1);
}

/// The guest's base of GS, which stays in the CPU as long as the extended state.
pub fn guest_gs() -> u64 {
    if get(FSGSBASE) == 0 {
        // SAFETY: every 64-bit CPU has the register.
        return unsafe { Msr::new(msr::KERNEL_GS_BASE).read() };
    }
    let base;
    // SAFETY: the CPU has the instruction; between the two `swapgs` nothing uses GS, and what may interrupt does not trust it.
    unsafe {
        asm!("swapgs", "rdgsbase {}", "swapgs", out(reg) base, options(nostack, preserves_flags));
    }
    base
}

fn set_guest_gs(base: u64) {
    if get(FSGSBASE) == 0 {
        // SAFETY: as in `guest_gs`; the address is canonical.
        return unsafe { Msr::new(msr::KERNEL_GS_BASE).write(base) };
    }
    // SAFETY: as in `guest_gs`; the address is canonical.
    unsafe {
        asm!("swapgs", "wrgsbase {}", "swapgs", in(reg) base, options(nostack, preserves_flags));
    }
}

/// Brings the extended state that a context has in the CPU into memory. After that the kernel may use all of the registers: whatever
/// context is entered next loads all of its own.
pub fn put_owner_aside() {
    let owner = get(OWNER);
    if owner != 0 {
        // SAFETY: an owner that is dropped or moved evicts itself first; nobody uses a context while it is not entered but by
        // the functions of `GuestCpu`, which run to their end.
        let owner = unsafe { &mut *(owner as *mut Context) };
        owner.gs_base = guest_gs();
        put_aside(owner);
        set(OWNER, 0);
    }
}

/// Gives the CPU's extended state and the guest's bank of GS to another context.
pub fn change_owner(context: &mut Context) {
    put_owner_aside();
    restore_extended(context);
    set_guest_gs(context.gs_base);
    set(OWNER, core::ptr::from_mut(context) as u64);
}

/// Enters the tables below `root`, for the first time on this core perhaps.
pub fn change_root(root: u64) {
    if get(READY) == 0 {
        prepare();
    }
    write_cr3(root);
}

/// Loads CR3 and notes it.
pub fn write_cr3(root: u64) {
    // SAFETY: every root has the kernel's upper half, so what this code uses stays mapped.
    unsafe { asm!("mov cr3, {}", in(reg) root, options(nostack, preserves_flags)) };
    set(ROOT, root);
}
