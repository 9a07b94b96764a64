//! Address spaces: unmapping, protecting, moving and advising; what `mmap` shares with them.

use super::advice::{may_lock, populate};
use super::parts::{discard, in_parts, no_room};
use super::{Call, Outcome, Stop};
use crate::abi::errno::Errno;
use crate::abi::limit;
use crate::image::note;
use crate::state::process::State;
use ebb_mem::space::{
    Area, Backing, Error, Flags, GUEST_END, Mapping, PAGE, Place, Protection, Space,
};

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

/// Whether so many more bytes of private writable memory are more than `RLIMIT_DATA` allows.
pub fn data_is_full(state: &State, space: &Space, more: u64) -> bool {
    let most = state.soft(limit::DATA);
    let is_data = |a: &&Area| {
        a.protection.write && !matches!(a.backing, Backing::Shared(_)) && a.note != note::STACK
    };
    let data = || space.areas().filter(is_data).map(|a| a.end - a.start);
    most != u64::MAX && data().sum::<u64>().saturating_add(more) > most
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

/// `pkey_mprotect`: as `mprotect`, with the one key that there is where the CPU has none.
pub fn pkey_mprotect(call: &Call<'_>) -> Outcome {
    match call.args[3] as i32 {
        -1 => mprotect(call),
        _ => Err(Errno::EINVAL.into()),
    }
}

/// `pkey_alloc`: as where the CPU has no protection keys.
pub fn pkey_alloc(call: &Call<'_>) -> Outcome {
    const ACCESS: u64 = 3;
    let [flags, access, ..] = call.args;
    match (flags, access & !ACCESS) {
        (0, 0) => Err(Errno::ENOSPC.into()),
        _ => Err(Errno::EINVAL.into()),
    }
}

/// `pkey_free`: none was given.
pub fn pkey_free(_: &Call<'_>) -> Outcome {
    Err(Errno::EINVAL.into())
}

/// Whether a protection would make code of what was none, or let code be written, where `PR_SET_MDWE` forbids it.
fn is_new_code(call: &Call<'_>, (start, len): (u64, u64), new: Protection) -> bool {
    let fixed = call.process.state.borrow().code_is_fixed != 0;
    let is_code = |area: &Area| area.protection.execute;
    fixed && new.execute && (new.write || !call.space().areas_in(start, len).iter().all(is_code))
}

pub fn mprotect(call: &Call<'_>) -> Outcome {
    let [address, len, prot, ..] = call.args;
    const GROWS_DOWN: u64 = 0x100_0000;
    const GROWS_UP: u64 = 0x200_0000;
    let extends = prot & (GROWS_DOWN | GROWS_UP);
    if extends == GROWS_DOWN | GROWS_UP || !address.is_multiple_of(PAGE) {
        return Err(Errno::EINVAL.into());
    }
    if len == 0 {
        return Ok(0);
    }
    let end = address
        .checked_add(len)
        .and_then(|end| end.checked_next_multiple_of(PAGE))
        .ok_or(Errno::ENOMEM)?;
    let protection = protection(prot & !(GROWS_DOWN | GROWS_UP))?;
    let start = match extends {
        0 => address,
        _ => {
            let space = call.space();
            let area = space.area(address).ok_or(Errno::ENOMEM)?;
            let grows = area.flags.has(Flags::GROWS_DOWN) || area.note == note::STACK;
            if extends == GROWS_UP || !grows {
                return Err(Errno::EINVAL.into());
            }
            area.start
        }
    };
    if is_new_code(call, (start, end - start), protection) {
        return Err(Errno::EACCES.into());
    }
    let (address, len) = in_parts(call, start, end - start, |space, at, len| {
        space.protect(at, len, protection)
    })?;
    call.space()
        .protect(address, len, protection)
        .map_err(no_room)?;
    Ok(0)
}

pub fn mremap(call: &Call<'_>) -> Outcome {
    let [old, old_len, new_len, flags, new, _] = call.args;
    const MAYMOVE: u64 = 1;
    const FIXED: u64 = 2;
    const DONTUNMAP: u64 = 4;
    let has = |flag| flags & flag != 0;
    let work = call.work();
    if work.at != 0 {
        return populate(call, work.at, new_len);
    }
    // A length that cannot be rounded up to pages is nothing, as in Linux.
    let round = |len: u64| len.checked_next_multiple_of(PAGE).unwrap_or(0);
    if flags & !(MAYMOVE | FIXED | DONTUNMAP) != 0
        || has(FIXED | DONTUNMAP) && !has(MAYMOVE)
        || has(DONTUNMAP) && round(old_len) != round(new_len)
        || round(new_len) == 0
        || new_len > GUEST_END
        || !old.is_multiple_of(PAGE)
    {
        return Err(Errno::EINVAL.into());
    }
    let (old_len, new_len) = (round(old_len), round(new_len));
    if has(FIXED | DONTUNMAP) {
        let apart = new.checked_add(new_len).is_some_and(|end| end <= old)
            || old.checked_add(old_len).is_some_and(|end| end <= new);
        if !new.is_multiple_of(PAGE) || !apart {
            return Err(Errno::EINVAL.into());
        }
    }
    let mut space = call.space();
    let area = space.area(old).ok_or(Errno::EFAULT)?.clone();
    let more = if has(DONTUNMAP) || old_len == 0 {
        new_len
    } else {
        new_len.saturating_sub(old_len)
    };
    // What is only cut off may be more than one mapping, with holes.
    let cuts = new_len < old_len && !has(FIXED | DONTUNMAP);
    if cuts {
        space.unmap(old + new_len, old_len - new_len)?;
        return Ok(old);
    }
    if old_len > area.end - old {
        return Err(Errno::EFAULT.into());
    }
    let state = call.process.state.borrow();
    let is_data = area.protection.write && !matches!(area.backing, Backing::Shared(_));
    if more > 0 && area.flags.has(Flags::LOCKED) && !may_lock(&state, &space, more) {
        return Err(Errno::EAGAIN.into());
    }
    if more > 0
        && (space_is_full(&state, &space, more) || is_data && data_is_full(&state, &space, more))
    {
        return Err(Errno::ENOMEM.into());
    }
    drop(state);
    let at = if old_len == 0 {
        // A second mapping of what is shared; for what is private there is nothing that could be.
        if !matches!(area.backing, Backing::Shared(_)) {
            return Err(Errno::EINVAL.into());
        }
        if !has(MAYMOVE) {
            return Err(Errno::ENOMEM.into());
        }
        let place = match has(FIXED) {
            true => Place::Fixed(new),
            false => Place::Near(0),
        };
        let what = Mapping {
            protection: area.protection,
            offset: area.offset + (old - area.start),
            backing: area.backing,
            note: area.note,
            flags: area.flags,
        };
        space.map_as(place, new_len, what).map_err(no_room)?
    } else {
        let place = match flags & (MAYMOVE | FIXED) {
            0 => None,
            MAYMOVE => Some(Place::Near(if has(DONTUNMAP) { new } else { 0 })),
            _ => Some(Place::Fixed(new)),
        };
        match space.remap(old, old_len, new_len, place, has(DONTUNMAP)) {
            Ok(at) => at,
            Err(Error::NotMapped) => return Err(Errno::EFAULT.into()),
            Err(other) if has(FIXED) => return Err(other.into()),
            Err(other) => return Err(no_room(other)),
        }
    };
    drop(space);
    if area.flags.has(Flags::LOCKED) && !area.flags.has(Flags::ON_FAULT) && more > 0 {
        return populate(call, at, new_len);
    }
    Ok(at)
}

/// A shared mapping's pages in another order: what is mapped there is another part of its object from now on.
pub fn remap_file_pages(call: &Call<'_>) -> Outcome {
    let [start, size, prot, page, ..] = call.args;
    let start = start & !(PAGE - 1);
    let size = size & !(PAGE - 1);
    let offset = page.checked_mul(PAGE).ok_or(Errno::EINVAL)?;
    if prot != 0 || size == 0 || start.checked_add(size).is_none() {
        return Err(Errno::EINVAL.into());
    }
    offset.checked_add(size).ok_or(Errno::EINVAL)?;
    let mut space = call.space();
    let area = space.area(start).ok_or(Errno::EINVAL)?.clone();
    let reaches = space
        .areas_in(start, size)
        .iter()
        .all(|other| other.backing == area.backing && other.protection == area.protection);
    if !matches!(area.backing, Backing::Shared(_))
        || !reaches
        || space.mapped_until(start, size) < start + size
    {
        return Err(Errno::EINVAL.into());
    }
    let what = Mapping {
        protection: area.protection,
        backing: area.backing,
        offset,
        note: area.note,
        flags: area.flags,
    };
    space
        .map_as(Place::Fixed(start), size, what)
        .map_err(no_room)?;
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
        let locks = space.future().has(Flags::LOCKED);
        if wanted - start > most
            || space_is_full(&process, &space, new - old)
            || data_is_full(&process, &space, new - old)
            || locks && !may_lock(&process, &space, new - old)
        {
            return Ok(now);
        }
        let place = Place::FixedFree(old);
        let mapped = space
            .map(
                place,
                new - old,
                Protection::WRITE,
                Backing::Anonymous,
                0,
                note::HEAP,
            )
            .map(drop);
        if mapped.is_ok() && locks && !space.future().has(Flags::ON_FAULT) {
            // What cannot be had now is left to its faults.
            let _ = space.populate(old, new - old, None, u64::MAX);
        }
        mapped
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
    const INVALIDATE: u64 = 2;
    if !address.is_multiple_of(PAGE) || flags & !7 != 0 || flags & 5 == 5 {
        return Err(Errno::EINVAL.into());
    }
    // A length that cannot be rounded up to pages is nothing, as in Linux.
    let len = len.checked_next_multiple_of(PAGE).unwrap_or(0);
    let end = address.checked_add(len).ok_or(Errno::ENOMEM)?;
    if end == address {
        return Ok(0);
    }
    let (whole, locked) = {
        let space = call.space();
        let mut areas = space.areas_in(address, end - address).iter();
        let locked = areas.find(|a| a.flags.has(Flags::LOCKED));
        let locked = locked.filter(|_| flags & INVALIDATE != 0).map(|a| a.start);
        (space.is_mapped(address, end - address), locked)
    };
    let stop = locked.map_or(end, |at| at.clamp(address, end));
    if stop > address {
        note_written(call, address, stop - address);
    }
    match (locked, whole) {
        (Some(_), _) => Err(Errno::EBUSY.into()),
        (None, false) => Err(Errno::ENOMEM.into()),
        (None, true) => Ok(0),
    }
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
        .filter(|&end| end <= GUEST_END)
        .ok_or(Errno::ENOMEM)?;
    let mut space = call.space();
    // A vector too long for memory ends with EFAULT.
    while at < end {
        // Up to the first hole, behind which nothing is told.
        let part = space.area(at).map_or(PAGE, |area| area.end - at);
        let part = part.min(end - at).min(512 * PAGE);
        let pages = space.residency(at, part).map_err(no_room)?;
        for (i, resident) in pages.iter().enumerate() {
            let index = (at - address) / PAGE + i as u64;
            space.put(vector.wrapping_add(index), u8::from(*resident))?;
        }
        at += part;
    }
    Ok(0)
}
