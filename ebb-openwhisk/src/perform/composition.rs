//! Compositions: a conductor is called, says which action is called next and with what, and is called again with the result,
//! until it names none. What it says is an object with up to three members, all optional: `action`, `params`, `state`.
//!
//! Source: `docs/conductors.md` and `PrimitiveActions.scala` of Apache OpenWhisk.

use super::{DEPTH, Executor, Of, Summary, Within, look, perform_call, perform_within};
use crate::activation::{Activation, Outcome, Status};
use crate::json::{Json, Object};
use crate::limits;
use crate::name::FullName;
use crate::plan::{Body, Composition, Plan};
use alloc::{format, string::String};
use core::cell::Cell;

/// What a composition has called so far, with all compositions that it leads to. Were it counted for each of them alone, one
/// that calls itself through a sequence would never end.
#[derive(Default)]
pub(super) struct Accounting {
    components: Cell<usize>,
    conductors: Cell<usize>,
}

const COMPONENTS: usize = limits::SEQUENCE;
/// One before each component, one after the last, and as many that only hear that there was an error.
const CONDUCTORS: usize = 2 * COMPONENTS + 1;
const TOO_LONG: &str = "Too many actions in the composition.";

fn count(cell: &Cell<usize>) {
    cell.set(cell.get() + 1);
}

/// What a conductor says comes next.
struct Continuation {
    action: Option<Json>,
    params: Option<Json>,
    state: Option<Object>,
}

impl Continuation {
    fn of(result: &Json) -> Self {
        let object = result.to_object().unwrap_or_default();
        let member = |name: &str, boxed: &str| {
            let value = object.get(name)?;
            Some(value.to_object().unwrap_or_else(|| {
                let mut members = Object::new();
                members.set(boxed, value.clone());
                members
            }))
        };
        Self {
            params: member("params", "value").map(|params| params.to_json()),
            state: member("state", "state"),
            action: object.get("action").cloned(),
        }
    }
}

/// The body of the next call of the conductor: what came back, with the state over it.
fn with_state(body: Body, state: Option<&Object>) -> Body {
    let Some(state) = state else { return body };
    let mut object = match body {
        Body::Object(object) => object,
        Body::Whole(array) => {
            let mut boxed = Object::new();
            boxed.set("value", array);
            boxed
        }
    };
    object.extend(state.clone());
    Body::Object(object)
}

fn error(text: &str) -> Body {
    let mut object = Object::new();
    object.set("error", Json::text(text));
    Body::Object(object)
}

/// The action that a conductor names: `name`, `package/name`, `/namespace/name` or `[/]namespace/package/name`.
fn component_name(action: &Json, own: &str) -> Option<FullName> {
    let text = action.to_text()?;
    let parts = text.split('/').filter(|part| !part.is_empty()).count();
    let is_full = text.starts_with('/') || parts == 3;
    let path = match parts {
        _ if is_full => text,
        _ => format!("/{own}/{text}"),
    };
    FullName::parse(&path, own).ok()
}

pub(super) async fn perform<E: Executor>(
    executor: &E,
    composition: Composition,
    within: Within<'_>,
) -> Activation {
    let fresh = Accounting::default();
    let accounting = within.composition.unwrap_or(&fresh);
    let conductor = &composition.conductor.action;
    let mut summary = Summary::begin(executor.now_ms());
    summary.memory_mb = Some(conductor.limits.memory_mb);
    let cause = || Some(composition.activation.clone());
    let mut body = composition.body.clone();
    let mut state = None;
    let outcome = loop {
        if accounting.conductors.get() >= CONDUCTORS || within.depth >= DEPTH {
            break Outcome::error(Status::ApplicationError, TOO_LONG);
        }
        count(&accounting.conductors);
        let given = with_state(body, state.as_ref());
        let (caller, resolved) = (&composition.caller, &composition.conductor);
        let now = executor.now_ms();
        let call = executor.controller(|c| c.call(caller, resolved, given, cause(), now));
        let record = perform_call(executor, &call.await).await;
        summary.add(&record);
        let result = record.outcome.result.clone().unwrap_or_else(Json::null);
        let next = Continuation::of(&result);
        let Some(action) = next.action else {
            break Outcome {
                status: record.outcome.status,
                result: Some(next.params.unwrap_or(result)),
                size: None,
            };
        };
        state = next.state;
        let params = next.params.and_then(|params| params.to_object());
        let plan = look(executor, |c| {
            let own = &*composition.caller.namespace;
            let name = component_name(&action, own).ok_or_else(|| {
                format!("Failed to parse action name from json value {action} during composition.")
            })?;
            if accounting.components.get() >= COMPONENTS {
                return Err(String::from(TOO_LONG));
            }
            let access = c.store().check_access(own, &name);
            access.map_err(|_| {
                format!(
                    "Failed entitlement check for action with name '{name}' during composition."
                )
            })?;
            let resolved = c.store().resolve_for(own, &name).map_err(|_| {
                format!("Failed to resolve action with name '{name}' during composition.")
            })?;
            let body = Body::Object(params.clone().unwrap_or_default());
            Ok(c.plan(caller, resolved, body, cause(), executor.now_ms()))
        });
        body = match plan.await {
            Err(text) => error(&text),
            Ok(plan) => {
                let inner_atomics = Cell::new(0);
                // A composition counts what it calls itself.
                if !matches!(plan, Plan::Composition(_)) {
                    count(&accounting.components);
                }
                let inner = Within {
                    depth: within.depth + 1,
                    atomics: &inner_atomics,
                    composition: Some(accounting),
                };
                let record = perform_within(executor, plan, inner).await;
                summary.add(&record);
                Body::of(record.outcome.result.clone().unwrap_or_else(Json::null))
            }
        };
    };
    let of = Of {
        activation: composition.activation.clone(),
        action: conductor,
        binding: composition.conductor.binding.as_ref(),
        caller: &composition.caller,
        cause: composition.cause.clone(),
        received_ms: composition.received_ms,
        is_conductor: true,
    };
    summary.record(of, outcome, executor.now_ms())
}
