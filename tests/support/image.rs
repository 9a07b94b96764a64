//! An image behind QEMU's user networking, one of whose ports is a port of this machine. Takes no root.

use std::{
    io::{BufRead, BufReader},
    net::SocketAddr,
    path::Path,
    process::{Child, Command, Stdio},
    thread,
    time::Duration,
};

use crate::{RUNNER, signal};

/// An image that runs; dropped, it ends.
pub struct Image {
    child: Child,
    /// Where its port is reached.
    pub address: SocketAddr,
}

impl Image {
    /// Boots `program` with these arguments, forwards a port, and waits until it has its address and a line of it begins
    /// with `says`.
    ///
    /// # Panics
    /// When the image ends before that.
    pub fn boot(
        program: &Path,
        arguments: &[&str],
        port: u16,
        says: &str,
        settings: &[(&str, &str)],
    ) -> Self {
        let mut child = Command::new(RUNNER)
            .arg(program)
            .args(arguments)
            .env("EBB_MEMORY", "256M")
            .env("EBB_TIMEOUT", "120")
            .env("EBB_FORWARD", format!("0:{port}"))
            .envs(settings.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the runner starts");
        let stderr = BufReader::new(child.stderr.take().expect("piped"));
        let (found, port) = std::sync::mpsc::channel();
        let (up, has_address) = std::sync::mpsc::channel();
        thread::spawn(move || {
            // "... TCP 127.0.0.1:PORT is port 7 of the image"
            for line in stderr.lines().map_while(Result::ok) {
                if line.starts_with("ebb: network address") && line.contains("10.0.2.15/24") {
                    let _ = up.send(());
                }
                let rest = line.split_once("TCP 127.0.0.1:").map(|(_, rest)| rest);
                if let Some(port) = rest.and_then(|r| r.split(' ').next()?.parse::<u16>().ok()) {
                    let _ = found.send(port);
                }
            }
        });
        let mut stdout = BufReader::new(child.stdout.take().expect("piped"));
        let mut told = String::new();
        let mut listens = false;
        while !listens {
            let mut line = String::new();
            let n = stdout.read_line(&mut line).expect("the console is text");
            assert!(n > 0, "the image ended before it listened:\n{told}");
            told += &line;
            listens |= line.starts_with(says);
        }
        has_address
            .recv_timeout(Duration::from_secs(60))
            .expect("it has its address");
        thread::spawn(move || std::io::copy(&mut stdout, &mut std::io::sink()));
        let port = port
            .recv_timeout(Duration::from_secs(10))
            .expect("the runner says which port it forwards");
        Self {
            child,
            address: ([127, 0, 0, 1], port).into(),
        }
    }
}

impl Drop for Image {
    fn drop(&mut self) {
        // Asked, so that the runner can end its QEMU.
        signal(&self.child, libc::SIGTERM);
        let _ = self.child.wait();
    }
}
