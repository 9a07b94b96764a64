//! The functions that a machine has been told of, at most so many bytes of them.

use alloc::{collections::BTreeMap, string::String, sync::Arc, vec::Vec};

use core::time::Duration;

use ebb::time::Instant;
use ebb_openwhisk::entity::Action;

use crate::wire::{Function, FunctionId};

struct Held {
    action: Arc<Action>,
    bytes: usize,
    used: u64,
    /// How long a cold start has taken on a neighbour that may have a snapshot of it.
    near: Option<Duration>,
    /// When neighbours had none.
    in_vain: Option<Instant>,
}

/// How long neighbours that had no snapshot of a function are not asked for one again.
const IN_VAIN: Duration = Duration::from_secs(2);

/// What loads faster is loaded: a snapshot takes 20 to 40 ms between emulated machines.
const WORTH_IT: Duration = Duration::from_millis(50);

/// See the module.
pub struct Functions {
    held: BTreeMap<FunctionId, Held>,
    /// Functions by the revisions that they have here.
    ids: BTreeMap<u64, FunctionId>,
    bytes: usize,
    most_bytes: usize,
    revisions: u64,
    uses: u64,
}

/// What a function takes besides its code, about.
const HEAD: usize = 1024;

impl Functions {
    /// None, and room for so many bytes.
    pub fn new(most_bytes: usize) -> Self {
        Self {
            held: BTreeMap::new(),
            ids: BTreeMap::new(),
            bytes: 0,
            most_bytes,
            revisions: 0,
            uses: 0,
        }
    }

    /// Takes one, under a revision that no other has had here. Those that were not used for longest make room; whether any did.
    ///
    /// # Errors
    /// It is none.
    pub fn learn(&mut self, id: FunctionId, function: &Function) -> Result<bool, String> {
        if self.held.contains_key(&id) {
            return Ok(false);
        }
        let action = function.read(self.revisions)?;
        let revision = self.revisions;
        self.revisions += 1;
        let bytes = function.bytes() + HEAD;
        let mut made_room = false;
        while self.bytes + bytes > self.most_bytes {
            let oldest = self.held.iter().min_by_key(|(_, held)| held.used);
            let Some(oldest) = oldest.map(|(id, _)| *id) else {
                break;
            };
            made_room |= self.forget(oldest);
        }
        self.bytes += bytes;
        self.uses += 1;
        let held = Held {
            action: Arc::new(action),
            bytes,
            used: self.uses,
            near: None,
            in_vain: None,
        };
        self.ids.insert(revision, id);
        self.held.insert(id, held);
        Ok(made_room)
    }

    /// The action of a function that is about to be called, and what a cold start of it takes where there may be a snapshot.
    pub fn action(&mut self, id: FunctionId, near: Option<Duration>) -> Option<Arc<Action>> {
        self.uses += 1;
        let held = self.held.get_mut(&id)?;
        (held.used, held.near) = (self.uses, near);
        Some(Arc::clone(&held.action))
    }

    /// The revision that a function has here.
    pub fn revision(&self, id: FunctionId) -> Option<u64> {
        self.held.get(&id).map(|held| held.action.revision)
    }

    /// The function of a revision, if a neighbour may have a snapshot of it, and what a cold start takes there.
    pub fn near(&self, revision: u64) -> Option<(FunctionId, Duration)> {
        let id = *self.ids.get(&revision)?;
        let held = self.held.get(&id)?;
        let is_due = held.in_vain.is_none_or(|when| when.elapsed() >= IN_VAIN);
        let cold = held.near.filter(|cold| is_due && *cold >= WORTH_IT)?;
        Some((id, cold))
    }

    /// Neighbours have no snapshot of it.
    pub fn asked_in_vain(&mut self, id: FunctionId) {
        if let Some(held) = self.held.get_mut(&id) {
            held.in_vain = Some(Instant::now());
        }
    }

    /// Forgets one; whether it was there.
    pub fn forget(&mut self, id: FunctionId) -> bool {
        let held = self.held.remove(&id);
        if let Some(held) = &held {
            self.ids.remove(&held.action.revision);
            self.bytes -= held.bytes;
        }
        held.is_some()
    }

    /// The revisions that there are.
    pub fn revisions(&self) -> Vec<u64> {
        let held = self.held.values();
        let mut revisions: Vec<u64> = held.map(|held| held.action.revision).collect();
        revisions.sort_unstable();
        revisions
    }
}
