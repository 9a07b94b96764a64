//! Changes of the tree: names taken away, moved and exchanged.

use alloc::vec::Vec;

use super::{Filesystem, InodeKind, NodeKind};
use crate::object::{
    env::Time,
    errno::{Errno, Result},
    id::{InodeId, NodeRef},
};

impl Filesystem {
    /// Takes away one name of a node.
    pub(crate) fn unlink_entry(
        &mut self,
        dir: NodeRef,
        name: &[u8],
        node: NodeRef,
        now: Time,
    ) -> Result<()> {
        let is_dir = self.kind(node)? == NodeKind::Dir;
        let dir = self.copy_up(dir)?;
        let gone = match self.canon(node) {
            // Nobody looks: the archive's node is only hidden.
            NodeRef::Lower(n) if !self.lower_opens.contains_key(&n) => {
                self.note_end(NodeRef::Lower(n));
                None
            }
            node => Some(self.copy_up(node)?),
        };
        self.remove_entry(dir, name, is_dir, now)?;
        let Some(id) = gone else { return Ok(()) };
        let inode = self.inode_mut(id)?;
        inode.ctime = now;
        if is_dir {
            inode.nlink = 0;
            inode.parent = NodeRef::Upper(dir);
            inode.pins_parent = true;
            self.inode_mut(dir)?.opens += 1;
        } else {
            inode.nlink = inode.nlink.saturating_sub(1);
            let was_known_by = inode.parent == NodeRef::Upper(dir) && *inode.name == *name;
            if inode.nlink > 0 && was_known_by {
                self.name_anew(id)?;
            }
        }
        self.reap(id);
        Ok(())
    }

    /// Knows a file by another of its names, since it has lost the one made last: seldom enough to look through all directories.
    fn name_anew(&mut self, id: InodeId) -> Result<()> {
        let found = self.inodes.iter().find_map(|(dir, holder)| {
            let mut entries = holder.dir()?.entries.iter();
            let (name, _) = entries.find(|(_, entry)| entry.node == Some(id))?;
            Some((dir, name.clone()))
        });
        if let Some((dir, name)) = found {
            let inode = self.inode_mut(id)?;
            (inode.parent, inode.name) = (NodeRef::Upper(dir), name);
        }
        Ok(())
    }

    /// Whether `below` is `above` or lies somewhere under it.
    pub(crate) fn is_within(&self, below: NodeRef, above: NodeRef) -> bool {
        let (above, root) = (self.canon(above), self.canon(self.root()));
        let mut at = self.canon(below);
        // As deep as the longest chain of directories can be; a removed one has lost its way up.
        for _ in 0..=self.max_inodes + u16::MAX as usize {
            if at == above {
                return true;
            }
            match self.parent(at) {
                Ok(parent) if at != root => at = parent,
                _ => return false,
            }
        }
        false
    }

    pub(crate) fn rename_entry(
        &mut self,
        (old_dir, old_name): (NodeRef, &[u8]),
        (new_dir, new_name): (NodeRef, &[u8]),
        node: NodeRef,
        target: Option<NodeRef>,
        now: Time,
    ) -> Result<()> {
        let is_dir = self.kind(node)? == NodeKind::Dir;
        // Everything that can run out of room comes before the first change.
        let (old_dir, new_dir) = (self.copy_up(old_dir)?, self.copy_up(new_dir)?);
        let id = self.copy_up(node)?;
        if self.inode(new_dir)?.nlink == 0 {
            return Err(Errno::ENOENT);
        }
        if let Some(target) = target {
            self.unlink_entry(NodeRef::Upper(new_dir), new_name, target, now)?;
        }
        self.remove_entry(old_dir, old_name, is_dir, now)?;
        self.add_entry(new_dir, new_name, id, now)?;
        self.inode_mut(id)?.ctime = now;
        Ok(())
    }

    pub(crate) fn exchange_entries(
        &mut self,
        (old_dir, old_name): (NodeRef, &[u8]),
        (new_dir, new_name): (NodeRef, &[u8]),
        (old, new): (NodeRef, NodeRef),
        now: Time,
    ) -> Result<()> {
        let (old_dir, new_dir) = (self.copy_up(old_dir)?, self.copy_up(new_dir)?);
        let (a, b) = (self.copy_up(old)?, self.copy_up(new)?);
        let (a_dir, b_dir) = (
            self.inode(a)?.dir().is_some(),
            self.inode(b)?.dir().is_some(),
        );
        self.remove_entry(old_dir, old_name, a_dir, now)?;
        self.remove_entry(new_dir, new_name, b_dir, now)?;
        self.add_entry(old_dir, old_name, b, now)?;
        self.add_entry(new_dir, new_name, a, now)?;
        for id in [a, b] {
            self.inode_mut(id)?.ctime = now;
        }
        Ok(())
    }

    /// The target of a symbolic link of the two layers.
    pub(crate) fn link_text(&self, link: NodeRef) -> Result<Vec<u8>> {
        match self.canon(link) {
            NodeRef::Upper(id) => match &self.inode(id)?.kind {
                InodeKind::Symlink(target) => Ok(target.to_vec()),
                _ => Err(Errno::EINVAL),
            },
            NodeRef::Lower(n) if self.kind(link)? == NodeKind::Symlink => {
                Ok(self.archive.content(n).to_vec())
            }
            _ => Err(Errno::EINVAL),
        }
    }
}
