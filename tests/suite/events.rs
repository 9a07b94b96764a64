//! Events: tasks, wakers, cancellation, timers, idle work, hogs, and what crosses cores.

use alloc::{rc::Rc, sync::Arc, vec::Vec};
use core::{
    cell::{Cell, RefCell},
    future::{pending, poll_fn},
    pin::pin,
    sync::atomic::{AtomicUsize, Ordering},
    task::{Poll, Waker},
    time::Duration,
};

use ebb::{
    CoreId, JoinError, core_count, core_stats, cores, current_core, idle, spawn, spawn_on,
    sync::oneshot,
    time::{self, Instant},
    yield_now,
};

/// Calls a function when it is dropped.
struct OnDrop<F: FnMut()>(F);

impl<F: FnMut()> Drop for OnDrop<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}

/// Polls a future once, whatever it says.
async fn poll_once<F: Future>(future: core::pin::Pin<&mut F>) -> Poll<F::Output> {
    let mut future = future;
    poll_fn(|cx| Poll::Ready(future.as_mut().poll(cx))).await
}

#[ebb::test]
async fn a_task_runs_after_the_event_that_spawned_it_and_its_handle_gives_the_result() {
    let ran = Rc::new(Cell::new(false));
    let seen = ran.clone();
    let task = spawn(async move {
        seen.set(true);
        41
    });
    assert!(!ran.get() && !task.is_finished());
    assert_eq!(task.await.unwrap(), 41);
    assert!(ran.get());
}

#[ebb::test]
async fn a_task_without_a_handle_runs_and_its_result_is_dropped_on_its_core() {
    let dropped = Rc::new(Cell::new(None));
    let place = dropped.clone();
    drop(spawn(async move {
        OnDrop(move || place.set(Some(current_core())))
    }));
    yield_now().await;
    assert_eq!(dropped.get(), Some(current_core()));
}

#[ebb::test]
async fn a_result_that_the_handle_has_not_taken_goes_with_the_handle() {
    let dropped = Rc::new(Cell::new(false));
    let place = dropped.clone();
    let task = spawn(async move { OnDrop(move || place.set(true)) });
    yield_now().await;
    assert!(task.is_finished() && !dropped.get());
    drop(task);
    assert!(dropped.get());
}

#[ebb::test(cores = 2)]
async fn an_unwanted_result_of_another_core_is_dropped_there() {
    let core = CoreId::new(1);
    let at = Arc::new(AtomicUsize::new(usize::MAX));
    let place = at.clone();
    let (unwanted, told) = oneshot::channel();
    drop(spawn_on(core, async move || {
        // A result that is there before its handle goes is dropped with the handle.
        told.await.unwrap();
        OnDrop(move || place.store(current_core().number(), Ordering::Relaxed))
    }));
    unwanted.send(()).unwrap();
    while at.load(Ordering::Relaxed) == usize::MAX {
        time::sleep(Duration::from_micros(100)).await;
    }
    assert_eq!(at.load(Ordering::Relaxed), 1);
}

#[ebb::test]
async fn a_task_that_cancels_itself_ends_when_its_event_returns() {
    let slot = Rc::new(RefCell::new(None::<ebb::JoinHandle<()>>));
    let (inner, steps) = (slot.clone(), Rc::new(Cell::new(0)));
    let count = steps.clone();
    let task = spawn(async move {
        inner.borrow().as_ref().unwrap().cancel();
        count.set(1);
        yield_now().await;
        count.set(2);
    });
    *slot.borrow_mut() = Some(task);
    yield_now().await;
    let task = slot.borrow_mut().take().unwrap();
    assert!(matches!(task.await, Err(JoinError::Cancelled)));
    assert_eq!(steps.get(), 1);
}

#[ebb::test]
async fn a_future_that_is_cancelled_may_drop_its_own_handle() {
    let slot = Rc::new(RefCell::new(None::<ebb::JoinHandle<()>>));
    let drops = Rc::new(Cell::new(0));
    let (inner, mine, count) = (slot.clone(), slot.clone(), drops.clone());
    let task = spawn(async move {
        let _guard = OnDrop(move || {
            count.set(count.get() + 1);
            let own = mine.borrow_mut().take();
            assert!(own.is_none_or(|own| !own.is_finished()));
        });
        inner.borrow().as_ref().unwrap().cancel();
        pending::<()>().await;
    });
    *slot.borrow_mut() = Some(task);
    yield_now().await;
    assert_eq!(drops.get(), 1);
    assert!(slot.borrow().is_none());
}

