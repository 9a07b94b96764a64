//! What `cargo ebb` refuses: at once, with what to do next, and with an exit status that says so.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

const THIS: &str = env!("CARGO_BIN_EXE_cargo-ebb");

/// What it says when it fails.
fn refused(folder: &Path, words: &[&str]) -> String {
    let output = Command::new(THIS)
        .arg("ebb")
        .args(words)
        .current_dir(folder)
        .stdin(Stdio::null())
        .output()
        .expect("it is executed");
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

/// A folder that is in no workspace.
fn outside(name: &str) -> PathBuf {
    let name = format!("cargo-ebb-refusals-{name}-{}", std::process::id());
    let folder = std::env::temp_dir().join(name);
    fs::create_dir_all(&folder).expect("a folder");
    folder
}
