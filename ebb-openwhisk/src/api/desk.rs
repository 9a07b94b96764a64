//! What one core needs to let calls begin and end by itself, without the [`Controller`] that all share: plans of the actions that
//! were called there last, shares of limits, and records on their way.
//!
//! What must hold:
//! 1. Whoever uses the controller has all desks meanwhile: first [`Controller::take_back`], so that it knows everything, and in the
//!    end [`Controller::lend`]. So what a desk answers is what the controller would have answered.
//! 2. A desk forgets its plans with every change of an entity, a key or a limit, before the one who made it is answered.
//! 3. A desk decides only what is as usual. Everything else, and every refusal, is the controller's.
//! 4. What a desk has is its own, down to the names: another core's count of references is never touched on the way of a call.

use super::actions::{call_json, check_final, timeout};
use super::{Context, Controller, stamp};
use crate::activation::Activation;
use crate::call::{Call, Caller};
use crate::entity::Resolved;
use crate::http::Request;
use crate::namespaces::same;
use crate::plan::{Plan, Reply, Shape, Step};
use crate::query::{Query, segments};
use crate::random::Random;
use crate::throttle::{Admission, Share};
use alloc::{boxed::Box, string::String, sync::Arc, vec::Vec};
use hashbrown::HashMap;

/// Plans that a desk remembers.
const PLANS: usize = 64;
/// The longest path, and the most bytes of an environment, of one that is remembered.
const PATH: usize = 1 << 10;
const ENVIRONMENT: usize = 16 << 10;
/// Namespaces that it has shares of.
const NAMESPACES: usize = 32;
/// Records, and bytes of them, that wait at a desk.
const RECORDS: usize = 64;
const RECORD_BYTES: usize = 256 << 10;

/// See the module.
#[derive(Debug, Default)]
pub struct Desk {
    /// None before the controller has seen it.
    random: Option<Random>,
    /// By the request's path; callers may call their own by the same one.
    plans: HashMap<String, Vec<Known>>,
    /// How many these are.
    planned: usize,
    shares: HashMap<Arc<str>, Share>,
    /// With the time when each came, by which those of several desks are put in order.
    records: Vec<(u64, Arc<Activation>)>,
    record_bytes: usize,
}

/// An action that was called.
#[derive(Debug)]
struct Known {
    /// The header that its caller has shown.
    authorization: String,
    caller: Arc<str>,
    key: Option<Arc<str>>,
    /// The namespace of the path.
    namespace: String,
    resolved: Resolved,
    environment: Vec<(String, String)>,
}

impl Desk {
    fn forget_plans(&mut self) {
        self.plans.clear();
        self.planned = 0;
    }

    /// What is known of a call of that caller's.
    fn known<'d>(
        plans: &'d HashMap<String, Vec<Known>>,
        request: &Request<'_>,
    ) -> Option<&'d Known> {
        if request.method != "POST" {
            return None;
        }
        let all = plans.get(request.path)?;
        let shown = request.header("authorization")?.as_bytes();
        all.iter()
            .find(|known| same(shown, known.authorization.as_bytes()))
    }

    /// As [`Controller::admit`], for a call that was made here before: the namespace whose key was shown.
    pub fn admit(&self, request: &Request<'_>) -> Option<Arc<str>> {
        Some(Self::known(&self.plans, request)?.caller.clone())
    }

    /// Handles a request, if it is a call of an action that was called here before, and nothing is in its way.
    pub fn handle(&mut self, request: &Request<'_>, now_ms: u64) -> Option<Step> {
        let random = self.random.as_mut()?;
        let known = Self::known(&self.plans, request)?;
        let share = self.shares.get_mut(&known.caller)?;
        let stamp = stamp(request, random);
        let cx = Context {
            request,
            query: Query::parse(request.query),
            caller: Caller {
                namespace: known.caller.clone(),
                key: known.key.clone(),
                transaction: stamp.transaction.clone(),
            },
            namespace: known.namespace.clone(),
            now_ms,
        };
        let blocking = cx.query.flag("blocking").ok()?;
        let result = cx.query.flag("result").ok()?;
        let wait = timeout(&cx).ok()?;
        let arguments = match call_json(&cx).ok()? {
            Some(json) if known.resolved.parameters.is_empty() => json,
            json => {
                let object = json.and_then(|json| json.to_object()).unwrap_or_default();
                check_final(&known.resolved, &object).ok()?;
                known.resolved.parameters.arguments(&object).to_json()
            }
        };
        let plan = Plan::Action(Box::new(Call {
            activation: random.id(),
            action: known.resolved.action.clone(),
            environment: known.environment.clone(),
            extra: Vec::new(),
            arguments,
            caller: cx.caller,
            binding: known.resolved.binding.clone(),
            cause: None,
            received_ms: now_ms,
            in_parts: false,
        }));
        let admission = Admission {
            calls: 1,
            namespace: known.caller.clone(),
            memory_mb: known.resolved.action.limits.memory_mb,
            argument_bytes: plan.bytes(),
        };
        if !share.begin(&admission, now_ms) {
            return None;
        }
        let reply = Reply {
            activation: plan.activation().into(),
            wait_ms: blocking.then_some(wait),
            shape: if result { Shape::Result } else { Shape::Record },
            admission,
            stamp,
        };
        Some(Step::Invoke(plan, reply))
    }

    /// A plan has been carried out. False: the controller has to hear of it.
    #[must_use]
    pub fn end(&mut self, call: &Admission) -> bool {
        let share = self.shares.get_mut(&call.namespace);
        let found = share.is_some();
        if let Some(share) = share {
            share.end(call);
        }
        found
    }

    /// Keeps a record that came at that time, of any clock that all desks have. False when it is time to use the controller, which
    /// takes it.
    #[must_use]
    pub fn keep(&mut self, at_ns: u64, record: Arc<Activation>) -> bool {
        self.record_bytes += record.size();
        self.records.push((at_ns, record));
        self.records.len() < RECORDS && self.record_bytes < RECORD_BYTES
    }
}

