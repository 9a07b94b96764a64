//! What does TLS cost a server? The CPU time of a full handshake, of a resumed one and of a gigabyte, and the memory of an idle
//! connection: `ebb-tls` on the hosted platform, beside nginx with OpenSSL, both as processes of this Linux with one core and the
//! same certificate (P-256).
//!
//! `cargo bench --bench tls [-- --quick]`, with `nginx` installed. It is the servers' CPU time that is compared (user and kernel, from
//! `/proc`), so what else the machine does matters little; the clients are the same for both: this program's own for handshakes
//! and idle connections, curl for bytes.
//!
//! `EBB_LINUX_GUEST=PROGRAM cargo bench --bench tls -- --machines [--quick]`, as root: an image beside nginx in a Linux guest.

mod machines;

use std::{
    fs,
    net::SocketAddr,
    path::Path,
    process::{Child, Command, Stdio},
    thread,
    time::Duration,
};

use benches::{goal_at_least, median, quick};
use ebb_net::http::{Client, Limits, Request, Response};
use ebb_tls::{
    Acceptor, Certificates, ClientSettings, Connector, Identity, ServerSettings, http::HTTP_1_1,
    self_signed,
};
use test_support::{scratch, tools};

/// Bytes of what is fetched.
const BULK: usize = 64 << 20;
/// The first argument of the process that is our side.
const SERVE: &str = "--serve";

const CORE: ebb_hosted::Config = ebb_hosted::Config {
    cores: 1,
    pin: false,
};

/// Our side: a server for the certificate of a file.
fn serve(pem: &str) {
    let pem = fs::read(pem).expect("the bench wrote it");
    ebb_hosted::run(&CORE, || async move {
        let identity = Identity::from_pem(&pem, &pem).expect("the bench made it");
        let mut settings = ServerSettings::new(Certificates::new(vec![identity]));
        settings.alpn = vec![HTTP_1_1.to_vec()];
        let acceptor = Acceptor::new(settings).expect("TLS 1.3");
        let bulk: &'static [u8] = vec![7; BULK].leak();
        let limits = Limits {
            idle_time: Duration::from_secs(600),
            ..Limits::default()
        };
        let handler = async move |request: &mut Request<'_>| match request.path() {
            "/bulk" => Response::new(200).body(bulk),
            _ => Response::text("hello\n"),
        };
        let at = SocketAddr::from(([127, 0, 0, 1], 0));
        let server = ebb_tls::http::listen(at, acceptor, limits, handler).await;
        let server = server.expect("a free port");
        println!("{}", server.local_addr().port());
        let _ = server.failed().await;
    });
}

/// A server, in a process that ends with this.
struct Side {
    child: Child,
    /// The process that serves.
    pid: u32,
    port: u16,
}

impl Drop for Side {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn ours(pem: &str) -> Side {
    let this = std::env::current_exe().expect("a program");
    let mut child = Command::new(this)
        .args([SERVE, pem])
        .stdout(Stdio::piped())
        .spawn()
        .expect("this program starts");
    let mut line = String::new();
    let mut stdout = std::io::BufReader::new(child.stdout.take().expect("piped"));
    std::io::BufRead::read_line(&mut stdout, &mut line).expect("its port");
    Side {
        pid: child.id(),
        child,
        port: line.trim().parse().expect("a port"),
    }
}

fn nginx(pem: &str, folder: &Path) -> Side {
    let free = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = free.local_addr().expect("bound").port();
    drop(free);
    fs::create_dir_all(folder).expect("a folder");
    fs::write(folder.join("bulk"), vec![7; BULK]).expect("room");
    let at = folder.display();
    // One process that serves, as ours is; what Debian's has in it is OpenSSL 3.0.
    let configuration = format!(
        "worker_processes 1; master_process off; daemon off; error_log stderr crit; pid {at}/pid;
events {{ worker_connections 10000; }}
http {{ access_log off; sendfile on; tcp_nodelay on; keepalive_timeout 600; keepalive_requests 1000000;
  client_body_temp_path {at}/b; proxy_temp_path {at}/p; fastcgi_temp_path {at}/f; uwsgi_temp_path {at}/u; scgi_temp_path {at}/s;
  server {{ listen 127.0.0.1:{port} ssl backlog=4096; ssl_certificate {pem}; ssl_certificate_key {pem}; ssl_protocols TLSv1.3;
    client_header_timeout 600; root {at}; location = / {{ return 200 'hello\n'; }} }} }}"
    );
    let file = folder.join("nginx.conf");
    fs::write(&file, configuration).expect("room");
    let child = Command::new("nginx")
        .arg("-c")
        .arg(&file)
        .spawn()
        .expect("it is installed");
    while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
        thread::sleep(Duration::from_millis(20));
    }
    Side {
        pid: child.id(),
        child,
        port,
    }
}

