//! Semaphore sets: `semget`, `semop`, `semctl`.
//!
//! What must hold: the operations of one `semop` happen together or not at all; a set's values stay within 0 and
//! [`VALUE_MAX`]; what a process is owed back at its end (`SEM_UNDO`) stays within 16 bits.

use super::{Access, IPC_NOWAIT, Ipc, Object, PERM_BYTES, Permissions, Subject};
use crate::abi::errno::Errno;
use crate::state::futex::ThreadKey;
use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;
use core::fmt::Write;

/// `SEMVMX`: the highest value.
pub const VALUE_MAX: i32 = 32_767;
/// `SEMMSL`: semaphores in a set.
pub const MOST_IN_SET: usize = 32_000;
/// `SEMMNS`: semaphores in all sets together, so that what they may come to be owed (`SEM_UNDO`) stays small.
pub const MOST_IN_ALL: usize = 32_000;
/// `SEMOPM`: operations in a call.
pub const MOST_OPERATIONS: usize = 500;
/// `SEM_UNDO`: taken back when the process ends.
const SEM_UNDO: u16 = 0x1000;
/// Bytes of `struct semid64_ds`.
pub const STAT_BYTES: usize = 104;
/// Bytes of `struct sembuf`.
pub const OPERATION_BYTES: usize = 6;

/// One semaphore.
#[derive(Clone, Copy, Debug, Default)]
struct Semaphore {
    value: u16,
    /// The process that changed it last.
    pid: u32,
}

/// `struct sembuf`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Operation {
    /// Which semaphore of the set.
    pub number: u16,
    /// What to add; 0 waits for zero.
    pub change: i16,
    /// `IPC_NOWAIT`, `SEM_UNDO`.
    pub flags: u16,
}

impl Operation {
    /// From a `struct sembuf`.
    #[must_use]
    pub fn from_bytes(b: [u8; OPERATION_BYTES]) -> Self {
        Self {
            number: u16::from_le_bytes([b[0], b[1]]),
            change: i16::from_le_bytes([b[2], b[3]]),
            flags: u16::from_le_bytes([b[4], b[5]]),
        }
    }
}

/// A thread that waits, and for what.
#[derive(Clone, Copy, Debug)]
struct Waiter {
    thread: ThreadKey,
    number: u16,
    for_zero: bool,
}

/// A set of semaphores.
#[derive(Clone, Debug)]
pub struct Set {
    permissions: Permissions,
    semaphores: Vec<Semaphore>,
    /// What the end of a process (by serial number) adds to each semaphore.
    undo: BTreeMap<u64, Vec<i16>>,
    waiters: Vec<Waiter>,
    operated_s: i64,
    changed_s: i64,
}

impl Object for Set {
    fn permissions(&self) -> &Permissions {
        &self.permissions
    }

    fn permissions_mut(&mut self) -> &mut Permissions {
        &mut self.permissions
    }
}

/// What became of an attempt of `semop`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attempt {
    /// All operations were carried out.
    Done,
    /// None was: one of them waits.
    Waits,
}

impl Set {
    /// How many semaphores it has.
    pub fn count(&self) -> usize {
        self.semaphores.len()
    }

    fn semaphore(&self, number: usize) -> Result<&Semaphore, Errno> {
        self.semaphores.get(number).ok_or(Errno::EINVAL)
    }

    /// The values after all operations, or why there are none.
    fn plan(&self, operations: &[Operation]) -> Result<Vec<(usize, i32)>, Blocked> {
        let mut plan: Vec<(usize, i32)> = Vec::with_capacity(operations.len());
        for operation in operations {
            let number = usize::from(operation.number);
            let before = plan.iter().rev().find(|p| p.0 == number).map(|p| p.1);
            let before = before.unwrap_or_else(|| i32::from(self.semaphores[number].value));
            let after = before + i32::from(operation.change);
            if operation.change == 0 && before != 0 || after < 0 {
                return Err(Blocked::By(*operation));
            }
            if after > VALUE_MAX {
                return Err(Blocked::Never(Errno::ERANGE));
            }
            plan.push((number, after));
        }
        Ok(plan)
    }

    /// What the process is owed after these operations.
    fn owed(&self, serial: u64, operations: &[Operation]) -> Result<Option<Vec<i16>>, Errno> {
        if operations.iter().all(|o| o.flags & SEM_UNDO == 0) {
            return Ok(None);
        }
        let known = self.undo.get(&serial).cloned();
        let mut owed = known.unwrap_or_else(|| vec![0; self.semaphores.len()]);
        for operation in operations.iter().filter(|o| o.flags & SEM_UNDO != 0) {
            let entry = &mut owed[usize::from(operation.number)];
            let sum = i32::from(*entry) - i32::from(operation.change);
            *entry = i16::try_from(sum).map_err(|_| Errno::ERANGE)?;
        }
        Ok(Some(owed))
    }

