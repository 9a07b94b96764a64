//! Disks that are full, fail, are damaged, slow, or not ours.

use std::{cell::Cell, rc::Rc};

use ebb_block::{
    BLOCK,
    sim::{Faults, SimDisk},
};
use ebb_store::{Batch, Damage, Error, OpenError, Store};

use crate::{Opens, World, on};

pub fn put(key: &str, value: impl Into<Vec<u8>>) -> Batch {
    let mut batch = Batch::default();
    batch.put(key, value);
    batch
}

pub fn commit(world: &mut World, store: &Store, batch: Batch) -> Result<(), Error> {
    world.result(store.commit(batch))
}

pub fn get(world: &mut World, store: &Store, key: &'static str) -> Result<Option<Vec<u8>>, Error> {
    let store = store.clone();
    world.result(async move { store.get(key).await })
}

#[test]
fn commits_that_wait_together_share_a_flush() {
    let disk = SimDisk::new(8 << 20, 1);
    let mut world = on(&disk);
    let (store, _) = world.open().unwrap();
    let before = disk.flushes();
    for n in 0..500 {
        let commit = store.commit(put(&format!("k{n}"), "v"));
        world.spawn(async move { commit.await.unwrap() });
    }
    world.run(usize::MAX);
    assert_eq!(store.stats().keys, 500);
    assert!(disk.flushes() - before <= 2, "{}", disk.flushes() - before);
}

#[test]
fn equal_blobs_are_stored_once_and_go_with_the_last_value_that_refers_to_them() {
    let disk = SimDisk::new(8 << 20, 1);
    let mut world = on(&disk);
    let (store, _) = world.open().unwrap();
    let code = vec![7; 900_000];
    let mut name = [0; 32];
    for key in ["a", "b", "c"] {
        let mut batch = Batch::default();
        name = batch.blob(code.clone());
        batch.put_with(key, "x", [name]);
        commit(&mut world, &store, batch).unwrap();
    }
    assert!(disk.written() < 1_200_000, "{}", disk.written());
    let mut batch = Batch::default();
    batch.delete("a");
    batch.put("b", "no blob any more");
    commit(&mut world, &store, batch).unwrap();
    let (mut world, store) = {
        world
            .result({
                let store = store.clone();
                async move { store.close().await }
            })
            .unwrap();
        let mut world = on(&disk);
        let (store, _) = world.open().unwrap();
        (world, store)
    };
    let found = world.result({
        let store = store.clone();
        async move { store.blob(&name).await }
    });
    assert_eq!(found.unwrap(), Some(code));
    let mut batch = Batch::default();
    batch.delete("c");
    commit(&mut world, &store, batch).unwrap();
    assert!(!store.has_blob(&name));
    let mut batch = Batch::default();
    batch.put_with("d", "x", [name]);
    assert_eq!(
        commit(&mut world, &store, batch),
        Err(Error::MissingBlob(name))
    );
}

#[test]
fn a_full_disk_refuses_puts_takes_deletes_and_recovers() {
    let disk = SimDisk::new(4 << 20, 1);
    let mut world = on(&disk);
    let (store, _) = world.open().unwrap();
    let mut count = 0;
    loop {
        match commit(
            &mut world,
            &store,
            put(&format!("k{count:04}"), vec![1; 10_000]),
        ) {
            Ok(()) => count += 1,
            Err(error) => {
                assert_eq!(error, Error::Full);
                break;
            }
        }
    }
    assert!(count * 10_000 > 2 << 20, "{count}");
    assert_eq!(
        commit(&mut world, &store, put("more", vec![1; 10_000])),
        Err(Error::Full)
    );
    // Overwriting for ever is no reason to be full: deletes and puts in turn, many times the disk's size.
    for round in 0..1_500 {
        let mut batch = Batch::default();
        batch.delete(format!("k{:04}", round % count));
        commit(&mut world, &store, batch).unwrap();
        let batch = put(&format!("k{:04}", round % count), vec![2; 10_000]);
        commit(&mut world, &store, batch).unwrap();
    }
    assert_eq!(store.stats().keys, count);
    let mut world = on(&disk.power_cut(5));
    let (store, report) = world.open().unwrap();
    assert_eq!((report.keys, report.damage.len()), (count, 0));
    assert_eq!(
        get(&mut world, &store, "k0000").unwrap(),
        Some(vec![2; 10_000])
    );
}

