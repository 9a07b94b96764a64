//! System V IPC: semaphore sets, message queues and memory segments, one name space for all processes of a UC.
//!
//! What must hold:
//! - everything here is plain data; a clone of a UC has copies of its own of all of it;
//! - an operation finishes or says [`Stop::Wait`](crate::syscall::Stop) having changed nothing, and is tried again when
//!   [`Ipc::news`] was raised: whoever waits in one waits on the queue of the UC;
//! - an identifier is never given again until 32,768 others of its kind have been (`ipc(2)`: the sequence number).
//!
//! Limits are those of Linux (`svipc(7)`); layouts of structures are those of `asm-generic/{ipc,sem,msg,shm}buf.h`.

pub mod msg;
pub mod sem;
pub mod shm;
pub mod text;

use crate::abi::errno::Errno;
use crate::object::id::QueueId;
use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec::Vec;

/// `IPC_CREAT`: makes the object if the key has none.
pub const IPC_CREAT: u32 = 0o1000;
/// `IPC_EXCL`: fails if the key has one.
pub const IPC_EXCL: u32 = 0o2000;
/// `IPC_NOWAIT`: fails instead of waiting.
pub const IPC_NOWAIT: u32 = 0o4000;
/// `IPC_PRIVATE`: a key that names nothing.
pub const IPC_PRIVATE: i32 = 0;
/// `IPC_RMID`: removes the object.
pub const IPC_RMID: u32 = 0;
/// `IPC_SET`: changes owner and mode.
pub const IPC_SET: u32 = 1;
/// `IPC_STAT`: tells of the object.
pub const IPC_STAT: u32 = 2;
/// `IPC_INFO`: tells the limits.
pub const IPC_INFO: u32 = 3;
/// Set in a command by programs that know the 64-bit structures; there are no others here.
pub const IPC_64: u32 = 0x100;

/// Bytes of `struct ipc64_perm`.
pub const PERM_BYTES: usize = 48;

/// Sets or queues or segments that may exist at a time (`SEMMNI`, `MSGMNI`; Linux: 32,000; `SHMMNI` 4,096).
pub const MOST_OBJECTS: usize = 4096;

/// A process as access checks see it.
#[derive(Clone, Debug)]
pub struct Subject {
    /// Effective user number.
    pub uid: u32,
    /// Effective group number.
    pub gid: u32,
    /// Supplementary groups.
    pub groups: Arc<[u32]>,
    /// It has `CAP_IPC_OWNER`: modes do not bind it.
    pub overrides_modes: bool,
    /// It has `CAP_SYS_ADMIN`: it may change and remove what others own.
    pub administers: bool,
    /// Its number.
    pub pid: u32,
}

/// What an access needs: bits of one of a mode's three groups.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// To read.
    Read = 4,
    /// To change.
    Write = 2,
    /// To run.
    Execute = 1,
}

/// Owner and mode of an object (`struct ipc64_perm`).
#[derive(Clone, Copy, Debug)]
pub struct Permissions {
    /// The key that it was made with.
    pub key: i32,
    /// Owner.
    pub uid: u32,
    /// Owner's group.
    pub gid: u32,
    /// Creator.
    pub creator_uid: u32,
    /// Creator's group.
    pub creator_gid: u32,
    /// The nine bits of a file's mode, and flags of the kind above them.
    pub mode: u32,
    /// The part of the identifier that tells objects of one slot apart.
    pub sequence: u16,
}

impl Permissions {
    fn new(key: i32, mode: u32, subject: &Subject) -> Self {
        Self {
            key,
            uid: subject.uid,
            gid: subject.gid,
            creator_uid: subject.uid,
            creator_gid: subject.gid,
            mode: mode & 0o777,
            sequence: 0,
        }
    }

    /// Whether the subject may do what all bits of `wanted` (of one group of three) stand for.
    fn allows(&self, subject: &Subject, wanted: u32) -> bool {
        let is_in = |gid: u32| subject.gid == gid || subject.groups.contains(&gid);
        let shift = if subject.uid == self.uid || subject.uid == self.creator_uid {
            6
        } else if is_in(self.gid) || is_in(self.creator_gid) {
            3
        } else {
            0
        };
        let granted = self.mode >> shift & 7;
        wanted & 7 & !granted == 0 || subject.overrides_modes
    }

    /// # Errors
    /// `EACCES` when the mode does not grant it.
    pub fn check(&self, subject: &Subject, access: Access) -> Result<(), Errno> {
        if self.allows(subject, access as u32) {
            Ok(())
        } else {
            Err(Errno::EACCES)
        }
    }

    /// # Errors
    /// `EPERM` for anybody but owner, creator and administrators.
    pub fn check_owner(&self, subject: &Subject) -> Result<(), Errno> {
        if subject.administers || [self.uid, self.creator_uid].contains(&subject.uid) {
            Ok(())
        } else {
            Err(Errno::EPERM)
        }
    }

