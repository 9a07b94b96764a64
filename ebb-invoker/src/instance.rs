//! The seam to what instances are made of: the component [`InstanceMaker`], which `ebb-invoker-native` provides with UCs and
//! `ebb-invoker-hosted` with Linux processes.
//!
//! An instance runs the [loader](crate::loader) and is spoken to in frames over one byte stream (`loader/channel.js`). This
//! module has the frames, the traits, and [`serve`]: how a call is made on an instance.

use alloc::{boxed::Box, format, string::String, sync::Arc, vec::Vec};
use core::future::Future;
use core::net::Ipv4Addr;
use core::pin::Pin;
use core::time::Duration;

use ebb::component;
use ebb::time::{Instant, timeout, unix_time};
use ebb_openwhisk::activation::{Answer, Outcome};
use ebb_openwhisk::call::{Call, CallOutcome, Ended, Spent, Start, Streamed};
use ebb_openwhisk::logs::Collector;
use ebb_openwhisk::runtimes::{Launch, Loader};

use crate::options::Container;
use crate::parts::{Parts, limited};
use crate::pieces::Snapshot;

/// A future of its own.
pub type Boxed<'a, T> = Pin<Box<dyn Future<Output = T> + 'a>>;

/// Bytes of a frame's header: length of the payload, id, kind or status; each `u32`, little endian. Above the status, an answer
/// has [`DREW`] and [`HOOKS`].
pub const HEADER: usize = 12;
/// Bit of an answer: since the last one, the function has drawn from a generator of the loader's.
pub const DREW: u32 = 1 << 16;
/// Bit of an answer: the function has hooks, which are called around a capture.
pub const HOOKS: u32 = 1 << 17;

/// What a request to an instance asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InstanceRequest {
    /// Load code; the payload is the body of `/init`.
    Init = 1,
    /// Run it; the payload is the body of `/run`.
    Run = 2,
    /// Forget the code.
    Reset = 3,
    /// Begin as a copy of a snapshot, with 16 bytes of entropy and the process id (`u32`); not answered.
    Thaw = 4,
    /// A capture is next: call the function's hook for it, if there is one.
    Rest = 5,
    /// As [`Run`](Self::Run), for a caller that takes the answer in parts ([`relay`](crate::relay)).
    RunInParts = 6,
    /// The caller has taken a part; not answered.
    Taken = 7,
    /// It has gone; not answered.
    Leave = 8,
}

/// A frame.
pub fn frame(id: u32, request: InstanceRequest, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap_or(u32::MAX);
    let mut bytes = Vec::with_capacity(HEADER + payload.len());
    for word in [length, id, request as u32] {
        bytes.extend_from_slice(&word.to_le_bytes());
    }
    bytes.extend_from_slice(payload);
    bytes
}

/// The most that an answer may be: more than any legal one, so that the platform's own text can say how much it was.
pub const LONGEST_ANSWER: usize = 64 << 20;

/// An answer of an instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InstanceAnswer {
    /// That of the request.
    pub id: u32,
    /// An HTTP status.
    pub status: u16,
    /// JSON.
    pub body: Vec<u8>,
    /// What the loader notes of the function besides.
    pub notes: Notes,
}

/// What is to be known about a function before its instance is captured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Notes {
    /// It has drawn something that no two instances may share, so that it cannot be captured as it is.
    pub drew: bool,
    /// It has hooks that are called around a capture.
    pub hooks: bool,
}

/// Takes an answer from the front of what an instance has written.
///
/// # Errors
/// The answer is longer than [`LONGEST_ANSWER`]; nothing that follows can be trusted.
pub fn take_answer(input: &mut Vec<u8>) -> Result<Option<InstanceAnswer>, TooLong> {
    let word =
        |at: usize| -> Option<u32> { Some(u32::from_le_bytes(*input.get(at..)?.first_chunk()?)) };
    let (Some(length), Some(id), Some(kind)) = (word(0), word(4), word(8)) else {
        return Ok(None);
    };
    let length = length as usize;
    if length > LONGEST_ANSWER {
        return Err(TooLong);
    }
    if input.len() < HEADER + length {
        return Ok(None);
    }
    let rest = input.split_off(HEADER + length);
    let mut body = core::mem::replace(input, rest);
    body.drain(..HEADER);
    Ok(Some(InstanceAnswer {
        id,
        status: u16::try_from(kind & !(DREW | HOOKS)).unwrap_or(0),
        body,
        notes: Notes {
            drew: kind & DREW != 0,
            hooks: kind & HOOKS != 0,
        },
    }))
}

