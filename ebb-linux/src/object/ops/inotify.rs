//! `inotify_init1`, `inotify_add_watch`, `inotify_rm_watch`.

use crate::object::{
    Objects,
    env::Env,
    errno::{Errno, Result},
    flags::{AT_FDCWD, OpenFlags},
    id::Fd,
    kind::{Object, inotify::Inotify},
};

/// Watches that one instance can have.
const MAX_WATCHES: usize = 8192;
/// `IN_DONT_FOLLOW`, `IN_ONLYDIR`, `IN_MASK_CREATE`, `IN_MASK_ADD`, `IN_ALL_EVENTS`.
const DONT_FOLLOW: u32 = 0x0200_0000;
const ONLY_DIR: u32 = 0x0100_0000;
const MASK_CREATE: u32 = 0x1000_0000;
const MASK_ADD: u32 = 0x2000_0000;
const ALL_EVENTS: u32 = 0xfff;

impl Objects {
    /// `inotify_init1`.
    pub fn inotify(&mut self, flags: u32) -> Result<Fd> {
        let flags = OpenFlags::from_bits_retain(flags);
        if !(OpenFlags::NONBLOCK | OpenFlags::CLOEXEC).contains(flags) {
            return Err(Errno::EINVAL);
        }
        let inotify = Inotify::new(&mut self.hub);
        let id = self.kinds.inotifies.insert(inotify);
        self.open_object(Object::Inotify(id), flags, None)
    }

    /// `inotify_add_watch`: a watch descriptor, the same one for the same file.
    pub fn inotify_add(&mut self, env: &dyn Env, fd: Fd, path: &[u8], mask: u32) -> Result<i32> {
        if mask & ALL_EVENTS == 0 || mask & (MASK_ADD | MASK_CREATE) == MASK_ADD | MASK_CREATE {
            return Err(Errno::EINVAL);
        }
        let Object::Inotify(id) = self.description(self.files.fds.get(fd)?)?.object else {
            return Err(Errno::EINVAL);
        };
        let node = self.resolve(env, AT_FDCWD, path, mask & DONT_FOLLOW == 0)?;
        if mask & ONLY_DIR != 0 && !self.is_dir(node) {
            return Err(Errno::ENOTDIR);
        }
        let inotify = self.kinds.inotifies.get_mut(id).ok_or(Errno::EBADF)?;
        if let Some((&watch, _)) = inotify.watches.iter().find(|&(_, &n)| n == node) {
            return if mask & MASK_CREATE != 0 {
                Err(Errno::EEXIST)
            } else {
                Ok(watch)
            };
        }
        if inotify.watches.len() >= MAX_WATCHES {
            return Err(Errno::ENOSPC);
        }
        inotify.last = inotify.last.checked_add(1).ok_or(Errno::ENOSPC)?;
        inotify.watches.insert(inotify.last, node);
        Ok(inotify.last)
    }

    /// `inotify_rm_watch`.
    pub fn inotify_remove(&mut self, fd: Fd, watch: i32) -> Result<()> {
        let Object::Inotify(id) = self.description(self.files.fds.get(fd)?)?.object else {
            return Err(Errno::EINVAL);
        };
        let inotify = self.kinds.inotifies.get_mut(id).ok_or(Errno::EBADF)?;
        inotify
            .watches
            .remove(&watch)
            .map(|_| ())
            .ok_or(Errno::EINVAL)
    }
}
