//! `.cargo/c++`, the C++ compiler that build scripts are given: what it does where there is none.

use std::{fs, os::unix::fs::symlink, path::Path, process::Command};

use crate::common::{Directory, complete, directory, write_program};

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../.cargo/c++");

/// A PATH with the shell's own programs, and an `apt-get` that notes what it is told and runs `then`.
fn path(test: &str, then: &str) -> Directory {
    let dir = directory(test);
    for program in ["sh", "id", "env", "chmod", "cat"] {
        let found = ["/usr/bin", "/bin"].map(|folder| Path::new(folder).join(program));
        let found = found.into_iter().find(|path| path.exists());
        symlink(found.expect("every system has it"), dir.join(program)).unwrap();
    }
    let here = dir.display();
    write_program(
        &dir.join("apt-get"),
        format!("#!/bin/sh\necho \"$@\" >>{here}/log\ncd {here}\n{then}\n").as_bytes(),
    );
    // Who is not root is asked for no password.
    write_program(&dir.join("sudo"), b"#!/bin/sh\nshift\nexec \"$@\"\n");
    dir
}

/// Runs it, without a terminal, as a build script does; its status, and what it said.
fn run(dir: &Path, refuses: bool) -> (i32, String, String) {
    let mut command = Command::new("/usr/bin/setsid");
    command
        .args(["-w", SCRIPT, "-c", "a file.cc"])
        .env("PATH", dir)
        .env("EBB_NO_INSTALL", if refuses { "1" } else { "0" });
    complete(&mut command)
}

const INSTALLS: &str = "[ \"$1\" = install ] || exit 0\n\
    printf '#!/bin/sh\\necho \"compiled $*\"\\n' >g++; : >make; chmod +x g++ make";

#[test]
fn a_compiler_and_make_are_installed_once() {
    let dir = path("compiler", INSTALLS);
    for _ in 0..2 {
        let (status, out, said) = run(&dir, false);
        assert_eq!(
            (status, out.as_str()),
            (0, "compiled -c a file.cc\n"),
            "{said}"
        );
    }
    let log = fs::read_to_string(dir.join("log")).unwrap();
    assert_eq!(log.lines().count(), 1, "{log}");
    assert!(log.trim_end().ends_with(" g++ make"), "{log}");
}

#[test]
fn only_what_is_missing_is_installed() {
    let dir = path("compiler-make", INSTALLS);
    write_program(&dir.join("clang++"), b"#!/bin/sh\necho \"clang $*\"\n");
    let (status, _, said) = run(&dir, false);
    assert_eq!(status, 0, "{said}");
    let log = fs::read_to_string(dir.join("log")).unwrap();
    assert!(log.trim_end().ends_with("=300 make"), "{log}");
}

#[test]
fn what_cannot_be_installed_is_told_with_the_command_for_it() {
    // The lists are fetched before it is given up.
    let dir = path("compiler-broken", "exit 1");
    let (status, _, said) = run(&dir, false);
    assert_eq!(status, 127);
    assert!(
        said.contains("installing them failed. On Debian: sudo apt-get install g++ make"),
        "{said}"
    );
    let log = fs::read_to_string(dir.join("log")).unwrap();
    assert!(log.lines().any(|line| line.starts_with("update")), "{log}");
    let dir = path("compiler-refused", INSTALLS);
    let (status, _, said) = run(&dir, true);
    assert_eq!(status, 127);
    assert!(said.contains("EBB_NO_INSTALL forbids"), "{said}");
    assert!(!dir.join("log").exists());
    fs::remove_file(dir.join("apt-get")).unwrap();
    let (status, _, said) = run(&dir, false);
    assert_eq!(status, 127);
    assert!(
        said.contains("want a C++ compiler and make. On Debian"),
        "{said}"
    );
}
