//! Finds QEMU, its version and its firmware.
//!
//! Asking QEMU costs 20 ms each time (it links a hundred libraries), so the answer is kept in the
//! user's cache directory under the program's path, size and time of change.

use std::{
    env, fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    process::{self, Command, Stdio},
};

use crate::{
    config::Config,
    failure::{Failure, NOT_FOUND},
    install::{self, Package},
};

/// The first version with `-action`, which lets the runner see why a machine stopped.
pub const OLDEST: Version = Version(6, 0);

const PROGRAM: &str = "qemu-system-x86_64";
const FIRMWARE: &str = "qboot.rom";

/// Major and minor version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version(pub u32, pub u32);

/// A usable QEMU.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Qemu {
    /// The program.
    pub program: PathBuf,
    /// Its version.
    pub version: Version,
    /// The qboot firmware, if it came along.
    pub qboot: Option<PathBuf>,
}

/// Finds the QEMU to use; installs one where that is possible and wanted.
///
/// # Errors
/// When there is none, it does not answer, or it is too old.
pub fn find(config: &Config) -> Result<Qemu, Failure> {
    let search = |name: &Path| -> Option<PathBuf> {
        if name.components().count() > 1 {
            return install::is_program(name).then(|| name.to_path_buf());
        }
        install::in_path(name)
    };
    let program = match &config.qemu {
        Some(wanted) => search(wanted).ok_or_else(|| {
            Failure::new(
                NOT_FOUND,
                format!(
                    "EBB_QEMU is `{}`, which is not an executable file (nor one in PATH).",
                    wanted.display()
                ),
            )
        })?,
        None => match search(Path::new(PROGRAM)) {
            Some(program) => program,
            None => {
                install::install(&Package::QEMU, config.no_install)?;
                search(Path::new(PROGRAM)).ok_or_else(|| {
                    Failure::new(NOT_FOUND, format!("{PROGRAM} is still not in PATH after its installation; set EBB_QEMU to the program."))
                })?
            }
        },
    };
    let answer = ask_cached(&program)?;
    if answer.version < OLDEST {
        let (Version(major, minor), Version(a, b)) = (answer.version, OLDEST);
        return Err(Failure::unusable(format!(
            "{} is QEMU {major}.{minor}; {a}.{b} or newer is needed.\n\
             Update it, or set EBB_QEMU to a newer one.",
            program.display()
        )));
    }
    Ok(answer)
}

/// The cached answer, if the program is the one that gave it.
fn ask_cached(program: &Path) -> Result<Qemu, Failure> {
    let key = fs::canonicalize(program).and_then(|real| {
        let meta = real.metadata()?;
        Ok(format!(
            "{} {} {}.{}",
            real.display(),
            meta.len(),
            meta.mtime(),
            meta.mtime_nsec()
        ))
    });
    let (Ok(key), Some(dir)) = (key, cache_dir()) else {
        return ask(program);
    };
    let file = dir.join("qemu");
    if let Some(known) = fs::read_to_string(&file)
        .ok()
        .and_then(|text| recall(&text, &key, program))
    {
        return Ok(known);
    }
    let answer = ask(program)?;
    let Version(major, minor) = answer.version;
    let qboot = answer.qboot.as_deref().unwrap_or(Path::new("")).display();
    // Without a cache the next start is 20 ms slower, nothing else.
    let draft = dir.join(format!("qemu.{}", process::id()));
    let _ = fs::create_dir_all(&dir)
        .and_then(|()| fs::write(&draft, format!("{key}\n{major}.{minor}\n{qboot}\n")))
        .and_then(|()| fs::rename(&draft, &file));
    Ok(answer)
}

fn recall(text: &str, key: &str, program: &Path) -> Option<Qemu> {
    let mut lines = text.lines();
    if lines.next()? != key {
        return None;
    }
    let version = parse_version(lines.next()?)?;
    let qboot = lines.next().filter(|p| !p.is_empty()).map(PathBuf::from);
    let there = qboot.as_ref().is_none_or(|p| p.exists());
    there.then(|| Qemu {
        program: program.into(),
        version,
        qboot,
    })
}

fn cache_dir() -> Option<PathBuf> {
    let set = |name| {
        env::var_os(name)
            .filter(|v| !v.is_empty())
            .map(PathBuf::from)
    };
    Some(
        set("XDG_CACHE_HOME")
            .or_else(|| Some(set("HOME")?.join(".cache")))?
            .join("ebb-runner"),
    )
}

/// Runs the program to learn its version and where its firmware is.
fn ask(program: &Path) -> Result<Qemu, Failure> {
    let output = |arguments: &[&str]| {
        Command::new(program)
            .args(arguments)
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .output()
    };
    let said = output(&["--version"])
        .map_err(|e| Failure::unusable(format!("cannot execute {}: {e}", program.display())))?;
    let text = String::from_utf8_lossy(&said.stdout);
    let version = text
        .split_once("version ")
        .and_then(|(_, rest)| parse_version(rest));
    let version = version.filter(|_| text.contains("QEMU")).ok_or_else(|| {
        let all = format!("{text}{}", String::from_utf8_lossy(&said.stderr));
        let line = all.lines().next().unwrap_or("nothing").to_string();
        Failure::unusable(format!(
            "{} does not look like QEMU: `--version` said `{line}`.\nSet EBB_QEMU to qemu-system-x86_64.",
            program.display()
        ))
    })?;
    let dirs = output(&["-L", "help"])
        .map(|o| String::from_utf8_lossy(&o.stdout).into_owned())
        .unwrap_or_default();
    let qboot = dirs
        .lines()
        .map(|dir| Path::new(dir).join(FIRMWARE))
        .find(|p| p.is_file());
    Ok(Qemu {
        program: program.into(),
        version,
        qboot,
    })
}

/// `7.2` of `7.2.22 (Debian ...)`.
fn parse_version(text: &str) -> Option<Version> {
    let mut numbers = text
        .split(|c: char| !c.is_ascii_digit())
        .map(|n| n.parse().ok());
    Some(Version(numbers.next()??, numbers.next()??))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_compare_as_numbers() {
        assert_eq!(
            parse_version("7.2.22 (Debian 1:7.2+dfsg-7)"),
            Some(Version(7, 2))
        );
        assert_eq!(parse_version("10.0.0-rc1"), Some(Version(10, 0)));
        assert_eq!(parse_version("10.1"), Some(Version(10, 1)));
        for text in ["", "seven", "7", "7.", "99999999999.1"] {
            assert_eq!(parse_version(text), None, "{text}");
        }
        assert!(Version(10, 0) > Version(6, 0) && Version(5, 9) < OLDEST);
    }

    #[test]
    fn a_remembered_answer_holds_for_the_same_program_only() {
        let program = Path::new("/q");
        let known = Qemu {
            program: "/q".into(),
            version: Version(7, 2),
            qboot: None,
        };
        assert_eq!(
            recall("/q 1 2.3\n7.2\n\n", "/q 1 2.3", program),
            Some(known)
        );
        assert_eq!(recall("/q 1 2.3\n7.2\n\n", "/q 1 2.4", program), None);
        assert_eq!(
            recall("/q 1 2.3\n7.2\n/no/such/qboot.rom\n", "/q 1 2.3", program),
            None
        );
        assert_eq!(recall("", "", program), None);
        assert_eq!(recall("k\ngarbage\n", "k", program), None);
    }
}
