//! Writing regular files, truncating, allocating, seals, and the pages that mappings share.

use alloc::sync::Arc;

use ebb_mem::space::Shared;

use super::permission::{asker, want};
use crate::object::{
    Objects,
    credentials::cap,
    env::{Env, Time},
    errno::{Errno, Result},
    flags::{AT_FDCWD, OpenFlags},
    fs::{
        InodeKind, MAX_POS, NodeKind, S_ISGID,
        data::{FileData, PageContent},
    },
    id::{DescId, Fd, InodeId, NodeRef},
    io::Source,
    kind::{Object, device::Device, inotify::Change},
};

const S_ISUID: u32 = 0o4000;
const S_IXGRP: u32 = 0o010;
const SEAL_SEAL: u32 = 1;
const SEAL_SHRINK: u32 = 2;
const SEAL_GROW: u32 = 4;
const SEAL_WRITE: u32 = 8;
const SEAL_FUTURE_WRITE: u32 = 0x10;
const SEAL_EXEC: u32 = 0x20;

impl Objects {
    /// Writes at `pos`, or with `append` at the end; gives where it wrote and how much.
    pub(crate) fn write_file(
        &mut self,
        env: &dyn Env,
        node: NodeRef,
        pos: u64,
        append: bool,
        source: &mut dyn Source,
    ) -> Result<(u64, usize)> {
        let pos = if append {
            self.fs.file_size(node)?
        } else {
            pos
        };
        if source.remaining() == 0 {
            return Ok((pos, 0));
        }
        let most = self.files.max_size.min(MAX_POS);
        if pos >= most {
            return Err(Errno::EFBIG);
        }
        let wanted = pos.saturating_add(source.remaining() as u64);
        let end = wanted.min(most);
        let id = self.fs.copy_up(node)?;
        let seals = self.fs.inode(id)?.seals.unwrap_or(0);
        if seals != 0
            && (seals & (SEAL_WRITE | SEAL_FUTURE_WRITE) != 0
                || seals & SEAL_GROW != 0 && end > self.fs.file_size(node)?)
        {
            return Err(Errno::EPERM);
        }
        let now = Time::from_ns(env.realtime());
        let mut limited;
        let source: &mut dyn Source = if end < wanted {
            let left = (end - pos) as usize;
            limited = Limited { source, left };
            &mut limited
        } else {
            source
        };
        let done = self
            .fs
            .with_data(id, now, |d, budget| d.write(budget, pos, source))?;
        if done > 0 {
            self.drop_set_ids(env, id)?;
            if self.is_watching() {
                self.tell_node(node, Change::MODIFY);
            }
        }
        Ok((pos, done))
    }

    pub(crate) fn truncate_node(&mut self, env: &dyn Env, node: NodeRef, size: u64) -> Result<()> {
        self.truncate_quietly(env, node, size)?;
        self.tell_node(node, Change::MODIFY);
        Ok(())
    }

    /// Changes the size of a file without a word to those that watch it.
    pub(crate) fn truncate_quietly(
        &mut self,
        env: &dyn Env,
        node: NodeRef,
        size: u64,
    ) -> Result<()> {
        let (seals, old) = (self.fs.seals(node), self.fs.file_size(node)?);
        if seals & SEAL_SHRINK != 0 && size < old || seals & SEAL_GROW != 0 && size > old {
            return Err(Errno::EPERM);
        }
        if size > old && size > self.files.max_size {
            return Err(Errno::EFBIG);
        }
        let id = self.fs.copy_up(node)?;
        let now = Time::from_ns(env.realtime());
        let truncate = |data: &mut FileData, budget: &mut _| data.truncate(budget, size);
        let gone = self.fs.with_data(id, now, truncate)?;
        self.fs.trash.put(gone);
        self.drop_set_ids(env, id)
    }

    /// A file that somebody changes does not run as its owner any more, unless the one who does may decide that.
    fn drop_set_ids(&mut self, env: &dyn Env, id: InodeId) -> Result<()> {
        let mode = self.fs.inode(id)?.mode;
        if mode & (S_ISUID | S_ISGID) == 0 {
            return Ok(());
        }
        let who = asker(env);
        if who.has(cap::FSETID) {
            return Ok(());
        }
        let inode = self.fs.inode_mut(id)?;
        inode.mode &= !S_ISUID;
        if mode & S_IXGRP != 0 || !who.is_in(inode.gid) {
            inode.mode &= !S_ISGID;
        }
        Ok(())
    }

