//! The hosted invoker from end to end: builds it, starts it, and drives it with the tests in `tests/e2e`: clients that use the npm
//! package `openwhisk`, bad input, load.

use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use base64::{Engine, engine::general_purpose::STANDARD};
use test_support::{cargo, openwhisk};

const KEY: &str = "23bc46b1-71f6-4ed5-8c54-816aa4f8c502:e2e";
const ADMIN: &str = "admin:e2e";

/// An invoker, and the directory for its temporary files, which goes with it.
struct Running(Child, PathBuf);

impl Running {
    /// Starts one with further options; gives it and what it prints.
    fn start(
        name: &str,
        command: &mut Command,
    ) -> (
        Self,
        impl Iterator<Item = std::io::Result<String>> + Send + use<>,
    ) {
        let temporary = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("invoker-{name}"));
        std::fs::create_dir_all(&temporary).expect("a directory to write to");
        let mut child = command
            .args(["--port", "0", "--auth", KEY, "--quiet"])
            .env("EBB_CORES", "2")
            .env("TMPDIR", &temporary)
            .stdout(Stdio::piped())
            .spawn()
            .expect("it was just built");
        let lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        (Self(child, temporary), lines)
    }

    /// Ends it, whatever it does.
    fn kill(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.kill();
        let _ = std::fs::remove_dir_all(&self.1);
    }
}

#[test]
#[ignore = "builds the example a second time; run it with `cargo test -p ebb-invoker-hosted -- --ignored`"]
fn the_npm_client_drives_the_hosted_invoker() {
    let Some(tests) = openwhisk::client_tests() else {
        return;
    };
    let program = cargo::hosted_example("invoker");
    let mut command = Command::new(program);
    let (_running, mut lines) = Running::start("client", command.args(["--admin", ADMIN]));
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
        ("tenants.test.mjs", 8),
        ("client.test.mjs", 33),
        ("hostile.test.mjs", 54),
        ("load.test.mjs", 11),
        ("kinds.test.mjs", 10),
        ("stream.test.mjs", 15),
        ("input.test.mjs", 50),
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

/// A request; status and body, or nothing if the platform is gone.
fn ask(port: u16, method: &str, path: &str, body: &str) -> Option<(u16, String)> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    let key = STANDARD.encode(KEY);
    let request = format!(
        "{method} /api/v1/namespaces/_{path} HTTP/1.1\r\nhost: test\r\nconnection: close\r\nauthorization: Basic {key}\r\n\
         content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let status = answer.split(' ').nth(1)?.parse().ok()?;
    let (_, body) = answer.split_once("\r\n\r\n")?;
    Some((status, body.to_owned()))
}

/// What an action was last answered to be, by its number, or nothing after a DELETE; and what it may be besides, if an answer is due.
type Known = (Option<u64>, Option<Option<u64>>);

/// What an action of that number does.
fn code(number: u64) -> String {
    // Some of it is equal, and kept once.
    format!("exports.main = () => ({{ n: {} }})", number % 50)
}

#[test]
#[ignore = "builds the example a second time; run it with `cargo test -p ebb-invoker-hosted -- --ignored`"]
fn every_answered_change_is_there_after_the_process_was_killed() {
    const CLIENTS: u64 = 4;
    let rounds: u64 = if std::env::var_os("EBB_LONG").is_some() {
        1000
    } else {
        8
    };
    let program = cargo::hosted_example("invoker");
    let disk = Path::new(env!("CARGO_TARGET_TMPDIR")).join("kept.disk");
    let _ = std::fs::remove_file(&disk);
    let known: Mutex<BTreeMap<u64, Known>> = Mutex::default();
    let number = AtomicU64::new(1);
    for round in 0..=rounds {
        let mut command = Command::new(&program);
        command
            .env("EBB_DISK", format!("{},size=64M", disk.display()))
            .stderr(Stdio::null());
        let (mut running, mut lines) = Running::start("kept", &mut command);
        let first = lines.next().expect("a banner").expect("text");
        let port = first
            .split(':')
            .nth(3)
            .and_then(|rest| rest.split('/').next());
        let port: u16 = port.and_then(|port| port.parse().ok()).expect("a port");
        std::thread::spawn(move || lines.for_each(drop));
        for (name, (last, due)) in &mut *known.lock().expect("whole") {
            let (status, body) =
                ask(port, "GET", &format!("/actions/a{name}"), "").expect("it runs");
            let found = (status == 200).then(|| {
                let at = body
                    .find("\"number\",\"value\":")
                    .expect("it was deployed with one")
                    + 17;
                let digits: String = body[at..]
                    .chars()
                    .take_while(char::is_ascii_digit)
                    .collect();
                digits.parse::<u64>().expect("a number")
            });
            assert!(
                found == *last || Some(found) == *due,
                "round {round}: a{name} is {found:?}, not {last:?} nor {due:?}"
            );
            if let Some(number) = found {
                assert!(body.contains(&format!("n: {} }}", number % 50)), "{body}");
            }
            (*last, *due) = (found, None);
        }
        if round == rounds {
            break;
        }
        std::thread::scope(|scope| {
            for client in 0..CLIENTS {
                let (known, number) = (&known, &number);
                scope.spawn(move || loop {
                    let number = number.fetch_add(1, Ordering::Relaxed);
                    // Each client has actions of its own, so the order of its requests is known.
                    let name = number % 10 * CLIENTS + client;
                    let delete = number.is_multiple_of(7);
                    let wanted = (!delete).then_some(number);
                    known.lock().expect("whole").entry(name).or_insert((None, None)).1 = Some(wanted);
                    let body = format!(
                        r#"{{"exec":{{"kind":"nodejs:default","code":"{}"}},"annotations":[{{"key":"number","value":{number}}}]}}"#,
                        code(number)
                    );
                    let answer = match delete {
                        true => ask(port, "DELETE", &format!("/actions/a{name}"), ""),
                        false => ask(port, "PUT", &format!("/actions/a{name}?overwrite=true"), &body),
                    };
                    match answer {
                        Some((200 | 404, _)) => *known.lock().expect("whole").get_mut(&name).expect("it is there") = (wanted, None),
                        Some(other) => panic!("{other:?}"),
                        None => return,
                    }
                });
            }
            std::thread::sleep(Duration::from_millis(30 + round * 37 % 300));
            running.kill();
        });
    }
    assert!(
        number.into_inner() > rounds * 10,
        "hardly anything was changed"
    );
}
