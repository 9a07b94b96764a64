//! Idle instances come to rest: they give memory back, first what they will hardly use in their next call, and when that does not come
//! for long what it uses as well. What timers of their own have them take meanwhile they give back, too.
//!
//! What must hold: an instance that is to be captured does not rest before, for a capture needs all of its memory; a call in the
//! meantime is not delayed by more than one instance's rest; nothing is done when no instance has been called.

use alloc::vec::Vec;
use core::time::Duration;

use ebb::time::Instant;
use ebb::{EbbRef, spawn, time};
use ebb_openwhisk::pool::InstanceId;

use crate::books::Books;
use crate::invoker::Invoker;
use crate::restless::Restless;

/// How often this core looks for such instances, while there may be any: at least, and when none is due soon.
const SOON: Duration = Duration::from_millis(250);
const LATER: Duration = Duration::from_secs(1);
/// How long a busy core puts it off.
const PATIENCE: Duration = Duration::from_secs(3);

/// An instance has served a call.
pub(crate) fn note_call(id: InstanceId) {
    let invoker = EbbRef::<Invoker>::get();
    invoker.restless.borrow_mut().insert(id, Restless::called());
    if !invoker.resting.replace(true) {
        drop(spawn(rest_all()));
    }
}

async fn rest_all() {
    let invoker = EbbRef::<Invoker>::get();
    loop {
        let all_rest = invoker.restless.borrow().values().all(|r| r.rests());
        time::sleep(if all_rest { LATER } else { SOON }).await;
        let due: Vec<_> = {
            let (restless, now) = (invoker.restless.borrow(), Instant::now());
            let due = restless.iter();
            due.filter_map(|(id, restless)| Some((*id, restless.overdue(now)?)))
                .collect()
        };
        for (id, late) in due {
            if invoker.running.get() == 0 || late >= PATIENCE {
                rest(id);
                ebb::yield_now().await;
            }
        }
        if invoker.restless.borrow().is_empty() {
            break;
        }
    }
    invoker.resting.set(false);
}

/// An instance rests, unless it has to be captured before.
fn rest(id: InstanceId) {
    let invoker = EbbRef::<Invoker>::get();
    let is_uncaptured = |id| {
        invoker
            .uncaptured
            .borrow()
            .iter()
            .any(|due| due.instance == id)
    };
    // It may have been called since it was found.
    let found = invoker.restless.borrow().get(&id).copied();
    let due = found.filter(|restless| restless.overdue(Instant::now()).is_some());
    let Some(restless) = due.filter(|_| !is_uncaptured(id)) else {
        return;
    };
    // One that serves a call is not there, and is noted again at its end.
    let bytes = invoker.instances.borrow_mut().get_mut(&id).map(|instance| {
        if !restless.rests_for_long() || instance.has_stirred() {
            instance.rest(restless.rests());
        }
        instance.memory_bytes()
    });
    let next = bytes.and(restless.next());
    let mut all = invoker.restless.borrow_mut();
    match next {
        Some(next) => drop(all.insert(id, next)),
        None => drop(all.remove(&id)),
    }
    drop(all);
    if let Some(bytes) = bytes {
        EbbRef::<Books>::get().pool(|pool| pool.recount(id, bytes));
    }
}
