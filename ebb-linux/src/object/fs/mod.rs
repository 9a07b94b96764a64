//! The file system of a UC: the boot archive under a private, writable layer in memory.
//!
//! [`Filesystem`] works on nodes and names: looking up, creating, copying up, linking, removing. A
//! node of the archive costs nothing until something about it changes; then an inode takes its
//! place (`copied` says which), and its content still reads from the archive page by page. Entries
//! removed from an archive directory leave a whiteout. Paths, descriptors and the calls a guest
//! makes are in [`ops`](super::ops).
//!
//! | module | what |
//! |---|---|
//! | [`archive`] | the read-only tree underneath |
//! | [`data`] | pages of a writable file |
//! | `attributes` | extended attributes |
//! | `inode` | inodes and directories of the writable layer |
//! | `change` | names taken away, moved and exchanged |
//! | [`stat`] | what is known of files |
//! | `stored` | the file system as bytes |
//! | `dir` | the paths of nodes |
//! | `content` | reading, changing, sharing the pages of files |
//! | `synth`, `rows` | /proc and /sys: nodes, and the table of them |
//! | `text`, `net`, `set` | the text of their files, and what writing to them does |

pub mod archive;
mod attributes;
mod change;
mod content;
pub mod data;
mod dir;
mod inode;
mod memory_node;
mod net;
pub(crate) mod rows;
pub(crate) mod set;
pub mod stat;
mod stored;
pub(crate) mod synth;
pub(crate) mod text;

use alloc::{collections::BTreeMap, sync::Arc, vec::Vec};
use core::fmt;

pub(crate) use content::MAX_POS;
pub use inode::{DirData, Inode, InodeKind};
pub use stat::{MEMFD_DEV, ROOT_DEV};
pub(crate) use synth::{proc_root, sys_root};

use ebb_mem::space::{Quota, Shared};

use self::{
    archive::{Archive, ArchiveKind, ArchiveNode},
    data::{FileData, PageBudget, Trash},
};
use super::{
    arena::Arena,
    credentials::{Credentials, cap},
    env::Time,
    errno::{Errno, Result},
    id::{Id, InodeId, NodeRef, SynthNode, of},
    kind::{pipe::Pipe, socket::Socket},
};

/// The longest path, with its ending zero byte (`PATH_MAX`).
pub const PATH_MAX: usize = 4096;
/// The longest name of an entry.
pub const NAME_MAX: usize = 255;
/// The most links that a file can have.
pub(crate) const LINK_MAX: u32 = 65_000;
/// The bit of a mode that passes a directory's group on, or makes a program act as its group.
pub(crate) const S_ISGID: u32 = 0o2000;
/// The bit of a directory's mode by which only owners take entries out.
pub(crate) const S_ISVTX: u32 = 0o1000;

/// What kind of file a node is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NodeKind {
    /// A regular file.
    File,
    /// A directory.
    Dir,
    /// A symbolic link.
    Symlink,
    /// A named pipe.
    Fifo,
    /// A socket's name.
    Socket,
    /// A character device.
    Char,
}

impl NodeKind {
    /// The `S_IFMT` bits.
    pub const fn mode(self) -> u32 {
        match self {
            NodeKind::Fifo => 0o010000,
            NodeKind::Char => 0o020000,
            NodeKind::Dir => 0o040000,
            NodeKind::File => 0o100000,
            NodeKind::Symlink => 0o120000,
            NodeKind::Socket => 0o140000,
        }
    }

    /// The `DT_*` of a directory entry.
    pub const fn entry_type(self) -> u8 {
        (self.mode() >> 12) as u8
    }
}

/// A directory entry: name, node, and the cookie behind it.
pub(crate) type NextEntry = (Arc<[u8]>, NodeRef, u64);