    /// As `struct ipc64_perm`.
    #[must_use]
    pub fn to_bytes(self) -> [u8; PERM_BYTES] {
        let mut bytes = [0; PERM_BYTES];
        let words = [
            self.key as u32,
            self.uid,
            self.gid,
            self.creator_uid,
            self.creator_gid,
            self.mode,
            u32::from(self.sequence),
        ];
        for (to, word) in bytes.chunks_exact_mut(4).zip(words) {
            to.copy_from_slice(&word.to_le_bytes());
        }
        bytes
    }

    /// `IPC_SET`: owner, group and mode out of a `struct ipc64_perm`.
    fn set(&mut self, bytes: &[u8; PERM_BYTES]) {
        let word = |n: usize| {
            let mut word = [0; 4];
            word.copy_from_slice(&bytes[n * 4..n * 4 + 4]);
            u32::from_le_bytes(word)
        };
        self.uid = word(1);
        self.gid = word(2);
        self.mode = self.mode & !0o777 | word(5) & 0o777;
    }
}

/// By what a `*ctl` call finds an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lookup {
    /// By its identifier.
    Identifier,
    /// By its place in the table; `any` asks for no right to read.
    Slot {
        /// No right is asked for.
        any: bool,
    },
}

/// What all kinds of objects have.
pub trait Object: Clone {
    /// Owner and mode.
    fn permissions(&self) -> &Permissions;
    /// The same, to be changed.
    fn permissions_mut(&mut self) -> &mut Permissions;
}

/// All objects of a kind, by identifier and by key.
#[derive(Clone, Debug)]
pub struct Table<T> {
    slots: Vec<Option<T>>,
    keys: BTreeMap<i32, u32>,
    next_sequence: u16,
}

impl<T> Default for Table<T> {
    fn default() -> Self {
        Self {
            slots: Vec::new(),
            keys: BTreeMap::new(),
            next_sequence: 0,
        }
    }
}

impl<T: Object> Table<T> {
    /// The number of slots in an identifier, as on Linux (`IPCMNI`).
    const SLOTS: u32 = 32_768;

    fn identifier(slot: u32, sequence: u16) -> i32 {
        (u32::from(sequence) * Self::SLOTS + slot) as i32
    }

    /// Finds or makes the object of a key; its identifier. `check` says whether one that is there will do, `make` makes one.
    ///
    /// # Errors
    /// `ENOENT`, `EEXIST`, `EACCES`, `ENOSPC`, and those of `check` and `make`.
    fn get(
        &mut self,
        key: i32,
        flags: u32,
        subject: &Subject,
        check: impl FnOnce(&T) -> Result<(), Errno>,
        make: impl FnOnce(Permissions) -> Result<T, Errno>,
    ) -> Result<i32, Errno> {
        let found = if key == IPC_PRIVATE {
            None
        } else {
            self.keys.get(&key).copied()
        };
        if let Some(slot) = found {
            if flags & IPC_CREAT != 0 && flags & IPC_EXCL != 0 {
                return Err(Errno::EEXIST);
            }
            let object = self.slots[slot as usize].as_ref().ok_or(Errno::ENOENT)?;
            check(object)?;
            let permissions = object.permissions();
            // The three groups of the flags are asked for at once.
            let wanted = flags >> 6 | flags >> 3 | flags;
            if !permissions.allows(subject, wanted & 7) {
                return Err(Errno::EACCES);
            }
            return Ok(Self::identifier(slot, permissions.sequence));
        }
        if key != IPC_PRIVATE && flags & IPC_CREAT == 0 {
            return Err(Errno::ENOENT);
        }
        let free = self.slots.iter().position(Option::is_none);
        let slot = free.unwrap_or(self.slots.len());
        if slot >= MOST_OBJECTS {
            return Err(Errno::ENOSPC);
        }
        let mut object = make(Permissions::new(key, flags, subject))?;
        object.permissions_mut().sequence = self.next_sequence;
        let id = Self::identifier(slot as u32, self.next_sequence);
        // Identifiers are positive.
        self.next_sequence = (self.next_sequence + 1) % (1 << 15);
        match free {
            Some(_) => self.slots[slot] = Some(object),
            None => self.slots.push(Some(object)),
        }
        if key != IPC_PRIVATE {
            self.keys.insert(key, slot as u32);
        }
        Ok(id)
    }

    /// All of them with their identifiers.
    fn numbered(&self) -> impl Iterator<Item = (i32, &T)> {
        let slots = self.slots.iter().enumerate();
        slots.filter_map(|(slot, object)| {
            let object = object.as_ref()?;
            let id = Self::identifier(slot as u32, object.permissions().sequence);
            Some((id, object))
        })
    }

