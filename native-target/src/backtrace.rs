//! Who called whom: unwinding by the image's `.eh_frame`, names from the image's symbol table.
//!
//! Stock `core` and every crate carry call-frame information, so no compiler flag is needed and a
//! backtrace works from any instruction. It may run when anything is broken: it reads memory only
//! after asking the page tables, allocates nothing, and takes no lock but the console's.

use crate::{paging, say, symbols};
use gimli::{
    BaseAddresses, CfaRule, EhFrame, EhFrameHdr, EndianSlice, LittleEndian, NativeEndian,
    ParsedEhFrameHdr, Pointer, Register, RegisterRule, UnwindContext, UnwindContextStorage,
    UnwindSection, UnwindTableRow,
};

type Slice = EndianSlice<'static, NativeEndian>;

unsafe extern "C" {
    static __eh_frame_hdr_start: u8;
    static __eh_frame_hdr_end: u8;
    static __eh_frame_start: u8;
    static __eh_frame_end: u8;
    static __text_start: u8;
}

struct OnStack;

impl UnwindContextStorage<usize> for OnStack {
    type Rules = [(Register, RegisterRule<usize>); 32];
    type Stack = [UnwindTableRow<usize, Self>; 4];
}

/// The registers that unwinding needs, in DWARF's numbering (0 to 15, 16 is the return address).
#[derive(Clone, Copy, Debug, Default)]
pub struct Registers([u64; 17]);

impl Registers {
    /// Of a trap frame.
    pub fn of(frame: &crate::trap_frame::TrapFrame) -> Self {
        let f = frame;
        Self([
            f.rax, f.rdx, f.rcx, f.rbx, f.rsi, f.rdi, f.rbp, f.rsp, f.r8, f.r9, f.r10, f.r11,
            f.r12, f.r13, f.r14, f.r15, f.rip,
        ])
    }

    /// Of the caller, more or less: good enough to unwind from.
    #[inline(always)]
    pub fn here() -> Self {
        let mut r = [0; 17];
        // SAFETY: reads registers; all but RIP are those of the function this is inlined into.
        unsafe {
            core::arch::asm!(
                "mov [{r} + 3*8], rbx", "mov [{r} + 6*8], rbp", "mov [{r} + 7*8], rsp",
                "mov [{r} + 12*8], r12", "mov [{r} + 13*8], r13", "mov [{r} + 14*8], r14", "mov [{r} + 15*8], r15",
                "lea {t}, [rip]", "mov [{r} + 16*8], {t}",
                r = in(reg) r.as_mut_ptr(), t = out(reg) _, options(nostack, preserves_flags),
            );
        }
        Self(r)
    }
}

fn section(start: *const u8, end: *const u8) -> &'static [u8] {
    // SAFETY: both symbols bound one read-only section of the image.
    unsafe { core::slice::from_raw_parts(start, end.offset_from_unsigned(start)) }
}

fn read(address: u64) -> Option<u64> {
    // SAFETY: the page tables say that the eight bytes are there.
    paging::is_mapped(address, 8).then(|| unsafe { (address as *const u64).read_unaligned() })
}

struct Unwinder {
    header: ParsedEhFrameHdr<Slice>,
    frames: EhFrame<Slice>,
    bases: BaseAddresses,
}

impl Unwinder {
    fn new() -> Option<Self> {
        let header = section(
            &raw const __eh_frame_hdr_start,
            &raw const __eh_frame_hdr_end,
        );
        let frames = section(&raw const __eh_frame_start, &raw const __eh_frame_end);
        let bases = BaseAddresses::default()
            .set_eh_frame_hdr(header.as_ptr() as u64)
            .set_eh_frame(frames.as_ptr() as u64)
            .set_text(&raw const __text_start as u64);
        let header = EhFrameHdr::new(header, LittleEndian)
            .parse(&bases, 8)
            .ok()?;
        Some(Self {
            header,
            frames: EhFrame::new(frames, LittleEndian),
            bases,
        })
    }

    /// Goes from a frame to its caller's. `exact`: RIP is the instruction itself, not a return address.
    /// The answer's flag says the same of the new frame.
    fn step(
        &self,
        ctx: &mut UnwindContext<usize, OnStack>,
        regs: &mut Registers,
        exact: bool,
    ) -> Option<bool> {
        let rip = regs.0[16];
        let at = if exact { rip } else { rip.checked_sub(1)? };
        let table = self.header.table()?;
        let Pointer::Direct(_) = table.lookup(at, &self.bases).ok()? else {
            return None;
        };
        let fde = table
            .fde_for_address(&self.frames, &self.bases, at, EhFrame::cie_from_offset)
            .ok()?;
        let signal = fde.is_signal_trampoline();
        let row = fde
            .unwind_info_for_address(&self.frames, &self.bases, ctx, at)
            .ok()?;
        let CfaRule::RegisterAndOffset { register, offset } = *row.cfa() else {
            return None;
        };
        let cfa = regs
            .0
            .get(usize::from(register.0))?
            .checked_add_signed(offset)?;
        let mut next = *regs;
        next.0[7] = cfa;
        for (register, rule) in row.registers() {
            let value = match *rule {
                RegisterRule::Undefined => 0,
                RegisterRule::SameValue => continue,
                RegisterRule::Offset(n) => read(cfa.checked_add_signed(n)?)?,
                RegisterRule::ValOffset(n) => cfa.checked_add_signed(n)?,
                RegisterRule::Register(r) => *regs.0.get(usize::from(r.0))?,
                _ => return None,
            };
            *next.0.get_mut(usize::from(register.0))? = value;
        }
        *regs = next;
        Some(signal)
    }
}

/// The return addresses from `from` outwards; the first is RIP itself. Returns how many.
pub fn collect(from: Registers, out: &mut [u64]) -> usize {
    let Some(unwinder) = Unwinder::new() else {
        return 0;
    };
    let mut ctx = UnwindContext::new_in();
    let mut regs = from;
    let mut exact = true;
    let mut n = 0;
    while n < out.len() && paging::is_text(regs.0[16]) {
        out[n] = regs.0[16] - u64::from(!exact);
        n += 1;
        match unwinder.step(&mut ctx, &mut regs, exact) {
            Some(signal) => exact = signal,
            None => break,
        }
    }
    // A call through a null or wild pointer: RIP leads nowhere, but the caller's address is on the stack.
    if n == 0
        && let Some(caller) = read(regs.0[7]).filter(|&a| paging::is_text(a))
    {
        regs.0[16] = caller;
        regs.0[7] += 8;
        out[0] = from.0[16];
        return 1 + collect(regs, &mut out[1..]);
    }
    n
}

/// Prints a backtrace.
pub fn print(from: Registers) {
    let mut addresses = [0; symbols::MAX_FRAMES];
    let n = collect(from, &mut addresses);
    if n == 0 {
        say!("  no backtrace: {:#x} is not in the image", from.0[16]);
        return;
    }
    symbols::print(&addresses[..n]);
    if n == symbols::MAX_FRAMES {
        say!("  ... and more");
    }
}
