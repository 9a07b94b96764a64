//! Descriptors of processes: which process' are in place, copies for a child, `dup`, `close` and what `execve` closes.

use crate::object::{
    Objects,
    errno::{Errno, Result},
    files::{Entry, Files, Parked},
    flags::OpenFlags,
    id::{DescId, Fd, FilesId},
};

impl Objects {
    /// Whose files are in place: those of a process, or the empty ones that [`end_files`](Self::end_files) leaves.
    pub const fn running_files(&self) -> Option<FilesId> {
        self.running
    }

    /// Puts other files in the place of those that are there, which are kept.
    #[inline]
    pub fn run_files(&mut self, id: FilesId) {
        if Some(id) != self.running {
            self.exchange_files(id);
        }
    }

    #[cold]
    fn exchange_files(&mut self, id: FilesId) {
        let Some(files) = self.parked.get_mut(id).and_then(|p| p.files.take()) else {
            return;
        };
        let before = core::mem::replace(&mut self.files, files);
        match self.running.and_then(|r| self.parked.get_mut(r)) {
            Some(parked) => parked.files = Some(before),
            None => {
                self.fs.close_node(before.cwd);
                self.fs.close_node(before.root);
            }
        }
        self.running = Some(id);
    }

    /// The files of a process, in place or not.
    pub(crate) fn files_of(&self, id: Option<FilesId>) -> Option<&Files> {
        match id {
            Some(id) if Some(id) != self.running => self.parked.get(id)?.files.as_ref(),
            _ => Some(&self.files),
        }
    }

    /// What `fork` does: a copy of the files in place, for a child.
    pub fn fork_files(&mut self) -> FilesId {
        let files = self.files.clone();
        for (_, desc) in files.fds.iter() {
            self.retain(desc);
        }
        self.fs.open_node(files.cwd);
        self.fs.open_node(files.root);
        self.parked.insert(Parked {
            files: Some(files),
            users: 1,
        })
    }

    /// The files of one process get another user.
    pub fn share_files(&mut self, id: FilesId) {
        if let Some(parked) = self.parked.get_mut(id) {
            parked.users += 1;
        }
    }

    /// What `unshare(CLONE_FILES)` and `execve` do for a process whose files are in place: they are its alone from now on.
    pub fn unshare_files(&mut self, id: FilesId) -> FilesId {
        match self.parked.get_mut(id) {
            Some(parked) if parked.users > 1 => {
                parked.users -= 1;
                let copy = self.fork_files();
                self.run_files(copy);
                copy
            }
            _ => id,
        }
    }

    /// A process is over: its files are closed if nobody else has them. No descriptor may be used after that before other
    /// files are put in place.
    pub fn end_files(&mut self, id: FilesId) {
        let Some(parked) = self.parked.get_mut(id) else {
            return;
        };
        parked.users -= 1;
        if parked.users > 0 {
            return;
        }
        self.run_files(id);
        while let Some(fd) = self.files.fds.last() {
            let _ = self.close(fd);
        }
        let root = self.fs.root();
        for place in [&mut self.files.cwd, &mut self.files.root] {
            self.fs.open_node(root);
            self.fs.close_node(core::mem::replace(place, root));
        }
        self.parked.remove(id);
        self.running = None;
    }

    /// Gives a description that nobody holds yet its descriptor; drops it if there is none free.
    pub(crate) fn install(&mut self, desc: DescId, close_on_exec: bool) -> Result<Fd> {
        self.install_from(desc, 0, close_on_exec)
    }

    pub(crate) fn install_from(
        &mut self,
        desc: DescId,
        from: usize,
        close_on_exec: bool,
    ) -> Result<Fd> {
        self.retain(desc);
        let fd = self.files.fds.insert(from, desc, close_on_exec);
        if fd.is_err() {
            self.release(desc);
        }
        fd
    }

    /// The description behind a descriptor, for [`Objects::hold`] and the like.
    pub fn lookup_fd(&self, fd: Fd) -> Result<DescId> {
        self.files.fds.get(fd)
    }

    /// `close`.
    pub fn close(&mut self, fd: Fd) -> Result<()> {
        let desc = self.files.fds.remove(fd)?;
        self.drop_process_records(desc);
        self.release(desc);
        Ok(())
    }

    /// `close_range`; `mark` only sets `FD_CLOEXEC` (`CLOSE_RANGE_CLOEXEC`).
    pub fn close_range(&mut self, first: u32, last: u32, mark: bool) -> Result<()> {
        if first > last {
            return Err(Errno::EINVAL);
        }
        let end = self
            .files
            .fds
            .entries
            .len()
            .min((last as usize).saturating_add(1));
        for fd in first as usize..end {
            if mark {
                if let Some(Some(entry)) = self.files.fds.entries.get_mut(fd) {
                    entry.close_on_exec = true;
                }
            } else {
                let _ = self.close(fd as Fd);
            }
        }
        Ok(())
    }

    /// What `execve` does: closes every descriptor marked `FD_CLOEXEC`.
    pub fn close_on_exec(&mut self) {
        for fd in 0..self.files.fds.entries.len() {
            if matches!(self.files.fds.entries.get(fd), Some(Some(e)) if e.close_on_exec) {
                let _ = self.close(fd as Fd);
            }
        }
    }

    /// `dup`.
    pub fn dup(&mut self, fd: Fd) -> Result<Fd> {
        let desc = self.files.fds.get(fd)?;
        self.install_from(desc, 0, false)
    }