#[ebb::test]
async fn a_result_in_the_event_of_its_own_cancellation_is_kept() {
    let slot = Rc::new(RefCell::new(None::<ebb::JoinHandle<u32>>));
    let inner = slot.clone();
    let task = spawn(async move {
        inner.borrow().as_ref().unwrap().cancel();
        5
    });
    *slot.borrow_mut() = Some(task);
    yield_now().await;
    let task = slot.borrow_mut().take().unwrap();
    assert_eq!(task.await.unwrap(), 5);
}

#[ebb::test]
async fn cancelling_before_the_first_event_and_after_the_last_is_right() {
    let ran = Rc::new(Cell::new(false));
    let seen = ran.clone();
    let early = spawn(async move { seen.set(true) });
    early.cancel();
    assert!(early.is_finished());
    assert!(matches!(early.await, Err(JoinError::Cancelled)));
    assert!(!ran.get());
    let late = spawn(async { 3 });
    yield_now().await;
    late.cancel();
    assert_eq!(late.await.unwrap(), 3);
}

#[ebb::test]
async fn destructors_of_cancelled_futures_may_spawn_wake_and_cancel() {
    let log = Rc::new(RefCell::new(Vec::new()));
    let victim = spawn(pending::<()>());
    let waker = Rc::new(RefCell::new(None::<Waker>));
    let (mine, out) = (waker.clone(), log.clone());
    let sleeper = spawn(async move {
        let mut polls = 0;
        poll_fn(|cx| {
            *mine.borrow_mut() = Some(cx.waker().clone());
            polls += 1;
            if polls == 2 {
                Poll::Ready(())
            } else {
                Poll::Pending
            }
        })
        .await;
        out.borrow_mut().push("woken");
    });
    let out = log.clone();
    let task = spawn(async move {
        let _guard = OnDrop(move || {
            victim.cancel();
            waker.borrow_mut().take().unwrap().wake();
            let out = out.clone();
            drop(spawn(async move { out.borrow_mut().push("spawned") }));
        });
        pending::<()>().await;
    });
    yield_now().await;
    task.cancel();
    sleeper.await.unwrap();
    yield_now().await;
    assert_eq!(*log.borrow(), ["woken", "spawned"]);
}

#[ebb::test(cores = 2)]
async fn a_task_of_another_core_is_cancelled_there_and_the_handle_says_so() {
    let at = Arc::new(AtomicUsize::new(usize::MAX));
    let (place, started) = (at.clone(), Arc::new(AtomicUsize::new(0)));
    let begun = started.clone();
    let task = spawn_on(CoreId::new(1), async move || {
        let _guard = OnDrop(move || place.store(current_core().number(), Ordering::Relaxed));
        begun.store(1, Ordering::Relaxed);
        pending::<()>().await;
    });
    while started.load(Ordering::Relaxed) == 0 {
        yield_now().await;
    }
    task.cancel();
    task.cancel();
    assert!(matches!(task.await, Err(JoinError::Cancelled)));
    assert_eq!(at.load(Ordering::Relaxed), 1);
}

#[ebb::test(cores = 2)]
async fn cancelling_a_task_of_another_core_at_any_moment_gives_one_answer() {
    for round in 0..500u32 {
        let task = spawn_on(CoreId::new(1), async move || {
            for _ in 0..round % 4 {
                yield_now().await;
            }
            round
        });
        if round % 3 == 0 {
            yield_now().await;
        }
        task.cancel();
        match task.await {
            Ok(n) => assert_eq!(n, round),
            Err(JoinError::Cancelled) => {}
            Err(other) => panic!("{other}"),
        }
    }
}

