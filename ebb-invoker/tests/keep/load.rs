//! Requests while a platform reads what it had.

use std::{cell::RefCell, rc::Rc};

use ebb_block::sim::{Random, SimDisk};
use ebb_invoker::keep::Keeper;
use ebb_openwhisk::{Step, activations::Change};

use crate::{
    Held, Opens, World, answer, apis, ask, asked, change, on, question, record, state, step,
};

/// A disk with what `put` asks for: method, path, body.
fn disk_with(puts: &[(&str, String, String)]) -> SimDisk {
    let disk = SimDisk::new(64 << 20, 1);
    let mut world = on(&disk);
    let (keeper, held, _) = world.open_whole();
    let mut changes = Vec::new();
    for some in puts.chunks(100) {
        for (method, path, body) in some {
            ask(&mut held.0.borrow_mut(), method, path, body, 1);
        }
        changes.extend(keeper.changed(&mut held.0.borrow_mut()));
    }
    for number in 0..20 {
        held.0.borrow_mut().keep(record(number));
    }
    let records = held.0.borrow_mut().activations_mut().take_changes();
    world.result(async move {
        for changed in changes {
            assert!(keeper.commit(changed).await.is_ok());
        }
        keeper.keep_records(records).await.expect("room");
        keeper.close().await;
    });
    disk.power_cut(1)
}

#[test]
fn records_of_a_busy_moment_are_kept_however_many_they_are() {
    let disk = SimDisk::new(64 << 20, 1);
    let mut world = on(&disk);
    let (keeper, _, _) = world.open_whole();
    let came = |place| Change::Came(place, record(place));
    let keeps = keeper.clone();
    world.result(async move {
        let all = (0..5000).map(came).collect();
        keeps.keep_records(all).await.expect("room");
    });
    assert!(keeper.stats().keys >= 5000, "{:?}", keeper.stats());
    world.result(async move {
        let all = (0..5000).map(Change::Went).collect();
        keeper.keep_records(all).await.expect("room");
        assert!(keeper.stats().keys < 100, "{:?}", keeper.stats());
    });
}

fn action(name: &str) -> (&'static str, String, String) {
    let body = r#"{"exec":{"kind":"nodejs:default","code":"x"}}"#;
    ("PUT", format!("/actions/{name}"), body.into())
}

#[test]
fn whatever_is_asked_during_the_load_is_answered_as_if_all_had_been_read() {
    for seed in 0..40 {
        let mut random = Random::new(seed);
        let puts: Vec<_> = (0..200).map(|n| change(&mut random, n)).collect();
        let disk = disk_with(&puts);
        let (_, Held(whole), loaded) = on(&disk.copy(0)).open_whole();
        assert!(loaded.entities > 5 && loaded.records > 5, "{loaded:?}");
        let mut world = on(&disk);
        let (keeper, held, _) = world.open();
        world.load(&keeper, &held);
        let answers = Rc::new(RefCell::new(0));
        for _ in 0..3 {
            let (keeper, held, whole) = (keeper.clone(), held.clone(), whole.clone());
            let (mut random, answers) = (Random::new(random.number()), answers.clone());
            world.spawn(async move {
                for number in 1_000..1_020 {
                    let path = question(&mut random);
                    asked(&keeper, &held, &whole, ("GET", &path, ""), number).await;
                    let (method, path, body) = change(&mut random, number);
                    asked(&keeper, &held, &whole, (method, &path, &body), number).await;
                    *answers.borrow_mut() += 1;
                }
            });
        }
        world.run(usize::MAX);
        assert_eq!(*answers.borrow(), 60, "seed {seed}");
        assert_eq!(
            state(&held.0.borrow()),
            state(&whole.borrow()),
            "seed {seed}"
        );
    }
}

/// Asks until it is answered; how many requests of the disk ended meanwhile.
fn requests_until_answered(world: &mut World, keeper: &Rc<Keeper>, held: &Held, path: &str) -> u64 {
    let answered = Rc::new(RefCell::new(None));
    let (keeper, held, place) = (keeper.clone(), held.clone(), answered.clone());
    let path = path.to_owned();
    world.spawn(async move {
        loop {
            let asked = step(&mut held.0.borrow_mut(), "GET", &path, "", 1);
            match asked {
                Step::Later(missed) => keeper.bring(missed).await,
                asked => return *place.borrow_mut() = Some(answer(asked).0),
            }
        }
    });
    world.run(0);
    let mut requests = 0;
    while answered.borrow().is_none() {
        world.run(1);
        requests += 1;
    }
    assert_eq!(answered.take(), Some(200));
    requests
}

