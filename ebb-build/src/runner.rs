//! What starts images. Linux cannot execute one (it dies of a segmentation fault, being linked where Linux itself lives), so a
//! package whose configuration names no runner is told while it is built.

use std::{
    env, fs,
    path::{Path, PathBuf},
};

const VARIABLE: &str = "CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUNNER";

/// Warns when `cargo run` would execute an image.
pub fn warn_without() {
    let Some(package) = env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from) else {
        return;
    };
    let home = env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = home.or_else(|| Some(Path::new(&env::var_os("HOME")?).join(".cargo")));
    let folders = package.ancestors().map(|folder| folder.join(".cargo"));
    let files = folders
        .chain(home)
        .flat_map(|folder| ["config.toml", "config"].map(|name| folder.join(name)));
    if files
        .into_iter()
        .any(|file| fs::read_to_string(file).is_ok_and(|text| names_runner(&text)))
    {
        return;
    }
    println!("cargo::rerun-if-env-changed={VARIABLE}");
    if env::var_os(VARIABLE).is_some_and(|value| !value.is_empty()) {
        return;
    }
    let file = package.join(".cargo/config.toml");
    // While it is not there, this runs in every build, so the warning goes when it should.
    println!("cargo::rerun-if-changed={}", file.display());
    println!(
        "cargo::warning=nothing says what starts images: `cargo run` would execute this one as a Linux program, and crash. Run \
         it by `cargo ebb run`, or write in {}: [target.x86_64-unknown-linux-gnu] runner = \"cargo-ebb runner\"",
        file.display()
    );
}

/// Whether a file of Cargo's configuration names a runner.
fn names_runner(text: &str) -> bool {
    text.lines().any(|line| {
        let key = line.split(['=', '#']).next().unwrap_or_default().trim();
        line.contains('=') && (key == "runner" || key.ends_with(".runner"))
    })
}

#[cfg(test)]
mod tests {
    use super::names_runner;

    #[test]
    fn a_runner_is_seen_however_it_is_written() {
        assert!(names_runner(
            "[target.x86_64-unknown-linux-gnu]\nrunner = \"r\""
        ));
        assert!(names_runner(
            "target.x86_64-unknown-linux-gnu.runner=[\"a\", \"b\"]"
        ));
        assert!(!names_runner(
            "[target.x86_64-unknown-linux-gnu]\n# runner = \"r\"\nlinker = \"l\""
        ));
        assert!(!names_runner("[alias]\nrun-it = \"run\""));
    }
}
