//! The event loop of a core, what it counts, and how it ends.

use alloc::{boxed::Box, format, string::String, vec::Vec};
use core::{
    any::Any,
    cell::Cell,
    fmt,
    panic::Location,
    ptr,
    sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering},
};

use super::{
    BATCH,
    error::JoinError,
    idle::IdleList,
    task::{Home, TaskPtr},
};
use crate::{
    EbbRef,
    model::{Constructions, DynamicEbbs},
    per_core::{CoreId, Part, Seat},
    platform::{Clock, Cores, Unwind},
    quiesce::Boundaries,
    sync::epoch,
    time::Timers,
    trace::{self, Ring, Stretch},
};

/// What a machine's loops end with, once they are to end.
pub(crate) struct StopStatus(AtomicI64);

/// The status of a machine that nobody has stopped; no `i32`.
const RUNNING: i64 = i64::MIN;

impl StopStatus {
    pub fn new() -> Self {
        Self(AtomicI64::new(RUNNING))
    }

    /// Sets it; the first counts.
    pub fn set(&self, status: i32) {
        let _ = self.0.compare_exchange(
            RUNNING,
            i64::from(status),
            Ordering::AcqRel,
            Ordering::Relaxed,
        );
    }

    #[inline]
    pub fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed) != RUNNING
    }

    pub fn get(&self) -> Option<i32> {
        i32::try_from(self.0.load(Ordering::Acquire)).ok()
    }
}

/// A core: one event loop, and the parts of all layers that it drives. Lives as long as the program.
#[repr(align(128))]
pub(crate) struct Core {
    pub seat: Seat,
    pub home: Home,
    pub timers: Timers,
    pub idle: IdleList,
    pub constructions: Constructions,
    pub dynamic: DynamicEbbs,
    pub boundaries: Boundaries,
    pub ring: Ring,
    pub stop: &'static StopStatus,
    /// A point in time by both clocks, from which the counter's rate follows.
    pub origin: Cell<(u64, u64)>,
}

// SAFETY: `seat`, `home` and `stop` are Sync by themselves; everything else is touched only by the thread that is this core.
unsafe impl Sync for Core {}
// SAFETY: as above; a core that has not been entered has no thread affinity yet.
unsafe impl Send for Core {}

impl Core {
    /// Makes the calling thread this core.
    ///
    /// # Safety
    /// No other thread is or becomes this core.
    pub unsafe fn enter(&'static self) {
        assert!(Seat::slot().is_null(), "this thread is a core already");
        // SAFETY: the caller's promise.
        unsafe {
            Seat::set_slot(&self.seat);
            Home::set_slot(&self.home);
            Timers::set_slot(&self.timers);
            IdleList::set_slot(&self.idle);
            Constructions::set_slot(&self.constructions);
            DynamicEbbs::set_slot(&self.dynamic);
            Boundaries::set_slot(&self.boundaries);
            Ring::set_slot(&self.ring);
        }
    }

    /// Makes the calling thread no core any more.
    pub fn leave(&self) {
        // SAFETY: null belongs to no core.
        unsafe {
            Seat::set_slot(ptr::null());
            Home::set_slot(ptr::null());
            Timers::set_slot(ptr::null());
            IdleList::set_slot(ptr::null());
            Constructions::set_slot(ptr::null());
            DynamicEbbs::set_slot(ptr::null());
            Boundaries::set_slot(ptr::null());
            Ring::set_slot(ptr::null());
        }
    }
}

/// What a core has done since it started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CoreStats {
    /// The core.
    pub core: CoreId,
    /// Events run: polls of tasks.
    pub events: u64,
    /// Times that the core slept.
    pub parks: u64,
    /// Events that took longer than the hog limit.
    pub hogs: u64,
    /// Timers fired.
    pub timers: u64,
    /// Tasks that other cores and threads woke or spawned here.
    pub arrivals: u64,
    /// Tasks that ended by a panic.
    pub panics: u64,
    /// Tasks alive, as of the last look at the inbox.
    pub tasks: u64,
}

