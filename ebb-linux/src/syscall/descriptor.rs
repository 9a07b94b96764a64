//! What calls of several kinds of descriptors have in common.

use super::{Call, Outcome};
use crate::abi::signal::{SIGPIPE, SigInfo};
use crate::object::id::{DescId, Fd};

/// Sends the signal that goes with `EPIPE`.
pub fn broken_pipe(call: &Call<'_>, id: DescId) {
    if call.objects().raises_sigpipe(id) {
        let info = SigInfo::sent(SIGPIPE, 0, call.process.pid());
        let _ = crate::signal::send_thread(call.uc, call.process, call.tid, info);
    }
}

/// Tells the guest two new descriptors, or takes them back.
pub fn give_pair(call: &Call<'_>, address: u64, first: Fd, second: Fd) -> Outcome {
    let told = call.space().put(address, [first, second]);
    if let Err(error) = told {
        let mut objects = call.objects();
        let _ = objects.close(first);
        let _ = objects.close(second);
        return Err(error.into());
    }
    Ok(0)
}
