//! Notes of areas: what a mapping is called in /proc.

use alloc::vec::Vec;
use borsh::{BorshDeserialize, BorshSerialize};

/// No name.
pub const NONE: u32 = 0;
/// `[stack]`.
pub const STACK: u32 = 1;
/// `[heap]`.
pub const HEAP: u32 = 2;
/// `[vdso]`.
pub const VDSO: u32 = 3;
/// `[vvar]`.
pub const VVAR: u32 = 4;
/// The first number for files; see `State::names`.
pub const FIRST_FILE: u32 = 16;

/// A file that areas are backed by.
#[derive(BorshSerialize, BorshDeserialize, Clone, Debug, Default, PartialEq, Eq)]
pub struct AreaFile {
    /// Its path when it was mapped.
    pub path: Vec<u8>,
    /// Its number.
    pub inode: u64,
}
