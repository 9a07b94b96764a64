//! What passes between a front end and a machine: functions, calls of them, outcomes, figures.
//!
//! A function goes over once, and a call names it. Whatever a peer sends is checked when it is turned into what it stands for; JSON is
//! parsed on both sides.

use alloc::{format, string::String, sync::Arc, vec::Vec};
use core::time::Duration;

use ebb_distributed::{Blob, BlobStore};
use ebb_invoker::back_end::Figures;
use ebb_openwhisk::activation::{Outcome, Status};
use ebb_openwhisk::call::{Call, CallOutcome, Caller, Spent, Start};
use ebb_openwhisk::entity::{Action, Code, Common, Exec, PROVIDE_API_KEY, SNAPSHOT, Version};
use ebb_openwhisk::json::Json;
use ebb_openwhisk::limits::ActionLimits;
use ebb_openwhisk::metrics::Metrics;
use ebb_openwhisk::name::FullName;
use ebb_openwhisk::parameters::Parameters;
use ebb_openwhisk::runtimes::{Launch, Loader, Runtime};
use minicbor::{Decode, Encode};
use xxhash_rust::xxh3::xxh3_128_with_seed;

/// A function as its front end knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
pub struct FunctionId {
    /// The front end: a number that it has drawn at its start.
    #[n(0)]
    pub front: u64,
    /// [`Action::revision`] there.
    #[n(1)]
    pub revision: u64,
}

/// How instances are started: [`Launch`].
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Launching {
    /// The loader's name in a manifest.
    #[n(0)]
    loader: String,
    /// See [`Launch::program`].
    #[n(1)]
    program: Option<String>,
    /// See [`Launch::environment`].
    #[n(2)]
    environment: Vec<String>,
}

/// What a machine has to know of an action in order to run it.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(context_bound = "BlobStore")]
pub struct Function {
    /// `ns/name` or `ns/package/name`.
    #[n(0)]
    name: String,
    /// `X.Y.Z`.
    #[n(1)]
    version: String,
    /// The kind, for the record.
    #[n(2)]
    kind: String,
    /// How instances are started.
    #[n(3)]
    launch: Launching,
    /// Source text, or an archive in base64, as a JSON string.
    #[n(4)]
    code: Blob,
    /// The entry point.
    #[n(5)]
    main: Option<String>,
    /// The code is an archive.
    #[n(6)]
    binary: bool,
    /// Milliseconds for init, and again for run.
    #[n(7)]
    timeout_ms: u32,
    /// MB.
    #[n(8)]
    memory_mb: u32,
    /// MB.
    #[n(9)]
    logs_mb: u32,
    /// Calls at once on one instance.
    #[n(10)]
    concurrency: u32,
    /// Calls are given their caller's key.
    #[n(11)]
    gets_key: bool,
    /// Instances may be copies of one another.
    #[n(12)]
    allows_snapshot: bool,
}

/// A call of a function that the machine has.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(context_bound = "BlobStore")]
pub struct Work {
    /// The function.
    #[n(0)]
    pub function: FunctionId,
    /// The activation's id.
    #[n(1)]
    activation: String,
    /// The caller's namespace.
    #[n(2)]
    namespace: String,
    /// What the caller has shown.
    #[n(3)]
    key: Option<String>,
    /// The request's id.
    #[n(4)]
    transaction: String,
    /// Variables for init.
    #[n(5)]
    environment: Vec<(String, String)>,
    /// The argument, in JSON.
    #[n(6)]
    arguments: Blob,
    /// The binding that it was reached through.
    #[n(7)]
    binding: Option<String>,
    /// The enclosing sequence's activation.
    #[n(8)]
    cause: Option<String>,
    /// Epoch milliseconds.
    #[n(9)]
    received_ms: u64,
    /// Further members of a run's body: names and JSON.
    #[n(10)]
    extra: Vec<(String, String)>,
    /// Another machine may have a snapshot of the function: the microseconds that a cold start took there.
    #[n(11)]
    pub near_us: Option<u64>,
}

