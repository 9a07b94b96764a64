//! A machine that makes calls for front ends: the Ebb that they reach, above the scheduling and the instances of `ebb-invoker`.
//!
//! What must hold: a call that has begun comes to its end, also when its front end is gone; nothing is run for a front end that was told
//! that it is not.

use alloc::{
    boxed::Box,
    collections::VecDeque,
    string::{String, ToString},
    sync::Arc,
    vec::Vec,
};
use core::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use core::time::Duration;

use ebb::{CoreId, EbbRef, core_count, current_core, ebb, println, spawn, time};
use ebb_distributed::{NodeId, Sink, remote};
use ebb_invoker::Here;
use ebb_invoker::back_end::BackEnd;
use ebb_invoker::instance::InstanceMaker;
use ebb_invoker::pieces::Pieces;
use ebb_invoker::service::warm_up;
use ebb_openwhisk::call::InstanceKey;
use spin::mutex::SpinMutex;

use crate::functions::Functions;
use crate::places::Places;
use crate::wire::{
    About, Counted, Function, FunctionId, Launching, Piece, Ran, Reply, Wanted, Work,
};

/// Bytes of functions that a machine remembers. A front end tells it again what it has forgotten.
const FUNCTIONS: usize = 256 << 20;

/// Snapshots that are given to others at once: each takes the time of a core, and 2 MiB on its way.
const GIVEN: usize = 4;

/// Front ends that are remembered.
const FRONTS: usize = 8;

/// A front end, and the core that its connection came to, from which alone it can be called.
#[derive(Clone, Copy)]
pub(crate) struct Front {
    pub(crate) drawn: u64,
    pub(crate) node: NodeId,
    pub(crate) core: CoreId,
}

/// What front ends call.
#[ebb(distributed)]
pub struct Machine {
    functions: SpinMutex<Functions>,
    running: AtomicUsize,
    ending: AtomicBool,
    /// Front ends that have introduced themselves, the newest first.
    fronts: SpinMutex<VecDeque<Front>>,
    /// Snapshots that are being given.
    given: Places,
}

impl Default for Machine {
    fn default() -> Self {
        Self {
            functions: SpinMutex::new(Functions::new(FUNCTIONS)),
            running: AtomicUsize::new(0),
            ending: AtomicBool::new(false),
            fronts: SpinMutex::default(),
            given: Places::new(GIVEN),
        }
    }
}

#[remote(name = "ebb.invoker.Machine")]
impl Machine {
    /// What it is.
    pub async fn about(&self) -> About {
        About {
            cores: u32::try_from(core_count()).unwrap_or(u32::MAX),
            budget_bytes: Here.budget_bytes(),
            instances: Here.description(),
            host: Some(
                EbbRef::<dyn InstanceMaker>::get()
                    .host_address()
                    .to_string(),
            ),
        }
    }

    /// Whether instances can be launched so.
    pub async fn can_launch(&self, launch: Launching) -> bool {
        match launch.read() {
            Ok(launch) => Here.can_launch(&launch).await,
            Err(_) => false,
        }
    }

    /// Makes ready what instances of these sorts are made of.
    #[remote(oneway)]
    pub async fn warm_up(&self, launches: Vec<Launching>) {
        let launches = launches.iter().filter_map(|launch| launch.read().ok());
        warm_up(launches.collect()).await;
    }

    /// Takes a function, which calls name from now on.
    pub async fn learn(&self, id: FunctionId, function: Function) -> Result<(), String> {
        let made_room = self.functions.lock().learn(id, &function)?;
        if made_room {
            self.forget_instances();
        }
        Ok(())
    }

    /// These functions are not called any more.
    #[remote(oneway)]
    pub async fn forget(&self, ids: Vec<FunctionId>) {
        let mut functions = self.functions.lock();
        for id in ids {
            functions.forget(id);
        }
        drop(functions);
        self.forget_instances();
    }

    /// Here is the front end that has drawn this number: it is asked for what neighbours have.
    #[remote(oneway)]
    pub async fn meet(&self, drawn: u64, node: u64) {
        let core = current_core();
        let front = Front {
            drawn,
            node: NodeId(node),
            core,
        };
        {
            let mut fronts = self.fronts.lock();
            fronts.retain(|known| known.node != front.node);
            fronts.push_front(front);
            fronts.truncate(FRONTS);
        }
    }

