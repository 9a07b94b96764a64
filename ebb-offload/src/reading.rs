//! Whole files and directories, by several calls.

use alloc::{string::String, vec::Vec};
use core::fmt;

use bytes::Bytes;
use ebb_distributed::Failure;

use crate::{
    files::FilesAt,
    wire::{Entry, FileError, Kind, LONGEST_PART, Metadata, Part},
};

/// Why a file could not be read to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// The front end did not answer. Reading changes nothing, so it may be tried again, whatever the failure says.
    Call(Failure),
    /// The front end's answer.
    File(FileError),
    /// It was changed, or replaced, between two parts.
    Changed,
    /// It has so many bytes, more than were wanted.
    TooLarge(u64),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Call(failure) => failure.fmt(f),
            Self::File(error) => error.fmt(f),
            Self::Changed => f.write_str("it was changed while it was read"),
            Self::TooLarge(size) => write!(f, "it has {size} bytes, which is too many"),
        }
    }
}

impl core::error::Error for Error {}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        Self::Call(failure)
    }
}

impl From<FileError> for Error {
    fn from(error: FileError) -> Self {
        Self::File(error)
    }
}

/// Reads a file from its start to its end. It holds no part of it.
#[derive(Clone, Debug)]
pub struct Reader {
    files: FilesAt,
    path: String,
    of: Metadata,
    offset: u64,
}

impl Reader {
    /// The file, as it was when it was opened.
    #[must_use]
    pub fn metadata(&self) -> Metadata {
        self.of
    }

    /// The next bytes, at most [`LONGEST_PART`]; `None` at the end.
    ///
    /// # Errors
    /// [`Error`]; after [`Error::Call`] it may be asked again.
    pub async fn next(&mut self) -> Result<Option<Bytes>, Error> {
        let reading = self
            .files
            .read(self.path.clone(), self.offset, LONGEST_PART);
        let Part { bytes, of } = reading.await??;
        if of.version != self.of.version || of.size != self.of.size {
            return Err(Error::Changed);
        }
        if bytes.is_empty() {
            // Shorter than it says, and of the same version: it was cut within one tick of the file system's clock.
            let is_whole = self.offset >= self.of.size;
            return if is_whole {
                Ok(None)
            } else {
                Err(Error::Changed)
            };
        }
        self.offset += bytes.len() as u64;
        Ok(Some(bytes.0))
    }
}

impl FilesAt {
    /// A reader of a file.
    ///
    /// # Errors
    /// [`Error`]: also for what is no regular file.
    pub async fn open(self, path: &str) -> Result<Reader, Error> {
        let of = self.metadata(path.into()).await??;
        match of.kind {
            Kind::File => Ok(Reader {
                files: self,
                path: path.into(),
                of,
                offset: 0,
            }),
            _ => Err(FileError::NotAFile.into()),
        }
    }

    /// All bytes of a file that has no more than `most`, as they were at one time.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn read_all(self, path: &str, most: u64) -> Result<Bytes, Error> {
        let Part { bytes, of } = self.read(path.into(), 0, LONGEST_PART).await??;
        if of.size > most {
            return Err(Error::TooLarge(of.size));
        }
        if bytes.len() as u64 == of.size {
            return Ok(bytes.0);
        }
        let mut reader = Reader {
            files: self,
            path: path.into(),
            of,
            offset: bytes.len() as u64,
        };
        let mut all = Vec::new();
        all.extend_from_slice(&bytes);
        drop(bytes);
        while let Some(part) = reader.next().await? {
            if (all.len() + part.len()) as u64 > of.size {
                return Err(Error::Changed);
            }
            all.extend_from_slice(&part);
        }
        Ok(all.into())
    }

    /// What is in a directory, in the order of the names' bytes, without names that are not UTF-8 (a [`Page`](crate::Page)
    /// says how many these are).
    ///
    /// # Errors
    /// [`Error`]; [`Error::TooLarge`] for more than `most` entries, with how many were seen.
    pub async fn entries(self, path: &str, most: usize) -> Result<Vec<Entry>, Error> {
        let mut entries: Vec<Entry> = Vec::new();
        loop {
            let after = entries.last().map(|last| last.name.clone());
            let page = self.list(path.into(), after.unwrap_or_default()).await??;
            let count = page.entries.len();
            entries.extend(page.entries);
            if entries.len() > most {
                return Err(Error::TooLarge(entries.len() as u64));
            }
            if !page.more || count == 0 {
                return Ok(entries);
            }
        }
    }
}
