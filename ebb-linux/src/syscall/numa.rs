//! Memory policies and the places of pages, on the one node that there is (numa(7)).
//!
//! What must hold: a policy that is accepted can be obeyed with one node and reads back as it was set; what would need a
//! second node is refused as Linux refuses a node that is not there.

use super::kcmp::process;
use super::remote::may_look_into;
use super::{Call, Outcome, Stop, credentials};
use crate::abi::errno::Errno;
use crate::object::credentials::cap;
use crate::state::policy::{MAX_NODES, Nodes, Policy, mode};
use crate::state::process::Memory;
use alloc::rc::Rc;
use alloc::vec::Vec;
use ebb_mem::space::{Access, Area, PAGE, Space};

/// `MPOL_F_NODE`, `MPOL_F_ADDR`, `MPOL_F_MEMS_ALLOWED`.
const NODE: u64 = 1;
const ADDR: u64 = 2;
const MEMS_ALLOWED: u64 = 4;

/// `MPOL_MF_STRICT`, `MPOL_MF_MOVE`, `MPOL_MF_MOVE_ALL`.
const STRICT: u64 = 1;
const MOVE: u64 = 2;
const MOVE_ALL: u64 = 4;

/// Pages of one call of `move_pages` that are read and told at once.
const CHUNK: usize = 512;

/// Reads a set of nodes. As on Linux the length is one more than what counts.
fn nodes(call: &Call<'_>, at: u64, len: u64) -> Result<Nodes, Stop> {
    let (mut nodes, bits) = ([0; 16], len.wrapping_sub(1));
    if bits == 0 || at == 0 {
        return Ok(nodes);
    }
    if bits > PAGE * 8 {
        return Err(Errno::EINVAL.into());
    }
    let mut words: Vec<u64> = call.space().get_array(at, bits.div_ceil(64) as usize)?;
    if let (Some(last), rest @ 1..) = (words.last_mut(), bits % 64) {
        *last &= (1 << rest) - 1;
    }
    let (known, beyond) = words.split_at(words.len().min(nodes.len()));
    if beyond.iter().any(|&word| word != 0) {
        return Err(Errno::EINVAL.into());
    }
    nodes[..known.len()].copy_from_slice(known);
    Ok(nodes)
}

/// Tells a set of nodes; beyond those that there may be come zeroes.
fn tell(call: &Call<'_>, at: u64, len: u64, nodes: &Nodes) -> Result<(), Stop> {
    let bytes = (len - 1).next_multiple_of(64) / 8;
    if bytes > PAGE {
        return Err(Errno::EINVAL.into());
    }
    let word = |i: u64| nodes.get(i as usize).copied().unwrap_or(0);
    let bytes: Vec<u8> = (0..bytes / 8).flat_map(|i| word(i).to_le_bytes()).collect();
    call.space().write(at, &bytes)?;
    Ok(())
}

pub fn get_mempolicy(call: &Call<'_>) -> Outcome {
    let [policy_at, nodes_at, len, address, flags, _] = call.args;
    let has = |flag| flags & flag != 0;
    if nodes_at != 0 && len < 1
        || flags & !(NODE | ADDR | MEMS_ALLOWED) != 0
        || has(MEMS_ALLOWED) && has(NODE | ADDR)
        || !has(MEMS_ALLOWED | ADDR) && address != 0
    {
        return Err(Errno::EINVAL.into());
    }
    let mut known = [0; 16];
    known[0] = 1;
    let number = if has(ADDR) {
        let space = call.space();
        space.area(address).ok_or(Errno::EFAULT)?.flags.mark()
    } else {
        call.thread(|t| t.memory_policy)?
    };
    let policy = call.process.state.borrow().policies.get(number).cloned();
    let (value, nodes) = match policy {
        _ if has(MEMS_ALLOWED) => (0, known),
        None => (mode::DEFAULT, [0; 16]),
        Some(policy) => (policy.mode(), *policy.told()),
    };
    let value = match flags & (NODE | ADDR) {
        NODE if value & !mode::FLAGS == mode::INTERLEAVE => 0,
        NODE => return Err(Errno::EINVAL.into()),
        // Which node a page is on is known when it is there.
        flags if flags & NODE != 0 => {
            let page = address & !(PAGE - 1);
            let brought = call.space().populate(page, PAGE, Some(Access::Read), 1);
            brought.map_err(|_| Errno::EFAULT)?;
            0
        }
        _ => value,
    };
    if policy_at != 0 {
        call.space().put(policy_at, value)?;
    }
    if nodes_at != 0 {
        tell(call, nodes_at, len, &nodes)?;
    }
    Ok(0)
}

pub fn set_mempolicy(call: &Call<'_>) -> Outcome {
    let [asked, at, len, ..] = call.args;
    let kind = Policy::check(asked as u32)?;
    let policy = Policy::new(kind, &nodes(call, at, len)?)?;
    let number = call.process.state.borrow_mut().policies.number(policy)?;
    call.thread(|t| t.memory_policy = number)?;
    Ok(0)
}

/// The end of a range that begins on a page and is rounded to whole ones; `None` when it is empty.
fn range(start: u64, len: u64) -> Result<Option<u64>, Errno> {
    let len = len.wrapping_add(PAGE - 1) & !(PAGE - 1);
    match start.checked_add(len) {
        Some(end) if end > start => Ok(Some(end)),
        Some(_) => Ok(None),
        None => Err(Errno::EINVAL),
    }
}

/// Gives the areas of a range a policy.
fn mark(space: &mut Space, start: u64, end: u64, number: u16) -> Result<(), Stop> {
    use ebb_mem::space::Error::NotMapped;
    match space.advise(start, end - start, |a| a.flags.marked(number)) {
        Ok(()) | Err(NotMapped) => Ok(()),
        Err(other) => Err(super::parts::no_room(other)),
    }
}

