//! Projects outside the workspace, from the packages as they would be published.
//!
//! The packages are made by `cargo package` and unpacked; a project's crates of ebb are then replaced by them
//! (`[patch.crates-io]` in a configuration above the projects), so what a package lacks is lacking here. `EBB_TEMPLATES=all`
//! tries every template, `EBB_TEMPLATES=tcp,linux` those; unset, it is the first. Those that are not tried are compiled.

use std::{
    collections::BTreeSet,
    env, fs,
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    sync::OnceLock,
    time::{Duration, Instant},
};

use serde_json::Value;
use test_support::{WORKSPACE, needs, scratch, signal};

const THIS: &str = env!("CARGO_BIN_EXE_cargo-ebb");

/// Runs a command that has to succeed; what it says.
fn succeeds(command: &mut Command) -> String {
    let Output {
        status,
        stdout,
        stderr,
    } = command
        .stdin(Stdio::null())
        .output()
        .expect("it is executed");
    let said = format!(
        "{}{}",
        String::from_utf8_lossy(&stdout),
        String::from_utf8_lossy(&stderr)
    );
    assert!(status.success(), "{command:?} ({status}):\n{said}");
    said
}

fn cargo() -> Command {
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(WORKSPACE).env_remove("EBB_PLATFORM");
    cargo
}

/// A package of the workspace: its name, and what it says of itself.
fn packages() -> Vec<Value> {
    let said = cargo()
        .args(["metadata", "--no-deps", "--format-version", "1"])
        .output()
        .expect("Cargo");
    let metadata: Value = serde_json::from_slice(&said.stdout).expect("what Cargo prints");
    metadata["packages"].as_array().expect("packages").clone()
}

fn is_published(package: &Value) -> bool {
    package["publish"].is_null()
}

fn name(package: &Value) -> &str {
    package["name"].as_str().expect("a name")
}

/// A folder outside the workspace, in which Cargo finds nothing of it; gone when its last test has ended.
struct Outside(PathBuf);

impl Outside {
    fn new(test: &str) -> Self {
        let folder = env::temp_dir().join(format!("ebb-outside-{test}-{}", std::process::id()));
        fs::create_dir_all(&folder).expect("a folder to write to");
        Self(folder)
    }
}

impl Drop for Outside {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Makes all packages, once; the folder with them.
fn made() -> &'static Path {
    static MADE: OnceLock<PathBuf> = OnceLock::new();
    MADE.get_or_init(make)
}

fn make() -> PathBuf {
    let target = scratch("packages");
    let mut package = cargo();
    package
        .args([
            "package",
            "--workspace",
            "--no-verify",
            "--allow-dirty",
            "--target-dir",
        ])
        .arg(&target);
    for private in packages().iter().filter(|p| !is_published(p)) {
        package.args(["--exclude", name(private)]);
    }
    succeeds(&mut package);
    target.join("package")
}

/// Unpacks all packages into this folder.
fn unpack(folder: &Path) {
    for package in packages().iter().filter(|p| is_published(p)) {
        let version = package["version"].as_str().expect("a version");
        let archive = made().join(format!("{}-{version}.crate", name(package)));
        // Files of this time, so that Cargo sees that they are others than before.
        succeeds(
            Command::new("tar")
                .arg("-xmf")
                .arg(archive)
                .arg("-C")
                .arg(folder),
        );
    }
}

