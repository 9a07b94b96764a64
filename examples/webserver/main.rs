//! A web server on every core: a static page, a JSON route, and its own metrics.
//!
//!     cargo run --release --example webserver
//!     curl http://localhost:8080/
//!
//!     cargo run --release --example webserver -- --tls
//!
//! speaks HTTPS and prints how to ask. Its certificate is that of the disk (`EBB_DISK=webserver.pem,size=1M`: made at the first start,
//! or yours, see the book's chapter TLS); without a disk each start makes one.
//!
//!     EBB_VSOCK=unix:web.socket cargo run --release --example webserver -- --vsock
//!
//! serves the host without a network too, at the same port of vsock: connect to `web.socket`, write `CONNECT 80` and a line feed, read
//! a line, and ask.
//!
//! or as a Linux process, `cargo hosted webserver -- 8080`. The argument is the port, 80 by default; the runner makes it
//! port 8080 of this machine unless `EBB_FORWARD` says otherwise.
//!
//! Each connection is accepted, parsed and answered on one core. Nothing is shared on the way: the
//! page is a static, and every core counts in an Ebb of its own; `/metrics` adds the counts up. `/trace` is what the cores did last, for ui.perfetto.dev: with
//! `EBB_OPTIONS=trace-ring=4096`.

#![no_std]
#![no_main]

extern crate alloc;

use alloc::{format, string::String, vec};
use core::{cell::Cell, fmt::Write};

use ebb::{EbbRef, current_core, ebb, println};
use ebb_net::{
    http::{self, Limits, Request, Response},
    tcp::Server,
    vsock::{self, Address, VsockListener},
};
use ebb_tls::{Acceptor, ServerSettings, Source, http::HTTP_1_1};

ebb_archive::variables!("EBB_FORWARD=8080:80");

const USAGE: &str = "usage: webserver [--tls] [--vsock] [PORT]   (0 to 65535; 80 when left out)";

/// What one core has served.
#[ebb(per_core)]
#[derive(Default)]
struct Served {
    requests: Cell<u64>,
    not_found: Cell<u64>,
}

fn count(counter: &Cell<u64>) {
    counter.set(counter.get() + 1);
}

static PAGE: &[u8] = include_bytes!("index.html");

async fn answer(request: &mut Request<'_>) -> Response {
    let served = EbbRef::<Served>::get();
    count(&served.requests);
    match (request.method(), request.path()) {
        ("GET" | "HEAD", "/") => Response::html(PAGE),
        ("GET" | "HEAD", "/api/core") => Response::json(format!(
            "{{\"core\":{},\"requests\":{}}}\n",
            current_core(),
            served.requests.get()
        )),
        ("GET" | "HEAD", "/metrics") => metrics().await,
        ("GET", "/trace") => Response::json(ebb::trace::chrome()),
        (_, "/" | "/api/core" | "/metrics" | "/trace") => {
            Response::error(405, "this page is for GET").with("allow", "GET, HEAD")
        }
        (_, path) => {
            count(&served.not_found);
            Response::error(
                404,
                format_args!("there is no {path} here; try /, /api/core, /metrics or /trace"),
            )
        }
    }
}

/// The counters in Prometheus' text format.
async fn metrics() -> Response {
    let served = EbbRef::<Served>::new()
        .gather(|served| (served.requests.get(), served.not_found.get()))
        .await;
    let Ok(served) = served else {
        return Response::error(503, "the server is stopping");
    };
    let mut text = String::from(
        "# HELP http_requests_total Requests received.\n# TYPE http_requests_total counter\n",
    );
    for (core, (requests, _)) in served.iter().enumerate() {
        let _ = writeln!(text, "http_requests_total{{core=\"{core}\"}} {requests}");
    }
    text.push_str(
        "# HELP http_not_found_total Requests for nothing.\n# TYPE http_not_found_total counter\n",
    );
    for (core, (_, not_found)) in served.iter().enumerate() {
        let _ = writeln!(text, "http_not_found_total{{core=\"{core}\"}} {not_found}");
    }
    text.push_str("# HELP core_events_total Events run.\n# TYPE core_events_total counter\n");
    for stats in ebb::core_stats() {
        let _ = writeln!(
            text,
            "core_events_total{{core=\"{}\"}} {}",
            stats.core, stats.events
        );
    }
    // A process does not know.
    if let Some(bytes) = ebb::spare_memory_bytes() {
        let _ = writeln!(
            text,
            "# HELP memory_free_bytes Memory that nothing uses.\n# TYPE memory_free_bytes gauge\nmemory_free_bytes {bytes}"
        );
    }
    Response::new(200)
        .with("content-type", "text/plain; version=0.0.4")
        .body(text)
}

