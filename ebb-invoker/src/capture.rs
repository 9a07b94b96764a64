//! Which instances become snapshots of their functions, and when: after a function's first call, when the core is quiet.
//!
//! What must hold: no two instances share anything that one of them has drawn. An instance of which nothing has been drawn is
//! captured as it is. If its first call drew, the function is loaded once more, in an instance that serves no call, and that one is
//! captured. If loading drew, the function has no snapshot: each of its instances loads it by itself. A function with a hook for
//! it says that it draws anew after it was copied.

use core::time::Duration;

use ebb::time::{Instant, timeout};
use ebb::{EbbRef, spawn, time};
use ebb_openwhisk::metrics::Metrics;
use ebb_openwhisk::pool::{Evicted, InstanceId};

use crate::books::{Books, epoch_ms};
use crate::instance::{
    InstanceLimits, InstanceMaker, InstanceRequest, NewInstance, SharedSnapshot,
};
use crate::invoker::{Invoker, elapsed_us};
use crate::kept;
use crate::uncaptured::{CaptureFrom, Uncaptured};

/// Ends what the books name when a snapshot is to have room, not at once: to evict may be why it was captured.
pub(crate) type MakeRoom = fn(Evicted<SharedSnapshot>);

/// How long a core has had no call when it captures.
const QUIET: Duration = Duration::from_millis(4);
/// How long a busy core puts captures off, and how many.
const PATIENCE: Duration = Duration::from_secs(2);
const PUT_OFF: usize = 128;
/// Bytes of an instance beyond which it is not captured: the snapshot would take room of many others, and long to make.
const LARGEST: u64 = 32 << 20;

/// Remembers that an instance is to be captured.
pub(crate) fn put_off(due: Uncaptured, make_room: MakeRoom) {
    let invoker = EbbRef::<Invoker>::get();
    invoker.uncaptured.borrow_mut().push_back(due);
    if !invoker.capturing.replace(true) {
        drop(spawn(capture_all(make_room)));
    }
}

/// Captures what was put off, when the core is quiet or cannot wait any longer.
async fn capture_all(make_room: MakeRoom) {
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
            let Some(mut due) = due else { break };
            if matches!(due.from, CaptureFrom::AnotherInstance(_)) {
                capture_another(&due, make_room).await;
            } else if !capture(&mut due, make_room) && waits <= PUT_OFF {
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

/// An instance has ended, or another one takes its place: it is not captured. The next that starts cold is put off in its stead.
pub(crate) fn forget(id: InstanceId) {
    let invoker = EbbRef::<Invoker>::get();
    let mut uncaptured = invoker.uncaptured.borrow_mut();
    uncaptured
        .retain(|due| due.instance != id || matches!(due.from, CaptureFrom::AnotherInstance(_)));
}

/// Captures an instance that is idle, as the snapshot of its function. False when it serves a call now, or it turns out that
/// another one has to be captured.
pub(crate) fn capture(due: &mut Uncaptured, make_room: MakeRoom) -> bool {
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
            // In later calls, or after the answer.
            if instance.take_notes().drew
                && let CaptureFrom::ThisInstance(call) = &due.from
            {
                due.from = CaptureFrom::AnotherInstance(call.clone());
                return false;
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
    books.pool(|pool| pool.recount(due.instance, instance_bytes));
    keep(due, snapshot, make_room);
    true
}

/// Loads the function in an instance of its own, and captures that one.
async fn capture_another(due: &Uncaptured, make_room: MakeRoom) {
    let books = EbbRef::<Books>::get();
    let CaptureFrom::AnotherInstance(call) = &due.from else {
        return;
    };
    if books.pool(|pool| pool.has_snapshot(&due.key)) {
        return;
    }
    let limits = call.action.limits;
    let Some(launch) = call.launch() else { return };
    let made = EbbRef::<dyn InstanceMaker>::get().make(
        launch,
        InstanceLimits {
            memory_mb: limits.memory_mb,
        },
    );
    // What goes wrong here goes wrong again, and is told, when the function is called.
    let Ok(NewInstance { mut instance, .. }) = made.await else {
        return;
    };
    let limit = Duration::from_millis(limits.timeout_ms.into());
    let asked = timeout(limit, instance.init(call, epoch_ms())).await;
    if !matches!(asked, Ok(Ok((200, _)))) {
        return;
    }
    let notes = instance.take_notes();
    if notes.hooks {
        let asked = timeout(limit, instance.ask(InstanceRequest::Rest, "")).await;
        if !matches!(asked, Ok(Ok((200, _)))) {
            return;
        }
    } else if notes.drew {
        return;
    }
    let began = Instant::now();
    if instance.memory_bytes() <= LARGEST
        && let Some(snapshot) = instance.capture()
        // What went on while it was captured counts as well.
        && (notes.hooks || !instance.take_notes().drew)
    {
        let count = |m: &mut Metrics| m.capture.record(elapsed_us(began));
        EbbRef::<Invoker>::get().count(count);
        keep(due, snapshot, make_room);
    }
}

/// Gives the books a function's snapshot.
fn keep(due: &Uncaptured, snapshot: SharedSnapshot, make_room: MakeRoom) {
    let bytes = snapshot.memory_bytes();
    if EbbRef::<dyn InstanceMaker>::get().keeps() {
        snapshot.keep(kept::name_of(due.from.call()), due.cost_us);
    }
    let evicted = EbbRef::<Books>::get()
        .pool(|pool| pool.keep_snapshot(&due.key, snapshot, bytes, due.cost_us));
    if !evicted.instances.is_empty() || !evicted.snapshots.is_empty() {
        make_room(evicted);
    }
}
