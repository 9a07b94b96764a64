//! Address spaces: unmapping, protecting, moving and advising; what `mmap` shares with them.

use super::{Call, Outcome, Stop};
use crate::abi::errno::Errno;
use crate::abi::limit;
use crate::image::note;
use crate::state::process::{STEP_ENTRIES, State};
use crate::state::thread::Work;
use ebb_mem::space::{Backing, Error, PAGE, Place, Protection, Space};

pub fn protection(bits: u64) -> Result<Protection, Stop> {
    // PROT_SEM (8) means nothing; PROT_GROWSDOWN and -UP are not for mappings of a fixed size.
    if bits & !0xf != 0 {
        return Err(Errno::EINVAL.into());
    }
    Ok(Protection {
        read: bits & 1 != 0,
        write: bits & 2 != 0,
        execute: bits & 4 != 0,
    })
}

/// Whether so many more bytes of address space are more than `RLIMIT_AS` allows.
pub fn space_is_full(state: &State, space: &Space, more: u64) -> bool {
    let most = state.soft(limit::AS);
    most != u64::MAX && space.mapped().saturating_add(more) > most
}

/// `mmap` and `mremap` say `ENOMEM` for ranges beyond the address space.
pub fn no_room(error: Error) -> Stop {
    match error {
        Error::Invalid => Errno::ENOMEM.into(),
        other => other.into(),
    }
}

