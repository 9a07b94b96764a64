//! Which instance serves which call, on which core: the bookkeeping of instances, and nothing of what they are.
//!
//! A call is served by an idle instance of its function, on the core that received it if there is one there, else by one
//! on another core; else by a new instance on the core that has least to do. If neither a slot nor memory is left for one,
//! idle instances of other functions make room, and if there are none, the call waits ([`crate::fair`]). What the owner
//! has to do is in the [`Dispatch`]es that come back; the decision is already accounted for.
//!
//! Idle instances are evicted by the greedy-dual rule (Cao and Irani 1997; for functions Fuerst and Sharma, "FaasCache",
//! 2021): an instance's worth is how often it was used times what it costs to start one again, per byte, and worth ages.

use crate::call::{InstanceKey, Start};
use crate::fair::FairQueue;
use alloc::{collections::BTreeSet, vec::Vec};
use hashbrown::{HashMap, HashSet};

/// How much there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capacity {
    /// Cores that instances run on.
    pub cores: usize,
    /// Calls that run at once on one core.
    pub per_core: usize,
    /// Bytes of all instances together.
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

/// A call that can run now.
#[derive(Debug, PartialEq, Eq)]
pub struct Dispatch<T> {
    /// What was submitted.
    pub ticket: T,
    /// Where it runs.
    pub core: usize,
    /// On which instance. Unless `start` is hot, there has to be one made of that number.
    pub instance: InstanceId,
    /// How the instance is come by.
    pub start: Start,
    /// What has to go first.
    pub victims: Vec<Victim>,
}

/// What becomes of a call.
#[derive(Debug, PartialEq, Eq)]
pub enum Submitted<T> {
    /// It can run now.
    Run(Dispatch<T>),
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
    uses: u64,
    /// Microseconds to start one again.
    cost: u64,
    /// Its place among the idle ones, while it is.
    worth: Option<u64>,
}

#[derive(Debug)]
struct Waiting<T> {
    ticket: T,
    core: usize,
    bytes: u64,
}

/// The instances of all cores.
#[derive(Debug)]
pub struct Pool<T> {
    capacity: Capacity,
    instances: HashMap<InstanceId, Instance>,
    idle: HashMap<InstanceKey, Vec<InstanceId>>,
    by_worth: BTreeSet<(u64, InstanceId)>,
    running: Vec<usize>,
    snapshots: HashSet<InstanceKey>,
    queue: FairQueue<InstanceKey, Waiting<T>>,
    used: u64,
    idle_bytes: u64,
    age: u64,
    next: InstanceId,
    evictions: u64,
}

impl<T> Pool<T> {
    /// A pool without instances.
    pub fn new(capacity: Capacity) -> Self {
        Self {
            capacity,
            instances: HashMap::new(),
            idle: HashMap::new(),
            by_worth: BTreeSet::new(),
            running: alloc::vec![0; capacity.cores.max(1)],
            snapshots: HashSet::new(),
            queue: FairQueue::new(capacity.queue),
            used: 0,
            idle_bytes: 0,
            age: 0,
            next: 0,
            evictions: 0,
        }
    }

    /// A call came to core `here`; an instance for it takes about `bytes`.
    pub fn submit(
        &mut self,
        ticket: T,
        key: &InstanceKey,
        bytes: u64,
        here: usize,
    ) -> Submitted<T> {
        // Who waits goes first, except for an instance that is of no use to them.
        let placed = if self.queue.is_empty() || self.idle.contains_key(key) {
            self.place(key, bytes, here)
        } else {
            None
        };
        if let Some((core, instance, start, victims)) = placed {
            return Submitted::Run(Dispatch {
                ticket,
                core,
                instance,
                start,
                victims,
            });
        }
        let waiting = Waiting {
            ticket,
            core: here,
            bytes,
        };
        match self.queue.push(key.clone(), waiting) {
            Ok(()) => Submitted::Waits,
            Err(waiting) => Submitted::Refused(waiting.ticket),
        }
    }

