//! Both ends of the bench `calls` in an image: an Ebb that gives back what it is called with, what is sent to port 7 comes back
//! (RFC 862), and orders to port 8 have this machine use either on another one, the node 1 of its peers at [`SERVER`].

#![no_std]
#![no_main]

extern crate alloc;

use alloc::{string::String, vec, vec::Vec};
use core::net::SocketAddr;

use ebb::{
    EbbRef, ebb,
    net::{
        Bytes,
        tcp::{self, TcpStream},
    },
};
use ebb_distributed::{Blob, Limits, NodeId, RemoteRef, join_by_options, remote};

/// The other machine.
const SERVER: [u8; 4] = [10, 0, 2, 15];

#[ebb(distributed)]
#[derive(Default)]
struct Echo {}

#[remote(name = "bench.Echo")]
impl Echo {
    async fn echo(&self, bytes: Blob) -> Blob {
        bytes
    }
}

#[ebb::main]
async fn main() -> Result<(), String> {
    EbbRef::<Echo>::new().serve();
    let server = join_by_options(Limits::default()).await?;
    let failed = |error: ebb::net::Error| alloc::format!("{error}");
    // An error is the end of a connection and of nothing else.
    let _echo = tcp::listen_on_all_cores(7, async |stream: TcpStream| {
        let mut buffer = vec![0; 16 << 10];
        while let Ok(n @ 1..) = stream.read(&mut buffer).await {
            if stream.write_all(&buffer[..n]).await.is_err() {
                break;
            }
        }
    })
    .await
    .map_err(failed)?;
    let _orders = tcp::listen_on_all_cores(8, async |stream: TcpStream| {
        let _ = obey(&stream).await;
    })
    .await
    .map_err(failed)?;
    server.failed().await.map_err(failed)
}

/// An order is three little-endian numbers of 8 bytes: 0 for the TCP echo, 1 for calls; how many; of how many bytes. How many came back as
/// they were is answered when all have been made.
async fn obey(stream: &TcpStream) -> ebb::net::Result<()> {
    let echo = TcpStream::connect(SocketAddr::from((SERVER, 7))).await?;
    loop {
        let mut order = [0; 24];
        read_all(stream, &mut order).await?;
        let mut numbers = order.chunks_exact(8).map(|number| {
            let number = number.try_into().expect("eight bytes");
            u64::from_le_bytes(number)
        });
        let mut next = || numbers.next().expect("three numbers");
        let (kind, count, size) = (next(), next(), next() as usize);
        let done = match kind {
            0 => over_tcp(&echo, count, size).await?,
            _ => by_calls(count, size).await,
        };
        stream.write_all(&done.to_le_bytes()).await?;
    }
}

async fn read_all(stream: &TcpStream, buffer: &mut [u8]) -> ebb::net::Result<()> {
    let mut filled = 0;
    while filled < buffer.len() {
        match stream.read(&mut buffer[filled..]).await? {
            0 => return Err(ebb::net::Error::ConnectionReset),
            n => filled += n,
        }
    }
    Ok(())
}

async fn over_tcp(echo: &TcpStream, count: u64, size: usize) -> ebb::net::Result<u64> {
    let (message, mut back): (Vec<u8>, Vec<u8>) = (vec![b'e'; size], vec![0; size]);
    let mut done = 0;
    for _ in 0..count {
        echo.write_all(&message).await?;
        read_all(echo, &mut back).await?;
        done += u64::from(back == message);
    }
    Ok(done)
}

async fn by_calls(count: u64, size: usize) -> u64 {
    let echo = EbbRef::<Echo>::new().at(NodeId(1));
    let message = Bytes::from(vec![b'e'; size]);
    let mut done = 0;
    for _ in 0..count {
        let answer = echo.echo(message.clone().into()).await;
        done += u64::from(answer.is_ok_and(|back| *back == *message));
    }
    done
}
