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

/// Puts a manifest into the image, from which the runner packs the boot archive that it hands
/// over: `ebb_archive::manifest!("program node\nfiles-of-arguments\n");` in the program itself, or in one library that it
/// links. Several constant texts are joined. docs/src/archive.md has the directives.
#[macro_export]
macro_rules! manifest {
    ($($text:expr),+ $(,)?) => {
        $crate::note!(2, $($text),+);
    };
}

/// What the image wants of the runner's environment, words separated by blanks. A name is a variable that the runner hands
/// over as an option: `ebb_archive::variables!("EBB_AUTH");` makes `EBB_AUTH=x` the option `auth=x`, which has to be declared
/// as well (`ebb::option!`). `NAME=VALUE` is what one of the runner's own variables is for this image when it is not set, as
/// in `EBB_MEMORY=2G`. `environment:ARGUMENT` hands over the runner's environment when the application's arguments have
/// that word, as the option `environment`: `NAME=VALUE` each, joined by `&`, with `%XX` for what is not printable. `bakes`
/// says that the image heeds the option `bake`: what it makes at every start, `ebb-runner bake` has it write to a disk.
#[macro_export]
macro_rules! variables {
    ($names:expr) => {
        $crate::note!(3, $names);
    };
}

/// An ELF note of name `ebb` with a text; see [`manifest!`] and [`variables!`].
#[doc(hidden)]
#[macro_export]
macro_rules! note {
    ($kind:expr, $($text:expr),+) => {
        const _: () = {
            const TEXTS: &[&str] = &[$($text),+];
            const LENGTH: usize = $crate::joined_length(TEXTS);

            #[repr(C, align(4))]
            struct Note {
                name_size: u32,
                text_size: u32,
                kind: u32,
                name: [u8; 4],
                text: [u8; LENGTH],
            }

            // SAFETY: the section holds ELF notes, and this is one; its alignment pads it for the next.
            #[used]
            #[unsafe(link_section = ".note.ebb.text")]
            static NOTE: Note = Note {
                name_size: 4,
                text_size: LENGTH as u32,
                kind: $kind,
                name: *b"ebb\0",
                text: $crate::joined(TEXTS),
            };
        };
    };
}

/// For [`note!`]: bytes of texts that follow one another.
#[doc(hidden)]
pub const fn joined_length(texts: &[&str]) -> usize {
    let (mut at, mut length) = (0, 0);
    while at < texts.len() {
        length += texts[at].len();
        at += 1;
    }
    length
}

/// For [`note!`]: texts that follow one another, of `LENGTH` bytes together.
#[doc(hidden)]
pub const fn joined<const LENGTH: usize>(texts: &[&str]) -> [u8; LENGTH] {
    let mut bytes = [0; LENGTH];
    let (mut at, mut begin) = (0, 0);
    while at < texts.len() {
        let text = texts[at].as_bytes();
        bytes
            .split_at_mut(begin)
            .1
            .split_at_mut(text.len())
            .0
            .copy_from_slice(text);
        begin += text.len();
        at += 1;
    }
    bytes
}

/// Data is aligned to this.
pub const PAGE: u64 = 4096;
/// The longest name of one path component, as in Linux.
pub const NAME_MAX: usize = 255;
/// The longest target of a symbolic link, as in Linux.
pub const TARGET_MAX: usize = 4095;
