//! Starting a program: its segments, its interpreter, its stack with arguments, environment and auxiliary vector.
//!
//! Layout of a guest's half: the program where its file says (or at `PROGRAM_BASE`), the heap (`brk`) behind it, mappings
//! downwards from below the stack, the stack at the top. Addresses are varied as Linux does it, by the entropy given.

use super::elf::{self, Elf, Image};
use super::note::{self, AreaFile};
use crate::abi::auxv::{
    AT_BASE, AT_CLKTCK, AT_EGID, AT_ENTRY, AT_EUID, AT_EXECFN, AT_FLAGS, AT_GID, AT_HWCAP,
    AT_HWCAP2, AT_MINSIGSTKSZ, AT_NULL, AT_PAGESZ, AT_PHDR, AT_PHENT, AT_PHNUM, AT_PLATFORM,
    AT_RANDOM, AT_SECURE, AT_SYSINFO_EHDR, AT_UID,
};
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
/// Of `times` in a second.
const CLOCK_TICKS: u64 = 100;
/// What Linux tells on a processor with AVX-512: a frame with all registers.
const SMALLEST_SIGNAL_STACK: u64 = 3632;
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
    /// Random bits for its addresses, if they are not to be drawn.
    pub layout: Option<u64>,
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

/// Bytes of a script that are looked at.
const LOOKED_AT: usize = 256;

/// The `#!` line that a file begins with, if it does. As in Linux' `binfmt_script.c`, blanks are spaces and tabs and nothing else: a
/// line that ends in CR LF names an interpreter with a CR. What the file is too short for counts as NULs, and a NUL ends a name.
fn script(bytes: &[u8]) -> Result<Option<Script>, Errno> {
    if !bytes.starts_with(b"#!") {
        return Ok(None);
    }
    let mut head = [0; LOOKED_AT];
    let len = bytes.len().min(LOOKED_AT);
    head[..len].copy_from_slice(&bytes[..len]);
    let head = &head[2..];
    let first = |bytes: &[u8], is: fn(&u8) -> bool| bytes.iter().position(is);
    let is_blank = |b: &u8| matches!(b, b' ' | b'\t');
    let ends = |b: &u8| matches!(b, b' ' | b'\t' | 0);
    let goes_on = |b: &u8| !matches!(b, b' ' | b'\t');

    let end = first(head, |b| matches!(b, b'\n' | 0)).filter(|&end| head[end] == b'\n');
    let line = match end {
        Some(end) => &head[..end],
        None => {
            let name = first(head, goes_on).ok_or(Errno::ENOEXEC)?;
            // One that goes on behind what is looked at is not known.
            first(&head[name..], ends).ok_or(Errno::ENOEXEC)?;
            &head[..head.len() - 1]
        }
    };
    let trimmed = line.iter().rposition(|b| !is_blank(b));
    let line = &line[..trimmed.map_or(0, |last| last + 1)];
    let name = first(line, goes_on).ok_or(Errno::ENOEXEC)?;
    let line = &line[name..];
    let (name, rest) = line.split_at(first(line, ends).unwrap_or(line.len()));
    if name.is_empty() {
        // No name is the folder that the caller is in.
        return Err(Errno::EACCES);
    }
    let argument = match rest.first() {
        None | Some(0) => &[],
        Some(_) => &rest[first(rest, goes_on).unwrap_or(rest.len())..],
    };
    let argument = argument.split(|b| *b == 0).next().unwrap_or_default();
    let argument = (!argument.is_empty()).then(|| argument.to_vec());
    Ok(Some((name.to_vec(), argument)))
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
        layout,
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
    if let Some(layout) = layout {
        random[16..24].copy_from_slice(&layout.to_le_bytes());
    }
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
    let stack = map_stack(space, stack_top, s.stack, elf.executable_stack)?;
    space.set_top(stack - STACK_GAP - pages(14));

    let bias = if elf.relocatable {
        let base = PROGRAM_BASE + pages(14);
        let base = base.next_multiple_of(elf.align);
        base - elf.extent().0.min(base)
    } else {
        0
    };
    elf::map(space, &elf, s.program, bias)?;
    let program_entry = elf.entry.wrapping_add(bias);
    let (interpreter, entry) = match &elf.interpreter {
        Some(path) => map_interpreter(space, (s.interpreter)(path)?.image())?,
        None => (0, program_entry),
    };
    let heap = elf.extent().1 + bias + pages(12);
    let vdso = super::vdso::map(space);

    let strings = Strings::of(s, stack_top)?;
    let auxv = auxiliary_vector(&[
        (AT_SYSINFO_EHDR, vdso),
        (AT_HWCAP, hardware_capabilities()),
        (AT_PAGESZ, PAGE),
        (AT_CLKTCK, CLOCK_TICKS),
        (AT_PHDR, elf.headers.map_or(0, |h| h.wrapping_add(bias))),
        (AT_PHENT, elf::PROGRAM_HEADER as u64),
        (AT_PHNUM, elf.header_count),
        (AT_BASE, interpreter),
        (AT_FLAGS, 0),
        (AT_ENTRY, program_entry),
        (AT_UID, s.identity.user[0].into()),
        (AT_EUID, s.identity.user[1].into()),
        (AT_GID, s.identity.group[0].into()),
        (AT_EGID, s.identity.group[1].into()),
        (AT_SECURE, s.identity.secure.into()),
        (AT_RANDOM, strings.random),
        (AT_HWCAP2, hardware_capabilities2()),
        (AT_EXECFN, strings.path),
        (AT_PLATFORM, strings.platform),
        (AT_MINSIGSTKSZ, SMALLEST_SIGNAL_STACK),
        (AT_NULL, 0),
    ]);
    let stack = push(space, s.arguments.len(), &strings, &auxv)?;
    Ok(Started {
        entry,
        stack,
        heap,
        vdso,
        auxv,
        strings: strings.lists,
    })
}

