//! The shelf on simulated disks: what is read is what was written or an error, whatever happens to the disk.

use std::{
    format,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    vec,
    vec::Vec,
};

use ebb_block::{
    BLOCK,
    sim::{Faults, Random, SimDisk},
};

use futures_executor::block_on;
use test_support::tasks::Tasks;

use crate::{CHUNK, Error, Item, Shelf, checksum};

/// Room for four items of two chunks each, and not for five.
const SIZE: u64 = 12 << 20;

fn disk() -> SimDisk {
    SimDisk::new(SIZE, 1).immediate()
}

async fn open(disk: &SimDisk) -> (Shelf, bool) {
    let opened = Shelf::open(Arc::new(disk.clone())).await;
    opened.expect("it is a shelf")
}

/// Bytes that nothing else has.
fn bytes(seed: u64, length: usize) -> Vec<u8> {
    let mut random = Random::new(seed);
    let mut bytes: Vec<u8> = (0..length.div_ceil(8))
        .flat_map(|_| random.number().to_le_bytes())
        .collect();
    bytes.truncate(length);
    bytes
}

async fn put(shelf: &Shelf, name: u128, body: &[u8], head: &[u8]) -> Result<Item, Error> {
    let most = (body.len() + head.len()) as u64;
    let mut writing = shelf.write(name, vec![name, 7], most).await?;
    for part in body.chunks(300_000) {
        writing.add(&mut part.to_vec()).await?;
    }
    writing.finish(head).await
}

async fn take(shelf: &Shelf, name: u128) -> Result<(Vec<u8>, Vec<u8>), Error> {
    let item = shelf.find(name).expect("it is there");
    let mut reading = shelf.read(&item).await?;
    let mut body = Vec::new();
    while let Some(chunk) = reading.next_chunk().await? {
        body.extend(chunk);
    }
    assert_eq!(body.len() as u64, item.body_bytes());
    Ok((reading.head, body))
}

#[test]
fn what_is_put_on_a_shelf_is_there_when_the_disk_is_opened_again() {
    block_on(async {
        let disk = disk();
        let all: Vec<(u128, Vec<u8>, Vec<u8>)> = [
            (0, 0),
            (1, 5),
            (BLOCK, 0),
            (CHUNK, BLOCK),
            (CHUNK + 1, CHUNK + 1),
        ]
        .into_iter()
        .enumerate()
        .map(|(n, (body, head))| (n as u128, bytes(n as u64, body), bytes(99, head)))
        .collect();
        let (shelf, damaged) = open(&disk).await;
        assert!(!damaged && shelf.items().is_empty());
        for (name, body, head) in &all {
            let item = put(&shelf, *name, body, head).await.expect("there is room");
            assert_eq!(item.marks, [*name, 7]);
        }
        let (again, damaged) = open(&disk).await;
        assert!(!damaged);
        for (name, body, head) in &all {
            assert_eq!(again.find(*name), shelf.find(*name));
            let (got_head, got_body) = take(&again, *name).await.expect("it is whole");
            assert!(&got_head == head && &got_body == body, "{name}");
        }
        again.remove(3).await.expect("the disk works");
        assert_eq!(open(&disk).await.0.items().len(), 4);
    });
}

#[test]
fn an_item_takes_the_place_of_its_former_self_and_of_all_others_where_there_is_no_room_else() {
    block_on(async {
        let disk = disk();
        let (shelf, _) = open(&disk).await;
        for round in 0..20 {
            for name in 0..3 {
                let body = bytes(round * 10 + name, 2 * CHUNK + 5000);
                let done = put(&shelf, name.into(), &body, b"head").await;
                done.expect("there is room");
                assert!(take(&shelf, name.into()).await.expect("it is whole").1 == body);
            }
            assert_eq!(shelf.items().len(), 3, "nothing has to go");
        }
        let large = bytes(1, 6 * CHUNK);
        put(&shelf, 9, &large, b"").await.expect("the others go");
        assert_eq!(shelf.items().len(), 1);
        assert_eq!(
            put(&shelf, 10, &bytes(2, 13 * CHUNK), b"").await,
            Err(Error::Full)
        );
        let (again, _) = open(&disk).await;
        assert!(
            again.items().len() <= 1,
            "what could not be put took the rest along or nothing"
        );
    });
}

