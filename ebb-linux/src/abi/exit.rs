//! How programs and processes end.

use borsh::{BorshDeserialize, BorshSerialize};

/// How a program ended.
#[derive(BorshSerialize, BorshDeserialize, Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// It called `exit` with this status.
    Status(u8),
    /// A signal ended it.
    Signal(u8),
}

impl Exit {
    /// The status as a shell gives it.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::Status(status) => status,
            Self::Signal(signal) => 128u8.wrapping_add(signal),
        }
    }
}
