//! Activations: what a call came to, and the record of it.

use crate::heap::{block_bytes, shared_bytes, text_bytes};
use crate::json::{Json, Kind, Members};
use crate::limits;
use crate::parameters::Parameters;
use crate::runtimes::Loader;
use alloc::{borrow::Cow, format, string::String, sync::Arc, vec::Vec};

/// How an instance answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It answered a run.
    Run {
        /// The runtime's status.
        status: u16,
        /// The runtime's body.
        body: Vec<u8>,
    },
    /// It refused the init.
    InitFailed {
        /// The runtime's status, not 200.
        status: u16,
        /// The runtime's body.
        body: Vec<u8>,
    },
    /// It was gone before it answered a run.
    RunLost,
    /// It was gone before it answered the init.
    InitLost,
    /// It did not answer a run in time.
    RunTimeout,
    /// It did not answer the init in time.
    InitTimeout,
    /// It used more memory than it may.
    OutOfMemory,
    /// The platform could not run it.
    Fault(String),
}

impl Answer {
    /// That an instance was gone before it answered a run. Where OpenWhisk has its ActionLoop, a proxy stands before the function's
    /// process, and says so. Source: `runHandler.go` of apache/openwhisk-runtime-go.
    pub fn lost_in_run(loader: Loader) -> Self {
        match loader {
            Loader::Node => Self::RunLost,
            Loader::Python | Loader::Executable => Self::Run {
                status: 400,
                body: br#"{"error":"command exited"}"#.to_vec(),
            },
        }
    }

    /// That an instance was gone before it answered the init. Source: `initHandler.go`; the images for Python set
    /// `OW_LOG_INIT_ERROR`.
    pub fn lost_in_init(loader: Loader) -> Self {
        let error: &[u8] = match loader {
            Loader::Node => return Self::InitLost,
            Loader::Python => br#"{"error":"Cannot start action. Check logs for details."}"#,
            Loader::Executable => br#"{"error":"cannot start action: command exited"}"#,
        };
        Self::InitFailed {
            status: 502,
            body: error.to_vec(),
        }
    }

    /// Whether a time limit was hit.
    pub fn timed_out(&self) -> bool {
        matches!(self, Self::RunTimeout | Self::InitTimeout)
    }
}

/// The outcome of an activation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Status {
    /// 0
    Success,
    /// 1: the action says so.
    ApplicationError,
    /// 2: the action broke the rules.
    DeveloperError,
    /// 3: the platform failed.
    InternalError,
}

impl Status {
    /// All of them.
    pub const ALL: [Self; 4] = [
        Self::Success,
        Self::ApplicationError,
        Self::DeveloperError,
        Self::InternalError,
    ];

    /// `statusCode`.
    pub fn code(self) -> u8 {
        self as u8
    }

    /// `response.status`.
    pub fn text(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::ApplicationError => "application error",
            Self::DeveloperError => "action developer error",
            Self::InternalError => "whisk internal error",
        }
    }
}

/// The member `response` of a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// What it came to.
    pub status: Status,
    /// The result; errors are an object with the member `error`.
    pub result: Option<Json>,
    /// Characters of the runtime's answer.
    pub size: Option<usize>,
}

impl Outcome {
    /// An error with a text of the platform's.
    pub fn error(status: Status, text: &str) -> Self {
        Self::error_value(status, &Json::text(text))
    }

    fn error_value(status: Status, value: &Json) -> Self {
        Self {
            status,
            result: Some(Members::new().raw("error", value.as_str()).finish()),
            size: None,
        }
    }

    /// A result as it is.
    pub fn success(result: Json) -> Self {
        Self {
            status: Status::Success,
            result: Some(result),
            size: None,
        }
    }

    /// What an answer means; `timeout` is the action's limit in milliseconds.
    pub fn of(answer: &Answer, timeout: u32) -> Self {
        let developer = |text: &str| Self::error(Status::DeveloperError, text);
        match answer {
            Answer::Run { status, body } => Self::of_run(*status, body),
            Answer::InitFailed { body, .. } => Self::of_init(body),
            Answer::RunLost => {
                developer("The action did not produce a valid response and exited unexpectedly.")
            }
            Answer::InitLost => developer("The action did not initialize and exited unexpectedly."),
            Answer::RunTimeout => developer(&format!(
                "The action exceeded its time limits of {timeout} milliseconds."
            )),
            Answer::InitTimeout => developer(&format!(
                "The action exceeded its time limits of {timeout} milliseconds during initialization."
            )),
            Answer::OutOfMemory => developer("The action exhausted its memory and was aborted."),
            Answer::Fault(text) => Self::error(Status::InternalError, text),
        }
    }

