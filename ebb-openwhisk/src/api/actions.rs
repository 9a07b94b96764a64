//! `/namespaces/NS/actions`: documents and calls.

use super::{Context, Controller, list, method, respond};
use crate::entity::{Action, Entity, Exec, Put, Resolved};
use crate::failure::{Failure, Result};
use crate::json::{Json, Kind, Object};
use crate::limits;
use crate::name::{self, FullName};
use crate::parameters::Parameters;
use crate::plan::{Body, Document, Shape, Stamp, Step};
use crate::query::Page;
use alloc::{format, sync::Arc, vec::Vec};

impl Controller {
    pub(super) fn actions(
        &mut self,
        cx: &Context<'_>,
        path: &[&str],
        slash: bool,
        stamp: &Stamp,
    ) -> Result<Step> {
        let name = match *path {
            [] => return self.action_list(cx, None),
            [package] if slash => return self.action_list(cx, Some(package)),
            ref path => name_of(&cx.namespace, path).ok_or_else(Failure::no_path)?,
        };
        name::check(&name.name)?;
        if let Some(package) = &name.package {
            name::check(package)?;
        }
        match method(cx.request) {
            "GET" => {
                self.store.check_access(cx.own(), &name)?;
                let resolved = self.store.resolve_for(cx.own(), &name)?;
                let with_code = cx.query.optional_flag("code")?.unwrap_or(true);
                let action = &resolved.action;
                Ok(document(
                    action.clone(),
                    resolved.parameters.clone(),
                    with_code,
                    stamp,
                ))
            }
            "PUT" => {
                cx.require_own(Some(&name.local()))?;
                self.require_plain_package(&name)?;
                let overwrite = cx.query.flag("overwrite")?;
                let mut put = Put::parse(cx.require_json()?)?;
                put.code = cx.request.code.cloned();
                let action = self.put_action(&name, &put, overwrite, cx.own(), cx.now_ms)?;
                let parameters = action.common.parameters.clone();
                Ok(document(action, parameters, true, stamp))
            }
            "DELETE" => {
                cx.require_own(Some(&name.local()))?;
                self.require_plain_package(&name)?;
                match self.store.get(&name) {
                    Some(Entity::Action(_)) => {}
                    Some(_) => return Err(Failure::other_collection()),
                    None => return Err(Failure::no_entity()),
                }
                match self.store.remove(&name).ok_or_else(Failure::no_entity)? {
                    Entity::Action(action) => {
                        let parameters = action.common.parameters.clone();
                        Ok(document(action, parameters, true, stamp))
                    }
                    other => Ok(respond(200, &other.to_json())),
                }
            }
            "POST" => self.call_action(cx, &name, stamp),
            _ => Err(Failure::method("PUT, GET, DELETE, POST")),
        }
    }

    fn action_list(&self, cx: &Context<'_>, package: Option<&str>) -> Result<Step> {
        if method(cx.request) != "GET" {
            return Err(Failure::method("GET"));
        }
        let page = Page::parse(&cx.query, "actions")?;
        let mut place = FullName::new(&cx.namespace, package.unwrap_or(""));
        if let Some(package) = package {
            name::check(package)?;
            if let (_, Some(original)) = self.store.package_for(cx.own(), &place)? {
                place = original.common.name.clone();
            }
        } else {
            cx.require_own(None)?;
        }
        let all: Vec<&Entity> = self.store.newest(&place.namespace, |entity| {
            matches!(entity, Entity::Action(a) if package.is_none() || a.common.name.package.as_ref() == Some(&place.name))
        });
        Ok(list(all.into_iter(), page, "actions"))
    }

    /// Refuses a package that is not there, or stands for another.
    fn require_plain_package(&self, name: &FullName) -> Result<()> {
        match &name.package {
            Some(package)
                if self
                    .store
                    .package(&name.namespace, package)?
                    .binding
                    .is_some() =>
            {
                Err(Failure::bad("Operation not permitted on package binding."))
            }
            _ => Ok(()),
        }
    }

    pub(super) fn put_action(
        &mut self,
        name: &FullName,
        put: &Put,
        overwrite: bool,
        own: &str,
        now_ms: u64,
    ) -> Result<Arc<Action>> {
        self.require_plain_package(name)?;
        let old = match self.store.get(name) {
            Some(Entity::Action(old)) => Some(old.clone()),
            Some(_) => return Err(Failure::other_collection()),
            None => None,
        };
        let revision = self.store.next_revision();
        let action = Arc::new(Action::put(
            put,
            name,
            old.as_deref(),
            own,
            now_ms,
            revision,
            &self.runtimes,
        )?);
        self.check_limits(&action)?;
        // A document that is none, or that names what is not its sender's, is told first.
        if put.get("exec").is_some() {
            self.check_reach(own, &action.exec)?;
            // Source: `create` (`Actions.scala`): of the caller, and of what a document makes an action of.
            let kind = action.exec.kind();
            if !self.namespaces.limits(own).kinds.allow(kind) {
                return Err(Failure::forbidden_kind(kind));
            }
        }
        if old.is_some() && !overwrite {
            return Err(Failure::exists());
        }
        self.check_components(&action)?;
        self.insert(Entity::Action(action.clone()))?;
        Ok(action)
    }

    /// The code and the memory of an action are within what its namespace may have.
    fn check_limits(&self, action: &Action) -> Result<()> {
        let limits = self.namespaces.limits(&action.common.name.namespace);
        let (code, most) = (action.exec.size(), limits.code_mb as usize * (1 << 20));
        if matches!(action.exec, Exec::Code(_)) && code > most {
            return Err(Failure::too_large("exec", code, most));
        }
        let (memory, most) = (action.limits.memory_mb, limits.action_memory_mb);
        if memory > most {
            return Err(Failure::bad(format!(
                "memory size {memory} MB exceeds allowed threshold of {most} MB"
            )));
        }
        Ok(())
    }

