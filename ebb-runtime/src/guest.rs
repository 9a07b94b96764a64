//! Guest programs: the registers of a thread that runs in user mode, and the component that runs it.
//!
//! A guest thread is a task. It calls [`GuestCpu::enter`] with its registers; the call returns when the guest traps: by a
//! system call, a fault, or an interrupt that the core has to see to. So a thread that is not running is nothing but a
//! [`Context`], and there is no kernel stack behind it.

use alloc::{boxed::Box, vec::Vec};
use core::{marker::PhantomData, sync::atomic::AtomicU64};

use crate::{EbbRef, component};

/// The registers of a guest thread. What the CPU's assembly reads and writes comes first, in this order.
#[repr(C, align(64))]
#[allow(missing_docs)]
pub struct Context {
    /// The vector registers that the kernel itself uses, as of the last trap. The rest of the vector and floating-point
    /// state stays in the CPU until another thread needs it.
    pub xmm: [[u64; 2]; 16],
    pub rax: u64,
    pub rbx: u64,
    pub rcx: u64,
    pub rdx: u64,
    pub rsi: u64,
    pub rdi: u64,
    pub rbp: u64,
    pub rsp: u64,
    pub r8: u64,
    pub r9: u64,
    pub r10: u64,
    pub r11: u64,
    pub r12: u64,
    pub r13: u64,
    pub r14: u64,
    pub r15: u64,
    pub rip: u64,
    pub rflags: u64,
    pub fs_base: u64,
    /// Current after [`GuestCpu::save`], to be changed only after [`GuestCpu::evict`]: it stays in the CPU as long as the
    /// extended state does.
    pub gs_base: u64,
    /// The last trap, as the CPU tells it; see [`Trap`].
    pub vector: u64,
    pub error: u64,
    pub mxcsr: u32,
    /// Not zero: the last trap was a system call and nobody changed `rip`, `rcx`, `r11` or the flags since, so the way back
    /// may be the fast one. Whoever sets these registers clears it.
    pub fast_return: u32,
    /// Which system calls the entry answers by itself, without a [`Trap`].
    pub quick: &'static QuickCalls,
    /// What it answers, by the number that `quick` has for the call. With the top bit: it does not, and the call is a trap.
    /// The first one stays so.
    pub answers: [u64; ANSWERS],
    /// How often it did.
    pub quick_calls: u64,
    /// The extended state (XSAVE area) when it is not in the CPU; see [`GuestCpu::save`].
    extended: Vec<Line>,
    /// A context belongs to the core that made it.
    _core: PhantomData<*mut ()>,
}

/// How many answers a context has.
pub const ANSWERS: usize = 6;

/// An entry of [`Context::answers`] that makes the call a trap.
pub const NO_ANSWER: u64 = u64::MAX;

/// For each of the first 256 system calls the number of its answer; 0 for those that have none.
///
/// An answer is a constant of the thread until it is entered again: whoever runs guests sets it before, and nothing else
/// of the core runs while the guest does.
#[repr(transparent)]
#[derive(Debug)]
pub struct QuickCalls([u8; 256]);

impl QuickCalls {
    /// None.
    pub const NONE: &'static Self = &Self([0; 256]);

    /// These system calls, each with the number of its answer, 1 to [`ANSWERS`] - 1.
    ///
    /// # Panics
    /// With a number out of range.
    #[must_use]
    pub const fn new(calls: &[(u8, u8)]) -> Self {
        let mut table = [0; 256];
        let mut i = 0;
        while i < calls.len() {
            let (call, answer) = calls[i];
            assert!(answer > 0 && (answer as usize) < ANSWERS);
            table[call as usize] = answer;
            i += 1;
        }
        Self(table)
    }
}

/// 64 bytes, aligned as XSAVE wants them.
#[repr(C, align(64))]
#[derive(Clone, Copy)]
pub struct Line(pub [u8; 64]);

/// MXCSR after reset: all exceptions masked, round to nearest.
pub const MXCSR_DEFAULT: u32 = 0x1f80;

impl Context {
    /// Registers of a thread that has not run: all zero, floating point in its initial state.
    #[must_use]
    pub fn new() -> Box<Self> {
        let size = EbbRef::<dyn GuestCpu>::get().extended_size();
        let mut extended = Vec::new();
        extended.resize(size.div_ceil(64), Line([0; 64]));
        // FCW and MXCSR of the legacy area; XSTATE_BV = 0 makes the rest initial.
        extended[0].0[..2].copy_from_slice(&0x37fu16.to_le_bytes());
        extended[0].0[24..28].copy_from_slice(&MXCSR_DEFAULT.to_le_bytes());
        Box::new(Self {
            xmm: [[0; 2]; 16],
            rax: 0,
            rbx: 0,
            rcx: 0,
            rdx: 0,
            rsi: 0,
            rdi: 0,
            rbp: 0,
            rsp: 0,
            r8: 0,
            r9: 0,
            r10: 0,
            r11: 0,
            r12: 0,
            r13: 0,
            r14: 0,
            r15: 0,
            rip: 0,
            rflags: 0x202,
            fs_base: 0,
            gs_base: 0,
            vector: 0,
            error: 0,
            mxcsr: MXCSR_DEFAULT,
            fast_return: 0,
            quick: QuickCalls::NONE,
            answers: [NO_ANSWER; ANSWERS],
            quick_calls: 0,
            extended,
            _core: PhantomData,
        })
    }

