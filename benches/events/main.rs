//! What do events, timers and cross-core calls cost, beside tokio's runtimes?
//!
//! Each side runs natively on this machine, with the same number of threads. `cargo bench --bench
//! events [-- --quick]`.

mod runner;

use std::{
    cell::RefCell,
    collections::BTreeMap,
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use benches::{Comparison, Side, compare};
use ebb::{CoreId, time};

use runner::Runner;
#[cfg(not(feature = "monoio"))]
use runner::monoio;

async fn timed<F: Future>(future: F) -> Duration {
    let start = Instant::now();
    future.await;
    start.elapsed()
}

/// The processor time of the calling thread, which runs nothing else meanwhile.
async fn worked<F: Future>(future: F) -> Duration {
    let start = thread_time();
    future.await;
    thread_time() - start
}

fn thread_time() -> Duration {
    // SAFETY: zero bits are a timespec.
    let mut spent: libc::timespec = unsafe { std::mem::zeroed() };
    // SAFETY: it writes the timespec alone.
    let done = unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut spent) };
    assert_eq!(done, 0, "Linux has this clock");
    Duration::new(spent.tv_sec as u64, spent.tv_nsec as u32)
}

/// As [`timed`], in a task of its own: on a worker where the runtime has workers.
async fn in_task<F: Future<Output = ()> + Send + 'static>(future: F) -> Duration {
    tokio::spawn(timed(future))
        .await
        .expect("the measured code does not panic")
}

/// The sides, and how much they are to do.
struct Sides {
    ebb: Runner,
    current: Runner,
    multi: Runner,
    monoio: Option<Runner>,
    rounds: usize,
    /// Operations are divided by this,
    scale: u64,
    /// and so many stand for a million.
    million: u64,
}

fn main() {
    ebb::set_hog_limit(u64::MAX, false);
    let quick = benches::quick();
    let sides = Sides {
        ebb: Runner::ebb(2),
        current: Runner::tokio_current(),
        multi: Runner::tokio_multi(2),
        monoio: Runner::monoio(),
        rounds: if quick { 3 } else { 9 },
        scale: if quick { 20 } else { 1 },
        million: if quick { 100_000 } else { 1_000_000 },
    };
    if sides.monoio.is_none() {
        println!("monoio is left out: no io_uring here, or no `--features monoio`");
    }
    let spawn = sides.spawn_and_join();
    let batch = sides.spawn_a_batch();
    let switch = sides.switch_tasks();
    let remote = sides.call_another_core();
    let awake = sides.call_a_busy_core();
    let timers = sides.set_and_cancel_a_timer();
    let armed = sides.arm_a_million_timers();
    let (alive, memory) = sides.keep_a_million_tasks();
    let live = sides.let_a_million_sleep();

    println!();
    let (current, multi) = ("tokio current-thread", "tokio multi-thread");
    for (result, name, peer) in [
        (&spawn, "spawn_join_vs_tokio_current", current),
        (&spawn, "spawn_join_vs_tokio_multi", multi),
        (&batch, "spawn_batch_vs_tokio_current", current),
        (&switch, "switch_vs_tokio_current", current),
        (&remote, "remote_call_vs_tokio_multi", multi),
        (&awake, "remote_call_awake_vs_tokio", "tokio, two runtimes"),
        (&armed, "million_timers_vs_tokio_current", current),
        (&alive, "million_tasks_vs_tokio_current", current),
        (&timers, "timer_vs_tokio_current", current),
        (&live, "million_sleepers_vs_tokio_current", current),
        (&spawn, "spawn_join_vs_monoio", "monoio"),
        (&batch, "spawn_batch_vs_monoio", "monoio"),
        (&timers, "timer_vs_monoio", "monoio"),
        (&live, "million_sleepers_vs_monoio", "monoio"),
        (&armed, "million_timers_vs_monoio", "monoio"),
        (&alive, "million_tasks_vs_monoio", "monoio"),
    ] {
        if peer != "monoio" || sides.monoio.is_some() {
            result.goal(name, "ebb", peer, 1.0);
        }
    }
    for (name, peer) in [
        ("task_memory_vs_tokio_current", current),
        ("task_memory_vs_monoio", "monoio"),
    ] {
        if let Some(bytes) = memory.get(peer) {
            benches::goal(name, memory["ebb"] / bytes, 1.0);
        }
    }
}

