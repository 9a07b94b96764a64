//! The REST API: from a request to a response, or to a plan of what has to be run.

mod actions;
mod activations;
mod admin;
mod alarms;
mod apis;
mod desk;
mod gateway;
mod info;
mod packages;
mod rules;
mod triggers;
mod web;

pub use desk::Desk;

use crate::activation::Activation;
use crate::activations::{Activations, Budget};
use crate::call::{Call, Caller};
use crate::entity::{Entity, Exec, Put, Resolved, Store, absent::Sought};
use crate::failure::{Failure, Result};
use crate::http::{Cors, Request, Response};
use crate::json::{Json, Members};
use crate::limits::{MEMORY, NamespaceLimits};
use crate::name::{self, FullName};
use crate::namespaces::{Entropy, Hash, Namespaces, Subject};
use crate::plan::{Body, Composition, Plan, Reply, Sequence, Shape, Stamp, Step};
use crate::query::{Page, Query, segments};
use crate::runtimes::Runtimes;
use crate::throttle::{Admission, Throttle};
use crate::{random::Random, system};
use alloc::{boxed::Box, format, string::String, sync::Arc, vec::Vec};
use base64::Engine;

const CORS_METHODS: &str = "GET, DELETE, POST, PUT, HEAD";
const COLLECTIONS: [&str; 6] = [
    "actions",
    "packages",
    "triggers",
    "rules",
    "activations",
    "limits",
];

/// How a platform is set up.
#[derive(Clone, Debug)]
pub struct Config {
    /// Who may use it from the start.
    pub subjects: Vec<Subject>,
    /// The key, `uuid:key`, with which namespaces are managed ([`/admin`](crate::api)); `None`: they are not.
    pub admin: Option<String>,
    /// The kinds of code that it runs.
    pub runtimes: Runtimes,
    /// What each of them may do unless something else is said.
    pub limits: NamespaceLimits,
    /// Bytes for entities.
    pub entity_bytes: usize,
    /// How much of records is kept.
    pub records: Budget,
    /// For ids.
    pub seed: [u8; 32],
    /// For keys.
    pub entropy: Entropy,
}

/// The state of a platform, and what its API does with it. One at a time uses it; nothing takes long.
#[derive(Debug)]
pub struct Controller {
    runtimes: Runtimes,
    namespaces: Namespaces,
    admin: Option<Hash>,
    store: Store,
    activations: Activations,
    throttle: Throttle,
    random: Random,
    /// Where actions reach this API.
    api_host: Option<String>,
    /// How often that was said.
    hosts: u64,
    /// What the desks know is of this [generation](Self::generation).
    known: u64,
}

/// An authorised request to one namespace.
struct Context<'r> {
    request: &'r Request<'r>,
    query: Query,
    caller: Caller,
    /// The namespace of the path.
    namespace: String,
    now_ms: u64,
}

impl Context<'_> {
    fn own(&self) -> &str {
        &self.caller.namespace
    }

    fn is_own(&self) -> bool {
        *self.namespace == *self.caller.namespace
    }

    /// Refuses another's namespace.
    fn require_own(&self, name: Option<&str>) -> Result<()> {
        if self.is_own() {
            return Ok(());
        }
        Err(Failure::forbidden(&match name {
            Some(name) => format!("{}/{name}", self.namespace),
            None => self.namespace.clone(),
        }))
    }

    /// The body, which has to be JSON.
    fn require_json(&self) -> Result<&[u8]> {
        let (request, is_json) = (self.request, self.request.is_json());
        if request.body.is_empty() && (is_json || request.header("content-type").is_none()) {
            return Err(Failure::bad("Request entity expected but not supplied"));
        }
        if is_json {
            return Ok(request.body);
        }
        Err(Failure::new(
            415,
            "The request's Content-Type is not supported. Expected:\napplication/json",
        ))
    }
}

/// What all answers to a request carry.
fn stamp(request: &Request<'_>, random: &mut Random) -> Stamp {
    let given = request
        .header("x-request-id")
        .filter(|id| !id.is_empty() && id.len() <= 128 && id.bytes().all(|b| b.is_ascii_graphic()));
    let transaction = given.map_or_else(|| random.id(), String::from);
    let cors = if request.path.starts_with("/api/v1/web/") {
        Some(web::cors(request))
    } else {
        let is_api = request.path.starts_with("/api/v1");
        is_api.then(|| Cors::new(CORS_METHODS))
    };
    Stamp {
        transaction,
        cors,
        gateway: None,
        accept: accept(request),
    }
}

