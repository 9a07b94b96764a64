//! Reads an archive in place.

use core::{fmt, ops::Range};

use crate::{
    NAME_MAX, PAGE, TARGET_MAX,
    entry::{ENTRY, Entry, HEADER, Header, Kind, Metadata},
};

/// The most symbolic links that one look-up follows, as in Linux.
const LINKS: u32 = 40;

/// A checked archive.
#[derive(Clone, Copy)]
pub struct Archive<'a> {
    bytes: &'a [u8],
    header: Header,
    names: &'a [u8],
}

/// Why bytes are not an archive. Entries are told by their index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Error {
    /// Shorter than its header says, or than a header.
    Truncated,
    /// It does not begin as an archive of this version does.
    Magic,
    /// The header's ranges do not fit into the archive.
    Header,
    /// The first entry is not the root directory.
    Root,
    /// The entry is neither file, directory nor link.
    Kind(u32),
    /// The entry's name is empty, too long, `.`, `..`, or has a slash or a zero byte.
    Name(u32),
    /// The directory's children are not sorted, or the same name is there twice.
    Order(u32),
    /// The directory's children are not where they must be, or belong to another.
    Children(u32),
    /// The file's data is not on a page boundary inside the archive.
    Data(u32),
    /// The link's target is empty, too long, outside the names, or has a zero byte.
    Target(u32),
    /// The entry's time has a billion nanoseconds or more.
    Time(u32),
    /// The arguments, the environment or the working directory.
    Strings,
}

/// One entry of the tree.
#[derive(Clone, Copy)]
pub struct Node<'a> {
    archive: Archive<'a>,
    index: u32,
    entry: Entry,
}

/// Strings that each end with a zero byte in the archive.
#[derive(Debug, Clone, Copy)]
pub struct Strings<'a>(&'a [u8]);

impl<'a> Archive<'a> {
    /// Checks all of it except the files' contents. Bytes beyond the archive's own length (the rest
    /// of its last page frame, say) are ignored.
    ///
    /// # Errors
    /// With what is wrong first.
    pub fn new(bytes: &'a [u8]) -> Result<Self, Error> {
        let header =
            Header::parse(bytes.first_chunk().ok_or(Error::Truncated)?).ok_or(Error::Magic)?;
        let bytes = slice(bytes, 0, header.total).ok_or(Error::Truncated)?;
        let names = slice(bytes, header.names, header.names_len).ok_or(Error::Header)?;
        let table = u64::from(header.entries) * ENTRY as u64 + HEADER as u64;
        if header.names < table || header.total < table {
            return Err(Error::Header);
        }
        let archive = Self {
            bytes,
            header,
            names,
        };
        archive.check_tree()?;
        archive.check_strings()?;
        Ok(archive)
    }

    /// The archive itself, without what followed it.
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// The number of entries.
    pub fn entries(&self) -> u32 {
        self.header.entries
    }

