//! Alarms: what the feeds of `/whisk.system/alarms` do to triggers, and the firing of those that are due.

use super::Controller;
use crate::activation::{Outcome, Status};
use crate::alarm::{Alarm, DeleteAfterFire, Feed};
use crate::call::{Call, Caller};
use crate::entity::{Entity, Trigger};
use crate::failure::Result;
use crate::http::Response;
use crate::json::{Json, Members, Object};
use crate::name::FullName;
use crate::plan::{Stamp, Step};
use alloc::{string::String, sync::Arc, vec::Vec};

/// Alarms that are looked at together; the rest a moment later.
const AT_ONCE: usize = 64;

/// The answer of a feed that did what it was asked.
fn done() -> Json {
    Members::new().text("status", "success").finish()
}

/// The feed's parameter, if it is a text that is not empty.
fn text(parameters: &Object, name: &str) -> Option<String> {
    let text = parameters.get(name).and_then(Json::to_text);
    text.filter(|text| !text.is_empty())
}

impl Controller {
    /// Calls a feed. What it answers is what OpenWhisk's package does: errors are objects with a member `error`.
    pub(crate) fn call_feed(&mut self, feed: Feed, call: &Call, now_ms: u64) -> Outcome {
        let parameters = call.arguments.to_object().unwrap_or_default();
        match self.feed(feed, &parameters, &call.caller, now_ms) {
            Ok(result) => Outcome::success(result),
            Err(why) => {
                let error = Members::new().text("error", &why).finish();
                let result = Members::new().raw("error", error.as_str()).finish();
                Outcome {
                    status: Status::ApplicationError,
                    ..Outcome::success(result)
                }
            }
        }
    }

    fn feed(
        &mut self,
        feed: Feed,
        parameters: &Object,
        caller: &Caller,
        now_ms: u64,
    ) -> core::result::Result<Json, String> {
        const NOT_THERE: &str = "could not find the trigger in the database";
        let event = text(parameters, "lifecycleEvent").unwrap_or_default();
        if !["CREATE", "READ", "UPDATE", "DELETE"].contains(&event.as_str()) {
            return Err("unsupported lifecycleEvent".into());
        }
        let key = text(parameters, "authKey").ok_or("no authKey parameter was provided")?;
        let name = text(parameters, "triggerName");
        let name = name.ok_or("no trigger name parameter was provided")?;
        // Whatever namespace it names: a feed changes its caller's triggers.
        let name = match name.strip_prefix('/') {
            Some(full) => full.split_once('/').map_or("", |(_, name)| name),
            None => &name,
        };
        let name = FullName::new(&caller.namespace, name);
        let trigger = match self.store.get(&name) {
            Some(Entity::Trigger(trigger)) => Some(Arc::clone(trigger)),
            _ => None,
        };
        let opens = self.namespaces.opens(&caller.namespace, &key);
        let trigger = match trigger {
            _ if !opens => return Err("Trigger authentication request failed.".into()),
            Some(trigger) => trigger,
            // Its alarm went with it.
            None if event == "DELETE" => return Ok(done()),
            None => return Err("Trigger authentication request failed.".into()),
        };
        let alarm = match (event.as_str(), &trigger.alarm) {
            ("CREATE", Some(_)) => return Err("error creating alarm trigger.".into()),
            ("CREATE", None) => Some(Alarm::create(feed, parameters, &name, now_ms)?),
            (_, None) => return Err(NOT_THERE.into()),
            ("READ", Some(alarm)) => return Ok(alarm.to_json(&name)),
            ("UPDATE", Some(alarm)) => Some(alarm.update(parameters, &name, now_ms)?),
            _ => None,
        };
        let changed = self.set_alarm(&trigger, alarm);
        changed.map(|()| done()).map_err(|failure| failure.text)
    }

    /// Puts a trigger in the place of itself with that alarm.
    fn set_alarm(&mut self, trigger: &Trigger, alarm: Option<Alarm>) -> Result<()> {
        self.insert(Entity::Trigger(Arc::new(Trigger {
            alarm: alarm.map(Arc::new),
            ..trigger.clone()
        })))
    }

    /// When the next alarm is due, in epoch milliseconds.
    pub fn next_alarm_ms(&self) -> Option<u64> {
        self.store.alarms().next().map(|(due_ms, _)| due_ms)
    }

    /// The triggers whose alarms are due, not too many of them together.
    pub fn due_alarms(&self, now_ms: u64) -> Vec<FullName> {
        let due = self
            .store
            .alarms()
            .take_while(|(due_ms, _)| *due_ms <= now_ms);
        due.map(|(_, name)| name.clone()).take(AT_ONCE).collect()
    }

    /// Fires a trigger whose alarm is due. [`Controller::alarm_passed`] has to be told when what comes of it has begun.
    ///
    /// # Errors
    /// The namespace fires or calls too much at the moment: the alarm stays due.
    pub fn fire_alarm(&mut self, name: &FullName, now_ms: u64) -> Result<Step> {
        let trigger = self.trigger(name)?;
        let nothing = || Ok(Step::Respond(Response::empty(204)));
        let Some(alarm) = trigger.alarm.as_ref().filter(|alarm| alarm.fires(now_ms)) else {
            return nothing();
        };
        // Its owner's key is not known, but for a hash, so what it calls is lent one.
        let owner = self.namespaces.get(&name.namespace);
        let Some(owner) = owner else {
            return nothing();
        };
        let caller = Caller {
            namespace: Arc::clone(owner.name()),
            key: Some(owner.lent().clone()),
            transaction: self.new_id(),
        };
        let stamp = Stamp {
            transaction: caller.transaction.clone(),
            cors: None,
            gateway: None,
            accept: None,
        };
        if trigger.rules.values().any(|(_, active)| *active) {
            let limits = self.namespaces.limits(&caller.namespace);
            self.throttle.check(&caller.namespace, limits, now_ms)?;
        }
        let body = alarm.payload().to_object().unwrap_or_default();
        self.fire_trigger(
            &trigger,
            &caller,
            &body,
            Object::new().to_json(),
            &stamp,
            now_ms,
        )
    }

    /// What was due of a trigger's alarm is over.
    pub fn alarm_passed(&mut self, name: &FullName, now_ms: u64) {
        let Ok(trigger) = self.trigger(name) else {
            return;
        };
        let Some(alarm) = &trigger.alarm else {
            return;
        };
        if alarm.due_ms().is_none_or(|due_ms| due_ms > now_ms) {
            return;
        }
        let delete = match alarm.fires(now_ms) {
            true => alarm.delete_after_fire(),
            false => DeleteAfterFire::Nothing,
        };
        if delete == DeleteAfterFire::Rules {
            for rule in trigger.rules.keys() {
                self.store.remove(rule);
            }
        }
        if delete == DeleteAfterFire::Nothing {
            // It takes what it took.
            let _ = self.set_alarm(&trigger, Some(alarm.passed(now_ms)));
        } else {
            self.store.remove(name);
        }
    }

    /// The clock shows a time that was over already, or did so when the platform ran the last time: alarms that repeat go on
    /// from now on, and do not wait for the time that they had come to.
    pub fn clock_was_set_back(&mut self, now_ms: u64) {
        let all = self.store.iter().filter_map(|entity| match entity {
            Entity::Trigger(trigger) => {
                let alarm = trigger.alarm.as_ref()?.set_back(now_ms)?;
                Some((Arc::clone(trigger), alarm))
            }
            _ => None,
        });
        let all: Vec<_> = all.collect();
        for (trigger, alarm) in all {
            let _ = self.set_alarm(&trigger, Some(alarm));
        }
    }
}