/// The archive and the writable layer over it.
#[derive(Clone)]
pub struct Filesystem {
    archive: &'static dyn Archive,
    inodes: Arena<Arc<Inode>, of::Inode>,
    /// Archive nodes whose place an inode has taken.
    copied: BTreeMap<ArchiveNode, InodeId>,
    /// How often archive nodes without an inode are open.
    lower_opens: BTreeMap<ArchiveNode, u32>,
    mounts: Vec<(NodeRef, SynthNode)>,
    budget: PageBudget,
    /// Pages that files and anonymous memory share with mappings.
    quota: Arc<Quota>,
    /// Shared pages that files have given up: whoever maps them must unmap them.
    given_up: Vec<Arc<Shared>>,
    /// Frozen pages that a file had, and those that it has in their place: mappings are to follow.
    exchanged: Vec<(Arc<Shared>, Arc<Shared>)>,
    /// Files that read as these parts of the archive until now: mappings are to follow.
    left_archive: Vec<(&'static [u8], InodeId)>,
    pub(crate) trash: Trash,
    /// Somebody wants to know which nodes end.
    watching: bool,
    /// Nodes that have ended, by the names under which they were first known.
    ended: Vec<NodeRef>,
    max_inodes: usize,
    next_ino: u64,
}

impl fmt::Debug for Filesystem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Filesystem")
            .field("inodes", &self.inodes.len())
            .field("copied", &self.copied.len())
            .field("budget", &self.budget)
            .finish()
    }
}

impl Filesystem {
    /// A file system over `archive` that can hold `max_pages` pages and `max_inodes` inodes of its
    /// own.
    pub fn new(archive: &'static dyn Archive, max_pages: u64, max_inodes: usize) -> Self {
        Self {
            archive,
            inodes: Arena::new(),
            copied: BTreeMap::new(),
            lower_opens: BTreeMap::new(),
            mounts: Vec::new(),
            budget: PageBudget {
                used: 0,
                max: max_pages,
            },
            quota: Quota::new(max_pages),
            given_up: Vec::new(),
            exchanged: Vec::new(),
            left_archive: Vec::new(),
            trash: Trash::default(),
            watching: false,
            ended: Vec::new(),
            max_inodes,
            next_ino: 1 << 32,
        }
    }

    /// The root directory.
    pub const fn root(&self) -> NodeRef {
        NodeRef::Lower(archive::ROOT)
    }

    /// Pages in use and the limit.
    pub const fn budget(&self) -> PageBudget {
        self.budget
    }

    /// Counts the pages that mappings share.
    pub const fn quota(&self) -> &Arc<Quota> {
        &self.quota
    }

    /// Whether files have given up pages that somebody may map.
    pub(crate) const fn has_given_up(&self) -> bool {
        // Without branches, as every system call asks.
        self.given_up.len() | self.exchanged.len() | self.left_archive.len() != 0
    }

    /// Whether there are pages to be freed.
    pub(crate) const fn has_trash(&self) -> bool {
        !self.trash.is_empty()
    }

    /// Frees about `most` of the pages that files have given up.
    pub(crate) fn empty_trash(&mut self, most: u64) {
        self.trash.empty(&mut { most });
    }

    /// Frees about `most` pages of a file system that nobody uses any more; true when next to none is left.
    pub(crate) fn release_part(&mut self, most: u64) -> bool {
        let mut left = most;
        self.trash.empty(&mut left);
        for (_, inode) in self.inodes.iter_mut() {
            if left == 0 {
                return false;
            }
            // What a snapshot has too is not freed.
            if let Some(Inode {
                kind: InodeKind::File(data),
                ..
            }) = Arc::get_mut(inode)
            {
                self.trash.put(data.discard(&mut self.budget));
                self.trash.empty(&mut left);
            }
        }
        self.trash.is_empty()
    }

    /// Those pages' objects.
    pub(crate) fn take_given_up(&mut self) -> Vec<Arc<Shared>> {
        core::mem::take(&mut self.given_up)
    }

    /// Pages that took the place of frozen ones.
    pub(crate) fn take_exchanged(&mut self) -> Vec<(Arc<Shared>, Arc<Shared>)> {
        core::mem::take(&mut self.exchanged)
    }

    /// Files that are what the archive has no more.
    pub(crate) fn take_left_archive(&mut self) -> Vec<(&'static [u8], InodeId)> {
        core::mem::take(&mut self.left_archive)
    }

    /// Gives a clone's files pages of their own in the place of those that mappings share; in `made` by the old ones' names.
    /// `false` when there is no memory for it.
    pub(crate) fn unshare(&mut self, made: &mut BTreeMap<u64, Arc<Shared>>) -> bool {
        self.quota = Quota::new(self.quota.max());
        for (_, inode) in self.inodes.iter_mut() {
            let InodeKind::File(data) = &inode.kind else {
                continue;
            };
            let Some(shared) = data.shared().filter(|s| !s.is_frozen()) else {
                continue;
            };
            let Some(copy) = shared.copy(&self.quota) else {
                return false;
            };
            made.insert(copy.id(), Arc::clone(&copy));
            if let InodeKind::File(data) = &mut Arc::make_mut(inode).kind {
                data.set_shared(copy);
            }
        }
        true
    }

