//! An invoker in classic mode: messages in, acknowledgements and records out.
//!
//! What must hold:
//! - A message that can be read ends in exactly one acknowledgement that frees its slot, whatever happens on the way: the action
//!   is gone, the database is, a call is lost, a task panics. (Only the bus itself can prevent it; then the controller frees the slot
//!   when its time is up, `CommonLoadBalancer.scala`.)
//! - A slot is free when the result is known and its acknowledgement on its way, however long that takes.
//! - The result comes before the completion, and both after what they are about.
//! - Nothing is taken from the topic beyond what may run at once.
//!
//! `acknowledging` says which acknowledgements there are.

use std::cell::RefCell;
use std::collections::{HashSet, VecDeque};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use ebb::time::Instant;
use ebb::{println, spawn, time};
use ebb_openwhisk::activation::{Outcome, Status};
use ebb_openwhisk::call::{Call, CallOutcome, Caller, Spent, Start};
use ebb_openwhisk::entity::{CONDUCTOR, PROVIDE_API_KEY};
use ebb_openwhisk::json::{Json, Kind, Members, Object};
use ebb_openwhisk::name::FullName;
use ebb_openwhisk::runtimes::Runtimes;

use crate::acknowledging::{Acknowledger, UnderWay};
use crate::cache::Cache;
use crate::counts::Counts;
use crate::document::{Runnable, Unusable, exceeded};
use crate::encryption::Keys;
use crate::message::activation::ActivationMessage;
use crate::message::event;
use crate::message::instance::InvokerId;
use crate::message::record::Record;
use crate::records::Records;
use crate::seam::{Bus, Engine, Feed, Store};

/// Which records are stored (`.../core/database/ActivationStoreLevel.scala`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum StoreLevel {
    /// All.
    #[default]
    Always,
    /// Those that are no successes.
    Failures,
    /// Those that are neither successes nor errors that the action made of itself.
    FailuresNotApplicationErrors,
}

impl StoreLevel {
    /// Reads a level of the configuration.
    ///
    /// # Errors
    /// With the words that there are.
    pub fn parse(text: &str) -> Result<Self, String> {
        match text.to_ascii_uppercase().as_str() {
            "STORE_ALWAYS" => Ok(Self::Always),
            "STORE_FAILURES" => Ok(Self::Failures),
            "STORE_FAILURES_NOT_APPLICATION_ERRORS" => Ok(Self::FailuresNotApplicationErrors),
            _ => Err(format!(
                "'{text}' is no level; there are STORE_ALWAYS, STORE_FAILURES, STORE_FAILURES_NOT_APPLICATION_ERRORS"
            )),
        }
    }

    fn stores(self, status: Status) -> bool {
        match self {
            Self::Always => true,
            Self::Failures => status != Status::Success,
            Self::FailuresNotApplicationErrors => {
                matches!(status, Status::DeveloperError | Status::InternalError)
            }
        }
    }
}

/// How the invoker is configured.
#[derive(Debug)]
pub struct Settings {
    /// Who it is.
    pub id: InvokerId,
    /// What all topics begin with.
    pub topic_prefix: String,
    /// The topic of events, if there are to be any.
    pub events: Option<String>,
    /// Which records of blocking activations are stored, and of others.
    pub store_levels: (StoreLevel, StoreLevel),
    /// Where functions reach the API: `__OW_API_HOST`.
    pub api_host: Option<String>,
    /// The keys of encrypted parameters.
    pub keys: Keys,
    /// Bytes of the cache of actions.
    pub cache_bytes: usize,
    /// How often the blocked namespaces are asked for.
    pub blocked_every: Duration,
}

impl Settings {
    /// Those of a configuration that says nothing.
    pub fn usual(id: InvokerId) -> Self {
        Self {
            id,
            topic_prefix: String::new(),
            events: None,
            store_levels: Default::default(),
            api_host: None,
            keys: Keys::default(),
            cache_bytes: 32 << 20,
            blocked_every: Duration::from_secs(300),
        }
    }

    /// Its topic.
    pub fn topic(&self) -> String {
        format!("{}{}", self.topic_prefix, self.id.source())
    }
}

/// Events that wait for the bus at most.
const EVENTS: usize = 10_000;
/// How often controllers hear of the invoker.
const PING: Duration = Duration::from_secs(1);
/// How often it is looked whether it was enabled or disabled.
const LOOK: Duration = Duration::from_millis(50);

