//! What `#[ebb_distributed::remote]` stands on: references to an Ebb on another node, and what its methods run in there.

use alloc::{boxed::Box, collections::VecDeque, rc::Rc};
use core::{
    cell::{Cell, RefCell},
    future::poll_fn,
    marker::PhantomData,
    pin::Pin,
    task::{Context, Poll, Waker},
    time::Duration,
};

use ebb_runtime::{
    __private::WellKnown,
    EbbRef, JoinHandle, spawn,
    time::{Instant, timeout},
};

use crate::{
    connection::{ItemError, Request},
    failure::{Failure, NotSent},
    frame::{ONEWAY, Payload, STREAM_DOWN, STREAM_UP, Status},
    link::Call,
    node::{self, NodeId, this_node},
    service::{self, Answering, GiveItems, Incoming, TakeItems},
    up::{Feed, Upload, here},
    value::{Value, from_payload, hash, to_payload},
};

/// An Ebb that other machines may call. Implemented by `#[ebb(distributed)]`.
#[diagnostic::on_unimplemented(
    message = "`{Self}` has methods that other machines call, and is no distributed Ebb",
    label = "not `#[ebb(distributed)]`",
    note = "write `#[ebb(distributed)]` on the struct, or `#[ebb(per_core, distributed)]`"
)]
pub trait Distributed: WellKnown {}

/// A distributed Ebb's methods that are called from other machines. Implemented by `#[remote]`.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is distributed, and has no methods that other machines could call",
    label = "no `impl` block with `#[remote]`",
    note = "write `#[ebb_distributed::remote]` on the `impl` block with these methods"
)]
pub trait Remote: Distributed {
    /// What it is called on the wire: the same on all machines.
    const NAME: &'static str;
    /// A reference to it on a node, with its methods.
    type At: From<At>;
    /// Runs a method.
    #[doc(hidden)]
    fn dispatch(call: Incoming) -> Option<Answering>;
}

/// References to Ebbs on other nodes.
pub trait RemoteRef {
    /// A reference to the Ebb on a node, with its methods.
    type At;
    /// The Ebb on `node`. On this node its methods run here, without a connection.
    fn at(self, node: NodeId) -> Self::At;
    /// Lets other nodes call the Ebb here, on the core that their connection belongs to.
    fn serve(self);
    /// Further calls from other nodes are `Gone`.
    fn withdraw(self);
}

impl<T: Remote> RemoteRef for EbbRef<T> {
    type At = T::At;

    fn at(self, node: NodeId) -> T::At {
        At { node, within: None }.into()
    }

    fn serve(self) {
        service::serve(hash(T::NAME), T::dispatch);
    }

    fn withdraw(self) {
        service::withdraw(hash(T::NAME));
    }
}

/// A node, and how long its answers may take.
#[derive(Clone, Copy, Debug)]
pub struct At {
    node: NodeId,
    within: Option<Duration>,
}

impl At {
    /// The node.
    #[must_use]
    pub fn node(self) -> NodeId {
        self.node
    }

    /// The same node, with a deadline for each call: so long after its start.
    #[must_use]
    pub fn within(self, limit: Duration) -> Self {
        Self {
            within: Some(limit),
            ..self
        }
    }

    fn is_here(self) -> bool {
        this_node() == Some(self.node)
    }

    fn request<A: Value>(
        self,
        ebb: u64,
        method: u64,
        flags: u8,
        arguments: &A,
    ) -> Result<Request, Failure> {
        let payload = to_payload(arguments).map_err(|_| Failure::NotSent(NotSent::TooLarge))?;
        let deadline_ns = self.within.map(|limit| (Instant::now() + limit).as_nanos());
        Ok(Request {
            ebb,
            method,
            flags,
            deadline_ns,
            payload,
        })
    }

    /// Calls a method. What the attribute's methods do.
    #[doc(hidden)]
    pub async fn call<A: Value, R: Value>(
        self,
        ebb: u64,
        method: u64,
        arguments: A,
    ) -> Result<R, Failure> {
        let request = self.request(ebb, method, 0, &arguments)?;
        drop(arguments);
        let payload = if self.is_here() {
            let answering = start_here(&request, None, None)?;
            match self.within {
                None => answering.await,
                Some(limit) => timeout(limit, answering).await.unwrap_or(Err(Status::Late)),
            }
            .map_err(failure)?
        } else {
            node::call(self.node, request)?.await?
        };
        from_payload(payload).map_err(|_| Failure::Malformed)
    }

