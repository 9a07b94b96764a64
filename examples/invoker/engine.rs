//! The Ebb of each core: its instances, and how a call gets one of them.
//!
//! The books (`Platform::pool`) say on which core and on which instance a call runs. If that is this core, the call is made
//! here; else it travels there and its outcome back. An instance never leaves its core.

use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;
use core::cell::RefCell;
use core::time::Duration;
use ebb::sync::oneshot;
use ebb::time::Instant;
use ebb::{CoreId, EbbRef, current_core, ebb, println, spawn, spawn_on, time};
use ebb_openwhisk::activation::{Activation, Outcome, Status};
use ebb_openwhisk::call::{Call, InstanceKey, Ran, Start};
use ebb_openwhisk::instance::{Deploy, Instance, Wanted, serve};
use ebb_openwhisk::metrics::{self, Metrics};
use ebb_openwhisk::plan::{Plan, Reply};
use ebb_openwhisk::pool::{Evicted, InstanceId, Submitted};
use ebb_openwhisk::{Controller, Executor, perform};
use hashbrown::HashMap;

use crate::platform::{Grant, Held, Platform, now};

/// What one core has.
#[ebb(per_core)]
#[derive(Default)]
pub struct Invoker {
    instances: RefCell<HashMap<InstanceId, Box<dyn Instance>>>,
    metrics: RefCell<Metrics>,
}

impl Invoker {
    /// Counts something.
    pub fn count(&self, f: impl FnOnce(&mut Metrics)) {
        f(&mut self.metrics.borrow_mut());
    }

    /// What this core has counted.
    pub fn metrics(&self) -> Metrics {
        *self.metrics.borrow()
    }
}

fn here() -> usize {
    current_core().number()
}

/// Makes calls for the plans of the API.
struct Engine;

static ENGINE: Engine = Engine;

/// Carries out a plan in a task of its own; the record comes through the receiver.
pub fn start(plan: Plan, reply: &Reply) -> ebb::JoinHandle<alloc::sync::Arc<Activation>> {
    let namespace = reply.namespace.clone();
    spawn(async move {
        let record = perform(&ENGINE, plan).await;
        EbbRef::<Platform>::get().controller(|c| c.end(&namespace));
        record
    })
}

impl Executor for Engine {
    async fn execute(&self, call: &Call) -> Ran {
        let platform = EbbRef::<Platform>::get();
        let received = Instant::now();
        let (sender, waiting) = oneshot::channel();
        let bytes = EbbRef::<dyn Deploy>::get().first_bytes();
        let submitted = platform.pool(|pool| pool.submit(Some(sender), &call.key(), bytes, here()));
        let grant = match submitted {
            Submitted::Run(dispatch) => Grant::of(dispatch).1,
            Submitted::Waits => match waiting.await {
                Ok(grant) => grant,
                Err(_) => return failed("The platform is ending."),
            },
            Submitted::Refused(_) => return failed("The platform has too many calls waiting."),
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

fn microseconds(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_micros()).unwrap_or(u64::MAX)
}

/// A call that the platform could not make.
fn failed(why: &str) -> Ran {
    Ran {
        start: now(),
        end: now(),
        init: None,
        kind: Start::Cold,
        outcome: Outcome::error(Status::InternalError, why),
        timed_out: false,
        logs: Vec::new(),
    }
}

/// Ends instances, and lets go of snapshots, that have to make room.
fn evict(evicted: Evicted<Held>) {
    for victim in evicted.instances {
        let id = victim.instance;
        let end = move || {
            let instance = EbbRef::<Invoker>::get().instances.borrow_mut().remove(&id);
            drop(instance);
        };
        if victim.core == here() {
            end();
        } else {
            drop(spawn_on(
                CoreId::new(victim.core),
                move || async move { end() },
            ));
        }
    }
}

/// Makes a call on an instance of this core, and gives the instance back to the books.
async fn run(call: &Call, id: InstanceId, start: Start, snapshot: Option<Held>) -> Ran {
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
    let (made, start) = match (held, start, snapshot) {
        (Some(instance), Start::Hot, _) => (Ok(instance), Start::Hot),
        (_, Start::Warm, Some(snapshot)) => (snapshot.start(wanted), Start::Warm),
        // An instance that died while it was idle is replaced like one that never was.
        _ => (EbbRef::<dyn Deploy>::get().start(wanted).await, Start::Cold),
    };
    let mut instance = match made {
        Ok(instance) => instance,
        Err(why) => {
            release(id, false, 0, 0);
            return failed(&why);
        }
    };
    let started = microseconds(began);
    let ran = serve(&mut *instance, call, start).await;
    let keep = ran.outcome.instance_lives() && instance.is_alive();
    if let Some(init) = ran.init {
        invoker.count(|m| m.init.record(init * 1000));
    }
    let cost = match start {
        Start::Hot => 0,
        Start::Warm => started,
        Start::Cold => started + ran.init.unwrap_or(0) * 1000,
    };
    let mut bytes = 0;
    if keep {
        if start != Start::Hot {
            instance.learn();
        }
        bytes = instance.memory();
        invoker.instances.borrow_mut().insert(id, instance);
        if start == Start::Cold {
            let key = call.key();
            drop(spawn(async move { capture(key, id, cost).await }));
        }
    } else {
        drop(instance);
    }
    release(id, keep, bytes, cost);
    ran
}

/// Captures an instance that is idle, as the snapshot of its function.
async fn capture(key: InstanceKey, id: InstanceId, cost: u64) {
    // The answer goes out first.
    for _ in 0..4 {
        ebb::yield_now().await;
    }
    let platform = EbbRef::<Platform>::get();
    if platform.pool(|pool| pool.has_snapshot(&key)) {
        return;
    }
    // No borrow is held over an await, so nobody else uses it meanwhile.
    let captured = match EbbRef::<Invoker>::get().instances.borrow_mut().get_mut(&id) {
        Some(instance) => instance.capture(),
        None => None,
    };
    let Some(snapshot) = captured else { return };
    let bytes = snapshot.memory();
    evict(platform.pool(|pool| pool.keep_snapshot(&key, snapshot, bytes, cost)));
}

/// Tells the books that an instance is free, and whoever may run now.
fn release(id: InstanceId, keep: bool, bytes: u64, cost: u64) {
    let platform = EbbRef::<Platform>::get();
    let mut ready = platform.pool(|pool| pool.release(id, keep, bytes, cost));
    while let Some(dispatch) = ready.pop() {
        let (ticket, grant) = Grant::of(dispatch);
        let unwanted = match ticket {
            Some(ticket) => ticket.send(grant).err(),
            None => Some(grant),
        };
        if let Some(grant) = unwanted {
            // Its task is gone: the instance goes to the next one, and one that was never made goes.
            evict(grant.evicted);
            let keep = grant.start == Start::Hot;
            let bytes = EbbRef::<dyn Deploy>::get().first_bytes();
            ready.extend(platform.pool(|pool| pool.release(grant.instance, keep, bytes, 0)));
        }
    }
}

/// Throws away the instances of actions that were changed or deleted. Runs after each change.
pub fn forget_stale() {
    let platform = EbbRef::<Platform>::get();
    let current = platform.controller(|c| c.revisions());
    let victims = platform.pool(|pool| pool.evict_if(|key| !current.contains(&key.revision)));
    evict(victims);
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
        Ok(Ok(mut instance)) => {
            match instance
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
        Ok(Err(why)) => why,
        Err(_) => "the first instance was not ready after 10 minutes".into(),
    };
    println!("invoker: {text}");
}