    /// Gives a snapshot, if there is one. Ends without [`Piece::end`] when something is wrong.
    #[remote(stream)]
    pub async fn give(&self, wanted: Wanted, out: Sink<Piece>) {
        let (Some(_place), Some(mut pieces)) = (self.given.take(), self.pieces(&wanted)) else {
            return;
        };
        for number in 0.. {
            let piece = match pieces.next().await {
                Ok(Some(bytes)) => Piece::new(number, bytes),
                Ok(None) if number > 0 => Piece::end(number),
                Ok(None) => return,
                Err(why) => return println!("invoker: a snapshot cannot be given: {why}"),
            };
            if out.send(piece).await.is_err() {
                return;
            }
        }
    }

    /// Makes a call.
    pub async fn run(&self, work: Work) -> Reply {
        if self.ending.load(Ordering::Acquire) {
            return Reply::Ending;
        }
        let near = work.near_us.map(Duration::from_micros);
        let action = self.functions.lock().action(work.function, near);
        let Some(action) = action else {
            return Reply::Unknown;
        };
        let Ok(call) = work.read(action) else {
            return Reply::Unknown;
        };
        if Here.refuses(&call.key()) {
            return Reply::Full;
        }
        self.running.fetch_add(1, Ordering::AcqRel);
        // A task of its own: it goes on when its front end does not wait any more.
        let made = spawn(async move {
            let _ends = Ends;
            Here.execute(&call).await
        });
        match made.await {
            Ok(Ok(outcome)) => Reply::Ran(Ran::of(outcome)),
            Ok(Err(_)) | Err(_) => Reply::Ran(Ran::lost()),
        }
    }

    /// What it does at the moment.
    pub async fn figures(&self) -> Counted {
        let figures = Here.figures().await;
        figures.first().map(Counted::of).unwrap_or_default()
    }
}

/// Counts the end of a call.
struct Ends;

impl Drop for Ends {
    fn drop(&mut self) {
        let machine = EbbRef::<Machine>::get();
        machine.running.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Machine {
    /// Throws away what instances there are of functions that were forgotten.
    fn forget_instances(&self) {
        let revisions = self.functions.lock().revisions();
        Here.keep_only(&|revision| revisions.binary_search(&revision).is_ok());
    }

    /// The newest front end, or the one that has drawn this number.
    pub(crate) fn front(&self, drawn: Option<u64>) -> Option<Front> {
        let fronts = self.fronts.lock();
        let is_it = |front: &&Front| drawn.is_none_or(|drawn| front.drawn == drawn);
        fronts.iter().find(is_it).copied()
    }

    /// The function of a revision that a neighbour may have a snapshot of, and what a cold start takes there.
    pub(crate) fn near(&self, revision: u64) -> Option<(FunctionId, Duration)> {
        self.functions.lock().near(revision)
    }

    /// Neighbours have no snapshot of a function.
    pub(crate) fn asked_in_vain(&self, id: FunctionId) {
        self.functions.lock().asked_in_vain(id);
    }

    /// What there is of what another machine wants.
    fn pieces(&self, wanted: &Wanted) -> Option<Box<dyn Pieces>> {
        match wanted {
            Wanted::Base(launch) => {
                let launch = launch.read().ok()?;
                EbbRef::<dyn InstanceMaker>::get().give_base(&launch)
            }
            Wanted::Function(id, caller, (high, low)) => {
                let key = InstanceKey {
                    revision: self.functions.lock().revision(*id)?,
                    caller: Arc::from(&caller[..]),
                };
                let base = u128::from(*high) << 64 | u128::from(*low);
                Here.snapshot(&key)?.give(base)
            }
        }
    }

    /// Takes no calls any more, and waits until those that run have ended.
    pub async fn end(&self) {
        self.ending.store(true, Ordering::Release);
        while self.running.load(Ordering::Acquire) > 0 {
            time::sleep(Duration::from_millis(20)).await;
        }
    }
}
