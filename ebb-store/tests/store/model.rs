//! Random load against a model, with the power cut at a random instant.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    rc::Rc,
};

use ebb_block::sim::{Random, SimDisk};
use ebb_store::{Batch, Error, Hash, Store};

use crate::{Opens, World, on};

/// What a key has: its value, and a blob that it refers to.
type Value = (Vec<u8>, Option<Vec<u8>>);
type Model = BTreeMap<Vec<u8>, Value>;

#[derive(Clone, Debug)]
struct Change {
    key: Vec<u8>,
    value: Option<Value>,
}

fn random_change(random: &mut Random, stamp: u64) -> Change {
    let key = format!("key/{}", random.below(40)).into_bytes();
    if random.one_in(5) {
        return Change { key, value: None };
    }
    let length = match random.below(10) {
        0 => 0,
        1..8 => random.below(300),
        8 => random.below(9_000),
        _ => random.below(40_000),
    };
    let mut value = stamp.to_le_bytes().to_vec();
    value.resize(8 + length as usize, stamp as u8);
    // Few contents, so that keys share them; some of more than one piece.
    let blob = random.one_in(4).then(|| {
        let content = random.below(6);
        vec![content as u8; (content * content * 9_000 + content) as usize]
    });
    Change {
        key,
        value: Some((value, blob)),
    }
}

fn batch(changes: &[Change]) -> Batch {
    let mut batch = Batch::default();
    for change in changes {
        match &change.value {
            Some((value, blob)) => {
                let blob = blob.as_ref().map(|b| batch.blob(b.clone()));
                batch.put_marked(&change.key, value.clone(), blob, mark(value));
            }
            None => batch.delete(&change.key),
        }
    }
    batch
}

fn apply(model: &mut Model, changes: &[Change]) {
    for change in changes {
        match &change.value {
            Some(value) => _ = model.insert(change.key.clone(), value.clone()),
            None => _ = model.remove(&change.key),
        }
    }
}

/// What a value is marked with.
fn mark(value: &[u8]) -> u8 {
    value[0] % 5
}

/// Everything that a store says it has.
fn read(world: &mut World, store: &Store, blobs: &BTreeMap<Vec<u8>, Hash>) -> Model {
    let (store, blobs) = (store.clone(), blobs.clone());
    let mut marks = BTreeMap::new();
    store.visit("", |key, entry| _ = marks.insert(key.to_vec(), entry.mark));
    world.result(async move {
        let mut model = Model::new();
        for key in store.keys("") {
            let value = store.get(&key).await.unwrap().unwrap();
            assert_eq!(marks[&*key], mark(&value));
            let blob = match blobs.get(&value) {
                Some(hash) => Some(
                    store
                        .blob(hash)
                        .await
                        .unwrap()
                        .expect("the blob of a value"),
                ),
                None => None,
            };
            model.insert(key.to_vec(), (value, blob));
        }
        model
    })
}

#[derive(Default)]
struct Done {
    /// Batches in the order in which they were committed, and whether that was acknowledged.
    batches: Vec<(Vec<Change>, bool)>,
    /// Blob of each value that has one; values are unique.
    blobs: BTreeMap<Vec<u8>, Hash>,
}

/// Commits batches until the power is cut; several at a time.
fn load(world: &World, store: &Store, done: &Rc<RefCell<Done>>, random: &mut Random, life: u64) {
    // Every value of a disk's lives is another.
    let stamp = Rc::new(Cell::new(life << 32));
    let count = 1 + random.below(4);
    for _ in 0..count {
        let (store, done, stamp) = (store.clone(), done.clone(), stamp.clone());
        let mut random = Random::new(random.number());
        world.spawn(async move {
            for _ in 0..200 {
                let mut changes = Vec::new();
                for _ in 0..1 + random.below(4) {
                    stamp.set(stamp.get() + 1);
                    changes.push(random_change(&mut random, stamp.get()));
                }
                let number = {
                    let mut done = done.borrow_mut();
                    for change in &changes {
                        if let Some((value, Some(blob))) = &change.value {
                            done.blobs.insert(value.clone(), ebb_store::hash(blob));
                        }
                    }
                    done.batches.push((changes.clone(), false));
                    done.batches.len() - 1
                };
                match store.commit(batch(&changes)).await {
                    Ok(()) => done.borrow_mut().batches[number].1 = true,
                    Err(Error::Full) => done.borrow_mut().batches[number].0.clear(),
                    Err(error) => panic!("{error}"),
                }
            }
        });
    }
}

