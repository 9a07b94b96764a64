//! The scheduling of instances: what holds after any sequence of calls, and what each rule does.
#![allow(missing_docs)]

use ebb_openwhisk::call::{InstanceKey, Start};
use ebb_openwhisk::pool::{
    After, Capacity, Dispatch, Grant, LONG_PATIENCE_US, Pool, SHORT_PATIENCE_US, STEADY_ANSWERS,
    Source, Submitted,
};
use proptest::prelude::*;
use std::collections::{HashMap, HashSet, VecDeque};

fn key(revision: u64) -> InstanceKey {
    InstanceKey {
        revision,
        caller: "guest".into(),
    }
}

fn pool(cores: usize, per_core: usize, instances: u64, queue: usize) -> Pool<u64> {
    Pool::new(Capacity {
        cores,
        own_time: true,
        per_core,
        memory: instances * 10,
        queue,
    })
}

fn run(pool: &mut Pool<u64>, ticket: u64, function: u64, here: usize) -> Grant {
    match pool.submit(ticket, &key(function), 10, here, 0) {
        Submitted::Run(dispatch) => dispatch.grant,
        other => panic!("{other:?}"),
    }
}

fn after(keep: bool, bytes: u64, cost_us: u64) -> After {
    After {
        keep,
        bytes,
        cost_us,
    }
}

#[test]
fn an_idle_instance_of_the_function_is_used_again_on_its_core() {
    let mut pool = pool(2, 4, 10, 10);
    let first = run(&mut pool, 1, 7, 1);
    assert_eq!((first.core, first.source.start()), (1, Start::Cold));
    assert!(
        pool.release(first.instance, after(true, 10, 100), 0)
            .is_empty()
    );
    let second = run(&mut pool, 2, 7, 1);
    assert_eq!(
        (second.core, second.instance, second.source.start()),
        (1, first.instance, Start::Hot)
    );
    pool.release(second.instance, after(true, 10, 100), 0);
    let handed = run(&mut pool, 3, 7, 0);
    assert_eq!(
        (handed.core, handed.source.start()),
        (1, Start::Hot),
        "handed over to where the instance is"
    );
}

#[test]
fn a_namespace_with_one_call_does_not_wait_for_those_of_another_with_many() {
    let key = |namespace: &str, revision| InstanceKey {
        revision,
        caller: namespace.into(),
    };
    let mut pool = pool(1, 2, 2, 1000);
    pool.set_weights([("many", 1), ("one", 1)].into_iter());
    let mut running: VecDeque<_> = (0..2).map(|n| run(&mut pool, n, n, 0).instance).collect();
    for n in 2..500 {
        let submitted = pool.submit(n, &key("many", n), 10, 0, 0);
        assert_eq!(submitted, Submitted::Waits);
    }
    let bound = key("one binding", 1000);
    assert_eq!(pool.submit(1000, &bound, 10, 0, 0), Submitted::Waits);
    let mut order = Vec::new();
    for _ in 0..4 {
        let instance = running.pop_front().unwrap();
        for ready in pool.release(instance, after(true, 10, 100), 0) {
            running.push_back(ready.grant.instance);
            order.push(ready.ticket);
        }
    }
    assert_eq!(order, [2, 1000, 3, 4]);
}

#[test]
fn a_new_instance_goes_to_the_core_with_least_to_do() {
    let mut pool = pool(2, 4, 10, 10);
    let cores: Vec<_> = (0..4).map(|n| run(&mut pool, n, n, 0).core).collect();
    assert_eq!(cores, [0, 1, 0, 1]);
}

#[test]
fn a_function_with_a_snapshot_starts_warm() {
    let mut pool = pool(1, 4, 10, 10);
    let none = pool.keep_snapshot(&key(1), (), 10, 100);
    assert!(none.instances.is_empty() && none.snapshots.is_empty());
    let warm = run(&mut pool, 1, 1, 0);
    assert_eq!(warm.source, Source::Snapshot(()));
    pool.release(warm.instance, after(false, 10, 1), 0);
    let gone = pool.evict_if(|key| key.revision == 1);
    assert_eq!(gone.snapshots.len(), 1);
    assert_eq!(run(&mut pool, 2, 1, 0).source.start(), Start::Cold);
}