/// What a request's headers `Accept` say, unless they take everything.
fn accept(request: &Request<'_>) -> Option<String> {
    let given = request.headers.iter();
    let given = given.filter(|(name, _)| name.eq_ignore_ascii_case("accept"));
    let mut all: Option<String> = None;
    for (_, value) in given {
        match &mut all {
            Some(all) => {
                all.push(',');
                all.push_str(value);
            }
            None if value.trim() == "*/*" => return None,
            None => all = Some((*value).into()),
        }
    }
    all
}

fn respond(status: u16, json: &Json) -> Step {
    Step::Respond(Response::json(status, json))
}

/// The answer to a list request.
fn list<'a>(
    entities: impl ExactSizeIterator<Item = &'a Entity>,
    page: Page,
    collection: &str,
) -> Step {
    if page.count {
        return count(page.count_of(entities.len()), collection);
    }
    respond(200, &Json::array(page.of(entities).map(Entity::summary)))
}

fn count(number: usize, collection: &str) -> Step {
    respond(
        200,
        &Members::new().number(collection, number as u64).finish(),
    )
}

impl Controller {
    /// A platform with nothing but `/whisk.system/utils`.
    pub fn new(config: Config) -> Self {
        let mut store = Store::new(config.entity_bytes);
        system::install(&mut store, &config.runtimes);
        let mut namespaces = Namespaces::new(config.limits.clone(), config.entropy);
        for subject in &config.subjects {
            let limits = config.limits.clone();
            namespaces.insert(&subject.namespace, &subject.key, limits, 0);
        }
        let admin = config.admin.as_ref();
        Self {
            store,
            activations: Activations::new(config.records),
            throttle: Throttle::default(),
            random: Random::new(config.seed),
            api_host: None,
            hosts: 0,
            known: 0,
            runtimes: config.runtimes,
            admin: admin.map(|key| Hash::of(key.as_bytes())),
            namespaces,
        }
    }

    /// Says where actions reach this API: their `__OW_API_HOST`, such as `http://127.0.0.1:3233`.
    pub fn set_api_host(&mut self, host: String) {
        self.api_host = Some(host);
        self.hosts += 1;
    }

    /// The kinds of code.
    pub fn runtimes(&self) -> &Runtimes {
        &self.runtimes
    }

    /// The namespaces that there are.
    pub fn namespaces(&self) -> &Namespaces {
        &self.namespaces
    }

    /// The namespaces, for what keeps them.
    pub fn namespaces_mut(&mut self) -> &mut Namespaces {
        &mut self.namespaces
    }

    /// Gives a namespace another key, `uuid:key`, as long as this platform runs.
    pub fn set_key(&mut self, namespace: &str, key: &str) {
        let known = self.namespaces.get(namespace);
        let since_ms = known.map_or(0, |known| known.since_ms);
        let limits = self.namespaces.limits(namespace).clone();
        self.namespaces.insert(namespace, key, limits, since_ms);
    }

    /// The entities, for what brings back kept ones.
    pub fn store_mut(&mut self) -> &mut Store {
        &mut self.store
    }

    /// The records, for what keeps them.
    pub fn activations_mut(&mut self) -> &mut Activations {
        &mut self.activations
    }

    /// The entities.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// The records.
    pub fn activations(&self) -> &Activations {
        &self.activations
    }

    /// The revisions of actions that were replaced or removed since this was asked the last time.
    pub fn take_ended(&mut self) -> hashbrown::HashSet<u64> {
        self.store.take_ended()
    }

    /// What was looked for since this was asked the last time, and is to come. What was done with what was found counts for
    /// nothing, and is done again when it is here.
    pub fn take_missed(&mut self) -> Vec<Sought> {
        let mut missed = self.store.take_missed();
        if self.activations.take_missed() {
            missed.push(Sought::Records);
        }
        missed
    }

    /// Whether any of what is sought is to come.
    pub fn lacks(&self, sought: &Sought) -> bool {
        match sought {
            Sought::Records => self.activations.expected() > 0,
            sought => self.store.lacks(sought),
        }
    }

    /// Keeps a record.
    pub fn keep(&mut self, record: Arc<Activation>) {
        self.activations.insert(record);
    }

    /// Calls that are running.
    pub fn running(&self) -> u32 {
        self.throttle.running()
    }

    /// A plan that was handed out by [`Controller::handle`] has been carried out.
    pub fn end(&mut self, admission: &Admission) {
        self.throttle.end(admission);
    }

