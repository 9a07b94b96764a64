//! etcd, the real one: one member or several on loopback, looked at through its JSON gateway, and a way to it that can be cut.
//!
//! What must hold: nothing stays behind, however a test ends by itself.

use std::{
    io::{ErrorKind, Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use crate::{scratch, signal};

fn free() -> SocketAddr {
    let listener = TcpListener::bind(("127.0.0.1", 0)).and_then(|l| l.local_addr());
    listener.expect("a port")
}

struct Member {
    name: String,
    folder: PathBuf,
    address: SocketAddr,
    peer: SocketAddr,
    child: Option<Child>,
}

impl Member {
    fn spawn(&mut self, cluster: &str) {
        let (url, peer) = (
            format!("http://{}", self.address),
            format!("http://{}", self.peer),
        );
        let child = Command::new("etcd")
            .args(["--name", &self.name, "--data-dir"])
            .arg(&self.folder)
            .args(["--listen-client-urls", &url, "--listen-peer-urls", &peer])
            .args(["--advertise-client-urls", &url])
            .args(["--initial-advertise-peer-urls", &peer])
            .args(["--initial-cluster", cluster])
            .args(["--unsafe-no-fsync"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        self.child = Some(child.expect("etcd starts"));
    }

    fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    fn try_ask(&self, path: &str, body: &Value) -> Option<Value> {
        let mut stream = TcpStream::connect(self.address).ok()?;
        stream.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
        let body = body.to_string();
        let method = if path == "/health" { "GET" } else { "POST" };
        let length = body.len();
        let request = format!(
            "{method} {path} HTTP/1.0\r\nhost: x\r\ncontent-length: {length}\r\n\r\n{body}"
        );
        stream.write_all(request.as_bytes()).ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        let (_, body) = answer.split_once("\r\n\r\n")?;
        serde_json::from_str(body).ok()
    }

    fn is_well(&self) -> bool {
        let health = self.try_ask("/health", &Value::Null);
        health.is_some_and(|health| health["health"] == "true")
    }
}

/// An etcd that runs.
pub struct Etcd {
    members: Vec<Member>,
    cluster: String,
}

impl Etcd {
    /// With so many members, which have a leader when this is done.
    ///
    /// # Panics
    /// When etcd does not start.
    #[must_use]
    pub fn start(members: usize) -> Self {
        let member = |number| {
            let (address, peer) = (free(), free());
            let name = format!("etcd-{}-{}", std::process::id(), address.port());
            Member {
                name: format!("m{number}"),
                folder: scratch(&name),
                address,
                peer,
                child: None,
            }
        };
        let members: Vec<Member> = (0..members).map(member).collect();
        let peers = members
            .iter()
            .map(|m| format!("{}=http://{}", m.name, m.peer));
        let cluster = peers.collect::<Vec<_>>().join(",");
        let mut etcd = Self { members, cluster };
        for member in &mut etcd.members {
            member.spawn(&etcd.cluster);
        }
        etcd.wait();
        etcd
    }

    fn wait(&self) {
        let began = Instant::now();
        let runs = |member: &&Member| member.child.is_some();
        while !self.members.iter().filter(runs).all(Member::is_well) {
            assert!(began.elapsed() < Duration::from_secs(60), "etcd is not up");
            thread::sleep(Duration::from_millis(50));
        }
    }

    /// Where its members are: `HOST:PORT,..`.
    #[must_use]
    pub fn hosts(&self) -> String {
        let hosts = self.members.iter().map(|m| m.address.to_string());
        hosts.collect::<Vec<_>>().join(",")
    }

    /// Where a member is.
    #[must_use]
    pub fn address(&self, member: usize) -> SocketAddr {
        self.members[member].address
    }

    /// Kills a member.
    pub fn kill(&mut self, member: usize) {
        self.members[member].kill();
    }

    /// Has a member stand still, or go on: it keeps its connections, and answers nothing.
    ///
    /// # Panics
    /// When it does not run.
    pub fn stop(&self, member: usize, is_stopped: bool) {
        let child = self.members[member].child.as_ref().expect("it runs");
        let number = if is_stopped {
            libc::SIGSTOP
        } else {
            libc::SIGCONT
        };
        signal(child, number);
    }

    /// Starts a member again, with what it has stored, and waits until it is well.
    pub fn start_again(&mut self, member: usize) {
        self.members[member].spawn(&self.cluster);
        self.wait();
    }

    /// The member that leads, by the word of those that run.
    ///
    /// # Panics
    /// When there is none for long.
    #[must_use]
    pub fn leader(&self) -> usize {
        let began = Instant::now();
        loop {
            for (number, member) in self.members.iter().enumerate() {
                let status = member.try_ask("/v3/maintenance/status", &json!({}));
                let status = status.unwrap_or_default();
                let leader = &status["leader"];
                if leader.is_string() && *leader == status["header"]["member_id"] {
                    return number;
                }
            }
            assert!(began.elapsed() < Duration::from_secs(60), "nobody leads");
            thread::sleep(Duration::from_millis(50));
        }
    }

    /// What a member's JSON gateway answers.
    ///
    /// # Panics
    /// When it does not.
    #[must_use]
    pub fn ask(&self, member: usize, path: &str, body: &Value) -> Value {
        let answer = self.members[member].try_ask(path, body);
        answer.expect("etcd answers in JSON")
    }

    /// The leases that there are.
    #[must_use]
    pub fn leases(&self, member: usize) -> Vec<Value> {
        let leases = self.ask(member, "/v3/lease/leases", &json!({}));
        leases["leases"].as_array().cloned().unwrap_or_default()
    }
}

impl Drop for Etcd {
    fn drop(&mut self) {
        for member in &mut self.members {
            member.kill();
            let _ = std::fs::remove_dir_all(&member.folder);
        }
    }
}

/// A way to somewhere that can be cut: then nothing comes through and nobody is told, as when a cable is pulled.
pub struct Way {
    /// Where it begins.
    pub address: SocketAddr,
    is_cut: Arc<AtomicBool>,
}

impl Way {
    /// A way to `to`.
    ///
    /// # Panics
    /// When there is no port.
    #[must_use]
    pub fn to(to: SocketAddr) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port");
        let address = listener.local_addr().expect("its address");
        let is_cut = Arc::new(AtomicBool::new(false));
        let cut = Arc::clone(&is_cut);
        // It ends with the program of the test.
        thread::spawn(move || {
            for from in listener.incoming().flatten() {
                let Ok(to) = TcpStream::connect(to) else {
                    continue;
                };
                for (mut a, mut b) in [(&from, &to), (&to, &from)].map(both) {
                    let cut = Arc::clone(&cut);
                    thread::spawn(move || {
                        let _ = carry(&mut a, &mut b, &cut);
                        let _ = b.shutdown(Shutdown::Both);
                    });
                }
            }
        });
        Self { address, is_cut }
    }

    /// Cuts it, or mends it.
    pub fn cut(&self, is_cut: bool) {
        self.is_cut.store(is_cut, Ordering::SeqCst);
    }
}

fn both((a, b): (&TcpStream, &TcpStream)) -> (TcpStream, TcpStream) {
    let clone = |stream: &TcpStream| stream.try_clone().expect("a descriptor");
    (clone(a), clone(b))
}

fn carry(from: &mut TcpStream, to: &mut TcpStream, cut: &AtomicBool) -> std::io::Result<()> {
    let mut buffer = [0; 16 << 10];
    from.set_read_timeout(Some(Duration::from_millis(20)))?;
    loop {
        let read = from.read(&mut buffer);
        while cut.load(Ordering::SeqCst) {
            thread::sleep(Duration::from_millis(5));
        }
        match read {
            Ok(0) => return Ok(()),
            Ok(length) => to.write_all(&buffer[..length])?,
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            Err(error) => return Err(error),
        }
    }
}
