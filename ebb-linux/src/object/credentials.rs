//! Who a process is and what it may do: user and group numbers, capabilities (credentials(7), capabilities(7)).
//!
//! What must hold: the effective and the inheritable capabilities of a set that was made here are those that Linux would
//! leave; nothing grants a capability that is not permitted.
//!
//! The first process is root with the capabilities that container engines leave to root: it is bound by what a UC has not
//! (devices, name spaces, other machines' clocks), and programs know that set.

use crate::abi::errno::{Errno, Result};
use alloc::sync::Arc;
use alloc::vec::Vec;
use borsh::{BorshDeserialize, BorshSerialize};

/// `CAP_*`: bits of a set.
pub mod cap {
    /// Changing owners of files.
    pub const CHOWN: u64 = 1 << 0;
    /// Reading, writing and searching whatever the mode says.
    pub const DAC_OVERRIDE: u64 = 1 << 1;
    /// Reading and searching whatever the mode says.
    pub const DAC_READ_SEARCH: u64 = 1 << 2;
    /// What only an owner of a file may do.
    pub const FOWNER: u64 = 1 << 3;
    /// Keeping set-id bits.
    pub const FSETID: u64 = 1 << 4;
    /// Sending signals to anybody.
    pub const KILL: u64 = 1 << 5;
    /// Changing groups.
    pub const SETGID: u64 = 1 << 6;
    /// Changing users.
    pub const SETUID: u64 = 1 << 7;
    /// Changing the bounding set.
    pub const SETPCAP: u64 = 1 << 8;
    /// Ports below 1024.
    pub const NET_BIND_SERVICE: u64 = 1 << 10;
    /// Raw sockets.
    pub const NET_ADMIN: u64 = 1 << 12;
    /// `CAP_NET_RAW`.
    pub const NET_RAW: u64 = 1 << 13;
    /// Keeping more in memory than the limit says.
    pub const IPC_LOCK: u64 = 1 << 14;
    /// System V objects whatever their mode says.
    pub const IPC_OWNER: u64 = 1 << 15;
    /// A root of one's own.
    pub const SYS_CHROOT: u64 = 1 << 18;
    /// Other processes' memory.
    pub const SYS_PTRACE: u64 = 1 << 19;
    /// Much that is not here.
    pub const SYS_ADMIN: u64 = 1 << 21;
    /// Priorities above those of one's own.
    pub const SYS_NICE: u64 = 1 << 23;
    /// Limits above those one has.
    pub const SYS_RESOURCE: u64 = 1 << 24;
    /// Making devices.
    pub const MKNOD: u64 = 1 << 27;
    /// Writing to the audit log.
    pub const AUDIT_WRITE: u64 = 1 << 29;
    /// Capabilities of files.
    pub const SETFCAP: u64 = 1 << 31;
    /// The highest number there is (`CAP_CHECKPOINT_RESTORE`).
    pub const LAST: u32 = 40;
    /// All that there are.
    pub const ALL: u64 = (1 << (LAST + 1)) - 1;
    /// Those of files, which go with the user for file access (`setfsuid`).
    pub const FILES: u64 =
        CHOWN | DAC_OVERRIDE | DAC_READ_SEARCH | FOWNER | FSETID | 1 << 9 | MKNOD;
    /// Those of the first process.
    pub const FIRST: u64 = CHOWN
        | DAC_OVERRIDE
        | FOWNER
        | FSETID
        | KILL
        | SETGID
        | SETUID
        | SETPCAP
        | NET_BIND_SERVICE
        | NET_RAW
        | IPC_OWNER
        | SYS_CHROOT
        | MKNOD
        | AUDIT_WRITE
        | SETFCAP;
}

/// Leaves a number as it is.
pub const KEEP: u32 = u32::MAX;

/// The numbers of a user or a group that a process has.
#[derive(BorshSerialize, BorshDeserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ids {
    /// Who started it.
    pub real: u32,
    /// As whom it acts.
    pub effective: u32,
    /// As whom it may act again.
    pub saved: u32,
    /// As whom it uses files.
    pub files: u32,
}

impl Ids {
    /// All of them this number.
    #[must_use]
    pub const fn all(id: u32) -> Self {
        Self {
            real: id,
            effective: id,
            saved: id,
            files: id,
        }
    }

    fn has(&self, id: u32) -> bool {
        [self.real, self.effective, self.saved].contains(&id)
    }

    fn is_root(&self) -> bool {
        self.has(0)
    }
}

/// Which of the two: the same rules hold for both.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whose {
    /// Users.
    User,
    /// Groups.
    Group,
}

