//! Once round the event loop, for a core whose thread has others to run as well. What happens follows from the component `Clock` and the order of
//! wakes alone: nothing here looks at a clock of the machine's, so events are never found to take too long.

use super::{
    BATCH,
    run_loop::{self, Core, GRACE_LOOK_NS, LOOK, arrivals, catch},
};
use crate::{EbbRef, platform::Clock, quiesce::Boundaries, sync::epoch};

/// What a machine wants after a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Another step: it has more to do.
    Now,
    /// Nothing until [`Cores::wake`](crate::platform::Cores::wake) is called for it, or its clock comes to these nanoseconds.
    Sleep(Option<u64>),
    /// Its program has ended with this status.
    Ended(i32),
}

fn joined(boundaries: &Boundaries) -> &epoch::Core {
    match boundaries.epoch() {
        Some(quiesce) => quiesce,
        None => boundaries.join(),
    }
}

/// Takes what has arrived, and runs at most [`BATCH`] events.
#[inline(never)]
pub(crate) fn step(core: &'static Core) -> Next {
    let home = &core.home;
    let quiesce = joined(&core.boundaries);
    home.doorbell.awake();
    quiesce.unpark();
    let mut worked = false;
    catch(core, &mut || worked = events(core));
    quiesce.poll();
    quiesce.park();
    if let Some(status) = core.stop.get() {
        return Next::Ended(status);
    }
    home.doorbell.about_to_sleep();
    // SAFETY: this core is the inbox's consumer.
    let arrived = unsafe { !home.inbox.is_empty() };
    if worked || arrived || !home.queue.is_empty() {
        home.doorbell.awake();
        return Next::Now;
    }
    home.counters.parks.add(1);
    let timer_ns = core.timers.next_deadline_ns();
    // Nothing wakes this core when its grace period ends.
    let look_ns = quiesce
        .is_pending()
        .then(|| EbbRef::<dyn Clock>::get().now_ns() + GRACE_LOOK_NS);
    Next::Sleep(timer_ns.into_iter().chain(look_ns).min())
}

/// Whether there are more timers due, or idle work has more to do.
fn events(core: &'static Core) -> bool {
    let home = &core.home;
    arrivals(core);
    let fired = core
        .timers
        .expire(EbbRef::<dyn Clock>::get().now_ns(), BATCH);
    home.counters.timers.add(fired);
    let mut count = 0;
    while count < BATCH && !core.stop.is_set() {
        if count % LOOK == LOOK - 1 {
            arrivals(core);
        }
        let Some(task) = home.queue.pop() else {
            break;
        };
        count += 1;
        home.counters.events.add(1);
        home.running.set(Some(task));
        // SAFETY: from this core's run queue; the loop is not within a task.
        unsafe { task.run() };
        home.running.set(None);
    }
    fired == BATCH as u64 || (count == 0 && core.idle.run())
}

/// Ends the core: its tasks and the Ebbs that it has made at run time are dropped.
#[inline(never)]
pub(crate) fn end(core: &'static Core) {
    let quiesce = joined(&core.boundaries);
    quiesce.unpark();
    run_loop::stop(core);
    quiesce.park();
}
