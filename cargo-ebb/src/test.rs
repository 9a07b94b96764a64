//! `cargo ebb test`: the project's tests as a Linux process, then in images.
//!
//! An image of tests is a program that says `ebb::test_image!()`. A panic is the end of an image, so after a failed test it is
//! booted again for those that come after.

use std::{
    env,
    ffi::OsString,
    io::{BufRead, BufReader, Write, stdout},
    path::Path,
    process::{Command, ExitCode, Stdio},
};

use crate::{
    arguments::{Build, Test},
    failure::{Result, at},
    program::{self, Symbols},
    project::{Project, cargo},
    run::{Started, check_variables, find, select, with_runner},
    say::say,
};

/// Seconds that one boot may take, unless `EBB_TIMEOUT` says otherwise.
const TIME_LIMIT: &str = "300";

/// Runs the tests.
///
/// # Errors
/// When there is no project, or an image cannot be built. Tests that fail are the exit status.
pub fn test(options: &Test) -> Result<ExitCode> {
    if !options.hosted {
        check_variables()?;
    }
    let project = find(&options.build)?;
    let mut passed = true;
    if !options.image {
        passed &= hosted(options)?;
    }
    if !options.hosted {
        let images = images(&project, &options.build);
        if images.is_empty() {
            eprintln!(
                "cargo ebb: {} has no image of its tests. Write examples/test-image.rs, which names the modules with \
                 `#[ebb::test]`s and says `ebb::test_image!();` (`cargo ebb new` makes such a one), or say `--hosted`.",
                project.name()
            );
            passed = false;
        }
        for (kind, name) in images {
            let image = program::build(kind, &name, &options.build, Symbols::Profile)?;
            for cores in &options.cores {
                passed &= boot_all(&image, &name, *cores, &options.arguments)?;
            }
        }
    }
    Ok(if passed {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// `cargo test`.
fn hosted(options: &Test) -> Result<bool> {
    let mut command = cargo();
    command.arg("test").args(with_runner(Started::Anything)?);
    if options.build.release {
        command.arg("--release");
    }
    select(&mut command, &options.build);
    command.arg("--").args(&options.arguments);
    let status = command.status().map_err(at("Cargo cannot be executed"))?;
    Ok(status.success())
}

/// The programs that are images of tests: what kind of target, and its name.
fn images(project: &Project, build: &Build) -> Vec<(&'static str, String)> {
    let kinds = [
        ("--bin", "bin", &build.bin),
        ("--example", "example", &build.example),
    ];
    let of_all = build.bin.is_none() && build.example.is_none();
    let mut images = Vec::new();
    for (option, kind, only) in kinds {
        for target in project.targets(kind) {
            let chosen = of_all || only.as_ref() == Some(&target.name);
            if chosen && target.text().contains("test_image!") {
                images.push((option, target.name));
            }
        }
    }
    images
}

/// Boots an image for all its tests; says whether all have passed.
fn boot_all(image: &Path, name: &str, cores: u32, arguments: &[OsString]) -> Result<bool> {
    say!(
        "\n     Booting {name} with {cores} core{}",
        if cores == 1 { "" } else { "s" }
    );
    let mut failed: Vec<String> = Vec::new();
    let mut after = None;
    loop {
        let (running, ended) = boot(image, cores, arguments, after.as_deref())?;
        if ended {
            break;
        }
        let Some(test) = running else {
            say!("\nthe image ended before or after its tests, which is a failure");
            return Ok(false);
        };
        say!("test {test} ... FAILED");
        failed.push(test.clone());
        after = Some(test);
    }
    if !failed.is_empty() {
        say!(
            "\nfailures in {name} with {cores} cores:\n    {}\n",
            failed.join("\n    ")
        );
    }
    Ok(failed.is_empty())
}

/// Boots an image once. Gives the test that was running at the end, if any, and whether all went well.
fn boot(
    image: &Path,
    cores: u32,
    arguments: &[OsString],
    after: Option<&str>,
) -> Result<(Option<String>, bool)> {
    let this = env::current_exe().map_err(at("the path of this program"))?;
    let mut command = Command::new(&this);
    command
        .arg("runner")
        .arg(image)
        .args(arguments)
        .args(after.map(|test| ["--after", test]).into_iter().flatten())
        .env("EBB_CORES", cores.to_string())
        .env("EBB_QUIET", "1")
        .stdin(Stdio::null())
        .stdout(Stdio::piped());
    if env::var_os("EBB_TIMEOUT").is_none() {
        command.env("EBB_TIMEOUT", TIME_LIMIT);
    }
    let mut child = command.spawn().map_err(at(this.display()))?;
    let mut running = None;
    if let Some(console) = child.stdout.take() {
        let mut console = BufReader::new(console);
        let mut line = Vec::new();
        while matches!(console.read_until(b'\n', &mut line), Ok(n) if n > 0) {
            let said = String::from_utf8_lossy(&line);
            let _ = stdout().write_all(said.as_bytes());
            running = now_running(&said, running);
            line.clear();
        }
    }
    let ended = child.wait().map_err(at("waiting for the image"))?;
    Ok((running, ended.success()))
}

/// The test that runs after this line of an image.
fn now_running(line: &str, running: Option<String>) -> Option<String> {
    let test = line
        .trim_start()
        .strip_prefix("test ")
        .and_then(|rest| rest.split_once(" ... "));
    match test {
        Some((_, outcome)) if outcome.starts_with("ok") || outcome.starts_with("ignored") => None,
        Some((name, _)) => Some(name.to_owned()),
        // The rest of a line in which the test itself has printed.
        None if line.trim_end() == "ok" => None,
        None => running,
    }
}

#[cfg(test)]
mod tests {
    use super::now_running;

    #[test]
    fn the_test_that_an_image_ended_in_is_the_one_without_an_outcome() {
        let lines = [
            "test a ... ok\n",
            "test b ... ignored, needs more cores\n",
            "test c ... panicked\n",
            "more\n",
        ];
        let running = lines
            .iter()
            .fold(None, |running, line| now_running(line, running));
        assert_eq!(running.as_deref(), Some("c"));
        let all = ["test a ... said something\n", "ok\n"];
        assert_eq!(
            all.iter()
                .fold(None, |running, line| now_running(line, running)),
            None
        );
    }
}