pub fn mbind(call: &Call<'_>) -> Outcome {
    let [start, len, asked, at, count, flags] = call.args;
    let kind = Policy::check(asked as u32)?;
    let nodes = nodes(call, at, count)?;
    let flags = flags & 0xffff_ffff;
    if flags & !(STRICT | MOVE | MOVE_ALL) != 0 {
        return Err(Errno::EINVAL.into());
    }
    if flags & MOVE_ALL != 0 && !credentials::of(call).has(cap::SYS_NICE) {
        return Err(Errno::EPERM.into());
    }
    if !start.is_multiple_of(PAGE) {
        return Err(Errno::EINVAL.into());
    }
    let Some(end) = range(start, len)? else {
        return Ok(0);
    };
    let policy = Policy::new(kind, &nodes)?;
    let mut space = call.space();
    let areas = space.areas_in(start, end - start);
    let whole = space.is_mapped(start, end - start);
    if areas.is_empty() || policy.is_some() && !whole {
        return Err(Errno::EFAULT.into());
    }
    // Pages that are not where they may be, and that nobody lets move.
    let misplaced = policy.is_some() && nodes[0] & 1 == 0;
    let part = |a: &Area| Area {
        start: a.start.max(start),
        end: a.end.min(end),
        ..a.clone()
    };
    if flags == STRICT && misplaced && areas.iter().any(|a| space.usage(&part(a)).resident() > 0) {
        return Err(Errno::EIO.into());
    }
    let number = call.process.state.borrow_mut().policies.number(policy)?;
    mark(&mut space, start, end, number)?;
    Ok(0)
}

pub fn set_mempolicy_home_node(call: &Call<'_>) -> Outcome {
    let [start, len, node, flags, ..] = call.args;
    if !start.is_multiple_of(PAGE) || flags != 0 || node != 0 {
        return Err(Errno::EINVAL.into());
    }
    let Some(end) = range(start, len)? else {
        return Ok(0);
    };
    let (space, state) = (call.space(), call.process.state.borrow());
    let mut result = Err(Errno::ENOENT.into());
    for area in space.areas_in(start, end - start) {
        match state.policies.get(area.flags.mark()).map(Policy::mode) {
            None => {}
            Some(kind) if matches!(kind & !mode::FLAGS, mode::BIND | mode::PREFERRED_MANY) => {
                result = Ok(0);
            }
            Some(_) => return Err(Errno::EOPNOTSUPP.into()),
        }
    }
    result
}

/// The memory of a process whose pages the caller may move; 0 is its own.
fn memory_of(
    call: &Call<'_>,
    pid: u64,
    more: impl Fn() -> Result<(), Errno>,
) -> Result<Rc<Memory>, Stop> {
    if pid as u32 == 0 {
        more()?;
        return Ok(call.process.memory());
    }
    match process(call, pid)? {
        Some(found) if !may_look_into(call, &found) => Err(Errno::EPERM.into()),
        Some(found) => {
            more()?;
            Ok(found.memory())
        }
        None => Err(Errno::EINVAL.into()),
    }
}

pub fn migrate_pages(call: &Call<'_>) -> Outcome {
    let [pid, len, from, to, ..] = call.args;
    nodes(call, from, len)?;
    let to = nodes(call, to, len)?;
    memory_of(call, pid, || {
        let others = to[0] & !1 != 0 || to[1..].iter().any(|&word| word != 0);
        match to[0] & 1 {
            _ if others && !credentials::of(call).has(cap::SYS_NICE) => Err(Errno::EPERM),
            0 => Err(Errno::EINVAL),
            _ => Ok(()),
        }
    })?;
    // All are there already.
    Ok(0)
}

/// The node of a page, or the error that is told in its place.
fn place(space: &Space, address: u64) -> i32 {
    let page = address & !(PAGE - 1);
    match (space.area(address), space.page_in_memory(page)) {
        (None, _) => -Errno::EFAULT.number(),
        (Some(_), None) => -Errno::ENOENT.number(),
        (Some(_), Some(_)) => 0,
    }
}

pub fn move_pages(call: &Call<'_>) -> Outcome {
    let [pid, count, pages, to, status, flags] = call.args;
    let flags = flags & 0xffff_ffff;
    if flags & !(MOVE | MOVE_ALL) != 0 {
        return Err(Errno::EINVAL.into());
    }
    if flags & MOVE_ALL != 0 && !credentials::of(call).has(cap::SYS_NICE) {
        return Err(Errno::EPERM.into());
    }
    let memory = memory_of(call, pid, || Ok(()))?;
    let mut done = call.work().done;
    let n = (count - done.min(count)).min(CHUNK as u64);
    let field = |at: u64, width| at.wrapping_add(done * width);
    let addresses: Vec<u64> = call.space().get_array(field(pages, 8), n as usize)?;
    let nodes: Vec<i32> = match to {
        0 => alloc::vec![0; n as usize],
        _ => call.space().get_array(field(to, 4), n as usize)?,
    };
    // Those before a node that is not there have been moved.
    let known = nodes.iter().take_while(|&&node| node == 0).count();
    let places: Vec<u8> = {
        let space = memory.space.borrow();
        let place = |&at: &u64| place(&space, at).to_le_bytes();
        addresses[..known].iter().flat_map(place).collect()
    };
    call.space().write(field(status, 4), &places)?;
    if known < nodes.len() {
        return Err(Errno::ENODEV.into());
    }
    done += n;
    if done < count {
        return call.next_part(crate::state::thread::Work { done, at: 1 });
    }
    Ok(0)
}

const _: () = assert!(MAX_NODES == 64 * 16);
