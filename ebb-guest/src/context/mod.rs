//! The registers of a thread that runs in user mode, and in `cpu.rs` the component that runs it.

mod cpu;
mod stored;

use alloc::{boxed::Box, vec::Vec};
use core::marker::PhantomData;

use ebb_runtime::EbbRef;

pub use cpu::{GuestCpu, Trap};

use crate::{
    quick::{ANSWERS, NO_ANSWER, QuickCalls},
    xsave::{self, Line, MXCSR_DEFAULT},
};

/// The registers of a guest thread. What the CPU's assembly reads and writes comes first, in this order.
#[repr(C, align(64))]
#[allow(missing_docs)]
pub struct Context {
    /// The vector registers that the kernel itself uses, as of the last trap. The rest of the vector and floating-point
    /// state stays in the CPU until another thread needs it.
    pub xmm: [[u64; 2]; 16],
    pub rax: u64,
    // The arguments of a system call, in their order.
    pub rdi: u64,
    pub rsi: u64,
    pub rdx: u64,
    pub r10: u64,
    pub r8: u64,
    pub r9: u64,
    pub rbx: u64,
    pub rcx: u64,
    pub rbp: u64,
    pub rsp: u64,
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
    /// The last trap, as the CPU tells it; see [`Trap`](crate::Trap).
    pub vector: u64,
    pub error: u64,
    pub mxcsr: u32,
    /// Not zero: the last trap was a system call and nobody changed `rip`, the flags or the bases of FS and GS since, so the
    /// way back may be the fast one, and `rcx` and `r11` are not in their places: they are `rip` and `rflags`. Whoever looks
    /// at `rcx` and `r11`, or sets any of these registers, calls [`settle`](Self::settle) before.
    pub fast_return: u32,
    /// Which system calls the entry answers by itself, without a [`Trap`](crate::Trap).
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

impl Context {
    /// Registers of a thread that has not run: all zero, floating point in its initial state.
    #[must_use]
    pub fn new() -> Box<Self> {
        let size = EbbRef::<dyn GuestCpu>::get().extended_size();
        let mut extended = Vec::new();
        extended.resize(size.div_ceil(64), Line([0; 64]));
        // FCW and MXCSR of the legacy area; XSTATE_BV = 0 makes the rest initial.
        extended[0].0[..2].copy_from_slice(&xsave::FCW_DEFAULT.to_le_bytes());
        extended[0].0[xsave::MXCSR..xsave::MXCSR + 4].copy_from_slice(&MXCSR_DEFAULT.to_le_bytes());
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

    /// Puts all registers in their places, and makes the way back the one that looks at each of them.
    pub fn settle(&mut self) {
        if self.fast_return != 0 {
            (self.rcx, self.r11, self.fast_return) = (self.rip, self.rflags, 0);
        }
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
