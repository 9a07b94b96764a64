//! Items that a caller gives to a method: the other direction of [`Stream`](crate::Stream).
//!
//! What must hold: a method sees the end of the items only when its caller has said [`Feed::end`]; one that goes away before gives
//! the call up.

use alloc::{collections::VecDeque, rc::Rc};
use core::{
    cell::RefCell,
    future::poll_fn,
    marker::PhantomData,
    task::{Context, Poll, Waker},
};

use crate::{
    connection::ItemError,
    down::{Over, Stream},
    failure::Failure,
    frame::Payload,
    link::Giving,
    service::GiveItems,
    value::{Value, from_payload, to_payload},
};

/// Items that a method of this node has not taken.
#[derive(Default)]
struct Queue {
    items: VecDeque<Payload>,
    /// `Ok` after the last item, `Err` when the caller went away.
    ended: Option<Result<(), ItemError>>,
    taker: Option<Waker>,
    giver: Option<Waker>,
    /// Nobody takes any.
    untaken: bool,
}

/// What gives items to a method of this node.
pub(crate) struct Giver(Rc<RefCell<Queue>>);

struct Taker(Rc<RefCell<Queue>>);

/// Items that wait for a method of this node.
const MOST: usize = 32;

/// Both ends of a queue of this node.
pub(crate) fn here() -> (Giver, Rc<dyn GiveItems>) {
    let queue = Rc::new(RefCell::new(Queue::default()));
    (Giver(Rc::clone(&queue)), Rc::new(Taker(queue)))
}

fn wake(waker: Option<Waker>) {
    if let Some(waker) = waker {
        waker.wake();
    }
}

impl Giver {
    fn poll_give(
        &mut self,
        item: Option<&Payload>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), ItemError>> {
        let mut queue = self.0.borrow_mut();
        match item {
            _ if queue.untaken => return Poll::Ready(Err(ItemError::Over)),
            Some(_) if queue.items.len() >= MOST => {
                queue.giver = Some(cx.waker().clone());
                return Poll::Pending;
            }
            Some(item) => queue.items.push_back(item.clone()),
            None => queue.ended = Some(Ok(())),
        }
        let taker = queue.taker.take();
        drop(queue);
        wake(taker);
        Poll::Ready(Ok(()))
    }
}

impl Drop for Giver {
    fn drop(&mut self) {
        let mut queue = self.0.borrow_mut();
        queue.ended.get_or_insert(Err(ItemError::Over));
        let taker = queue.taker.take();
        drop(queue);
        wake(taker);
    }
}

impl GiveItems for Taker {
    fn poll_item(&self, cx: &mut Context<'_>) -> Poll<Result<Option<Payload>, ItemError>> {
        let mut queue = self.0.borrow_mut();
        if let Some(item) = queue.items.pop_front() {
            let giver = queue.giver.take();
            drop(queue);
            wake(giver);
            return Poll::Ready(Ok(Some(item)));
        }
        if let Some(ended) = queue.ended {
            return Poll::Ready(ended.map(|()| None));
        }
        queue.taker = Some(cx.waker().clone());
        Poll::Pending
    }
}

impl Drop for Taker {
    fn drop(&mut self) {
        let mut queue = self.0.borrow_mut();
        queue.untaken = true;
        let giver = queue.giver.take();
        drop(queue);
        wake(giver);
    }
}

/// The items of a call: an argument of a method that takes some, behind all others but the [`Sink`](crate::Sink).
pub struct Items<T> {
    given: Option<Rc<dyn GiveItems>>,
    of: PhantomData<fn() -> T>,
}

impl<T: Value> Items<T> {
    /// Those of a call.
    #[doc(hidden)]
    #[must_use]
    pub fn of(given: Option<Rc<dyn GiveItems>>) -> Self {
        Self {
            given,
            of: PhantomData,
        }
    }

    /// The next one; `Ok(None)` after the last.
    ///
    /// # Errors
    /// [`Over`]: the caller is gone without having said that this is the end, or what it gave is of another type.
    pub async fn next(&mut self) -> Result<Option<T>, Over> {
        let given = self.given.as_ref().ok_or(Over)?;
        let item = poll_fn(|cx| given.poll_item(cx)).await.map_err(|_| Over)?;
        item.map(from_payload).transpose().map_err(|_| Over)
    }
}

enum To {
    Away(Giving),
    Here(Giver),
    Over,
}

/// Gives items to a call. Dropped before [`Feed::end`], it gives the call up.
pub struct Feed<T> {
    to: To,
    of: PhantomData<fn(T)>,
}

impl<T: Value> Feed<T> {
    fn new(to: To) -> Self {
        Self {
            to,
            of: PhantomData,
        }
    }

    pub(crate) fn away(giving: Giving) -> Self {
        Self::new(To::Away(giving))
    }

    pub(crate) fn here(giver: Giver) -> Self {
        Self::new(To::Here(giver))
    }

    pub(crate) fn over() -> Self {
        Self::new(To::Over)
    }

    fn poll_give(
        &mut self,
        item: Option<&Payload>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), Over>> {
        let given = match &mut self.to {
            To::Away(giving) => giving.poll_give(item, cx),
            To::Here(giver) => giver.poll_give(item, cx),
            To::Over => return Poll::Ready(Err(Over)),
        };
        given.map(|given| given.map_err(|_| Over))
    }

    /// Gives an item; waits while the method has not taken enough of the earlier ones.
    ///
    /// # Errors
    /// [`Over`]: the method takes no more, or its node is gone, or the item is larger than that node accepts. The answer says more.
    pub async fn send(&mut self, item: T) -> Result<(), Over> {
        let item = to_payload(&item).map_err(|_| Over)?;
        poll_fn(|cx| self.poll_give(Some(&item), cx)).await
    }

    /// That was the last one.
    pub async fn end(mut self) {
        // A call that is over has its answer.
        let _ = poll_fn(|cx| self.poll_give(None, cx)).await;
    }
}

/// A call that takes items and has one answer. Dropped before [`Upload::finish`] it is given up.
pub struct Upload<T, R> {
    feed: Feed<T>,
    answer: Stream<R>,
}

impl<T: Value, R: Value> Upload<T, R> {
    pub(crate) fn new(feed: Feed<T>, answer: Stream<R>) -> Self {
        Self { feed, answer }
    }

    /// Gives an item; waits while the method has not taken enough of the earlier ones.
    ///
    /// # Errors
    /// [`Over`]: the call takes no more; [`Upload::finish`] tells its outcome.
    pub async fn send(&mut self, item: T) -> Result<(), Over> {
        self.feed.send(item).await
    }

    /// That was the last one: the answer.
    ///
    /// # Errors
    /// That of the call.
    pub async fn finish(self) -> Result<R, Failure> {
        let Self {
            mut feed,
            mut answer,
        } = self;
        let mut has_ended = false;
        let payload = poll_fn(|cx| {
            has_ended = has_ended || feed.poll_give(None, cx).is_ready();
            answer.poll_answer(cx)
        })
        .await?;
        from_payload(payload).map_err(|_| Failure::Malformed)
    }
}