    /// Inodes in use and the limit.
    pub const fn inode_use(&self) -> (usize, usize) {
        (self.inodes.len(), self.max_inodes)
    }

    /// The inode that has taken a node's place, if one has; the node itself otherwise.
    pub(crate) fn canon(&self, node: NodeRef) -> NodeRef {
        match node {
            NodeRef::Lower(n) => self.copied.get(&n).map_or(node, |&id| NodeRef::Upper(id)),
            other => other,
        }
    }

    pub(crate) fn inode(&self, id: InodeId) -> Result<&Inode> {
        self.inodes.get(id).map(|i| &**i).ok_or(Errno::ENOENT)
    }

    /// The inode for changing; a clone of the UC that shares it keeps the old one.
    pub(crate) fn inode_mut(&mut self, id: InodeId) -> Result<&mut Inode> {
        self.inodes
            .get_mut(id)
            .map(Arc::make_mut)
            .ok_or(Errno::ENOENT)
    }

    /// Owner, group and mode of a node of the two layers.
    pub(crate) fn ownership(&self, node: NodeRef) -> Result<(u32, u32, u32)> {
        match self.canon(node) {
            NodeRef::Upper(id) => self.inode(id).map(|i| (i.uid, i.gid, i.mode)),
            NodeRef::Lower(node) => Ok((0, 0, self.archive.meta(node).mode)),
            _ => Err(Errno::ENOENT),
        }
    }

    /// Gives a new node to whoever makes it: their group, or that of a directory which passes its own on (`S_ISGID`).
    pub(crate) fn give(&mut self, id: InodeId, who: &Credentials, dir: NodeRef) -> Result<()> {
        let (_, dir_gid, dir_mode) = self.ownership(dir)?;
        let inode = self.inode_mut(id)?;
        inode.uid = who.user.files;
        inode.gid = who.group.files;
        if dir_mode & S_ISGID != 0 {
            inode.gid = dir_gid;
            if matches!(inode.kind, InodeKind::Dir(_)) {
                inode.mode |= S_ISGID;
            }
        }
        let is_program = inode.mode & (S_ISGID | 0o10) == S_ISGID | 0o10;
        if is_program
            && !matches!(inode.kind, InodeKind::Dir(_))
            && !who.is_in(inode.gid)
            && !who.has(cap::FSETID)
        {
            inode.mode &= !S_ISGID;
        }
        Ok(())
    }

    /// The kind of a node of the two layers.
    pub(crate) fn kind(&self, node: NodeRef) -> Result<NodeKind> {
        match self.canon(node) {
            NodeRef::Upper(id) => Ok(match self.inode(id)?.kind {
                InodeKind::File(_) => NodeKind::File,
                InodeKind::Dir(_) => NodeKind::Dir,
                InodeKind::Symlink(_) => NodeKind::Symlink,
                InodeKind::Fifo(_) => NodeKind::Fifo,
                InodeKind::Socket(_) => NodeKind::Socket,
                InodeKind::Char(_) => NodeKind::Char,
            }),
            NodeRef::Lower(n) => Ok(match self.archive.meta(n).kind {
                ArchiveKind::File => NodeKind::File,
                ArchiveKind::Dir => NodeKind::Dir,
                ArchiveKind::Symlink => NodeKind::Symlink,
            }),
            NodeRef::Synth(node) => Ok(node.kind()),
            NodeRef::Open(_) => Err(Errno::ENOENT),
        }
    }

    /// The entry of a directory of the two layers.
    pub(crate) fn lookup(&self, dir: NodeRef, name: &[u8]) -> Result<Option<NodeRef>> {
        if name.len() > NAME_MAX {
            return Err(Errno::ENAMETOOLONG);
        }
        let (upper, lower) = match self.canon(dir) {
            NodeRef::Upper(id) => match &self.inode(id)?.kind {
                InodeKind::Dir(dir) => (Some(dir), dir.lower),
                _ => return Err(Errno::ENOTDIR),
            },
            NodeRef::Lower(n) => (None, Some(n)),
            _ => return Err(Errno::ENOTDIR),
        };
        if let Some(entry) = upper.and_then(|d| d.entries.get(name)) {
            return Ok(entry.node.map(NodeRef::Upper));
        }
        let found = lower.and_then(|dir| self.archive.lookup(dir, name));
        Ok(found.map(|n| self.canon(NodeRef::Lower(n))))
    }

