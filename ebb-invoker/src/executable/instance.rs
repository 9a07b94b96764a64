//! An instance of a function that is a program, and what a platform adds to one: how the program is started and spoken to.

use alloc::{boxed::Box, string::String, vec::Vec};
use core::future::Future;

use ebb::{EbbRef, time};
use ebb_openwhisk::call::Call;
use ebb_openwhisk::logs::{Collector, Stream};
use ebb_openwhisk::runtimes::Launch;

use super::ahead::Unpacked;
use super::lines::{Line, answer_of, call_line, call_line_in_parts, read_line};
use super::upload::{Upload, is_of_go, read_upload, upload_of};
use super::{PROGRAM, Refusal, not_started};
use crate::instance::{
    Boxed, Instance, InstanceLimits, InstanceRequest, Lost, Notes, SharedSnapshot,
};
use crate::parts::Parts;
use crate::relay::next_or_gone;

/// A function's program, started on one of the platforms.
pub trait StartedProgram: Instance + Sized + 'static {
    /// Whether one that waits for its first call can be captured.
    const COPIES: bool;
    /// Starts what was uploaded, up to where it waits for its first line, or has ended.
    ///
    /// # Errors
    /// [`Refusal`].
    fn start(
        launch: &Launch,
        limits: InstanceLimits,
        upload: Upload,
    ) -> impl Future<Output = Result<Self, Refusal>>;
    /// Gives it a line. Lines that came before this one was given answer nothing.
    fn give_line(&mut self, line: Vec<u8>);
    /// Waits for its next line.
    ///
    /// # Errors
    /// [`Lost`].
    fn next_line(&mut self) -> impl Future<Output = Result<Vec<u8>, Lost>>;
    /// Ends it.
    fn kill(&mut self);
    /// Whether it waits for its first line and does nothing else.
    fn waits(&self) -> bool {
        false
    }
    /// A snapshot whose copies are [`Executable`]s. It is such a copy itself from then on, so that it can
    /// [rest](Instance::rest).
    fn capture_program(&mut self, _: &Launch) -> Option<SharedSnapshot> {
        None
    }
}

/// One instance.
pub struct Executable<P> {
    launch: Launch,
    limits: InstanceLimits,
    /// There once it has been given a function.
    program: Option<P>,
    /// What the logs are to say of an init that failed: of the platform's own, and the program that ended.
    said: Option<String>,
    failed: Option<P>,
    /// The program as it was before its first call, when nothing had been drawn, until somebody takes it.
    snapshot: Option<SharedSnapshot>,
    /// Its program draws randomness by itself, or had drawn some when it had started.
    draws: bool,
    /// It has served a call.
    ran: bool,
}

impl<P: StartedProgram> Executable<P> {
    /// One without a function.
    pub fn new(launch: &Launch, limits: InstanceLimits) -> Self {
        Self {
            launch: launch.clone(),
            limits,
            program: None,
            said: None,
            failed: None,
            snapshot: None,
            draws: false,
            ran: false,
        }
    }

    /// One whose program waits for its first call.
    pub fn started(launch: &Launch, limits: InstanceLimits, program: P) -> Self {
        Self {
            program: Some(program),
            ..Self::new(launch, limits)
        }
    }

    async fn start(
        &mut self,
        upload: impl Future<Output = Result<Upload, Refusal>>,
    ) -> Result<(), Refusal> {
        if self.program.is_some() {
            return Err(Refusal::new(
                403,
                "Cannot initialize the action more than once.",
            ));
        }
        let upload = upload.await?;
        let program = upload.files.iter().find(|file| file.path == PROGRAM);
        self.draws = program.is_some_and(|file| is_of_go(&file.bytes));
        let mut program = P::start(&self.launch, self.limits, upload).await?;
        if !program.is_alive() {
            self.failed = Some(program);
            return Err(not_started("command exited"));
        }
        // All in one event, so that nothing is drawn in between. What its calls draw is this instance's alone.
        self.draws |= program.take_notes().drew;
        if !self.draws && program.waits() {
            self.snapshot = program.capture_program(&self.launch);
        }
        self.program = Some(program);
        Ok(())
    }

    /// Starts a call's program, from the files that there are of it if there are any.
    async fn load(&mut self, call: &Call, wall_ms: u64) -> Result<(), Refusal> {
        let unpacked = EbbRef::<Unpacked>::get();
        let code = call.code().map(|code| &code.code);
        let known = code.and_then(|code| unpacked.get(code));
        self.start(async {
            let upload = upload_of(call, wall_ms, known).await?;
            if let Some(code) = code {
                unpacked.keep(code, &upload.files);
            }
            Ok(upload)
        })
        .await?;
        if self.snapshot.is_some()
            && call.action.allows_snapshot()
            && let Some(code) = code
        {
            unpacked.forget(code);
        }
        Ok(())
    }

    /// The answer to an init.
    fn told(&mut self, started: Result<(), Refusal>) -> (u16, Vec<u8>) {
        let Err(refusal) = started else {
            return (200, OK.to_vec());
        };
        let answer = (refusal.status, refusal.body());
        self.said = refusal.log;
        answer
    }

