//! What schedulers ask for and are told: containers that are to be made or to go, that they were made, and what an invoker has left.
//!
//! `.../core/connector/Message.scala`: `ContainerCreationMessage` and `ContainerDeletionMessage` (told apart by `creationId`),
//! `ContainerCreationAckMessage`, `InvokerResourceMessage`; `.../core/scheduler/grpc/ActivationServiceImpl.scala` and
//! `MemoryQueue.scala` for what a fetch comes to.

use ebb_openwhisk::json::{Json, Members};

use super::activation::{ActionName, ActivationMessage};
use super::instance::InvokerId;
use super::{Fields, Malformed};

/// Where a scheduler is reached.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Endpoint {
    /// Its name or address.
    pub host: String,
    /// The port of its gRPC.
    pub rpc_port: u16,
}

impl Endpoint {
    fn read(fields: &Fields<'_>, host: &str) -> Result<Self, Malformed> {
        let port = fields.required("rpcPort")?.to_integer();
        let port = port.and_then(|port| u16::try_from(port).ok());
        Ok(Self {
            host: fields.text(host)?,
            rpc_port: port.ok_or_else(|| Malformed("rpcPort is no port".into()))?,
        })
    }

    /// `SchedulerEndpoints`, as the leader of a queue writes them to etcd.
    ///
    /// # Errors
    /// What is missing.
    pub fn parse(text: &str) -> Result<Self, Malformed> {
        let json = Json::parse(text).map_err(|why| Malformed(format!("no JSON: {why}")))?;
        Self::read(&Fields::of("endpoints", &json)?, "host")
    }
}

impl std::fmt::Display for Endpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.host.contains(':') {
            true => write!(f, "[{}]:{}", self.host, self.rpc_port),
            false => write!(f, "{}:{}", self.host, self.rpc_port),
        }
    }
}

/// An action of a namespace that calls it, in a revision: what a container is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subject {
    /// The namespace that calls it.
    pub namespace: String,
    /// The action.
    pub action: ActionName,
    /// Its name, as it came.
    pub action_json: Json,
    /// The revision of its document.
    pub revision: Option<String>,
    /// What the scheduler knows of the action; passed back.
    pub metadata: Json,
    /// The request that led to it, as it came.
    pub transaction: Json,
}

impl Subject {
    fn read(fields: &Fields<'_>) -> Result<Self, Malformed> {
        let action = fields.required("action")?;
        let metadata = fields.optional("whiskActionMetaData");
        let transaction = fields.optional("transid");
        Ok(Self {
            namespace: fields.text("invocationNamespace")?,
            action: ActionName::read(action)?,
            action_json: action.clone(),
            revision: fields.optional_text("revision")?.filter(|r| !r.is_empty()),
            metadata: metadata.cloned().unwrap_or_else(Json::null),
            transaction: transaction.cloned().unwrap_or_else(Json::null),
        })
    }

    /// The revision as it is written: a string or null.
    pub fn revision_json(&self) -> Json {
        self.revision.as_deref().map_or_else(Json::null, Json::text)
    }

    /// The number that revisions are compared by (`DocInfo.scala`, `DocRevision.compare`): what is before the `-`; none comes first.
    pub fn generation(&self) -> Option<u64> {
        let (number, _) = self.revision.as_deref()?.split_once('-')?;
        number.parse().ok()
    }
}

/// `ContainerCreationMessage`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Creation {
    /// What it is for.
    pub subject: Subject,
    /// The scheduler that hears of it, `rootSchedulerIndex`.
    pub scheduler: String,
    /// Where activations are.
    pub endpoint: Endpoint,
    /// How often another invoker has failed.
    pub retry_count: i64,
    /// The id of the request.
    pub id: String,
}

/// A message in an invoker's topic, from a scheduler.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ContainerMessage {
    /// A container is to be made.
    Creation(Box<Creation>),
    /// Containers of an action up to a revision are to go.
    Deletion(Box<Subject>),
    /// What connections are opened with; nothing comes of it (`WarmUp.scala`).
    WarmUp,
}

/// The action that connections are opened with.
const WARM_UP: &str = "whisk.system/warmUp";

impl ContainerMessage {
    /// Reads one.
    ///
    /// # Errors
    /// Which member is missing or not what it should be.
    pub fn parse(payload: &[u8]) -> Result<Self, Malformed> {
        let json =
            Json::parse_bytes(payload).map_err(|why| Malformed(format!("no JSON: {why}")))?;
        let fields = Fields::of("message", &json)?;
        let subject = Subject::read(&fields)?;
        if subject.action.id() == WARM_UP {
            return Ok(Self::WarmUp);
        }
        if fields.optional("creationId").is_none() {
            return Ok(Self::Deletion(Box::new(subject)));
        }
        let scheduler = fields.required("rootSchedulerIndex")?;
        let scheduler = Fields::of("rootSchedulerIndex", scheduler)?.text("asString")?;
        super::activation::check_topic_part(&scheduler)?;
        let retry_count = fields.optional("retryCount").and_then(Json::to_integer);
        Ok(Self::Creation(Box::new(Creation {
            subject,
            scheduler,
            endpoint: Endpoint::read(&fields, "schedulerHost")?,
            retry_count: retry_count.unwrap_or(0),
            id: fields.text("creationId")?,
        })))
    }
}