    /// A new id: 32 hexadecimal digits.
    pub fn new_id(&mut self) -> String {
        self.random.id()
    }

    /// Whether a request's body is to be received, of which nothing is looked at: a caller without the right key or secret
    /// shall not hold memory for what it sends. Gives the namespace whose key was shown, `None` where none is needed.
    ///
    /// # Errors
    /// The answer.
    pub fn admit(
        &mut self,
        request: &Request<'_>,
    ) -> core::result::Result<Option<Arc<str>>, Response> {
        let mut stamp = stamp(request, &mut self.random);
        let sender = self.sender(request, &mut stamp);
        sender.map_err(|failure| stamp.on(Response::failure(&failure, &stamp.transaction)))
    }

    fn sender(&mut self, request: &Request<'_>, stamp: &mut Stamp) -> Result<Option<Arc<str>>> {
        let (path, _) = segments(request.path);
        let path: Vec<&str> = path.iter().map(AsRef::as_ref).collect();
        let subject = match path.as_slice() {
            ["api", "v1", "web", rest @ ..] => match apis::Action::of(rest) {
                Some((action, _)) => Some(self.may_manage(request, action)?),
                None => {
                    let target = self.web_target(request, rest, stamp)?;
                    self.admitted(request, &target)?
                }
            },
            ["api", "v1", rest @ ..] if !is_public(request, rest) => {
                Some(self.authenticate(request)?)
            }
            ["api", tenant, rest @ ..] if *tenant != "v1" => {
                self.gateway_sender(request, tenant, rest, stamp)?
            }
            ["admin", ..] => {
                self.authenticate_admin(request)?;
                None
            }
            _ => None,
        };
        Ok(subject.map(|subject| subject.namespace))
    }

    /// Handles a request; `now` in epoch milliseconds.
    pub fn handle(&mut self, request: &Request<'_>, now_ms: u64) -> Step {
        let mut stamp = stamp(request, &mut self.random);
        // What others have looked for is nothing to this one.
        self.take_missed();
        let step = self.route(request, &mut stamp, now_ms);
        let missed = self.take_missed();
        if !missed.is_empty() {
            return Step::Later(missed);
        }
        match step {
            Ok(Step::Respond(response)) => Step::Respond(stamp.on_success(response)),
            Ok(other) => other,
            Err(failure) => {
                let response = Response::failure(&failure, &stamp.transaction);
                Step::Respond(stamp.on(response))
            }
        }
    }

    fn route(&mut self, request: &Request<'_>, stamp: &mut Stamp, now_ms: u64) -> Result<Step> {
        let (path, slash) = segments(request.path);
        let path: Vec<&str> = path.iter().map(AsRef::as_ref).collect();
        let rest = match path.as_slice() {
            ["api", "v1", rest @ ..] => rest,
            ["api", tenant, rest @ ..] => {
                return self.gateway(request, tenant, rest, stamp, now_ms);
            }
            ["admin", rest @ ..] => return self.manage(request, rest, now_ms),
            other => return self.information(request, other),
        };
        if let ["web", rest @ ..] = rest {
            return match apis::Action::of(rest) {
                Some((action, extension)) => self.manage_apis(request, action, extension, now_ms),
                None => self.web(request, rest, stamp, now_ms),
            };
        }
        if is_public(request, rest) {
            return Ok(match rest {
                _ if request.method == "OPTIONS" => Step::Respond(Response::empty(200)),
                [] => respond(200, &info::api()),
                ["docs"] => {
                    Step::Respond(Response::empty(302).with("Location", "/api/v1/api-docs"))
                }
                _ => respond(200, &info::swagger()),
            });
        }
        let subject = self.authenticate(request)?;
        match rest {
            ["namespaces"] => {
                require_method(request, &["GET"])?;
                Ok(respond(200, &Json::array([Json::text(&subject.namespace)])))
            }
            ["namespaces", namespace, collection, rest @ ..]
                if COLLECTIONS.contains(collection) =>
            {
                let own = &subject.namespace;
                let namespace = if *namespace == "_" { own } else { *namespace };
                name::check_namespace(namespace)?;
                if slash && !may_end_in_slash(request, collection, rest) {
                    return Err(Failure::no_path());
                }
                let cx = Context {
                    request,
                    query: Query::parse(request.query),
                    namespace: namespace.into(),
                    caller: Caller {
                        namespace: subject.namespace.clone(),
                        key: Some(subject.key.clone()),
                        transaction: stamp.transaction.clone(),
                    },
                    now_ms,
                };
                match *collection {
                    "actions" => self.actions(&cx, rest, slash, stamp),
                    "packages" => self.packages(&cx, rest),
                    "triggers" => self.triggers(&cx, rest, stamp),
                    "rules" => self.rules(&cx, rest),
                    "activations" => self.list_activations(&cx, rest),
                    _ => self.limits(&cx, rest),
                }
            }
            _ => Err(Failure::no_path()),
        }
    }

