//! The Ebb of each core: the instances that live there and what has been counted. An instance never leaves its core.

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use core::cell::{Cell, OnceCell, RefCell};

use ebb::time::Instant;
use ebb::{EbbRef, IdleWork, current_core, ebb};
use ebb_openwhisk::budget::{Budget, Reserve};
use ebb_openwhisk::metrics::Metrics;
use ebb_openwhisk::pool::InstanceId;
use hashbrown::HashMap;

use crate::instance::{Instance, InstanceMaker};
use crate::restless::Restless;
use crate::uncaptured::Uncaptured;

/// Bytes of all calls that run or wait.
static CALLS: Budget = Budget::new(128 << 20);

/// What one core has.
#[ebb(per_core)]
pub struct Invoker {
    pub(crate) instances: RefCell<HashMap<InstanceId, Box<dyn Instance>>>,
    metrics: RefCell<Metrics>,
    /// Instances of functions that have no snapshot yet, the oldest in front.
    pub(crate) uncaptured: RefCell<VecDeque<Uncaptured>>,
    /// There is a task that sees to them.
    pub(crate) capturing: Cell<bool>,
    /// Instances that have been called and do not rest for long yet.
    pub(crate) restless: RefCell<HashMap<InstanceId, Restless>>,
    /// There is a task that sees to them.
    pub(crate) resting: Cell<bool>,
    /// Calls that run here.
    pub(crate) running: Cell<usize>,
    /// When the last one ended.
    pub(crate) quiet_since: Cell<Option<Instant>>,
    /// Takes held calls when this core has nothing to run.
    idle: OnceCell<IdleWork>,
    /// For calls that began here.
    pub(crate) call_bytes: Reserve,
}

impl Default for Invoker {
    fn default() -> Self {
        Self {
            instances: RefCell::default(),
            metrics: RefCell::default(),
            uncaptured: RefCell::default(),
            capturing: Cell::default(),
            restless: RefCell::default(),
            resting: Cell::default(),
            running: Cell::default(),
            quiet_since: Cell::default(),
            idle: OnceCell::new(),
            call_bytes: Reserve::new(&CALLS),
        }
    }
}

impl Invoker {
    /// Counts something.
    pub fn count(&self, f: impl FnOnce(&mut Metrics)) {
        f(&mut self.metrics.borrow_mut());
    }

    /// What this core has counted.
    pub fn metrics(&self) -> Metrics {
        Metrics {
            blanks: EbbRef::<dyn InstanceMaker>::get().made_ahead() as u64,
            uncaptured: self.uncaptured.borrow().len() as u64,
            ..*self.metrics.borrow()
        }
    }

    /// A call begins here. From the first on, this core calls `when_idle` when it has nothing to run.
    pub(crate) fn begin(&self, when_idle: fn()) {
        self.running.set(self.running.get() + 1);
        if EbbRef::<dyn InstanceMaker>::get().uses_own_time() {
            self.idle.get_or_init(|| {
                ebb::idle(move || {
                    when_idle();
                    false
                })
            });
        }
    }

    /// It has ended.
    pub(crate) fn end(&self) {
        self.running.set(self.running.get() - 1);
        self.quiet_since.set(Some(Instant::now()));
    }
}

/// The number of this core.
pub(crate) fn here() -> usize {
    current_core().number()
}

/// Microseconds since an instant.
pub(crate) fn elapsed_us(since: Instant) -> u64 {
    micros(since.elapsed())
}

/// A time in microseconds.
pub(crate) fn micros(time: core::time::Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}
