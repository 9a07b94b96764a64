#![no_std]
//! The seam between whatever runs guest programs (`ebb-linux`) and the machine that has a user mode
//! (`native-target`): registers, traps, vector state, the clock page, and the component [`GuestCpu`].
//!
//! # Principles
//! 1. A guest thread is a task. It calls [`GuestCpu::enter`] with its registers; the call returns when the guest traps: by a
//!    system call, a fault, or an interrupt that the core has to see to. So a thread that is not running is nothing but a
//!    [`Context`], and there is no kernel stack behind it.
//! 2. A context belongs to the core that made it; what may move is [`Saved`].
//! 3. Address spaces are `ebb-mem`'s: where the guest's half ends and what an entry has to drop from the TLB is said there
//!    ([`GUEST_END`], [`Stale`]), once.
//!
//! This crate is for x86-64: it names that CPU's registers. `ebb-runtime` does not know it.
//!
//! # A guest thread's loop
//! ```
//! use ebb_guest::{Context, GuestCpu, Stale, Trap};
//! use ebb_runtime::EbbRef;
//!
//! /// Runs a thread until it makes a system call, and gives the call's number.
//! async fn until_call(context: &mut Context, root: u64, stale: &Stale) -> Result<u64, Trap> {
//!     loop {
//!         match EbbRef::<dyn GuestCpu>::get().enter(context, root, stale) {
//!             Trap::Syscall => return Ok(context.rax),
//!             // Its time is up, or something arrived: other events of the core first.
//!             Trap::Interrupt => ebb_runtime::yield_now().await,
//!             fault => return Err(fault),
//!         }
//!     }
//! }
//! ```

extern crate alloc;
extern crate ebb_runtime as ebb;

mod clock_page;
mod context;
mod quick;
pub mod xsave;

pub use clock_page::ClockPage;
pub use context::{Context, GuestCpu, Saved, Trap};
pub use ebb_mem::space::{GUEST_END, Stale};
pub use quick::{ANSWERS, NO_ANSWER, QuickCalls};
pub use xsave::{Line, MXCSR_DEFAULT};
