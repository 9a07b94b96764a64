//! Where code is: in the value of its action if it is short, else in a blob for all that have the same; and what was written before.

use std::sync::Arc;

use ebb_block::sim::SimDisk;
use ebb_openwhisk::entity::{Entity, kept};
use ebb_store::{Batch, Store};

use crate::{Held, Opens, World, answer, ask, controller, on, state, step};

fn put(held: &Held, path: &str, body: &str) {
    assert_eq!(ask(&mut held.0.borrow_mut(), "PUT", path, body, 1), 200);
}

fn with_code(code: &str) -> String {
    format!(r#"{{"exec":{{"kind":"nodejs:default","code":"{code}"}}}}"#)
}

/// Keeps what has changed.
fn keep(world: &mut World, keeper: &std::rc::Rc<ebb_invoker::keep::Keeper>, held: &Held) {
    let changed = keeper.changed(&mut held.0.borrow_mut()).expect("a change");
    let keeper = keeper.clone();
    world.result(async move { assert!(keeper.commit(changed).await.is_ok()) });
}

#[test]
fn short_code_is_in_the_value_and_long_code_is_stored_once() {
    let disk = SimDisk::new(64 << 20, 1);
    let mut world = on(&disk);
    let (keeper, held, _) = world.open_whole();
    // As JSON it has two bytes more; 4,096 are short.
    for (name, length, blobs) in [
        ("a", 10, 0),
        ("b", 4_094, 0),
        ("c", 4_095, 1),
        ("d", 4_095, 1),
        ("e", 300_000, 2),
        ("f", 300_000, 2),
        // From a blob into the value, and the other way.
        ("c", 10, 2),
        ("d", 10, 1),
        ("a", 4_096, 2),
    ] {
        put(
            &held,
            &format!("/actions/{name}"),
            &with_code(&"x".repeat(length)),
        );
        keep(&mut world, &keeper, &held);
        assert_eq!(keeper.stats().blobs, blobs, "{name} with {length}");
    }
    let before = state(&held.0.borrow());
    let (_, held, loaded) = on(&disk.power_cut(1)).open_whole();
    assert_eq!(loaded.lost, [""; 0]);
    assert_eq!(state(&held.0.borrow()), before);
}

#[test]
fn what_is_changed_at_once_has_room_however_much_code_it_has() {
    let disk = SimDisk::new(64 << 20, 1);
    let mut world = on(&disk);
    let (keeper, held, _) = world.open_whole();
    for n in 0..300 {
        let code = format!("{n:04}{}", "x".repeat(4_000));
        put(&held, &format!("/actions/a{n:04}"), &with_code(&code));
    }
    keep(&mut world, &keeper, &held);
    // What the values of one change have no room for.
    assert_eq!(keeper.stats().blobs, 300 - (64 << 10) / 4_006);
    let before = state(&held.0.borrow());
    let (_, held, loaded) = on(&disk.power_cut(1)).open_whole();
    assert_eq!(
        (loaded.entities, state(&held.0.borrow()) == before),
        (300, true)
    );
}

/// A disk as it was written when all code was in blobs and values had no marks.
fn older_disk(actions: usize) -> (SimDisk, Held) {
    let held = Held(std::rc::Rc::new(controller().into()));
    for n in 0..actions {
        let code = with_code(&format!("f{}", n % 7));
        put(&held, &format!("/actions/a{n:04}"), &code);
    }
    put(&held, "/actions/long", &with_code(&"x".repeat(9_000)));
    put(&held, "/packages/p", "{}");
    put(&held, "/actions/p/inner", &with_code("f1"));
    put(&held, "/triggers/t", "{}");
    put(
        &held,
        "/rules/r",
        r#"{"trigger":"/_/t","action":"/_/a0001"}"#,
    );
    let disk = SimDisk::new(64 << 20, 1);
    let mut world = on(&disk);
    let device = Arc::new(world.world.clone());
    let (store, writer, _) = world.result(Store::open(device, [3; 16])).expect("empty");
    world.spawn(writer.run());
    let controller = held.0.borrow();
    let own = |entity: &&Entity| entity.common().name.namespace == "guest";
    for entity in controller.store().iter().filter(own) {
        let kept = kept::write(entity);
        let mut batch = Batch::default();
        let (mut value, mut blobs) = (b"=".to_vec(), Vec::new());
        match &kept.code {
            Some(code) => {
                let hash = batch.blob(code.as_str());
                value.push(b'+');
                value.extend(hash);
                blobs.push(hash);
            }
            None => value.push(b'-'),
        }
        value.extend(kept.document.as_str().as_bytes());
        batch.put_with(format!("entity/{}", entity.common().name), value, blobs);
        world.result(store.commit(batch)).expect("room");
    }
    drop(controller);
    (disk.power_cut(1), held)
}

#[test]
fn a_disk_of_before_is_read_as_it_is_and_what_changes_is_written_anew() {
    let (disk, was) = older_disk(30);
    let mut world = on(&disk);
    let (keeper, held, loaded) = world.open_whole();
    assert_eq!((loaded.entities, loaded.lost.len()), (35, 0));
    assert_eq!(state(&held.0.borrow()), state(&was.0.borrow()));
    assert_eq!(keeper.stats().blobs, 8, "seven short ones and a long one");
    for n in 0..30 {
        put(&held, &format!("/actions/a{n:04}"), "{}");
    }
    keep(&mut world, &keeper, &held);
    assert_eq!(keeper.stats().blobs, 2, "that of `inner`, and the long one");
    put(&held, "/actions/p/inner", "{}");
    keep(&mut world, &keeper, &held);
    assert_eq!(keeper.stats().blobs, 1);
    let before = state(&held.0.borrow());
    let (_, held, loaded) = on(&disk.power_cut(2)).open_whole();
    assert_eq!((loaded.entities, loaded.lost.len()), (35, 0));
    assert_eq!(state(&held.0.borrow()), before);
}

#[test]
fn a_trigger_of_before_waits_for_what_may_be_a_rule_and_not_for_the_rest() {
    let (disk, _) = older_disk(500);
    let mut world = on(&disk);
    let (keeper, held, _) = world.open();
    world.load(&keeper, &held);
    world.run(10);
    let (asking, of) = (keeper.clone(), held.clone());
    let left = world.result(async move {
        loop {
            let asked = step(&mut of.0.borrow_mut(), "GET", "/triggers/t", "", 1);
            match asked {
                ebb_openwhisk::Step::Later(missed) => asking.bring(missed).await,
                asked => {
                    assert_eq!(answer(asked).0, 200);
                    return of.0.borrow().store().expected();
                }
            }
        }
    });
    assert!(left > 300, "{left}");
}

#[test]
fn a_value_that_is_cut_or_lies_about_its_code_is_named_and_the_rest_is_read() {
    let held = Held(std::rc::Rc::new(controller().into()));
    put(&held, "/actions/whole", &with_code("function main() {}"));
    let controller = held.0.borrow();
    let mut all = controller.store().iter();
    let entity = all
        .find(|e| e.common().name.name == "whole")
        .expect("it was put");
    let kept = kept::write(entity);
    let (code, document) = (kept.code.expect("it has code"), kept.document);
    let (code, document) = (code.as_str().as_bytes(), document.as_str().as_bytes());
    let value = |length: u32| {
        let mut value = b"=*".to_vec();
        value.extend(length.to_le_bytes());
        value.extend(code);
        value.extend(document);
        value
    };
    let whole = value(code.len() as u32);
    let lies = [
        0,
        1,
        code.len() as u32 - 1,
        code.len() as u32 + 1,
        1 << 31,
        u32::MAX,
    ];
    let cut = (0..whole.len()).map(|end| whole[..end].to_vec());
    let mut wrong: Vec<_> = cut.chain(lies.map(value)).collect();
    // Of a form that is yet to be.
    wrong.push([b"=/".as_slice(), &whole[2..]].concat());
    let disk = SimDisk::new(64 << 20, 1);
    let mut world = on(&disk);
    let device = Arc::new(world.world.clone());
    let (store, writer, _) = world.result(Store::open(device, [3; 16])).expect("empty");
    world.spawn(writer.run());
    let mut batch = Batch::default();
    batch.put_marked("entity/guest/whole", whole, [], 1);
    for (n, value) in wrong.iter().enumerate() {
        batch.put_marked(format!("entity/guest/wrong{n}"), value.clone(), [], 1);
    }
    world.result(store.commit(batch)).expect("room");
    let (_, _, loaded) = on(&disk.power_cut(1)).open_whole();
    assert_eq!((loaded.entities, loaded.lost.len()), (1, wrong.len()));
}
