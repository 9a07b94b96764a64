//! What a process has of descriptors: small numbers that name open file descriptions, a working directory, a file mode mask.
//!
//! The lowest free number is always the one given out, as POSIX wants. The table holds one
//! reference to the description of each number; [`Objects`](super::Objects) does the counting.

use alloc::vec::Vec;
use borsh::{BorshDeserialize, BorshSerialize};

use super::{
    errno::{Errno, Result},
    id::{DescId, Fd, NodeRef},
};

/// The highest `RLIMIT_NOFILE` a UC can ask for (`fs.nr_open`): as many as it has open file descriptions, so that what a
/// program is told it may open it can.
pub const MAX_NOFILE: u32 = 1 << 16;

#[derive(BorshSerialize, BorshDeserialize, Clone, Copy, Debug)]
pub(crate) struct Entry {
    pub(crate) desc: DescId,
    pub(crate) close_on_exec: bool,
}

/// The descriptors of a process.
#[derive(BorshSerialize, BorshDeserialize, Clone, Debug)]
pub struct FdTable {
    pub(crate) entries: Vec<Option<Entry>>,
    /// No number below this one is free.
    lowest: usize,
    open: usize,
    /// How long `entries` has been.
    longest: usize,
    pub(crate) limit: u32,
}

impl FdTable {
    /// An empty table; `limit` is the soft `RLIMIT_NOFILE`.
    pub fn new(limit: u32) -> Self {
        Self {
            entries: Vec::new(),
            lowest: 0,
            open: 0,
            longest: 0,
            limit: limit.min(MAX_NOFILE),
        }
    }

    /// The soft `RLIMIT_NOFILE`: one more than the highest number given out.
    pub const fn limit(&self) -> u32 {
        self.limit
    }

    /// Changes the limit; descriptors beyond it stay open.
    pub fn set_limit(&mut self, limit: u32) {
        self.limit = limit.min(MAX_NOFILE);
    }

    /// Up to which number `select` looks: Linux' table grows from 64 places to 128 and then by doubling, and what lies beyond it
    /// is not looked at.
    pub fn size(&self) -> usize {
        const FIRST: usize = 64;
        match self.longest {
            ..=FIRST => FIRST,
            more => more.next_power_of_two(),
        }
    }

    /// How many descriptors are open.
    pub const fn len(&self) -> usize {
        self.open
    }

    /// Whether none is open.
    pub const fn is_empty(&self) -> bool {
        self.open == 0
    }

    pub(crate) fn entry(&self, fd: Fd) -> Result<&Entry> {
        let index = usize::try_from(fd).map_err(|_| Errno::EBADF)?;
        self.entries
            .get(index)
            .and_then(Option::as_ref)
            .ok_or(Errno::EBADF)
    }

    /// The description behind a descriptor.
    pub fn get(&self, fd: Fd) -> Result<DescId> {
        Ok(self.entry(fd)?.desc)
    }

    /// The open descriptors in order.
    pub fn iter(&self) -> impl Iterator<Item = (Fd, DescId)> {
        let numbered = self.entries.iter().enumerate();
        numbered.filter_map(|(fd, e)| e.as_ref().map(|e| (fd as Fd, e.desc)))
    }

    /// The highest open descriptor.
    pub(crate) fn last(&self) -> Option<Fd> {
        self.entries
            .iter()
            .rposition(Option::is_some)
            .map(|fd| fd as Fd)
    }

    /// The lowest free number not below `from`.
    fn find_free(&self, from: usize) -> Result<usize> {
        let start = from.max(self.lowest);
        let free = self.entries.iter().skip(start).position(Option::is_none);
        let fd = free.map_or(self.entries.len().max(start), |n| start + n);
        if fd < self.limit as usize {
            Ok(fd)
        } else {
            Err(Errno::EMFILE)
        }
    }

    /// Whether one more descriptor can be opened.
    pub fn check_room(&self) -> Result<()> {
        self.find_free(0).map(|_| ())
    }

    pub(crate) fn set(&mut self, fd: usize, entry: Entry) -> Option<DescId> {
        if fd >= self.entries.len() {
            self.entries.resize(fd + 1, None);
            self.longest = self.longest.max(fd + 1);
        }
        let old = self.entries[fd].replace(entry);
        self.open += usize::from(old.is_none());
        if fd == self.lowest {
            self.lowest += 1;
        }
        old.map(|e| e.desc)
    }

    pub(crate) fn insert(&mut self, from: usize, desc: DescId, close_on_exec: bool) -> Result<Fd> {
        let fd = self.find_free(from)?;
        if from <= self.lowest {
            self.lowest = fd;
        }
        self.set(
            fd,
            Entry {
                desc,
                close_on_exec,
            },
        );
        Ok(fd as Fd)
    }

    pub(crate) fn remove(&mut self, fd: Fd) -> Result<DescId> {
        let desc = self.entry(fd)?.desc;
        let index = fd as usize;
        self.entries[index] = None;
        self.open -= 1;
        self.lowest = self.lowest.min(index);
        while let Some(None) = self.entries.last() {
            self.entries.pop();
        }
        Ok(desc)
    }
}

/// What a process has besides its descriptors: where relative paths start, and the file mode mask.
/// (Linux' `files_struct` and `fs_struct`.)
#[derive(BorshSerialize, BorshDeserialize, Clone, Debug)]
pub struct Files {
    /// Open descriptors.
    pub fds: FdTable,
    /// The working directory.
    pub cwd: NodeRef,
    /// Where absolute paths start (`chroot`).
    pub root: NodeRef,
    /// Permission bits that new files do not get.
    pub umask: u32,
    /// Bytes that a file may have to be written to beyond them: the soft `RLIMIT_FSIZE`.
    pub max_size: u64,
}

/// Files of processes that do not run; nothing while one of them does.
#[derive(BorshSerialize, BorshDeserialize, Clone, Debug)]
pub struct Parked {
    pub(crate) files: Option<Files>,
    /// Processes that have them (`CLONE_FILES`).
    pub(crate) users: u32,
}

impl Parked {
    /// For the files that are in their place: those of one process, which runs.
    pub(crate) const fn running() -> Self {
        Self {
            files: None,
            users: 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::object::id::Id;

    #[test]
    fn select_looks_as_far_as_the_table_has_ever_grown() {
        let mut table = FdTable::new(1024);
        assert_eq!(table.size(), 64);
        let entry = Entry {
            desc: Id::new(0, 1),
            close_on_exec: false,
        };
        for (fd, size) in [
            (3, 64),
            (63, 64),
            (64, 128),
            (127, 128),
            (300, 512),
            (5, 512),
        ] {
            table.set(fd, entry);
            assert_eq!(table.size(), size, "{fd}");
        }
    }
}
