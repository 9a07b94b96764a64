//! Descriptors and files.

use super::{Call, Outcome, Stop};
use crate::object::errno::Errno;
use ebb_mem::space::{Place, Protection};
use ebb_runtime::EbbRef;
use ebb_runtime::platform::Console;

pub fn write(call: &Call<'_>) -> Outcome {
    let [fd, address, len, ..] = call.args;
    if !matches!(fd as i32, 1 | 2) {
        return Err(Errno::EBADF.into());
    }
    let mut bytes = alloc::vec![0; (len as usize).min(1 << 16)];
    call.space().read(address, &mut bytes)?;
    EbbRef::<dyn Console>::get().write(&bytes);
    Ok(bytes.len() as u64)
}

pub fn writev(call: &Call<'_>) -> Outcome {
    let [fd, vector, count, ..] = call.args;
    if !matches!(fd as i32, 1 | 2) {
        return Err(Errno::EBADF.into());
    }
    let mut done = 0;
    for i in 0..count.min(1024) {
        let [address, len]: [u64; 2] = call.space().get(vector + 16 * i)?;
        let mut bytes = alloc::vec![0; (len as usize).min(1 << 16)];
        call.space().read(address, &mut bytes)?;
        EbbRef::<dyn Console>::get().write(&bytes);
        done += bytes.len() as u64;
    }
    Ok(done)
}

pub fn mmap(_: &Call<'_>, _: Place, _: u64, _: Protection, _: bool, _: i32, _: u64) -> Outcome {
    Err(Stop::Error(Errno::EBADF))
}
