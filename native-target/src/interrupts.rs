//! The interrupt descriptor table, the stubs behind it, and what they do.
//!
//! What must hold:
//! - the stock `core` uses SSE registers and the red zone, so every vector has an interrupt stack
//!   and nothing of the interrupted code's stack is touched;
//! - device interrupts are taken only inside the window of [`wait`] and [`poll`], whose assembly
//!   declares every caller-saved register lost; a stub there only sets the vector's bit and
//!   acknowledges the local APIC;
//! - an exception in the kernel returns only to a place that `extable` names, which declares its
//!   registers lost too; every other ends the image;
//! - a trap out of user mode (CS.RPL 3) goes to `ebb_user_trap` with the same stack layout.

use crate::cpu::{self, CpuBlock};
use crate::trap_frame::TrapFrame;
use crate::{extable, fault, vectors};
use core::arch::{asm, global_asm};
use core::cell::UnsafeCell;
use core::sync::atomic::Ordering;

/// Vectors of the CPU's own.
const EXCEPTIONS: usize = 32;
/// Bytes from one stub to the next.
const EXCEPTION_STUB: usize = 16;
/// As above.
const INTERRUPT_STUB: usize = 8;

global_asm!(
    r#"
    .pushsection .text.stubs, "ax", @progbits
    .balign 16
    .globl ebb_stubs
ebb_stubs:
    .set v, 0
    .rept {exceptions}
    .balign {exception_stub}
    .if (v != 8) && (v != 10) && (v != 11) && (v != 12) && (v != 13) && (v != 14) && (v != 17) && (v != 21) && (v != 29) && (v != 30)
    .byte 0x6a, 0               # push 0 for the error code
    .endif
    .byte 0x6a, v               # push the vector, sign-extended
    jmp ebb_exception
    .set v, v + 1
    .endr
    .rept 256 - {exceptions}
    .balign {interrupt_stub}
    .byte 0x6a, v
    jmp ebb_interrupt
    .set v, v + 1
    .endr

    .balign 16
ebb_interrupt:
    pushq (%rsp)                # in the error code's place, which an interrupt has none for
    testb $3, 24(%rsp)
    jnz ebb_user_trap
    pushq %rax
    pushq %rcx
    pushq %rdx
    movzbl 24(%rsp), %eax
    btsq %rax, %gs:{pending}
    cmpl ${spurious}, %eax
    je 2f
    xorl %eax, %eax
    movq %gs:{apic}, %rcx
    testq %rcx, %rcx
    jz 1f
    movl %eax, 0xb0(%rcx)       # end of interrupt
2:  popq %rdx
    popq %rcx
    popq %rax
    addq $16, %rsp
    iretq
1:  movl $0x80b, %ecx
    xorl %edx, %edx
    wrmsr
    jmp 2b

    .balign 16
ebb_exception:
    .cfi_startproc simple
    .cfi_signal_frame
    .cfi_def_cfa %rsp, 16
    testb $3, 24(%rsp)
    jnz ebb_user_trap
    .globl ebb_fatal_exception
ebb_fatal_exception:
    pushq %rax
    pushq %rbx
    pushq %rcx
    pushq %rdx
    pushq %rsi
    pushq %rdi
    pushq %rbp
    pushq %r8
    pushq %r9
    pushq %r10
    pushq %r11
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    movq %rsp, %rdi
    movq 176(%rsp), %rsi        # the word above an interrupt stack: the core's block
    cld
    call {exception}
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %r11
    popq %r10
    popq %r9
    popq %r8
    popq %rbp
    popq %rdi
    popq %rsi
    popq %rdx
    popq %rcx
    popq %rbx
    popq %rax
    addq $16, %rsp
    iretq
    .cfi_endproc
    .popsection
    "#,
    pending = const cpu::PENDING,
    apic = const cpu::APIC,
    spurious = const vectors::SPURIOUS as u32,
    exception = sym exception,
    exceptions = const EXCEPTIONS,
    exception_stub = const EXCEPTION_STUB,
    interrupt_stub = const INTERRUPT_STUB,
    options(att_syntax),
);

