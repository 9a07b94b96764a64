//! `madvise` and the `mlock` family: what a program says of memory that it has, obeyed or refused.

use super::parts::{discard, in_parts, no_room};
use super::{Call, Outcome, Stop, credentials, remote};
use crate::abi::errno::Errno;
use crate::abi::limit;
use crate::image::{exec, note};
use crate::object::credentials::cap;
use crate::state::process::State;
use crate::state::thread::Work;
use alloc::rc::Rc;
use ebb_mem::space::{Access, Area, Backing, Error, Fault, Flags, PAGE, Space};

/// Pages that one part of a call brings in: about a millisecond's worth.
const STEP_PAGES: u64 = 1024;
/// What locking sets.
const LOCK: Flags = Flags::LOCKED.with(Flags::ON_FAULT);

/// Whether so many more bytes may be locked in memory.
pub fn may_lock(state: &State, space: &Space, more: u64) -> bool {
    let most = state.soft(limit::MEMLOCK);
    most == u64::MAX
        || space.locked().saturating_add(more) <= most
        || credentials::of_state(state).has(cap::IPC_LOCK)
}

/// Whether the process may lock memory at all.
pub fn can_lock(call: &Call<'_>) -> bool {
    let state = call.process.state.borrow();
    state.soft(limit::MEMLOCK) != 0 || credentials::of_state(&state).has(cap::IPC_LOCK)
}

/// Brings the pages of a mapping in part by part, as far as that goes. The call gives where the mapping is.
pub fn populate(call: &Call<'_>, at: u64, len: u64) -> Outcome {
    match bring_in(call, at, at, len, None) {
        Ok(()) | Err(Stop::Error(_)) => Ok(at),
        Err(stop) => Err(stop),
    }
}

/// Brings pages in part by part; `mark` is what the call finds as its work's place from the second part on, and not 0.
fn bring_in(
    call: &Call<'_>,
    mark: u64,
    at: u64,
    len: u64,
    access: Option<Access>,
) -> Result<(), Stop> {
    let work = call.work();
    let done = if work.at == 0 { 0 } else { work.done };
    let brought = call
        .space()
        .populate(at + done, len - done, access, STEP_PAGES);
    let done = done
        + brought.map_err(|fault| match fault {
            Fault::OutOfMemory => Errno::EAGAIN,
            Fault::Denied => Errno::EINVAL,
            Fault::BeyondEnd => Errno::EFAULT,
            Fault::NotMapped => Errno::ENOMEM,
        })?;
    if done < len {
        call.next_part(Work { done, at: mark })?;
    }
    Ok(())
}

/// Whole pages around a range. As on Linux a length that wraps when it is rounded up is none.
fn pages_around(address: u64, len: u64) -> Result<(u64, u64), Stop> {
    let start = address & !(PAGE - 1);
    let whole = len.wrapping_add(address - start).wrapping_add(PAGE - 1) & !(PAGE - 1);
    match start.checked_add(whole) {
        Some(_) => Ok((start, whole)),
        None => Err(Errno::EINVAL.into()),
    }
}

pub fn mlock(call: &Call<'_>) -> Outcome {
    lock(call, Flags::LOCKED)
}

pub fn mlock2(call: &Call<'_>) -> Outcome {
    match call.args[2] {
        0 => lock(call, Flags::LOCKED),
        // MLOCK_ONFAULT.
        1 => lock(call, LOCK),
        _ => Err(Errno::EINVAL.into()),
    }
}

fn lock(call: &Call<'_>, flags: Flags) -> Outcome {
    let (start, len) = pages_around(call.args[0], call.args[1])?;
    if call.work().at == 0 {
        if !can_lock(call) {
            return Err(Errno::EPERM.into());
        }
        if len == 0 {
            return Ok(0);
        }
        let mut space = call.space();
        let part = |a: &Area| a.end.min(start + len) - a.start.max(start);
        let locked = space.areas_in(start, len).iter();
        let already: u64 = locked
            .filter(|a| a.flags.has(Flags::LOCKED))
            .map(part)
            .sum();
        if !may_lock(&call.process.state.borrow(), &space, len - already) {
            return Err(Errno::ENOMEM.into());
        }
        let end = space.mapped_until(start, len);
        if end > start {
            space
                .advise(start, end - start, |a| a.flags.without(LOCK).with(flags))
                .map_err(no_room)?;
        }
        if end < start + len {
            return Err(Errno::ENOMEM.into());
        }
    }
    if flags.has(Flags::ON_FAULT) {
        return Ok(0);
    }
    match bring_in(call, 1, start, len, None) {
        Err(Stop::Error(Errno::EINVAL | Errno::EFAULT)) => Err(Errno::ENOMEM.into()),
        other => other.map(|()| 0),
    }
}

