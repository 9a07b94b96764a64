//! Tells a bootable image from an ordinary executable, and finds functions by address.
//!
//! An image carries an ELF note of name `ebb` and type 1. Its descriptor is a 32-bit version (1)
//! and, optionally, a 32-bit word of flags: bit 0 says that the image gives PCI devices their
//! addresses itself when the firmware has not. It also carries the PVH note (name `Xen`, type 18)
//! by which QEMU enters it. One that wants a boot archive has a note of name `ebb` and type 2 with the
//! archive's manifest as text; one that takes variables of the environment names them in a note of type 3. Only the headers and notes of the file are read.

use std::{
    fs::File,
    io,
    path::{Path, PathBuf},
};

use object::{
    LittleEndian as LE, ReadCache, SymbolKind,
    elf::{EM_X86_64, ET_EXEC, FileHeader64, PT_LOAD, PT_NOTE},
    read::elf::{ElfFile64, FileHeader as _, ProgramHeader as _},
    read::{Object as _, ObjectSymbol as _},
};

use crate::failure::{Failure, NOT_EXECUTABLE, NOT_FOUND};

/// The note version that this runner knows.
const VERSION: u32 = 1;
/// Flag: the image assigns PCI addresses.
const ASSIGNS_PCI: u32 = 1;

/// What a file is.
#[derive(Debug, PartialEq, Eq)]
pub enum Kind {
    /// A bootable image.
    Image(Image),
    /// Anything else, to be executed as it is.
    Other,
}

/// A bootable image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// The file.
    pub path: PathBuf,
    /// Whether it assigns PCI addresses where the firmware has not.
    pub assigns_pci: bool,
    /// The manifest of the boot archive that it wants.
    pub manifest: Option<String>,
    /// Variables of the environment that it takes as options: `EBB_NAME` becomes `name=VALUE`.
    pub variables: Vec<String>,
    /// The argument with which the program in it gets the runner's environment.
    pub environment_for: Option<String>,
    /// Whether what each start makes can be made ahead (`ebb-runner bake`).
    pub bakes: bool,
    /// What the runner's own variables are for it when they are not set.
    pub defaults: Vec<(String, String)>,
}

impl Image {
    /// The file's name, without the hash that Cargo appends to test programs.
    pub fn name(&self) -> String {
        let name = self.path.file_name().unwrap_or_default().to_string_lossy();
        let hash = |h: &str| h.len() == 16 && h.bytes().all(|b| b.is_ascii_hexdigit());
        match name.rsplit_once('-') {
            Some((stem, tail)) if hash(tail) => stem.into(),
            _ => name.into_owned(),
        }
    }
}

/// Looks at the file's ELF notes.
///
/// # Errors
/// When the file cannot be read, or says that it is an image and cannot be booted.
pub fn inspect(path: &Path) -> Result<Kind, Failure> {
    let unreadable = |error: io::Error| {
        let status = if error.kind() == io::ErrorKind::NotFound {
            NOT_FOUND
        } else {
            NOT_EXECUTABLE
        };
        Failure::new(status, format!("cannot read {}: {error}", path.display()))
    };
    let file = File::open(path).map_err(unreadable)?;
    if file.metadata().map_err(unreadable)?.is_dir() {
        return Err(Failure::new(
            NOT_EXECUTABLE,
            format!(
                "{} is a directory; name an image or an executable",
                path.display()
            ),
        ));
    }
    let cache = ReadCache::new(file);
    match read_notes(&cache) {
        Some(notes) if notes.ebb.is_some() => notes.check(path).map(Kind::Image),
        _ => Ok(Kind::Other),
    }
}

/// What the headers and notes say.
#[derive(Default)]
struct Notes {
    /// Version and flags of our note.
    ebb: Option<(u32, u32)>,
    pvh: bool,
    manifest: Option<String>,
    variables: Vec<String>,
    environment_for: Option<String>,
    bakes: bool,
    defaults: Vec<(String, String)>,
    machine: bool,
    fixed: bool,
    /// There is something to load and all of it is in the file.
    loads: bool,
    truncated: bool,
}

impl Notes {
    fn check(self, path: &Path) -> Result<Image, Failure> {
        let (version, flags) = self.ebb.unwrap_or_default();
        let wrong = if version > VERSION {
            Some("it was made for a newer runner: update ebb-runner")
        } else if !self.machine || !self.fixed {
            Some(
                "it is not a statically linked x86-64 executable: its package's build.rs must call ebb_build::images",
            )
        } else if !self.pvh {
            Some(
                "it has no PVH entry note (Xen, type 18): link native-target and its linker script",
            )
        } else if self.truncated {
            Some("the file is shorter than its headers say: build it again")
        } else if !self.loads {
            Some(
                "it has no segment to load: its package's build.rs must pass native-target's linker script",
            )
        } else {
            None
        };
        match wrong {
            Some(why) => Err(Failure::new(
                NOT_EXECUTABLE,
                format!(
                    "{} is an ebb image that cannot boot; {why}.",
                    path.display()
                ),
            )),
            None => Ok(Image {
                path: path.into(),
                assigns_pci: flags & ASSIGNS_PCI != 0,
                manifest: self.manifest,
                variables: self.variables,
                environment_for: self.environment_for,
                bakes: self.bakes,
                defaults: self.defaults,
            }),
        }
    }
}