/// Microseconds, far beyond any patience.
const LATER: u64 = 10_000_000;

#[test]
fn a_call_of_a_running_function_is_held_until_its_instance_is_free() {
    let mut pool = pool(1, 8, 10, 10);
    let first = run(&mut pool, 0, 1, 0);
    for ticket in 1..=2 {
        assert_eq!(pool.submit(ticket, &key(1), 10, 0, 0), Submitted::Waits);
    }
    assert!(pool.holds_calls());
    let other = run(&mut pool, 9, 2, 0);
    assert_eq!(
        other.source.start(),
        Start::Cold,
        "others do not wait for it"
    );
    for ticket in 1..=2 {
        let next = pool.release(first.instance, after(true, 10, 1), 0);
        assert_eq!(next.len(), 1);
        assert_eq!(
            (next[0].ticket, next[0].grant.instance),
            (ticket, first.instance),
            "in order, on the one instance"
        );
    }
    assert!(!pool.holds_calls());
    assert_eq!(pool.instances().0, 2);
}

#[test]
fn a_core_with_nothing_to_run_takes_held_calls() {
    let mut pool = pool(2, 8, 10, 10);
    let calls: Vec<_> = (0..2).map(|n| run(&mut pool, n, 1, 0)).collect();
    assert_eq!((calls[0].core, calls[1].core), (0, 1), "one on each core");
    for ticket in 2..=3 {
        assert_eq!(pool.submit(ticket, &key(1), 10, 0, 0), Submitted::Waits);
    }
    assert_eq!(pool.core_is_idle(1, 0, 0), None, "a call is on its way");
    let third = pool.core_is_idle(1, 1, 0).expect("room for one more");
    assert_eq!((third.ticket, third.grant.core), (2, 1));
    assert_ne!(third.grant.instance, calls[1].instance);
    let fourth = pool.core_is_idle(1, 2, 0).expect("room for one more");
    assert_eq!((fourth.ticket, fourth.grant.core), (3, 1));
    assert_eq!(pool.core_is_idle(1, 3, 0), None, "nobody waits");
}

#[test]
fn an_instance_that_is_idle_on_a_busy_core_is_taken_when_that_core_is_idle() {
    let mut pool = pool(1, 8, 10, 10);
    let first = run(&mut pool, 0, 1, 0);
    assert_eq!(pool.submit(1, &key(1), 10, 0, 0), Submitted::Waits);
    let second = pool.core_is_idle(0, 1, 0).expect("room for one more");
    for instance in [first.instance, second.grant.instance] {
        pool.release(instance, after(true, 10, 1), 0);
    }
    run(&mut pool, 2, 1, 0);
    assert_eq!(pool.submit(3, &key(1), 10, 0, 0), Submitted::Waits);
    let again = pool.core_is_idle(0, 1, 0).expect("it is idle");
    assert_eq!((again.ticket, again.grant.source.start()), (3, Start::Hot));
}

#[test]
fn a_function_that_gets_nowhere_gets_further_instances_one_at_a_time() {
    let mut pool = pool(1, 8, 10, 10);
    run(&mut pool, 0, 1, 0);
    for ticket in 1..=2 {
        assert_eq!(pool.submit(ticket, &key(1), 10, 0, 0), Submitted::Waits);
    }
    assert!(pool.tick(SHORT_PATIENCE_US).is_empty());
    let more = pool.tick(LONG_PATIENCE_US);
    assert_eq!((more.len(), more[0].ticket), (1, 1));
    assert!(pool.tick(LONG_PATIENCE_US + 1).is_empty());
    assert_eq!(pool.tick(2 * LONG_PATIENCE_US)[0].ticket, 2);
    pool.release(more[0].grant.instance, after(true, 10, 1), LATER);
    assert_eq!(pool.submit(3, &key(1), 10, 0, LATER), Submitted::Waits);
    assert!(pool.tick(LATER + SHORT_PATIENCE_US - 1).is_empty());
    let hot = pool.tick(LATER + SHORT_PATIENCE_US);
    assert_eq!((hot.len(), hot[0].grant.source.start()), (1, Start::Hot));
}

