//! The functions that a machine has been told of, at most so many bytes of them.

use alloc::{collections::BTreeMap, string::String, sync::Arc, vec::Vec};

use ebb_openwhisk::entity::Action;

use crate::wire::{Function, FunctionId};

struct Held {
    action: Arc<Action>,
    bytes: usize,
    used: u64,
}

/// See the module.
pub struct Functions {
    held: BTreeMap<FunctionId, Held>,
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
        };
        self.held.insert(id, held);
        Ok(made_room)
    }

    /// The action of a function that is about to be called.
    pub fn action(&mut self, id: FunctionId) -> Option<Arc<Action>> {
        self.uses += 1;
        let held = self.held.get_mut(&id)?;
        held.used = self.uses;
        Some(Arc::clone(&held.action))
    }

    /// Forgets one; whether it was there.
    pub fn forget(&mut self, id: FunctionId) -> bool {
        let held = self.held.remove(&id);
        self.bytes -= held.as_ref().map_or(0, |held| held.bytes);
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
