//! `/namespaces/NS/triggers`: documents and firing.

use super::actions::call_body;
use super::{Context, Controller, list, method, respond};
use crate::activation::{Activation, Outcome};
use crate::entity::{Entity, Put, Trigger};
use crate::failure::{Failure, Result};
use crate::http::Response;
use crate::json::{Json, Members};
use crate::name::{self, FullName};
use crate::parameters::Parameters;
use crate::perform::Body;
use crate::plan::{Fire, Plan, Shape, Stamp, Step};
use crate::query::Page;
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
                let old = match self.store.get(&name) {
                    Some(Entity::Trigger(_)) if !cx.query.flag("overwrite")? => {
                        return Err(Failure::exists());
                    }
                    Some(Entity::Trigger(old)) => Some(old.clone()),
                    Some(_) => return Err(Failure::other_collection()),
                    None => None,
                };
                let trigger = Trigger::put(&put, &name, old.as_deref(), cx.now)?;
                let document = trigger.to_json();
                self.store.insert(Entity::Trigger(Arc::new(trigger)))?;
                Ok(respond(200, &document))
            }
            "DELETE" => {
                let trigger = self.trigger(&name)?;
                self.store.remove(&name);
                // Its rules stay and read as inactive: there is nothing that could fire them.
                Ok(respond(200, &trigger.to_json()))
            }
            "POST" => self.fire(cx, &name, stamp),
            _ => Err(Failure::method("GET, PUT, DELETE, POST")),
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
        let trigger = self.trigger(name)?;
        let body = call_body(cx)?;
        let namespace = cx.caller.namespace.clone();
        self.throttle
            .fire(&namespace, &self.config.limits, cx.now)?;
        let mut payload = trigger.common.parameters.arguments(&body);
        let mut headers = Members::new();
        for (name, value) in cx.request.headers {
            if !name.eq_ignore_ascii_case("authorization") {
                headers.text(&name.to_ascii_lowercase(), value);
            }
        }
        let result = payload.to_json();
        payload.set("__ow_headers", headers.finish());
        let active: Vec<(FullName, FullName)> = trigger
            .rules
            .iter()
            .filter(|(_, (_, active))| *active)
            .map(|(rule, (action, _))| (rule.clone(), action.clone()))
            .collect();
        if active.is_empty() {
            return Ok(Step::Respond(Response::empty(204)));
        }
        let rules = active
            .into_iter()
            .map(|(rule, action)| {
                let plan = self.store.resolve(&action).and_then(|resolved| {
                    self.plan(
                        &cx.caller,
                        &resolved,
                        Body::Object(payload.clone()),
                        None,
                        cx.now,
                    )
                });
                (rule, action, plan.map_err(|failure| failure.text))
            })
            .collect();
        let mut annotations = Parameters::default();
        annotations.set("path", Json::text(&format!("{name}")));
        let record = Activation {
            id: self.new_id(),
            name: name.name.clone(),
            namespace: namespace.as_ref().into(),
            subject: namespace.as_ref().into(),
            version: format!("{}", trigger.common.version),
            cause: None,
            start: cx.now,
            end: None,
            duration: None,
            logs: Arc::default(),
            annotations,
            outcome: Outcome::success(result),
        };
        let plan = Plan::Trigger(Box::new(Fire { record, rules }));
        self.begin(plan, &namespace, None, Shape::Record, stamp, cx.now)
    }
}
