//! The primitives under the real event loop.

use alloc::{sync::Arc, vec::Vec};
use core::{
    cell::Cell,
    sync::atomic::{AtomicUsize, Ordering},
};

use ebb::{
    quiesce::{self, Rcu, RcuMap},
    spawn, spawn_on,
    sync::{Mutex, Notify, Semaphore, channel, queue},
    yield_now,
};

/// Counts its values, so that one that leaks or is dropped twice shows.
struct Counted(usize, Arc<AtomicUsize>);

impl Counted {
    fn new(n: usize, live: &Arc<AtomicUsize>) -> Self {
        live.fetch_add(1, Ordering::Relaxed);
        Self(n, live.clone())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0 = usize::MAX;
        self.1.fetch_sub(1, Ordering::Relaxed);
    }
}

#[ebb::test(cores = 3)]
async fn what_is_read_by_rcu_is_whole_on_every_core_and_is_freed_in_the_end() {
    const LAST: usize = 300;
    let live = Arc::new(AtomicUsize::new(0));
    let value = Arc::new(Rcu::new(Counted::new(0, &live)));
    let map = Arc::new(RcuMap::new());
    let readers: Vec<_> = ebb::cores()
        .skip(1)
        .map(|core| {
            let (value, map) = (value.clone(), map.clone());
            spawn_on(core, async move || {
                let mut seen = 0;
                while seen < LAST {
                    let now = value.read(|v| v.0);
                    assert!((seen..=LAST).contains(&now));
                    seen = now;
                    map.for_each(|key: &usize, v: &Counted| assert_eq!(*key, v.0));
                    yield_now().await;
                }
            })
        })
        .collect();
    for n in 1..=LAST {
        value.update(Counted::new(n, &live));
        map.insert(n, Counted::new(n, &live));
        if n > 20 {
            assert!(map.remove(&(n - 20)));
        }
        yield_now().await;
    }
    for reader in readers {
        reader.await.unwrap();
    }
    quiesce::grace_period().await;
    assert_eq!(map.len(), 20);
    assert_eq!(live.load(Ordering::Relaxed), 21);
    drop((value, map));
}

#[ebb::test(cores = 3)]
async fn values_queued_on_other_cores_arrive_and_the_end_does() {
    const EACH: usize = 2000;
    let (tx, mut rx) = queue::<usize>(64);
    for core in ebb::cores() {
        let tx = tx.clone();
        drop(spawn_on(core, async move || {
            for n in 0..EACH {
                while tx.push(n).is_err() {
                    yield_now().await;
                }
            }
        }));
    }
    drop(tx);
    let mut sum = 0;
    while let Some(n) = rx.recv().await {
        sum += n;
    }
    assert_eq!(sum, ebb::core_count() * EACH * (EACH - 1) / 2);
}

#[ebb::test]
async fn tasks_of_a_core_meet_through_channel_mutex_semaphore_and_notify() {
    let (tx, mut rx) = channel(2);
    let sender = spawn(async move {
        for n in 0..100 {
            tx.send(n).await.unwrap();
        }
    });
    let mut expected = 0;
    while let Some(n) = rx.recv().await {
        assert_eq!(n, expected);
        expected += 1;
    }
    sender.await.unwrap();
    assert_eq!(expected, 100);

    let shared = alloc::rc::Rc::new((
        Mutex::new(0),
        Semaphore::new(2),
        Cell::new(0),
        Notify::new(),
    ));
    let workers: Vec<_> = (0..10)
        .map(|_| {
            let shared = shared.clone();
            spawn(async move {
                let (total, places, inside, go) = &*shared;
                go.notified().await;
                let place = places.acquire(1).await.unwrap();
                inside.set(inside.get() + 1);
                assert!(inside.get() <= 2);
                let mut total = total.lock().await;
                let before = *total;
                yield_now().await;
                *total = before + 1;
                drop(total);
                inside.set(inside.get() - 1);
                drop(place);
            })
        })
        .collect();
    yield_now().await;
    shared.3.notify_all();
    for worker in workers {
        worker.await.unwrap();
    }
    assert_eq!(*shared.0.lock().await, 10);
}
