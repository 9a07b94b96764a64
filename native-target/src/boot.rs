//! The way from the loader's jump to Rust: 32-bit protected mode, the first page tables, long mode.
//!
//! What must hold: nothing here runs twice except the trampoline; the first page tables map the
//! first 4 GiB at 0 (for this code and the trampoline) and at the linear map, the first GiB of them also at the top
//! 2 GiB, and are left as soon as `paging` has made the real ones. The state at entry is that of
//! the PVH boot ABI (Xen, docs/misc/pvh.pandoc) or of Multiboot2 (its specification 2.0, section 3.3): flat segments, paging
//! off, EBX holds the physical address of what the loader says, EAX a magic number if it is a Multiboot2 loader.

use crate::layout::BASE;
use core::arch::global_asm;

/// Bytes of the stack the boot core starts on; it moves to a guarded one once there is paging.
pub const BOOT_STACK: usize = 32 * 1024;

// Notes: the PVH entry for the loader, and ours by which a runner knows an image.
global_asm!(
    r#"
    .pushsection .note.ebb.pvh, "a", @note
    .balign 4
    .long 4, 8, 18
    .asciz "Xen"
    .quad ebb_pvh_entry - {base}
    .popsection

    .pushsection .note.ebb.image, "a", @note
    .globl ebb_image_note
    .balign 4
ebb_image_note:
    .long 4, 8, 1
    .asciz "ebb"
    .long 1, 1                  # version, flags: 1 = gives PCI devices their addresses
    .popsection

    # For loaders of Multiboot2, which look into the first 32 KiB of the file.
    .pushsection .text.boot.header, "a", @progbits
    .balign 8
ebb_multiboot2:
    .long 0xe85250d6, 0, ebb_multiboot2_end - ebb_multiboot2
    .long 0x100000000 - 0xe85250d6 - (ebb_multiboot2_end - ebb_multiboot2)
    .short 3, 0                 # where to enter
    .long 12, ebb_pvh_entry - {base}, 0
    .short 6, 0                 # modules begin on pages
    .long 8
    .short 0, 0
    .long 8
ebb_multiboot2_end:
    .popsection
    "#,
    base = const BASE,
    options(att_syntax),
);

global_asm!(
    r#"
    .pushsection .bss.boot, "aw", @nobits
    .balign 4096
    .globl ebb_boot_pml4
ebb_boot_pml4:   .skip 4096
ebb_boot_pdpt:   .skip 4096     # for 0 and for the linear map
ebb_boot_pdpt_k: .skip 4096     # for the top 2 GiB
ebb_boot_pd:     .skip 4 * 4096 # the first 4 GiB
    .globl ebb_boot_stack
ebb_boot_stack:  .skip {stack}
ebb_boot_stack_top:
    .globl ebb_entry_tsc
ebb_entry_tsc:   .skip 8
    .popsection

    .pushsection .rodata.boot, "a", @progbits
    .balign 8
ebb_boot_gdt:
    .quad 0
    .quad 0x00af9b000000ffff    # 0x08 code, 64-bit
    .quad 0x00cf93000000ffff    # 0x10 data
ebb_boot_gdt_ptr:
    .word . - ebb_boot_gdt - 1
    .quad ebb_boot_gdt - {base}
ebb_no_long_mode:
    .ascii "ebb: this CPU lacks 64-bit mode or no-execute pages; give the machine a 64-bit CPU model\r\n"
ebb_no_long_mode_exit:
    .ascii "exit 71\n"
ebb_no_long_mode_end:
    .popsection

    .pushsection .text.boot, "ax", @progbits
    .code32
    .globl ebb_pvh_entry
ebb_pvh_entry:
    cli
    cld
    movl %eax, %esi
    rdtsc
    movl %eax, (ebb_entry_tsc - {base})
    movl %edx, (ebb_entry_tsc - {base} + 4)
    movl %ebx, %ebp

    movl $0x80000000, %eax
    cpuid
    cmpl $0x80000001, %eax
    jb 9f
    movl $0x80000001, %eax
    cpuid
    btl $29, %edx               # long mode
    jnc 9f
    btl $20, %edx               # no-execute
    jnc 9f

    # 2048 pages of 2 MiB
    movl $(ebb_boot_pd - {base}), %edi
    movl $0x83, %eax
    movl $2048, %ecx
1:  movl %eax, (%edi)
    addl $0x200000, %eax
    addl $8, %edi
    loop 1b
    movl $(ebb_boot_pd - {base} + 3), %eax
    movl %eax, (ebb_boot_pdpt_k - {base} + 510 * 8)
    movl %eax, (ebb_boot_pdpt - {base})
    addl $4096, %eax
    movl %eax, (ebb_boot_pdpt - {base} + 8)
    addl $4096, %eax
    movl %eax, (ebb_boot_pdpt - {base} + 16)
    addl $4096, %eax
    movl %eax, (ebb_boot_pdpt - {base} + 24)
    movl $(ebb_boot_pdpt - {base} + 3), %eax
    movl %eax, (ebb_boot_pml4 - {base})
    movl %eax, (ebb_boot_pml4 - {base} + 256 * 8)
    movl $(ebb_boot_pdpt_k - {base} + 3), %eax
    movl %eax, (ebb_boot_pml4 - {base} + 511 * 8)

    movl $0x620, %eax           # PAE, OSFXSR, OSXMMEXCPT
    movl %eax, %cr4
    movl $(ebb_boot_pml4 - {base}), %eax
    movl %eax, %cr3
    movl $0xc0000080, %ecx      # EFER
    rdmsr
    orl $0x900, %eax            # long mode, no-execute
    wrmsr
    movl $0x80010033, %eax      # PG, WP, NE, ET, MP, PE
    movl %eax, %cr0
    lgdt (ebb_boot_gdt_ptr - {base})
    ljmp $8, $(3f - {base})
9:  # No long mode: all that can be said without it.
    movl $(ebb_no_long_mode - {base}), %esi
    movl $(ebb_no_long_mode_exit - ebb_no_long_mode), %ecx
    movw $0x3f8, %dx
    rep outsb
    movl $(ebb_no_long_mode_end - ebb_no_long_mode_exit), %ecx
    movw $0xe9, %dx
    rep outsb
    movw $0xf4, %dx
    movl $71, %eax
    outl %eax, %dx
8:  hlt
    jmp 8b

    .code64
3:  movabsq $4f, %rax
    jmp *%rax
4:  movl $0x10, %eax
    movl %eax, %ds
    movl %eax, %es
    movl %eax, %ss
    xorl %eax, %eax
    movl %eax, %fs
    movl %eax, %gs
    leaq ebb_boot_stack_top(%rip), %rsp
    movl %ebp, %edi
    movl %esi, %esi
    xorl %ebp, %ebp
    call {start}
    ud2
    .popsection
    "#,
    base = const BASE,
    stack = const BOOT_STACK,
    start = sym crate::start::start,
    options(att_syntax),
);

