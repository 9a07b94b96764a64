//! What an API's document says: which path and method calls which web action, and how.
//!
//! What must hold: whatever document is read, this takes no more than a few bytes for each of its own, and looking a path up takes a
//! step for each of the API's paths.

use super::path::{self, shown};
use super::{DEPTH, OPERATIONS, refused, refused_by_gateway, verb};
use crate::failure::{Failure, Result};
use crate::http::Request;
use crate::json::{Json, Kind, Object};
use crate::name;
use crate::project::Extension;
use crate::query::decode;
use alloc::{boxed::Box, format, string::String, sync::Arc, vec::Vec};
use hashbrown::{HashMap, HashSet};

/// Behind a target: the action is told the whole path of the request, and not only what follows the path of the API.
pub const WHOLE_PATH: &str = "$(request.path)";
/// The extensions that say where the calls go, by which of them counts first.
const CONFIGURATIONS: [&str; 2] = ["x-gateway-configuration", "x-ibm-configuration"];
/// The extension that says which action an operation calls.
pub const ACTION: &str = "x-openwhisk";
/// What the gateway would ask of callers, and this platform does not.
const UNKEPT: [&str; 3] = [
    "securityDefinitions",
    "x-gateway-rate-limit",
    "x-ibm-rate-limit",
];
/// Members of a path that are no operations.
const BESIDE: [&str; 5] = ["parameters", "$ref", "summary", "description", "servers"];

type Headers = Vec<(String, String)>;

/// The web action that an operation calls.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Its path below `/api/v1/web`: namespace, package, and name with an extension.
    pub action: [String; 3],
    /// What is told it as the rest of its path, besides what a request adds: it begins with a slash, or is empty.
    more: String,
    /// The request's whole path is, and not only what follows the API's.
    whole_path: bool,
    /// The method of the call, if it is another than the request's.
    pub verb: Option<&'static str>,
    headers: Headers,
}

/// The operations of a path.
#[derive(Clone, Debug)]
pub struct Route {
    /// Without slashes at its ends.
    path: Box<str>,
    /// How many segments that has.
    pub count: usize,
    /// It has no parameters.
    pub is_literal: bool,
    operations: Vec<(&'static str, Arc<Target>)>,
}

/// The paths of an API, and what it says about pages of other origins.
#[derive(Clone, Debug, Default)]
pub struct Routes {
    all: Vec<Route>,
    /// Whether such pages may call it; `None`: its actions say that.
    pub cors: Option<bool>,
    /// What every call has.
    headers: Headers,
}

impl Target {
    /// Reads the URL of a web action, `SCHEME://HOST/api/v1/web/NS/PACKAGE/ACTION[.EXT]` and what may follow. Which host it names says
    /// nothing: an API calls actions of its platform. The namespace `_` is the API's own.
    fn read(url: &str, own: &str) -> Option<Self> {
        const WEB: &str = "/api/v1/web/";
        let (_, path) = url.split_once("://")?;
        let (_, path) = path.split_at(path.find(WEB)?);
        let path = path.get(WEB.len()..)?;
        let (path, whole_path) = match path.strip_suffix(WHOLE_PATH) {
            Some(path) => (path, true),
            None => (path, false),
        };
        if path.contains(['?', '#']) {
            return None;
        }
        let mut parts = path.splitn(4, '/').map(|part| decode(part, false));
        let mut part = || parts.next().map(String::from);
        let mut action = [part()?, part()?, part()?];
        if action[0] == "_" {
            action[0] = own.into();
        }
        let (name, _) = Extension::split(&action[2]);
        let names = [&*action[0], &*action[1], name];
        names.iter().all(|name| name::check(name).is_ok()).then(|| {
            let more = part().unwrap_or_default();
            let more = more.trim_end_matches('/');
            Self {
                more: match more {
                    "" => String::new(),
                    more => format!("/{more}"),
                },
                action,
                whole_path,
                verb: None,
                headers: Headers::new(),
            }
        })
    }

    /// What the action is told as the rest of its path, by the path of the request behind the tenant, and what of that follows the
    /// API's. Source: `setRoute` and `getUriPath` (`backendRouting.lua`).
    pub fn more_path(&self, whole: &str, rest: &str) -> String {
        let added = if self.whole_path { whole } else { rest };
        format!("{}{added}", self.more)
    }

    fn extension(&self) -> Extension {
        Extension::split(&self.action[2]).1
    }

