//! What went wrong, as a text for the user: what happened, where, and what to do next.

use std::fmt;

/// A message of one or more lines.
#[derive(Debug)]
pub struct Failure(pub String);

/// What everything here gives.
pub type Result<T> = std::result::Result<T, Failure>;

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<ebb_runner::failure::Failure> for Failure {
    fn from(failure: ebb_runner::failure::Failure) -> Self {
        Self(failure.message)
    }
}

/// Says what could not be done with what.
pub fn at<E: fmt::Display>(what: impl fmt::Display) -> impl FnOnce(E) -> Failure {
    move |error| Failure(format!("{what}: {error}"))
}
