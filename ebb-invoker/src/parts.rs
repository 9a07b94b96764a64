//! Answers in parts: what lies between an instance that gives them and the connection that takes them, which may be of different cores.
//!
//! The instance's side [begins](Parts::begin), [sends](Parts::send) and [ends](Parts::end); the connection's [receives](Parts::recv) or
//! [leaves](Parts::leave). Both learn of the other: a sender waits while some parts wait for the client, and hears when it has gone.
//!
//! What must hold: one task on each side waits at a time. Nobody waits for a part when the sender is gone, nor for room when the
//! receiver is.

use alloc::collections::VecDeque;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::future::{Future, poll_fn};
use core::pin::pin;
use core::task::{Context, Poll, Waker};
use core::time::Duration;

use ebb::time::{Elapsed, Instant, timeout};
use ebb_openwhisk::call::{Ended, Streamed};
use ebb_openwhisk::json::Json;
use spin::mutex::SpinMutex;

/// Parts that wait for the client.
const ROOM: usize = 4;

/// The handle of both sides.
#[derive(Clone)]
pub struct Parts(Arc<SpinMutex<State>>);

struct State {
    head: Option<Json>,
    parts: VecDeque<Vec<u8>>,
    /// How the sender ended.
    ended: Option<Ended>,
    /// The receiver is gone.
    gone: bool,
    sent: Streamed,
    /// When the function gave something, or was let go on, for the last time.
    progress: Instant,
    /// It waits for the client.
    blocked: bool,
    sender: Option<Waker>,
    receiver: Option<Waker>,
}

/// The client has gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gone;

/// The function did not come to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Broken;

impl Default for Parts {
    fn default() -> Self {
        Self(Arc::new(SpinMutex::new(State {
            head: None,
            parts: VecDeque::new(),
            ended: None,
            gone: false,
            sent: Streamed::default(),
            progress: Instant::now(),
            blocked: false,
            sender: None,
            receiver: None,
        })))
    }
}

