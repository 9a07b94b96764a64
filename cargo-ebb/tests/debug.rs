//! What `cargo ebb debug` shows in gdb of an image that runs, and of the core file of one that stopped. Debugs
//! `tests/images/debug`, which is built with all symbols: a minute the first time.

use std::{
    fs,
    path::Path,
    process::{Command, Output},
};

use test_support::{WORKSPACE, cargo, needs, scratch};

/// `cargo ebb debug` in gdb's batch mode, with these commands. What gdb and the image say.
fn debug(arguments: &[&str], commands: &[&str], image_arguments: &[&str]) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_cargo-ebb"));
    command
        .current_dir(WORKSPACE)
        .args(["ebb", "debug", "--batch"])
        .args(arguments)
        .args(commands.iter().flat_map(|command| ["--ex", command]))
        .arg("--")
        .args(image_arguments)
        .envs([("EBB_ACCEL", "tcg"), ("EBB_NET", "none")]);
    cargo::forget_package(&mut command);
    let output = command.output().unwrap();
    said(&output)
}

fn said(output: &Output) -> String {
    [&output.stdout, &output.stderr]
        .map(|bytes| String::from_utf8_lossy(bytes).into_owned())
        .concat()
}

#[track_caller]
fn has(said: &str, parts: &[&str]) {
    for part in parts {
        assert!(said.contains(part), "`{part}` is not in:\n{said}");
    }
}

/// Runs an image until it has stopped, and gives what the runner says.
fn core_of(image: &str, file: &Path, argument: &str, timeout: &str) -> String {
    let output = Command::new(test_support::RUNNER)
        .args([image, argument])
        .envs([("EBB_ACCEL", "tcg"), ("EBB_NET", "none")])
        .envs([("EBB_CORES", "2"), ("EBB_MEMORY", "64M")])
        .env("EBB_TIMEOUT", timeout)
        .env("EBB_CORE", file)
        .output()
        .unwrap();
    said(&output)
}

/// The image with all symbols; a copy, which no other build replaces.
fn build() -> String {
    let said = debug(
        &[
            "--core",
            "/dev/null",
            "--package",
            "debugged-image",
            "--bin",
            "image-debug",
        ],
        &["info files"],
        &[],
    );
    let named = said
        .lines()
        .find_map(|line| line.split_once("Symbols from \"")?.1.strip_suffix("\"."));
    let copy = scratch("image-debug");
    fs::copy(named.unwrap_or_else(|| panic!("{said}")), &copy).unwrap();
    copy.to_str().unwrap().into()
}

// One test: each builds the image, with other symbols than Cargo would.
#[test]
fn gdb_shows_cores_tasks_and_ebbs_of_images_that_run_and_of_core_files() {
    needs!("qemu-system-x86_64", "gdb");
    let image = build();

    // At a breakpoint in a running image.
    let said = debug(
        &["--cores", "2", &image],
        &[
            "ebb-start",
            "break image_debug::hang_here",
            "continue",
            "ebb-cores",
            "ebb-tasks",
            "ebb-ebbs",
            "kill",
        ],
        &["hang"],
    );
    let tasks = [
        "core 0: runs task 0x",
        "core 1: runs ",
        "running, spawned at ",
        "alive, spawned at tests/images/debug/main.rs:46",
        "alive, spawned at tests/images/debug/main.rs:48",
        "core 0: Visited at 0x",
        "core 1: Visited at 0x",
    ];
    has(&said, &tasks);

    // A core file of a fault: the place is the top frame.
    let file = scratch("fault.core");
    let name = file.to_str().unwrap();
    let ran = core_of(&image, &file, "fault", "60");
    has(
        &ran,
        &[
            "page fault on core 0: reading 0xdead0000",
            "the core file is ",
        ],
    );
    let said = debug(
        &["--core", name, &image],
        &[
            "bt 3",
            "print/x image_debug::SEEN_BY_GDB",
            "ebb-cores",
            "ebb-tasks",
            "ebb-ebbs",
        ],
        &[],
    );
    let top = said
        .lines()
        .find(|line| line.starts_with("#0 "))
        .unwrap_or_default();
    assert!(
        top.contains("debug/main.rs") || top.contains("read_volatile"),
        "{top}\n{said}"
    );
    has(&said, &["image_debug::fault_here", "0x12345678"]);
    has(&said, &tasks);

    // And of an image that hangs.
    let file = scratch("hang.core");
    let name = file.to_str().unwrap();
    let ran = core_of(&image, &file, "hang", "5");
    has(&ran, &["still running after 5 s", "the core file is "]);
    let said = debug(&["--core", name, &image], &["bt 3", "ebb-tasks"], &[]);
    has(&said, &["image_debug::hang_here", tasks[3], tasks[4]]);
}