    /// `dup2`.
    pub fn dup2(&mut self, old: Fd, new: Fd) -> Result<Fd> {
        if old == new {
            self.files.fds.get(old)?;
            return Ok(new);
        }
        self.dup_to(old, new, false)
    }

    /// `dup3`; `flags` may hold `O_CLOEXEC`.
    pub fn dup3(&mut self, old: Fd, new: Fd, flags: u32) -> Result<Fd> {
        let flags = OpenFlags::from_bits_retain(flags);
        if !OpenFlags::CLOEXEC.contains(flags) || old == new {
            return Err(Errno::EINVAL);
        }
        self.dup_to(old, new, flags.contains(OpenFlags::CLOEXEC))
    }

    fn dup_to(&mut self, old: Fd, new: Fd, close_on_exec: bool) -> Result<Fd> {
        let target = usize::try_from(new).map_err(|_| Errno::EBADF)?;
        if target >= self.files.fds.limit as usize {
            return Err(Errno::EBADF);
        }
        let desc = self.files.fds.get(old)?;
        self.retain(desc);
        if let Some(replaced) = self.files.fds.set(
            target,
            Entry {
                desc,
                close_on_exec,
            },
        ) {
            self.drop_process_records(replaced);
            self.release(replaced);
        }
        Ok(new)
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use super::*;
    use crate::object::{
        ops::fcntl::Fcntl,
        testing::{World, objects},
    };

    #[test]
    fn a_child_has_copies_of_the_descriptors_and_the_last_of_both_closes_what_is_behind() {
        let mut o = objects();
        let first = o.running_files().unwrap();
        let fd = o.eventfd(0, 0).unwrap();
        let child = o.fork_files();
        o.run_files(child);
        assert_eq!(o.dup(fd), Ok(fd + 1));
        o.close(fd).unwrap();
        o.run_files(first);
        assert!(o.lookup_fd(fd).is_ok() && o.lookup_fd(fd + 1).is_err());
        o.close(fd).unwrap();
        assert_eq!(o.kinds.eventfds.len(), 1, "the child has it still");
        o.end_files(child);
        assert_eq!((o.kinds.eventfds.len(), o.running_files()), (0, None));
        o.run_files(first);
        assert_eq!(o.parked.len(), 1);
    }

    #[test]
    fn files_that_two_processes_share_last_until_both_are_over() {
        let mut o = objects();
        let id = o.running_files().unwrap();
        let fd = o.eventfd(0, 0).unwrap();
        o.share_files(id);
        o.end_files(id);
        assert!(o.lookup_fd(fd).is_ok());
        o.share_files(id);
        let own = o.unshare_files(id);
        assert_ne!(own, id);
        o.close(fd).unwrap();
        o.run_files(id);
        assert!(o.lookup_fd(fd).is_ok());
    }

    #[test]
    fn the_lowest_free_number_is_given_out() {
        let mut o = objects();
        let fds: Vec<Fd> = (0..4).map(|_| o.eventfd(0, 0).unwrap()).collect();
        assert_eq!(fds, [0, 1, 2, 3]);
        o.close(2).unwrap();
        o.close(1).unwrap();
        assert_eq!(o.dup(3), Ok(1));
        assert_eq!(o.dup(3), Ok(2));
        assert_eq!(o.dup(3), Ok(4));
    }

    #[test]
    fn the_limit_gives_emfile_and_a_lower_limit_leaves_open_descriptors_alone() {
        let mut o = objects();
        o.files.fds.set_limit(3);
        for _ in 0..3 {
            o.eventfd(0, 0).unwrap();
        }
        assert_eq!(o.eventfd(0, 0), Err(Errno::EMFILE));
        assert_eq!(o.dup2(0, 3), Err(Errno::EBADF));
        let dup = Fcntl::Dup {
            from: 3,
            close_on_exec: false,
        };
        assert_eq!(o.fcntl(&World::default(), 0, dup), Err(Errno::EINVAL));
        o.files.fds.set_limit(1);
        assert_eq!(o.dup2(2, 2), Ok(2));
    }

    #[test]
    fn close_on_exec_belongs_to_the_descriptor_and_status_flags_to_the_description() {
        let (mut o, w) = (objects(), World::default());
        let a = o.eventfd(0, OpenFlags::CLOEXEC.bits()).unwrap();
        let b = o.dup(a).unwrap();
        assert_eq!(o.fcntl(&w, a, Fcntl::GetFd), Ok(1));
        assert_eq!(o.fcntl(&w, b, Fcntl::GetFd), Ok(0));
        o.fcntl(&w, a, Fcntl::SetFl(OpenFlags::NONBLOCK.bits()))
            .unwrap();
        let flags = OpenFlags::from_bits_retain(o.fcntl(&w, b, Fcntl::GetFl).unwrap());
        assert!(flags.contains(OpenFlags::NONBLOCK));
        o.close_on_exec();
        assert_eq!(o.lookup_fd(a), Err(Errno::EBADF));
        assert!(o.lookup_fd(b).is_ok());
    }

    #[test]
    fn the_last_close_frees_the_object() {
        let mut o = objects();
        let a = o.eventfd(0, 0).unwrap();
        let b = o.dup(a).unwrap();
        o.close(a).unwrap();
        assert_eq!(o.kinds.eventfds.len(), 1);
        o.close(b).unwrap();
        assert_eq!((o.kinds.eventfds.len(), o.descriptions.len()), (0, 0));
        assert_eq!(o.close(b), Err(Errno::EBADF));
    }
}
