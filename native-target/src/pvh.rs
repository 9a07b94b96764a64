//! What the loader hands over: the PVH start info (Xen, `public/arch-x86/hvm/start_info.h`).
//!
//! It is copied at once, into statics, because it may lie anywhere in low memory.

use crate::memory_map::{Kind, MAX_REGIONS, Region};

/// Longest command line in bytes; a longer one is refused rather than cut.
pub const MAX_COMMAND_LINE: usize = 8192;

const MAGIC: u32 = 0x336e_c578;

/// How far the first page tables reach, in bytes.
pub const REACH: u64 = 4 << 30;

#[repr(C)]
struct StartInfo {
    magic: u32,
    version: u32,
    flags: u32,
    modules: u32,
    modules_at: u64,
    command_line_at: u64,
    rsdp_at: u64,
    // From version 1:
    map_at: u64,
    map_entries: u32,
    reserved: u32,
}

#[repr(C)]
#[derive(Clone, Copy)]
struct MapEntry {
    start: u64,
    len: u64,
    kind: u32,
    reserved: u32,
}

#[repr(C)]
#[derive(Clone, Copy)]
struct Module {
    start: u64,
    len: u64,
    command_line_at: u64,
    reserved: u64,
}

/// A copy of what the loader said.
pub struct Handover {
    /// Memory map, in the loader's order.
    pub regions: [Region; MAX_REGIONS],
    /// How many of `regions` are valid.
    pub count: usize,
    /// Physical address of the ACPI root pointer, 0 if the loader gave none.
    pub rsdp: u64,
    command_line: [u8; MAX_COMMAND_LINE],
    command_line_len: usize,
    /// Physical ranges the loader filled (initial RAM disk and the like): start and length.
    pub modules: [(u64, u64); 4],
}

/// Why the handover cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bad {
    /// EBX did not point to a start info.
    Magic(u32),
    /// The loader speaks version 0, which has no memory map.
    NoMap,
    /// The command line is longer than [`MAX_COMMAND_LINE`].
    LongCommandLine,
}

impl Handover {
    /// An empty handover, to be filled by [`Handover::read`].
    pub const EMPTY: Self = Self {
        regions: [Region {
            start: 0,
            len: 0,
            kind: Kind::Reserved,
        }; MAX_REGIONS],
        count: 0,
        rsdp: 0,
        command_line: [0; MAX_COMMAND_LINE],
        command_line_len: 0,
        modules: [(0, 0); 4],
    };

    /// Adds a region, with its kind as firmware (E820) and both sorts of loaders number it. One too many is left out.
    pub fn add_region(&mut self, start: u64, len: u64, kind: u32) {
        let kind = match kind {
            1 => Kind::Usable,
            3 => Kind::Acpi,
            4 => Kind::AcpiNvs,
            _ => Kind::Reserved,
        };
        if let Some(slot) = self.regions.get_mut(self.count) {
            *slot = Region { start, len, kind };
            self.count += 1;
        }
    }

    /// Sets the command line.
    ///
    /// # Errors
    /// [`Bad::LongCommandLine`].
    pub fn set_command_line(&mut self, line: &[u8]) -> Result<(), Bad> {
        let room = self.command_line.get_mut(..line.len());
        room.ok_or(Bad::LongCommandLine)?.copy_from_slice(line);
        self.command_line_len = line.len();
        Ok(())
    }

    /// The command line, without its final zero.
    pub fn command_line(&self) -> &[u8] {
        &self.command_line[..self.command_line_len]
    }

    /// Copies the start info at physical address `at`.
    ///
    /// # Errors
    /// See [`Bad`].
    ///
    /// # Safety
    /// `at` is what the loader left in EBX and `linear` maps the first [`REACH`] bytes of physical memory.
    pub unsafe fn read(&mut self, at: u64, linear: *const u8) -> Result<(), Bad> {
        let reach = |at: u64, len: u64| at.checked_add(len).is_some_and(|end| end <= REACH);
        if !reach(at, size_of::<StartInfo>() as u64) {
            return Err(Bad::Magic(0));
        }
        // SAFETY: by the contract `linear + at` is mapped, and any bytes make a StartInfo.
        let info: StartInfo =
            unsafe { linear.add(at as usize).cast::<StartInfo>().read_unaligned() };
        if info.magic != MAGIC {
            return Err(Bad::Magic(info.magic));
        }
        self.rsdp = info.rsdp_at;
        if info.command_line_at != 0 {
            let mut n = 0;
            loop {
                if !reach(info.command_line_at + n as u64, 1) || n == MAX_COMMAND_LINE {
                    return Err(Bad::LongCommandLine);
                }
                // SAFETY: `reach` says this byte is mapped.
                let byte = unsafe { linear.add(info.command_line_at as usize + n).read() };
                if byte == 0 {
                    break;
                }
                self.command_line[n] = byte;
                n += 1;
            }
            self.command_line_len = n;
        }
        for (i, slot) in self
            .modules
            .iter_mut()
            .enumerate()
            .take(info.modules as usize)
        {
            let at = info.modules_at + (i * size_of::<Module>()) as u64;
            if reach(at, size_of::<Module>() as u64) {
                // SAFETY: `reach` says the entry is mapped.
                let module = unsafe { linear.add(at as usize).cast::<Module>().read_unaligned() };
                *slot = (module.start, module.len);
            }
        }
        if info.version < 1 || info.map_at == 0 || info.map_entries == 0 {
            return Err(Bad::NoMap);
        }
        for i in 0..(info.map_entries as usize).min(MAX_REGIONS) {
            let at = info.map_at + (i * size_of::<MapEntry>()) as u64;
            if !reach(at, size_of::<MapEntry>() as u64) {
                return Err(Bad::NoMap);
            }
            // SAFETY: `reach` says the entry is mapped.
            let entry = unsafe { linear.add(at as usize).cast::<MapEntry>().read_unaligned() };
            self.add_region(entry.start, entry.len, entry.kind);
        }
        Ok(())
    }

    /// The memory map.
    pub fn map(&self) -> &[Region] {
        &self.regions[..self.count]
    }
}
