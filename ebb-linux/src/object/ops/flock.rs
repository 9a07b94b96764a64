//! `flock`.

use crate::object::{
    Objects,
    env::Env,
    errno::{Errno, Result},
    id::{DescId, NodeRef, QueueId},
    kind::Object,
    lock::flock::{Flock, Held},
    wait::Events,
};

impl Objects {
    /// `flock`. `EAGAIN` when another description has the lock; a caller that waits does so on
    /// [`Objects::lock_queue`].
    pub fn flock(&mut self, env: &dyn Env, id: DescId, operation: Flock) -> Result<()> {
        let desc = self.description(id)?;
        if desc.object == Object::Path {
            return Err(Errno::EBADF);
        }
        // What is nowhere in the file system has nobody to share a lock with.
        let Some(node) = desc.node else { return Ok(()) };
        let node = self.lock_key(node);
        let held = self.flocks.held.entry(node).or_default();
        let wanted = match operation {
            Flock::Shared => Some(false),
            Flock::Exclusive => Some(true),
            Flock::Unlock => None,
        };
        let before = held.get(&id).map(|held| held.exclusive);
        if before == wanted && before.is_some() {
            return Ok(());
        }
        // The other kind is let go before this one is asked for, also when that fails: see flock(2).
        held.remove(&id);
        let conflict = match wanted {
            Some(exclusive) => held.values().any(|other| other.exclusive || exclusive),
            None => false,
        };
        if let Some(exclusive) = wanted.filter(|_| !conflict) {
            let pid = env.process().pid() as i32;
            held.insert(id, Held { exclusive, pid });
        }
        if held.is_empty() {
            self.flocks.held.remove(&node);
        }
        if before.is_some() {
            self.hub.wake(self.hub.locks, Events::all());
        }
        if conflict { Err(Errno::EAGAIN) } else { Ok(()) }
    }

    /// Archive nodes keep their lock when an inode takes their place.
    fn lock_key(&self, node: NodeRef) -> NodeRef {
        self.fs.origin(node)
    }

    /// A closed description lets go of its lock.
    pub(crate) fn drop_locks(&mut self, id: DescId, node: NodeRef) {
        if self.flocks.held.is_empty() {
            return;
        }
        let node = self.lock_key(node);
        if let Some(held) = self.flocks.held.get_mut(&node)
            && held.remove(&id).is_some()
        {
            if held.is_empty() {
                self.flocks.held.remove(&node);
            }
            self.hub.wake(self.hub.locks, Events::all());
        }
    }

    /// Where whoever waits for a lock does so, record locks included.
    pub const fn lock_queue(&self) -> QueueId {
        self.hub.locks
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::object::testing::{World, objects, open};

    #[test]
    fn two_descriptions_of_a_file_exclude_each_other_and_a_close_unlocks() {
        let (mut o, w) = (objects(), World::default());
        let a = open(&mut o, &w, b"/f", 0o102).unwrap();
        let b = open(&mut o, &w, b"/f", 2).unwrap();
        let (da, db) = (o.lookup_fd(a).unwrap(), o.lookup_fd(b).unwrap());
        o.flock(&w, da, Flock::Shared).unwrap();
        o.flock(&w, db, Flock::Shared).unwrap();
        assert_eq!(o.flock(&w, da, Flock::Exclusive), Err(Errno::EAGAIN));
        o.close(b).unwrap();
        o.flock(&w, da, Flock::Exclusive).unwrap();
        o.flock(&w, da, Flock::Unlock).unwrap();
        assert!(o.flocks.held.is_empty());
    }
}