pub fn munlock(call: &Call<'_>) -> Outcome {
    let (start, len) = pages_around(call.args[0], call.args[1])?;
    if len == 0 {
        return Ok(0);
    }
    let mut space = call.space();
    let end = space.mapped_until(start, len);
    if end > start {
        space
            .advise(start, end - start, |a| a.flags.without(LOCK))
            .map_err(no_room)?;
    }
    match end < start + len {
        true => Err(Errno::ENOMEM.into()),
        false => Ok(0),
    }
}

/// Whether an area is the machine's rather than the program's: it cannot be locked.
fn is_special(area: &Area) -> bool {
    matches!(area.note, note::VDSO | note::VVAR)
}

pub fn mlockall(call: &Call<'_>) -> Outcome {
    const CURRENT: u64 = 1;
    const FUTURE: u64 = 2;
    const ONFAULT: u64 = 4;
    let flags = call.args[0];
    if flags == 0 || flags & !7 != 0 || flags == ONFAULT {
        return Err(Errno::EINVAL.into());
    }
    let lock = match flags & ONFAULT {
        0 => Flags::LOCKED,
        _ => LOCK,
    };
    if call.work().at == 0 {
        if !can_lock(call) {
            return Err(Errno::EPERM.into());
        }
        let mut space = call.space();
        let (all, locked) = (space.mapped(), space.locked());
        // The stack is all there from the start, where Linux has as much of it as is used.
        let more = all.saturating_sub(locked + exec::STACK);
        if flags & CURRENT != 0 && !may_lock(&call.process.state.borrow(), &space, more) {
            return Err(Errno::ENOMEM.into());
        }
        let future = match flags & FUTURE {
            0 => Flags::NONE,
            _ => lock,
        };
        space.set_future(future);
        if flags & CURRENT == 0 {
            return Ok(0);
        }
        change_all(&mut space, |a| a.flags.without(LOCK).with(lock))?;
    }
    if lock.has(Flags::ON_FAULT) {
        return Ok(0);
    }
    // Area by area: the work's place is where the next begins.
    loop {
        let from = call.work().at;
        let next = {
            let space = call.space();
            let mut areas = space.areas().filter(|a| a.note != note::STACK);
            areas
                .find(|a| a.end > from && !is_special(a))
                .map(|a| (a.start.max(from), a.end))
        };
        let Some((start, end)) = next else {
            return Ok(0);
        };
        let brought = call.space().populate(start, end - start, None, STEP_PAGES);
        // What cannot be brought in stays away.
        let at = brought.map_or(end, |done| start + done);
        call.next_part(Work { done: 0, at })?;
    }
}

pub fn munlockall(call: &Call<'_>) -> Outcome {
    let mut space = call.space();
    space.set_future(Flags::NONE);
    change_all(&mut space, |a| a.flags.without(LOCK))?;
    Ok(0)
}

fn change_all(space: &mut Space, change: impl Fn(&Area) -> Flags) -> Result<(), Stop> {
    let (Some(first), Some(last)) = (space.areas().next(), space.areas().last()) else {
        return Ok(());
    };
    let (start, len) = (first.start, last.end - first.start);
    let change = |a: &Area| if is_special(a) { a.flags } else { change(a) };
    match space.advise(start, len, change) {
        Err(Error::NotMapped) => Ok(()),
        other => Ok(other?),
    }
}

/// What a piece of advice is.
enum Advice {
    /// Changes what areas are besides, where the test allows it.
    Flags(fn(&Area) -> bool, fn(Flags) -> Flags),
    /// Pages go, from areas that the test allows.
    Discard(fn(&Area) -> Result<(), Errno>),
    /// So do those of the object behind a mapping.
    Remove,
    /// Pages come.
    Populate(Access),
    /// Nothing has to be done, from areas that the test allows.
    Hint(fn(&Area) -> Result<(), Errno>),
}