    /// A process has ended. Whether a value has changed.
    pub(super) fn owes(&self, serial: u64) -> bool {
        self.undo.contains_key(&serial)
    }

    pub(super) fn undo(&mut self, serial: u64, pid: u32, now_s: i64) -> bool {
        self.waiters.retain(|w| w.thread.process != serial);
        let Some(owed) = self.undo.remove(&serial) else {
            return false;
        };
        for (semaphore, back) in self.semaphores.iter_mut().zip(owed) {
            if back != 0 {
                let value = i32::from(semaphore.value) + i32::from(back);
                semaphore.value = value.clamp(0, VALUE_MAX) as u16;
                semaphore.pid = pid;
            }
        }
        self.operated_s = now_s;
        true
    }

    fn waiting(&self, number: usize, for_zero: bool) -> u64 {
        let matches = |w: &&Waiter| usize::from(w.number) == number && w.for_zero == for_zero;
        self.waiters.iter().filter(matches).count() as u64
    }

    /// As `struct semid64_ds`.
    #[must_use]
    pub fn stat(&self) -> [u8; STAT_BYTES] {
        let mut bytes = [0; STAT_BYTES];
        bytes[..PERM_BYTES].copy_from_slice(&self.permissions.to_bytes());
        for (at, value) in [
            (48, self.operated_s as u64),
            (64, self.changed_s as u64),
            (80, self.semaphores.len() as u64),
        ] {
            bytes[at..at + 8].copy_from_slice(&value.to_le_bytes());
        }
        bytes
    }
}

enum Blocked {
    By(Operation),
    Never(Errno),
}

impl Set {
    /// The rest of its line in /proc/sysvipc/sem.
    pub(super) fn describe(&self, owners: &str, out: &mut String) {
        let _ = write!(
            out,
            " {:10} {owners} {:10} {:10}",
            self.semaphores.len(),
            self.operated_s,
            self.changed_s,
        );
    }
}

impl Ipc {
    /// `semget`.
    ///
    /// # Errors
    /// `EINVAL` for a number of semaphores that the set does not have or no set can have, and those of every `*get`.
    pub fn semget(
        &mut self,
        key: i32,
        count: i32,
        flags: u32,
        subject: &Subject,
        now_s: i64,
    ) -> Result<i32, Errno> {
        let count = usize::try_from(count).map_err(|_| Errno::EINVAL)?;
        if count > MOST_IN_SET {
            return Err(Errno::EINVAL);
        }
        let check = |set: &Set| {
            if count > set.semaphores.len() {
                return Err(Errno::EINVAL);
            }
            Ok(())
        };
        let others: usize = self.semaphores.iter().map(|(_, set)| set.count()).sum();
        self.semaphores
            .get(key, flags, subject, check, |permissions| {
                if count == 0 {
                    return Err(Errno::EINVAL);
                }
                if others + count > MOST_IN_ALL {
                    return Err(Errno::ENOSPC);
                }
                Ok(Set {
                    permissions,
                    semaphores: vec![Semaphore::default(); count],
                    undo: BTreeMap::new(),
                    waiters: Vec::new(),
                    operated_s: 0,
                    changed_s: now_s,
                })
            })
    }

    /// `semop`, tried once. A thread that waits is remembered until [`Ipc::sem_leave`].
    ///
    /// # Errors
    /// `EINVAL`, `EFBIG`, `EACCES`, `EAGAIN` for an operation with `IPC_NOWAIT` that would wait, `ERANGE`; `EIDRM` when
    /// the thread waited already and the set is gone.
    pub fn semop(
        &mut self,
        id: i32,
        operations: &[Operation],
        subject: &Subject,
        thread: ThreadKey,
        has_waited: bool,
        now_s: i64,
    ) -> Result<Attempt, Errno> {
        let gone = |error| if has_waited { Errno::EIDRM } else { error };
        let set = self.semaphores.by_id_mut(id).map_err(gone)?;
        set.waiters.retain(|w| w.thread != thread);
        let highest = operations.iter().map(|o| usize::from(o.number)).max();
        if highest.is_some_and(|n| n >= set.semaphores.len()) {
            return Err(Errno::EFBIG);
        }
        let alters = operations.iter().any(|o| o.change != 0);
        let access = if alters { Access::Write } else { Access::Read };
        set.permissions.check(subject, access)?;
        let owed = set.owed(thread.process, operations)?;
        match set.plan(operations) {
            Ok(plan) => {
                for (number, value) in plan {
                    set.semaphores[number].value = value as u16;
                    set.semaphores[number].pid = subject.pid;
                }
                if let Some(owed) = owed {
                    if owed.iter().all(|o| *o == 0) {
                        set.undo.remove(&thread.process);
                    } else {
                        set.undo.insert(thread.process, owed);
                    }
                }
                set.operated_s = now_s;
                self.news |= alters;
                Ok(Attempt::Done)
            }
            Err(Blocked::Never(error)) => Err(error),
            Err(Blocked::By(operation)) if u32::from(operation.flags) & IPC_NOWAIT != 0 => {
                Err(Errno::EAGAIN)
            }
            Err(Blocked::By(operation)) => {
                set.waiters.push(Waiter {
                    thread,
                    number: operation.number,
                    for_zero: operation.change == 0,
                });
                Ok(Attempt::Waits)
            }
        }
    }