    /// The directory that holds a directory (or last held a file).
    pub(crate) fn parent(&self, node: NodeRef) -> Result<NodeRef> {
        match self.canon(node) {
            NodeRef::Upper(id) => Ok(self.canon(self.inode(id)?.parent)),
            NodeRef::Lower(n) => Ok(self.canon(NodeRef::Lower(self.archive.parent(n)))),
            NodeRef::Synth(node) => Ok(match node.parent() {
                Some(parent) => NodeRef::Synth(parent),
                None => match self.mounts.iter().find(|(_, root)| *root == node) {
                    Some(&(at, _)) => self.parent(at)?,
                    None => self.root(),
                },
            }),
            NodeRef::Open(_) => Err(Errno::ENOENT),
        }
    }

    /// The root of what is mounted on a node, or the node.
    pub(crate) fn cross(&self, node: NodeRef) -> NodeRef {
        match self.mounts.iter().find(|(at, _)| *at == node) {
            Some(&(_, root)) => NodeRef::Synth(root),
            None => node,
        }
    }

    pub(crate) fn is_mountpoint(&self, node: NodeRef) -> bool {
        let node = self.canon(node);
        node == self.canon(self.root()) || self.mounts.iter().any(|(at, _)| *at == node)
    }

    /// Mounts a synthetic tree on a directory.
    pub(crate) fn mount(&mut self, at: NodeRef, root: SynthNode) -> Result<()> {
        let at = NodeRef::Upper(self.copy_up(at)?);
        self.mounts.push((at, root));
        Ok(())
    }

    fn new_inode(
        &mut self,
        kind: InodeKind,
        mode: u32,
        now: Time,
        parent: NodeRef,
    ) -> Result<Inode> {
        if self.inodes.len() >= self.max_inodes {
            return Err(Errno::ENOSPC);
        }
        self.next_ino += 1;
        Ok(Inode {
            ino: self.next_ino,
            nlink: if matches!(kind, InodeKind::Dir(_)) {
                2
            } else {
                1
            },
            kind,
            mode: mode & 0o7777,
            uid: 0,
            gid: 0,
            atime: now,
            mtime: now,
            ctime: now,
            btime: now,
            opens: 0,
            seals: None,
            linkable: false,
            flags: 0,
            hint: 0,
            attributes: None,
            parent,
            pins_parent: false,
            name: Arc::from([]),
            origin: None,
        })
    }

    /// The inode that stands for a node, made if the node is still the archive's.
    ///
    /// # Errors
    /// `ENOSPC` (no more inodes), `EROFS` (a node of /proc or /sys).
    #[inline]
    pub(crate) fn copy_up(&mut self, node: NodeRef) -> Result<InodeId> {
        match node {
            NodeRef::Upper(id) => Ok(id),
            other => self.copy_lower(other),
        }
    }

    fn copy_lower(&mut self, node: NodeRef) -> Result<InodeId> {
        let n = match self.canon(node) {
            NodeRef::Upper(id) => return Ok(id),
            NodeRef::Lower(n) => n,
            NodeRef::Synth(_) | NodeRef::Open(_) => return Err(Errno::EROFS),
        };
        let (meta, content) = (self.archive.meta(n), self.archive.content(n));
        let kind = match meta.kind {
            ArchiveKind::File => InodeKind::File(FileData::over(content)),
            ArchiveKind::Dir => InodeKind::Dir(DirData::over(n)),
            ArchiveKind::Symlink => InodeKind::Symlink(Arc::from(content)),
        };
        let parent = NodeRef::Lower(self.archive.parent(n));
        let mut inode = self.new_inode(kind, meta.mode, meta.mtime, parent)?;
        inode.ino = lower_ino(n);
        inode.origin = Some(n);
        inode.name = Arc::from(self.archive.name(n));
        inode.opens = self.lower_opens.remove(&n).unwrap_or(0);
        if meta.kind == ArchiveKind::Dir {
            inode.nlink = 2 + self.archive.subdirs(n);
        }
        let id = self.inodes.insert(Arc::new(inode));
        self.copied.insert(n, id);
        Ok(id)
    }

