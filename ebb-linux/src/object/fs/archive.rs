//! The boot archive as the file system sees it: a read-only tree that outlives every UC.
//!
//! File content is `'static` memory, so that a mapping of it shares the archive's pages. The boot
//! archive that an image is started with ([`ebb_archive`]) is an [`Archive`]; [`TreeBuilder`] makes
//! one in memory.

use alloc::{boxed::Box, collections::BTreeMap, vec::Vec};

use crate::object::{
    env::Time,
    errno::{Errno, Result},
};

pub use crate::object::id::ArchiveNode;

/// The root of every archive.
pub const ROOT: ArchiveNode = 0;

/// What kind of node it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ArchiveKind {
    /// A regular file.
    File,
    /// A directory.
    Dir,
    /// A symbolic link.
    Symlink,
}

/// What `stat` says of a node beyond its size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ArchiveMeta {
    /// Its kind.
    pub kind: ArchiveKind,
    /// Permission bits (the low twelve).
    pub mode: u32,
    /// Last change of the content.
    pub mtime: Time,
}

/// A read-only tree of files.
///
/// Nodes are given out by the archive and always valid; asking a file for entries or a directory
/// for content gives nothing.
pub trait Archive: Sync {
    /// What is known of a node.
    fn meta(&self, node: ArchiveNode) -> ArchiveMeta;
    /// How many entries of a directory are directories.
    fn subdirs(&self, dir: ArchiveNode) -> u32;
    /// The directory that holds a node; the root holds itself.
    fn parent(&self, node: ArchiveNode) -> ArchiveNode;
    /// The name of a node in its directory.
    fn name(&self, node: ArchiveNode) -> &'static [u8];
    /// The entry of a directory with this name.
    fn lookup(&self, dir: ArchiveNode, name: &[u8]) -> Option<ArchiveNode>;
    /// Entry number `index` of a directory, in an order that never changes.
    fn entry(&self, dir: ArchiveNode, index: usize) -> Option<ArchiveNode>;
    /// A file's bytes, which start on a page boundary, or the target of a link.
    fn content(&self, node: ArchiveNode) -> &'static [u8];
}

impl Archive for ebb_archive::Archive<'static> {
    fn meta(&self, node: ArchiveNode) -> ArchiveMeta {
        let node = boot_node(self, node);
        let known = node.metadata();
        ArchiveMeta {
            kind: match node.kind() {
                ebb_archive::Kind::File => ArchiveKind::File,
                ebb_archive::Kind::Directory => ArchiveKind::Dir,
                ebb_archive::Kind::Symlink => ArchiveKind::Symlink,
            },
            mode: known.permissions & 0o7777,
            mtime: Time {
                sec: known.mtime,
                nsec: known.mtime_nanoseconds,
            },
        }
    }
    fn subdirs(&self, dir: ArchiveNode) -> u32 {
        let is_dir = |n: &ebb_archive::Node<'_>| n.kind() == ebb_archive::Kind::Directory;
        boot_node(self, dir).children().filter(is_dir).count() as u32
    }
    fn parent(&self, node: ArchiveNode) -> ArchiveNode {
        boot_node(self, node).parent().index()
    }
    fn name(&self, node: ArchiveNode) -> &'static [u8] {
        boot_node(self, node).name()
    }
    fn lookup(&self, dir: ArchiveNode, name: &[u8]) -> Option<ArchiveNode> {
        boot_node(self, dir).child(name).map(|n| n.index())
    }
    fn entry(&self, dir: ArchiveNode, index: usize) -> Option<ArchiveNode> {
        // The children of a directory stand together.
        let mut children = boot_node(self, dir).children();
        let count = children.len();
        let first = children.next()?.index();
        (index < count).then(|| first + index as u32)
    }
    fn content(&self, node: ArchiveNode) -> &'static [u8] {
        let node = boot_node(self, node);
        node.target().unwrap_or_else(|| node.data())
    }
}

fn boot_node(
    archive: &ebb_archive::Archive<'static>,
    node: ArchiveNode,
) -> ebb_archive::Node<'static> {
    archive.node(node).unwrap_or_else(|| archive.root())
}

