//! Calls: what is sent to an instance for one activation of one action, and the record of what came back.

use crate::activation::{Activation, Outcome};
use crate::alarm::Feed;
use crate::entity::{Action, Code, Exec, PROVIDE_API_KEY, STREAM_TIMEOUT};
use crate::fair::Member;
use crate::json::{Json, Members};
use crate::name::FullName;
use crate::parameters::Parameters;
use crate::runtimes::Launch;
use alloc::{format, string::String, sync::Arc, vec::Vec};
use core::time::Duration;

/// The caller's identity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// Its namespace.
    pub namespace: Arc<str>,
    /// `uuid:key`: what it has shown, or what the platform lends it ([`crate::namespaces`]); `None` where there is neither.
    pub key: Option<Arc<str>>,
    /// The id of the request that all this belongs to.
    pub transaction: String,
}

/// Which instances can serve a call: those of the same action, version and revision, for the same caller.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InstanceKey {
    /// [`Action::revision`], which no two versions of any actions share.
    pub revision: u64,
    /// The caller's namespace, with the binding if the action was reached through one.
    pub caller: Arc<str>,
}

impl InstanceKey {
    /// The same under a name of its own. Who keeps it, and is used by all cores, then counts no references of a name that one core
    /// counts in each of its calls.
    pub(crate) fn to_owned_name(&self) -> Self {
        Self {
            revision: self.revision,
            caller: Arc::from(&*self.caller),
        }
    }
}

impl Member for InstanceKey {
    fn namespace(&self) -> &str {
        let namespace = self.caller.split_once(' ');
        namespace.map_or(&*self.caller, |(namespace, _)| namespace)
    }
}

/// A call of an action that is no sequence.
#[derive(Clone, Debug)]
pub struct Call {
    /// The activation's id.
    pub activation: String,
    /// The action.
    pub action: Arc<Action>,
    /// Package, binding and action parameters that are meant for init.
    pub environment: Vec<(String, String)>,
    /// Further members of a run's body, which init's environment has as `__OW_NAME`: what another platform's messages bring.
    pub extra: Vec<(String, Json)>,
    /// The argument.
    pub arguments: Json,
    /// On whose behalf it is made.
    pub caller: Caller,
    /// The binding that it was reached through.
    pub binding: Option<FullName>,
    /// The enclosing sequence's activation.
    pub cause: Option<String>,
    /// When the request came, in epoch milliseconds.
    pub received_ms: u64,
    /// Its answer may come in parts: whoever asked takes them as they come.
    pub in_parts: bool,
}

/// How an answer in parts ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Ended {
    /// As it should.
    #[default]
    Complete,
    /// The client went away.
    ClientGone,
    /// What it began with cannot be a response: the client was told so instead.
    Refused,
    /// The function failed, or was out of time.
    Broken,
}

/// What was sent of an answer that came in parts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Streamed {
    /// Parts, as the function gave them.
    pub parts: u64,
    /// Their bytes.
    pub bytes: u64,
    /// How it ended.
    pub ended: Ended,
}

impl Streamed {
    /// The annotation of the record.
    fn to_json(self) -> Json {
        let ended = match self.ended {
            Ended::Complete => "complete",
            Ended::ClientGone => "client gone",
            Ended::Refused => "refused",
            Ended::Broken => "broken",
        };
        let mut members = Members::new();
        members
            .number("parts", self.parts)
            .number("bytes", self.bytes);
        members.text("ended", ended).finish()
    }
}

/// How an instance was obtained.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Start {
    /// An instance that had served this function before.
    Hot,
    /// A copy of the function's snapshot.
    Warm,
    /// An instance that had to load the code.
    Cold,
}

impl Start {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Hot, Self::Warm, Self::Cold];

    /// The word for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Hot => "hot",
            Self::Warm => "warm",
            Self::Cold => "cold",
        }
    }
}

/// Where the time of a call went on its instance.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Spent {
    /// Loading the code.
    pub init: Duration,
    /// Running it.
    pub run: Duration,
}

/// What became of a call. Times are epoch milliseconds.
#[derive(Clone, Debug)]
pub struct CallOutcome {
    /// When init, or else run, began.
    pub start_ms: u64,
    /// When the answer was there.
    pub end_ms: u64,
    /// How long init took, if there was one.
    pub init_ms: Option<u64>,
    /// Where the time went.
    pub spent: Spent,
    /// How the instance was obtained.
    pub kind: Start,
    /// What the answer means.
    pub outcome: Outcome,
    /// Whether a time limit was hit.
    pub timed_out: bool,
    /// The log lines.
    pub logs: Vec<String>,
    /// What was sent before the end, if the answer came in parts.
    pub streamed: Option<Streamed>,
}

impl Call {
    /// Which instances can serve it.
    pub fn key(&self) -> InstanceKey {
        InstanceKey {
            revision: self.action.revision,
            caller: match &self.binding {
                None => self.caller.namespace.clone(),
                Some(binding) => Arc::from(format!("{} {binding}", self.caller.namespace)),
            },
        }
    }

    /// The code that serves it, if it is served by code.
    pub fn code(&self) -> Option<&Code> {
        match &self.action.exec {
            Exec::Code(code) => Some(code),
            Exec::Sequence(_) | Exec::Feed(_) => None,
        }
    }

    /// The feed that it is of, which needs no instance.
    pub fn feed(&self) -> Option<Feed> {
        match self.action.exec {
            Exec::Feed(feed) => Some(feed),
            Exec::Code(_) | Exec::Sequence(_) => None,
        }
    }

    /// How an instance for it is started; `None` for what has no code.
    pub fn launch(&self) -> Option<&Launch> {
        Some(&self.code()?.runtime.launch)
    }

