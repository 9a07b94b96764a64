//! Which instance serves which call, on which core: the bookkeeping of instances, and nothing of what they are.
//!
//! A call is served by an idle instance of its function, on the core that received it if there is one there, else by one on
//! another core; else by a new instance on the core that has least to do. If neither a slot nor memory is left for one, idle
//! instances of other functions make room, and if there are none, the call waits ([`crate::fair`]). What the owner has to do is in
//! the [`Dispatch`]es that come back; the decision is already accounted for.
//!
//! Two instances of one function on one core do not serve more calls than one does, unless one waits for something: they
//! would take turns on the core, with cold caches. So a call of a function that is running on every core is *held* until an
//! instance of it is free. A core that has nothing to run ([`Pool::core_is_idle`]) takes held calls, on further instances;
//! and a function that gets nowhere, because it computes for long, gets further instances in time ([`Pool::tick`]). It goes back
//! to one on each core when it has got on for a while.
//!
//! Functions may have snapshots, from which new instances are started at less cost. Idle instances and snapshots share one
//! budget of memory and are evicted by the greedy-dual rule (Cao and Irani 1997; for functions Fuerst and Sharma,
//! "FaasCache", 2021): the worth of one is how often it was used times what it saves, per byte, and worth ages.

mod snapshots;

use crate::call::{InstanceKey, Start};
use crate::fair::FairQueue;
use alloc::{collections::BTreeSet, vec::Vec};
use hashbrown::HashMap;

/// Microseconds without an answer of a function after which a held call of it takes an idle instance on a busy core.
pub const SHORT_PATIENCE_US: u64 = 5_000;
/// Microseconds without an answer of a function after which a held call of it takes a new instance.
pub const LONG_PATIENCE_US: u64 = 50_000;
/// Answers of a function in a row, each within [`SHORT_PATIENCE_US`], after which one instance on each core is enough.
pub const STEADY_ANSWERS: u32 = 16;
/// Held functions that one [`Pool::tick`] looks at.
const LOOK: usize = 64;

/// How much there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capacity {
    /// Cores that instances run on.
    pub cores: usize,
    /// Whether instances run in their core's own time. If not, an instance that is idle helps at once, whatever runs there.
    pub own_time: bool,
    /// Calls that run at once on one core.
    pub per_core: usize,
    /// Bytes of all instances and snapshots together.
    pub memory: u64,
    /// Calls that wait.
    pub queue: usize,
}

/// The number of an instance, never given twice.
pub type InstanceId = u64;

/// An instance to throw away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Victim {
    /// The core that it is on.
    pub core: usize,
    /// Which.
    pub instance: InstanceId,
}

/// Where a call's instance comes from. `S` is a handle of a snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source<S = ()> {
    /// It is there: it has served this function before.
    Idle,
    /// It has to be copied from the function's snapshot.
    Snapshot(S),
    /// It has to be made, and to load the code.
    Scratch,
}

impl<S> Source<S> {
    /// The kind of start that this is.
    pub fn start(&self) -> Start {
        match self {
            Self::Idle => Start::Hot,
            Self::Snapshot(_) => Start::Warm,
            Self::Scratch => Start::Cold,
        }
    }
}

/// Where a call may run. The books count it as running there.
#[derive(Debug, PartialEq, Eq)]
pub struct Grant<S = ()> {
    /// The core.
    pub core: usize,
    /// The instance there.
    pub instance: InstanceId,
    /// Where that comes from.
    pub source: Source<S>,
    /// What has to go first.
    pub evicted: Evicted<S>,
}

/// A call that can run now.
#[derive(Debug, PartialEq, Eq)]
pub struct Dispatch<T, S = ()> {
    /// What was submitted.
    pub ticket: T,
    /// Where it runs.
    pub grant: Grant<S>,
}

/// What an instance is like when its call has ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct After {
    /// It may serve another call.
    pub keep: bool,
    /// Bytes of memory that it takes.
    pub bytes: u64,
    /// Microseconds that it took to start it for this call, 0 if it was there already.
    pub cost_us: u64,
}

