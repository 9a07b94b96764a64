//! Power cuts while clients change things, some of them while a platform still reads what it had before.

use std::{cell::RefCell, env, rc::Rc, thread};

use ebb_block::sim::{Random, SimDisk};
use ebb_invoker::keep::Keeper;
use ebb_openwhisk::Controller;
use ebb_openwhisk::entity::Entity;

use crate::{Held, Opens, State, ask, asked, change, on, question, record, state};

/// The revisions of all actions that are here.
fn revisions(controller: &Controller) -> Vec<u64> {
    let actions = controller.store().iter().filter_map(|entity| match entity {
        Entity::Action(action) => Some(action.revision),
        _ => None,
    });
    actions.collect()
}

#[derive(Default)]
struct History {
    /// The state after each change, the first before any; and up to which the client has been told.
    states: Vec<State>,
    told: usize,
    /// Records that were waited for.
    records: Vec<String>,
    revisions: Vec<u64>,
}

/// A client that asks for changes, each after the answer to the one before, and looks at something now and then.
async fn client(
    keeper: Rc<Keeper>,
    held: Held,
    whole: Rc<RefCell<Controller>>,
    history: Rc<RefCell<History>>,
    mut random: Random,
    life: u64,
) {
    for number in 0..40 {
        let number = life * 1_000_000 + random.below(1000) * 1000 + number;
        if random.one_in(3) {
            let path = question(&mut random);
            asked(&keeper, &held, &whole, ("GET", &path, ""), number).await;
        }
        let (method, path, body) = change(&mut random, number);
        asked(&keeper, &held, &whole, (method, &path, &body), number).await;
        let changed = keeper.changed(&mut held.0.borrow_mut());
        let told = {
            let mut history = history.borrow_mut();
            history.states.push(state(&whole.borrow()));
            let revisions = revisions(&held.0.borrow());
            history.revisions.extend(revisions);
            history.states.len() - 1
        };
        if let Some(changed) = changed {
            assert!(keeper.commit(changed).await.is_ok(), "the disk has room");
            // What changed nothing says nothing of the changes before it.
            let mut history = history.borrow_mut();
            history.told = history.told.max(told);
        }
        if random.one_in(2) {
            held.0.borrow_mut().keep(record(number));
            let changes = held.0.borrow_mut().activations_mut().take_changes();
            keeper
                .keep_records(changes)
                .await
                .expect("the disk has room");
            history.borrow_mut().records.push(format!("{number:032x}"));
        }
    }
}

fn live(disk: &SimDisk, seed: u64) -> SimDisk {
    let mut random = Random::new(seed);
    let (_, Held(whole), _) = on(&disk.copy(0)).open_whole();
    let mut world = on(disk);
    let (keeper, held, restored) = world.open();
    assert_eq!(restored.lost, [""; 0], "seed {seed}");
    let history = Rc::new(RefCell::new(History {
        states: vec![state(&whole.borrow())],
        ..History::default()
    }));
    let before = revisions(&whole.borrow());
    for _ in 0..1 + random.below(4) {
        let random = Random::new(random.number());
        world.spawn(client(
            keeper.clone(),
            held.clone(),
            whole.clone(),
            history.clone(),
            random,
            seed,
        ));
    }
    world.load(&keeper, &held);
    world.run(random.below(400) as usize);
    let after = disk.power_cut(random.number());
    let history = history.take();

    let mut world = on(&after);
    let (_, Held(found), loaded) = world.open_whole();
    assert_eq!(loaded.lost, [""; 0], "seed {seed}");
    let found_state = state(&found.borrow());
    let possible = &history.states[history.told..];
    assert!(
        possible.contains(&found_state),
        "seed {seed}: told of {} of {} changes, and none of what may be there is.\nfound: {found_state:#?}\ntold:  {:#?}",
        history.told,
        history.states.len() - 1,
        possible[0],
    );
    // The last records that were waited for, as far as there is room for them.
    for id in history.records.iter().rev().take(5) {
        assert!(
            found.borrow().activations().get("guest", id).is_ok(),
            "seed {seed}: {id}"
        );
    }
    // No revision is given twice, or a copy of one action would serve another.
    let next = found.borrow_mut().store_mut().next_revision();
    let all = history.revisions.iter().chain(&before);
    assert!(all.clone().all(|old| *old < next), "seed {seed}: {next}");
    after
}

#[test]
fn every_answered_change_survives_power_cuts() {
    let asked = env::var("EBB_KEEP").unwrap_or_else(|_| "1 60".into());
    let mut numbers = asked
        .split(' ')
        .map(|n| n.parse::<u64>().expect("two numbers"));
    let (first, count) = (numbers.next().expect("a seed"), numbers.next().unwrap_or(1));
    let lives = |seed: u64| {
        let mut disk = SimDisk::new(16 << 20, seed);
        for life in 0..4 {
            disk = live(&disk, seed * 16 + life);
        }
    };
    // It is the longest test of its program, and would keep one processor busy behind all others.
    thread::scope(|scope| {
        for half in [0, 1] {
            scope.spawn(move || (first..first + count).skip(half).step_by(2).for_each(lives));
        }
    });
}

#[test]
fn a_namespace_of_more_than_a_batch_holds_goes_as_a_whole_or_not_at_all() {
    const ACTIONS: u64 = 9_000;
    let tenant = "/admin/namespaces/guest";
    let disk = SimDisk::new(32 << 20, 1);
    let mut world = on(&disk);
    let (keeper, held, _) = world.open_whole();
    let body = r#"{"exec":{"kind":"nodejs:default","code":"x"}}"#;
    let mut changes = Vec::new();
    for number in 0..ACTIONS {
        let path = format!("/actions/action-with-a-long-name-{number:05}");
        assert_eq!(ask(&mut held.0.borrow_mut(), "PUT", &path, body, 1), 200);
        if number % 100 == 99 {
            changes.extend(keeper.changed(&mut held.0.borrow_mut()));
        }
    }
    world.result(async move {
        for changed in changes {
            assert!(keeper.commit(changed).await.is_ok());
        }
        keeper.close().await;
    });
    let disk = disk.power_cut(1);
    let (mut none, mut all) = (0, 0);
    for seed in 0..30 {
        let disk = disk.copy(seed);
        let mut world = on(&disk);
        let (keeper, held, _) = world.open();
        assert_eq!(ask(&mut held.0.borrow_mut(), "DELETE", tenant, "", 1), 200);
        let changed = keeper.changed(&mut held.0.borrow_mut()).expect("a change");
        let answered = Rc::new(RefCell::new(false));
        let place = answered.clone();
        world.spawn(async move {
            assert!(keeper.commit(changed).await.is_ok());
            *place.borrow_mut() = true;
        });
        // The last one is not cut.
        let steps = if seed == 29 { u64::MAX } else { seed / 3 };
        world.run(steps as usize);
        let answered = answered.take();
        let after = disk.power_cut(seed);
        let (_, held, restored) = on(&after).open();
        let found = held.0.borrow().store().expected() as u64;
        assert!(
            found == 0 || found == ACTIONS && !answered,
            "seed {seed}: {found}, answered: {answered}"
        );
        assert_eq!(restored.lost, [""; 0], "seed {seed}");
        none += u64::from(found == 0);
        all += u64::from(found > 0);
    }
    assert!(none > 1 && all > 1, "{none} {all}");
}
