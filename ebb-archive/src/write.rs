//! Makes archives: everything but the files' data, which the caller copies to the places it is
//! told, so that files larger than memory are no trouble.

use alloc::{
    collections::{BTreeMap, VecDeque},
    string::{String, ToString as _},
    vec::Vec,
};
use core::fmt;

use crate::{
    NAME_MAX, PAGE, TARGET_MAX,
    entry::{ENTRY, Entry, HEADER, Header, Kind, Metadata},
};

/// Where in an archive the 8 bytes are, little endian, by which it can be told from any other one: 0, or a checksum of all of it,
/// taken with zeroes there. Who writes the data writes them last.
pub const CONTENT_NAME: u64 = 56;

/// A tree to be written.
#[derive(Debug, Default)]
pub struct Builder {
    root: Directory,
    arguments: Vec<u8>,
    environment: Vec<u8>,
    directory: Vec<u8>,
}

/// A finished plan.
#[derive(Debug, PartialEq, Eq)]
pub struct Layout {
    /// The archive's first bytes, up to the first file's data.
    pub table: Vec<u8>,
    /// Where the data of the files goes that are not empty, by ascending offset, each once.
    pub files: Vec<Placed>,
    /// The archive's length; a multiple of the page size. What no file covers is zero.
    pub len: u64,
}

/// A file's data in the archive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Placed {
    /// The caller's number of the content.
    pub content: u64,
    /// Offset in the archive.
    pub offset: u64,
    /// Bytes.
    pub size: u64,
}