/// What a process is and may.
#[derive(BorshSerialize, BorshDeserialize, Clone, Debug, PartialEq, Eq)]
pub struct Credentials {
    /// Its user.
    pub user: Ids,
    /// Its group.
    pub group: Ids,
    /// Supplementary groups, in order.
    pub groups: Arc<[u32]>,
    /// Capabilities it may make effective.
    pub permitted: u64,
    /// Capabilities it has.
    pub effective: u64,
    /// Capabilities it passes on to programs.
    pub inheritable: u64,
    /// Capabilities that no program it starts gets beyond.
    pub bounding: u64,
    /// Capabilities that programs without any of their own keep.
    pub ambient: u64,
    /// `PR_SET_KEEPCAPS`: the permitted ones stay when it stops being root.
    pub keeps: bool,
    /// `PR_SET_SECUREBITS`.
    pub secure_bits: u32,
    /// `PR_SET_NO_NEW_PRIVS`: no program gives it more.
    pub no_new_privileges: bool,
}

impl Default for Credentials {
    fn default() -> Self {
        Self {
            user: Ids::all(0),
            group: Ids::all(0),
            groups: Arc::from([].as_slice()),
            permitted: cap::FIRST,
            effective: cap::FIRST,
            inheritable: 0,
            bounding: cap::FIRST,
            ambient: 0,
            keeps: false,
            secure_bits: 0,
            no_new_privileges: false,
        }
    }
}

/// `SECBIT_NO_SETUID_FIXUP`.
const NO_SETUID_FIXUP: u32 = 1 << 2;

impl Credentials {
    /// Whether it has a capability.
    #[must_use]
    pub const fn has(&self, capability: u64) -> bool {
        self.effective & capability != 0
    }

    /// Whether it is a member of a group, for files.
    #[must_use]
    pub fn is_in(&self, group: u32) -> bool {
        self.group.files == group || self.groups.contains(&group)
    }

    /// Whether a file of this owner, group and mode grants the bits of `wanted` (4 read, 2 write, 1 execute or search).
    #[must_use]
    pub fn may_access(&self, (uid, gid, mode): (u32, u32, u32), is_dir: bool, wanted: u32) -> bool {
        let shift = if self.user.files == uid {
            6
        } else if self.is_in(gid) {
            3
        } else {
            0
        };
        if wanted & !(mode >> shift) & 7 == 0 {
            return true;
        }
        if self.has(cap::DAC_OVERRIDE) {
            // What nobody may execute is not executed by anybody.
            return is_dir || wanted & 1 == 0 || mode & 0o111 != 0;
        }
        self.has(cap::DAC_READ_SEARCH) && (is_dir && wanted & 2 == 0 || wanted == 4)
    }

    /// Whether it may do what only the owner of a file may.
    #[must_use]
    pub const fn owns(&self, uid: u32) -> bool {
        self.user.files == uid || self.has(cap::FOWNER)
    }

    /// Whether it may send signals to a process (kill(2)).
    #[must_use]
    pub fn may_signal(&self, target: &Self) -> bool {
        let (real, effective) = (self.user.real, self.user.effective);
        [target.user.real, target.user.saved].contains(&real)
            || [target.user.real, target.user.saved].contains(&effective)
            || self.has(cap::KILL)
    }

    /// As `access(2)` asks: with the real numbers for files, and what these could have.
    #[must_use]
    pub fn real(&self) -> Self {
        let mut real = self.clone();
        real.user.files = self.user.real;
        real.group.files = self.group.real;
        real.effective = if self.user.real == 0 {
            self.permitted
        } else {
            0
        };
        real
    }

    fn ids(&mut self, whose: Whose) -> &mut Ids {
        match whose {
            Whose::User => &mut self.user,
            Whose::Group => &mut self.group,
        }
    }

    const fn may_set(&self, whose: Whose) -> bool {
        match whose {
            Whose::User => self.has(cap::SETUID),
            Whose::Group => self.has(cap::SETGID),
        }
    }

    /// Takes other numbers, and what goes with them from the capabilities (capabilities(7), "Effect of user ID changes").
    fn change(&mut self, whose: Whose, to: Ids) {
        let before = *self.ids(whose);
        *self.ids(whose) = to;
        if whose == Whose::Group || self.secure_bits & NO_SETUID_FIXUP != 0 {
            return;
        }
        if before.is_root() && !to.is_root() {
            if !self.keeps {
                self.permitted = 0;
                self.effective = 0;
            }
            self.ambient = 0;
        }
        if before.effective == 0 && to.effective != 0 {
            self.effective = 0;
        }
        if before.effective != 0 && to.effective == 0 {
            self.effective = self.permitted;
        }
    }

