//! Files as disks: what `EBB_DISK` says, making a file that is not there, and locking it. The runner and the hosted platform
//! both go by this, so that a disk is the same thing for an image and for a process.
//!
//! What must hold: a file is used by one machine at a time. The lock is `flock`'s, taken before anything is read or written; it
//! lasts until the last descriptor of the same opening is closed, so a QEMU that inherits one keeps it.

use std::{
    fmt,
    fs::{File, OpenOptions, TryLockError},
    io::{self, Seek, SeekFrom},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

/// Bytes of a file that is made when nothing says how many.
pub const DEFAULT_SIZE: u64 = 4 << 30;
/// The smallest disk, in bytes.
pub const SMALLEST: u64 = 1 << 20;

/// What `EBB_DISK` takes, for messages.
pub const TAKES: &str = "FILE[,size=4G][,format=raw|qcow2][,cache=writeback|none|writethrough|directsync|unsafe][,readonly][;...] or none, \
     FILE without `,` and `;`, each once, size from 1M to 1024T";

/// What a file is made of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// Its bytes are the disk's.
    #[default]
    Raw,
    /// QEMU's format; only QEMU reads it.
    Qcow2,
}

impl Format {
    /// QEMU's word for it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Raw => "raw",
            Self::Qcow2 => "qcow2",
        }
    }
}

/// How writes reach the file: QEMU's modes of `cache`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Cache {
    /// They last once flushed.
    #[default]
    WriteBack,
    /// The same without the host's page cache, where there is a choice.
    None,
    /// They last when they end.
    WriteThrough,
    /// The same without the host's page cache, where there is a choice.
    DirectSync,
    /// A flush does nothing.
    Unsafe,
}

impl Cache {
    const ALL: [Self; 5] = [
        Self::WriteBack,
        Self::None,
        Self::WriteThrough,
        Self::DirectSync,
        Self::Unsafe,
    ];

    /// QEMU's word for it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::WriteBack => "writeback",
            Self::None => "none",
            Self::WriteThrough => "writethrough",
            Self::DirectSync => "directsync",
            Self::Unsafe => "unsafe",
        }
    }
}

/// One disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spec {
    /// The file, or a block device.
    pub path: PathBuf,
    /// Bytes of the file if it has to be made.
    pub size: Option<u64>,
    /// What it is made of.
    pub format: Format,
    /// How writes reach it.
    pub cache: Cache,
    /// It takes no writes.
    pub read_only: bool,
}

impl Spec {
    /// Parses a value of `EBB_DISK`; `none` is no disk, where a program would have one.
    ///
    /// # Errors
    /// What is accepted.
    pub fn parse_list(text: &str) -> Result<Vec<Self>, String> {
        if text == "none" {
            return Ok(Vec::new());
        }
        let all: Option<Vec<Self>> = text.split(';').map(Self::parse).collect();
        let all = all.ok_or(TAKES)?;
        for (n, spec) in all.iter().enumerate() {
            if all[..n].iter().any(|other| other.path == spec.path) {
                return Err(TAKES.into());
            }
        }
        Ok(all)
    }

    /// This file, and what holds where nothing is said.
    #[must_use]
    pub fn of(path: &Path) -> Self {
        Self {
            path: path.into(),
            size: None,
            format: Format::Raw,
            cache: Cache::WriteBack,
            read_only: false,
        }
    }

    fn parse(text: &str) -> Option<Self> {
        let mut words = text.split(',');
        let path = words.next().filter(|path| !path.is_empty())?;
        let mut spec = Self::of(Path::new(path));
        for word in words {
            match word.split_once('=').unwrap_or((word, "")) {
                ("size", size) => spec.size = Some(parse_size(size)?),
                ("format", "raw") => spec.format = Format::Raw,
                ("format", "qcow2") => spec.format = Format::Qcow2,
                ("cache", name) => {
                    spec.cache = Cache::ALL.into_iter().find(|c| c.name() == name)?;
                }
                ("readonly", "") => spec.read_only = true,
                _ => return None,
            }
        }
        Some(spec)
    }

    /// Opens the file and locks it. One that is not there is made, sparse, after `inform` was told; `make` makes one that is
    /// not raw, of so many bytes.
    ///
    /// # Errors
    /// [`Fault`].
    pub fn open(
        &self,
        inform: impl FnOnce(String),
        make: impl FnOnce(&Path, u64) -> Result<(), String>,
    ) -> Result<File, Fault> {
        let fault = |why: Why| Fault {
            path: self.path.clone(),
            why,
        };
        let failed = |error: io::Error| fault(Why::Failed(error.to_string()));
        let mut options = OpenOptions::new();
        // What programs keep is nobody else's to read.
        options.read(true).write(!self.read_only).mode(0o600);
        let file = match options.open(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound && !self.read_only => {
                self.check_folder().map_err(fault)?;
                let size = self.size.unwrap_or(DEFAULT_SIZE);
                inform(format!(
                    "making the disk {}, {} ({}, sparse)",
                    self.path.display(),
                    show_size(size),
                    self.format.name()
                ));
                if self.format == Format::Raw {
                    let file = options.create_new(true).open(&self.path).map_err(failed)?;
                    lock(&file).map_err(fault)?;
                    file.set_len(size).map_err(failed)?;
                    return Ok(file);
                }
                make(&self.path, size).map_err(|text| fault(Why::Failed(text)))?;
                options.open(&self.path).map_err(failed)?
            }
            opened => opened.map_err(failed)?,
        };
        if file.metadata().map_err(failed)?.is_dir() {
            return Err(fault(Why::Failed("it is a folder".into())));
        }
        lock(&file).map_err(fault)?;
        if self.format == Format::Raw {
            let size = (&file).seek(SeekFrom::End(0)).map_err(failed)?;
            if size < SMALLEST {
                return Err(fault(Why::TooSmall(size)));
            }
        }
        Ok(file)
    }
}

