//! What `#[ebb_distributed::remote]` stands on: references to an Ebb on another node, and what its methods run in there.

use alloc::{boxed::Box, rc::Rc};
use core::time::Duration;

use ebb_runtime::{
    __private::WellKnown,
    EbbRef, spawn,
    time::{Instant, timeout},
};

use crate::{
    connection::Request,
    down::{Here, Source, Spawned, Stream},
    failure::{Failure, NotSent, failure},
    frame::{ONEWAY, Payload, STREAM_DOWN, STREAM_UP, Status},
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
                let answering = Box::pin(Spawned::of(spawn(answering)));
                Ok((Feed::here(giver), Source::Here(answering, items)))
            } else {
                let call = node::call(self.node, request)?;
                Ok((Feed::away(call.giving()), Source::Away(call)))
            }
        };
        let (feed, source) =
            start().unwrap_or_else(|failure| (Feed::over(), Source::Over(Some(failure))));
        (feed, Stream::of(source))
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
        Stream::of(source)
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
