//! The kernel's half of the address space.
//!
//! | range | holds |
//! |---|---|
//! | `0xffff800000000000` | all physical memory, linear, largest pages, never executable |
//! | `0xffffc00000000000` | device registers, mapped on demand, uncached |
//! | `0xffffc80000000000` | stacks, each above an unmapped guard page |
//! | `0xffffffff80000000` | the image: text RX, read-only data R, data RW |
//!
//! What must hold: page tables are changed only under `TABLES`; a mapping is added, never changed
//! or removed, so no other core's TLB has to be told; the image's text and read-only data are
//! read-only in the linear map too. The top-level entries of the kernel's half exist before any
//! address space copies them.

pub use crate::layout::{LINEAR, image, linear};

use crate::layout::BASE;
use crate::memory_map::{self, FRAME, Kind, Region};
use core::sync::atomic::{AtomicU64, Ordering};
use spin::mutex::SpinMutex as Mutex;

const DEVICES: u64 = 0xffff_c000_0000_0000;
const STACKS: u64 = 0xffff_c800_0000_0000;
const WINDOW: u64 = 1 << 39;

/// Physical address of the kernel's top-level table (CR3 of a core outside any guest program).
pub static ROOT: AtomicU64 = AtomicU64::new(0);

static TABLES: Mutex<Windows> = Mutex::new(Windows {
    devices: DEVICES,
    stacks: STACKS,
    gib_pages: false,
});

struct Windows {
    devices: u64,
    stacks: u64,
    gib_pages: bool,
}

const PRESENT: u64 = 1;
const WRITE: u64 = 1 << 1;
const WRITE_THROUGH: u64 = 1 << 3;
const UNCACHED: u64 = 1 << 4;
const LARGE: u64 = 1 << 7;
const GLOBAL: u64 = 1 << 8;
const NO_EXECUTE: u64 = 1 << 63;
const ADDRESS: u64 = 0x000f_ffff_ffff_f000;

/// What may be done with a mapping.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Read.
    Read,
    /// Read and write.
    Write,
    /// Read and execute.
    Execute,
    /// Read and write, uncached: device registers.
    Device,
}

impl Access {
    fn bits(self) -> u64 {
        PRESENT
            | GLOBAL
            | match self {
                Self::Read => NO_EXECUTE,
                Self::Write => WRITE | NO_EXECUTE,
                Self::Execute => 0,
                Self::Device => WRITE | NO_EXECUTE | UNCACHED | WRITE_THROUGH,
            }
    }
}

/// No frame was left for a page table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutOfFrames;

/// Adds mappings of `[virt, virt + len)` to `[phys, phys + len)` below `root`, with the largest pages that fit.
fn map(
    root: u64,
    mut virt: u64,
    mut phys: u64,
    mut len: u64,
    access: Access,
    gib: bool,
) -> Result<(), OutOfFrames> {
    debug_assert!((virt | phys | len).is_multiple_of(FRAME));
    while len > 0 {
        let fits = |size: u64| (virt | phys).is_multiple_of(size) && len >= size;
        let (size, level) = if gib && fits(1 << 30) {
            (1 << 30, 2)
        } else if fits(1 << 21) {
            (1 << 21, 1)
        } else {
            (1 << 12, 0)
        };
        let mut table = root;
        for l in ((level + 1)..4).rev() {
            let index = (virt >> (12 + 9 * l)) & 511;
            // SAFETY: `table` is one of our page tables, which lie in the linear map; we hold TABLES
            // or are alone.
            let entry = unsafe { &mut *linear(table).add(index as usize) };
            if *entry & PRESENT == 0 {
                *entry = memory_map::take_zeroed().ok_or(OutOfFrames)? | PRESENT | WRITE;
            }
            assert!(
                *entry & LARGE == 0 || l == 3,
                "{virt:#x} is already mapped by a larger page"
            );
            table = *entry & ADDRESS;
        }
        let index = (virt >> (12 + 9 * level)) & 511;
        let leaf = phys | access.bits() | if level > 0 { LARGE } else { 0 };
        // SAFETY: as above.
        unsafe { *linear(table).add(index as usize) = leaf };
        virt = virt.wrapping_add(size);
        phys += size;
        len -= size;
    }
    Ok(())
}

