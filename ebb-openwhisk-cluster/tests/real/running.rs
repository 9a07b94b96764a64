//! The program, as a process.
#![allow(dead_code, reason = "several test programs have this file")]

use std::fmt::Display;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant, SystemTime};

use test_support::cargo::forget_package;

/// What this test was built with, too.
const FEATURES: &[&str] = match cfg!(feature = "scheduler") {
    true => &["--features", "played-scheduler"],
    false => &[],
};

/// The program. `cargo test` has built it, unless only this test was asked for.
pub fn built() -> PathBuf {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(build).clone()
}

fn build() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let target = Path::new(env!("CARGO_TARGET_TMPDIR"))
        .parent()
        .expect("target");
    let program = target.join("debug/examples/whisk-invoker");
    let changed = |path: &Path| path.metadata().and_then(|m| m.modified()).ok();
    let newest = std::fs::read_dir(here.join("src")).expect("src").flatten();
    let newest: Option<SystemTime> = newest.filter_map(|file| changed(&file.path())).max();
    // One without these features may be there.
    if changed(&program) < newest || !FEATURES.is_empty() {
        let mut cargo = Command::new(env!("CARGO"));
        cargo
            .args([
                "build",
                "--quiet",
                "-p",
                "ebb-openwhisk-cluster",
                "--example",
                "whisk-invoker",
            ])
            .args(FEATURES)
            .current_dir(here);
        forget_package(&mut cargo);
        let built = cargo.status();
        assert!(built.expect("cargo runs this test").success());
    }
    program
}

/// An invoker that runs.
pub struct Running {
    child: Child,
    port: u16,
}

impl Running {
    /// With a broker and a database at these addresses.
    pub fn start(broker: &impl Display, couch: &str) -> Self {
        Self::with(broker, couch, &[])
    }

    /// With further options.
    pub fn with(broker: &impl Display, couch: &str, options: &[&str]) -> Self {
        Self::set(broker, couch, options, &[])
    }

    /// And with variables of the environment.
    pub fn set(
        broker: &impl Display,
        couch: &str,
        options: &[&str],
        variables: &[(&str, &str)],
    ) -> Self {
        let memory: &[&str] = match options.contains(&"--memory") {
            true => &[],
            false => &["--memory", "1G"],
        };
        let mut child = Command::new(built())
            .args(["--id", "0", "--kafka", &broker.to_string()])
            .args(["--couchdb", couch, "--port", "0"])
            .args(memory)
            .args(options)
            .env("CONFIG_whisk_kafka_consumer_fetchMaxWaitMs", "50")
            .env(
                "CONFIG_whisk_containerProxy_timeouts_pauseGrace",
                "1 second",
            )
            .env(
                "CONFIG_whisk_containerProxy_timeouts_idleContainer",
                "60 seconds",
            )
            .env("CONFIG_whisk_etcd_lease_timeout", "2")
            // A killed one is missed that soon.
            .env("CONFIG_whisk_kafka_consumer_sessionTimeoutMs", "6000")
            .env("CONFIG_whisk_kafka_consumer_heartbeatIntervalMs", "1000")
            .env("EBB_CORES", "1")
            .envs(variables.iter().copied())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the invoker starts");
        let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        let port = loop {
            let line = lines.next().expect("a banner").expect("text");
            if let Some((_, rest)) = line.split_once("http://localhost:") {
                break rest.trim_end_matches("/metrics").parse().expect("a port");
            }
        };
        // Read on, or the invoker would wait for a full pipe.
        std::thread::spawn(move || {
            lines.for_each(|line| println!("| {}", line.unwrap_or_default()))
        });
        Self { child, port }
    }

    /// KiB of its memory.
    pub fn resident_kib(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()));
        let status = status.expect("it runs");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
        kib.expect("a number of kB")
    }

    /// One of its figures.
    pub fn figure(&self, name: &str) -> f64 {
        let metrics = self.http("GET /metrics");
        let value = metrics
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok());
        value.unwrap_or_else(|| panic!("{name} is not in {metrics}"))
    }

    /// The number of its process.
    pub fn process(&self) -> u32 {
        self.child.id()
    }

    pub fn http(&self, request: &str) -> String {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).expect("it listens");
        let head = format!(
            "{request} HTTP/1.1\r\nhost: x\r\nconnection: close\r\nauthorization: Basic aW52b2tlci51c2VyOmludm9rZXIucGFzcw==\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).expect("sent");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("an answer");
        answer
    }

    pub fn signal(&self, signal: &str) {
        let told = Command::new("kill")
            .args([signal, &self.child.id().to_string()])
            .status();
        assert!(told.expect("kill runs").success());
    }

    /// Waits for its end.
    pub fn ended(mut self) -> Option<i32> {
        let began = Instant::now();
        while began.elapsed() < Duration::from_secs(30) {
            if let Some(status) = self.child.try_wait().expect("a child") {
                return status.code();
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        panic!("the invoker does not end");
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
