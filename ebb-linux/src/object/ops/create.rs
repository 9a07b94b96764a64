//! Descriptors of objects that nothing but their calls are about.

use crate::object::{
    Objects,
    errno::{Errno, Result},
    flags::OpenFlags,
    fs::synth::PID,
    id::{Fd, NodeRef},
    kind::{
        Object,
        eventfd::{EventFd, SEMAPHORE},
        process::Process,
        signalfd::SignalFd,
    },
    wait::Events,
};

impl Objects {
    /// `eventfd2`. `flags` may hold `EFD_SEMAPHORE`, `EFD_NONBLOCK` and `EFD_CLOEXEC` (the last
    /// two are the `O_` flags).
    pub fn eventfd(&mut self, count: u32, flags: u32) -> Result<Fd> {
        let status = OpenFlags::from_bits_retain(flags & !SEMAPHORE);
        if !(OpenFlags::NONBLOCK | OpenFlags::CLOEXEC).contains(status) {
            return Err(Errno::EINVAL);
        }
        let semaphore = flags & SEMAPHORE != 0;
        let eventfd = EventFd::new(&mut self.hub, count.into(), semaphore);
        let id = self.kinds.eventfds.insert(eventfd);
        self.open_object(Object::EventFd(id), status | OpenFlags::RDWR, None)
    }

    /// `signalfd4`: a new descriptor if `fd` is -1, else a new mask for an old one. Bit `n - 1`
    /// of the mask is signal `n`.
    pub fn signalfd(&mut self, fd: Fd, mask: u64, flags: u32) -> Result<Fd> {
        let flags = OpenFlags::from_bits_retain(flags);
        if !(OpenFlags::NONBLOCK | OpenFlags::CLOEXEC).contains(flags) {
            return Err(Errno::EINVAL);
        }
        let signalfd = SignalFd::new(mask);
        if fd == -1 {
            let id = self.kinds.signalfds.insert(signalfd);
            return self.open_object(Object::SignalFd(id), flags | OpenFlags::RDWR, None);
        }
        let id = match self.description(self.files.fds.get(fd)?)?.object {
            Object::SignalFd(id) => id,
            Object::Path => return Err(Errno::EBADF),
            _ => return Err(Errno::EINVAL),
        };
        *self.kinds.signalfds.get_mut(id).ok_or(Errno::EBADF)? = signalfd;
        self.hub.wake(self.hub.signals, Events::READ);
        Ok(fd)
    }

    /// Tells waiting signalfds that a signal has become pending.
    pub fn signal_arrived(&mut self) {
        self.hub.wake(self.hub.signals, Events::READ);
    }

    /// A descriptor for a process, closed by `execve`; `flags` may hold `O_NONBLOCK`.
    pub fn pidfd(&mut self, pid: u32, serial: u64, flags: OpenFlags) -> Result<Fd> {
        let flags = OpenFlags::RDWR | OpenFlags::CLOEXEC | (flags & OpenFlags::NONBLOCK);
        self.open_object(Object::Process(Process { pid, serial }), flags, None)
    }

    /// The process behind a descriptor: its number and its serial number, and whether waiting for it is nonblocking.
    ///
    /// # Errors
    /// `EBADF` when it is none.
    pub fn process_of(&self, fd: Fd) -> Result<(u32, u64, bool)> {
        let desc = self.description(self.lookup_fd(fd)?)?;
        match desc.object {
            Object::Process(Process { pid, serial }) => {
                Ok((pid, serial, desc.flags.contains(OpenFlags::NONBLOCK)))
            }
            _ => Err(Errno::EBADF),
        }
    }

    /// The number of the process whose folder of /proc a descriptor is.
    pub fn process_named_by(&self, fd: Fd) -> Option<u32> {
        let desc = self.description(self.lookup_fd(fd).ok()?).ok()?;
        match desc.node {
            Some(NodeRef::Synth(node)) if node.row()?.0 == PID => node.pid(),
            _ => None,
        }
    }
}
