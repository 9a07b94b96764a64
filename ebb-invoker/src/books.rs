//! What all cores share: the state of the API and the books of instances, each behind a lock that is held for
//! microseconds. (A core never waits for a guest with one of them: its events run to completion.)
//!
//! Each core has a [`Desk`], in memory that no other one writes on the way of a call; whoever takes the lock of the API's state
//! takes all of them.

use alloc::boxed::Box;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicBool, Ordering};
use core::time::Duration;

use ebb::platform::{Clock, Entropy};
use ebb::sync::oneshot;
use ebb::{EbbRef, core_count, ebb, time};
use ebb_openwhisk::activation::Activation;
use ebb_openwhisk::activations::Budget;
use ebb_openwhisk::call::InstanceKey;
use ebb_openwhisk::entity::absent::Sought;
use ebb_openwhisk::http::{Request, Response};
use ebb_openwhisk::limits::NamespaceLimits;
use ebb_openwhisk::pool::{Capacity, Grant, Pool};
use ebb_openwhisk::runtimes::Runtimes;
use ebb_openwhisk::throttle::Admission;
use ebb_openwhisk::{Config, Controller, Desk, Step, Subject};
use once_cell::race::OnceBox;
use spin::mutex::SpinMutex;

use crate::back_end::BackEnd;
use crate::instance::{InstanceMaker, SharedSnapshot};
use crate::invoker::here;
use crate::keep::{Changed, Holder, Keeper};
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
    /// By core. Taken in their order, all of them by whoever has the controller.
    desks: Box<[OwnLines<SpinMutex<Desk>>]>,
    pool: SpinMutex<Instances>,
    queued: OwnLines<Queued>,
    verbose: AtomicBool,
    /// What the state is kept by, if it is.
    keeper: OnceBox<Keeper>,
    /// A record is answered for when it is kept.
    strict_records: AtomicBool,
    /// What makes the calls, if it is not this machine.
    back_end: OnceBox<Box<dyn BackEnd>>,
}

/// What every call asks of the queue of those that wait, so that it need not take the lock of the books for it: written with the
/// lock, and only when it changes.
#[derive(Default)]
struct Queued {
    /// There are held calls.
    holds: AtomicBool,
    /// So many wait that there may be no room for another of some function.
    may_refuse: AtomicBool,
}

impl Queued {
    fn update(&self, pool: &Instances) {
        let set = |flag: &AtomicBool, now| {
            if flag.load(Ordering::Relaxed) != now {
                flag.store(now, Ordering::Relaxed);
            }
        };
        set(&self.holds, pool.holds_calls());
        // Up to three quarters every function has room.
        set(&self.may_refuse, pool.waiting().0 >= QUEUE / 2);
    }
}

/// Shares no line of the cache with anything else, nor the one that processors fetch with it.
#[repr(align(128))]
struct OwnLines<T>(T);

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
            desks: (0..core_count())
                .map(|_| OwnLines(SpinMutex::default()))
                .collect(),
            pool: SpinMutex::new(Pool::new(capacity())),
            queued: OwnLines(Queued::default()),
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
        let controller = Controller::new(Config {
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
        self.controller(|c| *c = controller);
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
            None => {
                self.queued.0.may_refuse.load(Ordering::Relaxed)
                    && self.pool(|pool| pool.refuses(key))
            }
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
        self.with_desk(|controller, _| f(controller))
    }

    /// The same, with this core's desk.
    fn with_desk<R>(&self, f: impl FnOnce(&mut Controller, &mut Desk) -> R) -> R {
        let mut controller = self.controller.lock();
        let mut desks: Vec<_> = self.desks.iter().map(|desk| desk.0.lock()).collect();
        controller.take_back(desks.iter_mut().map(|desk| &mut **desk));
        let result = f(&mut controller, &mut desks[here()]);
        controller.lend(desks.iter_mut().map(|desk| &mut **desk), epoch_ms());
        result
    }

    fn desk<R>(&self, f: impl FnOnce(&mut Desk) -> R) -> R {
        f(&mut self.desks[here()].0.lock())
    }

    /// Whether a request's body is to be received, and what has to come before that is known; see [`Controller::admit`].
    pub(crate) fn admit(
        &self,
        request: &Request<'_>,
    ) -> (Result<Option<Arc<str>>, Response>, Vec<Sought>) {
        match self.desk(|desk| desk.admit(request)) {
            Some(namespace) => (Ok(Some(namespace)), Vec::new()),
            None => self.controller(|c| (c.admit(request), c.take_missed())),
        }
    }

    /// Handles a request; what it has changed has to be made durable.
    pub(crate) fn handle(&self, request: &Request<'_>) -> (Step, Option<Changed>) {
        let now_ms = epoch_ms();
        if let Some(step) = self.desk(|desk| desk.handle(request, now_ms)) {
            return (step, None);
        }
        self.with_desk(|controller, desk| {
            let step = controller.handle(request, now_ms);
            controller.remember(request, &step, desk);
            let changed = self.keeper().and_then(|keeper| keeper.changed(controller));
            (step, changed)
        })
    }

    /// A plan has been carried out.
    pub(crate) fn end(&self, call: &Admission) {
        if !self.desk(|desk| desk.end(call)) {
            self.controller(|c| c.end(call));
        }
    }

    /// Keeps a record.
    pub(crate) fn keep_record(&self, record: Arc<Activation>) {
        let at_ns = EbbRef::<dyn Clock>::get().now_ns();
        if !self.desk(|desk| desk.keep(at_ns, record)) {
            self.controller(|_| ());
        }
    }

    /// Uses the books of instances.
    pub fn pool<R>(&self, f: impl FnOnce(&mut Instances) -> R) -> R {
        let mut pool = self.pool.lock();
        let result = f(&mut pool);
        self.queued.0.update(&pool);
        result
    }

    /// Whether there are calls that wait for an instance of their function, though there might be a further one. A call that another
    /// core adds meanwhile may not be seen: that core looks again.
    pub(crate) fn holds_calls(&self) -> bool {
        self.queued.0.holds.load(Ordering::Relaxed)
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
