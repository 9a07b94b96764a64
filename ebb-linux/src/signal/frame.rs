//! The frame that a handler finds on its stack, and the way back from it.
//!
//! Layout of `struct rt_sigframe` on x86-64 (Linux, `arch/x86/include/asm/sigframe.h` and `uapi/asm/sigcontext.h`): return
//! address, `ucontext`, `siginfo`; the extended state above it, in XSAVE's standard format with the words by which libraries
//! recognise it.
//!
//! What must hold: everything that [`restore`] reads is the guest's. Only registers that a guest could set itself are
//! taken from it, and the extended state passes through [`sanitise`], because XRSTOR faults on what it does not like.

use crate::abi::signal::{Action, FaultInfo, SigInfo, UNBLOCKABLE, bit};
use crate::state::pending::take_process_signals;
use crate::state::process::{Memory, Process};
use crate::uc::caller::Caller;
use alloc::vec::Vec;
use ebb_guest::xsave;
use ebb_guest::{Context, GuestCpu, Line};
use ebb_mem::space::BadAddress;
use ebb_runtime::EbbRef;

const SA_SIGINFO_FRAME: usize = 8 + UCONTEXT + 128;
const UCONTEXT: usize = 304;
const RED_ZONE: u64 = 128;
const SA_ONSTACK: u64 = 0x0800_0000;
const SA_RESTORER: u64 = 0x0400_0000;
const SA_NODEFER: u64 = 0x4000_0000;
const SA_RESETHAND: u64 = 0x8000_0000;

/// Bytes of the legacy part, and where the words for software are in it.
const LEGACY: usize = 512;
const SOFTWARE: usize = 464;
const HEADER: usize = 64;
const MAGIC1: u32 = 0x4650_5853;
const MAGIC2: u32 = 0x4650_5845;

fn bytes_of(lines: &[Line]) -> Vec<u8> {
    lines.iter().flat_map(|l| l.0).collect()
}

/// The registers beside the general ones as a frame has them: the area that XSAVE writes, and what says so.
fn extended_state(c: &Context) -> Vec<u8> {
    let mut extended = bytes_of(c.extended());
    for (i, xmm) in c.xmm.iter().enumerate() {
        extended[160 + 16 * i..168 + 16 * i].copy_from_slice(&xmm[0].to_le_bytes());
        extended[168 + 16 * i..176 + 16 * i].copy_from_slice(&xmm[1].to_le_bytes());
    }
    let size = extended.len();
    let components = xsave::components();
    if components != 0 && size >= LEGACY + HEADER {
        // XMM may have been initial when the area was written, and are not now.
        extended[LEGACY] |= 2;
        extended[SOFTWARE..SOFTWARE + 4].copy_from_slice(&MAGIC1.to_le_bytes());
        extended[SOFTWARE + 4..SOFTWARE + 8].copy_from_slice(&(size as u32 + 4).to_le_bytes());
        extended[SOFTWARE + 8..SOFTWARE + 16].copy_from_slice(&components.to_le_bytes());
        extended[SOFTWARE + 16..SOFTWARE + 20].copy_from_slice(&(size as u32).to_le_bytes());
        extended.extend_from_slice(&MAGIC2.to_le_bytes());
    }
    extended
}

/// Puts a frame on the thread's stack and lets it go on in the handler.
///
/// # Errors
/// When the stack has no room; the thread is as before.
pub fn push(
    caller: &Caller<'_>,
    signal: u8,
    action: &Action,
    info: &SigInfo,
    fault: Option<&FaultInfo>,
) -> Result<(), BadAddress> {
    let mut threads = caller.process.threads.borrow_mut();
    let thread = threads.get_mut(caller.index).ok_or(BadAddress)?;
    if action.flags & SA_RESTORER == 0 {
        return Err(BadAddress);
    }
    EbbRef::<dyn GuestCpu>::get().save(&mut thread.context);
    thread.context.settle();
    let extended = extended_state(&thread.context);
    let c = &thread.context;
    let on_alt = thread.alt_stack.contains(c.rsp);
    let top = if action.flags & SA_ONSTACK != 0 && thread.alt_stack.flags & 2 == 0 && !on_alt {
        thread.alt_stack.start.wrapping_add(thread.alt_stack.size)
    } else {
        c.rsp.wrapping_sub(RED_ZONE)
    };
    let state_at = top.wrapping_sub(extended.len() as u64) & !63;
    // The handler finds the stack as after a call: 8 more than a multiple of 16.
    let frame_at = (state_at.wrapping_sub(SA_SIGINFO_FRAME as u64) & !15).wrapping_sub(8);

    let mask = thread.saved_mask.unwrap_or(thread.mask);
    let mut frame: Vec<u8> = Vec::with_capacity(SA_SIGINFO_FRAME);
    let mut put = |word: u64| frame.extend_from_slice(&word.to_le_bytes());
    put(action.restorer);
    // UC_FP_XSTATE | UC_SIGCONTEXT_SS | UC_STRICT_RESTORE_SS
    put(u64::from(xsave::components() != 0) | 2 | 4);
    put(0);
    put(thread.alt_stack.start);
    put((thread.alt_stack.flags | u32::from(on_alt)).into());
    put(thread.alt_stack.size);
    for word in [
        c.r8, c.r9, c.r10, c.r11, c.r12, c.r13, c.r14, c.r15, c.rdi, c.rsi, c.rbp, c.rbx, c.rdx,
        c.rax, c.rcx, c.rsp, c.rip, c.rflags,
    ] {
        put(word);
    }
    // cs, gs, fs, ss
    put(0x23 | 0x1b << 48);
    put(fault.map_or(0, |f| f.error));
    put(fault.map_or(0, |f| f.vector.into()));
    put(mask);
    put(fault.map_or(0, |f| f.address));
    put(state_at);
    for _ in 0..8 {
        put(0);
    }
    // The handler returns to the mask from before a call that had one of its own.
    put(mask);
    frame.extend_from_slice(&info.0);

    let mut space = caller.space();
    space.write(state_at, &extended)?;
    space.write(frame_at, &frame)?;
    drop(space);

    let c = &mut thread.context;
    c.rdi = signal.into();
    c.rsi = frame_at + 8 + UCONTEXT as u64;
    c.rdx = frame_at + 8;
    c.rax = 0;
    c.rsp = frame_at;
    c.rip = action.handler;
    // Direction, resume and trap flags.
    c.rflags &= !0x1_0500;
    c.fast_return = 0;
    thread.saved_mask = None;
    thread.mask |= action.mask & !UNBLOCKABLE;
    if action.flags & SA_NODEFER == 0 {
        thread.mask |= bit(signal);
    }
    if action.flags & SA_RESETHAND != 0 {
        let reset = Action {
            handler: 0,
            ..*action
        };
        caller.process.state.borrow_mut().actions.set(signal, reset);
    }
    Ok(())
}

