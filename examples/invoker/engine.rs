//! The Ebb of each core: its instances, and how a call gets one of them.
//!
//! The books (`Platform::pool`) say on which core and on which instance a call runs. If that is this core, the call is made
//! here; else it travels there and its outcome back. An instance never leaves its core.

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::cell::{Cell, OnceCell, RefCell};
use core::sync::atomic::{AtomicBool, Ordering};
use core::time::Duration;
use ebb::platform::Clock;
use ebb::sync::oneshot;
use ebb::time::Instant;
use ebb::{
    CoreId, EbbRef, IdleWork, JoinHandle, core_count, current_core, ebb, println, spawn, spawn_on,
    time,
};
use ebb_openwhisk::activation::{Activation, Outcome, Status};
use ebb_openwhisk::budget::Budget;
use ebb_openwhisk::call::{Call, InstanceKey, Ran, Spent, Start};
use ebb_openwhisk::failure::Failure;
use ebb_openwhisk::instance::{Deploy, Instance, Started, Wanted, serve};
use ebb_openwhisk::metrics::{self, Metrics};
use ebb_openwhisk::plan::{Plan, Reply};
use ebb_openwhisk::pool::{Dispatch, Evicted, InstanceId, Submitted};
use ebb_openwhisk::{Controller, Executor, perform};
use hashbrown::HashMap;

use crate::platform::{Grant, Held, Platform, Ticket, now};

/// What one core has.
#[ebb(per_core)]
#[derive(Default)]
pub struct Invoker {
    instances: RefCell<HashMap<InstanceId, Box<dyn Instance>>>,
    metrics: RefCell<Metrics>,
    /// Instances of functions that have no snapshot yet, the oldest in front.
    uncaptured: RefCell<VecDeque<Uncaptured>>,
    /// A task sees to them.
    capturing: Cell<bool>,
    /// Calls that run here.
    running: Cell<usize>,
    /// When the last one ended.
    quiet_since: Cell<Option<Instant>>,
    /// Takes held calls when this core has nothing to run.
    idle: OnceCell<IdleWork>,
}

/// An idle instance that is to be captured as the snapshot of its function when nobody waits for this core.
struct Uncaptured {
    key: InstanceKey,
    instance: InstanceId,
    cost: u64,
    since: Instant,
}

/// How long a core has had no call when it captures.
const QUIET: Duration = Duration::from_millis(4);
/// How long a busy core puts captures off, and how many.
const PATIENCE: Duration = Duration::from_secs(2);
const PUT_OFF: usize = 128;
/// Bytes of an instance beyond which it is not captured: the snapshot would take room of many others, and long to make.
const LARGEST: u64 = 32 << 20;
/// How often an instance is tried to be started when the machine's memory is used up, and what makes room each time.
const TRIES: usize = 6;
const ROOM: u64 = 16 << 20;

impl Invoker {
    /// Counts something.
    pub fn count(&self, f: impl FnOnce(&mut Metrics)) {
        f(&mut self.metrics.borrow_mut());
    }

    /// A call begins here. From the first on, this core looks for held calls when it has nothing to run.
    fn begin(&self) {
        self.running.set(self.running.get() + 1);
        if EbbRef::<dyn Deploy>::get().uses_own_time() {
            self.idle.get_or_init(|| {
                ebb::idle(|| {
                    take_held();
                    false
                })
            });
        }
    }

    /// It has ended.
    fn end(&self) {
        self.running.set(self.running.get() - 1);
        self.quiet_since.set(Some(Instant::now()));
    }

    /// What this core has counted.
    pub fn metrics(&self) -> Metrics {
        Metrics {
            blanks: EbbRef::<dyn Deploy>::get().made_ahead() as u64,
            uncaptured: self.uncaptured.borrow().len() as u64,
            ..*self.metrics.borrow()
        }
    }
}

fn here() -> usize {
    current_core().number()
}

/// Makes calls for the plans of the API.
struct Engine;

static ENGINE: Engine = Engine;

/// Bytes of all calls that run or wait.
static CALLS: Budget = Budget::new(128 << 20);

/// Carries out a plan in a task of its own; the record comes through the handle.
///
/// # Errors
/// 429: too much waits already.
pub fn start(plan: Plan, reply: &Reply) -> Result<JoinHandle<Arc<Activation>>, Failure> {
    let platform = EbbRef::<Platform>::get();
    let is_full = match &plan {
        Plan::Action(call) => platform.pool(|pool| pool.refuses(&call.key())),
        _ => false,
    };
    let admitted = CALLS.take(plan.bytes()).filter(|_| !is_full);
    let Some(admitted) = admitted else {
        platform.controller(|c| c.end(&reply.namespace));
        let text = "Too many concurrent requests in flight: the platform's queue is full.";
        return Err(Failure::new(429, text));
    };
    let namespace = reply.namespace.clone();
    Ok(spawn(async move {
        let record = perform(&ENGINE, plan).await;
        drop(admitted);
        platform.controller(|c| c.end(&namespace));
        record
    }))
}

