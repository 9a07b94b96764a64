//! Reading ELF headers of programs, and mapping them.
//!
//! What must hold: the bytes are a guest's and may say anything. Every offset, size and address is checked before it is
//! used; what is refused here never reaches the address space. Source: System V ABI, AMD64 supplement, and elf(5).

use crate::abi::errno::Errno;
use alloc::vec::Vec;
use ebb_mem::PhysAddr;
use ebb_mem::space::{Backing, GUEST_END, GUEST_START, PAGE, Place, Protection, Space};

const HEADER: usize = 64;
pub(super) const PROGRAM_HEADER: usize = 56;
/// The most program headers and segments that are looked at; real programs have about ten.
const MAX_PROGRAM_HEADERS: usize = 128;

const PT_LOAD: u32 = 1;
const PT_INTERP: u32 = 3;
const PT_PHDR: u32 = 6;
const PT_GNU_STACK: u32 = 0x6474_e551;

/// A segment to be mapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Virtual address as the file says it.
    pub address: u64,
    /// Bytes in memory.
    pub memory: u64,
    /// Offset in the file.
    pub offset: u64,
    /// Bytes in the file.
    pub file: u64,
    /// What the program may do with it.
    pub protection: Protection,
}

/// What the headers say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Elf {
    /// It may be mapped anywhere (`ET_DYN`).
    pub relocatable: bool,
    /// Entry point.
    pub entry: u64,
    /// Address of the program headers, if a segment holds them.
    pub headers: Option<u64>,
    /// How many program headers there are.
    pub header_count: u64,
    /// What is to be mapped, by ascending address.
    pub segments: Vec<Segment>,
    /// Path of the program interpreter.
    pub interpreter: Option<Vec<u8>>,
    /// The strictest alignment that a segment asks for.
    pub align: u64,
    /// The stack is to be executable.
    pub executable_stack: bool,
}

fn word<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..)?.first_chunk().copied()
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    word(bytes, at).map(u16::from_le_bytes)
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    word(bytes, at).map(u32::from_le_bytes)
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    word(bytes, at).map(u64::from_le_bytes)
}

impl Elf {
    /// Reads the headers of a file.
    ///
    /// # Errors
    /// `ENOEXEC` for anything but a 64-bit x86 ELF program or shared object with sound headers; `EINVAL`, `ENOMEM` for
    /// segments that cannot be mapped.
    pub fn parse(file: &[u8]) -> Result<Self, Errno> {
        Self::read(file).ok_or(Errno::ENOEXEC)?
    }