    /// The root directory, entry 0.
    pub fn root(&self) -> Node<'a> {
        Node {
            archive: *self,
            index: 0,
            entry: self.entry(0).unwrap_or_default(),
        }
    }

    /// The entry with this index, which serves as an inode number.
    pub fn node(&self, index: u32) -> Option<Node<'a>> {
        Some(Node {
            archive: *self,
            index,
            entry: self.entry(index)?,
        })
    }

    /// The entry of a path from the root, without following symbolic links. Empty components and
    /// `.` are skipped; `..` goes up, at the root nowhere.
    pub fn lookup(&self, path: &[u8]) -> Option<Node<'a>> {
        let mut node = self.root();
        for name in path.split(|b| *b == b'/') {
            node = node.step(name)?;
        }
        Some(node)
    }

    /// The entry of a path from the root, following symbolic links, at most 40.
    pub fn resolve(&self, path: &[u8]) -> Option<Node<'a>> {
        self.follow(self.root(), path, &mut LINKS.clone())
    }

    /// Follows `path` from `from`. Recursion is as deep as links point to links, hence at most 40.
    fn follow(&self, from: Node<'a>, path: &[u8], links: &mut u32) -> Option<Node<'a>> {
        let mut node = if path.first() == Some(&b'/') {
            self.root()
        } else {
            from
        };
        for name in path.split(|b| *b == b'/') {
            let parent = node;
            node = node.step(name)?;
            if let Some(target) = node.target() {
                *links = links.checked_sub(1)?;
                node = self.follow(parent, target, links)?;
            }
        }
        Some(node)
    }

    /// What names its whole content, where whoever wrote it has computed that: archives that have the same name are the same,
    /// byte by byte.
    pub fn content_name(&self) -> Option<u64> {
        (self.header.content != 0).then_some(self.header.content)
    }

    /// The program and the arguments that come before those of the command line; empty if the
    /// command line gives the program.
    pub fn arguments(&self) -> Strings<'a> {
        let count = usize::try_from(self.header.arguments).unwrap_or(0);
        Strings(self.names.get(..count).unwrap_or_default())
    }

    /// The program's environment, `NAME=VALUE` each.
    pub fn environment(&self) -> Strings<'a> {
        let start = usize::try_from(self.header.arguments).unwrap_or(0);
        let count = usize::try_from(self.header.environment).unwrap_or(0);
        Strings(
            self.names
                .get(start..start.saturating_add(count))
                .unwrap_or_default(),
        )
    }

    /// The program's working directory, an absolute path.
    pub fn directory(&self) -> &'a [u8] {
        slice(
            self.names,
            self.header.directory.into(),
            self.header.directory_len.into(),
        )
        .unwrap_or(b"/")
    }

    fn entry(&self, index: u32) -> Option<Entry> {
        let table = self.bytes.get(HEADER..)?;
        let at = usize::try_from(index).ok()?.checked_mul(ENTRY)?;
        (index < self.header.entries)
            .then(|| table.get(at..)?.first_chunk().map(Entry::parse))
            .flatten()
    }

    /// Checks every entry. Breadth-first order makes it a tree: each directory's children begin
    /// where those of the one before it end.
    fn check_tree(&self) -> Result<(), Error> {
        let root = self.entry(0).ok_or(Error::Root)?;
        if Kind::of(root.mode) != Some(Kind::Directory) || root.parent != 0 || root.name_len != 0 {
            return Err(Error::Root);
        }
        let mut next = 1;
        for index in 0..self.header.entries {
            let entry = self.entry(index).ok_or(Error::Header)?;
            if entry.mtime_nanoseconds >= 1_000_000_000 {
                return Err(Error::Time(index));
            }
            match Kind::of(entry.mode).ok_or(Error::Kind(index))? {
                Kind::File => self.data(&entry).map(drop).ok_or(Error::Data(index))?,
                Kind::Symlink => {
                    let target =
                        slice(self.names, entry.place, entry.size).ok_or(Error::Target(index))?;
                    if target.is_empty() || target.len() > TARGET_MAX || target.contains(&0) {
                        return Err(Error::Target(index));
                    }
                }
                Kind::Directory => {
                    let end = u64::from(next).checked_add(entry.size);
                    let end = end
                        .and_then(|e| u32::try_from(e).ok())
                        .filter(|e| *e <= self.header.entries);
                    let end = end.ok_or(Error::Children(index))?;
                    // An empty directory's first child is of no matter.
                    let placed = entry.size == 0 || entry.place == u64::from(next);
                    // Children come after their directory, or the tree would have a cycle.
                    if !placed || next <= index && entry.size > 0 {
                        return Err(Error::Children(index));
                    }
                    self.check_children(index, next..end)?;
                    next = end;
                }
            }
        }
        if next == self.header.entries {
            Ok(())
        } else {
            Err(Error::Children(0))
        }
    }

    fn check_children(&self, parent: u32, children: Range<u32>) -> Result<(), Error> {
        let mut previous: &[u8] = b"";
        for index in children {
            let child = self.entry(index).ok_or(Error::Header)?;
            if child.parent != parent {
                return Err(Error::Children(parent));
            }
            let name = self.name(&child).ok_or(Error::Name(index))?;
            if name.len() > NAME_MAX
                || matches!(name, b"" | b"." | b"..")
                || name.iter().any(|b| matches!(b, b'/' | 0))
            {
                return Err(Error::Name(index));
            }
            if name <= previous {
                return Err(Error::Order(parent));
            }
            previous = name;
        }
        Ok(())
    }

    fn check_strings(&self) -> Result<(), Error> {
        let end = u64::from(self.header.arguments) + u64::from(self.header.environment);
        let terminated = |s: Strings<'_>| s.0.last().is_none_or(|b| *b == 0);
        let directory = slice(
            self.names,
            self.header.directory.into(),
            self.header.directory_len.into(),
        );
        let absolute = directory.is_some_and(|d| d.first() == Some(&b'/') && !d.contains(&0));
        if end > self.header.names_len
            || !terminated(self.arguments())
            || !terminated(self.environment())
            || !absolute
        {
            return Err(Error::Strings);
        }
        Ok(())
    }

    fn name(&self, entry: &Entry) -> Option<&'a [u8]> {
        slice(self.names, entry.name.into(), entry.name_len.into())
    }

    fn data(&self, entry: &Entry) -> Option<&'a [u8]> {
        if entry.size == 0 {
            return Some(&[]);
        }
        // The last page is there as a whole, so that it can be mapped.
        let pages = entry.size.checked_next_multiple_of(PAGE)?;
        let after = entry.place >= self.header.names.checked_add(self.header.names_len)?;
        (after && entry.place.is_multiple_of(PAGE))
            .then(|| slice(self.bytes, entry.place, pages))?
            .map(drop)?;
        slice(self.bytes, entry.place, entry.size)
    }
}

impl<'a> Node<'a> {
    /// The index, which serves as an inode number.
    pub fn index(&self) -> u32 {
        self.index
    }

    /// File, directory or link.
    pub fn kind(&self) -> Kind {
        Kind::of(self.entry.mode).unwrap_or(Kind::File)
    }

