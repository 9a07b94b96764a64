//! Functions that are programs, as Linux processes: what is uploaded are files in the folder of the instance.

use std::{fs, io, os::unix::fs::PermissionsExt, path::Path, process::Command, time::Duration};

use ebb::time::sleep;
use ebb_invoker::executable::{
    PROGRAM, Refusal, Upload, answer_of, call_line, not_started, read_upload,
};
use ebb_invoker::instance::{Boxed, Instance, InstanceRequest, Lost};
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

    async fn init(&mut self, payload: &str) -> Result<(), Refusal> {
        if self.process.is_some() {
            let text = "Cannot initialize the action more than once.";
            return Err(Refusal::new(403, text));
        }
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

    async fn run(&mut self, payload: &str) -> Result<(u16, Vec<u8>), Lost> {
        let Some(process) = &mut self.process else {
            let refusal = Refusal::new(500, "no action defined yet");
            return Ok((refusal.status, refusal.body()));
        };
        let line = process.ask_line(call_line(payload)).await?;
        Ok(answer_of(&line))
    }
}

impl Instance for Executable {
    fn ask<'a>(
        &'a mut self,
        request: InstanceRequest,
        payload: &'a str,
    ) -> Boxed<'a, Result<(u16, Vec<u8>), Lost>> {
        Box::pin(async move {
            match request {
                InstanceRequest::Init => Ok(match self.init(payload).await {
                    Ok(()) => (200, b"{\"ok\":true}".to_vec()),
                    Err(refusal) => (refusal.status, refusal.body()),
                }),
                InstanceRequest::Run => self.run(payload).await,
                InstanceRequest::Reset | InstanceRequest::Thaw | InstanceRequest::Rest => {
                    Ok((200, b"{\"ok\":true}".to_vec()))
                }
            }
        })
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
