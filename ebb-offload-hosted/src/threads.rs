//! Threads that do what may wait, so that no core does.

use std::{
    io,
    sync::{
        Arc, Mutex, PoisonError,
        mpsc::{self, Receiver, SyncSender},
    },
    thread,
};

use ebb_offload::host::Pending;
use ebb_runtime::sync::oneshot;

/// Requests that wait for a thread; more are refused.
const WAITING: usize = 1024;

type Work = Box<dyn FnOnce() + Send>;

/// They end when this is dropped.
pub struct Threads(SyncSender<Work>);

impl Threads {
    pub fn start(name: &str, count: usize) -> io::Result<Self> {
        let (sender, receiver) = mpsc::sync_channel(WAITING);
        let receiver = Arc::new(Mutex::new(receiver));
        for _ in 0..count {
            let receiver = Arc::clone(&receiver);
            thread::Builder::new()
                .name(name.to_owned())
                .spawn(move || work(&receiver))?;
        }
        Ok(Self(sender))
    }

    /// What a thread makes of it, or `busy`. One that nobody waits for any more is left undone.
    pub fn run<T: Send + 'static, E: Send + 'static + Clone>(
        &self,
        make: impl FnOnce() -> Result<T, E> + Send + 'static,
        busy: E,
    ) -> Pending<T, E> {
        let (sender, receiver) = oneshot::channel();
        let work = move || {
            if !sender.is_closed() {
                let _ = sender.send(make());
            }
        };
        let taken = self.0.try_send(Box::new(work)).is_ok();
        Box::pin(async move {
            if !taken {
                return Err(busy);
            }
            receiver.await.unwrap_or(Err(busy))
        })
    }
}

fn work(receiver: &Mutex<Receiver<Work>>) {
    loop {
        let next = receiver
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .recv();
        match next {
            Ok(work) => work(),
            Err(_) => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        pin::pin,
        sync::atomic::{AtomicUsize, Ordering},
        task::{Context, Poll, Waker},
        time::{Duration, Instant},
    };

    use super::*;

    fn wait<T, E>(pending: Pending<T, E>) -> Result<T, E> {
        let mut pending = pin!(pending);
        let begun = Instant::now();
        loop {
            if let Poll::Ready(result) = pending
                .as_mut()
                .poll(&mut Context::from_waker(Waker::noop()))
            {
                return result;
            }
            assert!(begun.elapsed() < Duration::from_secs(30), "no answer");
            thread::sleep(Duration::from_millis(1));
        }
    }

    #[test]
    fn one_too_many_is_refused_and_what_nobody_waits_for_is_left_undone() {
        let threads = Threads::start("test", 1).expect("a thread");
        let (begin, begun) = mpsc::channel();
        let (release, released) = mpsc::channel::<()>();
        let held = threads.run(
            move || {
                begin.send(()).expect("the test waits");
                released.recv().map_err(|_| "no release")
            },
            "busy",
        );
        begun.recv().expect("it begins");
        let done = Arc::new(AtomicUsize::new(0));
        let mut waiting: Vec<_> = (0..WAITING)
            .map(|n| {
                let done = Arc::clone(&done);
                let work = move || {
                    done.fetch_add(1, Ordering::Relaxed);
                    Ok(n)
                };
                threads.run(work, "busy")
            })
            .collect();
        assert_eq!(wait(threads.run(|| Ok(()), "busy")), Err("busy"));
        let dropped = waiting.split_off(WAITING / 2);
        drop(dropped);
        release.send(()).expect("it waits");
        assert_eq!(wait(held), Ok(()));
        for (n, pending) in waiting.into_iter().enumerate() {
            assert_eq!(wait(pending), Ok(n));
        }
        assert_eq!(wait(threads.run(|| Ok(()), "busy")), Ok(()));
        assert_eq!(done.load(Ordering::Relaxed), WAITING / 2);
    }
}