    fn of_run(status: u16, body: &[u8]) -> Self {
        if body.len() > limits::PAYLOAD {
            return Self::of_too_long(Status::ApplicationError, body);
        }
        let text = String::from_utf8_lossy(body);
        let json = match &text {
            Cow::Borrowed(text) => Json::parse(text).ok(),
            Cow::Owned(_) => None,
        };
        let error = json.as_ref().and_then(|json| json.member("error"));
        let mut outcome = match (status, json, error) {
            (200, _, Some(error)) => Self::error_value(Status::ApplicationError, &error),
            (200, Some(json), None) if matches!(json.kind(), Kind::Object | Kind::Array) => {
                Self::success(json)
            }
            (_, _, Some(error)) => Self::error_value(Status::DeveloperError, &error),
            _ => Self::of_unusable(
                "The action did not produce a valid JSON or JSON Array response",
                &text,
            ),
        };
        outcome.size = Some(text.chars().count());
        outcome
    }

    fn of_init(body: &[u8]) -> Self {
        if body.len() > limits::PAYLOAD {
            return Self::of_too_long(Status::DeveloperError, body);
        }
        let error = Json::parse_bytes(body)
            .ok()
            .and_then(|json| json.to_object())
            .and_then(|object| object.get("error").cloned());
        let text = String::from_utf8_lossy(body);
        let mut outcome = match error {
            Some(error) => Self::error_value(Status::DeveloperError, &error),
            None => Self::of_unusable("The action failed during initialization", &text),
        };
        outcome.size = Some(text.chars().count());
        outcome
    }

    /// An answer that says nothing, or nothing that can be used. Source: `invalidInitResponse` and `invalidRunResponse` in
    /// `ErrorResponse.scala`.
    fn of_unusable(what: &str, answer: &str) -> Self {
        let text = match answer {
            "" => format!("{what}."),
            answer => format!("{what}: {answer}"),
        };
        Self::error(Status::DeveloperError, &text)
    }

    fn of_too_long(status: Status, body: &[u8]) -> Self {
        let mut outcome = Self::error(
            status,
            &format!(
                "The action produced a response that exceeded the allowed length: {} > {} bytes. The truncated response was: {}",
                body.len(),
                limits::PAYLOAD,
                String::from_utf8_lossy(&body[..SHOWN.min(body.len())])
            ),
        );
        outcome.size = Some(body.len());
        outcome
    }

    /// Whether the result is an object with `error`.
    pub fn is_error(&self) -> bool {
        self.status != Status::Success
    }

    /// Whether the instance may take another call. After a developer error it may not: the runtime may have stopped, and
    /// OpenWhisk replaces it even where the runtime has not.
    pub fn instance_lives(&self) -> bool {
        matches!(self.status, Status::Success | Status::ApplicationError)
    }

    /// The document.
    pub fn to_json(&self) -> Json {
        let mut members = Members::new();
        members
            .text("status", self.status.text())
            .bool("success", self.status == Status::Success);
        if let Some(result) = &self.result {
            members.raw("result", result.as_str());
        }
        if let Some(size) = self.size {
            members.number("size", size as u64);
        }
        members.finish()
    }
}

/// The annotation that says of a sequence or a composition whether it was called by a request.
pub const TOPMOST: &str = "topmost";

/// Bytes of an unusable answer that the error shows.
const SHOWN: usize = 1024;

/// A record. Times are epoch milliseconds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Activation {
    /// 32 hexadecimal digits.
    pub id: String,
    /// The entity's name.
    pub name: String,
    /// The caller's namespace.
    pub namespace: String,
    /// The caller.
    pub subject: String,
    /// The entity's version.
    pub version: String,
    /// The enclosing sequence or composition.
    pub cause: Option<String>,
    /// When it began.
    pub start_ms: u64,
    /// When it ended; triggers do not.
    pub end_ms: Option<u64>,
    /// Milliseconds of init and run.
    pub duration_ms: Option<u64>,
    /// One string per line.
    pub logs: Arc<Vec<String>>,
    /// Annotations.
    pub annotations: Parameters,
    /// What it came to.
    pub outcome: Outcome,
}

impl Activation {
    fn head(&self, members: &mut Members) {
        members
            .text("activationId", &self.id)
            .text("name", &self.name)
            .text("namespace", &self.namespace)
            .text("subject", &self.subject)
            .text("version", &self.version)
            .bool("publish", false)
            .raw("annotations", self.annotations.to_json().as_str())
            .number("start", self.start_ms);
        if let Some(end) = self.end_ms {
            members.number("end", end);
        }
        if let Some(duration) = self.duration_ms {
            members.number("duration", duration);
        }
        if let Some(cause) = &self.cause {
            members.text("cause", cause);
        }
    }

