//! Signals that go with what a transfer hears instead of having moved bytes.

use super::{Call, Stop};
use crate::abi::errno::Errno;
use crate::abi::limit;
use crate::abi::signal::{SI_KERNEL, SIGPIPE, SIGXFSZ, SigInfo};
use crate::object::description::DescId;

/// `EFBIG`, with the signal that goes with it if it is the program's own limit that a file would exceed.
pub fn too_big(call: &Call<'_>) -> Stop {
    if call.process.state.borrow().soft(limit::FSIZE) != u64::MAX {
        let info = SigInfo::new(SIGXFSZ, SI_KERNEL);
        let _ = crate::signal::send_thread(call.uc, call.process, call.tid, info);
    }
    Errno::EFBIG.into()
}

/// Sends the signal that goes with `EPIPE`.
pub fn broken_pipe(call: &Call<'_>, id: DescId) {
    if call.objects().raises_sigpipe(id) {
        let info = SigInfo::sent(SIGPIPE, 0, call.process.pid());
        let _ = crate::signal::send_thread(call.uc, call.process, call.tid, info);
    }
}
