//! User mode: entering a guest and coming back from it.
//!
//! What must hold:
//! - while the kernel runs, GS base is the core's block, FS base its TLS; while a guest runs, both are the guest's and the
//!   other bank of GS (KERNEL_GS_BASE) holds the block. Interrupts are off from the first instruction of an entry on;
//! - at `ebb_user_trap` a vector's stub has pushed the error code (or 0) and the vector on the vector's own interrupt
//!   stack, above which lies the core's block; every other register, FS and GS included, is the guest's;
//! - a trap leaves its interrupt stack behind for good, which is why an NMI, a double fault and a machine check, which may
//!   come in the middle of an entry, end the image instead;
//! - the kernel uses no vector state but XMM0-15 in their legacy form, which keeps the upper halves, and MXCSR. So these
//!   are all that an entry saves; the rest (x87, upper halves, masks) and the guest's GS base stay in the CPU until another
//!   context is entered ([`OWNER`]);
//! - a quick call (`ebb_syscall`) uses no register but RAX and RSP, no stack and no memory but the context, so the guest finds
//!   everything else as it was. The number is bounded by its width, not by a branch alone: a mispredicted branch reads
//!   nothing outside the table. `swapgs` is unconditional there, and interrupts stay off until `sysretq` restores the flags.
//!
//! Sources: Intel SDM volume 2 (SYSCALL, SYSRET, SWAPGS, XSAVE, IRET), volume 3 "Managing State Using the XSAVE Feature Set".

use crate::cpu::{self, CpuBlock, USER, USER_CODE, USER_DATA, XCR0, XSAVE_SIZE};
use crate::{apic, clock, interrupts, paging, platform};
use core::arch::x86_64::__cpuid_count;
use core::arch::{asm, global_asm};
use core::mem::offset_of;
use core::sync::atomic::Ordering;
use ebb_runtime::guest::{Context, GuestCpu, MXCSR_DEFAULT, QuickCalls, Stale, Trap};
use ebb_runtime::provides;
use x86_64::registers::control::{Cr2, Cr4, Cr4Flags};
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
const OWNER: usize = 4;
/// The top-level page table that CR3 names; 0 before the first guest.
const ROOT: usize = 5;
/// Not 0: this core's MSRs are set up.
const READY: usize = 6;

/// Stands in for a vector when the guest executed `syscall`.
const SYSCALL: u64 = 256;

/// Flags that a guest may set: arithmetic, TF, DF, AC, ID. NT would make an IRET fault.
const GUEST_FLAGS: u64 = 0x0024_0dd5;
/// Always set in a guest: interrupts on, and bit 1.
const FORCED_FLAGS: u64 = 0x202;
/// Flags that `syscall` clears.
const FLAG_MASK: u64 = 0x0025_7fd5;
/// One past the highest guest address; the page below the canonical hole stays unused (SYSRET).
const GUEST_END: u64 = 0x7fff_ffff_f000;