    fn bytes(&self) -> usize {
        let action: usize = self.action.iter().map(String::len).sum();
        size_of::<Self>() + action + self.more.len() + bytes(&self.headers)
    }
}

fn bytes(headers: &Headers) -> usize {
    let each = headers
        .iter()
        .map(|(name, value)| size_of::<(String, String)>() + name.len() + value.len());
    each.sum()
}

impl Route {
    /// The action for a method.
    pub fn target(&self, method: &str) -> Option<&Arc<Target>> {
        let mut all = self.operations.iter();
        let found = all.find(|(verb, _)| *verb == method);
        found.map(|(_, target)| target)
    }

    /// Whether that is its path, or begins with it.
    fn begins(&self, path: &[&str]) -> bool {
        self.count == 0
            || self.count <= path.len()
                && self
                    .path
                    .split('/')
                    .zip(path)
                    .all(|(own, asked)| own == *asked || path::parameter(own).is_some())
    }
}

impl Routes {
    /// The route for a path, or for the longest beginning of it that there is one for, with its number. Of two the one without parameters is
    /// taken. Source: `findResource` (`routing.lua`).
    pub fn find(&self, path: &[&str]) -> Option<(usize, &Route)> {
        let all = self.all.iter().enumerate();
        let all = all.filter(|(_, route)| route.begins(path));
        // Of equals the first.
        all.rev()
            .max_by_key(|(_, route)| (route.count, route.is_literal))
    }

    /// Whether there is a path, which may end with a slash, or an operation of it.
    pub fn has(&self, path: &str, operation: Option<&str>) -> bool {
        let Ok(path) = path::check(path) else {
            return false;
        };
        let mut all = self.all.iter();
        let found = all.find(|route| &*route.path == path);
        found.is_some_and(|route| match operation {
            Some(operation) => verb(operation).is_some_and(|verb| route.target(verb).is_some()),
            None => true,
        })
    }

    /// The route of a number.
    pub fn get(&self, number: usize) -> Option<&Route> {
        self.all.get(number)
    }

    /// The headers of a call: those of the request, and in their place those that the API sets.
    pub fn headers<'r>(
        &'r self,
        request: &Request<'r>,
        target: &'r Target,
    ) -> Vec<(&'r str, &'r str)> {
        let mut headers = request.headers.to_vec();
        for (name, value) in self.headers.iter().chain(&target.headers) {
            headers.retain(|(given, _)| !given.eq_ignore_ascii_case(name));
            headers.push((name, value));
        }
        headers
    }

    /// Bytes that they take, about.
    pub fn bytes(&self) -> usize {
        let routes = self.all.iter().map(|route| {
            let targets = route.operations.iter().map(|(_, target)| target.bytes());
            size_of::<Route>() + route.path.len() + targets.sum::<usize>()
        });
        routes.sum::<usize>() + bytes(&self.headers)
    }

    /// Reads a document; `own` is its owner's namespace.
    ///
    /// # Errors
    /// 400: it asks for what there is not, or is larger or deeper than any; 502 in the words of OpenWhisk's actions and its gateway: they
    /// would not take it either.
    pub fn read(document: &Json, own: &str) -> Result<Self> {
        let malformed = || Failure::bad("The document of an API must be an object.");
        let object = document.to_object().ok_or_else(malformed)?;
        if document.depth() > DEPTH {
            return Err(Failure::bad(format!(
                "The document of an API is nested more deeply than allowed: > {DEPTH}."
            )));
        }
        for unkept in UNKEPT {
            if object.get(unkept).is_some_and(|value| !is_empty(value)) {
                return Err(Failure::bad(format!(
                    "The member '{unkept}' cannot be kept: callers of an API are asked for no keys or sign-in, and limited by nothing but their actions' namespace."
                )));
            }
        }
        let configuration = CONFIGURATIONS.iter().find_map(|name| object.get(name));
        let configuration = configuration.and_then(Json::to_object).unwrap_or_default();
        let assembly = Assembly::read(&configuration, own)?;
        let cors = configuration.get("cors").and_then(Json::to_object);
        let enabled = cors.and_then(|cors| cors.get("enabled").and_then(Json::to_bool));
        let paths = object.get("paths").and_then(Json::to_object);
        let paths = paths.unwrap_or_default();
        if paths.is_empty() {
            return Err(refused_by_gateway("Empty resources object."));
        }
        let mut all: Vec<Route> = Vec::new();
        let (mut seen, mut count) = (HashSet::new(), 0);
        for (path, item) in paths.iter() {
            let route = assembly.route(path, item, own)?;
            count += route.operations.len();
            if count > OPERATIONS {
                return Err(Failure::bad(format!(
                    "An API has more operations than allowed: > {OPERATIONS}."
                )));
            }
            if !seen.insert(route.path.clone()) {
                return Err(Failure::bad(format!(
                    "The path '/{}' is there twice.",
                    route.path
                )));
            }
            all.push(route);
        }
        Ok(Self {
            all,
            cors: enabled,
            headers: assembly.headers,
        })
    }
}

