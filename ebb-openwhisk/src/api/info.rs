//! What the platform says about itself.

use super::{Context, Controller, method, require_method, respond};
use crate::failure::{Failure, Result};
use crate::http::{Request, Response};
use crate::json::{Json, Members};
use crate::limits::{CONCURRENCY, LOGS, MEMORY, SEQUENCE, TIMEOUT};
use crate::plan::Step;

const DESCRIPTION: &str = "ebb invoker: Apache OpenWhisk's API on a library operating system";

/// The paths, with the methods of each.
const PATHS: &[(&str, &[&str])] = &[
    ("/namespaces", &["get"]),
    ("/namespaces/{namespace}/actions", &["get"]),
    (
        "/namespaces/{namespace}/actions/{actionName}",
        &["get", "put", "delete", "post"],
    ),
    (
        "/namespaces/{namespace}/actions/{packageName}/{actionName}",
        &["get", "put", "delete", "post"],
    ),
    ("/namespaces/{namespace}/packages", &["get"]),
    (
        "/namespaces/{namespace}/packages/{packageName}",
        &["get", "put", "delete"],
    ),
    ("/namespaces/{namespace}/triggers", &["get"]),
    (
        "/namespaces/{namespace}/triggers/{triggerName}",
        &["get", "put", "delete", "post"],
    ),
    ("/namespaces/{namespace}/rules", &["get"]),
    (
        "/namespaces/{namespace}/rules/{ruleName}",
        &["get", "put", "delete", "post"],
    ),
    ("/namespaces/{namespace}/activations", &["get"]),
    (
        "/namespaces/{namespace}/activations/{activationid}",
        &["get"],
    ),
    (
        "/namespaces/{namespace}/activations/{activationid}/logs",
        &["get"],
    ),
    (
        "/namespaces/{namespace}/activations/{activationid}/result",
        &["get"],
    ),
    ("/namespaces/{namespace}/limits", &["get"]),
    (
        "/web/{namespace}/{packageName}/{actionName}.{extension}",
        &["get", "put", "delete", "post", "head", "options"],
    ),
];

/// `GET /api/v1`.
pub fn api() -> Json {
    let paths = Members::new()
        .text("ui", "/docs")
        .text("api-docs", "/api-docs")
        .finish();
    Members::new()
        .text("description", "OpenWhisk API")
        .text("api_version", "1.0.0")
        .text("api_version_path", "v1")
        .text("build", concat!("ebb ", env!("CARGO_PKG_VERSION")))
        .text("buildno", env!("CARGO_PKG_VERSION"))
        .raw("swagger_paths", paths.as_str())
        .finish()
}

/// `GET /api/v1/api-docs`.
pub fn swagger() -> Json {
    let mut paths = Members::new();
    let answer = Members::new()
        .raw(
            "responses",
            Members::new()
                .raw(
                    "default",
                    Members::new()
                        .text("description", "as OpenWhisk's")
                        .finish()
                        .as_str(),
                )
                .finish()
                .as_str(),
        )
        .finish();
    for (path, methods) in PATHS {
        let mut operations = Members::new();
        for method in *methods {
            operations.raw(method, answer.as_str());
        }
        paths.raw(path, operations.finish().as_str());
    }
    let info = Members::new()
        .text("title", "OpenWhisk REST API")
        .text("description", DESCRIPTION)
        .text("version", "0.1.0")
        .finish();
    Members::new()
        .text("swagger", "2.0")
        .raw("info", info.as_str())
        .text("basePath", "/api/v1")
        .raw(
            "securityDefinitions",
            "{\"basicAuth\":{\"type\":\"basic\"}}",
        )
        .raw("paths", paths.finish().as_str())
        .finish()
}

impl Controller {
    /// Everything outside of `/api/v1`.
    pub(super) fn information(&self, request: &Request<'_>, path: &[&str]) -> Result<Step> {
        match path {
            [] => {
                require_method(request, &["GET"])?;
                Ok(respond(200, &self.about()))
            }
            ["ping"] => {
                require_method(request, &["GET"])?;
                Ok(Step::Respond(Response::new(
                    200,
                    "text/plain; charset=utf-8",
                    "pong",
                )))
            }
            ["docs"] => Ok(Step::Respond(
                Response::empty(302).with("Location", "/api/v1/api-docs"),
            )),
            ["api"] if method(request) == "GET" => Ok(respond(200, &self.about())),
            _ => Err(Failure::no_path()),
        }
    }

    /// `GET /` for programs.
    fn about(&self) -> Json {
        let namespace = self.namespaces.defaults();
        let (mb, timeout) = (1i128 << 20, &TIMEOUT);
        let limits = Members::new()
            .number("actions_per_minute", namespace.calls_per_minute)
            .number("triggers_per_minute", namespace.fires_per_minute)
            .number("concurrent_actions", namespace.concurrent_calls)
            .number("sequence_length", SEQUENCE as u64)
            .number("min_action_duration", timeout.least)
            .number("max_action_duration", timeout.most)
            .number("default_min_action_duration", timeout.least)
            .number("default_max_action_duration", timeout.most)
            .number("min_action_memory", i128::from(MEMORY.least) * mb)
            .number("max_action_memory", i128::from(MEMORY.most) * mb)
            .number("default_min_action_memory", i128::from(MEMORY.least) * mb)
            .number("default_max_action_memory", i128::from(MEMORY.most) * mb)
            .number("min_action_logs", i128::from(LOGS.least) * mb)
            .number("max_action_logs", i128::from(LOGS.most) * mb)
            .number("default_min_action_logs", i128::from(LOGS.least) * mb)
            .number("default_max_action_logs", i128::from(LOGS.most) * mb)
            .finish();
        Members::new()
            .text("description", DESCRIPTION)
            .raw("support", "{}")
            .raw("api_paths", "[\"/api/v1\"]")
            .raw("runtimes", self.runtimes.to_json().as_str())
            .raw("limits", limits.as_str())
            .finish()
    }

    /// `GET .../limits`.
    pub(super) fn limits(&self, cx: &Context<'_>, path: &[&str]) -> Result<Step> {
        cx.require_own(None)?;
        if method(cx.request) != "GET" {
            return Err(Failure::method("GET"));
        }
        if !path.is_empty() {
            let text = "Inner entity level routes for limits are not yet implemented.";
            return Err(Failure::bad(text));
        }
        let namespace = self.namespaces.limits(&cx.namespace);
        let mut members = Members::new();
        namespace.kinds.tell(&mut members);
        let json = members
            .number("invocationsPerMinute", namespace.calls_per_minute)
            .number("concurrentInvocations", namespace.concurrent_calls)
            .number("firesPerMinute", namespace.fires_per_minute)
            .number("minActionMemory", MEMORY.least)
            .number("maxActionMemory", namespace.action_memory_mb)
            .number("minActionLogs", LOGS.least)
            .number("maxActionLogs", LOGS.most)
            .number("minActionTimeout", TIMEOUT.least)
            .number("maxActionTimeout", TIMEOUT.most)
            .number("minActionConcurrency", CONCURRENCY.least)
            .number("maxActionConcurrency", CONCURRENCY.most)
            .number("maxParameterSize", crate::limits::PARAMETERS as u64)
            .number("memory", namespace.memory_mb)
            .number("maxActionCode", namespace.code_mb)
            .number("storage", namespace.storage_mb)
            .number("weight", namespace.weight)
            .finish();
        Ok(respond(200, &json))
    }
}