/// What cannot be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Error {
    /// A path is empty or has an impossible component.
    Path(String),
    /// Two different things at one path.
    Conflict(String),
    /// A link's target is empty, too long or has a zero byte.
    Target(String),
    /// A string has a zero byte, or the working directory is not absolute.
    String(String),
    /// One content was given two sizes.
    Content(u64),
    /// More entries or names than 32-bit numbers can tell.
    TooLarge,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Item {
    File {
        content: u64,
        size: u64,
        metadata: Metadata,
    },
    Directory(Directory),
    Symlink {
        target: Vec<u8>,
        metadata: Metadata,
    },
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Directory {
    /// `None` for one that only a path of something else needs.
    metadata: Option<Metadata>,
    children: BTreeMap<Vec<u8>, Item>,
}

impl Builder {
    /// An empty tree.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a file of `size` bytes. `content` is the caller's number of the data: files with the
    /// same number share it, as hard links do.
    ///
    /// # Errors
    /// When the path is impossible or something else is there.
    pub fn file(
        &mut self,
        path: &[u8],
        content: u64,
        size: u64,
        metadata: Metadata,
    ) -> Result<(), Error> {
        self.insert(
            path,
            Item::File {
                content,
                size,
                metadata,
            },
        )
    }

    /// Adds a directory; those above it come by themselves.
    ///
    /// # Errors
    /// When the path is impossible or something else is there.
    pub fn directory(&mut self, path: &[u8], metadata: Metadata) -> Result<(), Error> {
        self.insert(
            path,
            Item::Directory(Directory {
                metadata: Some(metadata),
                children: BTreeMap::new(),
            }),
        )
    }

    /// Adds a symbolic link.
    ///
    /// # Errors
    /// When path or target are impossible or something else is there.
    pub fn symlink(&mut self, path: &[u8], target: &[u8], metadata: Metadata) -> Result<(), Error> {
        if target.is_empty() || target.len() > TARGET_MAX || target.contains(&0) {
            return Err(Error::Target(text(path)));
        }
        self.insert(
            path,
            Item::Symlink {
                target: target.into(),
                metadata,
            },
        )
    }

    /// Whether something is at this path.
    pub fn contains(&self, path: &[u8]) -> bool {
        let mut directory = &self.root;
        let mut components = components(path).peekable();
        while let Some(name) = components.next() {
            match directory.children.get(name) {
                Some(Item::Directory(inner)) => directory = inner,
                Some(_) => return components.peek().is_none(),
                None => return false,
            }
        }
        true
    }

    /// Appends a program argument.
    ///
    /// # Errors
    /// When it has a zero byte.
    pub fn argument(&mut self, argument: &[u8]) -> Result<(), Error> {
        append(&mut self.arguments, argument)
    }

    /// Appends an environment string.
    ///
    /// # Errors
    /// When it has a zero byte.
    pub fn environment(&mut self, string: &[u8]) -> Result<(), Error> {
        append(&mut self.environment, string)
    }

    /// Sets the working directory, an absolute path.
    ///
    /// # Errors
    /// When it is not absolute or has a zero byte.
    pub fn working_directory(&mut self, path: &[u8]) -> Result<(), Error> {
        if path.first() != Some(&b'/') || path.contains(&0) {
            return Err(Error::String(text(path)));
        }
        self.directory = path.into();
        Ok(())
    }

    fn insert(&mut self, path: &[u8], item: Item) -> Result<(), Error> {
        let mut names: Vec<&[u8]> = components(path).collect();
        let impossible =
            |name: &&[u8]| name.len() > NAME_MAX || **name == *b".." || name.contains(&0);
        if names.iter().any(impossible) {
            return Err(Error::Path(text(path)));
        }
        let Some(last) = names.pop() else {
            // The root: only its metadata can be said.
            return match item {
                Item::Directory(new) => {
                    merge(&mut self.root, new).ok_or_else(|| Error::Conflict(text(path)))
                }
                _ => Err(Error::Path(text(path))),
            };
        };
        let mut directory = &mut self.root;
        for name in names {
            let inner = directory
                .children
                .entry(name.into())
                .or_insert_with(|| Item::Directory(Directory::default()));
            let Item::Directory(inner) = inner else {
                return Err(Error::Conflict(text(path)));
            };
            directory = inner;
        }
        match directory.children.get_mut(last) {
            None => {
                directory.children.insert(last.into(), item);
                Ok(())
            }
            Some(present) => match (present, item) {
                (Item::Directory(present), Item::Directory(new)) => merge(present, new),
                (present, item) => (*present == item).then_some(()),
            }
            .ok_or_else(|| Error::Conflict(text(path))),
        }
    }

    /// Lays everything out.
    ///
    /// # Errors
    /// When it is too large, or one content has two sizes.
    pub fn finish(self) -> Result<Layout, Error> {
        let mut names = self.arguments.clone();
        names.extend_from_slice(&self.environment);
        let directory = if self.directory.is_empty() {
            b"/".to_vec()
        } else {
            self.directory
        };
        let directory_at = place(&mut names, &directory)?;

        // Breadth first, so that the children of each directory stand together.
        let mut entries: Vec<Entry> = Vec::new();
        let mut contents = Contents::new();
        let mut order: Vec<u64> = Vec::new();
        let mut pending = VecDeque::from([(Vec::new(), Item::Directory(self.root), 0)]);
        let mut known = 1_u64;
        while let Some((name, item, parent)) = pending.pop_front() {
            let index = u32::try_from(entries.len()).map_err(|_| Error::TooLarge)?;
            let (kind, metadata, size, at) = match item {
                Item::File {
                    content,
                    size,
                    metadata,
                } => {
                    if size > 0 {
                        let (known_size, users) = contents.entry(content).or_insert_with(|| {
                            order.push(content);
                            (size, Vec::new())
                        });
                        if *known_size != size {
                            return Err(Error::Content(content));
                        }
                        users.push(entries.len());
                    }
                    (Kind::File, metadata, size, 0)
                }
                Item::Symlink { target, metadata } => {
                    let at = place(&mut names, &target)?;
                    (Kind::Symlink, metadata, target.len() as u64, at.into())
                }
                Item::Directory(directory) => {
                    let count = directory.children.len() as u64;
                    let first = known;
                    known += count;
                    pending.extend(
                        directory
                            .children
                            .into_iter()
                            .map(|(name, item)| (name, item, index)),
                    );
                    let metadata = directory.metadata.unwrap_or(Metadata::root(0o755));
                    (
                        Kind::Directory,
                        metadata,
                        count,
                        if count > 0 { first } else { 0 },
                    )
                }
            };
            entries.push(Entry {
                mode: kind.bits() | metadata.permissions & 0o7777,
                parent,
                name: if name.is_empty() {
                    0
                } else {
                    place(&mut names, &name)?
                },
                name_len: name.len() as u32,
                size,
                place: at,
                mtime: metadata.mtime,
                mtime_nanoseconds: metadata.mtime_nanoseconds.min(999_999_999),
                uid: metadata.uid,
                gid: metadata.gid,
            });
        }

        let names_at = (HEADER + entries.len() * ENTRY) as u64;
        let names_end = (names_at + names.len() as u64).next_multiple_of(PAGE);
        let (files, end) = place_contents(contents, order, names_end, &mut entries)?;
        let header = Header {
            entries: u32::try_from(entries.len()).map_err(|_| Error::TooLarge)?,
            arguments: u32::try_from(self.arguments.len()).map_err(|_| Error::TooLarge)?,
            environment: u32::try_from(self.environment.len()).map_err(|_| Error::TooLarge)?,
            names: names_at,
            names_len: names.len() as u64,
            total: end,
            directory: directory_at,
            directory_len: u32::try_from(directory.len()).map_err(|_| Error::TooLarge)?,
            content: 0,
        };
        let mut table = header.bytes().to_vec();
        table.extend(entries.iter().flat_map(Entry::bytes));
        table.extend_from_slice(&names);
        Ok(Layout {
            table,
            files,
            len: end,
        })
    }
}

/// Of each content its size, and the entries that have it.
type Contents = BTreeMap<u64, (u64, Vec<usize>)>;

/// Gives contents their places in this order from `end` on, and the entries theirs; gives those, and the end of them all.
fn place_contents(
    mut contents: Contents,
    order: Vec<u64>,
    mut end: u64,
    entries: &mut [Entry],
) -> Result<(Vec<Placed>, u64), Error> {
    let mut files = Vec::new();
    for content in order {
        let Some((size, users)) = contents.remove(&content) else {
            continue;
        };
        files.push(Placed {
            content,
            offset: end,
            size,
        });
        for user in users {
            entries[user].place = end;
        }
        end = size
            .checked_next_multiple_of(PAGE)
            .and_then(|s| end.checked_add(s))
            .ok_or(Error::TooLarge)?;
    }
    Ok((files, end))
}

/// Takes over the metadata if only one of them has any.
fn merge(present: &mut Directory, new: Directory) -> Option<()> {
    match (present.metadata, new.metadata) {
        (Some(a), Some(b)) if a != b => None,
        (a, b) => {
            present.metadata = a.or(b);
            Some(())
        }
    }
}

fn append(strings: &mut Vec<u8>, string: &[u8]) -> Result<(), Error> {
    if string.contains(&0) {
        return Err(Error::String(text(string)));
    }
    strings.extend_from_slice(string);
    strings.push(0);
    Ok(())
}

/// Appends to the names; gives the offset.
fn place(names: &mut Vec<u8>, name: &[u8]) -> Result<u32, Error> {
    let at = u32::try_from(names.len()).map_err(|_| Error::TooLarge)?;
    names.extend_from_slice(name);
    Ok(at)
}

/// The components of a path, without empty ones and `.`.
fn components(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    path.split(|b| *b == b'/')
        .filter(|name| !matches!(*name, b"" | b"."))
}

fn text(path: &[u8]) -> String {
    String::from_utf8_lossy(path).to_string()
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Path(path) => write!(
                f,
                "`{path}` is not a path that an archive can hold (no `..`, names up to {NAME_MAX} bytes)"
            ),
            Self::Conflict(path) => write!(f, "`{path}` is there already, as something else"),
            Self::Target(path) => write!(
                f,
                "the symbolic link `{path}` has no or an impossible target"
            ),
            Self::String(string) => write!(f, "`{string}` has a zero byte or is no absolute path"),
            Self::Content(content) => write!(f, "content {content} was given two sizes"),
            Self::TooLarge => write!(f, "the archive is too large"),
        }
    }
}

impl core::error::Error for Error {}
