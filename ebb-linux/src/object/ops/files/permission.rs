//! Who may do what with a file: the checks of Linux' `fs/namei.c` and `fs/attr.c`.
//!
//! What may be written in /proc and /sys is `synth`'s matter besides.

use alloc::sync::Arc;

use super::proc;
use crate::object::{
    Objects,
    credentials::{Credentials, cap},
    env::Env,
    errno::{Errno, Result},
    fs::S_ISVTX,
    id::NodeRef,
};

/// Bits of what is wanted of a file, as in one of a mode's three groups.
pub(crate) mod want {
    /// To read.
    pub const READ: u32 = 4;
    /// To write; to make and take away entries of a directory.
    pub const WRITE: u32 = 2;
    /// To execute; to look up entries of a directory.
    pub const EXECUTE: u32 = 1;
}

/// Who asks.
pub(crate) fn asker(env: &dyn Env) -> Arc<Credentials> {
    env.process().credentials()
}

impl Objects {
    /// Owner, group and mode of what has them.
    fn ownership(&self, env: &dyn Env, node: NodeRef) -> Option<(u32, u32, u32)> {
        match self.place(node).ok()? {
            NodeRef::Synth(node) => {
                let (uid, gid) = proc::owner(env, node);
                Some((uid, gid, node.mode()))
            }
            node => self.fs.ownership(node).ok(),
        }
    }

    /// # Errors
    /// `EACCES` when the mode does not grant what is wanted.
    pub(crate) fn check_access(
        &self,
        env: &dyn Env,
        who: &Credentials,
        node: NodeRef,
        wanted: u32,
    ) -> Result<()> {
        if who.has(cap::DAC_OVERRIDE) && wanted & want::EXECUTE == 0 {
            return Ok(());
        }
        let Some(ownership) = self.ownership(env, node) else {
            return Ok(());
        };
        if who.may_access(ownership, self.is_dir(node), wanted) {
            Ok(())
        } else {
            Err(Errno::EACCES)
        }
    }

    /// Whether entries of a directory may be looked up.
    ///
    /// # Errors
    /// `EACCES`.
    pub(crate) fn check_search(
        &self,
        env: &dyn Env,
        who: &Credentials,
        dir: NodeRef,
    ) -> Result<()> {
        if who.has(cap::DAC_OVERRIDE) {
            return Ok(());
        }
        self.check_access(env, who, dir, want::EXECUTE)
    }

    /// Whether entries of a directory may be made.
    ///
    /// # Errors
    /// `EACCES`.
    pub(crate) fn check_entering(&self, env: &dyn Env, dir: NodeRef) -> Result<()> {
        let who = asker(env);
        if who.has(cap::DAC_OVERRIDE) {
            return Ok(());
        }
        self.check_access(env, &who, dir, want::WRITE | want::EXECUTE)
    }

    /// Whether an entry may be taken out of a directory.
    ///
    /// # Errors
    /// `EACCES`, and `EPERM` for what belongs to others in a directory with the sticky bit.
    pub(crate) fn check_removing(&self, env: &dyn Env, dir: NodeRef, node: NodeRef) -> Result<()> {
        self.check_entering(env, dir)?;
        let who = asker(env);
        let Some((dir_uid, _, mode)) = self.ownership(env, dir) else {
            return Ok(());
        };
        let uid = self.ownership(env, node).map_or(0, |o| o.0);
        if mode & S_ISVTX != 0 && !who.owns(uid) && who.user.files != dir_uid {
            return Err(Errno::EPERM);
        }
        Ok(())
    }

    /// # Errors
    /// `EPERM` for anybody but the owner of a file.
    pub(crate) fn check_owner(
        &self,
        env: &dyn Env,
        who: &Credentials,
        node: NodeRef,
    ) -> Result<()> {
        match self.ownership(env, node) {
            Some((uid, ..)) if !who.owns(uid) => Err(Errno::EPERM),
            _ => Ok(()),
        }
    }
}
