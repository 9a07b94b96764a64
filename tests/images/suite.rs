//! The suite that runs on both platforms, and the machine's own tests, as a test image.

#![no_std]
#![no_main]

extern crate alloc;
// Its tests are in a section that the linker gathers.
extern crate test_suite as _;

mod machine;

ebb::test_image!();
