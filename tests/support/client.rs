//! What drives a server from outside: sockets, and the programs that people use.

use std::{
    net::{SocketAddr, TcpStream},
    process::Command,
    time::Duration,
};

use crate::tools;

/// Connects; no read waits for ever.
///
/// # Panics
/// When nothing listens.
pub fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).expect("the server listens");
    let limit = Some(Duration::from_secs(20));
    stream.set_read_timeout(limit).expect("above zero");
    stream
}

/// Runs a client program, which must succeed; gives what it said. `None` where it is missing and cannot be installed, which the
/// summary says.
///
/// # Panics
/// When it fails.
pub fn program(program: &str, arguments: &[&str]) -> Option<String> {
    if tools::lacks(&[program]) {
        return None;
    }
    let output = Command::new(program).args(arguments).output();
    let output = output.expect("it is there");
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said).into_owned();
    assert!(output.status.success(), "{program}: {said}");
    Some(said)
}

/// Runs memccapable, libmemcached's conformance test.
///
/// # Panics
/// When a check fails.
pub fn memccapable(host: &str, port: u16) {
    let port = port.to_string();
    if let Some(said) = program("memccapable", &["-h", host, "-p", &port, "-t", "10"]) {
        let passed = said.matches("[pass]").count();
        assert!(passed >= 50 && !said.contains("[FAIL]"), "{said}");
    }
}

/// Runs wrk for two seconds; every answer must be a good one.
///
/// # Panics
/// When one is not.
pub fn wrk(url: &str) {
    if let Some(said) = program("wrk", &["-t", "2", "-c", "32", "-d", "2", url]) {
        assert!(said.contains("Requests/sec"), "{said}");
        assert!(
            !said.contains("Non-2xx") && !said.contains("Socket errors"),
            "{said}"
        );
    }
}
