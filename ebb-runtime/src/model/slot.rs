//! Thread-local slots of one word, by the local-exec model: a load relative to FS, whose offset the linker knows.
//! Representatives have them (in the output of `#[ebb]`), and the current core has one. A `thread_local!` would be reached
//! by a call in a program that may be loaded anywhere, and does not exist in `no_std`.
//!
//! What must hold: a symbol is defined once in a program, and used with one type.

/// A slot, by its symbol.
///
/// - `define`: the slot, null on every thread that starts. At the level of items.
/// - `load`: an `asm!` that reads this thread's slot, with these options beside those that always hold.
/// - `store`: an `asm!` that writes it.
#[doc(hidden)]
#[macro_export]
macro_rules! __slot {
    (define $symbol:literal) => {
        ::core::arch::global_asm!(
            ::core::concat!(".pushsection .tbss.", $symbol, ",\"awT\",@nobits"),
            ".balign 8",
            ::core::concat!(".globl ", $symbol),
            ::core::concat!(".hidden ", $symbol),
            ::core::concat!(".type ", $symbol, ", @object"),
            ::core::concat!(".size ", $symbol, ", 8"),
            ::core::concat!($symbol, ":"),
            ".zero 8",
            ".popsection",
        );
    };
    (load $symbol:literal, $($option:ident),+) => {{
        let __ebb_slot;
        ::core::arch::asm!(
            ::core::concat!("mov {slot}, qword ptr fs:[", $symbol, "@tpoff]"),
            slot = out(reg) __ebb_slot,
            options($($option),+, nostack, preserves_flags),
        );
        __ebb_slot
    }};
    (store $symbol:literal, $value:expr) => {
        ::core::arch::asm!(
            ::core::concat!("mov qword ptr fs:[", $symbol, "@tpoff], {value}"),
            value = in(reg) $value,
            options(nostack, preserves_flags),
        )
    };
}