unsafe extern "C" {
    static __text_start: u8;
    static __text_end: u8;
    static __rodata_start: u8;
    static __rodata_first: u8;
    static __rodata_end: u8;
    static __data_start: u8;
    static __image_end: u8;
}

/// Whether a virtual address is in the image's text.
pub fn is_text(address: u64) -> bool {
    (&raw const __text_start as u64..&raw const __text_end as u64).contains(&address)
}

/// The image's text and constants, which never change.
pub fn constants() -> &'static [u8] {
    let (start, end) = (&raw const __text_start, &raw const __rodata_end);
    // SAFETY: the linker script puts both into one run of pages that are mapped for reading and not written to since `init`.
    unsafe { core::slice::from_raw_parts(start, end.addr() - start.addr()) }
}

/// Makes the kernel's page tables and switches to them.
///
/// # Errors
/// [`OutOfFrames`] when the early allocator cannot hold the tables.
///
/// # Safety
/// Called once, on the boot core, on the first page tables.
pub unsafe fn init(map_of: &[Region], gib_pages: bool) -> Result<(), OutOfFrames> {
    let base = BASE;
    let page = |at: *const u8| (at as u64).next_multiple_of(FRAME);
    let text = (&raw const __text_start as u64, page(&raw const __text_end));
    let rodata = (
        &raw const __rodata_start as u64,
        page(&raw const __rodata_end),
    );
    let data = (
        &raw const __data_start as u64,
        &raw const __image_end as u64,
    );

    // Whatever is in memory there is no part of the image, for which `constants` stands.
    let (gap, gap_end) = (&raw const __text_end, &raw const __rodata_first);
    // SAFETY: the first page tables let everything be written, and the linker puts nothing between the two.
    unsafe { gap.cast_mut().write_bytes(0, gap_end.addr() - gap.addr()) };

    let mut windows = TABLES.lock();
    windows.gib_pages = gib_pages;
    let root = memory_map::take_zeroed().ok_or(OutOfFrames)?;
    // Every top-level entry the kernel will ever use exists from the start.
    for base in [DEVICES, STACKS] {
        // SAFETY: `root` is a fresh frame in the linear map.
        unsafe {
            *linear(root).add((base >> 39) as usize & 511) =
                memory_map::take_zeroed().ok_or(OutOfFrames)? | PRESENT | WRITE
        };
    }
    // The image.
    for ((start, end), access) in [
        (text, Access::Execute),
        (rodata, Access::Read),
        (data, Access::Write),
    ] {
        map(root, start, start - base, end - start, access, false)?;
    }
    // The linear map: the first MiB, for what firmware left there, and all memory above.
    let frozen = (text.0 - base, rodata.1 - base);
    map(root, LINEAR, 0, 1 << 20, Access::Write, gib_pages)?;
    for region in map_of.iter().filter(|r| r.kind != Kind::Reserved) {
        // Whole frames only: a frame's other part could be a device.
        let start = region.start.next_multiple_of(FRAME).max(1 << 20);
        let end = region.end() & !(FRAME - 1);
        for (piece, access) in [
            ((start, end.min(frozen.0)), Access::Write),
            ((start.max(frozen.0), end.min(frozen.1)), Access::Read),
            ((start.max(frozen.1), end), Access::Write),
        ] {
            if piece.0 < piece.1 {
                map(
                    root,
                    LINEAR + piece.0,
                    piece.0,
                    piece.1 - piece.0,
                    access,
                    gib_pages,
                )?;
            }
        }
    }
    ROOT.store(root, Ordering::Release);
    // SAFETY: the new tables map the image, this stack and the linear map as the old ones did.
    unsafe { core::arch::asm!("mov cr3, {}", in(reg) root, options(nostack, preserves_flags)) };
    Ok(())
}

