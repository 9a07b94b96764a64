//! What is kept of a file beside its attributes: the flags of `chattr`, and hints how long what is written will live.

use crate::object::{
    Objects,
    env::Env,
    errno::{Errno, Result},
    fs::NodeKind,
    id::{DescId, NodeRef},
};

use super::permission::asker;

/// `FS_IMMUTABLE_FL` and `FS_APPEND_FL`, which only who has `CAP_LINUX_IMMUTABLE` may change: nobody here.
const PRIVILEGED: u32 = 0x10 | 0x20;
/// `FS_NODUMP_FL` and `FS_NOATIME_FL`, which nothing here depends on: no access changes a file's times.
const KEPT: u32 = 0x40 | 0x80;

impl Objects {
    fn flagged(&self, desc: DescId) -> Result<NodeRef> {
        let node = self.description(desc)?.node.ok_or(Errno::ENOTTY)?;
        let node = self.place(node)?;
        match (node, self.node_kind(node)?) {
            (NodeRef::Upper(_) | NodeRef::Lower(_), NodeKind::File | NodeKind::Dir) => Ok(node),
            _ => Err(Errno::ENOTTY),
        }
    }

    /// `FS_IOC_GETFLAGS`.
    ///
    /// # Errors
    /// `ENOTTY` for what is no file or directory of the root file system.
    pub fn file_flags(&self, desc: DescId) -> Result<u32> {
        match self.flagged(desc)? {
            NodeRef::Upper(id) => Ok(self.fs.inode(id)?.flags),
            _ => Ok(0),
        }
    }

    /// `FS_IOC_SETFLAGS`.
    ///
    /// # Errors
    /// `ENOTTY`, `EOPNOTSUPP` for flags that files do not have, `EPERM`.
    pub fn set_file_flags(&mut self, env: &dyn Env, desc: DescId, flags: u32) -> Result<()> {
        let node = self.flagged(desc)?;
        self.check_owner(env, &asker(env), node)
            .map_err(|_| Errno::EACCES)?;
        if flags & PRIVILEGED != 0 {
            return Err(Errno::EPERM);
        }
        if flags & !KEPT != 0 {
            return Err(Errno::EOPNOTSUPP);
        }
        let id = self.fs.copy_up(node)?;
        let inode = self.fs.inode_mut(id)?;
        inode.flags = flags;
        inode.ctime = super::change::now(env);
        Ok(())
    }

    /// `F_GET_RW_HINT`: how long what is written is said to live, a file's own or that of an open description.
    ///
    /// # Errors
    /// `EBADF`.
    pub fn write_hint(&self, desc: DescId) -> Result<u8> {
        let found = self.description(desc)?;
        match found.node.map(|node| self.fs.canon(node)) {
            Some(NodeRef::Upper(id)) => Ok(self.fs.inode(id)?.hint),
            _ => Ok(found.hint),
        }
    }

    /// `F_SET_RW_HINT`.
    ///
    /// # Errors
    /// `EINVAL` for a hint that there is not, `ENOSPC`.
    pub fn set_write_hint(&mut self, env: &dyn Env, desc: DescId, hint: u64) -> Result<()> {
        const LONGEST: u64 = 5;
        let hint = u8::try_from(hint).ok().filter(|&h| u64::from(h) <= LONGEST);
        let hint = hint.ok_or(Errno::EINVAL)?;
        let node = self.description(desc)?.node.map(|n| self.fs.canon(n));
        match node {
            Some(node @ (NodeRef::Upper(_) | NodeRef::Lower(_))) => {
                self.check_owner(env, &asker(env), node)?;
                let id = self.fs.copy_up(node)?;
                self.fs.inode_mut(id)?.hint = hint;
            }
            _ => self.description_mut(desc)?.hint = hint,
        }
        Ok(())
    }
}
