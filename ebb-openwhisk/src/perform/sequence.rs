//! Sequences: each component gets the result of the one before; an error ends it.

use super::{DEPTH, Executor, Of, Summary, Within, look, perform_within};
use crate::activation::{Activation, Outcome, Status};
use crate::entity::Exec;
use crate::json::Json;
use crate::limits;
use crate::plan::{Body, Plan, Sequence};
use alloc::string::String;

const TOO_LONG: &str = "Too many actions in the sequence.";

pub(super) async fn perform<E: Executor>(
    executor: &E,
    sequence: Sequence,
    within: Within<'_>,
) -> Activation {
    let components = match &sequence.action.exec {
        Exec::Sequence(components) => components.as_slice(),
        Exec::Code(_) | Exec::Feed(_) => &[],
    };
    let mut summary = Summary::begin(executor.now_ms());
    let mut last = Outcome::success(sequence.body.clone());
    for component in components {
        // Components may have become sequences since this one was made.
        if within.atomics.get() >= limits::SEQUENCE || within.depth >= DEPTH {
            last = Outcome::error(Status::ApplicationError, TOO_LONG);
            break;
        }
        let plan = look(executor, |c| {
            let own = &*sequence.caller.namespace;
            let resolved = c.store().resolve_for(own, component)?;
            let body = Body::of(last.result.clone().unwrap_or_else(Json::null));
            let cause = Some(String::from(sequence.activation.as_str()));
            Ok(c.plan(&sequence.caller, resolved, body, cause, executor.now_ms()))
        });
        let plan: crate::failure::Result<Plan> = plan.await;
        let Ok(plan) = plan else {
            let text = "Sequence component does not exist.";
            last = Outcome::error(Status::ApplicationError, text);
            break;
        };
        if !matches!(plan, Plan::Sequence(_)) {
            within.atomics.set(within.atomics.get() + 1);
        }
        let inner = Within {
            depth: within.depth + 1,
            atomics: within.atomics,
            composition: within.composition,
        };
        let record = perform_within(executor, plan, inner).await;
        summary.add(&record);
        last = record.outcome.clone();
        if last.is_error() {
            break;
        }
    }
    let of = Of {
        activation: sequence.activation,
        action: &sequence.action,
        binding: sequence.binding.as_ref(),
        caller: &sequence.caller,
        cause: sequence.cause,
        received_ms: sequence.received_ms,
        is_conductor: false,
    };
    summary.record(of, last, executor.now_ms())
}