    /// `setuid`, `setgid`.
    ///
    /// # Errors
    /// `EINVAL`, `EPERM`.
    pub fn set(&mut self, whose: Whose, id: u32) -> Result<()> {
        if id == KEEP {
            return Err(Errno::EINVAL);
        }
        let now = *self.ids(whose);
        let to = if self.may_set(whose) {
            Ids::all(id)
        } else if now.real == id || now.saved == id {
            Ids {
                effective: id,
                files: id,
                ..now
            }
        } else {
            return Err(Errno::EPERM);
        };
        self.change(whose, to);
        Ok(())
    }

    /// `setreuid`, `setregid`.
    ///
    /// # Errors
    /// `EPERM`.
    pub fn set_real_effective(&mut self, whose: Whose, real: u32, effective: u32) -> Result<()> {
        let now = *self.ids(whose);
        let privileged = self.may_set(whose);
        let may_be_real = real == KEEP || now.real == real || now.effective == real;
        let may_be_effective = effective == KEEP || now.has(effective);
        if !(privileged || may_be_real && may_be_effective) {
            return Err(Errno::EPERM);
        }
        let mut to = now;
        if real != KEEP {
            to.real = real;
        }
        if effective != KEEP {
            to.effective = effective;
        }
        if real != KEEP || effective != KEEP && effective != now.real {
            to.saved = to.effective;
        }
        to.files = to.effective;
        self.change(whose, to);
        Ok(())
    }

    /// `setresuid`, `setresgid`: real, effective, saved.
    ///
    /// # Errors
    /// `EPERM`.
    pub fn set_all(&mut self, whose: Whose, ids: [u32; 3]) -> Result<()> {
        let now = *self.ids(whose);
        if !self.may_set(whose) && ids.iter().any(|id| *id != KEEP && !now.has(*id)) {
            return Err(Errno::EPERM);
        }
        let or = |id: u32, before: u32| if id == KEEP { before } else { id };
        let effective = or(ids[1], now.effective);
        let to = Ids {
            real: or(ids[0], now.real),
            effective,
            saved: or(ids[2], now.saved),
            files: effective,
        };
        self.change(whose, to);
        Ok(())
    }

    /// `setfsuid`, `setfsgid`: the number before, whether it changes or not.
    pub fn set_for_files(&mut self, whose: Whose, id: u32) -> u32 {
        let privileged = self.may_set(whose);
        let ids = self.ids(whose);
        let before = ids.files;
        if id == KEEP || !privileged && !ids.has(id) && id != before {
            return before;
        }
        ids.files = id;
        if whose == Whose::User && self.secure_bits & NO_SETUID_FIXUP == 0 {
            if before == 0 && id != 0 {
                self.effective &= !cap::FILES;
            } else if before != 0 && id == 0 {
                self.effective |= self.permitted & cap::FILES;
            }
        }
        before
    }

    /// `setgroups`.
    ///
    /// # Errors
    /// `EPERM`.
    pub fn set_groups(&mut self, mut groups: Vec<u32>) -> Result<()> {
        if !self.has(cap::SETGID) {
            return Err(Errno::EPERM);
        }
        groups.sort_unstable();
        self.groups = Arc::from(groups);
        Ok(())
    }

    /// `capset`: effective, permitted, inheritable.
    ///
    /// # Errors
    /// `EPERM` for what is beyond what it has.
    pub fn set_capabilities(
        &mut self,
        [effective, permitted, inheritable]: [u64; 3],
    ) -> Result<()> {
        let within = |set: u64, of: u64| set & !of == 0;
        let inherits = self.inheritable | self.permitted;
        let inherits = if self.has(cap::SETPCAP) {
            inherits | self.bounding
        } else {
            inherits
        };
        if !within(inheritable, inherits)
            || !within(inheritable, self.inheritable | self.bounding)
            || !within(permitted, self.permitted)
            || !within(effective, permitted)
        {
            return Err(Errno::EPERM);
        }
        self.permitted = permitted;
        self.effective = effective;
        self.inheritable = inheritable;
        self.ambient &= permitted & inheritable;
        Ok(())
    }

