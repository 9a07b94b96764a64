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
        };
    };
};