#[derive(Debug)]
struct TreeNode {
    meta: ArchiveMeta,
    subdirs: u32,
    parent: ArchiveNode,
    name: &'static [u8],
    content: &'static [u8],
    entries: Vec<(&'static [u8], ArchiveNode)>,
}

/// An archive in memory.
#[derive(Debug)]
pub struct Tree {
    nodes: Vec<TreeNode>,
}

impl Archive for Tree {
    fn meta(&self, node: ArchiveNode) -> ArchiveMeta {
        self.nodes[node as usize].meta
    }
    fn subdirs(&self, dir: ArchiveNode) -> u32 {
        self.nodes[dir as usize].subdirs
    }
    fn parent(&self, node: ArchiveNode) -> ArchiveNode {
        self.nodes[node as usize].parent
    }
    fn name(&self, node: ArchiveNode) -> &'static [u8] {
        self.nodes[node as usize].name
    }
    fn lookup(&self, dir: ArchiveNode, name: &[u8]) -> Option<ArchiveNode> {
        let entries = &self.nodes[dir as usize].entries;
        entries
            .binary_search_by(|(n, _)| (*n).cmp(name))
            .ok()
            .map(|at| entries[at].1)
    }
    fn entry(&self, dir: ArchiveNode, index: usize) -> Option<ArchiveNode> {
        self.nodes[dir as usize].entries.get(index).map(|e| e.1)
    }
    fn content(&self, node: ArchiveNode) -> &'static [u8] {
        self.nodes[node as usize].content
    }
}

enum Draft {
    Dir(u32, BTreeMap<Vec<u8>, Draft>),
    File(u32, &'static [u8]),
    Symlink(&'static [u8]),
}

/// Collects files for a [`Tree`]. Missing parent directories are made.
pub struct TreeBuilder {
    root: Draft,
    mtime: Time,
}

impl TreeBuilder {
    /// An empty tree, all of whose nodes will have this modification time.
    pub fn new(mtime: Time) -> Self {
        Self {
            root: Draft::Dir(0o755, BTreeMap::new()),
            mtime,
        }
    }

    fn put(&mut self, path: &[u8], draft: Draft) -> Result<()> {
        let mut names = path
            .split(|&b| b == b'/')
            .filter(|n| !n.is_empty())
            .peekable();
        let mut at = &mut self.root;
        while let Some(name) = names.next() {
            let Draft::Dir(_, entries) = at else {
                return Err(Errno::ENOTDIR);
            };
            if name.len() > super::NAME_MAX || name == b"." || name == b".." {
                return Err(Errno::EINVAL);
            }
            if names.peek().is_none() {
                return match (entries.get_mut(name), draft) {
                    (Some(Draft::Dir(mode, _)), Draft::Dir(new, _)) => {
                        *mode = new;
                        Ok(())
                    }
                    (Some(_), _) => Err(Errno::EEXIST),
                    (None, draft) => {
                        entries.insert(name.to_vec(), draft);
                        Ok(())
                    }
                };
            }
            at = entries
                .entry(name.to_vec())
                .or_insert_with(|| Draft::Dir(0o755, BTreeMap::new()));
        }
        match draft {
            Draft::Dir(..) => Ok(()),
            _ => Err(Errno::EISDIR),
        }
    }

    /// Adds a directory.
    pub fn dir(&mut self, path: &[u8], mode: u32) -> Result<()> {
        self.put(path, Draft::Dir(mode & 0o7777, BTreeMap::new()))
    }

    /// Adds a file. For mappings to share its pages the content must start on a page boundary.
    pub fn file(&mut self, path: &[u8], mode: u32, content: &'static [u8]) -> Result<()> {
        self.put(path, Draft::File(mode & 0o7777, content))
    }

    /// Adds a symbolic link.
    pub fn symlink(&mut self, path: &[u8], target: &'static [u8]) -> Result<()> {
        self.put(path, Draft::Symlink(target))
    }

    /// The finished tree. It is never freed: archives live as long as the image.
    pub fn build(self) -> &'static Tree {
        let mut tree = Tree { nodes: Vec::new() };
        let mut todo = Vec::from([(self.root, b"".as_slice(), ROOT)]);
        let mut next = 0;
        // Breadth first: a node's number is known before its children are numbered.
        while next < todo.len() {
            let (name, parent) = (todo[next].1, todo[next].2);
            let draft = core::mem::replace(&mut todo[next].0, Draft::Symlink(b""));
            let (kind, mode, content, children) = match draft {
                Draft::Dir(mode, children) => (ArchiveKind::Dir, mode, b"".as_slice(), children),
                Draft::File(mode, content) => (ArchiveKind::File, mode, content, BTreeMap::new()),
                Draft::Symlink(to) => (ArchiveKind::Symlink, 0o777, to, BTreeMap::new()),
            };
            let subdirs = children
                .values()
                .filter(|c| matches!(c, Draft::Dir(..)))
                .count() as u32;
            let mut entries = Vec::with_capacity(children.len());
            for (name, child) in children {
                let name: &'static [u8] = Box::leak(name.into_boxed_slice());
                entries.push((name, todo.len() as ArchiveNode));
                todo.push((child, name, next as ArchiveNode));
            }
            let meta = ArchiveMeta {
                kind,
                mode,
                mtime: self.mtime,
            };
            tree.nodes.push(TreeNode {
                meta,
                subdirs,
                parent,
                name,
                content,
                entries,
            });
            next += 1;
        }
        Box::leak(Box::new(tree))
    }
}
