//! What is read at the opening, and what a checkpoint may and may not change.

use std::collections::BTreeMap;

use ebb_block::sim::{Random, SimDisk};
use ebb_store::{Batch, Damage, Error};

use crate::{
    Opens,
    faults::{commit, crc32c, filled_with, get},
    on,
};

/// Bytes that opening a disk reads.
fn opening(disk: &SimDisk, keys: usize) -> u64 {
    let before = disk.bytes_read();
    let (store, report) = on(disk).open().unwrap();
    assert_eq!((report.damage.len(), store.stats().keys), (0, keys));
    disk.bytes_read() - before
}

#[test]
fn opening_reads_where_things_are_and_not_what_they_are() {
    let disk = SimDisk::new(64 << 20, 1);
    let mut world = on(&disk);
    let (store, _) = world.open_with(4 << 20).unwrap();
    for n in 0..100 {
        let mut batch = Batch::default();
        for key in 0..20 {
            let code = batch.blob(vec![n as u8; 3_000 + n * 20 + key]);
            batch.put_with(format!("key/{n}/{key}"), vec![key as u8; 5_000], [code]);
        }
        world.result(store.commit(batch)).unwrap();
    }
    // Not closed: as after a kill, with what was committed since the last checkpoint to be read.
    let written = disk.written();
    assert!(written > 15 << 20);
    let after_kill = opening(&disk.power_cut(1), 2_000);
    assert!(after_kill < 8 << 20, "{after_kill} of {written}");
    let mut world = on(&disk.power_cut(1));
    let (store, _) = world.open_with(4 << 20).unwrap();
    world.result(async move { store.close().await }).unwrap();
    let after_close = opening(&world.world, 2_000);
    assert!(after_close < 4 << 20, "{after_close} of {written}");
}

#[test]
fn a_bit_that_flips_under_a_checkpoint_is_found_by_its_reader_and_in_the_checkpoint_it_costs_nothing()
 {
    let whole = filled_with(60_000);
    let mut random = Random::new(9);
    let mut damaged = 0;
    for n in 0..200 {
        let disk = whole.power_cut(n);
        disk.flip((128 << 10) + random.below(70 * 4_096), (n % 8) as u8);
        let mut world = on(&disk);
        let (store, _) = world.open().unwrap();
        for key in 0..30u8 {
            let name: &'static str = format!("k{key:02}").leak();
            match get(&mut world, &store, name) {
                Ok(value) => assert_eq!(value, Some(vec![key; 5_000])),
                Err(Error::Damaged) => {
                    assert!(
                        store
                            .damage()
                            .contains(&Damage::Value(name.as_bytes().into()))
                    );
                    damaged += 1;
                }
                Err(error) => panic!("{error}"),
            }
        }
    }
    assert!((50..200).contains(&damaged), "{damaged}");
}

/// Gives the checksums of a frame's values and of its table as they were: CRC-32C. `moved` has those of values by their place,
/// for the checkpoints that name them.
fn age_frame(frame: &mut [u8], at: u64, moved: &mut BTreeMap<u64, u32>) {
    const HEADER: usize = 64;
    let number = |bytes: &[u8], at: usize| {
        u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap()) as usize
    };
    let (table, entries) = (number(frame, 48), number(frame, 52));
    let (head, values) = frame.split_at_mut(HEADER + table);
    let (mut entry, mut value) = (HEADER, 0);
    for _ in 0..entries {
        let length = number(head, entry + 4);
        let bytes = &mut values[value..value + length];
        // A place, and the checksum that is there.
        if let 5 | 6 = head[entry] {
            let at = u64::from_le_bytes(bytes[..8].try_into().unwrap());
            bytes[12..16].copy_from_slice(&moved[&at].to_le_bytes());
        }
        let sum = crc32c(bytes);
        moved.insert(at + (HEADER + table + value) as u64, sum);
        head[entry + 8..entry + 12].copy_from_slice(&sum.to_le_bytes());
        let key = usize::from(u16::from_le_bytes([head[entry + 2], head[entry + 3]]));
        let references = usize::from(u16::from_le_bytes([head[entry + 12], head[entry + 13]]));
        entry += 16 + key + 32 * references;
        value += length;
    }
    let sum = crc32c(&head[HEADER..]);
    head[56..60].copy_from_slice(&sum.to_le_bytes());
    head[60..64].fill(0);
    let sum = crc32c(&head[..HEADER]);
    head[60..64].copy_from_slice(&sum.to_le_bytes());
}

