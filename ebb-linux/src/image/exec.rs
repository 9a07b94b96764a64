//! Starting a program: its segments, its interpreter, its stack with arguments, environment and auxiliary vector.
//!
//! Layout of a guest's half: the program where its file says (or at `PROGRAM_BASE`), the heap (`brk`) behind it, mappings
//! downwards from below the stack, the stack at the top. Addresses are varied as Linux does it, by the entropy given.

use super::elf::{self, Elf, Image};
use super::note::{self, AreaFile};
use crate::abi::errno::Errno;
use crate::object::Objects;
use crate::object::credentials::Credentials;
use crate::object::env::Env;
use crate::object::id::NodeRef;
use crate::object::vfs::Executable;
use alloc::borrow::Cow;
use alloc::vec::Vec;
use borsh::{BorshDeserialize, BorshSerialize};
use core::cell::RefCell;
use ebb_guest::GuestCpu;
use ebb_mem::PhysAddr;
use ebb_mem::space::{Backing, GUEST_END, PAGE, Place, Protection, Space};
use ebb_runtime::EbbRef;

/// Where a position-independent program goes: two thirds up, as on Linux.
const PROGRAM_BASE: u64 = 0x5555_5555_4000;
/// Bytes of the first thread's stack.
pub const STACK: u64 = 8 << 20;
/// What a program's limit of its stack is cut to.
const MIN_STACK: u64 = 256 << 10;
const MAX_STACK: u64 = 1 << 30;
/// Unmapped below the stack.
const STACK_GAP: u64 = 1 << 20;
/// Arguments and environment take at most this: a quarter of the stack, as on Linux.
pub const MAX_STRINGS: usize = STACK as usize / 4;

/// As whom a program is started, as it is told in the auxiliary vector.
#[derive(Clone, Copy, Debug, Default)]
pub struct Identity {
    /// Real and effective user.
    user: [u32; 2],
    /// Real and effective group.
    group: [u32; 2],
    /// It must not trust its environment.
    secure: bool,
}

impl Identity {
    /// Of these credentials.
    #[must_use]
    pub fn of(who: &Credentials, secure: bool) -> Self {
        Self {
            user: [who.user.real, who.user.effective],
            group: [who.group.real, who.group.effective],
            secure,
        }
    }
}

/// What is to be started.
pub struct Request {
    /// As whom.
    pub identity: Identity,
    /// The program's file.
    pub file: Executable,
    /// The path it was asked for by (`AT_EXECFN`).
    pub known_as: Vec<u8>,
    /// Arguments, the program's name first.
    pub arguments: Vec<Vec<u8>>,
    /// Environment.
    pub environment: Vec<Vec<u8>>,
    /// The most bytes that its first thread's stack may have (`RLIMIT_STACK`).
    pub stack: u64,
}

/// A program in an address space of its own, about to run.
pub struct Loaded {
    /// The space.
    pub space: Space,
    /// Where it stands.
    pub started: Started,
    /// Absolute path of the program; that of the interpreter for a script.
    pub path: Vec<u8>,
    /// Its file.
    pub program: NodeRef,
    /// Names of the files that areas are backed by, from [`note::FIRST_FILE`] on.
    pub names: Vec<AreaFile>,
    /// Arguments; for a script those that its interpreter gets.
    pub arguments: Vec<Vec<u8>>,
    /// Environment.
    pub environment: Vec<Vec<u8>>,
}

/// The bytes of a program, which may be a copy.
struct Bytes {
    bytes: Cow<'static, [u8]>,
    note: u32,
}

impl Bytes {
    fn image(&self) -> Image<'_> {
        // What lies in the archive never changes and is mapped where it lies: in the linear map, on whole pages.
        let frames = match &self.bytes {
            Cow::Borrowed(bytes) if !bytes.is_empty() => ebb_mem::virt_to_phys(bytes.as_ptr()),
            _ => None,
        };
        Image {
            bytes: &self.bytes,
            frames: frames.filter(|f| f.is_aligned(PAGE)),
            note: self.note,
        }
    }
}

/// How often a script's interpreter may be a script (Linux' limit).
const MAX_SCRIPTS: usize = 4;

/// What a `#!` line names: the interpreter, and an argument for it.
type Script = (Vec<u8>, Option<Vec<u8>>);

/// The `#!` line that a file begins with, if it does.
fn script(bytes: &[u8]) -> Result<Option<Script>, Errno> {
    let Some(line) = bytes.strip_prefix(b"#!") else {
        return Ok(None);
    };
    let line = &line[..line.len().min(254)];
    let end = line.iter().position(|b| *b == b'\n');
    let line = line[..end.unwrap_or(line.len())].trim_ascii();
    let blank = |b: &u8| matches!(b, b' ' | b'\t');
    let (name, rest) = line.split_at(line.iter().position(blank).unwrap_or(line.len()));
    if name.is_empty() || name.contains(&0) {
        return Err(Errno::ENOEXEC);
    }
    let rest = rest.trim_ascii();
    Ok(Some((
        name.to_vec(),
        (!rest.is_empty()).then(|| rest.to_vec()),
    )))
}

