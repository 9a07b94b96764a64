//! The programs: the invoker of an OpenWhisk, the same image by itself behind its REST API, and a consumer that only answers.

use std::{
    fs,
    io::{BufRead, BufReader},
    net::SocketAddr,
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use benches::functions::{ARGUMENTS, IMAGE, metrics};
use serde_json::{Value, json};
use test_support::{Server, couch::Couch, npm};

/// A program that ends with this.
pub struct Program {
    child: Child,
    /// Where it said that it listens.
    port: Option<u16>,
}

impl Program {
    fn start(command: &mut Command, until: &str) -> Self {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("it starts");
        let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        let mut said = String::new();
        let line = loop {
            let Some(line) = lines.next() else {
                panic!("it ends and has not said '{until}', but:\n{said}");
            };
            let line = line.expect("text");
            said = format!("{said}{line}\n");
            if line.contains(until) {
                break line;
            }
        };
        let port = line.rsplit_once("localhost:");
        let port = port.and_then(|(_, rest)| rest.split('/').next()?.parse().ok());
        // Read on, or it would wait for a full pipe.
        std::thread::spawn(move || lines.for_each(drop));
        Self { child, port }
    }

    /// One of its figures.
    pub fn figure(&self, name: &str) -> f64 {
        let port = self.port.expect("it listens");
        metrics(([127, 0, 0, 1], port).into())(name)
    }

    /// Its process.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Processor time that it has had, without the programs that it has started.
    pub fn busy(&self) -> Duration {
        busy(self.child.id())
    }

    /// MiB of memory that it has now, and had at most.
    pub fn mib(&self) -> (f64, f64) {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()));
        let status = status.expect("it runs");
        let of = |name: &str| -> f64 {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            let kib = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
            kib.map(|kib: f64| kib / 1024.0).expect("a number of kB")
        };
        (of("VmRSS:"), of("VmHWM:"))
    }
}

/// Processor time of a process, without the programs that it has started.
pub fn busy(process: u32) -> Duration {
    let clock = |task: &Path| {
        let stat = fs::read_to_string(task.join("schedstat")).unwrap_or_default();
        let ns = stat.split(' ').next().and_then(|ns| ns.parse().ok());
        Duration::from_nanos(ns.unwrap_or(0))
    };
    let tasks = fs::read_dir(format!("/proc/{process}/task"));
    let tasks = tasks.expect("it runs").flatten();
    tasks.map(|task| clock(&task.path())).sum()
}

impl Drop for Program {
    fn drop(&mut self) {
        // Its machines end with it.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// `whisk-invoker` with this number, in front of one machine with one vCPU.
pub fn invoker(
    program: &Path,
    number: u32,
    image: &Path,
    broker: SocketAddr,
    couch: &Couch,
    wait_ms: u64,
) -> Program {
    let mut command = Command::new(program);
    command
        .args([
            "--id",
            &number.to_string(),
            "--kafka",
            &broker.to_string(),
            "--couchdb",
            &couch.url(),
        ])
        .args([
            "--port",
            "0",
            "--memory",
            "16G",
            "--machines",
            "1",
            "--machine-memory",
            "2G",
        ])
        .arg("--image")
        .arg(image)
        .env(
            "CONFIG_whisk_kafka_consumer_fetchMaxWaitMs",
            wait_ms.to_string(),
        )
        .env("EBB_CORES", "1");
    Program::start(&mut command, "http://localhost:")
}

/// The image by itself, with one vCPU and its REST API, over the same kind of network.
pub fn image(image: &Path) -> Server {
    let settings = [
        ("EBB_CORES", "1"),
        ("EBB_MEMORY", "2G"),
        ("EBB_DISK", "none"),
        ("EBB_TIMEOUT", "3600"),
    ];
    Server::boot(
        image,
        &ARGUMENTS,
        IMAGE,
        "invoker: http://localhost:",
        &settings,
    )
}

/// The consumer that answers each message of a topic at once. `None` where kafkajs cannot be had.
pub fn consumer(broker: SocketAddr, topic: &str, wait_ms: u64) -> Option<Program> {
    let packages = npm::folder_with(npm::KAFKAJS)?;
    let mut command = Command::new("node");
    command
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/guests/consumer.js"))
        .args([&broker.to_string(), topic, &wait_ms.to_string()])
        .env("NODE_PATH", packages.join("node_modules"));
    Some(Program::start(&mut command, "reads"))
}

/// The document of an action, as `wsk` makes it.
pub fn action(name: &str, code: &str) -> Value {
    json!({
        "_id": format!("guest/{name}"), "namespace": "guest", "name": name, "version": "0.0.1",
        "publish": false, "updated": 1, "entityType": "action", "parameters": [], "annotations": [],
        "exec": {"kind": "nodejs:20", "code": code, "binary": false},
        "limits": {"timeout": 60000, "memory": 128, "logs": 10, "concurrency": 1},
    })
}
