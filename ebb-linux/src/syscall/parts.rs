//! Changes of long ranges of memory, made part by part so that other events are not kept waiting.

use super::{Call, Stop};
use crate::abi::errno::Errno;
use crate::state::process::STEP_ENTRIES;
use crate::state::thread::Work;
use ebb_mem::space::{Error, Space};

/// `mmap` and `mremap` say `ENOMEM` for ranges beyond the address space.
pub fn no_room(error: Error) -> Stop {
    match error {
        Error::Invalid => Errno::ENOMEM.into(),
        other => other.into(),
    }
}

/// Makes a change of a long range part by part; what is left for the last part.
pub fn in_parts(
    call: &Call<'_>,
    address: u64,
    len: u64,
    change: impl FnOnce(&mut Space, u64, u64) -> Result<(), Error>,
) -> Result<(u64, u64), Stop> {
    let done = call.work().done;
    let (address, len) = (address.wrapping_add(done), len.wrapping_sub(done));
    let mut space = call.space();
    let Some(part) = space.reach(address, len, STEP_ENTRIES) else {
        return Ok((address, len));
    };
    change(&mut space, address, part).map_err(no_room)?;
    drop(space);
    call.next_part(Work {
        done: done + part,
        at: 0,
    })
    .map(|_| (address, len))
}

/// Gives pages back; that some of them are not mapped is no error here.
pub fn discard(space: &mut Space, address: u64, len: u64) -> Result<(), Error> {
    match space.discard(address, len) {
        Err(Error::NotMapped) => Ok(()),
        other => other,
    }
}