// The trampoline: copied to a page below 1 MiB, where a startup IPI begins in real mode. It
// takes the way above in one step and finds its core by its APIC ID, so that all cores can start
// at once.
global_asm!(
    r#"
    .pushsection .rodata.trampoline, "a", @progbits
    .balign 16
    .globl ebb_trampoline
    .globl ebb_trampoline_end
    .code16
ebb_trampoline:
    cli
    cld
    movw %cs, %ax
    movw %ax, %ds
    xorl %ebx, %ebx
    movw %ax, %bx
    shll $4, %ebx               # our own physical address
    lgdtl (7f - ebb_trampoline)
    movl $0x620, %eax
    movl %eax, %cr4
    movl (5f - ebb_trampoline), %eax
    movl %eax, %cr3
    movl $0xc0000080, %ecx
    rdmsr
    orl $0x900, %eax
    wrmsr
    movl $0x80010033, %eax
    movl %eax, %cr0
    ljmpl *(4f - ebb_trampoline)
    .code64
3:  movabsq $ebb_ap_entry, %rax
    jmp *%rax
    .balign 8
    .globl ebb_trampoline_far
ebb_trampoline_far:
4:  .long 3b - ebb_trampoline   # plus the page's address
    .word 8, 0
    .globl ebb_trampoline_cr3
ebb_trampoline_cr3:
5:  .long 0
    .globl ebb_trampoline_gdt_ptr
ebb_trampoline_gdt_ptr:
7:  .word 23
    .long 8f - ebb_trampoline   # plus the page's address
    .balign 8
8:  .quad 0
    .quad 0x00af9b000000ffff
    .quad 0x00cf93000000ffff
ebb_trampoline_end:
    .popsection

    .pushsection .text.ap, "ax", @progbits
    .code64
ebb_ap_entry:
    movl $0x10, %eax
    movl %eax, %ds
    movl %eax, %es
    movl %eax, %ss
    xorl %eax, %eax
    movl %eax, %fs
    movl %eax, %gs
    # APIC ID: leaf 0xb where there is one, else the 8-bit one of leaf 1.
    xorl %eax, %eax
    cpuid
    cmpl $0xb, %eax
    jb 1f
    movl $0xb, %eax
    xorl %ecx, %ecx
    cpuid
    movl %edx, %esi
    testl %ebx, %ebx
    jnz 2f
1:  movl $1, %eax
    cpuid
    movl %ebx, %esi
    shrl $24, %esi
2:  leaq {starting}(%rip), %rbx
    movq (%rbx), %rcx           # how many
    addq $8, %rbx
3:  testl %ecx, %ecx
    jz 5f
    cmpl %esi, (%rbx)
    je 4f
    addq $24, %rbx
    decl %ecx
    jmp 3b
4:  movq 8(%rbx), %rsp
    movq 16(%rbx), %rdi
    movq {root}(%rip), %rax
    movq %rax, %cr3
    xorl %ebp, %ebp
    call {ap}
5:  hlt                         # nobody waits for this core
    jmp 5b
    .popsection
    "#,
    starting = sym crate::smp::STARTING,
    root = sym crate::paging::ROOT,
    ap = sym crate::smp::ap_start,
    options(att_syntax),
);
