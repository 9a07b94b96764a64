//! The paths of nodes, and the nodes under which files were first known.

use alloc::vec::Vec;

use super::{Filesystem, PATH_MAX};
use crate::object::{
    errno::{Errno, Result},
    id::NodeRef,
};

impl Filesystem {
    /// The path of a node from the root: where its latest name was. A node without names gives the
    /// name it had and `true`.
    pub(crate) fn path_of(&self, node: NodeRef) -> Result<(Vec<u8>, bool)> {
        let root = self.canon(self.root());
        let mut at = self.canon(node);
        let mut names: Vec<Vec<u8>> = Vec::new();
        let mut length = 0;
        let deleted = match at {
            NodeRef::Upper(id) => self.inode(id)?.nlink == 0,
            _ => false,
        };
        while at != root {
            let (name, parent) = match at {
                NodeRef::Upper(id) => {
                    let inode = self.inode(id)?;
                    (inode.name.to_vec(), self.canon(inode.parent))
                }
                NodeRef::Lower(n) => (self.archive.name(n).to_vec(), self.parent(at)?),
                NodeRef::Synth(node) => match node.parent() {
                    Some(parent) => (node.name(), NodeRef::Synth(parent)),
                    None => {
                        let mount = self.mounts.iter().find(|(_, root)| *root == node);
                        at = mount.ok_or(Errno::ENOENT)?.0;
                        continue;
                    }
                },
                NodeRef::Open(_) => return Err(Errno::ENOENT),
            };
            length += name.len() + 1;
            if length >= PATH_MAX {
                return Err(Errno::ENAMETOOLONG);
            }
            names.push(name);
            at = parent;
        }
        let mut path = Vec::with_capacity(length.max(1));
        for name in names.iter().rev() {
            path.push(b'/');
            path.extend_from_slice(name);
        }
        if path.is_empty() {
            path.push(b'/');
        }
        Ok((path, deleted))
    }

    /// The entry that a node has, or had last: directory, name, and whether it is gone.
    ///
    /// # Errors
    /// `ENOENT` for what never had one in the two layers.
    pub(crate) fn entry_of(&self, node: NodeRef) -> Result<(NodeRef, Vec<u8>, bool)> {
        match self.canon(node) {
            node if node == self.canon(self.root()) => Err(Errno::ENOENT),
            NodeRef::Upper(id) => match self.inode(id)? {
                inode if inode.seals.is_some() => Err(Errno::ENOENT),
                inode => Ok((inode.parent, inode.name.to_vec(), inode.nlink == 0)),
            },
            NodeRef::Lower(n) => {
                let parent = NodeRef::Lower(self.archive.parent(n));
                Ok((parent, self.archive.name(n).to_vec(), false))
            }
            _ => Err(Errno::ENOENT),
        }
    }

    /// The node under which a file was first known: what stays the same when an inode takes the
    /// place of an archive node.
    pub(crate) fn origin(&self, node: NodeRef) -> NodeRef {
        match node {
            NodeRef::Upper(id) => match self.inode(id).ok().and_then(|i| i.origin) {
                Some(n) => NodeRef::Lower(n),
                None => node,
            },
            other => other,
        }
    }
}
