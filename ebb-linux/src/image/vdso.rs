//! The vDSO: a page of code that every guest has, by which it reads the clock without a system call. It is an ELF shared
//! object, written down here by hand, that finds the machine's [`ClockPage`](ebb_guest::ClockPage) on the page before it, and on the page before that how far
//! the program's monotonic clock is behind the machine's (not zero in a clone of a snapshot).
//!
//! What must hold: the code touches only registers that a C caller expects to be lost; the offsets into the clock page are
//! asserted below.

use super::note;
use core::arch::global_asm;
use core::mem::offset_of;
use ebb_guest::{ClockPage, GuestCpu};
use ebb_mem::PhysAddr;
use ebb_mem::space::{Backing, Fault, PAGE, Place, Protection, Space};
use ebb_runtime::EbbRef;

global_asm!(
    r#"
    .pushsection .rodata.ebb_vdso, "a", @progbits
    .balign 4096
    .globl ebb_vdso
    .hidden ebb_vdso
ebb_vdso:
    .set here, ebb_vdso
    # ELF header
    .byte 0x7f, 0x45, 0x4c, 0x46, 2, 1, 1, 0
    .quad 0
    .short 3, 62
    .long 1
    .quad 0                         # entry
    .quad 64                        # program headers
    .quad 0                         # section headers
    .long 0
    .short 64, 56, 2, 64, 0, 0
    # PT_LOAD: the page
    .long 1, 5
    .quad 0, 0, 0, 4096, 4096, 4096
    # PT_DYNAMIC
    .long 2, 4
    .quad 10f - here, 10f - here, 10f - here, 11f - 10f, 11f - 10f, 8

    # symbols
    .balign 8
20: .quad 0, 0, 0
    .macro vdso_symbol name, at, end
    .long \name
    .byte 0x12, 0
    .short 1
    .quad \at - here, \end - \at
    .endm
    vdso_symbol 1, 50f, 51f         # __vdso_clock_gettime
    vdso_symbol 22, 60f, 61f        # __vdso_gettimeofday
    vdso_symbol 42, 70f, 71f        # __vdso_time
    vdso_symbol 54, 80f, 81f        # __vdso_getcpu
    vdso_symbol 68, 90f, 91f        # __vdso_clock_getres
    # strings
30: .byte 0
    .asciz "__vdso_clock_gettime"
    .asciz "__vdso_gettimeofday"
    .asciz "__vdso_time"
    .asciz "__vdso_getcpu"
    .asciz "__vdso_clock_getres"
    .asciz "linux-vdso.so.1"
    .asciz "LINUX_2.6"
31:
    # hash table of one bucket
    .balign 4
40: .long 1, 6
    .long 1
    .long 0, 2, 3, 4, 5, 0
    # versions
    .balign 2
41: .short 0, 2, 2, 2, 2, 2
    .balign 4
42: .short 1, 1, 1, 1
    .long 0xdeebfa1, 20, 28
    .long 88, 0
    .short 1, 0, 2, 1
    .long 0x3ae75f6, 20, 0
    .long 104, 0
    # dynamic section
    .balign 8
10: .quad 14, 88
    .quad 4, 40b - here
    .quad 5, 30b - here
    .quad 6, 20b - here
    .quad 10, 31b - 30b
    .quad 11, 24
    .quad 0x6ffffff0, 41b - here
    .quad 0x6ffffffc, 42b - here
    .quad 0x6ffffffd, 2
    .quad 0, 0
11:

    # Monotonic nanoseconds to RAX, the wall clock's share to R11. Loses RCX, RDX, R8, R9, R10.
    .balign 16
1:  movq here - 4096 + {sequence}(%rip), %r8
    testb $1, %r8b
    jnz 2f
    movq here - 4096 + {base_tsc}(%rip), %r9
    movq here - 4096 + {base_ns}(%rip), %r10
    movq here - 4096 + {scale}(%rip), %rcx
    movq here - 4096 + {wall}(%rip), %r11
    lfence
    rdtsc
    shlq $32, %rdx
    orq %rdx, %rax
    cmpq %r8, here - 4096 + {sequence}(%rip)
    jne 2f
    subq %r9, %rax
    jae 3f
    xorl %eax, %eax
3:  mulq %rcx
    shrdq $32, %rdx, %rax
    addq %r10, %rax
    ret
2:  pause
    jmp 1b

    .balign 16
50: cmpl $11, %edi
    ja 53f
    movl $0x821, %eax               # 0, 5, 11: wall clock
    btl %edi, %eax
    jc 52f
    movl $0xd2, %eax                # 1, 4, 6, 7: monotonic
    btl %edi, %eax
    jnc 53f
    call 1b
    subq here - 8192(%rip), %rax
    jmp 54f
52: call 1b
    addq %r11, %rax
54: xorl %edx, %edx
    movl $1000000000, %ecx
    divq %rcx
    movq %rax, (%rsi)
    movq %rdx, 8(%rsi)
    xorl %eax, %eax
    ret
53: movl $228, %eax
    syscall
    ret
51:
    .balign 16
60: testq %rdi, %rdi
    jz 62f
    call 1b
    addq %r11, %rax
    xorl %edx, %edx
    movl $1000000000, %ecx
    divq %rcx
    movq %rax, (%rdi)
    movq %rdx, %rax
    xorl %edx, %edx
    movl $1000, %ecx
    divq %rcx
    movq %rax, 8(%rdi)
62: testq %rsi, %rsi
    jz 63f
    movq $0, (%rsi)
63: xorl %eax, %eax
    ret
61:
    .balign 16
70: call 1b
    addq %r11, %rax
    xorl %edx, %edx
    movl $1000000000, %ecx
    divq %rcx
    testq %rdi, %rdi
    jz 72f
    movq %rax, (%rdi)
72: ret
71:
    .balign 16
80: testq %rdi, %rdi                # a program has one core
    jz 82f
    movl $0, (%rdi)
82: testq %rsi, %rsi
    jz 83f
    movl $0, (%rsi)
83: xorl %eax, %eax
    ret
81:
    .balign 16
90: movl $229, %eax
    syscall
    ret
91:
    .balign 4096
    .purgem vdso_symbol
    .popsection
    "#,
    sequence = const offset_of!(ClockPage, sequence),
    base_tsc = const offset_of!(ClockPage, base_tsc),
    base_ns = const offset_of!(ClockPage, base_ns),
    scale = const offset_of!(ClockPage, scale),
    wall = const offset_of!(ClockPage, wall),
    options(att_syntax),
);

