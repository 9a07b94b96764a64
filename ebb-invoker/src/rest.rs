//! Idle instances come to rest: they give memory back that they will hardly use in their next call.
//!
//! What must hold: an instance that is to be captured does not rest before, for a capture needs all of its memory; a call in the
//! meantime is not delayed by more than one instance's rest; nothing is done when no instance has been called.

use core::time::Duration;

use alloc::vec::Vec;
use ebb::time::Instant;
use ebb::{EbbRef, spawn, time};
use ebb_openwhisk::pool::InstanceId;

use crate::books::Books;
use crate::invoker::Invoker;

/// How long an instance has been idle when it rests.
const IDLE: Duration = Duration::from_millis(500);
/// How often this core looks for such instances, while there may be any.
const PERIOD: Duration = Duration::from_millis(250);
/// How long a busy core puts it off.
const PATIENCE: Duration = Duration::from_secs(3);

/// An instance has served a call.
pub(crate) fn note_call(id: InstanceId) {
    let invoker = EbbRef::<Invoker>::get();
    invoker.restless.borrow_mut().insert(id, Instant::now());
    if !invoker.resting.replace(true) {
        drop(spawn(rest_all()));
    }
}

async fn rest_all() {
    let invoker = EbbRef::<Invoker>::get();
    while !invoker.restless.borrow().is_empty() {
        time::sleep(PERIOD).await;
        let idle: Vec<_> = {
            let restless = invoker.restless.borrow();
            let idle = restless.iter().map(|(id, since)| (*id, since.elapsed()));
            idle.filter(|(_, idle)| *idle >= IDLE).collect()
        };
        for (id, idle) in idle {
            if invoker.running.get() > 0 && idle < PATIENCE {
                continue;
            }
            rest(id);
            ebb::yield_now().await;
        }
    }
    invoker.resting.set(false);
}

/// An instance rests, unless it has to be captured before.
fn rest(id: InstanceId) {
    let invoker = EbbRef::<Invoker>::get();
    if invoker.uncaptured.borrow().iter().any(|due| due.instance == id) {
        return;
    }
    let mut restless = invoker.restless.borrow_mut();
    // It may have been called since it was found.
    if restless.get(&id).is_none_or(|since| since.elapsed() < IDLE) {
        return;
    }
    restless.remove(&id);
    drop(restless);
    // One that serves a call is not there, and is noted again at its end.
    let bytes = invoker.instances.borrow_mut().get_mut(&id).map(|instance| {
        instance.rest();
        instance.memory_bytes()
    });
    if let Some(bytes) = bytes {
        EbbRef::<Books>::get().pool(|pool| pool.recount(id, bytes));
    }
}