impl Executor for Engine {
    async fn execute(&self, call: &Call) -> Ran {
        let platform = EbbRef::<Platform>::get();
        let received = Instant::now();
        let bytes = EbbRef::<dyn Deploy>::get().first_bytes();
        let grant = loop {
            let (sender, waiting) = oneshot::channel();
            let submitted = platform
                .pool(|pool| pool.submit(Some(sender), &call.key(), bytes, here(), clock()));
            match submitted {
                Submitted::Run(dispatch) => break Grant::of(dispatch).1,
                Submitted::Waits => {
                    watch_held();
                    match waiting.await {
                        Ok(grant) => break grant,
                        Err(_) => return failed("The platform is ending."),
                    }
                }
                // It was let in while others were on their way to the last places.
                Submitted::Refused(_) => time::sleep(RETRY).await,
            }
        };
        EbbRef::<Invoker>::get().count(|m| m.wait.record(microseconds(received)));
        evict(grant.evicted);
        if grant.core == here() {
            return run(call, grant.instance, grant.start, grant.snapshot).await;
        }
        EbbRef::<Invoker>::get().count(|m| m.handed_over += 1);
        let (instance, start, call) = (grant.instance, grant.start, call.clone());
        let ran = spawn_on(CoreId::new(grant.core), move || async move {
            run(&call, instance, start, grant.snapshot).await
        });
        match ran.await {
            Ok(ran) => ran,
            Err(_) => failed("The core that ran the call has stopped."),
        }
    }

    async fn controller<R>(&self, f: impl FnOnce(&mut Controller) -> R) -> R {
        EbbRef::<Platform>::get().controller(f)
    }

    fn now(&self) -> u64 {
        now()
    }

    fn finished(&self, call: &Call, start: Start, record: &Activation) {
        let latency = now().saturating_sub(call.received) * 1000;
        EbbRef::<Invoker>::get().count(|m| m.activation(start, record.outcome.status, latency));
        if EbbRef::<Platform>::get().is_verbose() {
            println!("{}", metrics::line(call, start, record, here()));
        }
    }
}