global_asm!(
    r#"
    .pushsection .text.stubs, "ax", @progbits

    # ebb_enter_user(context)
    .balign 16
    .globl ebb_enter_user
    .type ebb_enter_user, @function
ebb_enter_user:
    .cfi_startproc
    pushq %rbx
    pushq %rbp
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    movq %rdi, %gs:{context}
    movq %rsp, %gs:{stack}
    .irp n, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15
    movups 16*\n(%rdi), %xmm\n
    .endr
    cmpl ${mxcsr_default}, {c_mxcsr}(%rdi)
    je 1f
    ldmxcsr {c_mxcsr}(%rdi)
1:  movq {c_fs}(%rdi), %rax
    cmpl $0, %gs:{fsgsbase}
    je 3f
    wrfsbase %rax
2:  swapgs
    movq {c_rbx}(%rdi), %rbx
    movq {c_rbp}(%rdi), %rbp
    movq {c_rsi}(%rdi), %rsi
    movq {c_r8}(%rdi), %r8
    movq {c_r9}(%rdi), %r9
    movq {c_r10}(%rdi), %r10
    movq {c_r12}(%rdi), %r12
    movq {c_r13}(%rdi), %r13
    movq {c_r14}(%rdi), %r14
    movq {c_r15}(%rdi), %r15
    movq {c_rdx}(%rdi), %rdx
    movq {c_rax}(%rdi), %rax
    cmpl $0, {c_fast}(%rdi)
    je 4f
    movq {c_rip}(%rdi), %rcx
    movq {c_rflags}(%rdi), %r11
    movq {c_rsp}(%rdi), %rsp
    movq {c_rdi}(%rdi), %rdi
    sysretq
4:  pushq ${user_data}
    pushq {c_rsp}(%rdi)
    pushq {c_rflags}(%rdi)
    pushq ${user_code}
    pushq {c_rip}(%rdi)
    movq {c_r11}(%rdi), %r11
    movq {c_rcx}(%rdi), %rcx
    movq {c_rdi}(%rdi), %rdi
    iretq
3:  movl $0xc0000100, %ecx
    movq %rax, %rdx
    shrq $32, %rdx
    wrmsr
    jmp 2b
    .cfi_endproc
    .size ebb_enter_user, . - ebb_enter_user

    .balign 16
    .globl ebb_syscall
ebb_syscall:
    swapgs
    movq %rsp, %gs:{scratch}
    movq %gs:{context}, %rsp
    movq %rax, {c_rax}(%rsp)
    cmpl $255, %eax
    ja 9f
    movzbl %al, %eax
    addq {c_quick}(%rsp), %rax
    movzbl (%rax), %eax
    movq {c_answers}(%rsp,%rax,8), %rax
    testq %rax, %rax
    js 9f
    incq {c_quick_calls}(%rsp)
    movq %gs:{scratch}, %rsp
    swapgs
    sysretq
9:  movq %rdi, {c_rdi}(%rsp)
    movq %rsp, %rdi
    movq %gs:{stack}, %rsp
    movq %rcx, {c_rcx}(%rdi)
    movq %rcx, {c_rip}(%rdi)
    movq %r11, {c_r11}(%rdi)
    movq %r11, {c_rflags}(%rdi)
    movq %gs:{scratch}, %rax
    movq %rax, {c_rsp}(%rdi)
    movq ${syscall}, {c_vector}(%rdi)
    movl $1, {c_fast}(%rdi)
    jmp 5f

    .balign 16
    .globl ebb_user_trap
ebb_user_trap:
    cmpb $2, (%rsp)
    je ebb_fatal_exception
    cmpb $8, (%rsp)
    je ebb_fatal_exception
    cmpb $18, (%rsp)
    je ebb_fatal_exception
    swapgs
    movq %rax, %gs:{scratch}
    movq %gs:{context}, %rax
    movq %rdi, {c_rdi}(%rax)
    movq %rax, %rdi
    movq %gs:{scratch}, %rax
    movq %rax, {c_rax}(%rdi)
    movq %rcx, {c_rcx}(%rdi)
    movq %r11, {c_r11}(%rdi)
    popq {c_vector}(%rdi)
    popq {c_error}(%rdi)
    popq {c_rip}(%rdi)
    popq %rax
    popq {c_rflags}(%rdi)
    popq {c_rsp}(%rdi)
    movl $0, {c_fast}(%rdi)
    movq %gs:{stack}, %rsp
    pushq $2                    # the guest's AC would switch SMAP off
    popfq
5:  movq %rbx, {c_rbx}(%rdi)
    movq %rdx, {c_rdx}(%rdi)
    movq %rsi, {c_rsi}(%rdi)
    movq %rbp, {c_rbp}(%rdi)
    movq %r8, {c_r8}(%rdi)
    movq %r9, {c_r9}(%rdi)
    movq %r10, {c_r10}(%rdi)
    movq %r12, {c_r12}(%rdi)
    movq %r13, {c_r13}(%rdi)
    movq %r14, {c_r14}(%rdi)
    movq %r15, {c_r15}(%rdi)
    .irp n, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15
    movups %xmm\n, 16*\n(%rdi)
    .endr
    stmxcsr {c_mxcsr}(%rdi)
    cmpl ${mxcsr_default}, {c_mxcsr}(%rdi)
    je 6f
    ldmxcsr {mxcsr_word}(%rip)
6:  cmpl $0, %gs:{fsgsbase}
    je 8f
    rdfsbase %rax
    movq %rax, {c_fs}(%rdi)
    movq %gs:{tls}, %rax
    wrfsbase %rax
7:  popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %rbp
    popq %rbx
    ret
8:  movl $0xc0000100, %ecx
    rdmsr
    movl %eax, {c_fs}(%rdi)
    movl %edx, {c_fs}+4(%rdi)
    movl %gs:{tls}, %eax
    movl %gs:{tls}+4, %edx
    wrmsr
    jmp 7b
    .popsection
    "#,
    context = const USER + 8 * CONTEXT,
    stack = const USER + 8 * STACK,
    fsgsbase = const USER + 8 * FSGSBASE,
    scratch = const USER + 8 * SCRATCH,
    tls = const offset_of!(CpuBlock, tls),
    mxcsr_default = const MXCSR_DEFAULT,
    mxcsr_word = sym MXCSR_WORD,
    user_data = const USER_DATA,
    user_code = const USER_CODE,
    syscall = const SYSCALL,
    c_rax = const offset_of!(Context, rax),
    c_rbx = const offset_of!(Context, rbx),
    c_rcx = const offset_of!(Context, rcx),
    c_rdx = const offset_of!(Context, rdx),
    c_rsi = const offset_of!(Context, rsi),
    c_rdi = const offset_of!(Context, rdi),
    c_rbp = const offset_of!(Context, rbp),
    c_rsp = const offset_of!(Context, rsp),
    c_r8 = const offset_of!(Context, r8),
    c_r9 = const offset_of!(Context, r9),
    c_r10 = const offset_of!(Context, r10),
    c_r11 = const offset_of!(Context, r11),
    c_r12 = const offset_of!(Context, r12),
    c_r13 = const offset_of!(Context, r13),
    c_r14 = const offset_of!(Context, r14),
    c_r15 = const offset_of!(Context, r15),
    c_rip = const offset_of!(Context, rip),
    c_rflags = const offset_of!(Context, rflags),
    c_fs = const offset_of!(Context, fs_base),
    c_quick = const offset_of!(Context, quick),
    c_answers = const offset_of!(Context, answers),
    c_quick_calls = const offset_of!(Context, quick_calls),
    c_vector = const offset_of!(Context, vector),
    c_error = const offset_of!(Context, error),
    c_mxcsr = const offset_of!(Context, mxcsr),
    c_fast = const offset_of!(Context, fast_return),
    options(att_syntax),
);