#[test]
fn every_package_has_what_a_registry_shows_and_names_the_others_by_version() {
    let outside = Outside::new("packages");
    let folder = &outside.0;
    unpack(folder);
    for package in packages().iter().filter(|p| is_published(p)) {
        let version = package["version"].as_str().expect("a version");
        let name = name(package);
        let of_it = folder.join(format!("{name}-{version}"));
        for file in ["README.md", "LICENSE-MIT", "LICENSE-APACHE", "Cargo.toml"] {
            let text = fs::read_to_string(of_it.join(file)).unwrap_or_default();
            assert!(text.len() > 100, "{name} lacks {file}");
        }
        for field in [
            "description",
            "license",
            "repository",
            "readme",
            "rust_version",
        ] {
            assert!(package[field].is_string(), "{name} says no {field}");
        }
        for field in ["keywords", "categories"] {
            assert!(
                package[field]
                    .as_array()
                    .is_some_and(|list| !list.is_empty()),
                "{name} has no {field}"
            );
        }
        let docs = &package["metadata"]["docs"]["rs"]["targets"];
        assert_eq!(
            docs[0], "x86_64-unknown-linux-gnu",
            "{name} says nothing to docs.rs"
        );
        let manifest = fs::read_to_string(of_it.join("Cargo.toml")).expect("a manifest");
        let mut section = "";
        for line in manifest.lines() {
            section = if line.starts_with('[') { line } else { section };
            assert!(
                !(line.starts_with("path = ") && section.contains("dependencies")),
                "{name} depends by path: {section}"
            );
        }
    }
}

/// Makes crates of ebb in all projects of a folder the unpacked packages.
fn patch(folder: &Path) {
    let packages = folder.join("packages");
    fs::create_dir_all(folder.join(".cargo")).expect("a folder to write to");
    fs::create_dir_all(&packages).expect("a folder to write to");
    unpack(&packages);
    let mut patch = String::from("[patch.crates-io]\n");
    for entry in fs::read_dir(packages).expect("packages").flatten() {
        let path = entry.path();
        let folder = entry.file_name().into_string().expect("a name");
        let (name, _) = folder.rsplit_once('-').expect("a version");
        patch.push_str(&format!("{name} = {{ path = \"{}\" }}\n", path.display()));
    }
    fs::write(folder.join(".cargo/config.toml"), patch).expect("a file to write");
}

fn ebb(folder: &Path, words: &[&str]) -> Command {
    let mut command = Command::new(THIS);
    command.arg("ebb").args(words);
    in_project(command, folder)
}

/// A command as somebody has it run in a project.
fn in_project(mut command: Command, folder: &Path) -> Command {
    command
        .current_dir(folder)
        // One for all projects: what they have in common is built once.
        .env("CARGO_TARGET_DIR", scratch("outside").join("target"))
        // Nothing is built twice, nor debugged.
        .env("CARGO_INCREMENTAL", "0")
        .env("CARGO_PROFILE_DEV_DEBUG", "0")
        // It counts what is built and what it does, not how fast: to optimize takes longer than all else.
        .env("CARGO_PROFILE_DEV_OPT_LEVEL", "0")
        .env("EBB_TIMEOUT", "300")
        // As it is once it is installed.
        .env(
            "PATH",
            format!(
                "{}:{}",
                Path::new(THIS).parent().expect("a folder").display(),
                env::var("PATH").unwrap_or_default()
            ),
        )
        .env_remove("EBB_PLATFORM");
    command
}

/// What a program says and does once it says that it is serving.
fn serving(mut command: Command, try_it: impl FnOnce()) {
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .expect("it is executed");
    let mut console = BufReader::new(child.stdout.take().expect("piped"));
    let mut line = String::new();
    let mut said = String::new();
    while console.read_line(&mut line).is_ok_and(|n| n > 0) {
        said.push_str(&line);
        if line.starts_with("serving") {
            try_it();
            signal(&child, 2);
            let _ = console.read_to_string(&mut line);
            let _ = child.wait();
            return;
        }
        line.clear();
    }
    panic!(
        "{command:?} ended ({:?}) before it served:\n{said}",
        child.wait()
    );
}

