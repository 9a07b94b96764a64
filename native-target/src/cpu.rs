//! One core: its block (reached by GS), its descriptor tables, its stacks, and the features that
//! every core switches on alike.
//!
//! What must hold: a block is made by the boot core before its core starts and lives for ever;
//! GS base points to it while the kernel runs. Fields without atomics are written before the
//! core starts, or by that core alone.

use crate::paging::{self, OutOfFrames, Stack};
use crate::{memory_map, msr, tls};
use core::arch::asm;
use core::arch::x86_64::{__cpuid, __cpuid_count};
use core::cell::UnsafeCell;
use core::mem::offset_of;
use core::sync::atomic::{AtomicPtr, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use spin::Once;
use x86_64::VirtAddr;
use x86_64::registers::control::{Cr0, Cr0Flags, Cr4, Cr4Flags};
use x86_64::registers::model_specific::Msr;
use x86_64::structures::gdt::Descriptor;
use x86_64::structures::tss::TaskStateSegment;

/// Most cores an image uses.
pub const MAX_CORES: usize = 64;

/// Kernel code selector.
pub const KERNEL_CODE: u16 = 0x08;
/// Kernel data selector.
pub const KERNEL_DATA: u16 = 0x10;
/// User data selector, with its privilege level.
pub const USER_DATA: u16 = 0x18 | 3;
/// User code selector, with its privilege level.
pub const USER_CODE: u16 = 0x20 | 3;
const TSS: u16 = 0x28;

/// Bytes of the stack that events run on.
pub const MAIN_STACK: u64 = 256 * 1024;

/// The stacks of a core: its own, then one for each entry of the interrupt stack table.
pub const STACK_NAMES: [&str; 8] = [
    "event stack",
    "interrupt stack",
    "page fault stack",
    "exception stack",
    "NMI stack",
    "double fault stack",
    "machine check stack",
    "debug stack",
];
const STACK_SIZES: [u64; 8] = [
    MAIN_STACK, 0x2000, 0x8000, 0x8000, 0x8000, 0x8000, 0x8000, 0x4000,
];

/// A device's interrupt handler and its argument.
pub struct Handler(pub fn(usize), pub usize);

/// A device vector: free until somebody takes it.
pub struct Slot {
    /// Set once.
    pub handler: Once<Handler>,
}

/// What a core keeps for itself, found through GS.
#[repr(C, align(64))]
pub struct CpuBlock {
    /// Address of this block; `gs:0`.
    this: *const CpuBlock,
    /// Number of the core, from 0 without gaps.
    pub id: AtomicU32,
    /// Its local APIC's ID.
    pub apic_id: u32,
    /// Address of the local APIC's registers; 0 when it is driven through MSRs (x2APIC).
    pub apic: u64,
    /// Vectors that fired and have not been handled, one bit each; set by the stubs, cleared by the loop.
    pub pending: [AtomicU64; 4],
    /// 1 from a wake-up to the end of the core's next sleep.
    pub notified: AtomicU32,
    /// The deadline that the core's timer is set to, in clock nanoseconds; 0 for none.
    pub armed_ns: AtomicU64,
    /// Who handles the device vectors, from `FIRST_DEVICE` on.
    pub handlers: [Slot; 192],
    /// How far the core has come up (`smp`).
    pub state: AtomicU32,
    /// Thread pointer of the core (FS base).
    pub tls: u64,
    /// The core's stacks, in the order of [`STACK_NAMES`].
    pub stacks: [Stack; 8],
    /// For the code that enters and leaves user mode; see `user`.
    pub user: UnsafeCell<[u64; 32]>,
    gdt: [u64; 8],
    tss: TaskStateSegment,
}

/// Offset of [`CpuBlock::pending`], for assembly.
pub const PENDING: usize = offset_of!(CpuBlock, pending);
/// Offset of [`CpuBlock::apic`], for assembly.
pub const APIC: usize = offset_of!(CpuBlock, apic);
/// Offset of [`CpuBlock::user`], for assembly.
pub const USER: usize = offset_of!(CpuBlock, user);

// SAFETY: shared fields are atomics; the others are written before the core starts.
unsafe impl Sync for CpuBlock {}

static BLOCKS: [AtomicPtr<CpuBlock>; MAX_CORES] =
    [const { AtomicPtr::new(core::ptr::null_mut()) }; MAX_CORES];
static COUNT: AtomicUsize = AtomicUsize::new(0);

/// How many cores run.
pub fn count() -> usize {
    COUNT.load(Ordering::Acquire)
}

/// The block of core `id`, if there is one.
pub fn get(id: usize) -> Option<&'static CpuBlock> {
    let block = BLOCKS.get(id)?.load(Ordering::Acquire);
    // SAFETY: blocks live for ever and are published complete.
    unsafe { block.as_ref() }
}

