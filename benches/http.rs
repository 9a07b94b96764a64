//! How many more requests does the web server answer as an image? Beside nginx in a Linux guest on the same virtual
//! hardware, which serves the same page from memory.
//!
//! `EBB_LINUX_GUEST=PROGRAM cargo bench --bench http [-- --quick]`, as root, with `nginx` installed. 16 connections, kept
//! alive, one request at a time on each. `-- --idle [COUNT]` measures only what idle connections hold and cost the others.

use std::time::{Duration, Instant};

use benches::{
    get::{FREE, HOLD, get_agent},
    goal, goal_at_least, median, quick,
    servers::Servers,
    sides::{Counting, Side, effort, linux_guest, value_of},
    turns::ratio,
};
use test_support::{cargo, scratch, tools};

/// How long the server leaves a connection open on which nothing is asked, at least.
const IDLE_LIMIT: Duration = Duration::from_secs(60);

const PAGE: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../examples/webserver/index.html"
);

/// What a production nginx would be told: a worker for each core, no log, no limit to kept-alive requests.
const NGINX: &str = "user root; worker_processes auto; error_log stderr crit; daemon off; pid /tmp/nginx.pid;
events { worker_connections 1024; }
http { access_log off; default_type text/html; tcp_nodelay on; sendfile on; keepalive_requests 1000000000;
  open_file_cache max=100; client_body_temp_path /tmp/b; proxy_temp_path /tmp/p; fastcgi_temp_path /tmp/f;
  uwsgi_temp_path /tmp/u; scgi_temp_path /tmp/s;
  server { listen 80 reuseport; root /app; index index.html; } }
";

fn main() {
    if get_agent(|page| page.len() > 100) {
        return;
    }
    if std::env::args().any(|argument| argument == "--idle") {
        return beside_idle_connections();
    }
    let configuration = scratch("nginx.conf");
    std::fs::write(&configuration, NGINX).expect("a directory to write to");
    let configuration = configuration.to_str().expect("a path of text");
    // What is missing is named.
    let guest = linux_guest().filter(|_| !tools::lacks(&["nginx"]));
    let (rounds, seconds) = effort(guest.as_deref(), (7, 4.0));
    let start = "mkdir -p /etc /var/log/nginx /var/lib/nginx; echo 'root:x:0:0::/:/bin/sh' > /etc/passwd; \
                 echo 'root:x:0:' > /etc/group; nginx -c /app/nginx.conf";
    let app = [
        "--app",
        "run",
        "--add",
        "/usr/sbin/nginx",
        "--add",
        configuration,
        "--add",
        PAGE,
        "--run",
        start,
    ];
    let server = cargo::example("webserver");
    let servers = Servers {
        name: "http",
        port: 80,
        image: (&server, &[]),
        linux: guest.as_deref().map(|guest| (guest, &app[..])),
    };
    servers.count(0.34);
    for cores in [1, 2] {
        let (_, peak) = servers.press(cores, rounds, seconds);
        if let Some(ratio) = ratio(&peak, |f| f.per_second) {
            goal_at_least(&format!("http_throughput_{cores}_vcpu"), ratio, 3.0);
        }
    }
}

/// Memory of connections that had a request each, and what they cost the exchanges on 16 others: time, in turns with as many that another image
/// holds, because what they cost the host is in both; and instructions, which do not depend on what else the host does.
fn beside_idle_connections() {
    let idle: usize = value_of("--idle")
        .and_then(|count| count.parse().ok())
        .unwrap_or(if quick() { 10_000 } else { 100_000 });
    let (rounds, seconds) = if quick() { (3, 1.0) } else { (5, 3.0) };
    let server = cargo::example("webserver");
    println!("1 vCPU, {idle} idle connections that had a request each");
    let mut side = Side::image(&server, 1, 80, &[], None);
    let mut other = Side::image(&server, 1, 80, &[], None);
    let load = format!("0 {seconds}");
    let (open, close) = (format!("{HOLD} {idle}"), format!("{HOLD} 0"));
    let free = |side: &mut Side| side.order(&format!("{FREE} 0")).per_second;
    // What the first connections make for all is there then.
    side.order(&load);
    let before = free(&mut side);
    let begun = Instant::now();
    side.order(&open);
    let took = begun.elapsed();
    let each = (before - free(&mut side)) / idle as f64;
    side.order(&close);
    println!(
        "memory of each: {each:.0} bytes; opened in {} s",
        took.as_secs()
    );
    assert!(
        took < IDLE_LIMIT,
        "the first ones may have been closed before the last were open; fewer, or on a host that does nothing else?"
    );
    goal("http_idle_memory_kib", each / 1024.0, 1.0);
    let ratios = (0..rounds).map(|round| {
        let mut beside = |here: bool| {
            if here { &mut side } else { &mut other }.order(&open);
            let figures = side.order(&load);
            if here { &mut side } else { &mut other }.order(&close);
            figures.p50_us
        };
        let (first, second) = (beside(round % 2 == 0), beside(round % 2 == 1));
        let (here, elsewhere) = if round % 2 == 0 {
            (first, second)
        } else {
            (second, first)
        };
        println!("p50: {here:.1} us beside, {elsewhere:.1} us when another has them");
        here / elsewhere
    });
    goal(
        "http_idle_connections",
        median(&ratios.collect::<Vec<_>>()),
        1.05,
    );
    drop(other);
    drop(side);
    if let Some(counting) = Counting::new("http-idle") {
        let mut side = Side::image(&server, 1, 80, &[], Some(&counting));
        let alone = counting.per_request(&mut side, &load, seconds);
        side.order(&open);
        let beside = counting.per_request(&mut side, &load, seconds);
        println!("instructions of a request: {alone:.0} alone, {beside:.0} beside");
        goal("http_idle_instructions", beside / alone, 1.05);
    }
}
