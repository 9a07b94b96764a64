// What the macro makes of `main_tested` in src/golden.rs. Formatted by prettyplease.
fn main() {}
const _: () = {
    fn __ebb_start() {
        ::ebb::__private::run_main(async { main() });
    }
    const _: () = {
        const _: fn() = __ebb_start;
        extern crate ebb_hosted as __ebb_platform;
        #[unsafe(no_mangle)]
        extern "C" fn main() -> ::core::ffi::c_int {
            __ebb_platform::refuse(
                "ebb: `#![no_main]` leaves out what runs the tests: write `#![cfg_attr(not(test), no_std, no_main)]` instead of `#![no_std]` and `#![no_main]`\n",
            )
        }
    };
};
