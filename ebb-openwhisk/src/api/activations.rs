//! `/namespaces/NS/activations`.

use super::{Context, Controller, count, method, respond};
use crate::activations::{Filter, check_id};
use crate::failure::{Failure, Result};
use crate::json::{Json, Members};
use crate::name;
use crate::plan::Step;
use crate::query::Page;
use alloc::{format, string::String, vec::Vec};

impl Controller {
    pub(super) fn list_activations(&self, cx: &Context<'_>, path: &[&str]) -> Result<Step> {
        cx.require_own(path.first().copied())?;
        if method(cx.request) != "GET" {
            return Err(Failure::method("GET"));
        }
        let (id, part) = match *path {
            [] => return self.activation_list(cx),
            [id] => (id, None),
            [id, part] => (id, Some(part)),
            _ => return Err(Failure::no_path()),
        };
        check_id(id)?;
        let since_ms = self.since_ms(cx);
        let record = || {
            let record = self.activations.get(&cx.namespace, id)?;
            let is_its = record.start_ms >= since_ms;
            is_its.then_some(record).ok_or_else(Failure::no_entity)
        };
        let json = match part {
            None => record()?.to_json(true),
            Some("logs") => Members::new()
                .raw("logs", record()?.logs_json().as_str())
                .finish(),
            Some("result") => record()?.outcome.to_json(),
            Some(_) => return Err(Failure::no_path()),
        };
        Ok(respond(200, &json))
    }

    /// Since when the namespace is its caller's: records of before are those of a former one of the name.
    fn since_ms(&self, cx: &Context<'_>) -> u64 {
        let namespace = self.namespaces.get(&cx.namespace);
        namespace.map_or(0, |namespace| namespace.since_ms)
    }

    fn activation_list(&self, cx: &Context<'_>) -> Result<Step> {
        let page = Page::parse(&cx.query, "activations")?;
        let docs = cx.query.flag("docs")?;
        if page.count && docs {
            return Err(Failure::bad(
                "The parameter 'docs' is not permitted with 'count'.",
            ));
        }
        let filter = Filter {
            name: cx
                .query
                .get("name")
                .filter(|name| !name.trim().is_empty())
                .map(entity_name)
                .transpose()?,
            since_ms: Some(cx.query.time("since")?.unwrap_or(0).max(self.since_ms(cx))),
            upto_ms: cx.query.time("upto")?,
        };
        let all = self.activations.newest(&cx.namespace, &filter);
        if page.count {
            return Ok(count(page.count_of(all.count()), "activations"));
        }
        let shown = page.of(all).map(|record| {
            if docs {
                record.to_json(true)
            } else {
                record.summary()
            }
        });
        Ok(respond(200, &Json::array(shown)))
    }
}

/// `action` or `pkg/action`; further slashes say nothing.
fn entity_name(text: &str) -> Result<String> {
    let parts: Vec<&str> = text.split('/').filter(|part| !part.is_empty()).collect();
    let are_names = parts.iter().all(|part| name::check(part).is_ok());
    if are_names && (1..=2).contains(&parts.len()) {
        Ok(parts.join("/"))
    } else {
        Err(Failure::query(
            "name",
            format!("Parameter may be a 'simple' name or 'package-name/simple' name: {text}"),
        ))
    }
}