#[test]
fn a_function_that_gets_on_goes_back_to_one_instance_on_a_core() {
    let mut pool = pool(1, 8, 10, 100);
    let first = run(&mut pool, 0, 1, 0);
    let waiting = 2 * u64::from(STEADY_ANSWERS);
    for ticket in 1..=waiting {
        assert_eq!(pool.submit(ticket, &key(1), 10, 0, 0), Submitted::Waits);
    }
    let second = pool.tick(LONG_PATIENCE_US).remove(0).grant;
    let mut now_us = LONG_PATIENCE_US;
    // Both take turns on the core, and give their answers in turn.
    let mut running = VecDeque::from([first.instance, second.instance]);
    for _ in 1..STEADY_ANSWERS {
        now_us += SHORT_PATIENCE_US - 1;
        let free = running.pop_front().expect("one that runs");
        let next = pool.release(free, after(true, 10, 1), now_us);
        assert_eq!((next.len(), next[0].grant.instance), (1, free));
        running.push_back(free);
    }
    let surplus = running.pop_front().expect("one that runs");
    let none = pool.release(surplus, after(true, 10, 1), now_us);
    assert_eq!(none, [], "the other one is enough");
    let [left] = running.make_contiguous() else {
        panic!("one runs: {running:?}")
    };
    let next = pool.release(*left, after(true, 10, 1), now_us);
    assert_eq!((next.len(), next[0].grant.instance), (1, *left));
    // A core with nothing to run takes the other one again.
    let again = pool.core_is_idle(0, 1, now_us).expect("it is idle");
    assert_eq!(again.grant.instance, surplus);
    let next = pool.release(surplus, after(true, 10, 1), now_us);
    assert_eq!(next.len(), 1, "this has to last for a while again");
}

#[test]
fn a_held_call_outlives_the_instance_it_waits_for() {
    let mut pool = pool(1, 8, 10, 10);
    let first = run(&mut pool, 0, 1, 0);
    for ticket in 1..=2 {
        assert_eq!(pool.submit(ticket, &key(1), 10, 0, 0), Submitted::Waits);
    }
    let next = pool.release(first.instance, after(false, 10, 1), 0);
    assert_eq!((next.len(), next[0].grant.source.start()), (1, Start::Cold));
    assert!(pool.holds_calls(), "the other one waits for the new one");
}

#[test]
fn instances_that_do_not_share_the_cores_time_are_used_at_once() {
    let mut pool: Pool<u64> = Pool::new(Capacity {
        cores: 1,
        own_time: false,
        per_core: 8,
        memory: 100,
        queue: 10,
    });
    let first = run(&mut pool, 0, 1, 0);
    assert_eq!(pool.submit(1, &key(1), 10, 0, 0), Submitted::Waits);
    let second = pool.tick(LONG_PATIENCE_US).remove(0).grant;
    pool.release(first.instance, after(true, 10, 1), LATER);
    pool.release(second.instance, after(true, 10, 1), LATER);
    run(&mut pool, 2, 1, 0);
    assert_eq!(run(&mut pool, 3, 1, 0).source.start(), Start::Hot);
}

#[test]
fn what_is_worth_least_makes_room() {
    let mut pool = pool(1, 8, 3, 10);
    let [cheap, dear, used] = [1, 2, 3].map(|f| run(&mut pool, f, f, 0).instance);
    pool.release(cheap, after(true, 10, 100), 0);
    pool.release(dear, after(true, 10, 10_000), 0);
    pool.release(used, after(true, 10, 100), 0);
    for n in 0..5 {
        let again = run(&mut pool, 10 + n, 3, 0);
        pool.release(again.instance, after(true, 10, 100), 0);
    }
    let victims: Vec<_> = (0..2)
        .map(|n| run(&mut pool, 20 + n, 20 + n, 0).evicted.instances[0].instance)
        .collect();
    assert_eq!(victims, [cheap, used]);
}