/// A snapshot that a machine asks its neighbours for.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Wanted {
    /// What instances of a launch are copies of.
    #[n(0)]
    Base(#[n(0)] Launching),
    /// That of a function, for a caller ([`InstanceKey::caller`](ebb_openwhisk::call::InstanceKey)), which differs from the base of this
    /// content.
    #[n(1)]
    Function(#[n(0)] FunctionId, #[n(1)] String, #[n(2)] (u64, u64)),
}

/// A piece of a snapshot. One without bytes is the end: a stream that ends without it was cut off.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(context_bound = "BlobStore")]
pub struct Piece {
    /// XXH3 of the bytes, with the piece's number as the seed.
    #[n(0)]
    sum: (u64, u64),
    /// What only the makers of instances understand.
    #[n(1)]
    bytes: Blob,
}

/// What a machine answers to a call.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(context_bound = "BlobStore")]
pub enum Reply {
    /// It was made.
    #[n(0)]
    Ran(#[n(0)] Ran),
    /// The machine does not have the function (any more): it has not run.
    #[n(1)]
    Unknown,
    /// Too much waits already: it has not run.
    #[n(2)]
    Full,
    /// The machine is about to end: it has not run.
    #[n(3)]
    Ending,
}

/// [`CallOutcome`].
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(context_bound = "BlobStore")]
pub struct Ran {
    /// Epoch milliseconds.
    #[n(0)]
    start_ms: u64,
    /// Epoch milliseconds.
    #[n(1)]
    end_ms: u64,
    /// Milliseconds.
    #[n(2)]
    init_ms: Option<u64>,
    /// Microseconds of init and run.
    #[n(3)]
    spent_us: (u64, u64),
    /// Place in [`Start::ALL`].
    #[n(4)]
    start: u8,
    /// `statusCode`.
    #[n(5)]
    status: u8,
    /// The result, in JSON.
    #[n(6)]
    result: Option<Blob>,
    /// Characters of the runtime's answer.
    #[n(7)]
    size: Option<u64>,
    /// A time limit was hit.
    #[n(8)]
    timed_out: bool,
    /// The log lines.
    #[n(9)]
    logs: Vec<String>,
}

/// What a machine is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub struct About {
    /// Cores that run instances.
    #[n(0)]
    pub cores: u32,
    /// Bytes that instances and snapshots may use.
    #[n(1)]
    pub budget_bytes: u64,
    /// What instances are, in words for people.
    #[n(2)]
    pub instances: String,
    /// Where instances reach the machine that has started it.
    #[n(3)]
    pub host: Option<String>,
}

/// [`Figures`], without the name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub struct Counted {
    /// [`Metrics::to_numbers`] of each core.
    #[n(0)]
    cores: Vec<Vec<u64>>,
    /// Calls that run on each core.
    #[n(1)]
    running: Vec<u64>,
    /// Calls that wait, and of how many functions.
    #[n(2)]
    waiting: (u64, u64),
    /// Instances, and how many of them are idle.
    #[n(3)]
    instances: (u64, u64),
    /// Snapshots, and their bytes.
    #[n(4)]
    snapshots: (u64, u64),
    /// Bytes that are used, that may be, and that the machine has free.
    #[n(5)]
    bytes: (u64, u64, u64),
    /// Instances and snapshots that had to make room.
    #[n(6)]
    evictions: (u64, u64),
    /// See [`Figures::is_warm`].
    #[n(7)]
    is_warm: bool,
}

/// A message that does not stand for anything.
pub type Wrong = String;

fn json(blob: &Blob) -> Result<Json, Wrong> {
    Json::parse_bytes(blob)
}