/// Why a container was not made (`ContainerCreationError`); schedulers try another invoker for all but the last two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CreationError {
    /// There is no memory for it.
    ResourceNotEnough,
    /// The invoker is to end, or is disabled.
    ShuttingDown,
    /// The action cannot be had.
    DbFetch,
    /// Its container image is none that this invoker runs.
    BlackBox,
}

impl CreationError {
    /// As it is written. The reference's reader (`ContainerCreationError.parse`) knows no `ShuttingDownError`, which its own invokers
    /// write: a scheduler drops such an acknowledgement, and waits until the creation's time is up. What it does know, and
    /// answers in the same way, is `UnknownError`.
    fn name(self) -> &'static str {
        match self {
            Self::ResourceNotEnough => "ResourceNotEnoughError",
            Self::ShuttingDown => "UnknownError",
            Self::DbFetch => "DBFetchError",
            Self::BlackBox => "BlackBoxError",
        }
    }
}

impl Creation {
    /// `ContainerCreationAckMessage`: that the container is there, or why not.
    pub fn acknowledgement(
        &self,
        invoker: &InvokerId,
        error: Option<(CreationError, &str)>,
    ) -> Json {
        let mut members = Members::new();
        members
            .raw("transid", self.subject.transaction.as_str())
            .text("creationId", &self.id)
            .text("invocationNamespace", &self.subject.namespace)
            .raw("action", self.subject.action_json.as_str())
            .raw("revision", self.subject.revision_json().as_str())
            .raw("actionMetaData", self.subject.metadata.as_str())
            .raw("rootInvokerIndex", invoker.to_json().as_str())
            .text("schedulerHost", &self.endpoint.host)
            .number("rpcPort", self.endpoint.rpc_port)
            .number("retryCount", self.retry_count);
        if let Some((error, reason)) = error {
            members.text("error", error.name()).text("reason", reason);
        }
        members.finish()
    }
}

/// What an invoker says of itself in etcd: `InvokerResourceMessage`. Megabytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resources {
    /// `up`, `unhealthy`, `down`.
    pub status: &'static str,
    /// Memory for further containers; what only idle ones have is free.
    pub free_mb: u64,
    /// Memory of containers that run or ask for activations.
    pub busy_mb: u64,
    /// Memory of containers that are being made.
    pub in_progress_mb: u64,
}

impl Resources {
    /// The document.
    pub fn to_json(self, invoker: &InvokerId) -> Json {
        let list = |texts: &[String]| Json::array(texts.iter().map(|text| Json::text(text)));
        Members::new()
            .text("status", self.status)
            .number("freeMemory", self.free_mb)
            .number("busyMemory", self.busy_mb)
            .number("inProgressMemory", self.in_progress_mb)
            .raw("tags", list(&invoker.tags).as_str())
            .raw(
                "dedicatedNamespaces",
                list(&invoker.dedicated_namespaces).as_str(),
            )
            .finish()
    }
}

/// What a container asks a scheduler with, `FetchRequest` of `activation.proto`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fetch {
    /// A transaction's JSON.
    pub transaction: String,
    /// The namespace that calls the action.
    pub namespace: String,
    /// The action's name, as JSON.
    pub action: String,
    /// The revision, as JSON.
    pub revision: String,
    /// Which container asks.
    pub container: String,
    /// It has run an activation before.
    pub is_warmed: bool,
    /// Milliseconds of its last activation.
    pub last_ms: Option<u64>,
    /// False when it asks for the last time.
    pub is_alive: bool,
}

/// An activation that is given back, `RescheduleRequest` of `activation.proto`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GivenBack {
    /// The namespace that calls the action.
    pub namespace: String,
    /// The action's name, as JSON.
    pub action: String,
    /// The revision, as JSON.
    pub revision: String,
    /// The message, as JSON.
    pub activation: String,
}

/// What a scheduler answers to a container that asks for an activation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fetched {
    /// One, with its text.
    Activation(Box<ActivationMessage>, Json),
    /// There was none for a while.
    NoActivation,
    /// The scheduler has no such queue: another may have it.
    NoQueue,
    /// The queue is for another revision of the action.
    Mismatch,
}

