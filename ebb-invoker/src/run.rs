//! A call on an instance of this core: finding or making the instance, and what the books hear of it afterwards.

use alloc::string::String;
use alloc::vec::Vec;

use ebb::EbbRef;
use ebb::time::Instant;
use ebb_openwhisk::activation::{Outcome, Status};
use ebb_openwhisk::call::{Call, CallOutcome, Spent, Start};
use ebb_openwhisk::pool::{After, InstanceId, Source};

use crate::books::epoch_ms;
use crate::capture::{forget, put_off};
use crate::evict::{ROOM, make_room, relieve};
use crate::instance::{InstanceLimits, InstanceMaker, NewInstance, SharedSnapshot, serve};
use crate::invoker::{Invoker, elapsed_us, micros};
use crate::kept;
use crate::parts::Parts;
use crate::rest;
use crate::uncaptured::{CaptureFrom, Uncaptured};

/// How many times making an instance is attempted on a machine whose memory is used up.
const TRIES: usize = 6;

/// Makes a call on an instance of this core. What comes back besides its outcome is what the instance is like then.
pub(crate) async fn make_call(
    call: &Call,
    id: InstanceId,
    source: Source<SharedSnapshot>,
    parts: Option<&Parts>,
) -> (CallOutcome, After) {
    let invoker = EbbRef::<Invoker>::get();
    let began = Instant::now();
    let source = match source {
        Source::Scratch => kept::source_of(call, make_room).await,
        other => other,
    };
    let there = match source {
        Source::Idle => invoker.instances.borrow_mut().remove(&id),
        _ => None,
    };
    let (mut instance, start) = match there.filter(|instance| instance.is_alive()) {
        Some(instance) => (instance, Start::Hot),
        // An instance that died while it was idle is replaced like one that never was.
        None => {
            forget(id);
            let limits = InstanceLimits {
                memory_mb: call.action.limits.memory_mb,
            };
            let start = match source {
                Source::Snapshot(_) => Start::Warm,
                _ => Start::Cold,
            };
            match make(call, limits, source).await {
                Ok(new) => {
                    invoker.count(|m| m.ahead += u64::from(new.made_ahead));
                    (new.instance, start)
                }
                Err(why) => return (failed(&why), After::default()),
            }
        }
    };
    let started_us = elapsed_us(began);
    let (ran, of_init) = serve(&mut *instance, call, start, parts).await;
    let keep = ran.outcome.instance_lives() && instance.is_alive();
    let init_us = micros(ran.spent.init);
    invoker.count(|m| {
        if start != Start::Hot {
            m.deploy[start as usize].record(started_us);
        }
        if start == Start::Cold {
            m.init.record(init_us);
        }
        m.run[start as usize].record(micros(ran.spent.run));
    });
    let cost_us = match start {
        Start::Hot => 0,
        Start::Warm => started_us,
        Start::Cold => started_us + init_us,
    };
    let mut bytes = 0;
    if keep {
        if start != Start::Hot {
            instance.learn();
        }
        bytes = instance.memory_bytes();
        let of_run = instance.take_notes();
        if instance.can_rest() {
            rest::note_call(id);
        }
        invoker.instances.borrow_mut().insert(id, instance);
        if start == Start::Cold
            && let Some(from) = CaptureFrom::of(call, of_init, of_run)
        {
            let due = Uncaptured {
                key: call.key(),
                instance: id,
                cost_us,
                since: Instant::now(),
                from,
            };
            put_off(due, make_room);
        }
    } else {
        forget(id);
        drop(instance);
    }
    let after = After {
        keep,
        bytes,
        cost_us,
    };
    (ran, after)
}

/// A call that the platform could not make.
pub(crate) fn failed(why: &str) -> CallOutcome {
    CallOutcome {
        start_ms: epoch_ms(),
        end_ms: epoch_ms(),
        init_ms: None,
        spent: Spent::default(),
        kind: Start::Cold,
        outcome: Outcome::error(Status::InternalError, why),
        timed_out: false,
        logs: Vec::new(),
        streamed: None,
    }
}

/// Makes an instance, and room for it if need be.
async fn make(
    call: &Call,
    limits: InstanceLimits,
    source: Source<SharedSnapshot>,
) -> Result<NewInstance, String> {
    let maker = EbbRef::<dyn InstanceMaker>::get();
    let mut relieved = false;
    for attempt in 0.. {
        let missing = maker.missing_bytes();
        if missing > 0 {
            relieved |= relieve(missing.min(ROOM)).await;
        }
        let made = match &source {
            Source::Snapshot(snapshot) => snapshot.copy(limits).map(|instance| NewInstance {
                instance,
                made_ahead: false,
            }),
            _ => {
                let launch = call
                    .launch()
                    .ok_or("an action without code has no instance")?;
                maker.make(launch, limits).await
            }
        };
        match made {
            Ok(made) => {
                EbbRef::<Invoker>::get().count(|m| m.relieved += u64::from(relieved));
                return Ok(made);
            }
            Err(failed) if failed.out_of_memory && attempt < TRIES => {
                relieved |= relieve(ROOM).await;
            }
            Err(failed) => return Err(failed.why),
        }
    }
    unreachable!("the last attempt returns")
}