/// An answer that is too long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooLong;

/// Why an instance does not answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lost {
    /// It ended.
    Gone,
    /// It used more memory than it may.
    Memory,
}

/// One instance. It belongs to a core; dropping it ends it at once, whatever it is doing.
pub trait Instance {
    /// Asks it for something and waits for the answer: status and body. A future that is dropped leaves the instance unfit
    /// for anything but to be dropped.
    fn ask<'a>(
        &'a mut self,
        request: InstanceRequest,
        payload: &'a str,
    ) -> Boxed<'a, Result<(u16, Vec<u8>), Lost>>;
    /// Gives it the function of a call, as [`InstanceRequest::Init`] with the body of `/init` does. One that takes code itself need not be
    /// told it in JSON.
    fn init<'a>(
        &'a mut self,
        call: &'a Call,
        wall_ms: u64,
    ) -> Boxed<'a, Result<(u16, Vec<u8>), Lost>> {
        let body = call.init_body(wall_ms);
        Box::pin(async move { self.ask(InstanceRequest::Init, body.as_str()).await })
    }
    /// Asks for a run whose answer may come in parts, and hands these on before it gives the answer.
    fn run_in_parts<'a>(
        &'a mut self,
        payload: &'a str,
        _parts: &'a Parts,
    ) -> Boxed<'a, Result<(u16, Vec<u8>), Lost>> {
        self.ask(InstanceRequest::Run, payload)
    }
    /// Whether it remembers what its next call has in common with what it was told, by its init or a run: [`Call::next_run_body`] is enough
    /// then.
    fn remembers_key(&self) -> bool {
        false
    }
    /// Moves what it has written to its streams.
    fn drain_logs(&mut self, into: &mut Collector);
    /// Whether it can be asked.
    fn is_alive(&self) -> bool;
    /// Bytes of memory that are its own, about.
    fn memory_bytes(&mut self) -> u64;
    /// What is to be noted of the function since this was asked the last time, or since the instance was made.
    fn take_notes(&mut self) -> Notes {
        Notes::default()
    }
    /// A snapshot of it as it is, between two requests; `None` where instances cannot be copied, or this one not now.
    fn capture(&mut self) -> Option<SharedSnapshot> {
        None
    }
    /// It has served its first call: what that took may be remembered for later copies of the same snapshot.
    fn learn(&mut self) {}
    /// Whether there is anything in it for [`rest`](Self::rest).
    fn can_rest(&self) -> bool {
        false
    }
    /// It has been idle for a while: gives memory back that it will hardly use in its next call. After a long while it gives back
    /// what that call uses as well.
    fn rest(&mut self, _long: bool) {}
    /// Whether it has taken memory since it rested.
    fn has_stirred(&self) -> bool {
        false
    }
}

/// An instance as it was once, after it had loaded a function. Any number of instances go on from there, on any core.
pub trait FunctionSnapshot: Send + Sync {
    /// Starts a copy on this core, ready for [`InstanceRequest::Run`].
    ///
    /// # Errors
    /// [`NotMade`].
    fn copy(&self, limits: InstanceLimits) -> Result<Box<dyn Instance>, NotMade>;
    /// Bytes of memory that only the snapshot holds, about.
    fn memory_bytes(&self) -> u64;
    /// Keeps it beyond the end of the platform, where that is possible, for [`InstanceMaker::kept`]. Without it an instance
    /// takes `cost_us` to start.
    fn keep(&self, _name: u128, _cost_us: u64) {}
    /// Gives it to a machine with this [base](InstanceMaker::shared_base); `None` if it is of another one, or cannot be given.
    fn give(&self, _base: u128) -> Option<Snapshot> {
        None
    }
}

/// A handle of a function's snapshot.
pub type SharedSnapshot = Arc<dyn FunctionSnapshot>;

/// Why there is no instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotMade {
    /// The machine's memory is used up: it is worth another try when other instances have ended.
    pub out_of_memory: bool,
    /// A text for the caller.
    pub why: String,
}

impl From<String> for NotMade {
    /// For other reasons than memory.
    fn from(why: String) -> Self {
        Self {
            out_of_memory: false,
            why,
        }
    }
}

/// What an instance may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InstanceLimits {
    /// MB of memory.
    pub memory_mb: u32,
}

