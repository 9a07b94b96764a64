//! The layout: header and entries, little-endian, and nothing of what they mean.

/// The first bytes; the last one is the version.
pub(crate) const MAGIC: [u8; 8] = *b"EBBARCH\x01";
/// Bytes of the header, which is followed by the entries.
pub(crate) const HEADER: usize = 64;
/// Bytes of one entry.
pub(crate) const ENTRY: usize = 64;

/// The bits of a mode that say the kind.
const S_IFMT: u32 = 0o170_000;

/// What an entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link.
    Symlink,
}

impl Kind {
    /// From the bits of `st_mode`.
    pub(crate) fn of(mode: u32) -> Option<Self> {
        match mode & S_IFMT {
            0o100_000 => Some(Self::File),
            0o040_000 => Some(Self::Directory),
            0o120_000 => Some(Self::Symlink),
            _ => None,
        }
    }

    /// To the bits of `st_mode`.
    pub(crate) fn bits(self) -> u32 {
        match self {
            Self::File => 0o100_000,
            Self::Directory => 0o040_000,
            Self::Symlink => 0o120_000,
        }
    }
}

/// What `stat` tells of an entry beside its kind and size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Metadata {
    /// The permission bits (`0o7777`).
    pub permissions: u32,
    /// The owner.
    pub uid: u32,
    /// The owning group.
    pub gid: u32,
    /// Seconds since 1970 of the last change.
    pub mtime: i64,
    /// Nanoseconds (below 1,000,000,000) of the last change.
    pub mtime_nanoseconds: u32,
}

impl Metadata {
    /// Owned by root, changed in 1970.
    pub const fn root(permissions: u32) -> Self {
        Self {
            permissions,
            uid: 0,
            gid: 0,
            mtime: 0,
            mtime_nanoseconds: 0,
        }
    }
}

/// The header's fields.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Header {
    pub entries: u32,
    pub arguments: u32,
    pub environment: u32,
    pub names: u64,
    pub names_len: u64,
    pub total: u64,
    /// Offset of the working directory in the names, and its length.
    pub directory: u32,
    pub directory_len: u32,
    /// See [`crate::write::CONTENT_NAME`].
    pub content: u64,
}

impl Header {
    /// `None` without the magic.
    pub fn parse(b: &[u8; HEADER]) -> Option<Self> {
        (b[..8] == MAGIC).then(|| Self {
            entries: u32_at(b, 8),
            arguments: u32_at(b, 12),
            environment: u32_at(b, 16),
            directory: u32_at(b, 20),
            directory_len: u32_at(b, 24),
            names: u64_at(b, 32),
            names_len: u64_at(b, 40),
            total: u64_at(b, 48),
            content: u64_at(b, 56),
        })
    }

    pub fn bytes(&self) -> [u8; HEADER] {
        let mut b = [0; HEADER];
        b[..8].copy_from_slice(&MAGIC);
        let words = [
            self.entries,
            self.arguments,
            self.environment,
            self.directory,
            self.directory_len,
        ];
        for (place, word) in b[8..28].chunks_exact_mut(4).zip(words) {
            place.copy_from_slice(&word.to_le_bytes());
        }
        for (place, word) in b[32..64].chunks_exact_mut(8).zip([
            self.names,
            self.names_len,
            self.total,
            self.content,
        ]) {
            place.copy_from_slice(&word.to_le_bytes());
        }
        b
    }
}

/// An entry's fields.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Entry {
    pub mode: u32,
    pub parent: u32,
    /// Offset in the names, and length.
    pub name: u32,
    pub name_len: u32,
    /// File: bytes. Directory: children. Link: length of the target.
    pub size: u64,
    /// File: offset of the data in the archive. Directory: index of the first child. Link: offset of
    /// the target in the names.
    pub place: u64,
    pub mtime: i64,
    pub mtime_nanoseconds: u32,
    pub uid: u32,
    pub gid: u32,
}

impl Entry {
    pub fn parse(b: &[u8; ENTRY]) -> Self {
        Self {
            mode: u32_at(b, 0),
            parent: u32_at(b, 4),
            name: u32_at(b, 8),
            name_len: u32_at(b, 12),
            size: u64_at(b, 16),
            place: u64_at(b, 24),
            mtime: u64_at(b, 32).cast_signed(),
            mtime_nanoseconds: u32_at(b, 40),
            uid: u32_at(b, 44),
            gid: u32_at(b, 48),
        }
    }

    pub fn bytes(&self) -> [u8; ENTRY] {
        let mut b = [0; ENTRY];
        for (place, word) in
            b[..16]
                .chunks_exact_mut(4)
                .zip([self.mode, self.parent, self.name, self.name_len])
        {
            place.copy_from_slice(&word.to_le_bytes());
        }
        let longs = [self.size, self.place, self.mtime.cast_unsigned()];
        for (place, word) in b[16..40].chunks_exact_mut(8).zip(longs) {
            place.copy_from_slice(&word.to_le_bytes());
        }
        for (place, word) in
            b[40..52]
                .chunks_exact_mut(4)
                .zip([self.mtime_nanoseconds, self.uid, self.gid])
        {
            place.copy_from_slice(&word.to_le_bytes());
        }
        b
    }

    pub fn metadata(&self) -> Metadata {
        Metadata {
            permissions: self.mode & 0o7777,
            uid: self.uid,
            gid: self.gid,
            mtime: self.mtime,
            mtime_nanoseconds: self.mtime_nanoseconds,
        }
    }
}

fn u32_at<const N: usize>(b: &[u8; N], at: usize) -> u32 {
    u32::from_le_bytes(core::array::from_fn(|i| b[at + i]))
}

fn u64_at<const N: usize>(b: &[u8; N], at: usize) -> u64 {
    u64::from_le_bytes(core::array::from_fn(|i| b[at + i]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn header_and_entry_read_as_they_are_written() {
        let header = Header {
            entries: 1,
            arguments: 2,
            environment: 3,
            names: 4,
            names_len: 5,
            total: 6,
            directory: 7,
            directory_len: 8,
            content: 9,
        };
        assert_eq!(Header::parse(&header.bytes()), Some(header));
        assert_eq!(Header::parse(&[0; HEADER]), None);
        let entry = Entry {
            mode: 1,
            parent: 2,
            name: 3,
            name_len: 4,
            size: 5,
            place: 6,
            mtime: -7,
            mtime_nanoseconds: 8,
            uid: 9,
            gid: 10,
        };
        assert_eq!(Entry::parse(&entry.bytes()), entry);
    }
}
