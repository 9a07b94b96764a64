//! Instances of functions that are programs. What is uploaded are the files of a UC, and the program among them runs in it: there is no
//! base and no loader. It answers lines, as [`ebb_invoker::executable`] says.
//!
//! The machine sees when a program has started: each of its threads waits. So `__OW_WAIT_FOR_ACK` is not set, and a program that
//! acknowledges nothing is as good as one that does.

use alloc::{boxed::Box, format, sync::Arc, vec::Vec};
use core::time::Duration;

use ebb::time::timeout;
use ebb_invoker::executable::{
    LineInstance, PROGRAM, Refusal, Upload, is_of_go, not_started, read_upload,
};
use ebb_invoker::instance::{
    Boxed, FunctionSnapshot, Instance, InstanceLimits, InstanceRequest, Lost, NotMade, Notes,
    SharedSnapshot,
};
use ebb_invoker::parts::Parts;
use ebb_linux::{Program, ProgramFile};
use ebb_openwhisk::logs::Collector;
use ebb_openwhisk::runtimes::Launch;

use crate::guest::{Frozen, Guest};

/// How long a program may compute before it is taken for started.
const MOMENT: Duration = Duration::from_secs(5);
/// Where a function's files are, and its working directory.
const FOLDER: &str = "/action/bin";

/// One instance.
pub struct Executable {
    launch: Launch,
    limits: InstanceLimits,
    /// There once it has been given a function.
    guest: Option<Guest>,
    /// It may not be copied: its program draws randomness by itself.
    draws: bool,
    /// It has served a call.
    ran: bool,
}

impl Executable {
    /// One without a function.
    pub fn new(launch: &Launch, limits: InstanceLimits) -> Self {
        Self {
            launch: launch.clone(),
            limits,
            guest: None,
            draws: false,
            ran: false,
        }
    }
}

impl LineInstance for Executable {
    /// Starts a function's program, up to where it waits.
    async fn init(&mut self, payload: &str) -> Result<(), Refusal> {
        let Upload { files, environment } = read_upload(payload).await?;
        let program = files.iter().find(|file| file.path == PROGRAM);
        self.draws = program.is_some_and(|file| is_of_go(&file.bytes));
        let path = format!("{FOLDER}/{PROGRAM}");
        let mut program = Program::named(&[&path]).map_err(|e| not_started(e.text()))?;
        program.directory = FOLDER.into();
        let place = |path: &str| format!("{FOLDER}/{path}").into_bytes();
        program.files = files
            .into_iter()
            .map(|file| ProgramFile {
                path: place(&file.path),
                mode: file.mode,
                bytes: file.bytes,
            })
            .collect();
        for variable in self.launch.environment.iter().chain(&environment) {
            program.set_variable(variable.as_bytes().to_vec());
        }
        let guest = Guest::start_program(program, self.limits)
            .map_err(|errno| not_started(&format!("exec {path}: {}", errno.text())))?;
        let guest = self.guest.insert(guest);
        match timeout(MOMENT, guest.settled()).await {
            Ok(false) => Err(not_started("command exited")),
            // An acknowledgement, which was not asked for, answers no call: see `Guest::ask_line`.
            _ => Ok(()),
        }
    }

    fn give_line(&mut self, line: Vec<u8>) {
        self.ran = true;
        if let Some(guest) = &mut self.guest {
            guest.give_line(line);
        }
    }

    async fn next_line(&mut self) -> Result<Vec<u8>, Lost> {
        match &mut self.guest {
            Some(guest) => guest.next_line().await,
            None => Err(Lost::Gone),
        }
    }

    fn end(&mut self) {
        if let Some(guest) = &mut self.guest {
            guest.kill();
        }
    }

    fn is_started(&self) -> bool {
        self.guest.is_some()
    }
}

impl Instance for Executable {
    fn ask<'a>(
        &'a mut self,
        request: InstanceRequest,
        payload: &'a str,
    ) -> Boxed<'a, Result<(u16, Vec<u8>), Lost>> {
        Box::pin(self.answer(request, payload))
    }

    fn run_in_parts<'a>(
        &'a mut self,
        payload: &'a str,
        parts: &'a Parts,
    ) -> Boxed<'a, Result<(u16, Vec<u8>), Lost>> {
        Box::pin(self.answer_in_parts(payload, parts))
    }

    fn drain_logs(&mut self, into: &mut Collector) {
        if let Some(guest) = &mut self.guest {
            guest.drain_logs(into);
        }
    }

    fn is_alive(&self) -> bool {
        self.guest.as_ref().is_none_or(Guest::is_alive)
    }

    fn memory_bytes(&mut self) -> u64 {
        self.guest.as_mut().map_or(0, Guest::memory_bytes)
    }

    /// What a program draws without asking the machine nobody sees, so whatever has served a call is not copied: another
    /// instance is started for that.
    fn take_notes(&mut self) -> Notes {
        let started = self.guest.as_mut().map(Guest::take_notes);
        Notes {
            drew: self.draws || self.ran || started.is_none_or(|notes| notes.drew),
            hooks: false,
        }
    }

    fn capture(&mut self) -> Option<SharedSnapshot> {
        let frozen = self.guest.as_mut()?.freeze().ok()?;
        Some(Arc::new(FrozenExecutable {
            frozen,
            launch: self.launch.clone(),
        }))
    }

    fn learn(&mut self) {
        if let Some(guest) = &mut self.guest {
            guest.learn();
        }
    }
}

/// A program that had started and waited for its first call.
struct FrozenExecutable {
    frozen: Frozen,
    launch: Launch,
}

impl FunctionSnapshot for FrozenExecutable {
    fn copy(&self, limits: InstanceLimits) -> Result<Box<dyn Instance>, NotMade> {
        Ok(Box::new(Executable {
            launch: self.launch.clone(),
            limits,
            guest: Some(self.frozen.copy_guest(limits)?),
            draws: false,
            ran: false,
        }))
    }

    fn memory_bytes(&self) -> u64 {
        self.frozen.memory_bytes()
    }
}
