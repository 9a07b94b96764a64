//! How a call gets an instance.
//!
//! The books ([`Books::pool`]) say on which core and on which instance a call runs. If that is this core, the call is made
//! here; else it travels there and its outcome back.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicBool, Ordering};
use core::time::Duration;

use ebb::platform::Clock;
use ebb::sync::oneshot;
use ebb::time::Instant;
use ebb::{CoreId, EbbRef, JoinHandle, core_count, println, spawn, spawn_on, time};
use ebb_openwhisk::activation::Activation;
use ebb_openwhisk::call::{Call, CallOutcome, Start};
use ebb_openwhisk::entity::absent::Sought;
use ebb_openwhisk::failure::Failure;
use ebb_openwhisk::plan::{Plan, Reply};
use ebb_openwhisk::pool::{After, Dispatch, Grant, InstanceId, Source, Submitted};
use ebb_openwhisk::{Controller, Executor, metrics, perform};

use crate::books::{Books, Ticket, epoch_ms};
use crate::evict::{discard, evict, relieve_if_short};
use crate::instance::{InstanceMaker, SharedSnapshot};
use crate::invoker::{Invoker, elapsed_us, here};
use crate::parts::Parts;
use crate::run::{failed, make_call};
use crate::state::{bring, change, flush_records};

/// Makes the calls of the API's plans.
struct Dispatcher {
    /// Where the answer of a call goes that may come in parts.
    parts: Option<Parts>,
}

/// Bytes of a call, which end with it, on the core where it began.
struct CallBytes(usize);

impl CallBytes {
    fn take(bytes: usize) -> Option<Self> {
        let is_there = EbbRef::<Invoker>::get().call_bytes.take(bytes);
        is_there.then_some(Self(bytes))
    }
}

impl Drop for CallBytes {
    fn drop(&mut self) {
        EbbRef::<Invoker>::get().call_bytes.give(self.0);
    }
}

/// A plan that is being carried out.
pub(crate) struct Running {
    /// The record at its end.
    pub(crate) record: JoinHandle<Arc<Activation>>,
    /// What comes before, where the answer may come in parts.
    pub(crate) parts: Option<Parts>,
}

/// Carries out a plan in a task of its own.
///
/// # Errors
/// 429: too much waits already.
pub(crate) fn start(plan: Plan, reply: &Reply) -> Result<Running, Failure> {
    let books = EbbRef::<Books>::get();
    let is_full = match &plan {
        Plan::Action(call) => books.refuses(&call.key()),
        _ => false,
    };
    let admitted = (!is_full).then(|| CallBytes::take(plan.bytes())).flatten();
    let Some(admitted) = admitted else {
        books.end(&reply.admission);
        let text = "Too many concurrent requests in flight: the platform's queue is full.";
        return Err(Failure::new(429, text));
    };
    let admission = reply.admission.clone();
    let parts = match &plan {
        // Parts do not travel to other machines: there the answer is collected.
        Plan::Action(call) if call.in_parts && books.back_end().is_none() => Some(Parts::default()),
        _ => None,
    };
    let dispatcher = Dispatcher {
        parts: parts.clone(),
    };
    let record = spawn(async move {
        let record = perform(&dispatcher, plan).await;
        if books.has_strict_records() {
            // One that cannot be kept is said by the task that keeps the others.
            let _ = flush_records().await;
        }
        drop(admitted);
        books.end(&admission);
        record
    });
    Ok(Running { record, parts })
}

impl Executor for Dispatcher {
    async fn execute(&self, call: &Call) -> CallOutcome {
        match EbbRef::<Books>::get().back_end() {
            None => execute_here(call, self.parts.as_ref()).await,
            Some(back_end) => {
                let answered = back_end.execute(call).await;
                answered.unwrap_or_else(|unanswered| failed(&unanswered.why))
            }
        }
    }

    async fn controller<R>(&self, f: impl FnOnce(&mut Controller) -> R) -> R {
        EbbRef::<Books>::get().controller(f)
    }

    async fn keep(&self, record: Arc<Activation>) {
        EbbRef::<Books>::get().keep_record(record);
    }

    async fn change<R>(&self, f: impl FnOnce(&mut Controller) -> R) -> Result<R, Failure> {
        change(f).await
    }

    async fn bring(&self, missed: Vec<Sought>) {
        bring(missed).await;
    }

    fn now_ms(&self) -> u64 {
        epoch_ms()
    }

    fn finished(&self, call: &Call, start: Start, record: &Activation) {
        let latency_us = epoch_ms().saturating_sub(call.received_ms) * 1000;
        EbbRef::<Invoker>::get().count(|m| m.activation(start, record.outcome.status, latency_us));
        if EbbRef::<Books>::get().is_verbose() {
            println!("{}", metrics::line(call, start, record, here()));
        }
    }
}

