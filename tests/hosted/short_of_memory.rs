//! Servers on a platform that says that its memory is short.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::SocketAddr,
    sync::atomic::{AtomicU64, Ordering},
};

use ebb::platform::Environment;
use ebb_memcached::{Limits, server::Server};
use ebb_net::http::{self, Request, Response};
use hosted_tests::beside;
use test_support::client::connect;

/// Bytes that are free.
static SPARE: AtomicU64 = AtomicU64::new(PLENTY);
const PLENTY: u64 = 100 << 20;

struct Short;

#[ebb::provides(Environment, instance = &Short)]
impl Environment for Short {
    fn arguments(&self) -> &'static [&'static str] {
        &[]
    }

    fn option(&self, _: &str) -> Option<&'static str> {
        None
    }

    fn archive(&self) -> &'static [u8] {
        &[]
    }

    fn memory_bytes(&self) -> Option<u64> {
        Some(128 << 20)
    }

    fn spare_memory_bytes(&self) -> Option<u64> {
        Some(SPARE.load(Ordering::Relaxed))
    }
}

async fn echo(request: &mut Request<'_>) -> Response {
    match request.bytes().await {
        Ok(bytes) => Response::new(200).body(bytes),
        Err(error) => Response::error(error.status().unwrap_or(400), error),
    }
}

/// The first line of what is answered to these bytes.
fn asked(address: SocketAddr, request: &[u8]) -> String {
    let mut stream = connect(address);
    // A server that refuses need not read it all.
    let _ = stream.write_all(request);
    let mut line = String::new();
    let _ = BufReader::new(stream).read_line(&mut line);
    line.trim_end().to_owned()
}

fn post(head: usize, body: usize) -> Vec<u8> {
    let (head, content) = ("h".repeat(head), "b".repeat(body));
    format!("POST / HTTP/1.1\r\nhost: x\r\na: {head}\r\ncontent-length: {body}\r\n\r\n{content}")
        .into()
}

/// Both servers in one test: the free memory is the process's.
#[test]
fn what_there_is_no_memory_for_is_refused_and_the_server_goes_on() {
    let http = async move || {
        let address = SocketAddr::from(([127, 0, 0, 1], 0));
        let server = http::listen(address, http::Limits::default(), echo).await;
        let server = server.expect("a free port");
        (server.local_addr(), server)
    };
    beside(http, |address| {
        let refused = "HTTP/1.1 503 Service Unavailable";
        // Before a large head has left a buffer that the next one gets.
        SPARE.store(0, Ordering::Relaxed);
        assert_eq!(asked(address, &post(12_000, 0)), refused);
        assert_eq!(asked(address, &post(1, 1000)), "HTTP/1.1 200 OK");
        SPARE.store(PLENTY, Ordering::Relaxed);
        let large = post(1, 500_000);
        assert_eq!(asked(address, &large), "HTTP/1.1 200 OK");
        // A sixty-fourth of the memory, and not as much as the body.
        SPARE.store((2 << 20) + 60_000, Ordering::Relaxed);
        assert_eq!(asked(address, &large), refused);
        assert_eq!(asked(address, &post(1, 1000)), "HTTP/1.1 200 OK");
        SPARE.store(PLENTY, Ordering::Relaxed);
        assert_eq!(asked(address, &large), "HTTP/1.1 200 OK");
    });
    let memcached = async move || {
        let address = SocketAddr::from(([127, 0, 0, 1], 0));
        let server = Server::new(Limits::default()).listen(address).await;
        let server = server.expect("a free port");
        (server.local_addr(), server)
    };
    beside(memcached, |address| {
        let mut open = connect(address);
        let set = format!("set key 0 0 500000\r\n{}\r\n", "v".repeat(500_000));
        assert_eq!(asked(address, set.as_bytes()), "STORED");
        SPARE.store(1 << 20, Ordering::Relaxed);
        let refused = "SERVER_ERROR out of memory storing object\r\n";
        open.write_all(format!("{set}version\r\n").as_bytes())
            .expect("it is skipped");
        let mut answer = vec![0; refused.len() + "VERSION ".len()];
        open.read_exact(&mut answer).expect("answers");
        assert_eq!(answer, format!("{refused}VERSION ").as_bytes());
        let many = "ERROR Too many open connections";
        assert_eq!(asked(address, b"version\r\n"), many);
        SPARE.store(PLENTY, Ordering::Relaxed);
        assert_eq!(asked(address, set.as_bytes()), "STORED");
    });
}