/// The counters of every core of this machine.
///
/// # Panics
/// On a thread that is not a core.
#[must_use]
pub fn core_stats() -> Vec<CoreStats> {
    let homes = Home::current().all().iter();
    homes
        .enumerate()
        .map(|(core, home)| CoreStats {
            core: CoreId::new(core),
            events: home.counters.events.get(),
            parks: home.counters.parks.get(),
            hogs: home.counters.hogs.get(),
            timers: home.counters.timers.get(),
            arrivals: home.counters.arrivals.get(),
            panics: home.counters.panics.get(),
            tasks: home.counters.tasks.get(),
        })
        .collect()
}

// --- Hogs ------------------------------------------------------------------------------------

/// An event is a hog when it takes longer than this, in nanoseconds.
static HOG_LIMIT_NS: AtomicU64 = AtomicU64::new(10_000_000);
static HOG_REPORTS: AtomicBool = AtomicBool::new(true);

/// Sets how long an event may take before it is counted and reported as one that
/// hogs its core. The default is 10 ms. `report` says whether a line tells of it (for
/// each core at most one a second, then less and less often). Events shorter than about half a millisecond are never looked at, so
/// a lower limit counts as that.
pub fn set_hog_limit(limit_ns: u64, report: bool) {
    HOG_LIMIT_NS.store(limit_ns, Ordering::Relaxed);
    HOG_REPORTS.store(report, Ordering::Relaxed);
}

/// When a core last told of a hog. Of a program that has many, the first few say all; so each line is followed by a longer
/// silence than the one before, up to a minute.
struct HogTelling {
    /// Nanoseconds of the clock before which nothing is told.
    due_ns: AtomicU64,
    /// The next silence, less the first. All is zero at first, and so takes no byte of an image.
    longer_ns: AtomicU64,
    untold: AtomicU64,
}

static HOG_TELLING: [HogTelling; 64] = [const {
    HogTelling {
        due_ns: AtomicU64::new(0),
        longer_ns: AtomicU64::new(0),
        untold: AtomicU64::new(0),
    }
}; 64];

impl HogTelling {
    /// Whether to tell of a hog now; if so, how many were not told of since the last.
    fn tell(&self, now_ns: u64) -> Option<u64> {
        if !HOG_REPORTS.load(Ordering::Relaxed) || now_ns < self.due_ns.load(Ordering::Relaxed) {
            self.untold.fetch_add(1, Ordering::Relaxed);
            return None;
        }
        const FIRST_NS: u64 = 1_000_000_000;
        const LONGEST_NS: u64 = 60_000_000_000;
        let silence_ns = FIRST_NS + self.longer_ns.load(Ordering::Relaxed);
        self.due_ns.store(now_ns + silence_ns, Ordering::Relaxed);
        self.longer_ns.store(
            (2 * silence_ns).min(LONGEST_NS) - FIRST_NS,
            Ordering::Relaxed,
        );
        Some(self.untold.swap(0, Ordering::Relaxed))
    }
}

/// Events shorter than this many ticks of the time stamp counter are never looked at: a quarter of
/// a millisecond at 4 GHz.
const HOG_TICKS: u64 = 1 << 20;

#[inline(always)]
fn ticks() -> u64 {
    // SAFETY: every x86-64 has the counter, and both runtimes leave it readable.
    unsafe { core::arch::x86_64::_rdtsc() }
}

#[cold]
#[inline(never)]
fn long_event(core: &Core, site: &Location<'_>, spent_ticks: u64) {
    let (tick, origin_ns) = core.origin.get();
    let now_ns = EbbRef::<dyn Clock>::get().now_ns();
    let elapsed_ticks = ticks().wrapping_sub(tick).max(1);
    let elapsed_ns = now_ns.saturating_sub(origin_ns);
    let spent_ns =
        (u128::from(spent_ticks) * u128::from(elapsed_ns) / u128::from(elapsed_ticks)) as u64;
    if spent_ns < HOG_LIMIT_NS.load(Ordering::Relaxed) {
        return;
    }
    core.home.counters.hogs.add(1);
    if let Some(untold) = HOG_TELLING[core.seat.core.number() % HOG_TELLING.len()].tell(now_ns) {
        let more = match untold {
            0 => String::new(),
            n => format!(" ({n} more were not reported since the last one that was)"),
        };
        crate::inform!(
            "ebb: an event held {:?} for {}.{:03} ms; its task was spawned at {site}{more}",
            core.seat.core,
            spent_ns / 1_000_000,
            spent_ns / 1000 % 1000,
        );
    }
}

