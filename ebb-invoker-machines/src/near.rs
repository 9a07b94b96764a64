//! What a machine gets from its neighbours, which it reaches by way of its front end.
//!
//! What must hold: a piece is handed on only when its checksum was right, and the end only when a giver has said it. A neighbour that says
//! nothing for long is given up.

use alloc::{boxed::Box, format, string::ToString};
use core::future::Future;
use core::time::Duration;

use bytes::Bytes;
use ebb::{EbbRef, RemoteHandle, spawn_on, time};
use ebb_distributed::{RemoteRef, Stream, this_node};
use ebb_invoker::instance::{Boxed, InstanceMaker};
use ebb_invoker::near::{Asked, Near, Neighbours, count_fetched};
use ebb_invoker::pieces::{Fetched, Pieces};
use ebb_openwhisk::call::Call;
use ebb_openwhisk::runtimes::Launch;

use crate::machine::{Front, Machine};
use crate::relay::{FIRST, Relay, WAIT};
use crate::wire::{Launching, Piece, Wanted};

/// How long a snapshot that has begun to come may not go on.
const SILENCE: Duration = Duration::from_secs(5);

/// Makes calls for front ends from now on, and asks their other machines for what this one has none of.
pub fn serve() {
    EbbRef::<Near>::get().use_neighbours(Box::new(Relayed));
    EbbRef::<Machine>::new().serve();
}

/// The machines behind the front ends of this one.
struct Relayed;

impl Neighbours for Relayed {
    fn base(&self, launch: &Launch, waits: bool) -> Boxed<'static, Fetched<()>> {
        let launch = launch.clone();
        Box::pin(async move {
            let Some(front) = EbbRef::<Machine>::get().front(None) else {
                return Ok(None);
            };
            let wanted = Wanted::Base(Launching::of(&launch));
            let first = if waits { WAIT + FIRST } else { FIRST };
            let take = async move || {
                let pieces = Arriving::from(front, wanted, waits, first);
                let maker = EbbRef::<dyn InstanceMaker>::get();
                maker.take_base(&launch, Box::new(pieces)).await
            };
            at(front, take).await
        })
    }

    fn function(&self, call: &Call, base: u128) -> Option<Asked> {
        let machine = EbbRef::<Machine>::get();
        let launch = call.launch()?.clone();
        let key = call.key();
        let (id, cold) = machine.near(key.revision)?;
        let front = machine.front(Some(id.front))?;
        let wanted = Wanted::function(id, &key.caller, base);
        let take = async move || {
            let pieces = Arriving::from(front, wanted, false, FIRST);
            let maker = EbbRef::<dyn InstanceMaker>::get();
            maker.take_function(&launch, Box::new(pieces)).await
        };
        let snapshot = Box::pin(async move {
            let fetched = at(front, take).await;
            if matches!(fetched, Ok(None)) {
                machine.asked_in_vain(id);
            }
            fetched
        });
        Some(Asked { cold, snapshot })
    }
}

/// A task of another core, which ends when nobody waits for it any more.
struct Elsewhere<T>(RemoteHandle<T>);

impl<T> Drop for Elsewhere<T> {
    fn drop(&mut self) {
        self.0.cancel();
    }
}

/// Takes a snapshot on the core from which a front end can be called.
async fn at<T: Send + 'static, F: Future<Output = Fetched<T>> + 'static>(
    front: Front,
    take: impl FnOnce() -> F + Send + 'static,
) -> Fetched<T> {
    let mut task = Elsewhere(spawn_on(front.core, take));
    let taken = (&mut task.0).await;
    taken.unwrap_or_else(|_| Err("the core that took it has stopped".into()))
}

/// A snapshot on its way in.
struct Arriving {
    stream: Stream<Piece>,
    /// Of the next piece.
    number: u64,
    /// How long that may take.
    within: Duration,
}

impl Arriving {
    fn from(front: Front, wanted: Wanted, waits: bool, first: Duration) -> Self {
        let relay = EbbRef::<Relay>::new().at(front.node);
        let this = this_node().map_or(0, |node| node.0);
        Self {
            stream: relay.fetch(wanted, this, waits),
            number: 0,
            within: first,
        }
    }
}

impl Pieces for Arriving {
    fn next(&mut self) -> Boxed<'_, Result<Option<Bytes>, alloc::string::String>> {
        Box::pin(async {
            let item = time::timeout(self.within, self.stream.next()).await;
            let piece = match item {
                Err(_) => return Err(format!("nothing came for {:?}", self.within)),
                // Nobody has it, or there is nobody to ask.
                Ok(None) if self.number == 0 => return Ok(None),
                Ok(Some(Err(failure))) if self.number == 0 && !failure.may_have_run() => {
                    return Ok(None);
                }
                Ok(None) => return Err(format!("it was cut off after {} pieces", self.number)),
                Ok(Some(Err(failure))) => return Err(failure.to_string()),
                Ok(Some(Ok(piece))) => piece,
            };
            let bytes = piece.read(self.number)?.0;
            self.number += 1;
            self.within = SILENCE;
            count_fetched(bytes.len());
            Ok((!bytes.is_empty()).then_some(bytes))
        })
    }
}