/// `None` for anything that is not a 64-bit little-endian ELF file.
fn read_notes(cache: &ReadCache<File>) -> Option<Notes> {
    let header = FileHeader64::<LE>::parse(cache).ok()?;
    let endian = header.endian().ok()?;
    let mut found = Notes {
        machine: header.e_machine(endian) == EM_X86_64,
        fixed: header.e_type(endian) == ET_EXEC,
        ..Notes::default()
    };
    for segment in header.program_headers(endian, cache).ok()? {
        match segment.p_type(endian) {
            PT_LOAD => {
                let (offset, size) = segment.file_range(endian);
                let last = offset.checked_add(size.saturating_sub(1));
                let there = size == 0
                    || last.is_some_and(|at| object::ReadRef::read_bytes_at(cache, at, 1).is_ok());
                found.truncated |= !there;
                found.loads |= segment.p_memsz(endian) > 0;
            }
            PT_NOTE => {
                let Ok(Some(mut notes)) = segment.notes(endian, cache) else {
                    continue;
                };
                while let Ok(Some(note)) = notes.next() {
                    match (note.name(), note.n_type(endian)) {
                        (b"ebb", object::elf::NoteType(1)) => {
                            let word = |i: usize| {
                                note.desc()
                                    .get(4 * i..4 * i + 4)
                                    .map(|b| u32::from_le_bytes(b.try_into().unwrap_or_default()))
                            };
                            found.ebb = Some((word(0).unwrap_or(VERSION), word(1).unwrap_or(0)));
                        }
                        (b"ebb", object::elf::NoteType(2)) => {
                            let text = String::from_utf8_lossy(note.desc()).into_owned();
                            found.manifest = Some(text.trim_end_matches('\0').into());
                        }
                        (b"ebb", object::elf::NoteType(3)) => {
                            let text = String::from_utf8_lossy(note.desc()).into_owned();
                            let words = text.trim_end_matches('\0').split_whitespace();
                            for word in words {
                                if word == "bakes" {
                                    found.bakes = true;
                                } else if let Some(argument) = word.strip_prefix("environment:") {
                                    found.environment_for = Some(argument.into());
                                } else if word.starts_with("EBB_") {
                                    match word.split_once('=') {
                                        Some((name, value)) => {
                                            found.defaults.push((name.into(), value.into()));
                                        }
                                        None => found.variables.push(word.into()),
                                    }
                                }
                            }
                        }
                        (b"Xen", object::elf::NoteType(18)) => found.pvh = true,
                        _ => {}
                    }
                }
            }
            _ => {}
        }
    }
    Some(found)
}

/// The function that contains this address, as `name+0xoffset`.
pub fn symbolize(path: &Path, address: u64) -> Option<String> {
    let cache = ReadCache::new(File::open(path).ok()?);
    let file: ElfFile64<'_, LE, _> = ElfFile64::parse(&cache).ok()?;
    let symbol = file
        .symbols()
        .filter(|s| {
            matches!(s.kind(), SymbolKind::Text | SymbolKind::Label) && s.address() <= address
        })
        .max_by_key(|s| (s.address(), s.size()))?;
    let offset = address - symbol.address();
    if symbol.size() > 0 && offset >= symbol.size() {
        return None;
    }
    Some(format!("{}+{offset:#x}", readable(symbol.name().ok()?)))
}

/// A symbol as people read it. What follows the name of a component's method is advice
/// for whoever fails to link it.
pub fn readable(symbol: &str) -> String {
    let name = symbol.split(" (").next().unwrap_or(symbol);
    format!("{:#}", rustc_demangle::demangle(name))
}

#[cfg(test)]
mod tests {
    use super::readable;

    #[test]
    fn a_symbol_is_a_name_without_a_hash_or_advice_for_linking() {
        for (symbol, name) in [
            ("_ZN4tiny4code17h0123456789abcdefE", "tiny::code"),
            (
                "ebb component ebb_runtime::Cores: method park (link exactly one crate that provides it) [ebb-runtime]",
                "ebb component ebb_runtime::Cores: method park",
            ),
            ("start32", "start32"),
        ] {
            assert_eq!(readable(symbol), name);
        }
    }
}
