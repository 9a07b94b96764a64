//! signalfd: pending signals as messages. The signals themselves belong to the UC; this object
//! only remembers which ones its descriptor is for.

use crate::object::{
    Objects,
    arena::Id,
    description::Object,
    env::Env,
    errno::{Errno, Result},
    fd::Fd,
    flags::OpenFlags,
    io::{Sink, put_all},
    wait::Events,
};

/// Bytes of a `struct signalfd_siginfo`.
pub const SIGINFO: usize = 128;
/// SIGKILL and SIGSTOP, which cannot be taken this way.
const UNBLOCKABLE: u64 = 1 << 8 | 1 << 18;

/// Which signals a descriptor is for.
#[derive(Clone, Debug)]
pub struct SignalFd {
    pub(crate) mask: u64,
}

impl Objects {
    /// `signalfd4`: a new descriptor if `fd` is -1, else a new mask for an old one. Bit `n - 1`
    /// of the mask is signal `n`.
    pub fn signalfd(&mut self, fd: Fd, mask: u64, flags: u32) -> Result<Fd> {
        let flags = OpenFlags::from_bits_retain(flags);
        if !(OpenFlags::NONBLOCK | OpenFlags::CLOEXEC).contains(flags) {
            return Err(Errno::EINVAL);
        }
        let mask = mask & !UNBLOCKABLE;
        if fd == -1 {
            let id = self.signalfds.insert(SignalFd { mask });
            return self.open_object(Object::SignalFd(id), flags | OpenFlags::RDWR, None);
        }
        let Object::SignalFd(id) = self.description(self.files.fds.get(fd)?)?.object else {
            return Err(Errno::EINVAL);
        };
        self.signalfds.get_mut(id).ok_or(Errno::EBADF)?.mask = mask;
        self.hub.wake(self.signal_queue, Events::READ);
        Ok(fd)
    }

    /// Tells waiting signalfds that a signal has become pending.
    pub fn signal_arrived(&mut self) {
        self.hub.wake(self.signal_queue, Events::READ);
    }

    pub(crate) fn read_signalfd(
        &mut self,
        env: &dyn Env,
        id: Id<SignalFd>,
        sink: &mut dyn Sink,
    ) -> Result<usize> {
        if sink.remaining() < SIGINFO {
            return Err(Errno::EINVAL);
        }
        let mask = self.signalfds.get(id).ok_or(Errno::EBADF)?.mask;
        let mut done = 0;
        while sink.remaining() >= SIGINFO
            && let Some(info) = env.take_signal(mask)
        {
            done += put_all(sink, &info)?;
        }
        if done == 0 {
            Err(Errno::EAGAIN)
        } else {
            Ok(done)
        }
    }
}
