//! How many durable puts do 8 clients get, beside redis with `appendfsync always` on the same disk?
//!
//! `cargo bench --bench store [-- --quick]`. Each put is of 1 KiB under one of 10,000 keys, and has ended when it survives a
//! power cut. The store runs in this process and its clients are tasks, so a put has no network in it; redis is asked through a Unix
//! socket by redis-benchmark. Both are a log, and both write the clients' puts together that wait for the disk.

use std::{
    fs,
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex},
    thread,
    time::{Duration, Instant},
};

use benches::{goal, goal_at_least, quick};
use ebb_hosted::Config;
use ebb_store::{Batch, Store};
use test_support::{scratch, tools};

const CLIENTS: usize = 8;
const KEYS: u64 = 10_000;
const VALUE: usize = 1024;

/// Puts a second, and the 99th percentile in ms.
type Figures = (f64, f64);

fn store(puts: usize) -> Figures {
    let file = scratch("bench-store.img");
    let _ = fs::remove_file(&file);
    ebb_hosted::set_disks(&format!("{},size=1G", file.display())).expect("a plain name");
    let two = Config {
        cores: 2,
        pin: false,
    };
    let took = ebb_hosted::run(&two, move || async move {
        let (store, _) = Store::open_disk(0).await.expect("a new disk");
        let latencies = Arc::new(Mutex::new(Vec::new()));
        let begun = Instant::now();
        let clients: Vec<_> = (0..CLIENTS)
            .map(|client| {
                let (store, latencies) = (store.clone(), latencies.clone());
                ebb::spawn(async move {
                    let mut mine = Vec::new();
                    for n in 0..puts / CLIENTS {
                        let key = (n * CLIENTS + client) as u64 * 0x9e37_79b9 % KEYS;
                        let mut batch = Batch::default();
                        batch.put(format!("key:{key}"), vec![b'x'; VALUE]);
                        let begun = Instant::now();
                        store.commit(batch).await.expect("there is room");
                        mine.push(begun.elapsed());
                    }
                    latencies.lock().expect("nothing panics").extend(mine);
                })
            })
            .collect();
        for client in clients {
            client.await.expect("it does not panic");
        }
        let took = begun.elapsed();
        let mut latencies = latencies.lock().expect("nothing panics").clone();
        latencies.sort();
        let p99 = latencies[latencies.len() * 99 / 100];
        (puts as f64 / took.as_secs_f64(), p99.as_secs_f64() * 1000.0)
    });
    let _ = fs::remove_file(file);
    took
}

struct Redis(Child);

impl Drop for Redis {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn redis(puts: usize) -> Figures {
    let folder = scratch("bench-redis");
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).expect("a place for redis");
    let socket = folder.join("socket");
    let server = Command::new("redis-server")
        .args(["--port", "0", "--save", "", "--appendonly", "yes"])
        .args(["--appendfsync", "always", "--unixsocket"])
        .arg(&socket)
        .arg("--dir")
        .arg(&folder)
        .stdout(Stdio::null())
        .spawn()
        .expect("redis-server starts");
    let _server = Redis(server);
    while !socket.exists() {
        thread::sleep(Duration::from_millis(10));
    }
    let said = Command::new("redis-benchmark")
        .arg("-s")
        .arg(&socket)
        .args(["-c", &CLIENTS.to_string(), "-n", &puts.to_string()])
        .args(["-d", &VALUE.to_string(), "-r", &KEYS.to_string()])
        .args(["-t", "set", "--csv"])
        .output()
        .expect("redis-benchmark starts");
    let text = String::from_utf8_lossy(&said.stdout).into_owned();
    // "test","rps","avg_latency_ms","min_latency_ms","p50_latency_ms","p95_latency_ms","p99_latency_ms","max_latency_ms"
    let line = text.lines().find(|l| l.starts_with("\"SET\""));
    let fields: Vec<f64> = line
        .unwrap_or_else(|| panic!("redis-benchmark said {text}"))
        .split(',')
        .filter_map(|field| field.trim_matches('"').parse().ok())
        .collect();
    let _ = fs::remove_dir_all(&folder);
    (fields[0], fields[5])
}

fn main() {
    if tools::lacks(&["redis-server", "redis-benchmark"]) {
        return;
    }
    let puts = if quick() { 4_000 } else { 40_000 };
    let theirs = redis(puts);
    let ours = store(puts);
    for (name, (rate, p99)) in [("redis 7, appendfsync always", theirs), ("ebb-store", ours)] {
        println!("{name:<28} {rate:>9.0} puts/s  p99 {p99:>8.3} ms");
    }
    goal_at_least("durable puts of 8 clients", ours.0 / theirs.0, 1.0);
    goal("durable put p99", ours.1 / theirs.1, 1.0);
}
