//! A directory of Linux, shared.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    hash::{DefaultHasher, Hash, Hasher},
    io,
    os::{
        fd::OwnedFd,
        unix::fs::{FileExt, MetadataExt},
    },
    sync::Arc,
};

use ebb_offload::{
    Entry, FileError, Kind, Metadata, PAGE, Page, Part,
    host::{Pending, Root},
};
use nix::{
    dir::{Dir, Type},
    errno::Errno,
    fcntl::{AtFlags, OFlag, OpenHow, ResolveFlag, openat2},
    sys::stat::{SFlag, fstatat},
};

use crate::threads::Threads;

/// Threads for files: so many requests are under way at once.
const READERS: usize = 4;
/// How often a path is looked up again of which somebody moves a part.
const TRIES: usize = 100;

/// See the module.
pub struct Directory {
    descriptor: Arc<OwnedFd>,
    threads: Threads,
}

/// Opens it; from then on the path is not looked at again, so it may be moved.
pub fn open(path: &str) -> Result<Directory, String> {
    let said = |error: &dyn std::fmt::Display| format!("{path} cannot be shared: {error}");
    let file = File::open(path).map_err(|error| said(&error))?;
    let metadata = file.metadata().map_err(|error| said(&error))?;
    if !metadata.is_dir() {
        return Err(said(&"it is no directory"));
    }
    let descriptor = OwnedFd::from(file);
    below(&descriptor, ".", OFlag::O_DIRECTORY).map_err(|error| match error {
        Errno::ENOSYS | Errno::EPERM => {
            said(&"this Linux has no openat2 (5.6 has), which keeps paths within it")
        }
        error => said(&error),
    })?;
    let threads = Threads::start("ebb files", READERS).map_err(|error| said(&error))?;
    Ok(Directory {
        descriptor: Arc::new(descriptor),
        threads,
    })
}

/// Opens what is at a path below a directory, without waiting for another end of it.
fn below(root: &OwnedFd, path: &str, flags: OFlag) -> Result<OwnedFd, Errno> {
    let mut flags = flags | OFlag::O_CLOEXEC;
    // What is only looked at takes no others.
    if !flags.contains(OFlag::O_PATH) {
        flags |= OFlag::O_NONBLOCK | OFlag::O_NOCTTY;
    }
    let resolve = ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_MAGICLINKS;
    let how = OpenHow::new().flags(flags).resolve(resolve);
    if path.contains('\0') {
        return Err(Errno::ENOENT);
    }
    let mut opened = Err(Errno::EAGAIN);
    for _ in 0..TRIES {
        opened = openat2(root, path, how);
        // Somebody moved a directory meanwhile, and the kernel will not say where `..` leads.
        if !matches!(opened, Err(Errno::EAGAIN | Errno::EINTR)) {
            break;
        }
    }
    opened
}

/// What is there, without opening it: a device may take that for an order.
fn look(root: &OwnedFd, path: &str) -> Result<Metadata, FileError> {
    let there = below(root, path, OFlag::O_PATH).map_err(told)?;
    known(&File::from(there))
}

fn known(file: &File) -> Result<Metadata, FileError> {
    let metadata = file.metadata().map_err(|_| FileError::Io)?;
    Ok(Metadata {
        kind: if metadata.is_file() {
            Kind::File
        } else if metadata.is_dir() {
            Kind::Directory
        } else {
            Kind::Other
        },
        size: metadata.len(),
        modified_us: metadata
            .mtime()
            .saturating_mul(1_000_000)
            .saturating_add(metadata.mtime_nsec() / 1000),
        version: version(&metadata),
    })
}

/// The time of the last change of the inode, which nobody sets, and which inode it is.
fn version(metadata: &fs::Metadata) -> u64 {
    let mut hasher = DefaultHasher::new();
    (metadata.dev(), metadata.ino()).hash(&mut hasher);
    (metadata.ctime(), metadata.ctime_nsec()).hash(&mut hasher);
    hasher.finish()
}