/// Whether a member says nothing.
fn is_empty(value: &Json) -> bool {
    match value.kind() {
        Kind::Null => true,
        Kind::Array => value.to_array().is_some_and(|array| array.is_empty()),
        Kind::Object => value.to_object().is_some_and(|object| object.is_empty()),
        _ => false,
    }
}

/// Where a configuration sends calls.
#[derive(Default)]
struct Assembly {
    /// By the operation's id, where in `backends` its is.
    operations: HashMap<String, usize>,
    backends: Vec<Backend>,
    /// That of every operation that has none of its own.
    of_all: Option<Backend>,
    headers: Headers,
}

/// Where calls of some operations go.
#[derive(Default)]
struct Backend {
    url: String,
    /// `None`: it names no web action.
    target: Option<Arc<Target>>,
}

impl Backend {
    /// Reads an `invoke`.
    fn read(invoke: &Json, headers: Headers, own: &str) -> Result<Self> {
        let text = |name: &str| invoke.member(name).and_then(|value| value.to_text());
        let url = text("target-url").unwrap_or_default();
        let verb = match text("verb").filter(|verb| verb != "keep") {
            Some(given) => Some(verb(&given).ok_or_else(|| {
                refused_by_gateway(format!("backendMethod '{}' not supported.", shown(&given)))
            })?),
            None => None,
        };
        let target = Target::read(&url, own).map(|target| {
            Arc::new(Target {
                verb,
                headers,
                ..target
            })
        });
        Ok(Self { url, target })
    }
}

/// The steps of an `execute`: the name of each and what it says.
fn steps(of: &Object) -> impl Iterator<Item = (String, Json)> {
    let steps = of.get("execute").and_then(Json::to_array);
    let objects = steps.unwrap_or_default().into_iter();
    objects
        .filter_map(|step| step.to_object())
        .flat_map(|step| {
            let all = step.iter();
            let all = all.map(|(name, value)| (String::from(name), value.clone()));
            all.collect::<Vec<_>>()
        })
}

/// The headers that a `set-variable` sets, and it can set nothing else here.
fn set_headers(step: &Json, headers: &mut Headers) -> Result<()> {
    let actions = step
        .member("actions")
        .and_then(|actions| actions.to_array());
    for action in actions.unwrap_or_default() {
        let set = action.member("set").and_then(|set| set.to_text());
        let value = action.member("value").and_then(|value| match value.kind() {
            Kind::Number | Kind::Bool => Some(value.as_str().into()),
            _ => value.to_text(),
        });
        let name = set
            .as_deref()
            .and_then(|set| set.strip_prefix("message.headers."));
        match (name, value) {
            (Some(name), Some(value)) if crate::project::is_header(name, &value) => {
                headers.push((name.into(), value));
            }
            _ => {
                return Err(Failure::bad(
                    "'set-variable' can set headers only: 'message.headers.NAME' to a text that can be sent.",
                ));
            }
        }
    }
    Ok(())
}

impl Assembly {
    /// Source: `parseBackends` and `parseRequestMapping` (`swagger.lua`).
    fn read(configuration: &Object, own: &str) -> Result<Self> {
        let mut assembly = Self::default();
        let all = configuration.get("assembly").and_then(Json::to_object);
        for (step, says) in steps(&all.unwrap_or_default()) {
            match &*step {
                "operation-switch" => {
                    let cases = says.member("case").and_then(|cases| cases.to_array());
                    for case in cases.unwrap_or_default() {
                        assembly.case(&case.to_object().unwrap_or_default(), own)?;
                    }
                }
                "invoke" => assembly.of_all = Some(Backend::read(&says, Headers::new(), own)?),
                "set-variable" => set_headers(&says, &mut assembly.headers)?,
                _ => {}
            }
        }
        Ok(assembly)
    }