/// Maps the stack below `top`; where it ends.
fn map_stack(space: &mut Space, top: u64, bytes: u64, execute: bool) -> Result<u64, Errno> {
    let protection = Protection {
        execute,
        ..Protection::WRITE
    };
    let place = Place::Fixed(top - bytes);
    space
        .map(place, bytes, protection, Backing::Anonymous, 0, note::STACK)
        .map_err(crate::errno_of)
}

/// Maps a program's interpreter where there is room; its base and its first instruction.
fn map_interpreter(space: &mut Space, image: Image<'_>) -> Result<(u64, u64), Errno> {
    let loader = Elf::parse(image.bytes)?;
    if loader.interpreter.is_some() || !loader.relocatable {
        return Err(Errno::ELIBBAD);
    }
    let (first, last) = loader.extent();
    // Finds a gap of the right size, with room to align in.
    let room = (last - first)
        .checked_add(loader.align)
        .ok_or(Errno::ENOMEM)?;
    let anywhere = Place::Near(0);
    let at = space
        .map(anywhere, room, Protection::NONE, Backing::Anonymous, 0, 0)
        .map_err(crate::errno_of)?;
    space.unmap(at, room).map_err(crate::errno_of)?;
    let base = at.next_multiple_of(loader.align).wrapping_sub(first);
    elf::map(space, &loader, image, base)?;
    Ok((base, loader.entry.wrapping_add(base)))
}

/// The strings at the upper end of the stack: arguments, environment and path from below, as Linux lays them out.
struct Strings {
    bytes: Vec<u8>,
    /// Address of the first byte.
    base: u64,
    /// Addresses of the arguments, then of the environment's variables.
    each: Vec<u64>,
    /// First and last address of the arguments, and of the environment.
    lists: [u64; 4],
    /// Addresses.
    path: u64,
    platform: u64,
    random: u64,
}