#[test]
fn an_item_that_was_promised_to_be_smaller_is_refused_and_was_never_there() {
    block_on(async {
        let disk = disk();
        let (shelf, _) = open(&disk).await;
        put(&shelf, 1, &bytes(1, CHUNK), b"")
            .await
            .expect("there is room");
        let mut writing = shelf
            .write(2, vec![], CHUNK as u64)
            .await
            .expect("there is room");
        let added = writing.add(&mut bytes(3, 3 * CHUNK)).await;
        assert_eq!(added, Err(Error::Full));
        drop(writing);
        assert!(shelf.find(2).is_none());
        assert!(take(&shelf, 1).await.expect("it is whole").1 == bytes(1, CHUNK));
    });
}

#[test]
fn no_flipped_bit_is_read() {
    block_on(async {
        let disk = disk();
        let (shelf, _) = open(&disk).await;
        let (body, head) = (bytes(1, CHUNK + 70_000), bytes(2, 9000));
        let item = put(&shelf, 1, &body, &head).await.expect("there is room");
        let used = item.places().expect("it is sound").2.end;
        let (mut named, mut random) = (0, Random::new(5));
        for round in 0..600 {
            // The directory's few bytes as often as all the rest.
            let below = if round % 3 == 0 { 400 } else { used };
            let (offset, bit) = (random.below(below), random.below(8) as u8);
            disk.flip(offset, bit);
            match Shelf::open(Arc::new(disk.clone())).await {
                Err(error) => {
                    assert!(error == Error::NotOurs && offset < 8, "{error} {offset}");
                    named += 1;
                }
                Ok((shelf, true)) => {
                    assert!(shelf.items().is_empty() && offset < BLOCK as u64);
                    named += 1;
                }
                Ok((shelf, false)) => match take(&shelf, 1).await {
                    // A block is filled up with bytes that nobody reads.
                    Ok(got) => assert!(got == (head.clone(), body.clone()), "at {offset}"),
                    Err(error) => {
                        assert_eq!(error, Error::Damaged);
                        named += 1;
                    }
                },
            }
            disk.flip(offset, bit);
        }
        assert!(named > 500, "{named}");
        assert!(take(&shelf, 1).await.is_ok());
    });
}

#[test]
fn after_a_power_cut_an_item_is_whole_or_not_there() {
    block_on(async {
        let mut there = 0;
        for seed in 0..60 {
            let disk = SimDisk::new(SIZE, seed).immediate();
            let (shelf, _) = open(&disk).await;
            put(&shelf, 1, &bytes(1, CHUNK + 9), b"old")
                .await
                .expect("there is room");
            // The disk fails at some write, so the new one is half there.
            let writes = Random::new(seed).below(6);
            disk.set_faults(Faults {
                write: Some((writes, ebb_block::Error::Io)),
                ..Faults::default()
            });
            let done = put(&shelf, 1, &bytes(2, CHUNK + 9), b"new").await;
            let after = disk.power_cut(seed ^ 77).immediate();
            let Ok((shelf, _)) = Shelf::open(Arc::new(after)).await else {
                panic!("seed {seed}: not a shelf any more");
            };
            if shelf.find(1).is_none() {
                assert!(done.is_err(), "seed {seed}: what was there is gone");
                continue;
            }
            there += 1;
            match take(&shelf, 1).await {
                Ok((head, body)) if head == b"old" => assert!(body == bytes(1, CHUNK + 9)),
                Ok((head, body)) => assert!(head == b"new" && body == bytes(2, CHUNK + 9)),
                Err(error) => assert_eq!(error, Error::Damaged, "seed {seed}"),
            }
        }
        assert!(there > 5, "{there}");
    });
}

