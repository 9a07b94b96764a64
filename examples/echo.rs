//! An echo server: TCP on every core, UDP on one.
//!
//! `cargo run --release --example echo`, then `nc localhost 7007` (`nc -u` for datagrams); `EBB_FORWARD` chooses another
//! port of this machine. As a Linux process it listens on port 7007: `cargo hosted echo -- 7007`.

#![no_std]
#![no_main]

extern crate alloc;

use ebb::{
    net::{
        tcp::{self, TcpStream},
        udp::UdpSocket,
    },
    println, spawn,
};

ebb_archive::variables!("EBB_FORWARD=7007:7,udp:7007:7");

const USAGE: &str = "usage: echo [PORT]   (0 to 65535; 7 when left out)";

#[ebb::main]
async fn main() -> ebb::net::Result<u8> {
    let port = match ebb::args() {
        [] => 7,
        ["-h" | "--help"] => {
            println!("{USAGE}");
            return Ok(0);
        }
        ["-V" | "--version"] => {
            println!("echo of ebb {}", env!("CARGO_PKG_VERSION"));
            return Ok(0);
        }
        [port] if let Ok(port) = port.parse() => port,
        [.., word] => {
            println!("echo: what is `{word}`? {USAGE}");
            return Ok(2);
        }
    };
    let server = tcp::listen_on_all_cores(port, async |stream: TcpStream| {
        // An error is the end of this connection and of nothing else.
        let _ = echo(&stream).await;
    })
    .await?;
    let datagrams = UdpSocket::bind(port)?;
    spawn(async move {
        // The longest datagram there is.
        let mut buffer = alloc::vec![0; 65_536];
        while let Ok((n, peer)) = datagrams.recv_from(&mut buffer).await {
            let _ = datagrams.send_to(&buffer[..n], peer).await;
        }
    });
    println!("echo on {}", server.local_addr());
    if let Some(hint) = ebb::net::unreached(server.local_addr().port()) {
        println!("echo: {hint}");
    }
    server.failed().await?;
    Ok(0)
}

/// Sends back what arrives, until the peer ends its direction.
async fn echo(stream: &TcpStream) -> ebb::net::Result<()> {
    let mut buffer = [0; 4096];
    loop {
        match stream.read(&mut buffer).await? {
            0 => return Ok(()),
            n => stream.write_all(&buffer[..n]).await?,
        }
    }
}
