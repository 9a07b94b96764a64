//! Disks on the machine: number 0 takes writes, number 1 does not.
//!
//! An image is booted with both (`tests/native/native.rs`); a process makes files for them here.

use alloc::{vec, vec::Vec};

use ebb::{EbbRef, spawn, spawn_on};
use ebb_block::{BLOCK, Disks, Error};

fn disks() -> impl Disks {
    #[cfg(test)]
    hosted::prepare();
    *EbbRef::<dyn Disks>::get()
}

#[cfg(test)]
mod hosted {
    use std::{format, fs::File, sync::Once};

    use ebb::EbbRef;
    use ebb_block::Disks;

    /// Makes the files, once.
    pub fn prepare() {
        static PREPARED: Once = Once::new();
        PREPARED.call_once(|| {
            let name =
                |n| std::env::temp_dir().join(format!("ebb-suite-{}-{n}", std::process::id()));
            for n in 0..2 {
                let file = File::create(name(n)).unwrap();
                file.set_len(super::SIZE).unwrap();
            }
            let (a, b) = (name(0), name(1));
            ebb_hosted::set_disks(&format!("{};{},readonly", a.display(), b.display())).unwrap();
            // They are opened, and go with the process.
            for n in 0..2 {
                EbbRef::<dyn Disks>::get().open(n).unwrap();
                std::fs::remove_file(name(n)).unwrap();
            }
        });
    }
}

/// Bytes of each disk.
const SIZE: u64 = 64 << 20;
/// Each test has a part of disk 0 to itself.
const ROUND_TRIP: u64 = 0;
const MANY: u64 = 8 << 20;
const CORES: u64 = 40 << 20;
const DROPPED: u64 = 48 << 20;

fn pattern(seed: u64, length: usize) -> Vec<u8> {
    let word = |n: usize| (seed * 0x9e37_79b9 + n as u64 * 0x85eb_ca6b).to_le_bytes();
    (0..length.div_ceil(8))
        .flat_map(word)
        .take(length)
        .collect()
}

#[ebb::test]
async fn what_is_written_is_read_whatever_its_length() {
    let disk = disks().open(0).expect("disk 0");
    assert_eq!(disk.size(), SIZE);
    assert!(!disk.is_read_only());
    // The last is more than a device is given at once.
    for length in [BLOCK, 3 * BLOCK, 1 << 20, (3 << 20) + BLOCK] {
        let bytes = pattern(length as u64, length);
        disk.write(ROUND_TRIP + 4 * BLOCK as u64, bytes.clone())
            .await
            .expect("written");
        disk.flush().await.expect("flushed");
        let read = disk.read(ROUND_TRIP + 4 * BLOCK as u64, length).await;
        assert!(read.expect("read") == bytes, "{length} bytes differ");
    }
    let end = SIZE - BLOCK as u64;
    disk.write(end, vec![7; BLOCK]).await.expect("written");
    assert!(disk.read(end, BLOCK).await.expect("read") == [7; BLOCK]);
}

#[ebb::test]
async fn hundreds_of_requests_are_under_way_at_once_and_each_does_what_it_says() {
    const COUNT: u64 = 300;
    let disk = disks().open(0).expect("disk 0");
    let length = |n: u64| (1 + n as usize % 5) * BLOCK;
    let at = |n: u64| MANY + n * 5 * BLOCK as u64;
    let writes: Vec<_> = (0..COUNT)
        .map(|n| disk.write(at(n), pattern(n, length(n))))
        .collect();
    let flush = disk.flush();
    for write in writes {
        write.await.expect("written");
    }
    flush.await.expect("flushed");
    let reads: Vec<_> = (0..COUNT).map(|n| disk.read(at(n), length(n))).collect();
    // The last first: their futures need not be polled in any order.
    for (n, read) in reads.into_iter().enumerate().rev() {
        let n = n as u64;
        assert!(read.await.expect("read") == pattern(n, length(n)), "{n}");
    }
}

#[ebb::test(cores = 2)]
async fn every_core_uses_the_same_disk() {
    let disk = disks().open(0).expect("disk 0");
    let tasks: Vec<_> = ebb::cores()
        .map(|core| {
            spawn_on(core, async move || {
                let disk = EbbRef::<dyn Disks>::get().open(0).expect("disk 0");
                let at = CORES + core.number() as u64 * BLOCK as u64;
                for round in 0..50 {
                    let bytes = pattern(round, BLOCK);
                    disk.write(at, bytes.clone()).await.expect("written");
                    assert!(disk.read(at, BLOCK).await.expect("read") == bytes);
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.expect("it does not panic");
    }
    let last = pattern(49, BLOCK);
    for core in ebb::cores() {
        let at = CORES + core.number() as u64 * BLOCK as u64;
        assert!(disk.read(at, BLOCK).await.expect("read") == last);
    }
}

#[ebb::test]
async fn a_request_whose_future_is_dropped_is_done_all_the_same() {
    let disk = disks().open(0).expect("disk 0");
    for n in 0..20 {
        drop(disk.write(DROPPED + n * BLOCK as u64, pattern(n, BLOCK)));
        drop(disk.read(DROPPED, 8 * BLOCK));
    }
    // Nothing says when, so it is asked for until it is there.
    for n in 0..20 {
        while disk
            .read(DROPPED + n * BLOCK as u64, BLOCK)
            .await
            .expect("read")
            != pattern(n, BLOCK)
        {
            ebb::time::sleep(core::time::Duration::from_millis(1)).await;
        }
    }
}

#[ebb::test]
async fn a_request_that_no_disk_can_do_is_refused() {
    let disk = disks().open(0).expect("disk 0");
    let block = BLOCK as u64;
    assert_eq!(disk.read(SIZE, BLOCK).await, Err(Error::OutOfRange));
    assert_eq!(
        disk.read(SIZE - block, 2 * BLOCK).await,
        Err(Error::OutOfRange)
    );
    assert_eq!(disk.read(1, BLOCK).await, Err(Error::Misaligned));
    assert_eq!(disk.read(0, 0).await, Err(Error::Misaligned));
    assert_eq!(
        disk.write(block, vec![0; 100]).await,
        Err(Error::Misaligned)
    );
    assert_eq!(
        disk.write(u64::MAX - block + 1, vec![0; BLOCK]).await,
        Err(Error::OutOfRange)
    );
    assert_eq!(disks().open(7).err(), Some(Error::Missing));
}

#[ebb::test]
async fn a_disk_that_only_reads_says_so() {
    let disk = disks().open(1).expect("disk 1");
    assert!(disk.is_read_only());
    assert_eq!(disk.write(0, vec![1; BLOCK]).await, Err(Error::ReadOnly));
    assert!(disk.read(0, BLOCK).await.expect("read") == [0; BLOCK]);
    assert_eq!(disk.flush().await, Ok(()));
}

#[ebb::test]
async fn other_events_of_the_core_run_while_the_disk_works() {
    let disk = disks().open(0).expect("disk 0");
    let reading = spawn(async move {
        for _ in 0..20 {
            disk.read(MANY, 4 << 20).await.expect("read");
        }
    });
    let mut rounds = 0u64;
    while !reading.is_finished() {
        ebb::yield_now().await;
        rounds += 1;
    }
    assert!(
        rounds > 20,
        "only {rounds} events while the disk read 80 MiB"
    );
}