#[test]
fn a_power_cut_while_an_item_is_written_anew_leaves_the_old_or_the_new_or_none_and_all_others() {
    let (mut old, mut new, mut none) = (0, 0, 0);
    let bodies = Arc::new([bytes(1, CHUNK + 9), bytes(2, 2 * CHUNK + 9)]);
    for seed in 0..40 {
        let mut random = Random::new(seed);
        let disk = SimDisk::new(SIZE, seed);
        let mut tasks = Tasks::of(disk.clone(), SimDisk::step);
        let (device, first) = (disk.clone(), Arc::clone(&bodies));
        let shelf = tasks.result(async move {
            let (shelf, _) = open(&device).await;
            for (name, head) in [(1, b"one"), (2, b"two")] {
                let done = put(&shelf, name, &first[0], head).await;
                done.expect("there is room");
            }
            Arc::new(shelf)
        });
        // A base that is made anew.
        let (written, ended) = (Arc::clone(&shelf), Arc::new(AtomicBool::new(false)));
        let acknowledged = Arc::clone(&ended);
        tasks.spawn(async move {
            let body = bytes(2, 2 * CHUNK + 9);
            put(&written, 1, &body, b"new")
                .await
                .expect("there is room");
            acknowledged.store(true, Ordering::Relaxed);
        });
        tasks.run(random.below(11) as usize);
        let ended = ended.load(Ordering::Relaxed);
        let after = disk.power_cut(random.number()).immediate();
        block_on(async {
            // What the directory has fits into a sector here, so no half of it is written.
            let (shelf, is_damaged) = open(&after).await;
            assert!(!is_damaged, "seed {seed}");
            let other = take(&shelf, 2).await;
            assert!(other.expect("nobody has touched it").0 == b"two");
            let Some(_) = shelf.find(1) else {
                assert!(!ended, "seed {seed}: what was there is gone");
                none += 1;
                return;
            };
            let (head, body) = take(&shelf, 1).await.expect("it is whole");
            match &head[..] {
                b"one" => {
                    assert!(body == bodies[0] && !ended, "seed {seed}");
                    old += 1;
                }
                head => {
                    assert!(head == b"new" && body == bodies[1]);
                    new += 1;
                }
            }
        });
    }
    assert!(old > 3 && new > 3 && none > 3, "{old} {new} {none}");
}

#[test]
fn a_disk_that_is_something_elses_is_not_touched() {
    block_on(async {
        let disk = disk();
        disk.flip(100, 3);
        let opened = Shelf::open(Arc::new(disk.clone())).await;
        assert_eq!(opened.err(), Some(Error::NotOurs));
        assert_eq!(disk.written(), 0);
    });
}

#[test]
fn a_block_that_cannot_be_read_is_damage_and_the_disk_s_end_is_its_end() {
    block_on(async {
        let disk = disk();
        let (shelf, _) = open(&disk).await;
        let body = bytes(1, 3 * CHUNK);
        let item = put(&shelf, 1, &body, b"head").await.expect("there is room");
        let (at, ..) = item.places().expect("it is sound");
        let bad = at + 2 * CHUNK as u64;
        disk.set_faults(Faults {
            read: vec![(bad, bad)],
            ..Faults::default()
        });
        assert_eq!(take(&shelf, 1).await, Err(Error::Damaged));
        // A directory with a right checksum that names what no disk of this size has.
        let block = shelf.directory.lock().block();
        let small = SimDisk::new(2 << 20, 1).immediate();
        let device: Arc<dyn ebb_block::BlockDevice> = Arc::new(small.clone());
        device.write(0, block).await.expect("the disk works");
        let (shelf, damaged) = open(&small).await;
        assert!(damaged && shelf.items().is_empty());
    });
}

#[test]
fn bytes_that_nobody_has_written_are_no_directory() {
    let mut random = Random::new(3);
    let mut sound = 0;
    for _ in 0..20_000 {
        let items: Vec<u8> = (0..random.below(200))
            .map(|_| random.number() as u8)
            .collect();
        let mut block = vec![0; BLOCK];
        block[..8].copy_from_slice(b"EBBSHLF1");
        let length = if random.one_in(4) {
            random.number() as u32
        } else {
            items.len() as u32
        };
        block[24..28].copy_from_slice(&length.to_le_bytes());
        block[28..28 + items.len()].copy_from_slice(&items);
        if random.one_in(2) {
            // So that the count makes sense more often than by chance.
            block[28..32].copy_from_slice(&(random.below(3) as u32).to_le_bytes());
        }
        let sum = checksum(&block[24..]);
        block[8..24].copy_from_slice(&sum.to_le_bytes());
        if let Ok(directory) = crate::Directory::from_block(&block, SIZE) {
            sound += usize::from(directory.items.is_empty());
            for item in &directory.items {
                let (.., all) = item.places().expect("it was checked");
                assert!(all.end <= SIZE);
            }
        }
    }
    assert!(sound > 0, "{}", format!("{sound}"));
}
