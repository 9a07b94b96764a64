//! What goes into every file: the image, its boot archive, its command line.

use std::{env, ffi::OsString, fs, path::Path};

use ebb_runner::{
    cmdline,
    image::{self, Kind},
    pack::{self, Surroundings},
};

use crate::failure::{Failure, Result, at};

/// Whether options can stand in every loader's command line.
///
/// # Errors
/// When one cannot.
pub fn check(options: &[String]) -> Result<()> {
    let wrong = |option: &&String| {
        option.find('=').is_none_or(|at| at == 0)
            || option.contains(|c: char| !c.is_ascii_graphic() || "'\"\\%".contains(c))
    };
    match options.iter().find(wrong) {
        Some(option) => Err(Failure(format!(
            "--option {option}: it is NAME=VALUE, without blanks, quotes, `%` and `\\`"
        ))),
        None => Ok(()),
    }
}

/// What is booted.
pub struct Content {
    /// The image, without symbols and debug information.
    pub image: Vec<u8>,
    /// The archive that it is started with.
    pub archive: Option<Vec<u8>>,
    /// Options, and after `--` the program's arguments.
    pub command_line: String,
    /// Whether the image wants a CPU without the instructions that draw random numbers (`EBB_RDRAND=0`).
    without_rdrand: bool,
}

impl Content {
    /// Of an image that was built, with options that were checked; packs the archive that it asks for.
    pub fn of(path: &Path, options: &[String], arguments: &[OsString]) -> Result<Self> {
        let Kind::Image(image) = image::inspect(path)? else {
            return Err(Failure(format!(
                "{} is no image of ebb: `cargo ebb doctor` looks for the reason",
                path.display()
            )));
        };
        let archive = match &image.manifest {
            None => None,
            Some(manifest) => {
                let here = env::current_dir().map_err(at("the current directory"))?;
                let around = Surroundings::new(here, refuses());
                let packed = pack::prepare(path, manifest, arguments, &around, |line| {
                    eprintln!("cargo ebb: {line}")
                })?;
                Some(fs::read(&packed.path).map_err(at(packed.path.display()))?)
            }
        };
        let whole = fs::read(path).map_err(at(path.display()))?;
        let command_line = cmdline::join(options, arguments)?;
        let without_rdrand = ("EBB_RDRAND".to_owned(), "0".to_owned());
        Ok(Self {
            image: without_symbols(whole)
                .ok_or_else(|| Failure(format!("{} is no complete ELF file", path.display())))?,
            archive,
            // Loaders quote these in ways of their own; an image reads `%XX` in arguments.
            command_line: command_line
                .replace('\'', "%27")
                .replace('"', "%22")
                .replace('\\', "%5C"),
            without_rdrand: image.defaults.contains(&without_rdrand),
        })
    }

    /// Its parts and their lengths in bytes.
    pub fn parts(&self) -> Vec<(String, u64)> {
        let mut parts = vec![(
            "the image, without symbols".to_owned(),
            self.image.len() as u64,
        )];
        if let Some(archive) = &self.archive {
            parts.push((
                "its boot archive (files of its programs)".to_owned(),
                archive.len() as u64,
            ));
        }
        parts.push((
            format!("its command line: {:?}", self.command_line),
            self.command_line.len() as u64,
        ));
        parts
    }

    /// A CPU for it, as QEMU's `-cpu` names one.
    pub fn cpu(&self) -> &'static str {
        match self.without_rdrand {
            true => "max,rdrand=off,rdseed=off",
            false => "max",
        }
    }

    /// Memory that a machine of it has at least, in MiB.
    pub fn memory_mib(&self) -> u64 {
        256 + self
            .archive
            .as_ref()
            .map_or(0, |archive| (archive.len() as u64).div_ceil(1 << 20))
            .next_multiple_of(64)
    }
}

/// Whether nothing may be installed.
pub fn refuses() -> bool {
    env::var_os("EBB_NO_INSTALL").is_some_and(|v| !v.is_empty() && v != "0")
}

/// Leaves out of an executable what is not loaded; `None` when its headers lead out of it.
fn without_symbols(mut elf: Vec<u8>) -> Option<Vec<u8>> {
    let number = |at: usize, len: usize| {
        let bytes = elf.get(at..at.checked_add(len)?)?;
        Some(
            bytes
                .iter()
                .rev()
                .fold(0u64, |n, byte| n << 8 | u64::from(*byte)),
        )
    };
    // e_phoff, e_phentsize, e_phnum; of each program header p_offset and p_filesz (System V ABI, "Object Files").
    let (table, entry, count) = (number(32, 8)?, number(54, 2)?, number(56, 2)?);
    let mut end = table.checked_add(entry * count)?;
    for n in 0..count {
        let header = usize::try_from(table + n * entry).ok()?;
        let (offset, length) = (number(header + 8, 8)?, number(header + 32, 8)?);
        end = end.max(offset.checked_add(length)?);
    }
    let end = usize::try_from(end).ok().filter(|end| *end <= elf.len())?;
    elf.truncate(end);
    // e_shoff; e_shnum and e_shstrndx.
    elf.get_mut(40..48)?.fill(0);
    elf.get_mut(60..64)?.fill(0);
    Some(elf)
}

#[cfg(test)]
mod tests {
    use super::without_symbols;

    #[test]
    fn only_what_is_loaded_stays_and_a_short_file_is_told() {
        let mut elf = vec![7; 300];
        elf[32..40].copy_from_slice(&64u64.to_le_bytes());
        elf[54..56].copy_from_slice(&56u16.to_le_bytes());
        elf[56..58].copy_from_slice(&1u16.to_le_bytes());
        elf[72..80].copy_from_slice(&120u64.to_le_bytes());
        elf[96..104].copy_from_slice(&80u64.to_le_bytes());
        let slim = without_symbols(elf.clone()).unwrap();
        assert_eq!(slim.len(), 200);
        assert_eq!((&slim[40..48], &slim[60..64]), (&[0; 8][..], &[0; 4][..]));
        elf.truncate(150);
        assert!(without_symbols(elf).is_none());
        assert!(without_symbols(vec![0; 20]).is_none());
    }
}