#[test]
fn a_batch_whose_write_or_flush_fails_is_not_there_and_the_next_one_is() {
    for (seed, faults) in [
        Faults {
            write: Some((0, ebb_block::Error::Io)),
            ..Faults::default()
        },
        Faults {
            write: Some((0, ebb_block::Error::NoSpace)),
            ..Faults::default()
        },
        Faults {
            flush: Some(ebb_block::Error::Io),
            ..Faults::default()
        },
    ]
    .into_iter()
    .cycle()
    .take(60)
    .enumerate()
    {
        let disk = SimDisk::new(4 << 20, seed as u64);
        let mut world = on(&disk);
        let (store, _) = world.open().unwrap();
        commit(&mut world, &store, put("a", "1")).unwrap();
        disk.set_faults(faults);
        let error = commit(&mut world, &store, put("a", "2")).unwrap_err();
        assert!(
            matches!(error, Error::Device(ebb_block::Error::Io) | Error::Full),
            "{error}"
        );
        assert!(commit(&mut world, &store, put("b", "2")).is_err());
        assert_eq!(get(&mut world, &store, "a").unwrap(), Some(b"1".to_vec()));
        disk.set_faults(Faults::default());
        commit(&mut world, &store, put("c", "3")).unwrap();
        let mut world = on(&disk.power_cut(seed as u64));
        let (store, report) = world.open().unwrap();
        assert_eq!(report.damage, []);
        assert_eq!(get(&mut world, &store, "a").unwrap(), Some(b"1".to_vec()));
        assert_eq!(get(&mut world, &store, "b").unwrap(), None);
        assert_eq!(get(&mut world, &store, "c").unwrap(), Some(b"3".to_vec()));
    }
}

/// A disk with 30 keys of 5,000 bytes, closed properly, without a checkpoint.
fn filled() -> SimDisk {
    filled_with(u64::MAX)
}

/// The same with checkpoints after so many bytes.
pub fn filled_with(checkpoint_after: u64) -> SimDisk {
    let disk = SimDisk::new(4 << 20, 1);
    let mut world = on(&disk);
    let (store, _) = world.open_with(checkpoint_after).unwrap();
    for n in 0..30 {
        commit(&mut world, &store, put(&format!("k{n:02}"), vec![n; 5_000])).unwrap();
    }
    world.result(async move { store.close().await }).unwrap();
    disk
}

#[test]
fn a_flipped_bit_is_found_and_named_and_everything_else_is_served() {
    let whole = filled();
    let frames = (128 << 10) as u64;
    let (mut values, mut commits) = (0, 0);
    for n in 0..120 {
        let disk = whole.power_cut(n);
        let at = frames + n * 1_999 % (30 * 8_192);
        disk.flip(at, (n % 8) as u8);
        let mut world = on(&disk);
        let (store, report) = world.open().unwrap();
        let mut missing = 0;
        for key in 0..30u8 {
            let name: &'static str = format!("k{key:02}").leak();
            match get(&mut world, &store, name) {
                Ok(Some(value)) => assert_eq!(value, vec![key; 5_000]),
                Ok(None) => missing += 1,
                Err(Error::Damaged) => {
                    assert!(
                        report
                            .damage
                            .contains(&Damage::Value(name.as_bytes().into()))
                    );
                    values += 1;
                }
                Err(error) => panic!("{error}"),
            }
        }
        if missing > 0 {
            assert_eq!(missing, 1, "at {at}");
            assert!(
                matches!(report.damage[..], [Damage::Commits { count: 1, .. }]),
                "{report:?}"
            );
            commits += 1;
        }
        // It goes on, and the damage does not come back once the key is written anew.
        for key in 0..30 {
            commit(&mut world, &store, put(&format!("k{key:02}"), "new")).unwrap();
        }
        assert_eq!(
            get(&mut world, &store, "k07").unwrap(),
            Some(b"new".to_vec())
        );
    }
    assert!(values > 20 && commits > 0, "{values} {commits}");
}

#[test]
fn a_block_that_cannot_be_read_costs_what_is_in_it() {
    let disk = filled();
    // The middle of some value: every frame here has two blocks.
    let bad = (128 << 10) + 20 * 4_096 + 4_096;
    disk.set_faults(Faults {
        read: vec![(bad, bad + 100)],
        ..Faults::default()
    });
    let mut world = on(&disk);
    let (store, report) = world.open().unwrap();
    assert!(report.damage.contains(&Damage::Block(bad)), "{report:?}");
    assert_eq!(store.keys("k").len(), 30);
    let lost = (0..30)
        .filter(|n| get(&mut world, &store, format!("k{n:02}").leak()) == Err(Error::Damaged));
    assert_eq!(lost.count(), 1);
}