    /// Who a request is from.
    fn authenticate(&mut self, request: &Request<'_>) -> Result<Subject> {
        let key = shown_key(request).ok_or_else(Failure::no_credentials)?;
        let subject = self.namespaces.authenticate(&key);
        subject.ok_or_else(Failure::unauthenticated)
    }

    fn authenticated(&mut self, request: &Request<'_>) -> Option<Subject> {
        self.namespaces.authenticate(&shown_key(request)?)
    }

    /// What a call of an action comes to.
    pub fn plan(
        &mut self,
        caller: &Caller,
        resolved: Resolved,
        body: Body,
        cause: Option<String>,
        received_ms: u64,
    ) -> Plan {
        if resolved.action.is_conductor() {
            return Plan::Composition(Box::new(Composition {
                activation: self.new_id(),
                conductor: resolved,
                body,
                caller: caller.clone(),
                cause,
                received_ms,
            }));
        }
        match resolved.action.exec {
            Exec::Sequence(_) => Plan::Sequence(Box::new(Sequence {
                activation: self.new_id(),
                action: resolved.action,
                binding: resolved.binding,
                body: body.to_json(),
                caller: caller.clone(),
                cause,
                received_ms,
            })),
            Exec::Code(_) | Exec::Feed(_) => Plan::Action(Box::new(self.call(
                caller,
                &resolved,
                body,
                cause,
                received_ms,
            ))),
        }
    }

    /// One call of an action that is no sequence, whatever its annotations make of it.
    pub fn call(
        &mut self,
        caller: &Caller,
        resolved: &Resolved,
        body: Body,
        cause: Option<String>,
        received_ms: u64,
    ) -> Call {
        let arguments = match body {
            Body::Object(object) => resolved.parameters.arguments(&object).to_json(),
            Body::Whole(whole) => whole,
        };
        let environment = self.environment(resolved);
        Call {
            activation: self.new_id(),
            action: resolved.action.clone(),
            environment,
            extra: Vec::new(),
            arguments,
            caller: caller.clone(),
            binding: resolved.binding.clone(),
            cause,
            received_ms,
            in_parts: false,
        }
    }

    /// The variables that init sets besides its own.
    fn environment(&self, resolved: &Resolved) -> Vec<(String, String)> {
        let host = self.api_host.iter().cloned();
        // Its certificate is for the outside, and rarely for the address that actions reach it at; it is the same machine.
        let is_tls = |host: &String| host.starts_with("https:");
        let ignore = self.api_host.as_ref().filter(|host| is_tls(host));
        let ignore = ignore.map(|_| (String::from("__OW_IGNORE_CERTS"), String::from("true")));
        host.map(|host| (String::from("__OW_API_HOST"), host))
            .chain(ignore)
            .chain(
                resolved
                    .parameters
                    .environment()
                    .map(|(name, value)| (name.into(), value)),
            )
            .collect()
    }

    /// Lets a call begin.
    fn begin(
        &mut self,
        plan: Plan,
        namespace: &Arc<str>,
        wait_ms: Option<u64>,
        shape: Shape,
        stamp: &Stamp,
        now_ms: u64,
    ) -> Result<Step> {
        self.require_nothing_missed()?;
        let admission = self.admit_call(&plan, namespace, now_ms)?;
        Ok(begun(plan, admission, wait_ms, shape, stamp))
    }

    /// Counts a call against the limits of its namespace.
    fn admit_call(&mut self, plan: &Plan, namespace: &Arc<str>, now_ms: u64) -> Result<Admission> {
        let admission = Admission {
            namespace: namespace.clone(),
            calls: 1,
            memory_mb: self.memory_mb(plan),
            argument_bytes: plan.bytes(),
        };
        let limits = self.namespaces.limits(namespace);
        let is_alone = self.namespaces.iter().len() == 1;
        self.throttle.begin(&admission, limits, is_alone, now_ms)?;
        Ok(admission)
    }

    /// Ends a request that has looked for what is to come, before it changes anything.
    fn require_nothing_missed(&self) -> Result<()> {
        match self.store.has_missed() {
            true => Err(Failure::new(503, "It is still being read; try again.")),
            false => Ok(()),
        }
    }