// --- The loop ----------------------------------------------------------------------------------

/// Runs a core's events until the machine stops.
pub(crate) fn run(core: &'static Core) {
    core.origin
        .set((ticks(), EbbRef::<dyn Clock>::get().now_ns()));
    let quiesce = core.boundaries.join();
    quiesce.unpark();
    while !core.stop.is_set() {
        catch(core, &mut || {
            while !core.stop.is_set() {
                turn(core, quiesce);
            }
        });
    }
    stop(core);
    // Nobody need wait for this core any more.
    quiesce.park();
}

/// Runs `f`; a panic in it ends the task whose event it was.
pub(super) fn catch(core: &'static Core, f: &mut dyn FnMut()) {
    let Err(payload) = EbbRef::<dyn Unwind>::get().catch(f) else {
        return;
    };
    core.home.counters.panics.add(1);
    if let Some(quiesce) = core.boundaries.epoch()
        && !quiesce.is_running()
    {
        // A waker that the platform called panicked while the core slept.
        core.home.doorbell.awake();
        quiesce.unpark();
    }
    let mut payload: Option<Box<dyn Any + Send>> = Some(payload);
    let running = core.home.running.take();
    // The future's destructor may panic as well, and the payload's: the task ends all the same.
    let result = EbbRef::<dyn Unwind>::get().catch(&mut || match (running, payload.take()) {
        (Some(task), Some(payload)) => task.panicked(payload),
        (_, payload) => drop(payload),
    });
    if let Err(payload) = result {
        // A panic in a panic's destructors: what it carries is not worth a third.
        core::mem::forget(payload);
    }
}

/// How often an idle core checks whether its grace period is over, in nanoseconds.
pub(super) const GRACE_LOOK_NS: u64 = 200_000;

/// Events run between two looks at the inbox. An empty one costs three loads.
pub(super) const LOOK: usize = 8;

/// How many panics in destructors a core survives while it stops.
const STOP_ROUNDS: usize = 1000;

/// Once round the loop.
#[inline]
fn turn(core: &'static Core, quiesce: &epoch::Core) {
    let home = &core.home;
    quiesce.poll();
    arrivals(core);
    // Without timers there is no reason to ask the clock.
    let mut next_timer_ns = core.timers.next_deadline_ns();
    let mut more_due = false;
    if next_timer_ns.is_some() {
        let now_ns = EbbRef::<dyn Clock>::get().now_ns();
        let fired = core.timers.expire(now_ns, BATCH);
        more_due = fired == BATCH as u64;
        core.home.counters.timers.add(fired);
        if trace::is_on() && fired > 0 {
            trace::instant(&trace::TIMERS, [fired, 0]);
        }
        next_timer_ns = core.timers.next_deadline_ns();
    }
    if run_batch(core) || more_due {
        EbbRef::<dyn Cores>::get().poll(core.home.token);
        return;
    }
    let worked = if trace::is_on() && !core.idle.is_empty() {
        let _stretch = Stretch::begin(&trace::IDLE_WORK, 0, None);
        core.idle.run()
    } else {
        core.idle.run()
    };
    if worked {
        EbbRef::<dyn Cores>::get().poll(core.home.token);
        return;
    }
    core.home.doorbell.about_to_sleep();
    // SAFETY: this core is the inbox's consumer.
    if unsafe { core.home.inbox.is_empty() } && home.queue.is_empty() && !core.stop.is_set() {
        core.home.counters.parks.add(1);
        let deadline_ns = if quiesce.is_pending() {
            // Nothing wakes this core when its grace period ends, so it checks now and then.
            let look_ns = EbbRef::<dyn Clock>::get().now_ns() + GRACE_LOOK_NS;
            Some(next_timer_ns.map_or(look_ns, |timer| timer.min(look_ns)))
        } else {
            next_timer_ns
        };
        quiesce.park();
        let sleep =
            trace::is_on().then(|| Stretch::begin(&trace::SLEEP, deadline_ns.unwrap_or(0), None));
        EbbRef::<dyn Cores>::get().park(core.home.token, deadline_ns);
        drop(sleep);
        quiesce.unpark();
    }
    core.home.doorbell.awake();
}

