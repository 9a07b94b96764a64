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
                let found = self.store.package_for(cx.own(), &name);
                let (package, original) = found.map_err(|failure| match failure.status {
                    404 => Failure::no_package(&name),
                    _ => failure,
                })?;
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
            // The path has the method, and nobody the right.
            "POST" => Err(Failure::forbidden(&format!("{name}"))),
            _ => Err(Failure::method("PUT, GET, DELETE, POST")),
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
            // Whatever its value. Source: `withPackageActions` (`WhiskPackage.scala`).
            if common.annotations.get("feed").is_some() {
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
        let overwrite = cx.query.flag("overwrite")?;
        // Whatever else has the name.
        Package::check_name(&name.name)?;
        let put = Put::parse(cx.require_json()?)?;
        let old = match self.store.get(name) {
            Some(Entity::Package(old)) => Some(old.clone()),
            Some(_) => return Err(Failure::other_collection()),
            None => None,
        };
        let new = Package::put(&put, name, None, cx.own(), cx.now_ms)?;
        let target = match &new.binding {
            Some(target) => Some(self.bindable(cx.own(), target)?),
            None => None,
        };
        if old.is_some() && !overwrite {
            return Err(Failure::exists());
        }
        let package = match &old {
            Some(old) => Package::put(&put, name, Some(old), cx.own(), cx.now_ms)?,
            None => new,
        };
        if target.is_some_and(|target| target.binding.is_some()) {
            return Err(Failure::bad("Cannot bind to another package binding."));
        }
        let document = package.to_json();
        self.insert(Entity::Package(Arc::new(package)))?;
        Ok(respond(200, &document))
    }

    /// The package that a document binds, which its sender may read. Source of the texts: `rewriteEntitlementFailure`
    /// (`Packages.scala`).
    fn bindable(&self, own: &str, target: &FullName) -> Result<Arc<Package>> {
        let found = self.store.package_for(own, target);
        let (package, _) = found.map_err(|failure| match failure.status {
            404 => Failure::bad("Binding references a package that does not exist."),
            409 => Failure::new(409, "Cannot bind to a resource that is not a package."),
            _ => failure,
        })?;
        Ok(package.clone())
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