fn is_private_anonymous(area: &Area) -> bool {
    area.backing == Backing::Anonymous
}

fn unlocked(area: &Area) -> Result<(), Errno> {
    match area.flags.has(Flags::LOCKED) {
        true => Err(Errno::EINVAL),
        false => Ok(()),
    }
}

/// By number (madvise(2)).
fn advice(number: u64) -> Option<Advice> {
    const READING: Flags = Flags::RANDOM.with(Flags::SEQUENTIAL);
    const HUGE: Flags = Flags::HUGE.with(Flags::NOT_HUGE);
    let any: fn(&Area) -> bool = |_| true;
    let free: fn(&Area) -> Result<(), Errno> = |a| match is_private_anonymous(a) {
        true => unlocked(a),
        false => Err(Errno::EINVAL),
    };
    Some(match number {
        // MADV_NORMAL, RANDOM, SEQUENTIAL, WILLNEED.
        0 => Advice::Flags(any, |f| f.without(READING)),
        1 => Advice::Flags(any, |f| f.without(READING).with(Flags::RANDOM)),
        2 => Advice::Flags(any, |f| f.without(READING).with(Flags::SEQUENTIAL)),
        3 => Advice::Hint(|_| Ok(())),
        // DONTNEED, FREE (which may take effect at once), REMOVE.
        4 => Advice::Discard(unlocked),
        8 => Advice::Discard(free),
        9 => Advice::Remove,
        // DONTFORK, DOFORK.
        10 => Advice::Flags(any, |f| f.with(Flags::DONT_FORK)),
        11 => Advice::Flags(any, |f| f.without(Flags::DONT_FORK)),
        // MERGEABLE, UNMERGEABLE: nothing is merged.
        12 => Advice::Flags(any, |f| f.with(Flags::MERGEABLE)),
        13 => Advice::Flags(any, |f| f.without(Flags::MERGEABLE)),
        // HUGEPAGE, NOHUGEPAGE: there are none.
        14 => Advice::Flags(any, |f| f.without(HUGE).with(Flags::HUGE)),
        15 => Advice::Flags(any, |f| f.without(HUGE).with(Flags::NOT_HUGE)),
        // DONTDUMP, DODUMP.
        16 => Advice::Flags(any, |f| f.with(Flags::DONT_DUMP)),
        17 => Advice::Flags(any, |f| f.without(Flags::DONT_DUMP)),
        // WIPEONFORK, KEEPONFORK.
        18 => Advice::Flags(is_private_anonymous, |f| f.with(Flags::WIPE_ON_FORK)),
        19 => Advice::Flags(any, |f| f.without(Flags::WIPE_ON_FORK)),
        // COLD, PAGEOUT: nothing is paged out.
        20 | 21 => Advice::Hint(unlocked),
        // POPULATE_READ, POPULATE_WRITE.
        22 => Advice::Populate(Access::Read),
        23 => Advice::Populate(Access::Write),
        // DONTNEED_LOCKED.
        24 => Advice::Discard(|_| Ok(())),
        // COLLAPSE: there are no huge pages to make of it.
        25 => Advice::Hint(|_| Err(Errno::EINVAL)),
        _ => return None,
    })
}

pub fn madvise(call: &Call<'_>) -> Outcome {
    let [address, len, number, ..] = call.args;
    advise(call, address, len, advice(number).ok_or(Errno::EINVAL)?)
}

