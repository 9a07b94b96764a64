//! What a front end passes on between its machines: a machine asks it for a snapshot, it asks those that may have it, and hands the pieces
//! on as they come.
//!
//! The front end reaches every machine, and machines need not reach one another: behind QEMU's user network an image is a port of its host's
//! loopback, which other images know by another address or, on another host, not at all.
//!
//! What must hold:
//! - of a snapshot no more is here at a time than a stream holds, and no more than `PASSED` pass at once; pieces are not looked into;
//! - of the machines that want a base that nobody has one makes it, and the others may wait for that one; not for ever, and not when
//!   it is gone.

use alloc::{format, string::String, sync::Weak, vec::Vec};
use core::time::Duration;

use ebb::{EbbRef, ebb, time};
use ebb_distributed::{NodeId, RemoteRef, Sink, remote};
use spin::mutex::SpinMutex;

use crate::machine::Machine;
use crate::places::Places;
use crate::wire::{FunctionId, Launching, Piece, Wanted};

/// Snapshots that pass at once: each takes 2 MiB at most.
const PASSED: usize = 16;
/// How long a machine may take until its first piece: of a base it looks at each page before.
pub const FIRST: Duration = Duration::from_secs(10);
/// How long a machine waits for a base that another one is making.
pub const WAIT: Duration = Duration::from_secs(60);
/// How often it is looked whether it is there.
const LOOK: Duration = Duration::from_millis(100);

/// The machines of a front end.
pub(crate) trait Behind: Send + Sync {
    /// Those that are there besides that one.
    fn others(&self, than: NodeId) -> Vec<NodeId>;
    /// Those of them that may have a snapshot of a function.
    fn holders(&self, id: FunctionId, asker: NodeId) -> Vec<NodeId>;
    /// The one that makes a base for the others; `None` if that is the one that asks.
    fn maker_of(&self, base: &str, asker: NodeId) -> Option<NodeId>;
}

/// What machines call at their front end.
#[ebb(distributed)]
pub struct Relay {
    fronts: SpinMutex<Vec<Weak<dyn Behind>>>,
    passed: Places,
}

impl Default for Relay {
    fn default() -> Self {
        Self {
            fronts: SpinMutex::default(),
            passed: Places::new(PASSED),
        }
    }
}

#[remote(name = "ebb.invoker.Neighbours")]
impl Relay {
    /// Gives the machine `asker` what another one has; nothing if none has it. One that `waits` for a base that is being made gets it then.
    #[remote(stream)]
    pub async fn fetch(&self, wanted: Wanted, asker: u64, waits: bool, out: Sink<Piece>) {
        let fronts: Vec<_> = {
            let mut fronts = self.fronts.lock();
            fronts.retain(|front| front.strong_count() > 0);
            fronts.iter().filter_map(Weak::upgrade).collect()
        };
        for front in fronts {
            let asker = NodeId(asker);
            let passed = match &wanted {
                Wanted::Base(launch) => self.pass_base(&*front, launch, asker, waits, &out).await,
                Wanted::Function(id, ..) => {
                    let holders = front.holders(*id, asker);
                    self.pass_any(&holders, &wanted, &out).await
                }
            };
            if passed {
                return;
            }
        }
    }
}

impl Relay {
    /// Machines of that front end may ask.
    pub(crate) fn add(&self, front: Weak<dyn Behind>) {
        self.fronts.lock().push(front);
    }

    async fn pass_base(
        &self,
        front: &dyn Behind,
        launch: &Launching,
        asker: NodeId,
        waits: bool,
        out: &Sink<Piece>,
    ) -> bool {
        let wanted = Wanted::Base(launch.clone());
        let name = format!("{launch:?}");
        if !waits {
            let passed = self.pass_any(&front.others(asker), &wanted, out).await;
            if !passed {
                front.maker_of(&name, asker);
            }
            return passed;
        }
        let begun = time::Instant::now();
        while begun.elapsed() < WAIT
            && let Some(maker) = front.maker_of(&name, asker)
        {
            if self.pass(maker, &wanted, out).await {
                return true;
            }
            time::sleep(LOOK).await;
        }
        false
    }

    async fn pass_any(&self, holders: &[NodeId], wanted: &Wanted, out: &Sink<Piece>) -> bool {
        for &holder in holders {
            if self.pass(holder, wanted, out).await {
                return true;
            }
        }
        false
    }

    /// Passes on what a machine has; false if that is nothing. What is cut off there is cut off here.
    async fn pass(&self, holder: NodeId, wanted: &Wanted, out: &Sink<Piece>) -> bool {
        let Some(_place) = self.passed.take() else {
            return false;
        };
        let mut stream = EbbRef::<Machine>::new().at(holder).give(wanted.clone());
        let Ok(Some(Ok(first))) = time::timeout(FIRST, stream.next()).await else {
            return false;
        };
        let mut piece = first;
        while out.send(piece).await.is_ok() {
            match stream.next().await {
                Some(Ok(next)) => piece = next,
                _ => break,
            }
        }
        true
    }
}

/// The machines that make bases, by what they are of.
pub type Makers = SpinMutex<alloc::collections::BTreeMap<String, NodeId>>;