/// An invoker. It lives on one core; calls run on all.
pub struct Invoker<B, S, E> {
    settings: Settings,
    cache: Cache<S>,
    records: Rc<Records<S>>,
    engine: E,
    blocked: RefCell<HashSet<String>>,
    /// Events that wait for the bus.
    events: RefCell<VecDeque<Json>>,
    counts: Arc<Counts>,
    acknowledger: Rc<Acknowledger<B>>,
}

/// What came of an activation.
pub(crate) enum Ended {
    /// It was run.
    Ran {
        /// How long that took.
        milliseconds: u64,
        /// What it came to.
        status: Status,
    },
    /// It was acknowledged without having been run.
    Refused,
    /// It was neither run nor acknowledged.
    NotRun(Box<NotRun>),
}

/// An activation that was certainly not run.
pub(crate) struct NotRun {
    runnable: Runnable,
    /// Why not.
    pub(crate) why: String,
}

/// What a call came to that the back end could not make, or of which it does not know what became.
fn lost(why: &str) -> CallOutcome {
    let now_ms = epoch_ms();
    CallOutcome {
        start_ms: now_ms,
        end_ms: now_ms,
        init_ms: None,
        spent: Spent::default(),
        kind: Start::Cold,
        outcome: Outcome::error(Status::InternalError, why),
        timed_out: false,
        logs: Vec::new(),
        streamed: None,
    }
}

/// Milliseconds since 1970.
pub(crate) fn epoch_ms() -> u64 {
    u64::try_from(time::unix_time().as_millis()).unwrap_or(u64::MAX)
}

