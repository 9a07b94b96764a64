//! Starting a program: its segments, its interpreter, its stack with arguments, environment and auxiliary vector.
//!
//! Layout of a guest's half: the program where its file says (or at `PROGRAM_BASE`), the heap (`brk`) behind it, mappings
//! downwards from below the stack, the stack at the top. Addresses are varied as Linux does it, by the entropy given.

use crate::elf::{self, Elf, Image};
use crate::object::errno::Errno;
use alloc::vec::Vec;
use ebb_mem::space::{Backing, GUEST_END, PAGE, Place, Protection, Space};

/// Where a position-independent program goes: two thirds up, as on Linux.
const PROGRAM_BASE: u64 = 0x5555_5555_4000;
/// Bytes of the first thread's stack.
pub const STACK: u64 = 8 << 20;
/// Unmapped below the stack.
const STACK_GAP: u64 = 1 << 20;
/// Arguments and environment take at most this: a quarter of the stack, as on Linux.
const MAX_STRINGS: usize = STACK as usize / 4;

/// Notes of areas that are not files.
pub mod note {
    /// No name.
    pub const NONE: u32 = 0;
    /// `[stack]`.
    pub const STACK: u32 = 1;
    /// `[heap]`.
    pub const HEAP: u32 = 2;
    /// `[vdso]`.
    pub const VDSO: u32 = 3;
    /// `[vvar]`.
    pub const VVAR: u32 = 4;
    /// The first number for files; see `Uc::names`.
    pub const FIRST_FILE: u32 = 16;
}

/// What a program is started with.
pub struct Start<'a> {
    /// The program's file.
    pub program: Image<'a>,
    /// Its interpreter's, if it asks for one; by path.
    pub interpreter: &'a dyn Fn(&[u8]) -> Result<Image<'a>, Errno>,
    /// The path it is known by (`AT_EXECFN`).
    pub path: &'a [u8],
    /// Arguments, the program's name first.
    pub arguments: &'a [Vec<u8>],
    /// Environment.
    pub environment: &'a [Vec<u8>],
    /// Random bits: for `AT_RANDOM`, then for the layout.
    pub random: [u8; 32],
}

/// Where a started program stands.
#[derive(Clone, Debug)]
pub struct Started {
    /// First instruction.
    pub entry: u64,
    /// Stack pointer.
    pub stack: u64,
    /// Where the heap begins.
    pub heap: u64,
    /// Where the vDSO is, or 0.
    pub vdso: u64,
    /// The auxiliary vector, for /proc.
    pub auxv: Vec<u8>,
    /// First and last address of the strings of the arguments, and of the environment.
    pub strings: [u64; 4],
}