/// Microseconds since the start, for the books.
fn clock() -> u64 {
    EbbRef::<dyn Clock>::get().now() / 1000
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

fn microseconds(since: Instant) -> u64 {
    micros(since.elapsed())
}

/// A call that the platform could not make.
fn failed(why: &str) -> Ran {
    Ran {
        start: now(),
        end: now(),
        init: None,
        spent: Spent::default(),
        kind: Start::Cold,
        outcome: Outcome::error(Status::InternalError, why),
        timed_out: false,
        logs: Vec::new(),
    }
}

/// Ends instances, and lets go of snapshots, that have to make room. What comes back is ready when those of other cores have
/// ended; nobody has to wait for it.
fn evict(evicted: Evicted<Held>) -> Vec<ebb::RemoteHandle<()>> {
    let mut elsewhere = Vec::new();
    for victim in evicted.instances {
        let id = victim.instance;
        if victim.core == here() {
            end(id);
        } else {
            elsewhere.push(spawn_on(CoreId::new(victim.core), move || async move {
                end(id)
            }));
        }
    }
    elsewhere
}

/// Ends an instance of this core. If it is the last of a function, its snapshot stays.
fn end(id: InstanceId) {
    let invoker = EbbRef::<Invoker>::get();
    let due = {
        let mut uncaptured = invoker.uncaptured.borrow_mut();
        let at = uncaptured.iter().position(|due| due.instance == id);
        at.and_then(|at| uncaptured.remove(at))
    };
    if let Some(due) = due {
        capture(&due);
    }
    let instance = invoker.instances.borrow_mut().remove(&id);
    drop(instance);
}

/// Makes room on a machine whose memory is used up; whether there was anything to evict.
async fn relieve(bytes: u64) -> bool {
    let evicted = EbbRef::<Platform>::get().pool(|pool| pool.relieve(bytes));
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

/// Makes an instance, and room for it if need be. Says whether it had been made in advance.
async fn make(
    wanted: Wanted,
    start: Start,
    snapshot: Option<Held>,
) -> Result<(Started, Start), String> {
    let deploy = EbbRef::<dyn Deploy>::get();
    let mut relieved = false;
    for attempt in 0.. {
        let short = deploy.short();
        if short > 0 {
            relieved |= relieve(short.min(ROOM)).await;
        }
        let made = match (start, &snapshot) {
            (Start::Warm, Some(snapshot)) => snapshot.start(wanted).map(|instance| {
                let ahead = false;
                (Started { instance, ahead }, Start::Warm)
            }),
            _ => deploy.start(wanted).await.map(|made| (made, Start::Cold)),
        };
        match made {
            Ok(made) => {
                EbbRef::<Invoker>::get().count(|m| m.relieved += u64::from(relieved));
                return Ok(made);
            }
            Err(failed) if failed.memory && attempt < TRIES => relieved |= relieve(ROOM).await,
            Err(failed) => return Err(failed.why),
        }
    }
    unreachable!("the last attempt returns")
}

/// What an instance is like after a call.
#[derive(Default)]
struct After {
    keep: bool,
    bytes: u64,
    /// Microseconds that it took to start it, if that was done.
    cost: u64,
}

/// Makes a call on an instance of this core, and gives the instance back to the books.
async fn run(call: &Call, id: InstanceId, start: Start, snapshot: Option<Held>) -> Ran {
    let invoker = EbbRef::<Invoker>::get();
    invoker.begin();
    let (ran, after) = make_call(call, id, start, snapshot).await;
    invoker.end();
    release(id, after);
    let short = EbbRef::<dyn Deploy>::get().short();
    if short > 0 {
        // Instances that are there already have grown.
        drop(spawn(async move { relieve(short.min(ROOM)).await }));
    }
    ran
}

async fn make_call(
    call: &Call,
    id: InstanceId,
    start: Start,
    snapshot: Option<Held>,
) -> (Ran, After) {
    let invoker = EbbRef::<Invoker>::get();
    let wanted = Wanted {
        memory: call.action.limits.memory,
    };
    let held = invoker
        .instances
        .borrow_mut()
        .remove(&id)
        .filter(|i| i.is_alive());
    let began = Instant::now();
    let made = match (held, start) {
        (Some(instance), Start::Hot) => {
            let ahead = false;
            Ok((Started { instance, ahead }, Start::Hot))
        }
        // An instance that died while it was idle is replaced like one that never was.
        _ => make(wanted, start, snapshot).await,
    };
    let (mut instance, start) = match made {
        Ok((made, start)) => {
            invoker.count(|m| m.ahead += u64::from(made.ahead));
            (made.instance, start)
        }
        Err(why) => return (failed(&why), After::default()),
    };
    let started = microseconds(began);
    let ran = serve(&mut *instance, call, start).await;
    let keep = ran.outcome.instance_lives() && instance.is_alive();
    invoker.count(|m| {
        if start != Start::Hot {
            m.deploy[start as usize].record(started);
        }
        if start == Start::Cold {
            m.init.record(micros(ran.spent.init));
        }
        m.run[start as usize].record(micros(ran.spent.run));
    });
    let cost = match start {
        Start::Hot => 0,
        Start::Warm => started,
        Start::Cold => started + micros(ran.spent.init),
    };
    let mut bytes = 0;
    if keep {
        if start != Start::Hot {
            instance.learn();
        }
        bytes = instance.memory();
        invoker.instances.borrow_mut().insert(id, instance);
        if start == Start::Cold {
            put_off(Uncaptured {
                key: call.key(),
                instance: id,
                cost,
                since: Instant::now(),
            });
        }
    } else {
        drop(instance);
    }
    (ran, After { keep, bytes, cost })
}

/// Remembers that an instance is to be captured.
fn put_off(due: Uncaptured) {
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
fn capture(due: &Uncaptured) -> bool {
    let platform = EbbRef::<Platform>::get();
    if platform.pool(|pool| pool.has_snapshot(&due.key)) {
        return true;
    }
    let invoker = EbbRef::<Invoker>::get();
    let began = Instant::now();
    let captured = match invoker.instances.borrow_mut().get_mut(&due.instance) {
        Some(instance) => {
            if instance.memory() > LARGEST {
                return true;
            }
            let snapshot = instance.capture();
            snapshot.map(|snapshot| (snapshot, instance.memory()))
        }
        None => return false,
    };
    let Some((snapshot, instance_bytes)) = captured else {
        return true;
    };
    invoker.count(|m| m.capture.record(microseconds(began)));
    let bytes = snapshot.memory();
    let evicted = platform.pool(|pool| {
        pool.recount(due.instance, instance_bytes);
        pool.keep_snapshot(&due.key, snapshot, bytes, due.cost)
    });
    if !evicted.instances.is_empty() || !evicted.snapshots.is_empty() {
        // Not at once: to evict may be why this is captured.
        drop(spawn(async move { drop(evict(evicted)) }));
    }
    true
}

/// Tells the books that an instance is free, and whoever may run now.
fn release(id: InstanceId, after: After) {
    let After { keep, bytes, cost } = after;
    let platform = EbbRef::<Platform>::get();
    hand_out(platform.pool(|pool| pool.release(id, keep, bytes, cost, clock())));
}

/// Tells waiting calls where they may run.
fn hand_out(mut ready: Vec<Dispatch<Option<Ticket>, Held>>) {
    let platform = EbbRef::<Platform>::get();
    while let Some(dispatch) = ready.pop() {
        let (ticket, grant) = Grant::of(dispatch);
        let unwanted = match ticket {
            Some(ticket) => ticket.send(grant).err(),
            None => Some(grant),
        };
        if let Some(grant) = unwanted {
            // Its task is gone: the instance goes to the next one, and one that was never made goes.
            evict(grant.evicted);
            let (id, keep) = (grant.instance, grant.start == Start::Hot);
            let bytes = EbbRef::<dyn Deploy>::get().first_bytes();
            ready.extend(platform.pool(|pool| pool.release(id, keep, bytes, 0, clock())));
        }
    }
}

/// This core has nothing to run: it takes a call that is held for an instance elsewhere, or for one that waits.
fn take_held() {
    let running = EbbRef::<Invoker>::get().running.get();
    let platform = EbbRef::<Platform>::get();
    let taken = platform.pool(|pool| pool.core_is_idle(here(), running, clock()));
    hand_out(taken.into_iter().collect());
}

/// How long a call that was let in waits for a place in the queue.
const RETRY: Duration = Duration::from_millis(20);
/// How often the books are told that time passes while calls are held.
const TICK: Duration = Duration::from_millis(5);

/// Sees to it that held calls get further instances in time. One task does that for all, while there are any.
fn watch_held() {
    static WATCHED: AtomicBool = AtomicBool::new(false);
    let platform = EbbRef::<Platform>::get();
    if !platform.pool(|pool| pool.holds_calls()) || WATCHED.swap(true, Ordering::Relaxed) {
        return;
    }
    drop(spawn(async move {
        loop {
            while platform.pool(|pool| pool.holds_calls()) {
                time::sleep(TICK).await;
                hand_out(platform.pool(|pool| pool.tick(clock())));
                wake_others();
            }
            WATCHED.store(false, Ordering::Relaxed);
            // One that came after the look has found it watched.
            if !platform.pool(|pool| pool.holds_calls()) || WATCHED.swap(true, Ordering::Relaxed) {
                break;
            }
        }
    }));
}

/// Cores that sleep look for held calls once more.
fn wake_others() {
    if EbbRef::<dyn Deploy>::get().uses_own_time() {
        for core in (0..core_count()).filter(|&core| core != here()) {
            drop(spawn_on(CoreId::new(core), async || ()));
        }
    }
}

/// Throws away the instances of actions that were changed or deleted. Runs after each change.
pub fn forget_stale() {
    let platform = EbbRef::<Platform>::get();
    let current = platform.controller(|c| c.revisions());
    let evicted = platform.pool(|pool| pool.evict_if(|key| !current.contains(&key.revision)));
    // Nobody waits for their memory, so each ends in an event of its own.
    drop(spawn(async move {
        for victim in evicted.instances {
            evict(Evicted {
                instances: alloc::vec![victim],
                snapshots: Vec::new(),
            });
            ebb::yield_now().await;
        }
        for snapshot in evicted.snapshots {
            drop(snapshot);
            ebb::yield_now().await;
        }
    }));
}

/// Makes one instance and throws it away, so that a platform that cannot make any says so at the start.
pub async fn warm_up() {
    let began = Instant::now();
    let wanted = Wanted { memory: 256 };
    let text: String = match time::timeout(
        Duration::from_secs(600),
        EbbRef::<dyn Deploy>::get().start(wanted),
    )
    .await
    {
        Ok(Ok(mut started)) => {
            match started
                .instance
                .ask(ebb_openwhisk::instance::Request::Reset, "")
                .await
            {
                Ok((200, _)) => alloc::format!(
                    "the first instance was ready after {} ms",
                    microseconds(began) / 1000
                ),
                _ => "the first instance did not answer: see what it printed above".into(),
            }
        }
        Ok(Err(failed)) => failed.why,
        Err(_) => "the first instance was not ready after 10 minutes".into(),
    };
    println!("invoker: {text}");
}