impl<B, S, E> Invoker<B, S, E>
where
    B: Bus + 'static,
    S: Store + Clone + 'static,
    E: Engine + 'static,
{
    /// One that has read nothing yet.
    pub fn new(
        settings: Settings,
        bus: B,
        store: S,
        engine: E,
        runtimes: Runtimes,
        counts: Arc<Counts>,
    ) -> Rc<Self> {
        let (prefix, id) = (&settings.topic_prefix, &settings.id);
        let acknowledger = Acknowledger::new(bus, &counts, prefix, id);
        let cache = Cache::new(store.clone(), runtimes, settings.cache_bytes);
        Rc::new(Self {
            settings,
            cache,
            records: Records::start(store),
            engine,
            blocked: RefCell::default(),
            events: RefCell::default(),
            counts,
            acknowledger,
        })
    }

    /// How it is configured.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Where messages go.
    pub(crate) fn bus(&self) -> &B {
        &self.acknowledger.bus
    }

    /// The database.
    pub(crate) fn store(&self) -> &S {
        self.cache.store()
    }

    /// What is counted.
    pub fn counts(&self) -> &Arc<Counts> {
        &self.counts
    }

    /// The records on their way.
    pub fn records(&self) -> &Records<S> {
        &self.records
    }

    /// Runs what the feed has, until that is closed; ready when the last activation has been acknowledged.
    pub async fn serve<F: Feed + 'static>(self: &Rc<Self>, feed: Rc<F>) {
        while let Some(payload) = feed.next().await {
            let (invoker, feed) = (Rc::clone(self), Rc::clone(&feed));
            let under_way = self.begin();
            drop(spawn(async move {
                invoker.take(payload, under_way).await;
                feed.processed();
            }));
        }
        self.all_ended().await;
    }

    /// An activation that begins now.
    pub(crate) fn begin(&self) -> Rc<UnderWay> {
        self.acknowledger.begin()
    }

    /// Ready when all activations that have begun have been acknowledged.
    pub(crate) async fn all_ended(&self) {
        self.acknowledger.all_ended().await;
    }

    /// One message, from being read until its slot is free.
    async fn take(self: Rc<Self>, payload: Vec<u8>, under_way: Rc<UnderWay>) {
        self.counts.messages.increment();
        let message = match ActivationMessage::parse(&payload, epoch_ms()) {
            Ok(message) => Rc::new(message),
            Err(why) => {
                self.counts.malformed.increment();
                println!(
                    "whisk-invoker: a message of {} bytes in {} cannot be read, so nobody can be told: {why}",
                    payload.len(),
                    self.settings.topic()
                );
                return;
            }
        };
        drop(payload);
        under_way.is_read();
        if let Ended::NotRun(not_run) = self.attempt(&message, &under_way).await {
            self.give_up(&message, not_run, &under_way).await;
        }
    }

    /// Runs an activation and acknowledges it, unless it was certainly not run for want of somebody who does.
    pub(crate) async fn attempt(
        self: &Rc<Self>,
        message: &Rc<ActivationMessage>,
        under_way: &Rc<UnderWay>,
    ) -> Ended {
        let running = Rc::clone(self).run(Rc::clone(message), Rc::clone(under_way));
        match spawn(running).await {
            Ok(ended) => ended,
            Err(_) => {
                // A panic here is a mistake of ours; the controller is told all the same.
                let outcome = Outcome::error(Status::InternalError, "The invoker failed.");
                self.refuse(message, outcome, true, under_way).await;
                Ended::Refused
            }
        }
    }

    /// Acknowledges an activation that nobody runs as an error of the platform's.
    pub(crate) async fn give_up(
        self: &Rc<Self>,
        message: &ActivationMessage,
        not_run: Box<NotRun>,
        under_way: &Rc<UnderWay>,
    ) {
        let ran = lost(&not_run.why);
        self.finish(message, &not_run.runnable, ran, under_way)
            .await;
    }

    fn show_sizes(&self) {
        let (actions, bytes) = self.cache.size();
        self.counts.cached.set(actions as u64);
        self.counts.cached_bytes.set(bytes as u64);
        self.counts.fetches.set(self.cache.fetches());
        let records = self.records.counts();
        self.counts.records_stored.set(records.stored);
        self.counts.records_lost.set(records.lost);
        self.counts.records_bytes.set(records.waiting_bytes);
    }

    /// An action, as it is to be run.
    pub(crate) async fn fetch(
        &self,
        id: &str,
        revision: Option<&str>,
    ) -> Result<Runnable, Unusable> {
        let fetched = self.cache.get(id, revision).await;
        for gone in self.cache.take_gone() {
            self.engine.forget(gone);
        }
        fetched
    }

    async fn run(self: Rc<Self>, message: Rc<ActivationMessage>, under_way: Rc<UnderWay>) -> Ended {
        if self.blocked.borrow().contains(&message.user.namespace) {
            self.counts.blocked.increment();
            let text = "The action was not invoked due to a blacklisted namespace.";
            let outcome = Outcome::error(Status::ApplicationError, text);
            // Not stored, and told in brief whether or not somebody waits.
            self.refuse(&message, outcome, false, &under_way).await;
            return Ended::Refused;
        }
        let id = message.action.id();
        let runnable = match self.fetch(&id, message.revision.as_deref()).await {
            Ok(runnable) => runnable,
            Err(why) => {
                self.counts.unusable.increment();
                println!(
                    "whisk-invoker: {}: the action {id} cannot be run: {why}",
                    message.id
                );
                self.refuse(&message, why.outcome(), true, &under_way).await;
                return Ended::Refused;
            }
        };
        let call = match self.call(&message, &runnable) {
            Ok(call) => call,
            Err(why) => {
                let outcome = Outcome::error(Status::ApplicationError, &why);
                self.refuse(&message, outcome, true, &under_way).await;
                return Ended::Refused;
            }
        };
        let ran = match self.engine.call(&call).await {
            Ok(ran) => ran,
            Err(unanswered) if unanswered.may_have_run => lost(&unanswered.why),
            Err(unanswered) => {
                let why = unanswered.why;
                return Ended::NotRun(Box::new(NotRun { runnable, why }));
            }
        };
        self.finish(&message, &runnable, ran, &under_way).await
    }

    /// Acknowledges and stores what an activation came to.
    async fn finish(
        self: &Rc<Self>,
        message: &ActivationMessage,
        runnable: &Runnable,
        ran: CallOutcome,
        under_way: &Rc<UnderWay>,
    ) -> Ended {
        let record = record(message, runnable, ran);
        let has_logs = runnable.action.limits.logs_mb > 0;
        self.tell(message, &record);
        self.acknowledger
            .ran(message, &record, has_logs, under_way)
            .await;
        self.show_sizes();
        self.keep(message, &record);
        Ended::Ran {
            milliseconds: record.duration_ms(),
            status: record.outcome.status,
        }
    }

    /// Runs an activation of the invoker's own of which nobody is told and nothing is stored (`HealthActionAck.scala`); whether that
    /// went well.
    pub(crate) async fn probe(&self, message: &ActivationMessage) -> Result<(), String> {
        let fetched = self.fetch(&message.action.id(), None).await;
        let runnable = fetched.map_err(|why| format!("{why}"))?;
        let call = self.call(message, &runnable)?;
        let ran = self.engine.call(&call).await;
        let outcome = ran.map_err(|unanswered| unanswered.why)?.outcome;
        match outcome.status {
            Status::Success => Ok(()),
            _ => Err(outcome
                .result
                .map_or_else(String::new, |r| r.as_str().into())),
        }
    }

    /// Acknowledges what was not run.
    async fn refuse(
        &self,
        message: &ActivationMessage,
        outcome: Outcome,
        is_stored: bool,
        under_way: &Rc<UnderWay>,
    ) {
        let record = Record::fallback(message, outcome, epoch_ms());
        self.tell(message, &record);
        self.acknowledger
            .refused(message, &record, message.blocking && is_stored, under_way)
            .await;
        if is_stored {
            self.keep(message, &record);
        }
        self.show_sizes();
    }

    /// Counts an activation that has ended, and tells its event.
    fn tell(&self, message: &ActivationMessage, record: &Record) {
        if record.is_system_error() {
            self.counts.system_errors.increment();
        }
        self.tell_event(message, record);
    }

    /// Tells the event of an activation that has ended, where events are wanted. Nothing waits for it.
    fn tell_event(&self, message: &ActivationMessage, record: &Record) {
        if self.settings.events.is_none() {
            return;
        }
        let (source, uuid) = (self.settings.id.source(), &message.user.uuid);
        let event = event::of(record, &source, uuid, epoch_ms());
        let mut events = self.events.borrow_mut();
        if events.len() == EVENTS {
            // The bus is away; what it would tell is old by now.
            events.pop_front();
        }
        events.push_back(event);
    }

    /// Stores a record, where that is wanted (`ActivationStore.scala`, `storeAfterCheck`).
    fn keep(&self, message: &ActivationMessage, record: &Record) {
        let (blocking, other) = self.settings.store_levels;
        let level = if message.blocking { blocking } else { other };
        let wanted = message.transaction.extra_logging || level.stores(record.outcome.status);
        if wanted && message.user.stores_activations() {
            let document = record.to_document(epoch_ms());
            self.records.push(record.document_id(), document);
        }
    }

    /// The call that a message asks for.
    fn call(&self, message: &ActivationMessage, runnable: &Runnable) -> Result<Call, String> {
        let action = &runnable.action;
        if let Some(text) = exceeded(&action.limits, &message.user.limits) {
            return Err(text);
        }
        let (environment, arguments) = self.arguments(message)?;
        let granted = action.common.annotations.get(PROVIDE_API_KEY);
        let mut extra: Vec<(String, Json)> = Vec::new();
        if granted.is_none_or(Json::is_truthy) {
            let members = message.user.auth.iter();
            extra.extend(members.map(|(name, value)| (name.to_owned(), value.clone())));
        }
        if !message.trace_context.is_empty() {
            let mut members = Members::new();
            for (name, value) in &message.trace_context {
                members.text(name, value);
            }
            extra.push(("trace_context".into(), members.finish()));
        }
        let host = self.settings.api_host.iter();
        let host = host.map(|host| (String::from("__OW_API_HOST"), host.clone()));
        let binding = message.action.binding.as_deref();
        Ok(Call {
            activation: message.id.clone(),
            action: Arc::clone(action),
            environment: host.chain(environment).collect(),
            extra,
            arguments,
            caller: Caller {
                namespace: Arc::from(&*message.user.namespace),
                key: None,
                transaction: message.transaction.id.clone(),
            },
            binding: binding.and_then(|binding| {
                let (namespace, name) = binding.split_once('/')?;
                Some(FullName::new(namespace, name))
            }),
            cause: message.cause.clone(),
            received_ms: message.transaction.start_ms,
            in_parts: false,
        })
    }

    /// What goes to the environment of init, and the argument (`unlockArguments`, `partitionArguments`).
    fn arguments(
        &self,
        message: &ActivationMessage,
    ) -> Result<(Vec<(String, String)>, Json), String> {
        let object = match &message.content {
            None => Object::new(),
            Some(content) => match content.to_object() {
                Some(object) => object,
                // An array has no members that could be encrypted or meant for init.
                None => return Ok((Vec::new(), content.clone())),
            },
        };
        if message.init_args.is_empty() && message.locked_args.is_empty() {
            let content = message.content.clone();
            return Ok((Vec::new(), content.unwrap_or_else(|| object.to_json())));
        }
        let mut object = self.settings.keys.unlock(object, &message.locked_args)?;
        let mut environment = Vec::new();
        for name in &message.init_args {
            if let Some(value) = object.remove(name) {
                // As runtimes make text of what is none.
                let text = match value.kind() {
                    Kind::Text => value.to_text().unwrap_or_default(),
                    Kind::Null => String::new(),
                    _ => value.compact(),
                };
                environment.push((name.clone(), text));
            }
        }
        Ok((environment, object.to_json()))
    }

    /// Tells controllers every second that this invoker lives, while it is enabled; and once that it is not, when it was disabled
    /// (`InvokerReactive.scala`, `enable` and `disable`). Never ready.
    pub async fn ping(self: Rc<Self>) {
        let topic = format!("{}health", self.settings.topic_prefix);
        let mut last: Option<Instant> = None;
        let mut was_enabled = true;
        loop {
            let is_enabled = self.counts.is_enabled();
            let is_due = last.is_none_or(|last| last.elapsed() >= PING);
            if (is_enabled && is_due) || (was_enabled && !is_enabled) {
                last = Some(Instant::now());
                let ping = self.settings.id.ping(is_enabled);
                // One at a time: what a bus did not take for a while is said once when it is back.
                if let Err(why) = self.bus().send(&topic, &ping).await {
                    println!("whisk-invoker: {topic} did not take a ping: {why}");
                }
            }
            was_enabled = is_enabled;
            time::sleep(LOOK).await;
        }
    }

    /// Sends events. Never ready.
    pub async fn send_events(self: Rc<Self>) {
        let Some(topic) = &self.settings.events else {
            return;
        };
        loop {
            let event = self.events.borrow_mut().pop_front();
            match event {
                Some(event) => {
                    if let Err(why) = self.bus().send(topic, &event).await {
                        println!("whisk-invoker: {topic} did not take an event: {why}");
                    }
                }
                None => time::sleep(LOOK).await,
            }
        }
    }

    /// Asks for the blocked namespaces, now and again. Never ready.
    pub async fn refresh_blocked(self: Rc<Self>) {
        loop {
            time::sleep(self.settings.blocked_every).await;
            self.refresh_blocked_once().await;
        }
    }

    /// Asks for the blocked namespaces once. While the database does not tell, those that were told last stay blocked.
    pub async fn refresh_blocked_once(&self) {
        match self.cache.store().blocked_namespaces().await {
            Ok(names) => *self.blocked.borrow_mut() = names.into_iter().collect(),
            Err(why) => println!("whisk-invoker: the blocked namespaces are not known: {why}"),
        }
    }
}

