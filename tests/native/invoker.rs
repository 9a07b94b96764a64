//! The invoker's image from outside: boots it, and drives it with the npm package `openwhisk`, with curl as its banner says, and
//! as an action container.
//!
//! `cargo test --test invoker` is the short form, with 100 calls of 20 functions from 8 clients and 2,000 calls that
//! wait; with `--release` and `-- --ignored` it makes 1,000 calls of 100 functions from 32 clients and 12,000 calls that wait, on one
//! and on two cores.

use std::{
    io::{BufRead, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
    sync::mpsc::{self, Receiver},
    thread,
    time::{Duration, Instant},
};

use test_support::{RUNNER, WORKSPACE, cargo, needs, openwhisk, signal};

const KEY: &str = "23bc46b1-71f6-4ed5-8c54-816aa4f8c502:e2e";

/// A booted invoker.
struct Image {
    child: Child,
    lines: Receiver<String>,
    /// What it has said so far.
    told: String,
    /// `http://localhost:PORT`.
    host: String,
}

impl Image {
    /// Boots it, and waits until an instance has been made.
    fn boot(cores: usize, arguments: &[&str]) -> Self {
        let mut child = Command::new(RUNNER)
            .env("EBB_DISK", "none")
            .arg(cargo::example("invoker"))
            .args(arguments)
            // The manifest names files of the workspace.
            .current_dir(WORKSPACE)
            .env("EBB_CORES", cores.to_string())
            .env("EBB_MEMORY", "2G")
            .env("EBB_TIMEOUT", "900")
            .env("EBB_FORWARD", "0:3233")
            .env("EBB_AUTH", KEY)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .expect("the runner starts");
        let stdout = BufReader::new(child.stdout.take().expect("piped"));
        let (sender, lines) = mpsc::channel();
        // Read on, or the image would wait for a full pipe.
        thread::spawn(move || {
            stdout
                .lines()
                .map_while(Result::ok)
                .for_each(|line| drop(sender.send(line)));
        });
        let mut image = Self {
            child,
            lines,
            told: String::new(),
            host: String::new(),
        };
        let banner = image.wait_for("invoker: http://");
        let host = banner.split_whitespace().nth(1).expect("an address");
        image.host = host.trim_end_matches('/').into();
        image.wait_for("the first instance was ready");
        image
    }

    /// Reads on to a line with this text.
    fn wait_for(&mut self, text: &str) -> String {
        let patience = Instant::now() + Duration::from_secs(120);
        loop {
            let left = patience.saturating_duration_since(Instant::now());
            let Ok(line) = self.lines.recv_timeout(left) else {
                panic!("the image did not say {text:?}:\n{}", self.told);
            };
            self.told += &line;
            self.told.push('\n');
            if line.contains(text) {
                return line;
            }
        }
    }

    /// Runs one of the client's test files; gives back its report.
    fn drive(&self, tests: &Path, file: &str, variables: &[(&str, &str)]) -> String {
        let output = Command::new("node")
            .args(["--test", file])
            .current_dir(tests)
            .env("APIHOST", &self.host)
            .env("API_KEY", KEY)
            // How the image sees this machine.
            .env("OUTSIDE_SEEN", "10.0.2.2")
            .envs(variables.iter().copied())
            .env_remove("NODE_OPTIONS")
            .output()
            .expect("node was there a moment ago");
        let report = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(
            output.status.success(),
            "{report}\n{}",
            String::from_utf8_lossy(&output.stderr)
        );
        report
    }

    /// Asks it to end, as Ctrl-C does.
    fn interrupt(&self) {
        signal(&self.child, libc::SIGINT);
    }
}

impl Drop for Image {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            self.interrupt();
        }
        let _ = self.child.wait();
    }
}