const _: () = assert!(offset_of!(Context, xmm) == 0);
// The assembly indexes the table with a byte, and the answers with a byte of it.
const _: () = assert!(size_of::<QuickCalls>() == 256);

static MXCSR_WORD: u32 = MXCSR_DEFAULT;

unsafe extern "sysv64" {
    fn ebb_enter_user(context: *mut u8);
    safe static ebb_syscall: u8;
}

/// This core's words of `CpuBlock::user`.
fn word(index: usize) -> *mut u64 {
    // SAFETY: the index is one of the constants above, inside the array.
    unsafe { cpu::this().user.get().cast::<u64>().add(index) }
}

fn get(index: usize) -> u64 {
    // SAFETY: only this core touches its words, and the assembly does so only within `ebb_enter_user`.
    unsafe { word(index).read() }
}

fn set(index: usize, value: u64) {
    // SAFETY: as in `get`.
    unsafe { word(index).write(value) };
}

/// Sets up what SYSCALL and SYSRET need on this core.
#[cold]
fn prepare() {
    let mut efer = Msr::new(0xc000_0080);
    // STAR: SYSCALL takes CS 0x08 and SS 0x10; SYSRET takes SS 0x10 + 8 and CS 0x10 + 16, with RPL 3.
    // SAFETY: the selectors are those of `cpu`'s GDT, the entry is `ebb_syscall`, which keeps this module's invariants.
    unsafe {
        Msr::new(0xc000_0081).write(0x10 << 48 | 0x08 << 32);
        Msr::new(0xc000_0082).write(&raw const ebb_syscall as u64);
        Msr::new(0xc000_0084).write(FLAG_MASK);
        efer.write(efer.read() | 1);
    }
    set(
        FSGSBASE,
        u64::from(Cr4::read().contains(Cr4Flags::FSGSBASE)),
    );
    if XCR0.load(Ordering::Relaxed) & AVX != 0 {
        assert_eq!(__cpuid_count(0xd, 2).ebx as usize, AREA_YMM);
    }
    set(READY, 1);
}

/// The component of XMM registers (SDM volume 1, 13.1). A context has them of its own, so exchanging threads leaves it out:
/// under QEMU's emulator, which moves the state word by word, that is almost half of the cost.
const SSE: u64 = 1 << 1;
/// The component of x87, and that of the upper halves of YMM.
const X87: u64 = 1;
const AVX: u64 = 1 << 2;
/// Offsets in the XSAVE area (SDM volume 1, 13.4.1 and 13.4.2).
const AREA_MXCSR: usize = 24;
const AREA_XMM: usize = 160;
const AREA_XSTATE_BV: usize = 512;
/// Where the upper halves of YMM are, first after the header on every CPU that has them (checked in [`prepare`]).
const AREA_YMM: usize = 576;

