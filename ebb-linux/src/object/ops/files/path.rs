//! Path resolution, with Linux' rules (path_resolution(7), `fs/namei.c`).

use alloc::vec::Vec;

use bitflags::bitflags;

use super::{permission::asker, proc};
use crate::object::{
    Objects,
    env::Env,
    errno::{Errno, Result},
    flags::AT_FDCWD,
    fs::{NAME_MAX, NodeKind, PATH_MAX},
    id::{Fd, NodeRef},
    kind::Object,
};

/// The most symbolic links that one resolution follows.
const MAX_LINKS: u32 = 40;

bitflags! {
    /// `RESOLVE_*` of `openat2`.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
    pub struct Resolve: u32 {
        /// Do not go from one file system to another.
        const NO_XDEV = 0x1;
        /// Do not follow the links of /proc that are not paths.
        const NO_MAGICLINKS = 0x2;
        /// Follow no link at all.
        const NO_SYMLINKS = 0x4;
        /// Fail rather than leave the directory that the path starts from.
        const BENEATH = 0x8;
        /// Take that directory for the root.
        const IN_ROOT = 0x10;
        /// Only what needs no waiting, as everything here.
        const CACHED = 0x20;
    }
}

/// Where a resolution may go.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scope {
    /// What `/` is, and what `..` does not leave.
    root: NodeRef,
    resolve: Resolve,
}

impl Scope {
    fn is_bound(self) -> bool {
        self.resolve.intersects(Resolve::BENEATH | Resolve::IN_ROOT)
    }
}

/// The last component of a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Last {
    Name(Vec<u8>),
    Dot,
    DotDot,
    Root,
}

/// All of a path but its last component, resolved.
#[derive(Clone, Debug)]
pub(crate) struct Parent {
    pub(crate) dir: NodeRef,
    pub(crate) last: Last,
    /// The path ends in slashes, so it must name a directory.
    pub(crate) slash: bool,
    /// The name is to be made if it is missing: then a path that ends in slashes is `EISDIR`, also
    /// where a link leads to such a path.
    pub(crate) create: bool,
    links: u32,
    scope: Scope,
}

impl Parent {
    /// The name that is to be made or removed, or `errno` when the path ends in `.`, `..` or `/`.
    pub(crate) fn name(&self, errno: Errno) -> Result<&[u8]> {
        match &self.last {
            Last::Name(name) => Ok(name),
            _ => Err(errno),
        }
    }
}

impl Objects {
    /// Where a relative path starts.
    ///
    /// # Errors
    /// `EBADF`, `ENOTDIR`.
    pub(crate) fn base(&self, dirfd: Fd) -> Result<NodeRef> {
        if dirfd == AT_FDCWD {
            return Ok(self.files.cwd);
        }
        let desc = self.description(self.files.fds.get(dirfd)?)?;
        match (desc.object, desc.node) {
            (Object::Dir | Object::Path, Some(node)) => Ok(node),
            _ => Err(Errno::ENOTDIR),
        }
    }

    /// Whether a node is a directory.
    pub(crate) fn is_dir(&self, node: NodeRef) -> bool {
        self.node_kind(node) == Ok(NodeKind::Dir)
    }

    /// The kind of any node.
    pub(crate) fn node_kind(&self, node: NodeRef) -> Result<NodeKind> {
        match node {
            NodeRef::Open(desc) => {
                let desc = self.description(desc)?;
                Ok(match (desc.node, desc.object) {
                    (_, Object::Pipe(_)) => NodeKind::Fifo,
                    (_, Object::Socket(_)) => NodeKind::Socket,
                    (_, Object::Channel(_) | Object::Device(_)) => NodeKind::Char,
                    (Some(node), _) => self.fs.kind(node)?,
                    (None, _) => NodeKind::File,
                })
            }
            node => self.fs.kind(node),
        }
    }

    /// The entry `name` of any directory, with mounts crossed.
    pub(crate) fn child(
        &self,
        env: &dyn Env,
        dir: NodeRef,
        name: &[u8],
    ) -> Result<Option<NodeRef>> {
        match dir {
            NodeRef::Synth(dir) => Ok(proc::lookup(self, env, dir, name)?.map(NodeRef::Synth)),
            dir => Ok(self.fs.lookup(dir, name)?.map(|node| self.fs.cross(node))),
        }
    }

    fn check_path(path: &[u8]) -> Result<()> {
        match path.len() {
            0 => Err(Errno::ENOENT),
            PATH_MAX.. => Err(Errno::ENAMETOOLONG),
            _ => Ok(()),
        }
    }