impl InstanceLimits {
    /// The limits of an action that says nothing of them.
    pub const USUAL: Self = Self { memory_mb: 256 };
}

/// An instance that has just been made.
pub struct NewInstance {
    /// The instance.
    pub instance: Box<dyn Instance>,
    /// It had been made before it was asked for.
    pub made_ahead: bool,
}

/// Makes instances. What a platform has no better answer for has a default.
#[component]
pub trait InstanceMaker {
    /// Makes an instance on this core, ready for [`InstanceRequest::Init`].
    fn make(
        &self,
        launch: &Launch,
        limits: InstanceLimits,
    ) -> Boxed<'static, Result<NewInstance, NotMade>>;
    /// Whether instances can be launched so: whether the program is there.
    fn can_launch(&self, launch: &Launch) -> bool;
    /// Bytes that should be given back before another instance is made, because the machine has less memory left than it
    /// keeps for everything else; 0 when there is enough.
    fn missing_bytes(&self) -> u64 {
        0
    }
    /// Whether new instances are made at the cost that they will have, now that the platform has run for a while.
    fn is_warm(&self) -> bool {
        true
    }
    /// How many instances of this core were made ahead and have not been asked for yet.
    fn made_ahead(&self) -> usize {
        0
    }
    /// Bytes that instances and their snapshots may use together on this machine.
    fn budget_bytes(&self) -> u64 {
        3 << 30
    }
    /// Bytes of memory that are free at the moment; 0 where that is not known.
    fn free_bytes(&self) -> u64 {
        0
    }
    /// Bytes that a new instance takes, about.
    fn new_instance_bytes(&self) -> u64 {
        48 << 20
    }
    /// Whether instances run in their core's own time, so that a core with nothing to run has none that computes.
    fn uses_own_time(&self) -> bool {
        false
    }
    /// Does what takes long before the first instance of a launch, on this core; ends when it is done, or cannot be: that is told
    /// to whoever asks for an instance.
    fn prepare(&self, _: &Launch) -> Boxed<'static, ()> {
        Box::pin(core::future::ready(()))
    }
    /// Whether any may be [kept](FunctionSnapshot::keep).
    fn keeps(&self) -> bool {
        false
    }
    /// The snapshot that was [kept](FunctionSnapshot::keep) of a function under this name, if there is one, and its cost.
    fn kept(&self, _: &Launch, _name: u128) -> Boxed<'static, Option<(SharedSnapshot, u64)>> {
        Box::pin(core::future::ready(None))
    }
    /// The content of what instances of this launch are copies of, which other machines may have as well; `None` while there is none that
    /// could be given, and where instances are no copies.
    fn shared_base(&self, _: &Launch) -> Option<u128> {
        None
    }
    /// Gives what instances of this launch are copies of to another machine, if it is what it will be.
    fn give_base(&self, _: &Launch) -> Option<::ebb_invoker::pieces::Snapshot> {
        None
    }
    /// Takes what instances of this launch are to be copies of from another machine. `None` if there is no piece.
    fn take_base(
        &self,
        _: &Launch,
        _: ::ebb_invoker::pieces::Snapshot,
    ) -> Boxed<'static, ::ebb_invoker::pieces::Fetched<()>> {
        Box::pin(core::future::ready(Ok(None)))
    }
    /// Takes a function's snapshot, which [`FunctionSnapshot::give`] has given, from another machine. `None` if there is no piece.
    fn take_function(
        &self,
        _: &Launch,
        _: ::ebb_invoker::pieces::Snapshot,
    ) -> Boxed<'static, ::ebb_invoker::pieces::Fetched<SharedSnapshot>> {
        Box::pin(core::future::ready(Ok(None)))
    }
    /// Makes what instances of this launch are copies of, and writes it to the machine's disk, for other machines to begin with.
    ///
    /// # Errors
    /// A text that says why not.
    fn bake(&self, _: &Launch) -> Boxed<'static, Result<(), String>> {
        Box::pin(core::future::ready(Err(
            "instances here are no copies of anything".into(),
        )))
    }
    /// Where instances reach this machine; `None` while that is not known.
    fn machine_address(&self) -> Option<core::net::IpAddr> {
        Some(Ipv4Addr::LOCALHOST.into())
    }
    /// Where instances reach the machine that has started this one.
    fn host_address(&self) -> core::net::IpAddr {
        Ipv4Addr::LOCALHOST.into()
    }
    /// What instances are, in words for people.
    fn description(&self) -> String;
    /// The files of a folder that the program was given: name and content of each.
    ///
    /// # Errors
    /// A text that says what to do.
    fn read_folder(&self, folder: &str) -> Result<Vec<(String, Vec<u8>)>, String>;
    /// The manifest of runtimes that the program was given.
    ///
    /// # Errors
    /// A text that says what to do.
    fn read_runtimes(&self, file: &str) -> Result<Vec<u8>, String> {
        Err(format!("{file} cannot be read here"))
    }
    /// Is one action container, until Node ends.
    ///
    /// # Errors
    /// Node cannot be started, or ended with a failure: an action may do that.
    fn serve_container(&self, container: Container) -> Boxed<'static, Result<(), String>>;
}

fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// Makes a call on an instance, after an init if `start` is cold. Gives back what came of it, and what is to be noted of an init;
/// the instance may be used again if [`Outcome::instance_lives`]. With `parts` the answer may come in parts, which go there.
pub async fn serve(
    instance: &mut dyn Instance,
    call: &Call,
    start: Start,
    parts: Option<&Parts>,
) -> (CallOutcome, Notes) {
    let limits = call.action.limits;
    let limit = Duration::from_millis(limits.timeout_ms.into());
    let mut logs = Collector::new(limits.logs_mb);
    let (began, wall_ms) = (Instant::now(), milliseconds(unix_time()));
    let mut init_ms = None;
    let mut spent = Spent::default();
    let mut of_init = Notes::default();
    let loader = call.code().map(|code| code.runtime.launch.loader);
    let loader = loader.unwrap_or(Loader::Node);
    let answer = 'answer: {
        if start == Start::Cold {
            let asked = timeout(limit, instance.init(call, wall_ms)).await;
            spent.init = began.elapsed();
            of_init = instance.take_notes();
            init_ms = Some(milliseconds(spent.init));
            match asked {
                Ok(Ok((200, _))) => {}
                Ok(Ok((status, body))) => break 'answer Answer::InitFailed { status, body },
                Ok(Err(Lost::Gone)) => break 'answer Answer::lost_in_init(loader),
                Ok(Err(Lost::Memory)) => break 'answer Answer::OutOfMemory,
                Err(_) => break 'answer Answer::InitTimeout,
            }
        }
        let now_ms = milliseconds(unix_time());
        let body = match instance.remembers_key() {
            true => call.next_run_body(now_ms),
            false => call.run_body(now_ms),
        };
        let ran = match parts {
            None => timeout(limit, instance.ask(InstanceRequest::Run, body.as_str())).await,
            Some(parts) => {
                let total = Duration::from_millis(call.stream_timeout_ms());
                parts.go();
                limited(
                    limit,
                    total,
                    parts,
                    instance.run_in_parts(body.as_str(), parts),
                )
                .await
            }
        };
        match ran {
            Ok(Ok((status, body))) => Answer::Run { status, body },
            Ok(Err(Lost::Gone)) => Answer::lost_in_run(loader),
            Ok(Err(Lost::Memory)) => Answer::OutOfMemory,
            Err(_) => Answer::RunTimeout,
        }
    };
    let elapsed = began.elapsed();
    spent.run = elapsed.saturating_sub(spent.init);
    let end_ms = wall_ms + milliseconds(elapsed);
    instance.drain_logs(&mut logs);
    let mut outcome = Outcome::of(&answer, limits.timeout_ms);
    let streamed = parts.and_then(|parts| end(parts, &mut outcome));
    let now_ns = u64::try_from(unix_time().as_nanos()).unwrap_or(u64::MAX);
    let ran = CallOutcome {
        start_ms: wall_ms,
        end_ms,
        init_ms,
        spent,
        kind: start,
        timed_out: answer.timed_out(),
        logs: logs.finish(now_ns, !outcome.instance_lives()),
        outcome,
        streamed,
    };
    (ran, of_init)
}

/// Ends an answer in parts, if it was one. What it began with is the result; a client that went away makes no error.
fn end(parts: &Parts, outcome: &mut Outcome) -> Option<Streamed> {
    let ended = match outcome.is_error() {
        true => Ended::Broken,
        false => Ended::Complete,
    };
    let streamed = parts.end(ended)?;
    if streamed.ended != Ended::Broken {
        *outcome = Outcome::success(parts.head()?);
    }
    Some(streamed)
}
