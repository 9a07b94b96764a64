#![no_std]
//! Disks: blocks that are read, written and flushed without a core waiting.
//!
//! [`BlockDevice`] is a disk, [`Disks`] the component for those of a machine. [`sim`] is a
//! disk for tests that loses, reorders and tears what was not flushed.
//!
//! # Ordering
//! 1. A request begins when its method is called, whether or not its future is ever polled; dropping the future does not
//!    take it back.
//! 2. Requests that are under way together are done in any order. One that begins after another has ended sees its effect.
//! 3. What was written is safe from a power cut once a [`flush`](BlockDevice::flush) has succeeded that began after the
//!    write had ended. Before that, any part of it may be on the disk: writes are atomic by [`SECTOR`] only, if at all.
//! 4. After a write or flush that failed nothing is known about the blocks concerned but what is read from them again.

extern crate alloc;
extern crate ebb_runtime as ebb;

mod part;
pub mod sim;

pub use part::Part;

use alloc::{boxed::Box, sync::Arc, vec::Vec};
use core::{fmt, future::Future, pin::Pin};

use ebb::component;

/// What requests are a multiple of, in bytes: no disk has larger sectors.
pub const BLOCK: usize = 4096;
/// The unit of which a write tears nothing, in bytes.
pub const SECTOR: usize = 512;

/// A request under way. Its result waits for whoever polls it.
pub type Pending<T> = Pin<Box<dyn Future<Output = Result<T, Error>> + Send>>;

/// Why a request failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// It is not made of whole blocks, or has none.
    Misaligned,
    /// It goes beyond the end of the disk.
    OutOfRange,
    /// The disk only reads.
    ReadOnly,
    /// The device could not read or write.
    Io,
    /// What holds the disk has no room for what was written (a sparse file on a full file system).
    NoSpace,
    /// The device has no way to make writes last.
    NoFlush,
    /// The device breaks its protocol, or is gone; it is used no more.
    Broken,
    /// There is no such disk.
    Missing,
    /// Somebody else uses the disk.
    InUse,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Misaligned => "the request is not made of whole blocks",
            Self::OutOfRange => "the request goes beyond the end of the disk",
            Self::ReadOnly => "the disk is read-only",
            Self::Io => "the disk failed to read or write",
            Self::NoSpace => "there is no room behind the disk",
            Self::NoFlush => "the disk cannot make writes last",
            Self::Broken => "the disk is broken or gone",
            Self::Missing => "there is no such disk",
            Self::InUse => "the disk is in use elsewhere",
        })
    }
}

impl core::error::Error for Error {}

/// A disk. See the crate for what is ordered.
pub trait BlockDevice: Send + Sync {
    /// Its size in bytes, a multiple of [`BLOCK`]. It may grow.
    fn size(&self) -> u64;
    /// Whether it takes no writes.
    fn is_read_only(&self) -> bool {
        false
    }
    /// Reads `length` bytes. Both numbers are multiples of [`BLOCK`].
    fn read(&self, offset: u64, length: usize) -> Pending<Vec<u8>>;
    /// Writes whole blocks.
    fn write(&self, offset: u64, bytes: Vec<u8>) -> Pending<()>;
    /// Makes the writes that have ended last.
    fn flush(&self) -> Pending<()>;
}

/// The machine's disks. Needs a provider only in programs that use it.
#[component]
pub trait Disks {
    /// How many there are.
    fn count(&self) -> usize;
    /// One of them, in the order in which the machine was given them. Always the same object.
    ///
    /// # Errors
    /// When there is no such disk, or it cannot be used.
    fn open(&self, number: usize) -> Result<Arc<dyn BlockDevice>, Error>;
}

/// Checks a request against a disk's size.
///
/// # Errors
/// [`Error::Misaligned`], [`Error::OutOfRange`].
pub fn check(size: u64, offset: u64, length: usize) -> Result<(), Error> {
    if length == 0 || !length.is_multiple_of(BLOCK) || !offset.is_multiple_of(BLOCK as u64) {
        return Err(Error::Misaligned);
    }
    match offset.checked_add(length as u64) {
        Some(end) if end <= size => Ok(()),
        _ => Err(Error::OutOfRange),
    }
}

/// A request that has ended already.
pub fn ready<T: Send + 'static>(result: Result<T, Error>) -> Pending<T> {
    Box::pin(core::future::ready(result))
}