fn advise(call: &Call<'_>, address: u64, len: u64, advice: Advice) -> Outcome {
    let rounded = len.checked_next_multiple_of(PAGE).ok_or(Errno::EINVAL)?;
    if !address.is_multiple_of(PAGE) || address.checked_add(rounded).is_none() {
        return Err(Errno::EINVAL.into());
    }
    if len == 0 {
        return Ok(0);
    }
    let len = rounded;
    // What is not mapped is passed over, and told in the end.
    let holes = |space: &Space| match space.is_mapped(address, len) {
        true => Ok(0),
        false => Err(Stop::from(Errno::ENOMEM)),
    };
    // An area that refuses ends it; what lies before has been done.
    let until = |test: &dyn Fn(&Area) -> Result<(), Errno>| {
        let space = call.space();
        let mut areas = space.areas_in(address, len).iter();
        let refused = areas.find_map(|a| test(a).err().map(|e| (a.start.max(address), e)));
        refused.map_or((len, None), |(at, errno)| (at - address, Some(errno)))
    };
    let (len, refused) = match &advice {
        Advice::Flags(test, _) => until(&|a| match test(a) {
            true => Ok(()),
            false => Err(Errno::EINVAL),
        }),
        Advice::Discard(test) | Advice::Hint(test) => until(test),
        Advice::Remove => until(&can_remove),
        Advice::Populate(_) => (len, None),
    };
    if let Advice::Populate(access) = advice {
        bring_in(call, 1, address, len, Some(access))?;
        return Ok(0);
    }
    if len > 0 {
        match advice {
            Advice::Flags(_, change) => {
                match call.space().advise(address, len, |a| change(a.flags)) {
                    Ok(()) | Err(Error::NotMapped) => {}
                    Err(Error::NoRoom) => return Err(Errno::EAGAIN.into()),
                    Err(other) => return Err(no_room(other)),
                }
            }
            Advice::Discard(_) => {
                let (at, rest) = in_parts(call, address, len, discard)?;
                discard(&mut call.space(), at, rest).map_err(no_room)?;
            }
            Advice::Remove => remove(call, address, len)?,
            Advice::Hint(_) | Advice::Populate(_) => {}
        }
    }
    match refused {
        Some(errno) => Err(errno.into()),
        None => holes(&call.space()),
    }
}

fn can_remove(area: &Area) -> Result<(), Errno> {
    unlocked(area)?;
    match &area.backing {
        Backing::Shared(_) if area.flags.has(Flags::NEVER_WRITE) => Err(Errno::EACCES),
        Backing::Shared(_) => Ok(()),
        // A private mapping of a file.
        Backing::Private(_) | Backing::Image { .. } => Err(Errno::EACCES),
        Backing::Anonymous => Err(Errno::EINVAL),
    }
}

/// Makes holes in the objects behind a range.
fn remove(call: &Call<'_>, address: u64, len: u64) -> Result<(), Stop> {
    let parts: alloc::vec::Vec<_> = {
        let space = call.space();
        let part = |a: &Area| {
            let (start, end) = (a.start.max(address), a.end.min(address + len));
            let first = (a.offset + (start - a.start)) / PAGE;
            let object = a.backing.object()?.clone();
            Some((object, first, first + (end - start) / PAGE))
        };
        space
            .areas_in(address, len)
            .iter()
            .filter_map(part)
            .collect()
    };
    for (object, first, last) in parts {
        object.punch(first, last);
        let processes = call.uc.processes.borrow();
        for process in &processes.live {
            let _ = process.memory().space.borrow_mut().unmap_shared(&object);
        }
    }
    Ok(())
}

/// Hints for the memory of a process that a descriptor names.
pub fn process_madvise(call: &Call<'_>) -> Outcome {
    let [_, vector, count, number, flags, _] = call.args;
    if flags != 0 || count > 1024 {
        return Err(Errno::EINVAL.into());
    }
    let ranges = call.space().get_array::<[u64; 2]>(vector, count as usize)?;
    let (_, serial, _) = call.objects().process_of(call.fd(0))?;
    let process = {
        let processes = call.uc.processes.borrow();
        Rc::clone(processes.by_serial(serial).ok_or(Errno::ESRCH)?)
    };
    let test = match (number, advice(number)) {
        // MADV_WILLNEED, MADV_COLD, MADV_PAGEOUT.
        (3 | 20 | 21, Some(Advice::Hint(test))) => test,
        _ => return Err(Errno::EINVAL.into()),
    };
    if !remote::may_look_into(call, &process) {
        return Err(Errno::EPERM.into());
    }
    let (memory, mut done) = (process.memory(), 0);
    for [address, len] in ranges {
        let space = memory.space.borrow();
        let refused = space
            .areas_in(address, len)
            .iter()
            .find_map(|a| test(a).err());
        let errno = match refused {
            _ if !address.is_multiple_of(PAGE) => Some(Errno::EINVAL),
            Some(errno) => Some(errno),
            None => (len > 0 && !space.is_mapped(address, len)).then_some(Errno::ENOMEM),
        };
        match errno {
            Some(errno) if done == 0 => return Err(errno.into()),
            Some(_) => break,
            None => done += len,
        }
    }
    Ok(done)
}