/// Sends bytes and gives the answer, as soon as there is one.
fn ask(port: u16, question: &str, end: &str) -> String {
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(60) {
        if let Ok(mut stream) = TcpStream::connect(("127.0.0.1", port)) {
            let _ = stream.set_read_timeout(Some(Duration::from_secs(10)));
            let mut answer = Vec::new();
            let mut byte = [0];
            if stream.write_all(question.as_bytes()).is_ok() {
                while !answer.ends_with(end.as_bytes()) && matches!(stream.read(&mut byte), Ok(1)) {
                    answer.push(byte[0]);
                }
            }
            if answer.ends_with(end.as_bytes()) {
                return String::from_utf8(answer).expect("text");
            }
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    panic!("port {port} does not answer");
}

/// A port of this machine that nobody listens on.
fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).expect("a port");
    listener.local_addr().expect("its address").port()
}

/// Runs a project as a Linux process and as an image, and asks it something.
fn try_project(template: &str, project: &Path) {
    let port = free_port().to_string();
    let number = port.parse().expect("a number");
    let (question, end, guest) = match template {
        "service" => ("GET /you HTTP/1.1\r\nhost: h\r\n\r\n", "hello, you\n", "80"),
        "tcp" => ("SET a b\nGET a\n", "VALUE b\n", "7007"),
        "linux" => {
            let said = succeeds(&mut ebb(project, &["run", "--", "and", "more"]));
            assert!(said.contains("hello from Linux: and more"), "{said}");
            return;
        }
        _ => {
            // A node in an image, asked by a process.
            let key = "5a".repeat(32);
            let forward = format!("{port}:7000");
            let node = ebb(
                project,
                &["run", "--forward", &forward, "--", "serve", "1", &key],
            );
            let address = format!("127.0.0.1:{port}");
            serving(node, || {
                let asks = &mut ebb(
                    project,
                    &["run", "--hosted", "--", "add", "5", &key, &address],
                );
                let said = succeeds(asks);
                assert!(said.contains("together 5"), "{said}");
            });
            return;
        }
    };
    serving(ebb(project, &["run", "--hosted", "--", &port]), || {
        drop(ask(number, question, end))
    });
    let forward = format!("{port}:{guest}");
    serving(ebb(project, &["run", "--forward", &forward]), || {
        drop(ask(number, question, end))
    });
}

#[test]
fn a_project_of_a_template_builds_runs_and_tests_outside_the_workspace_from_the_packages() {
    needs!("qemu-system-x86_64");
    let chosen = env::var("EBB_TEMPLATES").unwrap_or_else(|_| "service".into());
    let all = ["service", "tcp", "linux", "distributed"];
    let chosen: Vec<&str> = if chosen == "all" {
        all.to_vec()
    } else {
        chosen.split(',').collect()
    };
    let known: BTreeSet<&str> = all.into_iter().collect();
    assert!(
        chosen.iter().all(|t| known.contains(t)),
        "EBB_TEMPLATES is {chosen:?}; there are {all:?}"
    );
    let outside = Outside::new("projects");
    let folder = &outside.0;
    patch(folder);
    for template in all {
        let name = format!("my-{template}");
        let new = [
            "new",
            &name,
            "--template",
            template,
            "--ebb",
            env!("CARGO_PKG_VERSION"),
        ];
        succeeds(&mut ebb(folder, &new));
        let project = folder.join(&name);
        if !chosen.contains(&template) {
            // Not `check`: what it is made of has been compiled for the tests of another, and is not once more for this.
            let mut compiles = cargo();
            compiles.args(["test", "--no-run"]);
            let said = succeeds(&mut in_project(compiles, &project));
            assert!(!said.contains(&format!("warning: `{name}`")), "{said}");
            continue;
        }
        let said = succeeds(&mut ebb(&project, &["test"]));
        // As a process, and in an image of one and of two cores.
        assert_eq!(
            said.matches("test result: ok. ").count() - said.matches("running 0 tests").count(),
            3,
            "{said}"
        );
        try_project(template, &project);
        let said = succeeds(&mut ebb(&project, &["doctor", "--no-build"]));
        assert!(said.contains("nothing is wrong"), "{said}");
    }
}
