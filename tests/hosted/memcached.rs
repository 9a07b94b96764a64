//! The server on the hosted platform, under real clients: memccapable, pymemcache and plain sockets.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::SocketAddr,
    process::Command,
};

use ebb_memcached::{Limits, server::Server};
use hosted_tests::beside;
use test_support::{
    client::{connect, memccapable},
    needs,
};

/// Debian's Python, and a client as a module of it.
const PYTHON: &str = "/usr/bin/python3";
const PYMEMCACHE: &str = "/usr/lib/python3/dist-packages/pymemcache";

/// Runs `client` on a thread of its own against a server with these limits.
fn with_server(limits: Limits, client: impl FnOnce(SocketAddr) + Send + 'static) {
    let start = async move || {
        let server = Server::new(limits);
        server.sweep_when_idle();
        let address = SocketAddr::from(([127, 0, 0, 1], 0));
        let listening = server.listen(address).await.expect("a free port");
        (listening.local_addr(), listening)
    };
    beside(start, client);
}

#[test]
fn memccapable_finds_no_fault() {
    with_server(Limits::default(), |address| {
        memccapable("127.0.0.1", address.port());
    });
}

#[test]
fn pymemcache_gets_what_it_expects() {
    needs!(PYTHON, PYMEMCACHE);
    const SCRIPT: &str = r#"
import sys
from pymemcache.client.base import Client
c = Client(("127.0.0.1", int(sys.argv[1])), default_noreply=False, timeout=10)
assert c.set("a", b"1") and c.get("a") == b"1"
assert c.add("a", b"2") is False and c.replace("a", b"2") and c.append("a", b"3") and c.prepend("a", b"1")
assert c.get("a") == b"123" and c.incr("a", 7) == 130 and c.decr("a", 200) == 0 and c.incr("no", 1) is None
value, cas = c.gets("a")
assert c.cas("a", b"x", cas) is True and c.cas("a", b"y", cas) is False and c.cas("no", b"y", cas) is None
keys = {f"key{i}": bytes([i % 256]) * i * 40 for i in range(1000)}
assert c.set_many(keys) == [] and c.get_many(list(keys)) == keys
big = b"\r\n" * 500000
assert c.set("big", big) and c.get("big") == big
assert c.touch("a", 100) and not c.touch("no", 100)
assert c.set("soon", b"x", expire=-1) and c.get("soon") is None
assert c.delete("a") and not c.delete("a")
assert c.stats()[b"curr_items"] >= 1000 and c.version().startswith(b"1.6")
assert c.flush_all() and c.get("big") is None
c.quit()
"#;
    with_server(Limits::default(), |address| {
        let output = Command::new(PYTHON)
            .args(["-c", SCRIPT, &address.port().to_string()])
            .output()
            .expect("it was there a moment ago");
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
    });
}

#[test]
fn cores_increment_one_number_without_losing_any() {
    with_server(Limits::default(), |address| {
        let mut client = connect(address);
        client.write_all(b"set n 0 0 1\r\n0\r\n").expect("sent");
        let mut line = String::new();
        let mut answers = BufReader::new(client.try_clone().expect("a descriptor"));
        answers.read_line(&mut line).expect("an answer");
        const EACH: usize = 2000;
        let clients: Vec<_> = (0..8)
            .map(|_| {
                std::thread::spawn(move || {
                    let mut client = connect(address);
                    let input = b"incr n 1\r\n".repeat(EACH);
                    client.write_all(&input).expect("sent");
                    let lines = BufReader::new(client).lines().take(EACH);
                    lines.map(|l| l.expect("an answer")).last()
                })
            })
            .collect();
        clients
            .into_iter()
            .for_each(|c| assert!(c.join().expect("no panic").is_some()));
        client.write_all(b"get n\r\nquit\r\n").expect("sent");
        let mut rest = String::new();
        answers.read_to_string(&mut rest).expect("an answer");
        assert_eq!(rest, format!("VALUE n 0 5\r\n{}\r\nEND\r\n", 8 * EACH));
    });
}

#[test]
fn a_client_that_never_reads_holds_up_nobody_and_takes_bounded_memory() {
    with_server(Limits::default(), |address| {
        let mut greedy = connect(address);
        let value = vec![b'v'; 1 << 19];
        greedy
            .write_all(format!("set big 0 0 {}\r\n", value.len()).as_bytes())
            .and_then(|()| greedy.write_all(&value))
            .and_then(|()| greedy.write_all(b"\r\n"))
            .expect("sent");
        // It asks for 2.5 GiB in all; the server stops reading when its answers do not leave.
        greedy.set_nonblocking(true).expect("a socket");
        let line = b"get big\r\n".repeat(5000);
        let _ = greedy.write(&line);
        let mut client = connect(address);
        for _ in 0..100 {
            client.write_all(b"get nothing\r\n").expect("sent");
            let mut answer = [0; 5];
            client.read_exact(&mut answer).expect("an answer in time");
            assert_eq!(&answer, b"END\r\n");
        }
        let status = std::fs::read_to_string("/proc/self/status").expect("procfs");
        let resident = status
            .lines()
            .find_map(|l| l.strip_prefix("VmRSS:"))
            .and_then(|l| l.trim().trim_end_matches(" kB").parse::<u64>().ok());
        assert!(resident.expect("a number of kB") < 512 << 10);
    });
}
