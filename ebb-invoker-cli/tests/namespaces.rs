//! The command beside the API that it talks to, over a connection.

use ebb_openwhisk::activations::Budget;
use ebb_openwhisk::http::Request;
use ebb_openwhisk::limits::NamespaceLimits;
use ebb_openwhisk::runtimes::Runtimes;
use ebb_openwhisk::{Config, Controller, Step};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};

fn entropy(bytes: &mut [u8]) {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    for chunk in bytes.chunks_mut(8) {
        let next = NEXT.fetch_add(1, Ordering::Relaxed).to_le_bytes();
        chunk.copy_from_slice(&next[..chunk.len()]);
    }
}

/// Answers one request.
fn answer(controller: &mut Controller, stream: TcpStream) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream);
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        match line.trim_end() {
            "" => break,
            line => lines.push(String::from(line)),
        }
    }
    let headers: Vec<(&str, &str)> = lines[1..]
        .iter()
        .filter_map(|line| line.split_once(": "))
        .collect();
    let length = headers
        .iter()
        .find(|(name, _)| name.eq_ignore_ascii_case("content-length"));
    let mut body = vec![0; length.map_or(0, |(_, n)| n.parse().expect("a length"))];
    reader.read_exact(&mut body)?;
    let mut first = lines[0].split(' ');
    let (method, path) = (
        first.next().expect("a method"),
        first.next().expect("a path"),
    );
    let request = Request {
        method,
        path,
        query: "",
        headers: &headers,
        body: &body,
        code: None,
    };
    let Step::Respond(response) = controller.handle(&request, 1) else {
        panic!("{path} is answered at once");
    };
    let length = response.body.len();
    let mut stream = reader.into_inner();
    write!(
        stream,
        "HTTP/1.1 {} -\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n",
        response.status
    )?;
    stream.write_all(&response.body)
}

/// A platform that is managed with this key; its address.
fn platform(admin: Option<&str>) -> String {
    let mut controller = Controller::new(Config {
        subjects: Vec::new(),
        admin: admin.map(String::from),
        runtimes: Runtimes::default(),
        limits: NamespaceLimits::default(),
        entity_bytes: 1 << 20,
        records: Budget::bytes(1 << 20),
        seed: [1; 32],
        entropy,
    });
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let _ = answer(&mut controller, stream);
        }
    });
    format!("http://{address}")
}

/// What the command prints, or says on failing.
fn run(host: &str, admin: &str, line: &str) -> Result<String, String> {
    let output = Command::new(env!("CARGO_BIN_EXE_ebb-invoker"))
        .arg("namespace")
        .args(line.split_whitespace())
        .env("APIHOST", host)
        .env("EBB_ADMIN", admin)
        .output()
        .expect("it was just built");
    let text = |bytes| {
        String::from_utf8(bytes)
            .expect("text")
            .trim_end()
            .to_owned()
    };
    match output.status.success() {
        true => Ok(text(output.stdout)),
        false => Err(text(output.stderr)),
    }
}

#[test]
fn namespaces_come_change_and_go() {
    let host = platform(Some("admin:key"));
    let run = |line: &str| run(&host, "admin:key", line);
    assert_eq!(run("list"), Ok(String::new()));
    let drawn = run("add one --memory 512 --weight 3").unwrap();
    assert_eq!(
        drawn.split_once(':').map(|(_, key)| key.len()),
        Some(64),
        "{drawn}"
    );
    assert_eq!(run("add two --key u:k"), Ok("u:k".into()));
    let list = run("list").unwrap();
    assert!(
        list.contains("one  ") && list.contains("two  u  0 bytes  0 running"),
        "{list}"
    );
    assert!(!list.contains(drawn.split_once(':').unwrap().1));
    assert!(run("limits one").unwrap().contains("memory = 512"));
    let changed = run("limits one --memory default --invocationsPerMinute 60").unwrap();
    assert!(
        changed.contains("invocationsPerMinute = 60") && changed.contains("weight = 3"),
        "{changed}"
    );
    assert!(!changed.contains("memory = 512"), "{changed}");
    assert_ne!(run("rotate one"), Ok(drawn));
    assert_eq!(run("rotate one --key v:l"), Ok("v:l".into()));
    assert_eq!(run("remove one"), Ok("removed one".into()));
    assert!(!run("list").unwrap().contains("one"));
}

#[test]
fn what_cannot_be_done_says_why() {
    let host = platform(Some("admin:key"));
    let failed = |admin: &str, line: &str| run(&host, admin, line).expect_err(line);
    assert!(failed("admin:wrong", "list").contains("does not take this key"));
    run(&host, "admin:key", "add one --key u:k").unwrap();
    for (line, why) in [
        ("add one", "exists already"),
        ("add two --key u:other", "in use already"),
        ("add two --memroy 1", "there is no limit 'memroy'"),
        ("limits none", "no such namespace"),
        ("rotate none", "no such namespace"),
        ("remove none", "no such namespace"),
    ] {
        let said = failed("admin:key", line);
        assert!(said.contains(why), "{line}: {said}");
    }
    let unmanaged = platform(None);
    let said = run(&unmanaged, "admin:key", "list").expect_err("not managed");
    assert!(said.contains("manages no namespaces"), "{said}");
    let said = run("http://127.0.0.1:1", "admin:key", "list").expect_err("nothing listens");
    assert!(said.contains("does not answer"), "{said}");
}