    fn read(file: &[u8]) -> Option<Result<Self, Errno>> {
        let ident: [u8; 7] = word(file, 0)?;
        // Magic, 64 bits, little endian, version 1.
        if ident != *b"\x7fELF\x02\x01\x01" || file.len() < HEADER {
            return None;
        }
        let kind = u16_at(file, 16)?;
        // ET_EXEC or ET_DYN, EM_X86_64.
        if !matches!(kind, 2 | 3) || u16_at(file, 18)? != 62 {
            return None;
        }
        let entry = u64_at(file, 24)?;
        let table = usize::try_from(u64_at(file, 32)?).ok()?;
        let count = usize::from(u16_at(file, 56)?);
        if usize::from(u16_at(file, 54)?) != PROGRAM_HEADER
            || count == 0
            || count > MAX_PROGRAM_HEADERS
        {
            return None;
        }
        let table_bytes = file.get(table..)?.get(..count * PROGRAM_HEADER)?;
        let mut elf = Self {
            relocatable: kind == 3,
            entry,
            headers: None,
            header_count: count as u64,
            segments: Vec::new(),
            interpreter: None,
            align: PAGE,
            executable_stack: false,
        };
        for header in table_bytes.chunks_exact(PROGRAM_HEADER) {
            let flags = u32_at(header, 4)?;
            let (offset, address) = (u64_at(header, 8)?, u64_at(header, 16)?);
            let (in_file, memory) = (u64_at(header, 32)?, u64_at(header, 40)?);
            match u32_at(header, 0)? {
                PT_LOAD if memory > 0 => {
                    let segment = Segment {
                        address,
                        memory,
                        offset,
                        file: in_file,
                        protection: Protection {
                            read: flags & 4 != 0,
                            write: flags & 2 != 0,
                            execute: flags & 1 != 0,
                        },
                    };
                    if let Err(error) = elf.check(&segment, file.len() as u64) {
                        return Some(Err(error));
                    }
                    elf.segments.push(segment);
                    let align = u64_at(header, 48)?;
                    if align.is_power_of_two() && align <= 1 << 30 {
                        elf.align = elf.align.max(align);
                    }
                }
                PT_INTERP => {
                    let start = usize::try_from(offset).ok()?;
                    let path = file.get(start..)?.get(..usize::try_from(in_file).ok()?)?;
                    let (&0, path) = path.split_last()? else {
                        return None;
                    };
                    if path.is_empty() || path.len() > 4095 || path.contains(&0) {
                        return None;
                    }
                    elf.interpreter = Some(path.to_vec());
                }
                PT_PHDR => elf.headers = Some(address),
                PT_GNU_STACK => elf.executable_stack = flags & 1 != 0,
                _ => {}
            }
        }
        let table = table as u64;
        let end = table + table_bytes.len() as u64;
        let holder = elf
            .segments
            .iter()
            .find(|s| s.offset <= table && end <= s.offset + s.file);
        elf.headers = holder.map(|s| s.address + (table - s.offset));
        if elf.segments.is_empty() {
            return None;
        }
        Some(Ok(elf))
    }

    /// Segments come in order, do not share a page with other permissions to fight over, and lie in the guest's half.
    fn check(&self, s: &Segment, file: u64) -> Result<(), Errno> {
        let in_file = s.offset.checked_add(s.file).is_some_and(|end| end <= file);
        let end = s
            .address
            .checked_add(s.memory)
            .filter(|end| *end <= GUEST_END);
        let congruent = s.address % PAGE == s.offset % PAGE;
        let after = self
            .segments
            .last()
            .is_none_or(|l| l.address + l.memory <= s.address);
        if !in_file || s.file > s.memory || !congruent || !after {
            return Err(Errno::ENOEXEC);
        }
        end.map(drop).ok_or(Errno::ENOMEM)
    }

    /// First and last page-aligned address that the segments cover, as the file says them.
    #[must_use]
    pub fn extent(&self) -> (u64, u64) {
        let first = self.segments.first().map_or(0, |s| s.address & !(PAGE - 1));
        let last = self
            .segments
            .last()
            .map_or(0, |s| (s.address + s.memory).next_multiple_of(PAGE));
        (first, last)
    }
}

/// A program's file: its bytes, and where they lie if they lie on whole frames that never change.
#[derive(Clone, Copy)]
pub struct Image<'a> {
    /// The bytes.
    pub bytes: &'a [u8],
    /// Physical address of the first.
    pub frames: Option<PhysAddr>,
    /// The note for its areas.
    pub note: u32,
}

/// Maps the segments, `bias` above what the file says. The range must be free, but for what the caller put there.
///
/// # Errors
/// `ENOMEM` when something does not fit, `ENOEXEC` when an address is one that a guest cannot have.
pub fn map(space: &mut Space, elf: &Elf, image: Image<'_>, bias: u64) -> Result<(), Errno> {
    for segment in &elf.segments {
        map_segment(space, segment, image, bias)?;
    }
    Ok(())
}

