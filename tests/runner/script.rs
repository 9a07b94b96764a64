//! `ebb-runner/run`, which Cargo starts: when it builds the runner and when it does not.

use std::{
    fs,
    path::Path,
    process::Command,
    time::{Duration, SystemTime},
};

use test_support::RUNNER;

use crate::common::{Directory, complete, directory, write_program};

/// A workspace with the script, one source, and a Cargo that makes a runner of one line.
fn workspace(test: &str, cargo: &str) -> Directory {
    let dir = directory(test);
    fs::create_dir_all(dir.join("ebb-runner/src")).unwrap();
    for file in [
        "Cargo.toml",
        "ebb-runner/Cargo.toml",
        "ebb-runner/src/main.rs",
    ] {
        fs::write(dir.join(file), "").unwrap();
    }
    write_program(&dir.join("ebb-runner/run"), &fs::read(RUNNER).unwrap());
    let cargo = format!("#!/bin/sh\necho \"$@\" >>{}/log\n{cargo}\n", dir.display());
    write_program(&dir.join("cargo"), cargo.as_bytes());
    dir
}

const BUILDS: &str = r#"
while [ "$1" != --target-dir ]; do shift; done
mkdir -p "$2/runner"
printf '#!/bin/sh\necho "run $* ${RUSTFLAGS:-}"\n' >"$2/runner/ebb-runner"
chmod +x "$2/runner/ebb-runner"
"#;

fn run(dir: &Path, target: Option<&str>) -> (i32, String, String) {
    let mut command = Command::new(dir.join("ebb-runner/run"));
    command
        .args(["image", "a b"])
        .env("CARGO", dir.join("cargo"))
        .env("RUSTFLAGS", "-C x")
        .env_remove("CARGO_TARGET_DIR");
    if let Some(target) = target {
        command.env("CARGO_TARGET_DIR", target);
    }
    complete(command.current_dir("/"))
}

fn builds(dir: &Path) -> usize {
    fs::read_to_string(dir.join("log")).map_or(0, |log| log.lines().count())
}

#[test]
fn the_runner_is_built_once_and_again_when_a_source_changes() {
    let dir = workspace("script", BUILDS);
    for _ in 0..3 {
        assert_eq!(run(&dir, None).1, "run image a b -C x\n");
    }
    assert_eq!(builds(&dir), 1);
    for (i, file) in [
        "ebb-runner/src/main.rs",
        "ebb-runner/Cargo.toml",
        "Cargo.toml",
        "ebb-runner/run",
    ]
    .iter()
    .enumerate()
    {
        let soon = SystemTime::now() + Duration::from_millis(20);
        fs::File::options()
            .append(true)
            .open(dir.join(file))
            .unwrap()
            .set_modified(soon)
            .unwrap();
        std::thread::sleep(Duration::from_millis(40));
        run(&dir, None);
        run(&dir, None);
        assert_eq!(builds(&dir), 2 + i, "{file}");
    }
    assert!(dir.join("target/ebb-runner/runner/ebb-runner").exists());
}

#[test]
fn the_target_directory_is_cargos() {
    let dir = workspace("script-target", BUILDS);
    let absolute = dir.join("elsewhere");
    assert_eq!(run(&dir, absolute.to_str()).0, 0);
    assert!(absolute.join("ebb-runner/runner/ebb-runner").exists());
    assert_eq!(run(&dir, Some("relative")).0, 0);
    assert!(dir.join("relative/ebb-runner/runner/ebb-runner").exists());
}

#[test]
fn a_runner_that_cannot_be_built_is_an_error_each_time() {
    let dir = workspace("script-broken", "echo error: no such crate >&2; exit 101");
    for _ in 0..2 {
        let (code, out, err) = run(&dir, None);
        assert_eq!((code, out.as_str()), (125, ""));
        assert!(
            err.contains("no such crate") && err.contains("could not be built"),
            "{err}"
        );
    }
    assert_eq!(builds(&dir), 2);
}
