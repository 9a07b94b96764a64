//! The invoker's image from outside: boots it, and drives it with the npm package `openwhisk`, with curl as its banner says, and
//! as an action container.
//!
//! `cargo test --test native invoker::` is the short form, with 100 calls of 20 functions from 8 clients and 2,000 calls that
//! wait; with `--release` and `-- --ignored` it makes 1,000 calls of 100 functions from 32 clients and 12,000 calls that wait, on one
//! and on two cores.

use std::{path::Path, process::Command, thread, time::Duration};

use test_support::{RUNNER, WORKSPACE, cargo, invoker::Invoker, needs, openwhisk};

const KEY: &str = "23bc46b1-71f6-4ed5-8c54-816aa4f8c502:e2e";
const ADMIN: &str = "admin:e2e";

/// Boots it, and waits until an instance has been made.
fn boot(cores: usize, arguments: &[&str]) -> Invoker {
    Invoker::start(
        Invoker::runner("2G", "none")
            .arg("--quiet")
            .args(arguments)
            .env("EBB_CORES", cores.to_string())
            .env("EBB_FILES", Invoker::interpreters())
            .env("EBB_AUTH", KEY),
        &["the first instance was ready"],
    )
}

fn host(invoker: &Invoker) -> String {
    format!("http://localhost:{}", invoker.port())
}

/// Runs one of the client's test files; gives back its report.
fn drive(invoker: &Invoker, tests: &Path, file: &str, variables: &[(&str, &str)]) -> String {
    let output = Command::new("node")
        .args(["--test", file])
        .current_dir(tests)
        .env("APIHOST", host(invoker))
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
        "{file}: {}\n{}",
        failures(&report),
        String::from_utf8_lossy(&output.stderr)
    );
    report
}

/// What failed of a report in TAP, with what each said.
fn failures(report: &str) -> String {
    let mut told = false;
    let lines = report.lines().filter(|line| {
        let line = line.trim_start();
        told |= line.starts_with("not ok");
        let is_told = told;
        told &= line != "...";
        is_told
    });
    lines.collect::<Vec<_>>().join("\n")
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

/// Nothing that was begun for clients goes on when all have gone.
fn is_idle(image: &mut Invoker) {
    let busy = image.image().busy_processors(Duration::from_secs(2));
    assert!(busy < 0.3, "{busy} processors are busy with nothing");
}

#[test]
fn functions_of_all_kinds_with_any_input_run_as_clients_expect() {
    needs!("qemu-system-x86_64", "node", "npm", "curl", "cc", "perl");
    let Some(tests) = openwhisk::client_tests() else {
        return;
    };
    let mut image = boot(2, &[]);
    let report = drive(&image, &tests, "input.test.mjs", &[]);
    assert!(passed(&report) >= 36, "{report}");
    let report = drive(&image, &tests, "kinds.test.mjs", &[]);
    assert!(passed(&report) >= 10, "{report}");
    let report = drive(&image, &tests, "unique.test.mjs", &[]);
    assert!(passed(&report) >= 15, "{report}");
    let report = drive(&image, &tests, "stream.test.mjs", &[]);
    assert!(passed(&report) >= 14, "{report}");

    is_idle(&mut image);
}

#[test]
fn clients_good_and_bad_drive_the_image_and_ctrl_c_lets_calls_finish() {
    needs!("qemu-system-x86_64", "node", "npm", "curl", "cc", "perl");
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
    let mut image = boot(2, &["--actions", folder, "--admin", ADMIN]);

    // The first invocation needs no client at all.
    let ready = shell(&format!(
        "curl -s '{}/api/v1/web/guest/default/ready.json?name=ada'",
        host(&image)
    ));
    assert_eq!(ready, "{\"ready\":\"ada\"}");
    // The commands that the banner prints do what they say.
    let commands: Vec<String> = image
        .image()
        .said()
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

    let report = drive(
        &image,
        &tests,
        "client.test.mjs",
        &[("CALLS", "100"), ("FUNCTIONS", "20"), ("CLIENTS", "8")],
    );
    assert!(passed(&report) >= 32, "{report}");
    let report = drive(&image, &tests, "tenants.test.mjs", &[("ADMIN_KEY", ADMIN)]);
    assert!(passed(&report) >= 8, "{report}");
    let report = drive(&image, &tests, "hostile.test.mjs", &[("QUEUED", "2000")]);
    assert!(passed(&report) >= 55, "{report}");
    let report = drive(&image, &tests, "load.test.mjs", &[]);
    assert!(passed(&report) >= 11, "{report}");
    is_idle(&mut image);

    // Ctrl-C: no new call, but those that run come to their end, and the image says that all is well.
    let actions = format!(
        "curl -s -u {KEY} {}/api/v1/namespaces/_/actions",
        host(&image)
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
        image.image().interrupt();
        call.join().expect("curl ends")
    });
    assert_eq!(last, "{\"slow\":1}");
    assert_eq!(image.image().wait().code(), Some(0));
    image.image().says("ending when the running call has ended");
}

#[test]
#[ignore = "takes minutes"]
fn a_thousand_calls_of_a_hundred_functions_and_a_flood_on_one_and_two_cores() {
    needs!("qemu-system-x86_64", "node", "npm", "curl");
    let Some(tests) = openwhisk::client_tests() else {
        return;
    };
    for cores in [1, 2] {
        let image = boot(cores, &[]);
        let number = cores.to_string();
        for file in ["client.test.mjs", "hostile.test.mjs", "load.test.mjs"] {
            let report = drive(&image, &tests, file, &[("CORES", &number)]);
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