fn blob(json: &Json) -> Blob {
    Blob::from(Vec::from(json.as_str()))
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

impl Launching {
    /// As it travels.
    pub fn of(launch: &Launch) -> Self {
        Self {
            loader: launch.loader.name().into(),
            program: launch.program.clone(),
            environment: launch.environment.clone(),
        }
    }

    /// What it stands for.
    ///
    /// # Errors
    /// This version has no such loader.
    pub fn read(&self) -> Result<Launch, Wrong> {
        let loader = Loader::named(&self.loader);
        Ok(Launch {
            loader: loader.ok_or_else(|| format!("there is no loader {}", self.loader))?,
            program: self.program.clone(),
            environment: self.environment.clone(),
        })
    }
}

impl Function {
    /// What a machine is told of an action; `None` for one without code.
    pub fn of(action: &Action) -> Option<Self> {
        let Exec::Code(code) = &action.exec else {
            return None;
        };
        let is_set = |name: &str| {
            let annotation = action.common.annotations.get(name);
            annotation.is_none_or(Json::is_truthy)
        };
        Some(Self {
            name: format!("{}", action.common.name),
            version: format!("{}", action.common.version),
            kind: code.runtime.kind.clone(),
            launch: Launching::of(&code.runtime.launch),
            code: blob(&code.code),
            main: code.main.clone(),
            binary: code.binary,
            timeout_ms: action.limits.timeout_ms,
            memory_mb: action.limits.memory_mb,
            logs_mb: action.limits.logs_mb,
            concurrency: action.limits.concurrency,
            gets_key: is_set(PROVIDE_API_KEY),
            allows_snapshot: is_set(SNAPSHOT),
        })
    }

    /// Bytes of its code.
    pub fn bytes(&self) -> usize {
        self.code.len()
    }

    /// The action that a machine calls, under a revision of its own.
    ///
    /// # Errors
    /// It is no action.
    pub fn read(&self, revision: u64) -> Result<Action, Wrong> {
        let name = FullName::parse(&self.name, "").map_err(|failure| failure.text)?;
        let mut annotations = Parameters::default();
        annotations.set(PROVIDE_API_KEY, Json::bool(self.gets_key));
        annotations.set(SNAPSHOT, Json::bool(self.allows_snapshot));
        let code = json(&self.code)?;
        if code.to_text().is_none() {
            return Err("the code is no string".into());
        }
        Ok(Action {
            common: Common {
                name,
                version: Version::parse(&self.version).map_err(|failure| failure.text)?,
                publish: false,
                annotations,
                parameters: Parameters::default(),
                updated_ms: 0,
            },
            exec: Exec::Code(Code {
                runtime: Arc::new(Runtime {
                    kind: self.kind.clone(),
                    is_default: false,
                    is_deprecated: false,
                    image: String::new(),
                    launch: self.launch.read()?,
                }),
                image: None,
                code,
                main: self.main.clone(),
                binary: self.binary,
            }),
            limits: ActionLimits {
                timeout_ms: self.timeout_ms,
                memory_mb: self.memory_mb,
                logs_mb: self.logs_mb,
                concurrency: self.concurrency,
            },
            revision,
        })
    }
}

/// A number of 128 bits as it travels.
fn halves(number: u128) -> (u64, u64) {
    ((number >> 64) as u64, number as u64)
}

impl Wanted {
    /// A function's snapshot of a base with this content.
    pub fn function(id: FunctionId, caller: &str, base: u128) -> Self {
        Self::Function(id, caller.into(), halves(base))
    }
}

impl Piece {
    /// The piece of that number, the first being 0.
    pub fn new(number: u64, bytes: impl Into<Blob>) -> Self {
        let bytes = bytes.into();
        let sum = halves(xxh3_128_with_seed(&bytes, number));
        Self { sum, bytes }
    }

    /// The one behind the last.
    pub fn end(number: u64) -> Self {
        Self::new(number, Vec::new())
    }

    /// The bytes of the piece of that number; none at the end.
    ///
    /// # Errors
    /// It is not that piece, or not as it was given.
    pub fn read(self, number: u64) -> Result<Blob, Wrong> {
        let sum = halves(xxh3_128_with_seed(&self.bytes, number));
        match sum == self.sum {
            true => Ok(self.bytes),
            false => Err(format!("piece {number} is damaged")),
        }
    }
}

impl Work {
    /// A call as it travels, and how many microseconds a cold start took on another machine that may have a snapshot of its function.
    pub fn of(call: &Call, function: FunctionId, near_us: Option<u64>) -> Self {
        Self {
            function,
            activation: call.activation.clone(),
            namespace: call.caller.namespace.as_ref().into(),
            key: call.caller.key.as_deref().map(String::from),
            transaction: call.caller.transaction.clone(),
            environment: call.environment.clone(),
            arguments: blob(&call.arguments),
            binding: call.binding.as_ref().map(|binding| format!("{binding}")),
            cause: call.cause.clone(),
            received_ms: call.received_ms,
            extra: call
                .extra
                .iter()
                .map(|(name, value)| (name.clone(), value.as_str().into()))
                .collect(),
            near_us,
        }
    }

    /// The call of an action that it stands for.
    ///
    /// # Errors
    /// It stands for none.
    pub fn read(self, action: Arc<Action>) -> Result<Call, Wrong> {
        let binding = self.binding.map(|binding| FullName::parse(&binding, ""));
        Ok(Call {
            activation: self.activation,
            action,
            environment: self.environment,
            extra: self
                .extra
                .into_iter()
                .map(|(name, value)| Ok((name, Json::parse(&value)?)))
                .collect::<Result<_, Wrong>>()?,
            arguments: json(&self.arguments)?,
            caller: Caller {
                namespace: Arc::from(self.namespace),
                key: self.key.map(Arc::from),
                transaction: self.transaction,
            },
            binding: binding.transpose().map_err(|failure| failure.text)?,
            cause: self.cause,
            received_ms: self.received_ms,
            in_parts: false,
        })
    }
}

impl Ran {
    /// A call that was begun and whose outcome is not known.
    pub fn lost() -> Self {
        let text = "The machine lost the call while it ran.";
        let outcome = Outcome::error(Status::InternalError, text);
        Self {
            start_ms: 0,
            end_ms: 0,
            init_ms: None,
            spent_us: (0, 0),
            start: Start::Cold as u8,
            status: outcome.status.code(),
            result: outcome.result.as_ref().map(blob),
            size: None,
            timed_out: false,
            logs: Vec::new(),
        }
    }

    /// An outcome as it travels.
    pub fn of(outcome: CallOutcome) -> Self {
        Self {
            start_ms: outcome.start_ms,
            end_ms: outcome.end_ms,
            init_ms: outcome.init_ms,
            spent_us: (micros(outcome.spent.init), micros(outcome.spent.run)),
            start: outcome.kind as u8,
            status: outcome.outcome.status.code(),
            result: outcome.outcome.result.as_ref().map(blob),
            size: outcome.outcome.size.map(|size| size as u64),
            timed_out: outcome.timed_out,
            logs: outcome.logs,
        }
    }

    /// The outcome that it stands for.
    ///
    /// # Errors
    /// It stands for none.
    pub fn read(self) -> Result<CallOutcome, Wrong> {
        let start = Start::ALL.get(usize::from(self.start));
        let status = Status::ALL.get(usize::from(self.status));
        Ok(CallOutcome {
            start_ms: self.start_ms,
            end_ms: self.end_ms,
            init_ms: self.init_ms,
            spent: Spent {
                init: Duration::from_micros(self.spent_us.0),
                run: Duration::from_micros(self.spent_us.1),
            },
            kind: *start.ok_or("there is no such start")?,
            outcome: Outcome {
                status: *status.ok_or("there is no such status")?,
                result: self.result.as_ref().map(json).transpose()?,
                size: self.size.and_then(|size| usize::try_from(size).ok()),
            },
            timed_out: self.timed_out,
            logs: self.logs,
            streamed: None,
        })
    }
}

impl Counted {
    /// Figures as they travel.
    pub fn of(figures: &Figures) -> Self {
        let count = |n: usize| n as u64;
        Self {
            cores: figures.cores.iter().map(Metrics::to_numbers).collect(),
            running: figures.running.iter().copied().map(count).collect(),
            waiting: (count(figures.waiting), count(figures.waiting_functions)),
            instances: (count(figures.instances), count(figures.idle)),
            snapshots: (count(figures.snapshots), figures.snapshot_bytes),
            bytes: (figures.used_bytes, figures.budget_bytes, figures.free_bytes),
            evictions: (figures.evictions, figures.snapshot_evictions),
            is_warm: figures.is_warm,
        }
    }

    /// The figures of a machine of this name. What another version has counted is not shown.
    pub fn read(&self, machine: String) -> Figures {
        let count = |n: u64| usize::try_from(n).unwrap_or(usize::MAX);
        let metrics = |numbers: &Vec<u64>| Metrics::from_numbers(numbers).unwrap_or_default();
        Figures {
            machine,
            is_up: true,
            cores: self.cores.iter().map(metrics).collect(),
            running: self.running.iter().copied().map(count).collect(),
            waiting: count(self.waiting.0),
            waiting_functions: count(self.waiting.1),
            instances: count(self.instances.0),
            idle: count(self.instances.1),
            used_bytes: self.bytes.0,
            snapshots: count(self.snapshots.0),
            snapshot_bytes: self.snapshots.1,
            evictions: self.evictions.0,
            snapshot_evictions: self.evictions.1,
            budget_bytes: self.bytes.1,
            free_bytes: self.bytes.2,
            is_warm: self.is_warm,
        }
    }
}
