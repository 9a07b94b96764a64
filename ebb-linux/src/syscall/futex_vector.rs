//! `futex_waitv`: waiting for any of several futexes.

use super::futex_key::checked_key;
use super::guest::timespec;
use super::{Call, Outcome, Stop};
use crate::abi::errno::Errno;
use crate::state::thread::{AnyOf, Rare, Waiting};
use alloc::boxed::Box;
use alloc::vec::Vec;

/// The most futexes of one call (`FUTEX_WAITV_MAX`).
const MOST: u64 = 128;
/// `FUTEX_32`, the one size that there is, and `FUTEX_PRIVATE_FLAG`.
const SIZE_32: u32 = 2;
const PRIVATE: u32 = 128;
/// Bytes of a `struct futex_waitv`.
const ENTRY: u64 = 24;

pub fn futex_waitv(call: &Call<'_>) -> Outcome {
    if !call.first
        && let Some((woken, any)) = call.waited(|w| (w.woken, w.rare().any_of.clone()))
        && let Some(any) = any
    {
        if woken {
            return Ok(any.woken);
        }
        if !call.is_late() {
            return Err(Stop::Wait);
        }
        let mut futexes = call.uc.futexes.borrow_mut();
        for key in any.keys {
            futexes.cancel(key, call.thread_key());
        }
        call.waited(|w| w.rare_mut().any_of = None);
        return Err(Errno::ETIMEDOUT.into());
    }
    let [list, count, flags, timeout, clock, _] = call.args;
    if flags as u32 != 0 || count as u32 == 0 || u64::from(count as u32) > MOST || list == 0 {
        return Err(Errno::EINVAL.into());
    }
    let deadline = match timeout {
        0 => None,
        _ if clock as u32 > 1 => return Err(Errno::EINVAL.into()),
        at => timespec(call, at)?.map(|t| match clock as u32 {
            0 => t.saturating_sub(crate::unix_now().saturating_sub(call.uc.now())),
            _ => t,
        }),
    };
    let mut wanted = Vec::new();
    for at in 0..u64::from(count as u32) {
        let [value, address, rest]: [u64; 3] = call.space().get(list + at * ENTRY)?;
        let (flags, reserved) = (rest as u32, rest >> 32);
        if flags & !(SIZE_32 | PRIVATE) != 0 || flags & SIZE_32 == 0 || reserved != 0 {
            return Err(Errno::EINVAL.into());
        }
        if value > u64::from(u32::MAX) {
            return Err(Errno::EINVAL.into());
        }
        wanted.push((value, address, flags & PRIVATE != 0));
    }
    let mut keys = Vec::new();
    for &(_, address, private) in &wanted {
        keys.push(checked_key(call, address, private)?);
    }
    for &(value, address, _) in &wanted {
        if u64::from(call.space().get::<u32>(address)?) != value {
            return Err(Errno::EAGAIN.into());
        }
    }
    if deadline.is_some_and(|d| d <= call.uc.now()) {
        return Err(Errno::ETIMEDOUT.into());
    }
    let mut futexes = call.uc.futexes.borrow_mut();
    for &key in &keys {
        futexes.wait(key, call.thread_key(), !0);
    }
    call.thread(|t| {
        t.waiting = Some(Waiting {
            deadline,
            rare: Some(Box::new(Rare {
                any_of: Some(AnyOf { keys, woken: 0 }),
                ..Rare::default()
            })),
            ..Waiting::default()
        });
    })?;
    Err(Stop::Wait)
}
