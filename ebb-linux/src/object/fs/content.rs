//! What is in files: reading, changing, and the pages that mappings share.

use alloc::{collections::BTreeSet, sync::Arc};

use ebb_mem::space::{Quota, Shared};

use super::{
    Filesystem, Inode, InodeKind,
    data::{FileData, PAGE, PageBudget, PageContent},
};
use crate::object::{
    env::Time,
    errno::{Errno, Result},
    id::{InodeId, NodeRef},
    io::{Sink, put_some},
};

/// The largest position in a file.
pub(crate) const MAX_POS: u64 = i64::MAX as u64;

/// Gives a file pages of its own in the place of frozen ones: both, so that mappings of it follow.
fn own_pages(
    data: &mut FileData,
    quota: &Arc<Quota>,
) -> Result<Option<(Arc<Shared>, Arc<Shared>)>> {
    let Some(frozen) = data.shared().filter(|s| s.is_frozen()).cloned() else {
        return Ok(None);
    };
    let own = frozen.copy(quota).ok_or(Errno::ENOMEM)?;
    data.set_shared(Arc::clone(&own));
    Ok(Some((frozen, own)))
}

impl Filesystem {
    /// The size of a regular file.
    pub(crate) fn file_size(&self, node: NodeRef) -> Result<u64> {
        match self.canon(node) {
            NodeRef::Upper(id) => match &self.inode(id)?.kind {
                InodeKind::File(data) => Ok(data.size()),
                _ => Err(Errno::EINVAL),
            },
            NodeRef::Lower(n) => Ok(self.archive.content(n).len() as u64),
            _ => Err(Errno::EINVAL),
        }
    }

    pub(crate) fn read_file(&self, node: NodeRef, pos: u64, sink: &mut dyn Sink) -> Result<usize> {
        match self.canon(node) {
            NodeRef::Upper(id) => match &self.inode(id)?.kind {
                InodeKind::File(data) => data.read(pos, sink),
                _ => Err(Errno::EINVAL),
            },
            NodeRef::Lower(n) => {
                let content = self.archive.content(n);
                let start = usize::try_from(pos)
                    .unwrap_or(usize::MAX)
                    .min(content.len());
                put_some(sink, &content[start..])
            }
            _ => Err(Errno::EINVAL),
        }
    }

    /// A regular file of the writable layer, its content and the page budget.
    pub(crate) fn with_data<T>(
        &mut self,
        id: InodeId,
        now: Time,
        change: impl FnOnce(&mut FileData, &mut PageBudget) -> Result<T>,
    ) -> Result<T> {
        let inode = self
            .inodes
            .get_mut(id)
            .map(Arc::make_mut)
            .ok_or(Errno::ENOENT)?;
        let InodeKind::File(data) = &mut inode.kind else {
            return Err(Errno::EINVAL);
        };
        if let Some(exchanged) = own_pages(data, &self.quota)? {
            self.exchanged.push(exchanged);
        }
        if data.is_own() {
            // Nothing else shows what is changed.
            let result = change(data, &mut self.budget)?;
            (inode.mtime, inode.ctime) = (now, now);
            return Ok(result);
        }
        let (before, size, unwritten) = (data.own_pages(), data.size(), data.unwritten());
        let result = change(data, &mut self.budget)?;
        let cut = data.own_pages() < before || data.size() < size;
        if let Some(shared) = data.shared().filter(|_| cut) {
            self.given_up.push(Arc::clone(shared));
        }
        if let Some(bytes) = unwritten.filter(|_| data.unwritten().is_none()) {
            self.left_archive.push((bytes, id));
        }
        (inode.mtime, inode.ctime) = (now, now);
        Ok(result)
    }

