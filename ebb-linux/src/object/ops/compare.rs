//! What one process may know of another's descriptors, and take.

use crate::object::{
    Objects,
    errno::{Errno, Result},
    id::{DescId, Fd, FilesId},
    kind::Object,
};

impl Objects {
    /// The description behind a descriptor of any process.
    ///
    /// # Errors
    /// `EBADF`.
    pub fn description_of(&self, files: FilesId, fd: Fd) -> Result<DescId> {
        self.files_of(Some(files)).ok_or(Errno::EBADF)?.fds.get(fd)
    }

    /// What an epoll instance watches under a number: the `nth`, since several may have been there one after another.
    ///
    /// # Errors
    /// `EINVAL` for what is no epoll instance, `ENOENT`.
    pub fn watched_by(&self, epoll: DescId, fd: Fd, nth: usize) -> Result<DescId> {
        let Object::Epoll(epoll) = self.description(epoll)?.object else {
            return Err(Errno::EINVAL);
        };
        let set = self.hub.epolls.get(epoll).ok_or(Errno::EBADF)?;
        let mut items = set.items.iter().filter(|(_, item)| item.fd == fd);
        items.nth(nth).map(|(_, i)| i.desc).ok_or(Errno::ENOENT)
    }

    /// A descriptor in place for a description that another process has, closed by `execve`.
    ///
    /// # Errors
    /// `EMFILE`.
    pub fn take_over(&mut self, desc: DescId) -> Result<Fd> {
        self.install(desc, true)
    }
}