    /// `truncate`.
    pub fn truncate(&mut self, env: &dyn Env, path: &[u8], size: i64) -> Result<()> {
        let size = u64::try_from(size).map_err(|_| Errno::EINVAL)?;
        let node = self.resolve(env, AT_FDCWD, path, true)?;
        match (self.node_kind(node)?, node) {
            (NodeKind::Dir, _) => Err(Errno::EISDIR),
            (NodeKind::File, NodeRef::Synth(_)) => Err(Errno::EACCES),
            (NodeKind::File, node) => {
                let node = self.place(node)?;
                self.check_access(env, &asker(env), node, want::WRITE)?;
                self.check_text(env, node)?;
                self.truncate_node(env, node, size)
            }
            _ => Err(Errno::EINVAL),
        }
    }

    /// `ftruncate`.
    pub fn ftruncate(&mut self, env: &dyn Env, fd: Fd, size: i64) -> Result<()> {
        let size = u64::try_from(size).map_err(|_| Errno::EINVAL)?;
        let desc = self.description(self.files.fds.get(fd)?)?;
        match (desc.object, desc.node) {
            (Object::Path, _) => Err(Errno::EBADF),
            (Object::File, Some(node)) if desc.flags.writable() => {
                self.truncate_node(env, node, size)
            }
            // What is told of a queue, or made up by /proc, is not cut.
            (Object::MessageQueue(_) | Object::Text, _) if desc.flags.writable() => Ok(()),
            _ => Err(Errno::EINVAL),
        }
    }

    /// `fallocate`. Modes: 0, `KEEP_SIZE` (1), `PUNCH_HOLE | KEEP_SIZE` (3), as tmpfs has them.
    pub fn fallocate(
        &mut self,
        env: &dyn Env,
        fd: Fd,
        mode: u32,
        start: i64,
        len: i64,
    ) -> Result<()> {
        const KEEP_SIZE: u32 = 1;
        const PUNCH_HOLE: u32 = 2;
        let desc = self.description(self.files.fds.get(fd)?)?;
        let (object, flags, node) = (desc.object, desc.flags, desc.node);
        if object == Object::Path {
            return Err(Errno::EBADF);
        }
        let (Ok(start), Ok(len @ 1..)) = (u64::try_from(start), u64::try_from(len)) else {
            return Err(Errno::EINVAL);
        };
        // COLLAPSE_RANGE, ZERO_RANGE, INSERT_RANGE, UNSHARE_RANGE: known, but not to tmpfs.
        const OTHERS: u32 = 0x78;
        if mode & !(KEEP_SIZE | PUNCH_HOLE | OTHERS) != 0 || mode == PUNCH_HOLE {
            return Err(Errno::EOPNOTSUPP);
        }
        if !flags.writable() {
            return Err(Errno::EBADF);
        }
        let node = match (object, node) {
            (Object::File, Some(node)) => node,
            (Object::Pipe(_), _) => return Err(Errno::ESPIPE),
            (Object::Dir, _) => return Err(Errno::EISDIR),
            (Object::MessageQueue(_) | Object::Text, _) => return Err(Errno::EOPNOTSUPP),
            _ => return Err(Errno::ENODEV),
        };
        let end = start
            .checked_add(len)
            .filter(|&e| e <= MAX_POS)
            .ok_or(Errno::EFBIG)?;
        if mode & OTHERS != 0 {
            return Err(Errno::EOPNOTSUPP);
        }
        let seals = self.fs.seals(node);
        let punch = mode & PUNCH_HOLE != 0;
        // A seal against growth is against what lies behind the end, too.
        let grows = !punch && end > self.fs.file_size(node)?;
        if punch && seals & (SEAL_WRITE | SEAL_FUTURE_WRITE) != 0 || grows && seals & SEAL_GROW != 0
        {
            return Err(Errno::EPERM);
        }
        let id = self.fs.copy_up(node)?;
        let now = Time::from_ns(env.realtime());
        self.fs.with_data(id, now, |data, budget| match punch {
            true => data.punch(budget, start, end),
            false => data.allocate(budget, start, end, mode & KEEP_SIZE == 0),
        })?;
        self.drop_set_ids(env, id)?;
        self.tell_node(node, Change::MODIFY);
        Ok(())
    }

    fn sealed_inode(&self, desc: DescId) -> Result<(OpenFlags, InodeId)> {
        let desc = self.description(desc)?;
        match desc.node.map(|n| self.fs.canon(n)) {
            Some(NodeRef::Upper(id)) if self.fs.inode(id)?.seals.is_some() => Ok((desc.flags, id)),
            _ => Err(Errno::EINVAL),
        }
    }