impl Controller {
    /// Grows with each change of what calls depend on.
    fn generation(&self) -> u64 {
        self.store.generation() + self.namespaces.generation() + self.hosts
    }

    /// Takes back what the desks were lent, and what they have. These must be all desks that there are.
    pub fn take_back<'a>(&mut self, desks: impl Iterator<Item = &'a mut Desk>) {
        let mut records = Vec::new();
        for desk in desks {
            for (namespace, share) in &mut desk.shares {
                self.throttle.take_back(namespace, share);
            }
            records.append(&mut desk.records);
            desk.record_bytes = 0;
        }
        records.sort_by_key(|(at_ns, _)| *at_ns);
        for (_, record) in records {
            self.activations.insert(record);
        }
    }

    /// Lends them what they need for the next calls.
    pub fn lend<'a>(&mut self, desks: impl ExactSizeIterator<Item = &'a mut Desk>, now_ms: u64) {
        let generation = self.generation();
        let is_changed = generation != core::mem::replace(&mut self.known, generation);
        let parts = u32::try_from(desks.len()).unwrap_or(u32::MAX).max(1);
        let is_alone = self.namespaces.iter().len() == 1;
        for desk in desks {
            if is_changed {
                desk.forget_plans();
            }
            if desk.random.is_none() {
                desk.random = Some(self.random.split());
            }
            desk.shares.retain(|namespace, share| {
                let Some(namespace) = self.namespaces.get(namespace) else {
                    return false;
                };
                let (name, limits) = (namespace.name(), &namespace.limits);
                *share = self.throttle.lend(name, limits, is_alone, parts, now_ms);
                true
            });
        }
    }

    /// Has a desk remember what a request came to, if that is a call of an action of code.
    pub fn remember(&mut self, request: &Request<'_>, step: &Step, desk: &mut Desk) {
        let Step::Invoke(Plan::Action(call), Reply { shape, .. }) = step else {
            return;
        };
        let is_usual = request.method == "POST"
            && !matches!(shape, Shape::Web(_))
            && call.code().is_some()
            && !call.action.is_conductor()
            && request.path.len() <= PATH
            && call
                .environment
                .iter()
                .map(|(_, value)| value.len())
                .sum::<usize>()
                <= ENVIRONMENT;
        let Some(authorization) = request.header("authorization").filter(|_| is_usual) else {
            return;
        };
        let (path, _) = segments(request.path);
        let path: Vec<&str> = path.iter().map(AsRef::as_ref).collect();
        let ["api", "v1", "namespaces", namespace, "actions", rest @ ..] = path.as_slice() else {
            return;
        };
        let own = &call.caller.namespace;
        let namespace = if *namespace == "_" { own } else { *namespace };
        let Some(name) = super::actions::name_of(namespace, rest) else {
            return;
        };
        let Ok(resolved) = self.store.resolve_for(own, &name) else {
            return;
        };
        let has_room = desk.shares.len() < NAMESPACES || desk.shares.contains_key(own);
        if !has_room {
            // All have been taken back.
            desk.shares.clear();
        }
        if !has_room || desk.planned >= PLANS {
            desk.forget_plans();
        }
        // Names of the desk's own.
        let caller = match desk.shares.get_key_value(own) {
            Some((caller, _)) => caller.clone(),
            None => Arc::from(&**own),
        };
        desk.shares.entry(caller.clone()).or_default();
        let known = Known {
            authorization: authorization.into(),
            caller,
            key: call.caller.key.as_deref().map(Arc::from),
            namespace: namespace.into(),
            environment: call.environment.clone(),
            resolved: Resolved {
                action: Arc::new((*resolved.action).clone()),
                ..resolved
            },
        };
        let all = desk.plans.entry_ref(request.path).or_default();
        all.retain(|other| other.authorization != known.authorization);
        all.push(known);
        desk.planned = desk.plans.values().map(Vec::len).sum();
    }
}
