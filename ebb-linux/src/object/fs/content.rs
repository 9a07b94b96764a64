//! What is in files: reading, changing, and the pages that mappings share.

use alloc::sync::Arc;

use ebb_mem::space::Shared;

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
        let before = data.own_pages();
        let result = change(data, &mut self.budget)?;
        if let Some(shared) = data.shared().filter(|_| data.own_pages() < before) {
            self.given_up.push(Arc::clone(shared));
        }
        (inode.mtime, inode.ctime) = (now, now);
        Ok(result)
    }

    /// The pages of a file of the writable layer (or of the archive, which then gets a place there) in a form that mappings
    /// can share.
    pub(crate) fn share_file(&mut self, node: NodeRef, most: u64) -> Result<Option<Arc<Shared>>> {
        let id = self.copy_up(node)?;
        let inode = self.inodes.get_mut(id).map(Arc::make_mut);
        match &mut inode.ok_or(Errno::ENOENT)?.kind {
            InodeKind::File(data) => data.share(&mut self.budget, &self.quota, most),
            _ => Err(Errno::ENODEV),
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

    pub(crate) fn seals(&self, node: NodeRef) -> u32 {
        match self.canon(node) {
            NodeRef::Upper(id) => self.inode(id).ok().and_then(|i| i.seals).unwrap_or(0),
            _ => 0,
        }
    }
}