    /// Whether a description is of a memfd.
    pub(crate) fn has_seals(&self, desc: DescId) -> bool {
        self.sealed_inode(desc).is_ok()
    }

    /// `F_GET_SEALS`.
    pub(crate) fn seals(&self, desc: DescId) -> Result<u32> {
        let (_, id) = self.sealed_inode(desc)?;
        Ok(self.fs.inode(id)?.seals.unwrap_or(0))
    }

    /// `F_ADD_SEALS`.
    pub(crate) fn add_seals(&mut self, env: &dyn Env, desc: DescId, seals: u32) -> Result<()> {
        let known = SEAL_SEAL | SEAL_SHRINK | SEAL_GROW | SEAL_WRITE | SEAL_FUTURE_WRITE;
        if !self.description(desc)?.flags.writable() {
            return Err(Errno::EPERM);
        }
        if seals & !(known | SEAL_EXEC) != 0 {
            return Err(Errno::EINVAL);
        }
        let (_, id) = self.sealed_inode(desc)?;
        let inode = self.fs.inode(id)?;
        let pages = match &inode.kind {
            InodeKind::File(data) => data.shared(),
            _ => None,
        };
        // What can be run and is to stay so must not change either.
        let seals = match seals & SEAL_EXEC != 0 && inode.mode & 0o111 != 0 {
            true => seals | SEAL_SHRINK | SEAL_GROW | SEAL_WRITE | SEAL_FUTURE_WRITE,
            false => seals,
        };
        let sealed = inode.seals.unwrap_or(SEAL_SEAL) & SEAL_SEAL != 0;
        // Whoever has it mapped to be written to could go on.
        if !sealed
            && seals & SEAL_WRITE != 0
            && pages.is_some_and(|pages| env.writably_mapped(pages.id()))
        {
            return Err(Errno::EBUSY);
        }
        let inode = self.fs.inode_mut(id)?;
        match &mut inode.seals {
            Some(have) if *have & SEAL_SEAL == 0 => {
                *have |= seals;
                Ok(())
            }
            _ => Err(Errno::EPERM),
        }
    }

    /// The content of page `index` of the file behind a description, for a mapping of it.
    ///
    /// # Errors
    /// `ENODEV` for what cannot be mapped.
    pub fn mapped_page(&self, desc: DescId, index: u64) -> Result<PageContent> {
        let desc = self.description(desc)?;
        match (desc.object, desc.node) {
            (Object::File, Some(node)) => self.fs.file_page(node, index),
            (Object::Device(Device::Zero), _) => Ok(PageContent::Hole),
            _ => Err(Errno::ENODEV),
        }
    }

    /// The size of the file behind a description: pages beyond it are SIGBUS to a mapping.
    pub fn mapped_size(&self, desc: DescId) -> Result<u64> {
        let desc = self.description(desc)?;
        match (desc.object, desc.node) {
            (Object::File, Some(node)) => self.fs.file_size(node),
            (Object::Device(Device::Zero), _) => Ok(u64::MAX),
            _ => Err(Errno::ENODEV),
        }
    }

    /// The pages behind a description, for a mapping that is to share them.
    ///
    /// # Errors
    /// `ENODEV` for what cannot be mapped, `ENOSPC`, `ENOMEM`.
    pub fn share_pages(
        &mut self,
        desc: DescId,
        most: u64,
        written: bool,
    ) -> Result<Option<Arc<Shared>>> {
        let desc = self.description(desc)?;
        match (desc.object, desc.node) {
            (Object::File, Some(node)) => self.fs.share_file(node, most, written),
            _ => Err(Errno::ENODEV),
        }
    }

    /// The file whose pages these are was written to through a mapping.
    pub fn mapping_written(&mut self, env: &dyn Env, pages: &Arc<Shared>) {
        self.fs
            .mapping_written(pages, Time::from_ns(env.realtime()));
    }

    /// Whether the file behind a description is sealed against being written to through new mappings.
    pub fn is_sealed(&self, desc: DescId) -> bool {
        let node = self.description(desc).ok().and_then(|d| d.node);
        node.is_some_and(|n| self.fs.seals(n) & (SEAL_WRITE | SEAL_FUTURE_WRITE) != 0)
    }
}

struct Limited<'a> {
    source: &'a mut dyn Source,
    left: usize,
}

impl Source for Limited<'_> {
    fn remaining(&self) -> usize {
        self.source.remaining().min(self.left)
    }
    fn take(&mut self, to: &mut [u8]) -> usize {
        let want = to.len().min(self.left);
        let n = self.source.take(&mut to[..want]);
        self.left -= n;
        n
    }
}
