//! What do events, timers and cross-core calls cost, beside tokio's runtimes?
//!
//! Each side runs natively on this machine, with the same number of threads. `cargo bench --bench
//! events [-- --quick]`.

use std::{
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use ebb::{CoreId, time};
use ebb_benches::{Side, compare};
use ebb_hosted::Config;

/// A job for a side's own thread: runs there and gives the time it took.
type Job = Box<dyn FnOnce() -> std::pin::Pin<Box<dyn Future<Output = Duration>>> + Send>;

/// A runtime that lives on threads of its own for the whole bench, so that no side pays for starts.
struct Runner {
    jobs: mpsc::Sender<(Job, mpsc::Sender<Duration>)>,
}

impl Runner {
    fn ebb(cores: usize) -> Self {
        let (jobs, queue) = mpsc::channel::<(Job, mpsc::Sender<Duration>)>();
        thread::spawn(move || {
            ebb_hosted::run(&Config { cores, pin: false }, move || async move {
                // The bench thread waits meanwhile; between jobs this core may as well block.
                while let Ok((job, done)) = queue.recv() {
                    let _ = done.send(job().await);
                }
            });
        });
        Self { jobs }
    }

    fn tokio_current() -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build();
        Self::tokio(runtime.expect("tokio starts"))
    }

    fn tokio_multi(threads: usize) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(threads)
            .enable_time()
            .build();
        Self::tokio(runtime.expect("tokio starts"))
    }

    fn tokio(runtime: tokio::runtime::Runtime) -> Self {
        let (jobs, queue) = mpsc::channel::<(Job, mpsc::Sender<Duration>)>();
        thread::spawn(move || {
            while let Ok((job, done)) = queue.recv() {
                let _ = done.send(runtime.block_on(job()));
            }
        });
        Self { jobs }
    }

    #[cfg(not(feature = "monoio"))]
    fn monoio() -> Option<Self> {
        None
    }

    /// `None` where the kernel has no io_uring.
    #[cfg(feature = "monoio")]
    fn monoio() -> Option<Self> {
        let (jobs, queue) = mpsc::channel::<(Job, mpsc::Sender<Duration>)>();
        let (ready, wait) = mpsc::channel();
        thread::spawn(move || {
            let runtime = monoio::RuntimeBuilder::<monoio::IoUringDriver>::new()
                .enable_timer()
                .build();
            let Ok(mut runtime) = runtime else { return };
            let _ = ready.send(());
            while let Ok((job, done)) = queue.recv() {
                let _ = done.send(runtime.block_on(async { monoio::spawn(job()).await }));
            }
        });
        wait.recv().ok().map(|()| Self { jobs })
    }

    fn run<F: Future<Output = Duration> + 'static>(
        &self,
        job: impl FnOnce() -> F + Send + 'static,
    ) -> Duration {
        let (done, wait) = mpsc::channel();
        self.jobs
            .send((Box::new(move || Box::pin(job())), done))
            .expect("the runner lives");
        wait.recv().expect("the job ends")
    }
}

/// Stands for the crate where it is left out; without a runner nobody calls it.
#[cfg(not(feature = "monoio"))]
mod monoio {
    pub fn spawn<F: Future>(future: F) -> F {
        future
    }

    pub mod time {
        pub async fn sleep(_: std::time::Duration) {}
    }
}

async fn timed<F: Future>(future: F) -> Duration {
    let start = Instant::now();
    future.await;
    start.elapsed()
}

/// As [`timed`], in a task of its own: on a worker where the runtime has workers.
async fn in_task<F: Future<Output = ()> + Send + 'static>(future: F) -> Duration {
    tokio::spawn(timed(future))
        .await
        .expect("the measured code does not panic")
}