fn read(root: &OwnedFd, path: &str, offset: u64, length: u32) -> Result<Part, FileError> {
    if look(root, path)?.kind != Kind::File {
        return Err(FileError::NotAFile);
    }
    let file = File::from(below(root, path, OFlag::empty()).map_err(told)?);
    let of = known(&file)?;
    if of.kind != Kind::File {
        return Err(FileError::NotAFile);
    }
    let mut bytes = vec![0; length as usize];
    let mut count = 0;
    while count < bytes.len() {
        match file.read_at(&mut bytes[count..], offset.saturating_add(count as u64)) {
            Ok(0) => break,
            Ok(more) => count += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            // Beyond what an offset can be there is nothing.
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => break,
            Err(_) => return Err(FileError::Io),
        }
    }
    bytes.truncate(count);
    bytes.shrink_to_fit();
    // As it is now: whoever sees the same twice has read nothing that was changed in between.
    let of = known(&file)?;
    Ok(Part {
        bytes: bytes.into(),
        of,
    })
}

/// The first names after one, in the order of their bytes. A directory of any length costs a page of memory.
fn list(root: &OwnedFd, path: &str, after: &str) -> Result<Page, FileError> {
    let directory = below(root, path, OFlag::O_DIRECTORY).map_err(told)?;
    let mut first: BTreeMap<String, Option<Type>> = BTreeMap::new();
    let (mut more, mut unnamed) = (false, 0);
    let again = directory.try_clone().map_err(|_| FileError::Io)?;
    for entry in Dir::from_fd(again).map_err(told)? {
        let entry = entry.map_err(told)?;
        let Ok(name) = entry.file_name().to_str() else {
            unnamed += 1;
            continue;
        };
        if name <= after || matches!(name, "." | "..") {
            continue;
        }
        if first.len() == PAGE {
            more = true;
            if first
                .last_key_value()
                .is_some_and(|(last, _)| name >= last.as_str())
            {
                continue;
            }
            first.pop_last();
        }
        first.insert(name.to_owned(), entry.file_type());
    }
    let entry = |(name, kind): (String, Option<Type>)| {
        // Some file systems do not say.
        let kind = kind.map_or_else(
            || looked_up(&directory, &name),
            |kind| match kind {
                Type::File => Kind::File,
                Type::Directory => Kind::Directory,
                Type::Symlink => Kind::Link,
                _ => Kind::Other,
            },
        );
        Entry { name, kind }
    };
    Ok(Page {
        entries: first.into_iter().map(entry).collect(),
        more,
        unnamed,
    })
}

fn looked_up(directory: &OwnedFd, name: &str) -> Kind {
    let found = fstatat(directory, name, AtFlags::AT_SYMLINK_NOFOLLOW);
    let kind = found.map_or(SFlag::empty(), |found| {
        SFlag::from_bits_truncate(found.st_mode) & SFlag::S_IFMT
    });
    match kind {
        SFlag::S_IFREG => Kind::File,
        SFlag::S_IFDIR => Kind::Directory,
        SFlag::S_IFLNK => Kind::Link,
        _ => Kind::Other,
    }
}

fn told(error: Errno) -> FileError {
    match error {
        Errno::EXDEV => FileError::Outside,
        Errno::EACCES | Errno::EPERM => FileError::Denied,
        Errno::ENOTDIR => FileError::NotADirectory,
        Errno::EAGAIN => FileError::Busy,
        // Also links that lead round in a circle.
        Errno::ENOENT | Errno::ENAMETOOLONG | Errno::ELOOP => FileError::NotFound,
        _ => FileError::Io,
    }
}

impl Root for Directory {
    fn metadata(&self, path: String) -> Pending<Metadata, FileError> {
        let root = Arc::clone(&self.descriptor);
        self.threads
            .run(move || look(&root, &path), FileError::Busy)
    }

    fn read(&self, path: String, offset: u64, length: u32) -> Pending<Part, FileError> {
        let root = Arc::clone(&self.descriptor);
        let read = move || read(&root, &path, offset, length);
        self.threads.run(read, FileError::Busy)
    }

    fn list(&self, path: String, after: String) -> Pending<Page, FileError> {
        let root = Arc::clone(&self.descriptor);
        let list = move || list(&root, &path, &after);
        self.threads.run(list, FileError::Busy)
    }
}
