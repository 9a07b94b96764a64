#![no_std]
//! A shelf: a few large items on a disk ([`ebb_block`]) that can all be made anew, so that it is better to lose one than to
//! wait for it or to believe it.
//!
//! - An item is bytes in two parts, a small one that is read first (the *head*) and a large one (the *body*), under a name,
//!   with *marks* that say what it was made for. Whoever asks for it compares the marks.
//! - It is read with large requests, several at once, and every chunk is checked before anybody sees it. What is damaged is an
//!   error, never bytes.
//! - It appears when it is whole, and is durable then.
//!
//! On the disk is a directory of one block and behind it the items, one after the other:
//!
//! ```text
//! block 0     magic 8, checksum 16 of the rest of the block, its used length 4, the items (borsh): name, marks, offset, body,
//!             head, checksum of the table
//! an item     table of 16 bytes for each chunk, its checksum, in whole blocks; body; head; both end with their chunks
//! ```
//!
//! Chunks have [`CHUNK`] bytes, the last one of each part as many as are left. All numbers are little endian, checksums are
//! XXH3 with 128 bits: they find what disks and their writers get wrong, not what somebody does on purpose who may write to
//! the disk.

extern crate alloc;
#[cfg(test)]
extern crate ebb_hosted as _;
#[cfg(test)]
extern crate std;

mod directory;
mod read;
#[cfg(test)]
mod tests;
mod write;

use alloc::{sync::Arc, vec::Vec};
use core::{fmt, sync::atomic::AtomicBool};

use ebb_block::{BLOCK, BlockDevice};
use spin::mutex::SpinMutex;

use directory::Directory;

pub use directory::Item;
pub use read::Reading;
pub use write::Writing;

/// What is read and checked at once, in bytes.
pub const CHUNK: usize = 1 << 20;

/// Why a shelf cannot be used, or an item of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// The disk holds something else; nothing was written to it.
    NotOurs,
    /// What was read is not what was written.
    Damaged,
    /// There is no room for the item.
    Full,
    /// The disk failed.
    Device(ebb_block::Error),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotOurs => f.write_str("the disk holds something else"),
            Self::Damaged => f.write_str("it is damaged on the disk"),
            Self::Full => f.write_str("the disk is too small for it"),
            Self::Device(error) => error.fmt(f),
        }
    }
}

impl core::error::Error for Error {}

impl From<ebb_block::Error> for Error {
    fn from(error: ebb_block::Error) -> Self {
        Self::Device(error)
    }
}

/// The checksum of bytes.
#[must_use]
pub fn checksum(bytes: &[u8]) -> u128 {
    xxhash_rust::xxh3::xxh3_128(bytes)
}

/// A shelf.
pub struct Shelf {
    device: Arc<dyn BlockDevice>,
    directory: SpinMutex<Directory>,
    /// Somebody writes.
    writing: AtomicBool,
}

impl Shelf {
    /// Opens the shelf of a disk, of which zeros are an empty one. One whose directory is damaged is empty too, and that is
    /// said by `true`.
    ///
    /// # Errors
    /// [`Error::NotOurs`], [`Error::Device`].
    pub async fn open(device: Arc<dyn BlockDevice>) -> Result<(Self, bool), Error> {
        let block = device.read(0, BLOCK).await?;
        let (directory, damaged) = match Directory::from_block(&block, device.size()) {
            Ok(directory) => (directory, false),
            Err(Error::Damaged) => (Directory::default(), true),
            Err(error) => return Err(error),
        };
        let directory = SpinMutex::new(directory);
        let writing = AtomicBool::new(false);
        let shelf = Self {
            device,
            directory,
            writing,
        };
        Ok((shelf, damaged))
    }

    /// Whether nothing can be put on it.
    #[must_use]
    pub fn is_read_only(&self) -> bool {
        self.device.is_read_only()
    }

    /// The item of a name.
    #[must_use]
    pub fn find(&self, name: u128) -> Option<Item> {
        self.directory.lock().find(name).cloned()
    }

    /// All items.
    #[must_use]
    pub fn items(&self) -> Vec<Item> {
        self.directory.lock().items.clone()
    }

    /// Takes an item away.
    ///
    /// # Errors
    /// [`Error::Device`].
    pub async fn remove(&self, name: u128) -> Result<(), Error> {
        let _turn = self.turn().await;
        let block = {
            let mut directory = self.directory.lock();
            directory.items.retain(|item| item.name != name);
            directory.block()
        };
        self.device.write(0, block).await?;
        self.device.flush().await?;
        Ok(())
    }
}
