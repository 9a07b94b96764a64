#![no_std]
//! Elastic Building Blocks: per-application library operating systems in Rust.
//!
//! A program is made of small objects, *Ebbs*. Every core reaches its own representative of an Ebb
//! at the price of a plain call, without locks; application and exactly the system components that
//! it uses are linked into one image that boots on a virtual machine, or into a Linux process.
//!
//! ```ignore
//! #![no_std]
//! #![no_main]
//!
//! use core::cell::Cell;
//! use ebb::{EbbRef, ebb};
//!
//! #[ebb(per_core)]
//! #[derive(Default)]
//! struct Hits { n: Cell<u64> }
//!
//! #[ebb::main]
//! async fn main() {
//!     let hits = EbbRef::<Hits>::get();
//!     hits.n.set(hits.n.get() + 1);
//!     let all = EbbRef::<Hits>::new().fold(0, |h| h.n.get(), |a, n| a + n).await;
//!     ebb::println!("{all:?} hits");
//! }
//! ```

pub use ebb_macros::{main, test};
pub use ebb_net as net;
pub use ebb_runtime::*;