impl Side {
    /// CPU time so far, user and kernel, in seconds.
    fn cpu(&self) -> f64 {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.pid)).expect("it runs");
        let (_, rest) = stat.rsplit_once(") ").expect("a name");
        let ticks = rest.split(' ').skip(11).take(2);
        let ticks: u64 = ticks.map(|t| t.parse::<u64>().expect("ticks")).sum();
        // Linux tells them in hundredths of a second.
        ticks as f64 / 100.0
    }

    fn address(&self) -> SocketAddr {
        ([127, 0, 0, 1], self.port).into()
    }

    /// CPU time of a connection with one request, in milliseconds: `count` of them, one after another.
    fn connections(&self, roots: &str, count: u32, resumes: bool) -> f64 {
        let (address, roots) = (self.address(), roots.to_owned());
        let before = self.cpu();
        ebb_hosted::run(&CORE, move || async move {
            let new = || Connector::new(ClientSettings::new(roots.as_bytes())).expect("roots");
            let kept = new();
            for n in 0..count {
                let connector = if resumes { kept.clone() } else { new() };
                let stream = connector.connect(address, "127.0.0.1").await;
                let stream = stream.expect("a handshake");
                assert_eq!(stream.is_resumed(), resumes && n > 0);
                let mut client = Client::over(stream, "127.0.0.1", Limits::default());
                let answer = client.request("GET", "/", &[], b"").await;
                assert_eq!(answer.expect("an answer").body, b"hello\n");
            }
        });
        (self.cpu() - before) * 1000.0 / f64::from(count)
    }

    /// CPU time of a GiB that is fetched, in seconds.
    fn bulk(&self, times: u32) -> f64 {
        let before = self.cpu();
        let url = format!("https://127.0.0.1:{}/bulk", self.port);
        for _ in 0..times {
            let fetched = Command::new("curl")
                .args(["-sSk", "-o", "/dev/null", "-w", "%{size_download}", &url])
                .output()
                .expect("it is installed");
            assert_eq!(fetched.stdout, BULK.to_string().as_bytes(), "{fetched:?}");
        }
        (self.cpu() - before) * (1 << 30) as f64 / (BULK as f64 * f64::from(times))
    }

    /// Memory of an idle connection, in KiB of the process: `count` of them, each after one request.
    fn idle(&self, roots: &str, count: u32) -> f64 {
        let (address, roots, pid) = (self.address(), roots.to_owned(), self.pid);
        // What the first connections leave behind is not theirs.
        self.connections(&roots, 100, false);
        let before = memory(pid);
        let (tell, told) = std::sync::mpsc::channel();
        ebb_hosted::run(&CORE, move || async move {
            let connector = Connector::new(ClientSettings::new(roots.as_bytes())).expect("roots");
            let mut open = Vec::new();
            for _ in 0..count {
                let stream = connector.connect(address, "127.0.0.1").await;
                let mut client =
                    Client::over(stream.expect("a handshake"), "127.0.0.1", Limits::default());
                client
                    .request("GET", "/", &[], b"")
                    .await
                    .expect("an answer");
                open.push(client);
            }
            ebb::time::sleep(Duration::from_millis(200)).await;
            tell.send(memory(pid)).expect("it is awaited");
        });
        (told.recv().expect("it was told") - before) / f64::from(count)
    }
}

/// A process' resident memory in KiB.
fn memory(pid: u32) -> f64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    let number = line.and_then(|line| line.split_whitespace().nth(1));
    number.and_then(|n| n.parse().ok()).expect("a size")
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    if let [_, word, pem] = &arguments[..]
        && word == SERVE
    {
        return serve(pem);
    }
    if machines::is_agent() {
        return;
    }
    if arguments.iter().any(|word| word == "--machines") {
        return machines::compare();
    }
    if tools::lacks(&["nginx", "curl"]) {
        return;
    }
    let (rounds, count, times, open) = match quick() {
        true => (1, 100, 2, 200),
        false => (5, 2000, 16, 2000),
    };
    let now = std::time::SystemTime::now();
    let now = now.duration_since(std::time::UNIX_EPOCH).expect("later");
    let made = self_signed(&["localhost", "127.0.0.1"], now).expect("names");
    let pem = scratch("bench-tls.pem");
    fs::write(&pem, &made.pem).expect("room");
    let pem = pem.to_str().expect("plain");
    let roots = &made.certificate;
    let sides = [ours(pem), nginx(pem, &scratch("bench-tls"))];
    type Measure<'a> = &'a dyn Fn(&Side) -> f64;
    let measures: [(&str, &str, Measure<'_>, f64); 3] = [
        (
            "full_handshake",
            "ms of CPU",
            &|s| s.connections(roots, count, false),
            1.0,
        ),
        (
            "resumed_handshake",
            "ms of CPU",
            &|s| s.connections(roots, count, true),
            1.0,
        ),
        ("bulk", "s of CPU for a GiB", &|s| s.bulk(times), 1.2),
    ];
    for (name, unit, measure, goal) in measures {
        // The sides take turns.
        let mut figures = [Vec::new(), Vec::new()];
        for _ in 0..rounds {
            for (side, figures) in sides.iter().zip(&mut figures) {
                figures.push(measure(side));
            }
        }
        let [ours, theirs] = figures.map(|figures| median(&figures));
        println!("{name}: ebb-tls {ours:.3}, nginx {theirs:.3} {unit}");
        goal_at_least(&format!("tls_{name}"), theirs / ours, goal);
    }
    let [ours, theirs] = [&sides[0], &sides[1]].map(|side| side.idle(roots, open));
    println!("idle: ebb-tls {ours:.1}, nginx {theirs:.1} KiB of the process for a connection");
    goal_at_least("tls_idle_memory", theirs / ours, 3.0);
}
