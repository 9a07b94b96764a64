//! `/namespaces/NS/packages`.

use super::{Context, Controller, list, method, respond};
use crate::entity::{Entity, Package, Put};
use crate::failure::{Failure, Result};
use crate::json::{Json, Members};
use crate::name::{self, FullName};
use crate::plan::Step;
use crate::query::Page;
use alloc::{format, sync::Arc, vec::Vec};

impl Controller {
    pub(super) fn packages(&mut self, cx: &Context<'_>, path: &[&str]) -> Result<Step> {
        let name = match *path {
            [] => return self.package_list(cx),
            [name] => FullName::new(&cx.namespace, name),
            _ => return Err(Failure::no_path()),
        };
        name::check(&name.name)?;
        match method(cx.request) {
            "GET" => {
                let (package, original) = self.store.package_for(cx.own(), &name)?;
                Ok(respond(
                    200,
                    &self.package_document(package, original.map(|found| &**found)),
                ))
            }
            "PUT" => {
                cx.require_own(Some(&name.name))?;
                self.put_package(cx, &name)
            }
            "DELETE" => {
                cx.require_own(Some(&name.name))?;
                self.delete_package(cx, &name)
            }
            _ => Err(Failure::method("GET, PUT, DELETE")),
        }
    }

    fn package_list(&self, cx: &Context<'_>) -> Result<Step> {
        if method(cx.request) != "GET" {
            return Err(Failure::method("GET"));
        }
        let page = Page::parse(&cx.query, "packages")?;
        let own = cx.is_own();
        let all = self.store.newest(
            &cx.namespace,
            |entity| matches!(entity, Entity::Package(p) if own || p.common.publish && p.binding.is_none()),
        );
        Ok(list(all.into_iter(), page, "packages"))
    }

    /// The document with the package's actions and feeds; a binding shows those of what it stands for.
    fn package_document(&self, package: &Package, original: Option<&Package>) -> Json {
        let mut shown = package.clone();
        let mut place = package.common.name.clone();
        if let Some(original) = original {
            place = original.common.name.clone();
            let parameters = &original.common.parameters;
            shown.common.parameters = parameters.merged(&package.common.parameters);
        }
        let (mut actions, mut feeds) = (Vec::new(), Vec::new());
        for action in self.store.in_package(&place) {
            let common = &action.common;
            let element = Members::new()
                .text("name", &common.name.name)
                .text("version", &format!("{}", common.version))
                .raw("annotations", common.annotations.to_json().as_str())
                .finish();
            if common.annotations.is_truthy("feed") {
                feeds.push(element);
            } else {
                actions.push(element);
            }
        }
        let mut members = shown.members();
        members
            .raw("actions", Json::array(actions).as_str())
            .raw("feeds", Json::array(feeds).as_str())
            .finish()
    }

    fn put_package(&mut self, cx: &Context<'_>, name: &FullName) -> Result<Step> {
        // Whatever else has the name.
        Package::check_name(&name.name)?;
        let put = Put::parse(cx.require_json()?)?;
        let old = match self.store.get(name) {
            Some(Entity::Package(_)) if !cx.query.flag("overwrite")? => {
                return Err(Failure::exists());
            }
            Some(Entity::Package(old)) => Some(old.clone()),
            Some(_) => return Err(Failure::other_collection()),
            None => None,
        };
        let package = Package::put(&put, name, old.as_deref(), cx.own(), cx.now_ms)?;
        if let Some(target) = &package.binding {
            let missing = |failure: Failure| match failure.status {
                409 => Failure::new(409, "Cannot bind to a resource that is not a package."),
                _ => Failure::bad("Binding references a package that does not exist."),
            };
            let original = self.store.package(&target.namespace, &target.name);
            if *target.namespace != *cx.own() && !original.as_ref().is_ok_and(|p| p.common.publish)
            {
                return Err(Failure::forbidden(&format!("{target}")));
            }
            if original.map_err(missing)?.binding.is_some() || target == name {
                return Err(Failure::bad("Cannot bind to another package binding."));
            }
        }
        let document = package.to_json();
        self.insert(Entity::Package(Arc::new(package)))?;
        Ok(respond(200, &document))
    }

    fn delete_package(&mut self, cx: &Context<'_>, name: &FullName) -> Result<Step> {
        let force = cx.query.flag("force")?;
        self.store.package(&name.namespace, &name.name)?;
        let inside: Vec<FullName> = self
            .store
            .in_package(name)
            .map(|action| action.common.name.clone())
            .collect();
        if !inside.is_empty() && !force {
            let entities = if inside.len() == 1 {
                "entity"
            } else {
                "entities"
            };
            return Err(Failure::new(
                409,
                format!(
                    "Package not empty (contains {} {entities}). Set force param or delete package contents.",
                    inside.len()
                ),
            ));
        }
        for action in &inside {
            self.store.remove(action);
        }
        let package = self.store.remove(name).ok_or_else(Failure::no_entity)?;
        Ok(respond(200, &package.to_json()))
    }
}
