//! The content of a page, and how it is divided to be compared.

/// What is compared and kept: 64 bytes.
pub(super) type Line = [u64; 8];
/// Of a page.
pub(super) const LINES: usize = 64;
/// Lines that are compared at once: most pages that a program writes to differ in a few.
pub(super) const BLOCK: usize = 4;

/// The content of a page.
#[repr(C, align(64))]
pub(super) struct Page(pub(super) [Line; LINES]);
