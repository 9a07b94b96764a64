//! Memory segments: `shmget`, `shmat`, `shmdt`, `shmctl`.
//!
//! What must hold: how many mappings a segment has is counted in the memories of the processes when it is asked for, never
//! kept beside them; a segment that was removed is found by its identifier until the last mapping is gone, and by its key no
//! more.

use super::{Access, Ipc, Object, PERM_BYTES, Permissions, Subject};
use crate::abi::errno::Errno;
use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt::Write;
use ebb_mem::space::{PAGE, Quota, Shared};

/// `SHMMAX`: bytes of a segment (`ULONG_MAX - (1 << 24)`).
pub const SEGMENT_MAX: u64 = u64::MAX - (1 << 24);
/// `SHM_RDONLY`: to be read only.
pub const SHM_RDONLY: u32 = 0o10_000;
/// `SHM_RND`: the address is rounded down.
pub const SHM_RND: u32 = 0o20_000;
/// `SHM_REMAP`: takes the place of what is mapped there.
pub const SHM_REMAP: u32 = 0o40_000;
/// `SHM_EXEC`: to be executed as well.
pub const SHM_EXEC: u32 = 0o100_000;
/// `SHM_HUGETLB`: of large pages, of which there are none for programs.
pub const SHM_HUGETLB: u32 = 0o4000;
/// `SHM_DEST` in a mode: ends with its last mapping.
const SHM_DEST: u32 = 0o1000;
/// `SHM_LOCKED` in a mode.
const SHM_LOCKED: u32 = 0o2000;
/// Bytes of `struct shmid64_ds`.
pub const STAT_BYTES: usize = 112;

/// A memory segment.
#[derive(Clone, Debug)]
pub struct Segment {
    permissions: Permissions,
    size_bytes: u64,
    pages: Arc<Shared>,
    attached_s: i64,
    detached_s: i64,
    changed_s: i64,
    creator: u32,
    last: u32,
}

impl Object for Segment {
    fn permissions(&self) -> &Permissions {
        &self.permissions
    }

    fn permissions_mut(&mut self) -> &mut Permissions {
        &mut self.permissions
    }
}

impl Segment {
    /// Its pages.
    pub const fn pages(&self) -> &Arc<Shared> {
        &self.pages
    }

    /// Its length, as it was asked for.
    pub const fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    /// The key that it was made with; 0 once it was removed.
    pub const fn key(&self) -> i32 {
        self.permissions.key
    }

    const fn is_removed(&self) -> bool {
        self.permissions.mode & SHM_DEST != 0
    }

    /// As `struct shmid64_ds`, with so many mappings.
    #[must_use]
    pub fn stat(&self, mappings: u64) -> [u8; STAT_BYTES] {
        let mut bytes = [0; STAT_BYTES];
        bytes[..PERM_BYTES].copy_from_slice(&self.permissions.to_bytes());
        let words = [
            self.size_bytes,
            self.attached_s as u64,
            self.detached_s as u64,
            self.changed_s as u64,
            u64::from(self.creator) | u64::from(self.last) << 32,
            mappings,
        ];
        for (to, word) in bytes[PERM_BYTES..].chunks_exact_mut(8).zip(words) {
            to.copy_from_slice(&word.to_le_bytes());
        }
        bytes
    }
}

impl Segment {
    /// The rest of its line in /proc/sysvipc/shm, with how often it is mapped.
    pub(super) fn describe(&self, owners: &str, mappings: u64, out: &mut String) {
        let _ = write!(
            out,
            " {:21} {:5} {:5}  {mappings:5} {owners} {:10} {:10} {:10} {:21} {:21}",
            self.size_bytes,
            self.creator,
            self.last,
            self.attached_s,
            self.detached_s,
            self.changed_s,
            self.pages.pages() * 4096,
            0,
        );
    }
}

impl Ipc {
    /// `shmget`. Pages come when they are used, from `quota`.
    ///
    /// # Errors
    /// `EINVAL` for a size that the segment does not have or no segment can have, and those of every `*get`.
    pub fn shmget(
        &mut self,
        key: i32,
        size_bytes: u64,
        flags: u32,
        subject: &Subject,
        quota: &Arc<Quota>,
        now_s: i64,
    ) -> Result<i32, Errno> {
        let check = |segment: &Segment| {
            if size_bytes > segment.size_bytes {
                return Err(Errno::EINVAL);
            }
            Ok(())
        };
        self.segments
            .get(key, flags, subject, check, |permissions| {
                if size_bytes == 0 || size_bytes > SEGMENT_MAX {
                    return Err(Errno::EINVAL);
                }
                if flags & SHM_HUGETLB != 0 || size_bytes.div_ceil(PAGE) > quota.max() {
                    return Err(Errno::ENOMEM);
                }
                Ok(Segment {
                    permissions,
                    size_bytes,
                    pages: Shared::new(quota, size_bytes.next_multiple_of(PAGE)),
                    attached_s: 0,
                    detached_s: 0,
                    changed_s: now_s,
                    creator: subject.pid,
                    last: 0,
                })
            })
    }