    /// A call has ended. Its instance is kept if `keep` says so; it takes `bytes`, and to start another one like it costs
    /// `cost` microseconds. Returns the calls that can run now.
    pub fn release(
        &mut self,
        instance: InstanceId,
        keep: bool,
        bytes: u64,
        cost: u64,
    ) -> Vec<Dispatch<T>> {
        let mut prefer = None;
        if let Some(entry) = self.instances.get_mut(&instance) {
            if entry.worth.is_some() {
                // It is idle already.
                return Vec::new();
            }
            self.running[entry.core] -= 1;
            self.used = self.used - entry.bytes + bytes;
            entry.bytes = bytes;
            entry.cost = cost.max(1);
            entry.uses += 1;
            if keep {
                let worth = self.age + ((entry.uses.min(1000) * entry.cost) << 20) / bytes.max(1);
                entry.worth = Some(worth);
                self.by_worth.insert((worth, instance));
                self.idle_bytes += bytes;
                self.idle
                    .entry(entry.key.clone())
                    .or_default()
                    .push(instance);
                prefer = Some(entry.key.clone());
            } else {
                self.used -= bytes;
                self.instances.remove(&instance);
            }
        }
        let mut ready = Vec::new();
        while let Some(key) = self.queue.next(prefer.take().as_ref()) {
            let Some((bytes, here)) = self.queue.peek(&key).map(|w| (w.bytes, w.core)) else {
                break;
            };
            let Some((core, instance, start, victims)) = self.place(&key, bytes, here) else {
                break;
            };
            let Some(waiting) = self.queue.pop(&key) else {
                break;
            };
            ready.push(Dispatch {
                ticket: waiting.ticket,
                core,
                instance,
                start,
                victims,
            });
        }
        ready
    }

    fn place(
        &mut self,
        key: &InstanceKey,
        bytes: u64,
        here: usize,
    ) -> Option<(usize, InstanceId, Start, Vec<Victim>)> {
        let slots = self.capacity.per_core;
        if let Some(ids) = self.idle.get(key) {
            let core_of = |id: &&InstanceId| self.instances.get(*id).map(|i| i.core);
            // The one used last has its memory in the caches.
            let on_here = ids.iter().rev().find(|id| core_of(id) == Some(here));
            let free =
                |id: &&InstanceId| core_of(id).is_some_and(|core| self.running[core] < slots);
            let chosen = on_here
                .filter(free)
                .or_else(|| ids.iter().rev().find(free))
                .copied();
            if let Some(id) = chosen {
                self.take_idle(id);
                let core = self.instances.get(&id)?.core;
                self.running[core] += 1;
                return Some((core, id, Start::Hot, Vec::new()));
            }
        }
        let least = self.running.iter().copied().min()?;
        let core = match self.running.get(here) {
            Some(&n) if n == least => here,
            _ => self.running.iter().position(|&n| n == least)?,
        };
        if least >= slots || self.used - self.idle_bytes + bytes > self.capacity.memory {
            return None;
        }
        let mut victims = Vec::new();
        while self.used + bytes > self.capacity.memory {
            let &(worth, id) = self.by_worth.first()?;
            self.age = worth;
            victims.push(self.evict(id)?);
        }
        let id = self.next;
        self.next += 1;
        self.used += bytes;
        self.running[core] += 1;
        let instance = Instance {
            key: key.clone(),
            core,
            bytes,
            uses: 0,
            cost: 1,
            worth: None,
        };
        self.instances.insert(id, instance);
        let start = if self.snapshots.contains(key) {
            Start::Warm
        } else {
            Start::Cold
        };
        Some((core, id, start, victims))
    }

    /// Takes an instance out of the idle ones.
    fn take_idle(&mut self, id: InstanceId) {
        let Some(instance) = self.instances.get_mut(&id) else {
            return;
        };
        if let Some(worth) = instance.worth.take() {
            self.by_worth.remove(&(worth, id));
            self.idle_bytes -= instance.bytes;
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

    /// Takes out the idle instances that a predicate names: of actions that were changed or deleted.
    pub fn evict_if(&mut self, mut gone: impl FnMut(&InstanceKey) -> bool) -> Vec<Victim> {
        self.snapshots.retain(|key| !gone(key));
        let ids: Vec<InstanceId> = self
            .idle
            .iter()
            .filter(|(key, _)| gone(key))
            .flat_map(|(_, ids)| ids.iter().copied())
            .collect();
        ids.into_iter().filter_map(|id| self.evict(id)).collect()
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

    /// There is a snapshot of that function now, or there is none any more.
    pub fn set_snapshot(&mut self, key: &InstanceKey, there: bool) {
        if there {
            self.snapshots.insert(key.clone());
        } else {
            self.snapshots.remove(key);
        }
    }

    /// Bytes of all instances.
    pub fn used(&self) -> u64 {
        self.used
    }

    /// Instances, and how many of them are idle.
    pub fn instances(&self) -> (usize, usize) {
        (self.instances.len(), self.by_worth.len())
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
}
