//! Why spaces refuse what they are asked for.

/// Why a change of a space was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Error {
    /// An address or a length is not a multiple of [`PAGE`](super::PAGE), is zero, or reaches beyond the guest's half.
    Invalid,
    /// Something is mapped there already.
    Occupied,
    /// No gap is large enough, or there are too many areas.
    NoRoom,
    /// Part of the range is not mapped.
    NotMapped,
    /// What is behind the mapping may not be used so.
    Denied,
    /// The space's limit or the machine's memory is used up.
    OutOfMemory,
}

impl From<Fault> for Error {
    /// For changes of tables, which fail for one reason only.
    fn from(_: Fault) -> Self {
        Self::OutOfMemory
    }
}

/// Why a page cannot be used as asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nothing is mapped there.
    NotMapped,
    /// Its area forbids it.
    Denied,
    /// The page lies beyond the end of the file that backs it.
    BeyondEnd,
    /// The space's limit or the machine's memory is used up.
    OutOfMemory,
}
