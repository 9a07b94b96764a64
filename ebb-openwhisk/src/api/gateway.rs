//! Requests to APIs: `/api/TENANT/BASE/PATH`, answered by the web actions that the APIs' documents name. A tenant is a namespace, by its
//! name or by the first part of its key.
//!
//! Source of what is found, refused and handed on: `scripts/lua` of apache/openwhisk-apigateway (`routing.lua`, `backendRouting.lua`,
//! `cors.lua`). The gateway asks the platform over HTTP; here both are one, so the action gets the same without a second request.

use super::Controller;
use super::web::{behind, cors, encoded};
use crate::entity::{Api, Entity};
use crate::failure::{Failure, Result};
use crate::gateway::{PACKAGE, path::names};
use crate::http::{GatewayCors, Request, Response};
use crate::name::FullName;
use crate::namespaces::Subject;
use crate::plan::{Stamp, Step};
use alloc::{string::String, sync::Arc};

/// Segments of a request's path that are not the API's: `api` and the tenant.
const BEFORE: usize = 2;

/// What serves a path.
struct Found {
    api: Arc<Api>,
    /// The number of the route.
    route: usize,
    /// How many segments of the path are its.
    count: usize,
    /// Its path has no parameters.
    is_literal: bool,
}

/// A request as the web action gets it.
struct Forwarded<'r> {
    request: Request<'r>,
    /// The action's path below `/api/v1/web`.
    action: [&'r str; 3],
    /// What it is told as the rest of its path.
    more: String,
}

impl Controller {
    /// What serves a path of a tenant's: the longest beginning of it that any API has an operation for, one without parameters before one
    /// with, and of the API with the longest base path.
    ///
    /// # Errors
    /// 404 of the gateway. Where a namespace has no API, it is as if there was none of that name.
    fn found(&self, tenant: &str, path: &[&str]) -> Result<Found> {
        let namespace = self.namespaces.of_tenant(tenant);
        let namespace = namespace.ok_or_else(Failure::no_path)?.name();
        let mut best: Option<Found> = None;
        for (base, name) in names(path) {
            let name = FullName::packaged(namespace, PACKAGE, &name);
            let Some(Entity::Api(api)) = self.store.get(&name) else {
                continue;
            };
            let Some((route, found)) = api.routes.find(&path[base..]) else {
                continue;
            };
            let (count, is_literal) = (base + found.count, found.is_literal);
            // What is at the very root is that alone.
            let is_served = count > 0 || path.is_empty();
            let rank = best.as_ref().map(|best| (best.count, best.is_literal));
            if is_served && rank.is_none_or(|rank| rank <= (count, is_literal)) {
                best = Some(Found {
                    api: Arc::clone(api),
                    route,
                    count,
                    is_literal,
                });
            }
        }
        best.ok_or_else(|| match self.store.apis(namespace).next() {
            Some(_) => Failure::of_gateway(404, "Not found."),
            None => Failure::no_path(),
        })
    }

    /// Hands a request on to `f` as its web action gets it; nothing, where the API answers by itself what a browser asks before a request to
    /// another origin.
    fn forward<R>(
        &mut self,
        request: &Request<'_>,
        tenant: &str,
        path: &[&str],
        stamp: &mut Stamp,
        f: impl FnOnce(&mut Self, &Forwarded<'_>, &mut Stamp) -> Result<R>,
    ) -> Result<Option<R>> {
        let found = self.found(tenant, path)?;
        let Found { api, count, .. } = &found;
        stamp.gateway = api.routes.cors.map(|enabled| GatewayCors {
            origin: enabled.then(|| request.header("origin").unwrap_or("*").into()),
        });
        if api.routes.cors == Some(true) && request.method == "OPTIONS" {
            return Ok(None);
        }
        let route = api.routes.get(found.route);
        let Some(target) = route.and_then(|route| route.target(request.method)) else {
            return Err(Failure::of_gateway(404, "Whoops. Verb not supported."));
        };
        let headers = api.routes.headers(request, target);
        let own = behind(request.path, BEFORE);
        let more = target.more_path(own, behind(own, *count));
        let forwarded = Forwarded {
            request: Request {
                method: target.verb.unwrap_or(request.method),
                headers: &headers,
                ..*request
            },
            action: target.action.each_ref().map(String::as_str),
            more: encoded(&more),
        };
        stamp.cors = Some(cors(request));
        f(self, &forwarded, stamp).map(Some)
    }

    /// As [`Controller::admit`] says.
    pub(super) fn gateway_sender(
        &mut self,
        request: &Request<'_>,
        tenant: &str,
        path: &[&str],
        stamp: &mut Stamp,
    ) -> Result<Option<Subject>> {
        let admitted = self.forward(request, tenant, path, stamp, |this, forwarded, stamp| {
            let target = this.web_target(&forwarded.request, &forwarded.action, stamp)?;
            this.admitted(&forwarded.request, &target)
        });
        Ok(admitted?.flatten())
    }

    pub(super) fn gateway(
        &mut self,
        request: &Request<'_>,
        tenant: &str,
        path: &[&str],
        stamp: &mut Stamp,
        now_ms: u64,
    ) -> Result<Step> {
        let step = self.forward(request, tenant, path, stamp, |this, forwarded, stamp| {
            let Forwarded {
                request,
                action,
                more,
            } = forwarded;
            this.call_web_action(request, action, more, stamp, now_ms)
        });
        Ok(step?.unwrap_or_else(|| {
            let asked = request.header("access-control-request-headers");
            let response = Response::empty(200);
            Step::Respond(match asked {
                Some(asked) => response.with("Access-Control-Allow-Headers", String::from(asked)),
                None => response,
            })
        }))
    }
}
