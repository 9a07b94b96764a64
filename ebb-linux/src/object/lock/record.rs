//! Record locks: ranges of a file that a process (`F_SETLK`) or an open file description (`F_OFD_SETLK`) holds for reading
//! with others or for writing alone.
//!
//! What must hold:
//! - a process's locks on a file go with the first of its descriptors of that file that it closes, as POSIX wants; those
//!   of a description with its last;
//! - no two ranges of one owner overlap or touch with the same kind, so a file has no more of them than calls were made
//!   for it, and all files together no more than `MAX_RECORDS`;
//! - whoever waits is in `waits` as long as it does: a process that would wait for one that waits for it gets `EDEADLK`.

use alloc::{collections::BTreeMap, vec::Vec};

use crate::object::{
    errno::{Errno, Result},
    id::{DescId, FilesId, NodeRef},
};

/// The most ranges that a UC may have locked; one more is `ENOLCK`.
pub(crate) const MAX_RECORDS: usize = 8192;
/// How many processes a search for a cycle looks at. Linux looks at 10 and, like this, lets longer cycles wait.
const MAX_CYCLE: usize = 32;
/// The last byte that a file can have.
pub(crate) const LAST: u64 = i64::MAX as u64;

/// Whose a lock is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Owner {
    /// A process, by its descriptors: two that share them share their locks.
    Process(FilesId),
    Description(DescId),
}

/// Linux' `struct flock`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileLock {
    /// `F_RDLCK` 0, `F_WRLCK` 1 or `F_UNLCK` 2.
    pub kind: u16,
    /// `SEEK_SET` 0, `SEEK_CUR` 1 or `SEEK_END` 2.
    pub whence: u16,
    /// The first byte, from there.
    pub start: i64,
    /// How many bytes; 0 is all that follow.
    pub len: i64,
    /// The process that has the lock; -1 for a description.
    pub pid: i32,
}

impl FileLock {
    /// How many bytes the guest sees.
    pub const SIZE: usize = 32;

    /// From the guest's memory.
    pub fn from_bytes(bytes: &[u8; Self::SIZE]) -> Self {
        let word = |at: usize| u16::from_le_bytes([bytes[at], bytes[at + 1]]);
        let long = |at: usize| i64::from_le_bytes(core::array::from_fn(|i| bytes[at + i]));
        Self {
            kind: word(0),
            whence: word(2),
            start: long(8),
            len: long(16),
            pid: i32::from_le_bytes(core::array::from_fn(|i| bytes[24 + i])),
        }
    }

    /// Puts it where the guest's is, whose padding stays.
    pub fn to_bytes(self, bytes: &mut [u8; Self::SIZE]) {
        bytes[..2].copy_from_slice(&self.kind.to_le_bytes());
        bytes[2..4].copy_from_slice(&self.whence.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.start.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.len.to_le_bytes());
        bytes[24..28].copy_from_slice(&self.pid.to_le_bytes());
    }
}

/// A range that somebody has locked, or wants to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Record {
    pub(crate) owner: Owner,
    pub(crate) start: u64,
    /// The last byte of it.
    pub(crate) last: u64,
    pub(crate) exclusive: bool,
    /// Who made it.
    pub(crate) pid: i32,
}

impl Record {
    fn overlaps(&self, other: &Record) -> bool {
        self.start <= other.last && other.start <= self.last
    }

    pub(crate) fn excludes(&self, other: &Record) -> bool {
        self.owner != other.owner && (self.exclusive || other.exclusive) && self.overlaps(other)
    }
}

/// What a call asks for: see [`record_request`](crate::object::Objects::record_request).
#[derive(Clone, Copy, Debug)]
pub struct Request {
    /// `None` for what is in no file system, so that nobody else can open it.
    pub(crate) node: Option<NodeRef>,
    pub(crate) record: Record,
    pub(crate) unlock: bool,
    /// A description's lock has no process, and its request must not name one.
    pub(crate) names_process: bool,
}

