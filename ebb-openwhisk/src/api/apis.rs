//! The web actions `/whisk.system/apimgmt/{createApi,getApi,deleteApi}`, by which clients (`wsk api`, `routes` of the npm package) make APIs,
//! see them and take them away. They need no instance, and no record is made of their calls.
//!
//! Sources: `createApi.js`, `getApi.js`, `deleteApi.js` and `apigw-utils.js` of apache/openwhisk (`core/routemgmt`). What they refuse is an
//! error of an action, with the status 502; what only this platform refuses has a status of its own.
//!
//! What must hold: a request concerns the APIs of the namespace whose key it shows, and no others. The token and the space of the gateway,
//! which clients send besides (`accesstoken`, `spaceguid`), open nothing.

use super::web::{METHODS, arguments, encoded};
use super::{Controller, respond};
use crate::activation::Outcome;
use crate::entity::{Api, Entity};
use crate::failure::{Failure, Result};
use crate::gateway::document::{self, Endpoint};
use crate::gateway::{path::shown, refused};
use crate::http::{Request, Response};
use crate::json::{Json, Kind, Members, Object};
use crate::limits;
use crate::namespaces::Subject;
use crate::plan::Step;
use crate::project::{self, Extension};
use crate::query::{Page, Query};
use crate::system;
use alloc::{format, string::String, sync::Arc, vec::Vec};

/// The package of these actions.
const PACKAGE: &str = "apimgmt";
/// The largest answer in bytes.
const ANSWER: usize = 4 << 20;

/// Each of the actions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Action {
    Create,
    Get,
    Delete,
}

impl Action {
    /// The action that a path below `/api/v1/web` names, and what is asked for of its result.
    pub(super) fn of(path: &[&str]) -> Option<(Self, Extension)> {
        let [system::NAMESPACE, PACKAGE, last, ..] = path else {
            return None;
        };
        let (name, extension) = Extension::split(last);
        let action = match name {
            "createApi" => Self::Create,
            "getApi" => Self::Get,
            "deleteApi" => Self::Delete,
            _ => return None,
        };
        Some((action, extension))
    }
}

/// The host, with a port perhaps, that a header names.
fn is_authority(text: &str) -> bool {
    let is_legal = |byte: u8| byte.is_ascii_alphanumeric() || b".-_:[]".contains(&byte);
    !text.is_empty() && text.bytes().all(is_legal)
}

/// A member that JavaScript would call true.
fn given<'o>(object: &'o Object, name: &str) -> Option<&'o Json> {
    object.get(name).filter(|value| value.is_truthy())
}

/// A text that has to be there.
fn text(object: &Object, name: &str, missing: &str) -> Result<String> {
    let value = given(object, name).ok_or_else(|| refused(missing))?;
    let text = value.to_text();
    text.ok_or_else(|| Failure::bad(format!("{name} must be a string.")))
}

/// What JavaScript's `typeof` says of what is neither an object nor a text.
fn type_of(value: &Json) -> &'static str {
    match value.kind() {
        Kind::Bool => "boolean",
        Kind::Number => "number",
        Kind::Text => "string",
        Kind::Null | Kind::Array | Kind::Object => "object",
    }
}

/// An object, or its text.
fn object_or_text(value: &Json, malformed: &str, wrong: impl Fn(&str) -> String) -> Result<Json> {
    match value.kind() {
        Kind::Object | Kind::Array => Ok(value.clone()),
        Kind::Text => {
            let text = value.to_text().unwrap_or_default();
            Json::parse(&text).map_err(|_| refused(malformed))
        }
        _ => Err(refused(wrong(type_of(value)))),
    }
}

/// A refusal that says what it was about.
fn about(what: &'static str) -> impl Fn(Failure) -> Failure {
    move |failure| match failure.status {
        502 => refused(format!("{what}: {}", failure.text)),
        _ => failure,
    }
}

impl Controller {
    /// The namespace whose APIs an action is about.
    ///
    /// # Errors
    /// 502: no key was shown, or a wrong one.
    pub(super) fn may_manage(&mut self, request: &Request<'_>, action: Action) -> Result<Subject> {
        let subject = self.authenticated(request);
        subject.ok_or_else(|| {
            refused(match action {
                Action::Create => "A valid auth key is required.",
                Action::Get | Action::Delete => "Invalid authentication.",
            })
        })
    }

