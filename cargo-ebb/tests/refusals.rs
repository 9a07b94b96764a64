//! What `cargo ebb` refuses: at once, with what to do next, and with an exit status that says so.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

const THIS: &str = env!("CARGO_BIN_EXE_cargo-ebb");

fn cargo_ebb(folder: &Path, words: &[&str]) -> Command {
    let mut command = Command::new(THIS);
    command.arg("ebb").args(words).current_dir(folder);
    command.stdin(Stdio::null());
    command
}

/// What it says when it fails.
fn refused(folder: &Path, words: &[&str]) -> String {
    refuses(cargo_ebb(folder, words), words)
}

fn refuses(mut command: Command, words: &[&str]) -> String {
    let output = command.output().expect("it is executed");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success(), "{words:?} succeeds: {said}");
    said
}

#[test]
fn a_wrong_command_line_is_refused_before_a_project_is_looked_for() {
    let folder = outside("line");
    for (words, told) in [
        (&["run", "--cores", "0"][..], "1..=64"),
        (&["test", "--cores", "65"], "1..=64"),
        (&["debug", "--cores", "x"], "--cores <N>"),
        (&["run", "--memory", "x"], "--memory is `x`; accepted"),
        (&["run", "--forward", "80"], "--forward is `80`; accepted"),
        (&["image", "--option", "bad"], "it is NAME=VALUE"),
        (&["image", "--option", "=1"], "it is NAME=VALUE"),
        (&["debug", "/nowhere"], "/nowhere"),
        (&["debug", THIS], "is no image of ebb"),
        (&["debug", "--core", "/nowhere"], "the core file /nowhere"),
    ] {
        let said = refused(&folder, words);
        assert!(said.contains(told), "{words:?}: {said}");
        assert!(!said.contains("Cargo.toml"), "{words:?}: {said}");
    }
    let _ = fs::remove_dir_all(folder);
}

#[test]
fn a_missing_project_is_told_with_how_to_make_one_and_a_broken_one_with_what_is_broken() {
    let folder = outside("project");
    let make = "cargo ebb new NAME";
    let said = refused(&folder, &["doctor"]);
    assert!(said.contains(make), "{said}");
    fs::write(folder.join("Cargo.toml"), "garbage [").expect("a manifest");
    let said = refused(&folder, &["doctor"]);
    assert!(said.contains("cannot be read"), "{said}");
    assert!(!said.contains(make), "{said}");
    let _ = fs::remove_dir_all(folder);
}

#[test]
fn a_project_is_made_only_where_nothing_is_and_under_a_name_that_packages_can_have() {
    let folder = outside("new");
    fs::create_dir_all(folder.join("full/of")).expect("a folder");
    fs::write(folder.join("file"), "").expect("a file");
    for (path, told) in [
        ("/", "/ has no name that a project could have"),
        (
            ".",
            ". is not empty, and a project is made where nothing is",
        ),
        ("full", "full is not empty"),
        ("file", "file is a file"),
        ("ebb", "a crate that the project depends on has that name"),
        ("std", "a crate that the project depends on has that name"),
        ("test", "a crate that the project depends on has that name"),
        ("fn", "a keyword of Rust"),
        ("1abc", "begin with a letter"),
        ("a b", "letters, digits, `-` and `_` only"),
    ] {
        let said = refused(&folder, &["new", path]);
        assert!(said.contains(told), "{path}: {said}");
        assert_eq!(said.lines().count(), 1, "{said}");
    }
    let said = refused(&folder, &["new", "fine", "--template", "nope"]);
    assert!(said.contains("service, tcp, linux, distributed"), "{said}");
    assert_eq!(fs::read_dir(&folder).expect("the folder").count(), 2);
    let _ = fs::remove_dir_all(folder);
}

/// A package with one source and no dependencies.
fn package(name: &str, source: &str) -> PathBuf {
    let folder = outside(name);
    let manifest = format!("[package]\nname = \"{name}\"\nedition = \"2024\"\n[workspace]\n");
    fs::create_dir_all(folder.join("src")).expect("a folder");
    fs::write(folder.join("Cargo.toml"), manifest).expect("a manifest");
    fs::write(folder.join("src").join(source), "fn main() {}\n").expect("a source");
    folder
}

#[test]
fn a_package_without_a_program_is_told_what_would_be_one() {
    let folder = package("library", "lib.rs");
    for words in [&["run"][..], &["run", "--hosted"], &["image"], &["debug"]] {
        let said = refused(&folder, words);
        assert!(
            said.contains("has no program (src/main.rs would be one)"),
            "{said}"
        );
        assert_eq!(said.lines().count(), 1, "{said}");
    }
    let words = ["doctor", "--no-build"];
    let output = cargo_ebb(&folder, &words).output().expect("it is executed");
    let said = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("the package has no program"), "{said}");
    assert!(said.contains("src/main.rs; `cargo ebb new NAME`"), "{said}");
    // This program was built in a checkout, and crates of no registry would make the project unreadable.
    assert!(said.contains("ebb-os = { path = "), "{said}");
    assert!(
        said.contains("`cargo ebb doctor --fix` mends what says so"),
        "{said}"
    );
    let _ = fs::remove_dir_all(folder);
}

#[test]
fn a_program_that_no_build_script_makes_an_image_is_not_run_as_a_process_instead() {
    let folder = package("process", "main.rs");
    let ran = folder.join("ran");
    let source = format!("fn main() {{ std::fs::write({ran:?}, \"\").unwrap(); }}\n");
    fs::write(folder.join("src/main.rs"), source).expect("a source");
    for words in [&["run"][..], &["image"]] {
        let mut command = cargo_ebb(&folder, words);
        command
            .env_remove("EBB_PLATFORM")
            .env_remove("CARGO_TARGET_DIR");
        let said = refuses(command, words);
        assert!(said.contains("is a Linux program and no image"), "{said}");
        assert!(said.contains("ebb_build::images(&["), "{said}");
        assert!(!ran.exists(), "{words:?}: it ran");
    }
    let mut command = cargo_ebb(&folder, &["run", "--hosted"]);
    command.env_remove("CARGO_TARGET_DIR");
    assert!(command.status().is_ok_and(|status| status.success()));
    assert!(ran.exists());
    let _ = fs::remove_dir_all(folder);
}

#[test]
fn a_reader_that_has_gone_is_no_crash() {
    let folder = package("reader", "lib.rs");
    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    let mut command = cargo_ebb(&folder, &["doctor", "--no-build"]);
    let output = command.stdout(writer).output().expect("it is executed");
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let _ = fs::remove_dir_all(folder);
}

#[test]
fn what_cannot_be_written_or_found_is_told_before_a_build() {
    let folder = package("places", "main.rs");
    let said = refused(&folder, &["image", "-o", "/dev/null/out"]);
    assert!(
        said.contains("--output /dev/null/out: /dev/null is not a folder"),
        "{said}"
    );
    for words in [&["run"][..], &["test"]] {
        let mut command = cargo_ebb(&folder, words);
        command.env("EBB_CORE", "/nowhere/core");
        let said = refuses(command, words);
        assert!(
            said.contains("EBB_CORE is `/nowhere/core`: there is no folder"),
            "{said}"
        );
    }
    assert!(!folder.join("target").exists());
    let _ = fs::remove_dir_all(folder);
}

/// A folder that is in no workspace.
fn outside(name: &str) -> PathBuf {
    let name = format!("cargo-ebb-refusals-{name}-{}", std::process::id());
    let folder = std::env::temp_dir().join(name);
    fs::create_dir_all(&folder).expect("a folder");
    folder
}