/// Names somebody who waits for a record lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct WaitId(pub(crate) u64);

/// All record locks of a UC.
#[derive(Clone, Debug, Default)]
pub(crate) struct Records {
    held: BTreeMap<NodeRef, Vec<Record>>,
    pub(crate) count: usize,
    pub(crate) waits: BTreeMap<WaitId, Request>,
    pub(crate) last_wait: u64,
}

impl Records {
    pub(crate) fn conflicts<'a>(
        &'a self,
        request: &'a Request,
    ) -> impl Iterator<Item = &'a Record> {
        let held = request.node.and_then(|node| self.held.get(&node));
        held.into_iter()
            .flatten()
            .filter(|held| held.excludes(&request.record))
    }

    /// Those of a file.
    pub(crate) fn of(&self, node: NodeRef) -> &[Record] {
        self.held.get(&node).map_or(&[], Vec::as_slice)
    }

    /// All files with locks.
    pub(crate) fn nodes(&self) -> impl Iterator<Item = NodeRef> {
        self.held.keys().copied()
    }

    /// Whether `owner` would wait for itself if it waited for `request`.
    pub(crate) fn is_cycle(&self, request: &Request) -> bool {
        let owner = request.record.owner;
        let mut found: Vec<Owner> = Vec::new();
        let mut next = Vec::from([*request]);
        while let Some(request) = next.pop() {
            for held in self.conflicts(&request) {
                if held.owner == owner {
                    return true;
                }
                if found.contains(&held.owner) || found.len() == MAX_CYCLE {
                    continue;
                }
                found.push(held.owner);
                let waits = self.waits.values();
                next.extend(waits.filter(|w| w.record.owner == held.owner));
            }
        }
        false
    }

    /// Makes `new` the only thing that its owner has in its range; whether something was let go.
    pub(crate) fn put(&mut self, node: NodeRef, mut new: Record, unlock: bool) -> Result<bool> {
        let empty = Vec::new();
        let before = self.held.get(&node).unwrap_or(&empty);
        let mut after = Vec::with_capacity(before.len() + 2);
        let mut let_go = false;
        for &held in before {
            let touches = held.start <= new.last.saturating_add(1)
                && new.start <= held.last.saturating_add(1);
            if held.owner != new.owner || !touches {
                after.push(held);
                continue;
            }
            if !unlock && held.exclusive == new.exclusive {
                new.start = new.start.min(held.start);
                new.last = new.last.max(held.last);
                continue;
            }
            if !held.overlaps(&new) {
                after.push(held);
                continue;
            }
            let_go |= unlock || held.exclusive;
            if held.start < new.start {
                after.push(Record {
                    last: new.start - 1,
                    ..held
                });
            }
            if held.last > new.last {
                after.push(Record {
                    start: new.last + 1,
                    ..held
                });
            }
        }
        if !unlock {
            after.push(new);
        }
        let count = self.count - before.len() + after.len();
        if count > MAX_RECORDS && count > self.count {
            return Err(Errno::ENOLCK);
        }
        self.replace(node, after);
        Ok(let_go)
    }

    fn replace(&mut self, node: NodeRef, records: Vec<Record>) {
        self.count += records.len();
        let before = if records.is_empty() {
            self.held.remove(&node)
        } else {
            self.held.insert(node, records)
        };
        self.count -= before.map_or(0, |b| b.len());
    }

    /// Takes all of an owner's locks on a file away; whether there were any.
    pub(crate) fn drop_owner(&mut self, node: NodeRef, owner: Owner) -> bool {
        let Some(held) = self.held.get(&node) else {
            return false;
        };
        if held.iter().all(|r| r.owner != owner) {
            return false;
        }
        let left = held.iter().filter(|r| r.owner != owner).copied();
        let left = left.collect();
        self.replace(node, left);
        true
    }
}