/// Listens with TLS, and says how to ask.
async fn listen_secretly(port: u16) -> Result<(Server, Acceptor), String> {
    let said = |error: ebb_tls::Error| format!("{error}");
    let source = Source::open(0).await.map_err(said)?;
    let mut settings = ServerSettings::new(source.certificates().clone());
    settings.alpn = vec![HTTP_1_1.to_vec()];
    let acceptor = Acceptor::new(settings).map_err(said)?;
    let server = ebb_tls::http::listen(port, acceptor.clone(), Limits::default(), answer)
        .await
        .map_err(|error| format!("listening on port {port}: {error}"))?;
    let url = source.url(server.local_addr().port());
    println!("certificate: {}", source.place());
    println!("try: curl {}{url}/", source.curl());
    ebb::spawn(source.watch());
    Ok((server, acceptor))
}

/// Serves the host of this machine, or whom the kernel has, by vsock.
fn listen_to_host(port: u16, acceptor: Option<Acceptor>) -> Result<(), String> {
    let port = u32::from(port);
    let bound = vsock::cid().and_then(|cid| Ok((cid, VsockListener::bind(port)?)));
    let (cid, listener) = bound.map_err(|error| {
        format!(
            "listening on port {port} of vsock: {error}; the runner makes one: EBB_VSOCK=unix:PATH"
        )
    })?;
    println!("serving the host on {}", Address { cid, port });
    ebb::spawn(async move {
        let error = listener
            .serve(async move |stream| {
                let limits = Limits::default();
                match &acceptor {
                    None => drop(http::serve_connection(stream, &limits, &answer).await),
                    Some(acceptor) => {
                        if let Ok(stream) = acceptor.accept(stream).await {
                            let _ = http::serve_connection(stream, &limits, &answer).await;
                        }
                    }
                }
            })
            .await;
        println!("webserver: nobody is served by vsock any more: {error}");
    });
    Ok(())
}

#[ebb::main]
async fn main() -> Result<u8, String> {
    let (mut tls, mut vsock, mut port) = (false, false, None);
    for word in ebb::args() {
        match *word {
            "-h" | "--help" => {
                println!("{USAGE}");
                return Ok(0);
            }
            "-V" | "--version" => {
                println!("webserver of ebb {}", env!("CARGO_PKG_VERSION"));
                return Ok(0);
            }
            "--tls" if !tls => tls = true,
            "--vsock" if !vsock => vsock = true,
            other if port.is_none() && other.parse::<u16>().is_ok() => port = other.parse().ok(),
            other => {
                println!("webserver: what is `{other}`? {USAGE}");
                return Ok(2);
            }
        }
    }
    let port = port.unwrap_or(80);
    let (server, acceptor) = if tls {
        let (server, acceptor) = listen_secretly(port).await?;
        (server, Some(acceptor))
    } else {
        let server = http::listen(port, Limits::default(), answer).await;
        let server = server.map_err(|error| format!("listening on port {port}: {error}"))?;
        (server, None)
    };
    if vsock {
        listen_to_host(port, acceptor)?;
    }
    println!(
        "serving {} on {} with {} cores",
        if tls { "HTTPS" } else { "HTTP" },
        server.local_addr(),
        ebb::core_count()
    );
    if let Some(hint) = ebb_net::unreached(server.local_addr().port()) {
        println!("webserver: {hint}");
    }
    match server.failed().await {
        Ok(()) => Ok(0),
        Err(error) => Err(format!("the listener failed: {error}")),
    }
}
