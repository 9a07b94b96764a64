//! A booted invoker, and requests to it.

use std::{
    io::{Read, Write},
    net::TcpStream,
    path::Path,
    process::Command,
    thread,
    time::{Duration, Instant},
};

use crate::{Image, WORKSPACE, cargo, image::runner};

/// A booted invoker.
pub struct Invoker {
    image: Image,
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
        Self::start(
            Self::runner(memory, disk)
                .args(["--auth", "guest:key", "--quiet"])
                .env("EBB_CORES", "1")
                .env("EBB_OPTIONS", options),
            said,
        )
    }

    /// Boots one with the kinds of a manifest, and waits until it has said all that.
    pub fn boot_kinds(memory: &str, manifest: &Path, said: &[&str]) -> Self {
        Self::start(
            Self::runner(memory, "none")
                .args(["--auth", "guest:key", "--quiet", "--runtimes"])
                .arg(manifest)
                .env("EBB_CORES", "1"),
            said,
        )
    }

    /// `EBB_FILES` for the interpreters that this machine has, for scripts that are functions.
    pub fn interpreters() -> String {
        let all = [
            "/usr/bin/perl",
            "/usr/share/perl",
            "/usr/lib/x86_64-linux-gnu/perl-base",
            "/usr/bin/php8.2",
            "/usr/lib/php",
            "/etc/php",
            "/usr/bin/ruby3.1",
            "/usr/lib/ruby",
            "/usr/lib/x86_64-linux-gnu/ruby",
        ];
        let there: Vec<&str> = all
            .into_iter()
            .filter(|file| Path::new(file).exists())
            .collect();
        there.join(":")
    }

    /// A runner that would boot it, with that disk.
    pub fn runner(memory: &str, disk: &str) -> Command {
        Self::runner_of(&cargo::example("invoker"), memory, disk)
    }

    /// The same of an image that may be of another build.
    pub fn runner_of(image: &Path, memory: &str, disk: &str) -> Command {
        let mut command = runner(image, memory, 900);
        command
            .env("EBB_DISK", disk)
            .env("EBB_FORWARD", "0:3233")
            // The manifest names files of the workspace.
            .current_dir(WORKSPACE);
        command
    }

    /// Starts a [`runner`](Self::runner), and waits until it listens and has said all that.
    pub fn start(command: &mut Command, said: &[&str]) -> Self {
        let image = Image::start(command);
        let banner = image.says("invoker: http://localhost:");
        let rest = banner.rsplit_once("localhost:").map(|(_, rest)| rest);
        let port = rest.and_then(|rest| rest.split('/').next()?.parse().ok());
        for text in said {
            image.says(text);
        }
        Self {
            image,
            port: port.expect("a port"),
        }
    }

    /// One that listens on that port of the host, and takes what [`boot`](Self::boot) gives as the user.
    pub fn of(image: Image, port: u16) -> Self {
        Self { image, port }
    }

    /// What it has said, and its end.
    pub fn image(&mut self) -> &mut Image {
        &mut self.image
    }

    /// Waits until it has said that.
    pub fn says(&self, what: &str) -> String {
        self.image.says(what)
    }

    /// The process of its runner.
    pub fn runner_id(&self) -> u32 {
        self.image.id()
    }

    /// Waits until the bases are on the disk, and the functions' snapshots of before: those are written one after the other, within
    /// milliseconds each.
    pub fn until_kept(&self) {
        let begun = Instant::now();
        // The runner packs Python where it is.
        let python = Path::new("/usr/bin/python3").exists();
        let names: &[&str] = if python {
            &["Node", "Python"]
        } else {
            &["Node"]
        };
        for name in names {
            let read = format!("base snapshot of {name}, ");
            let kept = format!("base snapshot of {name} is kept");
            loop {
                let said = self.image.said();
                let mut lines = said.lines();
                if said.contains(&kept)
                    || lines.any(|line| line.contains(&read) && line.contains("from the disk"))
                {
                    break;
                }
                assert!(begun.elapsed() < Duration::from_secs(120), "{said}");
                thread::sleep(Duration::from_millis(50));
            }
        }
        thread::sleep(Duration::from_secs(2));
    }

    /// The host's port of its API.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// One request on a connection of its own; status and body.
    pub fn ask(&self, method: &str, path: &str, body: &str) -> (u16, String) {
        try_ask(self.port, method, path, body).expect("it answers")
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
                begun.elapsed() < Duration::from_secs(180),
                "{name} is {}",
                self.metric(name)
            );
            thread::sleep(Duration::from_millis(50));
        }
    }
}

/// A request to the invoker at a port of this machine; nothing when it has no whole answer, because it is gone.
pub fn try_ask(port: u16, method: &str, path: &str, body: &str) -> Option<(u16, String)> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    let request = format!(
        "{method} {path} HTTP/1.1\r\nhost: test\r\nconnection: close\r\nauthorization: Basic Z3Vlc3Q6a2V5\r\n\
         content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let status = answer.split(' ').nth(1)?.parse().ok()?;
    let (_, body) = answer.split_once("\r\n\r\n")?;
    Some((status, body.to_owned()))
}

impl Invoker {
    /// Ends it as a power failure does.
    pub fn kill(self) {
        self.image.kill();
    }
}
