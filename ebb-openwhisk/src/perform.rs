//! Carries out plans: sequences and compositions one call after the other, the rules of a trigger beside one another. Keeps
//! the records.

mod composition;
mod feed;
mod sequence;

use crate::activation::{Activation, Outcome, TOPMOST};
use crate::api::Controller;
use crate::call::{Call, CallOutcome, Caller, annotations, milliseconds};
use crate::entity::{Action, absent::Sought};
use crate::failure::Failure;
use crate::json::{Json, Members};
use crate::limits::ActionLimits;
use crate::name::FullName;
use crate::plan::{Fire, Plan};
use alloc::{boxed::Box, format, string::String, sync::Arc, vec::Vec};
use composition::Accounting;
use core::cell::Cell;
use core::future::{Future, poll_fn};
use core::pin::Pin;
use core::task::Poll;

/// What plans are carried out with.
pub trait Executor {
    /// Makes one call on an instance.
    fn execute(&self, call: &Call) -> impl Future<Output = CallOutcome>;
    /// Uses the controller, alone and briefly.
    fn controller<R>(&self, f: impl FnOnce(&mut Controller) -> R) -> impl Future<Output = R>;
    /// Changes entities, as [`Executor::controller`]; done when the change is durable, where anything is kept.
    ///
    /// # Errors
    /// It could not be kept, and was taken back.
    fn change<R>(
        &self,
        f: impl FnOnce(&mut Controller) -> R,
    ) -> impl Future<Output = Result<R, Failure>> {
        async { Ok(self.controller(f).await) }
    }
    /// Keeps a record.
    fn keep(&self, record: Arc<Activation>) -> impl Future<Output = ()> {
        async { self.controller(|c| c.keep(record)).await }
    }
    /// Ends when what was looked for is here, where something may be to come.
    fn bring(&self, _missed: Vec<Sought>) -> impl Future<Output = ()> {
        async {}
    }
    /// Epoch milliseconds.
    fn now_ms(&self) -> u64;
    /// Hears of every finished call.
    fn finished(&self, _call: &Call, _kind: crate::call::Start, _record: &Activation) {}
}

type Performing<'a> = Pin<Box<dyn Future<Output = Arc<Activation>> + 'a>>;

/// What a call is part of, and what of it is limited.
#[derive(Clone, Copy)]
struct Within<'a> {
    /// How many sequences and compositions enclose it.
    depth: u32,
    /// The calls of the outermost sequence so far.
    atomics: &'a Cell<usize>,
    /// The calls of the outermost composition so far.
    composition: Option<&'a Accounting>,
}

/// How deep sequences and compositions may be in one another: each takes 3 to 4 KiB of a core's stack, and a conductor can name itself.
const DEPTH: u32 = 24;

/// Uses the controller for what looks for entities, and again if some of them had to be brought.
async fn look<E: Executor, R>(executor: &E, mut f: impl FnMut(&mut Controller) -> R) -> R {
    loop {
        let looked = executor.controller(|c| (f(c), c.take_missed()));
        let (found, missed) = looked.await;
        if missed.is_empty() {
            return found;
        }
        executor.bring(missed).await;
    }
}

/// Carries out a plan and returns the record, which is kept.
pub fn perform<E: Executor>(executor: &E, plan: Plan) -> Performing<'_> {
    Box::pin(async move {
        let atomics = Cell::new(0);
        let top = Within {
            depth: 0,
            atomics: &atomics,
            composition: None,
        };
        perform_within(executor, plan, top).await
    })
}

fn perform_within<'a, E: Executor>(
    executor: &'a E,
    plan: Plan,
    within: Within<'a>,
) -> Performing<'a> {
    Box::pin(async move {
        let record = match plan {
            Plan::Action(call) => return perform_call(executor, &call).await,
            Plan::Sequence(sequence) => sequence::perform(executor, *sequence, within).await,
            Plan::Composition(composition) => {
                composition::perform(executor, *composition, within).await
            }
            Plan::Trigger(fire) => return perform_fire(executor, *fire).await,
        };
        keep(executor, record).await
    })
}

async fn keep<E: Executor>(executor: &E, record: Activation) -> Arc<Activation> {
    let record = Arc::new(record);
    executor.keep(record.clone()).await;
    record
}

