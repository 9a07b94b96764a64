//! `memcpy` and its kin, which the compiler calls and the stock `core` leaves to the platform.
//!
//! What must hold: these are assembly, so the compiler cannot turn them into calls of themselves;
//! they use SSE2 (every 64-bit CPU has it) and no stack; the direction flag is clear (System V ABI).
//! Up to 64 bytes take overlapping accesses, longer ones a loop of 64 bytes; from 2 KiB on
//! `rep movsb`/`rep stosb`, but only where CPUID says they are fast and it is a CPU that says it
//! (QEMU's emulator does them byte by byte).

use crate::cpu;
use core::arch::global_asm;
use core::arch::x86_64::{__cpuid, __cpuid_count};
use core::sync::atomic::{AtomicU64, Ordering};

/// Length from which the string instructions are used.
#[unsafe(no_mangle)]
#[allow(non_upper_case_globals)]
static ebb_rep_threshold: AtomicU64 = AtomicU64::new(u64::MAX);

/// Finds out whether the string instructions are fast.
pub fn init() {
    if !cpu::is_emulated() && __cpuid(0).eax >= 7 && __cpuid_count(7, 0).ebx & 1 << 9 != 0 {
        ebb_rep_threshold.store(2048, Ordering::Relaxed);
    }
}

global_asm!(
    r#"
    .pushsection .text.mem, "ax", @progbits
    .globl memcpy
    .globl memmove
    .globl memset
    .globl memcmp
    .globl bcmp
    .globl strlen

    .type memcpy, @function
    .type memmove, @function
    .balign 64
memcpy:
memmove:
    .cfi_startproc
    movq %rdi, %rax
    cmpq $16, %rdx
    jb 10f
    cmpq $32, %rdx
    ja 20f
    movups (%rsi), %xmm0
    movups -16(%rsi,%rdx), %xmm1
    movups %xmm0, (%rdi)
    movups %xmm1, -16(%rdi,%rdx)
    ret
10: cmpl $8, %edx
    jb 11f
    movq (%rsi), %rcx
    movq -8(%rsi,%rdx), %r8
    movq %rcx, (%rdi)
    movq %r8, -8(%rdi,%rdx)
    ret
11: cmpl $4, %edx
    jb 12f
    movl (%rsi), %ecx
    movl -4(%rsi,%rdx), %r8d
    movl %ecx, (%rdi)
    movl %r8d, -4(%rdi,%rdx)
    ret
12: testl %edx, %edx
    jz 13f
    movzbl (%rsi), %ecx
    movzbl -1(%rsi,%rdx), %r8d
    cmpl $2, %edx
    jbe 14f
    movzbl 1(%rsi), %r9d
    movb %r9b, 1(%rdi)
14: movb %cl, (%rdi)
    movb %r8b, -1(%rdi,%rdx)
13: ret
20: cmpq $64, %rdx
    ja 30f
    movups (%rsi), %xmm0
    movups 16(%rsi), %xmm1
    movups -32(%rsi,%rdx), %xmm2
    movups -16(%rsi,%rdx), %xmm3
    movups %xmm0, (%rdi)
    movups %xmm1, 16(%rdi)
    movups %xmm2, -32(%rdi,%rdx)
    movups %xmm3, -16(%rdi,%rdx)
    ret
30: movq %rdi, %rcx
    subq %rsi, %rcx             # overlapping with the target above: backwards
    cmpq %rdx, %rcx
    jb 50f
    cmpq ebb_rep_threshold(%rip), %rdx
    jae 40f
31: # forwards, 64 bytes a round; the last 64 are read first, for they may be overwritten
    movups -64(%rsi,%rdx), %xmm4
    movups -48(%rsi,%rdx), %xmm5
    movups -32(%rsi,%rdx), %xmm6
    movups -16(%rsi,%rdx), %xmm7
    leaq -64(%rdi,%rdx), %r8
32: movups (%rsi), %xmm0
    movups 16(%rsi), %xmm1
    movups 32(%rsi), %xmm2
    movups 48(%rsi), %xmm3
    movups %xmm0, (%rdi)
    movups %xmm1, 16(%rdi)
    movups %xmm2, 32(%rdi)
    movups %xmm3, 48(%rdi)
    addq $64, %rsi
    addq $64, %rdi
    cmpq %r8, %rdi
    jb 32b
    movups %xmm4, (%r8)
    movups %xmm5, 16(%r8)
    movups %xmm6, 32(%r8)
    movups %xmm7, 48(%r8)
    ret
40: # `rep movsb` is slow when the source is just above the target
    negq %rcx
    cmpq $64, %rcx
    jb 31b
    movq %rdx, %rcx
    rep movsb
    ret
50: # backwards; the first 64 are read first
    movups (%rsi), %xmm4
    movups 16(%rsi), %xmm5
    movups 32(%rsi), %xmm6
    movups 48(%rsi), %xmm7
    leaq 64(%rdi), %r8
    addq %rdx, %rsi
    addq %rdx, %rdi
51: movups -16(%rsi), %xmm0
    movups -32(%rsi), %xmm1
    movups -48(%rsi), %xmm2
    movups -64(%rsi), %xmm3
    movups %xmm0, -16(%rdi)
    movups %xmm1, -32(%rdi)
    movups %xmm2, -48(%rdi)
    movups %xmm3, -64(%rdi)
    subq $64, %rsi
    subq $64, %rdi
    cmpq %r8, %rdi
    ja 51b
    movups %xmm4, (%rax)
    movups %xmm5, 16(%rax)
    movups %xmm6, 32(%rax)
    movups %xmm7, 48(%rax)
    ret
    .cfi_endproc
    .size memmove, . - memmove

    .type memset, @function
    .balign 64
memset:
    .cfi_startproc
    movq %rdi, %rax
    movzbl %sil, %ecx
    movabsq $0x0101010101010101, %r8
    imulq %r8, %rcx
    cmpq $16, %rdx
    jb 10f
    movq %rcx, %xmm0
    punpcklqdq %xmm0, %xmm0
    cmpq $32, %rdx
    ja 20f
    movups %xmm0, (%rdi)
    movups %xmm0, -16(%rdi,%rdx)
    ret
10: cmpl $8, %edx
    jb 11f
    movq %rcx, (%rdi)
    movq %rcx, -8(%rdi,%rdx)
    ret
11: cmpl $4, %edx
    jb 12f
    movl %ecx, (%rdi)
    movl %ecx, -4(%rdi,%rdx)
    ret
12: testl %edx, %edx
    jz 13f
    movb %cl, (%rdi)
    movb %cl, -1(%rdi,%rdx)
    cmpl $2, %edx
    jbe 13f
    movb %cl, 1(%rdi)
13: ret
20: cmpq $64, %rdx
    ja 30f
    movups %xmm0, (%rdi)
    movups %xmm0, 16(%rdi)
    movups %xmm0, -32(%rdi,%rdx)
    movups %xmm0, -16(%rdi,%rdx)
    ret
30: cmpq ebb_rep_threshold(%rip), %rdx
    jae 40f
    leaq -64(%rdi,%rdx), %r8
31: movups %xmm0, (%rdi)
    movups %xmm0, 16(%rdi)
    movups %xmm0, 32(%rdi)
    movups %xmm0, 48(%rdi)
    addq $64, %rdi
    cmpq %r8, %rdi
    jb 31b
    movups %xmm0, (%r8)
    movups %xmm0, 16(%r8)
    movups %xmm0, 32(%r8)
    movups %xmm0, 48(%r8)
    ret
40: movq %rax, %r8
    movzbl %sil, %eax
    movq %rdx, %rcx
    rep stosb
    movq %r8, %rax
    ret
    .cfi_endproc
    .size memset, . - memset

    .type memcmp, @function
    .type bcmp, @function
    .balign 64
bcmp:
memcmp:
    .cfi_startproc
    cmpq $16, %rdx
    jb 20f
1:  movups (%rdi), %xmm0
    movups (%rsi), %xmm1
    pcmpeqb %xmm1, %xmm0
    pmovmskb %xmm0, %ecx
    xorl $0xffff, %ecx
    jnz 10f
    addq $16, %rdi
    addq $16, %rsi
    subq $16, %rdx
    cmpq $16, %rdx
    jae 1b
    testl %edx, %edx
    jz 3f
    # the last 16, some of them for the second time
    leaq -16(%rdi,%rdx), %rdi
    leaq -16(%rsi,%rdx), %rsi
    movups (%rdi), %xmm0
    movups (%rsi), %xmm1
    pcmpeqb %xmm1, %xmm0
    pmovmskb %xmm0, %ecx
    xorl $0xffff, %ecx
    jnz 10f
3:  xorl %eax, %eax
    ret
10: bsfl %ecx, %ecx
    movzbl (%rdi,%rcx), %eax
    movzbl (%rsi,%rcx), %edx
    subl %edx, %eax
    ret
20: cmpl $8, %edx
    jb 22f
    movq (%rdi), %rax
    movq (%rsi), %rcx
    cmpq %rcx, %rax
    jne 21f
    movq -8(%rdi,%rdx), %rax
    movq -8(%rsi,%rdx), %rcx
    cmpq %rcx, %rax
    je 3b
21: bswapq %rax
    bswapq %rcx
    cmpq %rcx, %rax
    sbbl %eax, %eax
    orl $1, %eax
    ret
22: cmpl $4, %edx
    jb 23f
    movl (%rdi), %eax
    movl (%rsi), %ecx
    cmpl %ecx, %eax
    jne 25f
    movl -4(%rdi,%rdx), %eax
    movl -4(%rsi,%rdx), %ecx
    cmpl %ecx, %eax
    je 3b
25: bswapl %eax
    bswapl %ecx
    cmpl %ecx, %eax
    sbbl %eax, %eax
    orl $1, %eax
    ret
23: testl %edx, %edx
    jz 3b
26: movzbl (%rdi), %eax
    movzbl (%rsi), %ecx
    subl %ecx, %eax
    jnz 24f
    incq %rdi
    incq %rsi
    decl %edx
    jnz 26b
24: ret
    .cfi_endproc
    .size memcmp, . - memcmp

    .type strlen, @function
    .balign 64
strlen:
    .cfi_startproc
    # aligned blocks never cross into a page that the string does not touch
    movq %rdi, %rax
    andq $-16, %rax
    pxor %xmm0, %xmm0
    movdqa (%rax), %xmm1
    pcmpeqb %xmm0, %xmm1
    pmovmskb %xmm1, %edx
    movl %edi, %ecx
    andl $15, %ecx
    shrl %cl, %edx
    testl %edx, %edx
    jnz 2f
1:  addq $16, %rax
    movdqa (%rax), %xmm1
    pcmpeqb %xmm0, %xmm1
    pmovmskb %xmm1, %edx
    testl %edx, %edx
    jz 1b
    subq %rdi, %rax
    bsfl %edx, %edx
    addq %rdx, %rax
    ret
2:  bsfl %edx, %eax
    ret
    .cfi_endproc
    .size strlen, . - strlen
    .popsection
    "#,
    options(att_syntax),
);

/// Never called: with `panic = "abort"` nothing unwinds, but the stock `core` names it.
#[unsafe(no_mangle)]
extern "C" fn rust_eh_personality() -> ! {
    panic!("the image has no unwinder")
}

/// Never called; see [`rust_eh_personality`].
#[unsafe(no_mangle)]
extern "C" fn _Unwind_Resume() -> ! {
    panic!("the image has no unwinder")
}