/// `rt_sigreturn`: takes the registers from the frame above the stack pointer.
///
/// # Errors
/// When the frame cannot be read.
pub fn restore(process: &Process, memory: &Memory, index: usize) -> Result<(), BadAddress> {
    let mut threads = process.threads.borrow_mut();
    let thread = threads.get_mut(index).ok_or(BadAddress)?;
    let mut space = memory.space.borrow_mut();
    // The return address has been popped.
    let at = thread.context.rsp;
    let words: [u64; UCONTEXT / 8] = space.get(at)?;
    let state_at = words[5 + 23];
    if state_at != 0 {
        let len = thread.context.extended().len() * 64;
        let mut state = alloc::vec![0; len];
        space.read(state_at, &mut state[..LEGACY])?;
        let software = u32::from_le_bytes(*state[SOFTWARE..].first_chunk().ok_or(BadAddress)?);
        if len >= LEGACY + HEADER && software == MAGIC1 {
            space.read(state_at, &mut state)?;
        }
        set_extended(&mut thread.context, state);
    }
    let mask = words[5 + 32];
    thread.mask = mask & !UNBLOCKABLE;
    let c = &mut thread.context;
    let r = &words[5..];
    c.r8 = r[0];
    c.r9 = r[1];
    c.r10 = r[2];
    c.r11 = r[3];
    c.r12 = r[4];
    c.r13 = r[5];
    c.r14 = r[6];
    c.r15 = r[7];
    c.rdi = r[8];
    c.rsi = r[9];
    c.rbp = r[10];
    c.rbx = r[11];
    c.rdx = r[12];
    c.rax = r[13];
    c.rcx = r[14];
    c.rsp = r[15];
    c.rip = r[16];
    // The way into user mode keeps only the flags that a guest may have.
    c.rflags = r[17];
    c.fast_return = 0;
    drop(threads);
    drop(space);
    take_process_signals(process, index);
    Ok(())
}

/// Makes a guest's bytes the extended state of a context.
fn set_extended(context: &mut Context, mut state: Vec<u8>) {
    EbbRef::<dyn GuestCpu>::get().evict(context);
    sanitise(&mut state, xsave::components());
    for (i, xmm) in context.xmm.iter_mut().enumerate() {
        let half = |at: usize| {
            state[at..]
                .first_chunk()
                .copied()
                .map_or(0, u64::from_le_bytes)
        };
        *xmm = [half(160 + 16 * i), half(168 + 16 * i)];
    }
    context.mxcsr = u32::from_le_bytes([state[24], state[25], 0, 0]);
    for (line, bytes) in context
        .extended_mut()
        .iter_mut()
        .zip(state.chunks_exact(64))
    {
        line.0.copy_from_slice(bytes);
    }
}

/// Clears what makes XRSTOR fault: unknown components, the compacted format, reserved bits of MXCSR and of the header.
fn sanitise(state: &mut [u8], components: u64) {
    // The upper half of MXCSR is reserved; of the lower, DAZ (bit 6) exists on every 64-bit CPU but the very first.
    state[26] = 0;
    state[27] = 0;
    if state.len() >= LEGACY + HEADER {
        let magic = state[SOFTWARE..]
            .first_chunk()
            .copied()
            .map_or(0, u32::from_le_bytes);
        let mut present = state[LEGACY..]
            .first_chunk()
            .copied()
            .map_or(0, u64::from_le_bytes)
            & components;
        if magic != MAGIC1 {
            // Only the legacy part was there: x87 and SSE.
            present = 3;
        }
        state[LEGACY..LEGACY + HEADER].fill(0);
        // XMM counts as present: the entry into user mode loads it anyway.
        state[LEGACY..LEGACY + 8].copy_from_slice(&(present | 2 & components).to_le_bytes());
    }
}
