//! Functions that are programs, as Linux processes: what is uploaded are files in the folder of the instance.

use std::{fs, io, os::unix::fs::PermissionsExt, path::Path, process::Command, time::Duration};

use ebb::time::sleep;
use ebb_invoker::executable::upload::Upload;
use ebb_invoker::executable::{self, PROGRAM, Refusal, StartedProgram, not_started};
use ebb_invoker::instance::{InstanceLimits, Lost};
use ebb_openwhisk::runtimes::Launch;

use crate::{
    folder::new_folder,
    inherited,
    process::{Process, Protocol},
};

/// How long a program has to fail before it is taken for started: nothing tells from outside that it waits for a call.
const MOMENT: Duration = Duration::from_millis(50);

/// One instance.
pub type Executable = executable::Executable<Process>;

fn write(folder: &Path, upload: &Upload) -> io::Result<()> {
    for file in &upload.files {
        let path = folder.join(&file.path);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent)?;
        }
        fs::write(&path, &*file.bytes)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(file.mode))?;
    }
    Ok(())
}

impl StartedProgram for Process {
    const COPIES: bool = false;

    async fn start(launch: &Launch, _: InstanceLimits, upload: Upload) -> Result<Self, Refusal> {
        let started = new_folder().and_then(|folder| {
            write(&folder, &upload)?;
            let variables = launch.environment.iter().chain(&upload.environment);
            let mut command = Command::new(folder.join(PROGRAM));
            command
                .env_clear()
                .envs(inherited())
                .env("HOME", &folder)
                .env("TMPDIR", &folder)
                .envs(variables.filter_map(|each| each.split_once('=')));
            Self::start(command, folder, Protocol::Lines)
        });
        let process = started.map_err(|error| not_started(&format!("exec {PROGRAM}: {error}")))?;
        sleep(MOMENT).await;
        Ok(process)
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
}