/// Takes in what other cores sent.
#[inline]
pub(super) fn arrivals(core: &'static Core) {
    // SAFETY: this core is the inbox's consumer.
    if unsafe { core.home.inbox.is_empty() } {
        return;
    }
    let mut count = 0;
    // SAFETY: as above; the iterator ends before the next `drain`.
    for header in unsafe { core.home.inbox.drain() } {
        // SAFETY: the inbox gave it out, on its home core.
        unsafe { TaskPtr::arrive(header) };
        count += 1;
    }
    core.home.counters.arrivals.add(count);
    if trace::is_on() {
        trace::instant(&trace::ARRIVALS, [count, 0]);
    }
    core.home.counters.tasks.set(core.home.live.len() as u64);
}

/// Runs up to [`BATCH`] events. False when there was none.
#[inline]
fn run_batch(core: &'static Core) -> bool {
    /// Counts the events of a batch also when one of them panics.
    struct Count<'a>(&'a Core, usize);
    impl Drop for Count<'_> {
        fn drop(&mut self) {
            if self.1 > 0 {
                self.0.home.counters.events.add(self.1 as u64);
            }
        }
    }
    let home = &core.home;
    let mut count = Count(core, 0);
    let mut stamp = ticks();
    while count.1 < BATCH {
        if count.1 % LOOK == LOOK - 1 {
            arrivals(core);
        }
        let Some(task) = home.queue.pop() else {
            break;
        };
        home.running.set(Some(task));
        // Taken now: the event may end the task.
        let site = task.site;
        count.1 += 1;
        if trace::is_on() {
            run_traced(task);
        } else {
            // SAFETY: from this core's run queue; the loop is not within a task.
            unsafe { task.run() };
        }
        home.running.set(None);
        let now = ticks();
        let spent = now.wrapping_sub(stamp);
        stamp = now;
        if spent > HOG_TICKS {
            long_event(core, site, spent);
            // Timers, devices and other cores do not wait for a second one.
            break;
        }
    }
    count.1 > 0
}

/// Runs an event and records it.
#[cold]
#[inline(never)]
fn run_traced(task: TaskPtr) {
    let _stretch = Stretch::begin(&trace::EVENT, task.number(), Some(task.site));
    // SAFETY: as in `run_batch`.
    unsafe { task.run() };
}

/// Where the task whose event runs on this core was spawned; `None` between events and on threads
/// that are no cores. For panic messages.
#[must_use]
pub fn running_site() -> Option<&'static Location<'static>> {
    Home::try_current()?.running.get().map(|task| task.site)
}

/// Drops every task and every Ebb made at run time, so that their destructors run on their core.
/// Afterwards the core takes nothing any more: what still arrives is swept up by whoever sends it.
pub(super) fn stop(core: &'static Core) {
    core.constructions.stop();
    let home = &core.home;
    home.closed.set(true);
    // A destructor may spawn on this core or have others spawn here; both are cancelled at once.
    // It may panic, too; then the next round goes on behind it.
    for _ in 0..STOP_ROUNDS {
        catch(core, &mut || {
            arrivals(core);
            while let Some(task) = home.live.first() {
                task.end(JoinError::Cancelled);
            }
            while let Some(task) = home.queue.pop() {
                // SAFETY: from this core's run queue; every task has ended, so none is polled.
                unsafe { task.run() };
            }
            core.idle.clear();
            core.dynamic.clear();
            core.timers.clear();
        });
        // SAFETY: this core is the inbox's consumer.
        let arrived = unsafe { !core.home.inbox.is_empty() };
        if !arrived && home.live.first().is_none() && home.queue.is_empty() {
            break;
        }
    }
    core.home.shut();
}

impl fmt::Display for CoreStats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:?}: {} events, {} parks, {} timers, {} arrivals, {} tasks, {} hogs, {} panics",
            self.core,
            self.events,
            self.parks,
            self.timers,
            self.arrivals,
            self.tasks,
            self.hogs,
            self.panics
        )
    }
}
