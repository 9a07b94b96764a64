//! A TCP echo server on every core.
//!
//! `EBB_FORWARD=7007:7 cargo run --release --example echo`, then `nc localhost 7007`. As a Linux process it
//! listens on port 7007: `cargo hosted echo -- 7007`.

#![no_std]
#![no_main]

use ebb::{
    net::tcp::{self, TcpStream},
    println,
};

#[ebb::main]
async fn main() -> ebb::net::Result<()> {
    let port = ebb::args()
        .first()
        .and_then(|a| a.parse().ok())
        .unwrap_or(7);
    let server = tcp::listen_on_all_cores(port, async |stream: TcpStream| {
        // An error is the end of this connection and of nothing else.
        let _ = echo(&stream).await;
    })
    .await?;
    println!("echo on {}", server.local_addr());
    server.failed().await
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
