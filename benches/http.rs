//! How many more requests does the web server answer as an image? Beside nginx in a Linux guest on the same virtual
//! hardware, which serves the same page from memory.
//!
//! `EBB_LINUX_GUEST=PROGRAM cargo bench --bench http [-- --quick]`, as root, with `nginx` installed. 16 connections, kept
//! alive, one request at a time on each.

use benches::{
    get::get_agent,
    goal_at_least,
    servers::Servers,
    sides::{effort, linux_guest, ratio},
};
use test_support::{cargo, scratch, tools};

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
    let configuration = scratch("nginx.conf");
    std::fs::write(&configuration, NGINX).expect("a directory to write to");
    let configuration = configuration.to_str().expect("a path of text");
    // What is missing is named.
    let guest = linux_guest().filter(|_| !tools::lacks(&["nginx"]));
    let (rounds, seconds) = effort(guest.as_ref(), (7, 4.0));
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
