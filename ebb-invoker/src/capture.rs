//! Which instances become snapshots of their functions, and when: after a function's first call, when the core is quiet.

use core::time::Duration;

use ebb::time::Instant;
use ebb::{EbbRef, spawn, time};
use ebb_openwhisk::call::InstanceKey;
use ebb_openwhisk::pool::InstanceId;

use crate::books::Books;
use crate::evict::evict;
use crate::invoker::{Invoker, elapsed_us};

/// An idle instance that is to be captured as the snapshot of its function when its core has nothing else to do.
pub(crate) struct Uncaptured {
    pub(crate) key: InstanceKey,
    pub(crate) instance: InstanceId,
    /// How long it took to start it.
    pub(crate) cost_us: u64,
    /// When it was put off last.
    pub(crate) since: Instant,
}

/// How long a core has had no call when it captures.
const QUIET: Duration = Duration::from_millis(4);
/// How long a busy core puts captures off, and how many.
const PATIENCE: Duration = Duration::from_secs(2);
const PUT_OFF: usize = 128;
/// Bytes of an instance beyond which it is not captured: the snapshot would take room of many others, and long to make.
const LARGEST: u64 = 32 << 20;

/// Remembers that an instance is to be captured.
pub(crate) fn put_off(due: Uncaptured) {
    let invoker = EbbRef::<Invoker>::get();
    invoker.uncaptured.borrow_mut().push_back(due);
    if !invoker.capturing.replace(true) {
        drop(spawn(capture_all()));
    }
}

/// Captures what was put off, when the core is quiet or cannot wait any longer.
async fn capture_all() {
    let invoker = EbbRef::<Invoker>::get();
    loop {
        let (waits, oldest) = {
            let uncaptured = invoker.uncaptured.borrow();
            (uncaptured.len(), uncaptured.front().map(|due| due.since))
        };
        let Some(oldest) = oldest else { break };
        let quiet = invoker.running.get() == 0
            && invoker
                .quiet_since
                .get()
                .is_none_or(|since| since.elapsed() >= QUIET);
        if quiet || waits > PUT_OFF || oldest.elapsed() >= PATIENCE {
            let due = invoker.uncaptured.borrow_mut().pop_front();
            if let Some(mut due) = due
                && !capture(&due)
                && waits <= PUT_OFF
            {
                due.since = Instant::now();
                invoker.uncaptured.borrow_mut().push_back(due);
            }
            ebb::yield_now().await;
        } else {
            time::sleep(QUIET).await;
        }
    }
    invoker.capturing.set(false);
}

/// Captures an instance that is idle, as the snapshot of its function. False when it is not idle now.
pub(crate) fn capture(due: &Uncaptured) -> bool {
    let books = EbbRef::<Books>::get();
    if books.pool(|pool| pool.has_snapshot(&due.key)) {
        return true;
    }
    let invoker = EbbRef::<Invoker>::get();
    let began = Instant::now();
    let captured = match invoker.instances.borrow_mut().get_mut(&due.instance) {
        Some(instance) => {
            if instance.memory_bytes() > LARGEST {
                return true;
            }
            let snapshot = instance.capture();
            snapshot.map(|snapshot| (snapshot, instance.memory_bytes()))
        }
        None => return false,
    };
    let Some((snapshot, instance_bytes)) = captured else {
        return true;
    };
    invoker.count(|m| m.capture.record(elapsed_us(began)));
    let bytes = snapshot.memory_bytes();
    let evicted = books.pool(|pool| {
        pool.recount(due.instance, instance_bytes);
        pool.keep_snapshot(&due.key, snapshot, bytes, due.cost_us)
    });
    if !evicted.instances.is_empty() || !evicted.snapshots.is_empty() {
        // Not at once: to evict may be why this is captured.
        drop(spawn(async move { drop(evict(evicted)) }));
    }
    true
}
