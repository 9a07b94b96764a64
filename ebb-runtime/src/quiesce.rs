//! Quiescence of this machine: when every core has passed an event boundary.
//!
//! [`crate::sync::epoch`] is the algorithm; the event loop drives it. What a core has made
//! unreachable it may free when no event that could have seen it is still running, anywhere.

use alloc::{boxed::Box, sync::Arc};
use core::cell::OnceCell;

use crate::{
    per_core::{Part, current_core, part},
    sync::{
        self,
        epoch::{self, Domain, Quiescence, Retired},
        oneshot,
    },
};

/// A replaceable value that the cores of this machine read without atomic read-modify-writes.
pub type Rcu<T> = sync::Rcu<T, EventBoundary>;

/// A hash map that the cores of this machine read without atomic read-modify-writes.
pub type RcuMap<K, V> = sync::RcuMap<K, V, EventBoundary>;

/// A core's part.
pub(crate) struct Boundaries {
    /// Its machine's.
    domain: Arc<Domain>,
    /// There from the start of the event loop.
    epoch: OnceCell<epoch::Core>,
}

part!("__ebb_boundaries", Boundaries);

impl Boundaries {
    pub fn new(domain: Arc<Domain>) -> Self {
        Self {
            domain,
            epoch: OnceCell::new(),
        }
    }

    /// This core takes part from now on.
    pub fn join(&self) -> &epoch::Core {
        self.epoch
            .get_or_init(|| self.domain.join(current_core().number()))
    }

    /// What the event loop drives, once it has begun.
    pub fn epoch(&self) -> Option<&epoch::Core> {
        self.epoch.get()
    }
}

/// The event boundaries of the machine that the caller runs on, for [`Rcu`] and [`RcuMap`].
pub struct EventBoundary;

// SAFETY: the event loop calls `poll` between events only, `park` before it sleeps or ends and `unpark` before the next
// event, on each core of the machine's one domain; a machine is never freed, so its domain's address is its own.
unsafe impl Quiescence for EventBoundary {
    fn domain() -> usize {
        let core = Boundaries::current();
        match core.epoch() {
            Some(quiesce) if quiesce.is_running() => Arc::as_ptr(&core.domain).addr(),
            _ => panic!(
                "{:?} is between events, where nothing read by RCU is safe; do this in a task",
                current_core()
            ),
        }
    }

    fn retire(action: Retired) {
        let core = Boundaries::current();
        match core.epoch() {
            Some(quiesce) => quiesce.retire(action),
            None => panic!("{:?} has not started its event loop", current_core()),
        }
    }
}

/// Has `action` run on this core, at an event boundary, once every core has passed one since now or
/// is asleep. What it frees must be unreachable for new readers by now. O(1), amortised.
///
/// # Panics
/// On a thread that is not a core.
pub fn retire(action: impl FnOnce() + 'static) {
    let core = Boundaries::current();
    match core.epoch() {
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
