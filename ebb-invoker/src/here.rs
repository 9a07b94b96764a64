//! This machine as a back end.

use alloc::{boxed::Box, string::String, vec, vec::Vec};
use core::net::IpAddr;

use ebb::EbbRef;
use ebb_openwhisk::call::{Call, CallOutcome, InstanceKey};
use ebb_openwhisk::runtimes::Launch;

use crate::back_end::{BackEnd, Figures, Unanswered};
use crate::books::Books;
use crate::instance::{Boxed, InstanceMaker, SharedSnapshot};
use crate::invoker::Invoker;
use crate::{dispatch, evict};

/// This machine's instances.
#[derive(Clone, Copy, Debug, Default)]
pub struct Here;

impl Here {
    /// The snapshot that there is in memory of a function.
    pub fn snapshot(&self, key: &InstanceKey) -> Option<SharedSnapshot> {
        EbbRef::<Books>::get().pool(|pool| pool.snapshot(key).cloned())
    }
}

impl BackEnd for Here {
    fn execute<'a>(&'a self, call: &'a Call) -> Boxed<'a, Result<CallOutcome, Unanswered>> {
        Box::pin(async { Ok(dispatch::execute_here(call, None).await) })
    }

    fn refuses(&self, key: &InstanceKey) -> bool {
        EbbRef::<Books>::get().pool(|pool| pool.refuses(key))
    }

    fn keep_only(&self, is_current: &dyn Fn(u64) -> bool) {
        evict::keep_only(is_current);
    }

    fn can_launch<'a>(&'a self, launch: &'a Launch) -> Boxed<'a, bool> {
        Box::pin(async { EbbRef::<dyn InstanceMaker>::get().can_launch(launch) })
    }

    fn budget_bytes(&self) -> u64 {
        EbbRef::<Books>::get().pool(|pool| pool.capacity().memory)
    }

    fn description(&self) -> String {
        EbbRef::<dyn InstanceMaker>::get().description()
    }

    fn front_end_address(&self) -> Option<IpAddr> {
        EbbRef::<dyn InstanceMaker>::get().machine_address()
    }

    fn figures(&self) -> Boxed<'_, Vec<Figures>> {
        Box::pin(async { vec![figures().await] })
    }
}

async fn figures() -> Figures {
    let cores = EbbRef::<Invoker>::new()
        .gather(|invoker| invoker.metrics())
        .await;
    let maker = EbbRef::<dyn InstanceMaker>::get();
    EbbRef::<Books>::get().pool(|pool| {
        let (waiting, waiting_functions) = pool.waiting();
        let (instances, idle) = pool.instances();
        let (snapshots, snapshot_bytes) = pool.snapshots();
        Figures {
            machine: String::new(),
            is_up: cores.is_ok(),
            cores: cores.unwrap_or_default(),
            running: pool.running().to_vec(),
            waiting,
            waiting_functions,
            instances,
            idle,
            used_bytes: pool.used(),
            snapshots,
            snapshot_bytes,
            evictions: pool.evictions(),
            snapshot_evictions: pool.snapshot_evictions(),
            budget_bytes: pool.capacity().memory,
            free_bytes: maker.free_bytes(),
            is_warm: maker.is_warm(),
        }
    })
}
