//! Functions that are programs: OpenWhisk's ActionLoop, as far as both platforms share it. What is [uploaded](mod@upload) becomes files,
//! the body of `/run` a [line](lines), and the line that comes back an answer; [`Executable`] is an instance of such a function.
//!
//! The program reads calls from descriptor 0, a line of JSON each, and writes each answer as a line to descriptor 3; what it writes to 1 and
//! 2 is the function's log. Source: apache/openwhisk-runtime-go, `docs/ACTION.md` and `openwhisk/*.go` at 1b00151.

mod ahead;
mod archive;
mod instance;
pub mod lines;
#[cfg(test)]
mod tests;
pub mod upload;

use alloc::{format, string::String, vec::Vec};

use ebb_openwhisk::json::Members;

pub(crate) use ahead::unpack_ahead;
pub use instance::{Executable, StartedProgram};

/// The program among a function's files.
pub const PROGRAM: &str = "exec";

/// Why there is no program: the status of the answer, and its text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// An HTTP status.
    pub status: u16,
    /// A text for the user.
    pub error: String,
    /// What the logs say of it, where the contract's text points there.
    pub log: Option<String>,
}

impl Refusal {
    /// With this status and text.
    pub fn new(status: u16, error: impl Into<String>) -> Self {
        Self {
            status,
            error: error.into(),
            log: None,
        }
    }

    /// With a line for the logs.
    pub fn with_log(self, line: String) -> Self {
        Self {
            log: Some(line),
            ..self
        }
    }

    /// The body of the answer.
    pub fn body(&self) -> Vec<u8> {
        let body = Members::new().text("error", &self.error).finish();
        body.as_str().as_bytes().to_vec()
    }
}

/// What a program that ended while it started is told as.
pub fn not_started(why: &str) -> Refusal {
    Refusal::new(502, format!("cannot start action: {why}"))
}

/// What a call is told whose program ends without an answer.
pub const NO_DICTIONARY: &str = "The action did not return a dictionary or array.";