/// Makes a change of a long range part by part; what is left for the last part.
fn in_parts(
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
fn discard(space: &mut Space, address: u64, len: u64) -> Result<(), Error> {
    match space.discard(address, len) {
        Err(Error::NotMapped) => Ok(()),
        other => other,
    }
}

/// Empties what a new mapping takes the place of, which may be much. It stays mapped until the new one is there, so nobody
/// else gets the place meanwhile.
pub fn make_room(call: &Call<'_>, place: Place, len: u64) -> Result<(), Stop> {
    if let Place::Fixed(at) = place
        && call.work().at == 0
    {
        in_parts(call, at, len, discard)?;
    }
    Ok(())
}

/// Files that were written to through mappings of a range have changed now.
fn note_written(call: &Call<'_>, address: u64, len: u64) {
    // Without memory for the tables the times stay as they are.
    let written = call.space().take_written(address, len).unwrap_or_default();
    for shared in written {
        call.objects().mapping_written(&call.world(), &shared);
    }
}

pub fn munmap(call: &Call<'_>) -> Outcome {
    note_written(call, call.args[0], call.args[1]);
    let (address, len) = in_parts(call, call.args[0], call.args[1], Space::unmap)?;
    call.space().unmap(address, len)?;
    Ok(0)
}

pub fn mprotect(call: &Call<'_>) -> Outcome {
    let [address, len, prot, ..] = call.args;
    let protection = protection(prot)?;
    if !address.is_multiple_of(PAGE) {
        return Err(Errno::EINVAL.into());
    }
    if len == 0 {
        return Ok(0);
    }
    let is_first = call.work().done == 0;
    if is_first && !call.space().is_mapped(address, len) {
        return Err(Errno::ENOMEM.into());
    }
    let (address, len) = in_parts(call, address, len, |space, at, len| {
        space.protect(at, len, protection)
    })?;
    call.space()
        .protect(address, len, protection)
        .map_err(no_room)?;
    Ok(0)
}

pub fn mremap(call: &Call<'_>) -> Outcome {
    let [old, old_len, new_len, flags, new, _] = call.args;
    // MREMAP_MAYMOVE, MREMAP_FIXED; MREMAP_DONTUNMAP is not here.
    if flags & !3 != 0
        || flags & 3 == 2
        || new_len == 0
        || old_len == 0
        || !old.is_multiple_of(PAGE)
    {
        return Err(Errno::EINVAL.into());
    }
    let place = match flags {
        0 => None,
        1 => Some(Place::Near(0)),
        _ => Some(Place::Fixed(new)),
    };
    let more = new_len.saturating_sub(old_len);
    if more > 0 && space_is_full(&call.process.state.borrow(), &call.space(), more) {
        return Err(Errno::ENOMEM.into());
    }
    match call.space().remap(old, old_len, new_len, place) {
        Ok(at) => Ok(at),
        Err(Error::NotMapped) => Err(Errno::EFAULT.into()),
        Err(other) => Err(other.into()),
    }
}

pub fn madvise(call: &Call<'_>) -> Outcome {
    let [address, len, advice, ..] = call.args;
    if !address.is_multiple_of(PAGE) {
        return Err(Errno::EINVAL.into());
    }
    if len == 0 {
        return Ok(0);
    }
    match advice {
        // MADV_DONTNEED, MADV_FREE (which may take effect at once), MADV_DONTNEED_LOCKED.
        4 | 8 | 24 => {
            let (at, rest) = in_parts(call, address, len, discard)?;
            let mut space = call.space();
            space.discard(at, rest).map_err(no_room)?;
            if at > address && !space.is_mapped(address, len) {
                return Err(Errno::ENOMEM.into());
            }
        }
        // Hints: normal, random, sequential, willneed, dontfork, dofork, mergeable, unmergeable, hugepage, nohugepage,
        // dontdump, dodump, cold, pageout.
        0..=3 | 10..=17 | 20 | 21 => {}
        _ => return Err(Errno::EINVAL.into()),
    }
    Ok(0)
}

pub fn brk(call: &Call<'_>) -> Outcome {
    let wanted = call.args[0];
    let mut process = call.process.state.borrow_mut();
    let (start, now) = (process.started.heap, process.brk);
    let most = process.soft(limit::DATA);
    if wanted < start {
        return Ok(now);
    }
    let (old, new) = (
        now.next_multiple_of(PAGE),
        wanted.checked_next_multiple_of(PAGE),
    );
    let Some(new) = new else { return Ok(now) };
    if new < old {
        in_parts(call, new, old - new, discard)?;
    }
    let mut space = call.space();
    let done = if new > old {
        if wanted - start > most || space_is_full(&process, &space, new - old) {
            return Ok(now);
        }
        let place = Place::FixedFree(old);
        space
            .map(
                place,
                new - old,
                Protection::WRITE,
                Backing::Anonymous,
                0,
                note::HEAP,
            )
            .map(drop)
    } else if new < old {
        space.unmap(new, old - new)
    } else {
        Ok(())
    };
    if done.is_ok() {
        process.brk = wanted;
    }
    Ok(process.brk)
}

pub fn msync(call: &Call<'_>) -> Outcome {
    let [address, len, flags, ..] = call.args;
    if !address.is_multiple_of(PAGE) || flags & !7 != 0 || flags & 5 == 5 {
        return Err(Errno::EINVAL.into());
    }
    if len > 0 && !call.space().is_mapped(address, len) {
        return Err(Errno::ENOMEM.into());
    }
    note_written(call, address, len);
    Ok(0)
}

pub fn mincore(call: &Call<'_>) -> Outcome {
    let [address, len, vector, ..] = call.args;
    if !address.is_multiple_of(PAGE) {
        return Err(Errno::EINVAL.into());
    }
    let mut at = address;
    let end = address
        .checked_add(len)
        .and_then(|e| e.checked_next_multiple_of(PAGE))
        .ok_or(Errno::ENOMEM)?;
    let mut space = call.space();
    // A vector too long for memory ends with EFAULT.
    while at < end {
        let part = (end - at).min(512 * PAGE);
        let pages = space.residency(at, part).map_err(no_room)?;
        for (i, resident) in pages.iter().enumerate() {
            let index = (at - address) / PAGE + i as u64;
            space.put(vector.wrapping_add(index), u8::from(*resident))?;
        }
        at += part;
    }
    Ok(0)
}

/// Nothing is ever paged out, so locking is only a matter of being mapped.
pub fn mlock(call: &Call<'_>) -> Outcome {
    let start = call.args[0] & !(PAGE - 1);
    let len = call.args[1]
        .checked_add(call.args[0] - start)
        .ok_or(Errno::EINVAL)?;
    if len > 0 && !call.space().is_mapped(start, len) {
        return Err(Errno::ENOMEM.into());
    }
    Ok(0)
}
