//! Why a call has no answer, in the words that its caller can act on.

use core::fmt;

use crate::frame::Status;

/// Why a call failed. Each call has exactly one outcome: an answer or one of these.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Failure {
    /// It did not leave this machine, so it has not run and can be tried again.
    NotSent(NotSent),
    /// It was sent, and the connection or the method ended without an answer: it may have run, in part or as a whole.
    NoAnswer,
    /// The other side is overloaded or not willing; it has not run.
    Refused,
    /// The node serves no such Ebb; it has not run.
    Gone,
    /// The node serves the Ebb, but knows no method of this name and signature, or speaks no common version of the
    /// protocol; it has not run.
    Version,
    /// Its deadline passed after it was sent: it may have run. The other side was told to stop.
    Late,
    /// The answer is not what the method's type says; it has run.
    Malformed,
}

/// Why a call did not leave this machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum NotSent {
    /// There is no connection to the node, and none could be made.
    Unreachable,
    /// The node's credits are used up, and so many calls wait already that another would wait without bound.
    Overload,
    /// The deadline passed while it waited for a connection or for credits.
    Deadline,
    /// It is larger than the node accepts.
    TooLarge,
    /// Nothing here knows where the node is.
    UnknownNode,
}

impl Failure {
    /// Whether the method may have run: then only a method that may run twice can be tried again.
    #[must_use]
    pub fn may_have_run(self) -> bool {
        matches!(self, Self::NoAnswer | Self::Late | Self::Malformed)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotSent(NotSent::Unreachable) => "not sent: the node cannot be reached",
            Self::NotSent(NotSent::Overload) => "not sent: too many calls wait for the node",
            Self::NotSent(NotSent::Deadline) => "not sent before its deadline",
            Self::NotSent(NotSent::TooLarge) => "not sent: larger than the node accepts",
            Self::NotSent(NotSent::UnknownNode) => "not sent: no node of this number is known",
            Self::NoAnswer => "sent, but not answered: it may have run",
            Self::Refused => "refused by the node",
            Self::Gone => "the node does not serve this Ebb",
            Self::Version => "the node has another version of this method",
            Self::Late => "not answered before its deadline: it may have run",
            Self::Malformed => "the answer is not of the method's type",
        })
    }
}

impl core::error::Error for Failure {}

/// What a status other than that of success is to the caller.
pub(crate) fn failure(status: Status) -> Failure {
    match status {
        Status::Refused => Failure::Refused,
        Status::Gone => Failure::Gone,
        Status::Version => Failure::Version,
        Status::Late => Failure::Late,
        Status::Ok | Status::Cancelled | Status::NoAnswer => Failure::NoAnswer,
    }
}
