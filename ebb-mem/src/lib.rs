#![no_std]
//! The memory of a machine of many cores: physical frames, a heap on top, and
//! address spaces. Knows neither events nor a platform, uses no lock and no
//! atomic instruction on its hot paths.
//!
//! # Bringing it up
//!
//! ```no_run
//! use ebb_mem::PhysAddr;
//!
//! #[global_allocator]
//! static HEAP: ebb_mem::Heap = ebb_mem::Heap;
//!
//! # fn boot(cores: usize, id: usize) -> Result<(), Box<dyn std::error::Error>> {
//! // Boot core, FS valid, memory mapped linearly, before any allocation.
//! // Usable memory, the image and boot data left out:
//! let map = [PhysAddr(0x20_0000)..PhysAddr(0x800_0000)];
//! // SAFETY: nobody else touches this memory; it is mapped linearly there.
//! unsafe { ebb_mem::init(&map, 0xffff_8000_0000_0000, cores) }?;
//! ebb_mem::attach_core(0)?;
//! // Each other core, once FS points to its own TLS block:
//! ebb_mem::attach_core(id)?;
//! # Ok(())
//! # }
//! ```
//!
//! A thread that never attaches may allocate too; it shares one locked state
//! with others of its kind. Before [`init`] every allocation gives null. An
//! idle loop calls [`flush_remote`] before it sleeps, and [`trim`] when it
//! expects to sleep for long.
//!
//! # Parts
//!
//! - [`frame`]: buddy allocator of 4 KiB to 1 GiB blocks, per-core caches of
//!   single frames, a reference count per frame for copy-on-write.
//! - [`Heap`]: the global allocator. Blocks up to 64 KiB come from per-core
//!   spans of one size class; larger ones are whole frames.
//! - [`core_stats`], [`heap_stats`], [`frame::stats`]: what is in use.
//!
//! Builds with debug assertions surround every heap block with red zones and
//! poison what is freed: overflow, double free and writing after freeing end
//! in a panic that says which.

extern crate alloc;
#[cfg(test)]
extern crate std;

#[cfg(test)]
mod arena;

mod check;
pub mod frame;
mod frame_allocator;
mod global;
mod heap;
mod phys;
pub mod space;
mod spans;
mod stats;
mod tls;

pub use global::{
    AttachError, attach_any, attach_core, core_stats, current_core, detach_core, flush_remote,
    heap_stats, init, on_unattached, phys_to_virt, trim, virt_to_phys,
};
pub use heap::{Heap, block_size};
pub use phys::{FRAME_SHIFT, FRAME_SIZE, LinearMap, PhysAddr};
pub use stats::CoreStats;
