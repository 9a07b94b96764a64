//! Channels to the host: `echo` gives back what it gets, `flood` sends as many bytes as the host takes, up to 4 MiB, to whoever connects,
//! `sink` takes 1 MiB, 64 bytes at a time. `tests/native/channels.rs` is the host.

#![no_std]
#![no_main]

extern crate alloc;

use core::time::Duration;

use alloc::{vec, vec::Vec};
use ebb::{
    channel::{self, Missing},
    println, spawn, time,
};

const FLOOD: usize = 4 << 20;
const SINK: usize = 1 << 20;

async fn echo() -> Result<(), Missing> {
    let mut channel = channel::open("echo").await?;
    assert!(channel::open("echo").await.is_err(), "it has a holder");
    let mut buffer = [0; 1000];
    for visit in 0.. {
        channel.connected().await;
        println!("echo: visit {visit} begins");
        loop {
            let n = channel.read(&mut buffer).await;
            if buffer[..n].starts_with(b"quit") {
                println!("echo: quit");
                return Ok(());
            }
            if n == 0 || channel.write_all(&buffer[..n]).await.is_err() {
                break;
            }
        }
        println!("echo: visit {visit} has ended");
    }
    Ok(())
}

async fn flood() -> Result<(), Missing> {
    let mut channel = channel::open("flood").await?;
    let bytes: Vec<u8> = (0..FLOOD).map(|n| ((n * 31) ^ (n >> 7)) as u8).collect();
    let mut rounds = 0;
    loop {
        channel.connected().await;
        let mut sent = 0;
        for part in bytes.chunks(10_000) {
            if channel.write_all(part).await.is_err() {
                break;
            }
            sent += part.len();
            if sent % 100_000 == 0 && rounds == 0 {
                println!("flood: {sent}");
            }
        }
        let is_whole = channel.flush().await.is_ok();
        println!("flood: round {rounds} whole {is_whole}");
        rounds += 1;
        while channel.read(&mut [0; 64]).await > 0 {}
    }
}

async fn sink() -> Result<(), Missing> {
    let mut channel = channel::open("sink").await?;
    channel.connected().await;
    // Long enough for the host to find that nobody reads.
    time::sleep(Duration::from_millis(500)).await;
    let (mut buffer, mut count, mut sum) = (vec![0; 64], 0, 0_u64);
    while count < SINK {
        match channel.read(&mut buffer).await {
            0 => break,
            n => {
                count += n;
                sum = buffer[..n]
                    .iter()
                    .fold(sum, |sum, b| (sum * 31 + u64::from(*b)) % 1_000_007);
            }
        }
    }
    println!("sink: {count} bytes, {sum}");
    Ok(())
}

#[ebb::main]
async fn main() -> Result<(), Missing> {
    assert_eq!(channel::open("nobody's").await.err(), Some(Missing));
    drop(spawn(async { flood().await.expect("a channel") }));
    drop(spawn(async { sink().await.expect("a channel") }));
    println!("serving");
    echo().await
}
