//! User mode: what a trap out of it does.
//!
//! What must hold at `ebb_user_trap`: a vector's stub has pushed the error code (or 0) and the
//! vector on the vector's own interrupt stack, above which lies the core's block; every other
//! register, FS and GS included, is the user's.

use core::arch::global_asm;

// Nothing enters user mode yet, so a trap from there means that the frame is damaged.
global_asm!(
    r#"
    .pushsection .text.stubs, "ax", @progbits
    .globl ebb_user_trap
ebb_user_trap:
    jmp ebb_fatal_exception
    .popsection
    "#,
    options(att_syntax),
);