    /// A copy, for a new thread or a snapshot. Brings the extended state in first.
    #[must_use]
    pub fn duplicate(&mut self) -> Box<Self> {
        EbbRef::<dyn GuestCpu>::get().save(self);
        Box::new(Self {
            quick_calls: 0,
            extended: self.extended.clone(),
            ..*self
        })
    }

    /// The extended state in the CPU's standard XSAVE format, current after [`GuestCpu::save`].
    #[must_use]
    pub fn extended(&self) -> &[Line] {
        &self.extended
    }

    /// As [`extended`](Self::extended), to be changed only after [`GuestCpu::evict`].
    pub fn extended_mut(&mut self) -> &mut [Line] {
        &mut self.extended
    }
}

/// A thread's registers as plain data, on no CPU: they may be kept and used on any core.
pub struct Saved(Box<Context>);

// SAFETY: the context was copied and is never entered, so no CPU holds part of it and nothing in it is bound to a core: it is
// plain words. It is only read.
unsafe impl Send for Saved {}
// SAFETY: as above.
unsafe impl Sync for Saved {}

impl Saved {
    /// The registers of a thread that does not run.
    #[must_use]
    pub fn of(context: &mut Context) -> Self {
        Self(context.duplicate())
    }

    /// A context of this core with these registers.
    #[must_use]
    pub fn restore(&self) -> Box<Context> {
        Box::new(Context {
            extended: self.0.extended.clone(),
            ..*self.0
        })
    }

    /// The registers.
    #[must_use]
    pub fn context(&self) -> &Context {
        &self.0
    }
}

impl Drop for Context {
    fn drop(&mut self) {
        EbbRef::<dyn GuestCpu>::get().evict(self);
    }
}

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

/// What a change of page tables has made wrong in the TLB since the space was entered last.
#[derive(Clone, Copy, Debug)]
pub enum Stale<'a> {
    /// These pages, by address.
    Pages(&'a [u64]),
    /// Any.
    All,
}

/// Running guests.
#[component]
pub trait GuestCpu {
    /// Runs the guest until it traps. `root` is the physical address of its top-level page table, whose upper half is
    /// that of [`kernel_root`](GuestCpu::kernel_root).
    fn enter(&self, context: &mut Context, root: u64, stale: Stale<'_>) -> Trap;
    /// Lets a running guest trap with [`Trap::Interrupt`] when the clock reaches `deadline`, in nanoseconds, or earlier.
    fn interrupt_at(&self, deadline: u64);
    /// Makes [`Context::extended`] current; it may stay in the CPU as well.
    fn save(&self, context: &mut Context);
    /// As [`save`](GuestCpu::save), and forgets that the state is in the CPU. Before a context moves or is changed.
    fn evict(&self, context: &mut Context);
    /// Bytes of the extended state.
    fn extended_size(&self) -> usize;
    /// Physical address of the top-level page table outside any guest; 0 on a platform that cannot run guests.
    fn kernel_root(&self) -> u64;
    /// Physical address of a [`ClockPage`]; 0 when there is none.
    fn clock_page(&self) -> u64;
    /// Physical address of a byte of the image; 0 where it cannot be mapped for guests.
    fn image_address(&self, address: *const u8) -> u64;
    /// Makes sure that this core does not use the tables below `root` any more, so that they can be freed.
    fn leave(&self, root: u64);
}

/// How a guest tells the time by itself: nanoseconds = `base_ns` + (ticks - `base_tsc`) * `scale` / 2^32, where the ticks
/// are the TSC's; nothing else is on its page. Read under the sequence lock: `sequence` is odd while the line changes.
#[repr(C, align(4096))]
#[allow(missing_docs)]
pub struct ClockPage {
    pub sequence: AtomicU64,
    pub base_tsc: AtomicU64,
    pub base_ns: AtomicU64,
    pub scale: AtomicU64,
    /// What makes nanoseconds since 1970 of them.
    pub wall: AtomicU64,
}

impl ClockPage {
    /// All zero.
    #[must_use]
    #[expect(clippy::new_without_default, reason = "for statics")]
    pub const fn new() -> Self {
        Self {
            sequence: AtomicU64::new(0),
            base_tsc: AtomicU64::new(0),
            base_ns: AtomicU64::new(0),
            scale: AtomicU64::new(0),
            wall: AtomicU64::new(0),
        }
    }
}
