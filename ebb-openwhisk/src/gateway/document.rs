//! The documents of APIs that are made path by path. Source: `generateBaseSwaggerApi`, `addEndpointToSwaggerApi` and
//! `removeEndpointFromSwaggerApi` (`apigw-utils.js`), whose documents these are, member by member.
//!
//! What must hold: a document that is changed keeps everything that the change is not about, whoever wrote it; and whatever it is, the
//! change takes as long as the document is, and no more.

use super::path::{self, shown};
use super::routes::{ACTION, WHOLE_PATH};
use super::{refused, verb};
use crate::failure::Result;
use crate::json::{Json, Members, Object};
use crate::project::Extension;
use alloc::{format, string::String, vec::Vec};
use hashbrown::HashSet;

/// The configuration of documents that are made here.
const CONFIGURATION: &str = "x-ibm-configuration";
/// The other name that one may have.
const OTHER_CONFIGURATION: &str = "x-gateway-configuration";
const SWITCH: &str = "operation-switch";

/// An operation that is added to a document.
#[derive(Clone, Debug)]
pub struct Endpoint {
    /// The path, below the base path.
    pub path: String,
    /// The method.
    pub verb: String,
    /// Where the client reaches the platform: `SCHEME://HOST`.
    pub host: String,
    /// The action's namespace.
    pub namespace: String,
    /// Its package; empty if it is in none.
    pub package: String,
    /// Its name.
    pub action: String,
    /// What of its result is the answer.
    pub extension: Extension,
    /// What describes the path's parameters, if that was given.
    pub parameters: Option<Json>,
    /// What the action asks its callers for (`require-whisk-auth`), and this API's are spared.
    pub secret: Option<Json>,
}

impl Endpoint {
    /// The URL of the action.
    fn url(&self) -> String {
        let package = match &*self.package {
            "" => "default",
            package => package,
        };
        format!(
            "{}/api/v1/web/{}/{package}/{}.{}",
            self.host,
            self.namespace,
            self.action,
            self.extension.name()
        )
    }

    /// Where its calls go.
    fn target(&self) -> String {
        match self.extension {
            Extension::Http => self.url() + WHOLE_PATH,
            _ => self.url(),
        }
    }

    /// What describes the path's parameters: as `wsk` does where a client does not say.
    fn described(&self) -> Option<Json> {
        let mut seen = HashSet::new();
        let named = path::parameters(&self.path).filter(|name| seen.insert(*name));
        let described: Vec<Json> = named
            .map(|name| {
                let mut members = Members::new();
                members.text("name", name).text("in", "path");
                members.bool("required", true).text("type", "string");
                let description = format!("Default description for '{name}'");
                members.text("description", &description).finish()
            })
            .collect();
        let is_given = |given: &Json| given.to_array().is_some_and(|all| !all.is_empty());
        match &self.parameters {
            Some(given) if is_given(given) => Some(given.clone()),
            _ => (!described.is_empty()).then(|| Json::array(described)),
        }
    }

    /// The operation, under an id.
    fn operation(&self, id: &str) -> Json {
        let action = Members::new()
            .text("url", &self.url())
            .text("namespace", &self.namespace)
            .text("package", &self.package)
            .text("action", &self.action)
            .finish();
        let mut members = Members::new();
        members.text("operationId", id);
        if let Some(parameters) = self.described() {
            members.raw("parameters", parameters.as_str());
        }
        members
            .raw(ACTION, action.as_str())
            .raw(
                "responses",
                r#"{"default":{"description":"Default response"}}"#,
            )
            .finish()
    }

    /// The case of the configuration for its id.
    fn case(&self, id: &str) -> Json {
        let mut invoke = Members::new();
        invoke
            .text("target-url", &self.target())
            .text("verb", "keep");
        let invoke = Members::new()
            .raw("invoke", invoke.finish().as_str())
            .finish();
        let secret = self.secret.as_ref().map(|secret| {
            let action = Members::new()
                .text("set", "message.headers.X-Require-Whisk-Auth")
                .raw("value", secret.as_str())
                .finish();
            let actions = Json::array([action]);
            let actions = Members::new().raw("actions", actions.as_str()).finish();
            Members::new()
                .raw("set-variable", actions.as_str())
                .finish()
        });
        let execute = Json::array([invoke].into_iter().chain(secret));
        Members::new()
            .raw("operations", Json::array([Json::text(id)]).as_str())
            .raw("execute", execute.as_str())
            .finish()
    }
}

