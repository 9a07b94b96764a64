//! What has to make room: the ends of instances and snapshots that the books name.

use alloc::vec;
use alloc::vec::Vec;
use core::time::Duration;

use ebb::{CoreId, EbbRef, RemoteHandle, spawn, spawn_on, time};
use ebb_openwhisk::pool::{Evicted, InstanceId, Victim};

use crate::books::Books;
use crate::capture::{capture, put_off};
use crate::instance::{InstanceMaker, SharedSnapshot};
use crate::invoker::{Invoker, here};
use crate::uncaptured::CaptureFrom;

/// Bytes of room that are made at once when the machine's memory is used up.
pub(crate) const ROOM: u64 = 16 << 20;

/// Ends instances, and lets go of snapshots, that have to make room. What comes back is ready when those of other cores have
/// ended; it need not be waited for.
pub(crate) fn evict(evicted: Evicted<SharedSnapshot>) -> Vec<RemoteHandle<()>> {
    end_each(evicted.instances, end)
}

/// Ends instances of actions that were changed or deleted, as [`evict`] does: nobody wants their snapshots any more.
pub(crate) fn discard(instances: Vec<Victim>) -> Vec<RemoteHandle<()>> {
    end_each(instances, |id| {
        let mut uncaptured = EbbRef::<Invoker>::get().uncaptured.borrow_mut();
        uncaptured.retain(|due| due.instance != id);
        drop(uncaptured);
        end(id);
    })
}

fn end_each(victims: Vec<Victim>, end: fn(InstanceId)) -> Vec<RemoteHandle<()>> {
    let mut elsewhere = Vec::new();
    for Victim { core, instance } in victims {
        if core == here() {
            end(instance);
        } else {
            elsewhere.push(spawn_on(
                CoreId::new(core),
                move || async move { end(instance) },
            ));
        }
    }
    elsewhere
}

/// Evicts in an event of its own, for a snapshot that the books have taken in: see [`MakeRoom`].
///
/// [`MakeRoom`]: crate::capture::MakeRoom
pub(crate) fn make_room(evicted: Evicted<SharedSnapshot>) {
    drop(spawn(async move { drop(evict(evicted)) }));
}

/// Ends an instance of this core. If it is the last of a function, its snapshot stays.
fn end(id: InstanceId) {
    let invoker = EbbRef::<Invoker>::get();
    let due = {
        let mut uncaptured = invoker.uncaptured.borrow_mut();
        let at = uncaptured
            .iter()
            .position(|due| due.instance == id && matches!(due.from, CaptureFrom::ThisInstance(_)));
        at.and_then(|at| uncaptured.remove(at))
    };
    if let Some(mut due) = due
        && !capture(&mut due, make_room)
        && matches!(due.from, CaptureFrom::AnotherInstance(_))
    {
        put_off(due, make_room);
    }
    let instance = invoker.instances.borrow_mut().remove(&id);
    drop(instance);
}

/// Makes room on a machine whose memory is used up; whether there was anything to evict.
pub(crate) async fn relieve(bytes: u64) -> bool {
    let evicted = EbbRef::<Books>::get().pool(|pool| pool.relieve(bytes));
    if evicted.instances.is_empty() && evicted.snapshots.is_empty() {
        return false;
    }
    for ended in evict(evicted) {
        // A core that has stopped has nothing left to end.
        let _ = ended.await;
    }
    // The tasks of their threads hold their memory until they have run once more.
    time::sleep(Duration::from_millis(1)).await;
    true
}

/// Makes room in the background if the machine has less memory left than it should.
pub(crate) fn relieve_if_short() {
    let missing = EbbRef::<dyn InstanceMaker>::get().missing_bytes();
    if missing > 0 {
        drop(spawn(async move { relieve(missing.min(ROOM)).await }));
    }
}

/// Throws away the instances of actions that were changed or deleted. Runs after each change.
pub(crate) fn forget_stale() {
    let books = EbbRef::<Books>::get();
    let ended = books.controller(ebb_openwhisk::Controller::take_ended);
    if ended.is_empty() {
        return;
    }
    let is_current = |revision| !ended.contains(&revision);
    match books.back_end() {
        Some(back_end) => back_end.keep_only(&is_current),
        None => keep_only(&is_current),
    }
}

/// Throws away this machine's idle instances and snapshots of other revisions.
pub(crate) fn keep_only(is_current: &dyn Fn(u64) -> bool) {
    let books = EbbRef::<Books>::get();
    let evicted = books.pool(|pool| pool.evict_if(|key| !is_current(key.revision)));
    // Their memory is not in demand, so each ends in an event of its own.
    drop(spawn(async move {
        for victim in evicted.instances {
            discard(vec![victim]);
            ebb::yield_now().await;
        }
        for snapshot in evicted.snapshots {
            drop(snapshot);
            ebb::yield_now().await;
        }
    }));
}
