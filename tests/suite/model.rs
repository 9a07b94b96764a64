//! The Ebb model: representatives, roots, ids, cross-core calls.

use alloc::{borrow::ToOwned, string::String, sync::Arc, vec::Vec};
use core::{
    cell::Cell,
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use ebb::{CoreId, EbbRef, FromRoot, ebb, spawn, time};

#[ebb(per_core)]
#[derive(Default)]
struct Hits {
    n: Cell<u64>,
}

impl Hits {
    fn hit(&self) {
        self.n.set(self.n.get() + 1);
    }
}

#[ebb::test(cores = 4)]
async fn a_per_core_ebb_has_one_representative_for_each_core() {
    EbbRef::<Hits>::new().broadcast(Hits::hit).await.unwrap();
    EbbRef::<Hits>::get().hit();
    assert_eq!(
        EbbRef::<Hits>::new().gather(|h| h.n.get()).await.unwrap()[..4],
        [2, 1, 1, 1]
    );
    let sum = EbbRef::<Hits>::new()
        .fold(0, |h| h.n.get(), |a, n| a + n)
        .await
        .unwrap();
    assert_eq!(sum, 5);
}

#[ebb(shared)]
#[derive(Default)]
struct Registry {
    n: AtomicUsize,
}

#[ebb::test(cores = 4)]
async fn a_shared_ebb_has_one_representative_for_all_cores() {
    EbbRef::<Registry>::new()
        .broadcast(|r| _ = r.n.fetch_add(1, Ordering::Relaxed))
        .await
        .unwrap();
    assert_eq!(EbbRef::<Registry>::get().n.load(Ordering::Relaxed), 4);
}

#[derive(Default)]
struct Limits {
    most: usize,
}

#[ebb(per_core, root = Limits)]
struct Pool {
    limits: Arc<Limits>,
    core: CoreId,
}

impl FromRoot<Limits> for Pool {
    fn from_root(limits: Arc<Limits>, _: EbbRef<Self>) -> Self {
        Self {
            limits,
            core: ebb::current_core(),
        }
    }
}

#[ebb::test(cores = 3)]
async fn representatives_are_built_from_the_root_that_was_given() {
    assert!(EbbRef::<Pool>::set_root(Limits { most: 7 }).is_ok());
    assert!(EbbRef::<Pool>::set_root(Limits { most: 8 }).is_err());
    let all = EbbRef::<Pool>::new()
        .gather(|p| (p.core, p.limits.most))
        .await
        .unwrap();
    // A machine may have more cores than the test needs.
    let expected: Vec<_> = ebb::cores().map(|core| (core, 7)).collect();
    assert!(all == expected && all.len() >= 3, "{all:?}");
}

#[ebb(per_core, dynamic)]
struct Cache<K: 'static, V: 'static> {
    entry: Cell<Option<(K, V)>>,
}

impl<K, V> Default for Cache<K, V> {
    fn default() -> Self {
        Self {
            entry: Cell::new(None),
        }
    }
}

#[ebb::test(cores = 2)]
async fn ids_of_destroyed_ebbs_are_used_again_and_not_confused() {
    let first = EbbRef::<Cache<u32, String>>::create(());
    first
        .on(CoreId::new(1), |c| c.entry.set(Some((1, "one".to_owned()))))
        .await
        .unwrap();
    first.destroy().await;
    let second = EbbRef::<Cache<u32, String>>::create(());
    assert_eq!(first.id().index(), second.id().index());
    assert_ne!(first.id(), second.id());
    assert!(
        second
            .on(CoreId::new(1), |c| c.entry.take().is_none())
            .await
            .unwrap()
    );
    second.destroy().await;
    assert_eq!(ebb::live_dynamic_ebbs(), 0);
}

#[ebb::test]
async fn sleeping_takes_at_least_as_long_as_asked() {
    let start = time::Instant::now();
    time::sleep(Duration::from_millis(20)).await;
    assert!(start.elapsed() >= Duration::from_millis(20));
    assert_eq!(
        time::timeout(Duration::from_millis(5), core::future::pending::<()>()).await,
        Err(time::Elapsed)
    );
}

#[ebb::test]
async fn a_cancelled_task_drops_its_future_at_once() {
    let guard = Arc::new(());
    let held = Arc::clone(&guard);
    let task = spawn(async move {
        let _held = held;
        core::future::pending::<()>().await;
    });
    ebb::yield_now().await;
    assert_eq!(Arc::strong_count(&guard), 2);
    task.cancel();
    assert_eq!(Arc::strong_count(&guard), 1);
    assert!(matches!(task.await, Err(ebb::JoinError::Cancelled)));
}

#[ebb::test(cores = 4)]
async fn a_grace_period_ends_although_other_cores_sleep() {
    for _ in 0..100 {
        ebb::quiesce::grace_period().await;
    }
}

#[ebb::test]
async fn a_task_that_waits_for_shutdown_does_not_see_one_that_nobody_asked_for() {
    let asked = time::timeout(Duration::from_millis(5), ebb::shutdown()).await;
    assert_eq!(asked, Err(time::Elapsed));
}

/// Counts how often a representative was built.
struct Built(Arc<AtomicUsize>);

#[ebb(shared, root = Built)]
struct Raced {
    /// Not zero in a finished representative only.
    whole: AtomicUsize,
}

impl FromRoot<Built> for Raced {
    fn from_root(built: Arc<Built>, _: EbbRef<Self>) -> Self {
        let n = built.0.fetch_add(1, Ordering::SeqCst);
        // Long enough for the others to come.
        for _ in 0..20_000 {
            core::hint::spin_loop();
        }
        Self {
            whole: AtomicUsize::new(n + 1),
        }
    }
}

#[ebb::test(cores = 8)]
async fn a_shared_representative_is_built_once_whoever_races() {
    let built = Arc::new(AtomicUsize::new(0));
    assert!(EbbRef::<Raced>::set_root(Built(Arc::clone(&built))).is_ok());
    let all = EbbRef::<Raced>::new()
        .gather(|raced| {
            (
                core::ptr::from_ref(raced).addr(),
                raced.whole.load(Ordering::Relaxed),
            )
        })
        .await
        .unwrap();
    assert_eq!(built.load(Ordering::SeqCst), 1);
    assert!(all.iter().all(|one| *one == (all[0].0, 1)), "{all:?}");
}

#[ebb(shared, dynamic)]
#[derive(Default)]
struct Tally {
    n: AtomicUsize,
}

#[ebb::test(cores = 4)]
async fn a_shared_ebb_made_at_run_time_has_one_representative_for_all_cores() {
    let tally = EbbRef::<Tally>::create(());
    tally
        .broadcast(|t| _ = t.n.fetch_add(1, Ordering::Relaxed))
        .await
        .unwrap();
    let counted = tally.with(|t| t.n.load(Ordering::Relaxed));
    assert_eq!(counted, ebb::core_count());
    tally.destroy().await;
}

/// What is dropped with the root.
struct Seen {
    _by: Arc<()>,
}

/// Its destruction can be seen.
#[ebb(per_core, dynamic, root = Seen)]
struct Witness {
    _seen: Arc<Seen>,
}

impl FromRoot<Seen> for Witness {
    fn from_root(root: Arc<Seen>, _: EbbRef<Self>) -> Self {
        Self { _seen: root }
    }
}

#[ebb::test(cores = 3)]
async fn when_an_ebb_is_destroyed_its_representatives_and_root_are_dropped() {
    let seen = Arc::new(());
    let witness = EbbRef::<Witness>::create(Seen {
        _by: Arc::clone(&seen),
    });
    witness.broadcast(|_| ()).await.unwrap();
    let held = witness.hold();
    witness.destroy().await;
    // What is held is kept, and nothing else.
    assert_eq!(Arc::strong_count(&held), 1);
    assert_eq!(Arc::strong_count(&seen), 2);
    drop(held);
    assert_eq!(Arc::strong_count(&seen), 1);
}

#[ebb::test(cores = 2)]
async fn ten_thousand_ebbs_one_after_another_use_few_ids() {
    let before = ebb::live_dynamic_ebbs();
    for round in 0..10_000_usize {
        let tally = EbbRef::<Tally>::create(());
        assert!(
            (tally.id().index() as usize) < before + 4,
            "{:?} in round {round}",
            tally.id()
        );
        assert_eq!(tally.with(|t| t.n.fetch_add(1, Ordering::Relaxed)), 0);
        let end = tally.destroy();
        // Some are waited for, some end while the next begins.
        if round % 4 == 3 {
            end.await;
        } else if round % 4 == 2 {
            ebb::yield_now().await;
        }
    }
    while ebb::live_dynamic_ebbs() > before {
        time::sleep(Duration::from_millis(1)).await;
    }
}
