//! Memory for what clients ask: as much as there is, but for a reserve.

use alloc::vec::Vec;

/// What a message may take of memory without a look at how much there is.
const SMALL: usize = 4096;
/// The part of memory that messages leave free.
#[cfg(not(test))]
const RESERVE: u64 = 64;

/// Adds to what has arrived of a message, which becomes at most `most` bytes; false when there is no memory for that. A buffer
/// that is full at least doubles, but not beyond `most`.
pub fn append(to: &mut Vec<u8>, bytes: &[u8], most: usize) -> bool {
    let length = to.len() + bytes.len();
    if length > to.capacity() && !reserve(to, (2 * to.len()).min(most).max(length)) {
        return false;
    }
    to.extend_from_slice(bytes);
    true
}

/// Gives a buffer room for so many bytes in all; false when there is no memory for that: an allocation that fails would end an
/// image, and the last of its memory is not for what clients ask.
pub fn reserve(buffer: &mut Vec<u8>, room: usize) -> bool {
    (room <= SMALL || may_take(room))
        && buffer
            .try_reserve_exact(room.saturating_sub(buffer.len()))
            .is_ok()
}

/// Whether messages may take so many bytes of memory more. Unit tests have no platform that could tell.
#[cfg(test)]
fn may_take(_: usize) -> bool {
    true
}

/// Whether messages may take so many bytes of memory more.
#[cfg(not(test))]
fn may_take(bytes: usize) -> bool {
    let Some(spare) = ebb::spare_memory_bytes() else {
        return true;
    };
    let reserve = ebb::memory_bytes().unwrap_or(0) / RESERVE;
    spare >= reserve.saturating_add(bytes as u64)
}
