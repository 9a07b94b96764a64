//! Images, built when a test first asks for one.
//!
//! A test target is compiled with unwinding and an image without, so Cargo cannot build an image as a test's dependency but
//! with copies of the example's sources. Instead the test calls Cargo, as a user does: the image is the executable that
//! `cargo run` would boot, in the profile of the test, and is up to date in a moment when it has been built before.

use std::{
    env,
    ffi::OsString,
    io::{BufRead, BufReader, Write},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::Mutex,
};

/// The executable of an example (`examples/NAME`).
pub fn example(name: &str) -> PathBuf {
    build(&profile(), "--example", name, &[])
}

/// The executable of an example as a Linux process, as `cargo hosted NAME` makes it.
pub fn hosted_example(name: &str) -> PathBuf {
    build(&profile().with_file_name("hosted"), "--example", name, &[])
}

/// The executable of a program (a `[[bin]]`), such as those in `tests/images`.
pub fn program(name: &str) -> PathBuf {
    build(&profile(), "--bin", name, &[])
}

/// The same as a Linux process, for what it does and not for how fast: to optimize all that it is made of takes minutes.
pub fn hosted_program(name: &str) -> PathBuf {
    let quick = [
        "profile.hosted.opt-level=0",
        "profile.hosted.lto=\"off\"",
        "profile.hosted.codegen-units=16",
    ];
    build(&profile().with_file_name("hosted"), "--bin", name, &quick)
}

/// Has a command know nothing of what Cargo tells a test of its package. For all that call Cargo in this workspace: build scripts are
/// run anew when it differs (ring's looks at the name and the folder), so the tests of each package would build every image once more.
pub fn forget_package(command: &mut Command) {
    command.env_remove("EBB_PLATFORM");
    let of_package = |name: &str| {
        ["CARGO_PKG_", "CARGO_MANIFEST_"]
            .iter()
            .any(|p| name.starts_with(p))
    };
    for (name, _) in env::vars_os() {
        if name.to_str().is_some_and(of_package) {
            command.env_remove(name);
        }
    }
}

/// The folder of the profile that this program was built in.
pub(crate) fn profile() -> PathBuf {
    // `target/PROFILE/deps/NAME-HASH`
    let this = env::current_exe().expect("the path of this program");
    this.ancestors()
        .nth(2)
        .expect("a folder of the profile")
        .to_path_buf()
}

/// Builds a target in the profile that this folder is of, with further settings of Cargo; gives its path.
fn build(profile: &Path, kind: &str, name: &str, settings: &[&str]) -> PathBuf {
    let path = match kind {
        "--example" => profile.join("examples").join(name),
        _ => profile.join(name),
    };
    // One after another: Cargo would wait for its lock, and say so.
    static BUILT: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());
    let mut built = BUILT.lock().unwrap_or_else(|e| e.into_inner());
    if built.contains(&path) {
        return path;
    }
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo")));
    command
        .current_dir(super::WORKSPACE)
        .args(["build", kind, name, "--target-dir"])
        .arg(profile.parent().expect("the target folder"))
        .args(settings.iter().flat_map(|setting| ["--config", setting]))
        .stdin(Stdio::null())
        .stderr(Stdio::piped());
    forget_package(&mut command);
    match profile.file_name().and_then(|name| name.to_str()) {
        None | Some("debug") => {}
        Some(profile) => drop(command.args(["--profile", profile])),
    }
    let mut cargo = command.spawn().expect("Cargo starts");
    let said = BufReader::new(cargo.stderr.take().expect("piped"));
    for line in said.lines().map_while(Result::ok) {
        if !line.trim_start().starts_with("Finished") {
            // Past libtest, which keeps what a test prints: building takes its time.
            let _ = writeln!(std::io::stderr(), "{line}");
        }
    }
    let status = cargo.wait().expect("Cargo ends");
    assert!(status.success(), "{name} cannot be built (see above)");
    built.push(path.clone());
    path
}