impl Strings {
    /// # Errors
    /// `E2BIG`.
    fn of(s: &Start<'_>, stack_top: u64) -> Result<Self, Errno> {
        let lists = [s.arguments, s.environment];
        let strings = lists.iter().flat_map(|list| list.iter());
        // Each takes a pointer and a zero byte besides.
        let total: usize = strings.map(|string| string.len() + 9).sum();
        if total + s.path.len() > MAX_STRINGS.min(s.stack as usize / 4) {
            return Err(Errno::E2BIG);
        }
        let mut bytes = Vec::new();
        let mut push = |string: &[u8]| {
            let at = bytes.len() as u64;
            bytes.extend_from_slice(string);
            at
        };
        let (mut each, mut marks) = (Vec::new(), [0; 3]);
        for (list, mark) in lists.iter().zip(1..) {
            for string in *list {
                each.push(push(string));
                push(b"\0");
            }
            marks[mark] = push(b"");
        }
        let path = push(s.path);
        push(b"\0");
        let platform = push(b"x86_64\0");
        let random = push(&s.random[..16]);
        // Eight zero bytes end the stack.
        let base = (stack_top - 8 - bytes.len() as u64) & !15;
        each.iter_mut().for_each(|at| *at += base);
        Ok(Self {
            bytes,
            base,
            each,
            lists: [marks[0], marks[1], marks[1], marks[2]].map(|at| base + at),
            path: base + path,
            platform: base + platform,
            random: base + random,
        })
    }
}

/// The bytes of an auxiliary vector. What has no address is left out of it.
fn auxiliary_vector(pairs: &[(u64, u64)]) -> Vec<u8> {
    pairs
        .iter()
        .filter(|pair| **pair != (AT_SYSINFO_EHDR, 0))
        .flat_map(|(key, value)| [key.to_le_bytes(), value.to_le_bytes()])
        .flatten()
        .collect()
}

/// Writes the stack that a program begins with: the number of arguments, pointers to them and to the environment, the auxiliary
/// vector, and the strings. Where it begins.
fn push(space: &mut Space, arguments: usize, strings: &Strings, auxv: &[u8]) -> Result<u64, Errno> {
    let mut words: Vec<u64> = Vec::from([arguments as u64]);
    let (arguments, environment) = strings.each.split_at(arguments);
    for list in [arguments, environment] {
        words.extend(list);
        words.push(0);
    }
    let mut block: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
    block.extend_from_slice(auxv);
    let stack = (strings.base - block.len() as u64) & !15;
    for (at, bytes) in [(strings.base, &strings.bytes), (stack, &block)] {
        space.write(at, bytes).map_err(|_| Errno::ENOMEM)?;
    }
    Ok(stack)
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
    use alloc::format;

    use super::*;

    #[test]
    fn the_first_line_of_a_script_names_its_interpreter_and_one_argument() {
        let of = |bytes: &[u8]| script(bytes).ok().flatten();
        assert_eq!(of(b"#!/bin/sh\necho"), Some((b"/bin/sh".to_vec(), None)));
        let env = (b"/usr/bin/env".to_vec(), Some(b"-S node --x".to_vec()));
        assert_eq!(of(b"#! /usr/bin/env\t-S node --x \n"), Some(env));
        assert_eq!(of(b"\x7fELF"), None);
        assert_eq!(script(b"#!\n"), Err(Errno::ENOEXEC));
        assert_eq!(script(b"#! \t \n/bin/sh"), Err(Errno::ENOEXEC));
        for no_name in [b"#!".as_slice(), b"#! \t", b"#!\0/bin/sh\n"] {
            assert_eq!(script(no_name), Err(Errno::EACCES), "{no_name:?}");
        }
        // What an editor of Windows leaves belongs to the name, or to the argument.
        assert_eq!(of(b"#!/bin/sh\r\n"), Some((b"/bin/sh\r".to_vec(), None)));
        let argument = (b"/bin/sh".to_vec(), Some(b"-e\r".to_vec()));
        assert_eq!(of(b"#!/bin/sh -e\r\n"), Some(argument));
        assert_eq!(of(b"#!/bin/sh\0-e\n"), Some((b"/bin/sh".to_vec(), None)));
        // A name that is cut is no name; an argument may be.
        let long = [b"#!/".as_slice(), &[b'a'; 300]].concat();
        assert_eq!(script(&long), Err(Errno::ENOEXEC));
        let long = [b"#!/a ".as_slice(), &[b'b'; 300]].concat();
        let argument = of(&long).and_then(|(_, argument)| argument);
        assert_eq!(argument.map(|a| a.len()), Some(250));
        for (blanks, end, is_known) in [
            (246, "\n", true),
            (247, "\n", false),
            (246, "", true),
            (247, "", false),
        ] {
            let line = format!("#!{}/bin/sh{end}", " ".repeat(blanks));
            assert_eq!(
                script(line.as_bytes()).is_ok(),
                is_known,
                "{blanks} {end:?}"
            );
        }
    }
}