async fn perform_call<E: Executor>(executor: &E, call: &Call) -> Arc<Activation> {
    let ran = match call.feed() {
        Some(feed) => feed::perform(executor, feed, call).await,
        None => executor.execute(call).await,
    };
    let kind = ran.kind;
    let record = call.record(ran);
    executor.finished(call, kind, &record);
    keep(executor, record).await
}

/// What the record of several calls sums up.
struct Summary {
    /// Epoch milliseconds.
    start_ms: u64,
    /// The ids of the calls.
    logs: Vec<String>,
    /// The sum of what they took.
    duration_ms: u64,
    /// The largest memory limit among them.
    memory_mb: Option<u32>,
}

impl Summary {
    fn begin(start_ms: u64) -> Self {
        Self {
            start_ms,
            logs: Vec::new(),
            duration_ms: 0,
            memory_mb: None,
        }
    }

    fn add(&mut self, record: &Activation) {
        self.logs.push(record.id.clone());
        self.duration_ms += record.duration_ms.unwrap_or(0);
        let limits = record.annotations.get("limits").and_then(Json::to_object);
        let memory = limits.and_then(|limits| limits.get("memory")?.to_integer());
        let memory = memory.and_then(|memory| u32::try_from(memory).ok());
        self.memory_mb = self.memory_mb.max(memory);
    }
}

/// Of which activation a record of several calls is.
struct Of<'a> {
    activation: String,
    action: &'a Action,
    binding: Option<&'a FullName>,
    caller: &'a Caller,
    cause: Option<String>,
    received_ms: u64,
    is_conductor: bool,
}

impl Summary {
    fn record(self, of: Of<'_>, outcome: Outcome, now_ms: u64) -> Activation {
        let common = &of.action.common;
        let mut annotations = annotations(of.action);
        annotations.set("kind", Json::text("sequence"));
        annotations.set(TOPMOST, Json::bool(of.cause.is_none()));
        if of.is_conductor {
            annotations.set(crate::entity::CONDUCTOR, Json::bool(true));
        }
        if of.cause.is_some() {
            annotations.set("causedBy", Json::text("sequence"));
        }
        let wait_ms = self.start_ms.saturating_sub(of.received_ms);
        annotations.set("waitTime", milliseconds(wait_ms));
        if let Some(binding) = of.binding {
            annotations.set("binding", Json::text(&format!("{binding}")));
        }
        let memory_mb = self.memory_mb.unwrap_or(of.action.limits.memory_mb);
        let limits = ActionLimits {
            memory_mb,
            ..of.action.limits
        };
        annotations.set("limits", limits.to_json());
        Activation {
            id: of.activation,
            name: common.name.name.clone(),
            namespace: of.caller.namespace.as_ref().into(),
            subject: of.caller.namespace.as_ref().into(),
            version: format!("{}", common.version),
            cause: of.cause,
            start_ms: self.start_ms,
            end_ms: Some(now_ms.max(self.start_ms)),
            duration_ms: Some(self.duration_ms),
            logs: Arc::new(self.logs),
            annotations,
            // The size is that of a runtime's answer.
            outcome: Outcome {
                size: None,
                ..outcome
            },
        }
    }
}

async fn perform_fire<E: Executor>(executor: &E, fire: Fire) -> Arc<Activation> {
    let mut running: Vec<Option<Performing<'_>>> = Vec::new();
    let mut logs = Vec::new();
    for fired in fire.rules {
        let mut line = Members::new();
        line.text("rule", &format!("{}", fired.rule))
            .text("action", &format!("{}", fired.action));
        match fired.plan {
            Ok(plan) => {
                line.number("statusCode", 0)
                    .bool("success", true)
                    .text("activationId", plan.activation());
                running.push(Some(perform(executor, plan)));
            }
            Err(unfired) => {
                line.number("statusCode", unfired.status.code())
                    .bool("success", false)
                    .text("error", &unfired.error);
            }
        }
        logs.push(String::from(line.finish().as_str()));
    }
    let record = Activation {
        logs: Arc::new(logs),
        ..fire.record
    };
    // The trigger has fired, whatever becomes of the calls.
    let record = keep(executor, record).await;
    poll_fn(|cx| {
        let mut waiting = false;
        for slot in &mut running {
            if let Some(call) = slot {
                match call.as_mut().poll(cx) {
                    Poll::Ready(_) => *slot = None,
                    Poll::Pending => waiting = true,
                }
            }
        }
        if waiting {
            Poll::Pending
        } else {
            Poll::Ready(())
        }
    })
    .await;
    record
}