    fn case(&mut self, case: &Object, own: &str) -> Result<()> {
        let (mut invoke, mut headers) = (None, Headers::new());
        for (step, says) in steps(case) {
            match &*step {
                "invoke" => invoke = Some(says),
                "set-variable" => set_headers(&says, &mut headers)?,
                _ => {}
            }
        }
        let Some(invoke) = invoke else {
            return Ok(());
        };
        let operations = case.get("operations").and_then(Json::to_array);
        for operation in operations.unwrap_or_default() {
            if let Some(id) = operation.to_text() {
                self.operations.insert(id, self.backends.len());
            }
        }
        self.backends.push(Backend::read(&invoke, headers, own)?);
        Ok(())
    }

    /// The operations of a path. Source of what is refused: `validateFinalSwagger` (`apigw-utils.js`), `checkOperations`
    /// (`validation.lua`).
    fn route(&self, path: &str, item: &Json, own: &str) -> Result<Route> {
        let inner = path::check(path)?;
        let item = item.to_object().unwrap_or_default();
        let is_literal = path::parameters(inner).next().is_none();
        let mut operations: Vec<(&'static str, Arc<Target>)> = Vec::new();
        for (name, operation) in item.iter() {
            if BESIDE.contains(&name) || name.starts_with("x-") {
                continue;
            }
            let verb = verb(name).ok_or_else(|| {
                refused_by_gateway(format!("Resource verb '{}' not supported.", shown(name)))
            })?;
            let operation = operation.to_object().unwrap_or_default();
            if !is_literal {
                self.check_parameters(path, &item, &operation)?;
            }
            let target = self.target(&operation, own).ok_or_else(|| {
                Failure::bad(format!(
                    "There is no target for the operation '{name}' of the path '{path}': it must be the URL of a web action, .../api/v1/web/NAMESPACE/PACKAGE/ACTION.EXTENSION."
                ))
            })?;
            if operations.iter().any(|(other, _)| *other == verb) {
                return Err(Failure::bad(format!(
                    "The operation '{name}' of the path '{path}' is there twice."
                )));
            }
            operations.push((verb, target));
        }
        if operations.is_empty() {
            return Err(refused_by_gateway(
                "Missing or empty field 'operations' or in resource path object.",
            ));
        }
        Ok(Route {
            count: inner
                .split('/')
                .filter(|segment| !segment.is_empty())
                .count(),
            path: inner.into(),
            is_literal,
            operations,
        })
    }

    /// Where the calls of an operation go by the configuration.
    fn backend(&self, operation: &Object) -> Option<&Backend> {
        let id = operation.get("operationId").and_then(Json::to_text);
        let own = id.and_then(|id| self.operations.get(&id));
        match own {
            Some(own) => self.backends.get(*own),
            None => self.of_all.as_ref(),
        }
    }

    /// The action of an operation: where its configuration sends it, else the one that it names.
    fn target(&self, operation: &Object, own: &str) -> Option<Arc<Target>> {
        if let Some(backend) = self.backend(operation) {
            return backend.target.clone();
        }
        let url = operation.get(ACTION)?.member("url")?.to_text()?;
        let mut target = Target::read(&url, own)?;
        // As it is where both are made.
        target.whole_path |= target.extension() == Extension::Http;
        Some(Arc::new(target))
    }

    /// An operation of a path with parameters names each, and its action is told them.
    fn check_parameters(&self, path: &str, item: &Object, operation: &Object) -> Result<()> {
        let named = operation.get(ACTION).and_then(|named| named.member("url"));
        let named = named.and_then(|url| url.to_text());
        if named.is_some_and(|url| !url.is_empty() && !url.ends_with(".http")) {
            return Err(refused(
                "The action must use a response type of '.http' in order to receive the path parameters.",
            ));
        }
        if let Some(backend) = self.backend(operation)
            && !backend.url.ends_with(&format!(".http{WHOLE_PATH}"))
        {
            let id = operation.get("operationId").and_then(Json::to_text);
            let id = id.unwrap_or_default();
            return Err(refused(format!(
                "The target-url for operationId '{}' must end in '{WHOLE_PATH}' in order for actions to receive the path parameters.",
                shown(&id)
            )));
        }
        let of = |object: &Object| {
            let all = object.get("parameters").and_then(Json::to_array);
            let all = all.unwrap_or_default().into_iter();
            all.filter_map(|parameter| parameter.member("name")?.to_text())
        };
        let known: HashSet<String> = of(item).chain(of(operation)).collect();
        match path::parameters(path).find(|name| !known.contains(*name)) {
            None => Ok(()),
            Some(name) => Err(refused(format!(
                "The parameter '{name}' defined in path '{path}' does not match any of the parameters defined for the path in the swagger file."
            ))),
        }
    }
}