    /// Resolves all of a path but its last component.
    pub(crate) fn resolve_parent(&self, env: &dyn Env, dirfd: Fd, path: &[u8]) -> Result<Parent> {
        self.resolve_parent_in(env, dirfd, path, Resolve::empty())
    }

    /// As [`resolve_parent`](Self::resolve_parent), with what `openat2` forbids.
    pub(crate) fn resolve_parent_in(
        &self,
        env: &dyn Env,
        dirfd: Fd,
        path: &[u8],
        resolve: Resolve,
    ) -> Result<Parent> {
        Self::check_path(path)?;
        let mut scope = Scope {
            root: self.files.root,
            resolve,
        };
        if scope.is_bound() {
            scope.root = self.base(dirfd)?;
        }
        let base = match path[0] {
            b'/' => self.root_of(scope)?,
            _ => self.base(dirfd)?,
        };
        self.walk(env, base, path.to_vec(), 0, scope)
    }

    /// Where an absolute path starts.
    fn root_of(&self, scope: Scope) -> Result<NodeRef> {
        match scope.resolve.contains(Resolve::BENEATH) {
            true => Err(Errno::EXDEV),
            false => Ok(scope.root),
        }
    }

    /// Refuses a step to another file system where it is forbidden.
    fn check_device(&self, scope: Scope, from: NodeRef, to: NodeRef) -> Result<()> {
        if !scope.resolve.contains(Resolve::NO_XDEV) {
            return Ok(());
        }
        let device = |node| match self.place(node) {
            Ok(NodeRef::Synth(node)) => Some(node.tree()),
            _ => None,
        };
        match device(from) == device(to) {
            true => Ok(()),
            false => Err(Errno::EXDEV),
        }
    }

    /// Walks `rest` from `dir` up to its last component, following links on the way.
    fn walk(
        &self,
        env: &dyn Env,
        mut dir: NodeRef,
        mut rest: Vec<u8>,
        mut links: u32,
        scope: Scope,
    ) -> Result<Parent> {
        if rest.first() == Some(&b'/') {
            let root = self.root_of(scope)?;
            self.check_device(scope, dir, root)?;
            dir = root;
        }
        let who = asker(env);
        let mut at = 0;
        loop {
            while rest.get(at) == Some(&b'/') {
                at += 1;
            }
            if !self.is_dir(dir) {
                return Err(Errno::ENOTDIR);
            }
            if at < rest.len() {
                self.check_search(env, &who, dir)?;
            }
            if at == rest.len() {
                return Ok(Parent {
                    dir,
                    last: Last::Root,
                    slash: true,
                    create: false,
                    links,
                    scope,
                });
            }
            let len = rest[at..]
                .iter()
                .position(|&b| b == b'/')
                .unwrap_or(rest.len() - at);
            let (name, after) = (at..at + len, at + len);
            let is_last = rest[after..].iter().all(|&b| b == b'/');
            if is_last {
                let last = match &rest[name] {
                    b"." => Last::Dot,
                    b".." => Last::DotDot,
                    name => Last::Name(name.to_vec()),
                };
                return Ok(Parent {
                    dir,
                    last,
                    slash: after < rest.len(),
                    create: false,
                    links,
                    scope,
                });
            }
            match &rest[name] {
                b"." => {}
                b".." => dir = self.dotdot_in(dir, scope)?,
                name if name.len() > NAME_MAX => return Err(Errno::ENAMETOOLONG),
                name => {
                    let node = self.child(env, dir, name)?.ok_or(Errno::ENOENT)?;
                    self.check_device(scope, dir, node)?;
                    if self.node_kind(node)? == NodeKind::Symlink {
                        match self.follow(env, node, &mut links, scope)? {
                            Target::Node(node) => dir = node,
                            Target::Path(mut target) => {
                                if target.first() == Some(&b'/') {
                                    let root = self.root_of(scope)?;
                                    self.check_device(scope, dir, root)?;
                                    dir = root;
                                }
                                target.extend_from_slice(&rest[after..]);
                                (rest, at) = (target, 0);
                                continue;
                            }
                        }
                    } else {
                        dir = node;
                    }
                }
            }
            at = after;
        }
    }

    pub(crate) fn dotdot(&self, dir: NodeRef) -> Result<NodeRef> {
        self.fs.parent(dir)
    }

    /// `..` of a directory, which does not lead out of the scope.
    /// Whether `..` would lead out of what a path is to stay beneath.
    pub(super) fn leaves(&self, parent: &Parent) -> bool {
        parent.scope.resolve.contains(Resolve::BENEATH)
            && self.fs.canon(parent.dir) == self.fs.canon(parent.scope.root)
    }