    /// What `execve` of a program of this owner, group and mode makes of them; whether the program is to distrust its
    /// environment (`AT_SECURE`).
    pub fn exec(&mut self, (uid, gid, mode): (u32, u32, u32)) -> bool {
        let before = (self.user, self.group);
        if !self.no_new_privileges {
            if mode & 0o4000 != 0 {
                self.user.effective = uid;
            }
            if mode & 0o2010 == 0o2010 {
                self.group.effective = gid;
            }
        }
        for ids in [&mut self.user, &mut self.group] {
            ids.saved = ids.effective;
            ids.files = ids.effective;
        }
        let set_id = (self.user, self.group) != before
            && (self.user.real != self.user.effective || self.group.real != self.group.effective);
        if set_id {
            self.ambient = 0;
        }
        /// `SECBIT_NOROOT`.
        const NO_ROOT: u32 = 1;
        let is_root = self.secure_bits & NO_ROOT == 0;
        let (file, takes_effect) = if is_root && (self.user.effective == 0 || self.user.real == 0) {
            (cap::ALL, self.user.effective == 0)
        } else {
            (0, false)
        };
        self.permitted = self.inheritable & file | self.bounding & file | self.ambient;
        self.effective = if takes_effect {
            self.permitted
        } else {
            self.ambient
        };
        self.keeps = false;
        set_id
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_stops_being_root_has_no_capability_and_cannot_go_back() {
        let mut c = Credentials::default();
        c.set_groups(alloc::vec![30, 10]).expect("root may");
        c.set(Whose::Group, 100).expect("root may");
        c.set(Whose::User, 1000).expect("root may");
        assert_eq!((c.permitted, c.effective), (0, 0));
        assert_eq!(c.set(Whose::User, 0), Err(Errno::EPERM));
        assert_eq!(c.set_groups(Vec::new()), Err(Errno::EPERM));
        assert_eq!(&*c.groups, [10, 30]);
    }

    #[test]
    fn a_saved_user_is_a_way_back_and_capabilities_come_along() {
        let mut c = Credentials::default();
        c.set_all(Whose::User, [KEEP, 1000, KEEP])
            .expect("root may");
        assert_eq!((c.permitted, c.effective), (cap::FIRST, 0));
        c.set(Whose::User, 0).expect("it is the saved one");
        assert_eq!(c.effective, cap::FIRST);
    }

    #[test]
    fn kept_capabilities_stay_permitted_until_a_program_is_started() {
        let mut c = Credentials {
            keeps: true,
            ..Credentials::default()
        };
        c.set(Whose::User, 1000).expect("root may");
        assert_eq!((c.permitted, c.effective), (cap::FIRST, 0));
        c.set_capabilities([cap::KILL, cap::KILL, 0])
            .expect("it is permitted");
        assert!(c.has(cap::KILL));
        assert!(!c.exec((0, 0, 0o755)));
        assert_eq!((c.permitted, c.effective), (0, 0));
    }

    #[test]
    fn a_set_id_program_acts_as_its_owner_unless_new_privileges_are_refused() {
        let mut c = Credentials::default();
        c.set(Whose::User, 1000).expect("root may");
        let mut refusing = Credentials {
            no_new_privileges: true,
            ..c.clone()
        };
        assert!(c.exec((0, 0, 0o4755)));
        assert_eq!((c.user.effective, c.user.saved), (0, 0));
        assert_eq!(c.effective, cap::FIRST);
        assert!(!refusing.exec((0, 0, 0o4755)));
        assert_eq!(refusing.user.effective, 1000);
    }

    #[test]
    fn modes_bind_all_but_root_and_nobody_executes_what_nobody_may() {
        let root = Credentials::default();
        let mut user = root.clone();
        user.set_groups(alloc::vec![7]).expect("root may");
        user.set(Whose::User, 1000).expect("root may");
        assert!(root.may_access((5, 5, 0), false, 6));
        assert!(!root.may_access((5, 5, 0o644), false, 1));
        assert!(user.may_access((1000, 0, 0o700), false, 7));
        // The owner's bits count for the owner, even where others have more.
        assert!(!user.may_access((1000, 7, 0o077), false, 4));
        assert!(user.may_access((5, 7, 0o040), false, 4));
        assert!(!user.may_access((5, 6, 0o770), true, 1));
    }

    #[test]
    fn no_capability_is_gained_beyond_what_is_permitted() {
        let mut c = Credentials::default();
        c.set_capabilities([0, cap::KILL, 0]).expect("less is fine");
        assert_eq!(
            c.set_capabilities([cap::CHOWN, cap::CHOWN, 0]),
            Err(Errno::EPERM)
        );
        assert_eq!(
            c.set_capabilities([cap::KILL, 0, 0]),
            Err(Errno::EPERM),
            "effective is within permitted"
        );
    }
}