    fn slot_of(&self, id: i32) -> Result<usize, Errno> {
        let id = u32::try_from(id).map_err(|_| Errno::EINVAL)?;
        let slot = (id % Self::SLOTS) as usize;
        let object = self.slots.get(slot).and_then(Option::as_ref);
        match object {
            Some(o) if u32::from(o.permissions().sequence) == id / Self::SLOTS => Ok(slot),
            _ => Err(Errno::EINVAL),
        }
    }

    /// # Errors
    /// `EINVAL` for an identifier that names nothing, or no longer.
    pub fn by_id(&self, id: i32) -> Result<&T, Errno> {
        let slot = self.slot_of(id)?;
        self.slots[slot].as_ref().ok_or(Errno::EINVAL)
    }

    /// As [`Table::by_id`].
    ///
    /// # Errors
    /// `EINVAL`.
    pub fn by_id_mut(&mut self, id: i32) -> Result<&mut T, Errno> {
        let slot = self.slot_of(id)?;
        self.slots[slot].as_mut().ok_or(Errno::EINVAL)
    }

    /// The object that somebody asks about, by identifier (`IPC_STAT`) or by slot (`SEM_STAT` and its kin), and what the
    /// call answers: by slot the identifier. `any` asks for no right to read (`SEM_STAT_ANY` and its kin).
    ///
    /// # Errors
    /// `EINVAL`, `EACCES`.
    pub fn asked(&self, id: i32, by: Lookup, subject: &Subject) -> Result<(i32, &T), Errno> {
        let (answer, object) = match by {
            Lookup::Identifier => (0, self.by_id(id)?),
            Lookup::Slot { .. } => {
                let index = usize::try_from(id).map_err(|_| Errno::EINVAL)?;
                let object = self.slots.get(index).and_then(Option::as_ref);
                let object = object.ok_or(Errno::EINVAL)?;
                let sequence = object.permissions().sequence;
                (Self::identifier(index as u32, sequence), object)
            }
        };
        if by != (Lookup::Slot { any: true }) {
            object.permissions().check(subject, Access::Read)?;
        }
        Ok((answer, object))
    }

    /// The object, for whoever may change who it belongs to, and remove it.
    ///
    /// # Errors
    /// `EINVAL`, `EPERM`.
    pub fn owned(&mut self, id: i32, subject: &Subject) -> Result<&mut T, Errno> {
        let object = self.by_id_mut(id)?;
        object.permissions().check_owner(subject)?;
        Ok(object)
    }

    /// Takes an object out. The caller has checked that it may.
    fn remove(&mut self, id: i32) -> Result<T, Errno> {
        let slot = self.slot_of(id)?;
        let object = self.slots[slot].take().ok_or(Errno::EINVAL)?;
        self.forget_key(object.permissions().key, slot);
        Ok(object)
    }

    /// A key names nothing from now on; the object stays.
    fn forget_key(&mut self, key: i32, slot: usize) {
        if self.keys.get(&key) == Some(&(slot as u32)) {
            self.keys.remove(&key);
        }
    }

    /// All objects with their identifiers.
    pub fn iter(&self) -> impl Iterator<Item = (i32, &T)> {
        self.slots.iter().enumerate().filter_map(|(slot, object)| {
            let object = object.as_ref()?;
            let id = Self::identifier(slot as u32, object.permissions().sequence);
            Some((id, object))
        })
    }

    fn iter_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.slots.iter_mut().filter_map(Option::as_mut)
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.slots.iter().flatten().count()
    }

    /// The highest slot in use, which the `*_INFO` commands answer.
    pub fn highest_slot(&self) -> u64 {
        let last = self.slots.iter().rposition(Option::is_some);
        last.unwrap_or(0) as u64
    }
}

/// The System V objects of a UC.
#[derive(Clone, Debug, Default)]
pub struct Ipc {
    /// Semaphore sets.
    pub semaphores: Table<sem::Set>,
    /// Message queues.
    pub messages: Table<msg::Queue>,
    /// Memory segments.
    pub segments: Table<shm::Segment>,
    /// In which whoever waits for any of them waits, once somebody has.
    pub queue: Option<QueueId>,
    /// Something has changed since it was last asked for that another operation may wait for.
    news: bool,
}

impl Ipc {
    /// Whether whoever waits is to try again, asked for once.
    pub fn take_news(&mut self) -> bool {
        core::mem::take(&mut self.news)
    }

    /// Whether a process has adjustments that its end carries out.
    pub fn owes(&self, serial: u64) -> bool {
        self.semaphores.iter().any(|(_, set)| set.owes(serial))
    }

    /// A process has ended: its semaphore adjustments are carried out, and it waits no longer.
    pub fn process_ended(&mut self, serial: u64, pid: u32, now_s: i64) {
        for set in self.semaphores.iter_mut() {
            self.news |= set.undo(serial, pid, now_s);
        }
    }
}