/// This core's block, or `None` before the core has one.
pub fn try_this() -> Option<&'static CpuBlock> {
    // SAFETY: every 64-bit CPU has a GS base.
    let base = unsafe { Msr::new(msr::GS_BASE).read() };
    (base != 0).then(this)
}

/// This core's block.
#[inline]
pub fn this() -> &'static CpuBlock {
    let block: *const CpuBlock;
    // SAFETY: GS base is the core's block from `enter` on, and `gs:0` is its address.
    unsafe {
        asm!("mov {}, gs:[0]", out(reg) block, options(nostack, preserves_flags, readonly, pure))
    };
    // SAFETY: blocks live for ever.
    unsafe { &*block }
}

/// Makes the block and the stacks of a core with this APIC ID.
///
/// # Errors
/// [`OutOfFrames`] when memory is short.
pub fn new_block(apic_id: u32) -> Result<&'static mut CpuBlock, OutOfFrames> {
    let frames = (size_of::<CpuBlock>() as u64).div_ceil(memory_map::FRAME);
    let at = paging::linear(memory_map::take_frames(frames).ok_or(OutOfFrames)?).cast::<CpuBlock>();
    // SAFETY: the frames are ours alone; all-zero bytes are a valid CpuBlock (a `Once` of zeroes
    // has not run, which `Once::INIT` written over it makes sure of).
    let block = unsafe {
        at.cast::<u8>()
            .write_bytes(0, (frames * memory_map::FRAME) as usize);
        &mut *at
    };
    for slot in &mut block.handlers {
        slot.handler = Once::INIT;
    }
    block.this = at;
    block.apic_id = apic_id;
    block.tls = tls::new_block().ok_or(OutOfFrames)?;
    for (stack, size) in block.stacks.iter_mut().zip(STACK_SIZES) {
        *stack = paging::new_stack(size)?;
    }
    block.tss = TaskStateSegment::new();
    for (i, stack) in block.stacks.iter().enumerate().skip(1) {
        // The word above an interrupt stack names its core, for handlers that cannot trust GS.
        let top = stack.top - 16;
        // SAFETY: the word is inside the stack just mapped.
        unsafe { (top as *mut u64).write(at as u64) };
        block.tss.interrupt_stack_table[i - 1] = VirtAddr::new(top);
    }
    // SAFETY: the block, and so its TSS, lives for ever.
    let Descriptor::SystemSegment(low, high) =
        (unsafe { Descriptor::tss_segment_unchecked(&raw const block.tss) })
    else {
        unreachable!("a TSS has a system segment")
    };
    block.gdt = [
        0,
        0x00af_9b00_0000_ffff,
        0x00cf_9300_0000_ffff,
        0x00cf_f300_0000_ffff,
        0x00af_fb00_0000_ffff,
        low,
        high,
        0,
    ];
    Ok(block)
}

/// Publishes a block under its number; the last step before its core may be spoken to.
pub fn publish(block: &'static CpuBlock, id: usize) {
    block.id.store(id as u32, Ordering::Relaxed);
    BLOCKS[id].store(block.this.cast_mut(), Ordering::Release);
    COUNT.fetch_max(id + 1, Ordering::AcqRel);
}

/// Makes `block` this core's: descriptor tables, GS, FS and CPU features. `load_interrupts` loads the interrupt table.
///
/// # Safety
/// Called once on each core, with a block of its own.
pub unsafe fn enter(block: &CpuBlock, load_interrupts: fn()) {
    #[repr(C, packed)]
    struct Pointer {
        limit: u16,
        base: u64,
    }
    let gdt = Pointer {
        limit: size_of_val(&block.gdt) as u16 - 1,
        base: block.gdt.as_ptr() as u64,
    };
    // SAFETY: the table holds the selectors loaded here; CS is reloaded by the far return.
    unsafe {
        asm!(
            "lgdt [{gdt}]",
            "mov ds, {data:e}",
            "mov es, {data:e}",
            "mov ss, {data:e}",
            "push {code}",
            "lea {tmp}, [rip + 2f]",
            "push {tmp}",
            "retfq",
            "2:",
            "ltr {tss:x}",
            gdt = in(reg) &raw const gdt,
            data = in(reg) u32::from(KERNEL_DATA),
            code = const KERNEL_CODE,
            tss = in(reg) TSS,
            tmp = out(reg) _,
        );
    }
    load_interrupts();
    enable_features();
    // SAFETY: the block's address is valid GS base; the TLS block is complete.
    unsafe {
        Msr::new(msr::GS_BASE).write(block.this as u64);
        Msr::new(msr::KERNEL_GS_BASE).write(0);
        Msr::new(msr::FS_BASE).write(block.tls);
    }
}

