//! How many HTTP requests does an unmodified Node.js answer, and how late? In an image and in a Linux guest on the same virtual
//! hardware, under the same load over a tap interface: 16 kept-alive connections.
//!
//! `EBB_LINUX_GUEST=PROGRAM cargo bench --bench node-http [-- --quick]`, as root.

use benches::{
    get::get_agent,
    goal, goal_at_least,
    machine::node,
    quick,
    sides::{Side, linux_guest},
    turns::{Pair, ratio},
};
use test_support::{cargo, scratch};

/// Connections stay open while the other side has its turn.
const SERVER: &str = "const server = require('node:http').createServer((request, response) => response.end('hello, world\\n'));
server.keepAliveTimeout = 0;
server.listen(80);
";
const ANSWER: &[u8] = b"hello, world\n";

fn main() {
    if get_agent(|body| body == ANSWER) {
        return;
    }
    let (rounds, seconds, warm) = if quick() {
        (3, 2.0, 3.0)
    } else {
        (9, 4.0, 10.0)
    };
    let script = scratch("http-server.js");
    std::fs::write(&script, SERVER).expect("a directory to write to");
    let script = script.to_str().expect("a path of text");
    let node = node();
    let node = node.to_str().expect("a path of text");
    let guest = linux_guest();
    println!("1 vCPU, {rounds} rounds of {seconds} s, taking turns");
    // The same flags on both sides: see the example `node`.
    let app = [
        "--app",
        "run",
        "--add",
        node,
        "--add",
        script,
        "--run",
        "node --v8-pool-size=0 /app/http-server.js",
    ];
    let mut pair = Pair {
        names: ["image", "Linux"],
        ours: Side::image(&cargo::example("node"), 1, 80, &[script], None),
        theirs: guest
            .as_ref()
            .map(|guest| Side::linux(guest, 1, 80, &app, None)),
        rounds,
        seconds,
    };
    pair.warm_up(warm);
    let peak = pair.closed_loop();
    let Some(throughput) = ratio(&peak, |f| f.per_second) else {
        return;
    };
    // Both get what is half of Linux's peak: QEMU, its network and the load share the host's CPUs.
    let open = pair.open_loop(0.5, &peak).unwrap_or_default();
    goal_at_least("node_http_throughput", throughput, 1.3);
    if let Some(late) = ratio(&peak, |f| f.p99_us) {
        goal("node_http_p99_closed", late, 0.8);
    }
    if let Some(late) = ratio(&open, |f| f.p99_us) {
        goal("node_http_p99_open", late, 0.8);
    }
}
