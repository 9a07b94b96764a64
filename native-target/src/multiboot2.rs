//! What a Multiboot2 loader hands over (The Multiboot2 Specification version 2.0, section 3.6): GRUB, on a disk or a CD, by BIOS
//! and by UEFI.
//!
//! It is copied at once, as what PVH loaders say is. What must hold: the loader has left the firmware's boot services, as it does
//! for an image that does not ask to keep them.

use core::{cell::UnsafeCell, slice};

use crate::{
    layout::BASE,
    pvh::{Bad, Handover, REACH},
};

/// What such a loader leaves in EAX.
pub const MAGIC: u32 = 0x36d7_6289;

const COMMAND_LINE: u32 = 1;
const MODULE: u32 = 3;
const MEMORY_MAP: u32 = 6;
const RSDP_OLD: u32 = 14;
const RSDP_NEW: u32 = 15;

/// The root of the ACPI tables; the loader has copied it into what it hands over, which does not stay.
struct Root(UnsafeCell<[u8; 36]>);
// SAFETY: written by the boot core before any other core runs, read afterwards.
unsafe impl Sync for Root {}
static ROOT: Root = Root(UnsafeCell::new([0; 36]));

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    let bytes = bytes.get(at..at + 4)?;
    Some(u32::from_le_bytes(bytes.try_into().ok()?))
}

fn long(bytes: &[u8], at: usize) -> Option<u64> {
    let bytes = bytes.get(at..at + 8)?;
    Some(u64::from_le_bytes(bytes.try_into().ok()?))
}

/// Copies what the loader says, which lies at the physical address `at`.
///
/// # Errors
/// See [`Bad`].
///
/// # Safety
/// `at` is what the loader left in EBX, and `linear` maps the first [`REACH`] bytes of physical memory. Nobody reads the ACPI
/// tables yet.
pub unsafe fn read(handover: &mut Handover, at: u64, linear: *const u8) -> Result<(), Bad> {
    if at.checked_add(8).is_none_or(|end| end > REACH) {
        return Err(Bad::Magic(0));
    }
    // SAFETY: these bytes are mapped, and any four make a number.
    let size = unsafe { linear.add(at as usize).cast::<u32>().read_unaligned() };
    if at + u64::from(size) > REACH || size < 8 {
        return Err(Bad::Magic(size));
    }
    // SAFETY: it ends within what is mapped, and the loader has left it alone.
    let all = unsafe { slice::from_raw_parts(linear.add(at as usize), size as usize) };
    let mut rest = &all[8..];
    let mut modules = 0;
    while let (Some(kind), Some(size)) = (word(rest, 0), word(rest, 4)) {
        let Some(tag) = rest.get(8..size as usize).filter(|_| kind != 0) else {
            break;
        };
        match kind {
            COMMAND_LINE => {
                let line = tag.split(|byte| *byte == 0).next().unwrap_or_default();
                handover.set_command_line(line)?;
            }
            MODULE => {
                if let (Some(start), Some(end), Some(slot)) = (
                    word(tag, 0),
                    word(tag, 4),
                    handover.modules.get_mut(modules),
                ) {
                    *slot = (u64::from(start), u64::from(end.saturating_sub(start)));
                    modules += 1;
                }
            }
            MEMORY_MAP => add_map(handover, tag),
            // The newer one has what the older one has.
            RSDP_OLD if handover.rsdp != 0 => {}
            // SAFETY: the caller's promise.
            RSDP_OLD | RSDP_NEW => handover.rsdp = unsafe { keep_root(tag) },
            _ => {}
        }
        let next = (size as usize).next_multiple_of(8);
        rest = rest.get(next..).unwrap_or_default();
    }
    if handover.count == 0 {
        return Err(Bad::NoMap);
    }
    Ok(())
}

fn add_map(handover: &mut Handover, tag: &[u8]) {
    let entry = word(tag, 0).map_or(0, |size| size as usize);
    // Size and version of an entry stand before the first.
    let entries = tag.get(8..).unwrap_or_default();
    if entry < 20 {
        return;
    }
    for entry in entries.chunks_exact(entry) {
        if let (Some(start), Some(len), Some(kind)) =
            (long(entry, 0), long(entry, 8), word(entry, 16))
        {
            handover.add_region(start, len, kind);
        }
    }
}

/// Copies the root of the ACPI tables; its physical address.
///
/// # Safety
/// Nobody reads it yet, and no other core runs.
unsafe fn keep_root(tag: &[u8]) -> u64 {
    // SAFETY: the caller's promise.
    let root = unsafe { &mut *ROOT.0.get() };
    let len = tag.len().min(root.len());
    root[..len].copy_from_slice(&tag[..len]);
    // The image is loaded so much lower than it is linked.
    (root.as_ptr() as u64).wrapping_sub(BASE)
}