    pub(super) fn manage_apis(
        &mut self,
        request: &Request<'_>,
        action: Action,
        extension: Extension,
        now_ms: u64,
    ) -> Result<Step> {
        if !METHODS.contains(&request.method) {
            return Err(Failure::method(&METHODS.join(", ")));
        }
        if request.method == "OPTIONS" {
            return Ok(Step::Respond(Response::empty(200)));
        }
        let subject = self.may_manage(request, action)?;
        let (size, most) = (request.body.len(), limits::PAYLOAD);
        if size > most {
            return Err(Failure::too_large("Request", size, most));
        }
        let parameters = arguments(request)?;
        self.check_space(&subject, &parameters)?;
        let namespace = &subject.namespace;
        let result = match action {
            Action::Create => self.create_api(request, namespace, &parameters, now_ms)?,
            Action::Get => self.get_apis(request, namespace, &parameters)?,
            Action::Delete => self.delete_api(namespace, &parameters, now_ms)?,
        };
        if extension == Extension::Http {
            return Ok(respond(200, &result));
        }
        let outcome = Outcome::success(
            Members::new()
                .number("statusCode", 200)
                .raw("headers", r#"{"Content-Type":"application/json"}"#)
                .raw("body", result.as_str())
                .finish(),
        );
        project::respond(extension, &outcome).map(Step::Respond)
    }

    /// Refuses the space of another namespace, by which OpenWhisk's gateway would know it. One that is nobody's is as good as none: the
    /// key says whose APIs these are.
    fn check_space(&self, subject: &Subject, parameters: &Object) -> Result<()> {
        let space = given(parameters, "spaceguid").and_then(Json::to_text);
        let Some(space) = space else {
            return Ok(());
        };
        match self.namespaces.of_uuid(&space) {
            Some(owner) if *owner.name() != subject.namespace => Err(Failure::forbidden(&space)),
            _ => Ok(()),
        }
    }

    fn create_api(
        &mut self,
        request: &Request<'_>,
        namespace: &Arc<str>,
        parameters: &Object,
        now_ms: u64,
    ) -> Result<Json> {
        let apidoc = given(parameters, "apidoc").ok_or_else(|| refused("apidoc is required."))?;
        let apidoc = object_or_text(
            apidoc,
            "apidoc field cannot be parsed. Ensure it is valid JSON.",
            |given| {
                format!(
                    "apidoc field is of type {given} and should be a JSON object or a JSON string."
                )
            },
        )?;
        let apidoc = apidoc.to_object().unwrap_or_default();
        if given(&apidoc, "namespace").is_none() {
            return Err(refused("apidoc is missing the namespace field"));
        }
        let (old, described) = match given(&apidoc, "swagger") {
            Some(swagger) => self.described(namespace, &apidoc, swagger)?,
            None => self.with_endpoint(namespace, &apidoc, parameters)?,
        };
        let api = Api::new(namespace, described, old.as_deref(), now_ms);
        let api = Arc::new(api.map_err(about("API creation failure"))?);
        self.insert(Entity::Api(Arc::clone(&api)))?;
        Ok(self.shown_api(&api, &self.api_host_of(request)))
    }

    /// The document that a client sends as a whole, and the API whose place it takes.
    fn described(
        &self,
        namespace: &str,
        apidoc: &Object,
        swagger: &Json,
    ) -> Result<(Option<Arc<Api>>, Json)> {
        if given(apidoc, "gatewayBasePath").is_some() {
            return Err(refused(
                "swagger and gatewayBasePath are mutually exclusive and cannot be specified together.",
            ));
        }
        let swagger = object_or_text(
            swagger,
            "swagger field cannot be parsed. Ensure it is valid JSON.",
            |given| format!("swagger field is {given} and should be an object or a JSON string."),
        )?;
        let object = swagger.to_object().unwrap_or_default();
        for name in ["basePath", "paths", "info"] {
            if given(&object, name).is_none() {
                return Err(refused(format!("swagger is missing the {name} field.")));
            }
        }
        let base = text(&object, "basePath", "")?;
        let old = match base.starts_with('/') {
            true => self
                .api_at(namespace, &base)
                .map_err(about("API creation failure"))?,
            // What comes of it is a refusal.
            false => None,
        };
        Ok((old, swagger))
    }

    /// The document of the API that a client adds an operation to, with that.
    fn with_endpoint(
        &self,
        namespace: &Arc<str>,
        apidoc: &Object,
        parameters: &Object,
    ) -> Result<(Option<Arc<Api>>, Json)> {
        let member =
            |name: &str| text(apidoc, name, &format!("apidoc is missing the {name} field"));
        let base = member("gatewayBasePath")?;
        let (path, verb) = (member("gatewayPath")?, member("gatewayMethod")?);
        let action = given(apidoc, "action");
        let action = action.ok_or_else(|| refused("apidoc is missing the action field."))?;
        let action = action.to_object().unwrap_or_default();
        let missing = |name: &str| format!("action is missing the {name} field.");
        if given(&action, "backendMethod").is_none() {
            return Err(refused(missing("backendMethod")));
        }
        let member = |name: &str| text(&action, name, &missing(name));
        let url = member("backendUrl")?;
        let (of, name) = (member("namespace")?, member("name")?);
        if given(&action, "authkey").is_none() {
            return Err(refused(missing("authkey")));
        }
        let extension = match given(parameters, "responsetype").and_then(Json::to_text) {
            None => Extension::Json,
            Some(given) => Extension::parse(&given).ok_or_else(|| {
                Failure::bad("The response type must be one of html, http, json, text and svg.")
            })?,
        };
        // Where there is none, it cannot be the URL of an action.
        let host = url.find("/api/v1/web/").map_or("", |at| &url[..at]);
        let (package, name) = action_name(&name);
        let endpoint = Endpoint {
            path,
            verb,
            host: host.into(),
            namespace: match &*of {
                "_" => String::from(&**namespace),
                _ => of,
            },
            package: package.into(),
            action: name.into(),
            extension,
            parameters: given(apidoc, "pathParameters").cloned(),
            secret: given(&action, "secureKey").cloned(),
        };
        let old = self
            .api_of(namespace, &base)
            .map_err(about("API creation failure"))?;
        if old.is_none() && !base.starts_with('/') {
            return Err(Failure::bad(
                "The base path must begin with '/', or be the name of an API that there is.",
            ));
        }
        let title = given(apidoc, "apiName").and_then(Json::to_text);
        let known = old.as_ref().and_then(|old| old.document.to_object());
        let mut described =
            known.unwrap_or_else(|| document::empty(&base, title.as_deref().unwrap_or(&base)));
        document::add(&mut described, &endpoint);
        Ok((old, described.to_json()))
    }

    /// The API at a base path.
    ///
    /// # Errors
    /// 400 and 502: that is none.
    fn api_at(&self, namespace: &str, base: &str) -> Result<Option<Arc<Api>>> {
        Ok(match self.store.get(&Api::name(namespace, base)?) {
            Some(Entity::Api(api)) => Some(Arc::clone(api)),
            _ => None,
        })
    }

    /// The API at a base path, or the first of that name.
    fn api_of(&self, namespace: &str, base_or_title: &str) -> Result<Option<Arc<Api>>> {
        if base_or_title.starts_with('/') {
            return self.api_at(namespace, base_or_title);
        }
        let mut all = self.store.apis(namespace);
        Ok(all.find(|api| api.title == base_or_title).cloned())
    }

    /// All APIs, or those that a base path, a name, a path or an operation are of.
    fn get_apis(
        &self,
        request: &Request<'_>,
        namespace: &str,
        parameters: &Object,
    ) -> Result<Json> {
        let said = |name: &str| given(parameters, name).and_then(Json::to_text);
        let is_format = |format: &String| {
            ["apigw", "swagger"]
                .iter()
                .any(|known| format.eq_ignore_ascii_case(known))
        };
        if said("outputFormat").is_some_and(|format| !is_format(&format)) {
            return Err(refused(
                "Invalid outputFormat value. Valid values are: apigw, swagger",
            ));
        }
        let base = said("basepath");
        let all: Vec<Arc<Api>> = match base.as_deref() {
            // There is none at what is no path.
            Some(base) if base.starts_with('/') => self
                .api_at(namespace, base)
                .ok()
                .flatten()
                .into_iter()
                .collect(),
            Some(title) => {
                let all = self.store.apis(namespace);
                all.filter(|api| api.title == title).cloned().collect()
            }
            None => self.store.apis(namespace).cloned().collect(),
        };
        let (path, operation) = (said("relpath"), said("operation"));
        let all = all.iter().filter(|api| {
            path.as_deref()
                .is_none_or(|path| api.routes.has(path, operation.as_deref()))
        });
        let query = Query::parse(request.query);
        let page = match query.get("limit").or(query.get("skip")) {
            Some(_) => Some(Page::parse(&query, "apis")?),
            None => None,
        };
        let (skip, limit) = page.map_or((0, usize::MAX), |page| (page.skip, page.limit));
        let host = self.api_host_of(request);
        let mut shown = Vec::new();
        let mut bytes = 0;
        for api in all.skip(skip).take(limit) {
            bytes += api.document.as_str().len();
            if bytes > ANSWER {
                return Err(Failure::new(
                    413,
                    format!(
                        "The APIs are larger than an answer may be: > {ANSWER} bytes. Ask for some of them, with limit and skip."
                    ),
                ));
            }
            let value = self.shown_api(api, &host);
            let mut members = Members::new();
            members.text("id", UNUSED).text("key", UNUSED);
            shown.push(members.raw("value", value.as_str()).finish());
        }
        let all = Json::array(shown);
        Ok(Members::new().raw("apis", all.as_str()).finish())
    }

    fn delete_api(&mut self, namespace: &str, parameters: &Object, now_ms: u64) -> Result<Json> {
        let said = |name: &str| given(parameters, name).and_then(Json::to_text);
        let base = text(parameters, "basepath", "basepath is required.")?;
        let (path, operation) = (said("relpath"), said("operation"));
        if path.is_none() && operation.is_some() {
            return Err(refused(
                "When specifying an operation, the path is required.",
            ));
        }
        let failure = about("API deletion failure");
        let api = self.api_of(namespace, &base).ok().flatten();
        let api =
            api.ok_or_else(|| failure(refused(format!("API '{}' does not exist.", shown(&base)))))?;
        let left = match path {
            None => None,
            Some(path) => {
                let mut left = api.document.to_object().unwrap_or_default();
                let removed = document::remove(&mut left, &path, operation.as_deref());
                removed.map_err(&failure)?.then_some(left)
            }
        };
        match left {
            Some(left) => {
                let left = Api::new(namespace, left.to_json(), Some(&*api), now_ms);
                self.insert(Entity::Api(Arc::new(left.map_err(failure)?)))?;
            }
            None => {
                self.store.remove(&api.common.name);
            }
        }
        Ok(Object::new().to_json())
    }

    /// Where clients reach this platform: as this one does, else as actions do.
    fn api_host_of(&self, request: &Request<'_>) -> String {
        let known = self
            .api_host
            .as_deref()
            .and_then(|host| host.split_once("://"));
        let said = request.header("host").filter(|host| is_authority(host));
        let Some(host) = said.or(known.map(|(_, host)| host)) else {
            return String::new();
        };
        // What stands before the platform, and has a certificate where that has none, says so.
        let before = request.header("x-forwarded-proto");
        let before = before.filter(|scheme| ["http", "https"].contains(scheme));
        let scheme = before.or(known.map(|(scheme, _)| scheme)).unwrap_or("http");
        format!("{scheme}://{host}")
    }

    /// An API as clients are told of it. Source: `generateCliApiFromGwApi` (`apigw-utils.js`), `addAPI` (`apis.lua`).
    fn shown_api(&self, api: &Api, host: &str) -> Json {
        let namespace = &*api.common.name.namespace;
        // By its name, which stays when its key does not.
        let tenant = match (namespace, self.namespaces.get(namespace)) {
            // Below that are the collections.
            ("v1", Some(namespace)) => namespace.uuid(),
            (name, _) => name,
        };
        let base = encoded(api.base.trim_end_matches('/'));
        let url = format!("{host}/api/{}{base}", encoded(tenant));
        Members::new()
            .text("namespace", UNUSED)
            .bool("gwApiActivated", true)
            .text("tenantId", UNUSED)
            .text("gwApiUrl", &url)
            .raw("apidoc", api.document.as_str())
            .finish()
    }
}

/// What OpenWhisk's actions say in the place of what clients of the gateway before had.
const UNUSED: &str = "Not Used";

/// The package and the name of an action: `[[/NAMESPACE/]PACKAGE/]NAME`. Source: `parseActionName` (`apigw-utils.js`).
fn action_name(name: &str) -> (&str, &str) {
    let mut parts = name.trim_start_matches('/').rsplit('/');
    let last = parts.next().unwrap_or_default();
    (parts.next().unwrap_or_default(), last)
}
