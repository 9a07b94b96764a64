//! Records in pieces: whatever happens while one is written or read, what is found is one of those that were written, or nothing.

use std::{cell::RefCell, rc::Rc};

use ebb_block::sim::{Random, SimDisk};
use ebb_store::{
    Batch, Error, Store,
    pieces::{LARGEST, LINE, ReadError, Reading, Record},
};

use crate::{Opens, on};

const KEY: &[u8] = b"record";

/// Head and body.
type Parts = (Vec<u8>, Vec<u8>);

/// What the record of a number has: no two are alike, and they have from one piece to ten.
fn parts(number: u64) -> Parts {
    let mut random = Random::new(number);
    let head = random.below(3) * 40_000 + random.below(300);
    let body = random.below(8) * 60_000 / LINE as u64 * LINE as u64;
    let mut fill =
        |length: u64| -> Vec<u8> { (0..length).map(|_| random.number() as u8).collect() };
    let mut head = fill(head);
    head.extend(number.to_le_bytes());
    (head, fill(body))
}

async fn write(store: &Store, number: u64) -> Result<(), Error> {
    let (head, body) = parts(number);
    let tag = u128::from(number).to_le_bytes();
    let record = Record::new(KEY, tag, &head, &body[..]).expect("it is small enough");
    for batch in record.batches() {
        store.commit(batch).await?;
    }
    Ok(())
}

async fn read(store: &Store) -> Result<Option<Parts>, ReadError> {
    let Some(mut reading) = Reading::open(store, KEY).await? else {
        return Ok(None);
    };
    let mut body = Vec::new();
    while let Some(some) = reading.next().await? {
        body.extend(some);
    }
    Ok(Some((reading.head, body)))
}

/// The number of the record that is found, or none; it is whole.
fn found(read: Result<Option<Parts>, ReadError>) -> Option<u64> {
    let record = match read {
        Err(ReadError::Gone) | Ok(None) => return None,
        read => read.expect("nothing is damaged")?,
    };
    let number = record.0.last_chunk().expect("its number is at its end");
    let number = u64::from_le_bytes(*number);
    assert!(record == parts(number), "half of {number}");
    Some(number)
}

async fn delete(store: &Store) {
    let mut batch = Batch::default();
    store.keys(KEY).iter().for_each(|key| batch.delete(key));
    store.commit(batch).await.expect("the disk works");
}

#[test]
fn a_record_that_was_written_is_read_whatever_its_size_and_whatever_was_there_before() {
    let mut world = on(&SimDisk::new(16 << 20, 1));
    let (store, _) = world.open().unwrap();
    let one = store.clone();
    world.result(async move {
        assert_eq!(found(read(&one).await), None);
        for number in 0..40 {
            write(&one, number).await.expect("there is room");
            assert_eq!(found(read(&one).await), Some(number));
            let mut reading = Reading::open(&one, KEY)
                .await
                .expect("it is whole")
                .expect("it is there");
            while let Some(some) = reading.next().await.expect("it is whole") {
                assert!(some.len().is_multiple_of(LINE));
            }
        }
    });
    assert!(Record::new(KEY, [0; 16], &[0; 1], &vec![0; LARGEST][..]).is_none());
    assert!(Record::new(KEY, [0; 16], &[], &[][..]).is_some_and(|r| r.batches().count() == 1));
}

#[test]
fn after_a_power_cut_while_one_is_written_over_another_there_is_one_of_them_or_none() {
    let (mut old, mut new, mut none) = (0, 0, 0);
    for seed in 0..150 {
        let mut random = Random::new(seed);
        let disk = SimDisk::new(8 << 20, seed);
        let mut world = on(&disk);
        let (store, _) = world.open().unwrap();
        let first = store.clone();
        world.result(async move { write(&first, 2 * seed).await.expect("there is room") });
        let acknowledged = Rc::new(RefCell::new(false));
        let ended = acknowledged.clone();
        world.spawn(async move {
            write(&store, 2 * seed + 1).await.expect("there is room");
            *ended.borrow_mut() = true;
        });
        world.run(random.below(12) as usize);
        let mut world = on(&disk.power_cut(random.number()));
        let (store, report) = world.open().unwrap();
        assert_eq!(report.damage, []);
        let number = found(world.result(async move { read(&store).await }));
        match number {
            None => none += 1,
            Some(number) if number == 2 * seed => old += 1,
            Some(number) => {
                assert_eq!(number, 2 * seed + 1);
                new += 1;
            }
        }
        if acknowledged.take() {
            assert_eq!(number, Some(2 * seed + 1), "what was acknowledged is lost");
        }
    }
    assert!(old > 5 && new > 5 && none > 5, "{old} {new} {none}");
}

#[test]
fn one_that_is_deleted_or_written_anew_while_it_is_read_is_whole_or_gone() {
    // More pieces than are read at once.
    let body = |seed: u64, which: u8| vec![seed as u8 ^ which; 3 << 20];
    let (mut whole, mut gone) = (0, 0);
    for seed in 0..100 {
        let mut random = Random::new(seed);
        let mut world = on(&SimDisk::new(16 << 20, seed));
        let (store, _) = world.open().unwrap();
        let write = move |store: Store, which: u8| async move {
            let (head, body) = ([which], body(seed, which));
            let record =
                Record::new(KEY, [which; 16], &head, &body[..]).expect("it is small enough");
            for batch in record.batches() {
                store.commit(batch).await.expect("there is room");
            }
        };
        world.result(write(store.clone(), 1));
        let result = Rc::new(RefCell::new(None));
        let (reader, place) = (store.clone(), result.clone());
        world.spawn(async move { *place.borrow_mut() = Some(read(&reader).await) });
        world.run(random.below(60) as usize);
        match random.one_in(2) {
            true => world.spawn(write(store, 2)),
            false => world.spawn(async move { delete(&store).await }),
        }
        world.run(usize::MAX);
        match result.take().expect("it ends") {
            Err(ReadError::Gone) | Ok(None) => gone += 1,
            read => {
                let (head, found) = read.expect("nothing is damaged").expect("it is there");
                assert!(found == body(seed, head[0]), "half of one");
                whole += 1;
            }
        }
    }
    assert!(whole > 5 && gone > 5, "{whole} {gone}");
}

#[test]
fn bytes_that_nobody_has_written_are_no_record() {
    let mut world = on(&SimDisk::new(16 << 20, 1));
    let (store, _) = world.open().unwrap();
    world.result(async move {
        let mut random = Random::new(9);
        for _ in 0..2000 {
            let mut batch = Batch::default();
            for number in 0..random.below(3) as u32 {
                let mut bytes = vec![7; random.below(200) as usize];
                // Small numbers where the header has them, so that it is sound more often than by chance.
                for at in 16..bytes.len().min(28) {
                    bytes[at] = if at % 4 == 0 {
                        random.below(80) as u8
                    } else {
                        0
                    };
                }
                batch.put([KEY, &number.to_be_bytes()].concat(), bytes);
            }
            if !batch.is_empty() {
                store.commit(batch).await.expect("there is room");
            }
            if let Ok(Some((head, body))) = read(&store).await {
                assert!(head.len() + body.len() < 400);
            }
            delete(&store).await;
        }
    });
}