fn main() {
    ebb::set_hog_limit(u64::MAX, false);
    let quick = ebb_benches::quick();
    let scale = if quick { 20 } else { 1 };
    let rounds = if quick { 3 } else { 9 };
    let ebb = Runner::ebb(2);
    let current = Runner::tokio_current();
    let multi = Runner::tokio_multi(2);
    let monoio = Runner::monoio();
    if monoio.is_none() {
        println!("monoio is left out: no io_uring here, or no `--features monoio`");
    }

    let spawn = compare(
        "spawn a task here and join it",
        1_000_000 / scale,
        rounds,
        with(
            vec![
                Side::new("ebb", |n| {
                    ebb.run(move || {
                        timed(async move {
                            for i in 0..n {
                                let _ = ebb::spawn(async move { i }).await;
                            }
                        })
                    })
                }),
                Side::new("tokio current-thread", |n| {
                    current.run(move || {
                        in_task(async move {
                            for i in 0..n {
                                let _ = tokio::spawn(async move { i }).await;
                            }
                        })
                    })
                }),
                Side::new("tokio multi-thread", |n| {
                    multi.run(move || {
                        in_task(async move {
                            for i in 0..n {
                                let _ = tokio::spawn(async move { i }).await;
                            }
                        })
                    })
                }),
            ],
            &monoio,
            |runner, n| {
                runner.run(move || {
                    timed(async move {
                        for i in 0..n {
                            monoio::spawn(async move { i }).await;
                        }
                    })
                })
            },
        ),
    );

    let batch = compare(
        "spawn 1,000 tasks, then join them",
        1_000_000 / scale,
        rounds,
        with(
            vec![
                Side::new("ebb", |n| {
                    ebb.run(move || {
                        timed(async move {
                            for _ in 0..n / 1000 {
                                let tasks: Vec<_> =
                                    (0..1000).map(|i| ebb::spawn(async move { i })).collect();
                                for task in tasks {
                                    let _ = task.await;
                                }
                            }
                        })
                    })
                }),
                Side::new("tokio current-thread", |n| {
                    current.run(move || {
                        in_task(async move {
                            for _ in 0..n / 1000 {
                                let tasks: Vec<_> =
                                    (0..1000).map(|i| tokio::spawn(async move { i })).collect();
                                for task in tasks {
                                    let _ = task.await;
                                }
                            }
                        })
                    })
                }),
            ],
            &monoio,
            |runner, n| {
                runner.run(move || {
                    timed(async move {
                        for _ in 0..n / 1000 {
                            let tasks: Vec<_> =
                                (0..1000).map(|i| monoio::spawn(async move { i })).collect();
                            for task in tasks {
                                task.await;
                            }
                        }
                    })
                })
            },
        ),
    );

    let switch = compare(
        "switch between two tasks",
        2_000_000 / scale,
        rounds,
        vec![
            Side::new("ebb", |n| {
                ebb.run(move || {
                    timed(async move {
                        let other = ebb::spawn(async move {
                            for _ in 0..n / 2 {
                                ebb::yield_now().await;
                            }
                        });
                        for _ in 0..n / 2 {
                            ebb::yield_now().await;
                        }
                        let _ = other.await;
                    })
                })
            }),
            Side::new("tokio current-thread", |n| {
                current.run(move || {
                    in_task(async move {
                        let other = tokio::spawn(async move {
                            for _ in 0..n / 2 {
                                tokio::task::yield_now().await;
                            }
                        });
                        for _ in 0..n / 2 {
                            tokio::task::yield_now().await;
                        }
                        let _ = other.await;
                    })
                })
            }),
        ],
    );

    let remote = compare(
        "call on another core and wait for the answer",
        100_000 / scale,
        rounds,
        vec![
            Side::new("ebb", |n| {
                ebb.run(move || {
                    timed(async move {
                        for i in 0..n {
                            let _ = ebb::spawn_on(CoreId::new(1), move || async move { i }).await;
                        }
                    })
                })
            }),
            Side::new("tokio multi-thread", |n| {
                multi.run(move || {
                    timed(async move {
                        for i in 0..n {
                            // Not called from a worker, so the task runs on one: another thread.
                            let _ = tokio::spawn(async move { i }).await;
                        }
                    })
                })
            }),
        ],
    );

    let timers = compare(
        "set a timer and cancel it",
        2_000_000 / scale,
        rounds,
        with(
            vec![
                Side::new("ebb", |n| {
                    ebb.run(move || {
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
                    current.run(move || {
                        in_task(async move {
                            for i in 0..n {
                                let sleep = tokio::time::sleep(Duration::from_millis(i % 1000 + 1));
                                poll_once(std::pin::pin!(sleep)).await;
                            }
                        })
                    })
                }),
            ],
            &monoio,
            |runner, n| {
                runner.run(move || {
                    timed(async move {
                        for i in 0..n {
                            let sleep = monoio::time::sleep(Duration::from_millis(i % 1000 + 1));
                            poll_once(std::pin::pin!(sleep)).await;
                        }
                    })
                })
            },
        ),
    );

    let million = if quick { 100_000 } else { 1_000_000 };
    let live = compare(
        "a million tasks that sleep, each 1 to 500 ms: all of it",
        million,
        rounds.min(3),
        with(
            vec![
                Side::new("ebb", |n| {
                    ebb.run(move || {
                        timed(async move {
                            let tasks: Vec<_> = (0..n)
                                .map(|i| {
                                    ebb::spawn(time::sleep(Duration::from_millis(i % 500 + 1)))
                                })
                                .collect();
                            for task in tasks {
                                let _ = task.await;
                            }
                        })
                    })
                }),
                Side::new("tokio current-thread", |n| {
                    current.run(move || {
                        in_task(async move {
                            let tasks: Vec<_> = (0..n)
                                .map(|i| {
                                    let limit = Duration::from_millis(i % 500 + 1);
                                    tokio::spawn(tokio::time::sleep(limit))
                                })
                                .collect();
                            for task in tasks {
                                let _ = task.await;
                            }
                        })
                    })
                }),
            ],
            &monoio,
            |runner, n| {
                runner.run(move || {
                    timed(async move {
                        let tasks: Vec<_> = (0..n)
                            .map(|i| {
                                let limit = Duration::from_millis(i % 500 + 1);
                                monoio::spawn(monoio::time::sleep(limit))
                            })
                            .collect();
                        for task in tasks {
                            task.await;
                        }
                    })
                })
            },
        ),
    );

    println!();
    spawn.goal(
        "spawn_join_vs_tokio_current",
        "ebb",
        "tokio current-thread",
        1.0,
    );
    spawn.goal(
        "spawn_join_vs_tokio_multi",
        "ebb",
        "tokio multi-thread",
        1.0,
    );
    batch.goal(
        "spawn_batch_vs_tokio_current",
        "ebb",
        "tokio current-thread",
        1.0,
    );
    switch.goal(
        "switch_vs_tokio_current",
        "ebb",
        "tokio current-thread",
        1.0,
    );
    remote.goal(
        "remote_call_vs_tokio_multi",
        "ebb",
        "tokio multi-thread",
        1.0,
    );
    timers.goal("timer_vs_tokio_current", "ebb", "tokio current-thread", 1.0);
    live.goal(
        "million_sleepers_vs_tokio_current",
        "ebb",
        "tokio current-thread",
        1.0,
    );
    if monoio.is_some() {
        spawn.goal("spawn_join_vs_monoio", "ebb", "monoio", 1.0);
        batch.goal("spawn_batch_vs_monoio", "ebb", "monoio", 1.0);
        timers.goal("timer_vs_monoio", "ebb", "monoio", 1.0);
        live.goal("million_sleepers_vs_monoio", "ebb", "monoio", 1.0);
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