#[test]
fn without_room_calls_wait_and_the_overflow_is_refused() {
    let mut pool = pool(1, 1, 10, 4);
    let first = run(&mut pool, 0, 1, 0);
    for ticket in 1..=3 {
        assert_eq!(pool.submit(ticket, &key(1), 10, 0, 0), Submitted::Waits);
    }
    assert_eq!(
        pool.submit(4, &key(1), 10, 0, 0),
        Submitted::Refused(4),
        "one function does not fill the queue"
    );
    assert_eq!(pool.submit(5, &key(2), 10, 0, 0), Submitted::Waits);
    assert_eq!(pool.submit(6, &key(3), 10, 0, 0), Submitted::Refused(6));
    let next = pool.release(first.instance, after(true, 10, 1), 0);
    assert_eq!(next.len(), 1);
    assert_eq!(
        (next[0].ticket, next[0].grant.source.start()),
        (1, Start::Hot)
    );
}

#[test]
fn a_lost_instance_is_replaced_for_those_who_wait() {
    let mut pool = pool(1, 1, 1, 10);
    let first = run(&mut pool, 0, 1, 0);
    assert_eq!(pool.submit(1, &key(1), 10, 0, 0), Submitted::Waits);
    let next = pool.release(first.instance, after(false, 10, 1), 0);
    assert_eq!(
        (next[0].ticket, next[0].grant.source.start()),
        (1, Start::Cold)
    );
    assert_ne!(next[0].grant.instance, first.instance);
}

#[test]
fn a_changed_actions_instances_go() {
    let mut pool = pool(1, 4, 10, 10);
    let old = run(&mut pool, 0, 1, 0);
    pool.release(old.instance, after(true, 10, 1), 0);
    let victims = pool.evict_if(|key| key.revision == 1);
    assert_eq!(victims.instances[0].instance, old.instance);
    assert_eq!(run(&mut pool, 1, 1, 0).source.start(), Start::Cold);
    assert_eq!(pool.used(), 10);
}

#[test]
fn a_running_instance_of_a_changed_action_goes_when_its_last_call_has_ended() {
    let mut pool = pool(1, 4, 10, 10);
    let old = run(&mut pool, 0, 1, 0);
    let other = run(&mut pool, 1, 2, 0);
    assert_eq!(pool.submit(2, &key(1), 10, 0, 0), Submitted::Waits);
    assert!(pool.evict_if(|key| key.revision == 1).instances.is_empty());
    // A call that came before the change is served by it,
    let next = pool.release(old.instance, after(true, 10, 1), 0);
    assert_eq!(next[0].grant.instance, old.instance);
    assert_eq!(pool.take_left_over(), []);
    // and then it goes.
    pool.release(old.instance, after(true, 10, 1), 0);
    let left: Vec<_> = pool.take_left_over().iter().map(|v| v.instance).collect();
    assert_eq!(left, [old.instance]);
    pool.release(other.instance, after(true, 10, 1), 0);
    assert_eq!(pool.take_left_over(), []);
    assert_eq!(pool.used(), 10);
}

/// Simulated time: a cold start takes 400, a call 10.
fn throughput(functions: u64, calls: u64, instances: u64) -> (f64, u64) {
    let mut pool = pool(2, 2, instances, 100_000);
    let mut ends: VecDeque<(u64, u64)> = VecDeque::new(); // sorted by time
    let (mut now, mut done) = (0, 0);
    let begin = |ends: &mut VecDeque<(u64, u64)>, now: u64, dispatch: &Dispatch<u64>| {
        let took = if dispatch.grant.source.start() == Start::Hot {
            10
        } else {
            410
        };
        let at = ends.partition_point(|&(t, _)| t <= now + took);
        ends.insert(at, (now + took, dispatch.grant.instance));
    };
    for ticket in 0..calls {
        match pool.submit(
            ticket,
            &key(ticket % functions),
            10,
            (ticket % 2) as usize,
            0,
        ) {
            Submitted::Run(dispatch) => begin(&mut ends, now, &dispatch),
            Submitted::Waits => {}
            Submitted::Refused(_) => panic!("refused"),
        }
    }
    while let Some((time, instance)) = ends.pop_front() {
        now = time;
        done += 1;
        for dispatch in pool.release(instance, after(true, 10, 400), 0) {
            begin(&mut ends, now, &dispatch);
        }
    }
    assert_eq!(done, calls, "nothing is lost");
    (calls as f64 / now as f64, pool.evictions())
}