/// The document of an API that has nothing yet.
pub fn empty(base: &str, title: &str) -> Object {
    let info = Members::new()
        .text("title", title)
        .text("version", "1.0.0")
        .finish();
    [
        ("swagger", Json::text("2.0")),
        ("info", info),
        ("basePath", Json::text(base)),
        ("paths", Object::new().to_json()),
        (
            CONFIGURATION,
            Members::new()
                .raw("assembly", "{}")
                .raw("cors", r#"{"enabled":true}"#)
                .finish(),
        ),
    ]
    .into_iter()
    .map(|(name, value)| (String::from(name), value))
    .collect()
}

/// The object that a member is, or an empty one.
fn object(of: &Object, name: &str) -> Object {
    of.get(name).and_then(Json::to_object).unwrap_or_default()
}

/// The elements of the array that a member is, or none.
fn array(of: &Object, name: &str) -> Vec<Json> {
    of.get(name).and_then(Json::to_array).unwrap_or_default()
}

/// The id of an operation. Source: `makeOperationId` (`apigw-utils.js`).
fn id_of(verb: &str, path: &str) -> String {
    let mut id = verb.to_ascii_lowercase();
    // A word begins at its first letter, digit or `_`.
    let mut is_inside = false;
    for c in path.chars() {
        match c {
            '-' => id.push(c),
            c if !(c.is_ascii_alphanumeric() || c == '_') => is_inside = false,
            c if is_inside => id.push(c.to_ascii_lowercase()),
            c => {
                id.push(c.to_ascii_uppercase());
                is_inside = true;
            }
        }
    }
    id
}

/// The ids of all operations but that one.
fn other_ids(paths: &Object, endpoint: &Endpoint) -> HashSet<String> {
    let mut ids = HashSet::new();
    for (path, item) in paths.iter() {
        for (name, operation) in item.to_object().unwrap_or_default().iter() {
            let is_it = path == endpoint.path && name.eq_ignore_ascii_case(&endpoint.verb);
            if !is_it && let Some(id) = operation.member("operationId") {
                ids.extend(id.to_text());
            }
        }
    }
    ids
}

/// Adds an operation, in the place of the one that the path has for the method.
pub fn add(document: &mut Object, endpoint: &Endpoint) {
    let mut paths = object(document, "paths");
    let others = other_ids(&paths, endpoint);
    let plain = id_of(&endpoint.verb, &endpoint.path);
    // Paths that differ in signs only have one id, and the calls of one would go where those of the other do.
    let mut id = plain.clone();
    let mut number = 2;
    while others.contains(&id) {
        id = format!("{plain}_{number}");
        number += 1;
    }
    let mut item = object(&paths, &endpoint.path);
    let mut names = item.iter().map(|(name, _)| name);
    let known = names.find(|name| name.eq_ignore_ascii_case(&endpoint.verb));
    let verb = known.map_or_else(|| endpoint.verb.to_ascii_lowercase(), String::from);
    drop(names);
    item.set(&verb, endpoint.operation(&id));
    paths.set(&endpoint.path, item.to_json());
    document.set("paths", paths.to_json());
    let ids = HashSet::from_iter([id.clone()]);
    change_cases(document, &ids, Some(endpoint.case(&id)));
}

/// Takes an operation away, or all of a path. Whether any is left.
///
/// # Errors
/// 502 in OpenWhisk's words: there is none.
pub fn remove(document: &mut Object, path: &str, operation: Option<&str>) -> Result<bool> {
    let mut paths = object(document, "paths");
    let item = paths
        .get(path)
        .map(|item| item.to_object().unwrap_or_default());
    let wanted = |name: &str| match operation {
        Some(operation) => name.eq_ignore_ascii_case(operation),
        None => verb(name).is_some(),
    };
    let shown = shown(path);
    let Some(mut item) = item else {
        return Err(refused(match operation {
            Some(operation) => no_operation(&shown, operation),
            None => format!("path '{shown}' does not exist in the API"),
        }));
    };
    let gone: Vec<(String, Json)> = item
        .iter()
        .filter(|(name, _)| wanted(name))
        .map(|(name, operation)| (String::from(name), operation.clone()))
        .collect();
    if let Some(operation) = operation.filter(|_| gone.is_empty()) {
        return Err(refused(no_operation(&shown, operation)));
    }
    let ids = gone.iter().filter_map(|(_, operation)| {
        let id = operation.member("operationId")?;
        id.to_text()
    });
    let ids: HashSet<String> = ids.collect();
    for (name, _) in &gone {
        item.remove(name);
    }
    match item.iter().any(|(name, _)| verb(name).is_some()) {
        true => paths.set(path, item.to_json()),
        false => {
            paths.remove(path);
        }
    }
    document.set("paths", paths.to_json());
    change_cases(document, &ids, None);
    Ok(!paths.is_empty())
}

fn no_operation(path: &str, operation: &str) -> String {
    let operation = shown(&operation.to_lowercase());
    format!("path '{path}' with operation '{operation}' does not exist in the API")
}

/// Takes the cases of operations out of the configuration, and adds one.
fn change_cases(document: &mut Object, gone: &HashSet<String>, added: Option<Json>) {
    let name = match document.contains(OTHER_CONFIGURATION) {
        true => OTHER_CONFIGURATION,
        false => CONFIGURATION,
    };
    let mut configuration = object(document, name);
    let mut assembly = object(&configuration, "assembly");
    let mut execute = array(&assembly, "execute");
    let found = execute
        .iter()
        .position(|step| step.member(SWITCH).is_some());
    if found.is_none() && added.is_none() {
        return;
    }
    let place = found.unwrap_or_else(|| {
        execute.insert(0, Object::new().to_json());
        0
    });
    let mut step = execute[place].to_object().unwrap_or_default();
    let mut switch = object(&step, SWITCH);
    let cases = array(&switch, "case").into_iter();
    let cases = cases.filter_map(|case| without(case, gone)).chain(added);
    switch.set("case", Json::array(cases));
    step.set(SWITCH, switch.to_json());
    execute[place] = step.to_json();
    assembly.set("execute", Json::array(execute));
    configuration.set("assembly", assembly.to_json());
    document.set(name, configuration.to_json());
}

/// A case without operations that are gone; nothing if it has no others.
fn without(case: Json, gone: &HashSet<String>) -> Option<Json> {
    let Some(mut object) = case.to_object() else {
        return Some(case);
    };
    let operations = array(&object, "operations");
    let is_gone = |operation: &Json| operation.to_text().is_some_and(|id| gone.contains(&id));
    if !operations.iter().any(is_gone) {
        return Some(case);
    }
    let left: Vec<Json> = operations.into_iter().filter(|o| !is_gone(o)).collect();
    if left.is_empty() {
        return None;
    }
    object.set("operations", Json::array(left));
    Some(object.to_json())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Source: the comment at `makeOperationId`, and `getPathWithSub_pathsInIt` in `ApiGwCliBasicTests.scala`.
    #[test]
    fn an_id_is_made_of_the_method_and_the_words_of_the_path() {
        for (verb, path, id) in [
            (
                "GET",
                "/path/with/sub_paths/in/it",
                "getPathWithSub_pathsInIt",
            ),
            ("post", "/foo/bar", "postFooBar"),
            ("get", "/", "get"),
            ("get", "/Books/{isbn}", "getBooksIsbn"),
            ("put", "/a-B/-c/d.eF~g", "putA-b-CDEfG"),
        ] {
            assert_eq!(id_of(verb, path), id, "{path}");
        }
    }
}
