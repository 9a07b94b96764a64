//! Calls that read and write files, counted for /proc/PID/io as Linux counts them: each once it has come to the file, not when it
//! waits there, and not those that only sockets know.
//!
//! The first try of a short transfer, which mostly is the last, is counted where it succeeds; every other result is looked at here.

use super::call::{Call, Outcome, Stop};
use crate::abi::errno::Errno;
use crate::state::process::Moved;

/// Adds to what the calling process has moved.
#[inline]
fn add(call: &Call<'_>, how: impl FnOnce(&mut Moved)) {
    let mut moved = call.process.moved.get();
    how(&mut moved);
    call.process.moved.set(moved);
}

/// A call that has read so much.
#[inline]
pub fn has_read(call: &Call<'_>, bytes: usize) -> Outcome {
    add(call, |moved| {
        moved.read += bytes as u64;
        moved.reads += 1;
    });
    Ok(bytes as u64)
}

/// A call that has written so much.
#[inline]
pub fn has_written(call: &Call<'_>, bytes: usize) -> Outcome {
    add(call, |moved| {
        moved.written += bytes as u64;
        moved.writes += 1;
    });
    Ok(bytes as u64)
}

/// What a call has come to, unless it goes on or did not come to a file.
fn bytes(outcome: Outcome) -> Option<usize> {
    match outcome {
        Ok(bytes) => Some(bytes as usize),
        Err(Stop::Error(Errno::EAGAIN)) => Some(0),
        Err(_) => None,
    }
}

/// Counts a call that reads.
#[inline(never)]
pub fn reading(call: &Call<'_>, outcome: Outcome) -> Outcome {
    if let Some(bytes) = bytes(outcome) {
        let _ = has_read(call, bytes);
    }
    outcome
}

/// Counts a call that writes.
#[inline(never)]
pub fn writing(call: &Call<'_>, outcome: Outcome) -> Outcome {
    if let Some(bytes) = bytes(outcome) {
        let _ = has_written(call, bytes);
    }
    outcome
}
