//! The golden expansion of `#[ebb::main]` as a program; it ends well.

#![no_main]
// The golden files carry no comments.
#![allow(clippy::all, clippy::undocumented_unsafe_blocks)]

include!("golden/main_hosted.rs");
