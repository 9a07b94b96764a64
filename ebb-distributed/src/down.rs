//! Items that a method gives to its caller: the sink in its hands, and the stream in its caller's.

use alloc::{boxed::Box, collections::VecDeque, rc::Rc};
use core::{
    cell::{Cell, RefCell},
    future::poll_fn,
    marker::PhantomData,
    pin::Pin,
    task::{Context, Poll, Waker},
};

use ebb_runtime::JoinHandle;

use crate::{
    connection::ItemError,
    failure::{Failure, failure},
    frame::{Payload, Status},
    link::Call,
    service::{Answering, TakeItems},
    value::{Value, from_payload, to_payload},
};

/// Takes the items of a method's answer: the last argument of a method with `#[remote(stream)]`.
pub struct Sink<T> {
    items: Option<Rc<dyn TakeItems>>,
    of: PhantomData<fn(T)>,
}

/// Nobody takes the items any more: the caller has dropped the stream, or its node is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Over;

impl<T: Value> Sink<T> {
    /// For the call that `items` belong to.
    #[doc(hidden)]
    #[must_use]
    pub fn of(items: Option<Rc<dyn TakeItems>>) -> Self {
        Self {
            items,
            of: PhantomData,
        }
    }

    /// Gives an item to the caller; waits while it has not taken enough of the earlier ones.
    ///
    /// # Errors
    /// [`Over`], also when the item is larger than the caller's node accepts.
    pub async fn send(&self, item: T) -> Result<(), Over> {
        let items = self.items.as_ref().ok_or(Over)?;
        let item = to_payload(&item).map_err(|_| Over)?;
        poll_fn(|cx| match items.take(item.clone(), cx.waker()) {
            Ok(()) => Poll::Ready(Ok(())),
            Err(ItemError::Full) => Poll::Pending,
            Err(ItemError::Over | ItemError::TooLarge) => Poll::Ready(Err(Over)),
        })
        .await
    }
}

/// The items of an answer. Dropping it cancels the call at the other end.
pub struct Stream<T> {
    source: Source,
    of: PhantomData<fn() -> T>,
}

pub(crate) enum Source {
    Away(Call),
    Here(Answering, Rc<Here>),
    Over(Option<Failure>),
}

/// A method of this node that runs by itself, for as long as somebody waits for it.
pub(crate) struct Spawned(JoinHandle<Result<Payload, Status>>);

impl Spawned {
    pub(crate) fn of(method: JoinHandle<Result<Payload, Status>>) -> Self {
        Self(method)
    }
}

impl Future for Spawned {
    type Output = Result<Payload, Status>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let ended = Pin::new(&mut self.0).poll(cx);
        ended.map(|ended| ended.unwrap_or(Err(Status::NoAnswer)))
    }
}

impl Drop for Spawned {
    fn drop(&mut self) {
        self.0.cancel();
    }
}

/// Items of a method on this node that a stream has not taken.
#[derive(Default)]
pub(crate) struct Here {
    items: RefCell<VecDeque<Payload>>,
    taker: Cell<Option<Waker>>,
    giver: Cell<Option<Waker>>,
}

impl Here {
    fn pop(&self) -> Option<Payload> {
        let item = self.items.borrow_mut().pop_front()?;
        if let Some(giver) = self.giver.take() {
            giver.wake();
        }
        Some(item)
    }
}

impl TakeItems for Here {
    fn take(&self, item: Payload, waker: &Waker) -> Result<(), ItemError> {
        if self.items.borrow().len() >= 32 {
            self.giver.set(Some(waker.clone()));
            return Err(ItemError::Full);
        }
        self.items.borrow_mut().push_back(item);
        if let Some(taker) = self.taker.take() {
            taker.wake();
        }
        Ok(())
    }
}

impl<T: Value> Stream<T> {
    pub(crate) fn of(source: Source) -> Self {
        Self {
            source,
            of: PhantomData,
        }
    }

    /// The answer of a method that gives no items.
    pub(crate) fn poll_answer(&mut self, cx: &mut Context<'_>) -> Poll<Result<Payload, Failure>> {
        let result = match &mut self.source {
            Source::Over(failure) => Err(failure.take().unwrap_or(Failure::NoAnswer)),
            Source::Away(call) => loop {
                match call.poll_item(cx) {
                    Poll::Pending => return Poll::Pending,
                    // The method is not a stream here, whatever the peer thinks.
                    Poll::Ready(Ok(_)) => {}
                    Poll::Ready(Err(result)) => break result,
                }
            },
            Source::Here(answering, _) => match answering.as_mut().poll(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(result) => result.map_err(failure),
            },
        };
        self.source = Source::Over(None);
        Poll::Ready(result)
    }

    /// The next item; `None` after the last. A failure is the last item.
    pub async fn next(&mut self) -> Option<Result<T, Failure>> {
        let item = poll_fn(|cx| self.poll_payload(cx)).await?;
        Some(item.and_then(|payload| from_payload(payload).map_err(|_| Failure::Malformed)))
    }

    fn poll_payload(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Payload, Failure>>> {
        let end = match &mut self.source {
            Source::Over(failure) => return Poll::Ready(failure.take().map(Err)),
            Source::Away(call) => match call.poll_item(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Ok(item)) => return Poll::Ready(Some(Ok(item))),
                Poll::Ready(Err(result)) => result.err(),
            },
            Source::Here(answering, here) => {
                if let Some(item) = here.pop() {
                    return Poll::Ready(Some(Ok(item)));
                }
                here.taker.set(Some(cx.waker().clone()));
                let poll = answering.as_mut().poll(cx);
                if let Some(item) = here.pop() {
                    if let Poll::Ready(result) = poll {
                        // What is left of a method that has ended.
                        *answering = Box::pin(async move { result });
                    }
                    return Poll::Ready(Some(Ok(item)));
                }
                match poll {
                    Poll::Pending => return Poll::Pending,
                    Poll::Ready(result) => result.map_err(failure).err(),
                }
            }
        };
        self.source = Source::Over(None);
        Poll::Ready(end.map(Err))
    }
}
