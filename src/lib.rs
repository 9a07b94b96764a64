#![no_std]
//! Elastic Building Blocks: per-application library operating systems in Rust.
//!
//! A program is made of small objects, *Ebbs*. Every core reaches its own representative of an Ebb
//! for the cost of a plain call, without locks; application and exactly the system components that
//! it uses are linked into one image that boots on a virtual machine, or into a Linux process.
//!
//! ```
//! use core::cell::Cell;
//! use ebb::{EbbRef, ebb};
//!
//! /// One for every core: no `Send`, no `Sync`, no lock.
//! #[ebb(per_core)]
//! #[derive(Default)]
//! struct Hits {
//!     n: Cell<u64>,
//! }
//!
//! /// With `#[ebb::main]` on it the whole of a program that begins with `#![no_std]` and `#![no_main]`.
//! async fn start() {
//!     let hits = EbbRef::<Hits>::get();
//!     hits.n.set(hits.n.get() + 1);
//!     // The other cores' representatives are reached explicitly.
//!     let all = EbbRef::<Hits>::new().fold(0, |h| h.n.get(), |sum, n| sum + n).await;
//!     ebb::println!("{} hits", all.unwrap());
//! }
//! # ebb_hosted::run(&ebb_hosted::Config { cores: 2, pin: false }, start);
//! ```
//!
//! The book's tutorial has the rest of such a package: its manifest, its build script, what runs its images. What programs
//! use is here; what they seldom name is in the crates behind it: `ebb-runtime` (the model, events, the platform seam),
//! `ebb-net` (sockets, here as [`net`]), `ebb-linux` (Linux programs), `ebb-mem`.

pub use ebb_macros::{main, test};
pub use ebb_net as net;
pub use ebb_runtime::*;
