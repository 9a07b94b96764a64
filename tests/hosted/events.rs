//! Events where threads, unwinding and whole processes come in. Hosted only.

use std::{
    cell::Cell,
    panic::{AssertUnwindSafe, catch_unwind, panic_any},
    process::Command,
    rc::Rc,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    task::{Context, Poll, Wake, Waker},
    thread,
    time::{Duration, Instant},
};

use ebb::{CoreId, JoinError, core_stats, current_core, idle, spawn, spawn_on, time, yield_now};
use ebb_hosted::{Config, block_on, run};

const TWO: Config = Config {
    cores: 2,
    pin: false,
};

/// Panics when it is dropped, if nobody panics yet.
struct Bomb(&'static str);

impl Drop for Bomb {
    fn drop(&mut self) {
        if !thread::panicking() {
            panic!("{}", self.0);
        }
    }
}

#[ebb::test]
async fn a_core_survives_every_kind_of_panic_in_a_task() {
    for round in 0..20 {
        // The result of a task that nobody waits for.
        drop(spawn(async { Bomb("result") }));
        yield_now().await;
        // The result that its handle drops, in the event of the one who drops it.
        let task = spawn(async { Bomb("handle") });
        yield_now().await;
        assert!(catch_unwind(AssertUnwindSafe(|| drop(task))).is_err());
        // The future's destructor when it is cancelled, in the event of the one who cancels.
        let task = spawn(async {
            let _bomb = Bomb("future");
            std::future::pending::<()>().await;
        });
        yield_now().await;
        assert!(catch_unwind(AssertUnwindSafe(|| task.cancel())).is_err());
        assert!(matches!(task.await, Err(JoinError::Cancelled)));
        // The payload of a panic.
        drop(spawn(async { panic_any(Bomb("payload")) }));
        yield_now().await;
        // After an await.
        let task = spawn(async {
            yield_now().await;
            panic!("late");
        });
        assert_eq!(task.await.unwrap_err().message(), Some("late"), "{round}");
    }
    assert!(core_stats()[current_core().number()].panics >= 60);
    // The lists are whole: all of these run.
    let tasks: Vec<_> = (0..100).map(|n| spawn(async move { n })).collect();
    for (n, task) in tasks.into_iter().enumerate() {
        assert_eq!(task.await.unwrap(), n);
    }
}

struct PanickingWaker;

impl Wake for PanickingWaker {
    fn wake(self: Arc<Self>) {
        panic!("a waker's panic");
    }
}

#[ebb::test]
async fn a_waker_that_panics_ends_nobody_else() {
    let bad = Waker::from(Arc::new(PanickingWaker));
    for _ in 0..10 {
        let mut task = Box::pin(spawn(async { 1 }));
        assert!(
            task.as_mut()
                .poll(&mut Context::from_waker(&bad))
                .is_pending()
        );
        let mut sleep = Box::pin(time::sleep(Duration::from_micros(10)));
        assert!(
            sleep
                .as_mut()
                .poll(&mut Context::from_waker(&bad))
                .is_pending()
        );
        time::sleep(Duration::from_millis(1)).await;
        assert_eq!(task.await.unwrap(), 1);
    }
}

#[ebb::test]
async fn a_panic_in_idle_work_ends_that_registration_only() {
    let (good, bad) = (Rc::new(Cell::new(0)), Rc::new(Cell::new(0)));
    let count = bad.clone();
    let _bad = idle(move || {
        count.set(count.get() + 1);
        panic!("idle work's panic");
    });
    let count = good.clone();
    let _good = idle(move || {
        count.set(count.get() + 1);
        false
    });
    for _ in 0..5 {
        time::sleep(Duration::from_millis(1)).await;
    }
    assert_eq!(bad.get(), 1);
    assert!(good.get() >= 2);
}

#[ebb::test]
async fn wakers_work_from_threads_that_are_no_cores() {
    const THREADS: usize = 4;
    const EACH: usize = 2000;
    let woken = Arc::new(AtomicUsize::new(0));
    let (tell, hear) = mpsc::channel::<Waker>();
    let hear = Arc::new(Mutex::new(hear));
    let threads: Vec<_> = (0..THREADS)
        .map(|_| {
            let (hear, woken) = (hear.clone(), woken.clone());
            thread::spawn(move || {
                loop {
                    let waker = hear.lock().unwrap().recv();
                    let Ok(waker) = waker else { return };
                    woken.fetch_add(1, Ordering::Release);
                    let copy = waker.clone();
                    waker.wake();
                    copy.wake_by_ref();
                }
            })
        })
        .collect();
    let tasks: Vec<_> = (0..THREADS)
        .map(|_| {
            let tell = tell.clone();
            spawn(async move {
                for _ in 0..EACH {
                    let mut told = false;
                    std::future::poll_fn(|cx| {
                        if std::mem::replace(&mut told, true) {
                            return Poll::Ready(());
                        }
                        tell.send(cx.waker().clone()).unwrap();
                        Poll::Pending
                    })
                    .await;
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    drop(tell);
    threads.into_iter().for_each(|t| t.join().unwrap());
    assert_eq!(woken.load(Ordering::Acquire), THREADS * EACH);
}

#[test]
fn a_thread_waits_for_a_task_of_a_core() {
    let (give, take) = mpsc::channel();
    let waiter = thread::spawn(move || block_on(take.recv().unwrap()));
    run(&TWO, move || async move {
        let task = spawn_on(CoreId::new(1), async || {
            time::sleep(Duration::from_millis(5)).await;
            6
        });
        give.send(task).unwrap();
        time::sleep(Duration::from_millis(30)).await;
    });
    let answer: Result<i32, JoinError> = waiter.join().unwrap();
    assert_eq!(answer.unwrap(), 6);
}

#[test]
fn a_handle_on_a_machine_that_has_stopped_says_cancelled_and_nothing_hangs() {
    for round in 0..200 {
        let dropped = Arc::new(AtomicUsize::new(0));
        struct Count(Arc<AtomicUsize>);
        impl Drop for Count {
            fn drop(&mut self) {
                self.0.fetch_add(1, Ordering::Relaxed);
            }
        }
        let (give, take) = mpsc::channel();
        let waiter = thread::spawn(move || {
            let mut count = 0;
            while let Ok(handle) = take.recv() {
                count += 1;
                let _: Result<(), JoinError> = block_on(handle);
            }
            count
        });
        let counted = dropped.clone();
        run(
            &Config {
                cores: 1 + round % 4,
                pin: false,
            },
            move || async move {
                // All cores spawn on all others while the machine stops.
                for core in ebb::cores() {
                    let (give, counted) = (give.clone(), counted.clone());
                    drop(spawn_on(core, async move || {
                        loop {
                            for target in ebb::cores() {
                                let count = Count(counted.clone());
                                let task = spawn_on(target, async move || {
                                    let _count = count;
                                    yield_now().await;
                                });
                                let _ = give.send(task);
                            }
                            yield_now().await;
                        }
                    }));
                }
                for _ in 0..round {
                    yield_now().await;
                }
            },
        );
        // Returns only when every handle has answered.
        let spawned = waiter.join().unwrap();
        assert_eq!(dropped.load(Ordering::Relaxed), spawned, "round {round}");
    }
}

#[test]
fn wakers_outlive_their_machine() {
    let (give, take) = mpsc::channel::<Waker>();
    run(&TWO, move || async move {
        for core in ebb::cores() {
            let give = give.clone();
            spawn_on(core, async move || {
                drop(spawn(std::future::poll_fn(move |cx| {
                    give.send(cx.waker().clone()).unwrap();
                    Poll::<()>::Pending
                })));
                yield_now().await;
            })
            .await
            .unwrap();
        }
    });
    let wakers: Vec<Waker> = take.iter().collect();
    assert_eq!(wakers.len(), 2);
    for waker in &wakers {
        waker.wake_by_ref();
        let copy = waker.clone();
        copy.wake();
    }
}

#[test]
fn destructors_may_spawn_while_the_machine_stops() {
    struct Spawner(u32);
    impl Drop for Spawner {
        fn drop(&mut self) {
            if self.0 > 0 {
                let (here, there) = (Spawner(self.0 - 1), Spawner(self.0 - 1));
                drop(spawn(async move {
                    let _here = here;
                    std::future::pending::<()>().await;
                }));
                let other = CoreId::new(1 - current_core().number());
                if self.0.is_multiple_of(2) {
                    drop(spawn_on(other, async move || {
                        // A task of a core that is gone is dropped by a core that is not.
                        std::mem::forget(there);
                    }));
                } else {
                    std::mem::forget(there);
                }
            }
        }
    }
    for _ in 0..50 {
        run(&TWO, || async {
            for core in ebb::cores() {
                drop(spawn_on(core, async || {
                    let _spawner = Spawner(6);
                    std::future::pending::<()>().await;
                }));
            }
            yield_now().await;
        });
    }
}

#[test]
fn a_machine_stops_although_destructors_panic() {
    for _ in 0..10 {
        run(&TWO, || async {
            for _ in 0..200 {
                drop(spawn(async {
                    let _bomb = Bomb("destructor at the end");
                    std::future::pending::<()>().await;
                }));
            }
            yield_now().await;
        });
    }
}

#[ebb::test]
async fn block_on_on_a_core_says_what_to_do_instead() {
    let error = spawn(async { block_on(async {}) }).await.unwrap_err();
    assert!(
        error
            .message()
            .unwrap()
            .contains("await the future instead"),
        "{error}"
    );
    let error = spawn(async { run(&TWO, || async {}) }).await.unwrap_err();
    assert!(
        error.message().unwrap().contains("spawn a task instead"),
        "{error}"
    );
}

#[test]
#[should_panic(expected = "this thread is not a core")]
fn spawning_on_a_thread_that_is_no_core_says_so() {
    drop(spawn(async {}));
}

#[ebb::test]
async fn a_core_that_does_not_exist_is_named() {
    for number in [2, 64, 1 << 32] {
        let error = spawn(async move {
            drop(spawn_on(CoreId::new(number), async || ()));
        })
        .await
        .unwrap_err();
        assert!(
            error
                .message()
                .unwrap()
                .contains("this machine has 2 cores"),
            "{error}"
        );
    }
}

#[test]
fn machines_of_one_two_and_four_cores_work_side_by_side() {
    let threads: Vec<_> = [1, 2, 4, 4, 2, 1]
        .into_iter()
        .map(|cores| {
            thread::spawn(move || {
                run(
                    &Config {
                        cores,
                        pin: cores == 2,
                    },
                    move || async move {
                        let mut sum = 0;
                        for _ in 0..200 {
                            for core in ebb::cores() {
                                sum += spawn_on(core, async move || core.number()).await.unwrap();
                            }
                        }
                        (ebb::core_count(), sum)
                    },
                )
            })
        })
        .collect();
    for (thread, cores) in threads.into_iter().zip([1, 2, 4, 4, 2, 1]) {
        assert_eq!(
            thread.join().unwrap(),
            (cores, 200 * cores * (cores - 1) / 2)
        );
    }
}

// --- Programs -----------------------------------------------------------------------------------

/// The program that the tests below start; not a test by itself.
#[test]
#[ignore = "run by the other tests as a program of its own"]
fn program() {
    fn start() {
        spawn(async {
            ebb::println!("{} cores", ebb::core_count());
            let begun = Instant::now();
            spawn(async move { while begun.elapsed() < Duration::from_millis(25) {} })
                .await
                .unwrap();
            ebb::exit(3);
        });
    }
    if std::env::var_os("EBB_TEST_PROGRAM").is_none() {
        return;
    }
    // SAFETY: no arguments.
    let status = unsafe { ebb_hosted::main(0, std::ptr::null(), start) };
    std::process::exit(status);
}

fn program_with(cores: &str) -> (Option<i32>, String) {
    program_in(&[("EBB_CORES", cores)])
}

fn program_in(variables: &[(&str, &str)]) -> (Option<i32>, String) {
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "program", "--nocapture", "--include-ignored"])
        .env("EBB_TEST_PROGRAM", "yes")
        .envs(variables.iter().copied())
        .output()
        .unwrap();
    let text = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8(text).unwrap())
}

#[test]
fn a_hog_is_reported_with_the_place_that_spawned_it() {
    let (status, text) = program_with("2");
    assert_eq!(status, Some(3), "{text}");
    let line = text
        .lines()
        .find(|l| l.contains("held core 0 for"))
        .unwrap_or_else(|| panic!("{text}"));
    assert!(line.contains("tests/hosted/events.rs:"), "{line}");
}

#[test]
fn the_number_of_cores_is_what_ebb_cores_says() {
    for cores in ["1", "2", "4", "64"] {
        let (status, text) = program_with(cores);
        assert_eq!(status, Some(3), "{text}");
        assert!(text.contains(&format!("{cores} cores")), "{text}");
    }
}

#[test]
fn a_malformed_number_of_cores_is_refused_in_words() {
    for cores in ["0", "65", "two", "", "-1", "2,5", "99999999999999999999"] {
        let (status, text) = program_with(cores);
        assert_eq!(status, Some(2), "{text}");
        let message = format!("ebb: EBB_CORES is `{cores}`; it is a number from 1 to 64");
        assert!(text.contains(&message), "{text}");
    }
}

#[test]
fn a_malformed_time_to_look_for_work_is_refused_in_words() {
    for look in ["-1", "1001", "50us", ""] {
        let (status, text) = program_in(&[("EBB_IDLE_POLL", look)]);
        assert_eq!(status, Some(2), "{text}");
        let message = format!(
            "ebb: EBB_IDLE_POLL is `{look}`; it is a number of microseconds from 0 to 1000"
        );
        assert!(text.contains(&message), "{text}");
    }
}

#[test]
fn all_of_this_holds_for_cores_that_look_for_work_before_they_sleep() {
    if std::env::var_os("EBB_IDLE_POLL").is_some() {
        return;
    }
    let again = Command::new(std::env::current_exe().unwrap())
        .env("EBB_IDLE_POLL", "100")
        .env_remove("EBB_TEST_PROGRAM")
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&again.stdout);
    assert!(again.status.success(), "{text}");
    assert!(text.contains(" 0 failed"), "{text}");
}

#[test]
fn a_trace_that_could_not_be_written_is_told_before_the_program_starts() {
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "program", "--nocapture", "--include-ignored"])
        .env("EBB_TEST_PROGRAM", "yes")
        .env("EBB_TRACE", "/nowhere/trace")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(
        said.contains("ebb: EBB_TRACE is `/nowhere/trace`: "),
        "{said}"
    );
    assert!(!String::from_utf8_lossy(&output.stdout).contains("cores"));
}
