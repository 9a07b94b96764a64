#![no_std]
#![forbid(unsafe_code)]
//! The boot archive: a read-only file tree that an image is started with.
//!
//! File data begins on page boundaries and is zero up to the next one, so an image maps the pages
//! of a file where they lie. The tree is a table of fixed-size entries in breadth-first order:
//! the children of a directory stand together, sorted by name, so a look-up is one binary search
//! per path component and a listing is a slice. The format is laid out in
//! `docs/src/archive.md`; [`mod@write`] makes archives, [`Archive`] reads them.
//!
//! What must hold: [`Archive::new`] accepts nothing that a later access could trip over. Every
//! name, range and index is checked there, so a malicious archive is an error at boot and
//! nothing else.

extern crate alloc;

mod entry;
mod read;
pub mod write;

pub use entry::{Kind, Metadata};
pub use read::{Archive, Error, Node, Strings};

/// Data is aligned to this.
pub const PAGE: u64 = 4096;
/// The longest name of one path component, as in Linux.
pub const NAME_MAX: usize = 255;
/// The longest target of a symbolic link, as in Linux.
pub const TARGET_MAX: usize = 4095;