    /// Makes a new node and its entry.
    pub(crate) fn create(
        &mut self,
        dir: NodeRef,
        name: &[u8],
        kind: InodeKind,
        mode: u32,
        now: Time,
    ) -> Result<InodeId> {
        if name.len() > NAME_MAX {
            return Err(Errno::ENAMETOOLONG);
        }
        if matches!(dir, NodeRef::Synth(node) if node.tree() == 0) {
            // No process is made by its name.
            return Err(Errno::ENOENT);
        }
        let dir = self.copy_up(dir)?;
        if self.inode(dir)?.nlink == 0 {
            return Err(Errno::ENOENT);
        }
        let inode = self.new_inode(kind, mode, now, NodeRef::Upper(dir))?;
        let id = self.inodes.insert(Arc::new(inode));
        self.add_entry(dir, name, id, now)?;
        Ok(id)
    }

    /// Makes a node without a name: `O_TMPFILE`, memfd.
    pub(crate) fn create_unnamed(
        &mut self,
        kind: InodeKind,
        mode: u32,
        now: Time,
    ) -> Result<InodeId> {
        let mut inode = self.new_inode(kind, mode, now, self.root())?;
        inode.nlink = 0;
        Ok(self.inodes.insert(Arc::new(inode)))
    }

    /// Enters an inode into a directory under a name that is free there.
    pub(crate) fn add_entry(
        &mut self,
        dir: InodeId,
        name: &[u8],
        node: InodeId,
        now: Time,
    ) -> Result<()> {
        let name: Arc<[u8]> = Arc::from(name);
        let inode = self.inode_mut(node)?;
        (inode.parent, inode.name) = (NodeRef::Upper(dir), name.clone());
        let is_dir = matches!(inode.kind, InodeKind::Dir(_));
        let holder = self.inode_mut(dir)?;
        (holder.mtime, holder.ctime) = (now, now);
        holder.nlink += u32::from(is_dir);
        holder.dir_mut()?.insert(name, node);
        Ok(())
    }

    /// Takes an entry out of a directory; an archive entry of that name stays hidden.
    pub(crate) fn remove_entry(
        &mut self,
        dir: InodeId,
        name: &[u8],
        was_dir: bool,
        now: Time,
    ) -> Result<()> {
        let archive = self.archive;
        let holder = self.inode_mut(dir)?;
        (holder.mtime, holder.ctime) = (now, now);
        holder.nlink -= u32::from(was_dir && holder.nlink > 2);
        let entries = holder.dir_mut()?;
        let in_lower = entries
            .lower
            .is_some_and(|l| archive.lookup(l, name).is_some());
        entries.remove(name, in_lower);
        Ok(())
    }

    /// Whether a directory has no entries.
    pub(crate) fn is_empty_dir(&self, node: NodeRef) -> Result<bool> {
        Ok(self.next_entry(node, 0)?.is_none())
    }

    /// The first entry of a directory at or after a cookie, and the cookie behind it. Cookies keep
    /// their meaning while entries come and go: those of the archive count up from 0, those of the
    /// writable layer from 2^32.
    pub(crate) fn next_entry(&self, dir: NodeRef, cookie: u64) -> Result<Option<NextEntry>> {
        const UPPER: u64 = 1 << 32;
        let (upper, lower) = match self.canon(dir) {
            NodeRef::Upper(id) => {
                let dir = self.inode(id)?.dir().ok_or(Errno::ENOTDIR)?;
                (Some(dir), dir.lower)
            }
            NodeRef::Lower(n) => (None, Some(n)),
            _ => return Err(Errno::ENOTDIR),
        };
        if let Some(lower) = lower.filter(|_| cookie < UPPER) {
            let mut index = cookie as usize;
            while let Some(node) = self.archive.entry(lower, index) {
                let name = self.archive.name(node);
                index += 1;
                if upper.is_none_or(|d| !d.entries.contains_key(name)) {
                    let node = self.canon(NodeRef::Lower(node));
                    return Ok(Some((Arc::from(name), node, index as u64)));
                }
            }
        }
        let Some(upper) = upper else { return Ok(None) };
        Ok(upper
            .after(cookie.saturating_sub(UPPER))
            .map(|(name, node, next)| (name, NodeRef::Upper(node), UPPER + next)))
    }

