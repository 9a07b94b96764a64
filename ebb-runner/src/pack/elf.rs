//! What a dynamically linked program needs, as its ELF file says it.
//! Source: the System V ABI's chapter on dynamic linking, and ld.so(8).

use std::{
    ffi::OsStr,
    fs::File,
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
};

use object::{
    LittleEndian as LE, ReadCache, ReadRef,
    elf::{DT_NEEDED, DT_RPATH, DT_RUNPATH, DT_STRTAB, EM_X86_64, FileHeader64, PT_LOAD},
    read::elf::{FileHeader as _, ProgramHeader as _},
};

/// A program or library.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Elf {
    /// The program's loader.
    pub interpreter: Option<PathBuf>,
    /// The libraries it names.
    pub needed: Vec<String>,
    /// Where it wants them searched first (`DT_RPATH`).
    pub rpath: Vec<String>,
    /// Where it wants its own searched later (`DT_RUNPATH`).
    pub runpath: Vec<String>,
}

/// Reads a file's headers and dynamic section.
///
/// # Errors
/// When it is no x86-64 ELF file, or a broken one.
pub fn read(path: &Path) -> Result<Elf, String> {
    let told = |what: &str| format!("{}: {what}", path.display());
    let cache = ReadCache::new(File::open(path).map_err(|e| told(&e.to_string()))?);
    let magic = cache.read_bytes_at(0, 4).unwrap_or_default();
    if magic.starts_with(b"#!") {
        return Err(told(
            "is a script; name the program that interprets it, and give it the script as an argument",
        ));
    }
    if magic != b"\x7fELF" {
        return Err(told("is not an ELF program"));
    }
    let broken = |_| told("is a broken ELF file");
    let header =
        FileHeader64::<LE>::parse(&cache).map_err(|_| told("is not a 64-bit ELF program"))?;
    let endian = header.endian().map_err(broken)?;
    if header.e_machine(endian) != EM_X86_64 {
        return Err(told("is made for another processor than x86-64"));
    }
    let segments = header.program_headers(endian, &cache).map_err(broken)?;
    let mut elf = Elf::default();
    for segment in segments {
        if let Some(name) = segment.interpreter(endian, &cache).map_err(broken)? {
            elf.interpreter = Some(OsStr::from_bytes(name).into());
        }
        let Some(entries) = segment.dynamic(endian, &cache).map_err(broken)? else {
            continue;
        };
        let value = |wanted| {
            entries
                .iter()
                .filter(move |e| e.d_tag.get(endian) == wanted)
                .map(|e| e.d_val.get(endian))
        };
        let table = value(DT_STRTAB).next().unwrap_or(0);
        // The table's address is one in memory.
        let table = segments.iter().find_map(|s| {
            let start = s.p_vaddr(endian);
            let inside = s.p_type(endian) == PT_LOAD
                && (start..start.saturating_add(s.p_filesz(endian))).contains(&table);
            inside
                .then(|| s.p_offset(endian).checked_add(table - start))
                .flatten()
        });
        let string = |at: u64| -> Result<String, String> {
            let start = table
                .and_then(|t| t.checked_add(at))
                .ok_or_else(|| told("is a broken ELF file"))?;
            let end = start.saturating_add(4096);
            let bytes = cache
                .read_bytes_at_until(start..end, 0)
                .map_err(|()| told("is a broken ELF file"))?;
            Ok(String::from_utf8_lossy(bytes).into_owned())
        };
        let paths = |tag| -> Result<Vec<String>, String> {
            let all: Vec<String> = value(tag).map(string).collect::<Result<_, _>>()?;
            Ok(all
                .iter()
                .flat_map(|p| p.split(':'))
                .filter(|p| !p.is_empty())
                .map(str::to_string)
                .collect())
        };
        elf.needed = value(DT_NEEDED).map(string).collect::<Result<_, _>>()?;
        elf.runpath = paths(DT_RUNPATH)?;
        // With a RUNPATH, the older RPATH is ignored.
        elf.rpath = if elf.runpath.is_empty() {
            paths(DT_RPATH)?
        } else {
            Vec::new()
        };
    }
    Ok(elf)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_damaged_elf_file_is_an_error_or_read_without_harm() {
        let good = fs::read("/bin/sh").unwrap();
        let file = std::env::temp_dir().join(format!("ebb-damaged-{}", std::process::id()));
        let mut random = 0x1234_5678_u64;
        let mut next = |below: usize| {
            random = random
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            usize::try_from(random >> 33).unwrap() % below
        };
        for round in 0..400 {
            let mut bytes = good.clone();
            for _ in 0..=round % 8 {
                // Mostly in the headers, where it matters.
                let at = if next(3) > 0 {
                    next(1024)
                } else {
                    next(bytes.len())
                };
                bytes[at] = [0, 1, 0x7f, 0x80, 0xff][next(5)];
            }
            if round % 4 == 0 {
                bytes.truncate(next(good.len()));
            }
            fs::write(&file, &bytes).unwrap();
            let _ = read(&file);
        }
        fs::remove_file(&file).unwrap();
    }
}
