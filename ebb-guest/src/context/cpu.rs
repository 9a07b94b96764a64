//! The component that runs guests, and why it comes back.

use ebb_mem::space::Stale;
use ebb_runtime::component;

use super::Context;

/// Why a guest stopped running.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trap {
    /// It executed `syscall`; number and arguments are in its registers.
    Syscall,
    /// An interrupt that the core has to see to, the end of its time slice perhaps.
    Interrupt,
    /// A page fault at this address.
    PageFault {
        /// The address that was used.
        address: u64,
        /// It was a write.
        write: bool,
        /// It was an instruction fetch.
        execute: bool,
    },
    /// Another exception.
    Exception {
        /// Its vector, below 32.
        vector: u8,
        /// Its error code, or 0.
        error: u64,
    },
}

/// Running guests.
#[component]
pub trait GuestCpu {
    /// Runs the guest until it traps. `root` is the physical address of its top-level page table, whose upper half is
    /// that of [`kernel_root`](GuestCpu::kernel_root). Drops from the TLB what `stale` names.
    fn enter(&self, context: &mut Context, root: u64, stale: &Stale) -> Trap;
    /// Lets a running guest trap with [`Trap::Interrupt`] when the clock reaches `deadline_ns`, or earlier.
    fn interrupt_at(&self, deadline_ns: u64);
    /// Makes [`Context::extended`] current; it may stay in the CPU as well.
    fn save(&self, context: &mut Context);
    /// As [`save`](GuestCpu::save), and forgets that the state is in the CPU. Before a context moves or is changed.
    fn evict(&self, context: &mut Context);
    /// Bytes of the extended state.
    fn extended_size(&self) -> usize;
    /// Physical address of the top-level page table outside any guest; 0 on a platform that cannot run guests.
    fn kernel_root(&self) -> u64;
    /// Physical address of a [`ClockPage`](crate::ClockPage); 0 when there is none.
    fn clock_page(&self) -> u64;
    /// Physical address of a byte of the image; 0 where it cannot be mapped for guests.
    fn image_address(&self, address: *const u8) -> u64;
    /// The code and constants of the image, which tell it from every other one; empty where there is no image.
    fn image(&self) -> &'static [u8];
    /// Makes sure that this core does not use the tables below `root` any more, so that they can be freed.
    fn leave(&self, root: u64);
}
