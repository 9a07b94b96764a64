//! Disks that fail, are slow, or lose their power. What it does is its first argument.

#![no_std]
#![no_main]

extern crate alloc;

use alloc::vec;
use core::time::Duration;

use ebb::{EbbRef, platform::Entropy, println, spawn, time};
use ebb_block::{BLOCK, Disks};
use test_suite::durable;

#[ebb::main]
async fn main() -> u8 {
    match ebb::args() {
        ["durable", numbers @ ..] => {
            let mut acknowledged = [0; durable::WRITERS];
            for (to, from) in acknowledged.iter_mut().zip(numbers) {
                *to = from.parse().unwrap_or(u64::MAX);
            }
            let Err(wrong) = durable::run(acknowledged).await;
            println!("WRONG: {wrong}");
            1
        }
        ["errors"] => errors().await,
        ["slow"] => slow().await,
        ["random"] => {
            let mut bytes = [0; 32];
            EbbRef::<dyn Entropy>::get().fill(&mut bytes);
            println!("random {bytes:02x?}");
            0
        }
        other => {
            println!("what is {other:?}?");
            2
        }
    }
}

/// Says how reading, writing and flushing the first blocks of disk 0 ends.
async fn errors() -> u8 {
    let disk = match EbbRef::<dyn Disks>::get().open(0) {
        Ok(disk) => disk,
        Err(error) => {
            println!("open: {error}");
            return 1;
        }
    };
    for block in 0..4 {
        let at = block * BLOCK as u64;
        let read = disk.read(at, BLOCK).await.map(|bytes| bytes[0]);
        let written = disk.write(at, vec![9; BLOCK]).await;
        println!("block {block}: read {read:?}, write {written:?}");
    }
    println!("flush {:?}", disk.flush().await);
    0
}

/// Counts the events of this core while the disk takes its time.
async fn slow() -> u8 {
    let Ok(disk) = EbbRef::<dyn Disks>::get().open(0) else {
        return 1;
    };
    let reading = spawn(async move {
        let begun = time::Instant::now();
        for _ in 0..3 {
            if disk.read(0, 1 << 20).await.is_err() {
                break;
            }
        }
        begun.elapsed()
    });
    let mut ticks = 0;
    while !reading.is_finished() {
        time::sleep(Duration::from_millis(10)).await;
        ticks += 1;
    }
    let took = reading.await.unwrap_or_default();
    println!("ticks {ticks} in {} ms", took.as_millis());
    0
}
