//! `/namespaces/NS/rules`.

use super::{Context, Controller, count, method, respond};
use crate::entity::{Entity, Put, Rule, Trigger};
use crate::failure::{Failure, Result};
use crate::http::Response;
use crate::json::Json;
use crate::name::{self, FullName};
use crate::plan::Step;
use crate::query::Page;
use alloc::{format, sync::Arc};

impl Controller {
    pub(super) fn rules(&mut self, cx: &Context<'_>, path: &[&str]) -> Result<Step> {
        cx.require_own(path.first().copied())?;
        let name = match *path {
            [] if method(cx.request) != "GET" => return Err(Failure::method("GET")),
            [] => return self.rule_list(cx),
            [name] => FullName::new(&cx.namespace, name),
            _ => return Err(Failure::no_path()),
        };
        name::check(&name.name)?;
        match method(cx.request) {
            "GET" => Ok(respond(200, &self.rule(&name)?.to_json())),
            "PUT" => self.put_rule(cx, &name),
            "POST" => self.set_rule(cx, &name),
            "DELETE" => {
                let rule = self.rule(&name)?;
                self.store.remove(&name);
                self.unlink(&rule);
                Ok(respond(
                    200,
                    &Rule {
                        active: false,
                        ..rule
                    }
                    .to_json(),
                ))
            }
            _ => Err(Failure::method("PUT, GET, DELETE, POST")),
        }
    }

    fn rule_list(&self, cx: &Context<'_>) -> Result<Step> {
        let page = Page::parse(&cx.query, "rules")?;
        let all = self
            .store
            .newest(&cx.namespace, |entity| matches!(entity, Entity::Rule(_)));
        if page.count {
            return Ok(count(page.count_of(all.len()), "rules"));
        }
        let shown = page.of(all.into_iter()).map(|entity| match entity {
            Entity::Rule(rule) => Entity::Rule(Arc::new(self.as_it_stands(rule))).summary(),
            other => other.summary(),
        });
        Ok(respond(200, &Json::array(shown)))
    }

    /// A rule whose trigger is gone, or belongs to a later rule of the name, cannot fire.
    fn as_it_stands(&self, rule: &Rule) -> Rule {
        let linked = self.trigger(&rule.trigger).is_ok_and(|trigger| {
            trigger
                .rules
                .get(&rule.common.name)
                .is_some_and(|(_, active)| *active)
        });
        Rule {
            active: rule.active && linked,
            ..rule.clone()
        }
    }

    fn rule(&self, name: &FullName) -> Result<Rule> {
        match self.store.get(name) {
            Some(Entity::Rule(rule)) => Ok(self.as_it_stands(rule)),
            Some(_) => Err(Failure::other_collection()),
            None => Err(Failure::no_entity()),
        }
    }

    /// Takes a rule out of its trigger.
    fn unlink(&mut self, rule: &Rule) {
        self.change_trigger(&rule.trigger, |trigger| {
            trigger.rules.remove(&rule.common.name);
        });
    }

    fn link(&mut self, rule: &Rule) {
        self.change_trigger(&rule.trigger, |trigger| {
            trigger
                .rules
                .insert(rule.common.name.clone(), (rule.action.clone(), rule.active));
        });
    }

    fn change_trigger(&mut self, name: &FullName, change: impl FnOnce(&mut Trigger)) {
        if let Ok(trigger) = self.trigger(name) {
            let mut trigger = Trigger::clone(&trigger);
            change(&mut trigger);
            // The size that the store counts does not change, so there is room.
            let _ = self.store.insert(Entity::Trigger(Arc::new(trigger)));
        }
    }

    fn put_rule(&mut self, cx: &Context<'_>, name: &FullName) -> Result<Step> {
        let overwrite = cx.query.flag("overwrite")?;
        let put = Put::parse(cx.require_json()?)?;
        let old = match self.store.get(name) {
            Some(Entity::Rule(old)) => Some(self.as_it_stands(old)),
            Some(_) => return Err(Failure::other_collection()),
            None => None,
        };
        let rule = Rule::put(&put, name, old.as_ref(), cx.own(), cx.now_ms)?;
        if put.get("trigger").is_some() && rule.trigger.namespace != *cx.own() {
            return Err(Failure::forbidden(&format!("{}", rule.trigger)));
        }
        if put.get("action").is_some() {
            self.store.check_access(cx.own(), &rule.action)?;
        }
        if old.is_some() && !overwrite {
            return Err(Failure::exists());
        }
        let missing =
            |what: &str, name: &FullName| Failure::bad(format!("{what} /{name} does not exist"));
        self.trigger(&rule.trigger)
            .map_err(|_| missing("trigger", &rule.trigger))?;
        self.store
            .resolve(&rule.action)
            .map_err(|_| missing("action", &rule.action))?;
        self.insert(Entity::Rule(Arc::new(rule.clone())))?;
        if let Some(old) = old {
            self.unlink(&old);
        }
        self.link(&rule);
        Ok(respond(200, &rule.to_json()))
    }

    fn set_rule(&mut self, cx: &Context<'_>, name: &FullName) -> Result<Step> {
        let put = Put::parse(cx.require_json()?)?;
        // Source of the texts: `Status.serdesRestricted` (`WhiskRule.scala`).
        let active = match put.text("status")?.as_deref().map(str::trim) {
            Some("active") => true,
            Some("inactive") => false,
            Some(other) => {
                return Err(Failure::malformed(format!(
                    "requirement failed: {other} is not a recognized rule state"
                )));
            }
            None => return Err(Failure::malformed("key not found: status")),
        };
        let rule = self.rule(name)?;
        if active {
            self.trigger(&rule.trigger).map_err(|_| {
                Failure::new(404, "Only rules with existing triggers can be activated")
            })?;
        }
        let rule = Rule { active, ..rule };
        self.insert(Entity::Rule(Arc::new(rule.clone())))?;
        self.link(&rule);
        Ok(Step::Respond(Response::empty(200)))
    }
}