impl Spec {
    /// A file that is to be made needs a folder.
    fn check_folder(&self) -> Result<(), Why> {
        let folder = self.path.parent().unwrap_or(Path::new("/"));
        if folder.as_os_str().is_empty() || folder.is_dir() {
            return Ok(());
        }
        let shown = folder.display();
        Err(Why::Failed(format!(
            "there is no folder {shown}; `mkdir -p {shown}` makes it"
        )))
    }
}

fn lock(file: &File) -> Result<(), Why> {
    match file.try_lock() {
        Ok(()) => Ok(()),
        Err(TryLockError::WouldBlock) => Err(Why::InUse),
        Err(TryLockError::Error(error)) => {
            Err(Why::Failed(format!("it cannot be locked: {error}")))
        }
    }
}

/// Why a file cannot be a disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The file.
    pub path: PathBuf,
    /// Why.
    pub why: Why,
}

/// See [`Fault`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Why {
    /// Another machine uses it.
    InUse,
    /// It has only so many bytes.
    TooSmall(u64),
    /// It cannot be opened or made.
    Failed(String),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.path.display();
        match &self.why {
            Why::InUse => write!(
                f,
                "the disk {path} is in use: another machine has locked it, and two on one disk would destroy what is there"
            ),
            Why::TooSmall(has) => write!(
                f,
                "the disk {path} has {has} bytes; the smallest has {}",
                show_size(SMALLEST)
            ),
            Why::Failed(text) => write!(f, "the disk {path} cannot be used: {text}"),
        }
    }
}

impl std::error::Error for Fault {}

/// Bytes of `4G`, `512M`, `1T`.
fn parse_size(text: &str) -> Option<u64> {
    let unit = text.chars().last()?;
    let shift = match unit.to_ascii_uppercase() {
        'M' => 20,
        'G' => 30,
        'T' => 40,
        _ => return None,
    };
    let number: u64 = text[..text.len() - 1].parse().ok()?;
    let bytes = number.checked_mul(1 << shift)?;
    (SMALLEST..=1024 << 40).contains(&bytes).then_some(bytes)
}

fn show_size(bytes: u64) -> String {
    if bytes.is_multiple_of(1 << 30) {
        format!("{} GiB", bytes >> 30)
    } else {
        format!("{} MiB", bytes >> 20)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scratch(name: &str) -> PathBuf {
        let path = std::env::temp_dir().join(format!("ebb-disk-{}-{name}", std::process::id()));
        let _ = std::fs::remove_file(&path);
        path
    }

    fn unused(_: &Path, _: u64) -> Result<(), String> {
        Err("not for raw files".into())
    }

    #[test]
    fn a_value_names_files_and_how_they_are_used() {
        let all =
            Spec::parse_list("a,size=2G,cache=none;/b/c.qcow2,format=qcow2,readonly").unwrap();
        assert_eq!(all.len(), 2);
        assert_eq!((all[0].size, all[0].cache), (Some(2 << 30), Cache::None));
        assert_eq!((all[1].format, all[1].read_only), (Format::Qcow2, true));
        for bad in [
            "",
            ";",
            "a;",
            ",size=1G",
            "a,size=1",
            "a,size=0M",
            "a,size=-1G",
            "a,size=2000T",
            "a,size=G",
            "a,format=vmdk",
            "a,cache=fast",
            "a,readonly=1",
            "a,b",
            "a;a",
        ] {
            assert!(Spec::parse_list(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_missing_folder_is_named_before_anything_is_said_to_be_made() {
        let spec = Spec::of(Path::new("/nowhere/at/all"));
        let fault = spec.open(|line| panic!("{line}"), unused).unwrap_err();
        let told = fault.to_string();
        assert!(
            told.contains("there is no folder /nowhere/at; `mkdir -p"),
            "{told}"
        );
    }

    #[test]
    fn a_file_that_is_missing_is_made_sparse_after_saying_so_and_locked_against_a_second_machine() {
        let path = scratch("made");
        let spec = Spec::parse(&format!("{},size=64M", path.display())).unwrap();
        let mut said = String::new();
        let first = spec.open(|line| said = line, unused).unwrap();
        assert!(
            said.contains("64 MiB") && said.contains(path.to_str().unwrap()),
            "{said}"
        );
        let meta = first.metadata().unwrap();
        assert_eq!(meta.len(), 64 << 20);
        assert!(std::os::unix::fs::MetadataExt::blocks(&meta) < 64);
        let second = spec.open(|line| panic!("{line}"), unused).unwrap_err();
        assert_eq!(second.why, Why::InUse);
        assert!(second.to_string().contains("in use"), "{second}");
        drop(first);
        spec.open(|line| panic!("{line}"), unused).unwrap();
        std::fs::remove_file(path).unwrap();
    }

    #[test]
    fn what_cannot_be_a_disk_is_said() {
        let path = scratch("small");
        std::fs::write(&path, "no disk").unwrap();
        let spec = Spec::parse(path.to_str().unwrap()).unwrap();
        let why = |spec: &Spec| spec.open(|_| {}, unused).unwrap_err().why;
        assert_eq!(why(&spec), Why::TooSmall(7));
        std::fs::remove_file(&path).unwrap();
        let read_only = Spec {
            read_only: true,
            ..spec
        };
        assert!(matches!(why(&read_only), Why::Failed(_)));
        let folder = Spec {
            path: std::env::temp_dir(),
            ..read_only
        };
        assert!(matches!(why(&folder), Why::Failed(_)));
    }
}
