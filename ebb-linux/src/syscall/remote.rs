//! `process_vm_readv` and `process_vm_writev`: copying between two processes' memories.

use super::{Call, Outcome, Stop, credentials};
use crate::abi::errno::Errno;
use crate::object::credentials::cap;
use crate::state::process::Process;
use alloc::rc::Rc;
use alloc::vec::Vec;

/// The most pieces of one side (`UIO_MAXIOV`).
const MOST_PIECES: u64 = 1024;
/// Bytes that are copied at once.
const CHUNK: usize = 4096;
/// Bytes that one call copies at most: about a millisecond's worth. A caller that is told of fewer goes on.
const MOST: usize = 1 << 20;

/// Whether the calling process may look into the memory of another (ptrace(2), "Ptrace access mode checking").
pub fn may_look_into(call: &Call<'_>, process: &Process) -> bool {
    if core::ptr::eq(process, &**call.process) {
        return true;
    }
    let asker = credentials::of(call);
    let state = process.state.borrow();
    let of = credentials::of_state(&state);
    let (user, group) = (asker.user.real, asker.group.real);
    let same = [of.user.real, of.user.effective, of.user.saved]
        .iter()
        .all(|id| *id == user)
        && [of.group.real, of.group.effective, of.group.saved]
            .iter()
            .all(|id| *id == group);
    same && state.dumpable == 1 || asker.has(cap::SYS_PTRACE)
}

pub fn process_vm_readv(call: &Call<'_>) -> Outcome {
    copy(call, false)
}

pub fn process_vm_writev(call: &Call<'_>) -> Outcome {
    copy(call, true)
}

/// Pieces of memory: where and how long.
fn pieces(call: &Call<'_>, vector: u64, count: u64) -> Result<Vec<[u64; 2]>, Stop> {
    if count > MOST_PIECES {
        return Err(Errno::EINVAL.into());
    }
    let pieces = call.space().get_array::<[u64; 2]>(vector, count as usize)?;
    let total = pieces.iter().try_fold(0u64, |sum, p| sum.checked_add(p[1]));
    match total {
        Some(total) if i64::try_from(total).is_ok() => Ok(pieces),
        _ => Err(Errno::EINVAL.into()),
    }
}

/// Where in a list of pieces a copy is.
struct Cursor {
    pieces: Vec<[u64; 2]>,
    index: usize,
    within: u64,
}

impl Cursor {
    const fn new(pieces: Vec<[u64; 2]>) -> Self {
        Self {
            pieces,
            index: 0,
            within: 0,
        }
    }

    /// Where the next bytes are, and how many are there.
    fn next(&mut self) -> Option<(u64, u64)> {
        loop {
            let [at, len] = *self.pieces.get(self.index)?;
            if self.within < len {
                return Some((at.wrapping_add(self.within), len - self.within));
            }
            self.index += 1;
            self.within = 0;
        }
    }
}

fn copy(call: &Call<'_>, write: bool) -> Outcome {
    let [pid, local, local_count, remote, remote_count, flags] = call.args;
    if flags != 0 {
        return Err(Errno::EINVAL.into());
    }
    let mut own = Cursor::new(pieces(call, local, local_count)?);
    if own.next().is_none() {
        return Ok(0);
    }
    let mut other = Cursor::new(pieces(call, remote, remote_count)?);
    if other.next().is_none() {
        return Ok(0);
    }
    let process = {
        let processes = call.uc.processes.borrow();
        let found = processes.find(pid as u32).map(Rc::clone);
        found.ok_or(Errno::ESRCH)?
    };
    if !may_look_into(call, &process) {
        return Err(Errno::EPERM.into());
    }
    let (memory, mut done) = (process.memory(), 0);
    let mut buffer = [0; CHUNK];
    while done < MOST
        && let (Some((here, room)), Some((there, have))) = (own.next(), other.next())
    {
        let want = room.min(have).min(CHUNK as u64) as usize;
        let (from, to) = match write {
            true => (here, there),
            false => (there, here),
        };
        let read = match write {
            true => call.space().read_part(from, &mut buffer[..want]),
            false => memory
                .space
                .borrow_mut()
                .read_part(from, &mut buffer[..want]),
        };
        let n = match write {
            true => memory.space.borrow_mut().write_part(to, &buffer[..read]),
            false => call.space().write_part(to, &buffer[..read]),
        };
        done += n;
        own.within += n as u64;
        other.within += n as u64;
        if n < want {
            break;
        }
    }
    match done {
        0 => Err(Errno::EFAULT.into()),
        done => Ok(done as u64),
    }
}
