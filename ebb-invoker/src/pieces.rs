//! Snapshots on their way to another machine: bytes, which only those that make instances understand.

use alloc::{boxed::Box, string::String};
use core::{future::Future, pin::Pin};

use bytes::Bytes;

/// The most that a piece may be, in bytes. One that is not the last of its sort may be less.
pub const PIECE_BYTES: usize = 64 << 10;

/// A snapshot on its way out or in, piece by piece. It is made, or fetched, as it is taken.
pub trait Pieces {
    /// The next one; `None` after the last, and at once where there is no snapshot.
    fn next(&mut self) -> Pin<Box<dyn Future<Output = Result<Option<Bytes>, String>> + '_>>;
}

/// A snapshot as pieces.
pub type Snapshot = Box<dyn Pieces>;

/// A snapshot that has come, or that nobody has; else why it cannot be used.
pub type Fetched<T> = Result<Option<T>, String>;
