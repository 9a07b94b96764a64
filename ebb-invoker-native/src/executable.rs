//! Instances of functions that are programs. What is uploaded are the files of a UC, and the program among them runs in it: there is no
//! base and no loader. It answers lines, as [`ebb_invoker::executable`] says.
//!
//! The machine sees when a program has started: each of its threads waits. So `__OW_WAIT_FOR_ACK` is not set, and a program that
//! acknowledges nothing is as good as one that does.

use alloc::{boxed::Box, format, sync::Arc, vec::Vec};
use core::time::Duration;

use ebb::time::timeout;
use ebb_invoker::executable::upload::Upload;
use ebb_invoker::executable::{self, PROGRAM, Refusal, StartedProgram, not_started};
use ebb_invoker::instance::{
    FunctionSnapshot, Instance, InstanceLimits, Lost, NotMade, SharedSnapshot,
};
use ebb_linux::{Program, ProgramFile};
use ebb_openwhisk::runtimes::Launch;

use crate::guest::{Frozen, Guest};

/// How long a program may compute before it is taken for started.
const MOMENT: Duration = Duration::from_secs(5);
/// Where a function's files are, and its working directory.
const FOLDER: &str = "/action/bin";

/// One instance.
pub type Executable = executable::Executable<Guest>;

impl StartedProgram for Guest {
    const COPIES: bool = true;

    async fn start(
        launch: &Launch,
        limits: InstanceLimits,
        upload: Upload,
    ) -> Result<Self, Refusal> {
        let path = format!("{FOLDER}/{PROGRAM}");
        let mut program = Program::named(&[&path]).map_err(|e| not_started(e.text()))?;
        program.directory = FOLDER.into();
        let files = upload.files.into_iter().map(|file| ProgramFile {
            path: format!("{FOLDER}/{}", file.path).into_bytes(),
            mode: file.mode,
            bytes: file.bytes,
        });
        program.files = files.collect();
        for variable in launch.environment.iter().chain(&upload.environment) {
            program.set_variable(variable.as_bytes().to_vec());
        }
        let mut guest = Self::start_program(program, limits)
            .map_err(|errno| not_started(&format!("exec {path}: {}", errno.text())))?;
        // An acknowledgement, which was not asked for, answers no call: see `give_line`.
        let _ = timeout(MOMENT, guest.settled()).await;
        Ok(guest)
    }

    fn give_line(&mut self, line: Vec<u8>) {
        Self::give_line(self, line);
    }

    async fn next_line(&mut self) -> Result<Vec<u8>, Lost> {
        Self::next_line(self).await
    }

    fn kill(&mut self) {
        Self::kill(self);
    }

    fn waits(&self) -> bool {
        self.is_parked()
    }

    fn capture_program(&mut self, launch: &Launch) -> Option<SharedSnapshot> {
        Some(Arc::new(FrozenExecutable {
            frozen: self.freeze_as_origin().ok()?,
            launch: launch.clone(),
        }))
    }
}

/// A program that had started and waited for its first call.
struct FrozenExecutable {
    frozen: Frozen,
    launch: Launch,
}

impl FunctionSnapshot for FrozenExecutable {
    fn copy(&self, limits: InstanceLimits) -> Result<Box<dyn Instance>, NotMade> {
        let guest = self.frozen.copy_guest(limits)?;
        Ok(Box::new(Executable::started(&self.launch, limits, guest)))
    }

    fn memory_bytes(&self) -> u64 {
        self.frozen.memory_bytes()
    }
}
