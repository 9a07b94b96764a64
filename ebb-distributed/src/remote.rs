//! What `#[ebb_distributed::remote]` stands on: references to an Ebb on another node, and what its methods run in there.

use alloc::{boxed::Box, collections::VecDeque, rc::Rc};
use core::{
    cell::RefCell,
    future::poll_fn,
    marker::PhantomData,
    task::{Context, Poll, Waker},
    time::Duration,
};

use ebb_runtime::{
    __private::WellKnown,
    EbbRef, spawn,
    time::{Instant, timeout},
};

use crate::{
    connection::{ItemError, Request},
    failure::{Failure, NotSent},
    frame::{ONEWAY, Payload, STREAM_DOWN, Status},
    link::Call,
    node::{self, NodeId, this_node},
    service::{self, Answering, Incoming, TakeItems},
    value::{Value, from_payload, hash, to_payload},
};

/// An Ebb with methods that are called from other machines. Implemented by `#[remote]`.
pub trait Remote: WellKnown {
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
            let answering = start_here(&request, None)?;
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
            let answering = start_here(&request, None)?;
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

    /// Calls a method that answers with items.
    #[doc(hidden)]
    pub fn stream<A: Value, T: Value>(self, ebb: u64, method: u64, arguments: A) -> Stream<T> {
        let start = || {
            let request = self.request(ebb, method, STREAM_DOWN, &arguments)?;
            if self.is_here() {
                let items = Rc::new(Here::default());
                let sink = Rc::clone(&items) as Rc<dyn TakeItems>;
                Ok(Source::Here(start_here(&request, Some(sink))?, items))
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

fn start_here(request: &Request, items: Option<Rc<dyn TakeItems>>) -> Result<Answering, Failure> {
    let call = Incoming {
        method: request.method,
        payload: request.payload.clone(),
        items,
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

/// Items of a method on this node that a stream has not taken.
#[derive(Default)]
struct Here {
    items: RefCell<VecDeque<Payload>>,
}

impl TakeItems for Here {
    fn take(&self, item: Payload, _: &Waker) -> Result<(), ItemError> {
        let mut items = self.items.borrow_mut();
        // The method runs within the stream's `next`, so it needs no waking.
        if items.len() >= 32 {
            return Err(ItemError::Full);
        }
        items.push_back(item);
        Ok(())
    }
}

impl<T: Value> Stream<T> {
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
                if let Some(item) = here.items.borrow_mut().pop_front() {
                    return Poll::Ready(Some(Ok(item)));
                }
                let poll = answering.as_mut().poll(cx);
                if let Some(item) = here.items.borrow_mut().pop_front() {
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
