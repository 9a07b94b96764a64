//! What arguments point at: arrays and structures that several calls read from guest memory, or write there.

use super::call::{Call, Outcome, Stop};
use crate::abi::errno::Errno;
use crate::object::fd::Fd;
use crate::object::transfer::MAX_COUNT;
use alloc::vec::Vec;

/// The end of the part of the address space that programs have (`TASK_SIZE_MAX`).
pub const END: u64 = 0x7fff_ffff_f000;

/// Whether a range lies where programs have memory, mapped or not (`access_ok`).
pub const fn may_be_mapped(address: u64, len: u64) -> bool {
    match address.checked_add(len) {
        Some(end) => end <= END,
        None => false,
    }
}

/// Cuts a length to what one call moves.
pub fn length(len: u64) -> usize {
    usize::try_from(len).unwrap_or(usize::MAX).min(MAX_COUNT)
}

/// A single range of bytes.
///
/// # Errors
/// `EFAULT` for one that reaches beyond what programs have, even when nothing would be moved there.
pub fn range(address: u64, len: u64) -> Result<(u64, usize), Stop> {
    let len = length(len);
    match may_be_mapped(address, len as u64) {
        true => Ok((address, len)),
        false => Err(Errno::EFAULT.into()),
    }
}

/// The most parts of a vector (`UIO_MAXIOV`).
const MAX_PARTS: u64 = 1024;

/// Reads a `struct iovec` array.
///
/// # Errors
/// `EINVAL` for too many parts or a negative length; `EFAULT`, also for parts beyond what programs have.
pub fn iovec(call: &Call<'_>, address: u64, count: u64) -> Result<Vec<(u64, usize)>, Stop> {
    if count > MAX_PARTS {
        return Err(Errno::EINVAL.into());
    }
    let parts: Vec<[u64; 2]> = call.space().get_array(address, count as usize)?;
    if parts.iter().any(|&[_, len]| len > i64::MAX as u64) {
        return Err(Errno::EINVAL.into());
    }
    if let [[start, len]] = parts[..] {
        return Ok(alloc::vec![range(start, len)?]);
    }
    let mut total = 0usize;
    let mut out = Vec::with_capacity(parts.len());
    for [start, len] in parts {
        if !may_be_mapped(start, len) {
            return Err(Errno::EFAULT.into());
        }
        let len = (len as usize).min(MAX_COUNT - total);
        total += len;
        out.push((start, len));
    }
    Ok(out)
}

/// Reads a `struct timespec` that may be absent.
pub fn timespec(call: &Call<'_>, address: u64) -> Result<Option<u64>, Stop> {
    if address == 0 {
        return Ok(None);
    }
    let [seconds, nanoseconds]: [i64; 2] = call.space().get(address)?;
    if seconds < 0 || !(0..1_000_000_000).contains(&nanoseconds) {
        return Err(Errno::EINVAL.into());
    }
    Ok(Some(
        (seconds as u64)
            .saturating_mul(1_000_000_000)
            .saturating_add(nanoseconds as u64),
    ))
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
