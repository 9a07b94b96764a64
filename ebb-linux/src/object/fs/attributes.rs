//! Extended attributes of nodes: names with values, kept as Linux' tmpfs keeps them.
//!
//! Here a name is only bytes; what may be called so, and by whom, is a matter of the calls. What must hold: the pages that a
//! node's attributes would fill are counted with those of files, and given back when the node ends.

use alloc::sync::Arc;

use super::{
    Filesystem, Inode,
    data::{PAGE, PageBudget},
    inode::Attributes,
};
use crate::object::{
    errno::{Errno, Result},
    id::{InodeId, NodeRef},
};

/// What one takes beside its name and value: two lengths and counts, and its place in the tree.
const ENTRY_BYTES: usize = 96;

impl Inode {
    /// How many pages its attributes count as.
    fn attribute_pages(&self) -> u64 {
        let entries = self.attributes.iter().flat_map(|all| all.iter());
        let bytes: usize = entries
            .map(|(name, value)| ENTRY_BYTES + name.len() + value.len())
            .sum();
        bytes.div_ceil(PAGE) as u64
    }

    /// Takes all of them away; the node is gone.
    pub(super) fn discard_attributes(&self, budget: &mut PageBudget) {
        budget.used = budget.used.saturating_sub(self.attribute_pages());
    }
}

impl Filesystem {
    /// The attributes of a node, in the order of their names; `None` for none. Nodes of the archive have none.
    pub(crate) fn attributes(&self, node: NodeRef) -> Option<&Attributes> {
        match self.canon(node) {
            NodeRef::Upper(id) => self.inode(id).ok()?.attributes.as_deref(),
            _ => None,
        }
    }

    /// Gives a node an attribute, or takes it away.
    ///
    /// # Errors
    /// `ENOSPC`.
    pub(crate) fn set_attribute(
        &mut self,
        id: InodeId,
        name: &[u8],
        value: Option<&[u8]>,
    ) -> Result<()> {
        let free = self.budget.max.saturating_sub(self.budget.used);
        let inode = self.inode_mut(id)?;
        let before = inode.attribute_pages();
        let kept = inode.attributes.clone();
        let all = Arc::make_mut(inode.attributes.get_or_insert_default());
        match value {
            Some(value) => all.insert(Arc::from(name), Arc::from(value)),
            None => all.remove(name),
        };
        if all.is_empty() {
            inode.attributes = None;
        }
        let after = inode.attribute_pages();
        if after > before && after - before > free {
            inode.attributes = kept;
            return Err(Errno::ENOSPC);
        }
        self.budget.used = (self.budget.used + after).saturating_sub(before);
        Ok(())
    }
}