    /// MB that the limits of the calls of a plan come to at once.
    fn memory_mb(&self, plan: &Plan) -> u32 {
        match plan {
            Plan::Action(call) => call.action.limits.memory_mb,
            Plan::Composition(composition) => composition.conductor.action.limits.memory_mb,
            // One after the other.
            Plan::Sequence(sequence) => {
                let Exec::Sequence(components) = &sequence.action.exec else {
                    return MEMORY.default;
                };
                let resolved = components.iter().filter_map(|c| self.store.resolve(c).ok());
                let most = resolved.map(|r| r.action.limits.memory_mb).max();
                most.unwrap_or(MEMORY.default)
            }
            // Each of its calls counts by itself.
            Plan::Trigger(_) => 0,
        }
    }

    /// Puts an entity in place, if its namespace has room for it.
    fn insert(&mut self, entity: Entity) -> Result<()> {
        let name = &entity.common().name;
        let limit_mb = self.namespaces.limits(&name.namespace).storage_mb;
        if limit_mb == NamespaceLimits::default().storage_mb {
            return self.store.insert(entity);
        }
        let most = u64::from(limit_mb) << 20;
        let taken = self.store.exact_bytes_of(&name.namespace);
        let old = self.store.get(name).map_or(0, Entity::size);
        let bytes = taken - old + entity.size();
        // An update that takes less is let through even where there is no room.
        if bytes as u64 > most && bytes > taken {
            return Err(Failure::new(
                413,
                format!(
                    "The namespace's entities are larger than allowed: {bytes} > {most} bytes."
                ),
            ));
        }
        self.store.insert(entity)
    }

    /// Puts an action in place as if its owner had sent this document: for actions that a platform starts with.
    ///
    /// # Errors
    /// As the PUT.
    pub fn deploy(
        &mut self,
        namespace: &str,
        name: &str,
        document: &Json,
        now_ms: u64,
    ) -> Result<()> {
        let name = FullName::new(namespace, name);
        let put = Put::parse(document.as_str().as_bytes())?;
        if let (Some(Entity::Action(old)), Some(exec)) = (self.store.get(&name), put.get("exec"))
            && old.exec == Exec::parse(exec, namespace, None, &self.runtimes)?
        {
            return Ok(());
        }
        self.put_action(&name, &put, true, namespace, now_ms)
            .map(drop)
    }
}

/// What is to be run, and how its outcome becomes the response.
fn begun(
    plan: Plan,
    admission: Admission,
    wait_ms: Option<u64>,
    shape: Shape,
    stamp: &Stamp,
) -> Step {
    let reply = Reply {
        activation: plan.activation().into(),
        wait_ms,
        shape,
        admission,
        stamp: stamp.clone(),
    };
    Step::Invoke(plan, reply)
}

/// The key that a request shows.
fn shown_key(request: &Request<'_>) -> Option<Vec<u8>> {
    let (scheme, token) = request.header("authorization")?.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    base64::engine::general_purpose::STANDARD
        .decode(token.trim())
        .ok()
}

/// Whether a path below `/api/v1` is for everyone, with that method.
fn is_public(request: &Request<'_>, rest: &[&str]) -> bool {
    match rest {
        ["web", ..] => false,
        _ if request.method == "OPTIONS" => true,
        [] | ["docs" | "api-docs"] => method(request) == "GET",
        _ => false,
    }
}

/// Whether a slash may stand behind a path below a namespace: collections and records have one path with it and without, a package's
/// actions one with it, and nothing else has any. Source: `innerRoutes` (`Actions.scala`, `Activations.scala`).
fn may_end_in_slash(request: &Request<'_>, collection: &str, rest: &[&str]) -> bool {
    match (collection, rest) {
        (_, []) | ("limits", _) | ("activations", [_]) => true,
        ("actions", [_]) => method(request) == "GET",
        _ => false,
    }
}

fn require_method(request: &Request<'_>, allowed: &[&str]) -> Result<()> {
    let method = if request.method == "HEAD" {
        "GET"
    } else {
        request.method
    };
    if allowed.contains(&method) {
        Ok(())
    } else {
        Err(Failure::method(&allowed.join(", ")))
    }
}

/// The method, HEAD being a GET of whose body only the length is sent.
fn method<'r>(request: &Request<'r>) -> &'r str {
    if request.method == "HEAD" {
        "GET"
    } else {
        request.method
    }
}