fn map_segment(space: &mut Space, s: &Segment, image: Image<'_>, bias: u64) -> Result<(), Errno> {
    let start = s.address.checked_add(bias).ok_or(Errno::ENOEXEC)?;
    let first = start & !(PAGE - 1);
    let file_end = start.checked_add(s.file).ok_or(Errno::ENOEXEC)?;
    let end = start
        .checked_add(s.memory)
        .filter(|e| *e <= GUEST_END)
        .ok_or(Errno::ENOEXEC)?;
    if first < GUEST_START {
        return Err(Errno::EPERM);
    }
    let file_pages = if s.file > 0 {
        file_end.next_multiple_of(PAGE)
    } else {
        first
    };
    let last = end.next_multiple_of(PAGE);
    if s.file > 0 {
        let offset = s.offset & !(PAGE - 1);
        // The bytes behind the file's part of the last page are zero by the ABI when memory goes on there.
        let clear = s.memory > s.file && !file_end.is_multiple_of(PAGE);
        let backing = match image.frames {
            Some(frames) => Backing::Image {
                start: frames,
                len: image.bytes.len() as u64,
            },
            None => Backing::Anonymous,
        };
        let copy = image.frames.is_none();
        let protection = if clear || copy {
            Protection::WRITE
        } else {
            s.protection
        };
        let offset_in_backing = if copy { 0 } else { offset };
        space
            .map(
                Place::Fixed(first),
                file_pages - first,
                protection,
                backing,
                offset_in_backing,
                image.note,
            )
            .map_err(crate::errno_of)?;
        if copy {
            let to = usize::try_from(s.offset + s.file).map_err(|_| Errno::ENOEXEC)?;
            let bytes = image.bytes.get(offset as usize..to).ok_or(Errno::ENOEXEC)?;
            space.write(first, bytes).map_err(|_| Errno::ENOMEM)?;
        }
        if clear {
            let len = (file_pages - file_end) as usize;
            space.fill(file_end, len, 0).map_err(|_| Errno::ENOMEM)?;
        }
        space
            .protect(first, file_pages - first, s.protection)
            .map_err(crate::errno_of)?;
    }
    if last > file_pages {
        space
            .map(
                Place::Fixed(file_pages),
                last - file_pages,
                s.protection,
                Backing::Anonymous,
                0,
                0,
            )
            .map_err(crate::errno_of)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Vec<u8> {
        let mut f = Vec::from(*b"\x7fELF\x02\x01\x01");
        f.resize(HEADER, 0);
        f[16] = 2;
        f[18] = 62;
        f[24..32].copy_from_slice(&0x40_1000u64.to_le_bytes());
        f[32] = 64;
        f[54] = PROGRAM_HEADER as u8;
        f[56] = 1;
        let mut h = [0u8; PROGRAM_HEADER];
        h[0] = 1;
        h[4] = 5;
        h[16..24].copy_from_slice(&0x40_0000u64.to_le_bytes());
        h[32..40].copy_from_slice(&120u64.to_le_bytes());
        h[40..48].copy_from_slice(&0x2000u64.to_le_bytes());
        f.extend_from_slice(&h);
        f
    }

    #[test]
    fn a_sound_file_is_understood() {
        let elf = Elf::parse(&sample()).map_err(|e| e.name());
        let elf = elf.unwrap_or_else(|e| panic!("{e}"));
        assert!(!elf.relocatable);
        assert_eq!(elf.headers, Some(0x40_0040));
        assert_eq!(elf.extent(), (0x40_0000, 0x40_2000));
    }

    #[test]
    fn truncated_and_damaged_files_are_refused_without_a_panic() {
        let good = sample();
        for len in 0..good.len() {
            assert!(Elf::parse(&good[..len]).is_err(), "{len} bytes");
        }
        let mut state = 0x1234_5678_9abc_def0u64;
        for _ in 0..200_000 {
            let mut bad = good.clone();
            for _ in 0..3 {
                state = state
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1);
                let at = (state >> 33) as usize % bad.len();
                bad[at] = (state >> 24) as u8;
            }
            let _ = Elf::parse(&bad);
        }
    }
}
