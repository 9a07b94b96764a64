//! `flock` locks, which belong to open file descriptions and conflict between two of the same file. Those of `fcntl` are in
//! [`super::record`].

use alloc::collections::BTreeMap;

use crate::object::id::{DescId, NodeRef};

/// `flock` locks: for each locked file, who has it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Flocks {
    pub(crate) held: BTreeMap<NodeRef, BTreeMap<DescId, Held>>,
}

/// A lock that a description has.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Held {
    pub(crate) exclusive: bool,
    /// Who asked for it.
    pub(crate) pid: i32,
}

/// `LOCK_*` of `flock`, without `LOCK_NB`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flock {
    /// `LOCK_SH`.
    Shared,
    /// `LOCK_EX`.
    Exclusive,
    /// `LOCK_UN`.
    Unlock,
}

impl Flock {
    /// From the operation without `LOCK_NB` (4).
    pub const fn from_number(number: u32) -> Option<Flock> {
        Some(match number & !4 {
            1 => Flock::Shared,
            2 => Flock::Exclusive,
            8 => Flock::Unlock,
            _ => return None,
        })
    }
}
