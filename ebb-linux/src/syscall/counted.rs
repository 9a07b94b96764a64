//! Calls that read and write files, counted for /proc/PID/io as Linux counts them: each once it has come to the file, not when it
//! waits there, and not those that only sockets know.

use super::{Call, Outcome, Stop, copy, file};
use crate::abi::errno::Errno;
use crate::state::process::Moved;

/// Adds what a call has moved, unless it goes on or did not come to a file.
#[inline]
fn count(call: &Call<'_>, outcome: Outcome, add: impl FnOnce(&mut Moved, u64)) -> Outcome {
    if let Ok(_) | Err(Stop::Error(Errno::EAGAIN)) = outcome {
        let mut moved = call.process.moved.get();
        add(&mut moved, outcome.unwrap_or(0));
        call.process.moved.set(moved);
    }
    outcome
}

#[inline]
fn reading(moved: &mut Moved, bytes: u64) {
    moved.read += bytes;
    moved.reads += 1;
}

#[inline]
fn writing(moved: &mut Moved, bytes: u64) {
    moved.written += bytes;
    moved.writes += 1;
}

fn both(moved: &mut Moved, bytes: u64) {
    reading(moved, bytes);
    writing(moved, bytes);
}

macro_rules! counted {
    ($($name:ident = $module:ident, $how:ident;)*) => {
        $(pub fn $name(call: &Call<'_>) -> Outcome {
            count(call, $module::$name(call), $how)
        })*
    };
}

counted! {
    read = file, reading;
    readv = file, reading;
    pread64 = file, reading;
    preadv = file, reading;
    preadv2 = file, reading;
    write = file, writing;
    writev = file, writing;
    pwrite64 = file, writing;
    pwritev = file, writing;
    pwritev2 = file, writing;
    sendfile = copy, both;
    copy_file_range = copy, both;
}