    /// The pages of a file of the writable layer (or of the archive, which then gets a place there) in a form that mappings
    /// can share; with `written` they may be written to through one.
    pub(crate) fn share_file(
        &mut self,
        node: NodeRef,
        most: u64,
        written: bool,
    ) -> Result<Option<Arc<Shared>>> {
        let id = self.copy_up(node)?;
        let inode = self.inodes.get_mut(id).map(Arc::make_mut);
        match &mut inode.ok_or(Errno::ENOENT)?.kind {
            InodeKind::File(data) => {
                if written && let Some(exchanged) = own_pages(data, &self.quota)? {
                    self.exchanged.push(exchanged);
                }
                let unwritten = data.unwritten();
                let pages = data.share(&mut self.budget, &self.quota, most)?;
                if let (Some(bytes), Some(_)) = (unwritten, &pages) {
                    self.left_archive.push((bytes, id));
                }
                Ok(pages)
            }
            _ => Err(Errno::ENODEV),
        }
    }

    /// What a file of the writable layer is of the archive, if it has not been changed.
    pub(crate) fn unwritten(&self, id: InodeId) -> Option<&'static [u8]> {
        match &self.inode(id).ok()?.kind {
            InodeKind::File(data) => data.unwritten(),
            _ => None,
        }
    }

    /// Freezes the pages of files that mappings show, but for those of these names: a snapshot is to have them, and whoever
    /// changes such a file first takes a copy.
    pub(crate) fn freeze_shared(&self, but: &BTreeSet<u64>) {
        for (_, inode) in self.inodes.iter() {
            if let InodeKind::File(data) = &inode.kind
                && let Some(shared) = data.shared()
                && !but.contains(&shared.id())
            {
                shared.freeze();
            }
        }
    }

    /// The file that has these pages has changed.
    pub(crate) fn mapping_written(&mut self, pages: &Arc<Shared>, now: Time) {
        let has = |inode: &Inode| match &inode.kind {
            InodeKind::File(data) => data.shared().is_some_and(|s| Arc::ptr_eq(s, pages)),
            _ => false,
        };
        let found = self.inodes.iter().find(|(_, inode)| has(inode));
        if let Some(id) = found.map(|(id, _)| id)
            && let Ok(inode) = self.inode_mut(id)
        {
            (inode.mtime, inode.ctime) = (now, now);
        }
    }

    /// What lies at page `index` of a regular file.
    pub(crate) fn file_page(&self, node: NodeRef, index: u64) -> Result<PageContent> {
        match self.canon(node) {
            NodeRef::Upper(id) => match &self.inode(id)?.kind {
                InodeKind::File(data) => Ok(data.page(index)),
                _ => Err(Errno::ENODEV),
            },
            NodeRef::Lower(n) => {
                let content = self.archive.content(n);
                let start = usize::try_from(index)
                    .ok()
                    .and_then(|i| i.checked_mul(PAGE));
                let rest = start.and_then(|s| content.get(s..)).unwrap_or(&[]);
                Ok(match &rest[..rest.len().min(PAGE)] {
                    [] => PageContent::Hole,
                    bytes => PageContent::Archive(bytes),
                })
            }
            _ => Err(Errno::ENODEV),
        }
    }

    pub(crate) fn seek_extent(&self, node: NodeRef, pos: u64, hole: bool) -> Result<u64> {
        match self.canon(node) {
            NodeRef::Upper(id) => match &self.inode(id)?.kind {
                InodeKind::File(data) => data.seek_extent(pos, hole),
                _ => Err(Errno::EINVAL),
            },
            NodeRef::Lower(n) => FileData::over(self.archive.content(n)).seek_extent(pos, hole),
            _ => Err(Errno::EINVAL),
        }
    }

    /// Whether `memfd_create` has made it: it can be sealed, and is in a file system of its own.
    pub(crate) fn is_memfd(&self, node: NodeRef) -> bool {
        match self.canon(node) {
            NodeRef::Upper(id) => self.inode(id).is_ok_and(|inode| inode.seals.is_some()),
            _ => false,
        }
    }

    pub(crate) fn seals(&self, node: NodeRef) -> u32 {
        match self.canon(node) {
            NodeRef::Upper(id) => self.inode(id).ok().and_then(|i| i.seals).unwrap_or(0),
            _ => 0,
        }
    }
}
