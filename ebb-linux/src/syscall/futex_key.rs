//! Which futex an address means, and what has become of a call that waits for one.

use super::{Call, Outcome, Stop};
use crate::abi::errno::Errno;
use crate::state::futex::Key;
use ebb_mem::space::Access;

/// `FUTEX_PRIVATE_FLAG`: nobody else has the memory.
pub const PRIVATE: u64 = 128;

/// Names the futex at an address.
pub fn key(call: &Call<'_>, address: u64) -> Key {
    if call.args[1] & PRIVATE != 0 {
        call.memory.private_key(address)
    } else {
        call.memory.key(address)
    }
}

/// Names the futex at an address that is to be one.
///
/// # Errors
/// `EINVAL`, `EFAULT`.
pub fn checked_key(call: &Call<'_>, address: u64, private: bool) -> Result<Key, Stop> {
    if !address.is_multiple_of(4) {
        return Err(Errno::EINVAL.into());
    }
    call.space().check(address, Access::Read)?;
    Ok(match private {
        true => call.memory.private_key(address),
        false => call.memory.key(address),
    })
}

/// What has become of a call that waits; `None` if it is made for the first time.
pub fn waited(call: &Call<'_>) -> Option<Outcome> {
    if call.first {
        return None;
    }
    let (woken, queued) = call.waited(|w| (w.woken, w.futex))?;
    if woken {
        return Some(Ok(0));
    }
    if !call.is_late() {
        return Some(Err(Stop::Wait));
    }
    // Requeued or not: where it is now, it leaves.
    if let Some(at) = queued {
        call.uc.futexes.borrow_mut().cancel(at, call.thread_key());
        call.waited(|w| w.futex = None);
    }
    Some(Err(Errno::ETIMEDOUT.into()))
}
