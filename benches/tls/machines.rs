//! The same question of machines: an image beside nginx with OpenSSL in a Linux guest, one emulated processor each, the same
//! certificate, the clients on the host. What is compared is what they do in a second.

use std::{
    cell::Cell,
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Command,
    rc::Rc,
    sync::{Arc, mpsc},
    time::{Duration, Instant},
};

use benches::{
    goal_at_least,
    load::Figures,
    sides::{Side, agent, effort, linux_guest},
    turns::{ratio, turns},
};
use ebb_net::http::{Client, Limits};
use ebb_tls::{ClientSettings, Connector, self_signed};
use test_support::{cargo, scratch, tools};

use super::{BULK, CORE};

const ADDRESS: &str = "10.0.2.15";
const PORT: u16 = 443;
/// Connections that are begun at once.
const AT_ONCE: usize = 4;
/// The ciphers that clients offer, each alone: a machine that is emulated would choose another than one that is not.
const CIPHERS: [&str; 2] = ["TLS_CHACHA20_POLY1305_SHA256", "TLS_AES_128_GCM_SHA256"];

/// Where the agents find the certificate.
fn certificate() -> PathBuf {
    scratch("bench-tls-machines.crt")
}

/// If this program was started as an agent: `HANDSHAKES CIPHER SECONDS`, 1 for handshakes and 0 for bytes.
pub fn is_agent() -> bool {
    agent(|address, order| {
        let cipher = CIPHERS[order[1] as usize];
        let time = Duration::from_secs_f64(order[2]);
        let per_second = match order[0] > 0.0 {
            true => handshakes(address, cipher, time),
            false => megabytes(address, cipher, time),
        };
        Figures {
            per_second,
            p50_us: 0.0,
            p99_us: 0.0,
        }
    })
}

/// Connections with a full handshake and one request, per second.
fn handshakes(address: SocketAddr, cipher: &'static str, time: Duration) -> f64 {
    let roots = fs::read(certificate()).expect("the bench wrote it");
    let (tell, told) = mpsc::channel();
    ebb_hosted::run(&CORE, move || async move {
        let done = Rc::new(Cell::new(0u32));
        let begun = Instant::now();
        let clients: Vec<_> = (0..AT_ONCE)
            .map(|_| {
                let (done, roots) = (Rc::clone(&done), roots.clone());
                ebb::spawn(async move {
                    while begun.elapsed() < time {
                        let mut settings = ClientSettings::new(&roots);
                        let mut provider = (*settings.provider).clone();
                        let is_it = |suite: &dyn std::fmt::Debug| {
                            format!("{suite:?}").replace("TLS13", "TLS") == cipher
                        };
                        provider.cipher_suites.retain(|s| is_it(&s.suite()));
                        settings.provider = Arc::new(provider);
                        let connector = Connector::new(settings).expect("roots");
                        let stream = connector.connect(address, ADDRESS).await;
                        let stream = stream.expect("a handshake");
                        let mut client = Client::over(stream, ADDRESS, Limits::default());
                        let answer = client.request("GET", "/", &[], b"").await;
                        assert_eq!(answer.expect("an answer").body, b"hello\n");
                        done.set(done.get() + 1);
                    }
                })
            })
            .collect();
        for client in clients {
            client.await.expect("no handshake fails");
        }
        let per_second = f64::from(done.get()) / begun.elapsed().as_secs_f64();
        tell.send(per_second).expect("it is awaited");
    });
    told.recv().expect("it was told")
}

/// Megabytes per second of a large answer, by curl.
fn megabytes(address: SocketAddr, cipher: &str, time: Duration) -> f64 {
    let url = format!("https://{address}/bulk");
    let (begun, mut bytes) = (Instant::now(), 0);
    while begun.elapsed() < time {
        let fetched = Command::new("curl")
            .args(["-sSk", "--tls13-ciphers", cipher, "-o", "/dev/null"])
            .args(["-w", "%{size_download}", &url])
            .output()
            .expect("it is installed");
        assert_eq!(fetched.stdout, BULK.to_string().as_bytes(), "{fetched:?}");
        bytes += BULK;
    }
    bytes as f64 / 1e6 / begun.elapsed().as_secs_f64()
}

/// nginx' configuration: as for processes, in a guest that has nothing else.
const NGINX: &str = "user root; worker_processes 1; error_log stderr crit; daemon off; pid /tmp/nginx.pid;
events { worker_connections 1024; }
http { access_log off; tcp_nodelay on; sendfile on; keepalive_requests 1000000000; open_file_cache max=100;
  client_body_temp_path /tmp/b; proxy_temp_path /tmp/p; fastcgi_temp_path /tmp/f; uwsgi_temp_path /tmp/u; scgi_temp_path /tmp/s;
  server { listen 443 ssl backlog=4096; ssl_certificate /app/tls.pem; ssl_certificate_key /app/tls.pem; ssl_protocols TLSv1.3;
    root /app; location = / { return 200 'hello\\n'; } } }
";

/// Writes what nginx is given into a folder: its configuration, the certificate and the large file.
fn nginx(folder: &Path, pem: &str) -> [PathBuf; 3] {
    fs::create_dir_all(folder).expect("a folder");
    let files = ["nginx.conf", "tls.pem", "bulk"].map(|name| folder.join(name));
    let contents: [&[u8]; 3] = [NGINX.as_bytes(), pem.as_bytes(), &vec![7; BULK]];
    for (file, content) in files.iter().zip(contents) {
        fs::write(file, content).expect("room");
    }
    files
}

/// Measures both, in turns.
pub fn compare() {
    if tools::lacks(&["curl"]) {
        return;
    }
    let guest = linux_guest().filter(|_| !tools::lacks(&["nginx"]));
    let (rounds, seconds) = effort(guest.as_deref(), (5, 4.0));
    let now = std::time::SystemTime::now();
    let now = now.duration_since(std::time::UNIX_EPOCH).expect("later");
    let made = self_signed(&[ADDRESS], now).expect("names");
    fs::write(certificate(), &made.certificate).expect("room");
    let files = nginx(&scratch("bench-tls-machines"), &made.pem);
    let start = "mkdir -p /etc /var/log/nginx /var/lib/nginx; echo 'root:x:0:0::/:/bin/sh' > /etc/passwd; \
                 echo 'root:x:0:' > /etc/group; nginx -c /app/nginx.conf";
    let mut app = vec!["--app", "run", "--add", "/usr/sbin/nginx"];
    for file in &files {
        app.extend(["--add", file.to_str().expect("plain")]);
    }
    app.extend(["--run", start]);
    let mut ours = Side::image(&cargo::program("bench-tls"), 1, PORT, &[&made.pem], None);
    let mut theirs = guest.map(|guest| Side::linux(Path::new(&guest), 1, PORT, &app, None));
    for (number, cipher) in CIPHERS.iter().enumerate() {
        for (what, unit, handshakes, goal) in
            [("handshakes", "/s", 1, 1.0), ("bulk", "MB/s", 0, 1.2)]
        {
            let order = format!("{handshakes} {number} {seconds}");
            // QEMU translates code when it first runs.
            ours.order(&order);
            if let Some(theirs) = &mut theirs {
                let _ = theirs.try_order(&order);
            }
            let name = format!("{what}, {cipher}");
            let figures = turns(&name, unit, rounds, &mut ours, theirs.as_mut(), &order);
            if let Some(ratio) = ratio(&figures, |f| f.per_second) {
                goal_at_least(&format!("tls_machine_{what}_{number}"), ratio, goal);
            }
        }
    }
}
