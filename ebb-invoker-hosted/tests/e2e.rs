//! The hosted invoker from end to end: builds it, starts it, and drives it with the tests in `tests/e2e`: clients that use the npm
//! package `openwhisk`, bad input, load.

use std::{
    io::{BufRead, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
};

use test_support::openwhisk;

const KEY: &str = "23bc46b1-71f6-4ed5-8c54-816aa4f8c502:e2e";
const ADMIN: &str = "admin:e2e";

struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
#[ignore = "builds the example a second time; run it with `cargo test -p ebb-invoker-hosted -- --ignored`"]
fn the_npm_client_drives_the_hosted_invoker() {
    let Some(tests) = openwhisk::client_tests() else {
        return;
    };
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    // A directory of its own: the outer Cargo's programs are images, and these are not.
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("e2e");
    let built = Command::new(env!("CARGO"))
        .args([
            "build",
            "--quiet",
            "--package",
            "ebb",
            "--example",
            "invoker",
        ])
        .current_dir(here.join(".."))
        .env("EBB_PLATFORM", "hosted")
        .env("CARGO_TARGET_DIR", &target)
        .status()
        .expect("cargo runs this test");
    assert!(built.success(), "the invoker does not build");
    let mut child = Command::new(target.join("debug/examples/invoker"))
        .args(["--port", "0", "--auth", KEY, "--admin", ADMIN, "--quiet"])
        .env("EBB_CORES", "2")
        .stdout(Stdio::piped())
        .spawn()
        .expect("it was just built");
    let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
    let _running = Running(child);
    let first = lines.next().expect("a banner").expect("text");
    let host = first
        .split_whitespace()
        .find(|word| word.starts_with("http://"))
        .unwrap_or_else(|| panic!("no address in {first:?}"))
        .trim_end_matches('/')
        .to_owned();
    // Read on, or the invoker would wait for a full pipe.
    std::thread::spawn(move || lines.for_each(drop));
    for (file, least) in [
        // Processes find no module `openwhisk`, so one test does not apply.
        ("tenants.test.mjs", 7),
        ("client.test.mjs", 29),
        ("hostile.test.mjs", 54),
        ("load.test.mjs", 11),
    ] {
        drive(&tests, file, &host, least);
    }
}

/// Runs one of the client's test files, in which at least so many tests pass.
fn drive(tests: &Path, file: &str, host: &str, least: u32) {
    let output = Command::new("node")
        .args(["--test", file])
        .current_dir(tests)
        .env("APIHOST", host)
        .env("API_KEY", KEY)
        .env("ADMIN_KEY", ADMIN)
        .env("QUEUED", "2000")
        .env("HOSTED", "1")
        .env_remove("NODE_OPTIONS")
        .output()
        .expect("node was there a moment ago");
    let report = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success(),
        "{report}\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let passed = report
        .lines()
        .find_map(|line| line.strip_prefix("# pass "))
        .and_then(|n| n.parse::<u32>().ok());
    assert!(
        passed.is_some_and(|n| n >= least),
        "{file}: {passed:?} tests ran:\n{report}"
    );
    println!("{file}: {} tests", passed.unwrap_or(0));
}
