//! `/namespaces/NS/triggers`: documents and firing.

use super::actions::{call_body, check_final};
use super::{Context, Controller, begun, list, method, respond};
use crate::activation::{Activation, Outcome, Status};
use crate::call::Caller;
use crate::entity::{Entity, Put, Trigger};
use crate::failure::{Failure, Result};
use crate::http::Response;
use crate::json::{Json, Members, Object};
use crate::name::{self, FullName};
use crate::parameters::Parameters;
use crate::plan::{Body, Fire, FiredRule, Plan, Shape, Stamp, Step, Unfired};
use crate::query::Page;
use crate::throttle::Admission;
use alloc::{boxed::Box, format, sync::Arc, vec::Vec};

impl Controller {
    pub(super) fn triggers(
        &mut self,
        cx: &Context<'_>,
        path: &[&str],
        stamp: &Stamp,
    ) -> Result<Step> {
        cx.require_own(path.first().copied())?;
        let name = match *path {
            [] if method(cx.request) != "GET" => return Err(Failure::method("GET")),
            [] => {
                let page = Page::parse(&cx.query, "triggers")?;
                let all = self
                    .store
                    .newest(&cx.namespace, |entity| matches!(entity, Entity::Trigger(_)));
                return Ok(list(all.into_iter(), page, "triggers"));
            }
            [name] => FullName::new(&cx.namespace, name),
            _ => return Err(Failure::no_path()),
        };
        name::check(&name.name)?;
        match method(cx.request) {
            "GET" => Ok(respond(200, &self.trigger(&name)?.to_json())),
            "PUT" => {
                let put = Put::parse(cx.require_json()?)?;
                let overwrite = cx.query.flag("overwrite")?;
                let old = match self.store.get(&name) {
                    Some(Entity::Trigger(old)) => Some(old.clone()),
                    Some(_) => return Err(Failure::other_collection()),
                    None => None,
                };
                let trigger = Trigger::put(&put, &name, old.as_deref(), cx.now_ms)?;
                if old.is_some() && !overwrite {
                    return Err(Failure::exists());
                }
                let document = trigger.to_json();
                self.insert(Entity::Trigger(Arc::new(trigger)))?;
                Ok(respond(200, &document))
            }
            "DELETE" => {
                let trigger = self.trigger(&name)?;
                self.store.remove(&name);
                // Its rules stay and read as inactive: there is nothing that could fire them.
                Ok(respond(200, &trigger.to_json()))
            }
            "POST" => self.fire(cx, &name, stamp),
            _ => Err(Failure::method("PUT, GET, DELETE, POST")),
        }
    }

    pub(super) fn trigger(&self, name: &FullName) -> Result<Arc<Trigger>> {
        match self.store.get(name) {
            Some(Entity::Trigger(trigger)) => Ok(trigger.clone()),
            Some(_) => Err(Failure::other_collection()),
            None => Err(Failure::no_entity()),
        }
    }

    fn fire(&mut self, cx: &Context<'_>, name: &FullName, stamp: &Stamp) -> Result<Step> {
        // A body that is none is told first. Source: `activate` (`Triggers.scala`).
        let body = call_body(cx)?;
        let trigger = self.trigger(name)?;
        let mut headers = Members::new();
        for (name, value) in cx.request.headers {
            if !name.eq_ignore_ascii_case("authorization") {
                headers.text(&name.to_ascii_lowercase(), value);
            }
        }
        let headers = headers.finish();
        self.fire_trigger(&trigger, &cx.caller, &body, headers, stamp, cx.now_ms)
    }

    /// What comes of a trigger that fires with this body.
    pub(super) fn fire_trigger(
        &mut self,
        trigger: &Trigger,
        caller: &Caller,
        body: &Object,
        headers: Json,
        stamp: &Stamp,
        now_ms: u64,
    ) -> Result<Step> {
        let namespace = caller.namespace.clone();
        let limits = self.namespaces.limits(&namespace);
        if self.store.expected() > 0 {
            // A fire counts once, so what its rules need has to be here.
            for (action, _) in trigger.rules.values() {
                if let Ok(resolved) = self.store.resolve_for(&namespace, action) {
                    let _ = self.check_reach(&namespace, &resolved.action.exec);
                }
            }
            self.require_nothing_missed()?;
        }
        self.throttle.fire(&namespace, limits, now_ms)?;
        if !trigger.rules.values().any(|(_, active)| *active) {
            return Ok(Step::Respond(Response::empty(204)));
        }
        let mut arguments = trigger.common.parameters.arguments(body);
        arguments.set("__ow_headers", headers);
        let rules = trigger.rules.iter();
        let rules = rules.map(|(rule, (action, active))| FiredRule {
            rule: rule.clone(),
            action: action.clone(),
            plan: self.rule_plan(caller, rule, action, *active, &arguments, now_ms),
        });
        let mut rules: Vec<FiredRule> = rules.collect();
        self.require_nothing_missed()?;
        // Each call counts by itself, and one for which there is no room is the rule's loss.
        let mut admission = Admission::none(namespace.clone());
        for fired in &mut rules {
            let Ok(plan) = &fired.plan else { continue };
            match self.admit_call(plan, &namespace, now_ms) {
                Ok(call) => admission.add(&call),
                Err(failure) => fired.plan = Err(Unfired::from(failure)),
            }
        }
        let record = Activation {
            id: self.new_id(),
            name: trigger.common.name.name.clone(),
            namespace: namespace.as_ref().into(),
            subject: namespace.as_ref().into(),
            version: format!("{}", trigger.common.version),
            cause: None,
            start_ms: now_ms,
            end_ms: None,
            duration_ms: None,
            logs: Arc::default(),
            annotations: Parameters::default(),
            // What it was fired with; its own parameters may be secrets.
            outcome: Outcome::success(body.to_json()),
        };
        let plan = Plan::Trigger(Box::new(Fire { record, rules }));
        Ok(begun(plan, admission, None, Shape::Record, stamp))
    }

    /// The call that a rule makes when its trigger fires, as if its owner had made it.
    fn rule_plan(
        &mut self,
        caller: &Caller,
        rule: &FullName,
        action: &FullName,
        active: bool,
        arguments: &Object,
        now_ms: u64,
    ) -> core::result::Result<Plan, Unfired> {
        if !active {
            return Err(Unfired {
                status: Status::ApplicationError,
                error: format!("Rule '{rule}' is inactive, action '{action}' was not activated."),
            });
        }
        let own = &caller.namespace;
        let resolved = self.store.resolve_for(own, action);
        let allowed = resolved.and_then(|resolved| {
            check_final(&resolved, arguments)?;
            self.check_reach(own, &resolved.action.exec)?;
            Ok(resolved)
        });
        match allowed {
            Ok(resolved) => {
                let body = Body::Object(arguments.clone());
                Ok(self.plan(caller, resolved, body, None, now_ms))
            }
            Err(failure) => Err(Unfired::from(failure)),
        }
    }
}
