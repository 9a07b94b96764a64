//! What drives a server from outside: a thread with plain sockets beside one on the hosted platform, and client programs.

#![allow(dead_code)]

use std::{
    net::{SocketAddr, TcpStream},
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    process::Command,
    time::Duration,
};

/// Starts a server on two cores of the hosted platform, and runs `client` on a thread of its own against the address. What
/// `start` gives besides lives as long as the client.
pub fn beside<S: 'static>(
    start: impl AsyncFnOnce() -> (SocketAddr, S) + Send + 'static,
    client: impl FnOnce(SocketAddr) + Send + 'static,
) {
    let config = ebb_hosted::Config {
        cores: 2,
        pin: false,
    };
    ebb_hosted::run(&config, move || async move {
        let (address, _server) = start().await;
        let (done, wait) = ebb::sync::oneshot::channel();
        let thread = std::thread::spawn(move || {
            let result = catch_unwind(AssertUnwindSafe(|| client(address)));
            let _ = done.send(result);
        });
        let result = wait.await.expect("the thread answers");
        thread.join().expect("its panics were caught");
        if let Err(payload) = result {
            resume_unwind(payload);
        }
    });
}

/// Connects; no read waits for ever.
pub fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).expect("the server listens");
    let limit = Some(Duration::from_secs(20));
    stream.set_read_timeout(limit).expect("above zero");
    stream
}

/// Runs a client program, which must succeed; gives what it said. `None`, with a line that says so, where it is not
/// installed.
pub fn program(program: &str, arguments: &[&str]) -> Option<String> {
    match Command::new(program).args(arguments).output() {
        Ok(output) => {
            let said = [output.stdout, output.stderr].concat();
            let said = String::from_utf8_lossy(&said).into_owned();
            assert!(output.status.success(), "{program}: {said}");
            Some(said)
        }
        Err(error) => {
            eprintln!("skipped: {program} cannot be started ({error})");
            None
        }
    }
}

/// Runs memccapable, libmemcached's conformance test.
pub fn memccapable(host: &str, port: u16) {
    let port = port.to_string();
    if let Some(said) = program("memccapable", &["-h", host, "-p", &port, "-t", "10"]) {
        let passed = said.matches("[pass]").count();
        assert!(passed >= 50 && !said.contains("[FAIL]"), "{said}");
    }
}

/// Runs wrk for two seconds; every answer must be a good one.
pub fn wrk(url: &str) {
    if let Some(said) = program("wrk", &["-t", "2", "-c", "32", "-d", "2", url]) {
        assert!(said.contains("Requests/sec"), "{said}");
        assert!(
            !said.contains("Non-2xx") && !said.contains("Socket errors"),
            "{said}"
        );
    }
}