impl Sides {
    fn spawn_and_join(&self) -> Comparison {
        compare(
            "spawn a task here and join it",
            1_000_000 / self.scale,
            self.rounds,
            with(
                vec![
                    Side::new("ebb", |n| {
                        self.ebb
                            .run(move || timed(join_each(n, |i| ebb::spawn(async move { i }))))
                    }),
                    Side::new("tokio current-thread", |n| {
                        self.current
                            .run(move || in_task(join_each(n, |i| tokio::spawn(async move { i }))))
                    }),
                    Side::new("tokio multi-thread", |n| {
                        self.multi
                            .run(move || in_task(join_each(n, |i| tokio::spawn(async move { i }))))
                    }),
                ],
                &self.monoio,
                |runner, n| {
                    runner.run(move || timed(join_each(n, |i| monoio::spawn(async move { i }))))
                },
            ),
        )
    }

    fn spawn_a_batch(&self) -> Comparison {
        compare(
            "spawn 1,000 tasks, then join them",
            1_000_000 / self.scale,
            self.rounds,
            with(
                vec![
                    Side::new("ebb", |n| {
                        self.ebb
                            .run(move || timed(join_batches(n, |i| ebb::spawn(async move { i }))))
                    }),
                    Side::new("tokio current-thread", |n| {
                        self.current.run(move || {
                            in_task(join_batches(n, |i| tokio::spawn(async move { i })))
                        })
                    }),
                ],
                &self.monoio,
                |runner, n| {
                    runner.run(move || timed(join_batches(n, |i| monoio::spawn(async move { i }))))
                },
            ),
        )
    }

    fn switch_tasks(&self) -> Comparison {
        compare(
            "switch between two tasks",
            2_000_000 / self.scale,
            self.rounds,
            vec![
                Side::new("ebb", |n| {
                    self.ebb.run(move || {
                        timed(async move {
                            let other = ebb::spawn(take_turns(n / 2, ebb::yield_now));
                            take_turns(n / 2, ebb::yield_now).await;
                            let _ = other.await;
                        })
                    })
                }),
                Side::new("tokio current-thread", |n| {
                    self.current.run(move || {
                        in_task(async move {
                            let other = tokio::spawn(take_turns(n / 2, tokio::task::yield_now));
                            take_turns(n / 2, tokio::task::yield_now).await;
                            let _ = other.await;
                        })
                    })
                }),
            ],
        )
    }

    fn call_another_core(&self) -> Comparison {
        compare(
            "call on another core and wait for the answer",
            100_000 / self.scale,
            self.rounds,
            vec![
                Side::new("ebb", |n| {
                    self.ebb.run(move || {
                        timed(async move {
                            for i in 0..n {
                                let _ =
                                    ebb::spawn_on(CoreId::new(1), move || async move { i }).await;
                            }
                        })
                    })
                }),
                Side::new("tokio multi-thread", |n| {
                    self.multi.run(move || {
                        timed(async move {
                            for i in 0..n {
                                // Not called from a worker, so the task runs on one: another thread.
                                let _ = tokio::spawn(async move { i }).await;
                            }
                        })
                    })
                }),
            ],
        )
    }

    fn call_a_busy_core(&self) -> Comparison {
        compare(
            "the same while both cores are kept busy by other tasks",
            100_000 / self.scale,
            self.rounds,
            vec![
                Side::new("ebb", |n| {
                    self.ebb.run(move || async move {
                        let busy: Vec<_> = ebb::cores()
                            .map(|core| {
                                ebb::spawn_on(core, async || {
                                    loop {
                                        ebb::yield_now().await;
                                    }
                                })
                            })
                            .collect();
                        let spent = timed(async move {
                            for i in 0..n {
                                let _ =
                                    ebb::spawn_on(CoreId::new(1), move || async move { i }).await;
                            }
                        })
                        .await;
                        busy.iter().for_each(ebb::RemoteHandle::cancel);
                        spent
                    })
                }),
                Side::new("tokio, two runtimes", |n| {
                    // Tokio has no way to name a worker; this is what one writes to have one.
                    let (ask, mut asked) = tokio::sync::mpsc::unbounded_channel::<(
                        u64,
                        tokio::sync::oneshot::Sender<u64>,
                    )>();
                    let other = thread::spawn(move || {
                        let runtime = tokio::runtime::Builder::new_current_thread().build();
                        runtime.expect("tokio starts").block_on(async move {
                            let busy = tokio::spawn(yield_for_ever());
                            while let Some((i, answer)) = asked.recv().await {
                                let _ =
                                    answer.send(tokio::spawn(async move { i }).await.unwrap_or(0));
                            }
                            busy.abort();
                        });
                    });
                    let spent = self.current.run(move || async move {
                        let busy = tokio::spawn(yield_for_ever());
                        let spent = in_task(async move {
                            for i in 0..n {
                                let (answer, answered) = tokio::sync::oneshot::channel();
                                let _ = ask.send((i, answer));
                                let _ = answered.await;
                            }
                        })
                        .await;
                        busy.abort();
                        spent
                    });
                    other.join().expect("it ends when nobody asks any more");
                    spent
                }),
            ],
        )
    }