/// Maps a program into an empty space.
///
/// # Errors
/// `ENOEXEC`, `ENOMEM`, `E2BIG`, and what finding the interpreter gives.
pub fn start(space: &mut Space, s: &Start<'_>) -> Result<Started, Errno> {
    let elf = Elf::parse(s.program.bytes)?;
    let mut noise = u64::from_le_bytes(*s.random[16..].first_chunk().ok_or(Errno::EIO)?);
    let mut pages = |bits: u32| {
        let n = noise & ((1 << bits) - 1);
        noise >>= bits;
        n * PAGE
    };

    let stack_top = GUEST_END - pages(14);
    let stack = stack_top - STACK;
    let prot = Protection {
        execute: elf.executable_stack,
        ..Protection::WRITE
    };
    space
        .map(
            Place::Fixed(stack),
            STACK,
            prot,
            Backing::Anonymous,
            0,
            note::STACK,
        )
        .map_err(crate::errno_of)?;
    space.set_top(stack - STACK_GAP - pages(14));

    let bias = if elf.relocatable {
        let base = PROGRAM_BASE + pages(14);
        let base = base.next_multiple_of(elf.align);
        base - elf.extent().0.min(base)
    } else {
        0
    };
    elf::map(space, &elf, s.program, bias)?;
    let program_end = elf.extent().1 + bias;

    let mut entry = elf.entry.wrapping_add(bias);
    let mut interpreter_base = 0;
    if let Some(path) = &elf.interpreter {
        let image = (s.interpreter)(path)?;
        let loader = Elf::parse(image.bytes)?;
        if loader.interpreter.is_some() || !loader.relocatable {
            return Err(Errno::ELIBBAD);
        }
        let (first, last) = loader.extent();
        let size = last - first;
        // Finds a gap of the right size, with room to align in.
        let room = size.checked_add(loader.align).ok_or(Errno::ENOMEM)?;
        let at = space
            .map(
                Place::Near(0),
                room,
                Protection::NONE,
                Backing::Anonymous,
                0,
                0,
            )
            .map_err(crate::errno_of)?;
        space.unmap(at, room).map_err(crate::errno_of)?;
        let base = at.next_multiple_of(loader.align);
        interpreter_base = base.wrapping_sub(first);
        elf::map(space, &loader, image, interpreter_base)?;
        entry = loader.entry.wrapping_add(interpreter_base);
    }
    let heap = program_end + pages(12);

    // The strings, from the top down: path, environment, arguments, as Linux lays them out.
    let mut strings: Vec<u8> = Vec::new();
    let mut offsets = Vec::new();
    let lists = [s.arguments, s.environment];
    let total: usize = lists
        .iter()
        .flat_map(|l| l.iter())
        .map(|x| x.len() + 9)
        .sum();
    if total + s.path.len() > MAX_STRINGS {
        return Err(Errno::E2BIG);
    }
    let mut marks = Vec::new();
    for list in lists {
        marks.push(strings.len() as u64);
        for string in list {
            offsets.push(strings.len() as u64);
            strings.extend_from_slice(string);
            strings.push(0);
        }
    }
    marks.push(strings.len() as u64);
    let path_at = strings.len() as u64;
    strings.extend_from_slice(s.path);
    strings.push(0);
    let platform_at = strings.len() as u64;
    strings.extend_from_slice(b"x86_64\0");
    let random_at = strings.len() as u64;
    strings.extend_from_slice(&s.random[..16]);
    // Eight zero bytes end the stack.
    let strings_base = (stack_top - 8 - strings.len() as u64) & !15;

    let clock_ticks = 100;
    let mut auxv: Vec<(u64, u64)> = Vec::from([
        (16, hardware_capabilities()),
        (6, PAGE),
        (17, clock_ticks),
        (3, elf.headers.map_or(0, |h| h.wrapping_add(bias))),
        (4, 56),
        (5, elf.header_count),
        (7, interpreter_base),
        (8, 0),
        (9, elf.entry.wrapping_add(bias)),
        (11, 0),
        (12, 0),
        (13, 0),
        (14, 0),
        (23, 0),
        (25, strings_base + random_at),
        (26, hardware_capabilities2()),
        (31, strings_base + path_at),
        (15, strings_base + platform_at),
        (51, 3632),
    ]);
    let vdso = crate::vdso::map(space);
    if vdso != 0 {
        auxv.insert(0, (33, vdso));
    }
    auxv.push((0, 0));
    let auxv: Vec<u8> = auxv
        .iter()
        .flat_map(|(k, v)| [k.to_le_bytes(), v.to_le_bytes()])
        .flatten()
        .collect();

    let mut words: Vec<u64> = Vec::from([s.arguments.len() as u64]);
    let (arguments, environment) = offsets.split_at(s.arguments.len());
    for list in [arguments, environment] {
        words.extend(list.iter().map(|o| strings_base + o));
        words.push(0);
    }
    let mut block: Vec<u8> = words.iter().flat_map(|w| w.to_le_bytes()).collect();
    block.extend_from_slice(&auxv);
    let stack_pointer = (strings_base - block.len() as u64) & !15;
    space
        .write(strings_base, &strings)
        .map_err(|_| Errno::ENOMEM)?;
    space
        .write(stack_pointer, &block)
        .map_err(|_| Errno::ENOMEM)?;
    Ok(Started {
        entry,
        stack: stack_pointer,
        heap,
        vdso,
        auxv,
        strings: [marks[0], marks[1], marks[1], marks[2]].map(|m| strings_base + m),
    })
}

/// `AT_HWCAP`: CPUID leaf 1, EDX.
fn hardware_capabilities() -> u64 {
    core::arch::x86_64::__cpuid(1).edx.into()
}

/// `AT_HWCAP2`: bit 1 says that RDFSBASE and its kin work in user mode.
fn hardware_capabilities2() -> u64 {
    let basic = core::arch::x86_64::__cpuid(0).eax;
    if basic < 7 {
        return 0;
    }
    u64::from(core::arch::x86_64::__cpuid_count(7, 0).ebx & 1) << 1
}