    /// Starts a method whose result nobody needs.
    #[doc(hidden)]
    pub fn oneway<A: Value>(self, ebb: u64, method: u64, arguments: A) -> Result<(), Failure> {
        let request = self.request(ebb, method, ONEWAY, &arguments)?;
        if self.is_here() {
            let answering = start_here(&request, None, None)?;
            let within = self.within;
            spawn(async move {
                match within {
                    None => drop(answering.await),
                    Some(limit) => drop(timeout(limit, answering).await),
                }
            });
        } else {
            node::call(self.node, request)?.detach();
        }
        Ok(())
    }

    /// Calls a method that takes items.
    #[doc(hidden)]
    pub fn upload<A: Value, I: Value, R: Value>(
        self,
        ebb: u64,
        method: u64,
        arguments: A,
    ) -> Upload<I, R> {
        let (feed, stream) = self.both::<A, I, R>(ebb, method, arguments, STREAM_UP);
        Upload::new(feed, stream)
    }

    /// Calls a method that takes items and answers with items.
    #[doc(hidden)]
    pub fn both_ways<A: Value, I: Value, T: Value>(
        self,
        ebb: u64,
        method: u64,
        arguments: A,
    ) -> (Feed<I>, Stream<T>) {
        self.both(ebb, method, arguments, STREAM_UP | STREAM_DOWN)
    }

    fn both<A: Value, I: Value, T: Value>(
        self,
        ebb: u64,
        method: u64,
        arguments: A,
        flags: u8,
    ) -> (Feed<I>, Stream<T>) {
        let start = || {
            let request = self.request(ebb, method, flags, &arguments)?;
            if self.is_here() {
                let (giver, given) = here();
                let items = Rc::new(Here::default());
                let sink = Rc::clone(&items) as Rc<dyn TakeItems>;
                let sink = (flags & STREAM_DOWN != 0).then_some(sink);
                let answering = start_here(&request, sink, Some(given))?;
                // By itself: who gives items need not be who takes them.
                let answering = Box::pin(Spawned(spawn(answering)));
                Ok((Feed::here(giver), Source::Here(answering, items)))
            } else {
                let call = node::call(self.node, request)?;
                Ok((Feed::away(call.giving()), Source::Away(call)))
            }
        };
        let (feed, source) =
            start().unwrap_or_else(|failure| (Feed::over(), Source::Over(Some(failure))));
        let stream = Stream {
            source,
            of: PhantomData,
        };
        (feed, stream)
    }

    /// Calls a method that answers with items.
    #[doc(hidden)]
    pub fn stream<A: Value, T: Value>(self, ebb: u64, method: u64, arguments: A) -> Stream<T> {
        let start = || {
            let request = self.request(ebb, method, STREAM_DOWN, &arguments)?;
            if self.is_here() {
                let items = Rc::new(Here::default());
                let sink = Rc::clone(&items) as Rc<dyn TakeItems>;
                Ok(Source::Here(start_here(&request, Some(sink), None)?, items))
            } else {
                Ok(Source::Away(node::call(self.node, request)?))
            }
        };
        let source = start().unwrap_or_else(|failure| Source::Over(Some(failure)));
        Stream {
            source,
            of: PhantomData,
        }
    }
}

fn start_here(
    request: &Request,
    items: Option<Rc<dyn TakeItems>>,
    given: Option<Rc<dyn GiveItems>>,
) -> Result<Answering, Failure> {
    let call = Incoming {
        method: request.method,
        payload: request.payload.clone(),
        items,
        given,
    };
    service::start(request.ebb, call).map_err(failure)
}

fn failure(status: Status) -> Failure {
    match status {
        Status::Refused => Failure::Refused,
        Status::Gone => Failure::Gone,
        Status::Version => Failure::Version,
        Status::Late => Failure::Late,
        Status::Ok | Status::Cancelled | Status::NoAnswer => Failure::NoAnswer,
    }
}

/// Runs a method with the arguments in a payload. What the attribute's `dispatch` does.
#[doc(hidden)]
pub fn answering<A: Value, R: Value>(
    payload: Payload,
    method: impl AsyncFnOnce(A) -> R + 'static,
) -> Option<Answering> {
    Some(Box::pin(async move {
        // The hash was right, and the bytes are of another type: another version of a type in the signature.
        let arguments = from_payload(payload).map_err(|_| Status::Version)?;
        to_payload(&method(arguments).await).map_err(|_| Status::NoAnswer)
    }))
}

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

enum Source {
    Away(Call),
    Here(Answering, Rc<Here>),
    Over(Option<Failure>),
}

/// A method of this node that runs by itself, for as long as somebody waits for it.
struct Spawned(JoinHandle<Result<Payload, Status>>);

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
struct Here {
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
