//! Carries out plans: sequences one call after the other, the rules of a trigger beside one another. Keeps the records.

use crate::activation::{Activation, Outcome, Status};
use crate::api::Controller;
use crate::call::{Call, CallOutcome, annotations, milliseconds};
use crate::json::{Json, Kind, Members, Object};
use crate::plan::{Fire, Plan, Sequence};
use crate::{entity::Exec, failure::Failure};
use alloc::{boxed::Box, format, string::String, sync::Arc, vec::Vec};
use core::future::{Future, poll_fn};
use core::pin::Pin;
use core::task::Poll;

/// What plans are carried out with.
pub trait Executor {
    /// Makes one call on an instance.
    fn execute(&self, call: &Call) -> impl Future<Output = CallOutcome>;
    /// Uses the controller, alone and briefly.
    fn controller<R>(&self, f: impl FnOnce(&mut Controller) -> R) -> impl Future<Output = R>;
    /// Epoch milliseconds.
    fn now(&self) -> u64;
    /// Hears of every finished call.
    fn finished(&self, _call: &Call, _kind: crate::call::Start, _record: &Activation) {}
}

type Performing<'a> = Pin<Box<dyn Future<Output = Arc<Activation>> + 'a>>;

/// Carries out a plan and returns the record, which is kept.
pub fn perform<E: Executor>(executor: &E, plan: Plan) -> Performing<'_> {
    Box::pin(async move {
        let record = match plan {
            Plan::Action(call) => {
                let ran = executor.execute(&call).await;
                let kind = ran.kind;
                let record = call.record(ran);
                executor.finished(&call, kind, &record);
                record
            }
            Plan::Sequence(sequence) => perform_sequence(executor, *sequence).await,
            Plan::Trigger(fire) => return perform_fire(executor, *fire).await,
        };
        let record = Arc::new(record);
        executor.controller(|c| c.keep(record.clone())).await;
        record
    })
}

async fn perform_sequence<E: Executor>(executor: &E, sequence: Sequence) -> Activation {
    let components = match &sequence.action.exec {
        Exec::Sequence(components) => components.as_slice(),
        Exec::Code(_) => &[],
    };
    let mut last = Outcome::success(sequence.body.clone());
    let mut ids = Vec::new();
    let mut duration = 0;
    let mut start = None;
    for component in components {
        let body = last.result.clone().unwrap_or_else(Json::null);
        let plan = executor.controller(|c| {
            let resolved = c.store().resolve(component)?;
            let cause = Some(sequence.activation.clone());
            c.plan(
                &sequence.caller,
                &resolved,
                Body::of(body),
                cause,
                executor.now(),
            )
        });
        match plan.await {
            Ok(plan) => {
                ids.push(String::from(plan.activation()));
                let record = perform(executor, plan).await;
                start.get_or_insert(record.start);
                duration += record.duration.unwrap_or(0);
                last = record.outcome.clone();
            }
            Err(Failure { text, .. }) => {
                last = Outcome::error(
                    Status::ApplicationError,
                    &format!("The sequence component '{component}' cannot be called: {text}"),
                );
            }
        }
        if last.is_error() {
            break;
        }
    }
    let start = start.unwrap_or_else(|| executor.now());
    let mut annotations = annotations(&sequence.action);
    match &sequence.cause {
        None => annotations.set("topmost", Json::bool(true)),
        Some(_) => annotations.set("causedBy", Json::text("sequence")),
    }
    annotations.set(
        "waitTime",
        milliseconds(start.saturating_sub(sequence.received)),
    );
    last.size = None;
    let common = &sequence.action.common;
    Activation {
        id: sequence.activation,
        name: common.name.name.clone(),
        namespace: sequence.caller.namespace.as_ref().into(),
        subject: sequence.caller.namespace.as_ref().into(),
        version: format!("{}", common.version),
        cause: sequence.cause,
        start,
        end: Some(executor.now().max(start)),
        duration: Some(duration),
        logs: Arc::new(ids),
        annotations,
        outcome: last,
    }
}

async fn perform_fire<E: Executor>(executor: &E, fire: Fire) -> Arc<Activation> {
    let mut running: Vec<Option<Performing<'_>>> = Vec::new();
    let mut logs = Vec::new();
    for (rule, action, plan) in fire.rules {
        let mut line = Members::new();
        line.text("rule", &format!("{rule}"))
            .text("action", &format!("{action}"));
        match plan {
            Ok(plan) => {
                line.number("statusCode", 0)
                    .bool("success", true)
                    .text("activationId", plan.activation());
                running.push(Some(perform(executor, plan)));
            }
            Err(error) => {
                line.number("statusCode", 1)
                    .bool("success", false)
                    .text("error", &error);
            }
        }
        logs.push(String::from(line.finish().as_str()));
    }
    let record = Arc::new(Activation {
        logs: Arc::new(logs),
        ..fire.record
    });
    // The trigger has fired, whatever becomes of the calls.
    executor.controller(|c| c.keep(record.clone())).await;
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

/// The body of a call: an object, or (in sequences only) an array.
#[derive(Clone, Debug)]
pub enum Body {
    /// Merged with the parameters.
    Object(Object),
    /// Taken as it is.
    Array(Json),
}

impl Body {
    fn of(json: Json) -> Self {
        match (json.kind(), json.to_object()) {
            (Kind::Array, _) => Self::Array(json),
            (_, object) => Self::Object(object.unwrap_or_default()),
        }
    }
}
