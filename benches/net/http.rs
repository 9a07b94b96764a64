//! How many more requests does the web server answer as an image? Beside nginx in a Linux guest on the same virtual
//! hardware, which serves the same page from memory.
//!
//! `EBB_LINUX_GUEST=PROGRAM cargo bench --bench http [-- --quick]`, as root, with `nginx` installed. 16 connections, kept
//! alive, one request at a time on each.

mod load;
#[allow(dead_code)]
mod sides;

use std::net::SocketAddr;

use ebb_benches::{goal, quick};
use load::{Figures, Generator, Load, Protocol};
use sides::{Counting, Side, agent, count_instructions, goal_at_least, linux_guest, ratio, turns};

const IMAGE: &str = env!("CARGO_BIN_EXE_bench-webserver");
const PAGE: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../../examples/webserver/index.html"
);
const CONNECTIONS: usize = 16;

/// What a production nginx would be told: a worker for each core, no log, no limit to kept-alive requests.
const NGINX: &str = "user root; worker_processes auto; error_log stderr crit; daemon off; pid /tmp/nginx.pid;
events { worker_connections 1024; }
http { access_log off; default_type text/html; tcp_nodelay on; sendfile on; keepalive_requests 1000000000;
  open_file_cache max=100; client_body_temp_path /tmp/b; proxy_temp_path /tmp/p; fastcgi_temp_path /tmp/f;
  uwsgi_temp_path /tmp/u; scgi_temp_path /tmp/s;
  server { listen 80 reuseport; root /app; index index.html; } }
";

struct Get;

impl Protocol for Get {
    fn request(&mut self, out: &mut Vec<u8>) -> u64 {
        out.extend(
            b"GET / HTTP/1.1\r\nHost: 10.0.2.15\r\nUser-Agent: bench\r\nAccept: */*\r\n\r\n",
        );
        0
    }

    fn answer(&mut self, input: &[u8], _note: u64) -> Option<usize> {
        let end = input.windows(4).position(|w| w == b"\r\n\r\n")? + 4;
        let head = std::str::from_utf8(&input[..end]).expect("a head of text");
        assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
        let length = head
            .lines()
            .find_map(|line| {
                let (name, value) = line.split_once(':')?;
                name.eq_ignore_ascii_case("content-length").then_some(value)
            })
            .expect("a length");
        let length: usize = length.trim().parse().expect("a number");
        assert!(length > 100, "the page");
        (input.len() >= end + length).then_some(end + length)
    }
}

fn main() {
    let mut generator = None;
    let obey = |address: SocketAddr, order: &[f64]| -> Figures {
        let load = Load {
            depth: 1,
            rate: order[0],
            seconds: order[1],
        };
        generator
            .get_or_insert_with(|| Generator::new(address, CONNECTIONS))
            .run(load, None, &mut Get)
    };
    if agent(obey) {
        return;
    }
    let (rounds, seconds) = if quick() { (3, 2.0) } else { (7, 4.0) };
    let configuration = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("nginx.conf");
    std::fs::write(&configuration, NGINX).expect("a directory to write to");
    let configuration = configuration.to_str().expect("a path of text");
    let guest = linux_guest();
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
    let image = |cores, counting: Option<&Counting>| Side::image(IMAGE, cores, 80, &[], counting);
    let linux = |cores, counting: Option<&Counting>| {
        guest
            .as_deref()
            .map(|guest| Side::linux(guest.as_ref(), cores, 80, &app, counting))
    };
    let counted = count_instructions(
        "http",
        |counting| image(1, Some(counting)),
        guest
            .is_some()
            .then_some(|counting: &Counting| linux(1, Some(counting)).expect("named")),
    );
    if let Some(ratio) = counted {
        goal("http_instructions", ratio, 0.34);
    }
    for cores in [1, 2] {
        println!("\n{cores} vCPU, {rounds} rounds of {seconds} s, taking turns");
        let mut ours = image(cores, None);
        let mut theirs = linux(cores, None);
        ours.order("0 2");
        if let Some(theirs) = &mut theirs {
            theirs.order("0 2");
        }
        let order = format!("0 {seconds}");
        let peak = turns(
            "GET / of 16 connections",
            "requests/s",
            rounds,
            &mut ours,
            theirs.as_mut(),
            &order,
        );
        if let Some(ratio) = ratio(&peak, |f| f.per_second) {
            goal_at_least(&format!("http_throughput_{cores}_vcpu"), ratio, 3.0);
        }
    }
}
