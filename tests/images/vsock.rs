//! Sockets between an image and its host, by port: 1 gives back what it gets, 2 sends 8 MiB to whoever connects, 3 takes all and says
//! what it was, 4 never reads, 5 reads a byte and resets, 6 ends its direction first and then reads; it connects to the host's ports as
//! port 7 is told to, and asks an HTTP server there when that is of no bytes. `tests/native/vsock.rs` is the host.

#![no_std]
#![no_main]

extern crate alloc;

use core::time::Duration;

use alloc::{format, string::String, vec::Vec};
use ebb::{
    net::{
        Error, Result, http,
        tcp::Shutdown,
        vsock::{self, Address, HOST, VsockListener, VsockStream},
    },
    println, spawn, time,
};

const FLOOD: usize = 8 << 20;

fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|n| ((n * 31) ^ (n >> 7)) as u8).collect()
}

/// Serves each connection of a port in a task of its own.
fn serve<F>(port: u32, serve: fn(VsockStream, u32) -> F) -> Result<()>
where
    F: Future<Output = Result<()>> + 'static,
{
    let listener = VsockListener::bind(port)?;
    drop(spawn(async move {
        for number in 0.. {
            let (stream, peer) = listener.accept().await.expect("it listens");
            assert_eq!(peer.cid, HOST);
            let task = serve(stream, number);
            drop(spawn(async move {
                if let Err(error) = task.await {
                    println!("port {port}, connection {number}: {error}");
                }
            }));
        }
    }));
    Ok(())
}

async fn echo(stream: VsockStream, _: u32) -> Result<()> {
    let mut buffer = [0; 3000];
    loop {
        match stream.read(&mut buffer).await? {
            0 => return Ok(()),
            n => stream.write_all(&buffer[..n]).await?,
        }
    }
}

async fn flood(stream: VsockStream, number: u32) -> Result<()> {
    let result = stream.write_all(&pattern(FLOOD)).await;
    println!("flood {number}: {result:?}");
    result
}

async fn sink(stream: VsockStream, number: u32) -> Result<()> {
    let (mut count, mut sum) = (0, 0_u64);
    let fold = |sum: u64, bytes: &[u8]| {
        let each = bytes.iter();
        each.fold(sum, |sum, b| (sum * 31 + u64::from(*b)) % 1_000_007)
    };
    while let Some(n) = stream
        .recv_with(|bytes| {
            sum = fold(sum, bytes);
            (bytes.len(), bytes.len())
        })
        .await?
    {
        count += n;
    }
    println!("sink {number}: {count} bytes, {sum}");
    Ok(())
}

async fn deaf(stream: VsockStream, _: u32) -> Result<()> {
    println!("deaf: does not read");
    time::sleep(Duration::from_secs(3600)).await;
    drop(stream);
    Ok(())
}

async fn reset(stream: VsockStream, _: u32) -> Result<()> {
    stream.read_exact(&mut [0]).await?;
    stream.abort();
    println!("reset: done");
    Ok(())
}

async fn half(stream: VsockStream, number: u32) -> Result<()> {
    stream.write_all(b"all that I have to say").await?;
    stream.shutdown(Shutdown::Write)?;
    let refused = stream.write(b"more").await;
    assert_eq!(refused, Err(Error::BrokenPipe));
    sink(stream, number).await
}

/// Sends the pattern to a port of the host and reads it back.
async fn call(port: u32, length: usize) -> Result<()> {
    let to = Address { cid: HOST, port };
    let stream = VsockStream::connect(to).await?;
    assert_eq!(stream.peer_addr(), Ok(to));
    let stream = alloc::rc::Rc::new(stream);
    let (sent, writer) = (pattern(length), stream.clone());
    let expected = sent.clone();
    let writing = spawn(async move { writer.write_all(&sent).await });
    let mut received = alloc::vec![0; length];
    stream.read_exact(&mut received).await?;
    writing.await.map_err(|_| Error::ConnectionAborted)??;
    assert!(received == expected, "other bytes came back");
    println!("call {port}: {length} bytes there and back");
    Ok(())
}

/// Asks an HTTP server of the host; its answer.
async fn ask(port: u32) -> Result<String> {
    let stream = VsockStream::connect(Address { cid: HOST, port }).await?;
    let mut client = http::Client::over(stream, "host", http::Limits::default());
    let answer = client.request("GET", "/to-host", &[], &[]).await;
    let answer = answer.map_err(|_| Error::Protocol)?;
    let body = String::from_utf8_lossy(&answer.body);
    Ok(format!("{} {body}", answer.status))
}

async fn commands(stream: VsockStream, _: u32) -> Result<()> {
    let mut line = String::new();
    loop {
        let mut byte = [0];
        stream.read_exact(&mut byte).await?;
        if byte[0] != b'\n' {
            line.push(byte[0].into());
            continue;
        }
        if line == "quit" {
            ebb::exit(0);
        }
        let mut words = line.split(' ').map(|word| word.parse().unwrap_or(0));
        let (port, length) = (words.next().unwrap_or(0), words.next().unwrap_or(0));
        let result = match length {
            0 => ask(port).await,
            _ => call(port, length as usize).await.map(|()| "done".into()),
        };
        let said = match result {
            Ok(said) => said + "\n",
            Err(error) => format!("{error:?}\n"),
        };
        stream.write_all(said.as_bytes()).await?;
        line.clear();
    }
}

#[ebb::main]
async fn main() -> Result<()> {
    match vsock::cid() {
        Err(error) => {
            let to = Address { cid: HOST, port: 1 };
            assert_eq!(VsockListener::bind(1).err(), Some(error));
            assert_eq!(VsockStream::connect(to).await.err(), Some(error));
            println!("no vsock: {error:?}");
            return Ok(());
        }
        Ok(cid) => println!("context {cid}"),
    }
    serve(1, echo)?;
    assert_eq!(VsockListener::bind(1).err(), Some(Error::AddressInUse));
    serve(2, flood)?;
    serve(3, sink)?;
    serve(4, deaf)?;
    serve(5, reset)?;
    serve(6, half)?;
    serve(7, commands)?;
    println!("serving");
    time::sleep(Duration::from_secs(3600)).await;
    Ok(())
}