unsafe extern "C" {
    static ebb_stubs: u8;
}

#[repr(C, align(16))]
struct Table(UnsafeCell<[[u64; 2]; 256]>);
// SAFETY: written by the boot core before any other core runs, read by the CPU afterwards.
unsafe impl Sync for Table {}
static IDT: Table = Table(UnsafeCell::new([[0; 2]; 256]));

/// The interrupt stack of a vector: index into `cpu::STACK_NAMES`.
const fn stack_of(vector: usize) -> u64 {
    match vector {
        1 => 7,
        2 => 4,
        8 => 5,
        14 => 2,
        18 => 6,
        0..32 => 3,
        _ => 1,
    }
}

/// Fills the table. Called once, before [`load`].
pub fn init() {
    let stubs = &raw const ebb_stubs as u64;
    for vector in 0..256usize {
        let at = stubs
            + match vector.checked_sub(EXCEPTIONS) {
                None => vector * EXCEPTION_STUB,
                Some(interrupt) => EXCEPTIONS * EXCEPTION_STUB + interrupt * INTERRUPT_STUB,
            } as u64;
        // Breakpoints may come from user mode.
        let level = if vector == 3 { 3 << 45 } else { 0 };
        let low = at & 0xffff
            | u64::from(cpu::KERNEL_CODE) << 16
            | stack_of(vector) << 32
            | 0xe << 40
            | level
            | 1 << 47
            | (at >> 16 & 0xffff) << 48;
        // SAFETY: no other core runs and no interrupt is taken yet.
        unsafe { (*IDT.0.get())[vector] = [low, at >> 32] };
    }
}

/// Makes this core use the table.
pub fn load() {
    #[repr(C, packed)]
    struct Pointer {
        limit: u16,
        base: u64,
    }
    let pointer = Pointer {
        limit: 4095,
        base: IDT.0.get() as u64,
    };
    // SAFETY: the table is complete and lives for ever.
    unsafe {
        asm!("lidt [{}]", in(reg) &raw const pointer, options(readonly, nostack, preserves_flags))
    };
}

/// A trap frame came from the kernel: fix it up, or end the image with a report.
extern "C" fn exception(frame: &mut TrapFrame, block: &'static CpuBlock) {
    let vector = frame.vector as u8;
    if matches!(vector, 13 | 14)
        && let Some(resume) = extable::find(frame.rip)
    {
        frame.rip = resume;
        return;
    }
    fault::kernel(vector, frame, block)
}

/// Sleeps until an interrupt, and lets what is pending in. Returns at once if one is pending.
#[inline]
pub fn wait() {
    // SAFETY: the stubs keep every register but those lost to the C ABI; `sti` delays interrupts
    // until `hlt` has begun, so a wake-up before it is not lost.
    unsafe { asm!("sti", "hlt", "cli", clobber_abi("sysv64")) };
}

/// Lets pending interrupts in without sleeping.
#[inline]
pub fn poll() {
    // SAFETY: as in `wait`; `nop` is the instruction that `sti` protects.
    unsafe { asm!("sti", "nop", "cli", clobber_abi("sysv64")) };
}

/// Marks a vector pending on this core, as its stub would have done outside user mode.
#[inline]
pub fn record(vector: u8) {
    cpu::this().pending[usize::from(vector >> 6)].fetch_or(1 << (vector & 63), Ordering::Relaxed);
}

/// Takes the pending vectors of this core and calls `each` for every one.
#[inline]
pub fn drain(mut each: impl FnMut(u8)) {
    for (i, word) in cpu::this().pending.iter().enumerate() {
        // Interrupts are off, so nothing else writes the word.
        let mut bits = word.load(Ordering::Relaxed);
        if bits != 0 {
            word.store(0, Ordering::Relaxed);
        }
        while bits != 0 {
            let bit = bits.trailing_zeros();
            bits &= bits - 1;
            each((i as u32 * 64 + bit) as u8);
        }
    }
}
