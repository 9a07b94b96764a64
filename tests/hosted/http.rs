//! The HTTP server on the hosted platform, driven by raw bytes over real connections.

use std::{
    io::{Read, Write},
    net::SocketAddr,
    process::Command,
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

use ebb_net::http::{self, Limits, Request, Response};
use hosted_tests::beside;
use test_support::client::connect;

/// The client of `/silent` has gone, and its sender knows.
static LEFT: AtomicBool = AtomicBool::new(false);

/// What the tests' server does.
async fn handler(request: &mut Request<'_>) -> Response {
    match (request.method(), request.path()) {
        ("GET" | "HEAD", "/") => Response::text("hello"),
        ("POST", "/echo") => match request.bytes().await {
            Ok(bytes) => Response::new(200).body(bytes),
            Err(error) => Response::error(error.status().unwrap_or(400), error),
        },
        ("GET", "/stream") => {
            let (sender, receiver) = ebb::sync::channel::channel(1);
            ebb::spawn(async move {
                for _ in 0..3 {
                    let _ = sender
                        .send(Ok(ebb_net::Bytes::from_static(b"piece ")))
                        .await;
                }
            });
            Response::new(200).stream(receiver)
        }
        ("GET", "/broken") => {
            let (sender, receiver) = ebb::sync::channel::channel(2);
            let _ = sender.try_send(Ok(ebb_net::Bytes::from_static(b"half")));
            let _ = sender.try_send(Err(http::Broken));
            Response::new(200).stream(receiver)
        }
        ("GET", "/starts") => {
            let started = Command::new("sleep").arg("5").spawn();
            Response::text(if started.is_ok() { "started" } else { "not" })
        }
        ("GET", "/silent") => {
            let (sender, receiver) = ebb::sync::channel::channel(1);
            ebb::spawn(async move {
                let _ = sender.send(Ok(ebb_net::Bytes::from_static(b"first"))).await;
                // Nothing more comes, and there is room for one: waiting for a second place ends with the connection.
                let place = sender.reserve().await;
                let _ = sender.reserve().await;
                drop(place);
                LEFT.store(true, Ordering::SeqCst);
            });
            Response::new(200).stream(receiver)
        }
        ("GET", "/large") => Response::new(200).body(vec![b'x'; 1 << 20]),
        ("POST", "/ignore") => Response::new(204),
        _ => Response::error(404, "nothing here"),
    }
}

/// Runs `client` on a thread of its own against a server with these limits.
fn with_server(limits: Limits, client: impl FnOnce(SocketAddr) + Send + 'static) {
    let start = async move || {
        let address = SocketAddr::from(([127, 0, 0, 1], 0));
        let server = http::listen(address, limits, handler)
            .await
            .expect("a free port");
        (server.local_addr(), server)
    };
    beside(start, client);
}

/// Sends `request`, reads until the server closes.
fn exchange(address: SocketAddr, request: &[u8]) -> String {
    let mut stream = connect(address);
    stream.write_all(request).expect("the server reads");
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}

fn statuses(answer: &str) -> Vec<&str> {
    answer.split("HTTP/1.1 ").skip(1).map(|a| &a[..3]).collect()
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    with_server(Limits::default(), |address| {
        let answer = exchange(
            address,
            b"GET / HTTP/1.1\r\nhost: a\r\n\r\nGET /no HTTP/1.1\r\nhost: x\r\n\r\nHEAD / HTTP/1.1\r\nhost: x\r\n\r\n\
              POST /echo HTTP/1.1\r\nhost: x\r\ncontent-length: 3\r\nconnection: close\r\n\r\nabc",
        );
        assert_eq!(statuses(&answer), ["200", "404", "200", "200"], "{answer}");
        assert!(answer.ends_with("\r\n\r\nabc"), "{answer}");
        assert_eq!(
            answer.matches("hello").count(),
            1,
            "HEAD has no body: {answer}"
        );
    });
}

#[test]
fn chunked_bodies_are_joined_however_they_arrive() {
    with_server(Limits::default(), |address| {
        let request =
            b"POST /echo HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n\
                        5;x=y\r\nhello\r\n1\r\n,\r\n6\r\n world\r\n0\r\ntrailer: t\r\n\r\n";
        for size in [1, 7, request.len()] {
            let mut stream = connect(address);
            for piece in request.chunks(size) {
                stream.write_all(piece).expect("the server reads");
                if size < request.len() {
                    std::thread::sleep(Duration::from_millis(1));
                }
            }
            let mut answer = String::new();
            stream.read_to_string(&mut answer).expect("text");
            assert!(answer.ends_with("\r\n\r\nhello, world"), "{answer}");
        }
    });
}

#[test]
fn broken_requests_get_their_status_and_the_next_client_is_served() {
    with_server(
        Limits {
            head: 1000,
            body: 100,
            ..Limits::default()
        },
        |address| {
            let long = format!("GET /{} HTTP/1.1\r\nhost: x\r\n\r\n", "a".repeat(2000));
            for (request, status) in [
                ("nonsense\r\n\r\n", "400"),
                ("GET / HTTP/1.1\r\n\r\n", "400"),
                ("GET / HTTP/1.1\r\nhost: x\r\nhost: x\r\n\r\n", "400"),
                ("GET / HTTP/2.0\r\n\r\n", "505"),
                ("GET / HTTP/1.1\r\nhost: x\r\na b: c\r\n\r\n", "400"),
                (
                    "POST /echo HTTP/1.1\r\nhost: x\r\ncontent-length: x\r\n\r\n",
                    "400",
                ),
                (
                    "POST /echo HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n",
                    "400",
                ),
                (
                    "POST /echo HTTP/1.1\r\nhost: x\r\ntransfer-encoding: gzip\r\n\r\n",
                    "501",
                ),
                (
                    "POST /echo HTTP/1.1\r\nhost: x\r\ncontent-length: 101\r\nconnection: close\r\n\r\n",
                    "413",
                ),
                (
                    "POST /echo HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
                    "400",
                ),
                (&long, "431"),
            ] {
                let answer = exchange(address, request.as_bytes());
                assert_eq!(statuses(&answer), [status], "{request}: {answer}");
            }
            let answer = exchange(address, b"GET / HTTP/1.0\r\n\r\n");
            assert!(answer.ends_with("hello"), "{answer}");
        },
    );
}

#[test]
fn a_server_refuses_in_its_own_words() {
    let limits = Limits {
        refusal: |error| {
            let status = error.status().expect("somebody to answer");
            Response::new(status)
                .with("content-type", "application/json")
                .body(format!("{{\"error\":\"{error}\"}}"))
        },
        ..Limits::default()
    };
    with_server(limits, |address| {
        let answer = exchange(address, b"nonsense\r\n\r\n");
        assert_eq!(statuses(&answer), ["400"], "{answer}");
        assert!(
            answer.contains("content-type: application/json\r\n")
                && answer.ends_with("{\"error\":\"the message is malformed: the first line\"}"),
            "{answer}"
        );
    });
}

#[test]
fn a_slow_client_is_told_so_and_let_go() {
    let limits = Limits {
        head_time: Duration::from_millis(200),
        ..Limits::default()
    };
    with_server(limits, |address| {
        let begun = Instant::now();
        let answer = exchange(address, b"GET / HT");
        assert_eq!(statuses(&answer), ["408"], "{answer}");
        assert!(begun.elapsed() < Duration::from_secs(5));
    });
}

#[test]
fn streams_are_chunked_and_large_bodies_arrive_whole() {
    with_server(Limits::default(), |address| {
        let answer = exchange(
            address,
            b"GET /stream HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n",
        );
        assert!(
            answer.ends_with("6\r\npiece \r\n6\r\npiece \r\n6\r\npiece \r\n0\r\n\r\n"),
            "{answer}"
        );
        let answer = exchange(address, b"GET /stream HTTP/1.0\r\n\r\n");
        assert!(answer.ends_with("\r\n\r\npiece piece piece "), "{answer}");
        let answer = exchange(
            address,
            b"GET /large HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n",
        );
        assert_eq!(
            answer.len() - answer.find("\r\n\r\n").expect("a head") - 4,
            1 << 20
        );
    });
}

#[test]
fn a_client_that_waits_is_told_to_continue_only_when_the_body_is_wanted() {
    with_server(Limits::default(), |address| {
        let mut stream = connect(address);
        stream
            .write_all(b"POST /echo HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\ncontent-length: 2\r\nconnection: close\r\n\r\n")
            .expect("the server reads");
        let mut interim = [0; 25];
        stream
            .read_exact(&mut interim)
            .expect("an interim response");
        assert_eq!(&interim, b"HTTP/1.1 100 Continue\r\n\r\n");
        stream.write_all(b"ok").expect("the server reads");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("text");
        assert!(answer.ends_with("\r\n\r\nok"), "{answer}");
        let answer = exchange(
            address,
            b"POST /ignore HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\ncontent-length: 2\r\n\r\n",
        );
        assert_eq!(statuses(&answer), ["204"], "{answer}");
    });
}

#[test]
fn the_client_talks_to_the_server() {
    let config = ebb_hosted::Config {
        cores: 2,
        pin: false,
    };
    ebb_hosted::run(&config, || async {
        let address = SocketAddr::from(([127, 0, 0, 1], 0));
        let server = http::listen(address, Limits::default(), handler)
            .await
            .expect("a free port");
        let mut client = http::Client::connect(server.local_addr(), "test", Limits::default())
            .await
            .expect("up");
        for _ in 0..3 {
            let answer = client
                .request("POST", "/echo", &[], b"abc")
                .await
                .expect("an answer");
            assert_eq!((answer.status, &answer.body[..]), (200, &b"abc"[..]));
        }
        let answer = client
            .request("GET", "/stream", &[], b"")
            .await
            .expect("an answer");
        assert_eq!(answer.body, b"piece piece piece ");
        assert_eq!(answer.header("transfer-encoding"), Some("chunked"));
        assert!(client.is_reusable());
    });
}

#[test]
fn a_header_value_cannot_bring_another_header_along() {
    let response = Response::new(200).with("x", "a\r\nset-cookie: b");
    assert!(format!("{response:?}").contains("a  set-cookie: b"));
}

#[test]
fn a_body_that_breaks_off_is_not_taken_for_the_whole() {
    with_server(Limits::default(), |address| {
        let answer = exchange(address, b"GET /broken HTTP/1.1\r\nHost: h\r\n\r\n");
        assert!(answer.ends_with("4\r\nhalf\r\n"), "{answer}");
    });
}

#[test]
fn programs_that_the_server_starts_do_not_hold_its_connections_open() {
    with_server(Limits::default(), |address| {
        let start = Instant::now();
        let request = b"GET /starts HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n";
        let answer = exchange(address, request);
        assert!(answer.ends_with("started"), "{answer}");
        assert!(start.elapsed() < Duration::from_secs(4));
    });
}

#[test]
fn whoever_sends_pieces_hears_that_the_client_has_gone() {
    with_server(Limits::default(), |address| {
        let mut stream = connect(address);
        stream
            .write_all(b"GET /silent HTTP/1.1\r\nHost: h\r\n\r\n")
            .expect("the server reads");
        let mut got = Vec::new();
        while !got.ends_with(b"first\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte).expect("the first piece");
            got.push(byte[0]);
        }
        assert!(!LEFT.load(Ordering::SeqCst));
        drop(stream);
        let begun = Instant::now();
        while !LEFT.load(Ordering::SeqCst) {
            assert!(begun.elapsed() < Duration::from_secs(5), "nobody noticed");
            std::thread::sleep(Duration::from_millis(5));
        }
    });
}