/// What has to be thrown away.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "the books count it as gone"]
pub struct Evicted<S = ()> {
    /// Instances.
    pub instances: Vec<Victim>,
    /// Snapshots. Dropping one may take long, which is why the books do not do it.
    pub snapshots: Vec<S>,
}

impl<S> Default for Evicted<S> {
    fn default() -> Self {
        Self {
            instances: Vec::new(),
            snapshots: Vec::new(),
        }
    }
}

/// What becomes of a call.
#[derive(Debug, PartialEq, Eq)]
pub enum Submitted<T, S = ()> {
    /// It can run now.
    Run(Dispatch<T, S>),
    /// It will be in the dispatches of a later [`Pool::release`].
    Waits,
    /// There are too many waiting: 429.
    Refused(T),
}

#[derive(Debug)]
struct Instance {
    key: InstanceKey,
    core: usize,
    bytes: u64,
    start: Start,
    uses: u64,
    /// How long it takes to start one again.
    cost_us: u64,
    /// Its place among the idle ones, while it is.
    worth: Option<u64>,
}

#[derive(Debug)]
struct Kept<S> {
    snapshot: S,
    bytes: u64,
    uses: u64,
    /// How long it takes to start an instance without it.
    cost_us: u64,
    worth: u64,
}

/// What may be evicted.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Idle {
    Instance(InstanceId),
    Snapshot(InstanceKey),
}

#[derive(Debug)]
struct Waiting<T> {
    ticket: T,
    core: usize,
    bytes: u64,
}

/// A function with calls that run.
#[derive(Debug)]
struct Function {
    /// How many, on each core.
    running: Vec<u32>,
    /// When one last began or ended.
    progress_us: u64,
    /// Answers in a row that came within [`SHORT_PATIENCE_US`] of that.
    steady: u32,
    /// Its action was changed or deleted meanwhile: its instances go when their calls have ended.
    replaced: bool,
}

/// The instances of all cores, and the snapshots. `S` is a handle of a snapshot.
#[derive(Debug)]
pub struct Pool<T, S = ()> {
    capacity: Capacity,
    instances: HashMap<InstanceId, Instance>,
    idle: HashMap<InstanceKey, Vec<InstanceId>>,
    snapshots: HashMap<InstanceKey, Kept<S>>,
    /// Idle instances and snapshots.
    by_worth: BTreeSet<(u64, Idle)>,
    running: Vec<usize>,
    /// Those with calls that run. A function is held only while it is here.
    functions: HashMap<InstanceKey, Function>,
    /// Instances of replaced actions whose last call has ended.
    left_over: Vec<Victim>,
    queue: FairQueue<InstanceKey, Waiting<T>>,
    /// The time as last told.
    now_us: u64,
    used: u64,
    /// Of `used`, what may be evicted.
    idle_bytes: u64,
    snapshot_bytes: u64,
    idle_instances: usize,
    age: u64,
    next: InstanceId,
    evictions: u64,
    snapshot_evictions: u64,
    /// How long it takes to start an instance from a snapshot: a moving mean, 0 before the first.
    warm_us: u64,
}

impl<T, S: Clone> Pool<T, S> {
    /// A pool without instances.
    pub fn new(capacity: Capacity) -> Self {
        Self {
            capacity,
            instances: HashMap::new(),
            idle: HashMap::new(),
            snapshots: HashMap::new(),
            by_worth: BTreeSet::new(),
            running: alloc::vec![0; capacity.cores.max(1)],
            functions: HashMap::new(),
            left_over: Vec::new(),
            queue: FairQueue::new(capacity.queue),
            now_us: 0,
            used: 0,
            idle_bytes: 0,
            snapshot_bytes: 0,
            idle_instances: 0,
            age: 0,
            next: 0,
            evictions: 0,
            snapshot_evictions: 0,
            warm_us: 0,
        }
    }

    /// How much there is.
    pub fn capacity(&self) -> Capacity {
        self.capacity
    }

