//! A machine for tests of the network from outside: echo on port 7 (TCP and UDP), HTTP on port 80, memcached on port
//! 11211, and on `/state` what its parts have counted, a name and a number on each line.

#![no_std]
#![no_main]

extern crate alloc;

use alloc::{string::String, vec, vec::Vec};
use core::{
    fmt::Write,
    net::{IpAddr, SocketAddr},
};

use ebb::{
    EbbRef, ebb,
    net::{
        http::{self, Request, Response},
        tcp::{self, TcpListener, TcpStream},
        udp::UdpSocket,
    },
    println, spawn,
};
use ebb_mem::CoreStats;
use ebb_memcached::{Limits, server::Server};

/// A core's counters, to be gathered.
#[ebb(per_core)]
#[derive(Default)]
struct Counters;

#[ebb::main]
async fn main() -> ebb::net::Result<()> {
    let memcached = Server::new(Limits {
        memory: 16 << 20,
        ..Limits::default()
    });
    memcached.sweep_when_idle();
    let _echo = tcp::listen_on_all_cores(7, echo).await?;
    let datagrams = UdpSocket::bind(7)?;
    spawn(async move {
        let mut buffer = vec![0; 65_536];
        while let Ok((n, peer)) = datagrams.recv_from(&mut buffer).await {
            let _ = datagrams.send_to(&buffer[..n], peer).await;
        }
    });
    // With an address as argument: an echo on port 8 of it alone.
    if let Some(address) = ebb::args().first().and_then(|a| a.parse::<IpAddr>().ok()) {
        let only = TcpListener::bind(SocketAddr::new(address, 8))?;
        spawn(async move {
            while let Ok((stream, _)) = only.accept().await {
                spawn(echo(stream));
            }
        });
    }
    let _memcached = memcached.listen(11211).await?;
    let http = http::listen(80, http::Limits::default(), answer).await?;
    println!("serving");
    http.failed().await
}

async fn echo(stream: TcpStream) {
    let mut buffer = [0; 4096];
    while let Ok(n @ 1..) = stream.read(&mut buffer).await {
        if stream.write_all(&buffer[..n]).await.is_err() {
            return;
        }
    }
}

async fn answer(request: &mut Request<'_>) -> Response {
    match (request.method(), request.path()) {
        ("GET", "/") => Response::text("hello\n"),
        ("GET", "/large") => Response::new(200).body(vec![b'x'; 1 << 20]),
        ("POST", "/echo") => match request.bytes().await {
            Ok(bytes) => Response::new(200).body(bytes),
            Err(error) => Response::error(error.status().unwrap_or(400), error),
        },
        ("GET", "/state") => Response::text(state().await),
        _ => Response::error(404, "nothing here"),
    }
}

async fn state() -> String {
    let mut counted = Vec::new();
    for _ in 0..2 {
        // What belongs to other cores goes home in the first round. In the second each core's counters are exact, right after
        // it has given back the lists that it allocates from; the next allocation takes such a list again, as if all
        // of it were in use.
        counted = EbbRef::<Counters>::new()
            .gather(|_| {
                ebb_mem::trim();
                (
                    ebb_mem::core_stats(ebb::current_core().number()),
                    ebb_netstack::stats(),
                )
            })
            .await
            .unwrap_or_default();
    }
    let mut text = String::new();
    let mut line = |name: &str, core: Option<usize>, value: u64| {
        let _ = match core {
            Some(core) => writeln!(text, "core{core}.{name} {value}"),
            None => writeln!(text, "{name} {value}"),
        };
    };
    // The last part is that of the boot.
    let boot = ebb_mem::core_stats(ebb::core_count());
    let mut heap = CoreStats::default();
    for part in counted.iter().map(|c| c.0).chain([boot]) {
        heap += part.unwrap_or_default();
    }
    line("heap", None, (heap.bytes + heap.large_bytes) as u64);
    line("heap.blocks", None, heap.blocks as u64);
    line("heap.large", None, heap.large_bytes as u64);
    if let Some(device) = ebb_netstack::device() {
        line("device.pairs", None, device.pairs as u64);
        line("device.vectors", None, device.vectors.into());
        line("device.features", None, device.features);
    }
    for (core, stats) in ebb::core_stats().iter().enumerate() {
        line("tasks", Some(core), stats.tasks);
    }
    for (core, (_, stats)) in counted.iter().enumerate() {
        let core = Some(core);
        line("frames_in", core, stats.stack.frames_in);
        line("frames_out", core, stats.stack.frames_out);
        line("bytes_in", core, stats.stack.bytes_in);
        line("malformed", core, stats.stack.malformed);
        line("steered", core, stats.stack.steered);
        line("accepted", core, stats.stack.accepted);
        line("cookies", core, stats.stack.cookies);
        line("timeouts", core, stats.stack.timeouts);
        line("connections", core, stats.stack.connections);
        line("half_open", core, stats.stack.half_open);
        line("time_wait", core, stats.stack.time_wait);
        line("free_buffers", core, stats.stack.free_buffers);
        line("tables", core, stats.stack.tables);
        line("interrupts", core, stats.interrupts);
        line("doorbells", core, stats.doorbells);
    }
    text
}