/// Highest basic CPUID leaf.
pub fn max_leaf() -> u32 {
    __cpuid(0).eax
}

/// Whether the CPU is QEMU's emulator (TCG), which is some ten times slower than one of silicon.
pub fn is_emulated() -> bool {
    __cpuid(1).ecx >> 31 == 1 && __cpuid(0x4000_0000).ebx == u32::from_le_bytes(*b"TCGT")
}

/// Whether the CPU maps 1 GiB pages.
pub fn has_gib_pages() -> bool {
    __cpuid(0x8000_0000).eax >= 0x8000_0001 && __cpuid(0x8000_0001).edx & 1 << 26 != 0
}

/// State components enabled in XCR0; 0 without XSAVE.
pub static XCR0: AtomicU64 = AtomicU64::new(0);
/// Bytes of an XSAVE area for [`XCR0`]; 512 without XSAVE.
pub static XSAVE_SIZE: AtomicU32 = AtomicU32::new(512);

fn enable_features() {
    let basic = __cpuid(1);
    let mut cr4 = Cr4Flags::PHYSICAL_ADDRESS_EXTENSION
        | Cr4Flags::OSFXSR
        | Cr4Flags::OSXMMEXCPT_ENABLE
        | Cr4Flags::PAGE_GLOBAL;
    if max_leaf() >= 7 {
        let extended = __cpuid_count(7, 0);
        for (bit, flag) in [
            (7, Cr4Flags::SUPERVISOR_MODE_EXECUTION_PROTECTION),
            (20, Cr4Flags::SUPERVISOR_MODE_ACCESS_PREVENTION),
            (0, Cr4Flags::FSGSBASE),
        ] {
            if extended.ebx & 1 << bit != 0 {
                cr4 |= flag;
            }
        }
        if extended.ecx & 1 << 2 != 0 {
            cr4 |= Cr4Flags::USER_MODE_INSTRUCTION_PREVENTION;
        }
    }
    let xsave = basic.ecx & 1 << 26 != 0;
    if xsave {
        cr4 |= Cr4Flags::OSXSAVE;
    }
    // SAFETY: each flag is set only where CPUID has its feature; paging and SSE stay as they are.
    unsafe {
        Cr4::write(cr4);
        Cr0::write(
            Cr0Flags::PROTECTED_MODE_ENABLE
                | Cr0Flags::MONITOR_COPROCESSOR
                | Cr0Flags::EXTENSION_TYPE
                | Cr0Flags::NUMERIC_ERROR
                | Cr0Flags::WRITE_PROTECT
                | Cr0Flags::PAGING,
        );
        asm!("fninit", "ldmxcsr [{}]", in(reg) &0x1f80u32, options(nostack));
    }
    if xsave {
        // x87, SSE, AVX, AVX-512 as the CPU offers them; AVX-512 only whole. Not MPX (gone), PKRU
        // (its CR4 bit is off) or AMX (8 KiB per thread and opt-in by design).
        let offered = __cpuid_count(0xd, 0);
        let offered = u64::from(offered.eax) | u64::from(offered.edx) << 32;
        let mut components = offered & 0b111;
        if offered & 0xe0 == 0xe0 && components & 4 != 0 {
            components |= 0xe0;
        }
        // SAFETY: OSXSAVE is on and the CPU offers each component.
        unsafe {
            asm!("xsetbv", in("ecx") 0, in("eax") components as u32, in("edx") (components >> 32) as u32, options(nostack))
        };
        XCR0.store(components, Ordering::Relaxed);
        XSAVE_SIZE.store(__cpuid_count(0xd, 0).ebx, Ordering::Relaxed);
    }
}

/// Stops this core for good.
pub fn halt() -> ! {
    loop {
        // SAFETY: nothing follows; an NMI may run and come back.
        unsafe { asm!("cli", "hlt", options(nomem, nostack)) };
    }
}
