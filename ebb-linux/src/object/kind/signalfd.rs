//! signalfd: pending signals as messages. The signals themselves belong to the UC; this object
//! only remembers which ones its descriptor is for.

use core::fmt::Write;

use super::{Face, Kind};
use crate::object::{
    env::Env,
    errno::{Errno, Result},
    flags::OpenFlags,
    id::QueueId,
    io::{Sink, put_all},
    wait::{Events, Hub},
};
use borsh::{BorshDeserialize, BorshSerialize};

/// Bytes of a `struct signalfd_siginfo`.
pub const SIGINFO_BYTES: usize = 128;
/// SIGKILL and SIGSTOP, which cannot be taken this way.
const UNBLOCKABLE: u64 = 1 << 8 | 1 << 18;

/// Which signals a descriptor is for: bit `n - 1` is signal `n`.
#[derive(BorshSerialize, BorshDeserialize, Clone, Debug)]
pub struct SignalFd {
    mask: u64,
}

impl SignalFd {
    pub(crate) const fn new(mask: u64) -> Self {
        Self {
            mask: mask & !UNBLOCKABLE,
        }
    }
}

impl Kind for SignalFd {
    const FACE: Face = Face::Anonymous("[signalfd]");

    fn read(
        &mut self,
        _: &mut Hub,
        env: &dyn Env,
        _: OpenFlags,
        sink: &mut dyn Sink,
    ) -> Result<usize> {
        if sink.remaining() < SIGINFO_BYTES {
            return Err(Errno::EINVAL);
        }
        let mut done = 0;
        while sink.remaining() >= SIGINFO_BYTES
            && let Some(info) = env.take_signal(self.mask)
        {
            done += put_all(sink, &info)?;
        }
        if done == 0 {
            Err(Errno::EAGAIN)
        } else {
            Ok(done)
        }
    }

    fn poll(&mut self, _: &mut Hub, env: &dyn Env, _: OpenFlags) -> Events {
        if env.pending_signals(self.mask) != 0 {
            Events::READ
        } else {
            Events::empty()
        }
    }

    fn describe(&self, _: u64, out: &mut dyn Write) {
        let _ = writeln!(out, "sigmask:\t{:016x}", self.mask);
    }

    fn queue(&self, hub: &Hub) -> Option<QueueId> {
        Some(hub.signals)
    }
}