    /// A thread waits no longer for this set.
    pub fn sem_leave(&mut self, id: i32, thread: ThreadKey) {
        if let Ok(set) = self.semaphores.by_id_mut(id) {
            set.waiters.retain(|w| w.thread != thread);
        }
    }

    /// `IPC_RMID`: whoever waits for the set is told `EIDRM`.
    ///
    /// # Errors
    /// `EINVAL`, `EPERM`.
    pub fn sem_remove(&mut self, id: i32, subject: &Subject) -> Result<(), Errno> {
        self.semaphores.owned(id, subject)?;
        self.semaphores.remove(id)?;
        self.news = true;
        Ok(())
    }

    /// `IPC_SET`.
    ///
    /// # Errors
    /// `EINVAL`, `EPERM`.
    pub fn sem_set(
        &mut self,
        id: i32,
        perm: &[u8; PERM_BYTES],
        subject: &Subject,
        now_s: i64,
    ) -> Result<(), Errno> {
        let set = self.semaphores.owned(id, subject)?;
        set.permissions.set(perm);
        set.changed_s = now_s;
        Ok(())
    }

    /// `GETVAL`, `GETPID`, `GETNCNT`, `GETZCNT`.
    ///
    /// # Errors
    /// `EINVAL`, `EACCES`.
    pub fn sem_ask(
        &self,
        id: i32,
        number: i32,
        question: Question,
        subject: &Subject,
    ) -> Result<u64, Errno> {
        let set = self.semaphores.by_id(id)?;
        set.permissions.check(subject, Access::Read)?;
        let number = usize::try_from(number).map_err(|_| Errno::EINVAL)?;
        let semaphore = set.semaphore(number)?;
        Ok(match question {
            Question::Value => semaphore.value.into(),
            Question::LastProcess => semaphore.pid.into(),
            Question::WaitingForMore => set.waiting(number, false),
            Question::WaitingForZero => set.waiting(number, true),
        })
    }

    /// `GETALL`.
    ///
    /// # Errors
    /// `EINVAL`, `EACCES`.
    pub fn sem_values(&self, id: i32, subject: &Subject) -> Result<Vec<u16>, Errno> {
        let set = self.semaphores.by_id(id)?;
        set.permissions.check(subject, Access::Read)?;
        Ok(set.semaphores.iter().map(|s| s.value).collect())
    }

    /// `SETVAL` (one of them, from `first`) and `SETALL`. What processes are owed for them is forgotten.
    ///
    /// # Errors
    /// `EINVAL`, `EACCES`, `ERANGE` for a value that a semaphore cannot have.
    pub fn sem_put_values(
        &mut self,
        id: i32,
        first: i32,
        values: &[i32],
        subject: &Subject,
        now_s: i64,
    ) -> Result<(), Errno> {
        let set = self.semaphores.by_id_mut(id)?;
        let first = usize::try_from(first).map_err(|_| Errno::EINVAL)?;
        let end = first.checked_add(values.len()).ok_or(Errno::EINVAL)?;
        if values.iter().any(|v| !(0..=VALUE_MAX).contains(v)) {
            return Err(Errno::ERANGE);
        }
        let places = set.semaphores.get_mut(first..end).ok_or(Errno::EINVAL)?;
        set.permissions.check(subject, Access::Write)?;
        for (semaphore, value) in places.iter_mut().zip(values) {
            semaphore.value = *value as u16;
            semaphore.pid = subject.pid;
        }
        for owed in set.undo.values_mut() {
            owed[first..end].fill(0);
        }
        set.changed_s = now_s;
        self.news = true;
        Ok(())
    }
}

/// What `semctl` asks of one semaphore.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Question {
    /// `GETVAL`.
    Value,
    /// `GETPID`.
    LastProcess,
    /// `GETNCNT`.
    WaitingForMore,
    /// `GETZCNT`.
    WaitingForZero,
}
