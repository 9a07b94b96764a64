//! The runtimes that are compared, each on threads of its own.

use std::{sync::mpsc, thread, time::Duration};

use ebb_hosted::Config;

/// A job for a side's own thread: runs there and gives the time it took.
type Job = Box<dyn FnOnce() -> std::pin::Pin<Box<dyn Future<Output = Duration>>> + Send>;

/// A runtime that lives on threads of its own for the whole bench, so that no side pays for starts.
pub struct Runner {
    jobs: mpsc::Sender<(Job, mpsc::Sender<Duration>)>,
}

impl Runner {
    /// Ours.
    pub fn ebb(cores: usize) -> Self {
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

    /// Tokio on one thread.
    pub fn tokio_current() -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build();
        Self::tokio(runtime.expect("tokio starts"))
    }

    /// Tokio with this many workers.
    pub fn tokio_multi(threads: usize) -> Self {
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

    /// Left out.
    #[cfg(not(feature = "monoio"))]
    pub fn monoio() -> Option<Self> {
        None
    }

    /// `None` where the kernel has no io_uring.
    #[cfg(feature = "monoio")]
    pub fn monoio() -> Option<Self> {
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

    /// Runs a job on it; the time that the job says.
    pub fn run<F: Future<Output = Duration> + 'static>(
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
pub mod monoio {
    pub fn spawn<F: Future>(future: F) -> F {
        future
    }

    pub mod time {
        pub async fn sleep(_: std::time::Duration) {}
    }
}
