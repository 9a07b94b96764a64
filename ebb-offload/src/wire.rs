//! What passes between an image and its front end.

use alloc::{string::String, vec::Vec};
use core::fmt;

use ebb_distributed::{Blob, BlobStore};
use minicbor::{Decode, Encode};

/// Bytes that one call reads at most. With the calls that a connection allows it bounds what a caller that takes no answers costs.
pub const LONGEST_PART: u32 = 256 << 10;
/// Entries that one call lists at most.
pub const PAGE: usize = 1000;

/// What something in a directory is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Kind {
    /// A regular file.
    #[n(0)]
    File,
    /// A directory.
    #[n(1)]
    Directory,
    /// A symbolic link; only a listing tells of one, everything else follows it.
    #[n(2)]
    Link,
    /// A device, a socket, a pipe: not to be read here.
    #[n(3)]
    Other,
}

/// What is known of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Metadata {
    /// What it is.
    #[n(0)]
    pub kind: Kind,
    /// Bytes.
    #[n(1)]
    pub size: u64,
    /// When its content was changed, in microseconds since 1970.
    #[n(2)]
    pub modified_us: i64,
    /// Another one for another file of that name, and after a change, as far as the file system's clock tells them apart.
    #[n(3)]
    pub version: u64,
}

/// Bytes of a file.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(context_bound = "BlobStore")]
pub struct Part {
    /// Fewer than were asked for at the end of the file, and where more than [`LONGEST_PART`] were.
    #[n(0)]
    pub bytes: Blob,
    /// The file that they are of.
    #[n(1)]
    pub of: Metadata,
}

/// Something in a directory.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Entry {
    /// Its name there.
    #[n(0)]
    pub name: String,
    /// What it is; of a link, not what it leads to.
    #[n(1)]
    pub kind: Kind,
}

/// A part of a directory, in the order of the names' bytes.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Page {
    /// At most [`PAGE`] of them.
    #[n(0)]
    pub entries: Vec<Entry>,
    /// There are more: ask for those after the last one.
    #[n(1)]
    pub more: bool,
    /// So many of the directory have names that are not UTF-8, and cannot be named here.
    #[n(2)]
    pub unnamed: u64,
}

/// Why there is no answer about a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub enum FileError {
    /// There is nothing of that name.
    #[n(0)]
    NotFound,
    /// The path, or a link on it, leads out of the shared directory.
    #[n(1)]
    Outside,
    /// The front end's user may not read it.
    #[n(2)]
    Denied,
    /// It is no regular file.
    #[n(3)]
    NotAFile,
    /// It, or something before it in the path, is no directory.
    #[n(4)]
    NotADirectory,
    /// So many requests wait for files that another one may not.
    #[n(5)]
    Busy,
    /// The device could not read it, or the front end has no more descriptors.
    #[n(6)]
    Io,
    /// The front end shares no files.
    #[n(7)]
    NotShared,
}

impl fmt::Display for FileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotFound => "there is nothing of that name",
            Self::Outside => "it leads out of the shared directory",
            Self::Denied => "the front end may not read it",
            Self::NotAFile => "it is no regular file",
            Self::NotADirectory => "it is no directory",
            Self::Busy => "too many requests wait for files",
            Self::Io => "it could not be read",
            Self::NotShared => "the front end shares no files",
        })
    }
}

impl core::error::Error for FileError {}

/// Why a name has no address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub enum LookupError {
    /// There is no such name, or no answer about it.
    #[n(0)]
    Failed,
    /// So many look-ups wait that another one may not.
    #[n(1)]
    Busy,
    /// The front end does not look names up for others.
    #[n(2)]
    NotShared,
}

impl fmt::Display for LookupError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Failed => "the name has no address",
            Self::Busy => "too many look-ups wait",
            Self::NotShared => "the front end looks up no names",
        })
    }
}

impl core::error::Error for LookupError {}
