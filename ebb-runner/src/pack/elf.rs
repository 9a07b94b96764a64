//! What a dynamically linked program needs, as its ELF file says it.
//! Source: the System V ABI's chapter on dynamic linking, and ld.so(8).

use std::{
    ffi::OsStr,
    fs::{self, File},
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

/// The directories in which the loader searches every library.
pub struct Search {
    directories: Vec<PathBuf>,
}

impl Search {
    /// For programs with this interpreter.
    pub fn new(interpreter: Option<&Path>) -> Self {
        let musl = interpreter.is_some_and(|i| i.to_string_lossy().contains("ld-musl"));
        let directories = if musl {
            let configured = fs::read_to_string("/etc/ld-musl-x86_64.path").unwrap_or_default();
            let named = configured
                .split([':', '\n'])
                .filter(|d| !d.is_empty())
                .map(PathBuf::from);
            named
                .chain(["/lib", "/usr/local/lib", "/usr/lib"].map(PathBuf::from))
                .collect()
        } else {
            let mut directories = Vec::new();
            read_conf(Path::new("/etc/ld.so.conf"), 0, &mut directories);
            let usual = [
                "/lib/x86_64-linux-gnu",
                "/usr/lib/x86_64-linux-gnu",
                "/lib64",
                "/usr/lib64",
                "/lib",
                "/usr/lib",
            ];
            directories.extend(usual.map(PathBuf::from));
            directories
        };
        Self { directories }
    }

    /// Finds a library that `user` names, which was itself loaded by the objects with `rpaths`.
    pub fn find(
        &self,
        name: &str,
        user: &Elf,
        user_path: &Path,
        rpaths: &[String],
    ) -> Option<PathBuf> {
        let usable = |path: PathBuf| read(&path).is_ok().then_some(path);
        if name.contains('/') {
            return usable(expand(name, user_path));
        }
        let first = user
            .rpath
            .iter()
            .chain(rpaths)
            .filter(|_| user.runpath.is_empty());
        let own = first.chain(&user.runpath).map(|d| expand(d, user_path));
        own.chain(self.directories.iter().cloned())
            .find_map(|directory| usable(directory.join(name)))
    }

    /// The directories, for messages.
    pub fn describe(&self) -> String {
        self.directories
            .iter()
            .map(|d| d.display().to_string())
            .collect::<Vec<_>>()
            .join(" ")
    }
}

/// `$ORIGIN` is the directory of the object that says it.
fn expand(directory: &str, object: &Path) -> PathBuf {
    let real = object.canonicalize().unwrap_or_else(|_| object.into());
    let origin = real
        .parent()
        .unwrap_or(Path::new("/"))
        .display()
        .to_string();
    directory
        .replace("${ORIGIN}", &origin)
        .replace("$ORIGIN", &origin)
        .into()
}

/// Reads `ld.so.conf`; its `include` lines name files, or all files of one ending in a directory.
fn read_conf(file: &Path, depth: u32, directories: &mut Vec<PathBuf>) {
    for line in fs::read_to_string(file).unwrap_or_default().lines() {
        let line = line.split('#').next().unwrap_or_default().trim();
        let Some(pattern) = line.strip_prefix("include").map(str::trim) else {
            if line.starts_with('/') {
                directories.push(line.into());
            }
            continue;
        };
        let pattern = file.parent().unwrap_or(Path::new("/")).join(pattern);
        let ending = pattern
            .file_name()
            .and_then(OsStr::to_str)
            .and_then(|n| n.strip_prefix('*'));
        let mut files = match (ending, pattern.parent()) {
            (Some(ending), Some(dir)) => {
                let entries = fs::read_dir(dir)
                    .into_iter()
                    .flatten()
                    .flatten()
                    .map(|e| e.path());
                entries
                    .filter(|p| p.to_string_lossy().ends_with(ending))
                    .collect()
            }
            _ => vec![pattern],
        };
        files.sort();
        if depth < 8 {
            files
                .iter()
                .for_each(|f| read_conf(f, depth + 1, directories));
        }
    }
}
