//! What an image's backtraces take names from: an ELF file that has nothing but the image's symbols, with names as people read
//! them. So the image need not undo their mangling, and QEMU keeps no copy of a file that is mostly debug information.
//!
//! The image reads `e_shoff`, `e_shentsize` and `e_shnum`, then the first section of type `SHT_SYMTAB` and the one it links to.

use std::{
    fs::File,
    io::{self, Write as _},
    os::fd::{AsRawFd as _, OwnedFd, RawFd},
    path::Path,
};

use nix::sys::memfd::{MFdFlags, memfd_create};
use object::{
    LittleEndian as LE, ReadCache,
    elf::{FileHeader64, SHT_STRTAB, SHT_SYMTAB, STT_FUNC, STT_NOTYPE},
    read::elf::{ElfFile64, Sym as _},
};

use crate::image::readable;

/// Bytes of the file's header.
const HEADER: usize = size_of::<FileHeader64<LE>>();
/// Bytes of a section's header.
const SECTION: usize = 64;
/// Bytes of a symbol.
const SYMBOL: usize = 24;
/// The image cuts longer names, where it may not cut a character.
const LONGEST_NAME: usize = 511;

/// The file, for QEMU to inherit.
pub struct Symbols(OwnedFd);

impl Symbols {
    /// Those of an image; none where it was stripped, or cannot be read.
    pub fn of(image: &Path) -> Option<Self> {
        let file = text(image)?;
        let write = || -> io::Result<OwnedFd> {
            let descriptor = memfd_create(c"symbols", MFdFlags::MFD_CLOEXEC)?;
            let mut memory = File::from(descriptor);
            memory.write_all(&file)?;
            Ok(memory.into())
        };
        write().ok().map(Self)
    }

    /// Its descriptor.
    pub fn fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

/// The bytes of the file.
fn text(image: &Path) -> Option<Vec<u8>> {
    let cache = ReadCache::new(File::open(image).ok()?);
    let file: ElfFile64<'_, LE, _> = ElfFile64::parse(&cache).ok()?;
    let table = file.elf_symbol_table();
    let mut names = vec![0];
    let mut symbols = vec![0; SYMBOL];
    for symbol in table.iter() {
        let Ok(name) = symbol.name(LE, table.strings()) else {
            continue;
        };
        // Functions, and what assembly says of no kind.
        if name.is_empty() || !matches!(symbol.st_type(), STT_FUNC | STT_NOTYPE) {
            continue;
        }
        let name = readable(str::from_utf8(name).unwrap_or("?"));
        symbols.extend(u32::try_from(names.len()).ok()?.to_le_bytes());
        symbols.extend([symbol.st_info().0, 0]);
        symbols.extend(symbol.st_shndx(LE).0.to_le_bytes());
        symbols.extend(symbol.st_value(LE).to_le_bytes());
        symbols.extend(symbol.st_size(LE).to_le_bytes());
        names.extend(&name.as_bytes()[..name.floor_char_boundary(LONGEST_NAME)]);
        names.push(0);
    }
    (symbols.len() > SYMBOL).then(|| elf(&symbols, &names))
}

/// An ELF file of these two sections.
fn elf(symbols: &[u8], names: &[u8]) -> Vec<u8> {
    const SECTIONS: u16 = 3;
    let symbols_at = HEADER + usize::from(SECTIONS) * SECTION;
    let names_at = symbols_at + symbols.len();
    let mut file = vec![0; HEADER + SECTION];
    let mut put = |at: usize, bytes: &[u8]| file[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, b"\x7fELF\x02\x01\x01"); // 64 bits, little-endian, version 1
    put(0x28, &(HEADER as u64).to_le_bytes()); // e_shoff
    put(0x34, &(HEADER as u16).to_le_bytes()); // e_ehsize
    put(0x3a, &(SECTION as u16).to_le_bytes()); // e_shentsize
    put(0x3c, &SECTIONS.to_le_bytes()); // e_shnum
    put(0x3e, &2_u16.to_le_bytes()); // e_shstrndx: no section has a name
    for (kind, at, bytes, link, entry) in [
        (SHT_SYMTAB, symbols_at, symbols, 2, SYMBOL),
        (SHT_STRTAB, names_at, names, 0, 0),
    ] {
        let mut header = [0; SECTION];
        let mut put = |at: usize, bytes: &[u8]| header[at..at + bytes.len()].copy_from_slice(bytes);
        put(4, &kind.0.to_le_bytes());
        put(24, &(at as u64).to_le_bytes());
        put(32, &(bytes.len() as u64).to_le_bytes());
        put(40, &u32::to_le_bytes(link));
        put(56, &(entry as u64).to_le_bytes());
        file.extend(header);
    }
    file.extend(symbols);
    file.extend(names);
    file
}

#[cfg(test)]
mod tests {
    use super::*;
    use object::read::{Object as _, ObjectSymbol as _};

    #[test]
    fn the_file_has_the_functions_of_a_program_by_readable_names() {
        let own = std::env::current_exe().expect("this test is a program");
        let bytes = text(&own).expect("and has symbols");
        let file: ElfFile64<'_, LE, _> = ElfFile64::parse(&*bytes).expect("an ELF file");
        let this = file
            .symbols()
            .find(|symbol| symbol.name() == Ok("ebb_runner::symbols::text"))
            .expect("a function of this module");
        let program = std::fs::read(&own).expect("readable");
        let program: ElfFile64<'_, LE, _> = ElfFile64::parse(&*program).expect("an ELF file");
        let twin = program
            .symbols()
            .find(|symbol| symbol.address() == this.address() && symbol.size() == this.size())
            .expect("at the address that it has in the program");
        assert_eq!(
            readable(twin.name().expect("text")),
            "ebb_runner::symbols::text"
        );
        assert!(bytes.len() < std::fs::metadata(&own).expect("it is there").len() as usize / 2);
    }

    #[test]
    fn a_file_that_is_no_program_has_no_symbols() {
        assert!(Symbols::of(Path::new("/etc/passwd")).is_none());
        assert!(Symbols::of(Path::new("/nowhere")).is_none());
    }
}
