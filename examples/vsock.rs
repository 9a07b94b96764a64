//! Streams between a virtual machine and its host, without a network: what connects to port 7 gets back what it sends. With a port as
//! argument it connects to that of the host instead, says hello and prints what the host answers.
//!
//! `cargo run --release --example vsock`, then `socat - UNIX-CONNECT:vsock.socket`, and type `CONNECT 7` and what you like. For the other
//! direction `socat - UNIX-LISTEN:vsock.socket_9` first, then `cargo run --release --example vsock -- 9`. `EBB_VSOCK` chooses another
//! place, or the host's kernel.

#![no_std]
#![no_main]

extern crate alloc;

use ebb::{
    net::{
        Result,
        vsock::{self, Address, HOST, VsockListener, VsockStream},
    },
    print, println, spawn,
};

ebb_archive::variables!("EBB_VSOCK=unix:vsock.socket");

const PORT: u32 = 7;

#[ebb::main]
async fn main() -> Result<u8> {
    let host_port = match ebb::args() {
        [] => None,
        [port] if let Ok(port) = port.parse() => Some(port),
        _ => {
            println!("usage: vsock [PORT-OF-THE-HOST]");
            return Ok(2);
        }
    };
    match (vsock::cid(), host_port) {
        (Err(error), _) => {
            println!("vsock: {error}; the runner makes one: EBB_VSOCK=unix:PATH");
            return Ok(1);
        }
        (Ok(cid), Some(port)) => ask(cid, port).await?,
        (Ok(cid), None) => serve(cid).await?,
    }
    Ok(0)
}

async fn serve(cid: u32) -> Result<()> {
    let listener = VsockListener::bind(PORT)?;
    println!("echo on {}", Address { cid, port: PORT });
    loop {
        let (stream, _) = listener.accept().await?;
        spawn(async move {
            // An error is the end of this connection and of nothing else.
            let _ = echo(&stream).await;
        });
    }
}

/// Sends back what arrives, until the peer ends.
async fn echo(stream: &VsockStream) -> Result<()> {
    let mut buffer = [0; 4096];
    loop {
        match stream.read(&mut buffer).await? {
            0 => return Ok(()),
            n => stream.write_all(&buffer[..n]).await?,
        }
    }
}

async fn ask(cid: u32, port: u32) -> Result<()> {
    let stream = VsockStream::connect(Address { cid: HOST, port }).await?;
    let hello = alloc::format!("hello from context {cid}\n");
    stream.write_all(hello.as_bytes()).await?;
    let mut buffer = [0; 4096];
    loop {
        match stream.read(&mut buffer).await? {
            0 => return Ok(()),
            n => print!("{}", alloc::string::String::from_utf8_lossy(&buffer[..n])),
        }
    }
}
