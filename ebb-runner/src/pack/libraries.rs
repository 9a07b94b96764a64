//! The libraries of a program, found as its loader finds them. Source: ld.so(8).

use std::{
    collections::{BTreeSet, VecDeque},
    ffi::OsStr,
    fs,
    path::{Path, PathBuf},
};

use super::elf::{self, Elf};
use crate::failure::{Failure, NOT_FOUND};

/// Libraries that glibc loads by itself: name look-ups, and the unwinder when a thread is cancelled.
const LOADED_BY_GLIBC: [&str; 5] = [
    "libnss_files.so.2",
    "libnss_dns.so.2",
    "libresolv.so.2",
    "libgcc_s.so.1",
    "libpthread.so.0",
];

/// Something that needs libraries.
struct Object {
    path: PathBuf,
    elf: Elf,
    /// The `DT_RPATH`s of those that loaded it.
    rpaths: Vec<String>,
    /// Whether a missing library is an error: not for what a program may or may not load.
    required: bool,
}

/// Finds all libraries of `program` and, as far as they are there, those of the `loadable` objects.
/// `extra` are libraries that the program loads by itself, by their names.
///
/// # Errors
/// When one is missing, with who needs it.
pub fn find(
    program: &Path,
    main: &Elf,
    extra: &[String],
    loadable: &[PathBuf],
) -> Result<Vec<PathBuf>, Failure> {
    search(program, main, extra, loadable, true)
}

/// Finds the libraries of `program` that are there.
pub fn find_some(program: &Path, main: &Elf) -> Vec<PathBuf> {
    // Without any that are required only a broken file is an error.
    search(program, main, &[], &[], false).unwrap_or_default()
}

fn search(
    program: &Path,
    main: &Elf,
    extra: &[String],
    loadable: &[PathBuf],
    required: bool,
) -> Result<Vec<PathBuf>, Failure> {
    let Some(interpreter) = &main.interpreter else {
        return Ok(Vec::new());
    };
    let search = Search::new(interpreter);
    let mut found = Vec::new();
    // A name is loaded once, whoever asks.
    let name_of = |path: &Path| path.file_name().map(|n| n.to_string_lossy().into_owned());
    let mut loaded: BTreeSet<String> = name_of(interpreter).into_iter().collect();
    let object = |path: &Path, elf: Elf, required| Object {
        path: path.into(),
        elf,
        rpaths: Vec::new(),
        required,
    };
    let mut glibc = main.clone();
    glibc.needed = LOADED_BY_GLIBC.map(String::from).to_vec();
    let mut main = main.clone();
    main.needed.extend_from_slice(extra);
    let mut pending = VecDeque::from([
        object(program, main, required),
        object(program, glibc, false),
    ]);
    // What is loadable and no ELF file (a linker script named libc.so, say) needs nothing.
    let read = |path: &PathBuf| Some(object(path, elf::read(path).ok()?, false));
    pending.extend(loadable.iter().filter_map(read));
    // Breadth first, as the loader goes.
    while let Some(user) = pending.pop_front() {
        for name in &user.elf.needed {
            if loaded.contains(name) {
                continue;
            }
            let Some(path) = search.find(name, &user) else {
                if user.required {
                    return Err(missing(name, &user.path, &search));
                }
                continue;
            };
            let elf = elf::read(&path).map_err(Failure::unusable)?;
            let own = user
                .elf
                .rpath
                .iter()
                .map(|d| expand(d, &user.path).display().to_string());
            let rpaths = own.chain(user.rpaths.iter().cloned()).collect();
            loaded.insert(name.clone());
            found.push(path.clone());
            pending.push_back(Object {
                path,
                elf,
                rpaths,
                required: user.required,
            });
        }
    }
    Ok(found)
}

fn missing(name: &str, user: &Path, search: &Search) -> Failure {
    let directories: Vec<_> = search
        .directories
        .iter()
        .map(|d| d.display().to_string())
        .collect();
    let text = format!(
        "{} needs {name}, which is in none of its own directories nor in {}.\nInstall the package that has it.",
        user.display(),
        directories.join(" ")
    );
    Failure::new(NOT_FOUND, text)
}

/// The directories in which the loader searches every library.
struct Search {
    directories: Vec<PathBuf>,
}

impl Search {
    /// For programs with this interpreter.
    fn new(interpreter: &Path) -> Self {
        let musl = interpreter.to_string_lossy().contains("ld-musl");
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

    /// Finds a library that `user` names.
    fn find(&self, name: &str, user: &Object) -> Option<PathBuf> {
        let usable = |path: PathBuf| elf::read(&path).is_ok().then_some(path);
        if name.contains('/') {
            return usable(expand(name, &user.path));
        }
        // With a RUNPATH of its own, those of its users do not count.
        let rpaths = user
            .elf
            .rpath
            .iter()
            .chain(&user.rpaths)
            .filter(|_| user.elf.runpath.is_empty());
        let own = rpaths
            .chain(&user.elf.runpath)
            .map(|d| expand(d, &user.path));
        own.chain(self.directories.iter().cloned())
            .find_map(|directory| usable(directory.join(name)))
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
