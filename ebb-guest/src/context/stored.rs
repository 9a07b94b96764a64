//! Registers as bytes, for a snapshot that is kept on a disk.
//!
//! What must hold: whatever the bytes are, what is read from them is a state that a guest can bring about by itself, so that
//! loading it cannot fault in the kernel.

use alloc::vec::Vec;

use ebb_runtime::EbbRef;

use super::{Context, GuestCpu, Saved};
use crate::xsave::{self, XSTATE_BV};

/// Words of the registers, those of XMM included.
const WORDS: usize = 22 + 32;
/// Bytes of the XSAVE header behind XSTATE_BV.
const REST_OF_HEADER: core::ops::Range<usize> = XSTATE_BV + 8..XSTATE_BV + 64;
/// What of MXCSR may be set.
const MXCSR_BITS: u32 = 0xffff;

/// All registers in the order of their words but for XMM and MXCSR.
fn registers(context: &mut Context) -> [&mut u64; 22] {
    let c = context;
    [
        &mut c.rax,
        &mut c.rdi,
        &mut c.rsi,
        &mut c.rdx,
        &mut c.r10,
        &mut c.r8,
        &mut c.r9,
        &mut c.rbx,
        &mut c.rcx,
        &mut c.rbp,
        &mut c.rsp,
        &mut c.r11,
        &mut c.r12,
        &mut c.r13,
        &mut c.r14,
        &mut c.r15,
        &mut c.rip,
        &mut c.rflags,
        &mut c.fs_base,
        &mut c.gs_base,
        &mut c.vector,
        &mut c.error,
    ]
}

impl Saved {
    /// The registers as bytes.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut context = self.restore();
        // So that the way back looks at each of them.
        context.settle();
        let mut bytes = Vec::new();
        for word in registers(&mut context) {
            bytes.extend_from_slice(&word.to_le_bytes());
        }
        for word in context.xmm.iter().flatten() {
            bytes.extend_from_slice(&word.to_le_bytes());
        }
        bytes.extend_from_slice(&context.mxcsr.to_le_bytes());
        for line in context.extended() {
            bytes.extend_from_slice(&line.0);
        }
        bytes
    }

    /// The registers of these bytes; `None` when a guest of this CPU cannot have them.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let mut context = Context::new();
        let (words, rest) = bytes.split_at_checked(WORDS * 8)?;
        let (mxcsr, extended) = rest.split_first_chunk()?;
        let (words, _) = words.as_chunks::<8>();
        let mut words = words.iter().map(|word| u64::from_le_bytes(*word));
        for (register, word) in registers(&mut context).into_iter().zip(&mut words) {
            *register = word;
        }
        for (register, word) in context.xmm.as_flattened_mut().iter_mut().zip(words) {
            *register = word;
        }
        context.mxcsr = u32::from_le_bytes(*mxcsr);
        let canonical = [context.rip, context.fs_base, context.gs_base];
        if canonical.iter().any(|address| *address >= 1 << 47)
            || context.mxcsr & !MXCSR_BITS != 0
            || !may_load(extended)
        {
            return None;
        }
        EbbRef::<dyn GuestCpu>::get().evict(&mut context);
        let lines = context.extended_mut();
        if extended.len() != size_of_val(lines) {
            return None;
        }
        for (line, bytes) in lines.iter_mut().zip(extended.as_chunks::<64>().0) {
            line.0 = *bytes;
        }
        Some(Self(context))
    }
}

/// Whether XRSTOR takes it: no component that is not switched on, not the compacted format, no reserved bit.
fn may_load(extended: &[u8]) -> bool {
    let word = |at: usize| extended.get(at..).and_then(|rest| rest.first_chunk());
    let mxcsr = word(xsave::MXCSR).map(|bytes| u32::from_le_bytes(*bytes));
    if mxcsr.is_none_or(|mxcsr| mxcsr & !MXCSR_BITS != 0) {
        return false;
    }
    let Some(rest) = extended.get(REST_OF_HEADER) else {
        // Without XSAVE it is the legacy region alone.
        return xsave::components() == 0;
    };
    let present = extended[XSTATE_BV..].first_chunk().copied();
    let present = present.map_or(u64::MAX, u64::from_le_bytes);
    present & !xsave::components() == 0 && rest.iter().all(|byte| *byte == 0)
}
