//! Node: which one is packed, and the scripts of its own that it has outside its program.

use std::{
    env,
    ffi::OsStr,
    fs,
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
    process::Command,
};

use super::{Surroundings, elf};
use crate::{
    failure::Failure,
    install::{self, Package, find_program},
};

/// The versions that are known to work.
const NODE: std::ops::RangeInclusive<u32> = 18..=26;
/// What distributions define when they build Node, for each script that it is to read from a file of another package
/// (Node's `configure.py`, `--shared-builtin-...-path`). Node does not start without these files.
const DEFINED: &[u8] = b"NODE_SHARED_BUILTIN_";

/// The user's Node, the machine's, or after saying so Debian's.
///
/// # Errors
/// When there is none.
pub fn find(around: &Surroundings) -> Result<PathBuf, Failure> {
    let path = match &around.node {
        Some(path) => find_program(path, &env::current_dir().unwrap_or_default())
            .map_err(|f| Failure::new(f.status, format!("EBB_NODE: {}", f.message)))?,
        None => match install::in_path(Path::new("node")) {
            Some(path) => path,
            None => {
                install::install(&Package::NODE, around.no_install)?;
                find_program(Path::new("node"), Path::new("/"))?
            }
        },
    };
    // A version manager's script is not Node; it says where Node is.
    if elf::read(&path).is_err()
        && let Ok(said) = Command::new(&path)
            .args(["-p", "process.execPath"])
            .output()
        && let Some(real) = String::from_utf8(said.stdout)
            .ok()
            .map(|s| PathBuf::from(s.trim()))
            .filter(|p| p.is_absolute())
    {
        return Ok(real);
    }
    Ok(path)
}

/// Whether a Node is of a version that is known to work. Asking takes longer than planning, so it is asked only when an archive is made.
///
/// # Errors
/// When it is not.
pub fn check(path: &Path) -> Result<(), Failure> {
    let said = Command::new(path).arg("--version").output();
    let said =
        said.map_err(|e| Failure::unusable(format!("cannot execute {}: {e}", path.display())))?;
    let text = String::from_utf8_lossy(&said.stdout);
    let major = text
        .trim()
        .strip_prefix('v')
        .and_then(|v| v.split('.').next()?.parse::<u32>().ok());
    match major {
        Some(major) if NODE.contains(&major) => Ok(()),
        Some(major) => Err(Failure::unusable(format!(
            "{} is Node {major}; {} to {} are supported. Set EBB_NODE to one of those.",
            path.display(),
            NODE.start(),
            NODE.end()
        ))),
        None => Err(Failure::unusable(format!(
            "{} does not answer `--version` as Node does. Set EBB_NODE to node.",
            path.display()
        ))),
    }
}

/// The scripts that Node's library of that path reads from files when it starts; none of any other library.
///
/// The library has its own configuration in it as text, and there what it was built with. A Node in one piece, as its own project gives it
/// away, has all scripts in its program.
pub fn scripts_of(library: &Path) -> Vec<PathBuf> {
    let name = library.file_name().unwrap_or_default().as_bytes();
    if !name.starts_with(b"libnode.so") {
        return Vec::new();
    }
    scripts_in(&fs::read(library).unwrap_or_default())
}

fn scripts_in(bytes: &[u8]) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut rest = bytes;
    while let Some(at) = find_in(rest, DEFINED) {
        rest = &rest[at + DEFINED.len()..];
        let name = rest
            .iter()
            .take_while(|b| b.is_ascii_uppercase() || **b == b'_');
        let name = &rest[..name.count()];
        let Some((b'=', path)) = rest[name.len()..].split_first() else {
            continue;
        };
        if !name.ends_with(b"_PATH") {
            continue;
        }
        let end = path
            .iter()
            .position(|byte| matches!(byte, b'"' | b'\\' | b'\'' | 0));
        let path = PathBuf::from(OsStr::from_bytes(&path[..end.unwrap_or(path.len())]));
        if path.is_absolute() && path.is_file() && !found.contains(&path) {
            found.push(path);
        }
    }
    found
}

/// Where `part` begins in `bytes`.
fn find_in(bytes: &[u8], part: &[u8]) -> Option<usize> {
    let first = part[0];
    let mut from = 0;
    loop {
        from += bytes.get(from..)?.iter().position(|byte| *byte == first)?;
        if bytes[from..].starts_with(part) {
            return Some(from);
        }
        from += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scripts_are_found_in_the_configuration_that_a_library_has_in_it() {
        let folder = env::temp_dir().join(format!("ebb-node-scripts-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let [one, two] = ["lexer.js", "undici.js"].map(|name| folder.join(name));
        for file in [&one, &two] {
            fs::write(file, "").unwrap();
        }
        let text = format!(
            "NODE_SHARED_BUILTIN_ \"NODE_SHARED_BUILTIN_A_B_PATH={}\", \"NODE_SHARED_BUILTIN_C_PATH={}\", \
             \"NODE_SHARED_BUILTIN_C_PATH={}\", \"NODE_SHARED_BUILTIN_D_PATH=/no/such\", NODE_SHARED_BUILTIN_E_PATH=relative",
            one.display(),
            two.display(),
            one.display()
        );
        let scripts = [one.clone(), two];
        assert_eq!(scripts_in(text.as_bytes()), scripts);
        let library = folder.join("libnode.so.9");
        fs::write(&library, text.as_bytes()).unwrap();
        assert_eq!(scripts_of(&library), scripts);
        let other = folder.join("libother.so.9");
        fs::write(&other, text.as_bytes()).unwrap();
        assert!(scripts_of(&other).is_empty());
        // A text that ends anywhere.
        for end in 0..text.len() {
            drop(scripts_in(&text.as_bytes()[..end]));
        }
        fs::remove_dir_all(&folder).unwrap();
    }
}