    fn set_and_cancel_a_timer(&self) -> Comparison {
        compare(
            "set a timer and cancel it",
            2_000_000 / self.scale,
            self.rounds,
            with(
                vec![
                    Side::new("ebb", |n| {
                        self.ebb.run(move || {
                            timed(async move {
                                for i in 0..n {
                                    let sleep = std::pin::pin!(time::sleep(Duration::from_millis(
                                        i % 1000 + 1
                                    )));
                                    poll_once(sleep).await;
                                }
                            })
                        })
                    }),
                    Side::new("tokio current-thread", |n| {
                        self.current.run(move || {
                            in_task(async move {
                                for i in 0..n {
                                    let sleep =
                                        tokio::time::sleep(Duration::from_millis(i % 1000 + 1));
                                    poll_once(std::pin::pin!(sleep)).await;
                                }
                            })
                        })
                    }),
                ],
                &self.monoio,
                |runner, n| {
                    runner.run(move || {
                        timed(async move {
                            for i in 0..n {
                                let sleep =
                                    monoio::time::sleep(Duration::from_millis(i % 1000 + 1));
                                poll_once(std::pin::pin!(sleep)).await;
                            }
                        })
                    })
                },
            ),
        )
    }

    fn arm_a_million_timers(&self) -> Comparison {
        compare(
            "a million live timers: arm them all, then cancel them all",
            self.million,
            self.rounds.min(5),
            with(
                vec![
                    Side::new("ebb", |n| {
                        self.ebb.run(move || {
                            timed(arm(n, |i| {
                                time::sleep(Duration::from_millis(i % 60_000 + 1000))
                            }))
                        })
                    }),
                    Side::new("tokio current-thread", |n| {
                        self.current.run(move || {
                            in_task(arm(n, |i| {
                                tokio::time::sleep(Duration::from_millis(i % 60_000 + 1000))
                            }))
                        })
                    }),
                ],
                &self.monoio,
                |runner, n| {
                    runner.run(move || {
                        timed(arm(n, |i| {
                            monoio::time::sleep(Duration::from_millis(i % 60_000 + 1000))
                        }))
                    })
                },
            ),
        )
    }

    /// The heap that a task takes, by side, beside the time.
    fn keep_a_million_tasks(&self) -> (Comparison, BTreeMap<&'static str, f64>) {
        let memory = RefCell::new(BTreeMap::new());
        let alive = compare(
            "a million tasks at once: spawn, run each to its first wait, let them finish, join",
            self.million,
            self.rounds.min(5),
            with(
                vec![
                    Side::new("ebb", |n| {
                        let (spent, bytes) =
                            crowd(&self.ebb, n, |task| ebb::spawn(task), ebb::yield_now);
                        memory.borrow_mut().insert("ebb", bytes);
                        spent
                    }),
                    Side::new("tokio current-thread", |n| {
                        let (spent, bytes) = crowd(
                            &self.current,
                            n,
                            |task| tokio::spawn(task),
                            tokio::task::yield_now,
                        );
                        memory.borrow_mut().insert("tokio current-thread", bytes);
                        spent
                    }),
                ],
                &self.monoio,
                |runner, n| {
                    let (spent, bytes) = crowd(runner, n, monoio::spawn, || {
                        monoio::time::sleep(Duration::ZERO)
                    });
                    memory.borrow_mut().insert("monoio", bytes);
                    spent
                },
            ),
        );
        let memory = memory.into_inner();
        for (side, bytes) in &memory {
            println!("  {side:<28} {bytes:>10.0} bytes of heap for each task");
        }
        (alive, memory)
    }

    /// In processor time: the last one wakes half a second after it was spawned, whoever wakes it.
    fn let_a_million_sleep(&self) -> Comparison {
        compare(
            "a million tasks that sleep, each 1 to 500 ms: processor time of all of it",
            self.million,
            self.rounds.min(3),
            with(
                vec![
                    Side::new("ebb", |n| {
                        self.ebb.run(move || {
                            worked(sleep_all(n, |limit| ebb::spawn(time::sleep(limit))))
                        })
                    }),
                    Side::new("tokio current-thread", |n| {
                        self.current.run(move || {
                            worked(sleep_all(n, |limit| {
                                tokio::spawn(tokio::time::sleep(limit))
                            }))
                        })
                    }),
                ],
                &self.monoio,
                |runner, n| {
                    runner.run(move || {
                        worked(sleep_all(n, |limit| {
                            monoio::spawn(monoio::time::sleep(limit))
                        }))
                    })
                },
            ),
        )
    }
}

