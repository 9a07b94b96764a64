//! What all cores share: the state of the API and the books of instances, each behind a lock that is held for
//! microseconds. (A core never waits for a guest with one of them: its events run to completion.)

use alloc::boxed::Box;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicBool, Ordering};
use core::time::Duration;

use ebb::platform::Entropy;
use ebb::sync::oneshot;
use ebb::{EbbRef, core_count, ebb, time};
use ebb_openwhisk::activations::Budget;
use ebb_openwhisk::call::InstanceKey;
use ebb_openwhisk::limits::NamespaceLimits;
use ebb_openwhisk::pool::{Capacity, Grant, Pool};
use ebb_openwhisk::runtimes::Runtimes;
use ebb_openwhisk::{Config, Controller, Subject};
use once_cell::race::OnceBox;
use spin::mutex::SpinMutex;

use crate::back_end::BackEnd;
use crate::instance::{InstanceMaker, SharedSnapshot};
use crate::keep::{Holder, Keeper};
use crate::options::ServiceOptions;

/// The namespace of the one user.
pub const NAMESPACE: &str = "guest";

/// Where a call waits for the grant of an instance.
pub type Ticket = oneshot::Sender<Grant<SharedSnapshot>>;

/// The books of instances.
pub type Instances = Pool<Ticket, SharedSnapshot>;

/// What all cores share.
#[ebb(shared)]
pub struct Books {
    controller: SpinMutex<Controller>,
    pool: SpinMutex<Instances>,
    verbose: AtomicBool,
    /// What the state is kept by, if it is.
    keeper: OnceBox<Keeper>,
    /// A record is answered for when it is kept.
    strict_records: AtomicBool,
    /// What makes the calls, if it is not this machine.
    back_end: OnceBox<Box<dyn BackEnd>>,
}

/// Calls that run at once on one core: most actions wait for something most of the time.
const PER_CORE: usize = 16;
/// Calls that wait.
const QUEUE: usize = 10_000;

fn capacity() -> Capacity {
    Capacity {
        cores: core_count(),
        own_time: EbbRef::<dyn InstanceMaker>::get().uses_own_time(),
        per_core: PER_CORE,
        memory: EbbRef::<dyn InstanceMaker>::get().budget_bytes(),
        queue: QUEUE,
    }
}

fn entropy(bytes: &mut [u8]) {
    EbbRef::<dyn Entropy>::get().fill(bytes);
}

/// A platform of nobody's.
fn config() -> Config {
    Config {
        subjects: vec![],
        limits: NamespaceLimits {
            concurrent_calls: u32::try_from(QUEUE).unwrap_or(u32::MAX),
            ..NamespaceLimits::default()
        },
        entity_bytes: 256 << 20,
        records: Budget::bytes(0),
        runtimes: Runtimes::default(),
        seed: [0; 32],
        admin: None,
        entropy,
    }
}

impl Default for Books {
    fn default() -> Self {
        Self {
            controller: SpinMutex::new(Controller::new(config())),
            pool: SpinMutex::new(Pool::new(capacity())),
            verbose: AtomicBool::new(true),
            keeper: OnceBox::new(),
            strict_records: AtomicBool::new(false),
            back_end: OnceBox::new(),
        }
    }
}

/// Milliseconds since 1970.
pub fn epoch_ms() -> u64 {
    u64::try_from(time::unix_time().as_millis()).unwrap_or(u64::MAX)
}

impl Holder for Books {
    fn controller<R>(&self, f: impl FnOnce(&mut Controller) -> R) -> R {
        self.controller(f)
    }

    fn now_ms(&self) -> u64 {
        epoch_ms()
    }
}

impl Books {
    /// Begins anew, for a user with this key.
    pub fn open(&self, key: &str, options: &ServiceOptions, runtimes: Runtimes, seed: [u8; 32]) {
        const DAY_MS: u64 = 24 * 60 * 60 * 1000;
        *self.controller.lock() = Controller::new(Config {
            subjects: vec![Subject {
                namespace: Arc::from(NAMESPACE),
                key: Arc::from(key),
            }],
            admin: options.admin.map(String::from),
            records: Budget {
                bytes: (options.records_mb as usize) << 20,
                age_ms: u64::from(options.record_days) * DAY_MS,
            },
            runtimes,
            seed,
            ..config()
        });
        self.verbose.store(!options.quiet, Ordering::Relaxed);
    }

    /// Tells the books of instances which namespaces there are.
    pub fn tell_weights(&self) {
        let weights: Vec<(String, u32)> = self.controller(|c| {
            let weights = c.namespaces().weights();
            weights
                .map(|(name, weight)| (name.into(), weight))
                .collect()
        });
        let weights = weights.iter().map(|(name, weight)| (&**name, *weight));
        self.pool(|pool| pool.set_weights(weights));
    }

    /// From now on changes are kept.
    pub fn keep(&self, keeper: Keeper, strict_records: bool) -> &Keeper {
        self.strict_records.store(strict_records, Ordering::Relaxed);
        self.keeper.get_or_init(|| Box::new(keeper))
    }

    /// What the state is kept by, if it is.
    pub fn keeper(&self) -> Option<&Keeper> {
        self.keeper.get()
    }

    /// From now on calls are made by that, and not by this machine.
    pub fn use_back_end(&self, back_end: Box<dyn BackEnd>) {
        // The first one stays.
        let _ = self.back_end.set(Box::new(back_end));
    }

    /// What makes the calls, if it is not this machine.
    pub fn back_end(&self) -> Option<&dyn BackEnd> {
        self.back_end.get().map(|back_end| &**back_end)
    }

    /// Whether a call of that function would be refused, because so much waits already.
    pub fn refuses(&self, key: &InstanceKey) -> bool {
        match self.back_end() {
            Some(back_end) => back_end.refuses(key),
            None => self.pool(|pool| pool.refuses(key)),
        }
    }

    /// Whether a record is answered for when it is kept, and not before.
    pub fn has_strict_records(&self) -> bool {
        self.strict_records.load(Ordering::Relaxed)
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
    pub fn pool<R>(&self, f: impl FnOnce(&mut Instances) -> R) -> R {
        f(&mut self.pool.lock())
    }

    /// Bytes that all instances and snapshots may take together.
    pub fn budget_bytes(&self) -> u64 {
        match self.back_end() {
            Some(back_end) => back_end.budget_bytes(),
            None => self.pool(|pool| pool.capacity().memory),
        }
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
