//! Instances as Linux processes: the machine's own `node` or `python3` with a loader, or the function's own program, for development
//! and tests.
//!
//! A process is watched by a thread of its own, which takes what it writes and wakes the core. A program links this crate as
//! the provider of [`InstanceMaker`] by naming it: `#[ebb::main(hosted = ebb_invoker_hosted)]`.

mod executable;
mod folder;
mod process;

use std::{env, ffi::OsString, fs, io, path::Path, process::Command};

use ebb::provides;
use ebb_invoker::Container;
use ebb_invoker::instance::{
    Boxed, Instance, InstanceLimits, InstanceMaker, NewInstance, NotMade, SharedSnapshot,
};
use ebb_invoker::loader;
use ebb_openwhisk::runtimes::{Launch, Loader};

use executable::Executable;
use folder::{new_folder, written_loader};
use process::{Process, Protocol};

/// Linux, as the provider.
struct Linux;

fn node() -> OsString {
    env::var_os("EBB_NODE").unwrap_or_else(|| "node".into())
}

/// Python, unless a launch says otherwise.
fn python() -> OsString {
    env::var_os("EBB_PYTHON").unwrap_or_else(|| "/usr/bin/python3".into())
}

/// The program of a launch with a loader.
fn program(launch: &Launch) -> OsString {
    match (&launch.program, launch.loader) {
        (Some(program), _) => program.into(),
        (None, Loader::Python) => python(),
        (None, _) => node(),
    }
}

/// Starts an instance with a loader.
fn start(launch: &Launch, limits: InstanceLimits) -> Result<Process, String> {
    let place = written_loader().map_err(|error| {
        format!(
            "the loader cannot be written to {:?}: {error}",
            env::temp_dir()
        )
    })?;
    let started = new_folder().and_then(|folder| {
        let mut command = Command::new(program(launch));
        match launch.loader {
            Loader::Python => {
                let loader = place.with_file_name(loader::PYTHON);
                command.arg("-B").arg(loader).args(["--fd", "3"])
            }
            Loader::Node | Loader::Executable => command
                .arg("--expose-gc")
                .arg(format!("--max-old-space-size={}", limits.memory_mb))
                .arg(place)
                .args(["--fd", "3", "--no-marker"]),
        };
        command
            .env_clear()
            .envs(inherited())
            .env("HOME", &folder)
            .env("TMPDIR", &folder)
            .env("NODE_ENV", "production")
            .envs(
                launch
                    .environment
                    .iter()
                    .filter_map(|each| each.split_once('=')),
            );
        Process::start(command, folder, Protocol::Frames)
    });
    started.map_err(|error| {
        let program = program(launch);
        let how = match launch.loader {
            Loader::Python => "install Python 3 or set EBB_PYTHON to its path",
            _ => "install Node.js 20 or set EBB_NODE to its path",
        };
        format!("{program:?} cannot be started: {error}; {how}")
    })
}

/// What instances see of this process's environment.
fn inherited() -> impl Iterator<Item = (OsString, OsString)> {
    env::vars_os().filter(|(name, _)| name == "PATH" || name == "LANG")
}

#[provides(InstanceMaker, instance = &Linux)]
impl InstanceMaker for Linux {
    fn make(
        &self,
        launch: &Launch,
        limits: InstanceLimits,
    ) -> Boxed<'static, Result<NewInstance, NotMade>> {
        let launch = launch.clone();
        Box::pin(async move {
            let instance: Box<dyn Instance> = match launch.loader {
                Loader::Executable => Box::new(Executable::new(&launch, limits)),
                Loader::Node | Loader::Python => Box::new(start(&launch, limits)?),
            };
            Ok(NewInstance {
                instance,
                made_ahead: false,
            })
        })
    }

    /// A Node that is missing is told when it is started, with what to do.
    fn can_launch(&self, launch: &Launch) -> bool {
        match launch.loader {
            Loader::Executable => true,
            Loader::Node => launch.program.is_none() || Path::new(&program(launch)).exists(),
            Loader::Python => Path::new(&program(launch)).exists(),
        }
    }

    fn read_runtimes(&self, file: &str) -> Result<Vec<u8>, String> {
        fs::read(file).map_err(|error| format!("{file} cannot be read: {error}"))
    }

    fn description(&self) -> String {
        let version = Command::new(node()).arg("--version").output();
        let version = version.map_or_else(
            |error| format!("cannot be started ({error})"),
            |output| String::from_utf8_lossy(&output.stdout).trim().to_owned(),
        );
        format!("Linux processes, {} {version}", node().to_string_lossy())
    }

    fn read_folder(&self, folder: &str) -> Result<Vec<(String, Vec<u8>)>, String> {
        let failed =
            |error: io::Error| format!("the folder of actions {folder:?} cannot be read: {error}");
        let mut files = Vec::new();
        for entry in fs::read_dir(folder).map_err(failed)? {
            let path = entry.map_err(failed)?.path();
            if path.is_file() {
                let name = path
                    .file_name()
                    .unwrap_or_default()
                    .to_string_lossy()
                    .into_owned();
                let content = fs::read(&path)
                    .map_err(|error| format!("{} cannot be read: {error}", path.display()))?;
                files.push((name, content));
            }
        }
        files.sort();
        Ok(files)
    }

    /// There is nothing to add to Node itself.
    fn serve_container(&self, container: Container) -> Boxed<'static, Result<(), String>> {
        let place = format!("{}/loader.js", loader::FOLDER);
        let concurrent = if container.concurrent {
            " --concurrent"
        } else {
            ""
        };
        let why = format!(
            "--runtime is the image's; on Linux: node --expose-gc {place} --port {}{concurrent}",
            container.port
        );
        Box::pin(async move { Err(why) })
    }
}
