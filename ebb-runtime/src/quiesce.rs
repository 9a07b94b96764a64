//! Quiescence of this machine: when every core has passed an event boundary.
//!
//! [`crate::sync::quiesce`] is the algorithm; the event loop drives it. What a core has made
//! unreachable it may free when no event that could have seen it is still running, anywhere.

use alloc::boxed::Box;

use crate::{core::Core, sync::oneshot};

/// Has `action` run on this core, at an event boundary, once every core has passed one since now or
/// is asleep. What it frees must be unreachable for new readers by now. O(1), amortised.
///
/// # Panics
/// On a thread that is not a core.
pub fn retire(action: impl FnOnce() + 'static) {
    let core = Core::current();
    match core.local.quiesce.get() {
        Some(quiesce) => quiesce.retire(Box::new(action)),
        // Not yet in its event loop: nothing that others can see exists.
        None => action(),
    }
}

/// Waits until every core has passed an event boundary, or is asleep.
///
/// # Panics
/// On a thread that is not a core.
pub async fn grace_period() {
    let (passed, wait) = oneshot::channel();
    retire(move || {
        let _ = passed.send(());
    });
    // An error means that the machine stops, and with it this task.
    let _ = wait.await;
}