#[test]
fn a_request_waits_for_what_it_needs_and_not_for_the_rest() {
    let mut puts: Vec<_> = (0..2_000).map(|n| action(&format!("a{n:04}"))).collect();
    puts.push(("PUT", "/packages/p".into(), "{}".into()));
    puts.extend((0..5).map(|n| action(&format!("p/b{n}"))));
    puts.push(("PUT", "/triggers/t".into(), "{}".into()));
    let rule = r#"{"trigger":"/_/t","action":"/_/a1999"}"#;
    puts.push(("PUT", "/rules/r".into(), rule.into()));
    let disk = disk_with(&puts);
    // Reads that were under way before are in the way, 32 of them; and a package is read before its action.
    const MOST: u64 = 200;
    for path in [
        "/actions/a1998",
        "/actions/p/b3",
        "/packages/p",
        // Which needs all that may be rules, and those are few.
        "/triggers/t",
        "/rules/r",
        // Which needs all APIs, and nothing else.
        &apis("getApi"),
        "/activations",
        "/activations/0000000000000000000000000000000a",
    ] {
        let mut world = on(&disk.copy(0));
        let (keeper, held, _) = world.open();
        world.load(&keeper, &held);
        world.run(10);
        let requests = requests_until_answered(&mut world, &keeper, &held, path);
        assert!(requests <= MOST, "{path}: {requests}");
        assert!(held.0.borrow().store().expected() > 1_000);
    }
    // A list needs them all.
    let mut world = on(&disk.copy(0));
    let (keeper, held, _) = world.open();
    world.load(&keeper, &held);
    assert!(requests_until_answered(&mut world, &keeper, &held, "/actions") > 2_000);
}

#[test]
fn a_tenant_that_is_removed_during_the_load_is_gone() {
    let tenant = "/admin/namespaces/n1";
    let puts = [
        ("PUT", tenant.into(), r#"{"key":"n:1"}"#.into()),
        action("kept"),
        action("hit"),
    ];
    let disk = disk_with(&puts);
    let mut world = on(&disk);
    let (keeper, held, restored) = world.open();
    assert_eq!(restored.expected.len(), 0, "they are expected by the store");
    assert_eq!(held.0.borrow().store().expected(), 2);
    let taken = held.0.borrow().store().bytes_of("guest");
    world.load(&keeper, &held);
    let (asking, of) = (keeper.clone(), held.clone());
    world.result(async move {
        assert_eq!(
            ask(
                &mut of.0.borrow_mut(),
                "DELETE",
                "/admin/namespaces/guest",
                "",
                1
            ),
            200
        );
        let changed = asking.changed(&mut of.0.borrow_mut()).expect("a change");
        assert!(asking.commit(changed).await.is_ok());
    });
    assert!(taken > 0 && held.0.borrow().store().bytes_of("guest") == 0);
    let mut world = on(&disk.power_cut(2));
    let (_, held, loaded) = world.open_whole();
    assert_eq!(
        (loaded.entities, held.0.borrow().store().expected()),
        (0, 0)
    );
    assert!(held.0.borrow().namespaces().get("n1").is_some());
}

#[test]
fn a_document_with_a_flipped_bit_is_named_and_everything_else_is_served() {
    let disk = disk_with(&["first", "hit", "last"].map(action));
    let document = br#""name":"/guest/hit""#;
    let contents = disk.contents();
    let at = contents.windows(document.len()).position(|w| w == document);
    disk.flip(at.expect("it is on the disk") as u64 + 3, 2);
    let mut world = on(&disk);
    let (keeper, held, loaded) = world.open_whole();
    assert!(loaded.entities == 2 && loaded.records > 10, "{loaded:?}");
    assert_eq!(
        loaded.lost,
        ["entity/guest/hit: the value is damaged on the disk"]
    );
    let mut get = |path: &str| requests_until_answered(&mut world, &keeper, &held, path);
    get("/actions/first");
    get("/actions/last");
    // It can be put anew, and is there after the next start.
    let (method, path, body) = action("hit");
    assert_eq!(ask(&mut held.0.borrow_mut(), method, &path, &body, 1), 200);
    let changed = keeper.changed(&mut held.0.borrow_mut()).expect("a change");
    world.result(async move { assert!(keeper.commit(changed).await.is_ok()) });
    let (_, _, loaded) = on(&disk.power_cut(3)).open_whole();
    assert_eq!((loaded.entities, loaded.lost.len()), (3, 0));
}