/// Makes a call on an instance of this machine. Its answer may come in parts, if there is somewhere for them to go.
pub(crate) async fn execute_here(call: &Call, parts: Option<&Parts>) -> CallOutcome {
    let books = EbbRef::<Books>::get();
    let received = Instant::now();
    let bytes = EbbRef::<dyn InstanceMaker>::get().new_instance_bytes();
    let grant = loop {
        let (sender, waiting) = oneshot::channel();
        let submitted =
            books.pool(|pool| pool.submit(sender, &call.key(), bytes, here(), now_us()));
        match submitted {
            Submitted::Run(dispatch) => break dispatch.grant,
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
    EbbRef::<Invoker>::get().count(|m| m.wait.record(elapsed_us(received)));
    let Grant {
        core,
        instance,
        source,
        evicted,
    } = grant;
    evict(evicted);
    if core == here() {
        return run(call, instance, source, parts).await;
    }
    EbbRef::<Invoker>::get().count(|m| m.handed_over += 1);
    let (call, parts) = (call.clone(), parts.cloned());
    let ran = spawn_on(CoreId::new(core), move || async move {
        run(&call, instance, source, parts.as_ref()).await
    });
    match ran.await {
        Ok(ran) => ran,
        Err(_) => failed("The core that ran the call has stopped."),
    }
}

/// Microseconds since the machine's start, for the books.
fn now_us() -> u64 {
    EbbRef::<dyn Clock>::get().now_ns() / 1000
}

/// Makes a call on an instance of this core, and gives the instance back to the books.
async fn run(
    call: &Call,
    id: InstanceId,
    source: Source<SharedSnapshot>,
    parts: Option<&Parts>,
) -> CallOutcome {
    let invoker = EbbRef::<Invoker>::get();
    invoker.begin(take_held);
    let (ran, after) = make_call(call, id, source, parts).await;
    invoker.end();
    release(id, after);
    // Instances that are there already have grown.
    relieve_if_short();
    ran
}

/// Tells the books that an instance is free, and whoever may run now.
fn release(id: InstanceId, after: After) {
    let books = EbbRef::<Books>::get();
    let (ready, left_over) =
        books.pool(|pool| (pool.release(id, after, now_us()), pool.take_left_over()));
    hand_out(ready);
    if !left_over.is_empty() {
        discard(left_over);
    }
}

/// Tells waiting calls where they may run.
fn hand_out(mut ready: Vec<Dispatch<Ticket, SharedSnapshot>>) {
    let books = EbbRef::<Books>::get();
    while let Some(Dispatch { ticket, grant }) = ready.pop() {
        if let Err(grant) = ticket.send(grant) {
            // Its task is gone: the instance goes to the next one, and one that was never made goes.
            let after = After {
                keep: matches!(grant.source, Source::Idle),
                bytes: EbbRef::<dyn InstanceMaker>::get().new_instance_bytes(),
                cost_us: 0,
            };
            evict(grant.evicted);
            ready.extend(books.pool(|pool| pool.release(grant.instance, after, now_us())));
        }
    }
}

/// This core has nothing to run: it takes a call that is held for an instance elsewhere, or for one that waits.
fn take_held() {
    let books = EbbRef::<Books>::get();
    if !books.holds_calls() {
        return;
    }
    let running = EbbRef::<Invoker>::get().running.get();
    let taken = books.pool(|pool| pool.core_is_idle(here(), running, now_us()));
    hand_out(taken.into_iter().collect());
}

/// How long a call that was let in waits for a place in the queue.
const RETRY: Duration = Duration::from_millis(20);
/// How often the books are told that time passes while calls are held.
const TICK: Duration = Duration::from_millis(5);

/// Sees to it that held calls get further instances in time. One task does that for all, while there are any.
fn watch_held() {
    static WATCHED: AtomicBool = AtomicBool::new(false);
    let books = EbbRef::<Books>::get();
    if !books.holds_calls() || WATCHED.swap(true, Ordering::Relaxed) {
        return;
    }
    drop(spawn(async move {
        loop {
            while books.holds_calls() {
                time::sleep(TICK).await;
                hand_out(books.pool(|pool| pool.tick(now_us())));
                wake_others();
            }
            WATCHED.store(false, Ordering::Relaxed);
            // One that came after the look has found it watched, and this look, with the lock, finds it.
            if !books.pool(|pool| pool.holds_calls()) || WATCHED.swap(true, Ordering::Relaxed) {
                break;
            }
        }
    }));
}

/// Cores that sleep look for held calls once more.
fn wake_others() {
    if EbbRef::<dyn InstanceMaker>::get().uses_own_time() {
        for core in (0..core_count()).filter(|&core| core != here()) {
            drop(spawn_on(CoreId::new(core), async || ()));
        }
    }
}