    /// The components of a sequence exist, do not lead back to it, and are not too many when all are counted.
    fn check_components(&self, action: &Action) -> Result<()> {
        let Exec::Sequence(components) = &action.exec else {
            return Ok(());
        };
        let mut count = 0;
        let mut open: Vec<FullName> = components.clone();
        while let Some(component) = open.pop() {
            if component == action.common.name {
                return Err(Failure::bad("Sequence may not refer to itself."));
            }
            let resolved = self
                .store
                .resolve(&component)
                .map_err(|_| Failure::bad("Sequence component does not exist."))?;
            if component.namespace != action.common.name.namespace && !resolved.published {
                return Err(Failure::forbidden(&format!("{component}")));
            }
            if resolved.action.common.name == action.common.name {
                return Err(Failure::bad("Sequence may not refer to itself."));
            }
            match &resolved.action.exec {
                Exec::Sequence(inner) => open.extend(inner.iter().cloned()),
                Exec::Code(_) | Exec::Feed(_) => count += 1,
            }
            if count > limits::SEQUENCE || open.len() > limits::SEQUENCE {
                return Err(Failure::bad("Too many actions in the sequence."));
            }
        }
        Ok(())
    }

    /// What a sequence calls may be called. What is gone ends it when its turn comes, unless its package is gone.
    pub(super) fn check_reach(&self, own: &str, exec: &Exec) -> Result<()> {
        let Exec::Sequence(components) = exec else {
            return Ok(());
        };
        let mut components = components.iter();
        components.try_for_each(|component| self.store.check_access(own, component))
    }

    fn call_action(&mut self, cx: &Context<'_>, name: &FullName, stamp: &Stamp) -> Result<Step> {
        let blocking = cx.query.flag("blocking")?;
        let result = cx.query.flag("result")?;
        let wait = timeout(cx)?;
        // As in OpenWhisk: who may call it and whether its package is there is told before what is wrong with the body, and that before
        // whether it is there. Source: `routes` and `activate` (`Actions.scala`).
        self.store.check_access(cx.own(), name)?;
        let json = call_json(cx)?;
        let resolved = self.store.resolve_for(cx.own(), name)?;
        let body = match json {
            // Nothing in it is anything to the platform.
            Some(json) if resolved.parameters.is_empty() && !resolved.action.is_conductor() => {
                Body::Whole(json)
            }
            json => {
                let object = json.and_then(|json| json.to_object()).unwrap_or_default();
                check_final(&resolved, &object)?;
                Body::Object(object)
            }
        };
        self.check_reach(cx.own(), &resolved.action.exec)?;
        let plan = self.plan(&cx.caller, resolved, body, None, cx.now_ms);
        let shape = if result { Shape::Result } else { Shape::Record };
        let namespace = cx.caller.namespace.clone();
        self.begin(
            plan,
            &namespace,
            blocking.then_some(wait),
            shape,
            stamp,
            cx.now_ms,
        )
    }
}

/// The action that the rest of a path names.
pub(super) fn name_of(namespace: &str, path: &[&str]) -> Option<FullName> {
    match *path {
        [name] => Some(FullName::new(namespace, name)),
        [package, name] => Some(FullName::packaged(namespace, package, name)),
        _ => None,
    }
}

/// The answer with an action's document.
fn document(action: Arc<Action>, parameters: Parameters, with_code: bool, stamp: &Stamp) -> Step {
    Step::Document(Document {
        action,
        parameters,
        with_code,
        stamp: stamp.clone(),
    })
}

/// How long a blocking call waits, in milliseconds.
pub(super) fn timeout(cx: &Context<'_>) -> Result<u64> {
    match cx.query.get("timeout") {
        None => Ok(limits::BLOCKING),
        Some(text) => text
            .parse()
            .ok()
            .filter(|ms| (1..=limits::BLOCKING).contains(ms))
            .ok_or_else(|| {
                Failure::query(
                    "timeout",
                    format!(
                        "Timeout must be number of milliseconds up to {}.",
                        limits::BLOCKING
                    ),
                )
            }),
    }
}

/// The body of a call or of a trigger: a JSON object, or nothing.
pub(super) fn call_body(cx: &Context<'_>) -> Result<Object> {
    let json = call_json(cx)?;
    Ok(json.and_then(|json| json.to_object()).unwrap_or_default())
}

/// The same as it was sent, which is an object if there is one.
pub(super) fn call_json(cx: &Context<'_>) -> Result<Option<Json>> {
    let size = cx.request.body.len();
    if size > limits::PAYLOAD {
        return Err(Failure::too_large("Request", size, limits::PAYLOAD));
    }
    if cx.request.body.is_empty() {
        return Ok(None);
    }
    let json = Json::parse_bytes(cx.require_json()?).map_err(Failure::malformed)?;
    match json.kind() {
        Kind::Object => Ok(Some(json)),
        _ => Err(Failure::malformed(
            "the body of a call must be a JSON object",
        )),
    }
}

/// With the annotation `final`, parameters that have a value cannot be given by a call.
pub(super) fn check_final(resolved: &Resolved, body: &Object) -> Result<()> {
    if !resolved.action.common.annotations.is_true("final") {
        return Ok(());
    }
    let set = resolved.parameters.valued();
    if body.iter().any(|(name, _)| set.contains(name)) {
        return Err(Failure::reserved_parameters());
    }
    Ok(())
}