impl Fetched {
    /// Reads one (`ActivationResponse`).
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str, now_ms: u64) -> Result<Self, Malformed> {
        let json = Json::parse(text).map_err(|why| Malformed(format!("no JSON: {why}")))?;
        let fields = Fields::of("answer", &json)?;
        let message = fields.required("message")?;
        let kind = Fields::of("answer.message", message)?.optional_text("type")?;
        Ok(match kind.as_deref() {
            Some("NoActivationMessage") => Self::NoActivation,
            Some("NoMemoryQueue") => Self::NoQueue,
            Some("ActionMismatch") => Self::Mismatch,
            Some(other) => return Err(Malformed(format!("'{other}' is no answer to a fetch"))),
            None => {
                let parsed = ActivationMessage::parse(message.as_str().as_bytes(), now_ms)?;
                Self::Activation(Box::new(parsed), message.clone())
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As `ContainerCreationMessage.serdes` writes it.
    const CREATION: &str = r#"{"transid":["sid_x",7],"invocationNamespace":"guest","action":{"path":"guest","name":"hello","version":"0.0.1"},"revision":"3-abc","whiskActionMetaData":{"name":"hello"},"rootSchedulerIndex":{"asString":"0"},"schedulerHost":"10.0.0.7","rpcPort":13001,"retryCount":1,"creationId":"c-1"}"#;

    fn creation() -> Creation {
        match ContainerMessage::parse(CREATION.as_bytes()).expect("a message") {
            ContainerMessage::Creation(creation) => *creation,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn creation_and_deletion_are_told_apart_by_the_creations_id() {
        let creation = creation();
        assert_eq!(creation.endpoint.to_string(), "10.0.0.7:13001");
        assert_eq!((creation.retry_count, &*creation.scheduler), (1, "0"));
        assert_eq!(creation.subject.generation(), Some(3));
        let deletion = CREATION.replace(r#","creationId":"c-1""#, "");
        let parsed = ContainerMessage::parse(deletion.as_bytes()).expect("a message");
        assert_eq!(
            parsed,
            ContainerMessage::Deletion(Box::new(creation.subject))
        );
        let warm_up = CREATION
            .replace(r#""path":"guest""#, r#""path":"whisk.system""#)
            .replace(
                r#""name":"hello","version""#,
                r#""name":"warmUp","version""#,
            );
        let parsed = ContainerMessage::parse(warm_up.as_bytes());
        assert_eq!(parsed, Ok(ContainerMessage::WarmUp));
    }

    #[test]
    fn a_creation_that_names_no_place_is_refused() {
        for (from, to, told) in [
            ("13001", "0.5", "rpcPort"),
            ("13001", "70000", "rpcPort"),
            (r#""schedulerHost":"10.0.0.7","#, "", "schedulerHost"),
            (r#"{"asString":"0"}"#, r#"{"asString":"../0"}"#, "asString"),
            (
                r#""guest","action""#,
                r#"7,"action""#,
                "invocationNamespace",
            ),
        ] {
            let text = CREATION.replace(from, to);
            let why = ContainerMessage::parse(text.as_bytes()).expect_err(told);
            assert!(why.0.contains(told), "{why}, not {told}");
        }
    }

    #[test]
    fn an_acknowledgement_says_what_came_of_which_creation() {
        let invoker = InvokerId::new(2, 1 << 30);
        let done = creation().acknowledgement(&invoker, None);
        assert_eq!(
            done.as_str(),
            r#"{"transid":["sid_x",7],"creationId":"c-1","invocationNamespace":"guest","action":{"path":"guest","name":"hello","version":"0.0.1"},"revision":"3-abc","actionMetaData":{"name":"hello"},"rootInvokerIndex":{"instance":2,"userMemory":"1024 MB","instanceType":"invoker","tags":[],"dedicatedNamespaces":[]},"schedulerHost":"10.0.0.7","rpcPort":13001,"retryCount":1}"#
        );
        let failed = creation().acknowledgement(
            &invoker,
            Some((CreationError::ResourceNotEnough, "no memory")),
        );
        let end = r#""retryCount":1,"error":"ResourceNotEnoughError","reason":"no memory"}"#;
        assert!(failed.as_str().ends_with(end), "{failed}");
        // A word that schedulers can read.
        assert_eq!(CreationError::ShuttingDown.name(), "UnknownError");
    }

    #[test]
    fn all_answers_to_a_fetch_are_told_apart() {
        for (text, expected) in [
            (
                r#"{"message":{"noActivationMessage":"no activation message exist","type":"NoActivationMessage"}}"#,
                Fetched::NoActivation,
            ),
            (
                r#"{"message":{"noMemoryQueue":"no memory queue exist","type":"NoMemoryQueue"}}"#,
                Fetched::NoQueue,
            ),
            (
                r#"{"message":{"actionMisMatch":"action version does not match","type":"ActionMismatch"}}"#,
                Fetched::Mismatch,
            ),
        ] {
            assert_eq!(Fetched::parse(text, 0), Ok(expected), "{text}");
        }
        for text in [
            "",
            "{}",
            r#"{"message":{"type":"Other"}}"#,
            r#"{"message":{}}"#,
        ] {
            assert!(Fetched::parse(text, 0).is_err(), "{text}");
        }
    }

    #[test]
    fn what_is_left_is_told_in_megabytes_with_both_lists() {
        let resources = Resources {
            status: "up",
            free_mb: 512,
            busy_mb: 256,
            in_progress_mb: 256,
        };
        assert_eq!(
            resources.to_json(&InvokerId::new(0, 1 << 30)).as_str(),
            r#"{"status":"up","freeMemory":512,"busyMemory":256,"inProgressMemory":256,"tags":[],"dedicatedNamespaces":[]}"#
        );
    }
}