/// Runs a line of shell; what it printed.
fn shell(line: &str) -> String {
    let output = Command::new("sh").args(["-c", line]).output().expect("sh");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn passed(report: &str) -> u32 {
    report
        .lines()
        .find_map(|line| line.strip_prefix("# pass "))
        .and_then(|n| n.parse().ok())
        .unwrap_or(0)
}

#[test]
fn clients_good_and_bad_drive_the_image_and_ctrl_c_lets_calls_finish() {
    needs!("qemu-system-x86_64", "node", "npm", "curl");
    let Some(tests) = openwhisk::client_tests() else {
        return;
    };
    let actions = Path::new(env!("CARGO_TARGET_TMPDIR")).join("actions");
    std::fs::create_dir_all(&actions).expect("a directory to write to");
    std::fs::write(
        actions.join("ready.js"),
        "const main = ({ name }) => ({ ready: name })",
    )
    .expect("a file to write to");
    let folder = actions.to_str().expect("a path of text");
    let mut image = Image::boot(2, &["--quiet", "--actions", folder]);

    // The first invocation needs no client at all.
    let ready = shell(&format!(
        "curl -s '{}/api/v1/web/guest/default/ready.json?name=ada'",
        image.host
    ));
    assert_eq!(ready, "{\"ready\":\"ada\"}");
    // The commands that the banner prints do what they say.
    let commands: Vec<String> = image
        .told
        .lines()
        .map(|line| line.trim().trim_start_matches("try").trim())
        .skip_while(|line| !line.starts_with("K="))
        .take(3)
        .map(|line| line.replace("curl ", "curl -s "))
        .collect();
    let said = shell(&commands.join("\n"));
    assert!(
        said.ends_with("{\"hello\":\"you\"}"),
        "{commands:?}: {said}"
    );

    let report = image.drive(
        &tests,
        "client.test.mjs",
        &[("CALLS", "100"), ("FUNCTIONS", "20"), ("CLIENTS", "8")],
    );
    assert!(passed(&report) >= 28, "{report}");
    let report = image.drive(&tests, "hostile.test.mjs", &[("QUEUED", "2000")]);
    assert!(passed(&report) >= 54, "{report}");
    let report = image.drive(&tests, "load.test.mjs", &[]);
    assert!(passed(&report) >= 11, "{report}");

    // Ctrl-C: no new call, but those that run come to their end, and the image says that all is well.
    let actions = format!(
        "curl -s -u {KEY} {}/api/v1/namespaces/_/actions",
        image.host
    );
    let deployed = shell(&format!(
        "{actions}/last -X PUT -H 'content-type: application/json' -d '{}'",
        "{\"exec\":{\"kind\":\"nodejs:default\",\"code\":\"const main = () => new Promise((done) => setTimeout(done, 1500, { slow: 1 }))\"}}"
    ));
    assert!(deployed.contains("\"version\""), "{deployed}");
    let last = thread::scope(|scope| {
        let call = scope.spawn(|| {
            shell(&format!(
                "{actions}/last'?blocking=true&result=true' -X POST"
            ))
        });
        thread::sleep(Duration::from_millis(700));
        image.interrupt();
        call.join().expect("curl ends")
    });
    assert_eq!(last, "{\"slow\":1}");
    let status = image.child.wait().expect("it ends");
    assert_eq!(status.code(), Some(0));
    image.wait_for("ending when the running call has ended");
}

#[test]
#[ignore = "takes minutes"]
fn a_thousand_calls_of_a_hundred_functions_and_a_flood_on_one_and_two_cores() {
    needs!("qemu-system-x86_64", "node", "npm", "curl");
    let Some(tests) = openwhisk::client_tests() else {
        return;
    };
    for cores in [1, 2] {
        let image = Image::boot(cores, &["--quiet"]);
        let number = cores.to_string();
        for file in ["client.test.mjs", "hostile.test.mjs", "load.test.mjs"] {
            let report = image.drive(&tests, file, &[("CORES", &number)]);
            assert!(passed(&report) >= 11, "{report}");
            for line in report.lines().filter(|l| l.trim_start().starts_with("# ")) {
                println!("{cores} cores: {line}");
            }
        }
    }
}

#[test]
fn the_image_is_an_action_container() {
    needs!("qemu-system-x86_64", "node", "npm", "curl");
    if openwhisk::client_tests().is_none() {
        return;
    }
    let output = Command::new("node")
        .args(["--test", "container.test.mjs"])
        .current_dir(Path::new(WORKSPACE).join("ebb-invoker-hosted/tests/e2e"))
        .env("RUNNER", RUNNER)
        .env("EBB_DISK", "none")
        .env("IMAGE", cargo::example("invoker"))
        .env_remove("NODE_OPTIONS")
        .output()
        .expect("node was there a moment ago");
    let report = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{report}");
    assert!(passed(&report) >= 4, "{report}");
}