    /// Kind and permissions, as in `st_mode`.
    pub fn mode(&self) -> u32 {
        self.entry.mode
    }

    /// Permissions, owner, time.
    pub fn metadata(&self) -> Metadata {
        self.entry.metadata()
    }

    /// Bytes of a file or of a link's target; 0 for a directory.
    pub fn size(&self) -> u64 {
        if self.kind() == Kind::Directory {
            0
        } else {
            self.entry.size
        }
    }

    /// The name in its directory; empty for the root.
    pub fn name(&self) -> &'a [u8] {
        self.archive.name(&self.entry).unwrap_or_default()
    }

    /// The directory it is in; the root is in itself.
    pub fn parent(&self) -> Node<'a> {
        self.archive.node(self.entry.parent).unwrap_or(*self)
    }

    /// A file's bytes; empty for others.
    pub fn data(&self) -> &'a [u8] {
        if self.kind() != Kind::File {
            return &[];
        }
        self.archive.data(&self.entry).unwrap_or_default()
    }

    /// Where in the archive a file's pages are: whole pages, zero behind the file's end. `None`
    /// for others and for empty files.
    pub fn pages(&self) -> Option<Range<u64>> {
        let file = self.kind() == Kind::File && self.entry.size > 0;
        let end = self
            .entry
            .place
            .checked_add(self.entry.size.checked_next_multiple_of(PAGE)?)?;
        file.then_some(self.entry.place..end)
    }

    /// A link's target.
    pub fn target(&self) -> Option<&'a [u8]> {
        (self.kind() == Kind::Symlink)
            .then(|| slice(self.archive.names, self.entry.place, self.entry.size))
            .flatten()
    }

    /// The entries of a directory, sorted by name; none for others.
    pub fn children(
        &self,
    ) -> impl ExactSizeIterator<Item = Node<'a>> + DoubleEndedIterator + use<'a> {
        let archive = self.archive;
        self.child_range()
            .map(move |index| archive.node(index).unwrap_or(archive.root()))
    }

    /// The entry of this name in a directory.
    pub fn child(&self, name: &[u8]) -> Option<Node<'a>> {
        let Range { mut start, mut end } = self.child_range();
        while start < end {
            let middle = start + (end - start) / 2;
            let node = self.archive.node(middle)?;
            match node.name().cmp(name) {
                core::cmp::Ordering::Equal => return Some(node),
                core::cmp::Ordering::Less => start = middle + 1,
                core::cmp::Ordering::Greater => end = middle,
            }
        }
        None
    }

    fn child_range(&self) -> Range<u32> {
        let range = || -> Option<Range<u32>> {
            let start = u32::try_from(self.entry.place).ok()?;
            Some(start..start.checked_add(u32::try_from(self.entry.size).ok()?)?)
        };
        let directory = self.kind() == Kind::Directory && self.entry.size > 0;
        directory.then(range).flatten().unwrap_or(0..0)
    }

    /// One component of a path. A file has no components, not even `.`.
    fn step(self, name: &[u8]) -> Option<Self> {
        match name {
            b"" => Some(self),
            _ if self.kind() != Kind::Directory => None,
            b"." => Some(self),
            b".." => Some(self.parent()),
            _ => self.child(name),
        }
    }
}

impl<'a> Iterator for Strings<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let end = self.0.iter().position(|b| *b == 0)?;
        let (string, rest) = self.0.split_at(end);
        self.0 = rest.get(1..).unwrap_or_default();
        Some(string)
    }
}

impl fmt::Debug for Archive<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Archive")
            .field("size", &self.bytes.len())
            .field("entries", &self.entries())
            .finish()
    }
}

impl fmt::Debug for Node<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Node")
            .field("index", &self.index)
            .field("kind", &self.kind())
            .field("size", &self.size())
            .finish()
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (entry, what) = match self {
            Self::Truncated => (None, "it is cut off"),
            Self::Magic => (None, "it is not a boot archive of this version"),
            Self::Header => (None, "its header is wrong"),
            Self::Root => (None, "it has no root directory"),
            Self::Strings => (
                None,
                "its arguments, environment or working directory are wrong",
            ),
            Self::Kind(i) => (Some(i), "is of no known kind"),
            Self::Name(i) => (Some(i), "has an impossible name"),
            Self::Order(i) => (Some(i), "has entries out of order"),
            Self::Children(i) => (Some(i), "has entries that are not its own"),
            Self::Data(i) => (Some(i), "has data outside the archive's pages"),
            Self::Target(i) => (Some(i), "links to an impossible target"),
            Self::Time(i) => (Some(i), "has an impossible time"),
        };
        match entry {
            None => write!(f, "boot archive: {what}"),
            Some(index) => write!(f, "boot archive: entry {index} {what}"),
        }
    }
}

impl core::error::Error for Error {}

fn slice(bytes: &[u8], start: u64, len: u64) -> Option<&[u8]> {
    let start = usize::try_from(start).ok()?;
    bytes.get(start..start.checked_add(usize::try_from(len).ok()?)?)
}