/// One life: open, load, cut. Gives the disk as it is found afterwards and what must be on it.
fn live(disk: &SimDisk, before: &Model, seed: u64, context: &str) -> (SimDisk, Model) {
    let mut random = Random::new(seed);
    let mut world = on(disk);
    let (store, report) = world.open().unwrap();
    assert_eq!(report.damage, [], "{context}");
    let done = Rc::new(RefCell::new(Done::default()));
    load(&world, &store, &done, &mut random, seed);
    let steps = random.below(250) as usize;
    world.run(steps);
    let after = disk.power_cut(random.number());
    let done = done.take();

    // What is found must be what some prefix of the batches makes that has every acknowledged one.
    let mut world = on(&after);
    let (store, report) = world.open().unwrap();
    assert_eq!(report.damage, [], "{context}");
    let mut blobs = done.blobs;
    for (value, blob) in before.values() {
        if let Some(blob) = blob {
            blobs.insert(value.clone(), ebb_store::hash(blob));
        }
    }
    let found = read(&mut world, &store, &blobs);
    let least = done
        .batches
        .iter()
        .rposition(|(c, acked)| *acked && !c.is_empty())
        .map_or(0, |n| n + 1);
    let mut model = before.clone();
    for (changes, _) in &done.batches[..least] {
        apply(&mut model, changes);
    }
    let mut fits = model == found;
    for (changes, _) in &done.batches[least..] {
        if fits {
            break;
        }
        apply(&mut model, changes);
        fits = model == found;
    }
    assert!(
        fits,
        "{context}: {} of {} batches acknowledged",
        least,
        done.batches.len()
    );
    // What opening has wiped must stay away even if the power goes again at once.
    (after.power_cut(random.number()), found)
}

#[test]
fn after_a_power_cut_every_acknowledged_change_is_there_nothing_half_and_nothing_invented() {
    let lives = std::env::var("EBB_CYCLES").map_or(1_000, |n| n.parse().unwrap());
    let (per_disk, threads) = (10, 4);
    std::thread::scope(|scope| {
        for thread in 0..threads {
            scope.spawn(move || {
                for disk in (thread..lives / per_disk).step_by(threads as usize) {
                    // Small enough that the log goes round in a life or two.
                    let mut found = SimDisk::new((2 + disk % 3) << 20, disk);
                    let mut model = Model::new();
                    for life in 0..per_disk {
                        let seed = disk * per_disk + life;
                        (found, model) =
                            live(&found, &model, seed, &format!("disk {disk}, life {life}"));
                    }
                }
            });
        }
    });
}

#[test]
fn what_a_power_cut_has_left_behind_a_torn_frame_never_comes_back() {
    let batch = |name: &str, byte: u8| {
        let mut batch = Batch::default();
        for n in 0..3 {
            batch.put(format!("{name}{n}"), vec![byte; 60_000]);
        }
        batch
    };
    for seed in 0..300 {
        let disk = SimDisk::new(4 << 20, seed);
        let mut world = on(&disk);
        let (store, _) = world.open().unwrap();
        world.result(store.commit(batch("first", 1))).unwrap();
        // A frame for each, in one group, which the power does not let be flushed.
        let (second, third) = (
            store.commit(batch("second", 2)),
            store.commit(batch("third", 3)),
        );
        world.spawn(async move { _ = second.await });
        world.spawn(async move { _ = third.await });
        world.run(2);
        let disk = disk.power_cut(seed);
        let mut world = on(&disk);
        let (store, _) = world.open().unwrap();
        if !store.keys("second").is_empty() {
            continue;
        }
        assert_eq!(store.keys("third").len(), 0);
        // Takes the place of the torn frame, and ends where the one after it began.
        world.result(store.commit(batch("fourth", 4))).unwrap();
        let mut world = on(&disk.power_cut(seed));
        let (store, _) = world.open().unwrap();
        assert_eq!(store.keys("third").len(), 0, "seed {seed}");
        assert_eq!(store.keys("").len(), 6);
    }
}