/// Maps device registers (or firmware tables outside the linear map), uncached; the mapping is never removed.
///
/// # Errors
/// [`OutOfFrames`] when there is no frame for a page table, or the window is used up.
pub fn map_device(phys: u64, len: u64) -> Result<*mut u8, OutOfFrames> {
    let mut windows = TABLES.lock();
    let first = phys & !(FRAME - 1);
    let len = (phys + len).next_multiple_of(FRAME) - first;
    // Congruent modulo 2 MiB, so that large BARs get large pages.
    let virt = windows.devices.next_multiple_of(1 << 21)
        + if len >= 1 << 21 { first % (1 << 21) } else { 0 };
    let virt = if len >= 1 << 21 {
        virt
    } else {
        windows.devices
    };
    if virt + len > DEVICES + WINDOW {
        return Err(OutOfFrames);
    }
    map(
        ROOT.load(Ordering::Acquire),
        virt,
        first,
        len,
        Access::Device,
        false,
    )?;
    windows.devices = virt + len;
    Ok((virt + phys % FRAME) as *mut u8)
}

/// A kernel stack: `[bottom, top)` is mapped, the page below `bottom` is not.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct Stack {
    /// Lowest mapped address.
    pub bottom: u64,
    /// One past the highest; 16-byte aligned.
    pub top: u64,
}

impl Stack {
    /// Whether `address` is in the guard page.
    pub fn guards(&self, address: u64) -> bool {
        self.bottom != 0 && (self.bottom - FRAME..self.bottom).contains(&address)
    }
}

/// Makes a stack of `size` bytes (whole frames) above a guard page.
///
/// # Errors
/// [`OutOfFrames`] when memory is short.
pub fn new_stack(size: u64) -> Result<Stack, OutOfFrames> {
    let mut windows = TABLES.lock();
    let bottom = windows.stacks + FRAME;
    let top = bottom + size;
    if top > STACKS + WINDOW {
        return Err(OutOfFrames);
    }
    let frames = memory_map::take_frames(size / FRAME).ok_or(OutOfFrames)?;
    map(
        ROOT.load(Ordering::Acquire),
        bottom,
        frames,
        size,
        Access::Write,
        false,
    )?;
    windows.stacks = top;
    Ok(Stack { bottom, top })
}

/// The physical address that a virtual one is mapped to on this core.
pub fn physical(address: u64) -> Option<u64> {
    let (base, size) = walk(address)?;
    Some(base + address % size)
}

/// The page an address is in: its physical address and its size.
fn walk(address: u64) -> Option<(u64, u64)> {
    let upper = address >> 47;
    if upper != 0 && upper != 0x1_ffff {
        return None;
    }
    let root: u64;
    // SAFETY: reading CR3 has no effect.
    unsafe {
        core::arch::asm!("mov {}, cr3", out(reg) root, options(nomem, nostack, preserves_flags))
    };
    let mut table = root & ADDRESS;
    for level in (0..4).rev() {
        let index = (address >> (12 + 9 * level)) & 511;
        // SAFETY: page tables of a running core lie in the linear map.
        let entry = unsafe { linear(table).add(index as usize).read_volatile() };
        if entry & PRESENT == 0 {
            return None;
        }
        if level == 0 || entry & LARGE != 0 {
            let size = 1 << (12 + 9 * level);
            return Some((entry & ADDRESS & !(size - 1), size));
        }
        table = entry & ADDRESS;
    }
    None
}

/// Whether `[address, address + len)` is mapped in this core's page tables; for code that looks
/// at a machine that has gone wrong.
pub fn is_mapped(address: u64, len: u64) -> bool {
    let mut at = address;
    let Some(end) = address.checked_add(len) else {
        return false;
    };
    while at < end {
        let Some((_, size)) = walk(at) else {
            return false;
        };
        match (at & !(size - 1)).checked_add(size) {
            Some(next) => at = next,
            None => return true,
        }
    }
    true
}
