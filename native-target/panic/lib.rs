#![no_std]
//! The panic handler of an image. It stands alone for the sake of its crate's name: where a dependency of an image brings
//! `std` along, there are two panic handlers, and rustc's error about them
//!
//! ```text
//! error[E0152]: duplicate lang item in crate `std` (which `regex` depends on): `panic_impl`
//!   = note: the lang item is first defined in crate `an_image_has_no_std_so_give_that_dependency_default_features_false`
//! ```
//!
//! then says what to write where.

use core::panic::PanicInfo;

unsafe extern "Rust" {
    /// `native-target`'s report, which ends the image.
    safe fn __ebb_panicked(info: &PanicInfo<'_>) -> !;
}

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    __ebb_panicked(info)
}
