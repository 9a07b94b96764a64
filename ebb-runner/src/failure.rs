//! How the runner itself fails: a message for the user and an exit status that no cause shares.
//!
//! The statuses follow the shell's and coreutils' conventions (`timeout`, `env`) where there is
//! one; all others up to 255 belong to the image.

use std::fmt;

/// The image ended without saying a status: a triple fault, a reset, a power-off.
pub const CRASHED: u8 = 123;
/// The image did not end within `EBB_TIMEOUT`.
pub const TIMED_OUT: u8 = 124;
/// The runner could not do its work: a malformed variable, a port in use, QEMU failed.
pub const UNUSABLE: u8 = 125;
/// The file is neither an image nor an executable.
pub const NOT_EXECUTABLE: u8 = 126;
/// QEMU or the file is missing.
pub const NOT_FOUND: u8 = 127;

/// A message (one or more lines) and the exit status of the runner.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// One of this module's constants, or 128 plus a signal's number.
    pub status: u8,
    /// What happened, where, and what to do next.
    pub message: String,
}

impl Failure {
    /// A failure with this status and message.
    pub fn new(status: u8, message: impl Into<String>) -> Self {
        Self {
            status,
            message: message.into(),
        }
    }

    /// A failure with status [`UNUSABLE`].
    pub fn unusable(message: impl Into<String>) -> Self {
        Self::new(UNUSABLE, message)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Failure {}