    fn api_key(&self) -> Option<&str> {
        let granted = self
            .action
            .common
            .annotations
            .get(PROVIDE_API_KEY)
            .is_none_or(Json::is_truthy);
        self.caller.key.as_deref().filter(|_| granted)
    }

    /// How long an answer in parts may take altogether, in milliseconds: what the annotation [`STREAM_TIMEOUT`] says, or ten times
    /// the action's time limit, which is how long each part may take. At most an hour.
    pub fn stream_timeout_ms(&self) -> u64 {
        const HOUR: u64 = 60 * 60 * 1000;
        let annotations = &self.action.common.annotations;
        let said = annotations.get(STREAM_TIMEOUT).and_then(Json::to_integer);
        let said = said.and_then(|ms| u64::try_from(ms).ok());
        said.unwrap_or(10 * u64::from(self.action.limits.timeout_ms))
            .min(HOUR)
    }

    fn deadline(&self, now_ms: u64) -> String {
        let deadline_ms = now_ms + u64::from(self.action.limits.timeout_ms);
        itoa::Buffer::new().format(deadline_ms).into()
    }

    /// The variables that `/init` sets, an object.
    pub fn init_environment(&self, now_ms: u64) -> Json {
        let common = &self.action.common;
        let mut env = Members::new();
        for (name, value) in &self.environment {
            env.text(name, value);
        }
        env.text("__OW_NAMESPACE", &self.caller.namespace)
            .text("__OW_ACTION_NAME", &common.name.text_behind("/"))
            .text("__OW_ACTION_VERSION", &common.version.text())
            .text("__OW_ACTIVATION_ID", &self.activation)
            .text("__OW_TRANSACTION_ID", &self.caller.transaction)
            .text("__OW_DEADLINE", &self.deadline(now_ms));
        if let Some(key) = self.api_key() {
            env.text("__OW_API_KEY", key);
        }
        for (name, extra) in &self.extra {
            env.raw(
                &format!("__OW_{}", name.to_ascii_uppercase()),
                extra.as_str(),
            );
        }
        env.finish()
    }

    /// The body of `/init`.
    pub fn init_body(&self, now_ms: u64) -> Json {
        let common = &self.action.common;
        let mut value = Members::new();
        value.text("name", &common.name.name);
        if let Some(code) = self.code() {
            value
                .text("main", code.main.as_deref().unwrap_or("main"))
                .raw("code", code.code.as_str())
                .bool("binary", code.binary);
        }
        value.raw("env", self.init_environment(now_ms).as_str());
        Members::new()
            .raw("value", value.finish().as_str())
            .finish()
    }

    /// The body of `/run`.
    pub fn run_body(&self, now_ms: u64) -> Json {
        self.run_members(now_ms, true)
    }

    /// The same for an instance that remembers of an earlier call what all with this [key](Self::key) have in common.
    pub fn next_run_body(&self, now_ms: u64) -> Json {
        self.run_members(now_ms, false)
    }

    fn run_members(&self, now_ms: u64, says_key: bool) -> Json {
        let common = &self.action.common;
        // What is around the arguments: names, texts of a known length, and a key.
        const AROUND: usize = 640;
        let mut body = Members::with_capacity(self.arguments.as_str().len() + AROUND);
        body.raw("value", self.arguments.as_str());
        if says_key {
            body.text("namespace", &self.caller.namespace)
                .text("action_name", &common.name.text_behind("/"))
                .text("action_version", &common.version.text());
        }
        body.text("activation_id", &self.activation)
            .text("transaction_id", &self.caller.transaction)
            .text("deadline", &self.deadline(now_ms));
        if let Some(key) = self.api_key() {
            body.text("api_key", key);
        }
        for (name, extra) in &self.extra {
            body.raw(name, extra.as_str());
        }
        body.finish()
    }

    /// The record.
    pub fn record(&self, ran: CallOutcome) -> Activation {
        let mut annotations = annotations(&self.action);
        annotations.set("timeout", Json::bool(ran.timed_out));
        if let Some(binding) = &self.binding {
            annotations.set("binding", Json::text(&format!("{binding}")));
        }
        if self.cause.is_some() {
            annotations.set("causedBy", Json::text("sequence"));
        }
        annotations.set(
            "waitTime",
            milliseconds(ran.start_ms.saturating_sub(self.received_ms)),
        );
        if let Some(streamed) = ran.streamed {
            annotations.set("stream", streamed.to_json());
        }
        if let Some(init) = ran.init_ms {
            annotations.set("initTime", milliseconds(init));
        }
        Activation {
            id: self.activation.clone(),
            name: self.action.common.name.name.clone(),
            namespace: self.caller.namespace.as_ref().into(),
            subject: self.caller.namespace.as_ref().into(),
            version: self.action.common.version.text(),
            cause: self.cause.clone(),
            start_ms: ran.start_ms,
            end_ms: Some(ran.end_ms),
            duration_ms: Some(ran.end_ms.saturating_sub(ran.start_ms)),
            logs: Arc::new(ran.logs),
            annotations,
            outcome: ran.outcome,
        }
    }
}

/// What the records of all actions are annotated with.
pub(crate) fn annotations(action: &Action) -> Parameters {
    // What all have, and what most have besides: whether it ended in time, and how long it waited.
    let mut annotations = Parameters::with_capacity(5);
    annotations.set("path", Json::text(&action.common.name.text_behind("")));
    annotations.set("kind", Json::text(action.exec.kind()));
    annotations.set("limits", action.limits.to_json());
    annotations
}

pub(crate) fn milliseconds(time: u64) -> Json {
    Json::number(i64::try_from(time).unwrap_or(i64::MAX))
}
