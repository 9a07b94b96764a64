//! What all cores share: the state of the API and the books of instances, each behind a lock that is held for
//! microseconds. (A core never waits for a guest with one of them: its events run to completion.)

use alloc::sync::Arc;
use alloc::vec;
use core::sync::atomic::{AtomicBool, Ordering};
use core::time::Duration;
use ebb::sync::oneshot;
use ebb::{EbbRef, core_count, ebb, time};
use ebb_openwhisk::call::Start;
use ebb_openwhisk::instance::{Deploy, Snapshot};
use ebb_openwhisk::limits::NamespaceLimits;
use ebb_openwhisk::pool::{Capacity, Dispatch, Evicted, InstanceId, Pool};
use ebb_openwhisk::{Config, Controller, Subject};
use spin::mutex::SpinMutex;

/// Where a call that had to wait may run.
pub struct Grant {
    /// The core.
    pub core: usize,
    /// The instance there.
    pub instance: InstanceId,
    /// How it is come by.
    pub start: Start,
    /// What it is started from, if that is [`Start::Warm`].
    pub snapshot: Option<Held>,
    /// What has to go first.
    pub evicted: Evicted<Held>,
}

/// A snapshot of a function.
pub type Held = Arc<dyn Snapshot>;

/// Who waits for an instance.
pub type Ticket = oneshot::Sender<Grant>;

impl Grant {
    /// Takes a dispatch apart.
    pub fn of<T>(dispatch: Dispatch<T, Held>) -> (T, Self) {
        let grant = Self {
            core: dispatch.core,
            instance: dispatch.instance,
            start: dispatch.start,
            snapshot: dispatch.snapshot,
            evicted: dispatch.evicted,
        };
        (dispatch.ticket, grant)
    }
}

/// What all cores share.
#[ebb(shared)]
pub struct Platform {
    controller: SpinMutex<Controller>,
    pool: SpinMutex<Pool<Option<Ticket>, Held>>,
    verbose: AtomicBool,
}

/// Calls that run at once on one core: most actions wait for something most of the time.
const PER_CORE: usize = 16;
/// Calls that wait.
const QUEUE: usize = 10_000;

fn capacity() -> Capacity {
    Capacity {
        cores: core_count(),
        own_time: EbbRef::<dyn Deploy>::get().uses_own_time(),
        per_core: PER_CORE,
        memory: EbbRef::<dyn Deploy>::get().memory(),
        queue: QUEUE,
    }
}

fn config(subjects: alloc::vec::Vec<Subject>, seed: [u8; 32]) -> Config {
    Config {
        subjects,
        limits: NamespaceLimits {
            concurrent_calls: u32::try_from(QUEUE).unwrap_or(u32::MAX),
            ..NamespaceLimits::default()
        },
        entity_bytes: 256 << 20,
        activation_bytes: 64 << 20,
        seed,
    }
}

impl Default for Platform {
    fn default() -> Self {
        Self {
            controller: SpinMutex::new(Controller::new(config(vec![], [0; 32]))),
            pool: SpinMutex::new(Pool::new(capacity())),
            verbose: AtomicBool::new(true),
        }
    }
}

/// Epoch milliseconds.
pub fn now() -> u64 {
    u64::try_from(time::unix_time().as_millis()).unwrap_or(u64::MAX)
}

impl Platform {
    /// Sets the key that opens it.
    pub fn open(&self, key: &str, seed: [u8; 32], verbose: bool) {
        let subject = Subject {
            namespace: Arc::from(super::NAMESPACE),
            key: Arc::from(key),
        };
        *self.controller.lock() = Controller::new(config(vec![subject], seed));
        self.verbose.store(verbose, Ordering::Relaxed);
    }

    /// Whether every activation is printed.
    pub fn is_verbose(&self) -> bool {
        self.verbose.load(Ordering::Relaxed)
    }

    /// Uses the state of the API.
    pub fn controller<R>(&self, f: impl FnOnce(&mut Controller) -> R) -> R {
        f(&mut self.controller.lock())
    }

    /// Uses the books of instances.
    pub fn pool<R>(&self, f: impl FnOnce(&mut Pool<Option<Ticket>, Held>) -> R) -> R {
        f(&mut self.pool.lock())
    }

    /// Bytes of all instances and snapshots together.
    pub fn memory(&self) -> u64 {
        self.pool(|pool| pool.capacity().memory)
    }

    /// Calls that are running or waiting.
    pub fn running(&self) -> u32 {
        self.controller(|c| c.running())
    }

    /// Waits until none is.
    pub async fn drained(&self) {
        while self.running() > 0 {
            time::sleep(Duration::from_millis(20)).await;
        }
    }
}