/// Spawns `n` tasks, each joined before the next.
async fn join_each<H: Future>(n: u64, spawn: impl Fn(u64) -> H) {
    for i in 0..n {
        let _ = spawn(i).await;
    }
}

/// Spawns `n` tasks, a thousand before they are joined.
async fn join_batches<H: Future>(n: u64, spawn: impl Fn(u64) -> H) {
    for _ in 0..n / 1000 {
        let tasks: Vec<_> = (0..1000).map(&spawn).collect();
        for task in tasks {
            let _ = task.await;
        }
    }
}

/// Lets other tasks run `n` times.
async fn take_turns<Y: Future<Output = ()>>(n: u64, yield_now: impl Fn() -> Y) {
    for _ in 0..n {
        yield_now().await;
    }
}

/// Spawns `n` tasks that sleep, and joins them when all are there.
async fn sleep_all<H: Future>(n: u64, spawn: impl Fn(Duration) -> H) {
    let tasks: Vec<_> = (0..n)
        .map(|i| spawn(Duration::from_millis(i % 500 + 1)))
        .collect();
    for task in tasks {
        let _ = task.await;
    }
}

/// Adds monoio, where it runs.
fn with<'a>(
    mut sides: Vec<Side<'a>>,
    monoio: &'a Option<Runner>,
    mut run: impl FnMut(&'a Runner, u64) -> Duration + 'a,
) -> Vec<Side<'a>> {
    if let Some(runner) = monoio {
        sides.push(Side::new("monoio", move |n| run(runner, n)));
    }
    sides
}

async fn poll_once<F: Future<Output = ()>>(mut future: std::pin::Pin<&mut F>) {
    std::future::poll_fn(|cx| {
        let _ = future.as_mut().poll(cx);
        std::task::Poll::Ready(())
    })
    .await;
}

async fn yield_for_ever() {
    loop {
        tokio::task::yield_now().await;
    }
}

/// Arms `n` timers, and cancels them when all are armed.
async fn arm<F: Future<Output = ()>>(n: u64, sleep: impl Fn(u64) -> F) {
    let mut all = Vec::with_capacity(n as usize);
    for i in 0..n {
        let mut timer = Box::pin(sleep(i));
        poll_once(timer.as_mut()).await;
        all.push(timer);
    }
}

/// Heap in use, in bytes.
fn heap() -> f64 {
    // SAFETY: only reads the allocator's counters.
    let info = unsafe { libc::mallinfo2() };
    (info.uordblks + info.hblkhd) as f64
}

/// Waits until the flag that all tasks share is set, polled by whoever has its waker.
struct Gate(std::rc::Rc<std::cell::RefCell<(bool, Vec<std::task::Waker>)>>);

// SAFETY: only used on runtimes of one thread, whose `spawn` may ask for `Send` all the same.
unsafe impl Send for Gate {}

impl Future for Gate {
    type Output = ();

    fn poll(
        self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<()> {
        let mut shared = self.0.borrow_mut();
        if shared.0 {
            return std::task::Poll::Ready(());
        }
        shared.1.push(cx.waker().clone());
        std::task::Poll::Pending
    }
}

/// `n` tasks alive at once on a runtime of one thread: the time of their lives, and the heap that
/// one takes while it waits (without the test's own list of wakers and handles).
fn crowd<H: Future + 'static, Y: Future<Output = ()> + 'static>(
    runner: &Runner,
    n: u64,
    spawn: impl Fn(Gate) -> H + Send + 'static,
    pause: impl Fn() -> Y + Send + 'static,
) -> (Duration, f64) {
    let (tell, told) = mpsc::channel();
    let spent = runner.run(move || async move {
        let gate = std::rc::Rc::new(std::cell::RefCell::new((
            false,
            Vec::with_capacity(n as usize),
        )));
        let mut tasks = Vec::with_capacity(n as usize);
        let before = heap();
        let start = Instant::now();
        for _ in 0..n {
            tasks.push(spawn(Gate(gate.clone())));
        }
        while gate.borrow().1.len() < n as usize {
            pause().await;
        }
        let spawned = start.elapsed();
        let _ = tell.send((heap() - before) / n as f64);
        let start = Instant::now();
        let wakers = {
            let mut shared = gate.borrow_mut();
            shared.0 = true;
            std::mem::take(&mut shared.1)
        };
        wakers.into_iter().for_each(std::task::Waker::wake);
        for task in tasks {
            let _ = task.await;
        }
        spawned + start.elapsed()
    });
    (spent, told.recv().expect("told before the end"))
}
