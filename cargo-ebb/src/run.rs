//! `cargo ebb run`: Cargo, with this program as what starts images.

use std::{
    env,
    ffi::OsString,
    fs,
    os::unix::process::CommandExt,
    path::Path,
    process::{Command, ExitCode},
};

use ebb_runner::config;
use toml_edit::{DocumentMut, Value};

use crate::{
    arguments::{Build, Run},
    failure::{Failure, Result, at},
    project::{Depth, Project, cargo, no_program},
};

/// The table of Cargo's configuration that says what programs are started with.
pub const TARGET: &str = "target.x86_64-unknown-linux-gnu";

/// Runs the program: becomes Cargo.
///
/// # Errors
/// When there is no project, or Cargo cannot be executed.
pub fn run(options: &Run) -> Result<ExitCode> {
    let given = given(options);
    if !options.hosted {
        check(&given, |name| env::var_os(name))?;
    }
    let project = find(&options.build)?;
    if options.build.example.is_none() && project.targets("bin").is_empty() {
        return Err(no_program());
    }
    let mut command = cargo();
    let is_process = env::var_os("EBB_PLATFORM").is_some_and(|platform| platform == "hosted");
    let started = if options.hosted || is_process {
        Started::Anything
    } else {
        Started::Images
    };
    command.arg("run").args(with_runner(started)?);
    // The configuration above has the last word; this one the build script sees.
    command.env(
        "CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUNNER",
        "cargo-ebb runner",
    );
    if options.hosted {
        hosted(&mut command, &project, options.build.release)?;
    } else if options.build.release {
        command.arg("--release");
    }
    select(&mut command, &options.build);
    for (_, variable, value) in given {
        command.env(variable, value);
    }
    command.arg("--").args(&options.arguments);
    Err(Failure(format!(
        "Cargo cannot be executed: {}",
        command.exec()
    )))
}

/// The options that stand for variables: option, variable, value.
fn given(options: &Run) -> Vec<(&'static str, &'static str, String)> {
    [
        ("--cores", "EBB_CORES", options.cores.map(|n| n.to_string())),
        ("--memory", "EBB_MEMORY", options.memory.clone()),
        ("--forward", "EBB_FORWARD", options.forward.clone()),
        ("--disk", "EBB_DISK", options.disk.clone()),
    ]
    .into_iter()
    .filter_map(|(option, variable, value)| Some((option, variable, value?)))
    .collect()
}

/// What the runner would refuse of its variables is refused before anything is built.
pub fn check_variables() -> Result<()> {
    check(&[], |name| env::var_os(name))
}

/// Likewise with options that stand for variables, in the words of the command line.
fn check(
    given: &[(&str, &str, String)],
    environment: impl Fn(&str) -> Option<OsString>,
) -> Result<()> {
    let value = |name: &str| {
        let found = given.iter().find(|(_, variable, _)| *variable == name);
        found.map_or_else(|| environment(name), |(_, _, value)| Some(value.into()))
    };
    let errors = match config::parse(value, 1) {
        Ok(config) => config::places::unusable(&config, true, value),
        Err(errors) => errors,
    };
    if errors.is_empty() {
        return Ok(());
    }
    let told = errors.into_iter().map(|error| {
        let found = given.iter().find(|(_, name, _)| error.starts_with(name));
        found.map_or(error.clone(), |(option, variable, _)| {
            error.replacen(variable, option, 1)
        })
    });
    Err(Failure(told.collect::<Vec<_>>().join("\n")))
}

/// The project that these options are about.
pub fn find(build: &Build) -> Result<Project> {
    let project = Project::find(
        build.manifest_path.as_deref(),
        build.package.as_deref(),
        Depth::Own,
    )?;
    Ok(match (&build.package, &build.example) {
        (None, Some(example)) => project.with_example(example),
        _ => project,
    })
}

/// What is started.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Started {
    /// Images only: a Linux program is refused.
    Images,
    /// Linux programs too.
    Anything,
}

/// Before the image in the runner's arguments: see [`Started::Images`].
pub const IMAGES: &str = "--image";

/// Cargo's arguments that make this program what programs are started with, whatever the project's configuration says.
pub fn with_runner(started: Started) -> Result<[OsString; 2]> {
    let this = env::current_exe().map_err(at("the path of this program"))?;
    let this = this.to_string_lossy();
    // A text, which is split at blanks: Cargo refuses to merge a list with what a configuration has.
    let program = if this.contains(char::is_whitespace) {
        "cargo-ebb"
    } else {
        &*this
    };
    let only = match started {
        Started::Images => IMAGES,
        Started::Anything => "",
    };
    let runner = Value::from(format!("{program} runner {only}").trim_end());
    Ok([
        "--config".into(),
        format!("{TARGET}.runner = {runner}").into(),
    ])
}

/// Makes Cargo build Linux processes.
fn hosted(command: &mut Command, project: &Project, release: bool) -> Result<()> {
    if release {
        command.arg("--release").env("EBB_PLATFORM", "hosted");
    } else if has_profile(&project.root_manifest(), "hosted")? {
        // With files of its own, so that going to and fro builds nothing again.
        command
            .args(["--profile", "hosted"])
            .env_remove("EBB_PLATFORM");
    } else {
        command.env("EBB_PLATFORM", "hosted");
    }
    Ok(())
}

fn has_profile(manifest: &Path, name: &str) -> Result<bool> {
    let text = fs::read_to_string(manifest).map_err(at(manifest.display()))?;
    let manifest_text: DocumentMut = text.parse().map_err(at(manifest.display()))?;
    Ok(manifest_text
        .get("profile")
        .is_some_and(|profiles| profiles.get(name).is_some()))
}

/// Says what is to be built.
pub fn select(command: &mut Command, build: &Build) {
    let named = [
        ("--package", &build.package),
        ("--bin", &build.bin),
        ("--example", &build.example),
    ];
    for (option, value) in named {
        if let Some(value) = value {
            command.args([option, value.as_str()]);
        }
    }
    with_features(command, build);
}

/// Says with which features, of which project.
pub fn with_features(command: &mut Command, build: &Build) {
    if let Some(features) = &build.features {
        command.args(["--features", features]);
    }
    if let Some(manifest) = &build.manifest_path {
        command.arg("--manifest-path").arg(manifest);
    }
}

#[cfg(test)]
mod tests {
    use super::check;

    #[test]
    fn what_the_runner_would_refuse_is_told_of_the_option_before_a_build() {
        let memory = ("--memory", "EBB_MEMORY", "x".to_owned());
        let forward = ("--forward", "EBB_FORWARD", "80".to_owned());
        let told = check(&[memory, forward], |_| None).unwrap_err().0;
        assert!(told.starts_with("--memory is `x`; accepted"), "{told}");
        assert!(told.contains("\n--forward is `80`; accepted"), "{told}");
        assert!(!told.contains("EBB_"), "{told}");
        let disk = ("--disk", "EBB_DISK", "/nowhere/d".to_owned());
        let core = |name: &str| (name == "EBB_CORE").then(|| "/nowhere/c".into());
        let told = check(&[disk], core).unwrap_err().0;
        assert!(
            told.contains("--disk is `/nowhere/d`: there is no folder"),
            "{told}"
        );
        assert!(
            told.contains("EBB_CORE is `/nowhere/c`: there is no folder"),
            "{told}"
        );
        check(&[("--memory", "EBB_MEMORY", "1G".to_owned())], |_| None).unwrap();
    }
}
