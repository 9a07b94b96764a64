//! The golden expansion of `#[ebb::main]` as a program; it ends well.

#![no_main]

include!("golden/main_hosted.rs");
