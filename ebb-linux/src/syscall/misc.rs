//! Calls that only tell something, and those that may be taken for granted.

use super::{Call, Outcome, Stop};
use crate::abi::errno::Errno;
use crate::object::env::Env;
use crate::uc::load;
use core::mem;
use ebb_mem::space::PAGE;

/// Done already.
pub fn accept(_: &Call<'_>) -> Outcome {
    Ok(0)
}

/// Linux refuses it to processes without a capability that no process of a UC has.
pub fn refuse(_: &Call<'_>) -> Outcome {
    Err(Errno::EPERM.into())
}

/// Lets others run.
pub fn sched_yield(_: &Call<'_>) -> Outcome {
    Err(Stop::Yield)
}

pub fn uname(call: &Call<'_>) -> Outcome {
    let mut fields = [[0u8; 65]; 6];
    let values: [&[u8]; 6] = [
        b"Linux",
        b"ebb",
        b"6.1.0-ebb",
        b"#1 SMP ebb",
        b"x86_64",
        b"(none)",
    ];
    for (field, value) in fields.iter_mut().zip(values) {
        field[..value.len()].copy_from_slice(value);
    }
    call.space().put(call.args[0], fields)?;
    Ok(0)
}

pub fn sysinfo(call: &Call<'_>) -> Outcome {
    let total = call.uc.options.memory;
    let free = total.saturating_sub(call.uc.used());
    let mut info = [0u64; 14];
    info[0] = call.uc.now() / 1_000_000_000;
    // With 16 bits behind the point.
    for (load, average) in info[1..4].iter_mut().zip(call.world().load()) {
        *load = average * (0x1_0000 / load::ONE);
    }
    info[4] = total;
    info[5] = free;
    // procs is 16 bits at 80, mem_unit 32 bits at 104.
    info[10] = call.uc.processes.borrow().threads() as u64 & 0xffff;
    info[13] = 1;
    call.space().put(call.args[0], info)?;
    Ok(0)
}

pub fn getrandom(call: &Call<'_>) -> Outcome {
    let [address, len, flags, ..] = call.args;
    /// `GRND_NONBLOCK`.
    const GRND_NONBLOCK: u64 = 1;
    if flags & !7 != 0 || flags & 6 == 6 {
        return Err(Errno::EINVAL.into());
    }
    let len = usize::try_from(len).unwrap_or(usize::MAX).min(1 << 20);
    let is_first = !mem::replace(&mut call.process.state.borrow_mut().drew, true);
    // glibc's malloc marks freed chunks with a number that it draws first of all (malloc/malloc.c, `tcache_key_initialize`). No
    // program sees it, so it may be in copies.
    let counts = !(is_first && len == 8 && flags == GRND_NONBLOCK);
    let done = call.space().write_with(address, len, |piece| {
        call.uc.draw(piece, counts);
        Ok::<_, Stop>(piece.len())
    })?;
    Ok(done as u64)
}

pub fn getcpu(call: &Call<'_>) -> Outcome {
    for address in &call.args[..2] {
        if *address != 0 {
            call.space().put(*address, 0u32)?;
        }
    }
    Ok(0)
}

pub fn personality(call: &Call<'_>) -> Outcome {
    const ASK: u32 = u32::MAX;
    let new = call.args[0] as u32;
    let mut state = call.process.state.borrow_mut();
    let before = state.personality;
    if new != ASK {
        state.personality = new;
    }
    Ok(before.into())
}

pub fn membarrier(call: &Call<'_>) -> Outcome {
    // MEMBARRIER_CMD_FLAG_CPU belongs to a command that is not here.
    if call.args[1] as u32 != 0 {
        return Err(Errno::EINVAL.into());
    }
    const GLOBAL: u32 = 1;
    const GLOBAL_EXPEDITED: u32 = 2;
    const REGISTER_GLOBAL_EXPEDITED: u32 = 4;
    const PRIVATE_EXPEDITED: u32 = 8;
    const REGISTER_PRIVATE_EXPEDITED: u32 = 16;
    const SYNC_CORE: u32 = 32;
    const REGISTER_SYNC_CORE: u32 = 64;
    const ALL: u32 = 127;
    // A program has one core, so every barrier is done.
    let mut state = call.process.state.borrow_mut();
    match call.args[0] as u32 {
        // MEMBARRIER_CMD_QUERY
        0 => Ok(ALL.into()),
        GLOBAL | GLOBAL_EXPEDITED => Ok(0),
        register
        @ (REGISTER_GLOBAL_EXPEDITED | REGISTER_PRIVATE_EXPEDITED | REGISTER_SYNC_CORE) => {
            state.barriers |= register;
            Ok(0)
        }
        command @ (PRIVATE_EXPEDITED | SYNC_CORE) => match state.barriers & command << 1 {
            0 => Err(Errno::EPERM.into()),
            _ => Ok(0),
        },
        _ => Err(Errno::EINVAL.into()),
    }
}

const _: () = assert!(PAGE == 4096);
