// What the macro makes of `main_providers` in src/golden.rs. Formatted by prettyplease.
fn main() {}
const _: () = {
    fn __ebb_start() {
        ::ebb::__private::run_main(async { main() });
    }
    const _: () = {
        #[cfg(panic = "abort")]
        const _: () = {
            extern crate by_machine as _;
            extern crate native_target as _;
            #[unsafe(no_mangle)]
            extern "Rust" fn __ebb_main() {
                __ebb_start();
            }
        };
        #[cfg(not(panic = "abort"))]
        const _: () = {
            extern crate by_processes as _;
            extern crate ebb_hosted as __ebb_platform;
            #[unsafe(no_mangle)]
            extern "C" fn main(
                __ebb_argc: ::core::ffi::c_int,
                __ebb_argv: *const *const ::core::ffi::c_char,
            ) -> ::core::ffi::c_int {
                unsafe { __ebb_platform::main(__ebb_argc, __ebb_argv, __ebb_start) }
            }
            mod __ebb_instead {
                ::core::arch::global_asm!(
                    ".pushsection .text.boot,\"ax\",@progbits", ".globl ebb_pvh_entry",
                    "ebb_pvh_entry:", "mov eax, 1", "mov edi, 2", "lea rsi, [rip + 2f]",
                    "mov edx, 177", "syscall", "mov eax, 231", "mov edi, 2", "syscall",
                    "2:",
                    ".ascii \"ebb: this program is to be an image, and an image has no unwinder: write `panic = \\\"abort\\\"` under [profile.dev] (or whichever profile this is) in the Cargo.toml of the workspace\\n\"",
                    ".popsection",
                );
            }
        };
    };
};