/// The record of an activation that was run (`ContainerProxy.scala`, `constructWhiskActivation`).
fn record(message: &ActivationMessage, runnable: &Runnable, ran: CallOutcome) -> Record {
    let action = &runnable.action;
    let mut annotations = vec![
        ("limits", runnable.limits.clone()),
        ("path", Json::text(&format!("{}", action.common.name))),
        ("kind", Json::text(action.exec.kind())),
        ("timeout", Json::bool(ran.timed_out)),
    ];
    if message.cause.is_some() {
        annotations.push(("causedBy", Json::text("sequence")));
    }
    let milliseconds = |ms: u64| Json::number(i64::try_from(ms).unwrap_or(i64::MAX));
    if let Some(init_ms) = ran.init_ms {
        annotations.push(("initTime", milliseconds(init_ms)));
    }
    // The controller's clock may be ahead of this one.
    let waited_ms = ran.start_ms.saturating_sub(message.transaction.start_ms);
    annotations.push(("waitTime", milliseconds(waited_ms)));
    if let Some(binding) = &message.action.binding {
        annotations.push(("binding", Json::text(binding)));
    }
    if action.common.annotations.is_truthy(CONDUCTOR) {
        annotations.push(("conductor", Json::bool(true)));
    }
    Record {
        namespace: message.user.namespace.clone(),
        name: action.common.name.name.clone(),
        subject: message.user.subject.clone(),
        id: message.id.clone(),
        start_ms: ran.start_ms,
        end_ms: ran.end_ms,
        cause: message.cause.clone(),
        outcome: ran.outcome,
        logs: ran.logs,
        version: format!("{}", action.common.version),
        annotations,
    }
}
