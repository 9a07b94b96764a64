//! What it costs that what is deployed and called is kept: durable PUTs beside redis, calls beside a machine that keeps nothing,
//! and memory.

use std::{
    fs,
    net::SocketAddr,
    process::{Child, Command, Stdio},
    thread,
    time::Duration,
};

use benches::{
    answer::whole,
    functions::{Greeting, IMAGE, request},
    goal, goal_at_least,
    load::{Figures, Generator, Load, Protocol},
    median, quick,
};
use test_support::{cargo, invoker::Invoker, scratch};

use crate::machine::{Disks, HELLO};
use crate::{number, rounds};

const CLIENTS: usize = 8;
/// Bytes of an action's code, and of a value of redis.
const CODE: usize = 1024;

fn address(machine: &Invoker) -> SocketAddr {
    ([127, 0, 0, 1], machine.port()).into()
}

/// Actions of that many bytes, each under a name of its own.
struct Puts {
    next: u64,
    code: usize,
}

impl Protocol for Puts {
    fn request(&mut self, out: &mut Vec<u8>) -> u64 {
        let number = self.next;
        self.next += 1;
        let code = format!(
            "exports.main = () => ({{ n: {number} }}); /*{}*/",
            "x".repeat(self.code)
        );
        let body = format!(r#"{{"exec":{{"kind":"nodejs:default","code":"{code}"}}}}"#);
        out.extend(request(IMAGE, "PUT", &format!("n{number:07}"), &body).as_bytes());
        number
    }

    fn answer(&mut self, input: &[u8], number: u64) -> Option<usize> {
        let answer = whole(input)?;
        let body = String::from_utf8_lossy(&input[answer.body.clone()]);
        assert!(
            answer.is_good && body.contains(&format!("n{number:07}")),
            "{body}"
        );
        Some(answer.body.end)
    }
}

const ENDLESS: f64 = 3600.0;

/// Deploys so many actions.
pub fn fill(machine: &Invoker, count: usize, code: usize) -> Figures {
    let load = Load {
        depth: 1,
        rate: 0.0,
        seconds: ENDLESS,
    };
    let mut puts = Puts { next: 0, code };
    Generator::new(address(machine), CLIENTS).run(load, Some(count as u64), &mut puts)
}

struct Redis(Child);

impl Drop for Redis {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// SETs a second, and the 99th percentile in ms, of clients over TCP.
fn redis(count: usize) -> (f64, f64) {
    let folder = scratch("bench-starts-redis");
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).expect("a place for redis");
    const PORT: &str = "16399";
    let server = Command::new("redis-server")
        .args([
            "--port",
            PORT,
            "--bind",
            "127.0.0.1",
            "--save",
            "",
            "--appendonly",
            "yes",
        ])
        .args(["--appendfsync", "always", "--dir"])
        .arg(&folder)
        .stdout(Stdio::null())
        .spawn()
        .expect("redis-server starts");
    let _server = Redis(server);
    while std::net::TcpStream::connect(("127.0.0.1", 16399)).is_err() {
        thread::sleep(Duration::from_millis(10));
    }
    let said = Command::new("redis-benchmark")
        .args([
            "-p",
            PORT,
            "-c",
            &CLIENTS.to_string(),
            "-n",
            &count.to_string(),
        ])
        .args([
            "-d",
            &CODE.to_string(),
            "-r",
            "1000000",
            "-t",
            "set",
            "--csv",
        ])
        .output()
        .expect("redis-benchmark starts");
    let _ = fs::remove_dir_all(&folder);
    let text = String::from_utf8_lossy(&said.stdout).into_owned();
    let line = text.lines().find(|line| line.starts_with("\"SET\""));
    let fields: Vec<f64> = line
        .unwrap_or_else(|| panic!("redis-benchmark said {text}"))
        .split(',')
        .filter_map(|field| field.trim_matches('"').parse().ok())
        .collect();
    // Behind the name: rate; average, least, p50, p95, p99, most in ms.
    (fields[0], fields[5])
}

/// Durable PUTs beside redis.
pub fn puts() {
    let count = if quick() { 2_000 } else { 10_000 };
    println!("{count} durable PUTs of {CODE} bytes by {CLIENTS} clients");
    let image = cargo::example("invoker");
    let (rate, p99) = redis(count);
    println!(
        "  {:<34} {rate:>7.0}/s  p99 {p99:>7.2} ms",
        "redis 7, appendfsync always"
    );
    let started = Disks::new("puts").boot(&image, &[]);
    started.machine.until("ebb_base_ready", |ready| ready == 1);
    let ours = fill(&started.machine, count, CODE);
    started.machine.kill();
    let milliseconds = ours.p99_us / 1000.0;
    println!(
        "  {:<34} {:>7.0}/s  p99 {milliseconds:>7.2} ms",
        "the invoker's API", ours.per_second
    );
    goal_at_least("durable_puts", ours.per_second / rate, 1.0);
    goal("durable_put_p99", milliseconds / p99, 1.0);
}

/// The same call for ever.
const HOT: Greeting = Greeting {
    port: IMAGE,
    function: HELLO,
    right: "{\"hello\":\"you\"}",
};

/// Blocking calls, kept and not.
pub fn calls() {
    let seconds = if quick() { 2.0 } else { 5.0 };
    println!(
        "blocking calls of one client, {} rounds, taking turns",
        rounds()
    );
    let image = cargo::example("invoker");
    let disks = ["keeps", "keeps-not"].map(Disks::new);
    let sides = [("kept", &[][..]), ("--ephemeral", &["--ephemeral"][..])];
    let machines: Vec<_> = sides
        .iter()
        .zip(&disks)
        .map(|((_, arguments), disks)| {
            let machine = disks.boot(&image, arguments).machine;
            machine.until("ebb_base_ready", |ready| ready == 1);
            machine.deploy(HELLO, "exports.main = ({ name }) => ({ hello: name })");
            machine
        })
        .collect();
    let mut clients: Vec<_> = machines
        .iter()
        .map(|m| Generator::new(address(m), 1))
        .collect();
    let load = |seconds| Load {
        depth: 1,
        rate: 0.0,
        seconds,
    };
    for client in &mut clients {
        client.run(load(4.0 * seconds), None, &mut { HOT });
    }
    let mut figures: [Vec<Figures>; 2] = Default::default();
    for round in 0..2 * rounds() {
        // The first one is not always the same.
        let order = if round % 2 == 0 { [0, 1] } else { [1, 0] };
        for side in order {
            figures[side].push(clients[side].run(load(seconds), None, &mut { HOT }));
        }
    }
    let of = |side: usize, f: fn(&Figures) -> f64| {
        median(&figures[side].iter().map(f).collect::<Vec<_>>())
    };
    for (side, (name, _)) in sides.iter().enumerate() {
        println!(
            "  {name:<34} p50 {:>6.0} us  p99 {:>6.0} us",
            of(side, |f| f.p50_us),
            of(side, |f| f.p99_us)
        );
    }
    // Of the medians: the other's turn is seconds away.
    let ratio = of(0, |f| f.p50_us) / of(1, |f| f.p50_us);
    goal("kept_call_p50", ratio, 1.05);
    machines.into_iter().for_each(Invoker::kill);
}

/// What entities take when all of them have been read again.
pub fn memory() {
    let count = number("--entities").unwrap_or(if quick() { 5_000 } else { 99_000 });
    println!("memory of {count} actions of {CODE} bytes after a restart");
    let image = cargo::example("invoker");
    let [none, many] = ["memory-none", "memory-many"].map(Disks::new);
    none.boot(&image, &[]).leave_snapshots();
    let started = many.boot(&image, &[]);
    fill(&started.machine, count, CODE);
    started.leave_snapshots();
    let free = |disks: &Disks| {
        let started = disks.boot(&image, &[]);
        started.machine.says("records were read within");
        started.machine.until("ebb_instances_ahead", |n| n > 0);
        // Blank copies are made in idle times.
        thread::sleep(Duration::from_secs(3));
        let [free, bytes] = ["ebb_memory_free_bytes", "ebb_entities_bytes"]
            .map(|name| started.machine.metric(name) as f64);
        started.machine.kill();
        (free, bytes)
    };
    let ((without, _), (with, bytes)) = (free(&none), free(&many));
    let taken = without - with;
    let mib = f64::from(1 << 20);
    println!(
        "  entities {:.1} MiB, memory {:.1} MiB",
        bytes / mib,
        taken / mib
    );
    goal(
        "memory_of_entities",
        taken / (1.2 * bytes + 32.0 * mib),
        1.0,
    );
}
