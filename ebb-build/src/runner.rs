//! What starts images. Linux cannot execute one, so a package whose configuration names no runner is told while it is built,
//! and `cargo run` of it ends there.
//!
//! No image can say so itself. Linux takes no segment whose `p_vaddr` is in the upper half of the addresses
//! (`load_elf_binary`, `BAD_ADDR`), whatever its `p_paddr` is, and finds that when the old program is gone already, so that
//! SIGSEGV is all that is left. `p_vaddr` is where the section is linked, for all linkers, and an image is linked there
//! because Linux programs have the lower half.

use std::{
    env, fs,
    os::unix::process::parent_id,
    path::{Path, PathBuf},
};

const VARIABLE: &str = "CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUNNER";

/// Warns when `cargo run` would execute an image, and fails when it is `cargo run` that builds it.
pub fn warn_without(out: &Path) {
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
    let command =
        Command::of(&fs::read(format!("/proc/{}/cmdline", parent_id())).unwrap_or_default());
    if command.names_runner {
        return;
    }
    // What is never there has this run in every build, so that the warning goes when it should, and no `cargo run` is missed.
    println!(
        "cargo::rerun-if-changed={}",
        out.join("no-runner").display()
    );
    let file = package.join(".cargo/config.toml");
    let (kind, what) = match command.runs {
        true => ("error", "would now execute"),
        false => ("warning", "would execute"),
    };
    println!(
        "cargo::{kind}=nothing says what starts images: `cargo run` {what} this one as a Linux program, and crash. Run \
         it by `cargo ebb run`, or write in {}: [target.x86_64-unknown-linux-gnu] runner = \"cargo-ebb runner\"",
        file.display()
    );
}

/// What Cargo, which runs build scripts, was started with.
#[derive(Debug, PartialEq, Eq)]
struct Command {
    /// It is to run what it builds.
    runs: bool,
    /// `--config` says what starts programs.
    names_runner: bool,
}

impl Command {
    /// Of words that each end with a zero byte, as /proc has them. Cargo's own aliases are not looked up.
    fn of(words: &[u8]) -> Self {
        let words = words.split(|byte| *byte == 0).map(String::from_utf8_lossy);
        let own: Vec<_> = words.skip(1).take_while(|word| word != "--").collect();
        let mut command = None;
        let mut at = own.iter();
        while let (None, Some(word)) = (command, at.next()) {
            match &**word {
                "-C" | "-Z" | "--color" | "--config" => drop(at.next()),
                word if word.starts_with(['-', '+']) => {}
                word => command = Some(word),
            }
        }
        Self {
            runs: matches!(command, Some("run" | "r")),
            names_runner: own
                .iter()
                .any(|word| names_runner(word.trim_start_matches("--config="))),
        }
    }
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
    use super::{Command, names_runner};

    #[test]
    fn cargo_run_is_told_from_other_commands() {
        let runs = |line: &str| Command::of(line.replace(' ', "\0").as_bytes()).runs;
        assert!(runs("/opt/bin/cargo run --release -- build"));
        assert!(runs("cargo +stable --color always -q r"));
        assert!(!runs("cargo build --bin run"));
        assert!(!runs("cargo --config run test -- run"));
        assert!(!runs(""));
    }

    #[test]
    fn a_runner_of_the_command_line_is_seen() {
        let names = |line: &str| Command::of(line.replace(' ', "\0").as_bytes()).names_runner;
        assert!(names(
            "cargo run --config target.x86_64-unknown-linux-gnu.runner=[\"r\"]"
        ));
        assert!(names(
            "cargo --config=target.x86_64-unknown-linux-gnu.runner=\"r\" run"
        ));
        assert!(!names("cargo run -- target.x.runner=r"));
    }

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
