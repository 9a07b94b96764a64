//! A machine that makes calls for front ends: the Ebb that they reach, above the scheduling and the instances of `ebb-invoker`.
//!
//! What must hold: a call that has begun comes to its end, also when its front end is gone; nothing is run for a front end that was told
//! that it is not.

use alloc::{
    string::{String, ToString},
    vec::Vec,
};
use core::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use core::time::Duration;

use ebb::{EbbRef, core_count, ebb, spawn, time};
use ebb_distributed::remote;
use ebb_invoker::Here;
use ebb_invoker::back_end::BackEnd;
use ebb_invoker::instance::InstanceMaker;
use ebb_invoker::service::warm_up;
use spin::mutex::SpinMutex;

use crate::functions::Functions;
use crate::wire::{About, Counted, Function, FunctionId, Launching, Ran, Reply, Work};

/// Bytes of functions that a machine remembers. A front end tells it again what it has forgotten.
const FUNCTIONS: usize = 256 << 20;

/// What front ends call.
#[ebb(distributed)]
pub struct Machine {
    functions: SpinMutex<Functions>,
    running: AtomicUsize,
    ending: AtomicBool,
}

impl Default for Machine {
    fn default() -> Self {
        Self {
            functions: SpinMutex::new(Functions::new(FUNCTIONS)),
            running: AtomicUsize::new(0),
            ending: AtomicBool::new(false),
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

    /// Makes a call.
    pub async fn run(&self, work: Work) -> Reply {
        if self.ending.load(Ordering::Acquire) {
            return Reply::Ending;
        }
        let action = self.functions.lock().action(work.function);
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

    /// Takes no calls any more, and waits until those that run have ended.
    pub async fn end(&self) {
        self.ending.store(true, Ordering::Release);
        while self.running.load(Ordering::Acquire) > 0 {
            time::sleep(Duration::from_millis(20)).await;
        }
    }
}
