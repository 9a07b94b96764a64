//! Why a task has no result.

use alloc::boxed::Box;
use core::{any::Any, fmt};

/// Why a task has no result.
pub enum JoinError {
    /// It was cancelled, or its core stopped.
    Cancelled,
    /// It panicked, with this payload. Only where unwinding exists; elsewhere a panic stops the
    /// machine.
    Panicked(Box<dyn Any + Send>),
}

impl JoinError {
    /// The panic's message, if it was a panic with one.
    #[must_use]
    pub fn message(&self) -> Option<&str> {
        let Self::Panicked(payload) = self else {
            return None;
        };
        payload.downcast_ref::<&'static str>().copied().or_else(|| {
            payload
                .downcast_ref::<alloc::string::String>()
                .map(|s| &**s)
        })
    }
}

impl fmt::Display for JoinError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cancelled => f.write_str("the task was cancelled"),
            Self::Panicked(_) => match self.message() {
                Some(message) => write!(f, "the task panicked: {message}"),
                None => f.write_str("the task panicked"),
            },
        }
    }
}

impl fmt::Debug for JoinError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "JoinError({self})")
    }
}

impl core::error::Error for JoinError {}