/// Makes an address space with a program in it, of at most `memory` bytes.
///
/// # Errors
/// What `execve` gives: `ENOEXEC`, `ENOMEM`, `E2BIG`, `ELOOP`, and what finding an interpreter gives.
pub fn load(
    objects: &Objects,
    env: &dyn Env,
    request: Request,
    memory: u64,
) -> Result<Loaded, Errno> {
    let Request {
        identity,
        mut file,
        mut known_as,
        mut arguments,
        environment,
        stack,
    } = request;
    let mut scripts = 0;
    let bytes = loop {
        let bytes = objects.program_bytes(&file, memory)?;
        let Some((interpreter, argument)) = script(&bytes)? else {
            break bytes;
        };
        scripts += 1;
        if scripts > MAX_SCRIPTS {
            return Err(Errno::ELOOP);
        }
        file = objects.executable(env, &interpreter)?;
        let rest = arguments.split_off(arguments.len().min(1));
        arguments = Vec::from([interpreter.clone()]);
        arguments.extend(argument);
        arguments.push(core::mem::replace(&mut known_as, interpreter));
        arguments.extend(rest);
    };
    let names = RefCell::new(Vec::new());
    let named = |file: &Executable, bytes| {
        let mut names = names.borrow_mut();
        names.push(AreaFile {
            path: file.path.clone(),
            inode: objects.ino(env, objects.program_node(file)),
        });
        Bytes {
            bytes,
            note: note::FIRST_FILE + names.len() as u32 - 1,
        }
    };
    let program = named(&file, bytes);
    let interpreter = |path: &[u8]| {
        let file = objects.executable(env, path)?;
        Ok(named(&file, objects.program_bytes(&file, memory)?))
    };
    let mut random = [0; 32];
    env.draw(&mut random);
    let root = EbbRef::<dyn GuestCpu>::get().kernel_root();
    let mut space = Space::new(PhysAddr(root), memory).ok_or(Errno::ENOMEM)?;
    let start = Start {
        program: program.image(),
        interpreter: &interpreter,
        path: &known_as,
        identity,
        arguments: &arguments,
        environment: &environment,
        random,
        stack: if stack == u64::MAX {
            STACK
        } else {
            (stack & !(PAGE - 1)).clamp(MIN_STACK, MAX_STACK)
        },
    };
    let started = start_in(&mut space, &start)?;
    Ok(Loaded {
        space,
        started,
        program: objects.program_node(&file),
        path: file.path,
        names: names.into_inner(),
        arguments,
        environment,
    })
}

/// What a program is started with.
struct Start<'a> {
    /// The program's file.
    program: Image<'a>,
    /// Its interpreter's, if it asks for one; by path.
    interpreter: &'a dyn Fn(&[u8]) -> Result<Bytes, Errno>,
    /// The path it is known by (`AT_EXECFN`).
    path: &'a [u8],
    /// Arguments, the program's name first.
    identity: Identity,
    arguments: &'a [Vec<u8>],
    /// Environment.
    environment: &'a [Vec<u8>],
    /// Random bits: for `AT_RANDOM`, then for the layout.
    random: [u8; 32],
    /// Bytes of the stack.
    stack: u64,
}

/// Where a started program stands.
#[derive(BorshSerialize, BorshDeserialize, Clone, Debug)]
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
fn start_in(space: &mut Space, s: &Start<'_>) -> Result<Started, Errno> {
    let elf = Elf::parse(s.program.bytes)?;
    let mut noise = u64::from_le_bytes(*s.random[16..].first_chunk().ok_or(Errno::EIO)?);
    let mut pages = |bits: u32| {
        let n = noise & ((1 << bits) - 1);
        noise >>= bits;
        n * PAGE
    };

    let stack_top = GUEST_END - pages(14);
    let stack = stack_top - s.stack;
    let prot = Protection {
        execute: elf.executable_stack,
        ..Protection::WRITE
    };
    space
        .map(
            Place::Fixed(stack),
            s.stack,
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
        let found = (s.interpreter)(path)?;
        let image = found.image();
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
    if total + s.path.len() > MAX_STRINGS.min(s.stack as usize / 4) {
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
        (11, s.identity.user[0].into()),
        (12, s.identity.user[1].into()),
        (13, s.identity.group[0].into()),
        (14, s.identity.group[1].into()),
        (23, s.identity.secure.into()),
        (25, strings_base + random_at),
        (26, hardware_capabilities2()),
        (31, strings_base + path_at),
        (15, strings_base + platform_at),
        (51, 3632),
    ]);
    let vdso = super::vdso::map(space);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_line_of_a_script_names_its_interpreter_and_one_argument() {
        let of = |bytes: &[u8]| script(bytes).ok().flatten();
        assert_eq!(of(b"#!/bin/sh\necho"), Some((b"/bin/sh".to_vec(), None)));
        let env = (b"/usr/bin/env".to_vec(), Some(b"-S node --x".to_vec()));
        assert_eq!(of(b"#! /usr/bin/env\t-S node --x \n"), Some(env));
        assert_eq!(of(b"\x7fELF"), None);
        assert_eq!(script(b"#!\n"), Err(Errno::ENOEXEC));
        assert_eq!(script(b"#!"), Err(Errno::ENOEXEC));
    }
}