impl Parts {
    /// Changes the state and wakes whom `f` returns, when the lock is free again.
    fn change(&self, f: impl FnOnce(&mut State) -> Option<Waker>) {
        let waker = f(&mut self.0.lock());
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// The function begins: its time runs from now on.
    pub fn go(&self) {
        self.0.lock().progress = Instant::now();
    }

    /// The answer begins: its status and headers.
    pub fn begin(&self, head: Json) {
        self.change(|state| {
            state.progress = Instant::now();
            state.head.get_or_insert(head);
            state.receiver.take()
        });
    }

    /// Waits for room and sends a part.
    ///
    /// # Errors
    /// [`Gone`].
    pub async fn send(&self, bytes: Vec<u8>) -> Result<(), Gone> {
        let mut bytes = Some(bytes);
        poll_fn(|cx| {
            let mut state = self.0.lock();
            if state.gone {
                return Poll::Ready(Err(Gone));
            }
            if state.parts.len() >= ROOM {
                state.blocked = true;
                state.sender = Some(cx.waker().clone());
                return Poll::Pending;
            }
            state.blocked = false;
            state.progress = Instant::now();
            if let Some(bytes) = bytes.take() {
                state.sent.parts += 1;
                state.sent.bytes += bytes.len() as u64;
                state.parts.push_back(bytes);
            }
            let waker = state.receiver.take();
            drop(state);
            if let Some(waker) = waker {
                waker.wake();
            }
            Poll::Ready(Ok(()))
        })
        .await
    }

    /// Whether the client has gone; if not, the task is woken when it has.
    pub fn poll_gone(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut state = self.0.lock();
        if state.gone {
            return Poll::Ready(());
        }
        state.sender = Some(cx.waker().clone());
        Poll::Pending
    }

    /// No more parts come. What was sent, if the answer had begun.
    pub fn end(&self, ended: Ended) -> Option<Streamed> {
        let mut streamed = None;
        self.change(|state| {
            let ended = *state.ended.get_or_insert(match state.gone {
                true => Ended::ClientGone,
                false => ended,
            });
            let has_begun = state.head.is_some();
            streamed = has_begun.then_some(Streamed {
                ended,
                ..state.sent
            });
            state.receiver.take()
        });
        streamed
    }

    /// What the answer began with.
    pub fn head(&self) -> Option<Json> {
        self.0.lock().head.clone()
    }

    /// Waits for the beginning of an answer, for as long as it does not come as a whole.
    pub fn poll_begun(&self, cx: &mut Context<'_>) -> Poll<Json> {
        let mut state = self.0.lock();
        if let Some(head) = &state.head {
            return Poll::Ready(head.clone());
        }
        state.receiver = Some(cx.waker().clone());
        Poll::Pending
    }

    /// Waits for a part; `None` at the end of all.
    pub async fn recv(&self) -> Option<Result<Vec<u8>, Broken>> {
        poll_fn(|cx| {
            let mut state = self.0.lock();
            let Some(part) = state.parts.pop_front() else {
                return match state.ended {
                    Some(Ended::Complete) => Poll::Ready(None),
                    Some(_) => Poll::Ready(Some(Err(Broken))),
                    None => {
                        state.receiver = Some(cx.waker().clone());
                        Poll::Pending
                    }
                };
            };
            let waker = state.sender.take();
            drop(state);
            if let Some(waker) = waker {
                waker.wake();
            }
            Poll::Ready(Some(Ok(part)))
        })
        .await
    }

    /// The client has gone.
    pub fn leave(&self) {
        self.change(|state| {
            state.gone = true;
            state.parts.clear();
            state.sender.take()
        });
    }

    /// The answer's beginning cannot be sent: what comes after it is for nobody.
    pub fn refuse(&self) {
        self.0.lock().ended.get_or_insert(Ended::Refused);
        self.leave();
    }

    /// How long the function still has to give something: none while it waits for the client.
    pub fn left(&self, limit: Duration, total: Duration, began: Instant) -> Duration {
        let state = self.0.lock();
        let total = total.saturating_sub(began.elapsed());
        match state.blocked || state.gone {
            true => total,
            false => total.min(limit.saturating_sub(state.progress.elapsed())),
        }
    }
}

/// Tells the instance's side when the connection's is dropped.
pub struct Receiving(pub Parts);

impl Drop for Receiving {
    fn drop(&mut self) {
        self.0.leave();
    }
}

/// Lets a run go on as long as it gives something within `limit`, waiting for its client not counted, and for `total` at most.
///
/// # Errors
/// [`Elapsed`].
pub async fn limited<T>(
    limit: Duration,
    total: Duration,
    parts: &Parts,
    run: impl Future<Output = T>,
) -> Result<T, Elapsed> {
    let began = Instant::now();
    let mut run = pin!(run);
    loop {
        let left = parts.left(limit, total, began);
        if left.is_zero() {
            return Err(Elapsed);
        }
        if let Ok(done) = timeout(left, run.as_mut()).await {
            return Ok(done);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;
    use core::future::Future;
    use core::pin::pin;

    fn poll<T>(future: impl Future<Output = T>) -> Poll<T> {
        pin!(future).poll(&mut Context::from_waker(Waker::noop()))
    }

    #[test]
    fn a_sender_waits_for_room_and_hears_when_nobody_listens() {
        let parts = Parts::default();
        for _ in 0..ROOM {
            assert_eq!(poll(parts.send(vec![1])), Poll::Ready(Ok(())));
        }
        assert_eq!(poll(parts.send(vec![2])), Poll::Pending);
        // While it waits, only the limit of the whole counts.
        let (limit, total) = (Duration::ZERO, Duration::from_secs(9));
        assert!(parts.left(limit, total, Instant::now()) > Duration::from_secs(8));
        assert_eq!(poll(parts.recv()), Poll::Ready(Some(Ok(vec![1]))));
        assert_eq!(poll(parts.send(vec![2])), Poll::Ready(Ok(())));
        assert_eq!(parts.left(limit, total, Instant::now()), Duration::ZERO);
        drop(Receiving(parts.clone()));
        assert_eq!(poll(parts.send(vec![3])), Poll::Ready(Err(Gone)));
    }

    #[test]
    fn an_answer_that_cannot_begin_is_told_from_one_whose_client_left() {
        for (leave, ended) in [
            (Parts::leave as fn(&Parts), Ended::ClientGone),
            (Parts::refuse, Ended::Refused),
        ] {
            let parts = Parts::default();
            parts.begin(Json::parse("{}").unwrap());
            leave(&parts);
            assert_eq!(poll(parts.send(vec![1])), Poll::Ready(Err(Gone)));
            let streamed = parts.end(Ended::Complete).expect("it has begun");
            assert_eq!((streamed.parts, streamed.ended), (0, ended));
        }
    }

    #[test]
    fn an_answer_that_breaks_off_is_told_from_one_that_ends() {
        for (ended, last) in [(Ended::Complete, None), (Ended::Broken, Some(Err(Broken)))] {
            let parts = Parts::default();
            parts.begin(Json::parse("{}").unwrap());
            assert_eq!(poll(parts.send(vec![1, 2])), Poll::Ready(Ok(())));
            let streamed = parts.end(ended).expect("it has begun");
            assert_eq!(
                (streamed.parts, streamed.bytes, streamed.ended),
                (1, 2, ended)
            );
            assert_eq!(poll(parts.recv()), Poll::Ready(Some(Ok(vec![1, 2]))));
            assert_eq!(poll(parts.recv()), Poll::Ready(last));
        }
    }
}