    /// Whether it stands for several calls: a sequence or a composition.
    pub fn is_of_several(&self) -> bool {
        self.annotations.get(TOPMOST).is_some()
    }

    /// The record; what a blocking call gets has no logs yet.
    pub fn to_json(&self, with_logs: bool) -> Json {
        let mut members = Members::new();
        self.head(&mut members);
        let logs = if with_logs {
            self.logs_json()
        } else {
            Json::array([""; 0])
        };
        members
            .raw("logs", logs.as_str())
            .raw("response", self.outcome.to_json().as_str())
            .finish()
    }

    /// The record that [`Activation::to_json`] wrote with its logs; `None` if it is none.
    pub fn read(document: &Json) -> Option<Self> {
        let object = document.to_object()?;
        let text = |name: &str| object.get(name).and_then(Json::to_text);
        let number = |name: &str| {
            object
                .get(name)
                .and_then(|n| n.as_str().parse::<u64>().ok())
        };
        let logs = object.get("logs")?.to_array()?;
        let response = object.get("response")?.to_object()?;
        let status = response.get("status")?.to_text()?;
        let size = response.get("size").and_then(|n| n.as_str().parse().ok());
        Some(Self {
            id: text("activationId")?,
            name: text("name")?,
            namespace: text("namespace")?,
            subject: text("subject")?,
            version: text("version")?,
            cause: text("cause"),
            start_ms: number("start")?,
            end_ms: number("end"),
            duration_ms: number("duration"),
            logs: Arc::new(logs.iter().map(Json::to_text).collect::<Option<_>>()?),
            annotations: Parameters::parse(object.get("annotations")?, "annotations").ok()?,
            outcome: Outcome {
                status: Status::ALL.into_iter().find(|s| s.text() == status)?,
                result: response.get("result").cloned(),
                size,
            },
        })
    }

    /// The element of a list. Source: `summarize` in OpenWhisk's design documents `whisks.v2.1.0`: the duration is the time between
    /// start and end, also of a sequence, and what has no end has no status.
    pub fn summary(&self) -> Json {
        let mut members = Members::new();
        members
            .text("activationId", &self.id)
            .text("name", &self.name)
            .text("namespace", &self.namespace)
            .text("version", &self.version)
            .bool("publish", false)
            .raw("annotations", self.annotations.to_json().as_str())
            .number("start", self.start_ms);
        if let Some(end_ms) = self.end_ms {
            members
                .number("end", end_ms)
                .number("duration", end_ms.saturating_sub(self.start_ms))
                .number("statusCode", self.outcome.status.code());
        }
        if let Some(cause) = &self.cause {
            members.text("cause", cause);
        }
        members.finish()
    }

    /// By which name lists find it: `pkg/name`, where the package is the binding that it was called through if there is one, or
    /// `name` for an action in no package. Source: `pathFilter` in `whisks-filters.v2.1.1`.
    pub fn is_named(&self, wanted: &str) -> bool {
        let (package, name) = match wanted.rsplit_once('/') {
            Some((package, name)) => (Some(package), name),
            None => (None, wanted),
        };
        if name != self.name {
            return false;
        }
        let path = |key: &str| self.annotations.get(key).and_then(Json::to_text);
        let of = match (path("binding"), path("path")) {
            (Some(binding), _) => binding.split_once('/').map(|(_, package)| package.into()),
            (None, Some(path)) => match path.split('/').collect::<Vec<_>>()[..] {
                [_, package, _] => Some(String::from(package)),
                _ => None,
            },
            (None, None) => None,
        };
        of.as_deref() == package
    }

    /// The logs.
    pub fn logs_json(&self) -> Json {
        Json::array(self.logs.iter().map(|line| Json::text(line)))
    }

    /// Bytes of memory that it takes, behind the pointer of whoever keeps it. What it may share with others counts as its own.
    pub fn size(&self) -> usize {
        let texts = [
            &self.id,
            &self.name,
            &self.namespace,
            &self.subject,
            &self.version,
        ];
        let texts = texts.into_iter().chain(&self.cause).map(text_bytes);
        let lines = self.logs.iter().map(text_bytes).sum::<usize>();
        let logs = shared_bytes(size_of::<Vec<String>>())
            + block_bytes(self.logs.capacity() * size_of::<String>());
        let result = self.outcome.result.as_ref().map_or(0, Json::heap_bytes);
        shared_bytes(size_of::<Self>())
            + texts.sum::<usize>()
            + logs
            + lines
            + self.annotations.heap_bytes()
            + result
    }
}