unsafe extern "C" {
    safe static ebb_vdso: [u8; PAGE as usize];
}

/// Where the vDSO's code lies; `None` where it cannot be mapped.
pub fn code() -> Option<PhysAddr> {
    let cpu = EbbRef::<dyn GuestCpu>::get();
    let code = cpu.image_address(core::ptr::from_ref(&ebb_vdso).cast());
    (code != 0).then_some(PhysAddr(code))
}

/// Maps clock page and vDSO; the address of the vDSO's header, or 0 when the machine has no clock page.
pub fn map(space: &mut Space) -> u64 {
    let cpu = EbbRef::<dyn GuestCpu>::get();
    let clock = cpu.clock_page();
    let Some(PhysAddr(code)) = code().filter(|_| clock != 0) else {
        return 0;
    };
    let page = |start| Backing::Image {
        start: PhysAddr(start),
        len: PAGE,
    };
    // Room for all first; then each in its place. The lowest stays as it is: zeroes.
    let Ok(lowest) = space.map(
        Place::Near(0),
        3 * PAGE,
        Protection::READ,
        Backing::Anonymous,
        0,
        note::VVAR,
    ) else {
        return 0;
    };
    let below = lowest + PAGE;
    let at = below + PAGE;
    let clock = space.map(
        Place::Fixed(below),
        PAGE,
        Protection::READ,
        page(clock),
        0,
        note::VVAR,
    );
    let code = space.map(
        Place::Fixed(at),
        PAGE,
        Protection::EXECUTE,
        page(code),
        0,
        note::VDSO,
    );
    if clock.is_ok() && code.is_ok() { at } else { 0 }
}

/// How many million steps a second the time-stamp counter makes, as the clock page of a program whose vDSO is at `vdso`
/// has it; 0 when it is not known.
pub fn frequency_mhz(space: &mut Space, vdso: u64) -> u32 {
    let at = vdso.wrapping_sub(PAGE - offset_of!(ClockPage, scale) as u64);
    // Nanoseconds of a step, times 2^32.
    let scale: u64 = space.get(at).unwrap_or(0);
    match vdso {
        0 => 0,
        _ => ((1000u64 << 32) + scale / 2)
            .checked_div(scale)
            .unwrap_or(0) as u32,
    }
}

/// Tells a program whose vDSO is at `vdso` how far its monotonic clock is behind the machine's.
///
/// # Errors
/// When there is no memory for the page.
pub fn set_behind(space: &mut Space, vdso: u64, behind: u64) -> Result<(), Fault> {
    if vdso == 0 {
        return Ok(());
    }
    space.install(vdso - 2 * PAGE, behind)
}