/// Makes a disk one of an older layout.
fn age(disk: &SimDisk, layout: u32) {
    let now = disk.contents();
    let mut then = now.clone();
    for at in [0, 64 << 10] {
        let superblock = &mut then[at..at + 116];
        superblock[8..12].copy_from_slice(&layout.to_le_bytes());
        superblock[12..16].fill(0);
        let sum = crc32c(&superblock[..80]);
        superblock[12..16].copy_from_slice(&sum.to_le_bytes());
        if layout == 1 {
            // It had the first 80 bytes of a superblock only.
            superblock[80..].fill(0);
        }
    }
    let mut moved = BTreeMap::new();
    for at in (128 << 10..then.len()).step_by(4_096) {
        if then[at..].starts_with(b"ebbframe") {
            age_frame(&mut then[at..], at as u64, &mut moved);
        }
    }
    assert_eq!(
        moved
            .values()
            .filter(|sum| **sum == crc32c(&[3; 5_000]))
            .count(),
        1
    );
    for (n, (a, b)) in now.iter().zip(&then).enumerate() {
        for bit in (0..8).filter(|bit| (a ^ b) >> bit & 1 != 0) {
            disk.flip(n as u64, bit);
        }
    }
}

#[test]
fn a_disk_of_an_older_layout_is_taken_over_as_it_is_and_says_so_before_anything_is_written() {
    // What layout 2 had besides are checkpoints.
    for (layout, checkpoint_after) in [(1, u64::MAX), (2, 60_000), (3, 60_000)] {
        let old = filled_with(checkpoint_after);
        age(&old, layout);
        let marked = || {
            let mut batch = Batch::default();
            batch.put_marked("new", "value", [], 7);
            batch
        };
        // Wherever the power goes: a disk that has the mark is no longer of the older layout.
        for seed in 0..60 {
            let disk = old.copy(seed);
            let mut world = on(&disk);
            let (store, _) = world.open().unwrap();
            let done = store.commit(marked());
            world.spawn(async move { _ = done.await });
            world.run(seed as usize / 6);
            let cut = disk.power_cut(seed);
            let (found, report) = on(&cut).open().unwrap();
            let is_new = [0, 64 << 10].map(|at| cut.contents()[at + 8]).contains(&4);
            let keys = found.stats().keys;
            assert!(keys == 30 || is_new && keys == 31, "seed {seed}: {keys}");
            assert_eq!(report.damage, [], "seed {seed}");
        }
        let mut world = on(&old);
        let (store, report) = world.open().unwrap();
        assert_eq!((report.damage.len(), store.stats().keys), (0, 30));
        let found = old.contents()[8];
        assert_eq!(u32::from(found), layout, "reading alone changes nothing");
        commit(&mut world, &store, marked()).unwrap();
        let mut marks = Vec::new();
        store.visit("", |key, entry| marks.push((key.to_vec(), entry.mark)));
        assert_eq!(marks.iter().filter(|(_, mark)| *mark == 0).count(), 30);
        assert!(marks.contains(&(b"new".to_vec(), 7)));
        for n in 0..30u8 {
            let value = get(&mut world, &store, format!("k{n:02}").leak()).unwrap();
            assert_eq!(value, Some(vec![n; 5_000]), "layout {layout}");
        }
        world.result(async move { store.close().await }).unwrap();
        assert_eq!(old.contents()[8], 4);
        opening(&old, 31);
    }
}