    /// Answers a request as the loader of another language does.
    async fn answer(
        &mut self,
        request: InstanceRequest,
        payload: &str,
    ) -> Result<(u16, Vec<u8>), Lost> {
        match request {
            InstanceRequest::Init => {
                let started = self.start(read_upload(payload)).await;
                Ok(self.told(started))
            }
            InstanceRequest::Run | InstanceRequest::RunInParts => {
                let Some(program) = &mut self.program else {
                    return Ok(not_defined());
                };
                self.ran = true;
                program.give_line(call_line(payload));
                Ok(answer_of(&program.next_line().await?))
            }
            InstanceRequest::Reset
            | InstanceRequest::Thaw
            | InstanceRequest::Rest
            | InstanceRequest::Taken
            | InstanceRequest::Leave => Ok((200, OK.to_vec())),
        }
    }

    async fn answer_in_parts(
        &mut self,
        payload: &str,
        parts: &Parts,
    ) -> Result<(u16, Vec<u8>), Lost> {
        let Some(program) = &mut self.program else {
            return Ok(not_defined());
        };
        self.ran = true;
        program.give_line(call_line_in_parts(payload));
        let line = relay_lines(program, parts).await?;
        line.map(|line| answer_of(&line)).ok_or(Lost::Gone)
    }
}

fn not_defined() -> (u16, Vec<u8>) {
    (500, Refusal::new(500, "no action defined yet").body())
}

/// The body of an answer that says no more than that.
const OK: &[u8] = b"{\"ok\":true}";

/// Hands on the parts that a program's lines are; its answer is the first other line. `None` if the client has gone: a program that
/// answers lines hears of nothing between calls, so it is ended.
///
/// # Errors
/// [`Lost`].
async fn relay_lines<P: StartedProgram>(
    program: &mut P,
    parts: &Parts,
) -> Result<Option<Vec<u8>>, Lost> {
    let mut has_begun = false;
    loop {
        let Some(line) = next_or_gone(program.next_line(), parts).await else {
            program.kill();
            return Ok(None);
        };
        let line = line?;
        match read_line(&line, has_begun) {
            Line::Head(head) => {
                has_begun = true;
                parts.begin(head);
            }
            Line::Part(bytes) if bytes.is_empty() => {}
            Line::Part(bytes) => {
                if parts.send(bytes).await.is_err() {
                    program.kill();
                    return Ok(None);
                }
            }
            Line::Answer => return Ok(Some(line)),
        }
    }
}

impl<P: StartedProgram> Instance for Executable<P> {
    fn ask<'a>(
        &'a mut self,
        request: InstanceRequest,
        payload: &'a str,
    ) -> Boxed<'a, Result<(u16, Vec<u8>), Lost>> {
        Box::pin(self.answer(request, payload))
    }

    fn init<'a>(
        &'a mut self,
        call: &'a Call,
        wall_ms: u64,
    ) -> Boxed<'a, Result<(u16, Vec<u8>), Lost>> {
        Box::pin(async move {
            let started = self.load(call, wall_ms).await;
            Ok(self.told(started))
        })
    }

    fn run_in_parts<'a>(
        &'a mut self,
        payload: &'a str,
        parts: &'a Parts,
    ) -> Boxed<'a, Result<(u16, Vec<u8>), Lost>> {
        Box::pin(self.answer_in_parts(payload, parts))
    }

    fn drain_logs(&mut self, into: &mut Collector) {
        if let Some(mut failed) = self.failed.take() {
            failed.drain_logs(into);
        }
        if let Some(said) = self.said.take() {
            let now_ns = u64::try_from(time::unix_time().as_nanos()).unwrap_or(u64::MAX);
            into.push(Stream::Err, now_ns, said.as_bytes());
            into.push(Stream::Err, now_ns, b"\n");
        }
        if let Some(program) = &mut self.program {
            program.drain_logs(into);
        }
    }

    fn is_alive(&self) -> bool {
        self.program.as_ref().is_none_or(P::is_alive)
    }

    fn memory_bytes(&mut self) -> u64 {
        // Nobody else counts a snapshot that has not been taken.
        let snapshot = self.snapshot.as_ref().map_or(0, |s| s.memory_bytes());
        snapshot + self.program.as_mut().map_or(0, P::memory_bytes)
    }

    /// What a program draws without asking the machine nobody sees, so whatever has served a call is not copied: what is, is the
    /// program as it was before, or another instance that is started for that.
    fn take_notes(&mut self) -> Notes {
        if self.snapshot.is_some() {
            return Notes::default();
        }
        let started = self.program.as_mut().map(P::take_notes);
        let drew = self.draws || self.ran || started.is_none_or(|notes| notes.drew);
        Notes {
            drew: P::COPIES && drew,
            hooks: false,
        }
    }

    fn capture(&mut self) -> Option<SharedSnapshot> {
        let captured = self.snapshot.take();
        captured.or_else(|| self.program.as_mut()?.capture_program(&self.launch))
    }

    fn learn(&mut self) {
        if let Some(program) = &mut self.program {
            program.learn();
        }
    }

    fn can_rest(&self) -> bool {
        self.program.as_ref().is_some_and(P::can_rest)
    }

    fn rest(&mut self, long: bool) {
        if let Some(program) = &mut self.program {
            program.rest(long);
        }
    }

    fn has_stirred(&self) -> bool {
        self.program.as_ref().is_some_and(P::has_stirred)
    }
}