    /// What is in a file of the archive.
    pub(crate) fn archive_content(&self, node: ArchiveNode) -> &'static [u8] {
        self.archive.content(node)
    }

    /// Notes that a description or a working directory refers to a node.
    pub(crate) fn open_node(&mut self, node: NodeRef) {
        match self.canon(node) {
            NodeRef::Upper(id) => {
                if let Ok(inode) = self.inode_mut(id) {
                    inode.opens += 1;
                }
            }
            NodeRef::Lower(n) => *self.lower_opens.entry(n).or_insert(0) += 1,
            NodeRef::Synth(_) | NodeRef::Open(_) => {}
        }
    }

    /// Undoes [`open_node`](Self::open_node). A file without names goes with its last user.
    pub(crate) fn close_node(&mut self, node: NodeRef) {
        match self.canon(node) {
            NodeRef::Upper(id) => {
                if let Ok(inode) = self.inode_mut(id) {
                    inode.opens = inode.opens.saturating_sub(1);
                }
                self.reap(id);
            }
            NodeRef::Lower(n) => {
                if let Some(opens) = self.lower_opens.get_mut(&n) {
                    *opens -= 1;
                    if *opens == 0 {
                        self.lower_opens.remove(&n);
                    }
                }
            }
            NodeRef::Synth(_) | NodeRef::Open(_) => {}
        }
    }

    /// Whether [`take_ended`](Self::take_ended) is to say which nodes have ended.
    pub(crate) fn set_watching(&mut self, watching: bool) {
        self.watching = watching;
        self.ended.clear();
    }

    /// A node has neither names nor users any more.
    pub(crate) fn note_end(&mut self, node: NodeRef) {
        if self.watching {
            self.ended.push(node);
        }
    }

    /// Nodes that have ended since the last time.
    pub(crate) fn take_ended(&mut self) -> Vec<NodeRef> {
        core::mem::take(&mut self.ended)
    }

    /// Frees an inode that has neither names nor users, and the deleted parents it kept alive.
    pub(crate) fn reap(&mut self, mut id: InodeId) {
        while let Some(inode) = self.inodes.get(id)
            && inode.nlink == 0
            && inode.opens == 0
        {
            let Some(mut inode) = self.inodes.remove(id) else {
                return;
            };
            if let Some(origin) = inode.origin {
                self.copied.remove(&origin);
            }
            inode.discard_attributes(&mut self.budget);
            self.note_end(inode.origin.map_or(NodeRef::Upper(id), NodeRef::Lower));
            if matches!(inode.kind, InodeKind::File(_))
                && let InodeKind::File(data) = &mut Arc::make_mut(&mut inode).kind
            {
                self.trash.put(data.discard(&mut self.budget));
            }
            let NodeRef::Upper(parent) = self.canon(inode.parent) else {
                return;
            };
            if !inode.pins_parent {
                return;
            }
            if let Ok(parent) = self.inode_mut(parent) {
                parent.opens = parent.opens.saturating_sub(1);
            }
            id = parent;
        }
    }

    /// The pipe behind a FIFO that somebody has open.
    pub(crate) fn fifo_of(&self, node: NodeRef) -> Option<Id<Pipe>> {
        match self.canon(node) {
            NodeRef::Upper(id) => match self.inode(id).ok()?.kind {
                InodeKind::Fifo(pipe) => pipe,
                _ => None,
            },
            _ => None,
        }
    }

    pub(crate) fn set_fifo(&mut self, node: NodeRef, pipe: Option<Id<Pipe>>) {
        if let NodeRef::Upper(id) = self.canon(node)
            && let Ok(inode) = self.inode_mut(id)
        {
            inode.kind = InodeKind::Fifo(pipe);
        }
    }

    /// The socket bound to a node.
    pub(crate) fn socket_of(&self, node: NodeRef) -> Option<Id<Socket>> {
        match self.canon(node) {
            NodeRef::Upper(id) => match self.inode(id).ok()?.kind {
                InodeKind::Socket(socket) => socket,
                _ => None,
            },
            _ => None,
        }
    }
}

/// Inode numbers of archive nodes; those of the writable layer start above 2^32.
pub(crate) const fn lower_ino(node: ArchiveNode) -> u64 {
    node as u64 + 2
}