    fn dotdot_in(&self, dir: NodeRef, scope: Scope) -> Result<NodeRef> {
        if self.fs.canon(dir) == self.fs.canon(scope.root) {
            return self.root_of(scope);
        }
        let parent = self.dotdot(dir)?;
        self.check_device(scope, dir, parent)?;
        Ok(parent)
    }

    fn follow(
        &self,
        env: &dyn Env,
        link: NodeRef,
        links: &mut u32,
        scope: Scope,
    ) -> Result<Target> {
        *links += 1;
        if *links > MAX_LINKS || scope.resolve.contains(Resolve::NO_SYMLINKS) {
            return Err(Errno::ELOOP);
        }
        if let NodeRef::Synth(magic) = link
            && magic.is_magic()
        {
            if scope.resolve.contains(Resolve::NO_MAGICLINKS) {
                return Err(Errno::ELOOP);
            }
            if scope.is_bound() {
                return Err(Errno::EXDEV);
            }
        }
        if let NodeRef::Synth(magic) = link
            && let Some(node) = proc::jump(self, env, magic)?
        {
            self.check_device(scope, link, node)?;
            return Ok(Target::Node(node));
        }
        let target = self.link_target(env, link)?;
        if target.is_empty() {
            Err(Errno::ENOENT)
        } else {
            Ok(Target::Path(target))
        }
    }

    /// Where a symbolic link points.
    pub(crate) fn link_target(&self, env: &dyn Env, link: NodeRef) -> Result<Vec<u8>> {
        self.fs.link_text(link).or_else(|_| match link {
            NodeRef::Synth(link) => proc::link_text(self, env, link),
            _ => Err(Errno::EINVAL),
        })
    }

    /// Looks up the last component. `None` when there is nothing of that name (which is an error
    /// only to those who do not want to make it). Links are followed if `follow`, or if the path
    /// ends in a slash; a link to nothing gives the parent in which its target would be.
    pub(crate) fn finish(
        &self,
        env: &dyn Env,
        mut parent: Parent,
        follow: bool,
    ) -> Result<(Parent, Option<NodeRef>)> {
        loop {
            if parent.create && parent.slash && matches!(parent.last, Last::Name(_)) {
                return Err(Errno::EISDIR);
            }
            let node = match &parent.last {
                Last::Root | Last::Dot => parent.dir,
                Last::DotDot => self.dotdot_in(parent.dir, parent.scope)?,
                Last::Name(name) => match self.child(env, parent.dir, name)? {
                    Some(node) => {
                        self.check_device(parent.scope, parent.dir, node)?;
                        node
                    }
                    None => return Ok((parent, None)),
                },
            };
            if (follow || parent.slash) && self.node_kind(node)? == NodeKind::Symlink {
                match self.follow(env, node, &mut parent.links, parent.scope)? {
                    Target::Node(node) => {
                        if parent.slash && !self.is_dir(node) {
                            return Err(Errno::ENOTDIR);
                        }
                        return Ok((parent, Some(node)));
                    }
                    Target::Path(mut target) => {
                        if parent.slash {
                            target.push(b'/');
                        }
                        let create = parent.create;
                        parent = self.walk(env, parent.dir, target, parent.links, parent.scope)?;
                        parent.create = create;
                        continue;
                    }
                }
            }
            if parent.slash && !self.is_dir(node) {
                return Err(Errno::ENOTDIR);
            }
            return Ok((parent, Some(node)));
        }
    }

    /// The node that a path names.
    pub(crate) fn resolve(
        &self,
        env: &dyn Env,
        dirfd: Fd,
        path: &[u8],
        follow: bool,
    ) -> Result<NodeRef> {
        let parent = self.resolve_parent(env, dirfd, path)?;
        self.finish(env, parent, follow)?.1.ok_or(Errno::ENOENT)
    }

    /// The node that a path names, or with `empty` and an empty path the one `dirfd` refers to.
    pub(crate) fn resolve_at(
        &self,
        env: &dyn Env,
        dirfd: Fd,
        path: &[u8],
        follow: bool,
        empty: bool,
    ) -> Result<NodeRef> {
        if !path.is_empty() || !empty {
            return self.resolve(env, dirfd, path, follow);
        }
        if dirfd == AT_FDCWD {
            return Ok(self.files.cwd);
        }
        Ok(NodeRef::Open(self.files.fds.get(dirfd)?))
    }

    /// The place in the file system that a node or the description behind it has.
    pub(crate) fn place(&self, node: NodeRef) -> Result<NodeRef> {
        match node {
            NodeRef::Open(desc) => Ok(self
                .fs
                .canon(self.description(desc)?.node.ok_or(Errno::EINVAL)?)),
            node => Ok(self.fs.canon(node)),
        }
    }
}

enum Target {
    Path(Vec<u8>),
    Node(NodeRef),
}
