//! A thread with a runtime of tokio, for client libraries that want one: HTTP/2 and gRPC. Tasks of a core start futures there and wait for
//! what they come to.

use std::sync::Arc;

use ebb_runtime::sync::oneshot;
use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinHandle;

/// The thread. Clones share it; it ends with the last one.
#[derive(Clone, Debug)]
pub struct Outside(Arc<Ending>);

#[derive(Debug)]
struct Ending(Option<Runtime>);

impl Drop for Ending {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            // What still waits for an answer is not waited for.
            runtime.shutdown_background();
        }
    }
}

impl Outside {
    /// Starts it, with its name.
    ///
    /// # Errors
    /// There is no thread to be had.
    pub fn start(name: &str) -> Result<Self, String> {
        let runtime = Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name(name)
            .enable_all()
            .build()
            .map_err(|error| format!("a thread for gRPC: {error}"))?;
        Ok(Self(Arc::new(Ending(Some(runtime)))))
    }

    /// Starts a future there that goes on by itself.
    pub fn spawn(&self, future: impl Future<Output = ()> + Send + 'static) {
        if let Some(runtime) = &self.0.0 {
            drop(runtime.spawn(future));
        }
    }

    /// Starts a future there that goes on until what this gives is dropped.
    #[must_use]
    pub fn attend(&self, future: impl Future<Output = ()> + Send + 'static) -> Attended {
        Attended(self.0.0.as_ref().map(|runtime| runtime.spawn(future)))
    }

    /// Runs `start` where a runtime is expected.
    pub fn enter<T>(&self, start: impl FnOnce() -> T) -> T {
        let _entered = self.0.0.as_ref().map(Runtime::enter);
        start()
    }

    /// What a future comes to there; `None` if it panicked.
    pub async fn run<T: Send + 'static>(
        &self,
        future: impl Future<Output = T> + Send + 'static,
    ) -> Option<T> {
        let (sender, receiver) = oneshot::channel();
        self.spawn(async move {
            // Nobody waits any more.
            let _ = sender.send(future.await);
        });
        receiver.await.ok()
    }
}

/// A future that ends when this is dropped.
#[derive(Debug)]
pub struct Attended(Option<JoinHandle<()>>);

impl Drop for Attended {
    fn drop(&mut self) {
        if let Some(task) = &self.0 {
            task.abort();
        }
    }
}
