//! The way into a guest and out of it, in assembly. What must hold is said in [`super`].

use super::{CONTEXT, FSGSBASE, MXCSR_WORD, SCRATCH, STACK, SYSCALL};
use crate::cpu::{CpuBlock, USER, USER_CODE, USER_DATA};
use crate::msr;
use core::arch::global_asm;
use core::mem::offset_of;
use ebb_guest::{Context, MXCSR_DEFAULT, QuickCalls};

global_asm!(
    r#"
    .pushsection .text.stubs, "ax", @progbits

    # ebb_enter_user(context): unlike a function it loses R12 to R15
    .balign 16
    .globl ebb_enter_user
    .type ebb_enter_user, @function
ebb_enter_user:
    .cfi_startproc
    pushq %rbx
    pushq %rbp
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
3:  movl ${fs_base}, %ecx
    movq %rax, %rdx
    shrq $32, %rdx
    wrmsr
    jmp 2b
    .cfi_endproc
    .size ebb_enter_user, . - ebb_enter_user

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
    jmp 5f

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
    movq %rcx, {c_rip}(%rdi)
    movq %r11, {c_rflags}(%rdi)
    movq %gs:{scratch}, %rax
    movq %rax, {c_rsp}(%rdi)
    movq ${syscall}, {c_vector}(%rdi)
    movl $1, {c_fast}(%rdi)
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
7:  popq %rbp
    popq %rbx
    ret
8:  movl ${fs_base}, %ecx
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
    fs_base = const msr::FS_BASE,
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

unsafe extern "sysv64" {
    /// Enters the guest with these registers; comes back when it traps. Called by assembly only: it loses R12 to R15.
    pub fn ebb_enter_user(context: *mut u8);
    /// Where SYSCALL goes.
    pub safe static ebb_syscall: u8;
}