    /// Says which namespaces there are, and how many turns each gets in a round when their functions wait.
    pub fn set_weights<'a>(&mut self, weights: impl Iterator<Item = (&'a str, u32)>) {
        self.queue.set_weights(weights);
    }

    /// A call came to core `here` at `now_us` (of any clock that goes on); an instance for it takes about `bytes`.
    pub fn submit(
        &mut self,
        ticket: T,
        key: &InstanceKey,
        bytes: u64,
        here: usize,
        now_us: u64,
    ) -> Submitted<T, S> {
        self.now_us = now_us;
        // Waiting calls go first, unless the free instance is of no use to them.
        let may_start = self.queue.is_nobodys_turn();
        let runs = self.functions.contains_key(key);
        let helpful =
            |core: usize, pool: &Self| !pool.capacity.own_time || !pool.runs_on(key, core);
        let mut placed = self.place_hot(key, here, helpful);
        if placed.is_none() && may_start && (!runs || self.running.contains(&0)) {
            placed = self.place_new(key, bytes, self.least(here));
        }
        if let Some(grant) = placed {
            return Submitted::Run(Dispatch { ticket, grant });
        }
        let waiting = Waiting {
            ticket,
            core: here,
            bytes,
        };
        let own = self.functions.get_key_value(key);
        let own = own.map_or_else(|| key.to_owned_name(), |(own, _)| own.clone());
        match self.queue.push(own, waiting) {
            Ok(()) => {
                if runs {
                    self.queue.hold(key);
                }
                Submitted::Waits
            }
            Err(waiting) => Submitted::Refused(waiting.ticket),
        }
    }

    /// Whether a call of that function would be refused if it had to wait.
    pub fn refuses(&self, key: &InstanceKey) -> bool {
        !self.queue.has_room(key)
    }

    /// Whether a call of that function runs on that core.
    fn runs_on(&self, key: &InstanceKey, core: usize) -> bool {
        let function = self.functions.get(key);
        function.is_some_and(|f| f.running.get(core).is_some_and(|&n| n > 0))
    }

    /// Whether there are calls that wait for an instance of their function, though there might be a further one.
    pub fn holds_calls(&self) -> bool {
        self.queue.held().next().is_some()
    }

    /// Core `core` has nothing to run, though `running` calls are being made on it: what it could do for held calls.
    pub fn core_is_idle(
        &mut self,
        core: usize,
        running: usize,
        now_us: u64,
    ) -> Option<Dispatch<T, S>> {
        self.now_us = now_us;
        // If the numbers differ, a call is on its way there.
        if self.running.get(core) != Some(&running) || running >= self.capacity.per_core {
            return None;
        }
        let has_one = |key: &&InstanceKey| {
            let ids = self.idle.get(*key);
            ids.is_some_and(|ids| ids.iter().any(|id| self.core_of(*id) == Some(core)))
        };
        let held = self.queue.held().take(LOOK).find(has_one).cloned();
        if let Some(key) = held {
            let grant = self.place_hot(&key, core, |on, _| on == core)?;
            return self.dispatch_next(&key, grant);
        }
        if !self.queue.is_nobodys_turn() {
            return None;
        }
        let key = self.queue.held().next()?.clone();
        let bytes = self.queue.peek(&key)?.bytes;
        let grant = self.place_new(&key, bytes, core)?;
        // The others' turn is next.
        self.queue.to_back(&key, true);
        self.dispatch_next(&key, grant)
    }

    /// Time passes: held calls of functions that got nowhere for long get further instances. To be called every few
    /// milliseconds while there are held calls.
    pub fn tick(&mut self, now_us: u64) -> Vec<Dispatch<T, S>> {
        self.now_us = now_us;
        let looked: Vec<InstanceKey> = self.queue.held().take(LOOK).cloned().collect();
        let mut ready = Vec::new();
        for key in looked {
            self.queue.to_back(&key, true);
            let since_us = self
                .functions
                .get(&key)
                .map_or(0, |f| now_us.saturating_sub(f.progress_us));
            if since_us < SHORT_PATIENCE_US {
                continue;
            }
            let Some((bytes, here)) = self.queue.peek(&key).map(|w| (w.bytes, w.core)) else {
                continue;
            };
            let mut placed = self.place_hot(&key, here, |_, _| true);
            if placed.is_none() && since_us >= LONG_PATIENCE_US && self.queue.is_nobodys_turn() {
                placed = self.place_new(&key, bytes, self.least(here));
            }
            ready.extend(placed.and_then(|grant| self.dispatch_next(&key, grant)));
        }
        ready
    }

    /// The function's next call gets that place, one that came to its core if there is; its other calls are held.
    fn dispatch_next(&mut self, key: &InstanceKey, grant: Grant<S>) -> Option<Dispatch<T, S>> {
        let core = grant.core;
        let waiting = self.queue.pop_near(key, |waiting| waiting.core == core)?;
        self.queue.hold(key);
        Some(Dispatch {
            ticket: waiting.ticket,
            grant,
        })
    }

    /// A call has ended, and left its instance like `after`. Returns the calls that can run now.
    pub fn release(
        &mut self,
        instance: InstanceId,
        after: After,
        now_us: u64,
    ) -> Vec<Dispatch<T, S>> {
        self.now_us = now_us;
        let After {
            keep,
            bytes,
            cost_us,
        } = after;
        let (mut free, mut replaced) = (None, None);
        let mut is_enough = false;
        if let Some(entry) = self.instances.get_mut(&instance) {
            if entry.worth.is_some() {
                // It is idle already.
                return Vec::new();
            }
            self.running[entry.core] -= 1;
            if let Some(function) = self.functions.get_mut(&entry.key) {
                function.running[entry.core] -= 1;
                let is_steady = now_us.saturating_sub(function.progress_us) < SHORT_PATIENCE_US;
                function.steady = if is_steady {
                    function.steady.saturating_add(1)
                } else {
                    0
                };
                function.progress_us = now_us;
                // If its calls wait rather than compute, this core is idle soon, and takes this instance again.
                is_enough = self.capacity.own_time
                    && function.running[entry.core] > 0
                    && function.steady >= STEADY_ANSWERS;
                if function.replaced {
                    replaced = Some(entry.key.clone());
                }
                if function.running.iter().all(|&n| n == 0) {
                    self.functions.remove(&entry.key);
                    self.queue.unhold(&entry.key);
                }
            }
            self.used = self.used - entry.bytes + bytes;
            entry.bytes = bytes;
            if cost_us > 0 {
                entry.cost_us = cost_us;
                if entry.start == Start::Warm {
                    self.warm_us = match self.warm_us {
                        0 => cost_us,
                        mean => (7 * mean + cost_us) / 8,
                    };
                }
            }
            entry.uses += 1;
            if keep {
                // With a snapshot another one is cheap.
                let cost_us = match self.warm_us {
                    1.. if self.snapshots.contains_key(&entry.key) => {
                        entry.cost_us.min(self.warm_us)
                    }
                    _ => entry.cost_us,
                };
                let worth = self.age.saturating_add(worth(entry.uses, cost_us, bytes));
                entry.worth = Some(worth);
                self.by_worth.insert((worth, Idle::Instance(instance)));
                self.idle_bytes += bytes;
                self.idle_instances += 1;
                self.idle
                    .entry(entry.key.clone())
                    .or_default()
                    .push(instance);
                free = (!is_enough).then(|| entry.key.clone());
            } else {
                self.used -= bytes;
                self.instances.remove(&instance);
            }
        }
        let mut ready = Vec::new();
        let mut prefer = free.clone();
        while let Some(key) = self.queue.next(prefer.take().as_ref()) {
            let Some((bytes, here)) = self.queue.peek(&key).map(|w| (w.bytes, w.core)) else {
                break;
            };
            let grant = self.place_hot(&key, here, |_, _| true);
            if let Some(grant) = grant.or_else(|| self.place_new(&key, bytes, self.least(here))) {
                ready.extend(self.dispatch_next(&key, grant));
                continue;
            }
            // What there is is of no use to whoever's turn it is.
            if let Some(key) = free.take()
                && let Some(here) = self.queue.peek(&key).map(|w| w.core)
                && let Some(grant) = self.place_hot(&key, here, |_, _| true)
            {
                ready.extend(self.dispatch_next(&key, grant));
            }
            break;
        }
        if let Some(key) = replaced {
            // Calls that were there before the change are served as they would have been.
            if let Some(function) = self.functions.get_mut(&key) {
                function.replaced = true;
            }
            let is_idle = |entry: &Instance| entry.worth.is_some();
            if self.instances.get(&instance).is_some_and(is_idle) {
                let victim = self.evict(instance);
                self.left_over.extend(victim);
            }
        }
        ready
    }

    /// Takes the instances of replaced actions whose last call has ended: they are out of the books, and to be thrown away.
    pub fn take_left_over(&mut self) -> Vec<Victim> {
        core::mem::take(&mut self.left_over)
    }

    fn core_of(&self, id: InstanceId) -> Option<usize> {
        self.instances.get(&id).map(|instance| instance.core)
    }

    /// An idle instance of the function, on this core if there is one, on one of the cores that `may` names.
    fn place_hot(
        &mut self,
        key: &InstanceKey,
        here: usize,
        may: impl Fn(usize, &Self) -> bool,
    ) -> Option<Grant<S>> {
        let slots = self.capacity.per_core;
        // The one used last has its memory in the caches.
        let free = self.idle.get(key)?.iter().rev().filter_map(|&id| {
            let core = self.core_of(id)?;
            (self.running[core] < slots && may(core, self)).then_some((id, core))
        });
        let (instance, core) = free
            .clone()
            .find(|&(_, core)| core == here)
            .or_else(|| free.clone().next())?;
        self.take_idle(instance);
        let own = self.instances.get(&instance)?.key.clone();
        self.began(own, core);
        Some(Grant {
            core,
            instance,
            source: Source::Idle,
            evicted: Evicted::default(),
        })
    }

    /// A call of that function begins on that core.
    fn began(&mut self, key: InstanceKey, core: usize) {
        self.running[core] += 1;
        let cores = self.running.len();
        let function = self.functions.entry(key).or_insert_with(|| Function {
            running: alloc::vec![0; cores],
            progress_us: 0,
            steady: 0,
            replaced: false,
        });
        function.running[core] += 1;
        function.progress_us = self.now_us;
    }

    /// The core that has least to do: this one, if it is one of several.
    fn least(&self, here: usize) -> usize {
        let least = self.running.iter().min();
        let core = self.running.iter().position(|n| Some(n) == least);
        match self.running.get(here) {
            here_too if here_too == least => here,
            _ => core.unwrap_or(0),
        }
    }

    /// A new instance on that core.
    fn place_new(&mut self, key: &InstanceKey, bytes: u64, core: usize) -> Option<Grant<S>> {
        let is_full = self.running[core] >= self.capacity.per_core;
        if is_full || self.used - self.idle_bytes + bytes > self.capacity.memory {
            return None;
        }
        // Before anything is evicted: it is worth more now.
        let snapshot = self.use_snapshot(key);
        let evicted = self.make_room(bytes);
        let instance = self.next;
        self.next += 1;
        self.used += bytes;
        let key = key.to_owned_name();
        self.began(key.clone(), core);
        let source = snapshot.map_or(Source::Scratch, Source::Snapshot);
        let entry = Instance {
            key,
            core,
            bytes,
            start: source.start(),
            uses: 0,
            cost_us: 1,
            worth: None,
        };
        self.instances.insert(instance, entry);
        Some(Grant {
            core,
            instance,
            source,
            evicted,
        })
    }

    /// Takes an instance out of the idle ones.
    fn take_idle(&mut self, id: InstanceId) {
        let Some(instance) = self.instances.get_mut(&id) else {
            return;
        };
        if let Some(worth) = instance.worth.take() {
            self.by_worth.remove(&(worth, Idle::Instance(id)));
            self.idle_bytes -= instance.bytes;
            self.idle_instances -= 1;
        }
        if let Some(ids) = self.idle.get_mut(&instance.key) {
            ids.retain(|&other| other != id);
            if ids.is_empty() {
                self.idle.remove(&instance.key);
            }
        }
    }

    fn evict(&mut self, id: InstanceId) -> Option<Victim> {
        self.take_idle(id);
        let instance = self.instances.remove(&id)?;
        self.used -= instance.bytes;
        self.evictions += 1;
        Some(Victim {
            core: instance.core,
            instance: id,
        })
    }

    /// Evicts what is worth least until another `bytes` fit, or nothing is left.
    fn make_room(&mut self, bytes: u64) -> Evicted<S> {
        let mut evicted = Evicted::default();
        while self.used + bytes > self.capacity.memory {
            let Some((worth, least)) = self.by_worth.first().cloned() else {
                break;
            };
            self.age = worth;
            self.evict_one(least, &mut evicted);
        }
        evicted
    }

    fn evict_one(&mut self, least: Idle, evicted: &mut Evicted<S>) {
        match least {
            Idle::Instance(id) => evicted.instances.extend(self.evict(id)),
            Idle::Snapshot(key) => {
                evicted.snapshots.extend(self.drop_snapshot(&key));
                self.snapshot_evictions += 1;
            }
        }
    }

    /// An idle instance takes other than was said when it was released.
    pub fn recount(&mut self, id: InstanceId, bytes: u64) {
        let Some(instance) = self.instances.get_mut(&id) else {
            return;
        };
        if instance.worth.is_some() {
            self.used = self.used - instance.bytes + bytes;
            self.idle_bytes = self.idle_bytes - instance.bytes + bytes;
            instance.bytes = bytes;
        }
    }

    /// Evicts what is worth least until at least `bytes` of the books are free of it: the machine has less memory left
    /// than the books say.
    pub fn relieve(&mut self, bytes: u64) -> Evicted<S> {
        let mut evicted = Evicted::default();
        let target = self.used.saturating_sub(bytes);
        while self.used > target {
            let Some((worth, least)) = self.by_worth.first().cloned() else {
                break;
            };
            self.age = worth;
            self.evict_one(least, &mut evicted);
        }
        evicted
    }

    /// Takes out the idle instances and the snapshots that a predicate names: of actions that were changed or deleted. Instances of
    /// them that serve calls follow ([`take_left_over`](Self::take_left_over)).
    pub fn evict_if(&mut self, mut gone: impl FnMut(&InstanceKey) -> bool) -> Evicted<S> {
        for (key, function) in &mut self.functions {
            function.replaced |= gone(key);
        }
        let keys: Vec<InstanceKey> = self.snapshots.keys().filter(|k| gone(k)).cloned().collect();
        let ids: Vec<InstanceId> = self
            .idle
            .iter()
            .filter(|(key, _)| gone(key))
            .flat_map(|(_, ids)| ids.iter().copied())
            .collect();
        Evicted {
            instances: ids.into_iter().filter_map(|id| self.evict(id)).collect(),
            snapshots: keys
                .iter()
                .filter_map(|key| self.drop_snapshot(key))
                .collect(),
        }
    }

    /// An instance died while idle.
    pub fn lost(&mut self, id: InstanceId) {
        if self
            .instances
            .get(&id)
            .is_some_and(|instance| instance.worth.is_some())
        {
            self.evict(id);
        }
    }

    /// Bytes of all instances and snapshots.
    pub fn used(&self) -> u64 {
        self.used
    }

    /// Instances, and how many of them are idle.
    pub fn instances(&self) -> (usize, usize) {
        (self.instances.len(), self.idle_instances)
    }

    /// Snapshots, and their bytes.
    pub fn snapshots(&self) -> (usize, u64) {
        (self.snapshots.len(), self.snapshot_bytes)
    }

    /// Calls that run on each core.
    pub fn running(&self) -> &[usize] {
        &self.running
    }

    /// Calls that wait, and of how many functions.
    pub fn waiting(&self) -> (usize, usize) {
        (self.queue.len(), self.queue.functions())
    }

    /// Idle instances that had to make room, ever.
    pub fn evictions(&self) -> u64 {
        self.evictions
    }

    /// Snapshots that had to make room, ever.
    pub fn snapshot_evictions(&self) -> u64 {
        self.snapshot_evictions
    }
}

/// What something is worth that was used so often, saves so many microseconds each time and takes so many bytes.
fn worth(uses: u64, cost_us: u64, bytes: u64) -> u64 {
    // At most 1000 times a day of microseconds, in units of 2^-20: it fits.
    ((uses.min(1000) * cost_us.clamp(1, 1 << 33)) << 20) / bytes.max(1)
}
