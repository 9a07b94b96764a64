//! A booted invoker, and requests to it.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    path::Path,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use crate::{RUNNER, WORKSPACE, cargo, signal};

/// A booted invoker.
pub struct Invoker {
    child: Child,
    port: u16,
}

impl Invoker {
    /// Boots it, and waits until an instance has been made and the bases are warmed.
    pub fn boot(memory: &str, options: &str) -> Self {
        // The runner packs it where it is.
        let python: &[&str] = match Path::new("/usr/bin/python3").exists() {
            true => &["base snapshot of Python"],
            false => &[],
        };
        Self::boot_until(
            memory,
            options,
            &[
                &["the first instance was ready", "base snapshot of Node"],
                python,
            ]
            .concat(),
        )
    }

    /// Boots it, and waits until it has said all that.
    pub fn boot_until(memory: &str, options: &str, said: &[&str]) -> Self {
        Self::boot_with(memory, options, "none", said)
    }

    /// The same with a disk, as `EBB_DISK` names it.
    pub fn boot_with(memory: &str, options: &str, disk: &str, said: &[&str]) -> Self {
        let mut child = Command::new(RUNNER)
            .env("EBB_DISK", disk)
            .arg(cargo::example("invoker"))
            .args(["--auth", "guest:key", "--quiet"])
            .current_dir(WORKSPACE)
            .env("EBB_CORES", "1")
            .env("EBB_MEMORY", memory)
            .env("EBB_OPTIONS", options)
            .env("EBB_TIMEOUT", "500")
            .env("EBB_FORWARD", "0:3233")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the runner starts");
        let lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        let (sender, receiver) = std::sync::mpsc::channel();
        thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                println!("{line}");
                let _ = sender.send(line);
            }
        });
        // From here on it is ended when this function panics.
        let mut image = Self { child, port: 0 };
        let mut told = String::new();
        loop {
            let Ok(line) = receiver.recv_timeout(Duration::from_secs(180)) else {
                panic!("the image is not ready:\n{told}");
            };
            told = told + &line + "\n";
            if let Some(address) = line.strip_prefix("invoker: http://localhost:") {
                let number = address.split('/').next().and_then(|n| n.parse().ok());
                image.port = number.expect("a port");
            }
            if said.iter().all(|text| told.contains(text)) {
                return image;
            }
        }
    }

    /// The host's port of its API.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// One request on a connection of its own; status and body.
    pub fn ask(&self, method: &str, path: &str, body: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).expect("it listens");
        let request = format!(
            "{method} {path} HTTP/1.1\r\nhost: test\r\nconnection: close\r\nauthorization: Basic Z3Vlc3Q6a2V5\r\n\
             content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(request.as_bytes()).expect("it reads");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("it answers");
        let status = answer.split(' ').nth(1).and_then(|s| s.parse().ok());
        let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
        (status.unwrap_or(0), body.to_owned())
    }

    /// A request to an action of the user's namespace.
    pub fn action(&self, method: &str, name: &str, query: &str, body: &str) -> (u16, String) {
        let path = format!("/api/v1/namespaces/_/actions/{name}{query}");
        self.ask(method, &path, body)
    }

    /// Deploys JavaScript.
    pub fn deploy(&self, name: &str, code: &str) {
        self.deploy_kind(name, "nodejs:default", code, "");
    }

    /// Deploys source text, or an archive or program in base64; `more` are further members of the document.
    pub fn deploy_kind(&self, name: &str, kind: &str, code: &str, more: &str) {
        let mut quoted = String::with_capacity(code.len());
        for char in code.chars() {
            match char {
                '\\' | '"' => quoted.extend(['\\', char]),
                '\n' => quoted.push_str("\\n"),
                '\t' => quoted.push_str("\\t"),
                char => quoted.push(char),
            }
        }
        let body = format!(r#"{{"exec":{{"kind":"{kind}","code":"{quoted}"}}{more}}}"#);
        let (status, answer) = self.action("PUT", name, "?overwrite=true", &body);
        assert_eq!(status, 200, "{answer}");
    }

    /// Calls an action and waits for its result.
    pub fn call(&self, name: &str, body: &str) -> (u16, String) {
        self.action("POST", name, "?blocking=true&result=true", body)
    }

    /// A figure of `/metrics`.
    pub fn metric(&self, name: &str) -> u64 {
        let (_, text) = self.ask("GET", "/metrics", "");
        let value = text
            .lines()
            .find_map(|l| l.strip_prefix(name)?.strip_prefix(' '));
        value
            .and_then(|v| v.parse().ok())
            .unwrap_or_else(|| panic!("{name} is not in\n{text}"))
    }

    /// Waits for a metric to be so much.
    pub fn until(&self, name: &str, enough: impl Fn(u64) -> bool) {
        let begun = Instant::now();
        while !enough(self.metric(name)) {
            assert!(
                begun.elapsed() < Duration::from_secs(60),
                "{name} is {}",
                self.metric(name)
            );
            thread::sleep(Duration::from_millis(50));
        }
    }
}

impl Invoker {
    /// Ends it as a power failure does.
    pub fn kill(mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        // There is nobody left to be told to end.
        std::mem::forget(self);
    }
}

impl Drop for Invoker {
    fn drop(&mut self) {
        signal(&self.child, libc::SIGINT);
        let _ = self.child.wait();
    }
}
