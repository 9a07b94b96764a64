//! File locks. All of a UC is one process, whose record locks never conflict with one another, so
//! `F_SETLK` always succeeds and `F_GETLK` finds nothing. `flock` locks belong to open file
//! descriptions and do conflict between two of the same file.

use alloc::collections::BTreeMap;

use super::{
    Objects,
    description::{DescId, Object},
    errno::{Errno, Result},
    fd::Fd,
    vfs::NodeRef,
};

/// `flock` locks: for each locked file, who has it.
#[derive(Clone, Debug, Default)]
pub struct Locks {
    held: BTreeMap<NodeRef, BTreeMap<DescId, bool>>,
}

/// `LOCK_*` of `flock`, without `LOCK_NB`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flock {
    /// `LOCK_SH`.
    Shared,
    /// `LOCK_EX`.
    Exclusive,
    /// `LOCK_UN`.
    Unlock,
}

impl Flock {
    /// From the operation without `LOCK_NB` (4).
    pub const fn from_number(number: u32) -> Option<Flock> {
        Some(match number & !4 {
            1 => Flock::Shared,
            2 => Flock::Exclusive,
            8 => Flock::Unlock,
            _ => return None,
        })
    }
}

impl Objects {
    /// `flock`. `EAGAIN` when another description has the lock; a caller that waits does so on
    /// [`Objects::lock_queue`].
    pub fn flock(&mut self, id: DescId, operation: Flock) -> Result<()> {
        let desc = self.description(id)?;
        if desc.object == Object::Path {
            return Err(Errno::EBADF);
        }
        // What is nowhere in the file system has nobody to share a lock with.
        let Some(node) = desc.node else { return Ok(()) };
        let node = self.lock_key(node);
        let held = self.locks.held.entry(node).or_default();
        let conflict = match operation {
            Flock::Shared => held.iter().any(|(&d, &exclusive)| d != id && exclusive),
            Flock::Exclusive => held.keys().any(|&d| d != id),
            Flock::Unlock => false,
        };
        if conflict {
            return Err(Errno::EAGAIN);
        }
        match operation {
            Flock::Unlock => {
                held.remove(&id);
                if held.is_empty() {
                    self.locks.held.remove(&node);
                }
            }
            kind => {
                held.insert(id, kind == Flock::Exclusive);
            }
        }
        self.hub.wake(self.lock_queue, super::wait::Events::all());
        Ok(())
    }

    /// Archive nodes keep their lock when an inode takes their place.
    fn lock_key(&self, node: NodeRef) -> NodeRef {
        self.fs.origin(node)
    }

    /// A closed description lets go of its lock.
    pub(crate) fn drop_locks(&mut self, id: DescId, node: NodeRef) {
        if self.locks.held.is_empty() {
            return;
        }
        let node = self.lock_key(node);
        if let Some(held) = self.locks.held.get_mut(&node)
            && held.remove(&id).is_some()
        {
            if held.is_empty() {
                self.locks.held.remove(&node);
            }
            self.hub.wake(self.lock_queue, super::wait::Events::all());
        }
    }

    /// Where a blocking `flock` waits.
    pub const fn lock_queue(&self) -> super::wait::QueueId {
        self.lock_queue
    }

    /// Checks a record lock (`fcntl` with `F_SETLK` and the like): `kind` is `F_RDLCK` 0,
    /// `F_WRLCK` 1 or `F_UNLCK` 2.
    ///
    /// # Errors
    /// `EBADF` when the descriptor's access mode does not allow the lock, `EINVAL`.
    pub fn record_lock(&self, fd: Fd, kind: u16) -> Result<()> {
        let desc = self.description(self.files.fds.get(fd)?)?;
        match kind {
            _ if desc.object == Object::Path => Err(Errno::EBADF),
            0 if !desc.flags.readable() => Err(Errno::EBADF),
            1 if !desc.flags.writable() => Err(Errno::EBADF),
            0..=2 => Ok(()),
            _ => Err(Errno::EINVAL),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{World, objects, open};
    use super::*;

    #[test]
    fn two_descriptions_of_a_file_exclude_each_other_and_a_close_unlocks() {
        let (mut o, w) = (objects(), World::default());
        let a = open(&mut o, &w, b"/f", 0o102).unwrap();
        let b = open(&mut o, &w, b"/f", 2).unwrap();
        let (da, db) = (o.lookup_fd(a).unwrap(), o.lookup_fd(b).unwrap());
        o.flock(da, Flock::Shared).unwrap();
        o.flock(db, Flock::Shared).unwrap();
        assert_eq!(o.flock(da, Flock::Exclusive), Err(Errno::EAGAIN));
        o.close(b).unwrap();
        o.flock(da, Flock::Exclusive).unwrap();
        o.flock(da, Flock::Unlock).unwrap();
        assert!(o.locks.held.is_empty());
    }
}
