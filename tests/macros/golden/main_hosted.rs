// What the macro makes of `main_hosted` in src/golden.rs. Formatted by prettyplease.
async fn main() -> Result<(), u8> {
    Ok(())
}
const _: () = {
    fn __ebb_start() {
        ::ebb::__private::run_main(async { main().await });
    }
    const _: () = {
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