#[test]
fn a_damaged_superblock_is_no_loss_and_two_are_said() {
    let disk = filled();
    disk.flip(20, 1);
    let mut world = on(&disk);
    let (store, report) = world.open().unwrap();
    assert_eq!((store.stats().keys, report.damage.len()), (30, 0));
    drop(store);
    disk.flip((64 << 10) + 20, 1);
    assert_eq!(on(&disk).open().err(), Some(OpenError::Damaged));
}

#[test]
fn a_disk_that_is_not_ours_or_of_another_layout_is_refused_and_untouched() {
    let refused = |change: &dyn Fn(&SimDisk), wanted: OpenError| {
        let disk = SimDisk::new(4 << 20, 1);
        change(&disk);
        let before = disk.contents();
        assert_eq!(on(&disk).open().err(), Some(wanted));
        assert!(disk.contents() == before && disk.written() == 0);
    };
    // A partition table, an ext4 superblock, a LUKS header in its second place, a backup GPT.
    for at in [510, 1_080, 0x4000, (4 << 20) - 512] {
        refused(&|disk| disk.flip(at, 3), OpenError::NotOurs);
    }
    let whole = filled().contents();
    let with_layout = |layout: u32| {
        let mut head = whole[..80].to_vec();
        head[8..12].copy_from_slice(&layout.to_le_bytes());
        head[12..16].fill(0);
        let sum = crc32c(&head);
        head[12..16].copy_from_slice(&sum.to_le_bytes());
        head
    };
    for (layout, wanted) in [
        (0, OpenError::Older { layout: 0 }),
        (5, OpenError::Newer { layout: 5 }),
    ] {
        let head = with_layout(layout);
        let write = |disk: &SimDisk| {
            for (at, byte) in head.iter().enumerate() {
                for bit in (0..8).filter(|bit| byte >> bit & 1 != 0) {
                    disk.flip(at as u64, bit);
                }
            }
        };
        refused(&write, wanted);
    }
    let small = SimDisk::new(1 << 20, 1);
    assert!(matches!(on(&small).open(), Err(OpenError::TooSmall { .. })));
}

/// Bit by bit, as RFC 3720 defines it.
pub fn crc32c(bytes: &[u8]) -> u32 {
    let step = |crc: u32, byte: &u8| {
        (0..8).fold(crc ^ u32::from(*byte), |c, _| {
            c >> 1 ^ if c & 1 != 0 { 0x82f6_3b78 } else { 0 }
        })
    };
    !bytes.iter().fold(!0, step)
}

#[test]
fn while_a_disk_is_slow_other_tasks_go_on_and_what_was_committed_is_read() {
    let disk = SimDisk::new(4 << 20, 1);
    let mut world = on(&disk);
    let (store, _) = world.open().unwrap();
    let turns = Rc::new(Cell::new(0));
    let acknowledged = Rc::new(Cell::new(false));
    world.spawn({
        let (commit, acknowledged) = (store.commit(put("a", "1")), acknowledged.clone());
        async move {
            commit.await.unwrap();
            acknowledged.set(true);
        }
    });
    // The disk does nothing for a while.
    for _ in 0..100 {
        let turns = turns.clone();
        world.spawn(async move { turns.set(turns.get() + 1) });
        world.run(0);
    }
    assert_eq!((turns.get(), acknowledged.get()), (100, false));
    assert_eq!(store.keys("").len(), 0, "not seen before it is safe");
    world.run(usize::MAX);
    assert!(acknowledged.get());
}

#[test]
fn what_is_too_large_is_refused() {
    let disk = SimDisk::new(4 << 20, 1);
    let mut world = on(&disk);
    let (store, _) = world.open().unwrap();
    assert_eq!(
        commit(&mut world, &store, put(&"k".repeat(1_025), "")),
        Err(Error::TooLarge)
    );
    assert_eq!(
        commit(&mut world, &store, put("k", vec![0; 65_537])),
        Err(Error::TooLarge)
    );
    commit(&mut world, &store, put(&"k".repeat(1_024), vec![0; 65_536])).unwrap();
    let mut batch = Batch::default();
    for n in 0..5 {
        batch.put(format!("{n}"), vec![0; 60_000]);
    }
    assert_eq!(commit(&mut world, &store, batch), Err(Error::TooLarge));
    assert_eq!(disk.contents().len() % BLOCK, 0);
}