#[ebb::test]
async fn yielding_lets_every_waiting_task_run_once() {
    let turns: Vec<_> = (0..5).map(|_| Rc::new(Cell::new(0))).collect();
    let tasks: Vec<_> = turns
        .iter()
        .map(|mine| {
            let (mine, all) = (mine.clone(), turns.clone());
            spawn(async move {
                for turn in 1..=1000 {
                    mine.set(turn);
                    // Nobody is more than one turn ahead.
                    assert!(all.iter().all(|t| t.get() + 1 >= turn));
                    yield_now().await;
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
}

#[ebb::test(cores = 2)]
async fn a_core_that_never_rests_still_takes_what_arrives() {
    let core = CoreId::new(1);
    let stop = Arc::new(AtomicUsize::new(0));
    let seen = stop.clone();
    let busy = spawn_on(core, async move || {
        while seen.load(Ordering::Relaxed) == 0 {
            yield_now().await;
        }
    });
    for n in 0..100 {
        assert_eq!(spawn_on(core, async move || n).await.unwrap(), n);
    }
    stop.store(1, Ordering::Relaxed);
    busy.await.unwrap();
}

#[ebb::test(cores = 4)]
async fn in_a_storm_of_spawns_from_all_cores_to_all_every_task_runs_once() {
    const EACH: usize = 500;
    let counts: Arc<Vec<AtomicUsize>> =
        Arc::new((0..core_count()).map(|_| AtomicUsize::new(0)).collect());
    let senders: Vec<_> = cores()
        .map(|core| {
            let counts = counts.clone();
            spawn_on(core, async move || {
                let mut waiting = Vec::new();
                for n in 0..EACH {
                    for target in cores() {
                        let counts = counts.clone();
                        waiting.push(spawn_on(target, async move || {
                            assert_eq!(current_core(), target);
                            counts[target.number()].fetch_add(1, Ordering::Relaxed);
                            n
                        }));
                    }
                    if n % 64 == 0 {
                        yield_now().await;
                    }
                }
                let mut sum = 0;
                for task in waiting {
                    sum += task.await.unwrap();
                }
                sum
            })
        })
        .collect();
    for sender in senders {
        let expected = core_count() * EACH * (EACH - 1) / 2;
        assert_eq!(sender.await.unwrap(), expected);
    }
    for count in counts.iter() {
        assert_eq!(count.load(Ordering::Relaxed), EACH * core_count());
    }
}

#[ebb::test]
async fn timers_fire_in_the_order_of_their_deadlines() {
    let order = Rc::new(RefCell::new(Vec::new()));
    let start = Instant::now();
    let tasks: Vec<_> = [7u64, 1, 5, 3, 2, 6, 4]
        .into_iter()
        .map(|n| {
            let order = order.clone();
            spawn(async move {
                let deadline = start + Duration::from_millis(n);
                time::sleep_until(deadline).await;
                assert!(Instant::now() >= deadline);
                order.borrow_mut().push(n);
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    assert_eq!(*order.borrow(), [1, 2, 3, 4, 5, 6, 7]);
}

#[ebb::test]
async fn an_interval_does_not_drift_and_skips_what_it_missed() {
    let period = Duration::from_millis(2);
    let mut interval = time::interval(period);
    let first = interval.tick().await;
    let second = interval.tick().await;
    assert_eq!((second - first).as_nanos() % period.as_nanos(), 0);
    time::sleep(period * 5).await;
    let late = interval.tick().await;
    let next = interval.tick().await;
    assert_eq!((late - first).as_nanos() % period.as_nanos(), 0);
    assert!(next - late >= period * 2, "missed ticks come at once");
}

#[ebb::test]
async fn a_timeout_gives_the_result_or_drops_the_future() {
    let result = time::timeout(Duration::from_secs(60), async { 9 }).await;
    assert_eq!(result, Ok(9));
    let dropped = Rc::new(Cell::new(false));
    let place = dropped.clone();
    let never = async move {
        let _guard = OnDrop(move || place.set(true));
        pending::<()>().await;
    };
    let result = time::timeout(Duration::from_millis(1), never).await;
    assert_eq!(result, Err(time::Elapsed));
    assert!(dropped.get());
}

#[ebb::test]
async fn a_dropped_or_reset_sleep_leaves_no_timer_behind() {
    let before = core_stats()[current_core().number()].timers;
    for _ in 0..1000 {
        let sleep = pin!(time::sleep(Duration::from_millis(1)));
        assert!(poll_once(sleep).await.is_pending());
    }
    let mut sleep = time::sleep(Duration::from_secs(3600));
    assert!(poll_once(pin!(&mut sleep)).await.is_pending());
    sleep.reset(Instant::now() + Duration::from_millis(3));
    sleep.await;
    let fired = core_stats()[current_core().number()].timers - before;
    assert!(fired < 100, "{fired} timers fired, of which one was wanted");
}

#[ebb::test]
async fn idle_work_of_several_takes_turns_and_ends_with_its_handle() {
    let (a, b) = (Rc::new(Cell::new(0u32)), Rc::new(Cell::new(0u32)));
    let (mine, other) = (a.clone(), b.clone());
    let first = idle(move || {
        mine.set(mine.get() + 1);
        true
    });
    let mine = b.clone();
    let second = idle(move || {
        mine.set(mine.get() + 1);
        false
    });
    while a.get() < 50 {
        time::sleep(Duration::from_micros(200)).await;
    }
    assert!(
        other.get() >= 10,
        "one that has more to do starves the other"
    );
    drop((first, second));
    let now = (a.get(), b.get());
    time::sleep(Duration::from_millis(2)).await;
    assert_eq!((a.get(), b.get()), now);
}

#[ebb::test]
async fn idle_work_may_register_more_and_end_itself() {
    let calls = Rc::new(Cell::new(0));
    let own = Rc::new(RefCell::new(None));
    let (slot, count) = (own.clone(), calls.clone());
    let inner = Rc::new(RefCell::new(None));
    let keep = inner.clone();
    *own.borrow_mut() = Some(idle(move || {
        count.set(count.get() + 1);
        let count = count.clone();
        *keep.borrow_mut() = Some(idle(move || {
            count.set(count.get() + 100);
            false
        }));
        let this = slot.borrow_mut().take();
        drop(this);
        true
    }));
    // However slow the machine is; a test that never ends is ended by the runner.
    while calls.get() <= 100 {
        time::sleep(Duration::from_micros(200)).await;
    }
    assert_eq!(calls.get() % 100, 1, "it ran after it ended itself");
    inner.borrow_mut().take();
}

#[ebb::test]
async fn the_counters_tell_of_events_timers_and_arrivals() {
    let me = current_core().number();
    let before = core_stats()[me];
    assert_eq!(before.core, current_core());
    for _ in 0..200 {
        yield_now().await;
    }
    time::sleep(Duration::from_millis(1)).await;
    spawn_on(current_core(), async || ()).await.unwrap();
    let after = core_stats()[me];
    assert!(after.events >= before.events + 150);
    assert!(after.timers > before.timers);
    assert!(after.arrivals > before.arrivals);
    assert!(after.parks > before.parks);
}

#[ebb::test]
async fn an_event_that_holds_its_core_is_counted() {
    let before = core_stats()[current_core().number()].hogs;
    spawn(async {
        let start = Instant::now();
        while start.elapsed() < Duration::from_millis(120) {
            core::hint::spin_loop();
        }
    })
    .await
    .unwrap();
    assert!(core_stats()[current_core().number()].hogs > before);
}

#[ebb::test]
async fn a_handle_says_where_its_task_was_spawned() {
    let here = core::panic::Location::caller();
    let task = spawn(async { ebb::running_site().unwrap().line() });
    let line = task.spawned_at().line();
    assert_eq!(task.spawned_at().file(), here.file());
    assert_eq!(task.await.unwrap(), line);
}

#[ebb::test]
async fn large_futures_are_dropped_once() {
    let live = Rc::new(Cell::new(0i32));
    let tasks: Vec<_> = (0..100)
        .map(|n| {
            live.set(live.get() + 1);
            let count = live.clone();
            let guard = OnDrop(move || count.set(count.get() - 1));
            let body = async move {
                let big = [n; 4000];
                let _guard = guard;
                if n % 3 == 0 {
                    pending::<()>().await;
                }
                yield_now().await;
                big[n]
            };
            spawn(body)
        })
        .collect();
    yield_now().await;
    for (n, task) in tasks.into_iter().enumerate() {
        if n % 3 == 0 {
            task.cancel();
            assert!(task.await.is_err());
        } else {
            assert_eq!(task.await.unwrap(), n);
        }
    }
    assert_eq!(live.get(), 0);
}
