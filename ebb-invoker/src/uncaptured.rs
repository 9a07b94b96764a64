//! An instance whose function has no snapshot yet, and which instance that snapshot is to be made of.

use alloc::boxed::Box;

use ebb::time::Instant;
use ebb_openwhisk::call::{Call, InstanceKey};
use ebb_openwhisk::json::Members;
use ebb_openwhisk::pool::InstanceId;

use crate::instance::Notes;

/// An idle instance that is to be captured as the snapshot of its function when its core has nothing else to do.
pub(crate) struct Uncaptured {
    pub(crate) key: InstanceKey,
    pub(crate) instance: InstanceId,
    /// How long it took to start it.
    pub(crate) cost_us: u64,
    /// When it was put off last.
    pub(crate) since: Instant,
    pub(crate) from: CaptureFrom,
}

/// Which instance becomes the snapshot.
pub(crate) enum CaptureFrom {
    /// The one that has served the first call.
    ThisInstance(Box<Call>),
    /// One that has loaded the function and served nothing.
    AnotherInstance(Box<Call>),
}

impl CaptureFrom {
    /// A call of the function.
    pub(crate) fn call(&self) -> &Call {
        match self {
            Self::ThisInstance(call) | Self::AnotherInstance(call) => call,
        }
    }

    /// That of a function whose first call was this one; `None` if it gets no snapshot.
    pub(crate) fn of(call: &Call, of_init: Notes, of_run: Notes) -> Option<Self> {
        if !call.action.allows_snapshot() {
            return None;
        }
        // For an init like that of the call.
        let call = Box::new(Call {
            arguments: Members::new().finish(),
            ..call.clone()
        });
        if of_init.hooks {
            return Some(Self::AnotherInstance(call));
        }
        match (of_init.drew, of_run.drew) {
            (true, _) => None,
            (_, true) => Some(Self::AnotherInstance(call)),
            _ => Some(Self::ThisInstance(call)),
        }
    }
}
