#![no_std]
//! The machine: what an image does between the loader's jump and the application's first line,
//! and the components of the platform seam that need hardware.
//!
//! `start` is the list of steps; each module says what must hold for it. What the image finds in
//! its address space is in `paging`, how interrupts behave in `interrupts`, how it ends in `fault`
//! and `report`.

//! An application links it by `#[ebb::main]` and names nothing of it. A whole one, in a package whose build script calls
//! `ebb_build::images`:
//!
//! ```ignore
//! #![no_std]
//! #![no_main]
//!
//! #[ebb::main]
//! async fn main() {
//!     ebb::println!("hello from {:?}", ebb::current_core());
//! }
//! ```

extern crate alloc;
extern crate ebb_runtime as ebb;
// The panic handler.
extern crate an_image_has_no_std_so_give_that_dependency_default_features_false as _;

mod acpi;
mod apic;
mod backtrace;
mod boot;
mod clock;
mod console;
mod cpu;
mod extable;
mod fault;
mod inspect;
mod interrupts;
mod io_apic;
mod layout;
mod libc;
mod memcpy;
mod memory_map;
mod msr;
mod multiboot2;
mod options;
mod paging;
mod pci;
mod platform;
mod power;
mod pvh;
mod report;
mod smp;
mod start;
mod symbols;
mod timeline;
mod timer;
mod tls;
mod trap_frame;
mod uart;
mod user;
mod vectors;

// The TCP/IP stack of an image: it provides `ebb_net::NetStack`.
extern crate ebb_netstack as _;
// Its disks: it provides `ebb_block::Disks`.
extern crate ebb_virtio as _;