/// Brings the state of the context that owns the CPU's extended state into memory, but for the XMM registers.
fn put_aside(context: &mut Context) {
    let components = XCR0.load(Ordering::Relaxed) & !SSE;
    if components == 0 {
        return save_extended(context);
    }
    let area = context.extended_mut().as_mut_ptr();
    if components == X87 | AVX {
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
                area = in(reg) area, ymm = const AREA_YMM, present = const AREA_XSTATE_BV, avx = const AVX,
                in("eax") X87 as u32, in("edx") 0,
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
fn fill_in(context: &mut Context) {
    if XCR0.load(Ordering::Relaxed) & !SSE == 0 {
        return;
    }
    let (xmm, mxcsr) = (context.xmm, context.mxcsr);
    let area = context.extended_mut().as_mut_ptr().cast::<u8>();
    // SAFETY: the area begins with the 512 bytes of FXSAVE and the 64 of the XSAVE header.
    unsafe {
        area.add(AREA_MXCSR).cast::<u32>().write(mxcsr);
        area.add(AREA_XMM).cast::<[[u64; 2]; 16]>().write(xmm);
        let present = area.add(AREA_XSTATE_BV).cast::<u64>();
        present.write(present.read() | SSE);
    }
}

/// Brings the state of the context that owns the CPU's extended state into memory.
fn save_extended(context: &mut Context) {
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
fn restore_extended(context: &Context) {
    let area = context.extended().as_ptr();
    let components = XCR0.load(Ordering::Relaxed) & !SSE;
    if components == X87 | AVX {
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
                area = in(reg) area, ymm = const AREA_YMM, present = const AREA_XSTATE_BV, avx = const AVX,
                in("eax") X87 as u32, in("edx") 0,
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

/// MSR of the bank of GS that `swapgs` brings in: the guest's, while the kernel runs.
const KERNEL_GS_BASE: u32 = 0xc000_0102;

fn guest_gs() -> u64 {
    if get(FSGSBASE) == 0 {
        // SAFETY: every 64-bit CPU has the register.
        return unsafe { Msr::new(KERNEL_GS_BASE).read() };
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
        return unsafe { Msr::new(KERNEL_GS_BASE).write(base) };
    }
    // SAFETY: as in `guest_gs`; the address is canonical.
    unsafe {
        asm!("swapgs", "wrgsbase {}", "swapgs", in(reg) base, options(nostack, preserves_flags));
    }
}

/// Gives the CPU's extended state and the guest's bank of GS to another context.
fn change_owner(context: &mut Context) {
    let owner = get(OWNER);
    if owner != 0 {
        // SAFETY: an owner that is dropped or moved evicts itself first.
        let owner = unsafe { &mut *(owner as *mut Context) };
        owner.gs_base = guest_gs();
        put_aside(owner);
    }
    restore_extended(context);
    set_guest_gs(context.gs_base);
    set(OWNER, core::ptr::from_mut(context) as u64);
}

/// Enters the tables below `root`, for the first time on this core perhaps.
fn change_root(root: u64) {
    if get(READY) == 0 {
        prepare();
    }
    write_cr3(root);
}

fn write_cr3(root: u64) {
    // SAFETY: every root has the kernel's upper half, so what this code uses stays mapped.
    unsafe { asm!("mov cr3, {}", in(reg) root, options(nostack, preserves_flags)) };
    set(ROOT, root);
}

fn canonical(address: u64) -> bool {
    ((address << 16) as i64 >> 16) as u64 == address
}

/// The machine, as the runner of guests.
struct User;

#[provides(GuestCpu, instance = &User)]
impl GuestCpu for User {
    #[inline]
    fn enter(&self, context: &mut Context, root: u64, stale: Stale<'_>) -> Trap {
        // Before anything that may return: who calls takes it that this is done.
        if get(ROOT) != root {
            change_root(root);
        } else {
            match stale {
                Stale::All => write_cr3(root),
                Stale::Pages(pages) => {
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
            && (context.rip >= GUEST_END
                || !canonical(context.fs_base)
                || !canonical(context.gs_base))
        {
            return Trap::Exception {
                vector: 13,
                error: 0,
            };
        }
        if get(OWNER) != core::ptr::from_mut(context) as u64 {
            change_owner(context);
        }
        context.rflags = context.rflags & GUEST_FLAGS | FORCED_FLAGS;
        // SAFETY: the context's fields are sound for the way back: `rip` and the bases are canonical, the flags are a
        // guest's, MXCSR came from `stmxcsr`. The assembly keeps every register that the ABI says, FS and GS; XMM are
        // caller-saved in it.
        unsafe {
            // By name: through a pointer the linker would have to find it, the way is an indirect jump.
            let context = core::ptr::from_mut(context);
            asm!("call {}", sym ebb_enter_user, inout("rdi") context => _, clobber_abi("sysv64"));
        }
        if context.vector == SYSCALL {
            return Trap::Syscall;
        }
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
                if vector == interrupts::TIMER {
                    // Who is entered next, before the loop looks at what is pending, gets a timer of its own.
                    cpu::this().armed.store(0, Ordering::Relaxed);
                }
                if vector != interrupts::SPURIOUS {
                    apic::end_of_interrupt();
                }
                Trap::Interrupt
            }
        }
    }

    fn interrupt_at(&self, deadline: u64) {
        platform::arm_earlier(cpu::this(), deadline);
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

    fn leave(&self, root: u64) {
        if get(ROOT) == root {
            write_cr3(self.kernel_root());
        }
    }
}
