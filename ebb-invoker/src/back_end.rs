//! The seam between what hears of calls and what makes them.
//!
//! A *front end* knows the actions, hears what is to be called and keeps the records: the REST API of this crate, or another
//! protocol. A *back end* has instances and makes calls: this machine ([`Here`](crate::Here)), or any number of others
//! (`ebb-invoker-machines`). What passes between them is a [`Call`], which has all that an instance needs (the action with its code
//! and limits, the arguments, on whose behalf), and a [`CallOutcome`] (result, logs, times). Scheduling, instances and snapshots are the
//! back end's; a front end only says which actions have changed.
//!
//! What must hold: a back end makes a call at most once, and says [`Unanswered::may_have_run`] unless it knows better. Nothing that it
//! has begun to make is made again by itself.

use alloc::{string::String, vec::Vec};
use core::net::IpAddr;

use ebb_openwhisk::call::{Call, CallOutcome, InstanceKey};
use ebb_openwhisk::metrics::Metrics;
use ebb_openwhisk::runtimes::Launch;

use crate::instance::Boxed;

/// What makes calls. Used from every core.
pub trait BackEnd: Send + Sync {
    /// Makes one call, on an instance that there is or on a new one; waits while there is room for neither. What the action does wrong
    /// is in the outcome.
    ///
    /// # Errors
    /// The back end failed.
    fn execute<'a>(&'a self, call: &'a Call) -> Boxed<'a, Result<CallOutcome, Unanswered>>;

    /// Whether so much waits already that a further call of that function is to be refused (429).
    fn refuses(&self, key: &InstanceKey) -> bool;

    /// Actions were changed or deleted: an instance whose [`InstanceKey::revision`] is not current serves no call any more, and may end.
    fn keep_only(&self, is_current: &dyn Fn(u64) -> bool);

    /// Whether instances can be launched so.
    fn can_launch<'a>(&'a self, launch: &'a Launch) -> Boxed<'a, bool>;

    /// Bytes that instances and their snapshots may use together.
    fn budget_bytes(&self) -> u64;

    /// What it is, in words for people.
    fn description(&self) -> String;

    /// Where functions reach the front end's machine; `None` while that is not known.
    fn front_end_address(&self) -> Option<IpAddr>;

    /// Begins to replace its machines one after the other, without a call that fails of it; gives their number. `figures` tells how far it
    /// is.
    ///
    /// # Errors
    /// It cannot: why.
    fn restart(&self) -> Result<usize, String> {
        Err("there are no other machines: --machines N starts some".into())
    }

    /// What it does at the moment: an element for each machine.
    fn figures(&self) -> Boxed<'_, Vec<Figures>>;
}

/// Why a call has no outcome.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unanswered {
    /// The function may have run, in part or as a whole: only one that may run twice can be called again.
    pub may_have_run: bool,
    /// A text for the caller.
    pub why: String,
}

/// What a machine with instances does at the moment, and what it has counted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// What it is called; nothing where there is only one.
    pub machine: String,
    /// Calls are made there.
    pub is_up: bool,
    /// What each core has counted. On other machines than the front end's, requests and outcomes are not.
    pub cores: Vec<Metrics>,
    /// Calls that run on each core.
    pub running: Vec<usize>,
    /// Calls that wait for an instance.
    pub waiting: usize,
    /// Functions that have calls that wait.
    pub waiting_functions: usize,
    /// Instances.
    pub instances: usize,
    /// Those that wait for a call.
    pub idle: usize,
    /// Memory of instances and snapshots.
    pub used_bytes: u64,
    /// Functions with a snapshot.
    pub snapshots: usize,
    /// Memory that only snapshots hold.
    pub snapshot_bytes: u64,
    /// Idle instances that had to make room, ever.
    pub evictions: u64,
    /// Snapshots that had to make room, ever.
    pub snapshot_evictions: u64,
    /// Memory that instances and snapshots may use together.
    pub budget_bytes: u64,
    /// Memory of the machine that is free; 0 where that is not known.
    pub free_bytes: u64,
    /// New instances are made at the cost that they will have.
    pub is_warm: bool,
}

impl Figures {
    /// Adds another machine's, but for its name and cores.
    pub fn add(&mut self, other: &Self) {
        self.is_up |= other.is_up;
        self.waiting += other.waiting;
        self.waiting_functions += other.waiting_functions;
        self.instances += other.instances;
        self.idle += other.idle;
        self.used_bytes += other.used_bytes;
        self.snapshots += other.snapshots;
        self.snapshot_bytes += other.snapshot_bytes;
        self.evictions += other.evictions;
        self.snapshot_evictions += other.snapshot_evictions;
        self.budget_bytes += other.budget_bytes;
        self.free_bytes += other.free_bytes;
        self.is_warm |= other.is_warm;
    }
}