    /// The segment that `shmat` is to map.
    ///
    /// # Errors
    /// `EINVAL`, `EACCES`.
    pub fn shm_to_map(
        &self,
        id: i32,
        is_read_only: bool,
        is_run: bool,
        subject: &Subject,
    ) -> Result<&Segment, Errno> {
        let segment = self.segments.by_id(id)?;
        segment.permissions.check(subject, Access::Read)?;
        if !is_read_only {
            segment.permissions.check(subject, Access::Write)?;
        }
        if is_run {
            segment.permissions.check(subject, Access::Execute)?;
        }
        Ok(segment)
    }

    /// It has been mapped.
    pub fn shm_mapped(&mut self, id: i32, subject: &Subject, now_s: i64) {
        if let Ok(segment) = self.segments.by_id_mut(id) {
            segment.attached_s = now_s;
            segment.last = subject.pid;
        }
    }

    /// The segment with these pages, and its identifier.
    pub fn segment_of(&self, pages: u64) -> Option<(i32, &Segment)> {
        self.segments.iter().find(|(_, s)| s.pages.id() == pages)
    }

    /// A mapping of the segment with these pages is gone.
    pub fn shm_unmapped(&mut self, pages: u64, pid: u32, now_s: i64) {
        let segment = self.segments.iter_mut().find(|s| s.pages.id() == pages);
        if let Some(segment) = segment {
            segment.detached_s = now_s;
            segment.last = pid;
        }
    }

    /// Ends removed segments without mappings. `mappings` counts those of the pages of an identifier.
    pub fn sweep_segments(&mut self, mappings: impl Fn(u64) -> u64) {
        let ended = |s: &Segment| s.is_removed() && mappings(s.pages.id()) == 0;
        let ended: Vec<i32> = self
            .segments
            .iter()
            .filter(|(_, segment)| ended(segment))
            .map(|(id, _)| id)
            .collect();
        for id in ended {
            // It was found a moment ago.
            let _ = self.segments.remove(id);
        }
    }

    /// Whether a segment waits for the end of its last mapping.
    pub fn has_removed_segments(&self) -> bool {
        self.segments.iter().any(|(_, s)| s.is_removed())
    }

    /// `IPC_RMID`: the key is free at once, the segment ends with its last mapping.
    ///
    /// # Errors
    /// `EINVAL`, `EPERM`.
    pub fn shm_remove(
        &mut self,
        id: i32,
        subject: &Subject,
        mappings: impl Fn(u64) -> u64,
    ) -> Result<(), Errno> {
        let slot = self.segments.slot_of(id)?;
        let segment = self.segments.owned(id, subject)?;
        let key = core::mem::replace(&mut segment.permissions.key, super::IPC_PRIVATE);
        segment.permissions.mode |= SHM_DEST;
        self.segments.forget_key(key, slot);
        self.sweep_segments(mappings);
        Ok(())
    }

    /// `IPC_SET`.
    ///
    /// # Errors
    /// `EINVAL`, `EPERM`.
    pub fn shm_set(
        &mut self,
        id: i32,
        perm: &[u8; PERM_BYTES],
        subject: &Subject,
        now_s: i64,
    ) -> Result<(), Errno> {
        let segment = self.segments.owned(id, subject)?;
        segment.permissions.set(perm);
        segment.changed_s = now_s;
        Ok(())
    }

    /// `SHM_LOCK`, `SHM_UNLOCK`: nothing is ever paged out, so it is only remembered.
    ///
    /// # Errors
    /// `EINVAL`, `EPERM`.
    pub fn shm_lock(&mut self, id: i32, lock: bool, subject: &Subject) -> Result<(), Errno> {
        let segment = self.segments.owned(id, subject)?;
        let mode = &mut segment.permissions.mode;
        *mode = if lock {
            *mode | SHM_LOCKED
        } else {
            *mode & !SHM_LOCKED
        };
        Ok(())
    }

    /// Pages that all segments may come to have, and have.
    pub fn shm_totals(&self) -> (u64, u64) {
        let add = |(total, resident), (_, s): (i32, &Segment)| {
            (
                total + s.size_bytes.div_ceil(PAGE),
                resident + s.pages.pages(),
            )
        };
        self.segments.iter().fold((0, 0), add)
    }

    /// All shared pages that segments consist of.
    pub fn all_pages(&self) -> impl Iterator<Item = &Arc<Shared>> {
        self.segments.iter().map(|(_, s)| &s.pages)
    }

    /// Takes other pages in the place of those of the same name: a clone's own.
    pub fn exchange_pages(&mut self, made: &BTreeMap<u64, Arc<Shared>>) {
        for segment in self.segments.iter_mut() {
            if let Some(own) = made.get(&segment.pages.id()) {
                segment.pages = Arc::clone(own);
            }
        }
    }
}
