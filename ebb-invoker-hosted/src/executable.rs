//! Functions that are programs, as Linux processes: what is uploaded are files in the folder of the instance.

use std::{fs, io, os::unix::fs::PermissionsExt, path::Path, process::Command, time::Duration};

use ebb::time::sleep;
use ebb_invoker::executable::{LineInstance, PROGRAM, Refusal, Upload, not_started, read_upload};
use ebb_invoker::instance::{Boxed, Instance, InstanceRequest, Lost};
use ebb_invoker::parts::Parts;
use ebb_openwhisk::logs::Collector;
use ebb_openwhisk::runtimes::Launch;

use crate::{
    inherited,
    process::{Process, Protocol},
};

/// How long a program has to fail before it is taken for started: nothing tells from outside that it waits for a call.
const MOMENT: Duration = Duration::from_millis(50);

/// One instance.
pub struct Executable {
    launch: Launch,
    /// There once it has been given a function.
    process: Option<Process>,
}

fn write(folder: &Path, upload: &Upload) -> io::Result<()> {
    for file in &upload.files {
        let path = folder.join(&file.path);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent)?;
        }
        fs::write(&path, &file.bytes)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(file.mode))?;
    }
    Ok(())
}

impl Executable {
    /// One without a function.
    pub fn new(launch: Launch) -> Self {
        Self {
            launch,
            process: None,
        }
    }
}

impl LineInstance for Executable {
    async fn init(&mut self, payload: &str) -> Result<(), Refusal> {
        let upload = read_upload(payload).await?;
        let started = Process::new_folder().and_then(|folder| {
            write(&folder, &upload)?;
            let variables = self.launch.environment.iter().chain(&upload.environment);
            let mut command = Command::new(folder.join(PROGRAM));
            command
                .env_clear()
                .envs(inherited())
                .env("HOME", &folder)
                .env("TMPDIR", &folder)
                .envs(variables.filter_map(|each| each.split_once('=')));
            Process::start(command, folder, Protocol::Lines)
        });
        let process = started.map_err(|error| not_started(&format!("exec {PROGRAM}: {error}")))?;
        let process = self.process.insert(process);
        sleep(MOMENT).await;
        if process.is_alive() {
            Ok(())
        } else {
            Err(not_started("command exited"))
        }
    }

    fn give_line(&mut self, line: Vec<u8>) {
        if let Some(process) = &mut self.process {
            process.give_line(line);
        }
    }

    async fn next_line(&mut self) -> Result<Vec<u8>, Lost> {
        match &mut self.process {
            Some(process) => process.next_line().await,
            None => Err(Lost::Gone),
        }
    }

    fn end(&mut self) {
        if let Some(process) = &mut self.process {
            process.kill();
        }
    }

    fn is_started(&self) -> bool {
        self.process.is_some()
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
        if let Some(process) = &mut self.process {
            process.drain_logs(into);
        }
    }

    fn is_alive(&self) -> bool {
        self.process.as_ref().is_none_or(Process::is_alive)
    }

    fn memory_bytes(&mut self) -> u64 {
        self.process.as_mut().map_or(0, Process::memory_bytes)
    }
}