#[test]
fn a_hundred_functions_at_once_do_not_collapse_the_throughput() {
    let (few, _) = throughput(4, 16_000, 16);
    let (many, evictions) = throughput(100, 16_000, 16);
    // Strict turns would start an instance for every call: 16,000 evictions, and a fortieth of the throughput.
    assert!(many > few / 4.0, "{many} {few} {evictions}");
    assert!(evictions < 1_500, "{evictions}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    /// Any sequence of calls and ends: memory and slots are never exceeded, an instance runs one call at a time and
    /// serves one function, every call runs exactly once, and when all have ended none is left waiting.
    #[test]
    fn the_books_are_right_after_any_sequence(
        steps in prop::collection::vec((0u64..12, 0usize..4, 0u8..8, any::<prop::sample::Index>(), 1u64..40), 1..300),
        per_core in 1usize..4, instances in 1u64..8, queue in 0usize..30,
    ) {
        let cores = 3;
        let mut pool: Pool<u64> = pool(cores, per_core, instances, queue);
        let mut alive: HashMap<u64, (u64, usize)> = HashMap::new();
        let mut function_of: HashMap<u64, u64> = HashMap::new();
        let mut running: Vec<(u64, u64)> = Vec::new();
        let (mut ran, mut accepted) = (HashSet::new(), HashSet::new());
        let mut start = |dispatch: Dispatch<u64>, function_of: &HashMap<u64, u64>, running: &mut Vec<(u64, u64)>, alive: &mut HashMap<u64, (u64, usize)>| {
            for victim in &dispatch.grant.evicted.instances {
                let gone = alive.remove(&victim.instance);
                assert_eq!(gone.map(|(_, core)| core), Some(victim.core));
                assert!(running.iter().all(|(_, i)| *i != victim.instance));
            }
            let function = function_of[&dispatch.ticket];
            if dispatch.grant.source.start() == Start::Hot {
                assert_eq!(alive[&dispatch.grant.instance], (function, dispatch.grant.core));
            } else {
                assert!(alive.insert(dispatch.grant.instance, (function, dispatch.grant.core)).is_none());
            }
            assert!(running.iter().all(|(_, i)| *i != dispatch.grant.instance));
            running.push((dispatch.ticket, dispatch.grant.instance));
            assert!(ran.insert(dispatch.ticket), "twice");
        };
        for (ticket, (function, here, what, which, cost)) in steps.into_iter().enumerate() {
            let ticket = ticket as u64;
            let now = ticket * 10_000;
            if what == 0 {
                let core = here % cores;
                let running_there = pool.running()[core];
                if let Some(dispatch) = pool.core_is_idle(core, running_there, now) {
                    start(dispatch, &function_of, &mut running, &mut alive);
                }
            } else if what == 1 {
                for dispatch in pool.tick(now) {
                    start(dispatch, &function_of, &mut running, &mut alive);
                }
            } else if what < 5 || running.is_empty() {
                function_of.insert(ticket, function);
                match pool.submit(ticket, &key(function), 10, here % cores, 0) {
                    Submitted::Run(dispatch) => {
                        accepted.insert(ticket);
                        start(dispatch, &function_of, &mut running, &mut alive);
                    }
                    Submitted::Waits => { accepted.insert(ticket); }
                    Submitted::Refused(back) => prop_assert_eq!(back, ticket),
                }
            } else {
                let (_, instance) = running.swap_remove(which.index(running.len()));
                let keep = cost % 3 != 0;
                if !keep { alive.remove(&instance); }
                for dispatch in pool.release(instance, after(keep, 10, cost), 0) {
                    start(dispatch, &function_of, &mut running, &mut alive);
                }
            }
            prop_assert!(pool.used() <= instances * 10);
            prop_assert_eq!(pool.used(), alive.len() as u64 * 10);
            prop_assert!(pool.running().iter().all(|&n| n <= per_core));
            prop_assert_eq!(pool.running().iter().sum::<usize>(), running.len());
            prop_assert_eq!(pool.instances().0, alive.len());
        }
        while let Some((_, instance)) = running.pop() {
            for dispatch in pool.release(instance, after(true, 10, 1), 0) {
                start(dispatch, &function_of, &mut running, &mut alive);
            }
        }
        prop_assert_eq!(pool.waiting(), (0, 0));
        prop_assert_eq!(ran, accepted);
    }
}
