//! What the providers of components need that is unsafe to write, for the output of `#[component]`.
//! The symbols are unique by their making: see `ebb-macros/src/component.rs`.

/// A function with a symbol of its own, which `$check` takes by its type.
#[doc(hidden)]
#[macro_export]
macro_rules! __provide_method {
    (
        ($symbol:expr) ($check:expr)
        ($($lifetimes:tt)*) ($($parameters:tt)*) ($($output:tt)*) { $($body:tt)* }
    ) => {
        const _: () = {
            const _: () = $check(__ebb_linked);
            #[unsafe(export_name = $symbol)]
            fn __ebb_linked $($lifetimes)* ($($parameters)*) $($output)* { $($body)* }
        };
    };
}

/// An object, called `$described` where the linker speaks of it, that the linker pulls from its archive in every program, with the given assembly: an
/// exported static refers to a mark in it. rustc has the linker look for what is exported; unlike
/// what is `#[used]`, the linker may then drop it where nothing else refers to it.
#[doc(hidden)]
#[macro_export]
macro_rules! __provide_object {
    ($unique:literal, $described:literal, $($line:expr),* $(,)?) => {
        mod __ebb_provider {
            ::core::arch::global_asm!(
                ::core::concat!(".pushsection .text.__ebb_mark_", $unique, ",\"ax\",@progbits"),
                ::core::concat!(".globl __ebb_mark_", $unique),
                ::core::concat!("__ebb_mark_", $unique, ":"),
                ::core::concat!(".type \"", $described, "\", @function"),
                ::core::concat!("\"", $described, "\":"),
                $($line,)*
                ::core::concat!(".size \"", $described, "\", . - \"", $described, "\""),
                ".popsection",
            );
        }
        unsafe extern "C" {
            #[link_name = ::core::concat!("__ebb_mark_", $unique)]
            static __EBB_MARK: ::core::primitive::u8;
        }
        // SAFETY: the mark is in this crate's assembly. It is never read.
        #[unsafe(export_name = ::core::concat!("__ebb_pull_", $unique))]
        static __EBB_PULL: &::core::primitive::u8 = unsafe { &__EBB_MARK };
    };
}
