//! Calls on extended attributes, with the rules of Linux' `fs/xattr.c` and of its tmpfs (xattr(7)).
//!
//! | names | |
//! |---|---|
//! | `user.` | of regular files and directories, for whoever may read or write them |
//! | `trusted.` | for root; others neither see nor make them |
//! | `security.` | read by all, written by root; capabilities of files are refused, as they would not be obeyed |
//! | `system.` | refused: programs then take the mode for all that there is instead of an access control list |
//!
//! What is not in the two layers of the file system (/proc, /sys, pipes, sockets) has no attributes.

use alloc::vec::Vec;

use bitflags::bitflags;

use super::permission::{asker, want};
use crate::object::{
    Objects,
    credentials::{Credentials, cap},
    env::{Env, Time},
    errno::{Errno, Result},
    flags::AT_FDCWD,
    fs::{NodeKind, S_ISVTX},
    id::{Fd, NodeRef},
    kind::inotify::Change,
};

bitflags! {
    /// `XATTR_*`.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
    pub struct AttributeFlags: u32 {
        /// Fail if there is one of the name.
        const CREATE = 1;
        /// Fail if there is none.
        const REPLACE = 2;
    }
}

/// What a call on attributes names.
#[derive(Clone, Copy, Debug)]
pub enum Named<'a> {
    /// What is at a path.
    Path(&'a [u8]),
    /// The same, a link at its end not followed.
    Link(&'a [u8]),
    /// What is open.
    Fd(Fd),
}

const TRUSTED: &[u8] = b"trusted.";
const SECURITY: &[u8] = b"security.";
const USER: &[u8] = b"user.";
/// The capabilities that a file gives whoever executes it.
const CAPABILITY: &[u8] = b"security.capability";

/// Whether somebody may do what on Linux takes `CAP_SYS_ADMIN`. The first process does without that one, which stands for much
/// else, but all of the file system is its own.
const fn administers(who: &Credentials) -> bool {
    who.has(cap::SYS_ADMIN | cap::SETFCAP)
}

impl Objects {
    fn named_for_attributes(&self, env: &dyn Env, named: Named<'_>) -> Result<NodeRef> {
        match named {
            Named::Path(path) => self.resolve(env, AT_FDCWD, path, true),
            Named::Link(path) => self.resolve(env, AT_FDCWD, path, false),
            Named::Fd(fd) => {
                self.check_usable(fd)?;
                Ok(NodeRef::Open(self.files.fds.get(fd)?))
            }
        }
    }

    /// Whether a node may have an attribute of a name read or, if `changes`, changed; the node in the file system.
    fn check_attribute(
        &self,
        env: &dyn Env,
        who: &Credentials,
        node: NodeRef,
        name: &[u8],
        changes: bool,
    ) -> Result<NodeRef> {
        let refused = match changes {
            true => Err(Errno::EPERM),
            false => Err(Errno::ENODATA),
        };
        if name.starts_with(TRUSTED) {
            if !administers(who) {
                return refused;
            }
        } else if !name.starts_with(SECURITY) && !name.starts_with(b"system.") {
            if name.starts_with(USER) {
                let kind = self.node_kind(node)?;
                let has_face = matches!(node, NodeRef::Open(desc)
                    if self.description(desc).is_ok_and(|d| d.node.is_none()));
                if has_face || !matches!(kind, NodeKind::File | NodeKind::Dir) {
                    return refused;
                }
                // Where all may make entries, attributes are the owner's.
                let is_shared_dir =
                    kind == NodeKind::Dir && self.stat_node(env, node)?.mode & S_ISVTX != 0;
                if changes && is_shared_dir {
                    self.check_owner(env, who, node)?;
                }
            }
            let wanted = if changes { want::WRITE } else { want::READ };
            self.check_access(env, who, node, wanted)?;
        }
        if changes && name.starts_with(SECURITY) {
            Self::check_security(who, name)?;
        }
        let in_layers = self
            .place(node)
            .ok()
            .filter(|n| matches!(n, NodeRef::Upper(_) | NodeRef::Lower(_)));
        let node = in_layers.ok_or(Errno::EOPNOTSUPP)?;
        let prefix = [USER, TRUSTED, SECURITY]
            .into_iter()
            .find(|p| name.starts_with(p));
        match prefix {
            None => Err(Errno::EOPNOTSUPP),
            Some(prefix) if prefix == name => Err(Errno::EINVAL),
            // Nobody would obey them.
            Some(_) if changes && name == CAPABILITY => Err(Errno::EOPNOTSUPP),
            Some(_) => Ok(node),
        }
    }

    /// Whether an attribute of the kernel's own may be changed.
    fn check_security(who: &Credentials, name: &[u8]) -> Result<()> {
        let may = match name == CAPABILITY {
            true => who.has(cap::SETFCAP),
            false => administers(who),
        };
        may.then_some(()).ok_or(Errno::EPERM)
    }

    /// `setxattr` and its kin.
    ///
    /// # Errors
    /// Those of setxattr(2).
    pub fn set_attribute(
        &mut self,
        env: &dyn Env,
        named: Named<'_>,
        name: &[u8],
        value: &[u8],
        flags: AttributeFlags,
    ) -> Result<()> {
        let node = self.named_for_attributes(env, named)?;
        let node = self.check_attribute(env, &asker(env), node, name, true)?;
        let is_there = (self.fs.attributes(node)).is_some_and(|all| all.contains_key(name));
        if is_there && flags.contains(AttributeFlags::CREATE) {
            return Err(Errno::EEXIST);
        }
        if !is_there && flags.contains(AttributeFlags::REPLACE) {
            return Err(Errno::ENODATA);
        }
        self.change_attribute(env, node, name, Some(value))
    }

    /// `removexattr` and its kin.
    ///
    /// # Errors
    /// Those of removexattr(2).
    pub fn remove_attribute(&mut self, env: &dyn Env, named: Named<'_>, name: &[u8]) -> Result<()> {
        let node = self.named_for_attributes(env, named)?;
        let node = self.check_attribute(env, &asker(env), node, name, true)?;
        match self.fs.attributes(node) {
            Some(all) if all.contains_key(name) => self.change_attribute(env, node, name, None),
            _ => Err(Errno::ENODATA),
        }
    }

    fn change_attribute(
        &mut self,
        env: &dyn Env,
        node: NodeRef,
        name: &[u8],
        value: Option<&[u8]>,
    ) -> Result<()> {
        let id = self.fs.copy_up(node)?;
        self.fs.set_attribute(id, name, value)?;
        self.fs.inode_mut(id)?.ctime = Time::from_ns(env.realtime());
        self.tell_node(NodeRef::Upper(id), Change::ATTRIB);
        Ok(())
    }

    /// `getxattr` and its kin: the value.
    ///
    /// # Errors
    /// Those of getxattr(2) but `ERANGE`.
    pub fn attribute(&self, env: &dyn Env, named: Named<'_>, name: &[u8]) -> Result<Vec<u8>> {
        let node = self.named_for_attributes(env, named)?;
        let node = self.check_attribute(env, &asker(env), node, name, false)?;
        let all = self.fs.attributes(node).ok_or(Errno::ENODATA)?;
        all.get(name).map(|v| v.to_vec()).ok_or(Errno::ENODATA)
    }

    /// `listxattr` and its kin: the names, each with a zero byte behind it.
    ///
    /// # Errors
    /// Those of path_resolution(7), `EBADF`.
    pub fn attribute_names(&self, env: &dyn Env, named: Named<'_>) -> Result<Vec<u8>> {
        let node = self.named_for_attributes(env, named)?;
        let Ok(node) = self.place(node) else {
            return Ok(Vec::new());
        };
        let sees_all = administers(&asker(env));
        let mut names = Vec::new();
        for name in self.fs.attributes(node).iter().flat_map(|all| all.keys()) {
            if sees_all || !name.starts_with(TRUSTED) {
                names.extend_from_slice(name);
                names.push(0);
            }
        }
        Ok(names)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::object::{
        Limits,
        flags::AtFlags,
        testing::{World, archive, objects, open},
    };

    fn set(o: &mut Objects, w: &World, path: &[u8], name: &[u8], value: &[u8]) -> Result<()> {
        o.set_attribute(w, Named::Path(path), name, value, AttributeFlags::empty())
    }

    #[test]
    fn a_file_of_the_archive_takes_attributes_and_keeps_what_it_is() {
        let (mut o, w) = (objects(), World::default());
        let (hosts, name) = (&b"/etc/hosts"[..], &b"user.a"[..]);
        let before = o.stat(&w, AT_FDCWD, hosts, AtFlags::empty()).unwrap();
        assert_eq!(
            o.attribute(&w, Named::Path(hosts), name),
            Err(Errno::ENODATA)
        );
        assert_eq!(
            o.remove_attribute(&w, Named::Path(hosts), name),
            Err(Errno::ENODATA)
        );
        let inodes = o.fs.inode_use();
        assert_eq!(o.attribute_names(&w, Named::Path(hosts)), Ok(Vec::new()));
        assert_eq!(o.fs.inode_use(), inodes, "to look costs nothing");
        set(&mut o, &w, hosts, name, b"value").unwrap();
        assert_eq!(o.attribute(&w, Named::Path(hosts), name).unwrap(), b"value");
        let after = o.stat(&w, AT_FDCWD, hosts, AtFlags::empty()).unwrap();
        assert_eq!(
            (before.ino, before.size, before.mtime, before.mode),
            (after.ino, after.size, after.mtime, after.mode)
        );
        assert!(after.ctime > before.ctime);
    }

    #[test]
    fn only_root_sees_and_changes_what_is_trusted() {
        let (mut o, w) = (objects(), World::default());
        open(&mut o, &w, b"/tmp/f", 0o101).unwrap();
        let (path, trusted) = (&b"/tmp/f"[..], &b"trusted.t"[..]);
        for name in [trusted, b"user.u", b"security.s"] {
            set(&mut o, &w, path, name, name).unwrap();
        }
        let capability = set(&mut o, &w, path, CAPABILITY, b"\x01\0\0\x02");
        assert_eq!(
            capability,
            Err(Errno::EOPNOTSUPP),
            "which would not be obeyed"
        );
        let all = o.attribute_names(&w, Named::Path(path)).unwrap();
        assert_eq!(all, b"security.s\0trusted.t\0user.u\0");
        w.who.borrow_mut().effective &= !cap::SETFCAP;
        let all = o.attribute_names(&w, Named::Path(path)).unwrap();
        assert_eq!(all, b"security.s\0user.u\0");
        let got = |name| o.attribute(&w, Named::Path(path), name);
        assert_eq!(got(trusted), Err(Errno::ENODATA));
        assert_eq!(got(b"security.s").unwrap(), b"security.s");
        assert_eq!(
            set(&mut o, &w, path, b"security.s", b"y"),
            Err(Errno::EPERM)
        );
    }

    #[test]
    fn attributes_count_as_pages_which_the_end_of_their_file_gives_back() {
        let limits = Limits {
            file_pages: 20,
            ..Limits::default()
        };
        let w = World::default();
        let mut o = Objects::new(&w, archive(), limits).unwrap();
        let before = o.fs.budget().used;
        let fd = open(&mut o, &w, b"/tmp/f", 0o101).unwrap();
        let path = &b"/tmp/f"[..];
        set(&mut o, &w, path, b"user.a", &[1; 60_000]).unwrap();
        assert_eq!(o.fs.budget().used - before, 15);
        let more = set(&mut o, &w, path, b"user.b", &[1; 60_000]);
        assert_eq!(more, Err(Errno::ENOSPC));
        let names = o.attribute_names(&w, Named::Fd(fd)).unwrap();
        assert_eq!(names, b"user.a\0", "nothing has changed");
        set(&mut o, &w, path, b"user.a", b"less").unwrap();
        assert_eq!(o.fs.budget().used - before, 1);
        o.unlink(&w, AT_FDCWD, path, AtFlags::empty()).unwrap();
        assert_eq!(o.attribute(&w, Named::Fd(fd), b"user.a").unwrap(), b"less");
        o.close(fd).unwrap();
        assert_eq!(o.fs.budget().used, before);
    }

    #[test]
    fn clones_have_attributes_of_their_own_and_what_is_stored_has_them() {
        let (mut o, w) = (objects(), World::default());
        let fd = open(&mut o, &w, b"/tmp/f", 0o101).unwrap();
        o.close(fd).unwrap();
        let path = Named::Path(b"/tmp/f");
        set(&mut o, &w, b"/tmp/f", b"user.a", b"parent's").unwrap();
        let mut copy = o.clone();
        set(&mut copy, &w, b"/tmp/f", b"user.a", b"clone's").unwrap();
        copy.remove_attribute(&w, path, b"user.b").unwrap_err();
        assert_eq!(o.attribute(&w, path, b"user.a").unwrap(), b"parent's");
        o.remove_attribute(&w, path, b"user.a").unwrap();
        let mut bytes = Vec::new();
        copy.store(&mut bytes).unwrap();
        let stored = Objects::restore(&mut &bytes[..], archive()).unwrap();
        assert_eq!(stored.attribute(&w, path, b"user.a").unwrap(), b"clone's");
        assert_eq!(stored.fs.budget().used, copy.fs.budget().used);
    }
}
